package protect_test

import (
	"strings"
	"testing"

	"gatehouse/core/event"
	"gatehouse/core/protect"
)

func TestPaths(t *testing.T) {
	place := func(text string) protect.Place {
		if text == "" {
			return nil
		}
		return strings.Split(strings.ReplaceAll(text, "[]", protect.Element), ".")
	}
	for _, test := range []struct{ path, selects, leaves string }{
		{"$.a", "a", " a.b b b.a []"},
		{"$.a.b", "a.b", "a b a.b.c a.[].b"},
		{"$.a[*].b", "a.[].b", "a.b a.[] a.[].[].b"},
		{"$[*]", "[]", "a [].[]"},
		{"$.*", "a b", " [] a.b"},
		{"$..b", "b a.b a.[].b a.b.b", "a b.a"},
		{"$..b.c", "b.c a.b.c [].b.c", "b c b.a.c"},
		{"$..*", "a a.b [].a", "[]"},
	} {
		p, err := protect.ParsePath(test.path)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range strings.Split(test.selects, " ") {
			if !p.Selects(place(at)) {
				t.Errorf("%s does not select %q", test.path, at)
			}
		}
		for _, at := range strings.Split(test.leaves, " ") {
			if p.Selects(place(at)) {
				t.Errorf("%s selects %q", test.path, at)
			}
		}
	}
	for _, wrong := range []string{"", "$", "a", "$.", "$..", "$.a.", "$.a[0]", "$a", "$.a[*", "$.[*]"} {
		if _, err := protect.ParsePath(wrong); err == nil {
			t.Errorf("%q is read", wrong)
		}
	}
}

// What is elsewhere in a document than what is protected may be seen.
func TestPlacesOfDocuments(t *testing.T) {
	p := columns(t, protect.Strict, map[string]string{"s.t.doc$.a.b": "hash", "s.t.doc$.c[*].d": "null", "s.t.deep$..x": "redact", "s.t.any$.*": "redact"})
	for _, test := range []struct {
		origin, keys string
		protected    bool
	}{
		{"s.t.doc", "", true}, {"s.t.doc", "a", true}, {"s.t.doc", "a b", true}, {"s.t.doc", "a b e", true}, {"s.t.doc", "a c", false}, {"s.t.doc", "b", false},
		{"s.t.doc", "c", true}, {"s.t.doc", "c " + event.Element, true}, {"s.t.doc", "c " + event.Element + " e", false}, {"s.t.doc", "c d", false},
		{"s.t.doc", event.Element, false}, {"s.t.deep", "a b", true}, {"s.t.any", "a", true}, {"s.t.any", event.Element, false}, {"s.t.other", "a", false},
	} {
		keys := strings.Fields(test.keys)
		if _, is := p.At(test.origin, keys); is != test.protected {
			t.Errorf("%q in %s: %t", keys, test.origin, is)
		}
		f := event.Field{Type: "text", Origins: []string{test.origin}, Lineage: event.LineageDerived, Within: []event.Place{{Origin: test.origin, Keys: []string{"b"}}, {Origin: test.origin, Keys: keys}}}
		if masked := p.Field(&f).Kind != event.Pass; masked != (test.protected || test.origin == "s.t.deep" || test.origin == "s.t.any") {
			t.Errorf("a field of %q in %s: %t", keys, test.origin, masked)
		}
	}
}

func TestPartsOfDocuments(t *testing.T) {
	p := columns(t, protect.Strict, map[string]string{"s.t.doc$.a": "hash", "s.t.doc$..b": "redact", "s.t.other": "null"})
	doc := event.Field{Origins: []string{"s.t.doc"}, Lineage: event.LineageExact}
	if got := p.Field(&doc).Kind; got != event.Inspect {
		t.Errorf("the document's treatment is %d", got)
	}
	parts := p.Parts(&doc)
	if len(parts) != 2 || parts[0].Treatment.Kind != event.Redact || !p.HasParts() {
		t.Errorf("parts: %+v", parts)
	}
	// What is not the document as it is has no parts.
	doc.Lineage = event.LineageDerived
	if got := p.Field(&doc).Kind; got != event.Redact || p.Parts(&doc) != nil {
		t.Errorf("of what is derived from it the treatment is %d", got)
	}
	doc.Lineage = event.LineageExact
	for clear, left := range map[string]int{"s.t.doc": 0, "s.t.doc$.a": 1, "s.t.*": 0} {
		if got := p.Without([]string{clear}).Parts(&doc); len(got) != left {
			t.Errorf("without %s %d parts are left", clear, len(got))
		}
	}
	if _, protected := p.Column("s.t.doc"); !protected {
		t.Error("a document with protected parts is not protected")
	}
}
