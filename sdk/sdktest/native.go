package sdktest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse/core/detect"
	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/sdk"
)

// A native is a plugin that is called as the Go type that it is. It is the
// pipeline's as host.Session is.
type native struct {
	plugin    any
	detectors detect.Set
	state     []byte
	of        *event.Session
}

func (n *native) detect() (err error) {
	if d, is := n.plugin.(sdk.Detecter); is {
		n.detectors, err = detect.New(d.Detectors())
	}
	return err
}

func (n native) open(s *event.Session) (opened, error) {
	n.of = s
	if o, is := n.plugin.(sdk.Opener); is {
		if n.state = o.Open(n.session()); len(n.state) > 4<<10 {
			return nil, errors.New("the state is longer than 4 KiB")
		}
	}
	return n, nil
}

// session returns the session as the plugin sees it.
func (n native) session() *sdk.Session {
	s := sdk.Session{Session: *n.of, State: n.state}
	if n.factsOnly() {
		s.ID, s.Client, s.Start, s.Principal.Expires = "", "", time.Time{}, time.Time{}
	}
	return &s
}

func (n native) factsOnly() bool { return sdk.SeesFactsOnly(n.plugin) }

func (native) Name() string { return "plugin" }

// Roles are those that the plugin has methods for.
func (n native) Roles() (r pipeline.Roles) {
	if _, is := n.plugin.(sdk.Judge); is {
		r.Judge = n
	}
	if _, is := n.plugin.(sdk.Masker); is {
		r.Masker = n
	}
	if _, is := n.plugin.(sdk.UploadJudge); is {
		r.Uploads = n
	}
	if _, is := n.plugin.(sdk.Ender); is {
		r.Ender = n
	}
	if _, is := n.plugin.(sdk.Closer); is {
		r.Closer = n
	}
	return r
}

func (n native) Judge(_ context.Context, _ *event.Session, r *event.Request) (event.Verdict, error) {
	seen := *r
	if n.factsOnly() {
		seen.Payload, seen.Params, seen.Cut = nil, nil, nil
	}
	return n.plugin.(sdk.Judge).Judge(n.session(), &seen), nil
}

func (n native) Treat(_ context.Context, _ *event.Session, h *event.Head) ([]event.Treatment, error) {
	ts := n.plugin.(sdk.Masker).Treat(n.session(), h)
	if len(ts) != len(h.Fields) {
		return nil, fmt.Errorf("%d treatments for %d fields", len(ts), len(h.Fields))
	}
	_, inspects := n.plugin.(sdk.Inspector)
	for i, t := range ts {
		if t.Kind == event.Inspect && !inspects {
			return nil, errors.New("the plugin is no Inspector")
		}
		for _, d := range t.Detect {
			if !n.detectors.Has(d.Detector) {
				return nil, fmt.Errorf("detector %q is unknown", d.Detector)
			}
		}
		if t.Kind == event.Detect && detect.Futile(h.Fields[i].Type, t.Detect) {
			ts[i] = event.Treatment{Kind: event.Pass}
		}
	}
	return ts, nil
}

func (n native) Inspect(_ context.Context, _ *event.Session, rows *event.Rows, fields []int) ([]event.Edit, error) {
	var h event.Head
	for _, j := range fields {
		h.Fields = append(h.Fields, rows.Fields[j])
	}
	b, err := batch(n.state, &h, rows, fields)
	if err != nil {
		return nil, err
	}
	edits := n.plugin.(sdk.Inspector).Inspect(nil, b)
	rows.DropEdits()
	var m event.Message
	if err := m.Decode(event.AppendEdits(nil, edits)); err != nil {
		return nil, err
	}
	return rows.TakeEdits(&m, fields, 0, rows.Len())
}

// batch returns fields of rows, which h describes, as a plugin gets them.
func batch(state []byte, h *event.Head, rows *event.Rows, fields []int) (*sdk.Batch, error) {
	input := event.AppendSection(nil, event.SectionState, state)
	input = event.AppendSection(input, event.SectionHead, h.Append(nil))
	var m event.Message
	b := new(sdk.Batch)
	err := m.Decode(event.AppendBatch(input, rows, fields, 0, rows.Len()))
	return b, errors.Join(err, b.Decode(&m))
}

// Detect returns what the plugin's detectors find.
func (n native) Detect(edits []event.Edit, rows *event.Rows, fields []int, detections [][]event.Detection) []event.Edit {
	return n.detectors.Search(edits, rows, fields, detections)
}

func (n native) JudgeUpload(_ context.Context, _ *event.Session, h *event.Head, rows *event.Rows) (event.Verdict, error) {
	fields := make([]int, len(h.Fields))
	for j := range fields {
		fields[j] = j
	}
	b, err := batch(n.state, h, rows, fields)
	if err != nil {
		return event.Verdict{}, err
	}
	return n.plugin.(sdk.UploadJudge).JudgeUpload(n.session(), h, b), nil
}

func (n native) End(_ context.Context, _ *event.Session, o *event.Outcome) (*event.Note, error) {
	return n.plugin.(sdk.Ender).End(n.session(), o), nil
}

func (n native) Close(context.Context) (*event.Note, error) {
	return n.plugin.(sdk.Closer).Close(n.session()), nil
}
