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

// hintOf is the hint of a server's error.
func hintOf(err error) string {
	if e, is := errors.AsType[*pgconn.PgError](err); is {
		return e.Hint
	}
	return ""
}
