package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/core/event"
	"gatehouse/plugins/plugintest"
	"gatehouse/sdk"
)

const sensitive = `{"sensitive": {
	"pii": ["public.customers.email", "public.customers.ph*"],
	"payroll": ["hr.sal*"]
}}`

func configured(t testing.TB, config string) *plugin {
	t.Helper()
	p := new(plugin)
	if err := p.Configure([]byte(config)); err != nil {
		t.Fatal(err)
	}
	return p
}

var (
	customers = []sdk.Object{{Name: "customers"}}
	salaries  = []sdk.Object{{Schema: "hr", Name: "salaries"}}
)

func run(st sdk.Statement) sdk.Statement {
	st.Parent, st.Runs = -1, true
	return st
}

var cases = []struct {
	name       string
	statements []sdk.Statement
	want       string
}{
	{"empty", nil, "risk=0"},
	{"BEGIN", []sdk.Statement{run(sdk.Statement{Kind: "BEGIN"})}, "class=session risk=0"},
	{"SELECT", []sdk.Statement{run(sdk.Statement{Kind: "SELECT"})}, "class=read risk=10"},
	{"two of a class", []sdk.Statement{run(sdk.Statement{Kind: "SELECT"}), run(sdk.Statement{Kind: "SELECT"})}, "class=read risk=10"},
	{"sensitive column", []sdk.Statement{run(sdk.Statement{Kind: "SELECT", Reads: customers, Columns: []string{"id", "c.email"}})}, "class=read sensitive=pii risk=30"},
	{"sensitive column by a pattern", []sdk.Statement{run(sdk.Statement{Kind: "SELECT", Reads: customers, Columns: []string{"phone"}})}, "class=read sensitive=pii risk=30"},
	{"all columns", []sdk.Statement{run(sdk.Statement{Kind: "SELECT", Reads: customers, Columns: []string{"*"}})}, "class=read sensitive=pii risk=30"},
	{"columns not named", []sdk.Statement{run(sdk.Statement{Kind: "DELETE", Writes: customers, Scope: sdk.ScopeRestricted})}, "class=write sensitive=pii risk=50"},
	{"other columns", []sdk.Statement{run(sdk.Statement{Kind: "SELECT", Reads: customers, Columns: []string{"id"}})}, "class=read risk=10"},
	{"the column of another table", []sdk.Statement{run(sdk.Statement{Kind: "SELECT", Reads: []sdk.Object{{Name: "suppliers"}}, Columns: []string{"email"}})}, "class=read risk=10"},
	{"sensitive table", []sdk.Statement{run(sdk.Statement{Kind: "UPDATE", Writes: salaries, Scope: sdk.ScopeRestricted, Columns: []string{"x"}})}, "class=write sensitive=payroll risk=50"},
	{"UPDATE of all rows", []sdk.Statement{run(sdk.Statement{Kind: "UPDATE", Scope: sdk.ScopeAll})}, "class=write risk=80"},
	{"INSERT SELECT", []sdk.Statement{run(sdk.Statement{Kind: "INSERT", Options: []string{"SELECT"}})}, "class=write risk=40"},
	{"DROP TABLE", []sdk.Statement{run(sdk.Statement{Kind: "DROP TABLE"})}, "class=ddl risk=90"},
	{"CREATE TABLE", []sdk.Statement{run(sdk.Statement{Kind: "CREATE TABLE"})}, "class=ddl risk=50"},
	{"CREATE FUNCTION", []sdk.Statement{run(sdk.Statement{Kind: "CREATE FUNCTION"})}, "class=code risk=60"},
	{"GRANT", []sdk.Statement{run(sdk.Statement{Kind: "GRANT"})}, "class=privilege risk=80"},
	{"SET ROLE", []sdk.Statement{run(sdk.Statement{Kind: "SET", Settings: []string{"role"}})}, "class=privilege risk=80"},
	{"COPY TO PROGRAM", []sdk.Statement{run(sdk.Statement{Kind: "COPY", Options: []string{"TO", "PROGRAM"}})}, "class=admin risk=90"},
	{"COPY TO STDOUT", []sdk.Statement{run(sdk.Statement{Kind: "COPY", Options: []string{"TO", "STDOUT"}})}, "class=read risk=20"},
	{"opaque", []sdk.Statement{run(sdk.Statement{Kind: "DO", Opaque: true})}, "class=code risk=100"},
	{"unknown", []sdk.Statement{run(sdk.Statement{Kind: "FooStmt"})}, "class=unknown risk=100"},
	{"several classes", []sdk.Statement{run(sdk.Statement{Kind: "BEGIN"}), run(sdk.Statement{Kind: "UPDATE", Scope: sdk.ScopeRestricted}), run(sdk.Statement{Kind: "SELECT"})}, "class=session class=write class=read risk=30"},
	{"explained", []sdk.Statement{run(sdk.Statement{Kind: "EXPLAIN"}), {Kind: "DROP TABLE", Parent: 0, Within: "explain"}}, "class=session risk=0"},
	{"in a CTE", []sdk.Statement{run(sdk.Statement{Kind: "SELECT"}), {Kind: "DELETE", Parent: 0, Within: "cte", Runs: true, Scope: sdk.ScopeAll}}, "class=read class=write risk=80"},
}

func shown(v sdk.Verdict) string {
	var words []string
	for _, l := range v.Labels {
		words = append(words, l.Key+"="+l.Value)
	}
	return strings.Join(words, " ")
}

func TestLabels(t *testing.T) {
	p := configured(t, sensitive)
	for _, c := range cases {
		v := p.Judge(nil, &sdk.Request{Statements: c.statements})
		if v.Action != sdk.Allow {
			t.Errorf("%s: %v", c.name, v)
		}
		if got := shown(v); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestConfigureRefuses(t *testing.T) {
	for config, want := range map[string]string{
		`{"sensible": {}}`:                     "sensible",
		`{"sensitive": {"pii": []}}`:           "lists nothing",
		`{"sensitive": {"pii": ["a.b.c.d"]}}`:  "neither a table nor a column",
		`{"sensitive": {"pii": "customers"}}`:  "configuration",
		`{"sensitive": {"pii": ["a"]}} "more"`: "more than one",
	} {
		if err := new(plugin).Configure([]byte(config)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", config, err)
		}
	}
}

// The plugin in the host answers as it does natively.
func TestInHost(t *testing.T) {
	p, guest := configured(t, sensitive), plugintest.Judge(t, plugintest.Load(t, sensitive))
	for _, c := range cases {
		r := &event.Request{Operation: "query", Statements: c.statements}
		got, err := guest.Judge(t.Context(), &event.Session{ID: "s"}, r)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if diff := cmp.Diff(p.Judge(nil, r), got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}
