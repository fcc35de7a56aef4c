package postgres_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
)

// A statement that is held, in both protocols. Its outcome shows in table t.
var heldMessages = map[string][]pgproto3.FrontendMessage{
	"simple": {&pgproto3.Query{String: "INSERT INTO t VALUES (1) RETURNING 'ask'"}},
	"extended": {
		&pgproto3.Parse{Query: "INSERT INTO t VALUES ($1) RETURNING 'ask'"},
		&pgproto3.Bind{Parameters: [][]byte{[]byte("1")}},
		&pgproto3.Execute{}, &pgproto3.Sync{},
	},
}

// held sends a statement that is held, and returns when it waits.
func held(t *testing.T, g *gate, mode string) (*raw, *event.Pending) {
	t.Helper()
	r := g.raw(t)
	r.send(heldMessages[mode]...)
	p := <-g.desk.pending
	for {
		if m := r.next(); strings.HasPrefix(m, "N gatehouse: waiting for approval "+p.ID) {
			return r, p
		} else if m != "1" {
			t.Fatalf("%s: got %q before the notice", mode, m)
		}
	}
}

func (g *gate) count(t *testing.T) string { return g.one(t, "SELECT count(*)::text FROM t") }

func TestHoldApproved(t *testing.T) {
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{rule(words)}})
	n := 0
	for mode := range heldMessages {
		r, p := held(t, g, mode)
		if p.Verdict.Rule != "test/ask" || !strings.Contains(string(p.Request.Payload), "INSERT INTO t") {
			t.Errorf("%s: pending %+v", mode, p)
		}
		if mode == "extended" && (len(p.Request.Params) != 1 || string(p.Request.Params[0]) != "1") {
			t.Errorf("the approver sees parameters %q", p.Request.Params)
		}
		if got := g.count(t); got != []string{"0", "1"}[n] {
			t.Errorf("%s: it ran before it was approved", mode)
		}
		g.desk.decide <- event.Decision{Approved: true, By: event.Principal{Name: "ann"}}
		got := r.until("Z")
		if diff := cmp.Diff([]string{"D ask", "C INSERT 0 1", "Z I"}, got[len(got)-3:]); diff != "" {
			t.Errorf("%s:\n%s", mode, diff)
		}
		n++
	}
	if got := g.count(t); got != "2" {
		t.Errorf("%s rows", got)
	}
}

func TestHoldEndsWithoutRunning(t *testing.T) {
	for mode := range heldMessages {
		for _, c := range []struct {
			name, code string
			holdFor    time.Duration
			end        func(g *gate, r *raw)
		}{
			{"denied", "E 42501", 0, func(g *gate, _ *raw) { g.desk.decide <- event.Decision{Comment: "no"} }},
			{"timed out", "E 42501", 100 * time.Millisecond, func(g *gate, _ *raw) { <-g.desk.ended }},
		} {
			g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{rule(words)}, holdFor: c.holdFor})
			r, _ := held(t, g, mode)
			c.end(g, r)
			if got := r.until("Z"); !cmp.Equal(got[len(got)-2:], []string{c.code, "Z I"}) {
				t.Errorf("%s, %s: %q", c.name, mode, got)
			}
			if got := g.count(t); got != "0" {
				t.Errorf("%s, %s: %s rows", c.name, mode, got)
			}
			r.send(&pgproto3.Query{String: "SELECT 1"})
			if got := r.until("Z"); !cmp.Equal(got, []string{"T", "D 1", "C SELECT 1", "Z I"}) {
				t.Errorf("%s, %s, afterwards: %q", c.name, mode, got)
			}
		}
	}
}

func TestHoldInATransactionFailsItWhenDenied(t *testing.T) {
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{rule(words)}})
	r := g.raw(t)
	r.send(&pgproto3.Query{String: "BEGIN"}, &pgproto3.Query{String: "INSERT INTO t VALUES (1)"}, &pgproto3.Query{String: "DELETE FROM t WHERE 'ask' <> ''"})
	p := <-g.desk.pending
	attrs := map[string]string{}
	for _, a := range p.Request.Attrs {
		attrs[a.Key] = a.Value
	}
	if attrs["db.transaction"] != "open" || attrs["db.locks"] != "RowExclusiveLock on public.t" {
		t.Errorf("the approver is told %v", attrs)
	}
	g.desk.decide <- event.Decision{}
	r.until("E 42501")
	r.send(&pgproto3.Query{String: "COMMIT"})
	if got := r.until("C"); !cmp.Equal(got, []string{"Z E", "C ROLLBACK"}) {
		t.Errorf("got %q", got)
	}
	if got := g.count(t); got != "0" {
		t.Errorf("%s rows", got)
	}
}

func TestHoldCancelled(t *testing.T) {
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{rule(words)}})
	other := g.connect(t, "") // never touched by the cancel
	for _, mode := range []string{"simple_protocol", "exec", "cache_statement"} {
		c := g.connect(t, "&default_query_exec_mode="+mode)
		failed := make(chan error, 1)
		go func() {
			_, err := c.Exec(context.Background(), "INSERT INTO t VALUES ($1) RETURNING 'ask'", 1)
			failed <- err
		}()
		<-g.desk.pending
		if err := c.PgConn().CancelRequest(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-failed; err == nil || !strings.Contains(err.Error(), "57014") {
			t.Errorf("%s: the held statement ended with %v", mode, err)
		}
		if err := <-g.desk.ended; err == nil || !strings.Contains(err.Error(), "canceled") {
			t.Errorf("%s: the prompt ended with %v", mode, err)
		}
		if err := errors.Join(c.Ping(t.Context()), other.Ping(t.Context())); err != nil {
			t.Errorf("%s: afterwards: %v", mode, err)
		}
	}
	if got := g.count(t); got != "0" {
		t.Errorf("%s rows", got)
	}
}

func TestHangUpWithdrawsTheHold(t *testing.T) {
	for mode := range heldMessages {
		for _, more := range []int{0, 10_000} { // further requests behind the held one
			g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{rule(words)}})
			r, _ := held(t, g, mode)
			if more > 0 {
				r.send(&pgproto3.Query{String: "SELECT '" + strings.Repeat("x", more) + "'"})
			}
			r.Close()
			<-g.desk.ended
			if got := g.count(t); got != "0" {
				t.Errorf("%s: %s rows", mode, got)
			}
		}
	}
}

// P14: nothing that is sent during a hold runs ahead of it, or is lost.
func TestRequestsBehindAHoldKeepTheirOrder(t *testing.T) {
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{rule(words)}})
	r, _ := held(t, g, "simple")
	sent := make(chan struct{})
	const n, size = 100, 100_000
	go func() {
		defer close(sent)
		for range n {
			r.send(&pgproto3.Parse{Query: "INSERT INTO t SELECT length($1)"},
				&pgproto3.Bind{Parameters: [][]byte{[]byte(strings.Repeat("x", size))}}, &pgproto3.Execute{})
		}
		r.send(&pgproto3.Sync{})
	}()
	if got := g.count(t); got != "0" {
		t.Errorf("%s rows while it is held", got)
	}
	g.desk.decide <- event.Decision{Approved: true}
	r.until("Z")
	if got := r.until("Z"); len(got) != 3*n+1 {
		t.Errorf("%d replies: %.300q", len(got), got)
	}
	<-sent
	if got := g.count(t); got != "101" {
		t.Errorf("%s rows", got)
	}
}

func TestCancelReachesTheRightSession(t *testing.T) {
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{rule(words)}})
	slow, other := g.connect(t, ""), g.connect(t, "")
	ends := make(chan error, 2)
	run := func(exec func(string) error, sql string) {
		go func() { ends <- exec(sql) }()
	}
	run(func(sql string) error { _, err := slow.Exec(context.Background(), sql); return err }, "SELECT pg_sleep(60)")
	waitFor(t, func() bool {
		return g.one(t, "SELECT count(*)::text FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'") == "1"
	})
	if err := slow.PgConn().CancelRequest(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ends; err == nil || !strings.Contains(err.Error(), "57014") {
		t.Errorf("the cancelled statement ended with %v", err)
	}
	if err := other.Ping(t.Context()); err != nil {
		t.Errorf("another session: %v", err)
	}
}

// waitFor waits for something that another process does.
func waitFor(t testing.TB, what func() bool) {
	t.Helper()
	for began := time.Now(); time.Since(began) < hangs; time.Sleep(10 * time.Millisecond) {
		if what() {
			return
		}
	}
	t.Fatal("it did not happen")
}

// Whatever notices of the server a client wants to have, it learns what it waits
// for.
func TestHoldsAreToldAtEveryLevelOfMessages(t *testing.T) {
	g := startGate(t, gateConfig{plugins: []pipeline.Plugin{rule(words)}})
	r := dialRaw(t, g.addr, map[string]string{"user": "agent", "database": "orders", "client_min_messages": "error"}, "")
	r.expect("R")
	r.send(&pgproto3.PasswordMessage{Password: "good"})
	r.until("Z")
	r.send(simply("DO $$ BEGIN RAISE WARNING 'unwanted'; END $$")...)
	if got := r.until("Z"); !cmp.Equal(got, []string{"C DO", "Z I"}) {
		t.Errorf("got %q", got)
	}
	r.send(simply("SELECT 'ask'")...)
	r.expect("N gatehouse: waiting for approval ")
	<-g.desk.pending
	g.desk.decide <- event.Decision{Approved: true}
	r.until("Z")
}
