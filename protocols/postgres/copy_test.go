package postgres_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
)

// awkward is a table of values that formats must take care of.
const awkward = `
	CREATE TABLE awkward (id int PRIMARY KEY, t text, v varchar(50), b bytea, j json, jb jsonb, n numeric, ts timestamptz,
		d date, a text[], ia int[], f float8, u uuid, o bool);
	INSERT INTO awkward VALUES
		(1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
		(2, '', '', '', 'null', '""', 0, '1970-01-01Z', '0044-03-15 BC', '{}', '{}', 0, '00000000-0000-0000-0000-000000000000', false),
		(3, E'a\\b\\n\n\r\n\t\v\f\b|,;"''', E'\\.', '\x0001ff5c0a', E'{"a": "\\n\\""}', '{"a": [1, null, "x\\y"]}', 'NaN', 'infinity',
			'infinity', ARRAY[NULL, 'NULL', '', E'"\\{},\n'], '{1,NULL,-3}', 'NaN', 'ffffffff-ffff-ffff-ffff-ffffffffffff', true),
		(4, '\N', '\\N', decode('5c4e', 'hex'), '[]', '{}', -123456789012345678901234567890.000000001, '2026-11-25 20:50:00.123456+02',
			'9999-12-31', '{{a,b},{"c,d",NULL}}', '{{1,2},{3,4}}', '-Infinity', NULL, NULL),
		(5, 'ünïcödé 𝄞 ' || chr(8238) || ' e' || chr(769), 'NULL', 'x', '1', '"é"', 1e100, '2000-01-01', '2000-01-01', '{é}', '{}', 1e-300, NULL, true),
		(6, E'"', ',', '', '{}', '{}', 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
		(7, E'\\', E'\n', '', '{}', '{}', 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
		(8, repeat('long ', 1000), ' ', '', '{}', '{}', 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
	CREATE TABLE long AS SELECT repeat('long ', 30000) AS a, n FROM generate_series(1, 3) n;
	CREATE TABLE copied (LIKE awkward);
	CREATE TABLE people (id int, email text, gone int, twice int GENERATED ALWAYS AS (id * 2) STORED, name text, card bigint);
	ALTER TABLE people DROP COLUMN gone;
	INSERT INTO people (id, email, name, card) SELECT i, 'user' || i || '@example.com', E'na\tme ' || i, 4111111111110000 + i FROM generate_series(1, 3) i;
	CREATE TABLE t (n int CHECK (n < 1000));`

// copyOptions are ways to write rows; namedOptions name columns of awkward.
var (
	copyOptions = []string{
		"", "(FORMAT text, DELIMITER ',', NULL 'nothing')", "(DELIMITER '|', HEADER, NULL '')",
		"(FORMAT csv)", "(FORMAT csv, FORCE_QUOTE *, QUOTE '|', DELIMITER E'\\t')", "(FORMAT binary)",
	}
	namedOptions = []string{
		"(FORMAT csv, HEADER true, DELIMITER ';', QUOTE '''', ESCAPE '\\', NULL 'NULL', FORCE_QUOTE (t, a))",
		"DELIMITER ':' NULL AS 'x' CSV HEADER QUOTE '$' ESCAPE '''' FORCE QUOTE t",
	}
)

// simply and extendedly are the messages that run one statement.
func simply(sql string) []pgproto3.FrontendMessage {
	return []pgproto3.FrontendMessage{&pgproto3.Query{String: sql}}
}

func extendedly(sql string) []pgproto3.FrontendMessage {
	return []pgproto3.FrontendMessage{&pgproto3.Parse{Query: sql}, &pgproto3.Bind{}, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}, &pgproto3.Sync{}}
}

var protocols = map[string]func(string) []pgproto3.FrontendMessage{"simple": simply, "extended": extendedly}

// whole returns the next messages up to one of the types in last, with the
// contents of those that belong to COPY.
func (r *raw) whole(last string) (ms []string) {
	r.t.Helper()
	for {
		kind, body := r.message()
		switch kind {
		case 'S', 'K':
			continue
		case 'd', 'G', 'H':
			ms = append(ms, fmt.Sprintf("%c %q", kind, body))
		default:
			ms = append(ms, short(kind, body))
		}
		if strings.IndexByte(last, kind) >= 0 {
			return ms
		}
	}
}

// copiers are gates that treat nothing, in different ways.
func copiers(version int) map[string][]pipeline.Plugin {
	all := map[string][]pipeline.Plugin{"no masker": {rule(words)}, "all passes": {columns{}}, "all seen": {watcher{}},
		"in shadow": {pipeline.Shadow(columns{"public.people.email": {Kind: event.Redact}}), pipeline.Shadow(finder{})}}
	if version == 18 { // where what is relayed is no other than with 15
		delete(all, "all passes")
	}
	return all
}

// A watcher wants to see every value and changes none.
type watcher struct{ columns }

func (watcher) Treat(_ context.Context, _ *event.Session, h *event.Head) ([]event.Treatment, error) {
	ts := make([]event.Treatment, len(h.Fields))
	for i := range ts {
		ts[i].Kind = event.Inspect
	}
	return ts, nil
}

// What is not treated comes and goes as the same messages as without the gate.
func TestCopyIsTheSameAsAtTheServer(t *testing.T) {
	var out []string
	for _, options := range copyOptions {
		for _, what := range []string{"(SELECT FROM awkward)", "people", "long", "t", "(SELECT 1 WHERE false)"} {
			out = append(out, "COPY "+what+" TO STDOUT "+options)
		}
	}
	for _, options := range slices.Concat(namedOptions, copyOptions) {
		for _, what := range []string{"awkward", "awkward (id, jb, t, a)", "(SELECT * FROM awkward WHERE id <> 8 ORDER BY id DESC)"} {
			out = append(out, "COPY "+what+" TO STDOUT "+options)
		}
	}
	for _, version := range []int{15, 18} {
		for name, plugins := range copiers(version) {
			g := startGate(t, gateConfig{version: version, sql: awkward, plugins: plugins})
			for how, messages := range protocols {
				direct, through := g.rawDirect(t), g.raw(t)
				for _, sql := range out {
					direct.send(messages(sql)...)
					through.send(messages(sql)...)
					want, got := direct.whole("Z"), through.whole("Z")
					if diff := cmp.Diff(want, got); diff != "" {
						t.Fatalf("PostgreSQL %d, %s, %s: %s (-server +gate):\n%s", version, name, how, sql, diff)
					}
					if !strings.HasPrefix(want[len(want)-2], "C COPY") {
						t.Fatalf("%s: %.200q", sql, want)
					}
				}
			}
		}
	}
}

// What a COPY wrote can be read by another, through the gate both ways.
func TestCopiedDataCanBeCopiedIn(t *testing.T) {
	const differ = `SELECT count(*)::text FROM (SELECT x::text FROM awkward x EXCEPT ALL SELECT y::text FROM copied y) d`
	// In text, NULL '' would make empty values NULL.
	ways := slices.Concat(slices.DeleteFunc(slices.Clone(copyOptions), func(o string) bool { return strings.Contains(o, "NULL ''") }),
		[]string{"(FORMAT csv, HEADER true, DELIMITER ';', QUOTE '''', ESCAPE '\\', NULL 'NULL')"})
	for _, version := range []int{15, 18} {
		g := startGate(t, gateConfig{version: version, sql: awkward, plugins: []pipeline.Plugin{watcher{}}})
		for how, messages := range protocols {
			r := g.raw(t)
			for _, options := range ways {
				r.send(messages("COPY awkward TO STDOUT " + options)...)
				var data []byte
				for kind := byte(0); kind != 'Z'; {
					var body []byte
					if kind, body = r.message(); kind == 'd' {
						data = append(data, body...)
					}
				}
				r.send(messages("COPY copied FROM STDIN " + strings.Replace(options, "FORCE_QUOTE *, ", "", 1))...)
				r.until("G")
				for cut := 1; len(data) > 0; cut = cut*3%7000 + 1 { // rows end anywhere
					n := min(cut, len(data))
					r.send(&pgproto3.CopyData{Data: data[:n]})
					data = data[n:]
				}
				r.send(&pgproto3.CopyDone{})
				if how == "extended" {
					r.send(&pgproto3.Sync{})
				}
				if got := r.until("Z"); !cmp.Equal(got, []string{"C COPY 8", "Z I"}) {
					t.Fatalf("PostgreSQL %d, %s, %s: %q", version, how, options, got)
				}
				if n := g.one(t, differ); n != "0" {
					t.Errorf("PostgreSQL %d, %s, %s: %s rows differ", version, how, options, n)
				}
				g.one(t, "WITH d AS (DELETE FROM copied) SELECT ''")
			}
		}
	}
}

// Masks follow the columns that a COPY has, however it names them.
func TestCopyIsMaskedByOrigin(t *testing.T) {
	const more = `CREATE VIEW v AS SELECT email FROM people;
		CREATE TABLE secured (LIKE people INCLUDING GENERATED); INSERT INTO secured (id, email) SELECT id, email FROM people;
		ALTER TABLE secured ENABLE ROW LEVEL SECURITY; ALTER TABLE secured FORCE ROW LEVEL SECURITY;
		CREATE POLICY odd ON secured USING (id % 2 = 1);
		CREATE TABLE child (extra text) INHERITS (people);
		INSERT INTO child (id, email, extra) VALUES (9, 'child@example.com', 'x');`
	mask := columns{
		"public.people.email":  {Kind: event.KeepLast, Keep: 4},
		"public.people.card":   {Kind: event.Redact}, // which a number cannot hold
		"public.secured.email": {Kind: event.Redact},
		"public.child.email":   {Kind: event.Null},
	}
	for _, version := range []int{15, 18} {
		g := startGate(t, gateConfig{version: version, sql: awkward + more, plugins: []pipeline.Plugin{mask}})
		for how, messages := range protocols {
			r := g.raw(t)
			for _, c := range []struct {
				sql  string
				want []string
			}{
				{"COPY people TO STDOUT", []string{
					`1	*************.com	na\tme 1	0`, `2	*************.com	na\tme 2	0`, `3	*************.com	na\tme 3	0`}},
				{"COPY people (card, name, email) TO STDOUT (FORMAT csv, FORCE_QUOTE (email), NULL '-', HEADER)", []string{
					"card,name,email", `0,na	me 1,"*************.com"`, `0,na	me 2,"*************.com"`, `0,na	me 3,"*************.com"`}},
				{"COPY (SELECT p.email AS x, id FROM people p ORDER BY id LIMIT 1) TO STDOUT (DELIMITER '*')", []string{
					`\*\*\*\*\*\*\*\*\*\*\*\*\*.com*1`}},
				{"COPY (UPDATE ONLY people SET id = id RETURNING email) TO STDOUT", []string{"*************.com", "*************.com", "*************.com"}},
				{"COPY secured (id, email) TO STDOUT", []string{"1	[redacted]", "2	[redacted]", "3	[redacted]"}},
				{"COPY secured TO STDOUT", []string{"1	[redacted]	\\N	\\N", "2	[redacted]	\\N	\\N", "3	[redacted]	\\N	\\N"}},
				{"COPY child (email, extra) TO STDOUT", []string{`\N	x`}},
				{"COPY public.people (twice) TO STDOUT", nil},
				{"COPY v TO STDOUT", nil},
				{"COPY nobody TO STDOUT", nil},
			} {
				var want []string
				for _, row := range c.want {
					want = append(want, fmt.Sprintf("d %q", row+"\n"))
				}
				if want != nil {
					want = append(want, "c", fmt.Sprintf("C COPY %d", len(c.want)-strings.Count(c.sql, "HEADER")), "Z I")
				}
				r.send(messages(c.sql)...)
				got := r.whole("Z")
				for len(got) > 0 && strings.IndexByte("12nH", got[0][0]) >= 0 {
					got = got[1:]
				}
				if want == nil && len(got) == 2 && got[0][0] == 'E' {
					continue // the server's own error
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("PostgreSQL %d, %s: %s:\n%s", version, how, c.sql, diff)
				}
			}
		}
	}
}

// The server carries out a COPY of a table with row security as a SELECT.
func TestCopyIsMaskedUnderRowSecurity(t *testing.T) {
	const secured = `CREATE TABLE secured (id int, email text, twice int GENERATED ALWAYS AS (id * 2) STORED, note text);
		INSERT INTO secured (id, email, note) SELECT i, 'user' || i || '@example.com', 'note' FROM generate_series(1, 4) i;
		ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
		CREATE POLICY odd ON secured USING (id % 2 = 1);`
	for _, version := range []int{15, 18} {
		g := startGate(t, gateConfig{version: version, sql: secured, plugins: []pipeline.Plugin{columns{"public.secured.email": {Kind: event.Redact}}}})
		direct, through := g.rawDirect(t), g.raw(t)
		for _, sql := range []string{"SET ROLE pg_read_all_data", "COPY secured TO STDOUT", "COPY secured (note, email) TO STDOUT"} {
			direct.send(simply(sql)...)
			through.send(simply(sql)...)
			want, got := direct.whole("Z"), through.whole("Z")
			for i := range want {
				for _, user := range []string{"user1", "user3"} {
					want[i] = strings.Replace(want[i], user+"@example.com", "[redacted]", 1)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("PostgreSQL %d, %s (-server +gate):\n%s", version, sql, diff)
			}
		}
	}
}

// Treatments of single values reach those in a COPY, in each format.
func TestCopyIsInspected(t *testing.T) {
	g := startGate(t, gateConfig{sql: awkward, plugins: []pipeline.Plugin{finder{}}})
	for options, want := range map[string][]string{
		"":                         {"1\tMail [hidden]\\t(twice: [hidden])!\t\\N", "2\tno match\t\\N"},
		"(FORMAT csv, QUOTE '''')": {"1,Mail [hidden]\t(twice: [hidden])!,", "2,no match,"},
		"(FORMAT csv, FORCE_QUOTE *, DELIMITER '(')": {"\"1\"(\"Mail [hidden]\t(twice: [hidden])!\"(", "\"2\"(\"no match\"("},
	} {
		r := g.raw(t)
		r.send(simply(`COPY (VALUES (1, E'Mail a@example.com\t(twice: a@example.com)!', NULL), (2, 'no match', NULL)) TO STDOUT ` + options)...)
		var rows []string
		for _, row := range want {
			rows = append(rows, fmt.Sprintf("d %q", row+"\n"))
		}
		if got := r.whole("Z"); len(got) != 6 || !cmp.Equal(got[1:3], rows) {
			t.Errorf("%s: %q, want %q", options, got, rows)
		}
	}
	r := g.raw(t)
	r.send(simply(`COPY (SELECT 7::int8, 'a@example.com'::text, NULL::text) TO STDOUT (FORMAT binary)`)...)
	got := r.whole("Z")
	want := fmt.Sprintf("d %q", "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x08[hidden]\xff\xff\xff\xff")
	if len(got) != 6 || got[1] != want {
		t.Errorf("binary: %q", got)
	}
}

// A finder replaces one address wherever it stands in a value.
type finder struct{ watcher }

func (finder) Inspect(_ context.Context, _ *event.Session, rows *event.Rows, fields []int) (edits []event.Edit, err error) {
	const what = "a@example.com"
	for i := range rows.Len() {
		for _, j := range fields {
			v := string(rows.Cell(i, j))
			for at := 0; strings.Contains(v[at:], what); at += len(what) {
				at += strings.Index(v[at:], what)
				edits = append(edits, event.Edit{Row: i, Field: j, From: at, To: at + len(what),
					Treatment: event.Treatment{Kind: event.Replace}, Text: []byte("[hidden]")})
			}
		}
	}
	return edits, nil
}

// Where columns may be masked, nothing before a COPY in its query may change
// what its names mean, and everything before the query counts.
func TestCopyIsDescribedAsItRuns(t *testing.T) {
	const more = `CREATE SCHEMA other; CREATE TABLE other.people (v text); INSERT INTO other.people VALUES ('harmless');`
	g := startGate(t, gateConfig{sql: awkward + more, plugins: []pipeline.Plugin{columns{"public.people.email": {Kind: event.Redact}}}})
	r := g.raw(t)
	for _, sql := range []string{
		"SELECT 1; COPY people TO STDOUT", "SET search_path = other; COPY people TO STDOUT", "ROLLBACK; COPY people TO STDOUT",
		"COPY t TO STDOUT; COPY people TO STDOUT", "BEGIN ISOLATION LEVEL SERIALIZABLE; COPY people TO STDOUT",
		"COPY people TO STDOUT (ENCODING 'latin1')", "COPY people TO STDOUT (FORMAT csv, STRANGE 1)",
	} {
		r.send(simply(sql)...)
		if got := r.until("Z"); !cmp.Equal(got, []string{"E 0A000", "Z I"}) {
			t.Errorf("%s: %q", sql, got)
		}
	}
	const redacted = `d "1\t[redacted]\n"`
	for how, messages := range protocols {
		for _, script := range [][]string{
			{"BEGIN; SAVEPOINT s; COPY (SELECT id, email FROM people LIMIT 1) TO STDOUT; COMMIT"},
			{"BEGIN", "CREATE TEMP TABLE people AS SELECT 1 AS id, 'x' AS email", "COPY people (id, email) TO STDOUT",
				"ROLLBACK", "COPY (SELECT id, email FROM people LIMIT 1) TO STDOUT"},
			{"BEGIN", "SET LOCAL search_path = other", "COPY people TO STDOUT", "COMMIT", "COPY (SELECT id, email FROM people LIMIT 1) TO STDOUT"},
			{"CREATE OR REPLACE VIEW v AS SELECT id, name AS n FROM people", "BEGIN", "DROP VIEW v", "CREATE VIEW v AS SELECT id, email AS n FROM people",
				"COPY (SELECT * FROM v LIMIT 1) TO STDOUT", "ROLLBACK"},
		} {
			var all []string
			for _, sql := range script {
				if how == "extended" && strings.Contains(sql, ";") {
					continue
				}
				r.send(messages(sql)...)
				all = append(all, r.whole("Z")...)
			}
			if len(all) > 0 && !slices.Contains(all, redacted) || slices.ContainsFunc(all, func(m string) bool { return strings.Contains(m, "example.com") }) {
				// A view's column goes by the view's name.
				if !strings.Contains(script[0], "VIEW") {
					t.Errorf("%s, %q: %q", how, script, all)
				}
			}
		}
	}
	// An extended pipeline's earlier messages count too.
	r.send(&pgproto3.Parse{Name: "c", Query: "COPY people TO STDOUT"}, &pgproto3.Bind{PreparedStatement: "c"},
		&pgproto3.Parse{Query: "SET search_path = other"}, &pgproto3.Bind{DestinationPortal: "s"}, &pgproto3.Execute{Portal: "s"}, &pgproto3.Execute{}, &pgproto3.Sync{})
	if got := r.whole("Z"); !slices.Contains(got, `d "harmless\n"`) {
		t.Errorf("got %q", got)
	}
}

// A copyScript is a sequence of messages with or around a COPY.
type copyScript struct {
	name     string
	messages []pgproto3.FrontendMessage
	ends     bool // the session, in place of going on
}

func data(lines ...string) (ms []pgproto3.FrontendMessage) {
	for _, l := range lines {
		ms = append(ms, &pgproto3.CopyData{Data: []byte(l)})
	}
	return ms
}

// copyScripts are COPYs that go well and that fail at every point.
func copyScripts(messages func(string) []pgproto3.FrontendMessage, extended bool) []copyScript {
	done := []pgproto3.FrontendMessage{&pgproto3.CopyDone{}}
	fail := []pgproto3.FrontendMessage{&pgproto3.CopyFail{Message: "enough"}}
	if extended {
		done, fail = append(done, &pgproto3.Sync{}), append(fail, &pgproto3.Sync{})
	}
	in := messages("COPY t FROM STDIN")
	all := []copyScript{
		{name: "in", messages: slices.Concat(in, data("1\n2", "\n3\n"), done)},
		{name: "in, empty", messages: slices.Concat(in, done)},
		{name: "in, no line break at the end", messages: slices.Concat(in, data("1"), done)},
		{name: "in, of no table", messages: slices.Concat(messages("COPY nobody FROM STDIN"), data("Q\x00\x00\x00\x10DROP TABLE t"), done)},
		{name: "in, of no column", messages: slices.Concat(messages("COPY t (x) FROM STDIN"), data("1\n"), done)},
		{name: "in, a bad row", messages: slices.Concat(in, data("1\n", "x\n", "3\n"), done)},
		{name: "in, a row that a constraint forbids", messages: slices.Concat(in, data("1\n", "1001\n"), done)},
		{name: "in, given up", messages: slices.Concat(in, data("1\n"), fail)},
		{name: "in, given up at once", messages: slices.Concat(in, fail)},
		{name: "in, a marker before the end", messages: slices.Concat(in, data("1\n\\.\nx\n", "y\n"), done)},
		{name: "in, a binary that is none", messages: slices.Concat(messages("COPY t FROM STDIN (FORMAT binary)"), data("no header at all"), done)},
		{name: "in, stray messages behind it", messages: slices.Concat(in, data("1\n"), done, data("2\n"), done)},
		{name: "in, Flush and Sync within", messages: slices.Concat(in, []pgproto3.FrontendMessage{&pgproto3.Flush{}, &pgproto3.Sync{}}, data("1\n"), []pgproto3.FrontendMessage{&pgproto3.Flush{}}, data("2\n"), done)},
		{name: "in, with options of later versions", messages: slices.Concat(messages("COPY t FROM STDIN (ON_ERROR ignore)"), data("1\n", "x\n"), done)},
		{name: "in, with a default", messages: slices.Concat(messages("COPY t FROM STDIN (DEFAULT 'd')"), data("1\n", "d\n"), done)},
		{name: "in, WHERE", messages: slices.Concat(messages("COPY t FROM STDIN WHERE n > 1"), data("1\n2\n"), done)},
		{name: "in a transaction that fails", messages: slices.Concat(messages("BEGIN"), in, data("x\n"), done, messages("SELECT 1"), messages("COPY t TO STDOUT"), in, data("1\n"), done, messages("ROLLBACK"))},
		{name: "in a transaction", messages: slices.Concat(messages("BEGIN"), in, data("1\n"), done, messages("COPY t TO STDOUT"), messages("COMMIT"))},
		{name: "another message within", messages: slices.Concat(in, data("1\n"), messages("SELECT 1")), ends: true},
		{name: "another message at once", messages: slices.Concat(in, []pgproto3.FrontendMessage{&pgproto3.Bind{}}), ends: true},
		{name: "out, an error in the middle", messages: messages("COPY (SELECT 1 / (3 - n) FROM generate_series(1, 5) n) TO STDOUT")},
		{name: "out, an error at the start", messages: messages("COPY (SELECT 1 / 0) TO STDOUT")},
		{name: "out, of no table", messages: messages("COPY nobody TO STDOUT")},
		{name: "out, of no column", messages: messages("COPY t (x) TO STDOUT")},
		{name: "out, of a query that is wrong", messages: messages("/* é */ COPY (SELECT nothing FROM t) TO STDOUT")},
		{name: "out, of a view", messages: messages("COPY pg_tables TO STDOUT")},
		{name: "out, in a failed transaction", messages: slices.Concat(messages("BEGIN"), messages("SELECT 1 / 0"), messages("COPY t TO STDOUT"), messages("ROLLBACK"))},
		{name: "out, fails a transaction", messages: slices.Concat(messages("BEGIN"), messages("COPY nobody TO STDOUT"), messages("COMMIT"))},
		{name: "out, bad options", messages: messages("COPY t TO STDOUT (FORMAT csv, DELIMITER 'ab')")},
		{name: "out, a format that is none", messages: messages("COPY t TO STDOUT (FORMAT xml)")},
		{name: "out, of a query without rows", messages: messages("COPY (DELETE FROM t) TO STDOUT")},
		{name: "in SQL that cannot", messages: messages("DO $$ BEGIN COPY t TO STDOUT; END $$")},
	}
	if !extended {
		return append(all,
			copyScript{name: "several", messages: slices.Concat(messages("COPY t FROM STDIN; SELECT count(*) FROM t; COPY t FROM STDIN; SELECT 'x'"), data("1\n"), done, data("2\n"), done)},
			copyScript{name: "several, the second fails", messages: slices.Concat(messages("COPY t FROM STDIN; COPY t FROM STDIN; SELECT 'x'"), data("1\n"), done, data("x\n"), done)},
			copyScript{name: "several, the first fails", messages: slices.Concat(messages("COPY t FROM STDIN; COPY t FROM STDIN; SELECT 'x'"), data("x\n"), done, data("2\n"), done)},
		)
	}
	pipeline := func(sql ...string) (ms []pgproto3.FrontendMessage) {
		for _, q := range sql {
			ms = append(ms, &pgproto3.Parse{Query: q}, &pgproto3.Bind{}, &pgproto3.Execute{})
		}
		return append(ms, &pgproto3.Sync{})
	}
	return append(all,
		copyScript{name: "a pipeline", messages: pipeline("INSERT INTO t VALUES (1)", "COPY t TO STDOUT", "COPY (SELECT 1) TO STDOUT", "SELECT 1")},
		copyScript{name: "a pipeline that fails", messages: pipeline("INSERT INTO t VALUES (1)", "COPY nobody TO STDOUT", "COPY t TO STDOUT")},
		copyScript{name: "a pipeline that fails in data", messages: pipeline("COPY (SELECT 1 / (2 - n) FROM generate_series(1, 5) n) TO STDOUT", "COPY t TO STDOUT")},
		copyScript{name: "twice", messages: []pgproto3.FrontendMessage{&pgproto3.Parse{Query: "COPY t TO STDOUT"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Execute{}, &pgproto3.Sync{}}},
		copyScript{name: "with a parameter", messages: pipeline("COPY (SELECT $1::int) TO STDOUT")},
	)
}

// However a COPY goes, the client gets what it would get without the gate.
func TestCopyFailsAsAtTheServer(t *testing.T) {
	for _, version := range []int{15, 18} {
		for name, plugins := range copiers(version) {
			g := startGate(t, gateConfig{version: version, sql: awkward, plugins: plugins})
			for how, messages := range protocols {
				direct, through := g.rawDirect(t), g.raw(t)
				for _, script := range copyScripts(messages, how == "extended") {
					want, got := script.run(direct), script.run(through)
					if script.ends {
						direct, through = g.rawDirect(t), g.raw(t)
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("PostgreSQL %d, %s, %s, %s (-server +gate):\n%s", version, name, how, script.name, diff)
					}
				}
			}
		}
	}
}

// run returns the replies to the script and what is in the table then.
func (c *copyScript) run(r *raw) (all []string) {
	ms := slices.Concat(simply("TRUNCATE t; INSERT INTO t VALUES (42)"), c.messages)
	if c.ends {
		r.send(ms...)
		all = append(r.whole("E"), r.whole("E")...)
		r.gone()
		return all
	}
	r.send(append(ms, simply("SELECT 'end', (SELECT string_agg(n::text, ',' ORDER BY n) FROM t)")...)...)
	for {
		ms := r.whole("Z")
		all = append(all, ms...)
		if slices.ContainsFunc(ms, func(m string) bool { return strings.HasPrefix(m, "D end") }) {
			return all
		}
	}
}
