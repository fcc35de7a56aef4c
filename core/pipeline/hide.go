package pipeline

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"gatehouse/core/event"
)

// A sought is what one masker wants found in values of unknown origin.
type sought struct {
	detector Detector
	finds    []event.Detection
}

// A seeker asks the maskers, once, what they want found in requests: what they
// detect in a text of no known column.
type seeker struct {
	mu    sync.Mutex
	asked bool
	all   []sought
}

var unknownText = event.Head{Fields: []event.Field{{Type: "text"}}}

func (t *terms) sought(ctx context.Context) ([]sought, error) {
	t.seeker.mu.Lock()
	defer t.seeker.mu.Unlock()
	if t.seeker.asked {
		return t.seeker.all, nil
	}
	var all []sought
	for _, m := range t.maskers {
		d, ok := m.(Detector)
		if !ok {
			continue
		}
		ts, err := m.Treat(ctx, t.Session, &unknownText)
		if err != nil {
			return nil, fmt.Errorf("treat: %w", err)
		}
		if len(ts) == 1 && ts[0].Kind == event.Detect {
			finds := slices.Clone(ts[0].Detect)
			for i := range finds {
				if finds[i].Kind == event.Null {
					finds[i].Kind = event.Redact // a request is not NULL because of what is in it
				}
			}
			all = append(all, sought{d, finds})
		}
	}
	t.seeker.all, t.seeker.asked = all, true
	return all, nil
}

// hide masks what detectors find in the text and the parameters of req. Of the
// parameters that cut gives whole, those in which something is found become
// secret. It reports whether that could be done.
func (s *Session) hide(ctx context.Context, t *terms, req *event.Request, cut []event.Parameter) bool {
	if len(req.Payload)+len(req.Params) == 0 {
		return true
	}
	all, err := t.sought(ctx)
	if err != nil {
		return false
	}
	if len(all) == 0 {
		return true
	}
	h := hiding{all: all, key: s.key}
	payload, params := h.masked(req.Payload), req.Params
	for i, v := range params {
		shown := h.masked(v)
		for j := range cut {
			if c := &cut[j]; c.Param == i && !c.Secret && h.finds(c.Part) {
				c.Secret, h.found, shown = true, true, redacted
			}
		}
		if len(shown) == len(v) && (len(v) == 0 || &shown[0] == &v[0]) {
			continue
		}
		if &params[0] == &req.Params[0] {
			params = slices.Clone(params)
		}
		params[i] = shown
	}
	if !h.found {
		return true
	}
	if req.Sent == nil {
		req.Sent = &event.Sent{Payload: req.Payload, Params: req.Params}
	}
	req.Payload, req.Params = payload, params
	if len(req.Masked) > 0 {
		req.Masked = append(req.Masked, "*") // what is found is of no known column
	}
	return true
}

// Hidden returns text as it may be recorded and shown: what detectors find in it is
// masked.
func (s *Session) Hidden(ctx context.Context, text string) string {
	h, err := s.Hides(ctx)
	switch {
	case err != nil:
		return string(redacted)
	case h == nil:
		return text
	}
	return string(h.Hide([]byte(text)))
}

// Hides returns what masks what detectors find in values that a protocol finds in
// requests itself, or nil where nothing is sought.
func (s *Session) Hides(ctx context.Context) (*Hiding, error) {
	all, err := s.current.Load().sought(ctx)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return &Hiding{hiding{all: all, key: s.key}}, nil
}

// A Hiding masks what detectors find in values. It is for one goroutine.
type Hiding struct{ hiding hiding }

// Hide returns a value as it may be recorded and shown: v itself where nothing is
// found in it.
func (h *Hiding) Hide(v []byte) []byte { return h.hiding.masked(v) }

// Finds reports whether something is found in a value.
func (h *Hiding) Finds(v []byte) bool { return len(v) > 0 && h.hiding.finds(v) }

// Treatment says what is done to values.
func (h *Hiding) Treatment() event.Treatment {
	t := event.Treatment{Kind: event.Detect}
	for _, s := range h.hiding.all {
		t.Detect = append(t.Detect, s.finds...)
	}
	return t
}

// A hiding is what hides values of one request.
type hiding struct {
	all   []sought
	key   []byte
	plan  plan
	rows  event.Rows
	edits []event.Edit
	found bool
}

func (h *hiding) search(s sought, v []byte) []event.Edit {
	h.rows.Reset(unknownText.Fields)
	h.rows.Grow()[0] = v
	h.edits = s.detector.Detect(h.edits[:0], &h.rows, []int{0}, [][]event.Detection{s.finds})
	return h.edits
}

func (h *hiding) finds(v []byte) bool {
	return slices.ContainsFunc(h.all, func(s sought) bool { return len(h.search(s, v)) > 0 })
}

// masked returns v with what is found in it masked: v itself where that is
// nothing.
func (h *hiding) masked(v []byte) []byte {
	if len(v) == 0 {
		return v
	}
	for _, s := range h.all {
		var shown []byte
		at := 0
		for _, e := range h.search(s, v) {
			if e.From < at || e.To < e.From || e.To > len(v) {
				h.found = true
				return redacted
			}
			if !e.Treatment.Kind.Edits() {
				e.Treatment.Kind = event.Redact
			}
			for e.From+1 < e.To && (v[e.From] == '\'' || v[e.From] == '$') {
				e.From++ // it quotes the value in a statement's text
			}
			shown = append(append(shown, v[at:e.From]...), h.plan.treat(e.Treatment, e.Text, v[e.From:e.To], "text", h.key)...)
			at, h.found = e.To, true
		}
		if shown != nil {
			v = append(shown, v[at:]...)
		}
	}
	return v
}
