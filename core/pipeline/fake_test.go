package pipeline_test

import (
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/core/protect"
)

// through returns what values of a field become under what is protected.
func through(t *testing.T, key string, protected map[string]event.Treatment, f event.Field, values ...string) (out []string) {
	t.Helper()
	columns, err := protect.New(protect.Config{Mode: protect.Column, Columns: protected})
	if err != nil {
		t.Fatal(err)
	}
	s, err := pipeline.New(pipeline.Config{
		Terms: pipeline.Terms{Session: &event.Session{}, Protected: columns}, Recorder: &memory{}, Key: []byte(strings.Repeat(key, 32)),
	})
	if err != nil {
		t.Fatal(err)
	}
	x := s.Begin(t.Context(), &event.Request{})
	if err := x.Head(t.Context(), &event.Head{Fields: []event.Field{f}}); err != nil {
		t.Fatal(err)
	}
	var r event.Rows
	_, fields := x.Treated()
	r.Reset(fields)
	for _, v := range values {
		if cells := r.Grow(); len(cells) > 0 {
			cells[0] = []byte(v)
		}
	}
	if err := x.Rows(t.Context(), &r); err != nil {
		t.Fatal(err)
	}
	for i, v := range values {
		if len(fields) > 0 {
			v = string(r.Cell(i, 0))
		}
		out = append(out, v)
	}
	return out
}

func exact(kind string) event.Field {
	return event.Field{Name: "c", Type: kind, Origins: []string{"s.t.c"}, Lineage: event.LineageExact}
}

// A fake has the form of its value, is always the same under one key, and
// another under another.
func TestFakesKeepTheForm(t *testing.T) {
	fake := map[string]event.Treatment{"s.t.c": {Kind: event.Fake}}
	parses := func(layout string) func(string) bool {
		return func(v string) bool { _, err := time.Parse(layout, v); return err == nil }
	}
	for _, test := range []struct {
		kind, value string
		valid       func(string) bool
	}{
		{"text", "ada.Lovelace+x@example.com", regexp.MustCompile(`^[a-z]{3}\.[A-Z][a-z]{7}\+[a-z]@[a-z]{7}\.[a-z]{3}$`).MatchString},
		{"text", "219-09-9471", regexp.MustCompile(`^\d{3}-\d{2}-\d{4}$`).MatchString},
		{"varchar", "Straße 12", regexp.MustCompile(`^[A-Z][a-z]{5} \d\d$`).MatchString},
		{"int4", "2147483647", func(v string) bool { n, err := strconv.ParseInt(v, 10, 32); return err == nil && n >= 1e9 }},
		{"int2", "-32768", func(v string) bool { n, err := strconv.ParseInt(v, 10, 16); return err == nil && n <= -10000 }},
		{"int8", "9223372036854775807", func(v string) bool { _, err := strconv.ParseInt(v, 10, 64); return err == nil && len(v) == 19 }},
		{"numeric", "-1050.20", regexp.MustCompile(`^-[1-9]\d{3}\.\d\d$`).MatchString},
		{"date", "1983-07-19", parses(time.DateOnly)},
		{"timestamptz", "1983-07-19 10:11:12.5+02", parses(time.DateTime + "-07")},
		{"time", "10:11:12", parses(time.TimeOnly)},
		{"inet", "192.168.1.2", func(v string) bool { _, err := netip.ParseAddr(v); return err == nil }},
		{"uuid", "c0ffee12-3d4f-4a5b-8c6d-9e8f7a6b5c4d", regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`).MatchString},
		{"_text", `{219-09-9471,"a b"}`, regexp.MustCompile(`^\{\d{3}-\d{2}-\d{4},"[a-z] [a-z]"\}$`).MatchString},
		{"bytea", `\x6162`, func(v string) bool { return v == "[redacted]" }},
	} {
		got := through(t, "k", fake, exact(test.kind), test.value, test.value)
		if !test.valid(got[0]) || got[0] == test.value || got[0] != got[1] {
			t.Errorf("%s %s becomes %q", test.kind, test.value, got)
		}
		if other := through(t, "l", fake, exact(test.kind), test.value); other[0] == got[0] && test.kind != "bytea" {
			t.Errorf("%s %s becomes %q under two keys", test.kind, test.value, got[0])
		}
	}
}

// Within a document only what a path selects is replaced, by a value of its kind.
func TestDocumentsAreMaskedWithin(t *testing.T) {
	const doc = `{"id": 7, "owner": {"ssn": "219-09-9471", "name": "Ada"}, "cards": [{"number": "4111111111111111", "pin": 1234}, {"number": null}],` +
		` "ssn": "x", "\u0073sn": "y", "deep": [[{"ssn": {"a": [1]}}]], "ok": true}`
	for _, test := range []struct {
		columns map[string]event.Treatment
		value   string
		want    string
	}{
		{map[string]event.Treatment{"s.t.c$.owner.ssn": {Kind: event.Redact}, "s.*.c$.cards[*].number": {Kind: event.KeepLast, Keep: 4}}, doc,
			strings.NewReplacer("219-09-9471", "[redacted]", "411111111111", "************").Replace(doc)},
		{map[string]event.Treatment{"s.t.c$..ssn": {Kind: event.Redact}}, doc,
			strings.NewReplacer("219-09-9471", "[redacted]", `"x"`, `"[redacted]"`, `"y"`, `"[redacted]"`, `{"a": [1]}`, "{}").Replace(doc)},
		{map[string]event.Treatment{"s.t.c$.cards[*].pin": {Kind: event.Hash}, "s.t.c$.ok": {Kind: event.Redact}, "s.t.c$.id": {}}, doc,
			strings.NewReplacer("1234", "0", "true", "false", "7,", "null,").Replace(doc)},
		{map[string]event.Treatment{"s.t.c$.owner": {Kind: event.Redact}, "s.t.c$.owner.name": {}}, doc,
			strings.Replace(doc, `{"ssn": "219-09-9471", "name": "Ada"}`, "{}", 1)},
		{map[string]event.Treatment{"s.t.c$[*].a": {Kind: event.Redact}}, ` [ {"a" : "1"} , 2, {"b":{"a":3}}] `, ` [ {"a" : "[redacted]"} , 2, {"b":{"a":3}}] `},
		{map[string]event.Treatment{"s.t.c$.a": {Kind: event.Redact}}, `{"a": 1`, `"[redacted]"`},
		{map[string]event.Treatment{"s.t.c$.a": {Kind: event.Redact}}, `{"b": 1} 219-09-9471`, `"[redacted]"`},
		{map[string]event.Treatment{"s.t.c$.a": {Kind: event.Redact}, "s.t.*": {}}, `{"b": 1}`, ""},
		{map[string]event.Treatment{"s.t.d$.a": {Kind: event.Redact}}, `{"a": 1}`, `{"a": 1}`},
	} {
		got := through(t, "k", test.columns, exact("jsonb"), test.value)[0]
		if got != test.want {
			t.Errorf("%v makes\n%s, want\n%s", test.columns, got, test.want)
		}
	}
	faked := through(t, "k", map[string]event.Treatment{"s.t.c$.owner": {Kind: event.Fake}, "s.t.c$.cards": {Kind: event.Fake}}, exact("json"), doc)[0]
	if !regexp.MustCompile(`"ssn": "\d{3}-\d\d-\d{4}", "name": "[A-Z][a-z][a-z]"\}, "cards": \[\{"number": "\d{16}", "pin": [1-9]\d{3}\}, \{"number": null\}\]`).MatchString(faked) ||
		strings.Contains(faked, "219-09-9471") || !json.Valid([]byte(faked)) {
		t.Errorf("faked: %s", faked)
	}
}

// What a document becomes is a document.
func TestMaskedDocumentsStayDocuments(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var made func(depth int) any
	made = func(depth int) any {
		switch n := random.IntN(7); {
		case n == 0 && depth > 0:
			return []any{made(depth - 1), made(depth - 1)}
		case n < 3 && depth > 0:
			return map[string]any{"a": made(depth - 1), "é\"": made(depth - 1), "b": made(depth - 1)}
		case n < 4:
			return random.Float64() * 1e6
		case n < 5:
			return "secret\u2028"
		case n < 6:
			return nil
		}
		return true
	}
	kinds := []event.TreatmentKind{event.Null, event.Redact, event.Hash, event.Fake, event.KeepLast}
	for range 500 {
		text, err := json.Marshal(made(5))
		if err != nil {
			t.Fatal(err)
		}
		got := through(t, "k", map[string]event.Treatment{
			"s.t.c$..a": {Kind: kinds[random.IntN(len(kinds))], Keep: 1}, "s.t.c$[*]": {Kind: kinds[random.IntN(len(kinds))], Keep: 1},
		}, exact("jsonb"), string(text))[0]
		if !json.Valid([]byte(got)) {
			t.Fatalf("%s becomes %s", text, got)
		}
	}
}

func FuzzDocuments(f *testing.F) {
	f.Add(`{"a": [1, {"a": "x"}], "b": null}`)
	f.Add(`[[[{"a": "\ud800"}`)
	f.Add(` "a" 1`)
	f.Fuzz(func(t *testing.T, text string) {
		got := through(t, "k", map[string]event.Treatment{"s.t.c$..a": {Kind: event.Redact}, "s.t.c$.b": {Kind: event.Fake}}, exact("json"), text)[0]
		if !json.Valid([]byte(got)) {
			t.Errorf("%q becomes %q", text, got)
		}
	})
}
