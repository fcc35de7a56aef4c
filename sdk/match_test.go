package sdk_test

import (
	"testing"

	"gatehouse/sdk"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"a.b.c", "a.b.c", true}, {"a.b.c", "a.b.cd", false},
		{"*", "a.b.c", true}, {"a.*", "a.b.c", true}, {"*.c", "a.b.c", true}, {"*.c", "a.b.cc", false},
		{"a.*.c", "a.b.c", true}, {"a.*.c", "a.b.b.c", true}, {"*b*", "a.b.c", true}, {"*bb*", "a.b.c", false},
		{"a*a", "a", false}, {"*_email", "a.b.work_email", true}, {"**", "", true},
	} {
		if got := sdk.Match(c.pattern, c.s); got != c.want {
			t.Errorf("Match(%q, %q) = %v", c.pattern, c.s, got)
		}
	}
}

func TestMatchObject(t *testing.T) {
	for _, c := range []struct {
		pattern, schema, name string
		want                  bool
	}{
		{"orders", "", "orders", true}, {"orders", "public", "orders", true}, {"orders", "", "order", false},
		{"public.orders", "public", "orders", true}, {"public.orders", "hr", "orders", false},
		{"public.orders", "", "orders", true}, // it may be in public
		{"public.*", "", "orders", true}, {"hr.*", "public", "orders", false}, {"*", "public", "orders", true},
		{"*.orders", "hr", "orders", true}, {"*.or*", "hr", "orders", true},
	} {
		if got := sdk.MatchObject(c.pattern, sdk.Object{Schema: c.schema, Name: c.name}); got != c.want {
			t.Errorf("MatchObject(%q, %q.%q) = %v", c.pattern, c.schema, c.name, got)
		}
	}
}
