package pipeline

import (
	"context"
	"fmt"
	"slices"

	"gatehouse/core/event"
)

// Shadow returns p as a plugin in shadow: what it says is recorded, as notices
// with the code event.CodeShadow, and not done.
func Shadow(p Plugin) Plugin { return inShadow{p} }

type inShadow struct{ Plugin }

// Roles are those of the plugin.
func (p inShadow) Roles() Roles { return rolesOf(p.Plugin) }

// The attributes of the notices of plugins in shadow.
const (
	AttrAction    = "gatehouse.action"
	AttrRule      = "gatehouse.rule"
	AttrTreatment = "gatehouse.treatment" // "email: redact", of each field
	AttrChanged   = "gatehouse.changed"   // "email: 12", values that would change
)

// A shadowed is what one plugin in shadow does with a result.
type shadowed struct {
	plugin string
	said   []event.Attr // the treatments of fields
	failed error
	inspection
}

func shadowNotice(plugin string) event.Notice {
	return event.Notice{Code: event.CodeShadow, Attrs: []event.Attr{{Key: AttrPlugin, Value: plugin}}}
}

// judgeInShadow records what plugins in shadow say of the request, unless it is
// just that it may pass.
func (x *Exchange) judgeInShadow(ctx context.Context) error {
	for _, p := range x.t.shadows {
		if p.role.Judge == nil {
			continue
		}
		v, err := p.role.Judge.Judge(ctx, x.t.Session, x.req)
		if err := x.noteVerdict(p.plugin, "would %s", v, err); err != nil {
			return err
		}
	}
	return nil
}

func (x *Exchange) noteVerdict(plugin, format string, v event.Verdict, failed error) error {
	n := shadowNotice(plugin)
	switch {
	case failed != nil:
		n.Text = "would block: " + failed.Error()
	case v.Action == event.Allow && len(v.Labels) == 0:
		return nil
	default:
		n.Text = fmt.Sprintf(format, v.Action)
		if v.Reason != "" {
			n.Text += ": " + v.Reason
		}
		n.Attrs = append(n.Attrs, event.Attr{Key: AttrAction, Value: v.Action.String()})
		if v.Rule != "" {
			n.Attrs = append(n.Attrs, event.Attr{Key: AttrRule, Value: v.Rule})
		}
		n.Attrs = append(n.Attrs, v.Labels...)
	}
	return x.Note(n)
}

// treatInShadow asks the plugins in shadow about h.
func (t *terms) treatInShadow(ctx context.Context, h *event.Head) (all []shadowed) {
	for _, p := range t.shadows {
		m := p.role.Masker
		if m == nil {
			continue
		}
		s := shadowed{plugin: p.plugin, inspection: inspection{masker: m}}
		s.detector, _ = m.(Detector)
		ts, err := m.Treat(ctx, t.Session, h)
		if err == nil && len(ts) != len(h.Fields) {
			err = fmt.Errorf("%d treatments for %d fields", len(ts), len(h.Fields))
		}
		if err != nil {
			all = append(all, shadowed{plugin: p.plugin, failed: err})
			continue
		}
		for j, a := range ts {
			if a.Kind == event.Pass {
				continue
			}
			said := h.Fields[j].Name + ": " + a.String()
			s.said = append(s.said, event.Attr{Key: AttrTreatment, Value: said})
			switch {
			case a.Kind == event.Inspect:
				s.fields = append(s.fields, j)
			case a.Kind == event.Detect && s.detector != nil:
				s.sought, s.finds = append(s.sought, j), append(s.finds, a.Detect)
			}
		}
		if len(s.said) > 0 {
			all = append(all, s)
		}
	}
	return all
}

// looks are the fields that the plugin in shadow looks at, as indexes in the
// head.
func (s *shadowed) looks() []int { return slices.Concat(s.fields, s.sought) }

// noteTreatments records what plugins in shadow say of a result, and begins to
// count what they would change in it.
func (x *Exchange) noteTreatments() error {
	x.changed = nil
	for i := range x.plan.shadows {
		s := &x.plan.shadows[i]
		n := shadowNotice(s.plugin)
		n.Text, n.Attrs = "would treat the result", append(n.Attrs, s.said...)
		if s.failed != nil {
			n.Text = "would end the result: " + s.failed.Error()
		}
		if err := x.Note(n); err != nil {
			return err
		}
	}
	if len(x.plan.shadows) > 0 {
		x.changed = make([]int64, len(x.plan.shadows)*len(x.plan.fields))
	}
	return nil
}

// inspectInShadow counts which values of r plugins in shadow would change.
func (x *Exchange) inspectInShadow(ctx context.Context, r *event.Rows) {
	p := x.plan
	for i := range p.shadows {
		s := &p.shadows[i]
		if s.failed != nil {
			continue
		}
		changed := x.changed[i*len(p.fields):]
		if len(s.fields) > 0 {
			edits, err := s.masker.Inspect(ctx, x.t.Session, r, s.fields)
			if err != nil {
				// The plan is the exchange's own from here on.
				p.shadows = slices.Clone(p.shadows)
				p.shadows[i].failed = err
				continue
			}
			count(changed, edits)
		}
		if len(s.sought) > 0 {
			p.finds = s.detector.Detect(p.finds[:0], r, s.sought, s.finds)
			count(changed, p.finds)
		}
	}
}

// count adds the values that edits change to those of their fields.
func count(changed []int64, edits []event.Edit) {
	for i := range edits {
		if i == 0 || edits[i].Row != edits[i-1].Row || edits[i].Field != edits[i-1].Field {
			changed[edits[i].Field]++
		}
	}
}

// noteChanges records what plugins in shadow would have changed in the result.
func (x *Exchange) noteChanges() error {
	p, changed := x.plan, x.changed
	x.changed = nil
	for i := range p.shadows {
		if changed == nil {
			return nil
		}
		s := &p.shadows[i]
		n := shadowNotice(s.plugin)
		for j, k := range changed[i*len(p.fields) : (i+1)*len(p.fields)] {
			if k > 0 {
				n.Attrs = append(n.Attrs, event.Attr{Key: AttrChanged, Value: fmt.Sprintf("%s: %d", p.fields[j].Name, k)})
			}
		}
		switch {
		case s.failed != nil && s.masker != nil:
			n.Text = "would have ended the result: " + s.failed.Error()
		case len(n.Attrs) > 1:
			n.Text = "would have changed values"
		default:
			continue
		}
		if err := x.Note(n); err != nil {
			return err
		}
	}
	return nil
}
