package cases_test

import (
	"context"
	"strings"
	"testing"

	"gatehouse/core/event"
	"gatehouse/plugins/cases"
	"gatehouse/plugins/host"
	"gatehouse/plugins/plugintest"
)

func parse(t *testing.T, text string) *cases.File {
	t.Helper()
	f, err := cases.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// What differs from what a case expects is reported. The cases say of what, in
// their names; "" is nothing.
func TestResults(t *testing.T) {
	for example, text := range map[string]string{
		"shadow": `
config: {group: a}
session: {principal: {groups: [a]}}
cases:
  - {name: "", request: {statements: [{kind: INSERT, writes: [t]}]}, verdict: {action: block}}
  - {name: 'action: got block (rule "shadow/write": members of a only read), want allow', request: {statements: [{kind: INSERT, writes: [t]}]}, verdict: {action: allow}}
  - {name: "rule: got shadow/write, want other", request: {statements: [{kind: INSERT, writes: [t]}]}, verdict: {action: block, rule: other}}
  - {name: "reason: got", request: {statements: [{kind: INSERT, writes: [t]}]}, verdict: {action: block, reason: other}}
  - {name: "labels: got [], want [{a b} {a c}]", request: {}, verdict: {action: allow, labels: {a: [b, c]}}}
  - {name: "", config: {group: b}, request: {statements: [{kind: INSERT, writes: [t]}]}, verdict: {action: allow}}
  - {name: "", session: {principal: {groups: [b]}}, request: {statements: [{kind: INSERT, writes: [t]}]}, verdict: {action: allow}}
  - {name: "action: got block", fields: [{name: a}], upload: [[null]], verdict: {action: allow}}
  - {name: "note: got 1001 rows, want none", outcome: {rows: 1001}}
  - {name: "note: got none, want one", outcome: {rows: 1000}, note: {}}
  - {name: "note: got 1001 rows, want many", outcome: {rows: 1001}, note: {text: many}}
  - {name: "labels: got [{large true}], want []", outcome: {rows: 1001}, note: {labels: {}}}
  - {name: "note: got a reader's session, want none", closes: true}
  - {name: the plugin has no hook for this, fields: [{name: a}], rows: [[x]], cells: [[x]]}
  - {name: "", fields: [{name: a}], rows: [[x]], fails: no hook}
  - {name: does not fail, request: {}, fails: something}
  - {name: "fails otherwise: the plugin has no hook for this", fields: [{name: a}], fails: something}
`,
		"mask-field": `
config: {columns: [a.b.c]}
cases:
  - {name: "treatments: got [keep_last:4], want [pass]", fields: [{name: c, origins: [a.b.c], lineage: exact}], treatments: [pass]}
  - {name: 'cells: got [["[redacted]"],[null]], want [["*****"],["x"]]', fields: [{name: c, origins: [a.b.c], lineage: derived}], rows: [[12345], [null]], cells: [["*****"], [x]]}
  - {name: "", fields: [{name: c, origins: [a.b.c], lineage: exact}], rows: [[123456], [null]], cells: [["**3456"], [null]]}
  - {name: the plugin has no hook for this, request: {}, verdict: {action: allow}}
`,
	} {
		wasm := plugintest.BuildExample(t, "../../examples/plugins/"+example+"/c")
		results, err := parse(t, text).Run(t.Context(), plugintest.Host(t, host.Options{}), wasm)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results {
			got := ""
			if r.Err != nil {
				got = r.Err.Error()
			}
			if !strings.HasPrefix(got, r.Name) || r.Name == "" && got != "" {
				t.Errorf("%s: got %q, want %q", example, got, r.Name)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "there are no cases",
		"cases: [{name: a, requests: {}}]":     "requests",
		"cases: [{name: a}]":                   `case 1, "a": needs one of`,
		"cases: [{request: {}, closes: true}]": "needs one of",
		"cases: [{request: {}}]":               "needs a verdict",
		"cases: [{request: {}, verdict: {action: deny}}]":                             `"deny" is none of`,
		"cases: [{fields: [{name: a}]}]":                                              "needs treatments or cells",
		"cases: [{fields: [{name: a}], rows: [[1, 2]], cells: [[1]]}]":                "a row of 2 cells for 1 fields",
		"cases: [{fields: [{lineage: none}], treatments: [pass]}]":                    `lineage "none"`,
		"cases: [{request: {statements: [{scope: some}]}, verdict: {action: allow}}]": `scope "some"`,
		"cases: [{closes: true, verdict: {action: allow}}]":                           "expects what it cannot have",
		"cases: [{closes: true, note: {}, fails: x}]":                                 "no other result",
	} {
		if _, err := cases.Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestParseLines(t *testing.T) {
	f, err := cases.ParseLines([]byte(`{"config": {"group": "a"}, "request": {"sql": "INSERT INTO t"}, "verdict": "allow"}` + "\n\n" + `{"state": "", "request": {}, "verdict": "allow"}`))
	if err != nil {
		t.Fatal(err)
	}
	f.Statements = func(_ context.Context, sql string) ([]event.Statement, error) {
		return []event.Statement{{Kind: sql, Parent: -1, Runs: true}}, nil
	}
	wasm := plugintest.BuildExample(t, "../../examples/plugins/shadow/c")
	f.Config = map[string]any{"group": "a"}
	results, err := f.Run(t.Context(), plugintest.Host(t, host.Options{}), wasm)
	if err != nil || len(results) != 2 || results[0].Err != nil || results[1].Err != nil {
		t.Errorf("%v, %v", results, err)
	}
	for text, want := range map[string]string{
		"{}": "needs one of", "closes: true": "line 1: not JSON", `{"request": {"sql": "a", "payload": "b"}, "verdict": "allow"}`: "sql, or payload", "{\n": "line 1",
	} {
		if _, err := cases.ParseLines([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
