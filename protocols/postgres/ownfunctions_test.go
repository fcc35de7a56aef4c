package postgres

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"gatehouse/core/lineage"
	"gatehouse/core/peers"
)

// Each name of the lists is a function of PostgreSQL's own, and those that read
// what the database holds are on none of them.
func TestFunctionsOfPostgreSQL(t *testing.T) {
	found := map[string]bool{}
	kinds := map[string]lineage.Kind{}
	for _, version := range []int{15, 18} {
		pg := peers.SharedPostgres(t, version)
		conn, err := pgx.Connect(t.Context(), pg.URL("postgres"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		d, err := readDictionary(t.Context(), conn, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, routines := range d.functions {
			found[name] = true
			for _, r := range routines {
				k, _ := ownKind(name, r.kind, r.volatility, r.set)
				if old, seen := kinds[name]; !seen || k < old {
					kinds[name] = k
				}
			}
		}
		if n := len(d.operators["="]); n < 50 {
			t.Errorf("PostgreSQL %d has %d operators =", version, n)
		}
	}
	for _, list := range []map[string]bool{scalars, sets, ambients, keepers, totals} {
		for name := range list {
			if !found[name] && name != "pg_current_xact_id" && name != "every" {
				t.Errorf("there is no function %s", name)
			}
		}
	}
	for _, name := range []string{
		"query_to_xml", "table_to_xml", "cursor_to_xml", "database_to_xml", "ts_stat", "ts_rewrite", "pg_read_file", "pg_ls_dir", "lo_get", "loread", "lo_import",
		"pg_stat_get_activity", "pg_stat_get_backend_activity", "pg_prepared_statement", "pg_cursor", "pg_show_all_settings", "pg_mcv_list_items", "current_query",
		"pg_get_functiondef", "pg_sequence_last_value", "pg_logical_slot_get_changes", "pg_lock_status", "pg_prepared_xact", "currtid2", "pg_listening_channels",
	} {
		if kinds[name] != lineage.Opaque || !found[name] {
			t.Errorf("%s is of kind %d", name, kinds[name])
		}
	}
	for name, want := range map[string]lineage.Kind{
		"count": lineage.Aggregate, "row_number": lineage.Window, "upper": lineage.Scalar, "unnest": lineage.Set, "now": lineage.Ambient, "generate_series": lineage.Set,
	} {
		if kinds[name] != want {
			t.Errorf("%s is of kind %d, want %d", name, kinds[name], want)
		}
	}
}

func TestSearchPathOfArray(t *testing.T) {
	for path, want := range map[string][]string{
		"public": {"pg_catalog", "public"}, `"$user", public`: {"pg_catalog", "agent", "public"}, `"a,b", "say ""x"""`: {"pg_catalog", "a,b", `say "x"`},
		`"b\c"`: {"pg_catalog", `b\c`},
	} {
		got := searchPath(schemas(path, "agent"))
		if len(got) != len(want) {
			t.Errorf("%s: %q", path, got)
			continue
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%s: %q, want %q", path, got, want)
			}
		}
	}
	if searchPath("") != nil {
		t.Error("an unknown path is a path")
	}
}
