package sdk_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/sdk"
)

func TestUnmarshalIsStrict(t *testing.T) {
	type config struct {
		Limit int `json:"limit"`
	}
	c := config{Limit: 3}
	for _, b := range []string{"null", `{}`, " null\n"} {
		if err := sdk.Unmarshal([]byte(b), &c); err != nil || c.Limit != 3 {
			t.Errorf("%s: %+v, %v", b, c, err)
		}
	}
	if err := sdk.Unmarshal([]byte(`{"limit": 4}`), &c); err != nil || c.Limit != 4 {
		t.Errorf("%+v, %v", c, err)
	}
	for _, b := range []string{"", `{"limits": 4}`, `{"limit": "4"}`, `{} {}`, `{}]`, `{"limit": 4`} {
		if err := sdk.Unmarshal([]byte(b), &c); err == nil {
			t.Errorf("%s is accepted", b)
		}
	}
}

func TestRegisterRefuses(t *testing.T) {
	defer func() {
		if said, _ := recover().(string); !strings.Contains(said, "is none of Judge, Masker") {
			t.Errorf("panic: %v", said)
		}
	}()
	sdk.Register(struct{}{})
}

func TestEffective(t *testing.T) {
	statement := func(kind string, parent int, within string, runs bool) sdk.Statement {
		return sdk.Statement{Kind: kind, Parent: parent, Within: within, Runs: runs}
	}
	statements := []sdk.Statement{
		statement("SELECT", -1, "", true),
		statement("DELETE", 0, "cte", true),
		statement("EXPLAIN", -1, "", true),
		statement("explained", 2, "explain", false),
		statement("in explained", 3, "cte", false),
		statement("PREPARE", -1, "", true),
		statement("prepared", 5, "prepare", false),
		statement("CREATE FUNCTION", -1, "", true),
		statement("body", 7, "function", false),
		statement("in body", 8, "cte", false),
		statement("top", -1, "", false),
		statement("its parent comes later", 12, "explain", false),
		statement("EXECUTE", -1, "", true),
		statement("executed", 12, "execute", true),
	}
	var got []string
	for st := range sdk.Effective(statements) {
		got = append(got, st.Kind)
	}
	want := []string{"SELECT", "DELETE", "EXPLAIN", "PREPARE", "CREATE FUNCTION", "body", "in body", "its parent comes later", "EXECUTE", "executed"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSelector(t *testing.T) {
	st := &sdk.Statement{
		Kind: "UPDATE", Writes: []sdk.Object{{Schema: "public", Name: "orders"}}, Reads: []sdk.Object{{Name: "items"}},
		Functions: []string{"app.total"},
	}
	labels := []sdk.Attr{{Key: "class", Value: "write"}}
	for _, c := range []struct {
		selector sdk.Selector
		want     bool
	}{
		{sdk.Selector{Kinds: []string{"DELETE", "UPDATE"}}, true},
		{sdk.Selector{Kinds: []string{"UP*"}}, true},
		{sdk.Selector{Kinds: []string{"DELETE"}}, false},
		{sdk.Selector{Tables: []string{"orders"}}, true},
		{sdk.Selector{Tables: []string{"hr.orders"}}, false},
		{sdk.Selector{Tables: []string{"hr.items"}}, true},
		{sdk.Selector{Functions: []string{"total"}}, true},
		{sdk.Selector{Functions: []string{"app.*"}}, true},
		{sdk.Selector{Functions: []string{"sum"}}, false},
		{sdk.Selector{Labels: []string{"class=*"}}, true},
		{sdk.Selector{Labels: []string{"class=read"}}, false},
		{sdk.Selector{Kinds: []string{"UPDATE"}, Labels: []string{"class=read"}}, false},
		{sdk.Selector{Kinds: []string{"UPDATE"}, Tables: []string{"*"}, Labels: []string{"class=write"}}, true},
	} {
		if err := c.selector.Validate(); err != nil {
			t.Errorf("%+v: %v", c.selector, err)
		}
		if got := c.selector.Selects(st, labels); got != c.want {
			t.Errorf("%+v: %v", c.selector, got)
		}
	}
}

func TestSubject(t *testing.T) {
	objects := []sdk.Object{{Name: "a"}, {Schema: "s", Name: "b"}, {Name: "c"}, {Name: "d"}}
	for want, st := range map[string]sdk.Statement{
		"DROP TABLE a, s.b":             {Kind: "DROP TABLE", Writes: objects[:2]},
		"DELETE FROM a":                 {Kind: "DELETE", Writes: objects[:1]},
		"INSERT INTO a":                 {Kind: "INSERT", Writes: objects[:1]},
		"TRUNCATE a, s.b, c and 1 more": {Kind: "TRUNCATE TABLE", Writes: objects},
		"CHECKPOINT":                    {Kind: "CHECKPOINT"},
		"ALTER TABLE a, s.b, c":         {Kind: "ALTER TABLE", Writes: objects[:3]},
	} {
		if got := sdk.Subject(&st); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestNewBatch(t *testing.T) {
	b := sdk.NewBatch([]sdk.Field{{Name: "a"}, {Name: "b"}}, [][]byte{[]byte("x"), nil}, [][]byte{{}, []byte("y")})
	if b.Len() != 2 || b.Fields() != 2 || b.Field(1).Name != "b" {
		t.Errorf("%d rows of %d fields", b.Len(), b.Fields())
	}
	if string(b.Cell(0, 0)) != "x" || b.Cell(0, 1) != nil || b.Cell(1, 0) == nil || string(b.Cell(1, 1)) != "y" {
		t.Error("the cells differ")
	}
}
