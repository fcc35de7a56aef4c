package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"time"

	"gatehouse/core/peers"
)

// addedGoal is how many times pgbouncer's latency the gate may add.
const addedGoal = 2

var (
	modes   = []string{"simple", "extended", "prepared"}
	clients = []int{1, 8}
	tpsLine = regexp.MustCompile(`(?m)^tps = ([0-9.]+) \(without initial connection time\)$`)
)

// measureTransactions runs pgbench's read-only transaction on every route.
func measureTransactions(ctx context.Context, s settings, l *lab) ([]goal, error) {
	t := table{title: "pgbench: transactions of one SELECT by primary key", columns: []string{
		"mode", "clients", "route", "a second", "of direct", "µs each", "µs added", "of pgbouncer's",
	}}
	var goals []goal
	for _, mode := range modes {
		for _, n := range clients {
			latencies, err := interleave(s.rounds, l.routes, func(r *route) (float64, error) {
				return latency(ctx, r, mode, n, s.duration)
			})
			if err != nil {
				return nil, err
			}
			for _, r := range l.routes {
				us, extra := latencies.of(r.name), added(latencies, r.name)
				share := extra / added(latencies, pgbouncer)
				t.add(mode, strconv.Itoa(n), r.name, whole(float64(n)*1e6/us),
					ratio(latencies.ratio(direct, r.name)), whole(us), whole(extra), ratio(share))
				if r.gated && slices.Contains(s.routes, pgbouncer) {
					goals = append(goals, goal{
						what: fmt.Sprintf("latency added %s, of pgbouncer's, %s, %d clients", r.name, mode, n),
						got:  share, bound: addedGoal,
					})
				}
			}
		}
	}
	return goals, t.print(os.Stdout)
}

// added is the microseconds by which a route is slower than the direct one.
func added(latencies rounds, name string) float64 {
	return latencies.median(func(round map[string]float64) float64 {
		return round[name] - round[direct]
	})
}

// latency is the microseconds that one transaction takes on a route.
func latency(ctx context.Context, r *route, mode string, clients int, d time.Duration) (float64, error) {
	out, err := pgbench(ctx, r, "--no-vacuum", "--select-only", "--protocol="+mode,
		fmt.Sprintf("--client=%d", clients), fmt.Sprintf("--time=%d", int(d.Seconds())))
	if err != nil {
		return 0, err
	}
	m := tpsLine.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("pgbench gave no rate:\n%s", out)
	}
	tps, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		return 0, fmt.Errorf("read pgbench's rate: %w", err)
	}
	return float64(clients) * 1e6 / tps, nil
}

// pgbench runs the program of that name on a route and returns what it wrote.
func pgbench(ctx context.Context, r *route, args ...string) ([]byte, error) {
	program, err := peers.Program("pgbench")
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, append(args, r.url)...)
	cmd.Env = append(os.Environ(), "PGPASSWORD="+r.password)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("pgbench: %w\n%s", err, out)
	}
	return out, nil
}
