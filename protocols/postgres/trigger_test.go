package postgres_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A trigger's function in PL/pgSQL.
func triggerSQL(when, body string) string {
	return "CREATE FUNCTION moves() RETURNS trigger LANGUAGE plpgsql AS $$ " + body + " $$; CREATE TRIGGER moves " + strings.Replace(when, "ON", "ON public.upper FOR EACH ROW", 1) + " EXECUTE FUNCTION moves()"
}

// What triggers store of a row that is written is protected where they store it, as
// far as their functions can be read. What cannot is refused, by the trigger's name.
func TestTriggersAreFollowed(t *testing.T) {
	const audit = "CREATE TABLE audit (id int, row_id int, x text, u text, was jsonb, op text, at timestamptz DEFAULT now());"
	const write = "INSERT INTO upper (id, v) SELECT id, ssn FROM people WHERE id = 1"
	for _, version := range []int{15, 18} {
		for _, test := range []struct{ name, when, body, write, read, want string }{
			{"columns", "AFTER INSERT OR UPDATE ON", "BEGIN INSERT INTO audit (row_id, x, op) VALUES (NEW.id, NEW.v, TG_OP); RETURN NULL; END", write, "SELECT x, row_id, op FROM audit", "*******9471|1|INSERT"},
			{"the row", "AFTER INSERT ON", "BEGIN INSERT INTO further SELECT NEW.id, NEW.v; RETURN NEW; END", write, "SELECT v, id, w FROM further", "*******9471|1|NULL"},
			{"values of the row", "AFTER INSERT ON", "BEGIN INSERT INTO further VALUES (NEW.*); RETURN NEW; END", write, "SELECT v, id, w FROM further", "*******9471|1|[redacted]"},
			{"the row as a document", "AFTER INSERT ON", "BEGIN INSERT INTO audit (row_id, was) VALUES (NEW.id, to_jsonb(NEW)); RETURN NEW; END", write, "SELECT was, row_id FROM audit", `"[redacted]"|1`},
			{"the row as JSON", "AFTER INSERT ON", "BEGIN INSERT INTO audit (row_id, was) VALUES (NEW.id, row_to_json(NEW)::jsonb); RETURN NEW; END", write, "SELECT was, row_id FROM audit", `"[redacted]"|1`},
			{"another column", "BEFORE INSERT OR UPDATE ON", "BEGIN NEW.u2 := NEW.v; NEW.n := NEW.id; RETURN NEW; END", write, "SELECT u2, n FROM upper", "*******9471|1"},
			{"returned", "BEFORE INSERT ON", "BEGIN NEW.u2 := upper(NEW.v); RETURN NEW; END", write + " RETURNING u2, id", "", "[redacted]|1"},
			{"an update", "AFTER INSERT ON", "BEGIN UPDATE copies SET w = NEW.v WHERE id = NEW.id; RETURN NEW; END", write, "SELECT w, v FROM copies WHERE id = 1", "*******9471|one"},
			{"branches", "AFTER INSERT OR DELETE ON", "BEGIN IF TG_OP = 'DELETE' THEN INSERT INTO audit (x) VALUES (OLD.v); RETURN OLD; ELSIF TG_OP = 'INSERT' THEN INSERT INTO audit (u) VALUES (NEW.v); END IF; RETURN NEW; END", write, "SELECT x, u FROM audit", "NULL|*******9471"},
			{"a condition of its own", "AFTER INSERT ON", "BEGIN INSERT INTO audit (x) VALUES (NEW.v); RETURN NEW; END", write, "SELECT x FROM audit", "*******9471"},
			{"on the way of another", "AFTER INSERT ON", "BEGIN INSERT INTO audited VALUES (NEW.id, NEW.v); RETURN NEW; END", write, "SELECT v, id FROM log", "*******9471|1"},
			{"what is there moves on", "AFTER UPDATE ON", "BEGIN INSERT INTO audit (x) VALUES (OLD.v); RETURN NEW; END", write + ";UPDATE upper SET n = 1", "SELECT x FROM audit", "*******9471"},
			{"what is deleted", "BEFORE DELETE ON", "BEGIN INSERT INTO audit (x, row_id) VALUES (OLD.v, OLD.id); RETURN OLD; END", write + ";DELETE FROM upper", "SELECT x, row_id FROM audit", "*******9471|1"},
			{"what is written through a view", "AFTER UPDATE ON", "BEGIN INSERT INTO audit (x, row_id) VALUES (OLD.v, OLD.id); RETURN NEW; END", write + ";UPDATE seen SET id = 1", "SELECT x, row_id FROM audit", "*******9471|1"},
			{"one that another table has, too", "AFTER INSERT ON", "BEGIN INSERT INTO audit (x) VALUES (NEW.v); RETURN NEW; END", "INSERT INTO further (v) VALUES ('mine') RETURNING id;" + write, "SELECT x FROM audit ORDER BY x", "*******9471 ****"},
			{"clean", "AFTER INSERT ON", "BEGIN INSERT INTO audit (x, row_id) VALUES (NEW.v, NEW.id); RETURN NEW; END", "INSERT INTO upper (id, v) VALUES (7, 'mine')", "SELECT x, row_id FROM audit", "mine|7"},
			// Rules, of which the body is the action.
			{"rule", "ON INSERT", "DO ALSO INSERT INTO audit (x, row_id) VALUES (NEW.v, NEW.id)", write, "SELECT x, row_id FROM audit", "*******9471|1"},
			{"rule with a condition", "ON INSERT", "WHERE NEW.id > 0 DO ALSO (INSERT INTO audit (row_id) SELECT NEW.id; UPDATE copies SET w = NEW.v WHERE id = NEW.id)", write, "SELECT w, row_id FROM copies c JOIN audit a ON a.row_id = c.id", "*******9471|1"},
			{"rule on a column", "ON INSERT", "WHERE NEW.v > 'a' DO ALSO INSERT INTO audit (row_id) VALUES (NEW.id)", write, "rule moves of public.upper", ""},
			{"rule instead", "ON INSERT", "DO INSTEAD INSERT INTO audit (x) VALUES (NEW.v)", write, "", ""},
			// Refused.
			{"a variable", "AFTER INSERT ON", "DECLARE r text; BEGIN r := NEW.v; INSERT INTO audit (x) VALUES (r); RETURN NEW; END", write, "trigger moves of public.upper is not followed: it declares variables", ""},
			{"dynamic", "AFTER INSERT ON", "BEGIN EXECUTE 'INSERT INTO audit (x) VALUES ($1)' USING NEW.v; RETURN NEW; END", write, "", ""},
			{"a condition on it", "AFTER INSERT ON", "BEGIN IF NEW.v LIKE '2%' THEN INSERT INTO audit (id) VALUES (1); END IF; RETURN NEW; END", write, "trigger moves of public.upper", ""},
			{"a join with it", "AFTER INSERT ON", "BEGIN UPDATE copies SET n = 1 WHERE v = NEW.v; RETURN NEW; END", write, "trigger moves of public.upper", ""},
			{"a notification", "AFTER INSERT ON", "BEGIN PERFORM pg_notify('x', NEW.v); RETURN NEW; END", write, "trigger moves of public.upper", ""},
			{"a message", "AFTER INSERT ON", "BEGIN RAISE NOTICE '%', NEW.v; RETURN NEW; END", write, "it has a statement that is not followed: RAISE", ""},
			{"a handler", "AFTER INSERT ON", "BEGIN INSERT INTO audit (x) VALUES (NEW.v); RETURN NEW; EXCEPTION WHEN OTHERS THEN RETURN NULL; END", write, "trigger moves of public.upper is not followed", ""},
			{"another row", "BEFORE INSERT ON", "BEGIN NEW := ROW(NEW.id, 'x', 'y', 'z', 2); RETURN NEW; END", write, "assigns to something else", ""},
			{"a view", "AFTER INSERT ON", "BEGIN INSERT INTO shown VALUES (1, NEW.v); RETURN NEW; END", write, "trigger moves of public.upper", ""},
			{"a loop", "AFTER INSERT ON", "BEGIN FOR i IN 1..2 LOOP INSERT INTO audit (x) VALUES (NEW.v); END LOOP; RETURN NEW; END", write, "not followed", ""},
		} {
			t.Run(fmt.Sprint(version, " ", test.name), func(t *testing.T) {
				g := trackingGate(t, version, tracked(t))
				sql := audit + "DROP TABLE further; CREATE TABLE further (id int, v text, w text, a text, b int); ALTER TABLE upper ADD u2 text, ADD n int;" + triggerSQL(test.when, test.body)
				if strings.HasPrefix(test.name, "rule") {
					sql = sql[:strings.Index(sql, "CREATE FUNCTION")] + "CREATE RULE moves AS " + test.when + " TO upper " + test.body
				}
				sql += "; CREATE VIEW seen AS SELECT id, v FROM upper"
				if strings.HasPrefix(test.name, "one that") {
					sql += "; CREATE TRIGGER moves AFTER INSERT ON further FOR EACH ROW EXECUTE FUNCTION moves()"
				}
				if test.name == "a condition of its own" {
					sql = strings.Replace(sql, "FOR EACH ROW", "FOR EACH ROW WHEN (NEW.id IS NOT NULL)", 1)
				}
				if _, err := g.direct(t).Exec(t.Context(), sql); err != nil {
					t.Fatal(err)
				}
				writer, reader := g.connect(t, ""), g.connect(t, "")
				values(reader, "SELECT * FROM audit")
				var got string
				for _, one := range strings.Split(test.write, ";") {
					if test.want == "" {
						_, err := writer.Exec(t.Context(), one)
						if err == nil || !strings.Contains(err.Error(), "42501") {
							t.Fatalf("%s: %v", one, err)
						}
						if hint := hintOf(err); !strings.Contains(err.Error()+hint, test.read) {
							t.Errorf("%v: %s", err, hint)
						}
						if n := g.one(t, "SELECT ((SELECT count(*) FROM audit) + (SELECT count(*) FROM upper)) || ''"); n != "0" {
							t.Errorf("%s rows were stored", n)
						}
						return
					}
					if got = values(writer, one); len(got) == 5 && strings.Trim(got, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == "" {
						t.Fatalf("%s: %s", one, got)
					}
				}
				if test.read == "" {
					if got != test.want {
						t.Errorf("%q, want %q", got, test.want)
					}
					return
				}
				if raw := g.one(t, "SELECT concat((SELECT string_agg(a::text, '') FROM audit a), (SELECT string_agg(a::text, '') FROM further a), (SELECT string_agg(a::text, '') FROM upper a), (SELECT string_agg(a::text, '') FROM log a), (SELECT string_agg(a::text, '') FROM copies a))"); !strings.Contains(raw, "219-09-9471") && test.name != "clean" {
					t.Errorf("nothing was stored: %s", raw)
				}
				for _, c := range []string{"writer", "reader"} {
					conn := map[string]*pgx.Conn{"writer": writer, "reader": reader}[c]
					if got := values(conn, test.read); got != test.want {
						t.Errorf("%s: %q, want %q", c, got, test.want)
					}
				}
			})
		}
	}
}

// Where writes are not tracked, a write passes whose triggers are followed, and do
// nothing with protected columns. Others are refused, by the trigger's name.
func TestTriggersThatMoveAreRefused(t *testing.T) {
	const schema = `CREATE TABLE audit (id int, x text);
		CREATE FUNCTION keeps() RETURNS trigger LANGUAGE plpgsql AS 'DECLARE r text; BEGIN r := NEW.ssn; INSERT INTO audit (x) VALUES (r); RETURN NEW; END';
		CREATE VIEW named AS SELECT id, ssn, name FROM people;
		CREATE VIEW through AS SELECT id, ssn FROM named;
		CREATE FUNCTION steals() RETURNS trigger LANGUAGE plpgsql AS 'DECLARE r text; BEGIN SELECT ssn INTO r FROM people WHERE people.id = 1; INSERT INTO audit (x) VALUES (r); RETURN NEW; END';
		CREATE TABLE parts (id int, ssn text, v tsvector, w text) PARTITION BY LIST (id);
		CREATE TABLE part_one PARTITION OF parts FOR VALUES IN (1); CREATE TABLE part_two PARTITION OF parts FOR VALUES IN (2);
		INSERT INTO parts VALUES (1, '219-09-9471'); ALTER TABLE people ADD v tsvector;
		CREATE TABLE plain (id int PRIMARY KEY, ssn text, v tsvector); INSERT INTO plain VALUES (1, 'x');
		CREATE TABLE refers (id int REFERENCES plain);`
	insert, update := "INSERT INTO people (id, ssn) VALUES (7, '078-05-1120')", "UPDATE people SET name = 'x' WHERE id = 1"
	body := func(on, text string) string {
		return "CREATE FUNCTION moves() RETURNS trigger LANGUAGE plpgsql AS $$ " + text + " $$; CREATE TRIGGER moves " + on + " EXECUTE FUNCTION moves()"
	}
	const each, onUpdate = "AFTER INSERT ON people FOR EACH ROW", "BEFORE UPDATE ON people FOR EACH ROW"
	for _, version := range []int{15, 18} {
		for _, test := range []struct{ name, sql, write, why string }{
			// Nothing protected moves.
			{"a time", body(onUpdate, "BEGIN NEW.name := now()::text; RETURN NEW; END"), update, ""},
			{"other columns", body(each, "BEGIN INSERT INTO audit VALUES (NEW.id, NEW.name || TG_OP); RETURN NEW; END"), insert, ""},
			{"in its place", body(onUpdate, "BEGIN IF NEW.id > 0 THEN NEW.name := lower(NEW.name); END IF; RETURN NEW; END"), update, ""},
			{"by statement", body("AFTER INSERT ON people", "BEGIN RAISE NOTICE 'x'; RETURN NULL; END"), insert, ""},
			{"on another event", body("AFTER DELETE ON people FOR EACH ROW", "DECLARE r text; BEGIN r := OLD.ssn; INSERT INTO audit (x) VALUES (r); RETURN NULL; END"), insert, ""},
			{"on nothing protected", "CREATE TRIGGER moves AFTER INSERT ON plain FOR EACH ROW EXECUTE FUNCTION keeps()", "INSERT INTO plain VALUES (2, 'mine')", ""},
			{"words of nothing protected", "CREATE TRIGGER moves BEFORE INSERT ON people FOR EACH ROW EXECUTE FUNCTION tsvector_update_trigger(v, 'pg_catalog.english', name)", insert, ""},
			{"the same rows of nothing protected", "CREATE TRIGGER moves BEFORE UPDATE ON plain FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()", "UPDATE plain SET ssn = 'y'", ""},
			{"a view that is read", body(each, "DECLARE r text; BEGIN r := NEW.ssn; RETURN NEW; END"), "INSERT INTO plain SELECT id + 10, name FROM named", ""},
			// Something may.
			{"assignment", body(each, "BEGIN NEW.name := NEW.ssn; RETURN NEW; END"), insert, "trigger moves of public.people moves"},
			{"insert", body(each, "BEGIN INSERT INTO audit VALUES (1, NEW.ssn); RETURN NEW; END"), insert, "trigger moves of public.people moves"},
			{"condition", body(onUpdate, "BEGIN IF OLD.ssn LIKE '2%' THEN NEW.name := 'y'; END IF; RETURN NEW; END"), update, "trigger moves of public.people moves"},
			{"failure", body(onUpdate, "BEGIN PERFORM 1 / (OLD.pin - 8273); RETURN NEW; END"), update, "trigger moves of public.people moves"},
			{"variable", body(each, "DECLARE r text; BEGIN r := NEW.ssn; INSERT INTO audit (x) VALUES (r); RETURN NEW; END"), insert, "trigger moves of public.people is not followed: it declares variables"},
			{"dynamic", body(each, "BEGIN EXECUTE 'INSERT INTO audit (x) VALUES ($1)' USING NEW.ssn; RETURN NEW; END"), insert, "trigger moves of public.people is not followed"},
			{"message", body(onUpdate, "BEGIN RAISE NOTICE '%', OLD.ssn; RETURN NEW; END"), update, "trigger moves of public.people is not followed: it has a statement that is not followed: RAISE"},
			{"handler", body(each, "BEGIN INSERT INTO audit (x) VALUES (NEW.name); RETURN NEW; EXCEPTION WHEN OTHERS THEN RETURN NULL; END"), insert, "trigger moves of public.people is not followed"},
			{"transition table", body("AFTER INSERT ON people REFERENCING NEW TABLE AS n", "BEGIN INSERT INTO audit (x) SELECT to_jsonb(n)::text FROM n; RETURN NULL; END"), insert, "trigger moves of public.people is not followed: it sees the rows"},
			{"shared with a table before", "CREATE TRIGGER moves AFTER INSERT ON plain FOR EACH ROW EXECUTE FUNCTION keeps(); CREATE TRIGGER moves AFTER INSERT ON people FOR EACH ROW EXECUTE FUNCTION keeps()",
				"INSERT INTO plain VALUES (2, 'mine'); " + insert, "trigger moves of public.people is not followed"},
			{"rule that moves", "CREATE RULE moves AS ON INSERT TO people DO ALSO INSERT INTO audit VALUES (NEW.id, NEW.ssn)", insert, "stands in the place of writes"},
			// Through views.
			{"view", "CREATE TRIGGER moves AFTER INSERT ON people FOR EACH ROW EXECUTE FUNCTION keeps()", "INSERT INTO named (id, ssn) VALUES (7, 'x')", "trigger moves of public.people is not followed"},
			{"view of a view", "CREATE TRIGGER moves AFTER UPDATE ON people FOR EACH ROW EXECUTE FUNCTION keeps()", "UPDATE through SET id = id", "trigger moves of public.people is not followed"},
			{"view whose table's trigger reads elsewhere", "CREATE VIEW plainly AS SELECT * FROM plain; CREATE TRIGGER moves AFTER INSERT ON plain FOR EACH ROW EXECUTE FUNCTION steals()", "INSERT INTO plainly (id) VALUES (9)", "trigger moves of public.plain"},
			// The server's own, and those of extensions.
			{"words", "CREATE TRIGGER moves BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION tsvector_update_trigger(v, 'pg_catalog.english', name, ssn)", update, "trigger moves of public.people moves"},
			{"the same rows", "CREATE TRIGGER moves BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()", update, "trigger moves of public.people moves"},
			{"extension", "CREATE EXTENSION tcn; CREATE TRIGGER moves AFTER UPDATE ON people FOR EACH ROW EXECUTE FUNCTION triggered_change_notification()", update, "trigger moves of public.people is not followed: its function, in c, is not read"},
			// Partitions, and TRUNCATE.
			{"partition", "CREATE TRIGGER moves AFTER UPDATE ON parts FOR EACH ROW EXECUTE FUNCTION keeps()", "UPDATE part_one SET w = 'x'", "trigger moves of public.part_one is not followed"},
			{"of a partition", "CREATE TRIGGER moves AFTER UPDATE ON part_one FOR EACH ROW EXECUTE FUNCTION keeps()", "UPDATE parts SET w = 'x'", "trigger moves of public.part_one is not followed"},
			{"to a partition", "CREATE TRIGGER moves AFTER INSERT ON part_two FOR EACH ROW EXECUTE FUNCTION keeps()", "UPDATE parts SET id = 2", "trigger moves of public.part_two is not followed"},
			{"truncate", "CREATE TRIGGER moves AFTER TRUNCATE ON plain EXECUTE FUNCTION steals()", "TRUNCATE plain CASCADE", "read protected columns"},
			{"truncate what refers to it", "CREATE TRIGGER moves AFTER TRUNCATE ON refers EXECUTE FUNCTION steals()", "TRUNCATE plain CASCADE", "read protected columns"},
			{"truncate with a trigger that reads nothing", body("AFTER TRUNCATE ON people", "BEGIN INSERT INTO audit (x) VALUES ('truncated'); RETURN NULL; END"), "TRUNCATE people", ""},
		} {
			t.Run(fmt.Sprint(version, " ", test.name), func(t *testing.T) {
				g := startGate(t, gateConfig{version: version, sql: trackedSchema + schema + test.sql, columns: strictly(t, "people.ssn", "people.pin", "parts.ssn", "part_one.ssn", "part_two.ssn")})
				_, err := g.connect(t, "").Exec(t.Context(), test.write, pgx.QueryExecModeSimpleProtocol)
				switch refused := err != nil && strings.Contains(err.Error(), "42501"); {
				case test.why == "" && err != nil, test.why != "" && !refused:
					t.Errorf("%s: %v: %s", test.write, err, hintOf(err))
				case refused && !strings.Contains(err.Error()+hintOf(err), test.why):
					t.Errorf("%s: %v: %s, want %s", test.write, err, hintOf(err), test.why)
				}
			})
		}
	}
}

// hintOf is the hint of a server's error.
func hintOf(err error) string {
	if e, is := errors.AsType[*pgconn.PgError](err); is {
		return e.Hint
	}
	return ""
}
