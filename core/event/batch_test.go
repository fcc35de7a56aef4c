package event_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/core/event"
)

var someFields = []event.Field{{Name: "id", Type: "int8"}, {Name: "email", Type: "text", Origins: []string{"public.customers.email"}}, {Name: "note", Type: "text"}}

func someRows(n int) *event.Rows {
	var r event.Rows
	r.Reset(someFields)
	for i := range n {
		cells := r.Grow()
		cells[0] = fmt.Append(nil, i)
		cells[1] = fmt.Appendf(nil, "user%d@example.com", i)
		if i%3 == 0 {
			cells[2] = bytes.Repeat([]byte("n"), i)
		}
	}
	return &r
}

func encode(r *event.Rows, fields []int, from, to int) []byte {
	var h event.Head
	for _, j := range fields {
		h.Fields = append(h.Fields, r.Fields[j])
	}
	return event.AppendBatch(event.AppendSection(nil, event.SectionHead, h.Append(nil)), r, fields, from, to)
}

func message(t testing.TB, b []byte) *event.Message {
	t.Helper()
	var m event.Message
	if err := m.Decode(b); err != nil {
		t.Fatal(err)
	}
	return &m
}

func TestBatch(t *testing.T) {
	r := someRows(40)
	fields := []int{2, 1}
	var b event.Batch
	if err := b.Decode(message(t, encode(r, fields, 5, 37))); err != nil {
		t.Fatal(err)
	}
	if b.Len() != 32 || b.Fields() != 2 {
		t.Fatalf("%d rows of %d fields", b.Len(), b.Fields())
	}
	for k, j := range fields {
		if diff := cmp.Diff(someFields[j], b.Field(k)); diff != "" {
			t.Error(diff)
		}
		for i := range b.Len() {
			want, got := r.Cell(5+i, j), b.Cell(i, k)
			if !bytes.Equal(want, got) || (want == nil) != (got == nil) {
				t.Errorf("row %d, field %d: %q, want %q", i, k, got, want)
			}
		}
	}
	if err := b.Err(); err != nil {
		t.Error(err)
	}
}

// A batch is cut at the limit, never in a row, and the size is exact.
func TestSizeBatch(t *testing.T) {
	r := someRows(50)
	fields := []int{0, 1, 2}
	for _, limit := range []int{0, 1, 100, 200, 1000, 1 << 20} {
		for from := 0; from < r.Len(); {
			to, size := event.SizeBatch(r, fields, 8, from, limit)
			if to <= from {
				t.Fatalf("limit %d: no rows from %d on", limit, from)
			}
			b := event.AppendBatch(nil, r, fields, from, to)
			if len(b) != size {
				t.Fatalf("rows %d to %d: %d bytes, want %d", from, to, len(b), size)
			}
			if 8+size > limit && to > from+1 {
				t.Fatalf("rows %d to %d: %d bytes, limit %d", from, to, size, limit)
			}
			from = to
		}
	}
}

func TestEditsRoundTrip(t *testing.T) {
	r := someRows(10)
	fields := []int{1, 0}
	batch := []event.Edit{
		{Row: 0, Field: 0, From: 0, To: 4, Treatment: event.Treatment{Kind: event.KeepLast, Keep: 2}},
		{Row: 0, Field: 0, From: 4, To: 5, Treatment: event.Treatment{Kind: event.Replace}, Text: []byte("text")},
		{Row: 0, Field: 1, From: 0, To: 1, Treatment: event.Treatment{Kind: event.Null}},
		{Row: 2, Field: 0, From: 1, To: 1, Treatment: event.Treatment{Kind: event.Replace}, Text: []byte("more")},
	}
	var want []event.Edit
	for _, e := range batch {
		e.Row, e.Field = e.Row+3, fields[e.Field]
		want = append(want, e)
	}
	encoded := event.AppendEdits(nil, batch)
	got, err := r.TakeEdits(message(t, encoded), fields, 3, 6)
	if err != nil {
		t.Fatal(err)
	}
	clear(encoded) // what was taken is a copy
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got, err = r.TakeEdits(message(t, event.AppendEdits(nil, batch[:1])), fields, 6, 9); err != nil || len(got) != 5 || got[4].Row != 6 || string(got[1].Text) != "text" {
		t.Errorf("the next batch: %v, %v", got, err)
	}
	r.DropEdits()
	if got, err = r.TakeEdits(message(t, event.AppendEdits(nil, nil)), fields, 0, 10); err != nil || len(got) != 0 {
		t.Errorf("after DropEdits: %v, %v", got, err)
	}
}

func TestTakeEditsRefuses(t *testing.T) {
	r := someRows(2)
	good := event.AppendEdits(nil, []event.Edit{{Row: 0, Field: 0, From: 0, To: 1, Treatment: event.Treatment{Kind: event.Replace}, Text: []byte("abc")}})
	patch := func(at int, v uint32) []byte {
		b := bytes.Clone(good)
		binary.LittleEndian.PutUint32(b[at:], v)
		return b
	}
	if _, err := r.TakeEdits(message(t, good), []int{1}, 0, 2); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"cut":  event.AppendSection(nil, event.SectionEdits, good[8:35]),
		"more": event.AppendSection(nil, event.SectionEdits, append(bytes.Clone(good[8:36]), 0, 0, 0, 0)),
		"row":  patch(8, 2), "field": patch(12, 1), "from": patch(16, 2), "to": patch(20, 99),
		"treatment": patch(24, uint32(event.Inspect)), "detect": patch(24, uint32(event.Detect)), "unknown treatment": patch(24, 0xff), "reserved": patch(24, 1<<16|4),
		"a text that is not for replace": patch(24, uint32(event.Redact)),
		"text offset":                    patch(28, 1), "text length": patch(32, 4), "text overflow": patch(32, 1<<32-1),
		"no texts": good[:36],
	} {
		r.DropEdits()
		if _, err := r.TakeEdits(message(t, b), []int{1}, 0, 2); !errors.Is(err, event.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMessage(t *testing.T) {
	b := event.AppendSection(nil, event.SectionState, []byte("12345"))
	b = event.AppendSection(b, 99, []byte("from a later version"))
	b = event.AppendSection(b, event.SectionVerdict, nil)
	m := message(t, b)
	if string(m.Section(event.SectionState)) != "12345" || m.Section(event.SectionVerdict) == nil || m.Section(event.SectionNote) != nil || len(b)%4 != 0 {
		t.Errorf("%q", m)
	}
	twice := event.AppendSection(bytes.Clone(b), event.SectionState, nil)
	padding := bytes.Clone(b)
	padding[8+5] = 1
	for name, b := range map[string][]byte{
		"cut header": b[:7], "cut contents": b[:8+5], "cut padding": b[:8+7], "twice": twice, "padding": padding,
		"the longest": {1, 0, 0, 0, 255, 255, 255, 255},
	} {
		if err := m.Decode(b); !errors.Is(err, event.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzMessage(f *testing.F) {
	f.Add(encode(someRows(2), []int{0, 1}, 0, 2))
	f.Add(event.AppendSection(nil, 99, []byte("x")))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m event.Message
		if m.Decode(b) != nil {
			return
		}
		var again []byte
		for s := range event.Section(40) {
			if v := m.Section(s); v != nil {
				again = event.AppendSection(again, s, v)
			}
		}
		if n := message(t, again); !cmp.Equal(&m, n) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}

func FuzzBatch(f *testing.F) {
	f.Add(encode(someRows(5), []int{0, 1, 2}, 0, 5))
	f.Add(encode(someRows(1), nil, 0, 1))
	f.Fuzz(func(t *testing.T, p []byte) {
		var b event.Batch
		var m event.Message
		if m.Decode(p) != nil || b.Decode(&m) != nil {
			return
		}
		for i := range b.Len() {
			for j := range b.Fields() {
				b.Field(j)
				b.Cell(i, j)
			}
		}
		_ = b.Err()
	})
}

func FuzzTakeEdits(f *testing.F) {
	f.Add(event.AppendEdits(nil, []event.Edit{
		{Row: 0, Field: 1, From: 0, To: 1, Treatment: event.Treatment{Kind: event.Replace}, Text: []byte("abc")},
		{Row: 1, Field: 0, From: 1, To: 1, Treatment: event.Treatment{Kind: event.KeepLast, Keep: 4}},
	}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := someRows(3)
		var m event.Message
		if m.Decode(b) != nil {
			return
		}
		edits, err := r.TakeEdits(&m, []int{0, 1}, 1, 3)
		if err != nil {
			return
		}
		for _, e := range edits {
			if v := r.Cell(e.Row, e.Field); e.Row < 1 || e.Field > 1 || e.From > e.To || e.To > len(v) || !e.Treatment.Kind.Edits() {
				t.Fatalf("%+v of %q", e, v)
			}
		}
	})
}

// Neither side allocates once its buffers have grown.
func TestBatchDoesNotAllocate(t *testing.T) {
	r := someRows(100)
	fields := []int{0, 1, 2}
	edits := []event.Edit{{Row: 1, Field: 0, From: 0, To: 1, Treatment: event.Treatment{Kind: event.Replace}, Text: []byte("abc")}}
	var buf, out []byte
	var b event.Batch
	var m event.Message
	n := testing.AllocsPerRun(100, func() {
		to, _ := event.SizeBatch(r, fields, 0, 0, 1<<20)
		buf = event.AppendBatch(buf[:0], r, fields, 0, to)
		if err := errors.Join(m.Decode(buf), b.Decode(&m)); err != nil {
			t.Fatal(err)
		}
		for i := range b.Len() {
			for j := range fields {
				b.Cell(i, j)
			}
		}
		out = event.AppendEdits(out[:0], edits)
		r.DropEdits()
		if m.Decode(out) != nil {
			t.Fatal("edits")
		}
		if _, err := r.TakeEdits(&m, fields, 0, to); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
