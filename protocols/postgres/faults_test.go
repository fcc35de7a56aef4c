//go:build faults

package postgres_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A fault is an entry of testdata/property/faults.txt.
type fault struct{ what, file, old, new string }

func readFaults(t *testing.T) (all []fault) {
	t.Helper()
	text, err := os.ReadFile("testdata/property/faults.txt")
	if err != nil {
		t.Fatal(err)
	}
	for block := range strings.SplitSeq(string(text), "\n\n") {
		lines := strings.Split(strings.TrimSpace(block), "\n")
		if len(lines) != 4 || lines[1][0] == '#' {
			continue
		}
		all = append(all, fault{
			strings.TrimPrefix(lines[0], "# "), lines[1],
			strings.TrimPrefix(lines[2], "- "), strings.TrimSpace(strings.TrimPrefix(lines[3], "+")),
		})
	}
	return all
}

// Each fault makes the test with random statements fail. All are in one program, of
// which the environment says which one it has.
func TestRandomStatementsFindFaults(t *testing.T) {
	all := readFaults(t)
	if len(all) < 27 {
		t.Errorf("there are %d faults", len(all))
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	sources, packages := map[string]string{}, map[string]string{}
	for i, f := range all {
		file := filepath.Join(root, f.file)
		if sources[file] == "" {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			sources[file] = string(source)
			packages[filepath.Join(filepath.Dir(file), "faulty.go")] = filepath.Base(filepath.Dir(file))
		}
		if strings.Count(sources[file], f.old) != 1 {
			t.Fatalf("%s has not once %q", f.file, f.old)
		}
		with := f.new
		if !strings.Contains(with, "FAULT") {
			with = "if FAULT { " + f.new + " } else { " + f.old + " }"
		}
		with = strings.ReplaceAll(with, "FAULT", fmt.Sprintf("faulty(%d)", i+1))
		sources[file] = strings.Replace(sources[file], f.old, with, 1)
	}
	for file, name := range packages {
		sources[file] = "package " + name + "\n\nimport (\"os\"; \"strconv\")\n\n" +
			"var fault, _ = strconv.Atoi(os.Getenv(\"GATEHOUSE_FAULT\"))\n\nfunc faulty(n int) bool { return n == fault }\n"
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
	program := filepath.Join(dir, "postgres.test")
	if out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", program, "-overlay", filepath.Join(dir, "overlay.json"), ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	found := 0
	for i, f := range append([]fault{{what: "none"}}, all...) {
		run := exec.CommandContext(t.Context(), program, "-test.run", "^TestLineageHoldsForRandomStatements$", "-statement-seed", "1", "-statements", "1200", "-statement-stop", "1")
		run.Env = append(os.Environ(), fmt.Sprint("GATEHOUSE_FAULT=", i))
		out, err := run.CombinedOutput()
		text := string(out)
		tells := strings.Contains(text, "differ") || strings.Contains(text, "fails for what is protected")
		switch {
		case i == 0 && err != nil:
			t.Fatalf("without a fault: %v\n%s", err, out)
		case i > 0 && err == nil:
			t.Errorf("not found: %s: %s", f.file, f.what)
		case i > 0 && !tells:
			t.Errorf("%s: %s: %s", f.file, f.what, out)
		case i > 0:
			found++
		}
	}
	t.Logf("%d of %d faults were found", found, len(all))
}
