package statement_test

import (
	"slices"
	"strings"
	"testing"

	"gatehouse/protocols/postgres/statement"
)

// What rows there are, or their order, depends on the column p of t, or on nothing
// but what is listed.
func TestPredicates(t *testing.T) {
	a := statement.NewAnalyzer(statement.Limits{})
	for sql, want := range map[string]string{
		"SELECT p, a FROM t":                                                                 "",
		"SELECT upper(p) || a, a + 1 FROM t":                                                 "",
		"SELECT a FROM t WHERE p = 'x'":                                                      "p",
		"SELECT a FROM t x WHERE x.p LIKE 'x%'":                                              "t.p",
		"SELECT a FROM t WHERE lower(p) BETWEEN $1 AND $2":                                   "p",
		"SELECT a FROM t ORDER BY p DESC":                                                    "p",
		"SELECT p, a FROM t ORDER BY 1":                                                      "a p",
		"SELECT a, p AS z FROM t ORDER BY z":                                                 "p z",
		"SELECT * FROM t ORDER BY 2":                                                         "*",
		"SELECT count(*) FROM t GROUP BY p":                                                  "p",
		"SELECT a FROM t GROUP BY a HAVING max(p) > 'x'":                                     "a p",
		"SELECT DISTINCT p FROM t":                                                           "p",
		"SELECT DISTINCT ON (p) a FROM t":                                                    "p",
		"SELECT count(DISTINCT p) FROM t":                                                    "p",
		"SELECT count(*) FILTER (WHERE p > 'x') FROM t":                                      "p",
		"SELECT string_agg(a, ',' ORDER BY p) FROM t":                                        "p",
		"SELECT rank() OVER (ORDER BY p) FROM t":                                             "p",
		"SELECT rank() OVER w FROM t WINDOW w AS (PARTITION BY p)":                           "p",
		"SELECT CASE WHEN p = 'x' THEN a END FROM t":                                         "p",
		"SELECT CASE p WHEN 'x' THEN a END FROM t":                                           "p",
		"SELECT CASE WHEN a THEN p END FROM t":                                               "a",
		"SELECT p = 'x' FROM t":                                                              "p",
		"SELECT p IS NULL, nullif(p, 'x') FROM t":                                            "p",
		"SELECT p IN ('x', 'y'), greatest(p, 'x') FROM t":                                    "p",
		"SELECT starts_with(p, 'x'), texteq(p, 'x') FROM t":                                  "p",
		"SELECT a FROM t JOIN u ON t.p = u.q":                                                "t.p u.q",
		"SELECT a FROM t JOIN u USING (p)":                                                   "p",
		"SELECT a FROM t NATURAL JOIN u":                                                     "*",
		"SELECT a FROM t LIMIT (SELECT length(p) FROM t)":                                    "p",
		"SELECT a FROM t WHERE EXISTS (SELECT FROM u WHERE u.q = p)":                         "p u.q",
		"SELECT a FROM (SELECT a FROM t WHERE p > 'x') s":                                    "p",
		"WITH c AS (SELECT a FROM t WHERE p > 'x') SELECT a FROM c":                          "p",
		"SELECT a FROM t WHERE t = ROW(1, 'x')":                                              "t t.*",
		"UPDATE t SET a = 1 WHERE p = 'x'":                                                   "p",
		"UPDATE t SET p = 'x' WHERE a = 1":                                                   "a",
		"DELETE FROM t WHERE p ~ 'x'":                                                        "p",
		"INSERT INTO t (p) VALUES ('x')":                                                     "",
		"INSERT INTO t (p) VALUES ('x') ON CONFLICT (a) DO UPDATE SET a = 1 WHERE t.p = 'x'": "t.p",
		"MERGE INTO t USING u ON t.a = u.a WHEN MATCHED AND t.p = 'x' THEN DELETE":           "t.a t.p u.a",
		"PREPARE s AS SELECT a FROM t WHERE p = $1":                                          "p",
		"EXPLAIN SELECT a FROM t WHERE p = 'x'":                                              "p",
		"COPY (SELECT a FROM t ORDER BY p) TO STDOUT":                                        "p",
		"DECLARE c CURSOR FOR SELECT a FROM t WHERE p < 'x'":                                 "p",
	} {
		r, err := a.Analyze(t.Context(), sql)
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		var got []string
		for _, st := range r.Statements {
			got = append(got, st.Predicates...)
		}
		slices.Sort(got)
		if got := strings.Join(slices.Compact(got), " "); got != want {
			t.Errorf("%s: %q, want %q", sql, got, want)
		}
	}
}
