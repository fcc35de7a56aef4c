package statement

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/core/event"
)

func TestShape(t *testing.T) {
	tests := []struct{ sql, shape string }{
		{"SELECT 1", "SELECT \x01"},
		{"SELECT 42, 1.5", "SELECT \x01, \x02"},
		{"select a1 from t2 where b = -7;", "select a1 from t2 where b = -\x01;"},
		{"SELECT 'x', 'it''s', ''", "SELECT '', '', ''"},
		{"SELECT 'é', \"Tablé 1\" FROM t", "SELECT '', \"Tablé 1\" FROM t"},
		{"SELECT $1, $2::int", "SELECT $1, $2::int"},
		{"SELECT date '2020-01-01'", "SELECT date ''"},
		{"SELECT 1; \n ", "SELECT \x01;"},

		{"SELECT 1; SELECT 2", ""},
		{"SELECT 1 -- x", ""},
		{"SELECT 1 /* x */", ""},
		{`SELECT 'a\'`, ""},
		{`SELECT E'a'`, ""},
		{`SELECT e'a'`, ""},
		{"SELECT B'1', 1", ""},
		{"SELECT X'1F'", ""},
		{"SELECT N'a'", ""},
		{"SELECT date'2020-01-01'", ""},
		{`SELECT U&'a'`, ""},
		{`SELECT U&"a"`, ""},
		{"SELECT 'a'\n'b'", ""},
		{"SELECT 'a' 'b'", ""},
		{"SELECT $$x$$", ""},
		{"SELECT $a$x$a$", ""},
		{"SELECT 1e5", ""},
		{"SELECT 1.5e3", ""},
		{"SELECT 1.", ""},
		{"SELECT .5", ""},
		{"SELECT 1a", ""},
		{"SELECT 0x1F", ""},
		{"SELECT 1_000", ""},
		{"SELECT 1234567890", ""},
		{"SELECT $1a", ""},
		{"SELECT é", ""},
		{"SELECT 'open", ""},
		{"SELECT \"open", ""},
		{"SELECT \x01", ""},
		{"SELECT 1'a'", ""},
	}
	for _, tt := range tests {
		got, ok := appendShape(nil, tt.sql)
		if ok != (tt.shape != "") || ok && string(got) != tt.shape {
			t.Errorf("%q: %q, %t", tt.sql, got, ok)
		}
	}
}

// A result that comes from a text with other literals is the one that the text
// would get by itself.
func TestShapesShareFacts(t *testing.T) {
	seed := uint64(7)
	random := rand.New(rand.NewPCG(seed, seed))
	hits := 0
	for range 200 {
		template := randomStatement(random)
		for range 8 {
			sql := fill(random, template)
			fresh, _, freshErr := shared.read(context.Background(), sql)
			_, cached := shared.cached(sql)
			got, err := shared.Analyze(context.Background(), sql)
			if freshErr != nil || err != nil {
				if err == nil && !strings.Contains(freshErr.Error(), "precision") {
					t.Fatalf("%s: accepted, but alone: %v", sql, freshErr)
				}
				continue
			}
			if cached {
				hits++
			}
			if diff := cmp.Diff(fresh.Statements, got.Statements); diff != "" {
				t.Fatalf("%s\n%s", sql, diff)
			}
			if got.Context != fresh.Context || got.DDL != fresh.DDL || got.Len() != fresh.Len() {
				t.Fatalf("%s: %+v, alone %+v", sql, got, fresh)
			}
		}
	}
	if hits < 150 {
		t.Errorf("%d results were shared only", hits)
	}
}

// cached returns a result that is kept under the text or its shape.
func (a *Analyzer) cached(sql string) (*Result, bool) {
	if key, ok := appendShape([]byte("s"), sql); ok {
		if r, ok := a.cache.get(key); ok && r != nil {
			return r, true
		}
	}
	return a.cache.get([]byte("t" + sql))
}

// fill puts random literals into a template's slots.
func fill(r *rand.Rand, template string) string {
	var out strings.Builder
	for part := range strings.SplitSeq(template, "#") {
		if out.Len() > 0 {
			if r.IntN(8) > 0 {
				out.WriteString(pick(r, "0", "1", "5", "'x'", "'%'", "''", "'on'"))
				out.WriteString(part)
				continue
			}
			out.WriteString(pick(r, "0", "1", "5", "17", "999999999", "1.0", "2.50", "'x'", "'%'", "'%%'", "'.*'", "''", "'it''s'",
				"'on'", "'row_security'", "'SELECT a FROM t'", "'DELETE FROM u'", "'1'", "-1", "1e3", "E'x'", "'é'", "$1", "NULL", "true"))
		}
		out.WriteString(part)
	}
	return out.String()
}

func pick(r *rand.Rand, choices ...string) string { return choices[r.IntN(len(choices))] }

// randomStatement writes a statement whose literals are slots.
func randomStatement(r *rand.Rand) string {
	switch r.IntN(8) {
	case 0, 1:
		return "SELECT " + randomValue(r, 2) + ", " + randomValue(r, 2) + " FROM t WHERE " + randomCondition(r, 2) + " LIMIT 3"
	case 2, 3:
		return "DELETE FROM t WHERE " + randomCondition(r, 3)
	case 4, 5:
		return "UPDATE t SET a = " + randomValue(r, 2) + " WHERE " + randomCondition(r, 3)
	case 6:
		return "INSERT INTO t (a, b) VALUES (" + randomValue(r, 2) + ", #) ON CONFLICT (a) DO UPDATE SET b = #"
	}
	return pick(r,
		"SET x = #", "SELECT set_config(#, #, true)", "SELECT query_to_xml(#, true, false, #)", "SELECT dblink_exec(#, #)",
		"EXPLAIN (ANALYZE #) SELECT #", "PREPARE p AS SELECT #", "VACUUM (FULL #) t", "SELECT # ; SELECT #",
		"MERGE INTO t USING u ON t.a = # WHEN MATCHED AND t.b LIKE # THEN DELETE", "SELECT a::float(#), interval # FROM t",
		"UPDATE pg_settings SET setting = # WHERE name = #", "SELECT ts_rewrite(a, #) FROM t", "FETCH # FROM c", "SELECT table_to_xml(#, true, true, #)")
}

func randomCondition(r *rand.Rand, depth int) string {
	if depth > 0 {
		switch r.IntN(5) {
		case 0:
			return "(" + randomCondition(r, depth-1) + " AND " + randomCondition(r, depth-1) + ")"
		case 1, 2:
			return "(" + randomCondition(r, depth-1) + " OR " + randomCondition(r, depth-1) + ")"
		case 3:
			return "NOT " + randomCondition(r, depth-1)
		}
	}
	value := randomValue(r, 1)
	return pick(r,
		"a = "+value, "a = #", "a <> #", "a < #", "a >= #", "# = #", "# < #", "# <> #", "a LIKE #", "a NOT LIKE #", "a ~ #", "a SIMILAR TO #",
		"a IS NULL", "a IS NOT NULL", "a IN (#, "+value+")", "a BETWEEN # AND "+value, "a = a + #", "a = a || #", "a = a * #", "#", "true",
		value+" = "+value, "a IS DISTINCT FROM "+value, "EXISTS (SELECT # FROM u WHERE u.a = t.a AND u.b = #)", "a IN (SELECT a FROM t WHERE # = #)",
		"CASE WHEN a = # THEN true ELSE # END", "(a = #) IS TRUE", "coalesce(a, #) = #")
}

func randomValue(r *rand.Rand, depth int) string {
	if depth > 0 {
		switch r.IntN(4) {
		case 0:
			return "f(" + randomValue(r, depth-1) + ", #)"
		case 1:
			return "(" + randomValue(r, depth-1) + pick(r, " + ", " - ", " * ", " || ") + "#)"
		case 2:
			return randomValue(r, depth-1) + "::text"
		}
	}
	return pick(r, "a", "b", "t.a", "#", "#", "now()")
}

// A cache that is full drops what was not used for longest.
func TestCacheIsBounded(t *testing.T) {
	c := newCache(2, 1<<20)
	r := &Result{Statements: []event.Statement{{Kind: "SELECT"}}}
	c.put("a", r)
	c.put("b", r)
	c.get([]byte("a"))
	c.put("c", r)
	for key, want := range map[string]bool{"a": true, "b": false, "c": true} {
		if _, got := c.get([]byte(key)); got != want {
			t.Errorf("%s is kept: %t", key, got)
		}
	}
	c = newCache(1000, 10_000)
	for i := range 100 {
		c.put(strings.Repeat("k", i), r)
	}
	if c.bytes > 10_000 || len(c.entries) == 0 {
		t.Errorf("%d entries of %d bytes", len(c.entries), c.bytes)
	}
	c.put(strings.Repeat("k", 5000), r)
	if _, ok := c.get([]byte(strings.Repeat("k", 5000))); ok {
		t.Error("one result took most of the cache")
	}
}
