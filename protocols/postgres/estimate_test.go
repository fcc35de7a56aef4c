package postgres_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
)

// Judges and approvers are told how many rows a statement would write, where it
// may be more than one and the server can be asked without running code.
func TestEstimatedRows(t *testing.T) {
	sql := `CREATE TABLE many (id int PRIMARY KEY, kind text, n int);
		INSERT INTO many SELECT i, CASE WHEN i % 1000 = 0 THEN 'rare' ELSE 'common' END, i FROM generate_series(1, 20000) i;
		CREATE TABLE few (id int PRIMARY KEY, kind text, n int);
		INSERT INTO few SELECT i FROM generate_series(1, 10) i;
		CREATE TABLE audited (id int, n int);
		INSERT INTO audited SELECT i, i FROM generate_series(1, 3000) i;
		CREATE FUNCTION leak(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'it ran'; END $$;
		CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
		CREATE TRIGGER note BEFORE UPDATE ON audited FOR EACH ROW EXECUTE FUNCTION note();
		CREATE SCHEMA other; CREATE TABLE other.many (id int PRIMARY KEY, kind text, n int);
		ANALYZE`
	var told []string
	g := startGate(t, gateConfig{sql: sql, plugins: []pipeline.Plugin{rule(func(r *event.Request) event.Verdict {
		told = told[:0]
		for _, a := range r.Attrs {
			if a.Key == "db.estimated_rows" {
				told = append(told, a.Value)
			}
		}
		if r.Operation == "prepare" {
			return event.Verdict{Action: event.Allow}
		}
		return event.Verdict{Action: event.Block, Rule: "test", Reason: "seen"}
	})}})
	for _, c := range []struct {
		sql      string
		from, to int
		nothing  bool
	}{
		{"UPDATE many SET n = 0 WHERE id > 0", 19000, 20000, false},
		{"UPDATE many SET n = 0 WHERE kind = 'rare'", 1, 200, false},
		{"DELETE FROM many WHERE kind = 'common' AND n > 10000", 9000, 11000, false},
		{"DELETE FROM public.many WHERE n < 5", 1, 100, false},
		{"INSERT INTO few SELECT id + 100, kind, n FROM many WHERE n <= 100", 50, 200, false},
		{"MERGE INTO many m USING few f ON m.id = f.id WHEN MATCHED THEN UPDATE SET n = 1", 1, 20, false},
		{"WITH gone AS (DELETE FROM many WHERE id > 10 RETURNING *) SELECT count(*) FROM gone", 19000, 20000, false},
		{"WITH gone AS (DELETE FROM many WHERE n > 10 RETURNING *) INSERT INTO few SELECT * FROM gone", 38000, 40000, false},
		{"DELETE FROM few WHERE n > 1; DELETE FROM many WHERE id > 0", 19000, 20100, false},
		{"EXPLAIN /* x */ ANALYZE VERBOSE DELETE FROM many WHERE id > 0", 19000, 20000, false},
		{"EXPLAIN (ANALYZE, FORMAT text) WITH x AS (SELECT 1) DELETE FROM many WHERE id > 0", 19000, 20000, false},
		{"COPY (DELETE FROM many WHERE id > 0 RETURNING (id)) TO STDOUT", 19000, 20000, false},
		{"EXPLAIN DELETE FROM many WHERE id > 0", 0, 0, true},
		{"UPDATE audited SET n = 0 WHERE n > 0", 2900, 3000, false},

		{"SELECT * FROM many", 0, 0, true},
		{"UPDATE many SET n = 0 WHERE id = 5", 0, 0, true},
		{"UPDATE many SET n = 0 WHERE id = '5' AND kind = 'x'", 0, 0, true},
		{"INSERT INTO few VALUES (11), (12)", 0, 0, true},
		{"UPDATE many SET n = leak(n) WHERE id > 0", 0, 0, true},
		{"UPDATE many SET n = 0 WHERE id > leak(1)", 0, 0, true},
	} {
		r := g.raw(t)
		r.send(&pgproto3.Query{String: c.sql})
		r.until("Z")
		checkEstimate(t, c.sql, told, c.from, c.to, c.nothing)
	}
	for at, c := range map[string][2]int{"10": {19900, 20000}, "15000": {4500, 5500}} { // values count
		r := g.raw(t)
		r.send(&pgproto3.Parse{Query: "DELETE FROM many WHERE n > $1"}, &pgproto3.Bind{Parameters: [][]byte{[]byte(at)}}, &pgproto3.Sync{})
		r.until("Z")
		checkEstimate(t, "n > "+at, told, c[0], c[1], false)
	}
	if g.one(t, "SELECT count(*)::text FROM many") != "20000" {
		t.Error("an estimate ran")
	}
}

func checkEstimate(t *testing.T, sql string, told []string, from, to int, nothing bool) {
	t.Helper()
	var n int
	if len(told) == 1 {
		_, _ = fmt.Sscan(told[0], &n)
	}
	if nothing != (len(told) == 0) || n < from || n > to {
		t.Errorf("%s: told %v, want %d to %d", sql, slices.Clone(told), from, to)
	}
}
