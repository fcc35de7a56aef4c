package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/core/event"
	"gatehouse/plugins/host"
	"gatehouse/plugins/plugintest"
	"gatehouse/sdk"
)

func configured(t testing.TB, config string) *plugin {
	t.Helper()
	p := new(plugin)
	if err := p.Configure([]byte(config)); err != nil {
		t.Fatal(err)
	}
	return p
}

func risk(n string) sdk.Attr { return sdk.Attr{Key: "risk", Value: n} }

func statement(kind string, writes ...string) sdk.Statement {
	st := sdk.Statement{Kind: kind, Parent: -1, Runs: true}
	for _, w := range writes {
		st.Writes = append(st.Writes, sdk.Object{Name: w})
	}
	return st
}

const rules = `{"risk": 70, "rules": [
	{"name": "orders", "kinds": ["UPDATE", "DELETE"], "tables": ["public.orders"]},
	{"name": "pii", "labels": ["sensitive=pii"], "reason": "personal data needs a second pair of eyes"}
]}`

var cases = []struct {
	name, config string
	request      sdk.Request
	rule, reason string // empty when it is allowed
}{
	{"below the threshold", "null", sdk.Request{Labels: []sdk.Attr{risk("49")}}, "", ""},
	{"at the threshold", "null", sdk.Request{Labels: []sdk.Attr{risk("50")}}, "approve/risk", "its risk is 50, and from 50 on someone must approve (rule approve/risk)"},
	{"the highest of several", "null", sdk.Request{Labels: []sdk.Attr{risk("3"), risk("90")}}, "approve/risk", "its risk is 90, and from 50 on someone must approve (rule approve/risk)"},
	{"not a number", "null", sdk.Request{Labels: []sdk.Attr{risk("high")}}, "approve/risk", "its risk is high, and from 50 on someone must approve (rule approve/risk)"},
	{"not assessed", "null", sdk.Request{}, "approve/risk", "nobody assessed its risk: classify must come before approve (rule approve/risk)"},
	{"no threshold", `{"risk": 0}`, sdk.Request{Labels: []sdk.Attr{risk("100")}}, "", ""},
	{"a rule", rules, sdk.Request{Statements: []sdk.Statement{statement("SELECT"), statement("UPDATE", "orders")}, Labels: []sdk.Attr{risk("30")}},
		"approve/orders", "UPDATE orders needs approval (rule approve/orders)"},
	{"another table", rules, sdk.Request{Statements: []sdk.Statement{statement("UPDATE", "items")}, Labels: []sdk.Attr{risk("30")}}, "", ""},
	{"another kind", rules, sdk.Request{Statements: []sdk.Statement{statement("INSERT", "orders")}, Labels: []sdk.Attr{risk("30")}}, "", ""},
	{"a label", rules, sdk.Request{Statements: []sdk.Statement{statement("SELECT")}, Labels: []sdk.Attr{{Key: "sensitive", Value: "pii"}, risk("30")}},
		"approve/pii", "personal data needs a second pair of eyes (rule approve/pii)"},
	{"only explained", rules, sdk.Request{Statements: []sdk.Statement{statement("EXPLAIN"), {Kind: "UPDATE", Within: "explain", Writes: []sdk.Object{{Name: "orders"}}}}, Labels: []sdk.Attr{risk("0")}}, "", ""},
}

func TestJudge(t *testing.T) {
	for _, c := range cases {
		v := configured(t, c.config).Judge(nil, &c.request)
		want := sdk.Verdict{Action: sdk.Allow}
		if c.rule != "" {
			want = sdk.Verdict{Action: sdk.Hold, Rule: c.rule, Reason: c.reason}
		}
		if diff := cmp.Diff(want, v); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestConfigureRefuses(t *testing.T) {
	for config, want := range map[string]string{
		`{"risk": 101}`:                                     "between 0 and 100",
		`{"risk": "high"}`:                                  "risk",
		`{"rules": [{"name": "x"}]}`:                        "rules[0]: needs",
		`{"rules": [{"kinds": ["SELECT"]}]}`:                "rules[0]: name",
		`{"rules": [{"name": "x", "labels": ["a"]}]}`:       "key=value",
		`{"rules": [{"name": "x", "kind": ["SELECT"]}]}`:    "kind",
		`{"rules": [{"name": "x", "action": "block"}]}`:     "action",
		`{"threshold": 5}`:                                  "threshold",
		`{"rules": {"name": "x", "kinds": ["SELECT"]}}  `:   "rules",
		`{"rules": [{"name": "a/b", "kinds": ["SELECT"]}]}`: "one word",
	} {
		if err := new(plugin).Configure([]byte(config)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", config, err)
		}
	}
}

// The plugin in the host answers as it does natively.
func TestInHost(t *testing.T) {
	wasm, h := plugintest.Build(t, "."), plugintest.Host(t, host.Options{})
	for _, c := range cases {
		loaded, err := h.Load(t.Context(), "approve", wasm, []byte(c.config))
		if err != nil {
			t.Fatal(err)
		}
		got, err := plugintest.Judge(t, loaded).Judge(t.Context(), new(event.Session), &c.request)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if diff := cmp.Diff(configured(t, c.config).Judge(nil, &c.request), got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		if err := loaded.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
