package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgproto3/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"gatehouse/core/event"
	"gatehouse/core/protect"
)

// values runs a query in the simple protocol and returns its rows, or its error's
// code.
func values(c *pgx.Conn, sql string, args ...any) string {
	rows, err := c.Query(context.Background(), sql, append([]any{pgx.QueryExecModeSimpleProtocol}, args...)...)
	var out []string
	if err == nil {
		for rows.Next() {
			var cells []string
			for _, v := range rows.RawValues() {
				if v == nil {
					v = []byte("NULL")
				}
				cells = append(cells, string(v))
			}
			out = append(out, strings.Join(cells, "|"))
		}
		err = rows.Err()
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	if err != nil {
		return err.Error()
	}
	return strings.Join(out, " ")
}

// In strict mode what is known not to depend on a protected column passes.
func TestStrictModePassesWhatIsClean(t *testing.T) {
	g := startGate(t, gateConfig{sql: maskingSchema, columns: protectedPeople(t, protect.Strict)})
	c := g.connect(t, "")
	for _, test := range []struct{ sql, want string }{
		{"SELECT name FROM people WHERE id = 1", "Ada"},
		{"SELECT id, name, ssn FROM ONLY people ORDER BY id", "1|Ada|[redacted] 2|Bob|[redacted] 3|Cyd|[redacted]"},
		{"SELECT id, name FROM ONLY people WHERE ssn = '457-55-5462'", "2|Bob"},
		{"SELECT name FROM ONLY people WHERE ssn IS NOT NULL AND pin > 90000000", "Cyd"},
		{"SELECT n.body, p.name FROM notes n JOIN people p ON p.id = n.id ORDER BY n.id", "first|Ada second|Bob"},
		{"SELECT q.name FROM (SELECT * FROM people) q WHERE q.id = 2", "Bob"},
		{"WITH q AS (SELECT id, body FROM notes) SELECT body FROM q WHERE id = 1", "first"},
		{"SELECT id FROM plain WHERE id = 3", "3"},
		{"SELECT ssn, body FROM joined ORDER BY body LIMIT 1", "[redacted]|first"},
		{"SELECT DISTINCT name FROM people ORDER BY name", "Ada Bob Cyd"},
		{"SELECT 1, 'x', TRUE, NULL, '2026-01-02'::date", "1|x|t|NULL|2026-01-02"},
		{"VALUES (1, 'a'), (2, 'b')", "1|a 2|b"},
		{"SELECT 'it is', name FROM people WHERE id = 1", "it is|Ada"},
		{"SELECT current_user, pg_is_in_recovery()", "postgres|f"},
		{"SHOW transaction_isolation", "read committed"},
		{"INSERT INTO notes (body) VALUES ('third') RETURNING id, body", "3|third"},
		{"UPDATE digits SET n = 77 WHERE digit = '7' RETURNING n", "77"},
		{"UPDATE notes SET body = 'last' WHERE id = 3 RETURNING body", "42501"}, // a trigger of it reads people
		{"UPDATE people SET ssn = '000-00-0000' WHERE id = 3 RETURNING id, ssn", "3|[redacted]"},
		{"INSERT INTO notes (body) SELECT body FROM notes WHERE id = 3 RETURNING body", "third"},
		{"SELECT relname FROM pg_class WHERE relname = 'notes'", "notes"},
		// What is not known is masked, and what is not to be known refused.
		{"SELECT count(*) FROM notes", "4"},
		{"SELECT nextval('counter'), nextval('counter')", "1|2"},
		{"SELECT upper(body) FROM notes WHERE id = 1", "FIRST"},
		{"SELECT p.name FROM people p JOIN digits d ON p.ssn LIKE d.digit || '%' ORDER BY 1 LIMIT 1", "42501"},
		{"SELECT p.name FROM people p JOIN notes n ON p.ssn = n.body", ""},
		{"SELECT d.digit FROM digits d, people p WHERE d.digit = left(p.ssn, 1) AND p.id = 1", "42501"},
		{"SELECT name FROM ONLY people WHERE lower(ssn) = '457-55-5462'", "[redacted]"},
		{"UPDATE notes SET body = (SELECT ssn FROM people WHERE id = 1)", "42501"},
		{"SELECT name FROM people WHERE pin > 1 AND pin > 2 AND pin > 3", "42501"},
	} {
		if got := values(c, test.sql); got != test.want {
			t.Errorf("%s: %q, want %q", test.sql, got, test.want)
		}
	}
	var id int32
	var text string
	if err := c.QueryRow(t.Context(), "SELECT $1::int, $2::text", 7, "mine").Scan(&id, &text); err != nil || id != 7 || text != "mine" {
		t.Errorf("parameters: %d, %q, %v", id, text, err)
	}
}

// What a simple query defines is known to what follows in it.
func TestStrictModeFollowsWhatATextDefines(t *testing.T) {
	g := startGate(t, gateConfig{sql: maskingSchema, columns: protectedPeople(t, protect.Strict)})
	c := g.connect(t, "").PgConn()
	for _, test := range []struct{ sql, want string }{
		{"BEGIN; DECLARE c CURSOR FOR SELECT id, upper(name), ssn FROM ONLY people ORDER BY id; FETCH 2 FROM c", "1|ADA|[redacted] 2|BOB|[redacted]"},
		{"BEGIN; DECLARE c CURSOR FOR SELECT 1; DECLARE d CURSOR FOR SELECT lower(name) FROM ONLY people ORDER BY id; FETCH c; FETCH d", "ada"},
		{"BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT upper(body) FROM notes WHERE id = 1; FETCH c", "FIRST"},
		{"BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT upper(body) FROM notes WHERE id = 1; COMMIT; FETCH c", "[redacted]"},
		{"CLOSE c; BEGIN; DECLARE c CURSOR FOR SELECT reverse(ssn), upper(name) FROM people WHERE id = 1; MOVE 0 IN c; FETCH c", "[redacted]|ADA"},
		{"PREPARE p (int) AS SELECT id, upper(name) FROM people WHERE id = $1; EXECUTE p (1)", "1|ADA"},
		{"DEALLOCATE p; PREPARE p (int, text) AS SELECT $2 || upper(name), $2 || ssn FROM people WHERE id = $1; EXECUTE p (1 + 1, lower('X'))", "xBOB|[redacted]"},
		{"DEALLOCATE ALL; PREPARE p (text) AS SELECT upper($1), upper(name) FROM people WHERE id = 1; EXECUTE p (number_of(1))", "[redacted]|ADA"},
		{"EXECUTE p ('x')", "X|ADA"},
		{"EXECUTE p (number_of(1))", "[redacted]|ADA"},
		{"EXECUTE p (to_char(date '2025-03-01', 'DD'))", "01|ADA"},
		{"DEALLOCATE p; EXECUTE p (number_of(1))", "42501"},
		{"DEALLOCATE p; PREPARE p (text) AS INSERT INTO digits (digit) VALUES ($1); EXECUTE p (number_of(1))", "42501"},
	} {
		all, err := c.Exec(t.Context(), test.sql).ReadAll()
		got := code(err)
		if err == nil {
			var rows []string
			for _, row := range all[len(all)-1].Rows {
				rows = append(rows, string(bytes.Join(row, []byte("|"))))
			}
			got = strings.Join(rows, " ")
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", test.sql, got, test.want)
		}
		if strings.Contains(test.sql, "BEGIN") {
			c.Exec(t.Context(), "ROLLBACK").Close()
		}
	}
}

// A statement that was described is another one once the search path has changed.
func TestStrictModeFollowsTheSearchPath(t *testing.T) {
	for _, version := range []int{15, 18} {
		g := startGate(t, gateConfig{version: version, sql: maskingSchema + "CREATE SCHEMA shadow; CREATE VIEW shadow.notes AS SELECT id, ssn AS body FROM public.people", columns: protectedPeople(t, protect.Strict)})
		c := g.connect(t, "").PgConn()
		if _, err := c.Prepare(t.Context(), "p", "SELECT body FROM notes WHERE id = 1", nil); err != nil {
			t.Fatal(err)
		}
		clean := "first"
		if version < 18 { // which does not report the path: a name stands for all that have it
			clean = "[redacted]"
		}
		for _, step := range []struct{ path, want string }{{"public", clean}, {"shadow", "[redacted]"}, {"shadow, public", "[redacted]"}, {"public, shadow", clean}} {
			if _, err := c.Exec(t.Context(), "SET search_path = "+step.path).ReadAll(); err != nil {
				t.Fatal(err)
			}
			r := c.ExecPrepared(t.Context(), "p", nil, nil, nil).Read()
			if r.Err != nil || len(r.Rows) != 1 || string(r.Rows[0][0]) != step.want {
				t.Errorf("PostgreSQL %d, search_path %s: %q, %v, want %q", version, step.path, r.Rows, r.Err, step.want)
			}
		}
	}
}

// Masked values are of their types: clients read them as they would others.
func TestMaskedValuesKeepTheirTypes(t *testing.T) {
	g := startGate(t, gateConfig{sql: maskingSchema, columns: protectedPeople(t, protect.Column)})
	for _, mode := range queryModes {
		c := g.connect(t, "&default_query_exec_mode="+mode)
		var (
			ssn, bio string
			pin      int32
			account  int64
			salary   pgtype.Numeric
			born     time.Time
			badge    [16]byte
			tags     []string
			photo    []byte
		)
		err := c.QueryRow(t.Context(), "SELECT ssn, bio::jsonb, pin, account, salary, born, badge, tags, photo FROM people WHERE id = $1", 1).
			Scan(&ssn, &bio, &pin, &account, &salary, &born, &badge, &tags, &photo)
		if err != nil {
			t.Errorf("%s: %v", mode, err)
			continue
		}
		got := fmt.Sprintf("%s %s %d %d %v %s %x %q %q", ssn, bio, pin, account, salary.Int, born.Format(time.DateOnly), badge, tags, photo)
		if want := `[redacted] "[redacted]" 0 0 0 2000-01-01 00000000000000000000000000000000 [] ""`; got != want {
			t.Errorf("%s: %s, want %s", mode, got, want)
		}
	}
}

// Fakes are of their columns' types, and the same however they are asked for;
// documents are masked within.
func TestFakesAndDocuments(t *testing.T) {
	config := protect.Config{Mode: protect.Column, Columns: map[string]event.Treatment{"public.people.bio$.ssn": {Kind: event.Redact}}}
	for _, name := range []string{"ssn", "pin", "account", "salary", "born", "badge", "tags"} {
		config.Columns["public.people."+name] = event.Treatment{Kind: event.Fake}
	}
	columns, err := protect.New(config)
	if err != nil {
		t.Fatal(err)
	}
	g := startGate(t, gateConfig{sql: maskingSchema, columns: columns})
	form := regexp.MustCompile(`^\d{3}-\d\d-\d{4} [1-9]\d{7} [1-9]\d{12} [1-9]\d{7} (19|20)\d\d-\d\d-\d\d [0-9a-f]{32} \[\d{3}-\d\d-\d{4} [a-z]\] \{"ssn": "\[redacted\]", "likes": \["tea"\]\}$`)
	seen := ""
	for _, mode := range queryModes {
		c := g.connect(t, "&default_query_exec_mode="+mode)
		var (
			ssn, bio string
			pin      int32
			account  int64
			salary   pgtype.Numeric
			born     time.Time
			badge    [16]byte
			tags     []string
		)
		err := c.QueryRow(t.Context(), "SELECT ssn, pin, account, salary, born, badge, tags, bio FROM people WHERE id = $1", 1).
			Scan(&ssn, &pin, &account, &salary, &born, &badge, &tags, &bio)
		if err != nil {
			t.Errorf("%s: %v", mode, err)
			continue
		}
		got := fmt.Sprintf("%s %d %d %v %s %x %s %s", ssn, pin, account, salary.Int, born.Format(time.DateOnly), badge, tags, bio)
		if !form.MatchString(got) || strings.Contains(got, "219-09-9471") {
			t.Errorf("%s: %s", mode, got)
		}
		if seen != "" && got != seen {
			t.Errorf("%s: %s, before %s", mode, got, seen)
		}
		seen = got
	}
}

// Of errors what is about the client's own text, or names a constraint, is left.
func TestWhatIsLeftOfErrors(t *testing.T) {
	g := startGate(t, gateConfig{sql: maskingSchema, columns: protectedPeople(t, protect.Column)})
	c := g.connect(t, "")
	for _, test := range []struct {
		sql  string
		want pgconn.PgError
	}{
		{"SELECT nothing FROM people", pgconn.PgError{Severity: "ERROR", Code: "42703", Message: `column "nothing" does not exist`, Position: 8}},
		{"SELEC 1", pgconn.PgError{Severity: "ERROR", Code: "42601", Message: "gatehouse: the statement cannot be parsed", Position: 1}},
		{"SELECT ssn::int FROM people", pgconn.PgError{Severity: "ERROR", Code: "22P02", Message: "gatehouse: invalid text representation"}},
		{"INSERT INTO people (id, name) VALUES (1, 'x')", pgconn.PgError{Severity: "ERROR", Code: "23505", Message: "gatehouse: unique violation",
			SchemaName: "public", TableName: "people", ConstraintName: "people_pkey"}},
		{"UPDATE people SET pin = -1", pgconn.PgError{Severity: "ERROR", Code: "23514", Message: "gatehouse: check violation",
			SchemaName: "public", TableName: "people", ConstraintName: "plausible"}},
		{"SELECT fails_in_code('ABCDE', '12345')", pgconn.PgError{Severity: "ERROR", Code: "P0001", Message: "gatehouse: raise exception"}},
		{"SELECT fails_in_a_constraint('x')", pgconn.PgError{Severity: "ERROR", Code: "23514", Message: "gatehouse: check violation"}},
	} {
		_, err := c.Exec(t.Context(), test.sql, pgx.QueryExecModeSimpleProtocol)
		e, ok := errors.AsType[*pgconn.PgError](err)
		if !ok {
			t.Errorf("%s: %v", test.sql, err)
			continue
		}
		got := *e
		if got.Hint != "" && !strings.Contains(got.Hint, "withheld") {
			t.Errorf("%s: hint %q", test.sql, got.Hint)
		}
		got.Hint, got.SeverityUnlocalized = "", ""
		if got != test.want {
			t.Errorf("%s:\n%+v, want\n%+v", test.sql, got, test.want)
		}
	}
}

// Notices, notifications and settings come without what they could carry.
func TestWhatIsLeftBesideRows(t *testing.T) {
	g := startGate(t, gateConfig{sql: maskingSchema, columns: protectedPeople(t, protect.Column)})
	r := g.raw(t)
	ask := func(sql string) []string {
		t.Helper()
		r.send(&pgproto3.Query{String: sql})
		var got []string
		for {
			kind, body := r.message()
			if kind == 'S' || kind == 'A' {
				got = append(got, fmt.Sprintf("%c %q", kind, strings.TrimLeft(string(body), "\x00")))
			} else if m := short(kind, body); m[0] != 'T' {
				got = append(got, m)
			}
			if kind == 'Z' {
				return got
			}
		}
	}
	for _, test := range []struct{ sql, want string }{
		{"SELECT says('x')", "N gatehouse: a notice; D ; C SELECT 1; Z I"},
		{"SET application_name = 'mine'", `C SET; S "application_name\x00mine\x00"; Z I`},
		{"SELECT set_config('application_name', 'y', false) IS NULL", "D NULL; C SELECT 1; Z I"},
		{"RESET application_name", `C RESET; S "application_name\x00\x00"; Z I`},
		{"SHOW application_name", "D NULL; C SHOW; Z I"},
		{"SHOW server_encoding", "D UTF8; C SHOW; Z I"},
		{"SELECT current_setting('my.x', true), name FROM people WHERE id = 1", "D NULL|Ada; C SELECT 1; Z I"},
		{"SELECT upper(name) FROM people WHERE id = 1", "D ADA; C SELECT 1; Z I"},
		{"DECLARE c CURSOR WITH HOLD FOR SELECT current_setting('my.x', true), 'x' || 'y'", "C DECLARE CURSOR; Z I"},
		{"FETCH c", "D NULL|NULL; C FETCH 1; Z I"},
		{"EXPLAIN SELECT 1", "D NULL; C EXPLAIN; Z I"},
		{"SELECT number, id FROM plain WHERE id = 1", "D [redacted]|1; C SELECT 1; Z I"},
		{"SELECT label, loud FROM computed WHERE id = 1", "D [redacted]|[redacted]; C SELECT 1; Z I"},
		{"SELECT lo_get(77001)", "D NULL; C SELECT 1; Z I"},
		{"SELECT query_to_xml('SELECT 1', true, true, '')", "E 42501; Z I"},
		{"ALTER TABLE people RENAME COLUMN ssn TO x", "E 42501; Z I"},
		{"ALTER TABLE notes RENAME COLUMN n TO m", "C ALTER TABLE; Z I"},
		{"ALTER TABLE parts DETACH PARTITION parts_one", "E 42501; Z I"},
		{"ALTER TABLE staff NO INHERIT people", "E 42501; Z I"},
	} {
		if got := strings.Join(ask(test.sql), "; "); got != test.want {
			t.Errorf("%s:\n%s, want\n%s", test.sql, got, test.want)
		}
	}
	ask("LISTEN news")
	got := ask("SELECT pg_notify('news', 'secret')")
	if len(got) != 4 || !strings.HasSuffix(got[2], `news\x00\x00"`) && !strings.HasSuffix(got[3], `news\x00\x00"`) {
		t.Errorf("notification: %q", got)
	}
}

// What was prepared while nothing was protected is looked at again.
func TestPreparedBeforeColumnsAreProtected(t *testing.T) {
	g := startGate(t, gateConfig{sql: maskingSchema})
	r := g.raw(t)
	prepare := func(name, sql string) {
		r.send(&pgproto3.Parse{Name: name, Query: sql}, &pgproto3.Sync{})
		r.until("Z I")
	}
	run := func(name string) string {
		r.send(&pgproto3.Bind{PreparedStatement: name}, &pgproto3.Execute{}, &pgproto3.Sync{})
		return strings.Join(r.until("Z I"), "; ")
	}
	query := func(sql string) string {
		r.send(&pgproto3.Query{String: sql})
		return strings.Join(r.until("Z I"), "; ")
	}
	prepare("moves", "INSERT INTO notes (body) SELECT ssn FROM people")
	prepare("reads", "SELECT name, ssn FROM people WHERE id = 2")
	prepare("file", "SELECT pg_read_file('PG_VERSION')")
	query("PREPARE by_sql AS SELECT ssn FROM people WHERE id = 2")
	query("DECLARE cursor CURSOR WITH HOLD FOR SELECT ssn FROM people WHERE id = 2")
	if got := run("reads"); got != "2; D Bob|457-55-5462; C SELECT 1; Z I" {
		t.Fatalf("before: %s", got)
	}
	g.policy.mu.Lock()
	g.policy.columns = protectedPeople(t, protect.Strict)
	g.policy.mu.Unlock()
	g.policy.change(nil)
	for _, test := range []struct{ got, want string }{
		{run("moves"), "E 42501; Z I"},
		{run("reads"), "2; D Bob|[redacted]; C SELECT 1; Z I"},
		{run("file"), "E 42501; Z I"},
		{query("EXECUTE reads"), "T; D Bob|[redacted]; C SELECT 1; Z I"},
		{query("EXECUTE moves"), "E 42501; Z I"},
		{query("EXECUTE by_sql"), "E 42501; Z I"},
		{query("FETCH cursor"), "E 42501; Z I"},
		{query("DEALLOCATE by_sql"), "C DEALLOCATE; Z I"},
		{query("PREPARE by_sql AS SELECT ssn FROM people WHERE id = 2"), "C PREPARE; Z I"},
		{query("EXECUTE by_sql"), "T; D [redacted]; C SELECT 1; Z I"},
	} {
		if test.got != test.want {
			t.Errorf("%s, want %s", test.got, test.want)
		}
	}
}
