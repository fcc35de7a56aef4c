package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
)

// P13: keys of other users, keys without a session, and late ones.
func TestP13CancelRequests(t *testing.T) {
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{rule(words)}})
	busy, other := g.connect(t, ""), g.connect(t, "")
	done := make(chan error, 1)
	run := func(sql string) { go func() { _, err := busy.Exec(context.Background(), sql); done <- err }() }

	// Another session's key ends nothing of this one; a mixed one ends nothing.
	run("SELECT pg_sleep(1)")
	waitFor(t, func() bool {
		return g.one(t, "SELECT count(*)::text FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(1)'") == "1"
	})
	if err := other.PgConn().CancelRequest(t.Context()); err != nil {
		t.Fatal(err)
	}
	mixed := g.dial(t)
	mixed.bytes(16, 80877102, int(busy.PgConn().PID()), string(other.PgConn().SecretKey()))
	mixed.gone()
	if err := <-done; err != nil {
		t.Errorf("another session's key cancelled it: %v", err)
	}
	// One that comes when nothing runs, or too late for a hold, changes nothing.
	if err := busy.PgConn().CancelRequest(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(busy.Ping(t.Context()), other.Ping(t.Context())); err != nil {
		t.Errorf("after a late one: %v", err)
	}
	// Lengths that no key has end the connection, and no session.
	for _, n := range []int{8, 11, 8 + 257, 9000} {
		r := g.dial(t)
		r.bytes(4+n, 80877102, strings.Repeat("k", n-4))
		r.gone()
	}
	if err := busy.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// P15: work before a refusal in the same pipeline is undone, what is behind it
// never reaches the server, and the client is told once.
func TestP15RefusalInMidPipeline(t *testing.T) {
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{rule(words)}})
	r := g.raw(t)
	var ms []pgproto3.FrontendMessage
	for _, sql := range []string{"UPDATE customers SET name = 'changed' WHERE id = 1", "DROP TABLE customers /* forbidden */", "INSERT INTO t VALUES (15)"} {
		ms = append(ms, &pgproto3.Parse{Query: sql}, &pgproto3.Bind{}, &pgproto3.Execute{})
	}
	r.send(append(ms, &pgproto3.Sync{})...)
	if got := r.until("Z"); !cmp.Equal(got, []string{"1", "2", "C UPDATE 1", "E 42501", "Z I"}) {
		t.Errorf("answered %q", got)
	}
	if got := g.one(t, "SELECT name FROM customers WHERE id = 1"); got != "name 1" {
		t.Errorf("the update stayed: %q", got)
	}
	ran, err := g.pg.Statements(g.database)
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range ran {
		if strings.Contains(sql, "(15)") || strings.Contains(sql, "DROP") {
			t.Errorf("the server ran %q", sql)
		}
	}
}

// P21: an approval is for the values that it was shown.
func TestP21OtherParametersAreHeldAgain(t *testing.T) {
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{rule(words)}})
	r := g.raw(t)
	r.send(&pgproto3.Parse{Name: "s", Query: "DELETE FROM customers WHERE id = $1 AND 'ask' <> ''"}, &pgproto3.Sync{})
	r.until("Z")
	for i, approve := range []bool{true, false} {
		id := fmt.Sprint(i + 1)
		r.send(&pgproto3.Bind{PreparedStatement: "s", Parameters: [][]byte{[]byte(id)}}, &pgproto3.Execute{}, &pgproto3.Sync{})
		p := <-g.desk.pending
		if got := string(p.Request.Params[0]); got != id {
			t.Errorf("shown %q, sent %q", got, id)
		}
		g.desk.decide <- event.Decision{Approved: approve}
		r.until("Z")
	}
	if got := g.one(t, "SELECT string_agg(id::text, ',' ORDER BY id) FROM customers"); got != "2,3,4,5" {
		t.Errorf("left are %s", got)
	}
}

// P22: what was approved under one search_path is not approved under another.
func TestP22SettingsAfterAnApproval(t *testing.T) {
	g := startGate(t, gateConfig{sql: customers + `CREATE SCHEMA other; CREATE TABLE other.t (n int);`, plugins: []pipeline.Plugin{rule(words)}})
	r := g.raw(t)
	r.send(&pgproto3.Query{String: "BEGIN"})
	r.until("Z")
	r.send(&pgproto3.Parse{Name: "s", Query: "INSERT INTO t VALUES (22) RETURNING 'ask'"},
		&pgproto3.Bind{DestinationPortal: "p", PreparedStatement: "s"}, &pgproto3.Sync{})
	<-g.desk.pending
	g.desk.decide <- event.Decision{Approved: true}
	r.until("Z")
	r.send(&pgproto3.Query{String: "SET search_path = other"})
	r.until("Z")
	r.send(&pgproto3.Execute{Portal: "p"}, &pgproto3.Sync{})
	<-g.desk.pending // again
	g.desk.decide <- event.Decision{}
	if got := r.until("Z"); !slices.Contains(got, "E 42501") {
		t.Errorf("answered %q", got)
	}
	// And a new Bind of the same statement is a new request.
	r.send(&pgproto3.Query{String: "ROLLBACK"}, &pgproto3.Query{String: "SET search_path = other"})
	r.until("Z")
	r.until("Z")
	r.send(&pgproto3.Bind{PreparedStatement: "s"}, &pgproto3.Execute{}, &pgproto3.Sync{})
	<-g.desk.pending
	g.desk.decide <- event.Decision{}
	r.until("Z")
	if n := g.one(t, "SELECT (SELECT count(*) FROM t) + (SELECT count(*) FROM other.t) || ''"); n != "0" {
		t.Errorf("%s rows", n)
	}
}

// P23: an approval is for the objects that the names stood for when it was asked
// for. Another session that renames, replaces or shadows them meanwhile ends
// it, whether the names have a schema or not.
func TestP23ObjectSwapWhileHeld(t *testing.T) {
	for name, c := range map[string]struct {
		sql, swap string
		runs      bool
	}{
		"nothing changes":           {"DELETE FROM victims WHERE 'ask' <> ''", "SELECT 1", true},
		"a table beside is renamed": {"DELETE FROM victims WHERE 'ask' <> ''", "ALTER TABLE t RENAME TO u", true},
		"rows change":               {"DELETE FROM victims WHERE 'ask' <> ''", "INSERT INTO victims VALUES (3)", true},
		"tables are exchanged":      {"DELETE FROM victims WHERE 'ask' <> ''", "ALTER TABLE victims RENAME TO x; ALTER TABLE precious RENAME TO victims", false},
		"qualified":                 {"DELETE FROM public.victims WHERE 'ask' <> ''", "ALTER TABLE victims RENAME TO x; ALTER TABLE precious RENAME TO victims", false},
		"a table is shadowed":       {"DELETE FROM victims WHERE 'ask' <> ''", "CREATE SCHEMA postgres CREATE TABLE victims (n int)", false},
		"a table is made anew":      {"DELETE FROM victims WHERE 'ask' <> ''", "DROP TABLE victims; CREATE TABLE victims (n int); INSERT INTO victims VALUES (1)", false},
		"what is read is exchanged": {"DELETE FROM victims WHERE n IN (SELECT n FROM precious) AND 'ask' <> ''", "DROP TABLE precious; CREATE VIEW precious AS SELECT 1 AS n", false},
		"a function is replaced":    {"SELECT harmless(1), 'ask'", "CREATE OR REPLACE FUNCTION harmless(n int) RETURNS int AS 'DELETE FROM precious RETURNING n' LANGUAGE sql", false},
	} {
		for _, extended := range []bool{false, true} {
			g := startGate(t, gateConfig{plugins: []pipeline.Plugin{rule(words)}, sql: `CREATE TABLE t (n int); CREATE TABLE victims (n int); INSERT INTO victims VALUES (1);
				CREATE TABLE precious (n int); INSERT INTO precious VALUES (1), (2);
				CREATE FUNCTION harmless(n int) RETURNS int AS 'SELECT n' LANGUAGE sql;`})
			r := g.raw(t)
			if extended {
				r.send(&pgproto3.Parse{Query: c.sql}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
			} else {
				r.send(&pgproto3.Query{String: c.sql})
			}
			<-g.desk.pending
			_, err := g.direct(t).Exec(t.Context(), "SET lock_timeout = '300ms';"+c.swap)
			// Where the server has parsed it, its locks keep the tables.
			kept := err != nil && extended && strings.Contains(err.Error(), "55P03")
			if err != nil && !kept {
				t.Fatalf("%s: %v", name, err)
			}
			g.desk.decide <- event.Decision{Approved: true}
			got := r.until("Z")
			if ran := !slices.Contains(got, "E 42501"); ran != (c.runs || kept) {
				t.Errorf("%s, extended %v: ran %v: %q", name, extended, ran, got)
			}
			if c.runs || kept {
				continue
			}
			// The transaction fails as the server's own errors make it fail, and
			// the session goes on.
			r.send(&pgproto3.Query{String: "SELECT 1"})
			if got := r.until("Z"); !cmp.Equal(got, []string{"T", "D 1", "C SELECT 1", "Z I"}) {
				t.Errorf("%s, extended %v, afterwards: %q", name, extended, got)
			}
		}
	}
}

// P26: rows are masked by what they are, whether they were described before,
// after, in other formats, or not at all.
func TestP26RowsThatWereNotDescribed(t *testing.T) {
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{columns{"public.customers.email": {Kind: event.Redact}, "public.customers.card": {Kind: event.Redact}}}})
	parse := &pgproto3.Parse{Name: "s", Query: "SELECT email, card FROM customers WHERE id = 1"}
	text, binary := &pgproto3.Bind{PreparedStatement: "s"}, &pgproto3.Bind{PreparedStatement: "s", ResultFormatCodes: []int16{1}}
	mixed := &pgproto3.Bind{PreparedStatement: "s", ResultFormatCodes: []int16{1, 0}}
	execute, sync := &pgproto3.Execute{}, &pgproto3.Sync{}
	ofStatement, ofPortal := &pgproto3.Describe{ObjectType: 'S', Name: "s"}, &pgproto3.Describe{ObjectType: 'P'}
	for name, ms := range map[string][]pgproto3.FrontendMessage{
		"never":                       {parse, text, execute, sync},
		"never, binary":               {parse, binary, execute, sync},
		"the statement":               {parse, ofStatement, text, execute, sync},
		"the statement, as text":      {parse, ofStatement, binary, execute, sync},
		"the statement, mixed":        {parse, ofStatement, mixed, execute, sync},
		"the portal":                  {parse, binary, ofPortal, execute, sync},
		"the portal, too late":        {parse, binary, &pgproto3.Execute{MaxRows: 1}, ofPortal, execute, sync},
		"the statement, after Bind":   {parse, mixed, ofStatement, execute, sync},
		"another portal's statement":  {parse, &pgproto3.Parse{Query: "SELECT 1"}, &pgproto3.Describe{ObjectType: 'S'}, binary, execute, sync},
		"an earlier Bind's, in other": {parse, text, ofPortal, execute, binary, execute, sync},
	} {
		r := g.raw(t)
		r.send(ms...)
		rows := 0
		for _, m := range r.until("Z") {
			if strings.HasPrefix(m, "E") {
				t.Errorf("described: %s: %q", name, m)
			}
			if strings.HasPrefix(m, "D") {
				if rows++; m != "D [redacted]|0" && m != "D [redacted]|\x00\x00\x00\x00\x00\x00\x00\x00" {
					t.Errorf("described: %s: %q", name, m)
				}
			}
		}
		if rows == 0 {
			t.Errorf("described: %s: no rows", name)
		}
	}
}

// P34: what is no UTF-8 is refused, not replaced: the record holds what was
// sent, byte for byte.
func TestP34TextThatIsNoUTF8(t *testing.T) {
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{rule(words)}})
	for _, sql := range []string{"SELECT '\xff'", "SELECT '\x95\x5c'; DROP TABLE t --'", "SELECT \xc0\xa7", "SELECT 1 -- \xed\xa0\x80"} {
		r := g.raw(t)
		r.send(&pgproto3.Query{String: sql})
		if got := r.until("Z"); len(got) != 2 || !strings.HasPrefix(got[0], "E ") {
			t.Errorf("%q: %q", sql, got)
		}
		last := g.tapes[len(g.tapes)-1].all()
		found := slices.ContainsFunc(last, func(f event.Frame) bool {
			var req event.Request
			return f.Kind == event.KindRequest && req.Decode(f.Payload) == nil && string(req.Payload) == sql
		})
		if !found {
			t.Errorf("%q is not recorded as it was sent", sql)
		}
	}
	ran, err := g.pg.Statements(g.database)
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range ran {
		if strings.Contains(sql, "SELECT") && strings.Contains(sql, "DROP") {
			t.Errorf("the server ran %q", sql)
		}
	}
}

// P35: nothing of a session is there for the next one.
func TestP35SessionsLeaveNothingToOthers(t *testing.T) {
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{columns{}}})
	first := g.raw(t)
	for _, sql := range []string{"SET my.x = 'left'", "CREATE TEMP TABLE left_over (n int)", "LISTEN c", "SELECT pg_advisory_lock(35)",
		"PREPARE p AS SELECT 1", "SET default_transaction_read_only = on", "SET search_path = pg_catalog"} {
		first.send(&pgproto3.Query{String: sql})
		first.until("Z")
	}
	first.send(&pgproto3.Terminate{})
	first.gone()
	waitFor(t, func() bool {
		return g.one(t, "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND objid = 35") == "0"
	})
	second := g.raw(t)
	for sql, want := range map[string]string{
		"SELECT coalesce(current_setting('my.x', true), '')":                        "D ",
		"SELECT count(*) FROM pg_class WHERE relname = 'left_over'":                 "D 0",
		"SELECT count(*) FROM pg_listening_channels()":                              "D 0",
		"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'":                 "D 0",
		"SELECT count(*) FROM pg_prepared_statements":                               "D 0",
		"SELECT current_setting('default_transaction_read_only')":                   "D off",
		"SELECT current_setting('search_path') <> 'pg_catalog' AND '' = '' AS path": "D t",
	} {
		second.send(&pgproto3.Query{String: sql})
		if got := second.until("Z"); got[1] != want {
			t.Errorf("%s: %q", sql, got)
		}
	}
	second.send(&pgproto3.Query{String: "EXECUTE p"})
	if got := second.until("Z"); !strings.HasPrefix(got[0], "E ") {
		t.Errorf("another session's prepared statement: %q", got)
	}
}

// P37: a flood of notices, and rows of very many columns, pass in bounded
// memory.
func TestP37Floods(t *testing.T) {
	g := startGate(t, gateConfig{plugins: []pipeline.Plugin{columns{}}})
	var before, after runtime.MemStats
	run := func(sql string) (n int) {
		r := g.raw(t)
		_ = r.SetDeadline(time.Now().Add(hangs))
		r.send(&pgproto3.Query{String: sql})
		for {
			kind, body := r.message()
			n += len(body)
			if kind == 'Z' {
				if err := r.Close(); err != nil {
					t.Error(err)
				}
				return n
			}
		}
	}
	run("SELECT 1")
	var wide []string
	for range 1600 {
		wide = append(wide, "repeat('x', 1000)")
	}
	for _, sql := range []string{
		"DO $$ BEGIN FOR i IN 1..20000 LOOP RAISE NOTICE '%', repeat('x', 1000); END LOOP; END $$",
		"SELECT " + strings.Join(wide, ", ") + " FROM generate_series(1, 10)",
	} {
		runtime.GC()
		runtime.ReadMemStats(&before)
		if n := run(sql); n < 15_000_000 {
			t.Errorf("only %d bytes came", n)
		}
		for _, tape := range g.tapes { // which keeps what a spool would write
			tape.mu.Lock()
			tape.frames = nil
			tape.mu.Unlock()
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
			t.Errorf("%.40s: %d bytes are kept", sql, grown)
		}
	}
}

// Text that a client chooses reaches the log on one line, and its own.
func TestLogsAreNotForged(t *testing.T) {
	var log lines
	g := startGate(t, gateConfig{log: &log})
	for _, name := range []string{"x\nlevel=ERROR msg=forged", "\x1b[2J\x1b]0;title\x07", "\u202egnp.exe", strings.Repeat("x", 3000)} {
		params := "user\x00" + name + "\x00database\x00" + name + "\x00application_name\x00" + name + "\x00\x00"
		r := g.dial(t)
		r.bytes(8+len(params), version3, params)
		r.expect("R")
		r.send(&pgproto3.PasswordMessage{Password: "secret-token\nlevel=ERROR msg=forged"})
		r.expect("E 28P01")
		r.gone()
		bad := g.dial(t)
		params = "user\x00a\x00" + name + "\x00b\x00\x00"
		bad.bytes(8+len(params), version3, params)
		bad.gone()
	}
	waitFor(t, func() bool { return strings.Count(log.String(), "\n") >= 8 })
	for line := range strings.Lines(log.String()) {
		if !strings.HasPrefix(line, "time=") || strings.ContainsAny(strings.TrimSuffix(line, "\n"), "\x1b\x07\n\u202e") || strings.Contains(line, "secret-token") {
			t.Errorf("logged: %q", line)
		}
	}
}

// lines are a log that several goroutines write.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
