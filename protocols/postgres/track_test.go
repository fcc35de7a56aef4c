package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgproto3/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"gatehouse/core/event"
	"gatehouse/core/peers"
	"gatehouse/core/protect"
	"gatehouse/protocols/postgres"
)

const trackedSchema = `
	CREATE TABLE people (id int PRIMARY KEY, name text, ssn text, pin int, doc jsonb);
	INSERT INTO people VALUES (1, 'Ada', '219-09-9471', 8273, '{"ssn": "219-09-9471", "likes": "tea"}'), (2, 'Bob', '457-55-5462', 6451, '{}');
	CREATE TABLE copies (id int PRIMARY KEY, v text DEFAULT '-', w text, n int, doc jsonb);
	INSERT INTO copies VALUES (1, 'one', 'w1', 1, '{}'), (2, 'two', 'w2', 2, '{}');
	CREATE TABLE further (id int, v text, w text);
	CREATE VIEW shown AS SELECT id, v FROM copies;
	CREATE TABLE ranges (id int, v text) PARTITION BY LIST (id);
	CREATE TABLE range_one PARTITION OF ranges FOR VALUES IN (1);
	CREATE TABLE cities (name text PRIMARY KEY);
	INSERT INTO cities VALUES ('Rome');
	CREATE TABLE streets (id int, city text REFERENCES cities ON UPDATE CASCADE);
	INSERT INTO streets VALUES (1, 'Rome');
	CREATE TABLE log (id int, v text);
	CREATE TABLE audited (id int, v text);
	CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO log VALUES (NEW.id, NEW.v); RETURN NEW; END';
	CREATE TRIGGER audit AFTER INSERT ON audited FOR EACH ROW EXECUTE FUNCTION audit();
	CREATE TABLE upper (id int, v text, u text GENERATED ALWAYS AS (upper(v)) STORED);
	CREATE SCHEMA scratch;
`

// tracked protects people's ssn, pin and what is in doc, and tracks where they go.
func tracked(t testing.TB) *protect.Columns {
	t.Helper()
	p, err := protect.New(protect.Config{Uses: protect.Uses{Writes: protect.Tracked}, Implied: postgres.ProtectedCatalog(), Columns: map[string]event.Treatment{
		"public.people.ssn": {Kind: event.KeepLast, Keep: 4}, "public.people.pin": {Kind: event.Null}, "public.people.doc$.ssn": {Kind: event.Redact},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// trackingGate is a gate that tracks writes to a database of its own, in a file of
// its own.
func trackingGate(t testing.TB, version int, columns *protect.Columns) *gate {
	t.Helper()
	pg := peers.SharedPostgres(t, version)
	database := pg.NewDatabase(t, trackedSchema)
	server := &postgres.Resource{
		Name: "orders", Host: "127.0.0.1", Port: uint16(pg.Port), User: peers.Superuser,
		Password: pg.Password, Database: database, SSLMode: "disable", Tracked: filepath.Join(t.TempDir(), "tracked", "orders.json"),
	}
	g := startGate(t, gateConfig{version: version, columns: columns, server: server})
	g.pg, g.database = pg, database
	return g
}

// What a statement stores of protected columns is protected where it is stored: in
// each way to store it, for its own session and for others.
func TestTrackedWrites(t *testing.T) {
	for _, version := range []int{15, 18} {
		for _, test := range []struct{ name, sql, read, want string }{
			{"insert", "INSERT INTO copies (id, v) SELECT id + 10, ssn FROM people", "SELECT id, v, w FROM copies WHERE id = 11", "11|*******9471|NULL"},
			{"insert computed", "INSERT INTO copies (id, v) SELECT id + 10, lower(ssn) FROM people", "SELECT v FROM copies WHERE id = 11", "[redacted]"},
			{"insert with another type", "INSERT INTO copies (id, v) SELECT id + 10, pin FROM people", "SELECT v FROM copies WHERE id = 11", "NULL"},
			{"update", "UPDATE copies SET v = ssn FROM people p WHERE p.id = copies.id", "SELECT v, w FROM copies WHERE id = 1", "*******9471|w1"},
			{"its own table", "UPDATE people SET name = ssn WHERE id = 1", "SELECT name, id FROM people WHERE id < 3 ORDER BY id", "*******9471|1 ***|2"},
			{"returning", "UPDATE copies SET v = ssn FROM people p WHERE p.id = copies.id AND p.id = 1 RETURNING v, w", "", "*******9471|w1"},
			{"on conflict", "INSERT INTO copies (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET w = (SELECT ssn FROM people WHERE people.id = 1)", "SELECT w, v FROM copies WHERE id = 1", "*******9471|one"},
			{"merge", "MERGE INTO copies c USING people p ON p.id = c.id WHEN MATCHED THEN UPDATE SET v = p.ssn WHEN NOT MATCHED THEN INSERT (id, w) VALUES (p.id, p.ssn)", "SELECT v, w FROM copies WHERE id = 1", "*******9471|**"},
			{"with", "WITH x AS (INSERT INTO further SELECT id, ssn FROM people WHERE id = 1 RETURNING id) SELECT id FROM x", "SELECT v, w FROM further", "*******9471|NULL"},
			{"view", "UPDATE shown SET v = ssn FROM people p WHERE p.id = shown.id", "", "42501"},
			{"shown by a view", "UPDATE copies SET v = ssn FROM people p WHERE p.id = copies.id", "SELECT c.v, s.v, c.w FROM copies c JOIN shown s ON s.id = c.id WHERE c.id = 1", "*******9471|*******9471|w1"},
			{"partition", "INSERT INTO ranges SELECT id, ssn FROM people WHERE id = 1", "SELECT a.v, b.v, a.id FROM ranges a, range_one b", "*******9471|*******9471|1"},
			{"partition itself", "INSERT INTO range_one SELECT id, ssn FROM people WHERE id = 1", "SELECT a.v, b.v, a.id FROM ranges a, range_one b", "*******9471|*******9471|1"},
			{"cascade", "UPDATE cities SET name = (SELECT ssn FROM people WHERE id = 1)", "SELECT city, id FROM streets", "*******9471|1"},
			{"generated", "INSERT INTO upper (id, v) SELECT id, ssn FROM people WHERE id = 1", "SELECT v, u, id FROM upper", "*******9471|[redacted]|1"},
			{"document", "UPDATE copies SET doc = p.doc FROM people p WHERE p.id = copies.id", "SELECT doc, w FROM copies WHERE id = 1", `{"ssn": "[redacted]", "likes": "tea"}|w1`},
			{"part of a document", "UPDATE copies SET v = p.doc->>'ssn' FROM people p WHERE p.id = copies.id", "SELECT v FROM copies WHERE id = 1", "[redacted]"},
			{"explained", "EXPLAIN (ANALYZE, COSTS false, TIMING false, SUMMARY false) INSERT INTO copies (id, v) SELECT id + 10, ssn FROM people", "SELECT v FROM copies WHERE id = 11", "*******9471"},
			{"create", "CREATE TABLE made AS SELECT id, name, ssn AS number FROM people", "SELECT number, name FROM made WHERE id = 1", "*******9471|Ada"},
			{"create elsewhere", "CREATE TABLE scratch.copies AS SELECT ssn AS v FROM people WHERE id = 1", "SELECT a.v, b.v FROM scratch.copies a, public.copies b WHERE b.id = 1", "*******9471|one"},
			{"select into", "SELECT id, lower(ssn) AS v INTO made FROM people", "SELECT v, id FROM made WHERE id = 1", "[redacted]|1"},
			{"clean", "INSERT INTO copies (id, v) SELECT id + 10, name FROM people WHERE ssn = '219-09-9471'", "SELECT v FROM copies WHERE id = 11", "Ada"},
			{"literal", "UPDATE copies SET v = '219-09-9471' WHERE id = 1", "SELECT v FROM copies WHERE id = 1", "219-09-9471"},
			{"again", "INSERT INTO copies (id, v) SELECT id + 10, ssn FROM people; INSERT INTO further SELECT id, w, v FROM copies", "SELECT v, w FROM further WHERE id = 11", "NULL|*******9471"},
			{"trigger", "INSERT INTO audited SELECT id, ssn FROM people WHERE id = 1", "SELECT v, id FROM log", "*******9471|1"},
			// What cannot be tracked is refused as ever.
			{"sequence", "SELECT set_config('a.b', ssn, false) FROM people", "", "42501"},
			{"unknown", "INSERT INTO copies (id, v) SELECT id + 10, unknown(ssn) FROM people", "", "42501"},
			{"which rows", "INSERT INTO copies (id, v) SELECT p.id + 10, p.name FROM people p JOIN copies c ON c.v = p.ssn", "", "42501"},
			{"temporary", "CREATE TEMP TABLE further (w text, v text); INSERT INTO further SELECT ssn FROM people", "", "42501"},
			{"temporary by path", "SET search_path = pg_temp, public; CREATE TABLE further (w text, v text); INSERT INTO further SELECT ssn FROM people", "", "42501"},
			{"in a transaction with definitions", "BEGIN; CREATE TABLE x (v text); INSERT INTO x SELECT ssn FROM people; COMMIT", "", "42501"},
		} {
			mode := map[int]string{15: "simple_protocol", 18: "cache_describe"}[version]
			if strings.Contains(test.sql, ";") {
				mode = "simple_protocol"
			}
			t.Run(fmt.Sprint(version, " ", test.name, " ", mode), func(t *testing.T) {
				g := trackingGate(t, version, tracked(t))
				writer, reader := g.connect(t, "&default_query_exec_mode="+mode), g.connect(t, "&default_query_exec_mode="+mode)
				// What the other session knows of them is from before.
				values(reader, "SELECT v, w FROM copies")
				values(reader, "SELECT v, w FROM further")
				got := run(writer, test.sql)
				switch {
				case test.want == "42501" || test.read == "":
					if got != test.want {
						t.Fatalf("%s: %q, want %q", test.sql, got, test.want)
					}
					return
				case len(got) == 5 && strings.Trim(got, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == "":
					t.Fatalf("%s: %s", test.sql, got)
				}
				for name, c := range map[string]*pgx.Conn{"writer": writer, "reader": reader, "new": g.connect(t, "")} {
					if got := values(c, test.read); got != test.want {
						t.Errorf("%s: %q, want %q", name, got, test.want)
					}
				}
			})
		}
	}
}

// run runs a statement in the connection's own mode, and returns the rows that it
// returns, or its error's code.
func run(c *pgx.Conn, sql string) string {
	rows, err := c.Query(context.Background(), sql)
	var out []string
	if err == nil {
		for rows.Next() {
			row, err := rows.Values()
			if err != nil {
				return err.Error()
			}
			out = append(out, strings.NewReplacer("<nil>", "NULL", " ", "|", "\n", "").Replace(fmt.Sprintln(row...)))
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

// What is tracked stays so when the transaction is rolled back, when the table is
// renamed, and when the gate starts anew; a table that is made anew is another.
func TestTrackedColumnsLast(t *testing.T) {
	for _, version := range []int{15, 18} {
		g := trackingGate(t, version, tracked(t))
		c, direct := g.connect(t, ""), g.direct(t)
		steps := func(c *pgx.Conn, steps ...[2]string) {
			t.Helper()
			for _, step := range steps {
				if got := values(c, step[0]); got != step[1] {
					t.Errorf("PostgreSQL %d: %s: %q, want %q", version, step[0], got, step[1])
				}
			}
		}
		steps(c, [2]string{"BEGIN", ""}, [2]string{"UPDATE copies SET v = ssn FROM people p WHERE p.id = copies.id", ""}, [2]string{"SELECT v, w FROM copies WHERE id = 1", "*******9471|w1"},
			[2]string{"ROLLBACK", ""}, [2]string{"SELECT v, w FROM copies WHERE id = 1", "***|w1"})
		steps(c, [2]string{"BEGIN", ""}, [2]string{"CREATE TABLE made AS SELECT id, ssn AS v, name FROM people", ""}, [2]string{"SELECT name FROM made WHERE id = 1", "[redacted]"},
			[2]string{"ROLLBACK", ""})
		steps(direct, [2]string{"CREATE TABLE made AS SELECT id, name AS v FROM people", ""})
		steps(c, [2]string{"SELECT v FROM made WHERE id = 1", "Ada"}) // another one
		steps(c, [2]string{"UPDATE made SET v = ssn FROM people p WHERE p.id = made.id", ""})
		steps(direct, [2]string{"ALTER TABLE made RENAME TO other", ""}, [2]string{"ALTER TABLE other RENAME v TO x", ""}, [2]string{"ALTER TABLE other SET SCHEMA scratch", ""})
		steps(g.connect(t, ""), [2]string{"SELECT o.x, c.w FROM scratch.other o JOIN copies c ON c.id = o.id WHERE c.id = 1", "*******9471|w1"},
			[2]string{"ALTER TABLE scratch.other RENAME x TO y", "42501"})

		again := startGate(t, gateConfig{version: version, columns: tracked(t), server: &postgres.Resource{
			Name: "orders", Host: "127.0.0.1", Port: g.server.Port, User: peers.Superuser, Password: g.server.Password, Database: g.database, SSLMode: "disable", Tracked: g.server.Tracked,
		}})
		c = again.connect(t, "")
		steps(c, [2]string{"SELECT x, id FROM scratch.other WHERE id = 1", "*******9471|1"}, [2]string{"SELECT v, w FROM copies WHERE id = 1", "***|w1"},
			[2]string{"SELECT count(*) FROM copies", "2"}, [2]string{"SELECT id FROM copies WHERE v = 'one'", "1"}, [2]string{"SELECT count(v) FROM copies", "NULL"})
		steps(c, [2]string{"DROP TABLE scratch.other", ""}, [2]string{"CREATE TABLE scratch.other (id int, x text)", ""}, [2]string{"INSERT INTO scratch.other VALUES (1, 'clean')", ""},
			[2]string{"SELECT x FROM scratch.other WHERE id = 1", "clean"})
	}
}

// What sessions prepared and bound before is judged by what columns hold now.
func TestTrackedColumnsOfWhatWasPrepared(t *testing.T) {
	for _, version := range []int{15, 18} {
		g := trackingGate(t, version, tracked(t))
		writer, reader := g.connect(t, ""), g.connect(t, "").PgConn()
		for name, sql := range map[string]string{
			"read": "SELECT v, w FROM copies WHERE id = 1", "move": "INSERT INTO further (id, w) SELECT id, v FROM copies", "count": "SELECT w FROM copies ORDER BY id LIMIT (SELECT length(v) FROM copies WHERE id = 2)",
		} {
			if _, err := reader.Prepare(t.Context(), name, sql, nil); err != nil {
				t.Fatal(err)
			}
			if r := reader.ExecPrepared(t.Context(), name, nil, nil, nil).Read(); r.Err != nil {
				t.Fatal(r.Err)
			}
		}
		// What was prepared goes on with the table that its name stood for.
		shadowed := g.connect(t, "").PgConn()
		for _, sql := range []string{"SET search_path = scratch, public", "PREPARE by_sql AS INSERT INTO upper (v) SELECT ssn FROM people", "CREATE TABLE scratch.log (id int, v text); CREATE TABLE scratch.upper (id int, v text)"} {
			if strings.HasPrefix(sql, "CREATE") {
				if _, err := shadowed.Prepare(t.Context(), "shadowed", "INSERT INTO log (v) SELECT ssn FROM people", nil); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := shadowed.Exec(t.Context(), sql).ReadAll(); err != nil {
				t.Fatal(err)
			}
		}
		if r := shadowed.ExecPrepared(t.Context(), "shadowed", nil, nil, nil).Read(); r.Err != nil {
			t.Error(r.Err)
		}
		if got := values(writer, "SELECT v, id FROM public.log WHERE v LIKE '2%'"); got != "*******9471|NULL" {
			t.Errorf("PostgreSQL %d: stored where the name stood for it before: %q", version, got)
		}
		if _, err := shadowed.Exec(t.Context(), "EXECUTE by_sql").ReadAll(); err == nil { // columns differ
			t.Errorf("PostgreSQL %d: it is not known where it is stored", version)
		}

		if got := values(writer, "UPDATE copies SET v = ssn FROM people p WHERE p.id = copies.id"); got != "" {
			t.Fatal(got)
		}
		for format := range int16(2) {
			r := reader.ExecPrepared(t.Context(), "read", nil, nil, []int16{format}).Read()
			if r.Err != nil || fmt.Sprintf("%s", r.Rows) != "[[*******9471 w1]]" {
				t.Errorf("PostgreSQL %d: format %d: %s, %v", version, format, r.Rows, r.Err)
			}
		}
		if r := reader.ExecPrepared(t.Context(), "count", nil, nil, nil).Read(); r.Err == nil {
			t.Errorf("a limit that depends on it: %s", r.Rows)
		}
		if r := reader.ExecPrepared(t.Context(), "move", nil, nil, nil).Read(); r.Err != nil {
			t.Error(r.Err)
		}
		if got := values(writer, "SELECT w FROM further WHERE id = 2"); got != "*** *******5462" {
			t.Errorf("PostgreSQL %d: moved by what was prepared: %q", version, got)
		}
		var out strings.Builder
		for _, options := range []string{"", " (FORMAT csv)", " (FORMAT binary)"} {
			if _, err := reader.CopyTo(t.Context(), &out, "COPY copies (v, w) TO STDOUT"+options); err != nil {
				t.Error(err)
			}
		}
		if strings.Contains(out.String(), "219-") || strings.Count(out.String(), "*******9471") != 3 {
			t.Errorf("PostgreSQL %d: copied: %q", version, out.String())
		}
	}
}

// awaitLocked waits until n sessions of the database wait for a lock.
func awaitLocked(t testing.TB, c *pgx.Conn, n int) {
	t.Helper()
	for {
		var waiting int
		if err := c.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'").Scan(&waiting); err != nil {
			t.Fatal(err)
		}
		if waiting >= n {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// What was on its way when a column became protected is judged again: a statement
// that stores what it reads of it elsewhere, and a result that comes from it.
func TestTrackedColumnsOfWhatIsOnItsWay(t *testing.T) {
	for _, version := range []int{15, 18} {
		g := trackingGate(t, version, tracked(t))
		direct, writer, other := g.direct(t), g.connect(t, ""), g.connect(t, "")
		exec := func(c *pgx.Conn, sql string) {
			t.Helper()
			if got := values(c, sql); got != "" {
				t.Fatalf("PostgreSQL %d: %s: %s", version, sql, got)
			}
		}
		watch := g.direct(t)

		exec(direct, "BEGIN; LOCK TABLE further IN ACCESS EXCLUSIVE MODE")
		done := make(chan string)
		go func() { done <- values(other, "INSERT INTO further (id, w) SELECT id, v FROM copies") }()
		awaitLocked(t, watch, 1)
		exec(writer, "UPDATE copies SET v = ssn FROM people p WHERE p.id = copies.id")
		exec(direct, "COMMIT")
		if got := <-done; got != "" {
			t.Fatal(got)
		}
		if got := g.one(t, "SELECT w FROM further WHERE id = 1"); got != "219-09-9471" {
			t.Fatalf("PostgreSQL %d: the statement did not come after the other: %q", version, got)
		}
		if got := values(writer, "SELECT w, v FROM further WHERE id = 1"); got != "*******9471|NULL" {
			t.Errorf("PostgreSQL %d: stored by what was on its way: %q", version, got)
		}

		// Another table takes the name by which a statement stores them.
		exec(direct, "BEGIN; LOCK TABLE log IN ACCESS EXCLUSIVE MODE")
		go func() { done <- values(other, "INSERT INTO log SELECT id, ssn FROM people") }()
		awaitLocked(t, watch, 1)
		exec(direct, "ALTER TABLE log RENAME TO former; CREATE TABLE log (id int, u text); COMMIT")
		if got := <-done; got != "" {
			t.Fatal(got)
		}
		for _, sql := range []string{"SELECT u FROM log", "SELECT v FROM former"} {
			if got := values(g.connect(t, ""), sql); strings.Contains(got, "219-09") {
				t.Errorf("PostgreSQL %d: %s: %s", version, sql, got)
			}
		}
		if got := g.one(t, "SELECT (SELECT count(*) FROM former) + (SELECT count(*) FROM log) || ''"); got != "2" {
			t.Errorf("PostgreSQL %d: stored %s", version, got)
		}

		// The rows of a result with locks are read when the locks are had.
		exec(direct, "INSERT INTO cities SELECT repeat('x', 100) || i FROM generate_series(100000, 101000) i; INSERT INTO cities VALUES ('y1'), ('y2')")
		exec(direct, "BEGIN; UPDATE cities SET name = name WHERE name = 'y1'")
		r := g.raw(t)
		r.send(&pgproto3.Query{String: "SELECT name FROM cities ORDER BY name FOR UPDATE"})
		var got []byte
		for kind, body := r.message(); ; kind, body = r.message() {
			if got = append(got, body...); kind == 'D' {
				break // its description is here
			}
		}
		awaitLocked(t, watch, 1)
		exec(writer, "UPDATE cities SET name = (SELECT ssn FROM people WHERE id = 1) WHERE name = 'y2'")
		exec(direct, "ROLLBACK")
		rest, _ := io.ReadAll(r)
		if got = append(got, rest...); strings.Contains(string(got), "219-09") || !strings.Contains(string(rest), "holds protected values now") {
			t.Errorf("PostgreSQL %d: a result that was on its way ends with %q", version, rest[max(0, len(rest)-300):])
		}
	}
}

// Temporary tables are those of their session: what is clean in them passes, and
// where protected values are stored in them they are protected.
func TestTemporaryTablesAreTracked(t *testing.T) {
	for _, version := range []int{15, 18} {
		for _, mode := range []string{"simple_protocol", "exec", "cache_describe"} {
			g := trackingGate(t, version, tracked(t))
			c := g.connect(t, "&default_query_exec_mode="+mode)
			theirs := g.connect(t, "")
			for _, sql := range []string{"CREATE TEMP TABLE mine (v text, w text)", "INSERT INTO mine VALUES ('theirs', 'w')"} {
				if got := values(theirs, sql); got != "" {
					t.Fatal(got)
				}
			}
			for _, step := range [][2]string{
				{"CREATE TEMP TABLE mine AS SELECT id, name, 'x'::text AS w FROM people", ""},
				{"SELECT name, upper(name) FROM mine WHERE id = 1", "Ada|ADA"},
				{"INSERT INTO mine (id, w) SELECT 3, ssn FROM people WHERE id = 1", ""},
				{"SELECT w, name FROM mine WHERE id = 3", "*******9471|NULL"},
				{"SELECT m.w, p.name FROM mine m JOIN people p ON p.id = m.id WHERE p.id = 1", "*|Ada"},
				{"CREATE TEMP TABLE taken AS SELECT id, ssn AS s, name AS n FROM people", ""},
				{"SELECT s, n FROM pg_temp.taken WHERE id = 1", "*******9471|Ada"},
				{"INSERT INTO further (id, v) SELECT id, s FROM taken", ""},
				{"SELECT v, id FROM further WHERE id = 1", "*******9471|1"},
				// It hides a table of other columns, or does not.
				{"CREATE TEMP TABLE further (w text, v text)", ""},
				{"INSERT INTO further SELECT ssn FROM people", "42501"},
				{"DROP TABLE pg_temp.further", ""},
				{"BEGIN", ""},
				{"CREATE TEMP TABLE copies (v text, w text) ON COMMIT DROP", ""},
				{"INSERT INTO copies SELECT ssn FROM people", "42501"},
				{"ROLLBACK", ""},
				{"BEGIN", ""}, {"CREATE TEMP TABLE later AS SELECT ssn AS s, name FROM people WHERE id = 1", ""}, {"COMMIT", ""},
				{"SELECT s, name FROM later", "*******9471|Ada"},
			} {
				if got := run(c, step[0]); got != step[1] {
					t.Errorf("PostgreSQL %d, %s: %s: %q, want %q", version, mode, step[0], got, step[1])
				}
			}
			if got := values(theirs, "SELECT v, w FROM mine"); got != "theirs|w" {
				t.Errorf("PostgreSQL %d: of another session: %q", version, got)
			}
			c.Close(t.Context())
		}
	}
}

// Without tracking, temporary tables hold nothing protected, and pass.
func TestTemporaryTablesPass(t *testing.T) {
	for _, version := range []int{15, 18} {
		g := startGate(t, gateConfig{version: version, sql: trackedSchema, columns: protectedPeople(t, protect.Strict)})
		c := g.connect(t, "")
		for _, step := range [][2]string{
			{"CREATE TEMP TABLE mine AS SELECT id, name FROM people", ""}, {"SELECT name FROM mine WHERE id = 2", "Bob"},
			{"CREATE TEMP TABLE taken AS SELECT ssn FROM people", "42501"}, {"INSERT INTO mine SELECT id, ssn FROM people", "42501"},
			{"CREATE TEMP TABLE people (id int, name text, ssn text, pin int, doc jsonb)", ""}, {"INSERT INTO people VALUES (1, 'mine', 'clean')", ""},
			{"SELECT ssn FROM people", "[redacted]"}, {"INSERT INTO mine SELECT id, ssn FROM people", "42501"}, // it may be gone by then
		} {
			if got := run(c, step[0]); got != step[1] {
				t.Errorf("PostgreSQL %d: %s: %q, want %q", version, step[0], got, step[1])
			}
		}
	}
}

// What principals write who see the columns is protected from others; what is compared
// with a tracked column is masked in recordings; and the recording says what is
// tracked since when.
func TestTrackedWritesOfThoseWhoAreCleared(t *testing.T) {
	g := trackingGate(t, 15, tracked(t))
	all := g.policy.columns
	g.policy.all, g.policy.columns = all, nil
	g.policy.change(nil)
	cleared := g.connect(t, "")
	for _, step := range [][2]string{
		{"CREATE TABLE report AS SELECT id, ssn AS number, name FROM people", ""},
		{"SELECT number FROM report WHERE id = 1", "219-09-9471"},
		{"INSERT INTO copies (id, v) SELECT id + 10, lower(ssn) FROM people", ""},
		{"SELECT v FROM copies WHERE id = 11", "219-09-9471"},
	} {
		if got := values(cleared, step[0]); got != step[1] {
			t.Errorf("%s: %q, want %q", step[0], got, step[1])
		}
	}
	cleared.Close(t.Context())
	g.policy.columns = all
	g.policy.change(nil)
	c := g.connect(t, "")
	for _, step := range [][2]string{
		{"SELECT number, name FROM report WHERE id = 1", "*******9471|Ada"},
		{"SELECT v, w FROM copies WHERE id = 11", "[redacted]|NULL"},
		{"SELECT id FROM report WHERE number = '536-22-8726'", ""},
	} {
		if got := values(c, step[0]); got != step[1] {
			t.Errorf("%s: %q, want %q", step[0], got, step[1])
		}
	}
	c.Close(t.Context())
	var recorded strings.Builder
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, tape := range g.tapes {
		for _, f := range tape.all() {
			recorded.Write(f.Payload)
		}
	}
	if got := recorded.String(); strings.Contains(got, "536-22-8726") || !strings.Contains(got, "report.number holds values of public.people.ssn") {
		t.Error("the recording does not say what is tracked, or holds what was compared with it")
	}
	list, err := postgres.ReadTaints(g.server.Tracked)
	if err != nil || len(list) != 2 || list[0].String() != "public.report.number" || list[0].Table == 0 {
		t.Errorf("the file has %v, %v", list, err)
	}
	x, err := g.server.Explain(t.Context(), g.database, analyzer(), all, all, "SELECT number FROM report")
	if err != nil || fmt.Sprint(x[0].Fields[0].Origins, x[0].Fields[0].Treatment) != "[public.report.number public.people.ssn] keep_last:4" {
		t.Errorf("explained: %+v, %v", x, err)
	}
}

// Where nothing can be kept, and where the file cannot be read, nothing passes.
func TestTrackedWritesFailClosed(t *testing.T) {
	write := "UPDATE copies SET v = ssn FROM people p WHERE p.id = copies.id"
	g := startGate(t, gateConfig{sql: trackedSchema, columns: tracked(t)})
	if got := values(g.connect(t, ""), write); got != "42501" {
		t.Errorf("without a file: %q", got)
	}
	g = trackingGate(t, 15, tracked(t))
	if err := os.WriteFile(filepath.Dir(g.server.Tracked), nil, 0o600); err != nil { // no directory can be there
		t.Fatal(err)
	}
	c := g.connect(t, "")
	if got := values(c, write); got != "42501" {
		t.Errorf("a file that cannot be written: %q", got)
	}
	if got := values(c, "SELECT v FROM copies WHERE id = 1"); got != "one" {
		t.Errorf("what was not stored: %q", got)
	}
	// Columns that are gone make room.
	for table, want := range map[string]string{"4294967295": "", "(SELECT oid FROM pg_class WHERE relname = 'further')": "42501"} {
		g := trackingGate(t, 15, tracked(t))
		var full string
		err := g.direct(t).QueryRow(t.Context(), `SELECT json_agg(json_build_object('database', current_database(), 'table', `+table+`::bigint, 'number', n % 3 + 1, 'relation', 'x', 'column', 'y',
			'from', json_build_array('public.people.ssn'), 'session', 's', 'at', now()))::text FROM generate_series(1, 10000) n`).Scan(&full)
		if err == nil {
			err = errors.Join(os.MkdirAll(filepath.Dir(g.server.Tracked), 0o700), os.WriteFile(g.server.Tracked, []byte(full), 0o600))
		}
		if err != nil {
			t.Fatal(err)
		}
		again := startGate(t, gateConfig{columns: tracked(t), server: &postgres.Resource{
			Name: "orders", Host: "127.0.0.1", Port: g.server.Port, User: peers.Superuser, Password: g.server.Password, Database: g.database, SSLMode: "disable", Tracked: g.server.Tracked,
		}})
		if got := values(again.connect(t, ""), write); got != want {
			t.Errorf("with 10,000 of %s: %q, want %q", table, got, want)
		}
	}
	bad := filepath.Join(t.TempDir(), "bad.json")
	if err := os.WriteFile(bad, []byte("[{"), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := &postgres.Resource{Name: "orders", Host: "localhost", User: "u", Database: "d", Tracked: bad}
	if _, err := postgres.New(postgres.Config{Resources: map[string]*postgres.Resource{"orders": broken}, Plaintext: true, Analyzer: analyzer()}); err == nil {
		t.Error("a file that cannot be read is none")
	}
}
