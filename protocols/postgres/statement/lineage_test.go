package statement

import (
	"context"
	"os"
	"strings"
	"testing"

	"gatehouse/core/event"
	"gatehouse/core/lineage"
	"gatehouse/core/lineage/lineagetest"
)

// shop is the schema that the statements in testdata/lineage.txt are about.
func shop(t testing.TB) *lineagetest.Catalog {
	c := lineagetest.New()
	c.Table("public.people", "id", "name", "email", "ssn", "pin", "born", "city", "tags", "doc")
	c.Table("public.orders", "id", "person_id", "total", "state", "note", "placed")
	c.Table("public.items", "order_id", "product", "price", "amount")
	c.Table("public.logs", "id", "at", "message")
	c.Table("public.copies", "id", "name", "email", "ssn")
	c.Table("public.tree", "id", "parent", "label")
	c.View("public.contacts", read(t, "SELECT p.id, p.name, p.email FROM public.people p"), "id", "name", "email")
	c.View("public.masked", read(t, "SELECT p.id, right(p.ssn, 4) FROM public.people p"), "id", "last4")
	c.View("public.nested", read(t, "SELECT m.id, m.last4, c.email AS mail FROM public.masked m JOIN public.contacts c ON m.id = c.id"), "id", "last4", "mail")
	c.View("public.identified", read(t, "SELECT p.id FROM public.people p WHERE p.ssn IS NOT NULL"), "id")
	return c
}

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
	const file = "testdata/lineage.txt"
	golden, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c := shop(t)
	var out strings.Builder
	n := 0
	for block := range strings.SplitSeq(strings.TrimSpace(string(golden)), "\n\n") {
		if strings.HasPrefix(block, "#") {
			out.WriteString(block + "\n\n")
			continue
		}
		sql, want, _ := strings.Cut(block, "\n= ")
		n++
		r, err := lineage.Analyze(context.Background(), read(t, sql), c)
		if err != nil {
			t.Fatal(err)
		}
		got := told(r)
		if want = strings.ReplaceAll(want, "\n= ", "\n"); got != want {
			t.Errorf("%s\ngives\n%s\nnot\n%s", sql, got, want)
		}
		out.WriteString(sql + "\n= " + strings.ReplaceAll(got, "\n", "\n= ") + "\n\n")
	}
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(strings.TrimSpace(out.String())+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d statements", n)
}

// told writes a result down: protected are people's ssn and pin.
func told(r *lineage.Result) string {
	protected := func(c lineage.Column) bool {
		return c.Relation == "public.people" && (c.Name == "ssn" || c.Name == "pin")
	}
	var lines []string
	if r.Unknown != "" {
		lines = append(lines, "unknown: "+r.Unknown)
	}
	for i, f := range r.For(protected) {
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
	s += listed(" matched ", d.Matched) + listed(" ordered ", d.Ordered) + listed(" failing ", d.Failing)
	if d.Reason != "" {
		s += " unknown (" + d.Reason + ")"
	}
	return s
}
