package postgres_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/pipeline"
)

// PostgreSQL cuts the names of statements and portals at 63 bytes. Two names
// that the gate takes for different ones would be one to the server: what is
// judged, held or masked under the one would run under the other.
func TestNamesThatTheServerWouldCutAreRefused(t *testing.T) {
	stem, other := strings.Repeat("n", 63), strings.Repeat("o", 63)
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{rule(words), columns{"public.customers.email": {}}}})
	r := g.raw(t)
	ask := func(ms ...pgproto3.FrontendMessage) []string {
		t.Helper()
		r.send(append(ms, &pgproto3.Sync{})...)
		return r.until("Z")
	}
	refused := []string{"E 42622", "Z I"}
	for name, ms := range map[string][]pgproto3.FrontendMessage{
		"Parse":              {&pgproto3.Parse{Name: stem + "a", Query: "SELECT 1"}},
		"Bind to":            {&pgproto3.Parse{Query: "SELECT 1"}, &pgproto3.Bind{DestinationPortal: stem + "a"}},
		"Bind of":            {&pgproto3.Bind{PreparedStatement: stem + "a"}},
		"Execute":            {&pgproto3.Execute{Portal: stem + "a"}},
		"Describe statement": {&pgproto3.Describe{ObjectType: 'S', Name: stem + "a"}},
		"Describe portal":    {&pgproto3.Describe{ObjectType: 'P', Name: stem + "a"}},
		"Close statement":    {&pgproto3.Close{ObjectType: 'S', Name: stem + "a"}},
		"Close portal":       {&pgproto3.Close{ObjectType: 'P', Name: stem + "a"}},
	} {
		got := ask(ms...)
		if !cmp.Equal(got[len(got)-2:], refused) {
			t.Errorf("%s: %q", name, got)
		}
	}

	// The longest name passes, and SQL's long names mean what the server makes
	// of them.
	if got := ask(&pgproto3.Parse{Name: other, Query: "SELECT 1"}, &pgproto3.Bind{PreparedStatement: other}, &pgproto3.Execute{}); !cmp.Equal(got, []string{"1", "2", "D 1", "C SELECT 1", "Z I"}) {
		t.Errorf("a name of 63 bytes: %q", got)
	}
	r.send(&pgproto3.Query{String: "EXECUTE " + other + "b"})
	if got := r.until("Z"); !cmp.Equal(got[len(got)-4:], []string{"T", "D 1", "C SELECT 1", "Z I"}) {
		t.Errorf("EXECUTE of a longer name: %q", got)
	}

	// A statement that is to be held cannot take the place of a harmless one.
	ask(&pgproto3.Parse{Name: stem + "a", Query: "SELECT 1"})
	ask(&pgproto3.Close{ObjectType: 'S', Name: stem})
	ask(&pgproto3.Parse{Name: stem + "b", Query: "INSERT INTO t VALUES (1) RETURNING 'ask'"})
	ask(&pgproto3.Bind{PreparedStatement: stem + "a"}, &pgproto3.Execute{})
	if n := g.count(t); n != "0" {
		t.Errorf("a held statement ran: %s rows", n)
	}
	// Nor rows take a description that masks other columns.
	got := ask(&pgproto3.Parse{Query: "SELECT name, email FROM customers WHERE id = 1"}, &pgproto3.Bind{DestinationPortal: stem + "a"},
		&pgproto3.Describe{ObjectType: 'P', Name: stem + "a"}, &pgproto3.Close{ObjectType: 'P', Name: stem + "b"},
		&pgproto3.Parse{Query: "SELECT email, name FROM customers WHERE id = 1"}, &pgproto3.Bind{DestinationPortal: stem + "b"},
		&pgproto3.Execute{Portal: stem + "a"})
	if strings.Contains(strings.Join(got, " "), "user1@") {
		t.Errorf("an address came through: %q", got)
	}
}

// The unnamed portal that a failed simple query leaves is there, and cannot run.
func TestPortalsThatFailedQueriesLeave(t *testing.T) {
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{rule(words), columns{"public.customers.email": {}}}})
	for name, r := range map[string]*raw{"server": g.rawDirect(t), "gate": g.raw(t)} {
		for sql, code := range map[string]string{
			"SELECT 1 / x FROM (SELECT 0 OFFSET 0) AS t (x)": "E 25P02", // fails as it runs
			"SELECT missing":                "E 34000", // and this before
			"DELETE FROM customers WHERE x": "E 34000",
			"LOCK TABLE missing":            "E 25P02",
			"SELECT 1; SELECT missing":      "E 34000",
			"DELETE FROM t WHERE 1 / i > 0": "E 34000",
			"SAVEPOINT s; ROLLBACK TO SAVEPOINT s; RELEASE SAVEPOINT missing": "E 25P02",
		} {
			r.send(&pgproto3.Query{String: "BEGIN"}, &pgproto3.Query{String: sql}, &pgproto3.Execute{}, &pgproto3.Sync{}, &pgproto3.Query{String: "ROLLBACK"})
			r.until("Z T")
			r.until("Z E")
			if got := r.until("Z"); !cmp.Equal(got, []string{code, "Z E"}) {
				t.Errorf("%s: an Execute after %s: %q, want %s", name, sql, got, code)
			}
			r.until("Z I")
		}
	}
}
