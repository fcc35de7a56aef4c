package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/event"
	"gatehouse/core/peers"
	"gatehouse/core/pipeline"
	"gatehouse/protocols/postgres"
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
	sql += `; CREATE TABLE noted (id int PRIMARY KEY, n int);
		INSERT INTO noted SELECT i, i FROM generate_series(1, 3000) i;
		CREATE FUNCTION one(which int) RETURNS void LANGUAGE sql AS $$ UPDATE noted SET n = 0 WHERE id = which $$;
		CREATE FUNCTION same(n int) RETURNS void LANGUAGE sql AS $$ UPDATE noted SET n = 0 WHERE id = n $$;
		CREATE FUNCTION loops() RETURNS void LANGUAGE plpgsql AS $$ DECLARE i int; BEGIN FOR i IN 1..3000 LOOP UPDATE noted SET n = 0 WHERE id = i; END LOOP; END $$;
		CREATE FUNCTION most() RETURNS void LANGUAGE sql AS $$ DELETE FROM noted WHERE id > 0 $$;
		CREATE FUNCTION sums() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE noted SET n = n + 1 WHERE id = NEW.id; RETURN NEW; END $$;
		CREATE TABLE summed (id int, n int); INSERT INTO summed SELECT i, i FROM generate_series(1, 3000) i;
		CREATE TABLE grandparents (id int PRIMARY KEY); INSERT INTO grandparents VALUES (1);
		CREATE TABLE parents (id int PRIMARY KEY, name text, up int DEFAULT 1 REFERENCES grandparents ON DELETE CASCADE); INSERT INTO parents SELECT generate_series(1, 10);
		CREATE TABLE children (id int PRIMARY KEY, up int REFERENCES parents ON DELETE SET NULL ON UPDATE CASCADE);
		INSERT INTO children SELECT i, 1 + i % 10 FROM generate_series(1, 5000) i;
		CREATE TRIGGER sums BEFORE UPDATE ON summed FOR EACH ROW EXECUTE FUNCTION sums(); ANALYZE`
	var told []string
	g := startGate(t, gateConfig{sql: sql, plugins: []pipeline.Plugin{rule(func(r *event.Request) event.Verdict {
		for _, a := range r.Attrs {
			if a.Key == "db.estimated_rows" {
				told = append(told, a.Value)
				return event.Verdict{Action: event.Block, Rule: "test", Reason: "seen"}
			}
		}
		return event.Verdict{Action: event.Allow}
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
		{"DELETE FROM many WHERE abs(n) = id", 19000, 20000, false},
		{"UPDATE many SET kind = 'x' WHERE kind <> upper(kind) AND 1 = 1", 19000, 20000, false},
		{"DELETE FROM many WHERE n < id OR kind = 'rare'", 19000, 20000, false},
		{"DELETE FROM many WHERE n = id AND kind = 'rare'", 0, 200, false},
		{"UPDATE audited SET n = 0 WHERE n > 0", 2900, 3000, false},

		{"SELECT * FROM many", 0, 0, true},
		{"UPDATE many SET n = 0 WHERE id = 5", 0, 0, true},
		{"UPDATE many SET n = 0 WHERE id = '5' AND kind = 'x'", 0, 0, true},
		{"INSERT INTO few VALUES (11), (12)", 0, 0, true},
		{"UPDATE many SET n = 0 WHERE id::bool = true", 5000, 20000, false},
		{"UPDATE many SET n = leak(n) WHERE id > 0", -1, -1, false},
		{"UPDATE many SET n = 0 WHERE id > leak(1)", -1, -1, false},

		{"PREPARE p(int) AS DELETE FROM many WHERE id > $1; EXECUTE p(10000)", -1, -1, false},
		{"PREPARE p(int) AS UPDATE many SET n = 0 WHERE id = $1; EXECUTE p(10000)", 0, 0, true},
		{"DELETE FROM parents WHERE id = 3", 450, 550, false},
		{"DELETE FROM parents WHERE id < 6", 2000, 3000, false},
		{"DELETE FROM grandparents WHERE id = 1", 4500, 5500, false},
		{"UPDATE parents SET id = 30 WHERE id = 3", 450, 550, false},
		{"UPDATE parents SET name = 'x' WHERE id = 3", 0, 0, true},
		{"SELECT one(5)", 0, 0, true},
		{"SELECT one(id) FROM few", -1, -1, false},
		{"SELECT one(i) FROM generate_series(1, 1000) i", -1, -1, false},
		{"SELECT one(1); SELECT one(id) FROM few", -1, -1, false},
		{"SELECT same(5)", -1, -1, false},
		{"SELECT loops()", -1, -1, false},
		{"SELECT most()", -1, -1, false},
		{"DO $$ BEGIN DELETE FROM noted WHERE id = 7; END $$", 0, 0, true},
		{"DO $$ BEGIN DELETE FROM noted WHERE id > 7; END $$", -1, -1, false},
		{"UPDATE summed SET n = 5 WHERE n > 0", 2900, 3000, false},

		{"CREATE TEMP TABLE mine AS SELECT * FROM many; DELETE FROM mine WHERE id > 0", 0, 0, true},
		{"CREATE TEMP VIEW mine AS SELECT * FROM many; DELETE FROM mine WHERE id > 0", -1, -1, false},
		{"CREATE TEMP TABLE mine AS SELECT * FROM few; DELETE FROM many USING mine WHERE many.id = mine.id", 19900, 20000, false},
	} {
		told = nil
		r := g.raw(t)
		r.send(&pgproto3.Query{String: "BEGIN"}, &pgproto3.Query{String: c.sql}, &pgproto3.Query{String: "ROLLBACK"})
		r.until("Z")
		r.until("Z")
		r.until("Z")
		checkEstimate(t, c.sql, told, c.from, c.to, c.nothing)
	}
	for sql, c := range map[string][2]int{ // of what SQL or the protocol has prepared
		"EXECUTE p(10000)":                 {9900, 10100},
		"EXPLAIN ANALYZE EXECUTE p(15000)": {4900, 5100},
		"EXECUTE p(now()::text::int)":      {-1, -1},
		"EXECUTE q(10000)":                 {9900, 10100},
		"bind p":                           {4900, 5100},
	} {
		r := g.raw(t)
		r.send(&pgproto3.Query{String: "BEGIN; PREPARE p(int) AS DELETE FROM many WHERE id > $1"},
			&pgproto3.Parse{Name: "q", Query: "DELETE FROM many WHERE id > $1"}, &pgproto3.Sync{})
		r.until("Z")
		r.until("Z")
		told = nil
		if sql == "bind p" {
			r.send(&pgproto3.Bind{PreparedStatement: "p", Parameters: [][]byte{[]byte("15000")}}, &pgproto3.Sync{})
		} else {
			r.send(&pgproto3.Query{String: sql})
		}
		r.until("Z")
		checkEstimate(t, sql, told, c[0], c[1], false)
		r.send(&pgproto3.Query{String: "ROLLBACK"})
		r.until("Z")
	}
	for at, c := range map[string][2]int{"10": {19900, 20000}, "15000": {4500, 5500}} { // values count
		told = nil
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
	if slices.Equal(told, []string{"unknown"}) {
		n = -1
	} else if len(told) == 1 {
		_, _ = fmt.Sscan(told[0], &n)
	}
	if nothing != (len(told) == 0) || n < from || n > to {
		t.Errorf("%s: told %v, want %d to %d", sql, slices.Clone(told), from, to)
	}
}

// A disk records until it fails, which is when somebody mentions it.
type disk struct {
	tape
	failed atomic.Bool
}

func (d *disk) Append(f event.Frame, more ...[]byte) error {
	if f.Kind == event.KindRequest && bytes.Contains(f.Payload, []byte("unrecorded")) {
		d.failed.Store(true)
	}
	return d.tape.Append(f, more...)
}

func (d *disk) Commit(ctx context.Context) error {
	if d.failed.Load() {
		return errors.New("disk full")
	}
	return nil
}

// To be planned, a statement goes to the server: after it is recorded, and only
// if nothing else keeps it from running.
func TestEstimateIsAskedLast(t *testing.T) {
	pg := peers.NewPostgres(t, peers.PostgresOptions{Settings: map[string]string{"log_statement": "all"}})
	if err := pg.CreateDatabase(t.Context(), "watched", "CREATE TABLE many (id int PRIMARY KEY, n int); INSERT INTO many SELECT i, i FROM generate_series(1, 1000) i; ANALYZE"); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	judged := map[string]int{}
	g := startGate(t, gateConfig{
		record: func(*event.Session) pipeline.Recorder { return &disk{} },
		plugins: []pipeline.Plugin{rule(words), rule(func(r *event.Request) event.Verdict {
			mu.Lock()
			defer mu.Unlock()
			judged[string(r.Payload)]++
			for _, a := range r.Attrs {
				if a.Key == "db.estimated_rows" && a.Value != "1" {
					return event.Verdict{Action: event.Hold, Rule: "test/many", Reason: a.Value + " rows"}
				}
			}
			return event.Verdict{Action: event.Allow}
		})},
		server: &postgres.Resource{Name: "orders", Host: peers.Host, Port: uint16(pg.Port), User: peers.Superuser, Password: pg.Password, Database: "watched", SSLMode: "disable"},
	})
	go func() {
		for p := range g.desk.pending {
			g.desk.decide <- event.Decision{Approved: p.Verdict.Rule == "test/many"}
		}
	}()
	defer close(g.desk.pending)
	blocked := "DELETE FROM many WHERE id > 1 AND 'forbidden' <> ''"
	asked := "DELETE FROM many WHERE id > 2 AND 'ask' <> ''"
	many := "DELETE FROM many WHERE id > 500"
	lost := "DELETE FROM many WHERE id > 3 AND 'unrecorded' <> ''"
	for _, mode := range []string{"simple", "extended"} {
		r := g.raw(t)
		for sql, code := range map[string]string{blocked: "42501", asked: "42501", many: ""} {
			if a := r.ask(in(mode, sql, nil)...); a.code != code {
				t.Errorf("%s, %s: %s %s", mode, sql, a.code, a.said)
			}
		}
		r.send(in(mode, lost, nil)...)
		r.gone()
	}
	log, err := pg.Log("watched")
	if err != nil {
		t.Fatal(err)
	}
	explained := 0
	for _, e := range log {
		for _, sql := range []string{blocked, asked, lost} {
			if strings.Contains(e.Message, sql) {
				t.Errorf("the server got %s", e.Message)
			}
		}
		if strings.Contains(e.Message, "EXPLAIN (FORMAT JSON) "+many) {
			explained++
		}
	}
	if explained == 0 {
		t.Error("nothing was explained")
	}
	mu.Lock()
	defer mu.Unlock()
	if judged[blocked] != 2 || judged[asked] != 3 || judged[many] != 5 { // a Parse is judged too, and an estimate makes one more
		t.Errorf("judged %v", judged)
	}
}
