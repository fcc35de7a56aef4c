package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
)

// valueGoal and maskedValueGoal are the least shares of HAProxy's rate of bytes
// that the gate should reach with one large value, without and with a masked
// column beside it.
const (
	valueGoal       = 0.7
	maskedValueGoal = 0.5
)

// measureValue reads one large value, beside an e-mail address, on every route
// and throws it away. The route that looks for personal data in every value is
// left out: it redacts a value that is too long for that.
func measureValue(ctx context.Context, s settings, l *lab) ([]goal, error) {
	routes := slices.DeleteFunc(slices.Clone(l.routes), func(r *route) bool { return r.name == detecting })
	took, err := interleave(s.rounds, routes, func(r *route) (sample, error) { return readValue(ctx, r, s.value) })
	if err != nil {
		return nil, err
	}
	t := table{
		title:   fmt.Sprintf("One value of %d MB beside an e-mail address", s.value),
		columns: []string{"route", "MB a second", "of direct", "of haproxy", "CPU ms"},
	}
	var goals []goal
	for _, r := range routes {
		share := took.speed(r.name, haproxy)
		if r.gated && slices.Contains(s.routes, haproxy) {
			bound := valueGoal
			if r.masked {
				bound = maskedValueGoal
			}
			goals = append(goals, goal{what: "bytes a second of a value " + r.name + ", of haproxy's", got: share, bound: bound, least: true})
		}
		t.add(r.name, whole(float64(s.value)*1e6/took.time(r.name)), ratio(took.speed(r.name, direct)), ratio(share),
			whole(took.cpu(r.name)/1000))
	}
	return goals, t.print(os.Stdout)
}

// readValue reads the value in text by the simple protocol and returns what that
// took.
func readValue(ctx context.Context, r *route, megabytes int) (_ sample, err error) {
	conn, err := connect(ctx, r)
	if err != nil {
		return sample{}, err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	return timed(r, func() (float64, error) {
		rows, size, err := discard(r, conn.Exec(ctx, "SELECT id, name, email, value FROM customers, large WHERE id = 1"))
		if err == nil && (rows != 1 || size < megabytes*1e6) {
			err = fmt.Errorf("read %d rows of %d bytes", rows, size)
		}
		return 1, err
	})
}
