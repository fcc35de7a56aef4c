package postgres_test

import (
	"fmt"
	"strings"
	"testing"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/plugins/host"
	"gatehouse/plugins/plugintest"
)

func guarded(t *testing.T, c gateConfig) *gate {
	t.Helper()
	guard, err := plugintest.Host(t, host.Options{}).Load(t.Context(), "guard", plugintest.Build(t, "../../plugins/guard"), []byte("null"))
	if err != nil {
		t.Fatal(err)
	}
	c.plugins = []pipeline.Plugin{guard.Pipeline()}
	return startGate(t, c)
}

// A migration passes whose definitions somebody approves: what its other
// statements run can be told although it has locked their tables.
func TestMigrations(t *testing.T) {
	sql := `CREATE TABLE customers (id int PRIMARY KEY, name text DEFAULT lower('NONE') CHECK (length(name) > 1));
		CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers ON DELETE CASCADE, total int);
		INSERT INTO customers SELECT i, 'name' FROM generate_series(1, 10) i; INSERT INTO orders SELECT i, 1, i FROM generate_series(1, 10) i;
		CREATE INDEX ON orders (abs(total)) WHERE total > 0;
		CREATE VIEW totals AS SELECT customer, sum(total) FROM orders JOIN customers c ON c.id = customer GROUP BY 1;
		CREATE FUNCTION purge() RETURNS int LANGUAGE sql AS 'DELETE FROM orders; SELECT 1';
		CREATE VIEW purged AS SELECT purge() FROM orders;
		CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
		CREATE TRIGGER note BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION note();
		CREATE TABLE many (id int); INSERT INTO many SELECT generate_series(1, 20000); ANALYZE`
	for _, version := range []int{15, 18} {
		for _, mode := range []string{"simple", "extended"} {
			t.Run(fmt.Sprint(version, " ", mode), func(t *testing.T) {
				g := guarded(t, gateConfig{version: version, sql: sql})
				held := make(chan string, 20)
				go func() {
					for p := range g.desk.pending {
						held <- p.Verdict.Rule
						g.desk.decide <- event.Decision{Approved: true}
					}
				}()
				defer close(g.desk.pending)
				r := g.raw(t)
				for _, c := range []struct{ sql, rule string }{
					{"BEGIN", ""},
					{"CREATE TABLE regions (id int PRIMARY KEY, name text DEFAULT upper('none'))", "guard/ddl"},
					{"ALTER TABLE customers ADD COLUMN region int REFERENCES regions", "guard/ddl"},
					{"ALTER TABLE orders ADD COLUMN paid bool DEFAULT false", "guard/ddl"},
					{"CREATE INDEX by_region ON customers (region)", "guard/ddl"},
					{"INSERT INTO regions VALUES (1, 'north'), (2, 'south')", ""},
					{"INSERT INTO regions SELECT id + 100, name FROM customers WHERE id < 3", ""},
					{"UPDATE regions SET name = 'x' WHERE id > 1", ""},
					{"INSERT INTO customers (id, region) VALUES (100, 1)", ""},
					{"UPDATE customers SET region = 2 WHERE id = 5", ""},
					{"UPDATE customers SET region = 1 WHERE region IS NULL", ""},
					{"ALTER TABLE many ADD COLUMN n int", "guard/ddl"},
					{"UPDATE many SET n = 1 WHERE n IS NULL", "guard/mass-write"},
					{"UPDATE orders SET paid = true WHERE id = 1", ""},
					{"INSERT INTO orders (id, paid) VALUES (100, true)", ""},
					{"DELETE FROM orders WHERE id = 100", ""},
					{"SELECT * FROM totals", ""},
					{"SELECT region, count(*) FROM customers GROUP BY 1", ""},
					{"CREATE TABLE schema_migrations (version text PRIMARY KEY)", "guard/ddl"},
					{"INSERT INTO schema_migrations VALUES ('20260101')", ""},
					{"COMMIT", ""},
					{"SELECT * FROM regions", ""},
				} {
					a := r.ask(in(mode, c.sql, nil)...)
					rule := ""
					if len(held) > 0 {
						rule = <-held
					}
					if a.code != "" || rule != c.rule {
						t.Fatalf("%s: held by %q, want %q: %s", c.sql, rule, c.rule, a.said)
					}
				}
				// What is locked is judged nonetheless.
				r = g.raw(t)
				for _, sql := range []string{"BEGIN", "ALTER TABLE orders ADD COLUMN more int"} {
					if a := r.ask(in(mode, sql, nil)...); a.code != "" {
						t.Fatal(a.said)
					}
				}
				if a := r.ask(in(mode, "SELECT * FROM purged", nil)...); a.code != "42501" || !strings.Contains(a.said, "unqualified-write") {
					t.Errorf("purged: %s %s", a.code, a.said)
				}
			})
		}
	}
}

// What event triggers run is judged with the definitions that they watch.
func TestEventTriggersAreJudged(t *testing.T) {
	g := guarded(t, gateConfig{sql: `CREATE TABLE orders (id int); INSERT INTO orders VALUES (1);
		CREATE FUNCTION trap() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM orders; END';
		CREATE EVENT TRIGGER trap ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'COMMENT') EXECUTE FUNCTION trap()`})
	r := g.raw(t)
	for _, sql := range []string{"CREATE TEMP TABLE mine (id int)", "CREATE TABLE mine (id int)", "COMMENT ON TABLE orders IS 'x'"} {
		for _, mode := range []string{"simple", "extended"} {
			if a := r.ask(in(mode, sql, nil)...); a.code != "42501" || !strings.Contains(a.said, "unqualified-write") {
				t.Errorf("%s: %s: %s %s", sql, mode, a.code, a.said)
			}
		}
	}
	if g.one(t, "SELECT count(*)::text FROM orders") != "1" {
		t.Error("it ran")
	}
}
