// Command bench compares the gate with a direct connection to PostgreSQL, with
// pgbouncer, with HAProxy and with a relay that only copies, on one machine,
// over loopback and without TLS. It starts every server itself and prints
// tables; README.md says how to read them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// settings say how much to measure.
type settings struct {
	gate     string // path of the gatehouse program
	routes   []string
	parts    []string
	rounds   int
	duration time.Duration // of each pgbench run
	scale    int           // of pgbench's tables: 100,000 accounts each
	rows     int
	value    int // megabytes of the large value
	copy     int // megabytes that COPY moves
	sessions int

	recordings int // megabytes to verify
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if known, err := runCommand(os.Args[1:]); known {
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	s, err := parseSettings(args)
	if err != nil {
		return err
	}
	l, err := startLab(ctx, s)
	if err != nil {
		return err
	}
	return errors.Join(measure(ctx, s, l), l.close())
}

func measure(ctx context.Context, s settings, l *lab) error {
	fmt.Printf("%s/%s, %d processors, %s, PostgreSQL %d, %d rounds, medians\n",
		runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(), l.postgres.Version, s.rounds)
	var goals []goal
	for _, part := range parts {
		if !slices.Contains(s.parts, part.name) {
			continue
		}
		more, err := part.measure(ctx, s, l)
		if err != nil {
			return err
		}
		goals = append(goals, more...)
	}
	if len(goals) == 0 {
		return nil
	}
	return printGoals(os.Stdout, goals)
}

// parts are what is measured, in order.
var parts = []struct {
	name    string
	measure func(context.Context, settings, *lab) ([]goal, error)
}{
	{"idle", measureIdle}, {"transactions", measureTransactions}, {"rows", measureRows}, {"copy", measureCopy},
	{"value", measureValue}, {"plugins", measurePlugins}, {"recording", measureRecording}, {"protection", measureProtection}, {"verify", measureVerify},
}

func parseSettings(args []string) (settings, error) {
	var s settings
	var routes, only string
	names := make([]string, len(parts))
	for i, part := range parts {
		names[i] = part.name
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&s.gate, "gate", "bin/gatehouse", "the gatehouse program")
	flags.StringVar(&routes, "routes", strings.Join(proxies, ","), "what to compare with direct")
	flags.StringVar(&only, "parts", strings.Join(names, ","), "what to measure")
	flags.IntVar(&s.rounds, "rounds", 5, "how often to measure each route, in turn")
	flags.DurationVar(&s.duration, "duration", 2*time.Second, "how long each pgbench run takes, in whole seconds")
	flags.IntVar(&s.scale, "scale", 5, "pgbench's scale")
	flags.IntVar(&s.rows, "rows", 500_000, "rows of the large result")
	flags.IntVar(&s.value, "value", 100, "megabytes of the large value")
	flags.IntVar(&s.copy, "copy", 200, "megabytes to copy each way")
	flags.IntVar(&s.recordings, "recordings", 200, "megabytes of recordings to verify")
	flags.IntVar(&s.sessions, "sessions", 250, "half of the idle sessions to open")
	if err := flags.Parse(args); err != nil {
		return settings{}, err
	}
	if s.rounds < 1 || s.duration < time.Second || s.scale < 1 || s.rows < 1 || s.value < 1 || s.copy < 1 || s.recordings < 1 || s.sessions < 1 {
		return settings{}, errors.New("every amount must be positive, and duration a second or more")
	}
	s.routes, s.parts = strings.Split(routes, ","), strings.Split(only, ",")
	for _, name := range s.parts {
		if !slices.Contains(names, name) {
			return settings{}, fmt.Errorf("there are only the parts %q", names)
		}
	}
	return s, nil
}
