package statement

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	pgquery "github.com/wasilibs/go-pgquery"

	tree "github.com/pganalyze/pg_query_go/v6"
)

// TestValues compares what is told of the values of every text in
// testdata/values.txt with what is written below it.
func TestValues(t *testing.T) {
	compareGolden(t, "testdata/values.txt", func(sql string) string { return describeValues(t, sql) })
}

// describeValues writes one value a line: a constant as it stands in the text,
// or a parameter.
func describeValues(t *testing.T, sql string) string {
	r, err := shared.Analyze(context.Background(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	var lines []string
	line := func(what string, v *Value) {
		s := "= " + strings.ReplaceAll(what, "\n", `\n`) + ":"
		for _, c := range v.Columns {
			s += " " + c.describe()
		}
		switch {
		case v.Known && len(v.Columns) == 0:
			s += " plain"
		case v.Flows:
			s += " flows"
		case !v.Known:
			s += " unknown"
		}
		lines = append(lines, s)
	}
	_, ok := r.Mask(nil, sql, func(b []byte, constant string, v *Value) []byte {
		line(constant, v)
		return b
	})
	if !ok {
		return "= misread"
	}
	for _, n := range slices.Sorted(maps.Keys(r.params)) {
		v := r.Param(n)
		line(fmt.Sprintf("$%d", n), &v)
	}
	return strings.Join(lines, "\n")
}

func (c Column) describe() string {
	s := c.Name
	if s == "" {
		s = "*"
	}
	if c.Position > 0 {
		s = fmt.Sprintf("#%d", c.Position)
	}
	for _, name := range []string{c.Relation, c.Schema} {
		if name != "" {
			s = name + "." + s
		}
	}
	return s
}

// texts are the statements of all the golden files.
func goldenTexts(t testing.TB) (texts []string) {
	for _, name := range []string{"testdata/facts.txt", "testdata/values.txt"} {
		golden, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for block := range strings.SplitSeq(string(golden), "\n\n") {
			sql, _, _ := strings.Cut(block, "\n= ")
			if !strings.HasPrefix(sql, "#") {
				texts = append(texts, sql)
			}
		}
	}
	return texts
}

// The lexer must find the constants that PostgreSQL's own scanner finds.
func TestConstantsAreWhereThePostgresScannerFindsThem(t *testing.T) {
	texts := append(goldenTexts(t), "SELECT 1e-5-2e+3-0x1E-5-1.5E-7-x1e-5, 1.e5", "SELECT a$1$b, $1, $tag$ $x$ $tag$, E'\\'' || e'a' 'b'")
	for _, sql := range texts {
		scanned, err := pgquery.Scan(sql)
		if err != nil {
			continue // not text that is ever masked by its constants
		}
		var want, got []string
		for _, token := range scanned.GetTokens() {
			switch token.GetToken() {
			case tree.Token_SCONST, tree.Token_USCONST, tree.Token_BCONST, tree.Token_XCONST, tree.Token_ICONST, tree.Token_FCONST:
				want = append(want, sql[token.GetStart():token.GetEnd()])
			}
		}
		lex := lexer{text: sql}
		for kind := lex.next(); kind != tokenEnd; kind = lex.next() {
			if kind != tokenString && kind != tokenNumber {
				continue
			}
			constant := lex.token()
			if c := constant[0] | 0x20; c == 'n' { // a key word to the scanner
				constant = constant[1:]
			}
			if before, escape, found := strings.Cut(constant, " UESCAPE "); found {
				got = append(got, before)
				constant = escape
			}
			got = append(got, constant)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s\n%s", sql, diff)
		}
	}
}

// What is masked must be a statement still, that does the same.
func TestMaskedTextsReadTheSame(t *testing.T) {
	ctx := context.Background()
	for _, sql := range goldenTexts(t) {
		r, err := shared.Analyze(ctx, sql)
		if err != nil || r.IsEmpty() || strings.Contains(sql, "interval '1'") {
			continue
		}
		masked, ok := r.Mask([]byte("/* before */ "), sql, func(b []byte, constant string, v *Value) []byte {
			if v.Known && len(v.Columns) == 0 {
				return append(b, constant...)
			}
			return append(b, "'[redacted]'"...)
		})
		if !ok {
			t.Errorf("%s: it is not certain where the constants are", sql)
			continue
		}
		if strings.Contains(string(masked[12:]), "/*") || strings.Contains(string(masked), "--") {
			t.Errorf("%s: comments are left: %s", sql, masked)
		}
		again, err := shared.Analyze(ctx, string(masked))
		if r.Statements[0].Kind == "SELECT" && !r.Statements[0].Opaque && len(r.Statements[0].Settings) == 0 &&
			(err != nil || again.Statements[0].Kind != "SELECT" || !slices.Equal(again.Statements[0].Columns, r.Statements[0].Columns)) {
			t.Errorf("%s: masked, it does something else: %s: %v", sql, masked, err)
		}
	}
}

func TestSameShapeSameValues(t *testing.T) {
	ctx := context.Background()
	for i, sql := range []string{"SELECT 1 FROM shaped WHERE a = 'x' AND b = 5", "SELECT 1 FROM shaped WHERE a = 'much longer' AND b = 123456"} {
		r, err := shared.Analyze(ctx, sql)
		if err != nil {
			t.Fatal(err)
		}
		masked, ok := r.Mask(nil, sql, func(b []byte, _ string, v *Value) []byte {
			return fmt.Append(b, "<", v.Columns, ">")
		})
		if want := "SELECT <[]> FROM shaped WHERE a = <[{ shaped a 0}]> AND b = <[{ shaped b 0}]>"; !ok || string(masked) != want {
			t.Errorf("%d: %s", i, masked)
		}
	}
}

func TestConstantValue(t *testing.T) {
	for constant, want := range map[string]string{
		"'a'": "a", "'a''b'": "a'b", "''": "", "5": "5", "1.5e-3": "1.5e-3", "$$a'b$$": "a'b", "$x$a$$b$x$": "a$$b",
		"E'a'": "?", "'a'\n'b'": "?", "U&'a'": "?", "X'1F'": "?", "'": "?", "$x$": "?", "$$a$": "?",
	} {
		got, certain := ConstantValue(constant)
		if !certain {
			got = "?"
		}
		if got != want {
			t.Errorf("%s is %q, want %q", constant, got, want)
		}
	}
}

// FuzzMask looks for texts that make masking panic, or leave a constant.
func FuzzMask(f *testing.F) {
	for _, sql := range goldenTexts(f) {
		f.Add(sql)
	}
	a := NewAnalyzer(Limits{Text: 4096, Parses: 20})
	f.Fuzz(func(t *testing.T, sql string) {
		r, err := a.Analyze(context.Background(), sql)
		if err != nil {
			return
		}
		masked, ok := r.Mask(nil, sql, func(b []byte, constant string, _ *Value) []byte {
			ConstantValue(constant)
			Names(constant, func(string) bool { return true })
			return append(b, " NULL "...)
		})
		if !ok {
			return
		}
		lex := lexer{text: string(masked)}
		for kind := lex.next(); kind != tokenEnd; kind = lex.next() {
			if kind == tokenString || kind == tokenNumber {
				t.Fatalf("%q left %q", sql, masked)
			}
		}
	})
}
