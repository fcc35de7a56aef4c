package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/bench/internal/scan"
	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/plugins"
	"gatehouse/plugins/host"
	"gatehouse/sdk/module"
)

// What plugins should cost at most: a verdict in microseconds, and shares of the
// rate of rows without.
const (
	verdictGoal    = 2
	treatedGoal    = 0.9
	inspectedGoal  = 0.5
	inspectingPath = "./bench/internal/inspecting"
)

// inspecting is the gate with a plugin that looks through one column of eight.
const inspecting = "inspecting"

// eightColumns is a result of eight columns, of which one is a note and one an
// e-mail address.
const eightColumns = "SELECT id, name, email, note, id AS a, name AS b, name AS c, name AS d FROM customers"

// measurePlugins measures what plugins cost: alone, beside the same work done
// natively, and in the gate.
func measurePlugins(ctx context.Context, s settings, l *lab) ([]goal, error) {
	guest, err := module.Build(ctx, inspectingPath)
	if err != nil {
		return nil, err
	}
	alone, err := measureGuests(ctx, s, guest)
	if err != nil {
		return nil, err
	}
	through, err := measurePluginRows(ctx, s, l, guest)
	return append(alone, through...), err
}

// measurePluginRows reads a large result through gates without and with plugins
// that treat and inspect it.
func measurePluginRows(ctx context.Context, s settings, l *lab, guest []byte) (goals []goal, err error) {
	var routes []*route
	defer func() {
		for _, r := range routes {
			err = errors.Join(err, r.close())
		}
	}()
	for _, name := range []string{gate, masking, inspecting} {
		r, err := startGate(ctx, name, s.gate, l, map[string][]byte{"inspecting.wasm": guest})
		if err != nil {
			return nil, err
		}
		routes = append(routes, r)
	}
	took, err := interleave(s.rounds, routes, func(r *route) (sample, error) {
		each, _, err := readRows(ctx, r, eightColumns, s.rows)
		return each, err
	})
	if err != nil {
		return nil, err
	}
	t := table{
		title:   fmt.Sprintf("One result of %d rows of 8 columns, one of which a plugin treats or inspects", s.rows),
		columns: []string{"route", "rows a second", "of gate", "CPU ns a row"},
	}
	for _, r := range routes {
		t.add(r.name, whole(1e6/took.time(r.name)), ratio(took.speed(r.name, gate)), whole(1000*took.cpu(r.name)))
	}
	return []goal{
		{what: "rows a second with a column treated, of gate's", got: took.speed(masking, gate), bound: treatedGoal, least: true},
		{what: "rows a second with a column inspected, of gate's", got: took.speed(inspecting, gate), bound: inspectedGoal, least: true},
	}, t.print(os.Stdout)
}

// native is what a plugin does, done without one.
type native struct{ treatments []event.Treatment }

func (native) Name() string { return "native" }

func (n native) Judge(context.Context, *event.Session, *event.Request) (event.Verdict, error) {
	return event.Verdict{Action: event.Allow}, nil
}

func (n native) Treat(context.Context, *event.Session, *event.Head) ([]event.Treatment, error) {
	return n.treatments, nil
}

func (native) Inspect(_ context.Context, _ *event.Session, rows *event.Rows, fields []int) (edits []event.Edit, _ error) {
	for i := range rows.Len() {
		for _, j := range fields {
			if from, to := scan.Find(rows.Cell(i, j)); from >= 0 {
				edits = append(edits, event.Edit{Row: i, Field: j, From: from, To: to, Treatment: event.Treatment{Kind: event.Redact}})
			}
		}
	}
	return edits, nil
}

// Fields of a result of which a plugin treats or inspects the last.
var pluginFields = func() (fields []event.Field) {
	for i := range 7 {
		fields = append(fields, event.Field{Name: strconv.Itoa(i), Type: "text", Origins: []string{"public.t." + strconv.Itoa(i)}, Lineage: event.LineageExact})
	}
	return append(fields, event.Field{Name: "note", Type: "text", Origins: []string{"public.customers.email"}, Lineage: event.LineageExact})
}()

// A pair is a plugin and the same done natively.
type pair struct {
	what           string
	plugin, native pipeline.Plugin
}

// measureGuests measures plugins in this process.
func measureGuests(ctx context.Context, s settings, guest []byte) (goals []goal, err error) {
	h, err := host.New(ctx, host.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.Close(ctx)) }()
	mask, err := plugins.Builtin("mask")
	if err != nil {
		return nil, err
	}
	load := func(name string, wasm []byte, config string) (*host.Session, error) {
		p, err := h.Load(ctx, name, wasm, []byte(config))
		if err != nil {
			return nil, err
		}
		return p.Open(ctx, pluginSession)
	}
	treats := func(kind event.TreatmentKind, keep uint8) native {
		ts := slices.Repeat([]event.Treatment{{Kind: event.Pass}}, len(pluginFields))
		ts[len(ts)-1] = event.Treatment{Kind: kind, Keep: keep}
		return native{ts}
	}
	empty, err := load("empty", module.Passing(len(pluginFields)), "{}")
	if err != nil {
		return nil, err
	}
	var pairs []pair
	for _, t := range []struct {
		config string
		native native
	}{
		{"redact", treats(event.Redact, 0)}, {"keep_last:4", treats(event.KeepLast, 4)}, {"hash", treats(event.Hash, 0)}, {"fake", treats(event.Fake, 0)},
	} {
		p, err := load("mask", mask, `{"columns": {"public.customers.email": "`+t.config+`"}, "detect": {"email": "pass", "card": "pass", "ssn": "pass"}}`)
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, pair{t.config, p, t.native})
	}
	p, err := load("inspecting", guest, "{}")
	if err != nil {
		return nil, err
	}
	pairs = append(pairs, pair{"inspection in the guest", p, treats(event.Inspect, 0)})

	verdict, err := measureVerdicts(ctx, s, empty)
	if err != nil {
		return nil, err
	}
	t := table{
		title:   "One column of eight, nanoseconds a value of the column, and how many times what the same takes natively",
		columns: []string{"plugin", "1 row", "10 rows", "100 rows", "1,000 rows", "natively", "times"},
	}
	for _, p := range pairs {
		cells := []string{p.what}
		var last [2]float64
		for _, rows := range []int{1, 10, 100, 1000} {
			if last, err = measurePair(ctx, s, p, rows); err != nil {
				return nil, err
			}
			cells = append(cells, whole(last[0]))
		}
		t.add(append(cells, whole(last[1]), ratio(last[0]/last[1]))...)
	}
	return []goal{{what: "microseconds that an empty plugin takes for a verdict", got: verdict, bound: verdictGoal}}, t.print(os.Stdout)
}

var pluginSession = &event.Session{ID: "bench", Protocol: "postgres", Resource: "bench", Principal: event.Principal{Subject: role, Name: role, Groups: []string{role}}}

// measureVerdicts returns what a verdict takes in microseconds, each on another
// request.
func measureVerdicts(ctx context.Context, s settings, p *host.Session) (float64, error) {
	n := 0
	var figures []float64
	for range s.rounds {
		each, err := spend(s.duration/10, func() error {
			n++
			_, err := p.Judge(ctx, pluginSession, &event.Request{
				Operation: "query", Payload: []byte("SELECT abalance FROM pgbench_accounts WHERE aid = " + strconv.Itoa(n)),
				Statements: []event.Statement{{Kind: "SELECT", Parent: -1, Runs: true, Reads: []event.Object{{Name: "pgbench_accounts"}}, Columns: []string{"abalance", "aid"}}},
			})
			return err
		})
		if err != nil {
			return 0, err
		}
		figures = append(figures, each/1000)
	}
	slices.Sort(figures)
	return figures[len(figures)/2], nil
}

// measurePair returns the nanoseconds that a value takes by a plugin and natively:
// medians of rounds in which they take turns.
func measurePair(ctx context.Context, s settings, p pair, n int) (each [2]float64, err error) {
	var all [2][]float64
	for range s.rounds {
		for i, side := range []pipeline.Plugin{p.plugin, p.native} {
			took, err := treat(ctx, s.duration/20, side, n)
			if err != nil {
				return each, err
			}
			all[i] = append(all[i], took/float64(n))
		}
	}
	for i := range all {
		slices.Sort(all[i])
		each[i] = all[i][len(all[i])/2]
	}
	return each, nil
}

// treat returns the nanoseconds that a batch of n rows takes in a pipeline with one
// plugin.
func treat(ctx context.Context, budget time.Duration, p pipeline.Plugin, n int) (float64, error) {
	session, err := pipeline.New(pipeline.Config{
		Terms:    pipeline.Terms{Session: pluginSession, Plugins: []pipeline.Plugin{p}},
		Recorder: unkept{}, Key: make([]byte, 32),
	})
	if err != nil {
		return 0, err
	}
	x := session.Refuse(ctx, &event.Request{}, event.Verdict{})
	if err := x.Head(ctx, &event.Head{Fields: pluginFields}); err != nil {
		return 0, err
	}
	columns, fields := x.Treated()
	value := []byte("a note of ordinary length, with number 4000123412341234")
	var rows event.Rows
	took, err := spend(budget, func() error {
		rows.Reset(fields)
		for range n {
			cells := rows.Grow()
			for k := range columns {
				cells[k] = value
			}
		}
		return x.Rows(ctx, &rows)
	})
	return took, errors.Join(err, session.Close(ctx, event.Notice{Code: "closed"}))
}

// spend calls f for about so long, and returns the nanoseconds that a call took.
func spend(budget time.Duration, f func() error) (float64, error) {
	n := 0
	begun := time.Now()
	for time.Since(begun) < budget {
		for range 16 {
			if err := f(); err != nil {
				return 0, err
			}
		}
		n += 16
	}
	return float64(time.Since(begun).Nanoseconds()) / float64(n), nil
}

// unkept records nothing.
type unkept struct{}

func (unkept) Append(event.Frame, ...[]byte) error { return nil }
func (unkept) Commit(context.Context) error        { return nil }

// pluginModule is the configuration of a plugin in a file, which pins it.
func pluginModule(name string, wasm []byte) string {
	return fmt.Sprintf("  %s: {module: %s.wasm, sha256: %x}\n", strings.TrimSuffix(name, ".wasm"), strings.TrimSuffix(name, ".wasm"), sha256.Sum256(wasm))
}
