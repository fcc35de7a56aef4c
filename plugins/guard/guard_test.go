package main

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"slices"
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

func objectsOf(names ...string) (os []sdk.Object) {
	for _, n := range names {
		schema, name, ok := strings.Cut(n, ".")
		if !ok {
			schema, name = "", n
		}
		os = append(os, sdk.Object{Schema: schema, Name: name})
	}
	return os
}

func top(kind string, options ...string) sdk.Statement {
	return sdk.Statement{Kind: kind, Parent: -1, Runs: true, Options: options}
}

func writing(st sdk.Statement, names ...string) sdk.Statement {
	st.Writes = objectsOf(names...)
	return st
}

func scoped(st sdk.Statement, s sdk.Scope) sdk.Statement {
	st.Scope = s
	return st
}

func calling(st sdk.Statement, functions ...string) sdk.Statement {
	st.Functions = functions
	return st
}

func changing(st sdk.Statement, settings ...string) sdk.Statement {
	st.Settings = settings
	return st
}

func opaqued(st sdk.Statement) sdk.Statement {
	st.Opaque = true
	return st
}

func within(st sdk.Statement, parent int, how string, runs bool) sdk.Statement {
	st.Parent, st.Within, st.Runs = parent, how, runs
	return st
}

var dropOrders = writing(top("DROP TABLE"), "orders")

// Each case is the facts of the statement in its comment or name, and the
// verdict: "allow", or the action and the rule.
var cases = []struct {
	name       string
	want       string
	statements []sdk.Statement
}{
	{"empty", "allow", nil},
	{"SELECT", "allow", []sdk.Statement{top("SELECT")}},
	{"INSERT", "allow", []sdk.Statement{writing(top("INSERT"), "orders")}},
	{"BEGIN", "allow", []sdk.Statement{top("BEGIN")}},
	{"DEALLOCATE", "allow", []sdk.Statement{top("DEALLOCATE")}},
	{"CLOSE", "allow", []sdk.Statement{top("CLOSE CURSOR")}},
	{"RELEASE", "allow", []sdk.Statement{top("RELEASE")}},
	{"DISCARD ALL", "allow", []sdk.Statement{changing(top("DISCARD ALL"), "all")}},
	{"SET statement_timeout", "allow", []sdk.Statement{changing(top("SET"), "statement_timeout")}},
	{"ANALYZE", "allow", []sdk.Statement{top("ANALYZE")}},
	{"VACUUM", "allow", []sdk.Statement{top("VACUUM")}},
	{"CREATE TEMP TABLE", "allow", []sdk.Statement{writing(top("CREATE TABLE", "TEMPORARY"), "t")}},
	{"COPY TO STDOUT", "allow", []sdk.Statement{top("COPY", "TO", "STDOUT")}},
	{"REFRESH", "allow", []sdk.Statement{top("REFRESH MATERIALIZED VIEW")}},

	{"DROP TABLE", "block destruction", []sdk.Statement{dropOrders}},
	{"DROP OWNED", "block destruction", []sdk.Statement{top("DROP OWNED")}},
	{"DROP ROLE", "block destruction", []sdk.Statement{top("DROP ROLE")}},
	{"TRUNCATE", "block destruction", []sdk.Statement{writing(top("TRUNCATE TABLE"), "a", "b")}},
	{"ALTER TABLE DROP COLUMN", "block destruction", []sdk.Statement{writing(top("ALTER TABLE", "ADD COLUMN", "DROP COLUMN"), "t")}},
	{"ALTER TABLE DROP CONSTRAINT", "block destruction", []sdk.Statement{top("ALTER TABLE", "DROP CONSTRAINT")}},
	{"ALTER COLUMN TYPE", "block destruction", []sdk.Statement{top("ALTER TABLE", "ALTER COLUMN TYPE")}},
	{"CREATE OR REPLACE TABLE", "block destruction", []sdk.Statement{writing(top("CREATE TABLE", "OR REPLACE"), "t")}},
	{"SELECT lo_unlink()", "block destruction", []sdk.Statement{calling(top("SELECT"), "lower", "lo_unlink")}},

	{"DELETE", "block unqualified-write", []sdk.Statement{writing(scoped(top("DELETE"), sdk.ScopeAll), "orders")}},
	{"DELETE without a scope", "block unqualified-write", []sdk.Statement{writing(top("DELETE"), "orders")}},
	{"DELETE WHERE", "allow", []sdk.Statement{writing(scoped(top("DELETE"), sdk.ScopeRestricted), "orders")}},
	{"UPDATE", "block unqualified-write", []sdk.Statement{writing(scoped(top("UPDATE"), sdk.ScopeAll), "orders")}},
	{"UPDATE WHERE", "allow", []sdk.Statement{writing(scoped(top("UPDATE"), sdk.ScopeRestricted), "orders")}},
	{"MERGE ON true", "block unqualified-write", []sdk.Statement{writing(scoped(top("MERGE", "UPDATE"), sdk.ScopeAll), "orders")}},
	{"MERGE INSERT", "allow", []sdk.Statement{writing(top("MERGE", "INSERT"), "orders")}},
	{"DELETE in a CTE", "block unqualified-write", []sdk.Statement{top("SELECT"), within(scoped(top("DELETE"), sdk.ScopeAll), 0, "cte", true)}},
	{"INSERT SELECT ON CONFLICT DO UPDATE", "hold mass-write", []sdk.Statement{writing(top("INSERT", "SELECT", "ON CONFLICT DO UPDATE"), "t")}},

	{"GRANT", "block privilege", []sdk.Statement{top("GRANT")}},
	{"ALTER ROLE", "block privilege", []sdk.Statement{top("ALTER ROLE", "PASSWORD")}},
	{"SET ROLE", "block privilege", []sdk.Statement{changing(top("SET"), "role")}},
	{"RESET ROLE", "block privilege", []sdk.Statement{changing(top("RESET"), "role")}},
	{"SET SESSION AUTHORIZATION", "block privilege", []sdk.Statement{changing(top("SET"), "session_authorization")}},
	{"set_config('role')", "block privilege", []sdk.Statement{changing(calling(top("SELECT"), "set_config"), "role")}},
	{"ALTER TABLE OWNER TO", "block privilege", []sdk.Statement{top("ALTER TABLE", "OWNER TO")}},
	{"SECURITY DEFINER", "block privilege", []sdk.Statement{top("CREATE FUNCTION", "SECURITY DEFINER", "LANGUAGE sql")}},
	{"DISABLE ROW LEVEL SECURITY", "block privilege", []sdk.Statement{top("ALTER TABLE", "DISABLE ROW LEVEL SECURITY")}},
	{"DISABLE TRIGGER", "block privilege", []sdk.Statement{top("ALTER TABLE", "DISABLE TRIGGER", "ALL")}},
	{"UPDATE pg_authid", "block privilege", []sdk.Statement{writing(scoped(top("UPDATE"), sdk.ScopeRestricted), "pg_authid")}},
	{"GRANT in CREATE SCHEMA", "block privilege", []sdk.Statement{top("CREATE SCHEMA"), within(top("GRANT"), 0, "schema", true)}},

	{"COPY FROM PROGRAM", "block outside", []sdk.Statement{top("COPY", "FROM", "PROGRAM")}},
	{"COPY TO FILE", "block outside", []sdk.Statement{top("COPY", "TO", "FILE")}},
	{"pg_read_file", "block outside", []sdk.Statement{calling(top("SELECT"), "pg_read_file")}},
	{"pg_ls_dir", "block outside", []sdk.Statement{calling(top("SELECT"), "pg_ls_dir")}},
	{"dblink in a schema", "block outside", []sdk.Statement{calling(top("SELECT"), "ext.dblink_exec")}},
	{"CREATE EXTENSION", "block outside", []sdk.Statement{top("CREATE EXTENSION")}},
	{"CREATE SUBSCRIPTION", "block outside", []sdk.Statement{top("CREATE SUBSCRIPTION")}},
	{"LOAD", "block outside", []sdk.Statement{top("LOAD")}},
	{"C function", "block outside", []sdk.Statement{top("CREATE FUNCTION", "LANGUAGE C")}},
	{"plpython3u function", "block outside", []sdk.Statement{top("CREATE FUNCTION", "LANGUAGE plpython3u")}},

	{"ALTER SYSTEM", "block administration", []sdk.Statement{top("ALTER SYSTEM")}},
	{"ALTER DATABASE SET", "block administration", []sdk.Statement{changing(top("ALTER DATABASE", "SET"), "work_mem")}},
	{"CHECKPOINT", "block administration", []sdk.Statement{top("CHECKPOINT")}},
	{"pg_terminate_backend", "block administration", []sdk.Statement{calling(top("SELECT"), "pg_terminate_backend")}},
	{"pg_create_logical_replication_slot", "block administration", []sdk.Statement{calling(top("SELECT"), "pg_create_logical_replication_slot")}},
	{"CREATE PUBLICATION", "block administration", []sdk.Statement{top("CREATE PUBLICATION")}},
	{"DELETE FROM pg_class", "block administration", []sdk.Statement{writing(scoped(top("DELETE"), sdk.ScopeRestricted), "pg_catalog.pg_class")}},
	{"SELECT FROM pg_class", "allow", []sdk.Statement{{Kind: "SELECT", Parent: -1, Runs: true, Reads: objectsOf("pg_catalog.pg_class")}}},

	{"DO", "hold code", []sdk.Statement{top("DO", "LANGUAGE plpgsql")}},
	{"DO with DROP", "block destruction", []sdk.Statement{top("DO"), within(dropOrders, 0, "do", true)}},
	{"DO with EXECUTE of a variable", "block opaque", []sdk.Statement{opaqued(top("DO"))}},
	{"CREATE FUNCTION", "hold code", []sdk.Statement{top("CREATE FUNCTION", "LANGUAGE sql"), within(top("SELECT"), 0, "function", false)}},
	{"CREATE FUNCTION with DROP", "block destruction", []sdk.Statement{top("CREATE FUNCTION"), within(dropOrders, 0, "function", false)}},
	{"CREATE RULE with DELETE", "block unqualified-write", []sdk.Statement{top("CREATE RULE"), within(scoped(top("DELETE"), sdk.ScopeAll), 0, "rule", false)}},
	{"CREATE VIEW of pg_read_file", "block outside", []sdk.Statement{top("CREATE VIEW"), within(calling(top("SELECT"), "pg_read_file"), 0, "view", false)}},
	{"CREATE TRIGGER", "hold code", []sdk.Statement{top("CREATE TRIGGER")}},
	{"CALL", "hold code", []sdk.Statement{top("CALL")}},

	{"CREATE TABLE", "hold ddl", []sdk.Statement{writing(top("CREATE TABLE"), "t")}},
	{"ALTER TABLE ADD COLUMN", "hold ddl", []sdk.Statement{writing(top("ALTER TABLE", "ADD COLUMN"), "t")}},
	{"CREATE TABLE AS", "hold ddl", []sdk.Statement{top("CREATE TABLE AS"), within(top("SELECT"), 0, "as", true)}},
	{"SELECT INTO", "hold ddl", []sdk.Statement{top("SELECT INTO", "INTO")}},
	{"SELECT INTO TEMP", "allow", []sdk.Statement{top("SELECT INTO", "INTO", "TEMPORARY")}},
	{"COPY FROM STDIN", "hold ddl", []sdk.Statement{writing(top("COPY", "FROM", "STDIN"), "t")}},
	{"VACUUM FULL", "hold ddl", []sdk.Statement{top("VACUUM", "FULL")}},
	{"LOCK TABLE", "hold ddl", []sdk.Statement{top("LOCK TABLE", "ACCESS EXCLUSIVE")}},
	{"REFRESH WITH NO DATA", "hold ddl", []sdk.Statement{top("REFRESH MATERIALIZED VIEW", "WITH NO DATA")}},
	{"PREPARE TRANSACTION", "hold ddl", []sdk.Statement{top("PREPARE TRANSACTION")}},

	{"SET standard_conforming_strings = off", "block settings", []sdk.Statement{changing(top("SET", "TO OFF"), "standard_conforming_strings")}},
	{"SET standard_conforming_strings = on", "allow", []sdk.Statement{changing(top("SET", "TO ON"), "standard_conforming_strings")}},
	{"RESET standard_conforming_strings", "block settings", []sdk.Statement{changing(top("RESET"), "standard_conforming_strings")}},
	{"SET client_encoding = UTF8", "allow", []sdk.Statement{changing(top("SET", "TO UTF8"), "client_encoding")}},
	{"SET client_encoding = SJIS", "block settings", []sdk.Statement{changing(top("SET"), "client_encoding")}},
	{"set_config twice", "block settings", []sdk.Statement{changing(calling(top("SELECT", "TO ON", "TO OFF"), "set_config"), "row_security")}},
	{"SET session_replication_role", "block settings", []sdk.Statement{changing(top("SET"), "session_replication_role")}},
	{"CREATE FUNCTION SET row_security", "block settings", []sdk.Statement{changing(top("CREATE FUNCTION", "SET"), "row_security")}},
	{"SET TRANSACTION READ ONLY", "allow", []sdk.Statement{changing(top("SET", "READ ONLY"), "transaction_read_only")}},
	{"SET TRANSACTION READ WRITE", "block settings", []sdk.Statement{changing(top("SET", "READ WRITE"), "transaction_read_only")}},
	{"SET TRANSACTION ISOLATION LEVEL, READ ONLY", "allow", []sdk.Statement{changing(top("SET", "ISOLATION LEVEL", "READ ONLY"), "transaction_isolation", "transaction_read_only")}},
	{"SET default_transaction_read_only = off", "block settings", []sdk.Statement{changing(top("SET", "TO OFF"), "default_transaction_read_only")}},
	{"BEGIN READ WRITE", "allow", []sdk.Statement{changing(top("BEGIN", "READ WRITE"), "transaction_read_only")}},
	{"BEGIN READ ONLY", "allow", []sdk.Statement{changing(top("BEGIN", "READ ONLY"), "transaction_read_only")}},

	{"EXPLAIN DELETE", "allow", []sdk.Statement{top("EXPLAIN"), within(scoped(top("DELETE"), sdk.ScopeAll), 0, "explain", false)}},
	{"EXPLAIN of a CTE", "allow", []sdk.Statement{top("EXPLAIN"), within(top("SELECT"), 0, "explain", false), within(scoped(top("DELETE"), sdk.ScopeAll), 1, "cte", false)}},
	{"EXPLAIN ANALYZE DELETE", "block unqualified-write", []sdk.Statement{top("EXPLAIN", "ANALYZE"), within(scoped(top("DELETE"), sdk.ScopeAll), 0, "explain analyze", true)}},
	{"PREPARE DROP", "allow", []sdk.Statement{top("PREPARE"), within(dropOrders, 0, "prepare", false)}},
	{"EXECUTE DROP", "block destruction", []sdk.Statement{top("EXECUTE"), within(dropOrders, 0, "execute", true)}},
	{"EXECUTE unknown", "block opaque", []sdk.Statement{opaqued(top("EXECUTE"))}},
	{"DECLARE CURSOR pg_read_file", "block outside", []sdk.Statement{top("DECLARE CURSOR"), within(calling(top("SELECT"), "pg_read_file"), 0, "cursor", true)}},
	{"COPY (DELETE)", "block unqualified-write", []sdk.Statement{top("COPY", "TO", "STDOUT"), within(scoped(top("DELETE", "RETURNING"), sdk.ScopeAll), 0, "copy", true)}},

	{"worst of several", "block destruction", []sdk.Statement{top("SELECT"), writing(top("CREATE TABLE"), "t"), dropOrders, top("SELECT")}},
	{"unknown kind", "block unknown", []sdk.Statement{top("FooStmt")}},
	{"no kind", "block unknown", []sdk.Statement{top("")}},
	{"defined in what is only explained", "allow", []sdk.Statement{top("EXPLAIN"), within(top("CREATE TABLE AS"), 0, "explain", false), within(top("SELECT"), 1, "as", false)}},
	{"not carried out", "allow", []sdk.Statement{within(dropOrders, -1, "", false)}},
	{"contained in a later one", "block destruction", []sdk.Statement{within(dropOrders, 1, "explain", false), top("SELECT")}},
}

func shown(v sdk.Verdict) string {
	if v.Action == sdk.Allow {
		return "allow"
	}
	return v.Action.String() + " " + strings.TrimPrefix(v.Rule, "guard/")
}

func TestStandardRules(t *testing.T) {
	p := configured(t, "null")
	for _, c := range cases {
		v := p.Judge(nil, &sdk.Request{Statements: c.statements})
		if got := shown(v); got != c.want {
			t.Errorf("%s: got %s (%s), want %s", c.name, got, v.Reason, c.want)
		}
		if v.Action != sdk.Allow && !strings.HasSuffix(v.Reason, "(rule "+v.Rule+")") {
			t.Errorf("%s: reason %q", c.name, v.Reason)
		}
	}
}

func TestReadOnlySessionsStaySo(t *testing.T) {
	p := configured(t, "null")
	pinned := []sdk.Attr{{Key: "db.read_only", Value: "on"}}
	for _, kind := range []string{"BEGIN", "START TRANSACTION"} {
		st := []sdk.Statement{changing(top(kind, "READ WRITE"), "transaction_read_only")}
		if got := shown(p.Judge(nil, &sdk.Request{Statements: st, Attrs: pinned})); got != "block settings" {
			t.Errorf("%s READ WRITE in a session that only reads: %s", kind, got)
		}
		if got := shown(p.Judge(nil, &sdk.Request{Statements: st})); got != "allow" {
			t.Errorf("%s READ WRITE in another session: %s", kind, got)
		}
	}
}

func TestReasons(t *testing.T) {
	p := configured(t, "null")
	for want, st := range map[string]sdk.Statement{
		"DROP TABLE orders destroys what it names (rule guard/destruction)":                                 dropOrders,
		"DELETE FROM public.orders has no condition that restricts its rows (rule guard/unqualified-write)": writing(scoped(top("DELETE"), sdk.ScopeAll), "public.orders"),
		"TRUNCATE a, b, c and 2 more destroys all of its rows (rule guard/destruction)":                     writing(top("TRUNCATE TABLE"), "a", "b", "c", "d", "e"),
		"pg_sleep is slow (rule guard/custom/sleep)":                                                        calling(top("SELECT"), "pg_sleep"),
	} {
		if strings.Contains(want, "custom") {
			p = configured(t, `{"custom": [{"name": "sleep", "action": "block", "functions": ["pg_sleep*"], "reason": "pg_sleep is slow"}]}`)
		}
		if got := p.Judge(nil, &sdk.Request{Statements: []sdk.Statement{st}}).Reason; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		p = configured(t, "null")
	}
}

func TestRulesCanBeSwitched(t *testing.T) {
	request := &sdk.Request{Statements: []sdk.Statement{dropOrders}}
	for config, want := range map[string]string{
		`{"rules": {"destruction": "hold"}}`:               "hold destruction",
		`{"rules": {"destruction": "off"}}`:                "allow",
		`{"rules": {"ddl": "block"}}`:                      "block destruction",
		`{"rules": {"destruction": "off", "ddl": "hold"}}`: "allow",
	} {
		if got := shown(configured(t, config).Judge(nil, request)); got != want {
			t.Errorf("%s: %s", config, got)
		}
	}
}

func TestCustomRules(t *testing.T) {
	p := configured(t, `{"custom": [
		{"name": "audit", "action": "block", "kinds": ["INSERT", "UPDATE"], "tables": ["public.audit*"]},
		{"name": "pii", "action": "hold", "labels": ["sensitive=*"], "reason": "personal data"}
	]}`)
	restricted := scoped(top("UPDATE"), sdk.ScopeRestricted)
	for _, c := range []struct {
		st     sdk.Statement
		labels []sdk.Attr
		want   string
	}{
		{writing(restricted, "public.audit_log"), nil, "block custom/audit"},
		{writing(restricted, "audit_log"), nil, "block custom/audit"},
		{writing(restricted, "other.audit_log"), nil, "allow"},
		{writing(restricted, "orders"), nil, "allow"},
		{sdk.Statement{Kind: "SELECT", Parent: -1, Runs: true, Reads: objectsOf("audit_log")}, nil, "allow"},
		{top("SELECT"), []sdk.Attr{{Key: "sensitive", Value: "pii"}}, "hold custom/pii"},
		{top("SELECT"), []sdk.Attr{{Key: "risk", Value: "3"}}, "allow"},
		{writing(restricted, "audit"), []sdk.Attr{{Key: "sensitive", Value: "pii"}}, "block custom/audit"},
	} {
		v := p.Judge(nil, &sdk.Request{Statements: []sdk.Statement{c.st}, Labels: c.labels})
		if got := shown(v); got != c.want {
			t.Errorf("%s %v with %v: %s", c.st.Kind, c.st.Writes, c.labels, got)
		}
	}
}

func TestConfigureRefuses(t *testing.T) {
	for config, want := range map[string]string{
		`{"rule": {}}`:                    "rule",
		`{"rules": {"destroy": "block"}}`: `no rule "destroy"`,
		`{"rules": {"ddl": "allow"}}`:     "none of off, hold and block",
		`{"custom": [{"name": "a b", "action": "block", "kinds": ["X"]}]}`:                                  "one word",
		`{"custom": [{"name": "a", "action": "off", "kinds": ["X"]}]}`:                                      "hold or block",
		`{"custom": [{"name": "a", "action": "hold"}]}`:                                                     "needs",
		`{"custom": [{"name": "a", "action": "hold", "kinds": ["X"]}, {"name": "b", "labels": ["class"]}]}`: "custom[1]: label",
	} {
		err := new(plugin).Configure([]byte(config))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", config, err)
		}
	}
}

// The plugin in the host answers as it does natively.
func TestInHost(t *testing.T) {
	config := `{"custom": [{"name": "pii", "action": "hold", "labels": ["sensitive=*"]}]}`
	p, loaded := configured(t, config), plugintest.Load(t, config)
	guest := plugintest.Judge(t, loaded)
	for _, labels := range [][]sdk.Attr{nil, {{Key: "sensitive", Value: "x"}}} {
		for _, c := range cases {
			r := &event.Request{Operation: "query", Payload: []byte(c.name), Statements: c.statements, Labels: labels}
			got, err := guest.Judge(t.Context(), &event.Session{ID: c.name}, r)
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			if diff := cmp.Diff(p.Judge(nil, r), got); diff != "" {
				t.Errorf("%s: %s", c.name, diff)
			}
		}
	}
	// The same facts with another text, in another session.
	calls := loaded.Stats().Calls
	r := &event.Request{Operation: "query", Payload: []byte("drop table orders"), Statements: []sdk.Statement{dropOrders}}
	if v, err := guest.Judge(t.Context(), &event.Session{ID: "other"}, r); err != nil || shown(v) != "block destruction" {
		t.Errorf("%v, %v", v, err)
	}
	if s := loaded.Stats(); s.Remembered != 1 || s.Calls != calls {
		t.Errorf("%+v: the verdict was not remembered", s)
	}
	// Facts that requests share are judged once in a session: with the labels that
	// they have then, and no others.
	session := &event.Session{ID: "third"}
	third, err := loaded.Open(t.Context(), session)
	if err != nil {
		t.Fatal(err)
	}
	reads := []sdk.Statement{{Kind: "SELECT", Parent: -1, Runs: true}}
	facts := event.NewFacts("prepare", reads, nil)
	for _, shared := range []struct {
		labels   []sdk.Attr
		masked   []string
		want     string
		recalled uint64
	}{
		{nil, nil, "allow", 0}, {nil, nil, "allow", 1}, {[]sdk.Attr{{Key: "sensitive", Value: "x"}}, nil, "hold custom/pii", 0},
		{[]sdk.Attr{{Key: "sensitive", Value: "x"}}, nil, "hold custom/pii", 1}, {[]sdk.Attr{{Key: "other", Value: "x"}}, nil, "allow", 0}, {nil, []string{"*"}, "allow", 0},
	} {
		before := loaded.Stats().Remembered
		v, err := third.Judge(t.Context(), session, &event.Request{Operation: "prepare", Statements: reads, Shared: facts, Labels: shared.labels, Masked: shared.masked})
		if got := loaded.Stats().Remembered - before; err != nil || shown(v) != shared.want || got != shared.recalled {
			t.Errorf("%v, %v: %v, %v, remembered %d", shared.labels, shared.masked, shown(v), err, got)
		}
	}
	if v, err := third.Judge(t.Context(), session, &event.Request{Operation: "prepare", Statements: r.Statements, Shared: facts}); err != nil || shown(v) != "block destruction" {
		t.Errorf("with statements that are not the shared facts': %v, %v", v, err)
	}
	if err := loaded.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := guest.Judge(t.Context(), &event.Session{ID: "other"}, r); !errors.Is(err, host.ErrClosed) {
		t.Errorf("a closed plugin answers: %v", err)
	}
	if _, err := third.Judge(t.Context(), session, &event.Request{Operation: "prepare", Statements: reads, Shared: facts}); !errors.Is(err, host.ErrClosed) {
		t.Errorf("a closed plugin answers on facts that are shared: %v", err)
	}
}

func BenchmarkJudge(b *testing.B) {
	p := configured(b, "null")
	guest := plugintest.Judge(b, plugintest.Load(b, "null"))
	s := &event.Session{Protocol: "postgres", Resource: "orders", Principal: event.Principal{Issuer: "https://id.example.com", Subject: "agent-7", Groups: []string{"agents"}}}
	st := sdk.Statement{Kind: "SELECT", Parent: -1, Runs: true, Reads: objectsOf("pgbench_accounts"), Columns: []string{"abalance", "aid"}}
	request := func() *event.Request {
		return &event.Request{Operation: "query", Payload: []byte("SELECT abalance FROM pgbench_accounts WHERE aid = 1"), Statements: []sdk.Statement{st}}
	}
	b.Run("native", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			p.Judge(nil, request())
		}
	})
	b.Run("guest", func(b *testing.B) {
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			// Each request is a new one to the guest.
			r := request()
			r.Operation = string([]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)})
			if _, err := guest.Judge(b.Context(), s, r); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("remembered", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := guest.Judge(b.Context(), s, request()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// What the server estimates is held beyond a limit, unless it is blocked anyway.
func TestRows(t *testing.T) {
	statements := []sdk.Statement{writing(scoped(top("UPDATE"), sdk.ScopeRestricted), "orders")}
	for _, c := range []struct{ config, rows, want string }{
		{"null", "10000", "allow"},
		{"null", "10001", "hold mass-write"},
		{"null", "1e+20", "hold mass-write"},
		{"null", "unknown", "hold unestimated"},
		{`{"rules": {"unestimated": "off"}}`, "unknown", "allow"},
		{`{"rules": {"mass-write": "off"}}`, "unknown", "allow"},
		{`{"rows": 5}`, "6", "hold mass-write"},
		{`{"rows": 5, "rules": {"mass-write": "block"}}`, "6", "block mass-write"},
		{`{"rows": 5, "rules": {"mass-write": "off"}}`, "6", "allow"},
	} {
		r := &sdk.Request{Statements: statements, Attrs: []sdk.Attr{{Key: "db.estimated_rows", Value: c.rows}}}
		if got := shown(configured(t, c.config).Judge(nil, r)); got != c.want {
			t.Errorf("%s, %s rows: got %s, want %s", c.config, c.rows, got, c.want)
		}
	}
	if err := new(plugin).Configure([]byte(`{"rows": 0}`)); err == nil {
		t.Error("no rows at all are accepted as a limit")
	}
}

// The schema that configurations are checked by knows the rules that there are.
func TestSchemaNamesTheRules(t *testing.T) {
	text, err := os.ReadFile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Properties struct {
			Rules struct{ Properties map[string]any }
		}
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range standard {
		names = append(names, r.name)
	}
	slices.Sort(names)
	if d := cmp.Diff(names, slices.Sorted(maps.Keys(schema.Properties.Rules.Properties))); d != "" {
		t.Error(d)
	}
}
