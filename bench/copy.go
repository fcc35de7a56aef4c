package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// copyGoal and maskedCopyGoal are the least shares of HAProxy's rate of bytes
// that the gate should reach with COPY, without and with a masked column.
const (
	copyGoal       = 0.7
	maskedCopyGoal = 0.5
)

// copyRow is one row of COPY's text format, of the same shape as those of the
// table customers.
const copyRow = "1\tCustomer 1\tcustomer1@example.com\tA note of ordinary length, which says what was last agreed with number 1\n"

// measureCopy copies the table of the large result out, over and over, and rows
// of that shape in, on every route but the one that looks into every value.
func measureCopy(ctx context.Context, s settings, l *lab) ([]goal, error) {
	routes := slices.DeleteFunc(slices.Clone(l.routes), func(r *route) bool { return r.name == detecting })
	var goals []goal
	for _, way := range []struct {
		name string
		copy func(context.Context, *route, settings, *lab) (int64, error)
	}{{"out", copyOut}, {"in", copyIn}} {
		took, err := interleave(s.rounds, routes, func(r *route) (sample, error) {
			return timed(r, func() (float64, error) {
				n, err := way.copy(ctx, r, s, l)
				return float64(n) / 1e6, err
			})
		})
		if err != nil {
			return nil, fmt.Errorf("copy %s: %w", way.name, err)
		}
		t := table{
			title:   fmt.Sprintf("COPY %s, in text, of at least %d MB", way.name, s.copy),
			columns: []string{"route", "MB a second", "of direct", "of haproxy", "CPU ms a MB"},
		}
		for _, r := range routes {
			share := took.speed(r.name, haproxy)
			if r.gated && slices.Contains(s.routes, haproxy) {
				bound := copyGoal
				if r.masked {
					bound = maskedCopyGoal
				}
				goals = append(goals, goal{what: "bytes a second of COPY " + way.name + " " + r.name + ", of haproxy's", got: share, bound: bound, least: true})
			}
			t.add(r.name, whole(1e6/took.time(r.name)), ratio(took.speed(r.name, direct)), ratio(share), ratio(took.cpu(r.name)/1000))
		}
		if err := t.print(os.Stdout); err != nil {
			return nil, err
		}
	}
	return goals, nil
}

// copyOut reads the table as often as it takes, and returns how many bytes came.
func copyOut(ctx context.Context, r *route, s settings, _ *lab) (n int64, err error) {
	conn, err := connect(ctx, r)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	for n < int64(s.copy)*1e6 {
		var out copied
		if _, err := conn.CopyTo(ctx, &out, "COPY customers TO STDOUT"); err != nil {
			return 0, fmt.Errorf("copy out: %w", err)
		}
		if out.addresses == r.masked {
			return 0, fmt.Errorf("addresses came through: %t", out.addresses)
		}
		n += out.bytes
	}
	return n, nil
}

// A copied counts what is written to it and throws it away.
type copied struct {
	bytes     int64
	addresses bool // whether one was in it
}

func (c *copied) Write(b []byte) (int, error) {
	c.bytes += int64(len(b))
	c.addresses = c.addresses || bytes.Contains(b, []byte("@example.com"))
	return len(b), nil
}

// copyIn fills an empty table and returns how many bytes went.
func copyIn(ctx context.Context, r *route, s settings, l *lab) (n int64, err error) {
	if err := l.postgres.Exec(ctx, database, "TRUNCATE copied"); err != nil {
		return 0, err
	}
	conn, err := connect(ctx, r)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	chunk := strings.Repeat(copyRow, 1000)
	times := s.copy*1_000_000/len(chunk) + 1
	var tag pgconn.CommandTag
	tag, err = conn.CopyFrom(ctx, &repeated{text: chunk, times: times}, "COPY copied FROM STDIN")
	if err == nil && tag.RowsAffected() != int64(1000*times) {
		err = fmt.Errorf("%d rows of %d arrived", tag.RowsAffected(), 1000*times)
	}
	return int64(times * len(chunk)), err
}

// A repeated reads a text several times.
type repeated struct {
	text  string
	times int
	at    int
}

func (r *repeated) Read(b []byte) (int, error) {
	if r.times == 0 {
		return 0, io.EOF
	}
	n := copy(b, r.text[r.at:])
	if r.at += n; r.at == len(r.text) {
		r.at = 0
		r.times--
	}
	return n, nil
}
