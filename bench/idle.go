package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5/pgconn"
)

// thrifty makes the gate collect garbage so often that what opening a session
// left behind is not taken for what an idle one needs.
const thrifty = "GOGC=5"

// measureIdle opens sessions that each ran one statement and then wait, and
// tells by how much each makes the process between client and server grow.
func measureIdle(ctx context.Context, s settings, l *lab) ([]goal, error) {
	t := table{
		title:   fmt.Sprintf("Memory of %d idle sessions", 2*s.sessions),
		columns: []string{"route", "MiB resident", "KiB a session"},
	}
	for _, r := range l.routes {
		if r.pid == 0 {
			continue
		}
		total, each, err := idleMemory(ctx, r, s, l)
		if err != nil {
			return nil, fmt.Errorf("open idle sessions on %s: %w", r.name, err)
		}
		t.add(r.name, whole(total/1024), whole(each))
	}
	return nil, t.print(os.Stdout)
}

// idleMemory returns the resident KiB with all sessions open, and those of each
// session after the first half, which pays for what is allocated once.
func idleMemory(ctx context.Context, r *route, s settings, l *lab) (total, each float64, err error) {
	if r.gated {
		if r, err = startGate(ctx, r.name, s.gate, l, nil, thrifty); err != nil {
			return 0, 0, err
		}
		defer func() { err = errors.Join(err, r.close()) }()
	}
	var open []*pgconn.PgConn
	defer func() {
		for _, conn := range open {
			err = errors.Join(err, conn.Close(ctx))
		}
	}()
	half := 0.0
	for i := range 2 * s.sessions {
		conn, err := connect(ctx, r)
		if err != nil {
			return 0, 0, err
		}
		open = append(open, conn)
		if _, err := conn.Exec(ctx, "SELECT 1").ReadAll(); err != nil {
			return 0, 0, fmt.Errorf("run a statement: %w", err)
		}
		if i == s.sessions-1 {
			if half, err = r.resident(); err != nil {
				return 0, 0, err
			}
		}
	}
	total, err = r.resident()
	return total, (total - half) / float64(s.sessions), err
}
