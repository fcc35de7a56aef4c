package pipeline

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"maps"
	"slices"

	"gatehouse/core/event"
	"gatehouse/core/protect"
)

// A plan is what is done to the values of one result.
type plan struct {
	fields      []event.Field     // those that are treated
	columns     []int             // their indexes in the head
	treatments  []event.Treatment // one for each of fields
	inspections []inspection
	quotas      []Quota // of the columns that rows show something of
	shadows     []shadowed
	watched     []bool // which of fields a plugin looks at, in shadow or not
	blind       []bool // of which of fields not even what is NULL may be seen
	mac         hash.Hash
	whole       treating // of values that are treated at once
	buf, out    []byte
	finds       []event.Edit
}

// noPlan is for exchanges without a result. It does not change.
var noPlan = new(plan)

// An inspection is the fields that one masker wants to see, or to have searched.
type inspection struct {
	masker   Masker
	fields   []int // indexes in plan.fields
	detector Detector
	sought   []int               // fields that are searched
	finds    [][]event.Detection // for what, one for each of them
}

// A want is what one masker says of the fields that it does not treat itself:
// its treatment by their index.
type want map[int]event.Treatment

// maxHeads bounds the heads whose treatments terms remember.
const maxHeads = 256

// A treatedHead is a head with what the maskers said of it, ready to record.
type treatedHead struct {
	plan             plan
	head, treatments []byte
}

// Head tells the maskers how a result begins, and records it and their
// answers. Call it before Rows, again for each further result. A head that is
// passed again, by the same pointer, must not have changed: the answers are
// remembered. After an error no row of the result may reach the client.
func (x *Exchange) Head(ctx context.Context, h *event.Head) error {
	if err := x.noteChanges(); err != nil { // of the result before
		return err
	}
	x.plan = noPlan
	t := x.t.remembered(h)
	if t == nil {
		var err error
		if t, err = x.t.treat(ctx, h); err != nil {
			return err
		}
		x.t.remember(h, t)
	}
	x.plan = t.begin()
	if err := x.s.append(event.KindHead, x.ID, t.head); err != nil {
		return err
	}
	if len(t.plan.columns) > 0 {
		if err := x.s.append(event.KindPlan, x.ID, t.treatments); err != nil {
			return err
		}
	}
	return x.noteTreatments()
}

// begin returns the plan for one more result with the head: the exchange's own where it
// has something to do.
func (t *treatedHead) begin() *plan {
	if len(t.plan.columns) == 0 {
		return &t.plan
	}
	p := t.plan
	return &p
}

func (t *terms) remembered(h *event.Head) *treatedHead {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.heads[h]
}

func (t *terms) remember(h *event.Head, treated *treatedHead) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.heads == nil || len(t.heads) >= maxHeads {
		t.heads = map[*event.Head]*treatedHead{}
	}
	t.heads[h] = treated
}

// treat asks the maskers about h, and what is protected. Of several treatments
// of a field the strictest counts.
func (t *terms) treat(ctx context.Context, h *event.Head) (*treatedHead, error) {
	n := len(h.Fields)
	strictest := make([]event.Treatment, n)
	for j := range strictest {
		strictest[j].Kind = event.Pass
	}
	wants := make([]want, len(t.maskers))
	for i, m := range t.maskers {
		ts, err := m.Treat(ctx, t.Session, h)
		if err != nil {
			return nil, fmt.Errorf("treat: %w", err)
		}
		if len(ts) != n {
			return nil, fmt.Errorf("treat: %d treatments for %d fields", len(ts), n)
		}
		for j, a := range ts {
			if a.Kind == event.Replace {
				return nil, errors.New("treat: replace is for single values")
			}
			if _, ok := m.(Detector); a.Kind == event.Detect && !ok {
				return nil, errors.New("treat: the plugin has no detectors")
			}
			if a.Kind.Partial() {
				if wants[i] == nil {
					wants[i] = make(want)
				}
				wants[i][j] = a
			}
			if a.Compare(strictest[j]) < 0 {
				strictest[j] = a
			}
		}
	}
	for j := range h.Fields {
		if a := t.Protected.Field(&h.Fields[j]); a.Compare(strictest[j]) < 0 {
			strictest[j] = a
		}
	}
	treated := &treatedHead{head: h.Append(nil), treatments: event.AppendTreatments(nil, strictest)}
	treated.plan.set(h, strictest, t.Protected, wants, t.maskers, t.treatInShadow(ctx, h))
	var err error
	treated.plan.quotas, err = t.columnQuotas(h, strictest)
	return treated, err
}

func (p *plan) set(h *event.Head, ts []event.Treatment, protected *protect.Columns, wants []want, maskers []Masker, shadows []shadowed) {
	place := make(map[int]int)
	watched := make([]bool, len(ts))
	for i := range shadows {
		for _, j := range shadows[i].looks() {
			watched[j] = true
		}
	}
	for j, t := range ts {
		if t.Kind == event.Pass && !watched[j] {
			continue
		}
		place[j] = len(p.columns)
		p.columns = append(p.columns, j)
		p.fields = append(p.fields, h.Fields[j])
		p.treatments = append(p.treatments, t)
		p.watched = append(p.watched, watched[j] || t.Kind.Partial())
		p.blind = append(p.blind, protected.Blind(&h.Fields[j]) && t.Kind == event.Redact)
	}
	for i := range shadows {
		for _, fields := range [][]int{shadows[i].fields, shadows[i].sought} {
			for k, j := range fields {
				fields[k] = place[j]
			}
		}
	}
	p.shadows = shadows
	for i, w := range wants {
		in := inspection{masker: maskers[i]}
		in.detector, _ = maskers[i].(Detector)
		for _, j := range slices.Sorted(maps.Keys(w)) {
			switch {
			case !ts[j].Kind.Partial(): // a stricter treatment leaves nothing to look at
			case w[j].Kind == event.Inspect:
				in.fields = append(in.fields, place[j])
			default:
				in.sought = append(in.sought, place[j])
				in.finds = append(in.finds, w[j].Detect)
			}
		}
		if len(in.fields)+len(in.sought) > 0 {
			p.inspections = append(p.inspections, in)
		}
	}
}

// Treated returns the indexes of the fields that Rows must be given, in order,
// and their descriptions. Both are empty when rows pass untouched. They are
// valid until the next Head.
func (x *Exchange) Treated() (columns []int, fields []event.Field) {
	return x.plan.columns, x.plan.fields
}

// Rows treats the values in r, which holds the fields that Treated returned.
// After an error none of them may reach the client.
func (x *Exchange) Rows(ctx context.Context, r *event.Rows) error {
	x.inspectInShadow(ctx, r)
	p := x.plan
	for i := range p.inspections {
		in := &p.inspections[i]
		if len(in.fields) > 0 {
			edits, err := in.masker.Inspect(ctx, x.t.Session, r, in.fields)
			if err != nil {
				return fmt.Errorf("inspect: %w", err)
			}
			if err := x.edit(r, edits); err != nil {
				return fmt.Errorf("inspect: %w", err)
			}
		}
		if len(in.sought) > 0 {
			p.finds = in.detector.Detect(p.finds[:0], r, in.sought, in.finds)
			if err := x.edit(r, p.finds); err != nil {
				return fmt.Errorf("detect: %w", err)
			}
		}
	}
	for j, t := range p.treatments {
		if t.Kind.Partial() || t.Kind == event.Pass {
			continue
		}
		for i := range r.Len() {
			if v := r.Cell(i, j); v != nil || p.blind[j] {
				r.Set(i, j, p.treat(t, nil, v, p.fields[j].Type, x.s.key))
			}
		}
	}
	return nil
}

// edit carries out edits, which a plugin made: nothing in them is trusted.
func (x *Exchange) edit(r *event.Rows, edits []event.Edit) error {
	p := x.plan
	for n := 0; n < len(edits); {
		i, j := edits[n].Row, edits[n].Field
		if i < 0 || i >= r.Len() || j < 0 || j >= len(r.Fields) {
			return fmt.Errorf("edit of row %d, field %d of %d rows of %d fields", i, j, r.Len(), len(r.Fields))
		}
		if !p.treatments[j].Kind.Partial() {
			return fmt.Errorf("edit of field %d, which was not inspected", j)
		}
		v := r.Cell(i, j)
		at, null := 0, false
		p.out = p.out[:0]
		for ; n < len(edits) && edits[n].Row == i && edits[n].Field == j; n++ {
			e := &edits[n]
			if e.From < at || e.To < e.From || e.To > len(v) || !e.Treatment.Kind.Edits() {
				return fmt.Errorf("edit of bytes %d to %d of %d, treatment %d", e.From, e.To, len(v), e.Treatment.Kind)
			}
			null = null || e.Treatment.Kind == event.Null
			p.out = append(p.out, v[at:e.From]...)
			p.out = append(p.out, p.treat(e.Treatment, e.Text, v[e.From:e.To], "text", x.s.key)...)
			at = e.To
		}
		if null || v == nil {
			r.Set(i, j, nil)
			continue
		}
		p.out = append(p.out, v[at:]...)
		r.Set(i, j, p.out)
	}
	return nil
}

// treat returns the treated form of v, of a type, valid until the next call.
func (p *plan) treat(t event.Treatment, text, v []byte, kind string, key []byte) []byte {
	switch t.Kind {
	case event.Null:
		return nil
	case event.Replace:
		return text
	case event.Redact:
		return redacted
	}
	if p.buf == nil {
		p.buf = []byte{} // an empty value is not NULL
	}
	if t.Kind == event.Fake {
		p.buf = appendFake(p.buf[:0], kind, v, key)
		return p.buf
	}
	p.whole.begin(p, t, key)
	p.buf = p.whole.end(p.whole.append(p.buf[:0], v))
	return p.buf
}

var redacted = []byte("[redacted]")

// resetMAC begins a hash of the treatment Hash.
func (p *plan) resetMAC(key []byte) {
	if p.mac == nil {
		p.mac = hmac.New(sha256.New, key)
	}
	p.mac.Reset()
}

// appendMAC ends a hash.
func (p *plan) appendMAC(b []byte) []byte {
	var sum [sha256.Size]byte
	return hex.AppendEncode(append(b, "h:"...), p.mac.Sum(sum[:0])[:16])
}
