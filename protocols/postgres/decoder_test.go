package postgres_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/protocols/postgres"
	"gatehouse/recorder"
)

// decoded reads back what a tape recorded: the rows as "a|b", and messages.
func decoded(t *testing.T, frames []event.Frame) (all []string) {
	t.Helper()
	d := postgres.NewDecoder()
	for _, f := range frames {
		err := d.Decode(&f, func(p recorder.Part) error {
			var cells []string
			for _, f := range p.Fields {
				cells = append(cells, f.Name+" "+f.Type)
			}
			for _, v := range p.Row {
				if v == nil {
					v = []byte("NULL")
				}
				cells = append(cells, string(v))
			}
			if p.Message != nil {
				cells = append(cells, p.Message.Code+" "+p.Message.Text)
			}
			all = append(all, strings.Join(cells, "|"))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// A replay shows the same rows, with their fields, however they were asked for
// and whether or not anything was masked.
func TestRecordingsCanBeRead(t *testing.T) {
	for name, plugins := range map[string][]pipeline.Plugin{
		"masked":     {columns{"public.customers.email": {Kind: event.KeepLast, Keep: 4}}},
		"not masked": {rule(words)},
	} {
		email := "user1@example.com"
		if name == "masked" {
			email = "*************.com"
		}
		want := []string{"id int4|email text|card int8", "1|" + email + "|4111111111110001"}
		g := startGate(t, gateConfig{sql: customers, plugins: plugins})
		for i, mode := range queryModes {
			c := g.connect(t, "&default_query_exec_mode="+mode)
			for range 2 {
				rows, err := c.Query(t.Context(), "SELECT id, email, card FROM customers WHERE id = $1", 1)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := pgx.CollectRows(rows, pgx.RowToMap); err != nil {
					t.Fatal(err)
				}
			}
			c.Close(t.Context())
			var got []string
			for _, line := range decoded(t, g.tapes[i].all()) {
				if len(got) == 0 || line != got[len(got)-1] {
					got = append(got, line)
				}
			}
			// The statement's own description may come before; each row
			// comes after its fields.
			if n := len(got); n < 4 || !cmp.Equal(got[n-2:], want) || !cmp.Equal(got[n-4:n-2], want) {
				t.Errorf("%s, %s: %q", name, mode, got)
			}
		}
	}
}

func TestLargeValuesCanBeReadFromFramesThatCutThem(t *testing.T) {
	g := startGate(t, gateConfig{plugins: []pipeline.Plugin{columns{}}})
	c := g.connect(t, "&default_query_exec_mode=simple_protocol")
	if _, err := c.Exec(t.Context(), "SELECT repeat('x', 3000000) AS v, 1 AS n"); err != nil {
		t.Fatal(err)
	}
	c.Close(t.Context())
	want := []string{"v text|n int4", strings.Repeat("x", 3000000) + "|1"}
	if got := decoded(t, cutAll(g.tapes[0].all(), 1<<20)); !cmp.Equal(got, want) {
		t.Errorf("%d parts of %d", len(got), len(want))
	}
}

// cutAll cuts the data of frames into frames of n bytes at most.
func cutAll(frames []event.Frame, n int) (cut []event.Frame) {
	for _, f := range frames {
		for f.Kind == event.KindData && len(f.Payload) > n {
			head := f
			head.Payload, f.Payload = f.Payload[:n], f.Payload[n:]
			cut = append(cut, head)
		}
		cut = append(cut, f)
	}
	return cut
}

// Of a row that is too long to be shown, the beginnings of its values are, with
// their sizes.
func TestLongRowsAreShownCut(t *testing.T) {
	g := startGate(t, gateConfig{plugins: []pipeline.Plugin{columns{}}})
	c := g.connect(t, "&default_query_exec_mode=simple_protocol")
	if _, err := c.Exec(t.Context(), "SELECT repeat('ä', 5000000) AS v, 1 AS n, NULL AS z, '' AS e, repeat('y', 100000) AS w"); err != nil {
		t.Fatal(err)
	}
	c.Close(t.Context())
	want := []string{"v text|n int4|z text|e text|w text",
		strings.Repeat("ä", 32<<10) + "… (10000000 bytes in all)|1|NULL||" + strings.Repeat("y", 64<<10) + "… (100000 bytes in all)"}
	for _, n := range []int{1 << 20, 4099} {
		if diff := cmp.Diff(want, decoded(t, cutAll(g.tapes[0].all(), n))); diff != "" {
			t.Errorf("in frames of %d bytes: %d bytes of difference", n, len(diff))
		}
	}
}
