package policy_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/core/event"
	"gatehouse/core/policy"
	"gatehouse/core/protect"
)

func config() policy.Config {
	access := func(plugins ...string) policy.Access {
		return policy.Access{Plugins: plugins, Approvers: []string{"dba"}, HoldFor: time.Minute}
	}
	return policy.Config{
		Rules: []policy.Rule{
			{Name: "reports", Groups: []string{"analysts", "interns"}, Targets: []string{"orders/reports"}, Access: access("mask")},
			{Name: "orders", Groups: []string{"analysts", "agents"}, Targets: []string{"orders"}, Access: access("guard", "mask")},
			{Name: "any", Groups: []string{"guests"}, Targets: []string{"lake/raw"}, Access: access()},
			{Name: "all", Groups: []string{"admins"}, Targets: []string{"orders", "ledger"}, Access: access("guard")},
		},
		Resources: map[string][]string{"orders": {"shop", "reports"}, "ledger": {"ledger"}, "lake": {"lake", "*"}},
		Plugins:   map[string]string{"mask": "1", "guard": "2"},
	}
}

func TestDecide(t *testing.T) {
	p, err := policy.New(config())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		groups             string
		resource, database string
		want               string // plugins; "denied"
	}{
		{"agents", "orders", "shop", "guard mask"},
		{"agents", "orders", "reports", "guard mask"},
		{"analysts", "orders", "reports", "mask"}, // the first rule wins
		{"analysts", "orders", "shop", "guard mask"},
		{"interns", "orders", "reports", "mask"},
		{"interns", "orders", "shop", "denied"},
		{"interns", "orders", "", "denied"},
		{"agents", "ledger", "ledger", "denied"},
		{"admins", "ledger", "ledger", "guard"},
		{"others admins", "ledger", "ledger", "guard"},
		{"guests", "lake", "raw", ""},
		{"guests", "lake", "lake", "denied"},
		{"admins", "orders/reports", "", "denied"},
		{"admins", "unknown", "shop", "denied"},
		{"", "orders", "shop", "denied"},
		{"Agents", "orders", "shop", "denied"},
	} {
		who := event.Principal{Name: "someone", Groups: strings.Split(test.groups, " ")}
		access, err := p.Decide(who, test.resource, test.database)
		got := strings.Join(access.Plugins, " ")
		if err != nil {
			got = "denied"
			if d := cmp.Diff(policy.Access{}, access); d != "" {
				t.Errorf("%v: denied with access: %s", test, d)
			}
		}
		if got != test.want {
			t.Errorf("%q on %q, database %q: %s, want %s", test.groups, test.resource, test.database, got, test.want)
		}
	}
}

func TestZeroDenies(t *testing.T) {
	if _, err := new(policy.Policy).Decide(event.Principal{Groups: []string{"admins", ""}}, "orders", "shop"); err == nil {
		t.Error("the zero policy allows")
	}
	p, err := policy.New(policy.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Decide(event.Principal{Groups: []string{"admins"}}, "orders", "shop"); err == nil {
		t.Error("the empty policy allows")
	}
}

func TestDeniedReason(t *testing.T) {
	p, _ := policy.New(config())
	_, err := p.Decide(event.Principal{Name: "eve", Groups: []string{"secret-group"}}, "ledger", "ledger")
	var reason interface{ Reason() string }
	if !errors.As(err, &reason) {
		t.Fatalf("%v has no reason", err)
	}
	if got, want := reason.Reason(), `no policy lets you reach "ledger"`; got != want {
		t.Errorf("reason %q, want %q", got, want)
	}
}

func TestNewReportsEverything(t *testing.T) {
	_, err := policy.New(policy.Config{
		Rules: []policy.Rule{
			{Name: "a", Groups: []string{""}, Targets: []string{"nowhere", "orders/none"}, Access: policy.Access{Plugins: []string{"none"}}},
			{Name: "b", Access: policy.Access{HoldFor: time.Second}},
		},
		Resources: map[string][]string{"orders": {"shop"}},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`groups [""]`, `"nowhere": no such resource`, `"orders/none": no such database`, `"none": no such plugin`, "hold of 0s", `rule "b"`, "no targets"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %s", err, want)
		}
	}
}

func TestVersion(t *testing.T) {
	version := func(change func(*policy.Config)) string {
		c := config()
		change(&c)
		p, err := policy.New(c)
		if err != nil {
			t.Fatal(err)
		}
		return p.Version()
	}
	seen := map[string]string{version(func(*policy.Config) {}): "nothing"}
	if _, same := seen[version(func(*policy.Config) {})]; !same {
		t.Error("the version of the same policy differs")
	}
	for name, change := range map[string]func(*policy.Config){
		"order":     func(c *policy.Config) { c.Rules[0], c.Rules[1] = c.Rules[1], c.Rules[0] },
		"groups":    func(c *policy.Config) { c.Rules[0].Groups = []string{"analystsinterns"} },
		"targets":   func(c *policy.Config) { c.Rules[0].Targets = []string{"orders"} },
		"plugins":   func(c *policy.Config) { c.Rules[1].Plugins = []string{"mask", "guard"} },
		"approvers": func(c *policy.Config) { c.Rules[1].Approvers = nil },
		"hold":      func(c *policy.Config) { c.Rules[1].HoldFor++ },
		"outlast":   func(c *policy.Config) { c.Rules[1].OutlastToken = true },
		"retention": func(c *policy.Config) { c.Rules[1].Retention = "long" },
		"resources": func(c *policy.Config) { c.Resources["ledger"] = []string{"ledger", "more"} },
		"plugin":    func(c *policy.Config) { c.Plugins["mask"] = "3" },
	} {
		v := version(change)
		if other, same := seen[v]; same {
			t.Errorf("a change of %s has the version of a change of %s", name, other)
		}
		seen[v] = name
	}
}

// What the caller does with its configuration later changes nothing.
func TestNewCopies(t *testing.T) {
	c := config()
	p, err := policy.New(c)
	if err != nil {
		t.Fatal(err)
	}
	c.Rules[3].Groups[0] = "agents"
	if _, err := p.Decide(event.Principal{Groups: []string{"agents"}}, "ledger", "ledger"); err == nil {
		t.Error("a change after New took effect")
	}
}

// What is protected of a resource, less what a rule clears, is a part of the
// access and of the version.
func TestProtectedColumns(t *testing.T) {
	c := config()
	plain, err := policy.New(c)
	if err != nil {
		t.Fatal(err)
	}
	columns, err := protect.New(protect.Config{Columns: map[string]event.Treatment{"hr.people.ssn": {}, "hr.people.pay": {}}})
	if err != nil {
		t.Fatal(err)
	}
	c.Protected = map[string]*protect.Columns{"orders": columns}
	c.Rules[0].Clear = []string{"*.ssn"}
	p, err := policy.New(c)
	if err != nil {
		t.Fatal(err)
	}
	protected := func(group, resource, database, column string) bool {
		t.Helper()
		a, err := p.Decide(event.Principal{Groups: []string{group}}, resource, database)
		if err != nil {
			t.Fatal(err)
		}
		_, is := a.Protected.Column(column)
		return is
	}
	if !protected("agents", "orders", "shop", "hr.people.ssn") || protected("admins", "ledger", "ledger", "hr.people.ssn") {
		t.Error("the protected columns are not those of the resource")
	}
	if protected("interns", "orders", "reports", "hr.people.ssn") || !protected("interns", "orders", "reports", "hr.people.pay") {
		t.Error("the rule does not clear what it says")
	}
	uncleared := config()
	uncleared.Protected = c.Protected
	q, err := policy.New(uncleared)
	if err != nil {
		t.Fatal(err)
	}
	if plain.Version() == q.Version() || q.Version() == p.Version() {
		t.Error("the version does not say what is protected")
	}
	c.Rules[0].Clear = []string{"ssn"}
	if _, err := policy.New(c); err == nil || !strings.Contains(err.Error(), `clear: "ssn" is not schema.table.column`) {
		t.Errorf("a pattern of no column: %v", err)
	}
}
