package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
)

// results are the tests of a suite and how each ended: pass, fail or skip. A
// test is "package.Test" with the package's path in the module.
type results map[string]result

// directory is a test's temporary directory, which some put into names.
var directory = regexp.MustCompile(regexp.QuoteMeta(os.TempDir()) + `/[^/]+/\d+`)

type result struct {
	end    string
	output string // of a test that failed
}

// readResults reads what go test -json prints.
func readResults(r io.Reader) (results, error) {
	all := results{}
	output := map[string]*strings.Builder{}
	for d := json.NewDecoder(r); ; {
		var e struct{ Action, Package, Test, Output, ImportPath string }
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the tests' output: %w", err)
		}
		name := e.Package + "." + directory.ReplaceAllString(e.Test, "TMP")
		switch e.Action {
		case "output", "build-output":
			name = max(name, e.ImportPath+".") // a build has no package
			if output[name] == nil {
				output[name] = &strings.Builder{}
			}
			output[name].WriteString(e.Output)
		case "pass", "skip", "fail":
			if e.Test == "" && e.Action != "fail" {
				continue // a package's tests are counted one by one
			}
			all[name] = result{end: e.Action}
			if b := output[name]; b != nil && e.Action == "fail" {
				all[name] = result{e.Action, b.String()}
			}
		}
	}
}

// String counts the ends.
func (r results) String() string {
	n := map[string]int{}
	for name, t := range r {
		if !strings.HasSuffix(name, ".") {
			n[t.end]++
		}
	}
	return fmt.Sprintf("%d pass, %d fail, %d skip", n["pass"], n["fail"], n["skip"])
}

// An exception is a test that may end otherwise through the gate.
type exception struct {
	name, end, reason string
	used              bool
}

// parseExceptions reads lines of a test's name, how it ends through the gate,
// and the reason. A line that begins with blanks goes on with the reason, and
// one that begins with # is a comment.
func parseExceptions(text string) ([]*exception, error) {
	var all []*exception
	for line := range strings.Lines(text) {
		switch fields := strings.Fields(line); {
		case len(fields) == 0 || fields[0][0] == '#':
		case line[0] == ' ' && len(all) > 0:
			all[len(all)-1].reason += " " + strings.Join(fields, " ")
		case len(fields) < 2:
			return nil, fmt.Errorf("%q is no exception", line)
		default:
			all = append(all, &exception{name: fields[0], end: fields[1], reason: strings.Join(fields[2:], " ")})
		}
	}
	for _, e := range all {
		if e.reason == "" {
			return nil, fmt.Errorf("exception %s has no reason", e.name)
		}
	}
	return all, nil
}

// compare tells of every test that ended otherwise through the gate, and of
// exceptions that there was no need for where all tests ran. A test that fails
// because one of its subtests does is not told of.
func compare(direct, gate results, exceptions []*exception, all bool) error {
	names := maps.Clone(direct)
	maps.Copy(names, gate)
	var wrong []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		d, g := direct[name], gate[name]
		if d.end == g.end || g.end == "fail" && failsBelow(gate, direct, name) {
			continue
		}
		i := slices.IndexFunc(exceptions, func(e *exception) bool { return e.name == name && e.end == g.end })
		if i >= 0 {
			exceptions[i].used = true
			continue
		}
		wrong = append(wrong, fmt.Sprintf("%s: %q directly, %q through the gate\n%s", name, d.end, g.end, indent(g.output+d.output)))
	}
	for _, e := range exceptions {
		if all && !e.used {
			wrong = append(wrong, fmt.Sprintf("%s: does not end with %s through the gate alone: remove the exception", e.name, e.end))
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%d differences\n%s", len(wrong), strings.Join(wrong, "\n"))
	}
	return nil
}

// failsBelow reports whether a part of a test, or a test of a package, fails
// through the gate that does not directly: it is told of then.
func failsBelow(gate, direct results, name string) bool {
	for other, r := range gate {
		if r.end != "fail" || direct[other].end == "fail" || other == name {
			continue
		}
		if strings.HasPrefix(other, name+"/") || strings.HasSuffix(name, ".") && strings.HasPrefix(other, name) {
			return true
		}
	}
	return false
}

func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ")
}
