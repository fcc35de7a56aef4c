package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
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

// cells makes rows of one field each of the given types.
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

func all(n int) (fields []int) {
	for j := range n {
		fields = append(fields, j)
	}
	return fields
}

// batchOf returns rows as a guest gets them.
func batchOf(rows *event.Rows) *sdk.Batch {
	var cells [][][]byte
	for i := range rows.Len() {
		row, _ := rows.Row(i)
		cells = append(cells, row)
	}
	return sdk.NewBatch(rows.Fields, cells...)
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

func TestDetect(t *testing.T) {
	p := configured(t, "null")
	for _, c := range detections {
		edits := p.Inspect(nil, batchOf(rowsOf([]string{c.typ}, []string{c.value})))
		if got := marked(c.value, edits); got != c.want {
			t.Errorf("%s %q:\n got %s\nwant %s", c.typ, c.value, got, c.want)
		}
	}
}

// The value is found wherever it starts and whatever surrounds it: the fast
// survey must not depend on alignment.
func TestDetectAtEveryOffset(t *testing.T) {
	p := configured(t, "null")
	for _, found := range []string{"{redact:alice@example.com}", "{keep4:4111 1111 1111 1111}", "{redact:123-45-6789}"} {
		value := found[strings.Index(found, ":")+1 : len(found)-1]
		for before := range 17 {
			for after := range 17 {
				b, a := strings.Repeat(" ", before), strings.Repeat(" ", after)
				edits := p.Inspect(nil, batchOf(rowsOf([]string{"text"}, []string{b + value + a})))
				if got, want := marked(b+value+a, edits), b+found+a; got != want {
					t.Fatalf("got %q, want %q", got, want)
				}
			}
		}
	}
}

func TestTreat(t *testing.T) {
	p := configured(t, `{"columns": {
		"public.customers.email": "redact",
		"public.customers.*": "hash",
		"*.phone": "keep_last:3",
		"hr.*.salary": null,
		"public.logs.line": "pass"
	}}`)
	head := &sdk.Head{Fields: []sdk.Field{
		{Type: "text", Origins: []string{"public.customers.email"}},
		{Type: "text", Origins: []string{"public.customers.name"}},
		{Type: "int4", Origins: []string{"public.customers.age"}},
		{Type: "varchar", Origins: []string{"crm.people.phone"}},
		{Type: "numeric", Origins: []string{"hr.staff.salary"}},
		{Type: "text", Origins: []string{"public.logs.line"}},
		{Type: "text", Origins: []string{"public.logs.line", "public.customers.email"}},
		{Type: "text", Origins: []string{"public.logs.other"}},
		{Type: "int4"}, {Type: "uuid"}, {Type: "_timestamptz"}, {Type: "float8"},
		{Type: "int8"}, {Type: "_int8"}, {Type: "jsonb"}, {Type: ""}, {Type: "mood"},
	}}
	treat := func(kind sdk.TreatmentKind, rule string) sdk.Treatment { return sdk.Treatment{Kind: kind, Rule: rule} }
	inspect, pass := treat(sdk.Inspect, "mask/detect"), treat(sdk.Pass, "")
	want := []sdk.Treatment{
		treat(sdk.Redact, "mask/public.customers.email"),
		treat(sdk.Hash, "mask/public.customers.*"),
		treat(sdk.Null, "mask/public.customers.*"),
		{Kind: sdk.KeepLast, Keep: 3, Rule: "mask/*.phone"},
		treat(sdk.Null, "mask/hr.*.salary"),
		treat(sdk.Pass, "mask/public.logs.line"),
		treat(sdk.Redact, "mask/public.customers.email"),
		inspect,
		pass, pass, pass, pass,
		inspect, inspect, inspect, inspect, inspect,
	}
	if diff := cmp.Diff(want, p.Treat(nil, head)); diff != "" {
		t.Error(diff)
	}
}

func TestDetectorsCanBeTurnedOff(t *testing.T) {
	head := &sdk.Head{Fields: []sdk.Field{{Type: "text"}}}
	off := configured(t, `{"detect": {"email": "pass", "card": "pass", "ssn": "pass"}}`)
	if got := off.Treat(nil, head)[0].Kind; got != sdk.Pass {
		t.Errorf("treatment %d with all detectors off", got)
	}
	value := "alice@example.com 4111111111111111 123-45-6789"
	for config, want := range map[string]string{
		`{"detect": {"email": "pass", "ssn": "hash"}}`:                         "alice@example.com {keep4:4111111111111111} {hash:123-45-6789}",
		`{"detect": {"card": "pass", "ssn": "pass", "email": "keep_last:11"}}`: "{keep11:alice@example.com} 4111111111111111 123-45-6789",
		`{"detect": {"card": "null"}}`:                                         "{null:" + value + "}",
	} {
		edits := configured(t, config).Inspect(nil, batchOf(rowsOf([]string{"text"}, []string{value})))
		if got := marked(value, edits); got != want {
			t.Errorf("%s: %s", config, got)
		}
	}
}

func TestConfigureRefuses(t *testing.T) {
	for config, want := range map[string]string{
		`{"colums": {}}`:                             "colums",
		`{"columns": {"public.a.b": "star"}}`:        "none of",
		`{"columns": {"public.a.b": "keep_last"}}`:   "none of",
		`{"columns": {"public.a.b": "redact:4"}}`:    "none of",
		`{"columns": {"public.a.b": "keep_last:0"}}`: "from 1 to 255",
		`{"columns": {"email": "null"}}`:             "schema.table.column",
		`{"detect": {"iban": "null"}}`:               "iban",
		`{} {}`:                                      "more than one",
		`[]`:                                         "config",
	} {
		err := new(plugin).Configure([]byte(config))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", config, err)
		}
	}
}

// The plugin in the host answers as it does natively.
func TestInHost(t *testing.T) {
	config := `{"columns": {"public.customers.email": "redact"}}`
	p := configured(t, config)
	guest := plugintest.Masker(t, plugintest.Load(t, config))
	var types []string
	var values []string
	for _, c := range detections {
		types, values = append(types, c.typ), append(values, c.value)
	}
	types, values = append(types, "text"), append(values, "\x00")
	rows := rowsOf(types, values, values)

	head := &event.Head{Fields: rows.Fields}
	want := p.Treat(nil, head)
	got, err := guest.Treat(t.Context(), &event.Session{ID: "s"}, head)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("treat: %s", diff)
	}
	edits, err := guest.Inspect(t.Context(), &event.Session{ID: "s"}, rows, all(len(types)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p.Inspect(nil, batchOf(rows)), edits); diff != "" {
		t.Errorf("inspect: %s", diff)
	}
}

// Finding nothing costs no memory.
func TestInspectDoesNotAllocate(t *testing.T) {
	p := configured(t, "null")
	b := batchOf(rowsOf([]string{"text", "text"}, []string{"a line of text, of 80 characters or so", "4111 1111 1111 1111, alice@example.com"}))
	edits := make([]sdk.Edit, 0, 16)
	b.Field(0)
	if n := testing.AllocsPerRun(100, func() { edits = p.Inspect(edits[:0], b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzDetect(f *testing.F) {
	for _, c := range detections {
		f.Add(c.typ, c.value)
	}
	p := configured(f, "null")
	f.Fuzz(func(t *testing.T, typ, value string) {
		rows := rowsOf([]string{typ}, []string{value + " "})
		edits := p.Inspect(nil, batchOf(rows))
		// The host refuses edits that are out of bounds or of order.
		if _, err := rows.TakeEdits(event.AppendEdits(nil, edits), []int{0}, 0, 1); err != nil {
			t.Fatalf("%s %q: %v", typ, value, err)
		}
	})
}

func BenchmarkInspect(b *testing.B) {
	p := configured(b, "null")
	guest := plugintest.Masker(b, plugintest.Load(b, "null"))
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
		batch := batchOf(rows)
		var edits []sdk.Edit
		b.Run(name+"/native", func(b *testing.B) {
			for b.Loop() {
				edits = p.Inspect(edits[:0], batch)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/cells, "ns/cell")
		})
		b.Run(name+"/guest", func(b *testing.B) {
			inspect(b, guest, rows)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/cells, "ns/cell")
		})
	}
}

func inspect(b *testing.B, m pipeline.Masker, rows *event.Rows) {
	b.ReportAllocs()
	s := new(event.Session)
	for b.Loop() {
		if _, err := m.Inspect(b.Context(), s, rows, []int{0, 1, 2, 3}); err != nil {
			b.Fatal(err)
		}
	}
}
