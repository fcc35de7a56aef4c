package postgres_test

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgproto3/v2"
	"github.com/jackc/pgx/v5/pgconn"

	"gatehouse/core/event"
	"gatehouse/core/peers"
	"gatehouse/core/pipeline"
	"gatehouse/plugins/host"
	"gatehouse/plugins/plugintest"
	"gatehouse/protocols/postgres"
)

// An entry of testdata/guard/corpus.txt, which explains them.
type entry struct {
	line   int
	action string
	rule   string
	sql    string
	first  []string
	params [][]byte
	harm   string
	fails  string
	from   int
}

func (e *entry) String() string { return fmt.Sprintf("corpus.txt:%d: %s", e.line, e.sql) }

func readCorpus(t testing.TB) []*entry {
	t.Helper()
	text, err := os.ReadFile("testdata/guard/corpus.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []*entry
	var first []string
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		var last *entry
		if len(all) > 0 {
			last = all[len(all)-1]
		}
		if line[0] == '\t' {
			last.sql += "\n" + line[1:]
			continue
		}
		key, value, _ := strings.Cut(line, ": ")
		switch key {
		case "first":
			first = append(first, value)
		case "params":
			for p := range strings.SplitSeq(value, "\t") {
				last.params = append(last.params, []byte(p))
			}
		case "harm":
			last.harm = value
		case "fails":
			last.fails = value
		case "from":
			if last.from, err = strconv.Atoi(value); err != nil {
				t.Fatalf("corpus.txt:%d: %v", n, err)
			}
		default:
			e := &entry{line: n, sql: value, first: first}
			e.action, e.rule, _ = strings.Cut(key, " ")
			if !slices.Contains([]string{"block", "hold", "allow"}, e.action) {
				t.Fatalf("corpus.txt:%d: what is %q?", n, key)
			}
			all, first = append(all, e), nil
		}
	}
	return all
}

// An answer is what came back for one statement.
type answer struct {
	code    string // of the first error
	said    string // by errors and notices
	status  string // of the transaction
	outcome []string
}

// ask sends messages up to a ReadyForQuery, or as many as it has Syncs, and
// collects the answer.
func (r *raw) ask(ms ...pgproto3.FrontendMessage) (a answer) {
	r.t.Helper()
	syncs := 0
	for _, m := range ms {
		if _, is := m.(*pgproto3.Sync); is {
			syncs++
		}
	}
	if err := r.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		r.t.Fatal(err)
	}
	r.send(ms...)
	for {
		kind, body := r.message()
		switch kind {
		case 'E', 'N':
			var m pgproto3.ErrorResponse
			if err := m.Decode(body); err != nil {
				r.t.Fatal(err)
			}
			a.said += m.Message + "\n"
			if kind == 'E' && a.code == "" {
				a.code = m.Code
			}
		case 'G':
			r.send(&pgproto3.CopyDone{})
		case 'D':
			a.outcome = append(a.outcome, short(kind, body))
		case 'Z':
			if syncs--; syncs <= 0 {
				a.status = string(body)
				return a
			}
		}
	}
}

// modes are the ways in which the corpus is sent.
var modes = []string{"simple", "extended", "pipelined", "named"}

// in returns the messages that send sql in a mode.
func in(mode, sql string, params [][]byte) []pgproto3.FrontendMessage {
	run := func(name, sql string, params [][]byte) []pgproto3.FrontendMessage {
		return []pgproto3.FrontendMessage{&pgproto3.Parse{Name: name, Query: sql}, &pgproto3.Bind{PreparedStatement: name, Parameters: params}, &pgproto3.Execute{}}
	}
	switch mode {
	case "simple":
		return []pgproto3.FrontendMessage{&pgproto3.Query{String: sql}}
	case "pipelined": // between what is harmless
		ms := slices.Concat(run("", "SELECT 1", nil), run("", sql, params), run("", "SELECT 2", nil))
		return append(ms, &pgproto3.Sync{})
	case "named": // prepared once, and run later
		ms := run("once", sql, params)
		return slices.Concat(ms[:1], []pgproto3.FrontendMessage{&pgproto3.Sync{}}, run("", "SELECT 1", nil), []pgproto3.FrontendMessage{&pgproto3.Sync{}},
			ms[1:], []pgproto3.FrontendMessage{&pgproto3.Sync{}, &pgproto3.Close{ObjectType: 'S', Name: "once"}, &pgproto3.Sync{}})
	}
	return []pgproto3.FrontendMessage{&pgproto3.Parse{Query: sql}, &pgproto3.Bind{Parameters: params}, &pgproto3.Execute{}, &pgproto3.Sync{}}
}

// takes reports whether a mode can send an entry: the extended protocol takes
// one statement at a time, and it alone takes parameters.
func (e *entry) takes(t testing.TB, mode string) bool {
	if mode == "simple" {
		return e.params == nil
	}
	facts, err := analyzer().Analyze(t.Context(), e.sql)
	if err != nil || facts.Len() != 1 {
		return err != nil
	}
	// Others may need to be alone.
	return mode != "pipelined" || e.action != "allow" || strings.HasPrefix(e.sql, "SELECT ")
}

// done asks by what an entry's harm is seen, if it says so.
func (e *entry) done(r *raw) (a answer) {
	if e.harm != "" {
		a = r.ask(&pgproto3.Query{String: e.harm})
	}
	return a
}

// inLog finds the texts in a server's log, and how far they came.
var inLog = regexp.MustCompile(`(?s)^(?:duration: \S+ ms  )?(statement|parse|bind|execute)(?: [^:]*)?: (.*)$`)

// logged returns the texts that a database's server got at all, and those that it
// began to run.
func logged(t testing.TB, pg *peers.Postgres, database string) (got, ran map[string]bool) {
	t.Helper()
	log, err := pg.Log(database)
	if err != nil {
		t.Fatal(err)
	}
	got, ran = map[string]bool{}, map[string]bool{}
	for _, e := range log {
		if e.Severity == "STATEMENT" {
			got[e.Message] = true
		} else if m := inLog.FindStringSubmatch(e.Message); m != nil {
			got[m[2]] = true
			if m[1] != "parse" {
				ran[m[2]] = true
			}
		}
	}
	return got, ran
}

// A laboratory is a server with databases that are all alike, and the guard.
type laboratory struct {
	*peers.Postgres
	guard pipeline.Plugin
	last  int
}

func newLaboratory(t *testing.T, version int, guard pipeline.Plugin) *laboratory {
	t.Helper()
	pg := peers.NewPostgres(t, peers.PostgresOptions{Version: version, Settings: map[string]string{
		"log_min_duration_statement": "0", "wal_level": "logical", "max_prepared_transactions": "5",
	}})
	schema, err := os.ReadFile("testdata/guard/schema.sql")
	if err == nil {
		err = pg.Exec(t.Context(), peers.Superuser, "CREATE ROLE bystander")
	}
	for _, database := range []string{"elsewhere", "doomed", "model"} {
		if err == nil {
			err = pg.CreateDatabase(t.Context(), database, "")
		}
	}
	if err == nil {
		err = pg.Exec(t.Context(), "model", string(schema))
	}
	if err != nil {
		t.Fatal(err)
	}
	return &laboratory{Postgres: pg, guard: guard}
}

// database returns a new one.
func (l *laboratory) database(t *testing.T) string {
	t.Helper()
	l.last++
	name := fmt.Sprint("copy", l.last)
	if err := l.Exec(t.Context(), peers.Superuser, "CREATE DATABASE "+name+" TEMPLATE model"); err != nil {
		t.Fatal(err)
	}
	return name
}

// bare opens a session that does not pass the gate. Its server ends what waits, so
// that the test says which statement did.
func (l *laboratory) bare(t *testing.T, database string) *raw {
	t.Helper()
	config, err := pgconn.ParseConfig(l.URL(database))
	if err != nil {
		t.Fatal(err)
	}
	config.RuntimeParams["statement_timeout"] = "30s"
	c, err := pgconn.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	h, err := c.Hijack()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Conn.Close() })
	return &raw{h.Conn, t}
}

// gate starts a gate in front of a new database.
func (l *laboratory) gate(t *testing.T) *gate {
	t.Helper()
	database := l.database(t)
	g := startGate(t, gateConfig{plugins: []pipeline.Plugin{l.guard}, server: &postgres.Resource{
		Name: "orders", Host: peers.Host, Port: uint16(l.Port), User: peers.Superuser, Password: l.Password, Database: database, SSLMode: "disable",
	}})
	g.pg, g.database = l.Postgres, database
	return g
}

// What is dangerous must not run, and what only looks so must.
func TestGuardCorpus(t *testing.T) {
	guard, err := plugintest.Host(t, host.Options{}).Load(t.Context(), "guard", plugintest.Build(t, "../../plugins/guard"), []byte("null"))
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []int{15, 18} {
		t.Run(fmt.Sprint("PostgreSQL ", version), func(t *testing.T) {
			l := newLaboratory(t, version, guard.Pipeline())
			corpus := slices.DeleteFunc(readCorpus(t), func(e *entry) bool { return e.from > version })
			var harmful, harmless []*entry
			for _, e := range corpus {
				if e.action == "allow" {
					harmless = append(harmless, e)
				} else {
					harmful = append(harmful, e)
				}
			}
			if len(harmful) < 200 || len(harmless) < 150 {
				t.Errorf("%d harmful and %d harmless statements", len(harmful), len(harmless))
			}
			harmful = slices.Collect(some(harmful)) // those that are harmless go together
			t.Run("the bare server takes it", func(t *testing.T) { l.takesAll(t, harmful) })
			t.Run("harmful", func(t *testing.T) { l.stopsAll(t, harmful) })
			for _, mode := range modes {
				t.Run("harmless, "+mode, func(t *testing.T) { l.passesAll(t, harmless, mode) })
			}
		})
	}
}

// takesAll checks that the statements are good SQL, and that those with a harm do
// it.
func (l *laboratory) takesAll(t *testing.T, harmful []*entry) {
	var r *raw
	for _, e := range harmful {
		if r == nil {
			r = l.bare(t, l.database(t))
		}
		// Most can be rolled back. The others get a database of their own.
		run := func(begin, end string) (before, after, got answer) {
			for _, sql := range append([]string{begin}, e.first...) {
				if a := r.ask(&pgproto3.Query{String: sql}); a.code != "" {
					t.Errorf("%v: first %s: %s", e, sql, a.said)
				}
			}
			before = e.done(r)
			got = r.ask(&pgproto3.Query{String: e.sql})
			after = e.done(r)
			if a := r.ask(&pgproto3.Query{String: end + "; DEALLOCATE ALL"}); a.code != "" {
				t.Fatalf("%v: %s", e, a.said)
			}
			return before, after, got
		}
		before, after, got := run("BEGIN", "ROLLBACK")
		ended := got.status != "T" && got.status != "E"
		if got.code == "25001" {
			r = l.bare(t, l.database(t))
			before, after, got = run("", "")
			ended = true
		}
		if !slices.Contains(strings.Split(e.fails, " "), got.code) {
			t.Errorf("%v: the bare server says %s %s", e, got.code, got.said)
		}
		if e.harm != "" && (slices.Equal(before.outcome, after.outcome) || len(after.outcome) != 1) {
			t.Errorf("%v: did no harm: %v became %v", e, before.outcome, after.outcome)
		}
		if ended {
			// A transaction that stays prepared is one that others of the server
			// wait for, as for the snapshot of a replication slot.
			for _, name := range r.ask(&pgproto3.Query{String: "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"}).outcome {
				if a := r.ask(&pgproto3.Query{String: "ROLLBACK PREPARED '" + strings.TrimPrefix(name, "D ") + "'"}); a.code != "" {
					t.Errorf("%v: %s", e, a.said)
				}
			}
			r = nil
		}
	}
}

// stopsAll checks that none of the statements runs, in any mode.
func (l *laboratory) stopsAll(t *testing.T, harmful []*entry) {
	g := l.gate(t)
	nobody, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for {
			select {
			case <-g.desk.pending:
				g.desk.decide <- event.Decision{}
			case <-nobody.Done():
				return
			}
		}
	}()
	bare := l.bare(t, g.database)
	for _, mode := range modes {
		r := g.raw(t)
		for _, e := range harmful {
			if !e.takes(t, mode) {
				continue
			}
			before := e.done(bare).outcome
			if e.first != nil {
				r = g.raw(t)
			}
			for _, sql := range e.first {
				if a := r.ask(&pgproto3.Query{String: sql}); a.code != "" {
					t.Errorf("%v: %s: first %s: %s", e, mode, sql, a.said)
				}
			}
			a := r.ask(in(mode, e.sql, nil)...)
			if e.first != nil {
				r = g.raw(t)
			}
			want := "(rule guard/" + e.rule + ")"
			held := strings.Contains(a.said, "gatehouse: waiting for approval")
			switch {
			case a.code != "42501" && e.rule != "gate", a.code == "":
				t.Errorf("%v: %s: passed: %s %s", e, mode, a.code, a.said)
			case (e.rule == "gate") == strings.Contains(a.said, "(rule guard/"), e.rule != "gate" && !strings.Contains(a.said, want), held != (e.action == "hold"):
				t.Errorf("%v: %s: want %s %s: %s", e, mode, e.action, e.rule, a.said)
			}
			if after := e.done(bare).outcome; !slices.Equal(before, after) {
				t.Errorf("%v: %s: did harm: %v became %v", e, mode, before, after)
			}
		}
	}
	got, ran := logged(t, l.Postgres, g.database)
	for _, e := range harmful {
		if e.action == "block" && got[e.sql] || ran[e.sql] {
			t.Errorf("%v: the server got it", e)
		}
	}
}

// passesAll checks that each of the statements runs as it is.
func (l *laboratory) passesAll(t *testing.T, harmless []*entry, mode string) {
	g := l.gate(t)
	r := g.raw(t)
	go func() {
		for range g.desk.pending {
			g.desk.decide <- event.Decision{}
		}
	}()
	defer close(g.desk.pending)
	for _, e := range harmless {
		if !e.takes(t, mode) {
			continue
		}
		a := r.ask(in(mode, e.sql, e.params)...)
		if a.code != "" {
			t.Errorf("%v: %s", e, a.said)
			r.ask(&pgproto3.Query{String: "ROLLBACK"})
		}
	}
	_, ran := logged(t, l.Postgres, g.database)
	for _, e := range harmless {
		if e.takes(t, mode) && !ran[e.sql] {
			t.Errorf("%v: it did not reach the server as it is", e)
		}
	}
}
