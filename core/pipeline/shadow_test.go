package pipeline_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
)

// A full plugin takes part in every way.
type full struct {
	judge
	masker
	detected []event.Edit
	upload   event.Verdict
	note     *event.Note
}

func (full) Name() string { return "full" }

func (f full) Detect(edits []event.Edit, _ *event.Rows, _ []int, _ [][]event.Detection) []event.Edit {
	return append(edits, f.detected...)
}

func (f full) JudgeUpload(context.Context, *event.Session, *event.Head, *event.Rows) (event.Verdict, error) {
	return f.upload, nil
}

func (f full) End(_ context.Context, _ *event.Session, o *event.Outcome) (*event.Note, error) {
	return f.note, nil
}

func (f full) Close(context.Context) (*event.Note, error) { return f.note, nil }

func notices(t *testing.T, rec *memory) (all []event.Notice) {
	t.Helper()
	for _, f := range rec.frames {
		var n event.Notice
		if f.Kind != event.KindNotice {
			continue
		}
		if err := n.Decode(f.Payload); err != nil {
			t.Fatal(err)
		}
		all = append(all, n)
	}
	return all
}

func ownAttrs(attrs ...event.Attr) []event.Attr {
	return append([]event.Attr{{Key: pipeline.AttrPlugin, Value: "full"}}, attrs...)
}

// What a plugin in shadow says is recorded, and nothing of it is done.
func TestShadow(t *testing.T) {
	edit := event.Edit{From: 0, To: 1}
	p := full{
		judge: judge{Verdict: event.Verdict{Rule: "r", Reason: "no", Labels: []event.Attr{{Key: "risk", Value: "9"}}}},
		masker: masker{
			treatments: []event.Treatment{{Kind: event.Redact}, {Kind: event.Inspect}, {Kind: event.Pass}, {Kind: event.Detect, Detect: []event.Detection{{Detector: "email"}}}},
			edits:      []event.Edit{{Field: 1, To: 1}, {Field: 1, From: 1, To: 2}, {Row: 1, Field: 1, To: 1}},
		},
	}
	edit.Field = 2 // the fourth field, as the third of those that are looked at and masked
	p.detected = []event.Edit{edit}
	var labels []event.Attr
	rec := &memory{}
	s := open(t, rec, nil, pipeline.Shadow(p), judge{Verdict: event.Verdict{Action: event.Allow}, seen: &labels},
		masker{treatments: []event.Treatment{{Kind: event.KeepLast, Keep: 1}, {Kind: event.Pass}, {Kind: event.Pass}, {Kind: event.Pass}}})
	x := s.Begin(t.Context(), &event.Request{Operation: "query"})
	if x.Verdict.Action != event.Allow || len(labels) != 0 {
		t.Errorf("%+v, later plugins see %v", x.Verdict, labels)
	}
	head := &event.Head{Fields: []event.Field{{Name: "a"}, {Name: "b"}, {Name: "c"}, {Name: "d"}}}
	if err := x.Head(t.Context(), head); err != nil {
		t.Fatal(err)
	}
	columns, fields := x.Treated()
	if diff := cmp.Diff([]int{0, 1, 3}, columns); diff != "" {
		t.Fatal(diff)
	}
	if x.Passes(0) || !x.Passes(1) || !x.Inspected(1) || x.Inspected(0) || !x.Passes(2) {
		t.Error("fields that are only looked at must pass")
	}
	for range 2 {
		var rows event.Rows
		rows.Reset(fields)
		for range 2 {
			cells := rows.Grow()
			cells[0], cells[1], cells[2] = []byte("abc"), []byte("abc"), []byte("abc")
		}
		if err := x.Rows(t.Context(), &rows); err != nil {
			t.Fatal(err)
		}
		if cells, _ := rows.Row(0); string(cells[0]) != "**c" || string(cells[1]) != "abc" || string(cells[2]) != "abc" {
			t.Errorf("a row became %q", cells)
		}
	}
	if v := x.JudgeUpload(t.Context(), head, &event.Rows{}); v.Action != event.Allow {
		t.Errorf("an upload: %+v", v)
	}
	if err := x.End(event.Outcome{Status: "ok"}); err != nil {
		t.Fatal(err)
	}
	want := []event.Notice{
		{Code: "shadow", Text: "would block: no", Attrs: ownAttrs(event.Attr{Key: pipeline.AttrAction, Value: "block"}, event.Attr{Key: pipeline.AttrRule, Value: "r"}, event.Attr{Key: "risk", Value: "9"})},
		{Code: "shadow", Text: "would treat the result", Attrs: ownAttrs(
			event.Attr{Key: pipeline.AttrTreatment, Value: "a: redact"}, event.Attr{Key: pipeline.AttrTreatment, Value: "b: inspect"}, event.Attr{Key: pipeline.AttrTreatment, Value: "d: detect email null"},
		)},
		{Code: "shadow", Text: "would block the upload", Attrs: ownAttrs(event.Attr{Key: pipeline.AttrAction, Value: "block"})},
		{Code: "shadow", Text: "would have changed values", Attrs: ownAttrs(event.Attr{Key: pipeline.AttrChanged, Value: "b: 4"}, event.Attr{Key: pipeline.AttrChanged, Value: "d: 2"})},
	}
	if diff := cmp.Diff(want, notices(t, rec)); diff != "" {
		t.Error(diff)
	}
}

// A plugin in shadow that fails is recorded too, and nothing fails with it.
func TestShadowFails(t *testing.T) {
	rec := &memory{}
	p := full{judge: judge{err: errors.New("trap")}, masker: masker{treatments: nil}}
	s := open(t, rec, nil, pipeline.Shadow(p))
	x := s.Begin(t.Context(), &event.Request{})
	if err := x.Head(t.Context(), &event.Head{Fields: make([]event.Field, 1)}); x.Verdict.Action != event.Allow || err != nil {
		t.Errorf("%+v, %v", x.Verdict, err)
	}
	if all := notices(t, rec); len(all) != 2 || all[0].Text != "would block: trap" || all[1].Text != "would end the result: 0 treatments for 1 fields" {
		t.Errorf("%+v", all)
	}
}

// Plugins are told of ends, and what they note of them is recorded.
func TestNotes(t *testing.T) {
	rec := &memory{}
	note := &event.Note{Text: "odd", Labels: []event.Attr{{Key: "k", Value: "v"}}}
	s := open(t, rec, nil, full{judge: judge{Verdict: event.Verdict{Action: event.Allow}}, note: note})
	x := s.Begin(t.Context(), &event.Request{})
	if err := errors.Join(x.End(event.Outcome{Status: "ok"}), s.Amend(x.ID, event.Outcome{Status: "rolled back"}), s.Close(t.Context(), event.Notice{})); err != nil {
		t.Fatal(err)
	}
	want := event.Notice{Code: "plugin", Text: "odd", Attrs: ownAttrs(note.Labels...)}
	if diff := cmp.Diff([]event.Notice{want, want, want}, notices(t, rec)); diff != "" {
		t.Error(diff)
	}
	if last := rec.frames[len(rec.frames)-1]; last.Kind != event.KindClose {
		t.Errorf("the last frame is a %d", last.Kind)
	}
}

// An upload that a plugin does not allow is blocked, and that is recorded.
func TestJudgeUpload(t *testing.T) {
	for action, want := range map[event.Action]event.Action{event.Allow: event.Allow, event.Hold: event.Block, event.Block: event.Block} {
		rec := &memory{}
		s := open(t, rec, nil, full{judge: judge{Verdict: event.Verdict{Action: event.Allow}}, upload: event.Verdict{Action: action, Rule: "u"}})
		x := s.Begin(t.Context(), &event.Request{})
		if v := x.JudgeUpload(t.Context(), &event.Head{}, &event.Rows{}); v.Action != want || !x.JudgesUploads() {
			t.Errorf("%v: %+v", action, v)
		}
		recorded := rec.frames[len(rec.frames)-1].Kind == event.KindVerdict && len(rec.frames) == 4
		if recorded != (want == event.Block) {
			t.Errorf("%v: recorded %v", action, rec.kinds())
		}
	}
}
