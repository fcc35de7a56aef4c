package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"gatehouse/core/detect"
	"gatehouse/core/event"
	"gatehouse/core/pipeline"
)

// A finder masks what its detectors find.
type finder struct {
	detect.Set
	err error
}

func (*finder) Name() string { return "finder" }

func (f *finder) Treat(_ context.Context, _ *event.Session, h *event.Head) ([]event.Treatment, error) {
	ts := make([]event.Treatment, len(h.Fields))
	for i := range ts {
		ts[i] = event.Treatment{Kind: event.Detect, Detect: []event.Detection{
			{Detector: detect.Email, Kind: event.Redact}, {Detector: detect.Card, Kind: event.KeepLast, Keep: 4}, {Detector: detect.SSN, Kind: event.Null},
		}}
	}
	return ts, f.err
}

func (*finder) Inspect(context.Context, *event.Session, *event.Rows, []int) ([]event.Edit, error) {
	return nil, nil
}

func (f *finder) Detect(edits []event.Edit, rows *event.Rows, fields []int, how [][]event.Detection) []event.Edit {
	return f.Search(edits, rows, fields, how)
}

// What detectors find in a request is masked before judges, recordings and
// approvers get to know it, and an approval binds to what is sent.
func TestDetectorsSeeRequests(t *testing.T) {
	var seen []string
	see := inspector(func(r *event.Request) {
		seen = append(seen, string(r.Payload)+" "+string(bytes.Join(r.Params, []byte(" "))))
	})
	rec := &memory{}
	s := open(t, rec, nil, &finder{}, see)
	long := strings.Repeat("x", 100) + " eve@example.com"
	req := &event.Request{
		Payload: []byte("SELECT 'alice@example.com', 4111111111111111, '123-45-6789' -- bob@example.com"),
		Params:  [][]byte{[]byte("5500 0000 0000 0004"), nil, []byte("nothing"), {}, []byte("xx")},
	}
	sent := *req
	x := s.Begin(t.Context(), req, event.Parameter{Param: 4, Part: []byte(long)})
	want := "SELECT '[redacted]', ************1111, '[redacted]' -- [redacted] ***************0004  nothing  [redacted]"
	if x.Verdict.Action != event.Allow || len(seen) != 1 || seen[0] != want {
		t.Errorf("%v: judges saw %q, want %q", x.Verdict, seen, want)
	}
	if req.Sent == nil || !bytes.Equal(req.Sent.Payload, sent.Payload) || string(req.Sent.Params[0]) != "5500 0000 0000 0004" || req.Params[1] != nil {
		t.Errorf("sent %+v, params %q", req.Sent, req.Params)
	}
	s.Refuse(t.Context(), &event.Request{Payload: []byte("SELEC 'dave@example.com'")}, event.Verdict{Reason: s.Hidden(t.Context(), "near 'dave@example.com'")})
	for _, f := range rec.frames {
		for _, secret := range []string{"@example", "4111", "5500", "123-45"} {
			if bytes.Contains(f.Payload, []byte(secret)) {
				t.Errorf("%s is recorded: %q", secret, f.Payload)
			}
		}
	}
	digest := func(card string) [32]byte {
		r := &event.Request{Payload: []byte(card)}
		return s.Begin(t.Context(), r).Pend().Digest
	}
	if digest("4111111111111111") == digest("5111111111111111 ") {
		t.Error("approvals bind to what is shown only")
	}
	broken := open(t, &memory{}, nil, &finder{err: errors.New("trap")})
	if x := broken.Begin(t.Context(), &event.Request{Payload: []byte("SELECT 1")}); x.Verdict.Action != event.Block {
		t.Errorf("a plugin that fails: %v", x.Verdict)
	}
	plain := &event.Request{Payload: []byte("SELECT 1"), Params: [][]byte{[]byte("x")}}
	if s.Begin(t.Context(), plain); plain.Sent != nil {
		t.Error("a request in which nothing is found is copied")
	}
}

// An inspector looks at requests.
type inspector func(*event.Request)

func (inspector) Name() string { return "inspector" }

func (f inspector) Judge(_ context.Context, _ *event.Session, r *event.Request) (event.Verdict, error) {
	f(r)
	return event.Verdict{Action: event.Allow}, nil
}

var _ pipeline.Detector = (*finder)(nil)
