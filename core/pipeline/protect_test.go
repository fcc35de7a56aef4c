package pipeline_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/core/protect"
)

// What is protected is treated whatever plugins say, and the strictest
// treatment wins.
func TestProtectedColumnsAreTreated(t *testing.T) {
	columns, err := protect.New(protect.Config{Columns: map[string]event.Treatment{"s.t.a": {Kind: event.KeepLast, Keep: 2}, "s.t.b": {Kind: event.Redact}}})
	if err != nil {
		t.Fatal(err)
	}
	head := event.Head{Fields: []event.Field{
		{Name: "a", Origins: []string{"s.t.a"}, Lineage: event.LineageExact},
		{Name: "b", Origins: []string{"s.t.b"}, Lineage: event.LineageExact},
		{Name: "c", Origins: []string{"s.t.c"}, Lineage: event.LineageExact},
		{Name: "sum"},
		{Name: "one", Lineage: event.LineageClean},
	}}
	pass, null := event.Treatment{Kind: event.Pass}, event.Treatment{Kind: event.Null}
	for _, test := range []struct {
		plugins []pipeline.Plugin
		want    []string
	}{
		{nil, []string{"***45", "[redacted]", "12345", "[redacted]", "12345"}},
		{[]pipeline.Plugin{masker{treatments: []event.Treatment{pass, null, null, pass, pass}}}, []string{"***45", "NULL", "NULL", "[redacted]", "12345"}},
	} {
		s, err := pipeline.New(pipeline.Config{
			Terms:    pipeline.Terms{Session: &event.Session{}, Plugins: test.plugins, Protected: columns},
			Recorder: &memory{}, Key: make([]byte, 32),
		})
		if err != nil {
			t.Fatal(err)
		}
		if !s.Masks() {
			t.Error("a session with protected columns does not mask")
		}
		x := s.Begin(t.Context(), &event.Request{})
		if err := x.Head(t.Context(), &head); err != nil {
			t.Fatal(err)
		}
		got := []string{"12345", "12345", "12345", "12345", "12345"}
		treated, fields := x.Treated()
		var r event.Rows
		r.Reset(fields)
		cells := r.Grow()
		for k := range cells {
			cells[k] = []byte("12345")
		}
		if err := x.Rows(t.Context(), &r); err != nil {
			t.Fatal(err)
		}
		for k, j := range treated {
			if got[j] = string(r.Cell(0, k)); r.Cell(0, k) == nil {
				got[j] = "NULL"
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Error(diff)
		}
	}
}
