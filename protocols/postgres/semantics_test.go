package postgres_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgproto3/v2"
	"github.com/jackc/pgx/v5"

	"gatehouse/core/event"
	"gatehouse/core/peers"
	"gatehouse/core/pipeline"
	"gatehouse/protocols/postgres"
)

// outcomes returns what is recorded of the exchanges of the last session: the
// text of each request with its outcomes.
func (g *gate) outcomes(t *testing.T) (list []string) {
	t.Helper()
	g.mu.Lock()
	tape := g.tapes[len(g.tapes)-1]
	g.mu.Unlock()
	at := map[uint64]int{}
	for _, f := range tape.all() {
		switch f.Kind {
		case event.KindRequest:
			var r event.Request
			if err := r.Decode(f.Payload); err != nil {
				t.Fatal(err)
			}
			if r.Operation != "prepare" {
				at[f.Exchange] = len(list)
				list = append(list, string(r.Payload)+":")
			}
		case event.KindOutcome:
			var o event.Outcome
			if err := o.Decode(f.Payload); err != nil {
				t.Fatal(err)
			}
			if i, ok := at[f.Exchange]; ok {
				list[i] += " " + o.Status
			}
		}
	}
	return list
}

// closed waits until the last session's recording has ended.
func (g *gate) closed(t *testing.T) {
	t.Helper()
	waitFor(t, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		frames := g.tapes[len(g.tapes)-1].all()
		return frames[len(frames)-1].Kind == event.KindClose
	})
}

func simple(texts ...string) (ms []pgproto3.FrontendMessage) {
	for _, sql := range texts {
		ms = append(ms, &pgproto3.Query{String: sql})
	}
	return ms
}

// pipelined is statements by the extended protocol, without a Sync.
func pipelined(texts ...string) (ms []pgproto3.FrontendMessage) {
	for _, sql := range texts {
		ms = append(ms, &pgproto3.Parse{Query: sql}, &pgproto3.Bind{}, &pgproto3.Execute{})
	}
	return ms
}

var syncs = []pgproto3.FrontendMessage{&pgproto3.Sync{}}

// P18, P19: what a statement did is final only when its transaction is.
func TestRecordSaysWhatBecameOfATransaction(t *testing.T) {
	sql := customers + `CREATE TABLE k (n int, UNIQUE (n) DEFERRABLE INITIALLY DEFERRED);
		CREATE PROCEDURE commits() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$;`
	g := startGate(t, gateConfig{sql: sql, plugins: []pipeline.Plugin{rule(allow)}})
	const a, b, wrong = "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)", "SELECT 1/0"
	for _, c := range []struct {
		name string
		send []pgproto3.FrontendMessage
		want []string
		rows string
	}{
		{"a block that commits", simple("BEGIN", a, "COMMIT"), []string{"BEGIN: ok", a + ": ok", "COMMIT: ok"}, "1"},
		{"a block that rolls back", simple("BEGIN", a, b, "ROLLBACK"), []string{"BEGIN: ok", a + ": ok rolled back", b + ": ok rolled back", "ROLLBACK: ok"}, "0"},
		{"a COMMIT that rolls back", simple("BEGIN", a, wrong, "COMMIT"), []string{"BEGIN: ok", a + ": ok rolled back", wrong + ": error", "COMMIT: ok"}, "0"},
		{"a COMMIT that fails", simple("BEGIN", a, "INSERT INTO k VALUES (1), (1)", "COMMIT"),
			[]string{"BEGIN: ok", a + ": ok rolled back", "INSERT INTO k VALUES (1), (1): ok rolled back", "COMMIT: error"}, "0"},
		{"a savepoint", simple("BEGIN", a, "SAVEPOINT s", b, wrong, "ROLLBACK TO s", "COMMIT"),
			[]string{"BEGIN: ok", a + ": ok", "SAVEPOINT s: ok", b + ": ok rolled back", wrong + ": error", "ROLLBACK TO s: ok", "COMMIT: ok"}, "1"},
		{"a savepoint that was released", simple("BEGIN", "SAVEPOINT r", a, "SAVEPOINT s", "RELEASE s", b, "ROLLBACK TO r", "COMMIT"),
			[]string{"BEGIN: ok", "SAVEPOINT r: ok", a + ": ok rolled back", "SAVEPOINT s: ok", "RELEASE s: ok", b + ": ok rolled back", "ROLLBACK TO r: ok", "COMMIT: ok"}, "0"},
		{"a chain", simple("BEGIN", a, "COMMIT AND CHAIN", b, "ROLLBACK"),
			[]string{"BEGIN: ok", a + ": ok", "COMMIT AND CHAIN: ok", b + ": ok rolled back", "ROLLBACK: ok"}, "1"},
		{"a pipeline that fails", append(pipelined(a, wrong), syncs...), []string{a + ": ok rolled back", wrong + ": error"}, "0"},
		{"a pipeline that fails behind a COMMIT", append(pipelined(a, "COMMIT", b, wrong), syncs...),
			[]string{a + ": ok", "COMMIT: ok", b + ": ok rolled back", wrong + ": error"}, "1"},
		{"a pipeline whose Sync fails", append(pipelined(a, "INSERT INTO k VALUES (1), (1)"), syncs...),
			[]string{a + ": ok rolled back", "INSERT INTO k VALUES (1), (1): ok rolled back"}, "0"},
		{"a procedure that commits", append(pipelined(a, "CALL commits()", wrong), syncs...), []string{a + ": ok unknown", "CALL commits(): ok unknown", wrong + ": error"}, "1"},
		{"P17: a Query that commits", append(pipelined(a), simple("SELECT 1")...), []string{a + ": ok", "SELECT 1: ok"}, "1"},
		{"a Query that fails behind a pipeline", append(pipelined(a), simple(wrong)...), []string{a + ": ok rolled back", wrong + ": error"}, "0"},
		{"P19: a COMMIT in a Query", simple(a + "; COMMIT; " + wrong), []string{a + "; COMMIT; " + wrong + ": error committed in part"}, "1"},
		{"no COMMIT in a Query", simple(a + "; " + wrong), []string{a + "; " + wrong + ": error"}, "0"},
		{"a ROLLBACK in a Query", simple(a + "; ROLLBACK"), []string{a + "; ROLLBACK: ok rolled back"}, "0"},
		{"a ROLLBACK in the middle", simple(a + "; ROLLBACK; " + b), []string{a + "; ROLLBACK; " + b + ": ok committed in part"}, "1"},
		{"a client that leaves", simple("BEGIN", a), []string{"BEGIN: ok", a + ": ok rolled back"}, "0"},
	} {
		g.one(t, "WITH d AS (DELETE FROM t) SELECT ''")
		r := g.raw(t)
		r.send(c.send...)
		r.send(&pgproto3.Terminate{})
		r.drained()
		g.closed(t)
		if diff := cmp.Diff(c.want, g.outcomes(t)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		if got := g.count(t); got != c.rows {
			t.Errorf("%s: %s rows stayed, want %s", c.name, got, c.rows)
		}
	}
}

// drained reads until the other side has closed the connection.
func (r *raw) drained() {
	r.t.Helper()
	for {
		if _, err := r.read(); err != nil {
			if !ended(err) {
				r.t.Fatal(err)
			}
			return
		}
	}
}

// What a result that is cut off has done is recorded as far as it is certain.
func TestRecordSaysWhatBecameOfAResultThatWasCutOff(t *testing.T) {
	const a, late = "INSERT INTO t VALUES (1)", "SELECT n FROM generate_series(1, 100000) n"
	const early = "SELECT 1 AS head"
	for _, c := range []struct {
		name string
		send []pgproto3.FrontendMessage
		want []string
		rows string
	}{
		{"in a block", simple("BEGIN", a, late), []string{"BEGIN: ok", a + ": ok rolled back", late + ": refused rolled back"}, "0"},
		{"before rows went", simple("BEGIN", a, early), []string{"BEGIN: ok", a + ": ok rolled back", early + ": refused rolled back"}, "0"},
		{"with a COMMIT behind it", simple("BEGIN", a, late, "COMMIT"), []string{"BEGIN: ok", a + ": ok unknown", late + ": refused unknown", "COMMIT: unknown"}, ""},
		{"before a Sync", append(pipelined(a, late), &pgproto3.Flush{}), []string{a + ": ok rolled back", late + ": refused rolled back"}, "0"},
		{"before a Sync that was sent", append(pipelined(a, late), syncs...), []string{a + ": ok unknown", late + ": refused unknown"}, ""},
		{"in a Query", simple(late), []string{late + ": refused unknown"}, "0"},
		{"behind a COMMIT", simple(a + "; COMMIT; " + late), []string{a + "; COMMIT; " + late + ": refused committed in part"}, "1"},
	} {
		g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{brittle{new(int)}}})
		r := g.raw(t)
		r.send(c.send...)
		r.until("E 42501")
		r.gone()
		g.closed(t)
		if diff := cmp.Diff(c.want, g.outcomes(t)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		waitFor(t, func() bool {
			return g.one(t, "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND application_name <> 'gatehouse'") == "1"
		})
		if got := g.count(t); c.rows != "" && got != c.rows {
			t.Errorf("%s: %s rows stayed, want %s", c.name, got, c.rows)
		}
	}
}

// seen collects what judges are shown of requests that are not prepared only.
type seen struct{ list []string }

func (*seen) Name() string { return "seen" }

func (s *seen) judge(r *event.Request) event.Verdict {
	if r.Operation != "prepare" {
		var kinds []string
		for i := range r.Statements {
			kinds = append(kinds, strings.TrimSpace(r.Statements[i].Within+" "+r.Statements[i].Kind))
		}
		s.list = append(s.list, strings.Join(kinds, ", "))
	}
	return event.Verdict{Action: event.Allow}
}

// What was judged is judged again when it may be another thing by now.
func TestWhatRunsLaterIsJudgedAgainWhenItsContextChanged(t *testing.T) {
	sql := customers + `CREATE FUNCTION sets() RETURNS text LANGUAGE sql AS $$ SELECT set_config('search_path', 'x', false) $$;
		CREATE VIEW v AS SELECT sets()`
	bound := []pgproto3.FrontendMessage{&pgproto3.Query{String: "BEGIN"}, &pgproto3.Parse{Name: "s", Query: "SELECT n FROM t"},
		&pgproto3.Bind{DestinationPortal: "p", PreparedStatement: "s"}, &pgproto3.Sync{}}
	run := []pgproto3.FrontendMessage{&pgproto3.Execute{Portal: "p", MaxRows: 1}, &pgproto3.Sync{}}
	declared := simple("BEGIN", "DECLARE p CURSOR FOR SELECT n FROM t")
	for _, c := range []struct {
		name               string
		before, then, last []pgproto3.FrontendMessage
		want               string // of the last message; empty when it is not judged
	}{
		{"nothing between", bound, nil, run, ""},
		{"SHOW between", bound, simple("SHOW search_path"), run, ""},
		{"its own execution between", bound, run, run, ""},
		{"SET between", bound, simple("SET search_path = x"), run, "SELECT"},
		{"SET ROLE between", bound, simple("SET ROLE NONE"), run, "SELECT"},
		{"a call between", bound, simple("SELECT sets()"), run, "SELECT"},
		{"a view between", bound, simple("SELECT * FROM v"), run, "SELECT"},
		{"ROLLBACK TO between", append(simple("BEGIN", "SET search_path = public"), bound[1:]...), simple("SAVEPOINT r", "ROLLBACK TO r"), run, "SELECT"},
		{"FETCH of a portal", bound, nil, simple("FETCH 1 FROM p"), "FETCH"},
		{"FETCH of a portal, SET between", bound, simple("SET search_path = x"), simple("FETCH 1 FROM p"), "FETCH, fetch SELECT"},
		{"FETCH", declared, nil, simple("FETCH 1 FROM p"), "FETCH"},
		{"FETCH again", declared, simple("FETCH 1 FROM p"), simple("FETCH 1 FROM p"), "FETCH"},
		{"FETCH, SET between", declared, simple("SET search_path = x"), simple("FETCH 1 FROM p"), "FETCH, fetch SELECT"},
		{"MOVE, SET between", declared, simple("SET search_path = x"), simple("MOVE 1 FROM p"), "MOVE, fetch SELECT"},
		{"Execute of a cursor", declared, nil, run, "FETCH"},
		{"Execute of a cursor, SET between", declared, simple("SET search_path = x"), run, "FETCH, fetch SELECT"},
		{"EXECUTE of a name", append(simple("BEGIN", "PREPARE q AS SELECT 1"), &pgproto3.Parse{Name: "s", Query: "EXECUTE q"},
			&pgproto3.Bind{DestinationPortal: "p", PreparedStatement: "s"}, &pgproto3.Sync{}),
			simple("DEALLOCATE q", "PREPARE q AS DELETE FROM t"), run, "EXECUTE, execute DELETE"},
		{"EXECUTE of a name of the protocol's", append(simple("BEGIN", "PREPARE q AS SELECT 1"), &pgproto3.Parse{Name: "s", Query: "EXECUTE q"},
			&pgproto3.Bind{DestinationPortal: "p", PreparedStatement: "s"}, &pgproto3.Sync{}),
			[]pgproto3.FrontendMessage{&pgproto3.Close{ObjectType: 'S', Name: "q"}, &pgproto3.Parse{Name: "q", Query: "DELETE FROM t"}, &pgproto3.Sync{}},
			run, "EXECUTE, execute DELETE"},
	} {
		s := &seen{}
		g := startGate(t, gateConfig{sql: sql, plugins: []pipeline.Plugin{rule(s.judge)}})
		r := g.raw(t)
		var got []string
		for i, ms := range [][]pgproto3.FrontendMessage{c.before, c.then, c.last} {
			if i == 2 {
				s.list = nil
			}
			for _, m := range ms {
				r.send(m)
				switch m.(type) {
				case *pgproto3.Query, *pgproto3.Sync:
					got = append(got, r.until("Z")...)
				}
			}
		}
		if i := slices.IndexFunc(got, func(m string) bool { return strings.HasPrefix(m, "E") }); i >= 0 {
			t.Errorf("%s: %q", c.name, got)
		}
		if last := strings.Join(s.list, "; "); last != c.want {
			t.Errorf("%s: judged %q, want %q", c.name, last, c.want)
		}
	}
}

func TestJudgesKnowTheSearchPathAndTheRole(t *testing.T) {
	var path, role string
	see := rule(func(r *event.Request) event.Verdict {
		for _, a := range r.Attrs {
			switch a.Key {
			case "postgres.search_path":
				path = a.Value
			case "postgres.role":
				role = a.Value
			}
		}
		return event.Verdict{Action: event.Allow}
	})
	const standard = `"$user", public`
	for version, c := range map[int][]struct{ sql, path, role string }{
		15: {{"SELECT 1", standard, "none"}, {"SET search_path = x", "unknown", "none"}, {"SET ROLE postgres", "unknown", "postgres"}, {"DISCARD ALL", "unknown", "unknown"}},
		18: {{"SELECT 1", standard, "none"}, {"SET search_path = x", "x", "none"}, {"SET ROLE postgres", "x", "postgres"},
			{"BEGIN; SET LOCAL search_path = y", "y", "postgres"}, {"ROLLBACK", "x", "postgres"}, {"RESET ROLE", "x", "unknown"},
			{"BEGIN; SET ROLE postgres", "x", "unknown"}, {"SELECT set_config('search_path', 'z', false)", "z", "unknown"}, {"ROLLBACK", "x", "unknown"}},
	} {
		g := startGate(t, gateConfig{version: version, plugins: []pipeline.Plugin{see}})
		r := g.raw(t)
		for _, c := range c {
			for _, sql := range []string{c.sql, "SELECT 2"} {
				r.send(&pgproto3.Query{String: sql})
				r.until("Z")
			}
			if path != c.path || role != c.role {
				t.Errorf("PostgreSQL %d, after %s: search_path %q, role %q; want %q, %q", version, c.sql, path, role, c.path, c.role)
			}
		}
	}
	g := startGate(t, gateConfig{plugins: []pipeline.Plugin{see}})
	if err := g.connect(t, "&search_path=mine").Ping(t.Context()); err != nil || path != "mine" {
		t.Errorf("a search path from the start: %q, %v", path, err)
	}
	if err := g.connect(t, "&search_path=").Ping(t.Context()); err != nil || path != `""` {
		t.Errorf("an empty search path from the start: %q, %v", path, err)
	}
}

// Text whose reading hangs on a setting does not go to the server while code
// that the gate cannot read may have changed the setting.
func TestTextBehindUnseenCodeWaitsForTheServersReport(t *testing.T) {
	sql := `CREATE PROCEDURE off() LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('standard_conforming_strings', 'off', false); END $$;
		CREATE PROCEDURE nothing() LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;`
	g := startGate(t, gateConfig{sql: sql, plugins: []pipeline.Plugin{rule(allow)}})
	const tricky, harmless = `SELECT '\', 'x'`, "SELECT 'x'"
	r := g.raw(t)
	r.send(append(pipelined("CALL nothing()", harmless), syncs...)...)
	if got := r.until("Z"); !cmp.Equal(got, []string{"1", "2", "C CALL", "1", "2", "D x", "C SELECT 1", "Z I"}) {
		t.Errorf("without a backslash: %q", got)
	}
	r.send(append(pipelined("CALL nothing()", tricky), syncs...)...)
	if got := r.until("Z"); !cmp.Equal(got, []string{"1", "2", "C CALL", "E 42501", "Z I"}) {
		t.Errorf("in the same pipeline: %q", got)
	}
	r.send(append(append(pipelined("CALL nothing()"), syncs...), append(pipelined(tricky), syncs...)...)...)
	if got := append(r.until("Z"), r.until("Z")...); !cmp.Equal(got, []string{"1", "2", "C CALL", "Z I", "1", "2", `D \|x`, "C SELECT 1", "Z I"}) {
		t.Errorf("behind a Sync: %q", got)
	}
	r.send(append(append(pipelined("CALL off()"), syncs...), append(pipelined(tricky), syncs...)...)...)
	if got := r.until("E"); !cmp.Equal(got[len(got)-1], "E 42501") {
		t.Errorf("a procedure that changes how text is read: %q", got)
	}
	r.gone()
	statements, err := g.pg.Statements(g.database)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(slices.DeleteFunc(statements, func(s string) bool { return s != tricky })); n != 1 {
		t.Errorf("the server got %d of the texts, want 1", n)
	}
}

func TestComputedNamesOfSettingsAreRefused(t *testing.T) {
	g := startGate(t, gateConfig{plugins: []pipeline.Plugin{rule(allow)}})
	for _, sql := range []string{
		"UPDATE pg_settings SET setting = 'off' WHERE name = 'standard_conforming_strings'",
		"SELECT set_config('standard_' || 'conforming_strings', 'off', false)",
		"DO $$ BEGIN SET standard_conforming_strings = off; END $$",
		"PREPARE p AS SELECT set_config('client_encoding', 'SJIS', false)",
	} {
		r := g.raw(t)
		r.send(&pgproto3.Query{String: sql})
		if got := r.until("Z"); !cmp.Equal(got, []string{"E 42501", "Z I"}) {
			t.Errorf("%s: %q", sql, got)
		}
	}
}

// An approval ends when the server reports another setting while it is waited
// for: here because its configuration was read again.
func TestApprovalEndsWhenASettingChangesMeanwhile(t *testing.T) {
	pg := peers.NewPostgres(t, peers.PostgresOptions{})
	database := pg.NewDatabase(t, customers)
	server := &postgres.Resource{Name: "orders", Host: peers.Host, Port: uint16(pg.Port), User: peers.Superuser,
		Password: pg.Password, Database: database, SSLMode: "disable"}
	g := startGate(t, gateConfig{server: server, plugins: []pipeline.Plugin{rule(words)}})
	g.pg, g.database = pg, database
	admin := g.direct(t) // older than the session that waits, so that the server tells it later
	r, _ := held(t, g, "simple")
	for _, sql := range []string{"ALTER SYSTEM SET timezone = 'Asia/Tokyo'", "SELECT pg_reload_conf()"} {
		if _, err := admin.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, func() bool {
		var zone string
		err := admin.QueryRow(t.Context(), "SHOW timezone", pgx.QueryExecModeSimpleProtocol).Scan(&zone)
		return err == nil && zone == "Asia/Tokyo"
	})
	g.desk.decide <- event.Decision{Approved: true}
	if got := r.until("Z"); !cmp.Equal(got, []string{"E 42501", "Z I"}) {
		t.Errorf("got %q", got)
	}
	if got := g.count(t); got != "0" {
		t.Errorf("%s rows", got)
	}
}

// What ALTER ROLE and ALTER DATABASE set is there when a session begins.
func TestSettingsOfRolesAndDatabases(t *testing.T) {
	var attrs []event.Attr
	see := rule(func(r *event.Request) event.Verdict {
		attrs = r.Attrs
		return event.Verdict{Action: event.Allow}
	})
	g := startGate(t, gateConfig{version: 18, plugins: []pipeline.Plugin{see}})
	set := func(setting string) {
		g.one(t, "SELECT 1::text")
		if _, err := g.direct(t).Exec(t.Context(), "ALTER DATABASE "+g.database+" SET "+setting); err != nil {
			t.Fatal(err)
		}
	}
	set("search_path = elsewhere")
	if err := g.connect(t, "").Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(attrs, event.Attr{Key: "postgres.search_path", Value: "elsewhere"}) {
		t.Errorf("the judge is told %v", attrs)
	}
	for _, pinned := range []string{"standard_conforming_strings = off", "client_encoding = 'LATIN1'"} {
		set(pinned)
		r := dialRaw(t, g.addr, map[string]string{"user": "agent", "database": "orders"}, "")
		r.expect("R")
		r.send(&pgproto3.PasswordMessage{Password: "good"})
		if got := r.next(); !strings.HasPrefix(got, "E ") {
			t.Errorf("%s: the session began with %q", pinned, got)
		}
		set(strings.Split(pinned, " ")[0] + " TO DEFAULT")
	}
}

func TestTwoPhaseCommit(t *testing.T) {
	pg := peers.NewPostgres(t, peers.PostgresOptions{Settings: map[string]string{"max_prepared_transactions": "2"}})
	database := pg.NewDatabase(t, customers)
	server := &postgres.Resource{Name: "orders", Host: peers.Host, Port: uint16(pg.Port), User: peers.Superuser,
		Password: pg.Password, Database: database, SSLMode: "disable"}
	g := startGate(t, gateConfig{server: server, plugins: []pipeline.Plugin{rule(allow)}})
	g.pg, g.database = pg, database
	r := g.raw(t)
	for _, sql := range []string{"BEGIN", "INSERT INTO t VALUES (1)", "PREPARE TRANSACTION 'a'", "COMMIT PREPARED 'a'",
		"BEGIN", "SELECT 1/0", "PREPARE TRANSACTION 'b'"} {
		r.send(&pgproto3.Query{String: sql})
		r.until("Z")
	}
	r.send(&pgproto3.Terminate{})
	r.drained()
	g.closed(t)
	want := []string{"BEGIN: ok", "INSERT INTO t VALUES (1): ok prepared", "PREPARE TRANSACTION 'a': ok", "COMMIT PREPARED 'a': ok",
		"BEGIN: ok", "SELECT 1/0: error", "PREPARE TRANSACTION 'b': ok"}
	if diff := cmp.Diff(want, g.outcomes(t)); diff != "" {
		t.Error(diff)
	}
	if got := g.count(t); got != "1" {
		t.Errorf("%s rows", got)
	}
}

// Whichever side runs what the other opened, its rows are masked.
func TestCursorsAreMasked(t *testing.T) {
	sql := customers + `CREATE FUNCTION opens() RETURNS refcursor LANGUAGE plpgsql AS
		$$ DECLARE c refcursor := 'f'; BEGIN OPEN c FOR SELECT id, email FROM customers ORDER BY id; RETURN c; END $$`
	g := startGate(t, gateConfig{sql: sql, plugins: []pipeline.Plugin{columns{"public.customers.email": {}}}})
	r := g.raw(t)
	r.send(&pgproto3.Query{String: "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT id, email FROM customers ORDER BY id; SELECT opens()"},
		&pgproto3.Parse{Query: "SELECT id, email FROM customers ORDER BY id"}, &pgproto3.Bind{DestinationPortal: "p"}, &pgproto3.Sync{})
	r.until("Z")
	r.until("Z")
	for i := range 2 {
		for _, name := range []string{"c", "f", "p"} {
			if i == 1 && name != "c" {
				continue // only what is held is there after the COMMIT
			}
			for _, ms := range [][]pgproto3.FrontendMessage{{&pgproto3.Execute{Portal: name, MaxRows: 1}, &pgproto3.Sync{}}, simple("FETCH 1 FROM " + name)} {
				r.send(ms...)
				got := strings.Join(r.until("Z"), ", ")
				if !strings.Contains(got, "|NULL, ") || strings.Contains(got, "@") {
					t.Errorf("%s by %T: %q", name, ms[0], got)
				}
			}
		}
		r.send(&pgproto3.Query{String: "COMMIT"})
		r.until("Z")
	}
}

// Names that SQL defines count as those of the protocol do.
func TestNamesBySQLAreBounded(t *testing.T) {
	g := startGate(t, gateConfig{limits: postgres.Limits{Prepared: 3}, plugins: []pipeline.Plugin{rule(allow)}})
	for _, extended := range []bool{false, true} {
		r := g.raw(t)
		var last []string
		for i := range 4 {
			ms := simple(fmt.Sprintf("PREPARE p%d AS SELECT 1", i))
			if extended {
				ms = append(pipelined(fmt.Sprintf("PREPARE p%d AS SELECT 1", i)), syncs...)
			}
			r.send(ms...)
			last = r.until("Z")
		}
		if !slices.Contains(last, "E 54001") {
			t.Errorf("extended %v: %q", extended, last)
		}
	}
}
