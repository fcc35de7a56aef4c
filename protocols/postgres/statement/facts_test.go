package statement

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/core/event"
)

var update = flag.Bool("update", false, "write testdata/facts.txt with the facts as they are")

// shared is one analyzer for all tests, as a process has one.
var shared = NewAnalyzer(Limits{Parses: 200})

func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.fuzz").Value.String() != "" {
		shared = NewAnalyzer(Limits{Parses: 200, Instances: 1}) // inputs come one by one
	}
	if err := shared.Warm(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestFacts compares the facts of every text in testdata/facts.txt with those
// written below it.
func TestFacts(t *testing.T) { compareGolden(t, "testdata/facts.txt", describe) }

// compareGolden compares what describe tells of every text in a file with what is
// written below it.
func compareGolden(t *testing.T, file string, describe func(sql string) string) {
	t.Helper()
	golden, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, block := range strings.Split(strings.TrimRight(string(golden), "\n"), "\n\n") {
		if strings.HasPrefix(block, "#") {
			fmt.Fprintf(&out, "%s\n\n", block)
			continue
		}
		sql, want, _ := strings.Cut(block, "\n= ")
		if want != "" {
			want = "= " + want
		}
		got := describe(sql)
		fmt.Fprintf(&out, "%s\n%s\n\n", sql, got)
		if !*update && got != want {
			t.Errorf("%s\n%s", sql, cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")))
		}
	}
	if *update {
		if err := os.WriteFile(file, []byte(strings.TrimRight(out.String(), "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func describe(sql string) string {
	r, err := shared.Analyze(context.Background(), sql)
	if err != nil {
		return "= error: " + err.Error()
	}
	if r.IsEmpty() {
		return "= empty"
	}
	return facts(r.Statements)
}

// facts writes statements as testdata has them: one a line, indented by what
// contains them.
func facts(statements []event.Statement) string {
	var lines []string
	depth := make([]int, len(statements))
	for i, s := range statements {
		if s.Parent >= 0 {
			depth[i] = depth[s.Parent] + 1
		}
		var line strings.Builder
		line.WriteString("= " + strings.Repeat("  ", depth[i]))
		if s.Within != "" {
			line.WriteString(s.Within + ": ")
		}
		line.WriteString(s.Kind)
		if !s.Runs {
			line.WriteString(" (not run)")
		}
		list := func(name string, values []string) {
			if len(values) > 0 {
				fmt.Fprintf(&line, " %s=%s", name, strings.Join(values, ","))
			}
		}
		list("writes", objectNames(s.Writes))
		list("reads", objectNames(s.Reads))
		list("columns", s.Columns)
		list("functions", s.Functions)
		list("operators", s.Operators)
		list("types", s.Types)
		list("settings", s.Settings)
		list("names", s.Names)
		list("options", s.Options)
		switch s.Scope {
		case event.ScopeAll:
			line.WriteString(" ALL")
		case event.ScopeRestricted:
			line.WriteString(" restricted")
		}
		if s.Opaque {
			line.WriteString(" OPAQUE")
		}
		lines = append(lines, line.String())
	}
	return strings.Join(lines, "\n")
}

func objectNames(list []event.Object) []string {
	var names []string
	for _, o := range list {
		names = append(names, o.String())
	}
	return names
}
