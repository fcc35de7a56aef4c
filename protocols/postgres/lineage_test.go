package postgres_test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgproto3/v2"
	"github.com/jackc/pgx/v5"

	"gatehouse/core/event"
	"gatehouse/core/protect"
	"gatehouse/protocols/postgres"
)

const lineageSchema = `
CREATE TABLE people (id int PRIMARY KEY, name text NOT NULL, ssn text, pin int, team int);
INSERT INTO people VALUES (1, 'Ada', '219-09-9471', 8273, 1), (2, 'Bob', '457-55-5462', 6451, 1), (3, 'Cyd', '536-22-8726', 9517, 2);
CREATE TABLE teams (id int PRIMARY KEY, title text, budget numeric);
INSERT INTO teams VALUES (1, 'red', 10.5), (2, 'blue', 20);
CREATE VIEW roster AS SELECT p.id, upper(p.name) AS name, t.title, p.ssn FROM people p JOIN teams t ON t.id = p.team;
CREATE MATERIALIZED VIEW sizes AS SELECT team, count(*) AS n FROM people GROUP BY team;
CREATE FUNCTION greeting(who int) RETURNS text LANGUAGE sql AS 'SELECT ''Hi '' || name FROM people WHERE id = who';
CREATE FUNCTION secret_of(who int) RETURNS text LANGUAGE sql STABLE AS 'SELECT ssn FROM people WHERE id = who';
CREATE FUNCTION standard(a int, b int) RETURNS int LANGUAGE sql RETURN a + b;
CREATE FUNCTION unread(v text) RETURNS text LANGUAGE plpgsql STABLE AS 'BEGIN RETURN (SELECT ssn FROM people LIMIT 1); END';
CREATE FUNCTION unread_immutable() RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN (SELECT ssn FROM people LIMIT 1); END';
CREATE TABLE events (id int, at timestamptz, kind text, doc jsonb) PARTITION BY LIST (kind);
CREATE TABLE events_a PARTITION OF events FOR VALUES IN ('a');
INSERT INTO events VALUES (1, '2026-01-02 03:04:05Z', 'a', '{"x": [1, 2]}');
CREATE TABLE owned (id int, owner text, body text);
INSERT INTO owned VALUES (1, 'ann', 'mine'), (2, 'bob', 'his');
ALTER TABLE owned ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON owned USING (owner = current_setting('app.user', true));
CREATE SCHEMA other;
CREATE TABLE other.teams (id int, title text, pin text);
INSERT INTO other.teams VALUES (1, 'other', 'x');
CREATE EXTENSION citext;
CREATE EXTENSION pg_trgm;
CREATE EXTENSION hstore;
`

func strictGate(t *testing.T, version int) *gate {
	t.Helper()
	return startGate(t, gateConfig{version: version, sql: lineageSchema, columns: protectedPeople(t, protect.Strict)})
}

// What is computed from clean columns alone passes, and nothing else.
func TestLineageOfOrdinaryQueries(t *testing.T) {
	for _, version := range []int{15, 18} {
		g := strictGate(t, version)
		c := g.connect(t, "")
		for _, test := range []struct{ sql, want string }{
			{"SELECT count(*) FROM people", "3"},
			{"SELECT count(*), max(name), string_agg(name, ',' ORDER BY id) FROM people", "3|Cyd|Ada,Bob,Cyd"},
			{"SELECT team, count(*) FROM people GROUP BY team HAVING count(*) > 1", "1|2"},
			{"SELECT upper(name) || '!' FROM people WHERE id = 1", "ADA!"},
			{"SELECT t.title, count(p.id) FROM teams t LEFT JOIN people p ON p.team = t.id GROUP BY t.title ORDER BY 1", "blue|1 red|2"},
			{"SELECT sum(budget), round(avg(budget), 2) FROM teams", "30.5|15.25"},
			{"SELECT name, row_number() OVER (ORDER BY id) FROM people ORDER BY id", "Ada|1 Bob|2 Cyd|3"},
			{"WITH q AS (SELECT team, count(*) AS n FROM people GROUP BY team) SELECT title, n FROM q JOIN teams ON teams.id = q.team ORDER BY 1", "blue|1 red|2"},
			{"SELECT (SELECT title FROM teams t WHERE t.id = p.team) FROM people p ORDER BY p.id", "red red blue"},
			{"SELECT CASE WHEN budget > 15 THEN 'big' ELSE 'small' END FROM teams ORDER BY id", "small big"},
			{"SELECT name FROM people UNION SELECT title FROM teams ORDER BY 1", "Ada Bob Cyd blue red"},
			{"SELECT i, i * 2 FROM generate_series(1, 2) i", "1|2 2|4"},
			{"SELECT doc -> 'x' ->> 0, date_trunc('day', at) AT TIME ZONE 'UTC' FROM events", "1|2026-01-02 00:00:00"},
			{"SELECT value FROM events, jsonb_array_elements(doc -> 'x')", "1 2"},
			{"SELECT name, title FROM roster WHERE id = 1", "ADA|red"},
			{"SELECT ssn FROM roster WHERE id = 1", "[redacted]"},
			{"SELECT n FROM sizes ORDER BY team", "2 1"},
			{"SELECT 1 + n FROM sizes ORDER BY team", "3 2"},
			{"SELECT greeting(1), standard(2, 3)", "Hi Ada|5"},
			{"SELECT secret_of(1)", "[redacted]"},
			{"SELECT unread('x')", "[redacted]"},
			{"SELECT name, unread('x') FROM people WHERE id = 1", "Ada|[redacted]"},
			{"SELECT name FROM people WHERE unread(name) = 'x'", ""},
			{"SELECT count(*) FROM people WHERE unread(name) IS NOT NULL", "NULL"},
			{"SELECT count(*) FROM people WHERE ssn = '457-55-5462'", "1"},
			{"SELECT count(ssn) FROM people", "NULL"},
			{"SELECT max(name) FROM people WHERE ssn || '' = '457-55-5462'", "[redacted]"},
			{"SELECT name, length(ssn) FROM people WHERE id = 1", "Ada|NULL"},
			{"SELECT count(*), current_setting('search_path') FROM people", "3|NULL"},
			{"SELECT 'Ada'::citext = name::citext, similarity(name, 'Ada'), hstore(name, 'x') -> 'Ada' FROM people WHERE id = 1", "t|1|x"},
			{"SELECT body FROM owned ORDER BY id", "mine his"},
			{"SELECT c.relname, pg_get_userbyid(c.relowner), format_type(a.atttypid, a.atttypmod) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid WHERE c.relname = 'teams' AND a.attname = 'budget'", "teams|postgres|numeric"},
			{"SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'people' AND column_name = 'ssn'", "ssn|text"},
			{"SELECT most_common_vals FROM pg_stats WHERE tablename = 'people'", ""},
			{"SELECT count(*) FROM other.teams", "1"},
			{"SHOW transaction_isolation", "read committed"},
		} {
			if got := values(c, test.sql); got != test.want {
				t.Errorf("%d: %s: %q, want %q", version, test.sql, got, test.want)
			}
		}
	}
}

// The plan of a statement that touches nothing protected is shown.
func TestExplainOfWhatIsClean(t *testing.T) {
	g := strictGate(t, 15)
	c := g.connect(t, "")
	for sql, shown := range map[string]bool{
		"EXPLAIN SELECT name FROM people WHERE id = 1":                    true,
		"EXPLAIN (COSTS off) SELECT count(*) FROM teams":                  true,
		"EXPLAIN SELECT name FROM people WHERE ssn = '457-55-5462'":       false,
		"EXPLAIN SELECT ssn FROM people":                                  false,
		"EXPLAIN SELECT name FROM people WHERE name = unread_immutable()": false,
		"EXPLAIN ANALYZE SELECT unread('x')":                              false,
		"EXPLAIN SELECT * FROM people":                                    false,
	} {
		got := values(c, sql)
		if is := strings.Contains(got, " on ") || strings.Contains(got, "Scan"); is != shown {
			t.Errorf("%s: %q", sql, got)
		}
	}
}

// What a name stands for counts when the server looks it up: a statement that is
// prepared may read another table when it is bound, and one that runs in the same
// text as a SET is read under the other path.
func TestLineageFollowsTheSearchPath(t *testing.T) {
	for _, version := range []int{15, 18} {
		g := startGate(t, gateConfig{version: version, sql: lineageSchema + `
			CREATE SCHEMA hidden;
			CREATE VIEW hidden.teams AS SELECT id, ssn AS title, 1.0 AS budget FROM public.people;`, columns: protectedPeople(t, protect.Strict)})
		r := g.raw(t)
		query := func(sql string) string {
			r.send(&pgproto3.Query{String: sql})
			return strings.Join(r.until("Z I"), "; ")
		}
		r.send(&pgproto3.Parse{Name: "s", Query: "SELECT lower(title) FROM teams WHERE id = 1"}, &pgproto3.Sync{})
		r.until("Z I")
		run := func() string {
			r.send(&pgproto3.Bind{PreparedStatement: "s"}, &pgproto3.Execute{}, &pgproto3.Sync{})
			return strings.Join(r.until("Z I"), "; ")
		}
		if got := run(); got != "2; D red; C SELECT 1; Z I" {
			t.Errorf("%d: before: %s", version, got)
		}
		query("SET search_path = hidden")
		if got := run(); !strings.Contains(got, "D [redacted]") {
			t.Errorf("%d: under another path: %s", version, got)
		}
		query("SET search_path = public")
		if got := query("SET search_path = hidden; SELECT lower(title) FROM teams WHERE id = 1"); !strings.Contains(got, "D [redacted]") {
			t.Errorf("%d: in one text: %s", version, got)
		}
		query("SET search_path = public")
		r.send(&pgproto3.Parse{Query: "SET search_path = hidden"}, &pgproto3.Bind{}, &pgproto3.Execute{},
			&pgproto3.Bind{PreparedStatement: "s"}, &pgproto3.Execute{}, &pgproto3.Sync{})
		if got := strings.Join(r.until("Z I"), "; "); !strings.Contains(got, "D [redacted]") {
			t.Errorf("%d: in one pipeline: %s", version, got)
		}
		if n := leaked([]byte(query("EXECUTE s"))); n != nil {
			t.Errorf("%d: EXECUTE gets %q", version, n)
		}
	}
}

// A view that is defined anew shows what it then stands for, whoever defined it.
func TestLineageOfRedefinedViews(t *testing.T) {
	g := strictGate(t, 15)
	c, other := g.connect(t, ""), g.connect(t, "")
	const ask = "SELECT lower(title) FROM roster WHERE id = 1"
	if got := values(c, ask); got != "red" {
		t.Fatalf("before: %s", got)
	}
	const define = "CREATE OR REPLACE VIEW roster AS SELECT id, name, ssn AS title, ssn FROM people"
	if got := values(other, "BEGIN; "+define); got != "" {
		t.Fatalf("define: %s", got)
	}
	if got := values(other, ask); got != "[redacted]" {
		t.Errorf("within the transaction: %s", got)
	}
	if got := values(other, "COMMIT"); got != "" {
		t.Fatal(got)
	}
	if got := values(c, ask); got != "[redacted]" {
		t.Errorf("after: %s", got)
	}
}

// Policy says what may be done with protected columns that are not seen.
func TestUsesOfProtectedColumns(t *testing.T) {
	gateOf := func(mode protect.Mode, uses protect.Uses) *pgx.Conn {
		columns, err := protect.New(protect.Config{Mode: mode, Uses: uses, Columns: map[string]event.Treatment{"public.people.ssn": {Kind: event.Redact}}, Implied: postgres.ProtectedCatalog()})
		if err != nil {
			t.Fatal(err)
		}
		return startGate(t, gateConfig{sql: lineageSchema, columns: columns}).connect(t, "")
	}
	const (
		compares = "SELECT name FROM people WHERE ssn = '457-55-5462'"
		matches  = "SELECT p.name FROM people p JOIN people q ON p.ssn = q.ssn WHERE p.id = 1"
		writes   = "UPDATE teams SET title = title FROM people p JOIN people q ON p.ssn = q.ssn"
		counts   = "SELECT count(ssn), count(DISTINCT ssn) FROM people"
	)
	for _, test := range []struct {
		mode      protect.Mode
		uses      protect.Uses
		sql, want string
	}{
		{protect.Strict, protect.Uses{}, compares, "Bob"},
		{protect.Strict, protect.Uses{}, matches, "[redacted]"},
		{protect.Strict, protect.Uses{}, writes, "42501"},
		{protect.Strict, protect.Uses{}, counts, "NULL|NULL"},
		{protect.Strict, protect.Uses{Predicates: protect.Allowed}, compares, "Bob"},
		{protect.Strict, protect.Uses{Predicates: protect.Refused}, compares, "42501"},
		{protect.Column, protect.Uses{Predicates: protect.Refused}, compares, "42501"},
		{protect.Strict, protect.Uses{Predicates: protect.Refused}, "SELECT name FROM people WHERE id = 2", "Bob"},
		{protect.Strict, protect.Uses{Matches: protect.Allowed}, matches, "Ada"},
		{protect.Strict, protect.Uses{Matches: protect.Allowed}, "SELECT p.ssn FROM people p JOIN people q ON p.ssn = q.ssn WHERE p.id = 1", "[redacted]"},
		{protect.Strict, protect.Uses{Matches: protect.Refused}, matches, "42501"},
		{protect.Strict, protect.Uses{Counts: true}, counts, "3|3"},
		{protect.Strict, protect.Uses{Counts: true}, "SELECT max(ssn), count(ssn) FROM people", "[redacted]|3"},
		{protect.Strict, protect.Uses{Counts: true}, "SELECT count(ssn) FROM people GROUP BY ssn", "NULL NULL NULL"},
		{protect.Strict, protect.Uses{Counts: true}, "SELECT count(CASE WHEN ssn LIKE '4%' THEN 1 END), count(nullif(ssn, '457-55-5462')) FROM people WHERE id = 2", "NULL|NULL"},
		{protect.Strict, protect.Uses{Counts: true}, "SELECT count(v) FROM (SELECT CASE WHEN ssn LIKE '4%' THEN 1 END AS v FROM people WHERE id = 2) q", "NULL"},
		{protect.Strict, protect.Uses{Counts: true}, "SELECT count(DISTINCT v) FROM (SELECT ssn AS v FROM people WHERE id = 2 UNION ALL SELECT '457-55-5462') q", "NULL"},
	} {
		if got := values(gateOf(test.mode, test.uses), test.sql); got != test.want {
			t.Errorf("mode %d, %+v: %s: %q, want %q", test.mode, test.uses, test.sql, got, test.want)
		}
	}
}

// A condition on a protected column is held where policy says so.
func TestPredicatesAreHeld(t *testing.T) {
	columns, err := protect.New(protect.Config{Uses: protect.Uses{Predicates: protect.Held}, Columns: map[string]event.Treatment{"public.people.ssn": {Kind: event.Redact}}})
	if err != nil {
		t.Fatal(err)
	}
	g := startGate(t, gateConfig{sql: lineageSchema, columns: columns})
	c := g.connect(t, "")
	got := make(chan string)
	go func() { got <- values(c, "SELECT name FROM people WHERE ssn = '457-55-5462'") }()
	p := <-g.desk.pending
	if p.Verdict.Rule != "protect/predicates" || !strings.Contains(p.Verdict.Reason, "public.people.ssn") {
		t.Errorf("held by %q: %s", p.Verdict.Rule, p.Verdict.Reason)
	}
	g.desk.decide <- event.Decision{Approved: true, By: event.Principal{Subject: "boss"}}
	if v := <-got; v != "Bob" {
		t.Errorf("approved: %q", v)
	}
}

// What stores protected values elsewhere waits for somebody where policy says so, and
// what RETURNING shows of it is masked all the same.
func TestWritesAreHeld(t *testing.T) {
	columns, err := protect.New(protect.Config{Uses: protect.Uses{Writes: protect.Held}, Columns: map[string]event.Treatment{"public.people.ssn": {Kind: event.Redact}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range queryModes {
		g := startGate(t, gateConfig{sql: lineageSchema + "; CREATE TABLE copies (v text)", columns: columns})
		c := g.connect(t, "&default_query_exec_mode="+mode)
		for _, sql := range []string{"INSERT INTO copies SELECT ssn FROM people WHERE id = 1 RETURNING v", "UPDATE copies SET v = ssn FROM people WHERE people.id = 1 RETURNING v"} {
			got := make(chan string)
			go func() {
				var v string
				if err := c.QueryRow(context.Background(), sql).Scan(&v); err != nil {
					v = err.Error()
				}
				got <- v
			}()
			p := <-g.desk.pending
			if p.Verdict.Rule != "protect/writes" || !strings.Contains(p.Verdict.Reason, "public.people.ssn") {
				t.Errorf("%s: held by %q: %s", mode, p.Verdict.Rule, p.Verdict.Reason)
			}
			g.desk.decide <- event.Decision{Approved: true, By: event.Principal{Subject: "boss"}}
			if v := <-got; v != "[redacted]" {
				t.Errorf("%s: %s: %q", mode, sql, v)
			}
		}
		if v := values(c, "INSERT INTO copies SELECT unknown_to_all(ssn) FROM people"); v != "42501" && v != "42883" {
			t.Errorf("%s: what is not known: %q", mode, v)
		}
	}
}

// A temporary table from before its source was protected hides behind no name.
func TestTemporaryTablesFromBefore(t *testing.T) {
	g := startGate(t, gateConfig{sql: lineageSchema})
	c := g.connect(t, "")
	if got := values(c, "CREATE TEMP TABLE teams AS SELECT id, ssn AS title FROM people"); got != "" {
		t.Fatal(got)
	}
	if got := values(c, "SELECT lower(title) FROM teams WHERE id = 1"); got != "219-09-9471" {
		t.Fatal(got)
	}
	g.policy.mu.Lock()
	g.policy.columns = protectedPeople(t, protect.Strict)
	g.policy.mu.Unlock()
	g.policy.change(nil)
	for sql, want := range map[string]string{
		"SELECT lower(title) FROM teams WHERE id = 1": "[redacted]",
		"SELECT title FROM teams WHERE id = 1":        "[redacted]",
		"SHOW transaction_isolation":                  "read committed",
	} {
		if got := values(c, sql); got != want {
			t.Errorf("%s: %q, want %q", sql, got, want)
		}
	}
}

// Recordings say why the lineage of a field is not known.
func TestRecordingsSayWhatIsNotKnown(t *testing.T) {
	g := strictGate(t, 15)
	c := g.connect(t, "")
	for sql, want := range map[string]string{
		"SELECT unread(name) FROM people":                              "public.unread(): its code, in plpgsql, is not read",
		"SELECT t.title FROM teams t JOIN people p ON p.ssn = t.title": "which rows there are depends on public.people.ssn",
	} {
		values(c, sql)
		found := false
		g.mu.Lock()
		for _, tape := range g.tapes {
			tape.mu.Lock()
			for _, f := range tape.frames {
				var h event.Head
				if f.Kind == event.KindHead && h.Decode(f.Payload) == nil && len(h.Fields) == 1 {
					found = found || h.Fields[0].Why == want && h.Fields[0].Lineage == event.LineageUnknown
				}
			}
			tape.mu.Unlock()
		}
		g.mu.Unlock()
		if !found {
			t.Errorf("%s: no head says %q", sql, want)
		}
	}
}
