package postgres_test

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/core/proxy"
	"gatehouse/core/quota"
	"gatehouse/protocols/postgres"
)

// try begins a session with a password and returns what the gate says of it:
// "ok", or the error's code.
func (g *gate) try(t *testing.T, password string) (*raw, string) {
	t.Helper()
	r := dialRaw(t, g.addr, map[string]string{"user": "agent", "database": "orders"}, "")
	m := r.next()
	if m == "R" {
		r.send(&pgproto3.PasswordMessage{Password: password})
		m = r.next()
	}
	if code, refused := strings.CutPrefix(m, "E "); refused {
		r.gone()
		return r, code
	}
	r.until("Z")
	return r, "ok"
}

// P10: of one address there may be so many that do not say who they are.
func TestTooManyConnections(t *testing.T) {
	g := startGate(t, gateConfig{door: proxy.Limits{Connections: 2}})
	g.raw(t)
	second := g.raw(t)
	if _, got := g.try(t, "good"); got != "53300" {
		t.Errorf("the third: %s", got)
	}
	second.Close()
	waitFor(t, func() bool { _, got := g.try(t, "good"); return got == "ok" })

	g = startGate(t, gateConfig{door: proxy.Limits{UnauthenticatedAddress: 2}})
	for range 2 { // which say nothing more
		dialRaw(t, g.addr, map[string]string{"user": "agent", "database": "orders"}, "").expect("R")
	}
	if _, got := g.try(t, "good"); got != "53300" {
		t.Errorf("beside two that do not say who they are: %s", got)
	}
}

func TestFailedAuthenticationsAreLimited(t *testing.T) {
	g := startGate(t, gateConfig{door: proxy.Limits{Failures: 2}})
	for _, want := range []string{"28P01", "28P01", "28000"} {
		if _, got := g.try(t, "bad"); got != want {
			t.Errorf("a bad token: %s, want %s", got, want)
		}
	}
}

// Of an address that guesses keys no cancel request is looked at any more.
func TestGuessedCancelKeysAreLimited(t *testing.T) {
	g := startGate(t, gateConfig{limits: postgres.Limits{WrongKeys: 3}})
	r := dialRaw(t, g.addr, map[string]string{"user": "agent", "database": "orders"}, "good")
	var key []byte
	for key == nil {
		if kind, body := r.message(); kind == 'K' {
			key = body
		}
	}
	r.until("Z")
	cancel := func(key []byte) {
		c := g.dial(t)
		c.bytes(12+len(key)-4, 80877102, string(key))
		c.gone() // once it was carried out, or dropped
	}
	cancel(key)
	wrong := slices.Clone(key)
	binary.BigEndian.PutUint32(wrong[4:], binary.BigEndian.Uint32(wrong[4:])+1)
	for range 3 {
		cancel(wrong)
	}
	if got := g.protocol.Dropped(); got != 0 {
		t.Errorf("%d were dropped within the limit", got)
	}
	cancel(key)
	if got := g.protocol.Dropped(); got != 1 {
		t.Errorf("%d were dropped beyond the limit, want 1", got)
	}
}

func TestIdleSessionsEnd(t *testing.T) {
	t.Parallel()
	g := startGate(t, gateConfig{limits: postgres.Limits{Idle: 3 * time.Second}})
	r := g.raw(t)
	r.send(sql("SELECT pg_sleep(4)")) // which is not idle
	if got := r.until("Z"); !slices.Contains(got, "C SELECT 1") {
		t.Errorf("got %q", got)
	}
	r.send(sql("BEGIN")) // nor is this, by this limit
	r.until("Z")
	waitFor(t, func() bool {
		return g.one(t, "SELECT count(*)::text FROM pg_stat_activity WHERE state = 'idle in transaction' AND state_change < now() - interval '4 seconds' AND datname = current_database()") == "1"
	})
	r.send(sql("COMMIT"))
	r.until("Z")
	r.expect("E 57P05")
	r.gone()
}

func TestSessionsIdleInATransactionEnd(t *testing.T) {
	t.Parallel()
	g := startGate(t, gateConfig{sql: customersSQL, limits: postgres.Limits{IdleInTransaction: time.Second}})
	idle := g.raw(t)
	r := g.raw(t)
	r.send(sql("BEGIN; DELETE FROM customers"))
	r.until("Z")
	r.expect("E 25P03")
	r.gone()
	if got := g.one(t, "SELECT count(*)::text FROM customers"); got != "2" {
		t.Errorf("%s customers are left", got)
	}
	idle.send(sql("SELECT 1"))
	if got := idle.until("Z"); !slices.Contains(got, "D 1") {
		t.Errorf("a session outside of a transaction: %q", got)
	}
}

// account is the quota of one principal.
func account(t *testing.T, l quota.Limit) pipeline.Quota {
	t.Helper()
	a, err := quota.NewLedger().Open(event.Principal{Subject: "agent"}, "p", "", l)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// A quota is a bound: the row that would go beyond it does not go out, however
// it is asked for, and ends the session at a frame's border. Then requests are
// refused, and are told when not any more.
func TestQuota(t *testing.T) {
	const rows = "SELECT g, 'v' || g FROM generate_series(1, 10) g"
	for name, plugins := range map[string][]pipeline.Plugin{"plain": nil, "described": {hideEmail}, "treated": {fieldMasker("?column?")}} {
		for _, extended := range []bool{false, true} {
			g := startGate(t, gateConfig{plugins: plugins})
			g.policy.quota = account(t, quota.Limit{Rows: 14})
			ask := func(r *raw) {
				if extended {
					r.send(&pgproto3.Parse{Query: rows}, &pgproto3.Bind{}, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}, &pgproto3.Sync{})
				} else {
					r.send(sql(rows))
				}
			}
			got := func(ms []string) (n int) {
				for _, m := range ms {
					if strings.HasPrefix(m, "D ") {
						n++
					}
				}
				return n
			}
			r, other := g.raw(t), g.raw(t)
			ask(r)
			if n := got(r.until("Z")); n != 10 {
				t.Errorf("%s, extended %t: %d rows within the quota", name, extended, n)
			}
			ask(other) // counts with the first
			ms := other.until("E")
			if n := got(ms); n != 4 || ms[len(ms)-1] != "E 53400" {
				t.Errorf("%s, extended %t: %d rows, then %q", name, extended, n, ms[len(ms)-1])
			}
			other.gone()
			r.send(sql("SELECT 1"))
			kind, body := r.message()
			var m pgproto3.ErrorResponse
			if err := m.Decode(body); err != nil || kind != 'E' || m.Code != "53400" || m.Severity != "ERROR" || !strings.HasPrefix(m.Hint, "Some of it is free again at ") {
				t.Errorf("%s, extended %t: the next request got %q %+v, %v", name, extended, kind, m, err)
			}
			r.expect("Z I")
		}
	}
}

// Whoever has nothing left can still end what is open.
func TestQuotaLetsTransactionsEnd(t *testing.T) {
	g := startGate(t, gateConfig{})
	g.policy.quota = account(t, quota.Limit{Rows: 2})
	r := g.raw(t)
	for _, c := range [][]string{
		{"BEGIN", "C BEGIN", "Z T"}, {"SAVEPOINT s", "C SAVEPOINT", "Z T"}, {"SELECT generate_series(1, 2)", "T", "D 1", "D 2", "C SELECT 2", "Z T"},
		{"SELECT 1", "E 53400", "Z E"}, {"ROLLBACK TO s", "C ROLLBACK", "Z T"}, {"RELEASE s", "C RELEASE", "Z T"}, {"COMMIT; SELECT 1", "E 53400", "Z E"},
		{"ROLLBACK", "C ROLLBACK", "Z I"}, {"BEGIN", "E 53400", "Z I"},
	} {
		r.send(sql(c[0]))
		if got := r.until("Z"); !slices.Equal(got, c[1:]) {
			t.Errorf("%s: %q", c[0], got)
		}
	}
	for _, text := range []string{"COMMIT", "ROLLBACK"} {
		r.send(extendedly(text)...)
		if got := r.until("Z"); !slices.Contains(got, "C "+text) {
			t.Errorf("%s: %q", text, got)
		}
	}
}

func TestQuotaOfBytes(t *testing.T) {
	g := startGate(t, gateConfig{})
	g.policy.quota = account(t, quota.Limit{Bytes: 3000})
	r := g.raw(t)
	r.send(sql("SELECT repeat('x', 989) FROM generate_series(1, 9)"))
	ms := r.until("E")
	if n := slices.IndexFunc(ms, func(m string) bool { return m == "E 53400" }); n != 4 { // behind T and three rows
		t.Errorf("got %d messages, the last %q", len(ms), ms[len(ms)-1])
	}
	r.gone()
}

// COPY is bounded row by row, too.
func TestQuotaOfCopiedRows(t *testing.T) {
	for name, plugins := range map[string][]pipeline.Plugin{"plain": nil, "treated": {columns{"public.customers.email": {Kind: event.Redact}}}} {
		g := startGate(t, gateConfig{sql: customersSQL, plugins: plugins})
		g.policy.quota = account(t, quota.Limit{Rows: 3})
		r := g.raw(t)
		for _, want := range []int{2, 1} {
			r.send(sql("COPY customers TO STDOUT"))
			n := 0
			for m := r.next(); !strings.HasPrefix(m, "Z") && !strings.HasPrefix(m, "E"); m = r.next() {
				if m == "d" {
					n++
				}
			}
			if n != want {
				t.Errorf("%s: %d rows, want %d", name, n, want)
			}
		}
		r.gone()
	}
}
