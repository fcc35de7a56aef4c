package postgres_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"gatehouse/core/peers"
	"gatehouse/protocols/postgres"
)

// trackedColumns returns what is tracked, as "column state from".
func trackedColumns(t *testing.T, g *gate) (all []string, by map[string]postgres.Tracked) {
	t.Helper()
	list, err := g.protocol.Tracked(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	by = map[string]postgres.Tracked{}
	for _, one := range list {
		all = append(all, fmt.Sprint(one.Now, " ", one.State, " ", strings.Join(one.From, " ")))
		by[one.Now] = one
	}
	return all, by
}

// againGate is another gate on the file and the database of g, as one that starts
// after g was killed.
func againGate(t *testing.T, g *gate, version int) *gate {
	t.Helper()
	again := startGate(t, gateConfig{version: version, columns: tracked(t), server: &postgres.Resource{
		Name: "orders", Host: "127.0.0.1", Port: g.server.Port, User: peers.Superuser, Password: g.server.Password, Database: g.database, SSLMode: "disable", Tracked: g.server.Tracked,
	}})
	again.pg, again.database = g.pg, g.database
	return again
}

func expect(t *testing.T, c *pgx.Conn, steps ...[2]string) {
	t.Helper()
	for _, step := range steps {
		if got := values(c, step[0]); got != step[1] {
			t.Errorf("%s: %q, want %q", step[0], got, step[1])
		}
	}
}

// The list has columns by the names that they have now, and says which are gone. What
// is lifted is so in sessions that are open, and for good.
func TestTrackedColumnsAreListedAndLifted(t *testing.T) {
	for _, version := range []int{15, 18} {
		g := trackingGate(t, version, tracked(t))
		c, reader, direct := g.connect(t, ""), g.connect(t, ""), g.direct(t)
		expect(t, c, [2]string{"UPDATE copies SET v = ssn, w = lower(ssn) FROM people p WHERE p.id = copies.id", ""}, [2]string{"INSERT INTO further SELECT id, ssn FROM people", ""},
			[2]string{"CREATE TABLE made AS SELECT ssn AS v FROM people", ""})
		expect(t, reader, [2]string{"SELECT v, w FROM copies WHERE id = 1", "*******9471|[redacted]"})
		expect(t, direct, [2]string{"ALTER TABLE copies RENAME TO others", ""}, [2]string{"ALTER TABLE others RENAME v TO x", ""}, [2]string{"ALTER TABLE others SET SCHEMA scratch", ""},
			[2]string{"ALTER TABLE further DROP COLUMN v", ""}, [2]string{"DROP TABLE made", ""}, [2]string{"CREATE TABLE made (v text)", ""})
		all, by := trackedColumns(t, g)
		want := []string{"public.further.v gone public.people.ssn", "public.made.v gone public.people.ssn", "scratch.others.w there public.people.ssn", "scratch.others.x there public.people.ssn"}
		if !slices.Equal(all, want) {
			t.Errorf("PostgreSQL %d: tracked are %q, want %q", version, all, want)
		}
		if one := by["scratch.others.x"]; len(one.Causes) != 1 || one.Causes[0].Exchange == 0 || one.Causes[0].Subject != "agent" || !strings.HasPrefix(one.Causes[0].Statement, "UPDATE copies SET v = ssn") {
			t.Errorf("it was caused by %+v", one.Causes)
		}
		lift := func(column string) error {
			return g.protocol.Lift(t.Context(), "orders", by[column].ID, func(*postgres.Tracked) error { return nil })
		}
		failed := errors.New("not recorded")
		if err := g.protocol.Lift(t.Context(), "orders", by["scratch.others.x"].ID, func(*postgres.Tracked) error { return failed }); !errors.Is(err, failed) {
			t.Errorf("without evidence: %v", err)
		}
		for _, column := range []string{"scratch.others.x", "public.further.v", "public.made.v"} {
			if err := lift(column); err != nil {
				t.Errorf("%s: %v", column, err)
			}
			if err := lift(column); !errors.Is(err, postgres.ErrNotTracked) {
				t.Errorf("%s again: %v", column, err)
			}
		}
		reader = g.connect(t, "") // it knew the table by its former name
		expect(t, reader, [2]string{"SELECT x, w FROM scratch.others WHERE id = 1", "219-09-9471|[redacted]"})
		again := againGate(t, g, version)
		expect(t, again.connect(t, ""), [2]string{"SELECT x, w FROM scratch.others WHERE id = 1", "219-09-9471|[redacted]"})
		if all, _ := trackedColumns(t, again); !slices.Equal(all, []string{"scratch.others.w there public.people.ssn"}) {
			t.Errorf("left are %q", all)
		}
	}
}

// Nothing is lifted while a transaction of any session may store values there.
func TestTrackedColumnsAreNotLiftedWhileValuesAreStored(t *testing.T) {
	for _, version := range []int{15, 18} {
		g := trackingGate(t, version, tracked(t))
		c, other, direct, watch := g.connect(t, ""), g.connect(t, ""), g.direct(t), g.direct(t)
		write := "UPDATE copies SET v = ssn FROM people p WHERE p.id = copies.id"
		expect(t, c, [2]string{write, ""})
		lift := func(record func()) error {
			_, by := trackedColumns(t, g)
			return g.protocol.Lift(t.Context(), "orders", by["public.copies.v"].ID, func(*postgres.Tracked) error { record(); return nil })
		}
		nothing := func() {}

		expect(t, c, [2]string{"BEGIN", ""}, [2]string{write, ""})
		if err := lift(nothing); !errors.Is(err, postgres.ErrStoring) {
			t.Errorf("PostgreSQL %d: in a transaction: %v", version, err)
		}
		expect(t, c, [2]string{"ROLLBACK", ""})

		expect(t, direct, [2]string{"BEGIN", ""}, [2]string{"LOCK TABLE people IN ACCESS EXCLUSIVE MODE", ""})
		done := make(chan string)
		go func() { done <- values(other, write) }() // waits with no lock on copies yet, or with one
		awaitLocked(t, watch, 1)
		if err := lift(nothing); !errors.Is(err, postgres.ErrStoring) {
			t.Errorf("PostgreSQL %d: on its way: %v", version, err)
		}
		expect(t, direct, [2]string{"COMMIT", ""})
		if got := <-done; got != "" {
			t.Error(got)
		}

		// A statement comes between.
		if err := lift(func() { expect(t, c, [2]string{write, ""}) }); !errors.Is(err, postgres.ErrStoring) {
			t.Errorf("PostgreSQL %d: stored meanwhile: %v", version, err)
		}
		expect(t, other, [2]string{"SELECT v FROM copies WHERE id = 1", "*******9471"})
		if err := lift(nothing); err != nil {
			t.Errorf("PostgreSQL %d: when it is over: %v", version, err)
		}
		expect(t, other, [2]string{"SELECT v FROM copies WHERE id = 1", "219-09-9471"}, [2]string{write, ""}, [2]string{"SELECT v FROM copies WHERE id = 1", "*******9471"})
	}
}

// What a gate left that was killed while a table was made is settled once the server
// has nothing of that time.
func TestTrackedColumnsThatWereLeft(t *testing.T) {
	g := trackingGate(t, 15, tracked(t))
	c := g.connect(t, "")
	expect(t, c, [2]string{"BEGIN", ""}, [2]string{"CREATE TABLE made AS SELECT ssn AS v FROM people", ""})
	if all, _ := trackedColumns(t, g); !slices.Equal(all, []string{"made.v making public.people.ssn"}) {
		t.Errorf("tracked are %q", all)
	}
	left, err := os.ReadFile(g.server.Tracked) // as it would be after kill -9
	if err != nil {
		t.Fatal(err)
	}
	g.server.Tracked += ".killed"
	if err := os.WriteFile(g.server.Tracked, left, 0o600); err != nil {
		t.Fatal(err)
	}
	killed := againGate(t, g, 15)
	all, by := trackedColumns(t, killed)
	if !slices.Equal(all, []string{"made.v left public.people.ssn"}) {
		t.Errorf("while the transaction of before is open: %q", all)
	}
	if err := killed.protocol.Lift(t.Context(), "orders", by["made.v"].ID, func(*postgres.Tracked) error { return nil }); !errors.Is(err, postgres.ErrUnsettled) {
		t.Errorf("lifted what is not settled: %v", err)
	}
	expect(t, c, [2]string{"COMMIT", ""})
	if all, _ := trackedColumns(t, killed); !slices.Equal(all, []string{"public.made.v there public.people.ssn"}) {
		t.Errorf("settled are %q", all)
	}
	expect(t, killed.connect(t, ""), [2]string{"SELECT v FROM made WHERE v = '219-09-9471'", "*******9471"})
}
