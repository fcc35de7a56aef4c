package statement

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCopyOf(t *testing.T) {
	for _, tt := range []struct {
		sql  string
		want *Copy
	}{
		{"COPY t TO STDOUT", &Copy{Select: `SELECT * FROM ONLY "t"`}},
		{`COPY d.s."T""x" (a, "B") TO STDOUT`, &Copy{Select: `SELECT "a", "B" FROM ONLY "d"."s"."T""x"`, Columns: []string{"a", "B"}}},
		{"copy /* ( */ (SELECT ')', a AS b, t.c FROM t) TO STDOUT", &Copy{Query: true,
			Select: strings.Repeat(" ", 14) + "SELECT ')', a AS b, t.c FROM t", Constants: []bool{true, false, false}}},
		{"/* é */ COPY (TABLE t) TO STDOUT", &Copy{Query: true, Select: strings.Repeat(" ", 14) + "TABLE t"}},
		{"COPY ((SELECT a, t.b FROM t) UNION SELECT 1, 2 -- )\n) TO STDOUT", &Copy{Query: true, Columns: []string{"a", "b"},
			Select: strings.Repeat(" ", 6) + "(SELECT a, t.b FROM t) UNION SELECT 1, 2 -- )\n"}},
		{"COPY (DELETE FROM t RETURNING id) TO STDOUT", &Copy{Query: true, Columns: []string{"id"}, Select: strings.Repeat(" ", 6) + "DELETE FROM t RETURNING id", Constants: []bool{false}}},
		{"COPY (SELECT * FROM t) TO STDOUT", &Copy{Query: true, Select: strings.Repeat(" ", 6) + "SELECT * FROM t"}},
		{"COPY t (a) FROM STDIN WITH (FORMAT csv, HEADER, DELIMITER ';', FORCE_NOT_NULL (a, b), ON_ERROR ignore)", &Copy{In: true, Columns: []string{"a"}, Options: []CopyOption{
			{Name: "format", Value: "csv"}, {Name: "header", Value: "true"}, {Name: "delimiter", Value: ";"},
			{Name: "force_not_null", Value: "true", List: []string{"a", "b"}}, {Name: "on_error", Value: "ignore"}}}},
		{"COPY t TO STDOUT DELIMITER '|' NULL E'\\t' CSV HEADER QUOTE '''' ESCAPE 'x' FORCE QUOTE *", &Copy{Select: `SELECT * FROM ONLY "t"`, Options: []CopyOption{
			{Name: "delimiter", Value: "|"}, {Name: "null", Value: "\t"}, {Name: "format", Value: "csv"}, {Name: "header", Value: "true"},
			{Name: "quote", Value: "'"}, {Name: "escape", Value: "x"}, {Name: "force_quote", Value: "true", All: true}}}},
		{"COPY BINARY t TO STDOUT", &Copy{Select: `SELECT * FROM ONLY "t"`, Options: []CopyOption{{Name: "format", Value: "binary"}}}},
		{"COPY t TO STDOUT (HEADER 0, NULL 1.50, FREEZE off)", &Copy{Select: `SELECT * FROM ONLY "t"`, Options: []CopyOption{
			{Name: "header", Value: "0"}, {Name: "null", Value: "1.50"}, {Name: "freeze", Value: "off"}}}},
		{"COPY t TO '/tmp/x'", nil},
		{"COPY t FROM PROGRAM 'x'", nil},
		{"SELECT 1", nil},
	} {
		if diff := cmp.Diff(tt.want, analyze(t, tt.sql).CopyOf(0)); diff != "" {
			t.Errorf("%s:\n%s", tt.sql, diff)
		}
	}
}

func TestCopyOfSeveralStatements(t *testing.T) {
	sql := "SELECT 'é'; COPY (SELECT a FROM t) TO STDOUT; COPY u FROM STDIN"
	r := analyze(t, sql)
	if r.CopyOf(0) != nil || r.CopyOf(3) != nil || r.CopyOf(-1) != nil {
		t.Error("something that is no COPY copies")
	}
	if c := r.CopyOf(1); c == nil || c.Select != strings.Repeat(" ", 18)+"SELECT a FROM t" {
		t.Errorf("got %+v", c)
	}
	if c := r.CopyOf(2); c == nil || !c.In {
		t.Errorf("got %+v", c)
	}
}
