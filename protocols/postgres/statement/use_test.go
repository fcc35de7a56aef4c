package statement

import (
	"strings"
	"testing"
)

func TestUse(t *testing.T) {
	for _, test := range []struct{ sql, chosen, counted, stored string }{
		{"SELECT a, t.b, * FROM t WHERE c = 1 AND d IN (1, $1) AND e IS NULL ORDER BY f", "", "", ""},
		{"SELECT upper(a), t FROM t", "", "", ""},
		{"SELECT 1 FROM t WHERE a > 1 AND b LIKE 'x%'", "", "", ""},
		{"SELECT 1 FROM t WHERE a > 1 AND b LIKE 'x%' AND c < 2", "", "c", ""},
		{"SELECT 1 FROM t JOIN u ON t.a = u.b JOIN v USING (c)", "a b c", "", ""},
		{"SELECT 1 FROM t NATURAL JOIN u", "*", "", ""},
		{"SELECT 1 FROM t, u WHERE t.a < u.b", "", "a b", ""},
		{"SELECT 1 FROM t WHERE upper(a) = 'x'", "a upper()", "", ""},
		{"SELECT x FROM (SELECT a AS x, b, upper(c) FROM t) q", "a c upper()", "", ""},
		{"SELECT x FROM t AS q (x, y)", "*", "", ""},
		{"SELECT 1 FROM (SELECT t FROM t) q", "*", "", ""},
		{"WITH q AS (SELECT a FROM t) SELECT a FROM q", "", "", ""},
		{"WITH q (x) AS (SELECT a FROM t) SELECT x FROM q", "*", "", ""},
		{"SELECT a FROM t UNION SELECT b FROM t", "", "", ""},
		{"SELECT x FROM (SELECT x FROM t UNION SELECT b FROM t) q", "b x", "", ""},
		{"SELECT 1 FROM t, generate_series(1, a) g", "generate_series()", "a", ""},
		{"SELECT generate_series(1, a) FROM t", "", "a", ""},
		{"SELECT 1 FROM t LIMIT (SELECT a FROM t)", "", "a", ""},
		{"SELECT 1 FROM t WHERE a @# 1", "", "a operator()", ""},
		{"INSERT INTO u SELECT a, t FROM t RETURNING b", "*", "", "* a"},
		{"INSERT INTO u (a) VALUES (1, $1)", "", "", ""},
		{"UPDATE t SET a = 1, b = c || d WHERE e = 2 RETURNING f", "", "", "c d"},
		{"CREATE TABLE u AS SELECT a FROM t", "", "", "a"},
		{"SELECT a INTO u FROM t", "", "", "a"},
		{"SELECT set_config('x', a, false) FROM t", "", "", "a"},
		{"DECLARE c CURSOR FOR SELECT a FROM t, u WHERE a = b", "a b", "", ""},
	} {
		u := analyze(t, test.sql).Use(0)
		for _, list := range []struct {
			name, want string
			got        []string
		}{{"chosen", test.chosen, u.Chosen}, {"counted", test.counted, u.Counted}, {"stored", test.stored, u.Stored}} {
			if got := strings.Join(list.got, " "); got != list.want {
				t.Errorf("%s: %s %q, want %q", test.sql, list.name, got, list.want)
			}
		}
	}
}

func TestConstants(t *testing.T) {
	for sql, want := range map[string]string{
		"SELECT 1, 'x', $1, NULL, a, 1 + 1, -1, TRUE":        "ccccxxcc",
		"SELECT 'x'::text, 1::public.t, current_user":        "cxc",
		"SELECT version(), public.version(), upper('x')":     "cxx",
		"SELECT nextval('s'), nextval(a), lastval()":         "cxc",
		"SELECT 1, * FROM t":                                 "",
		"SELECT 1 UNION SELECT 2":                            "",
		"VALUES (1, a), (2, 3)":                              "cx",
		"UPDATE t SET a = 1 RETURNING 1, a":                  "cx",
		"SHOW server_version":                                "c",
		"SHOW application_name":                              "x",
		"EXPLAIN SELECT 1":                                   "",
		"INSERT INTO t VALUES (1) RETURNING 'x', a, $1::int": "cxc",
	} {
		got := ""
		for _, is := range analyze(t, sql).Constants(0) {
			got += map[bool]string{true: "c", false: "x"}[is]
		}
		if got != want {
			t.Errorf("%s: %q, want %q", sql, got, want)
		}
	}
}
