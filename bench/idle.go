package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
)

var residentLine = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB$`)

// measureIdle opens sessions that each ran one statement and then wait, and
// tells by how much each made the process between client and server grow.
func measureIdle(ctx context.Context, s settings, l *lab) ([]goal, error) {
	t := table{
		title:   fmt.Sprintf("Memory of %d idle sessions", s.sessions),
		columns: []string{"route", "MiB before", "MiB after", "KiB a session"},
	}
	for _, r := range l.routes {
		if r.pid == 0 {
			continue
		}
		before, after, err := idle(ctx, r, s.sessions)
		if err != nil {
			return nil, fmt.Errorf("open idle sessions on %s: %w", r.name, err)
		}
		t.add(r.name, whole(before/1024), whole(after/1024), whole((after-before)/float64(s.sessions)))
	}
	return nil, t.print(os.Stdout)
}

// idle returns the process's resident KiB before and with the sessions.
func idle(ctx context.Context, r *route, sessions int) (before, after float64, err error) {
	if before, err = resident(r.pid); err != nil {
		return 0, 0, err
	}
	var open []*pgconn.PgConn
	defer func() {
		for _, conn := range open {
			err = errors.Join(err, conn.Close(ctx))
		}
	}()
	for range sessions {
		conn, err := connect(ctx, r)
		if err != nil {
			return 0, 0, err
		}
		open = append(open, conn)
		if _, err := conn.Exec(ctx, "SELECT 1").ReadAll(); err != nil {
			return 0, 0, fmt.Errorf("run a statement: %w", err)
		}
	}
	after, err = resident(r.pid)
	return before, after, err
}

func resident(pid int) (kib float64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("read memory: %w", err)
	}
	m := residentLine.FindSubmatch(status)
	if m == nil {
		return 0, fmt.Errorf("read memory: process %d has none", pid)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}
