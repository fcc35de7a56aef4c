package statement

import (
	"context"
	"os"
	"strings"
	"testing"

	"gatehouse/core/event"
	"gatehouse/core/lineage"
)

// read returns what a statement is to package lineage.
func read(t testing.TB, sql string) lineage.Statement {
	t.Helper()
	r, err := shared.Analyze(context.Background(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return r.Query(0)
}

var kinds = map[event.Lineage]string{
	event.LineageUnknown: "unknown", event.LineageExact: "exact", event.LineageDerived: "derived",
	event.LineageFiltered: "filtered", event.LineageClean: "clean",
}

// TestLineage compares what statements depend on with what testdata/lineage.txt
// says: a statement, then a line for each field, its rows, and what it writes.
func TestLineage(t *testing.T) {
	c := shop(t)
	blocks, comments := goldenStatements(t)
	var out strings.Builder
	for i, block := range blocks {
		sql, want := block[0], block[1]
		r, err := lineage.Analyze(context.Background(), read(t, sql), c)
		if err != nil {
			t.Fatal(err)
		}
		got := told(r)
		if got != want {
			t.Errorf("%s\ngives\n%s\nnot\n%s", sql, got, want)
		}
		out.WriteString(comments[i] + sql + "\n= " + strings.ReplaceAll(got, "\n", "\n= ") + "\n\n")
	}
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile("testdata/lineage.txt", []byte(strings.TrimSpace(out.String())+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Texts of one shape share what is told of them, but for the places of results,
// which are literals.
func TestLineageOfShapes(t *testing.T) {
	c := shop(t)
	one, two := read(t, "SELECT id FROM people WHERE ssn = 'x' LIMIT 10"), read(t, "SELECT id FROM people WHERE ssn = 'yy' LIMIT 99")
	if one != two {
		t.Error("a shape is translated for each text")
	}
	for _, by := range []string{"ORDER BY %s LIMIT 1", "GROUP BY ROLLUP (1, %s)", "GROUP BY GROUPING SETS (1, (%s))"} {
		for place, matches := range map[string]bool{"1": false, "2": true} {
			sql := "SELECT id, ssn FROM people " + strings.ReplaceAll(by, "%s", place)
			r, err := lineage.Analyze(context.Background(), read(t, sql), c)
			if err != nil {
				t.Fatal(err)
			}
			if e := r.Rows.On(isProtected); e.Matched != matches {
				t.Errorf("%s: %+v", sql, e)
			}
		}
	}
}

// isProtected is whether a column is one of people's ssn and pin.
func isProtected(c lineage.Column) bool {
	return c.Relation == "public.people" && (c.Name == "ssn" || c.Name == "pin")
}

// told writes a result down.
func told(r *lineage.Result) string {
	var lines []string
	if r.Unknown != "" {
		lines = append(lines, "unknown: "+r.Unknown)
	}
	for i, f := range r.For(isProtected) {
		line := r.Fields[i].Name + ": " + kinds[f.Lineage]
		field := r.Fields[i]
		line += listed(" =", field.Exact) + listed(" ~", field.Derived)
		if d := dependence(field.Rows); d != "" {
			line += " of" + d
		}
		if f.Reason != "" {
			line += " (" + f.Reason + ")"
		}
		lines = append(lines, line)
	}
	if d := dependence(r.Rows); d != "" {
		lines = append(lines, "rows:"+d)
	}
	for _, f := range r.Flows {
		to := short(f.To)
		if f.By != "" {
			to = f.By
		}
		line := to + " <-" + listed(" =", f.Exact) + listed(" ~", f.Derived)
		if d := dependence(f.Rows); d != "" {
			line += " of" + d
		}
		if f.Reason != "" {
			line += " (" + f.Reason + ")"
		}
		lines = append(lines, line)
	}
	if lines == nil {
		return "nothing"
	}
	return strings.Join(lines, "\n")
}

func short(c lineage.Column) string { return strings.TrimPrefix(c.Relation, "public.") + "." + c.Name }

func listed(what string, columns []lineage.Column) string {
	if len(columns) == 0 {
		return ""
	}
	for i, c := range columns {
		if i > 0 {
			what += ","
		}
		what += short(c)
	}
	return what
}

func dependence(d lineage.Dependence) string {
	s := ""
	for _, c := range d.Compared {
		s += " compared"
		if !c.Whole {
			s += " in part"
		}
		if c.Times > 1 {
			s += " often"
		}
		s += " " + short(c.Column)
	}
	s += listed(" matched ", d.Matched) + listed(" counted ", d.Counted) + listed(" ordered ", d.Ordered) + listed(" failing ", d.Failing)
	if d.Reason != "" {
		s += " unknown (" + d.Reason + ")"
	}
	return s
}
