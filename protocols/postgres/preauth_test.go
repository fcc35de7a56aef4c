package postgres_test

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/proxy"
	"gatehouse/protocols/postgres"
)

// P11: what clients take of memory before they have said who they are follows
// what they sent, not what they announced, and they hold up nobody.
func TestP11MemoryBeforeAuthentication(t *testing.T) {
	const n, announced = 2000, 65_000
	g := startGate(t, gateConfig{limits: postgres.Limits{StartupTime: 5 * time.Minute},
		door: proxy.Limits{Unauthenticated: 2 * n, UnauthenticatedAddress: 2 * n}})
	g.connect(t, "").Close(t.Context()) // what is made once is made now
	used := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc + m.StackInuse)
	}
	before := used()
	var all [n]*raw
	for i := range all {
		all[i] = dialRaw(t, g.addr, map[string]string{"user": "agent", "database": "orders"}, "")
		if err := all[i].SetDeadline(time.Now().Add(hangs)); err != nil {
			t.Fatal(err)
		}
		all[i].bytes("p", announced, "x")
	}
	for _, r := range all {
		r.expect("R")
	}
	if err := g.connect(t, "").Ping(t.Context()); err != nil {
		t.Errorf("beside them: %v", err)
	}
	if each := (used() - before) / n; each > announced/2 {
		t.Errorf("each of %d connections that announced %d bytes and sent one took %d", n, announced, each)
	}
	for _, r := range []*raw{all[0], all[n-1]} { // they were waited for
		r.bytes(strings.Repeat("x", announced-6), "\x00")
		r.expect("E 28P01")
	}
}

// P03: lengths that do not fit the message around them, of a value and of an
// array of values, are violations, and what lies behind is not looked at as part
// of it.
func TestP03LengthsOfGigabytes(t *testing.T) {
	g := startGate(t, gateConfig{sql: customers})
	for name, bs := range map[string][]any{
		"a value of 4 GiB less one":       {"B", 4 + 6 + 4 + 2, "\x00\x00\x00\x00\x00\x01", -2, "\x00\x00"},
		"a value of 1 GiB":                {"B", 4 + 6 + 4 + 2, "\x00\x00\x00\x00\x00\x01", 1 << 30, "\x00\x00"},
		"a value that ends at the border": {"B", 4 + 6 + 4 + 2, "\x00\x00\x00\x00\x00\x01", 3, "\x00\x00"},
		"a value with a Query inside":     {"B", 4 + 6 + 4, "\x00\x00\x00\x00\x00\x01", 22, "Q", 17, "DROP TABLE t\x00"},
		"an argument of 2 GiB":            {"F", 4 + 4 + 4 + 4 + 2, 1598, "\x00\x00\x00\x01", 0x7fffffff, "\x00\x00"},
		"65535 parameters of 32 bits":     {"P", 4 + 10 + 2, "\x00SELECT 1\x00\xff\xff"},
	} {
		r := g.raw(t)
		r.bytes(bs...)
		r.until("E 08P01")
		r.gone()
		if g.one(t, "SELECT count(*)::text FROM pg_class WHERE relname = 't'") != "1" {
			t.Fatalf("%s: the Query ran", name)
		}
	}
	r := g.raw(t)
	r.send(&pgproto3.Query{String: "SELECT 1"})
	r.until("Z I")
}
