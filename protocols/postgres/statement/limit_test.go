package statement

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// Ways to make a tree deep: open and close are repeated around the middle.
var nesting = []struct{ name, before, open, middle, close, after string }{
	{"brackets", "SELECT ", "(", "1", ")", ""},
	{"NOT", "SELECT ", "NOT ", "true", "", ""},
	{"signs", "SELECT ", "- ", "1", "", ""},
	{"at signs", "SELECT ", "@ ", "1", "", ""},
	{"sums", "SELECT 1", "", "", "+1", ""},
	{"casts", "SELECT 1", "", "", "::int", ""},
	{"arrows", "SELECT a", "", "", "->'b'", ""},
	{"CASE", "SELECT ", "CASE WHEN true THEN ", "1", " END", ""},
	{"CASE in AND", "SELECT ", "CASE WHEN a AND ", "b", " THEN 1 END", ""},
	{"CASE with labels", "SELECT ", "CASE WHEN a.end AND ", "b", " THEN 1 END", ""},
	{"CASE with comments", "SELECT ", "CASE WHEN a./**/end AND ", "b", " THEN 1 END", ""},
	{"BETWEEN", "SELECT ", "a BETWEEN b AND NOT ", "c", "", ""},
	{"UNION", "SELECT 1", "", "", " UNION SELECT 1", ""},
	{"UNION of lists", "SELECT 1, 2", "", "", " EXCEPT SELECT 1, 2", ""},
	{"JOIN", "SELECT 1 FROM a", "", "", " JOIN b ON x AND y", ""},
	{"JOIN to the right", "SELECT 1 FROM ", "a JOIN ", "b", " ON true AND true", ""},
	{"JOIN in brackets", "SELECT 1 FROM ", "(a JOIN ", "b", " ON true)", ""},
	{"subqueries", "", "SELECT * FROM (", "SELECT 1", ") x", ""},
	{"scalar subqueries", "", "SELECT (", "SELECT 1", ")", ""},
	{"EXISTS", "", "SELECT EXISTS (", "SELECT 1", ")", ""},
	{"IN", "SELECT ", "1 IN (SELECT ", "1", ")", ""},
	{"WITH", "", "WITH x AS (", "SELECT 1", ") SELECT 1", ""},
	{"arrays", "SELECT ARRAY", "[", "1", "]", ""},
	{"subscripts", "SELECT ", "a[", "1", "]", ""},
	{"functions", "SELECT ", "f(", "1", ")", ""},
	{"named arguments", "SELECT ", "f(a => ", "1", ")", ""},
	{"rows", "SELECT ", "ROW(", "1", ")", ""},
	{"COALESCE", "SELECT ", "coalesce(", "1", ")", ""},
	{"JSON objects", "SELECT ", "json_object('a': ", "1", ")", ""},
	{"JSON arrays", "SELECT ", "json_array(", "1", ")", ""},
	{"JSON array queries", "SELECT ", "json_array(SELECT ", "1", ")", ""},
	{"JSON values", "SELECT ", "json_value('{}', '$' DEFAULT ", "1", " ON EMPTY)", ""},
	{"JSON tables", "SELECT * FROM json_table('{}', '$' COLUMNS (", "NESTED PATH '$' COLUMNS (", "a int", ")", ")) t"},
	{"XML elements", "SELECT ", "xmlelement(name a, ", "b", ")", ""},
	{"XML forests", "SELECT ", "xmlforest(", "b", " AS c)", ""},
	{"FILTER", "SELECT ", "f() FILTER (WHERE ", "b", ")", ""},
	{"OVER", "SELECT ", "f() OVER (ORDER BY ", "b", ")", ""},
	{"WITHIN GROUP", "SELECT ", "f(1) WITHIN GROUP (ORDER BY ", "b", ")", ""},
	{"grouping sets", "SELECT 1 GROUP BY ", "GROUPING SETS (", "a", ")", ""},
	{"COLLATE", "SELECT a", "", "", ` COLLATE "C"`, ""},
	{"time zones", "SELECT a", "", "", " AT TIME ZONE 'x'", ""},
	{"bodies", "", "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC ", "SELECT 1;", " END;", ""},
	{"bodies and lists", "", "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1, 2; ", "SELECT 1;", " END;", ""},
	{"upserts", "", "WITH x AS (INSERT INTO t SELECT 1 WHERE EXISTS (", "SELECT 1", ") ON CONFLICT (a) DO UPDATE SET a = 1 RETURNING 1) SELECT 1", ""},
	{"late sums", "SELECT ", "(", "1", "+1+1+1)", ""},
	{"operators", "SELECT a", "", "", " OPERATOR(pg_catalog.+) b", ""},
}

// checkSound checks that every instance of the parser still reads statements as
// it should.
func checkSound(t *testing.T, after string) {
	t.Helper()
	const sql = "UPDATE t SET a = b FROM u WHERE t.c IN (1, 'x') AND u.d = $1"
	const want = "= UPDATE writes=t reads=u columns=a,b,t.c,u.d restricted"
	for range 2 * shared.limits.Instances {
		r, _, err := shared.read(context.Background(), sql)
		if err != nil || facts(r.Statements) != want {
			t.Fatalf("after %s: %+v, %v", after, r, err)
		}
	}
}

func nested(i, n int) string {
	g := nesting[i]
	return g.before + strings.Repeat(g.open, n) + g.middle + strings.Repeat(g.close, n) + g.after
}

// What the limits let through the parser bears, with all of its recursion, and
// what is far deeper never reaches it.
func TestDepthLimitProtectsTheParser(t *testing.T) {
	limits := Limits{}.withDefaults()
	for i, g := range nesting {
		t.Run(g.name, func(t *testing.T) {
			most := 0
			for step := 4096; step > 0; step /= 2 {
				if limits.check(nested(i, most+step)) == nil {
					most += step
				}
			}
			if most < 20 {
				t.Errorf("no more than %d levels are allowed", most)
			}
			if most > 1000 {
				t.Errorf("%d levels are allowed", most)
			}
			if _, err := shared.Analyze(context.Background(), nested(i, most)); err != nil {
				t.Errorf("%d levels: %v", most, err)
			}
			if _, err := shared.Analyze(context.Background(), nested(i, 10*most)); !errors.Is(err, ErrLimit) {
				t.Errorf("%d levels: %v", 10*most, err)
			}
			checkSound(t, g.name)
		})
	}
}

// Mixtures of all ways, at the limit.
func TestDepthLimitProtectsTheParserFromMixtures(t *testing.T) {
	limits := Limits{}.withDefaults()
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		sql, last := "SELECT 1", ""
		for limits.check(sql) == nil {
			last = sql
			g := nesting[random.IntN(len(nesting))]
			if g.before != "SELECT " {
				continue
			}
			n := 1 + random.IntN(20)
			sql = "SELECT " + strings.Repeat(g.open, n) + "(" + sql + ")" + strings.Repeat(g.close, n)
		}
		var syntax *SyntaxError
		if _, err := shared.Analyze(context.Background(), last); err != nil && !errors.As(err, &syntax) {
			t.Fatalf("%v in %d bytes", err, len(last))
		}
	}
	checkSound(t, "mixtures")
}

func TestWideStatements(t *testing.T) {
	list := func(item, separator string, n int) string {
		return strings.TrimSuffix(strings.Repeat(item+separator, n), separator)
	}
	for name, sql := range map[string]string{
		"IN list":           "SELECT 1 FROM t WHERE a IN (" + list("1", ", ", 10000) + ")",
		"AND":               "SELECT 1 FROM t WHERE " + list("a = 1", " AND ", 5000),
		"OR":                "DELETE FROM t WHERE " + list("(a = 1 AND b <> 'x')", " OR ", 2000),
		"BETWEEN":           "SELECT 1 FROM t WHERE " + list("a BETWEEN 1 AND 2", " AND ", 3000),
		"CASE":              "SELECT CASE " + list("WHEN a = 1 THEN 'x'", " ", 2000) + " ELSE 'y' END",
		"CASEs":             "SELECT " + list("CASE WHEN a = 1 THEN 'x' END", ", ", 1000),
		"rows":              "INSERT INTO t (a, b) VALUES " + list("(1, 'x')", ", ", 5000),
		"columns":           "CREATE TABLE t (" + list("a int NOT NULL DEFAULT f()", ", ", 1600) + ")",
		"functions":         "SELECT " + list("json_build_object('a', 1, 'b', x)", " || ", 100),
		"many":              list("UPDATE t SET a = 1 WHERE b = 2", "; ", 1000),
		"arrays":            "SELECT ARRAY[" + list("[1, 2]", ", ", 2000) + "]",
		"columns and names": "SELECT " + list("a.b", ", ", 6000) + " FROM " + list("a", ", ", 6000),
		"MERGE":             "MERGE INTO t USING s ON t.a = s.a " + list("WHEN MATCHED AND s.b = 1 AND s.c = 2 THEN UPDATE SET x = 1", " ", 200),
	} {
		if _, err := shared.Analyze(context.Background(), sql); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := shared.Analyze(context.Background(), "SELECT "+list("1", ",", DefaultTokens)); !errors.Is(err, ErrLimit) {
		t.Errorf("too many words: %v", err)
	}
}

// Bodies that would ruin the parser are left unread.
func TestHostileBodies(t *testing.T) {
	deep := func(open, close string, n int) string {
		return "DO $$ BEGIN " + strings.Repeat(open, n) + " NULL; " + strings.Repeat(close, n) + " END $$"
	}
	for name, sql := range map[string]string{
		"blocks":                         deep("BEGIN ", "END; ", 5000),
		"conditions":                     deep("IF true THEN ", "END IF; ", 5000),
		"loops":                          deep("LOOP ", "END LOOP; ", 5000),
		"brackets":                       "DO $$ BEGIN PERFORM " + strings.Repeat("(", 3000) + "1" + strings.Repeat(")", 3000) + "; END $$",
		"warning":                        "DO $$ BEGIN CREATE GLOBAL TEMP TABLE x (a int); END $$",
		"no body":                        "DO LANGUAGE plpgsql",
		"two bodies":                     "DO 'BEGIN NULL; END' 'BEGIN NULL; END'",
		"nothing":                        "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql",
		"blocks with labels":             deep("BEGIN PERFORM 1 AS end; ", "END; ", 60),
		"blocks with bare labels":        deep("BEGIN PERFORM 1 end; ", "END; ", 60),
		"blocks with names":              deep("BEGIN PERFORM x.then end; ", "END; ", 60),
		"blocks with options":            deep("BEGIN CREATE TABLE x () WITH (end = 1); ", "END; ", 60),
		"loops with bare labels":         "DO $$ DECLARE r record; BEGIN " + strings.Repeat("FOR r IN SELECT 1 end LOOP ", 60) + "NULL; " + strings.Repeat("END LOOP; ", 60) + "END $$",
		"cases with bare labels":         deep("CASE 1 WHEN 1 THEN PERFORM 1 end; ", "END CASE; ", 60),
		"conditions behind labels":       deep("<<x>> IF true THEN ", "END IF; ", 60),
		"branches":                       deep("IF true THEN NULL; ELSIF true THEN NULL; ELSE ", "END IF; ", 60),
		"handlers":                       deep("BEGIN NULL; EXCEPTION WHEN OTHERS THEN ", "END; ", 60),
		"a hidden value":                 "DO $$ DECLARE a int := 1; r record := evil(); BEGIN NULL; END $$",
		"a hidden default":               "DO $$ DECLARE r record DEFAULT evil(); BEGIN NULL; END $$",
		"a hidden constant":              "DO $$ DECLARE r CONSTANT record NOT NULL = evil(); BEGIN NULL; END $$",
		"a hidden value in a block":      "DO $$ BEGIN <<b>> DECLARE DECLARE c CURSOR FOR SELECT 1; r record := evil(); BEGIN NULL; END; END $$",
		"a hidden value beside a column": "DO $$ DECLARE x t.cursor%TYPE := 1; r record := evil(); BEGIN NULL; END $$",
		"a hidden value beside a type":   "DO $$ DECLARE x s.cursor := 1; r record := evil(); BEGIN NULL; END $$",
		"a hidden value beside a scroll": "DO $$ DECLARE c SCROLL CURSOR FOR SELECT 1; r record := evil(); BEGIN NULL; END $$",
	} {
		r, err := shared.Analyze(context.Background(), sql)
		checkSound(t, name)
		var syntax *SyntaxError
		if err == nil && !r.Statements[0].Opaque || err != nil && !errors.As(err, &syntax) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, sql := range map[string]string{
		"blocks":     deep("BEGIN ", "END; ", maxBlocks-1),
		"conditions": deep("IF true THEN ", "END IF; ", maxBlocks-1),
		"cursors":    "DO $$ DECLARE c SCROLL CURSOR FOR SELECT 1; d NO SCROLL CURSOR FOR SELECT 2 WHERE a = 1; e CURSOR (k int) FOR SELECT k; n int = 5; m int DEFAULT 6; BEGIN NULL; END $$",
		"CASEs":      "DO $$ BEGIN " + strings.Repeat("PERFORM CASE WHEN true THEN 1 ELSE 2 END; CASE 1 WHEN 1 THEN NULL; END CASE; ", 30) + "END $$",
		"loops":      "DO $$ DECLARE r record; BEGIN " + strings.Repeat("FOR r IN SELECT 1 LOOP EXIT WHEN true; END LOOP; LOOP EXIT; END LOOP; ", 30) + "END $$",
		"IF EXISTS":  "DO $$ BEGIN " + strings.Repeat("DROP TABLE IF EXISTS t; IF EXISTS (SELECT 1) THEN NULL; END IF; ", 50) + "END $$",
	} {
		if r := analyze(t, sql); r.Statements[0].Opaque {
			t.Errorf("%s: opaque", name)
		}
		checkSound(t, name)
	}
	// Warnings outside of bodies do no harm.
	for i := range 50 {
		analyze(t, fmt.Sprintf("CREATE GLOBAL TEMP TABLE x%d (a int)", i))
	}
}

// Text within text is read a few levels deep, and then not.
func TestTextInText(t *testing.T) {
	sql := "DROP TABLE t"
	for range maxBodies + 1 {
		sql = "SELECT query_to_xml('" + strings.ReplaceAll(sql, "'", "''") + "', true, false, '')"
	}
	got := analyze(t, sql).Statements
	if last := got[len(got)-1]; last.Kind != "SELECT" || !last.Opaque {
		t.Errorf("%s", facts(got))
	}
}

// Each body and its statements count.
func TestParsesAreBounded(t *testing.T) {
	a := NewAnalyzer(Limits{Parses: 5})
	sql := "DO $$ BEGIN " + strings.Repeat("DELETE FROM t WHERE id = 1; ", 10) + " END $$"
	r, err := a.Analyze(context.Background(), sql)
	if err != nil || !r.Statements[0].Opaque {
		t.Errorf("%v, %v", r, err)
	}
}
