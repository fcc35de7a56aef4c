package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// rowsGoal is the least share of HAProxy's rate of rows that the gate should
// reach while it masks.
const rowsGoal = 0.5

// measureRows reads a large result on every route and throws it away.
func measureRows(ctx context.Context, s settings, l *lab) ([]goal, error) {
	size := 0 // of all values, unmasked
	took, err := interleave(s.rounds, l.routes, func(r *route) (sample, error) {
		each, n, err := readRows(ctx, r, "SELECT id, name, email, note FROM customers", s.rows)
		size = max(size, n)
		return each, err
	})
	if err != nil {
		return nil, err
	}
	t := table{
		title:   fmt.Sprintf("One result of %d rows of 4 columns, about %d bytes a row", s.rows, size/s.rows),
		columns: []string{"route", "rows a second", "of direct", "of haproxy", "CPU ns a row"},
	}
	var goals []goal
	for _, r := range l.routes {
		share := took.speed(r.name, haproxy)
		if r.masked && slices.Contains(s.routes, haproxy) {
			goals = append(goals, goal{
				what: "rows a second " + r.name + ", of haproxy's", got: share, bound: rowsGoal, least: true,
			})
		}
		t.add(r.name, whole(1e6/took.time(r.name)), ratio(took.speed(r.name, direct)), ratio(share),
			whole(1000*took.cpu(r.name)))
	}
	return goals, t.print(os.Stdout)
}

// readRows reads the result of a query in text by the simple protocol, and returns what a
// row took and the size of all values.
func readRows(ctx context.Context, r *route, query string, want int) (each sample, size int, err error) {
	conn, err := connect(ctx, r)
	if err != nil {
		return sample{}, 0, err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	each, err = timed(r, func() (float64, error) {
		rows, n, err := discard(r, conn.Exec(ctx, query))
		if err == nil && rows != want {
			err = fmt.Errorf("read %d rows, want %d", rows, want)
		}
		size = n
		return float64(rows), err
	})
	return each, size, err
}

// discard reads results to their end.
func discard(r *route, results *pgconn.MultiResultReader) (rows, size int, err error) {
	for results.NextResult() {
		reader := results.ResultReader()
		for reader.NextRow() {
			values := reader.Values()
			if rows == 0 {
				if err := checkMasked(r, string(values[2])); err != nil {
					return 0, 0, errors.Join(err, results.Close())
				}
			}
			for _, v := range values {
				size += len(v)
			}
			rows++
		}
	}
	if err := results.Close(); err != nil {
		return 0, 0, fmt.Errorf("read rows: %w", err)
	}
	return rows, size, nil
}

// checkMasked makes sure that a route does what is measured.
func checkMasked(r *route, email string) error {
	if raw := strings.HasSuffix(email, "@example.com"); raw == r.masked {
		return fmt.Errorf("the first e-mail address came as %q", email)
	}
	return nil
}

func connect(ctx context.Context, r *route) (*pgconn.PgConn, error) {
	config, err := pgconn.ParseConfig(r.url)
	if err != nil {
		return nil, fmt.Errorf("read connection string: %w", err)
	}
	config.Password = r.password
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return conn, nil
}
