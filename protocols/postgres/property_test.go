package postgres_test

import (
	"bytes"
	"context"
	_ "embed"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"gatehouse/core/event"
	"gatehouse/core/lineage"
	"gatehouse/core/peers"
	"gatehouse/core/protect"
	"gatehouse/protocols/postgres"
)

var (
	statements    = flag.Int("statements", 2000, "how many random statements the lineage of results is tried with")
	statementStop = flag.Int("statement-stop", 20, "after how many that are wrong to stop")
	statementSeed = flag.Uint64("statement-seed", 1, "by which they are made")
)

//go:embed testdata/property/schema.sql
var propertySchema string

//go:embed testdata/property/values.sql
var propertyValues string

// A twin is two databases that are equal but for what is protected.
type twin [2]*pgx.Conn

func newTwin(t *testing.T) (tw twin, lineageOf func(sql string) (*lineage.Result, error)) {
	pg := peers.SharedPostgres(t, 18)
	var name string
	for i := range tw {
		name = pg.NewDatabase(t, propertySchema+strings.ReplaceAll(propertyValues, "$x", fmt.Sprint(i+1)))
		c, err := pgx.Connect(t.Context(), pg.URL(name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close(context.Background()) })
		tw[i] = c
	}
	r := &postgres.Resource{Name: "twin", Host: "127.0.0.1", Port: uint16(pg.Port), User: peers.Superuser, Password: pg.Password, Database: name, SSLMode: "disable"}
	t.Cleanup(r.Close)
	return tw, func(sql string) (*lineage.Result, error) { return r.Lineage(t.Context(), analyzer(), sql) }
}

// run returns what a statement returns in both, undoing what it does.
func (tw twin) run(ctx context.Context, sql string) (rows [2][][]string, fails [2]error) {
	for i, c := range tw {
		// A statement that takes long is none that tells much; the rest is not
		// to be cut short on a busy machine.
		rs, err := c.PgConn().Exec(ctx, "BEGIN; SET LOCAL statement_timeout = 300; "+sql).ReadAll()
		if _, end := c.PgConn().Exec(ctx, "ROLLBACK").ReadAll(); end != nil {
			err = end // its time was over here
			c.PgConn().Exec(ctx, "ROLLBACK").Close()
		}
		if fails[i] = err; err != nil {
			continue
		}
		for _, row := range rs[2].Rows {
			var cells []string
			for _, v := range row {
				cell := "NULL"
				if v != nil {
					cell = "'" + string(v) + "'"
				}
				cells = append(cells, cell)
			}
			rows[i] = append(rows[i], cells)
		}
	}
	return rows, fails
}

// secretPlaces are what is protected within documents.
var secretPlaces = func() *protect.Columns {
	p, err := protect.New(protect.Config{Columns: map[string]event.Treatment{
		"public.files.doc$.b.secret": {Kind: event.Redact}, "public.files.doc$.list[*].secret": {Kind: event.Redact}}})
	if err != nil {
		panic(err)
	}
	return p
}()

// isSecretColumn is whether a column of testdata/property/schema.sql is protected.
func isSecretColumn(c lineage.Column) bool {
	if c.String() == "public.files.doc" {
		_, is := secretPlaces.At(c.String(), c.Keys())
		return is
	}
	return c.String() == "public.sealed.body" || strings.HasPrefix(c.Name, "secret") && c.Name != "secret_loud" && !strings.HasPrefix(c.Relation, "public.teams")
}

// only returns the fields of rows that are of a kind, in an order of their own.
func only(rows [][]string, fields []int) (all []string) {
	for _, r := range rows {
		var b []string
		for _, j := range fields {
			b = append(b, r[j])
		}
		all = append(all, strings.Join(b, "\t"))
	}
	slices.Sort(all)
	return all
}

// byKey returns a field by the first one, of rows that have one of their own.
func byKey(rows [][]string, field int) map[string]string {
	all := map[string]string{}
	twice := map[string]bool{}
	for _, r := range rows {
		if _, known := all[r[0]]; known {
			twice[r[0]] = true
		}
		all[r[0]] = r[field]
	}
	for k := range twice {
		delete(all, k)
	}
	return all
}

// A field that does not depend on what is protected is the same whatever that is,
// in value and in rows; one of which only the rows depend on it is the same in
// rows that are there in both cases; and a statement of which all that is clean
// does not fail for what is protected.
func TestLineageHoldsForRandomStatements(t *testing.T) {
	t.Logf("-statement-seed %d", *statementSeed)
	g := newGenerator(*statementSeed)
	tw, lineageOf := newTwin(t)
	counts := map[string]int{}
	wrong := 0
	n := *statements
	if nth > 1 {
		n = min(n, 500)
	}
	for range n {
		if wrong >= *statementStop {
			t.Fatal("and so on")
		}
		sql := g.statement()
		rows, fails := tw.run(t.Context(), sql)
		r, err := lineageOf(sql)
		if err != nil && fails[0] == nil && fails[1] == nil {
			t.Fatalf("%v\n%s", err, sql)
		}
		var found []lineage.Finding
		if r != nil {
			found = r.For(isSecretColumn)
		}
		report := func(format string, args ...any) {
			if wrong++; wrong <= *statementStop {
				t.Errorf("%s\n%s\n%s\n%v\n%v", fmt.Sprintf(format, args...), sql, explained(r, found), rows[0], rows[1])
			}
		}
		if fails[0] != nil || fails[1] != nil {
			counts["failed"]++
			var e *pgconn.PgError
			if counts["failed"]%20 == 1 {
				t.Logf("%v\n%s", fails[0], sql)
			}
			if counts[fmt.Sprint("failed ", code(fails[0], &e), code(fails[1], &e))]++; code(fails[0], &e) == "57014" || code(fails[1], &e) == "57014" {
				continue
			}
			if (fails[0] == nil) != (fails[1] == nil) && len(found) > 0 && found[0].Lineage == event.LineageClean {
				report("fails for what is protected: %v, %v", fails[0], fails[1])
			}
			continue
		}
		counts["ran"]++
		if r.Fields == nil {
			counts["unknown statement: "+r.Unknown]++
			continue
		}
		var clean []int
		for j, f := range found {
			switch own := r.Fields[j].Rows.On(isSecretColumn); {
			case f.Lineage == event.LineageClean:
				counts["clean"]++
				clean = append(clean, j)
			case f.Lineage == event.LineageFiltered && own.None():
				counts["filtered"]++
				if f := found[0]; !g.keyless && f.Lineage == event.LineageFiltered && r.Fields[0].Rows.On(isSecretColumn).None() {
					a, b := byKey(rows[0], j), byKey(rows[1], j)
					for k, v := range a {
						if w, both := b[k]; both {
							if counts["values of rows"]++; v != w {
								report("field %d is filtered, and differs for the key %s: %s, %s", j+1, k, v, w)
								break
							}
						}
					}
				}
			case f.Lineage == event.LineageFiltered:
				counts["computed from other rows"]++
			case f.Lineage == event.LineageUnknown:
				counts["unknown"]++
				counts["unknown: "+f.Reason]++
			default:
				counts["protected"]++
			}
		}
		if a, b := only(rows[0], clean), only(rows[1], clean); len(clean) > 0 && !slices.Equal(a, b) {
			report("fields %v are clean, and differ", clean)
		}
		if len(clean) > 0 && len(rows[0]) > 0 {
			counts["clean rows"]++
		}
	}
	t.Log(counts)
	all := counts["clean"] + counts["filtered"] + counts["computed from other rows"] + counts["unknown"] + counts["protected"]
	for kind, least := range map[string]int{"clean": 25, "filtered": 15, "protected": 5} {
		if counts[kind]*100 < least*all {
			t.Errorf("%d of %d fields are %s", counts[kind], all, kind)
		}
	}
	if counts["unknown"]*100 > 5*all || counts["failed"]*100 > 30*n || counts["values of rows"] < n/10 {
		t.Errorf("too little is tried: %v", counts)
	}
}

func code(err error, e **pgconn.PgError) string {
	if err == nil {
		return "00000"
	}
	if x, ok := err.(*pgconn.PgError); ok {
		*e = x
		return x.Code
	}
	return err.Error()
}

func explained(r *lineage.Result, found []lineage.Finding) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "rows %+v", r.Rows)
	for j, f := range r.Fields {
		fmt.Fprintf(&b, "\n%d %s: %v exact %v derived %v rows %+v %s", j+1, f.Name, found[j].Lineage, f.Exact, f.Derived, f.Rows, f.Reason)
	}
	return b.String()
}
