package protect_test

import (
	"strings"
	"testing"

	"gatehouse/core/event"
	"gatehouse/core/protect"
)

func columns(t *testing.T, mode protect.Mode, texts map[string]string) *protect.Columns {
	t.Helper()
	c := protect.Config{Mode: mode, Columns: map[string]event.Treatment{}}
	for pattern, text := range texts {
		var err error
		if c.Columns[pattern], err = event.ParseTreatment(text); err != nil {
			t.Fatal(err)
		}
	}
	p, err := protect.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestTheStrictestPatternOfAColumnCounts(t *testing.T) {
	p := columns(t, protect.Column, map[string]string{
		"hr.people.*": "keep_last:4", "*.ssn": "redact", "hr.people.salary": "null", "hr.people.phone": "keep_last:2",
	})
	for column, want := range map[string]string{
		"hr.people.name":   "protect/hr.people.*",
		"hr.people.ssn":    "protect/*.ssn",
		"sales.people.ssn": "protect/*.ssn",
		"hr.people.salary": "protect/hr.people.salary",
		"hr.people.phone":  "protect/hr.people.phone",
		"sales.people.tel": "",
		"HR.people.name":   "",
	} {
		got, protected := p.Column(column)
		if got.Rule != want || protected != (want != "") {
			t.Errorf("%s: %+v, %t, want %q", column, got, protected, want)
		}
	}
}

func TestFields(t *testing.T) {
	people := map[string]string{"hr.people.ssn": "hash", "hr.people.pay": "null"}
	field := func(lineage event.Lineage, origins ...string) event.Field {
		return event.Field{Lineage: lineage, Origins: origins}
	}
	for _, test := range []struct {
		field          event.Field
		column, strict event.TreatmentKind
	}{
		{field(event.LineageExact, "hr.people.name"), event.Pass, event.Pass},
		{field(event.LineageExact, "hr.people.ssn"), event.Hash, event.Hash},
		{field(event.LineageDerived, "hr.people.name", "hr.people.age"), event.Pass, event.Pass},
		{field(event.LineageDerived, "hr.people.ssn", "hr.people.pay"), event.Null, event.Null},
		{field(event.LineageFiltered, "hr.people.ssn"), event.Pass, event.Pass},
		{field(event.LineageClean), event.Pass, event.Pass},
		{field(event.LineageUnknown), event.Pass, event.Redact},
		{field(event.LineageUnknown, "hr.people.ssn"), event.Hash, event.Redact},
		{field(event.LineageUnknown, "hr.people.pay"), event.Null, event.Null},
	} {
		if got := columns(t, protect.Column, people).Field(&test.field).Kind; got != test.column {
			t.Errorf("column: %+v gets treatment %d, want %d", test.field, got, test.column)
		}
		if got := columns(t, protect.Strict, people).Field(&test.field).Kind; got != test.strict {
			t.Errorf("strict: %+v gets treatment %d, want %d", test.field, got, test.strict)
		}
	}
	var none *protect.Columns
	if got := none.Field(&event.Field{}).Kind; got != event.Pass || none.Strict() {
		t.Errorf("where nothing is protected a field gets treatment %d", got)
	}
}

func TestClearedColumnsAreNotProtected(t *testing.T) {
	p := columns(t, protect.Strict, map[string]string{"hr.people.ssn": "redact", "hr.*.pay": "null"})
	some := p.Without([]string{"hr.people.*"})
	for column, want := range map[string]bool{"hr.people.ssn": false, "hr.people.pay": false, "hr.others.pay": true} {
		if _, got := some.Column(column); got != want {
			t.Errorf("%s is protected: %t, want %t", column, got, want)
		}
	}
	if !some.Strict() || some.Identity() == p.Identity() {
		t.Errorf("what remains is %s, of %s", some.Identity(), p.Identity())
	}
	// A pattern that covers less than the protected one leaves it.
	if p.Without([]string{"hr.people.ssn", "hr.a*.pay"}) == nil {
		t.Error("nothing remains of what is cleared in part")
	}
	for _, all := range [][]string{{"*"}, {"hr.*"}, {"*.ssn", "hr.*.pay"}} {
		if rest := p.Without(all); rest != nil {
			t.Errorf("%q leaves %s", all, rest.Identity())
		}
	}
	if _, protected := p.Column("hr.people.ssn"); !protected {
		t.Error("clearing one principal cleared all")
	}
}

// What holds protected values in turn is protected as long as a column is.
func TestImpliedColumns(t *testing.T) {
	p, err := protect.New(protect.Config{
		Columns: map[string]event.Treatment{"hr.people.ssn": {Kind: event.Redact}},
		Implied: map[string]event.Treatment{"db.stats.*": {}, "db.setting()": {}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, protected := p.Column("db.stats.most"); !protected || got.Kind != event.Null {
		t.Errorf("implied: %+v, %t", got, protected)
	}
	if _, protected := p.Without([]string{"db.setting()"}).Column("db.setting()"); protected {
		t.Error("what is implied cannot be cleared")
	}
	if rest := p.Without([]string{"hr.people.ssn"}); rest != nil {
		t.Errorf("%s remains where every column is cleared", rest.Identity())
	}
}

func TestWrongConfigurations(t *testing.T) {
	redact := map[string]event.Treatment{"a.b.c": {Kind: event.Redact}}
	for _, test := range []struct {
		c    protect.Config
		want string
	}{
		{protect.Config{Mode: protect.Column}, "no columns"},
		{protect.Config{Mode: protect.Detect, Columns: redact}, "no use with mode detect"},
		{protect.Config{Columns: map[string]event.Treatment{"b.c": {}}}, `"b.c" is not schema.table.column`},
		{protect.Config{Columns: map[string]event.Treatment{"a.b.c": {Kind: event.Pass}}}, `"a.b.c" has no treatment`},
		{protect.Config{Columns: map[string]event.Treatment{"a.b.c": {Kind: event.Inspect}}}, `"a.b.c" has no treatment`},
		{protect.Config{Columns: map[string]event.Treatment{"a.b.c": {Kind: event.Detect}}}, `"a.b.c" has no treatment`},
	} {
		if _, err := protect.New(test.c); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.c, err, test.want)
		}
	}
	if p, err := protect.New(protect.Config{Mode: protect.Detect}); p != nil || err != nil {
		t.Errorf("mode detect: %v, %v", p, err)
	}
	if _, err := protect.ParseMode("lax"); err == nil {
		t.Error("an unknown mode is read")
	}
}

func TestOverlap(t *testing.T) {
	p := columns(t, protect.Column, map[string]string{"hr.people.ssn": "redact", "*.pay": "hash", "hr.*.pay": "null", "a*b.c.d": "redact"})
	for pattern, want := range map[string]string{
		"hr.people.ssn": "protect/hr.people.ssn", "*.people.ssn": "protect/hr.people.ssn", "*.*.ssn": "protect/hr.people.ssn", "hr.people.*": "protect/hr.*.pay",
		"*.people.name": "", "public.people.ssn": "", "*.orders.pay": "protect/hr.*.pay", "public.orders.pay": "protect/*.pay", "public.orders.*": "protect/*.pay",
		"*": "protect/hr.*.pay", "": "", "axxb.c.d": "protect/a*b.c.d", "ab.c.d": "protect/a*b.c.d", "*x*.c.d": "protect/a*b.c.d", "a.c.d": "", "*.*.sn": "",
	} {
		got, protected := p.Overlap(pattern)
		if got.Rule != want || protected != (want != "") {
			t.Errorf("%s: %q, %t, want %q", pattern, got.Rule, protected, want)
		}
	}
	some := p.Without([]string{"hr.people.*", "*.pay"})
	if _, protected := some.Overlap("hr.people.ssn"); protected {
		t.Error("a cleared column is protected")
	}
	if _, protected := some.Overlap("*"); !protected {
		t.Error("who may see some columns may see all")
	}
}
