package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgproto3/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	pgproto "github.com/jackc/pgx/v5/pgproto3"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
)

const customers = `CREATE TABLE customers (id int PRIMARY KEY, name text, email text, card bigint, doc jsonb);
	INSERT INTO customers SELECT i, 'name ' || i, 'user' || i || '@example.com', 4111111111110000 + i, '{"a": 1}' FROM generate_series(1, 5) i;
	CREATE TABLE t (n int);`

// queryModes are the ways in which pgx sends a query.
var queryModes = []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"}

func TestQueriesPassInEveryMode(t *testing.T) {
	for _, version := range []int{15, 18} {
		g := startGate(t, gateConfig{version: version, sql: customers, plugins: []pipeline.Plugin{rule(words), columns{}}})
		for _, mode := range queryModes {
			c := g.connect(t, "&default_query_exec_mode="+mode)
			for range 3 {
				var name string
				err := c.QueryRow(t.Context(), "SELECT name FROM customers WHERE id = $1", 3).Scan(&name)
				if err != nil || name != "name 3" {
					t.Fatalf("PostgreSQL %d, %s: %q, %v", version, mode, name, err)
				}
			}
			_, err := c.Exec(t.Context(), "SELECT forbidden")
			var pg *pgconn.PgError
			if !errors.As(err, &pg) || pg.Code != "42501" || pg.Message != "gatehouse: forbidden" || pg.Hint != "rule test/forbidden" {
				t.Errorf("%s: refused with %v", mode, err)
			}
			if err := c.Ping(t.Context()); err != nil {
				t.Errorf("%s: after a refusal: %v", mode, err)
			}
		}
	}
}

func TestRefusalEndsTransactionsAsTheServerWould(t *testing.T) {
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{rule(words)}})
	steps := []string{"BEGIN", "INSERT INTO t VALUES (1)", "SAVEPOINT s", "INSERT INTO t VALUES (2)", "COMMIT", "INSERT INTO t VALUES (3)"}
	for at := range len(steps) + 1 {
		run := func(bad string, exec func(sql string) []string) (all []string) {
			for i, sql := range steps {
				if i == at {
					all = append(all, exec(bad)...)
				}
				all = append(all, exec(sql)...)
			}
			if at == len(steps) {
				all = append(all, exec(bad)...)
			}
			return append(all, g.one(t, "SELECT coalesce(string_agg(n::text, ',' ORDER BY n), '') FROM t"))
		}
		for _, extended := range []bool{false, true} {
			var got, want []string
			for _, through := range []bool{true, false} {
				g.one(t, "WITH d AS (DELETE FROM t) SELECT ''")
				r := g.raw(t)
				bad := "SELECT 'forbidden'"
				if !through {
					bad = "this is no statement"
				}
				if !through {
					r = g.rawDirect(t)
				}
				got, want = want, run(bad, func(sql string) []string {
					if extended {
						r.send(&pgproto3.Parse{Query: sql}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
					} else {
						r.send(&pgproto3.Query{String: sql})
					}
					return r.until("Z")
				})
			}
			for i := range got { // the refusal's own code differs
				got[i] = strings.Replace(got[i], "E 42501", "E 42601", 1)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("refused at %d, extended %v (-server +gate):\n%s", at, extended, diff)
			}
		}
	}
}

// rawDirect is a raw client of the server itself.
// In a failed transaction a refused statement gets the server's own answer: it
// would not have run either. What would have run is refused by name.
func TestRefusalInAFailedTransaction(t *testing.T) {
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{rule(words)}})
	r := g.raw(t)
	for how, messages := range protocols {
		r.send(simply("BEGIN")...)
		r.send(simply("SELECT 1/0")...)
		r.until("Z T")
		r.until("Z E")
		for text, want := range map[string]string{
			"SELECT 'forbidden'": "E 25P02", "SELECT 'ask'": "E 25P02", "INSERT INTO customers DEFAULT VALUES /* forbidden */": "E 25P02",
			"ROLLBACK /* forbidden */": "E 42501", "ROLLBACK TO SAVEPOINT s /* forbidden */": "E 42501", "SELEC": "E 42601",
		} {
			r.send(messages(text)...)
			if got := r.until("Z"); !strings.HasPrefix(got[len(got)-2], want) || got[len(got)-1] != "Z E" {
				t.Errorf("%s, %s: %q", how, text, got)
			}
		}
		r.send(simply("ROLLBACK")...)
		r.until("Z I")
	}
	select {
	case p := <-g.desk.pending:
		t.Errorf("%s was asked for", p.Request.Payload)
	default:
	}
}

func (g *gate) rawDirect(t testing.TB) *raw {
	t.Helper()
	config, err := pgconn.ParseConfig(g.pg.URL(g.database))
	if err != nil {
		t.Fatal(err)
	}
	var from io.Reader
	config.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto.Frontend {
		from = r
		return pgproto.NewFrontend(r, w)
	}
	c, err := pgconn.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	h, err := c.Hijack()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Conn.Close() })
	return &raw{taken{h.Conn, from}, t}
}

// A taken connection was pgconn's, which may still be reading it in the
// background, if a write was slow: what that gets is to be read from it.
type taken struct {
	net.Conn
	from io.Reader
}

func (c taken) Read(b []byte) (int, error) { return c.from.Read(b) }

// P15.
func TestRefusalInAPipelineEndsItAsTheServerWould(t *testing.T) {
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{rule(words), columns{}}})
	const n = 4
	for at := range n {
		for _, how := range []string{"parse", "bind"} {
			var replies [2][]string
			for i, r := range []*raw{g.rawDirect(t), g.raw(t)} {
				g.one(t, "WITH d AS (DELETE FROM t) SELECT ''")
				var ms []pgproto3.FrontendMessage
				for k := range n {
					sql := fmt.Sprintf("INSERT INTO t VALUES (%d) RETURNING n", k)
					b := &pgproto3.Bind{}
					if k == at {
						switch {
						case i == 0 && how == "parse":
							sql = "no statement"
						case i == 0:
							b.PreparedStatement = "missing"
						case how == "parse":
							sql += ", 'forbidden'"
						default:
							b.PreparedStatement = "missing"
						}
					}
					ms = append(ms, &pgproto3.Parse{Query: sql}, b, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{})
				}
				r.send(append(ms, &pgproto3.Sync{})...)
				replies[i] = r.until("Z")
				r.send(&pgproto3.Query{String: "SELECT count(*) FROM t"})
				replies[i] = append(replies[i], r.until("Z")...)
			}
			for i, m := range replies[1] {
				replies[1][i] = strings.Replace(m, "E 42501", "E 42601", 1)
			}
			if diff := cmp.Diff(replies[0], replies[1]); diff != "" {
				t.Errorf("refused at %d by %s (-server +gate):\n%s", at, how, diff)
			}
		}
	}
}

func TestNothingRunsBehindARefusalUpToSync(t *testing.T) {
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{rule(words)}})
	r := g.raw(t)
	// P17: a simple Query behind an unsynchronised refusal is skipped too.
	r.send(&pgproto3.Parse{Query: "SELECT 'forbidden'"}, &pgproto3.Query{String: "INSERT INTO t VALUES (1)"}, &pgproto3.Sync{})
	if got := r.until("Z"); !cmp.Equal(got, []string{"E 42501", "Z I"}) {
		t.Errorf("got %q", got)
	}
	if n := g.one(t, "SELECT count(*)::text FROM t"); n != "0" {
		t.Errorf("%s rows were inserted", n)
	}
}

func TestPipelinesKeepTheirOrder(t *testing.T) {
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{rule(words), columns{}}})
	c := g.connect(t, "")
	var batch pgx.Batch
	const n = 10_000 // more than may be owed at a time
	for i := range n {
		batch.Queue("SELECT $1::int", i)
	}
	res := c.SendBatch(t.Context(), &batch)
	for i := range n {
		var got int
		if err := res.QueryRow().Scan(&got); err != nil || got != i {
			t.Fatalf("result %d is %d, %v", i, got, err)
		}
	}
	if err := res.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestMaskingFollowsTheColumn(t *testing.T) {
	mask := columns{
		"public.customers.email": {Kind: event.KeepLast, Keep: 4},
		"public.customers.card":  {Kind: event.Redact},
		"public.customers.doc":   {Kind: event.Redact},
	}
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{mask}})
	for _, mode := range queryModes {
		c := g.connect(t, "&default_query_exec_mode="+mode)
		for range 3 { // prepared statements are executed again without Describe
			var email, doc string
			var card *int64
			err := c.QueryRow(t.Context(), "SELECT c.email AS x, card, doc::jsonb FROM customers c WHERE id = $1", 2).Scan(&email, &card, &doc)
			if err != nil || email != "*************.com" || card == nil || *card != 0 || doc != `"[redacted]"` {
				t.Errorf("%s: %q, %v, %q, %v", mode, email, card, doc, err)
			}
		}
	}
}

// P25: rows of portals that take turns are masked each by its own description.
func TestMaskingOfPortalsThatTakeTurns(t *testing.T) {
	mask := columns{"public.customers.email": {}}
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{mask}})
	r := g.raw(t)
	r.send(&pgproto3.Query{String: "BEGIN"},
		&pgproto3.Parse{Name: "a", Query: "SELECT id, email FROM customers ORDER BY id"},
		&pgproto3.Parse{Name: "b", Query: "SELECT name, id FROM customers ORDER BY id"},
		&pgproto3.Bind{DestinationPortal: "a", PreparedStatement: "a"},
		&pgproto3.Bind{DestinationPortal: "b", PreparedStatement: "b"},
		&pgproto3.Execute{Portal: "a", MaxRows: 1}, &pgproto3.Execute{Portal: "b", MaxRows: 1},
		&pgproto3.Execute{Portal: "a", MaxRows: 1}, &pgproto3.Sync{})
	r.until("Z")
	got := r.until("Z")
	want := []string{"1", "1", "2", "2", "D 1|NULL", "s", "D name 1|1", "s", "D 2|NULL", "s", "Z T"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	r.send(&pgproto3.Execute{Portal: "b", MaxRows: 1}, &pgproto3.Execute{Portal: "a"}, &pgproto3.Sync{})
	got = r.until("Z")
	want = []string{"D name 2|2", "s", "D 3|NULL", "D 4|NULL", "D 5|NULL", "C SELECT 3", "Z T"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// What was remembered of a statement can be stale: the portal's own
// description counts.
func TestMaskingAfterTheSearchPathChanged(t *testing.T) {
	sql := customers + `CREATE SCHEMA other; CREATE TABLE other.people (v text); INSERT INTO other.people VALUES ('secret');
		CREATE TABLE public.people (v text); INSERT INTO public.people VALUES ('harmless');`
	g := startGate(t, gateConfig{sql: sql, plugins: []pipeline.Plugin{columns{"other.people.v": {}}}})
	r := g.raw(t)
	r.send(&pgproto3.Parse{Name: "s", Query: "SELECT v FROM people"}, &pgproto3.Describe{ObjectType: 'S', Name: "s"},
		&pgproto3.Bind{PreparedStatement: "s"}, &pgproto3.Execute{}, &pgproto3.Sync{})
	r.until("Z")
	r.send(&pgproto3.Query{String: "SET search_path = other"})
	r.until("Z")
	r.send(&pgproto3.Bind{PreparedStatement: "s"}, &pgproto3.Execute{}, &pgproto3.Sync{})
	if got := r.until("Z"); !cmp.Equal(got, []string{"2", "D NULL", "C SELECT 1", "Z I"}) {
		t.Errorf("got %q", got)
	}
}

func TestSeveralStatementsInOneQuery(t *testing.T) {
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{columns{"public.customers.email": {}}}})
	r := g.raw(t)
	r.send(&pgproto3.Query{String: "SELECT email FROM customers WHERE id = 1; INSERT INTO t VALUES (7); SELECT name, email FROM customers WHERE id = 2; ;"})
	want := []string{"T", "D NULL", "C SELECT 1", "C INSERT 0 1", "T", "D name 2|NULL", "C SELECT 1", "Z I"}
	if diff := cmp.Diff(want, r.until("Z")); diff != "" {
		t.Error(diff)
	}
	r.send(&pgproto3.Query{})
	if got := r.until("Z"); !cmp.Equal(got, []string{"I", "Z I"}) {
		t.Errorf("an empty query: %q", got)
	}
}

func TestSQLPreparedStatementsAreJudgedByTheirContents(t *testing.T) {
	deletes := rule(func(r *event.Request) event.Verdict {
		for _, s := range r.Statements {
			if s.Runs && (s.Kind == "DELETE" || s.Opaque) {
				return event.Verdict{Rule: "test/delete", Reason: "no DELETE"}
			}
		}
		return event.Verdict{Action: event.Allow}
	})
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{deletes}})
	for _, script := range [][]string{
		{"PREPARE p AS DELETE FROM t", "EXECUTE p"},
		{"PREPARE p AS DELETE FROM t; EXECUTE p"},
		{"PREPARE p AS SELECT 1", "DEALLOCATE p; PREPARE p AS DELETE FROM t", "EXECUTE p"},
		{"EXECUTE unknown"},
	} {
		r := g.raw(t)
		var last []string
		for _, sql := range script {
			r.send(&pgproto3.Query{String: sql})
			last = r.until("Z")
		}
		if !cmp.Equal(last, []string{"E 42501", "Z I"}) {
			t.Errorf("%q ended with %q", script, last)
		}
	}
	// The two ways of preparing share their names, either way round.
	r := g.raw(t)
	r.send(&pgproto3.Query{String: "PREPARE p AS SELECT 1"}, &pgproto3.Bind{PreparedStatement: "p"}, &pgproto3.Execute{}, &pgproto3.Sync{})
	r.until("Z")
	if got := r.until("Z"); !cmp.Equal(got, []string{"2", "D 1", "C SELECT 1", "Z I"}) {
		t.Errorf("a protocol-level execution of p: %q", got)
	}
	r.send(&pgproto3.Parse{Name: "q", Query: "SELECT 2"}, &pgproto3.Sync{}, &pgproto3.Query{String: "EXECUTE q"})
	r.until("Z")
	if got := r.until("Z"); !cmp.Equal(got, []string{"T", "D 2", "C SELECT 1", "Z I"}) {
		t.Errorf("an SQL-level execution of q: %q", got)
	}
	// But not of a COPY, whose data would come under another statement.
	r.send(&pgproto3.Parse{Name: "c", Query: "SELECT 1"}, &pgproto3.Parse{Name: "s", Query: "EXECUTE c"}, &pgproto3.Close{ObjectType: 'S', Name: "c"},
		&pgproto3.Parse{Name: "c", Query: "COPY (SELECT 1) TO STDOUT"}, &pgproto3.Sync{},
		&pgproto3.Query{String: "EXECUTE c"}, &pgproto3.Bind{PreparedStatement: "s"}, &pgproto3.Execute{}, &pgproto3.Sync{},
		&pgproto3.Query{String: "BEGIN; DEALLOCATE c; PREPARE c AS SELECT 3; EXECUTE c; COMMIT"})
	if got, want := slices.Concat(r.until("Z"), r.until("Z"), r.until("Z"), r.until("Z")), []string{"1", "1", "3", "1", "Z I", "E 0A000", "Z I", "E 0A000", "Z I",
		"C BEGIN", "C DEALLOCATE", "C PREPARE", "T", "D 3", "C SELECT 1", "C COMMIT", "Z I"}; !cmp.Equal(got, want) {
		t.Errorf("an SQL-level execution of a COPY: %s", cmp.Diff(want, got))
	}
	// A failed second Parse of a name changes nothing.
	r.send(&pgproto3.Parse{Name: "q", Query: "SELECT 3"}, &pgproto3.Sync{}, &pgproto3.Bind{PreparedStatement: "q"}, &pgproto3.Execute{}, &pgproto3.Sync{})
	got := append(r.until("Z"), r.until("Z")...)
	if !cmp.Equal(got, []string{"E 42P05", "Z I", "2", "D 2", "C SELECT 1", "Z I"}) {
		t.Errorf("after a failed Parse: %q", got)
	}
}

func TestRefusedKinds(t *testing.T) {
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{columns{}}})
	for sql, want := range map[string]string{
		"COPY t TO STDOUT (ENCODING 'latin1')":       "E 0A000",
		"COPY t FROM STDIN (ENCODING 'latin1')":      "E 0A000",
		"SELECT 1; COPY t TO STDOUT":                 "E 0A000",
		"SET standard_conforming_strings = off":      "E 42501",
		"SET client_encoding = 'SJIS'":               "E 42501",
		"SELECT set_config('client_encoding','x',f)": "E 42501",
		"SELEC 1": "E 42601",
	} {
		r := g.raw(t)
		r.send(&pgproto3.Query{String: sql})
		if got := r.until("Z"); !cmp.Equal(got, []string{want, "Z I"}) {
			t.Errorf("%s: %q, want %q", sql, got, want)
		}
		r.send(&pgproto3.Parse{Query: sql}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{}, &pgproto3.Query{String: "SELECT 1"})
		got := append(r.until("Z"), r.until("Z")...)
		if !cmp.Equal(got, []string{want, "Z I", "T", "D 1", "C SELECT 1", "Z I"}) {
			t.Errorf("%s, extended: %q, want %q", sql, got, want)
		}
	}
}

// P29.
func TestFunctionCallIsRefusedInStep(t *testing.T) {
	g := startGate(t, gateConfig{plugins: []pipeline.Plugin{columns{}}})
	r := g.raw(t)
	r.send(&pgproto3.Query{String: "BEGIN"}, &pgproto3.FunctionCall{Function: 1598}, &pgproto3.Query{String: "ROLLBACK"})
	got := append(append(r.until("Z"), r.until("Z")...), r.until("Z")...)
	if !cmp.Equal(got, []string{"C BEGIN", "Z T", "E 0A000", "Z E", "C ROLLBACK", "Z I"}) {
		t.Errorf("got %q", got)
	}
}

func TestJudgesKnowWhetherASessionOnlyReads(t *testing.T) {
	var attrs []event.Attr
	see := rule(func(r *event.Request) event.Verdict {
		attrs = r.Attrs
		return event.Verdict{Action: event.Allow}
	})
	g := startGate(t, gateConfig{plugins: []pipeline.Plugin{see}})
	r := g.raw(t)
	for _, c := range []struct {
		sql  string
		want bool // of the request after it
	}{{"SELECT 1", false}, {"SET default_transaction_read_only = on", true}, {"SET default_transaction_read_only = off", false}} {
		for _, sql := range []string{c.sql, "SELECT 2"} {
			r.send(&pgproto3.Query{String: sql})
			r.until("Z")
		}
		if got := slices.Contains(attrs, event.Attr{Key: "db.read_only", Value: "on"}); got != c.want {
			t.Errorf("after %s: %v", c.sql, attrs)
		}
	}
}

func TestNoticesAndNotificationsPassAtAnyTime(t *testing.T) {
	g := startGate(t, gateConfig{plugins: []pipeline.Plugin{columns{}}})
	r := g.raw(t)
	r.send(&pgproto3.Query{String: "LISTEN c"})
	r.until("Z")
	if _, err := g.direct(t).Exec(t.Context(), "NOTIFY c, 'hello'"); err != nil {
		t.Fatal(err)
	}
	r.expect("A")
	r.send(&pgproto3.Query{String: "DO $$ BEGIN RAISE NOTICE 'from the server'; END $$"})
	if got := r.until("Z"); !cmp.Equal(got, []string{"N from the server", "C DO", "Z I"}) {
		t.Errorf("got %q", got)
	}
}

func TestPsqlAndPgbench(t *testing.T) {
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{rule(words), columns{"public.customers.email": {}}}})
	out := g.run(t, "psql", "-X", "-A", "-t", "-c", `SELECT id, email, name FROM customers WHERE id < 3 ORDER BY id`)
	if out != "1||name 1\n2||name 2\n" {
		t.Errorf("psql: %q", out)
	}
	if out := g.run(t, "psql", "-X", "-c", `\d customers`, "-c", `\dt`, "-c", `\df`, "-c", `\l`); !strings.Contains(out, "customers_pkey") {
		t.Errorf("psql's backslash commands: %s", out)
	}
	if err := exec.CommandContext(t.Context(), "pgbench", "-i", "-q", "-s", "1", g.pg.URL(g.database)).Run(); err != nil {
		t.Fatalf("pgbench -i: %v", err)
	}
	for _, mode := range []string{"simple", "extended", "prepared"} {
		out := g.run(t, "pgbench", "-n", "-M", mode, "-t", "50", "-c", "4")
		if !strings.Contains(out, "number of transactions actually processed: 200/200") {
			t.Errorf("pgbench -M %s: %s", mode, out)
		}
	}
}

// run runs a client program through the gate.
func (g *gate) run(t *testing.T, program string, args ...string) string {
	t.Helper()
	host, port, _ := strings.Cut(g.addr, ":")
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append(cmd.Environ(), "PGHOST="+host, "PGPORT="+port, "PGUSER=agent", "PGPASSWORD=good",
		"PGDATABASE=orders", "PGSSLMODE=disable")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
	return string(out)
}

// A brittle masker fails at its second batch of rows, or at once.
type brittle struct{ rows *int }

func (brittle) Name() string { return "brittle" }

func (b brittle) Treat(_ context.Context, _ *event.Session, h *event.Head) ([]event.Treatment, error) {
	ts := make([]event.Treatment, len(h.Fields))
	for i := range ts {
		ts[i].Kind = event.Inspect
	}
	if h.Fields[0].Name == "head" {
		return nil, errors.New("trap")
	}
	return ts, nil
}

func (b brittle) Inspect(_ context.Context, _ *event.Session, r *event.Rows, _ []int) ([]event.Edit, error) {
	if *b.rows += r.Len(); *b.rows > 1000 {
		return nil, errors.New("trap")
	}
	return nil, nil
}

// A result that cannot be treated ends the session at a frame's border, with
// the reason, and its transaction is undone.
func TestResultsThatCannotBeTreatedEndTheSession(t *testing.T) {
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{brittle{new(int)}}})
	for _, sql := range []string{"SELECT 1 AS head", "SELECT n FROM generate_series(1, 100000) n"} {
		r := g.raw(t)
		r.send(&pgproto3.Query{String: "BEGIN"}, &pgproto3.Query{String: "INSERT INTO t VALUES (1)"}, &pgproto3.Query{String: sql})
		r.until("E 42501")
		r.gone()
	}
	waitFor(t, func() bool {
		return g.one(t, "SELECT count(*)::text FROM pg_stat_activity WHERE state <> 'idle'") == "1"
	})
	if n := g.one(t, "SELECT count(*)::text FROM t"); n != "0" {
		t.Errorf("%s rows stayed", n)
	}
}
