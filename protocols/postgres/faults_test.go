//go:build faults

package postgres_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gatehouse/protocols/postgres/statement"
)

var onlyFault = flag.Int("fault", 0, "which fault alone is to be found, by its number")

// A fault is an entry of testdata/property/faults.txt.
type fault struct{ what, file, in, old, new string }

func readFaults(t *testing.T) (all []fault) {
	t.Helper()
	text, err := os.ReadFile("testdata/property/faults.txt")
	if err != nil {
		t.Fatal(err)
	}
	for block := range strings.SplitSeq(string(text), "\n\n") {
		lines := strings.Split(strings.TrimSpace(block), "\n")
		if len(lines) < 3 || lines[1][0] == '#' {
			continue
		}
		f := fault{what: strings.TrimPrefix(lines[0], "# "), old: strings.TrimPrefix(lines[2], "- ")}
		f.file, f.in, _ = strings.Cut(lines[1], " ")
		if f.new = "without(FAULT, " + f.old + ")"; len(lines) > 3 {
			f.new = strings.TrimSpace(strings.TrimPrefix(lines[3], "+"))
		}
		if !strings.Contains(f.new, "FAULT") {
			f.new = "if FAULT { " + f.new + " } else { " + f.old + " }"
		}
		all = append(all, f)
	}
	return all
}

// put puts f, as the n-th, into a source.
func (f *fault) put(source string, n int) (string, error) {
	receiver, name, method := strings.Cut(f.in, ".")
	if !method {
		receiver, name = `\w+`, receiver
	}
	at := regexp.MustCompile(`(?m)^func (\(\w+ \*?` + receiver + `\) )?` + name + `\(`).FindStringIndex(source)
	if at == nil {
		return "", fmt.Errorf("%s has no %s", f.file, f.in)
	}
	body, rest, _ := strings.Cut(source[at[0]:], "\n}\n")
	if strings.Count(body, f.old) != 1 {
		return "", fmt.Errorf("%s: %s has not once %q", f.file, f.in, f.old)
	}
	with := strings.ReplaceAll(f.new, "FAULT", fmt.Sprintf("faulty(%d)", n))
	return source[:at[0]] + strings.Replace(body, f.old, with, 1) + "\n}\n" + rest, nil
}

// setFault says which fault the program has. It is nil in one that has none: the
// program that this test makes of itself has all, of which one at a time is one.
var setFault func(n int)

// Each fault makes random statements show what is protected.
func TestRandomStatementsFindFaults(t *testing.T) {
	all := readFaults(t)
	if len(all) < 396 {
		t.Errorf("there are %d faults", len(all))
	}
	if setFault != nil {
		findFaults(t, all)
		return
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	sources := map[string]string{filepath.Join(root, "protocols/postgres/faulty_test.go"): `package postgres_test
		import ("gatehouse/core/lineage"; "gatehouse/protocols/postgres/statement")
		func init() { setFault = func(n int) { lineage.Fault, statement.Fault = n, n } }`}
	for _, dir := range []string{"core/lineage", "protocols/postgres/statement"} {
		sources[filepath.Join(root, dir, "faulty.go")] = "package " + filepath.Base(dir) + `
			var Fault int
			func faulty(n int) bool { return n == Fault }
			func without[T any](faulty bool, v T) (none T) { if faulty { return none }; return v }`
	}
	for i, f := range all {
		file := filepath.Join(root, f.file)
		if sources[file] == "" {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			sources[file] = string(source)
		}
		if sources[file], err = f.put(sources[file], i+1); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	replace := map[string]string{}
	for file, source := range sources {
		replace[file] = filepath.Join(dir, fmt.Sprint(len(replace), ".go"))
		if err := os.WriteFile(replace[file], []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	run := exec.CommandContext(t.Context(), "go", "test", "-tags", "faults", "-overlay", filepath.Join(dir, "overlay.json"),
		"-v", "-run", "^TestRandomStatementsFindFaults$", ".", "-statements", fmt.Sprint(*statements), "-statement-seed", fmt.Sprint(*statementSeed), "-fault", fmt.Sprint(*onlyFault))
	out, err := run.CombinedOutput()
	if t.Logf("%s", out); err != nil {
		t.Error(err)
	}
}

// findFaults tries random statements in all databases once, and looks whether what
// each fault says of them is wrong.
func findFaults(t *testing.T, all []fault) {
	g := newGenerator(*statementSeed)
	g.points = 85
	dbs, lineageOf := newDatabases(t)
	trials := make([]trial, max(*statements, 4000))
	for i := range trials {
		trials[i] = dbs.try(t.Context(), g, 0, 1, 2, 3)
	}
	wrong := func(a *statement.Analyzer, x *trial) string {
		r, err := lineageOf(a, x.sql, x.path)
		for i := 0; i < len(dbs) && err == nil; i++ {
			for j := range i {
				if problem := x.wrong(r, j, i, map[string]int{}); problem != "" {
					return problem
				}
			}
		}
		return ""
	}
	setFault(0)
	trials = slices.DeleteFunc(trials, func(x trial) bool {
		problem := wrong(analyzer(), &x)
		if problem != "" {
			t.Errorf("without a fault: %s\n%s", problem, x.sql)
		}
		return problem != ""
	})
	found := 0
	for n, f := range all {
		if *onlyFault > 0 && n+1 != *onlyFault {
			continue
		}
		setFault(n + 1)
		a := analyzer()
		if strings.Contains(f.file, "/statement/") { // an analyzer keeps what it read
			a = statement.NewAnalyzer(statement.Limits{})
		}
		problem := ""
		i := slices.IndexFunc(trials, func(x trial) bool { problem = wrong(a, &x); return problem != "" })
		if i < 0 {
			t.Errorf("not found: %d %s %s: %s", n+1, f.file, f.in, f.what)
			continue
		}
		found++
		t.Logf("%d %s %s: %s: %s\n%s", n+1, f.file, f.in, f.what, problem, trials[i].sql)
	}
	t.Logf("%d of %d faults were found", found, len(all))
}
