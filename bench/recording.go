package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"

	"gatehouse/core/approval"
	"gatehouse/core/event"
	"gatehouse/core/peers"
	"gatehouse/core/pipeline"
	"gatehouse/core/protect"
	"gatehouse/core/proxy"
	"gatehouse/plugins"
	"gatehouse/plugins/host"
	"gatehouse/protocols/postgres"
	"gatehouse/protocols/postgres/statement"
	"gatehouse/recorder"
)

// recordingGoal is the least share of the rate without recording that a gate
// should reach with it.
const recordingGoal = 0.9

// gateCommand makes this program a gate in front of the server at the port that
// follows, made of the packages that the real one is made of, with the plugins
// of the route of that name. What it records goes to a recorder of the
// directory that follows, or if there is none is thrown away: a gate that can be
// configured so does not exist outside of this program. A column that follows is
// protected, in mode strict.
const gateCommand = "gate-to"

// The routes of which one records.
const (
	recorded   = "recorded"
	unrecorded = "unrecorded"
)

// measureRecording runs pgbench's read-only transaction through two gates that
// differ in that one of them records.
func measureRecording(ctx context.Context, s settings, l *lab) (_ []goal, err error) {
	dir, err := os.MkdirTemp("", "gatehouse-bench-")
	if err != nil {
		return nil, fmt.Errorf("make the recorder's directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return contest{
		title: "pgbench through a gate that records, and through one that does not",
		with:  recorded, without: unrecorded, than: "without recording", of: "rate with recording, of that without",
		more: map[string][]string{recorded: {dir}, unrecorded: {""}}, goal: recordingGoal, modes: []string{"simple", "prepared"},
	}.measure(ctx, s, l)
}

// A contest compares two gates that differ in one thing.
type contest struct {
	title         string
	with, without string // the routes
	than, of      string // what the table and the goal call that
	// more is what the gate of each route is told, see runGate.
	more  map[string][]string
	goal  float64
	modes []string
}

// measure runs pgbench's read-only transaction through both gates.
func (c contest) measure(ctx context.Context, s settings, l *lab) (_ []goal, err error) {
	// Two pairs of gates, started in opposite orders: of two that are the same, the
	// one that was started first came out up to 4% slower.
	var routes []*route
	for _, name := range []string{c.with, c.without, c.without, c.with} {
		args := append([]string{gateCommand, strconv.Itoa(l.postgres.Port), l.password}, c.more[name]...)
		addr, pid, stop, failed := startSelf(args...)
		if failed != nil {
			return nil, fmt.Errorf("start the %s gate: %w", name, failed)
		}
		defer func() { err = errors.Join(err, stop()) }()
		routes = append(routes, l.viaProxy(name, addr, pid, nil))
	}
	t := table{title: c.title, columns: []string{"mode", "clients", "a second", c.than, "of that", "half of the rounds", "µs more", "CPU µs more"}}
	for _, r := range routes {
		if _, err := settledTransaction(ctx, r, modes[0], clients[0], time.Second); err != nil {
			return nil, fmt.Errorf("warm up the %s gate: %w", r.name, err)
		}
	}
	var goals []goal
	for _, mode := range c.modes {
		for _, n := range clients {
			var took rounds
			for pair := range slices.Chunk(routes, 2) {
				of, err := interleave(s.rounds, pair, func(r *route) (sample, error) {
					return settledTransaction(ctx, r, mode, n, s.duration)
				})
				if err != nil {
					return nil, err
				}
				took = append(took, of...)
			}
			share := took.speed(c.with, c.without)
			low, high := took.quartiles(speed(c.with, c.without))
			t.add(mode, strconv.Itoa(n), whole(float64(n)*1e6/took.time(c.with)), whole(float64(n)*1e6/took.time(c.without)), ratio(share), ratio(low)+"-"+ratio(high),
				whole(took.median(func(round map[string]sample) float64 { return round[c.with].time - round[c.without].time })),
				whole(took.median(func(round map[string]sample) float64 { return round[c.with].cpu - round[c.without].cpu })))
			goals = append(goals, goal{what: fmt.Sprintf("%s, %s, %d clients", c.of, mode, n), got: share, bound: c.goal, least: true})
		}
	}
	return goals, t.print(os.Stdout)
}

// settledTransaction measures one mode of pgbench on a route and waits until the
// gate has done what is left to do, which counts as its own processor time and
// falls on no other route.
func settledTransaction(ctx context.Context, r *route, mode string, clients int, d time.Duration) (sample, error) {
	before, err := r.cpu()
	if err != nil {
		return sample{}, err
	}
	s, err := transaction(ctx, r, mode, clients, d)
	if err != nil {
		return sample{}, err
	}
	if err := r.settle(ctx); err != nil {
		return sample{}, err
	}
	after, err := r.cpu()
	if err != nil {
		return sample{}, err
	}
	s.cpu = (after - before) * s.time / (float64(clients) * float64(d.Microseconds()))
	return s, nil
}

// runGate is the process of a gate.
func runGate(ctx context.Context, l net.Listener, args []string) error {
	port, err := strconv.ParseUint(args[0], 10, 16)
	if err != nil {
		return fmt.Errorf("gate: %w", err)
	}
	record := func(*event.Session) (pipeline.Recorder, error) { return discarder{}, nil }
	if len(args) > 2 && args[2] != "" {
		r, err := openRecorder(args[2])
		if err != nil {
			return fmt.Errorf("gate: %w", err)
		}
		defer r.Close(context.WithoutCancel(ctx))
		record = func(s *event.Session) (pipeline.Recorder, error) { return r.Begin(s) }
	}
	var protected *protect.Columns
	if len(args) > 3 {
		if protected, err = strictly(args[3]); err != nil {
			return fmt.Errorf("gate: %w", err)
		}
	}
	chain, err := loadPlugins(ctx)
	if err != nil {
		return fmt.Errorf("gate: %w", err)
	}
	analyzer := statement.NewAnalyzer(statement.Limits{})
	if err := analyzer.Warm(ctx); err != nil {
		return fmt.Errorf("gate: %w", err)
	}
	p, err := postgres.New(postgres.Config{Plaintext: true, Analyzer: analyzer, Resources: map[string]*postgres.Resource{
		database: {Name: database, Host: peers.Host, Port: uint16(port), User: role, Password: args[1], Database: database, SSLMode: "disable"},
	}})
	if err != nil {
		return fmt.Errorf("gate: %w", err)
	}
	defer p.Close()
	approvals := approval.New(approval.Limits{})
	server := proxy.Server{Listener: l, Protocol: p, BusyPoll: 200 * time.Microsecond, Env: proxy.Env{
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		Authenticate: func(context.Context, string) (event.Principal, error) {
			return event.Principal{Issuer: "bench", Subject: role, Groups: []string{role}}, nil
		},
		Open: func(ctx context.Context, s *event.Session) (*pipeline.Session, error) {
			s.ID, s.Start = rand.Text(), time.Now()
			r, err := record(s)
			if err != nil {
				return nil, err
			}
			var opened []pipeline.Plugin
			for _, p := range chain {
				o, err := p.Open(ctx, s)
				if err != nil {
					return nil, err
				}
				opened = append(opened, o)
			}
			return pipeline.New(pipeline.Config{
				Terms:    pipeline.Terms{Session: s, Plugins: opened, HoldFor: time.Minute, Protected: protected, AllProtected: protected},
				Recorder: r, Approver: approvals, Key: make([]byte, 32),
			})
		},
	}}
	return server.Serve(ctx, time.Second)
}

// loadPlugins loads those of the route gate.
func loadPlugins(ctx context.Context) ([]*host.Plugin, error) {
	if err := wazero.NewRuntime(ctx).Close(ctx); err != nil { // see core/cmd
		return nil, err
	}
	h, err := host.New(ctx, host.Options{Instances: runtime.GOMAXPROCS(0)})
	if err != nil {
		return nil, err
	}
	var chain []*host.Plugin
	for _, name := range strings.Split(pluginsOf[gate], ", ") {
		module, err := plugins.Builtin(name)
		if err != nil {
			return nil, err
		}
		p, err := h.Load(ctx, name, module, nil)
		if err != nil {
			return nil, err
		}
		chain = append(chain, p)
	}
	return chain, nil
}

// openRecorder opens a recorder with the options that a gate has by default, in a
// directory of its own within dir.
func openRecorder(dir string) (*recorder.Recorder, error) {
	dir, err := os.MkdirTemp(dir, "gate-")
	if err != nil {
		return nil, fmt.Errorf("make the recorder's directory: %w", err)
	}
	store, err := recorder.OpenDir(filepath.Join(dir, "store"))
	if err != nil {
		return nil, err
	}
	key, _, err := recorder.GenerateKey("bench")
	if err != nil {
		return nil, err
	}
	return recorder.Open(recorder.Options{Spool: filepath.Join(dir, "spool"), Store: store, Key: key})
}

// A discarder throws away what it should record.
type discarder struct{}

// Append implements pipeline.Recorder.
func (discarder) Append(event.Frame, ...[]byte) error { return nil }

// Commit implements pipeline.Recorder.
func (discarder) Commit(context.Context) error { return nil }
