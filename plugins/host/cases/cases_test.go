package cases_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/core/event"
	"gatehouse/plugins/host"
	"gatehouse/plugins/host/cases"
	"gatehouse/plugins/plugintest"
)

func run(t *testing.T, plugin, file string) (wrong map[string][]string) {
	t.Helper()
	module := plugintest.Build(t, "../../"+plugin)
	h := plugintest.Host(t, host.Options{})
	r := cases.Runner{
		Load: func(ctx context.Context, config []byte) (*host.Plugin, error) {
			return h.Load(ctx, plugin, module, config)
		},
		Statements: func(_ context.Context, sql string) ([]event.Statement, error) {
			kind, _, _ := strings.Cut(sql, " customers")
			return []event.Statement{{Kind: kind, Parent: -1, Runs: true}}, nil
		},
	}
	f, err := cases.Read(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	results, err := r.Run(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	wrong = map[string][]string{}
	for _, r := range results {
		wrong[r.Name] = r.Wrong
	}
	return wrong
}

func TestCasesThatPass(t *testing.T) {
	for plugin, file := range map[string]string{"mask": "mask.yaml", "guard": "guard.jsonl"} {
		wrong := run(t, plugin, file)
		if len(wrong) < 2 {
			t.Errorf("%s: %d cases", file, len(wrong))
		}
		for name, w := range wrong {
			if w != nil {
				t.Errorf("%s: %s: %v", file, name, w)
			}
		}
	}
}

func TestCasesThatFailSayWhy(t *testing.T) {
	want := map[string][]string{
		"another cell":                  {"the treatment is null, not redact", `row 1, email is NULL, not "ann@example.com"`},
		"a request":                     {"the plugin judges no requests"},
		"a configuration that it takes": {"the plugin takes the configuration"},
	}
	if diff := cmp.Diff(want, run(t, "mask", "wrong.yaml")); diff != "" {
		t.Error(diff)
	}
}

func TestReadRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"cases: []":                           "no cases",
		"cases: [{name: a}]":                  "none of request",
		"cases: [{request: {sql: SELECT 1}}]": "case 1: it has a request and no verdict",
		"cases: [{request: {sql: SELECT 1, text: a}, verdict: allow}]":                  "reads text and statements itself",
		"cases: [{requests: {sql: SELECT 1}, verdict: allow}]":                          "requests",
		"cases: [{fields: [{name: a}], rows: [[a, b]], cells: [[a, b]]}]":               "2 values for 1 fields",
		"cases: [{fields: [{name: a, lineage: pure}], treatments: [pass]}]":             `lineage "pure"`,
		"cases: [{request: {statements: [{kind: SELECT, parent: 0}]}, verdict: allow}]": "does not come before",
	} {
		path := filepath.Join(t.TempDir(), "cases.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := cases.Read(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
