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
	modes      = []string{"simple", "extended", "prepared"}
	clients    = []int{1, 8}
	rateLine   = regexp.MustCompile(`(?m)^tps = ([0-9.]+) \(without initial connection time\)$`)
	numberLine = regexp.MustCompile(`(?m)^number of transactions actually processed: ([1-9][0-9]*)`)
)

// measureTransactions runs pgbench's read-only transaction on every route.
func measureTransactions(ctx context.Context, s settings, l *lab) ([]goal, error) {
	t := table{title: "pgbench: transactions of one SELECT by primary key", columns: []string{
		"mode", "clients", "route", "a second", "of direct", "µs each", "µs added", "of pgbouncer's", "CPU µs",
	}}
	for _, r := range l.routes { // what is compiled and filled once is not measured
		if _, err := transaction(ctx, r, modes[0], clients[0], s.duration); err != nil {
			return nil, fmt.Errorf("warm up %s: %w", r.name, err)
		}
	}
	var goals []goal
	for _, mode := range modes {
		for _, n := range clients {
			took, err := interleave(s.rounds, l.routes, func(r *route) (sample, error) {
				return transaction(ctx, r, mode, n, s.duration)
			})
			if err != nil {
				return nil, err
			}
			for _, r := range l.routes {
				share := took.added(r.name) / took.added(pgbouncer)
				t.add(mode, strconv.Itoa(n), r.name, whole(float64(n)*1e6/took.time(r.name)),
					ratio(took.speed(r.name, direct)), whole(took.time(r.name)),
					whole(took.added(r.name)), ratio(share), whole(took.cpu(r.name)))
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

// transaction measures one mode of pgbench on a route.
func transaction(ctx context.Context, r *route, mode string, clients int, d time.Duration) (sample, error) {
	before, err := r.cpu()
	if err != nil {
		return sample{}, err
	}
	out, err := pgbench(ctx, r, "--no-vacuum", "--select-only", "--protocol="+mode,
		fmt.Sprintf("--client=%d", clients), fmt.Sprintf("--time=%d", int(d.Seconds())))
	if err != nil {
		return sample{}, err
	}
	after, err := r.cpu()
	if err != nil {
		return sample{}, err
	}
	rate, number := rateLine.FindSubmatch(out), numberLine.FindSubmatch(out)
	if rate == nil || number == nil {
		return sample{}, fmt.Errorf("pgbench ran no transaction; is the machine busy?\n%s", out)
	}
	tps, err := strconv.ParseFloat(string(rate[1]), 64)
	if err != nil {
		return sample{}, fmt.Errorf("read pgbench's rate: %w", err)
	}
	n, err := strconv.ParseFloat(string(number[1]), 64)
	if err != nil {
		return sample{}, fmt.Errorf("read pgbench's number of transactions: %w", err)
	}
	return sample{time: float64(clients) * 1e6 / tps, cpu: (after - before) / n}, nil
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
