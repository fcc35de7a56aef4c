package lineage_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"gatehouse/core/event"
	"gatehouse/core/lineage"
	"gatehouse/core/lineage/lineagetest"
)

func ref(parts ...string) *lineage.Ref { return &lineage.Ref{Parts: parts} }

func table(name string) *lineage.Table { return &lineage.Table{Name: lineage.Name{Name: name}} }

func results(exprs ...lineage.Expr) (targets []lineage.Target) {
	for i, e := range exprs {
		targets = append(targets, lineage.Target{Name: fmt.Sprint("r", i), Expr: e})
	}
	return targets
}

func selecting(from lineage.Source, exprs ...lineage.Expr) *lineage.Query {
	return &lineage.Query{Body: &lineage.Select{From: []lineage.Source{from}, Targets: results(exprs...)}}
}

func analyze(t testing.TB, s lineage.Statement, c lineage.Catalog) *lineage.Result {
	t.Helper()
	r, err := lineage.Analyze(context.Background(), s, c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func names(columns []lineage.Column) string {
	var all []string
	for _, c := range columns {
		all = append(all, strings.TrimPrefix(c.String(), "public."))
	}
	return strings.Join(all, ",")
}

// Where a name may stand for several relations, a field depends on all of them, and
// where their columns differ what * stands for is not known.
func TestSeveralRelations(t *testing.T) {
	c := lineagetest.New()
	c.Table("public.t", "a", "b")
	c.Also("t", c.Table("other.t", "a", "b"))
	if f := analyze(t, selecting(table("t"), ref("a")), c).Fields[0]; names(f.Exact) != "t.a,other.t.a" {
		t.Errorf("the column of one of two tables is %v", f)
	}
	c.Also("t", c.Table("third.t", "a"))
	if r := analyze(t, selecting(table("t"), &lineage.Ref{Star: true}), c); r.Unknown == "" {
		t.Errorf("all columns of one of three tables are %v", r.Fields)
	}
	if f := analyze(t, selecting(table("t"), ref("a")), c).Fields[0]; f.Reason == "" {
		t.Errorf("the column of one of three tables is %v", f)
	}
}

// Where a name may stand for several functions, the value depends on what any of
// them may return. Those do not count that an argument's type rules out.
func TestSeveralFunctions(t *testing.T) {
	c := lineagetest.New()
	r := c.Table("public.t", "a", "b")
	integer, own := lineage.Name{Schema: "pg_catalog", Name: "int4"}, lineage.Name{Schema: "public", Name: "own"}
	r.Columns[0].Type, r.Columns[1].Type = integer, own
	c.Function(&lineage.Function{Schema: "public", Name: "upper", Least: 1, Reason: "it is somebody's", Takes: []lineage.Name{own}})
	c.Operator("=", &lineage.Function{Schema: "public", Name: "same", Least: 2, Takes: []lineage.Name{own, own}})
	upper := lineage.Name{Name: "upper"}
	for column, known := range map[string]bool{"a": true, "b": false} {
		res := analyze(t, selecting(table("t"), &lineage.Call{Function: upper, Args: []lineage.Expr{ref(column)}}), c)
		if (res.Fields[0].Reason == "") != known {
			t.Errorf("a function of %s is unknown for %q", column, res.Fields[0].Reason)
		}
		q := selecting(table("t"), ref("a"))
		q.Body.(*lineage.Select).Where = &lineage.Operation{Operator: lineage.Name{Name: "="}, Args: []lineage.Expr{ref(column), nil}}
		if res := analyze(t, q, c); (len(res.Rows.Compared) == 1 && len(res.Rows.Matched) == 0) != known {
			t.Errorf("a comparison of %s: %+v", column, res.Rows)
		}
	}
}

// A function that hides an aggregate may not be one, so that it is not certain that
// there is one row.
func TestHiddenAggregate(t *testing.T) {
	c := lineagetest.New()
	c.Table("public.t", "a", "b")
	q := selecting(table("t"), &lineage.Call{Function: lineage.Name{Name: "count"}, Args: []lineage.Expr{ref("a")}})
	q.Body.(*lineage.Select).Where = ref("b")
	if r := analyze(t, q, c); len(r.Rows.Compared) != 0 || len(r.Fields[0].Rows.Compared) != 1 {
		t.Errorf("an aggregate: %+v", r)
	}
	c.Function(&lineage.Function{Schema: "public", Name: "count", Least: 1, Kind: lineage.Scalar})
	if r := analyze(t, q, c); len(r.Rows.Compared) != 1 || len(r.Fields[0].Rows.Compared) != 1 {
		t.Errorf("an aggregate or not: %+v", r)
	}
}

// A cast depends on what the functions return that it may call. A type of which
// nothing is known may call anything.
func TestCasts(t *testing.T) {
	c := lineagetest.New()
	c.Table("public.t", "a", "b")
	c.Table("public.other", "x")
	c.Castable("safe")
	c.Castable("unsafe", &lineage.Function{Schema: "public", Name: "made", Least: 1, Reason: "it is somebody's"})
	c.Castable("followed", &lineage.Function{Schema: "public", Name: "read", Least: 1, Kind: lineage.Scalar, Body: selecting(table("other"), ref("x"))})
	for to, want := range map[string]string{"safe": "t.a", "unsafe": "", "followed": "t.a,other.x", "none": ""} {
		f := analyze(t, selecting(table("t"), &lineage.Cast{Arg: ref("a"), To: lineage.Name{Schema: "public", Name: to}}), c).Fields[0]
		if known := f.Reason == ""; known != (want != "") || known && names(f.Derived) != want {
			t.Errorf("a cast to %s: %+v", to, f)
		}
	}
}

// What has no columns that are known may have any: what depends on it is unknown,
// and so are names that it may hide.
func TestOpaqueRelations(t *testing.T) {
	c := lineagetest.New()
	c.Table("public.t", "a")
	c.Table("public.foreign", "x").Opaque = "it is of another server"
	if r := analyze(t, selecting(table("foreign"), ref("x")), c); names(r.Fields[0].Exact) != "foreign.x" || r.Fields[0].Reason == "" || r.Rows.Reason == "" {
		t.Errorf("%+v", r)
	}
	for _, from := range []lineage.Source{table("none"), &lineage.Unfollowed{What: "a source of another kind"}} {
		inner := &lineage.Subquery{Query: selecting(from, ref("a"))}
		if r := analyze(t, selecting(table("t"), inner), c); r.Fields[0].Reason == "" || len(r.Fields[0].Exact) > 0 {
			t.Errorf("%+v", r.Fields)
		}
	}
}

// A view whose definition is not known is unknown, and so is one that has other
// columns than it is defined with.
func TestViews(t *testing.T) {
	c := lineagetest.New()
	c.Table("public.t", "a")
	c.View("public.lost", selecting(table("none"), &lineage.Ref{Star: true}), "a")
	c.View("public.short", selecting(table("t"), ref("a")), "a", "b")
	for view, known := range map[string][]bool{"lost": {false}, "short": {true, false}} {
		for i, f := range analyze(t, selecting(table(view), &lineage.Ref{Star: true}), c).Fields {
			if (f.Reason == "") != known[i] {
				t.Errorf("%s: %+v", view, f)
			}
		}
	}
}

// What a statement keeps that a function is given is told, with the rows for which
// it is called.
func TestKeepers(t *testing.T) {
	c := lineagetest.New()
	c.Table("public.t", "a", "b")
	q := selecting(table("t"), &lineage.Call{Function: lineage.Name{Name: "set_config"}, Args: []lineage.Expr{nil, ref("a"), nil}})
	q.Body.(*lineage.Select).Where = ref("b")
	r := analyze(t, q, c)
	if len(r.Flows) != 1 || r.Flows[0].By != "pg_catalog.set_config()" || names(r.Flows[0].Derived) != "t.a" || len(r.Flows[0].Rows.Compared) != 1 {
		t.Errorf("%+v", r.Flows)
	}
}

// All comparisons with constants are told, wherever they stand.
func TestComparisons(t *testing.T) {
	c := lineagetest.New()
	c.Table("public.t", "a", "b")
	compare := func(op string) *lineage.Query {
		q := selecting(table("t"), ref("b"))
		q.Body.(*lineage.Select).Where = &lineage.Operation{Operator: lineage.Name{Name: op}, Args: []lineage.Expr{ref("a"), nil}}
		return q
	}
	r := analyze(t, selecting(&lineage.Derived{Query: compare("<"), Alias: lineage.Alias{Name: "d"}},
		&lineage.Subquery{Query: compare("=")}, &lineage.Subquery{Query: compare("<")}), c)
	if len(r.Compared) != 2 || r.Compared[0].Whole || r.Compared[0].Times != 2 || !r.Compared[1].Whole || len(r.Rows.Compared) != 1 {
		t.Errorf("%+v of rows %+v", r.Compared, r.Rows)
	}
}

// Writing to what has a rule writes nobody knows where.
func TestRewritten(t *testing.T) {
	c := lineagetest.New()
	c.Table("public.t", "a").Rewritten = "it has a rule"
	r := analyze(t, &lineage.Insert{Into: *table("t"), Source: &lineage.Query{Body: &lineage.Values{Rows: [][]lineage.Expr{{nil}}}}}, c)
	if len(r.Flows) != 1 || r.Flows[0].Reason != "it has a rule" {
		t.Errorf("%+v", r.Flows)
	}
}

// A reason comes with every unknown, and Findings has the whole of it.
func TestFindings(t *testing.T) {
	c := lineagetest.New()
	c.Table("public.t", "a", "b", "secret")
	q := selecting(table("t"), ref("a"), ref("secret"), &lineage.Computed{Args: []lineage.Expr{ref("secret"), ref("b")}}, nil, ref("none"))
	protected := func(c lineage.Column) bool { return c.Name == "secret" }
	want := []event.Lineage{event.LineageClean, event.LineageExact, event.LineageDerived, event.LineageClean, event.LineageUnknown}
	check := func(want []event.Lineage) {
		t.Helper()
		for i, f := range analyze(t, q, c).For(protected) {
			if f.Lineage != want[i] || (f.Lineage == event.LineageUnknown) != (f.Reason != "") {
				t.Errorf("field %d: %+v", i, f)
			}
		}
	}
	check(want)
	q.Order = []lineage.Key{{Expr: ref("t", "secret")}}
	want[0], want[3] = event.LineageFiltered, event.LineageFiltered
	check(want)
	if e := analyze(t, q, c).For(protected)[0].Rows; !e.Ordered || e.Matched {
		t.Errorf("sorted: %+v", e)
	}
	q.Limited = true
	check(want)
	if e := analyze(t, q, c).For(protected)[0].Rows; e.Ordered || !e.Matched {
		t.Errorf("sorted and limited: %+v", e)
	}
}

// What a statement asks for takes no more than so many bytes, those that are thrown
// away included, and so not more than so much work. What is too much is unknown.
func TestBounds(t *testing.T) {
	c := lineagetest.New()
	var wide []string
	for i := range 1600 {
		wide = append(wide, fmt.Sprint("c", i))
	}
	c.Table("public.wide", wide...)
	loop := c.View("public.loop", nil, "a")
	loop.Definition = selecting(table("loop"), ref("a"))
	self := &lineage.Function{Schema: "public", Name: "self", Least: 1, Kind: lineage.Scalar, Names: []string{"x"}}
	call := &lineage.Call{Function: lineage.Name{Name: "self"}, Args: []lineage.Expr{ref("x")}}
	self.Body = &lineage.Query{Body: &lineage.Select{Targets: results(&lineage.Computed{Args: []lineage.Expr{call, call}})}}
	c.Function(self)
	star := &lineage.Ref{Star: true}

	twice := func(name string) lineage.Source {
		return &lineage.Join{Left: table(name), Right: &lineage.Table{Name: lineage.Name{Name: name}, Alias: lineage.Alias{Name: "again"}}}
	}
	doubled := selecting(twice("w20"), star)
	doubled.With.Queries = append(doubled.With.Queries, lineage.Common{Name: "w0", Statement: selecting(table("wide"), ref("c0"))})
	for i := range 20 {
		doubled.With.Queries = append(doubled.With.Queries, lineage.Common{Name: fmt.Sprint("w", i+1), Statement: selecting(twice(fmt.Sprint("w", i)), star)})
	}
	var deep lineage.Expr = ref("c0")
	for range 100_000 {
		deep = &lineage.Computed{Args: []lineage.Expr{deep}}
	}
	nested := selecting(table("wide"), ref("c0"))
	for range 1000 {
		nested = selecting(&lineage.Derived{Query: nested, Alias: lineage.Alias{Name: "d"}}, ref("r0"))
	}
	rows := make([]lineage.Expr, 1600)
	for i := range rows {
		rows[i] = ref("wide")
	}
	recursive := func(of lineage.Statement, name string) *lineage.Query {
		return &lineage.Query{With: lineage.With{Recursive: true, Queries: []lineage.Common{{Name: name, Statement: &lineage.Query{Body: &lineage.Combined{
			Left: selecting(table("wide"), ref("c0")), Right: selecting(&lineage.Derived{Query: of, Alias: lineage.Alias{Name: "d"}}, ref("r0")),
		}}}}}, Body: &lineage.Select{From: []lineage.Source{table(name)}, Targets: results(ref("r0"))}}
	}
	loops := recursive(selecting(table("l0"), ref("r0")), "l0")
	for i := range 30 {
		loops = recursive(loops, fmt.Sprint("l", i+1))
	}
	keys := c.Table("public.keys", "id", "n")
	keys.Columns[0] = lineage.RelationColumn{Column: keys.Columns[0].Column, Type: lineage.Name{Schema: "pg_catalog", Name: "int4"}, Unique: true, Required: true, Primary: true}
	c.Function(&lineage.Function{Schema: "public", Name: "total", Kind: lineage.Aggregate, Sums: 5})
	var joined lineage.Source = table("keys")
	for i := range 1000 {
		joined = &lineage.Join{Left: joined, Right: &lineage.Table{Name: lineage.Name{Name: "keys"}, Alias: lineage.Alias{Name: fmt.Sprint("k", i)}},
			On: &lineage.Operation{Operator: lineage.Name{Name: "="}, Args: []lineage.Expr{ref("keys", "id"), ref(fmt.Sprint("k", i), "id")}}}
	}
	joins := selecting(joined, ref("none"))
	for i := range 1000 {
		of := fmt.Sprint("k", i)
		total := &lineage.Call{Function: lineage.Name{Name: "total"}, Args: []lineage.Expr{ref(of, "n")}}
		body := joins.Body.(*lineage.Select)
		body.Targets = append(body.Targets, results(total)...)
		body.Group = append(body.Group, lineage.Key{Expr: ref(of, "id")}, lineage.Key{Expr: ref(of, "n")})
		body.Floors = append(body.Floors, lineage.Floor{Operator: lineage.Name{Name: ">="}, Least: 5, Count: total})
	}
	for name, s := range map[string]lineage.Statement{
		"joins":                   joins,
		"a view of itself":        selecting(table("loop"), ref("a")),
		"a function of itself":    selecting(table("wide"), &lineage.Call{Function: lineage.Name{Name: "self"}, Args: []lineage.Expr{ref("c0")}}),
		"columns that double":     doubled,
		"deep expressions":        selecting(table("wide"), deep),
		"deep queries":            nested,
		"wide rows in each field": selecting(table("wide"), rows...),
		"loops in loops":          loops,
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r := analyze(t, s, c)
			runtime.ReadMemStats(&after)
			if n := after.TotalAlloc - before.TotalAlloc; n > 1<<30 {
				t.Errorf("allocated %d MB", n>>20)
			}
			if name == "a function of itself" { // is followed until nothing is added
				if f := r.Fields; len(f) != 1 || len(f[0].Exact) != 0 || f[0].Reason != "" {
					t.Errorf("%+v", f)
				}
				return
			}
			known := r.Unknown == "" && !slices.ContainsFunc(r.Fields, func(f lineage.Field) bool { return f.Reason != "" })
			if known {
				t.Errorf("is known: %d fields", len(r.Fields))
			}
		})
	}
}

// A catalogue that fails ends the analysis with its error.
func TestCatalogFails(t *testing.T) {
	if _, err := lineage.Analyze(context.Background(), selecting(table("t"), ref("a")), failing{lineagetest.New()}); err == nil {
		t.Error("there is a result")
	}
}

type failing struct{ *lineagetest.Catalog }

func (failing) Relations(context.Context, lineage.Name) ([]*lineage.Relation, error) {
	return nil, context.DeadlineExceeded
}
