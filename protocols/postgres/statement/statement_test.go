package statement

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/core/event"
)

func analyze(t testing.TB, sql string) *Result {
	t.Helper()
	r, err := shared.Analyze(context.Background(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return r
}

// The queries that psql's backslash commands send are read as plain SELECTs.
func TestPsqlQueries(t *testing.T) {
	data, err := os.ReadFile("testdata/psql.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range strings.Split(string(data), "\n-- next\n") {
		r := analyze(t, sql)
		if r.Len() != 1 {
			t.Errorf("%d statements in\n%s", r.Len(), sql)
		}
		for _, s := range r.Statements {
			if s.Kind != "SELECT" || s.Opaque || len(s.Writes) > 0 || len(s.Settings) > 0 {
				t.Errorf("%+v in\n%s", s, sql)
			}
		}
	}
}

func TestRejectIsRejected(t *testing.T) {
	_, err := shared.Analyze(context.Background(), Reject)
	var syntax *SyntaxError
	if !errors.As(err, &syntax) || syntax.Position != 1 {
		t.Errorf("got %v", err)
	}
}

func TestFlags(t *testing.T) {
	tests := []struct {
		sql                             string
		copy, transaction, context, ddl bool
	}{
		{sql: "SELECT 1"},
		{sql: "UPDATE t SET a = 1 WHERE id = 2"},
		{sql: "COPY t FROM STDIN", copy: true},
		{sql: "COPY (SELECT 1) TO STDOUT", copy: true},
		{sql: "SELECT 1; COPY t TO STDOUT", copy: true},
		{sql: "COPY t TO PROGRAM 'x'"},
		{sql: "BEGIN", transaction: true},
		{sql: "SAVEPOINT a", transaction: true},
		{sql: "COMMIT", transaction: true, context: true},
		{sql: "ROLLBACK TO a", transaction: true, context: true},
		{sql: "SET x = 1", context: true},
		{sql: "SET ROLE r", context: true},
		{sql: "RESET ALL", context: true},
		{sql: "DISCARD ALL", context: true, ddl: true},
		{sql: "SELECT set_config('a', 'b', true)", context: true},
		{sql: "SELECT set_config($1, 'b', true)", context: true, ddl: true},
		{sql: "EXECUTE p", context: true},
		{sql: "CREATE PROCEDURE p() LANGUAGE sql AS 'COMMIT; SET x = 1'", ddl: true},
		{sql: "UPDATE pg_settings SET setting = 1 WHERE name = 'x'", context: true, ddl: true},
		{sql: "CREATE TABLE t (a int)", ddl: true},
		{sql: "SELECT * INTO t FROM u", ddl: true},
		{sql: "ALTER TABLE t ADD a int", ddl: true},
		{sql: "DROP VIEW v", ddl: true},
		{sql: "GRANT a TO b", ddl: true},
		{sql: "DO 'BEGIN NULL; END'", transaction: true, context: true, ddl: true},
		{sql: "CALL p()", transaction: true, context: true, ddl: true},
	}
	for _, tt := range tests {
		r := analyze(t, tt.sql)
		if r.Copy != tt.copy || r.Transaction != tt.transaction || r.Context != tt.context || r.DDL != tt.ddl {
			t.Errorf("%s: copy %t, transaction %t, context %t, DDL %t", tt.sql, r.Copy, r.Transaction, r.Context, r.DDL)
		}
	}
}

func TestSpans(t *testing.T) {
	sql := "SELECT 'é'; /* c */ WITH d AS (DELETE FROM t) SELECT 2 ;\nCOMMIT"
	r := analyze(t, sql)
	var got []string
	for i := range r.Len() {
		start, end := r.Span(sql, i)
		got = append(got, strings.TrimSpace(sql[start:end])+" = "+r.Statements[r.Top(i)].Kind)
	}
	want := []string{"SELECT 'é' = SELECT", "/* c */ WITH d AS (DELETE FROM t) SELECT 2 = SELECT", "COMMIT = COMMIT"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// One statement's span is all of the text, also when the result comes from a
// text with other literals.
func TestSpanOfShapedResult(t *testing.T) {
	for _, sql := range []string{"SELECT 1 AS span", "SELECT 123456 AS span"} {
		start, end := analyze(t, sql).Span(sql, 0)
		if sql[start:end] != sql {
			t.Errorf("%d to %d of %q", start, end, sql)
		}
	}
}

func TestNotText(t *testing.T) {
	for _, sql := range []string{"SELECT 1\x00; DROP TABLE t", "SELECT '\xff'", strings.Repeat(" ", DefaultText+1)} {
		if _, err := shared.Analyze(context.Background(), sql); !errors.Is(err, ErrLimit) {
			t.Errorf("%.20q: %v", sql, err)
		}
	}
}

func TestCancelledContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := shared.Analyze(ctx, "SELECT 'cancelled', 1 FROM nowhere"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// No literal of a statement is in its facts.
func TestFactsHoldNoLiterals(t *testing.T) {
	const secret = "s3cr3t"
	for _, sql := range []string{
		"SELECT 's3cr3t' AS a, E's3cr3t', $$s3cr3t$$ FROM t WHERE b = 's3cr3t'",
		"SELECT set_config('x', 's3cr3t', false)",
		"SET x = 's3cr3t'",
		"ALTER ROLE r PASSWORD 's3cr3t'",
		"CREATE USER MAPPING FOR r SERVER s OPTIONS (password 's3cr3t')",
		"CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (x 's3cr3t')",
		"CREATE SUBSCRIPTION s CONNECTION 's3cr3t' PUBLICATION p",
		"NOTIFY c, 's3cr3t'",
		"COMMENT ON TABLE t IS 's3cr3t'",
		"COPY t FROM 's3cr3t'",
		"EXECUTE p ('s3cr3t')",
		"CREATE TYPE e AS ENUM ('s3cr3t')",
		"PREPARE TRANSACTION 's3cr3t'",
		"DO $$ BEGIN RAISE 's3cr3t'; PERFORM f('s3cr3t'); END $$",
		"SELECT dblink_exec('password=s3cr3t', 'UPDATE t SET a = ''s3cr3t''')",
		"LOAD 's3cr3t'",
	} {
		if got := facts(analyze(t, sql).Statements); strings.Contains(got, secret) {
			t.Errorf("%s\n%s", sql, got)
		}
	}
}

func TestResolve(t *testing.T) {
	known := map[string][]event.Statement{
		"wipe": analyze(t, "PREPARE wipe AS WITH d AS (DELETE FROM t) SELECT 1").Preparations()[0].Body,
	}
	lookup := func(name string) ([]event.Statement, bool) {
		body, ok := known[name]
		return body, ok
	}
	tests := []struct{ sql, want string }{
		{"EXECUTE wipe", "" +
			"= EXECUTE names=wipe\n" +
			"=   execute: SELECT\n" +
			"=     cte: DELETE writes=t ALL"},
		{"EXECUTE unknown", "= EXECUTE names=unknown OPAQUE"},
		{"EXPLAIN EXECUTE wipe", "" +
			"= EXPLAIN\n" +
			"=   explain: EXECUTE (not run) names=wipe\n" +
			"=     execute: SELECT (not run)\n" +
			"=       cte: DELETE (not run) writes=t ALL"},
		{"EXPLAIN ANALYZE EXECUTE wipe", "" +
			"= EXPLAIN options=ANALYZE\n" +
			"=   explain analyze: EXECUTE names=wipe\n" +
			"=     execute: SELECT\n" +
			"=       cte: DELETE writes=t ALL"},
		{"CREATE TABLE x AS EXECUTE wipe", "" +
			"= CREATE TABLE AS writes=x\n" +
			"=   as: EXECUTE names=wipe\n" +
			"=     execute: SELECT\n" +
			"=       cte: DELETE writes=t ALL"},
		{"PREPARE own AS TABLE u; EXECUTE own", "" +
			"= PREPARE names=own\n" +
			"=   prepare: SELECT (not run) reads=u columns=*\n" +
			"= EXECUTE names=own\n" +
			"=   execute: SELECT reads=u columns=*"},
		{"EXECUTE own; PREPARE own AS TABLE u", "" +
			"= EXECUTE names=own OPAQUE\n" +
			"= PREPARE names=own\n" +
			"=   prepare: SELECT (not run) reads=u columns=*"},
		{"DEALLOCATE wipe; EXECUTE wipe", "" +
			"= DEALLOCATE names=wipe\n" +
			"= EXECUTE names=wipe OPAQUE"},
		{"DO 'BEGIN EXECUTE ''PREPARE wipe AS SELECT 1''; END'; EXECUTE wipe", "" +
			"= DO options=LANGUAGE plpgsql\n" +
			"=   do: PREPARE names=wipe\n" +
			"=     prepare: SELECT (not run)\n" +
			"= EXECUTE names=wipe OPAQUE"},
		{"DO 'BEGIN EXECUTE f(); END'; EXECUTE wipe", "" +
			"= DO options=LANGUAGE plpgsql OPAQUE\n" +
			"=   do: SELECT functions=f\n" +
			"= EXECUTE names=wipe OPAQUE"},
		{"DISCARD ALL; EXECUTE wipe", "" +
			"= DISCARD ALL settings=all\n" +
			"= EXECUTE names=wipe OPAQUE"},
	}
	for _, tt := range tests {
		got := analyze(t, tt.sql).Resolve(lookup)
		if diff := cmp.Diff(strings.Split(tt.want, "\n"), strings.Split(inOrder(got), "\n")); diff != "" {
			t.Errorf("%s\n%s", tt.sql, diff)
		}
	}
}

// inOrder writes statements below what contains them, wherever they stand.
func inOrder(statements []event.Statement) string {
	var ordered []event.Statement
	var below func(parent, at int)
	below = func(parent, at int) {
		for i, s := range statements {
			if s.Parent == parent {
				s.Parent = at
				ordered = append(ordered, s)
				below(i, len(ordered)-1)
			}
		}
	}
	below(-1, -1)
	return facts(ordered)
}

func TestResolveLeavesTheResultAlone(t *testing.T) {
	r := analyze(t, "EXECUTE nobody")
	r.Resolve(func(string) ([]event.Statement, bool) { return nil, false })
	if r.Statements[0].Opaque {
		t.Error("the shared result was changed")
	}
	plain := analyze(t, "SELECT 1 FROM plain")
	if got := plain.Resolve(nil); &got[0] != &plain.Statements[0] {
		t.Error("statements without EXECUTE were copied")
	}
}

func TestPreparations(t *testing.T) {
	r := analyze(t, "PREPARE a AS SELECT 1; SELECT 2; DEALLOCATE b; DEALLOCATE ALL")
	var got []string
	for _, p := range r.Preparations() {
		got = append(got, r.Statements[p.Index].Kind+" "+p.Name+" "+facts(p.Body))
	}
	want := []string{"PREPARE a = prepare: SELECT (not run)", "DEALLOCATE b ", "DEALLOCATE ALL  "}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestConcurrentUse(t *testing.T) {
	a := NewAnalyzer(Limits{CacheEntries: 4})
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			for i := range 100 {
				sql := "SELECT a FROM t" + string(rune('a'+(worker+i)%9))
				r, err := a.Analyze(context.Background(), sql)
				if err != nil || r.Statements[0].Reads[0].Name != sql[len("SELECT a FROM "):] {
					t.Errorf("%s: %v, %v", sql, r, err)
					return
				}
			}
		})
	}
	group.Wait()
}

// A short text that executes a large statement many times must not grow without
// bound: what is too much stays opaque.
func TestResolveIsBounded(t *testing.T) {
	body := make([]event.Statement, 1000)
	for i := range body {
		body[i] = event.Statement{Kind: "SELECT", Parent: -1}
	}
	r := analyze(t, strings.Repeat("EXECUTE p;", 1000))
	got := r.Resolve(func(string) ([]event.Statement, bool) { return body, true })
	if len(got) > 1000+50_000 {
		t.Errorf("%d statements", len(got))
	}
	if got[0].Opaque || !got[999].Opaque {
		t.Errorf("the first is opaque: %v; the last: %v", got[0].Opaque, got[999].Opaque)
	}
}
