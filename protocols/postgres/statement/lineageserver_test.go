package statement

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"gatehouse/core/lineage"
	"gatehouse/core/peers"
)

// TestLineageOnServers holds what is said of the golden statements against
// servers: they describe the same fields, and where they say which column a field
// is, it is among the exact ones. On two databases that differ in protected values
// only, what is said to depend on none is the same. A statement under "-- fails" is
// refused by the server, one under "-- since N" by older ones.
func TestLineageOnServers(t *testing.T) {
	for _, version := range []int{15, 18} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			t.Parallel()
			checkOnServer(t, version)
		})
	}
}

func checkOnServer(t *testing.T, version int) {
	ctx := context.Background()
	pg := peers.NewPostgres(t, peers.PostgresOptions{Version: version, Settings: map[string]string{"log_statement": "none"}})
	one, other := shopOn(t, pg, "one", "1"), shopOn(t, pg, "other", "2")
	names, err := pgx.Connect(ctx, pg.URL("one"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = names.Close(context.Background()) })
	c := shop(t)
	blocks, _ := goldenStatements(t)
	for _, block := range blocks {
		sql := block[0]
		var since int
		_, _ = fmt.Sscanf(sql, "-- since %d", &since)
		described, err := one.Prepare(ctx, "", sql)
		if fails := strings.HasPrefix(sql, "-- fails") || version < since; fails {
			if err == nil {
				t.Errorf("PostgreSQL %d takes\n%s", version, sql)
			}
			continue
		}
		if err != nil {
			if _, select_ := read(t, sql).(*lineage.Query); select_ {
				t.Errorf("PostgreSQL %d: %v\n%s", version, err, sql)
			}
			continue
		}
		r, err := lineage.Analyze(ctx, read(t, sql), c)
		if err != nil {
			t.Fatal(err)
		}
		if r.Fields == nil || len(described.Fields) == 0 { // PREPARE and COPY describe nothing
			continue
		}
		if len(r.Fields) != len(described.Fields) {
			t.Errorf("PostgreSQL %d: %d fields, not %d\n%s", version, len(described.Fields), len(r.Fields), sql)
			continue
		}
		for i, d := range described.Fields {
			f := r.Fields[i]
			if f.Name != d.Name {
				t.Errorf("PostgreSQL %d: field %s, not %s\n%s", version, d.Name, f.Name, sql)
			}
			if d.TableOID == 0 || d.TableAttributeNumber == 0 || f.Reason != "" { // computed, or a row as a whole
				continue
			}
			var name string
			if err := names.QueryRow(ctx, `SELECT $1::oid::regclass || '.' || attname FROM pg_attribute WHERE attrelid = $1::oid AND attnum = $2`,
				d.TableOID, int16(d.TableAttributeNumber)).Scan(&name); err != nil {
				t.Errorf("PostgreSQL %d: %v: field %s is %d.%d\n%s", version, err, d.Name, d.TableOID, int16(d.TableAttributeNumber), sql)
			}
			if !slices.ContainsFunc(f.Exact, func(c lineage.Column) bool { return short(c) == name }) {
				t.Errorf("PostgreSQL %d: field %s is %s, not among %v\n%s", version, d.Name, name, f.Exact, sql)
			}
		}
		if _, reads := read(t, sql).(*lineage.Query); reads && len(described.ParamOIDs) == 0 && len(r.Flows) == 0 {
			compareData(t, one, other, sql, r)
		}
	}
}

// shopOn makes the schema in a database, with data in which the protected values
// differ by seed.
func shopOn(t *testing.T, pg *peers.Postgres, database, seed string) *pgx.Conn {
	t.Helper()
	ctx := context.Background()
	if err := pg.Exec(ctx, "postgres", "CREATE DATABASE "+database); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(ctx, pg.URL(database))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	data := `
		INSERT INTO people (id, name, email, ssn, pin, born, city, tags, doc, active)
		SELECT i, 'n' || i % 4, 'e' || i, (i * 7 * ` + seed + ` % 5)::text || chr(97 + (i * ` + seed + ` % 3)), i * ` + seed + ` % 6, '2000-01-01'::date + i, 'c' || i % 3,
			ARRAY['t' || i % 2, 'x'], jsonb_build_object('a', i, 'b', 'v' || i % 2), i % 2 = 0 FROM generate_series(1, 12) i;
		INSERT INTO orders SELECT i, i % 12 + 1, i * 1.5, 's' || i % 3, (i % 5)::text || chr(97 + i % 3), '2020-01-01'::timestamptz + i * interval '1 day' FROM generate_series(1, 20) i;
		INSERT INTO items SELECT i % 20 + 1, 'p' || i % 4, i * 2, i % 5 FROM generate_series(1, 30) i;
		INSERT INTO logs SELECT i, '2020-01-01'::timestamptz + i * interval '1 day', 'm' || i FROM generate_series(1, 5) i;
		INSERT INTO copies SELECT i, 'n' || i % 4, 'e' || i, (i % 5)::text || chr(97 + i % 3) FROM generate_series(1, 6) i;
		INSERT INTO tree SELECT i, NULLIF(i / 2, 0), 'l' || i FROM generate_series(1, 7) i;
		INSERT INTO wide SELECT i, i, i FROM generate_series(1, 4) i;
		INSERT INTO base SELECT i, 's' || i FROM generate_series(1, 3) i;
		INSERT INTO heir SELECT i, 'h' || i, 'x' FROM generate_series(4, 6) i;
		INSERT INTO parted SELECT i, (ARRAY['eu', 'us'])[i % 2 + 1], i::text FROM generate_series(1, 6) i;
		INSERT INTO guarded SELECT i, 'o' || i, i::text FROM generate_series(1, 4) i;
		REFRESH MATERIALIZED VIEW kept;
		ANALYZE`
	for _, sql := range []string{string(text), data} {
		if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			t.Fatal(err)
		}
	}
	return conn
}

// compareData runs a statement on both databases. The rows are the same where
// nothing protected decides about them, and so is each field that depends on none.
func compareData(t *testing.T, one, other *pgx.Conn, sql string, r *lineage.Result) {
	t.Helper()
	rows := r.Rows.On(isProtected)
	if !rows.None() {
		return
	}
	run := func(c *pgx.Conn) [][]string {
		res := c.PgConn().ExecParams(context.Background(), sql, nil, nil, nil, nil).Read()
		if res.Err != nil {
			t.Errorf("%v\n%s", res.Err, sql)
		}
		columns := make([][]string, len(r.Fields))
		for _, row := range res.Rows {
			for i, v := range row {
				columns[i] = append(columns[i], string(v))
			}
		}
		return columns
	}
	a, b := run(one), run(other)
	for i, f := range r.For(isProtected) {
		if kinds[f.Lineage] != "clean" || strings.Contains(sql, "random()") || strings.Contains(sql, "now()") || slices.Contains([]string{"xmin", "tableoid"}, r.Fields[i].Name) {
			continue
		}
		slices.Sort(a[i])
		slices.Sort(b[i])
		if !slices.Equal(a[i], b[i]) {
			t.Errorf("field %s differs: %v, %v\n%s", r.Fields[i].Name, a[i], b[i], sql)
		}
	}
}
