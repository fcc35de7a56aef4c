package postgres_test

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"gatehouse/core/event"
	"gatehouse/core/lineage"
	"gatehouse/core/peers"
	"gatehouse/core/protect"
	"gatehouse/protocols/postgres"
	"gatehouse/protocols/postgres/statement"
)

var (
	statements    = flag.Int("statements", 1800, "how many random statements the lineage of results is tried with")
	statementStop = flag.Int("statement-stop", 20, "after how many that are wrong to stop")
	statementSeed = flag.Uint64("statement-seed", 1, "by which they are made")
)

//go:embed testdata/property/schema.sql
var propertySchema string

//go:embed testdata/property/values.sql
var propertyValues string

// Databases are some that are equal but for what is protected.
type databases [4]*pgx.Conn

func newDatabases(t *testing.T) (all databases, lineageOf func(a *statement.Analyzer, sql, path string) (*lineage.Result, error)) {
	pg := peers.SharedPostgres(t, 18)
	var name string
	for i := range all {
		name = pg.NewDatabase(t, propertySchema+strings.ReplaceAll(propertyValues, "$x", fmt.Sprint(i+1)))
		c, err := pgx.Connect(t.Context(), pg.URL(name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close(context.Background()) })
		all[i] = c
	}
	r := &postgres.Resource{Name: "twin", Host: "127.0.0.1", Port: uint16(pg.Port), User: peers.Superuser, Password: pg.Password, Database: name, SSLMode: "disable"}
	t.Cleanup(r.Close)
	return all, func(a *statement.Analyzer, sql, path string) (*lineage.Result, error) {
		return r.Lineage(t.Context(), a, sql, path)
	}
}

// A ran is what a statement did in a database: the rows that it returned, or why it
// failed, and what is in tables then, where it may have written.
type ran struct {
	rows  [][]string
	fails error
	left  []table
}

type table struct {
	name    string
	columns []string
	rows    [][]string
}

var (
	mayWrite = regexp.MustCompile(`INSERT|UPDATE|DELETE|MERGE|CREATE|INTO|set_config`)
	makes    = regexp.MustCompile(`(TABLE|INTO) made `)
	left     = []string{"orders", "log", "slots", "sparse", "people", "made"}
)

// run runs a statement, and undoes what it does.
func (d databases) run(ctx context.Context, i int, sql string) ran {
	c := d[i].PgConn()
	// A statement that takes long is none that tells much; the rest is not to be
	// cut short on a busy machine. Of ways that lead to the same, one is taken.
	text := "BEGIN; SET LOCAL statement_timeout = 300; SET LOCAL enable_hashagg = off; SET LOCAL enable_distinct_reordering = off; " + sql
	if mayWrite.MatchString(sql) {
		text += "; SELECT coalesce(current_setting('gatehouse.kept', true), '') AS kept"
		for _, name := range left {
			if name != "made" || makes.MatchString(sql) {
				text += "; SELECT * FROM " + name
			}
		}
	}
	rs, err := c.Exec(ctx, text).ReadAll()
	if _, end := c.Exec(ctx, "ROLLBACK").ReadAll(); end != nil {
		err = end // its time was over here
		c.Exec(ctx, "ROLLBACK").Close()
	}
	if err != nil {
		return ran{fails: err}
	}
	did := ran{rows: cells(rs[4])}
	for i, r := range rs[5:] {
		x := table{rows: cells(r)}
		if i > 0 {
			x.name = left[i-1]
		}
		for _, f := range r.FieldDescriptions {
			x.columns = append(x.columns, f.Name)
		}
		did.left = append(did.left, x)
	}
	return did
}

func cells(r *pgconn.Result) (rows [][]string) {
	for _, row := range r.Rows {
		var cells []string
		for _, v := range row {
			cell := "NULL"
			if v != nil {
				cell = "'" + string(v) + "'"
			}
			cells = append(cells, cell)
		}
		rows = append(rows, cells)
	}
	return rows
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

// only returns some fields of rows.
func only(rows [][]string, fields []int) (all []string) {
	for _, r := range rows {
		var b []string
		for _, j := range fields {
			b = append(b, r[j])
		}
		all = append(all, strings.Join(b, "\t"))
	}
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

// A trial is a statement, and what was done with it.
type trial struct {
	sql     string
	path    string // under which it is read: "" for any
	keyless bool
	did     map[int]ran // by the number of the database
}

// try runs a random statement in some of the databases.
func (d databases) try(ctx context.Context, g *generator, in ...int) trial {
	x := trial{sql: g.statement(), path: oneOf(g, "", `{"pg_catalog","public"}`), did: map[int]ran{}}
	x.keyless = g.keyless
	did := make([]ran, len(in))
	var all sync.WaitGroup
	for n, i := range in {
		all.Go(func() { did[n] = d.run(ctx, i, x.sql) })
	}
	all.Wait()
	for n, i := range in {
		x.did[i] = did[n]
	}
	return x
}

// wrong is what two databases show to be wrong in a lineage, "" if nothing: a field
// that does not depend on what is protected is the same whatever that is, in value
// and in rows; one of which only the rows depend on it is the same in rows that are
// there in both cases; so is what is written; and a statement of which all that is
// clean does not fail for what is protected. It counts what there is to see of that.
func (x *trial) wrong(r *lineage.Result, i, j int, counts map[string]int) string {
	a, b := x.did[i], x.did[j]
	found := r.For(isSecretColumn)
	rowsClean := r.Unknown == "" && r.Rows.On(isSecretColumn).None()
	if a.fails != nil || b.fails != nil {
		counts["failed"]++
		of, other := code(a.fails), code(b.fails)
		counts["failed "+of+other]++
		fails := slices.ContainsFunc(r.Fields, func(f lineage.Field) bool { return f.Reason != "" || f.Rows.On(isSecretColumn).Failing })
		if of != other && of != "57014" && other != "57014" && rowsClean && !fails {
			return fmt.Sprintf("fails for what is protected: %v, %v", a.fails, b.fails)
		}
		return ""
	}
	counts["ran"]++
	if r.Unknown != "" {
		counts["unknown statement: "+r.Unknown]++
		return ""
	}
	if wrong := x.leftWrong(r, rowsClean, a.left, b.left, counts); wrong != "" {
		return wrong
	}
	var clean []int
	for n, f := range found {
		switch own := r.Fields[n].Rows.On(isSecretColumn); {
		case f.Lineage == event.LineageClean:
			counts["clean"]++
			clean = append(clean, n)
		case f.Lineage == event.LineageFiltered && own.None():
			counts["filtered"]++
			if f := found[0]; x.keyless || f.Lineage != event.LineageFiltered || !r.Fields[0].Rows.On(isSecretColumn).None() {
				continue
			}
			if wrong := byKeyWrong(a.rows, b.rows, n, counts); wrong != "" {
				return fmt.Sprintf("field %d is filtered, and differs for the key %s", n+1, wrong)
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
	if len(clean) > 0 && !slices.Equal(only(a.rows, clean), only(b.rows, clean)) {
		return fmt.Sprintf("fields %v are clean, and differ", clean)
	}
	if len(clean) > 0 && len(a.rows) > 0 {
		counts["clean rows"]++
	}
	return ""
}

// byKeyWrong is a key for which a field of rows differs.
func byKeyWrong(a, b [][]string, field int, counts map[string]int) string {
	of, other := byKey(a, field), byKey(b, field)
	for k, v := range of {
		if w, both := other[k]; both {
			if counts["values of rows"]++; v != w {
				return fmt.Sprintf("%s: %s, %s", k, v, w)
			}
		}
	}
	return ""
}

// leftWrong is wrong for what is in tables, and in a setting, afterwards.
func (x *trial) leftWrong(r *lineage.Result, rowsClean bool, a, b []table, counts map[string]int) string {
	for n, t := range a {
		clean := rowsClean || t.name == ""
		written := map[string]bool{} // with what is protected
		for _, f := range r.Flows {
			column := f.To.Name
			switch {
			case t.name == "" && f.By != "":
				column = "kept"
			case f.To == (lineage.Column{}) && f.By == "" && t.name != "": // which rows are written
			case t.name != strings.TrimPrefix(f.To.Relation, "public."):
				continue
			}
			own := f.Rows.On(isSecretColumn)
			clean = clean && (own.None() || t.name == "")
			written[column] = written[column] || f.Reason != "" || !own.None() || slices.ContainsFunc(slices.Concat(f.Exact, f.Derived), isSecretColumn)
		}
		for c, name := range t.columns {
			from := name // which a generated column is computed from
			if of, is := map[string]string{"made": "note", "loud": "name", "secret_loud": "secret_code"}[name]; is {
				from = of
			}
			if !clean || written[from] || written["*"] || isSecretColumn(lineage.Column{Relation: "public." + t.name, Name: from}) {
				continue
			}
			if counts["left"]++; !slices.Equal(slices.Sorted(slices.Values(only(t.rows, []int{c}))), slices.Sorted(slices.Values(only(b[n].rows, []int{c})))) {
				return fmt.Sprintf("%s.%s is left, and differs", t.name, name)
			}
		}
	}
	return ""
}

// What the gate takes to be clean is the same whatever is protected.
func TestLineageHoldsForRandomStatements(t *testing.T) {
	t.Logf("-statement-seed %d", *statementSeed)
	g := newGenerator(*statementSeed)
	dbs, lineageOf := newDatabases(t)
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
		i := g.IntN(len(dbs))
		j := (i + 1 + g.IntN(len(dbs)-1)) % len(dbs)
		x := dbs.try(t.Context(), g, i, j)
		r, err := lineageOf(analyzer(), x.sql, x.path)
		if err != nil {
			if x.did[i].fails == nil && x.did[j].fails == nil {
				t.Fatalf("%v\n%s", err, x.sql)
			}
			continue
		}
		if problem := x.wrong(r, i, j, counts); problem != "" {
			wrong++
			t.Errorf("%s\n%s\n%s\n%v\n%v", problem, x.sql, explained(r), x.did[i], x.did[j])
		}
		if err := x.did[i].fails; err != nil && counts["failed"]%20 == 1 {
			t.Logf("%v\n%s", err, x.sql)
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

// code is how a statement failed, as far as a client is told.
func code(err error) string {
	if err == nil {
		return "00000"
	}
	if e, is := errors.AsType[*pgconn.PgError](err); is {
		return e.Code
	}
	return err.Error()
}

func explained(r *lineage.Result) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "rows %+v %s", r.Rows, r.Unknown)
	for n, f := range r.For(isSecretColumn) {
		of := r.Fields[n]
		fmt.Fprintf(&b, "\n%d %s: %v exact %v derived %v rows %+v %s", n+1, of.Name, f.Lineage, of.Exact, of.Derived, of.Rows, f.Reason)
	}
	for _, f := range r.Flows {
		fmt.Fprintf(&b, "\nto %v %s: exact %v derived %v rows %+v %s", f.To, f.By, f.Exact, f.Derived, f.Rows, f.Reason)
	}
	return b.String()
}
