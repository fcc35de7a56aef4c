package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/core/event"
	"gatehouse/plugins/cases"
	"gatehouse/plugins/host"
	"gatehouse/sdk/module"
)

func newPluginBench() *cobra.Command {
	var each time.Duration
	c := &cobra.Command{
		Use:   "bench MODULE",
		Short: "Measure what a module costs",
		Long: `Measure what a module costs: a request, a cell of results of 1 to 1,000 rows, an
instance. Beside it, in turn and in the same run, the same is measured of a module
that passes everything: what counts is the ratio. Requests differ each time, so
that nothing is remembered; what the gate remembers costs a hundredth.

A result has eight text columns, public.customers.a to h, of 12 bytes a value.`,
		Example: `  gatehouse plugin bench tellers.wasm
  gatehouse plugin bench tellers.wasm --settings tellers.yaml --time 2s`,
		Args: arguments("MODULE"),
	}
	var flags moduleFlags
	flags.addSettings(c)
	flags.addGrants(c)
	c.Flags().DurationVar(&each, "time", 300*time.Millisecond, "how long each figure is measured")
	c.RunE = func(c *cobra.Command, args []string) error {
		return flags.with(c.Context(), args[0], func(h *host.Host, wasm, config []byte) (err error) {
			b := bench{ctx: c.Context(), each: each}
			if b.sides[0], err = newBenched(c.Context(), h, pluginName(args[0]), wasm, config); err != nil {
				return err
			}
			if b.sides[1], err = newBenched(c.Context(), h, "passing", module.Passing(len(benchHead.Fields)), []byte("{}")); err != nil {
				return err
			}
			return b.run(c.OutOrStdout())
		})
	}
	return c
}

// A benched module is one under measurement.
type benched struct {
	name    string
	session *host.Session
	start   time.Duration // of an instance, with its configuration
	memory  int64
}

func newBenched(ctx context.Context, h *host.Host, name string, wasm, config []byte) (benched, error) {
	d, err := h.Describe(ctx, wasm)
	if err != nil {
		return benched{}, err
	}
	begin := time.Now()
	p, err := h.Load(ctx, name, wasm, config)
	if err != nil {
		return benched{}, err
	}
	b := benched{name: name, start: time.Since(begin), memory: d.Memory}
	b.session, err = p.Open(ctx, benchSession)
	return b, err
}

var benchSession = &event.Session{
	ID: "bench", Protocol: "postgres", Resource: "orders",
	Principal: event.Principal{Issuer: "https://issuer.example.com", Subject: "agent", Name: "agent@example.com", Groups: []string{"agents"}},
}

// A bench measures a module, and one that passes everything.
type bench struct {
	ctx   context.Context
	each  time.Duration
	sides [2]benched
}

// rounds is how often the sides take turns for a figure.
const rounds = 5

// measure returns the time of one f of each side: the median of rounds.
func (b *bench) measure(f func(*benched) error) (times [2]time.Duration, err error) {
	var all [2][]time.Duration
	for range rounds {
		for i := range b.sides {
			n := 0
			begin := time.Now()
			var took time.Duration
			for ; took < b.each/rounds; took = time.Since(begin) {
				for range 8 {
					if err := f(&b.sides[i]); err != nil {
						return times, err
					}
				}
				n += 8
			}
			all[i] = append(all[i], took/time.Duration(n))
		}
		if err := b.ctx.Err(); err != nil {
			return times, err
		}
	}
	for i := range all {
		slices.Sort(all[i])
		times[i] = all[i][rounds/2]
	}
	return times, nil
}

func (b *bench) run(out io.Writer) error {
	w := &errWriter{w: out}
	fmt.Fprintf(w, "%-24s%14s%14s%8s\n", "", shorten(oneLine(b.sides[0].name), 13), b.sides[1].name, "ratio")
	line := func(what string, t [2]time.Duration, per int, more string) {
		fmt.Fprintf(w, "%-24s%11.0f ns%11.0f ns%8.2f%s\n", what, float64(t[0])/float64(per), float64(t[1])/float64(per), float64(t[0])/float64(max(t[1], 1)), more)
	}
	if b.sides[0].session.Roles().Judge != nil {
		n := 0
		t, err := b.measure(func(s *benched) error {
			n++
			_, err := s.session.Roles().Judge.Judge(b.ctx, benchSession, &event.Request{
				Operation: "query", Payload: []byte("UPDATE orders SET state = $1 WHERE id = $2"), Params: [][]byte{[]byte("paid"), []byte("17")},
				Statements: []event.Statement{{Kind: "UPDATE", Parent: -1, Runs: true, Writes: []event.Object{{Name: "orders"}}, Columns: []string{"state", "id"}, Scope: event.ScopeRestricted}},
				Attrs:      []event.Attr{{Key: "gatehouse.bench", Value: strconv.Itoa(n)}},
			})
			return err
		})
		if err != nil {
			return err
		}
		line("a request", t, 1, "")
	}
	if b.sides[0].session.Roles().Masker != nil {
		for _, rows := range []int{1, 10, 100, 1000} {
			cells := benchRows(rows)
			t, err := b.measure(func(s *benched) error {
				_, err := cases.Mask(b.ctx, s.session, benchSession, benchHead, cells)
				return err
			})
			if err != nil {
				return err
			}
			n := rows * len(benchHead.Fields)
			line(fmt.Sprintf("a cell of %s", count(rows, "row")), t, n, fmt.Sprintf("  %.0f MB/s", float64(n*benchValue)/t[0].Seconds()/1e6))
		}
	}
	fmt.Fprintf(w, "%-24s%11.1f ms%11.1f ms\n", "to load, compiled before", b.sides[0].start.Seconds()*1e3, b.sides[1].start.Seconds()*1e3)
	fmt.Fprintf(w, "%-24s%10d KiB%10d KiB\n", "memory at first", b.sides[0].memory>>10, b.sides[1].memory>>10)
	return w.err
}

// An errWriter keeps the first error.
type errWriter struct {
	w   io.Writer
	err error
}

func (w *errWriter) Write(b []byte) (int, error) {
	if w.err == nil {
		_, w.err = w.w.Write(b)
	}
	return len(b), w.err
}

// benchValue is how long the values of a result are, in bytes.
const benchValue = 12

var benchHead = func() *event.Head {
	h := new(event.Head)
	for c := 'a'; c <= 'h'; c++ {
		h.Fields = append(h.Fields, event.Field{Name: string(c), Type: "text", Origins: []string{"public.customers." + string(c)}, Lineage: event.LineageExact})
	}
	return h
}()

func benchRows(n int) (rows [][]*string) {
	for i := range n {
		row := make([]*string, len(benchHead.Fields))
		for j := range row {
			v := strings.Repeat(strconv.Itoa((i+j)%10), benchValue)
			row[j] = &v
		}
		rows = append(rows, row)
	}
	return rows
}
