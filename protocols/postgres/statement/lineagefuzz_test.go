package statement

import (
	"context"
	"os"
	"strings"
	"testing"

	"gatehouse/core/lineage"
	"gatehouse/core/lineage/lineagetest"
)

// corpora are the statements that other tests send to servers.
func corpora(t testing.TB) (all []string) {
	t.Helper()
	for _, name := range []string{"masking.txt", "masking18.txt", "guard/corpus.txt", "ordinary/business.txt", "ordinary/tools.txt"} {
		text, err := os.ReadFile("../testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(name, "ordinary") { // before it are its fields
				_, line, _ = strings.Cut(line, " ")
			}
			if !strings.HasPrefix(line, "#") {
				all = append(all, strings.TrimSpace(line))
			}
		}
	}
	return all
}

// lineageShop is a schema for corpora and fuzzers.
func lineageShop(t testing.TB) *lineagetest.Catalog {
	t.Helper()
	c := shop(t)
	c.Function(&lineage.Function{Schema: "public", Name: "total", Least: 1, Kind: lineage.Aggregate, Sums: 4})
	return c
}

// What holds for every result holds for those of the corpora, whatever of them a
// schema has.
func TestLineageOfCorpora(t *testing.T) {
	c := lineageShop(t)
	for _, sql := range corpora(t) {
		lineageHolds(t, shared, c, sql)
	}
}

// FuzzLineage looks for statements that make the translation or the analysis of
// lineage panic, contradict itself, or take steps without end.
func FuzzLineage(f *testing.F) {
	blocks, _ := goldenStatements(f)
	for _, b := range blocks {
		f.Add(b[0])
	}
	for i, sql := range corpora(f) {
		if i%20 == 0 { // more would only delay the fuzzer
			f.Add(sql)
		}
	}
	f.Add("SELECT p.city, total(p.pin) FROM people p JOIN orders o ON p.id = o.id, copies c WHERE c.id = o.id GROUP BY p.city HAVING count(p.pin) >= 4 AND 4 <= count(*)")
	c := lineageShop(f)
	a := NewAnalyzer(Limits{Text: 4096, Parses: 20})
	f.Fuzz(func(t *testing.T, sql string) { lineageHolds(t, a, c, sql) })
}

// lineageHolds checks the results of a text's statements, if it has some.
func lineageHolds(t *testing.T, a *Analyzer, c *lineagetest.Catalog, sql string) {
	facts, err := a.Analyze(context.Background(), sql)
	if err != nil {
		return
	}
	for i := range facts.Len() {
		r, err := lineage.Analyze(context.Background(), facts.Query(i), c)
		if err != nil {
			t.Fatalf("%q: %v", sql, err)
		}
		checkLineage(t, r)
	}
}

// checkLineage checks what holds for every result.
func checkLineage(t *testing.T, r *lineage.Result) {
	if r.Unknown != "" && len(r.Fields) > 0 {
		t.Error("fields are known and are not")
	}
	findings := r.For(isProtected)
	if len(findings) != len(r.Fields) {
		t.Errorf("%d findings of %d fields", len(findings), len(r.Fields))
	}
	for i, f := range findings {
		if kinds[f.Lineage] == "unknown" && f.Reason == "" {
			t.Errorf("field %d is unknown for no reason", i)
		}
		if kinds[f.Lineage] == "exact" && len(r.Fields[i].Exact) == 0 {
			t.Errorf("field %d is exact and of no column", i)
		}
	}
}

// BenchmarkLineage measures what lineage costs beside parsing: each statement is
// parsed, translated or analyzed afresh.
func BenchmarkLineage(b *testing.B) {
	c := shop(b)
	for name, sql := range map[string]string{
		"point": "SELECT id, name, ssn FROM people WHERE id = 1",
		"join":  "SELECT o.id, o.total, p.name FROM orders o JOIN people p ON p.id = o.person_id WHERE o.state = 'open' AND o.total > 10 ORDER BY o.id LIMIT 10",
		"report": "WITH recent AS (SELECT person_id, sum(total) AS total, count(*) AS n FROM orders WHERE placed > now() - interval '30 days' GROUP BY person_id) " +
			"SELECT p.city, count(*), sum(r.total), max(p.name) FILTER (WHERE r.n > 3), rank() OVER (ORDER BY sum(r.total) DESC) FROM people p JOIN recent r ON r.person_id = p.id LEFT JOIN nested x USING (id) " +
			"WHERE p.active AND EXISTS (SELECT 1 FROM logs l WHERE l.id = p.id) GROUP BY p.city HAVING count(*) > 1 ORDER BY 3 DESC",
	} {
		s := read(b, sql)
		parsed, err := shared.parser.parse(context.Background(), sql)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name+"/parse", func(b *testing.B) {
			for b.Loop() {
				_, _ = shared.parser.parse(context.Background(), sql)
			}
		})
		b.Run(name+"/translate", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				t := translator{}
				t.statement(message(parsed.GetStmts()[0].GetStmt()))
			}
		})
		b.Run(name+"/analyze", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := lineage.Analyze(context.Background(), s, c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
