package statement

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
)

// FuzzAnalyze looks for texts that make the analyzer panic, the parser trap, a
// result contradict itself, or an instance unsound for what comes after.
func FuzzAnalyze(f *testing.F) {
	golden, err := os.ReadFile("testdata/facts.txt")
	if err != nil {
		f.Fatal(err)
	}
	for block := range strings.SplitSeq(string(golden), "\n\n") {
		sql, _, _ := strings.Cut(block, "\n= ")
		f.Add(sql)
	}
	a := NewAnalyzer(Limits{Text: 4096, Parses: 20})
	ctx := context.Background()
	f.Fuzz(func(t *testing.T, sql string) {
		r, err := a.Analyze(ctx, sql)
		var syntax *SyntaxError
		if err != nil && !errors.As(err, &syntax) && !errors.Is(err, ErrLimit) {
			t.Fatal(err)
		}
		if err == nil {
			checkResult(t, sql, r)
		}
		checkSound(t, sql)
	})
}

// checkResult checks what holds for every result.
func checkResult(t *testing.T, sql string, r *Result) {
	for i, s := range r.Statements {
		if s.Parent >= i || s.Parent < -1 {
			t.Errorf("statement %d is inside %d", i, s.Parent)
		}
		if s.Kind == "" && !s.Opaque {
			t.Errorf("statement %d has no kind", i)
		}
		if s.Parent >= 0 && s.Runs && !r.Statements[s.Parent].Runs {
			t.Errorf("statement %d runs inside one that does not", i)
		}
		if (s.Parent < 0) != (s.Within == "") {
			t.Errorf("statement %d inside %d is within %q", i, s.Parent, s.Within)
		}
	}
	for i := range r.Len() {
		if start, end := r.Span(sql, i); start < 0 || start > end || end > len(sql) {
			t.Errorf("statement %d is at %d to %d of %d", i, start, end, len(sql))
		}
	}
}
