package detect_test

import (
	"fmt"
	"strings"
	"testing"

	"gatehouse/core/detect"
	"gatehouse/core/event"
)

// usual is what the plugin mask looks for if nothing else is configured.
var usual = []event.Detection{
	{Detector: detect.Email, Kind: event.Redact}, {Detector: detect.Card, Kind: event.KeepLast, Keep: 4}, {Detector: detect.SSN, Kind: event.Redact},
}

// search returns the edits of a value of a type.
func search(s detect.Set, typ, value string, ds ...event.Detection) []event.Edit {
	return s.Search(nil, rowsOf([]string{typ}, []string{value}), []int{0}, [][]event.Detection{ds})
}

// rowsOf makes rows of one field each of the given types.
func rowsOf(types []string, rows ...[]string) *event.Rows {
	var fields []event.Field
	for i, typ := range types {
		fields = append(fields, event.Field{Name: fmt.Sprint("c", i), Type: typ})
	}
	var r event.Rows
	r.Reset(fields)
	for _, row := range rows {
		cells := r.Grow()
		for j, v := range row {
			if v != "\x00" {
				cells[j] = []byte(v)
			}
		}
	}
	return &r
}

// marked shows a value with its edits: {kind:part}.
func marked(v string, edits []event.Edit) string {
	var b strings.Builder
	at := 0
	for _, e := range edits {
		b.WriteString(v[at:e.From])
		kind := map[event.TreatmentKind]string{event.Null: "null", event.Redact: "redact", event.Hash: "hash", event.KeepLast: "keep", event.Replace: "replace"}[e.Treatment.Kind]
		fmt.Fprintf(&b, "{%s", kind)
		if e.Treatment.Keep != 0 {
			fmt.Fprintf(&b, "%d", e.Treatment.Keep)
		}
		if e.Text != nil {
			fmt.Fprintf(&b, " %s", e.Text)
		}
		fmt.Fprintf(&b, ":%s}", v[e.From:e.To])
		at = e.To
	}
	return b.String() + v[at:]
}

var detections = []struct{ typ, value, want string }{
	{"text", "", ""},
	{"text", "nothing to see here, 12 of 345", "nothing to see here, 12 of 345"},
	{"text", "alice@example.com", "{redact:alice@example.com}"},
	{"text", "to Alice <alice.b+x@mail.example.co.uk>, thanks", "to Alice <{redact:alice.b+x@mail.example.co.uk}>, thanks"},
	{"text", "a@b.cc d@e.ff", "{redact:a@b.cc} {redact:d@e.ff}"},
	{"text", "mail bob@example.org.", "mail {redact:bob@example.org}."},
	{"text", "jürgen@bücher.example", "{redact:jürgen@bücher.example}"},
	{"text", "user@localhost and a@b.c and @example.com", "user@localhost and a@b.c and @example.com"},
	{"text", "at 10@20.30 o'clock", "at 10@20.30 o'clock"},
	{"text", "x@@example.com y@z@example.com", "x@@example.com y@{redact:z@example.com}"},
	{"text", "4111111111111111", "{keep4:4111111111111111}"},
	{"text", "card 4111 1111 1111 1111 ok", "card {keep4:4111 1111 1111 1111} ok"},
	{"text", "5500-0000-0000-0004", "{keep4:5500-0000-0000-0004}"},
	{"text", "378282246310005", "{keep4:378282246310005}"},
	{"text", "4222222222222", "{keep4:4222222222222}"},
	{"text", "6304000000000000000", "{keep4:6304000000000000000}"},
	{"text", "no 1 4111 1111 1111 1111 2", "no 1 {keep4:4111 1111 1111 1111} 2"},
	{"text", "4111111111111112", "4111111111111112"},
	{"text", "411111111111", "411111111111"},
	{"text", "00004111111111111111", "00004111111111111111"},
	{"text", "4111  1111  1111  1111", "4111  1111  1111  1111"},
	{"text", "1700000000000", "1700000000000"},
	{"text", "ssn 123-45-6789", "ssn {redact:123-45-6789}"},
	{"text", "123 45 6789", "{redact:123 45 6789}"},
	{"text", "123-45 6789, 123-456-789, 123456789", "123-45 6789, 123-456-789, 123456789"},
	{"text", "000-12-3456 666-12-3456 900-12-3456 123-00-4567 123-45-0000", "000-12-3456 666-12-3456 900-12-3456 123-00-4567 123-45-0000"},
	{"text", "1123-45-6789 123-45-67891", "1123-45-6789 123-45-67891"},
	{"text", "2024-01-15 2024-01-13 2024-01-14", "2024-01-15 2024-01-13 2024-01-14"},
	{"text", "alice@example.com 4111111111111111 123-45-6789", "{redact:alice@example.com} {keep4:4111111111111111} {redact:123-45-6789}"},
	{"text", "4111 1111 1111 1111@example.com", "{redact:4111 1111 1111 1111@example.com}"},
	{"text", "4111111111111111@example.com", "{redact:4111111111111111@example.com}"},
	{"int8", "4111111111111111", "{null:4111111111111111}"},
	{"int8", "1700000000000", "1700000000000"},
	{"numeric", "4111111111111111.00", "{null:4111111111111111.00}"},
	{"_int8", "{1,4111111111111111}", "{1,{replace NULL:4111111111111111}}"},
	{"_text", `{a@b.cc,"x y"}`, `{{redact:a@b.cc},"x y"}`},
	{"jsonb", `{"e": "a@b.cc", "card": 4111111111111111, "s": "\" 4111111111111111"}`,
		`{"e": "{redact:a@b.cc}", "card": {replace null:4111111111111111}, "s": "\" {keep4:4111111111111111}"}`},
	{"json", `[4111111111111111, "\\", 4111111111111111, "a@b.cc"]`, `[{replace null:4111111111111111}, "\\", {replace null:4111111111111111}, "{redact:a@b.cc}"]`},
	{"xml", "<a>a@b.cc</a>", "<a>{redact:a@b.cc}</a>"},
	{"bytea", `\x616c696365406578616d706c652e636f6d`, `{null:\x616c696365406578616d706c652e636f6d}`},
	{"bytea", `\x6100`, `\x6100`},
	{"", "a@b.cc", "{redact:a@b.cc}"},
	{"mood", "a@b.cc", "{redact:a@b.cc}"},
}

func TestSearch(t *testing.T) {
	for _, c := range detections {
		if got := marked(c.value, search(detect.Set{}, c.typ, c.value, usual...)); got != c.want {
			t.Errorf("%s %q:\n got %s\nwant %s", c.typ, c.value, got, c.want)
		}
	}
}

// The value is found wherever it starts and whatever surrounds it: the fast
// survey must not depend on alignment.
func TestSearchAtEveryOffset(t *testing.T) {
	for _, found := range []string{"{redact:alice@example.com}", "{keep4:4111 1111 1111 1111}", "{redact:123-45-6789}"} {
		value := found[strings.Index(found, ":")+1 : len(found)-1]
		for before := range 17 {
			for after := range 17 {
				b, a := strings.Repeat(" ", before), strings.Repeat(" ", after)
				edits := search(detect.Set{}, "text", b+value+a, usual...)
				if got, want := marked(b+value+a, edits), b+found+a; got != want {
					t.Fatalf("got %q, want %q", got, want)
				}
			}
		}
	}
}

func TestDetections(t *testing.T) {
	value := "alice@example.com 4111111111111111 123-45-6789"
	for want, ds := range map[string][]event.Detection{
		value: nil,
		"alice@example.com {keep4:4111111111111111} {hash:123-45-6789}": {{Detector: detect.SSN, Kind: event.Hash}, {Detector: detect.Card, Kind: event.KeepLast, Keep: 4}},
		"{keep11:alice@example.com} 4111111111111111 123-45-6789":       {{Detector: detect.Email, Kind: event.KeepLast, Keep: 11}, {Detector: detect.Card, Kind: event.Pass}},
		"{null:" + value + "}": {usual[0], {Detector: detect.Card, Kind: event.Null}},
	} {
		if got := marked(value, search(detect.Set{}, "text", value, ds...)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

var declared = []event.Detector{
	{Name: "key", Pattern: `AKIA[0-9A-Z]{16}`},
	{Name: "iban", Pattern: `IBAN:? *([A-Z]{2}[0-9]{10,30})`},
	{Name: "line", Pattern: `(?m)^secret.*$`},
	{Name: "nothing", Pattern: `x*`},
	{Name: "date", Pattern: `\d{4}-\d\d-\d\d`},
	{Name: "any", Pattern: `b.*c`},
}

func TestPatterns(t *testing.T) {
	s, err := detect.New(declared)
	if err != nil {
		t.Fatal(err)
	}
	redact := func(name string) event.Detection { return event.Detection{Detector: name, Kind: event.Redact} }
	for _, c := range []struct {
		typ, value, want string
		ds               []event.Detection
	}{
		{"text", "AKIAABCDEFGHIJKLMNOP and AKIA", "{redact:AKIAABCDEFGHIJKLMNOP} and AKIA", []event.Detection{redact("key")}},
		{"text", "IBAN: DE0012345678", "IBAN: {redact:DE0012345678}", []event.Detection{redact("iban")}},
		{"text", "a\nsecret b\nc", "a\n{redact:secret b}\nc", []event.Detection{redact("line")}},
		{"text", "axxb", "a{redact:xx}b", []event.Detection{redact("nothing")}},
		{"text", "b a@b.cc c", "{redact:b a@b.cc c}", []event.Detection{redact("any"), {Detector: detect.Email, Kind: event.KeepLast, Keep: 1}}},
		{"text", "a@b.cc AKIAABCDEFGHIJKLMNOP", "{hash:a@b.cc} {redact:AKIAABCDEFGHIJKLMNOP}", []event.Detection{redact("key"), {Detector: detect.Email, Kind: event.Hash}}},
		{"date", "2026-11-26", "{null:2026-11-26}", []event.Detection{redact("date")}},
		{"date", "2026-11-26", "2026-11-26", []event.Detection{redact("key")}},
		{"jsonb", `{"a": "AKIAABCDEFGHIJKLMNOP"}`, `{"a": "{redact:AKIAABCDEFGHIJKLMNOP}"}`, []event.Detection{redact("key")}},
		{"jsonb", `{"b": "c"}`, `{null:{"b": "c"}}`, []event.Detection{redact("any")}},
		{"_text", `{abc,bdc}`, `{null:{abc,bdc}}`, []event.Detection{redact("any")}},
		{"text", "", "", []event.Detection{redact("nothing")}},
	} {
		if got := marked(c.value, search(s, c.typ, c.value, c.ds...)); got != c.want {
			t.Errorf("%s %q:\n got %s\nwant %s", c.typ, c.value, got, c.want)
		}
	}
}

// Declared detectors come from a module, which may be hostile.
func TestNewRefuses(t *testing.T) {
	for want, d := range map[string]event.Detector{
		"a name has":         {Pattern: "x"},
		"name has 1 to 64":   {Name: "Key", Pattern: "x"},
		"the name is taken":  {Name: "email", Pattern: "x"},
		"a pattern has":      {Name: "a"},
		"1 to 1024 bytes":    {Name: "a", Pattern: strings.Repeat("x", 1025)},
		"more than 4096":     {Name: "a", Pattern: "(abcdefgh){900}"},
		"missing closing":    {Name: "a", Pattern: "(x"},
		"invalid repeat":     {Name: "a", Pattern: "(a{1000}){1000}"},
		"more than 4096 ins": {Name: "a", Pattern: strings.Repeat(`\pL`, 300)},
	} {
		if _, err := detect.New([]event.Detector{d}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", d.Pattern, err, want)
		}
	}
	if _, err := detect.New([]event.Detector{{Name: "a", Pattern: "x"}, {Name: "a", Pattern: "y"}}); err == nil {
		t.Error("two of a name are taken")
	}
}

func TestFutile(t *testing.T) {
	date := []event.Detection{{Detector: "date", Kind: event.Redact}}
	if !detect.Futile("uuid", usual) || !detect.Futile("_timestamptz", usual) || !detect.Futile("text", nil) || detect.Futile("int8", usual) || detect.Futile("date", date) {
		t.Error("what can be found is found wrong")
	}
}

// Finding nothing, and finding what is built in, costs no memory.
func TestSearchDoesNotAllocate(t *testing.T) {
	rows := rowsOf([]string{"text", "text"}, []string{"a line of text, of 80 characters or so", "4111 1111 1111 1111, alice@example.com"})
	edits := make([]event.Edit, 0, 16)
	fields, ds := []int{0, 1}, [][]event.Detection{usual, usual}
	if n := testing.AllocsPerRun(100, func() { edits = detect.Set{}.Search(edits[:0], rows, fields, ds) }); n != 0 || len(edits) != 2 {
		t.Errorf("%v allocations, %d edits", n, len(edits))
	}
}

func FuzzSearch(f *testing.F) {
	for _, c := range detections {
		f.Add(c.typ, c.value)
	}
	s, err := detect.New(declared)
	if err != nil {
		f.Fatal(err)
	}
	all := append([]event.Detection{{Detector: "key", Kind: event.Hash}, {Detector: "any", Kind: event.Fake}, {Detector: "nothing"}}, usual...)
	f.Fuzz(func(t *testing.T, typ, value string) {
		rows := rowsOf([]string{typ}, []string{value + " "})
		for _, ds := range [][]event.Detection{usual, all} {
			edits := s.Search(nil, rows, []int{0}, [][]event.Detection{ds})
			var m event.Message
			if err := m.Decode(event.AppendEdits(nil, edits)); err != nil {
				t.Fatal(err)
			}
			// Edits that are out of bounds or of order are malformed.
			if _, err := rows.TakeEdits(&m, []int{0}, 0, 1); err != nil {
				t.Fatalf("%s %q: %v", typ, value, err)
			}
		}
	})
}

func BenchmarkSearch(b *testing.B) {
	for name, value := range map[string]string{
		"short":  "processing",
		"text84": strings.Repeat("lorem ip", 10) + "sum.",
		"email":  "alice.smith@example.com",
		"card":   "4111 1111 1111 1111",
	} {
		row := []string{value, value, value, value}
		var grid [][]string
		for range 100 {
			grid = append(grid, row)
		}
		rows := rowsOf([]string{"text", "text", "text", "text"}, grid...)
		cells := float64(rows.Len() * 4)
		var edits []event.Edit
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				edits = detect.Set{}.Search(edits[:0], rows, []int{0, 1, 2, 3}, [][]event.Detection{usual, usual, usual, usual})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/cells, "ns/cell")
		})
	}
}
