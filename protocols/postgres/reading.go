package postgres

import (
	"cmp"
	"context"
	"encoding/binary"
	"slices"
	"strings"

	"gatehouse/core/event"
	"gatehouse/core/protect"
)

// redefinedView is what a view's columns come from while the session's own
// transaction changes definitions, which only it can see.
const redefinedView = "pg_catalog.redefined()"

// A reading is what a statement's text tells of its result beside what the
// server describes.
type reading struct {
	protected *protect.Columns
	redefined bool     // definitions of views change in the transaction
	constants []bool   // the fields that are constants; nil: not known
	calls     []string // protected functions that fields without an origin may come from
	subject   *subject // in mode strict; nil: not known
	told      *told    // of subject
	tainted   uint64   // the version of the taints before any of that was looked up
}

// key appends what tells readings apart.
func (r *reading) key(b []byte) []byte {
	b = append(b, r.protected.Identity()...)
	if r.redefined {
		b = append(b, 4)
	}
	for _, is := range r.constants {
		if is {
			b = append(b, 1)
		} else {
			b = append(b, 2)
		}
	}
	for _, c := range r.calls {
		b = append(append(b, 0), c...)
	}
	if r.told != nil {
		b = binary.BigEndian.AppendUint64(append(b, 5), r.told.number)
	}
	return b
}

// reads returns what the text tells of the result of e's statement at hand, or
// nil.
func (s *session) reads(ctx context.Context, e *owed) *reading {
	if e.guarded == nil {
		return nil
	}
	facts, index := e.facts, e.index
	if e.portal != nil {
		if facts = nil; e.portal.st != nil && !e.portal.st.viaSQL {
			facts, index = e.portal.st.facts, 0
		}
	}
	r := &reading{protected: e.guarded, redefined: s.queue.redefines(), calls: e.calls, subject: e.subject(), tainted: s.resource.taints.more()}
	if facts != nil {
		r.constants = facts.Constants(index)
	}
	s.look(ctx, r)
	return r
}

// subject returns the statement that e is at.
func (e *owed) subject() *subject {
	switch {
	case e.portal != nil:
		return e.portal.subject
	case e.index < len(e.subjects):
		return e.subjects[e.index]
	}
	return nil
}

// look sets what the lineage of r's subject tells. Of what cannot be looked up
// nothing is known.
func (s *session) look(ctx context.Context, r *reading) {
	if !r.protected.Strict() {
		return
	}
	var err error
	if r.told, err = s.tellOf(ctx, r.subject, r.protected); err != nil {
		s.env.Log.Warn("the lineage of a result cannot be determined", append(s.logAttrs(), "error", err)...)
	}
}

// guard notes on e what its result may come from, where columns are protected.
func (s *session) guard(ctx context.Context, e *owed, does script) *owed {
	protected := s.ps.Terms().Protected
	if protected == nil {
		return e
	}
	if protected.Strict() && e.portal == nil {
		e.subjects = does.subjects
		s.pin(ctx, e, does.facts, protected)
	}
	e.guarded = protected
	add := func(function string) {
		name := "pg_catalog." + function + "()"
		if _, is := protected.Column(name); is && !slices.Contains(e.calls, name) {
			e.calls = append(e.calls, name)
		}
	}
	addAll := func(statements []event.Statement) {
		for i := range statements {
			for _, f := range statements[i].Functions {
				add(base(f))
			}
			if kind := statements[i].Kind; kind == "EXPLAIN" || kind == "SHOW" {
				add(strings.ToLower(kind))
			}
		}
	}
	addAll(does.statements)
	for i := range does.statements {
		if does.statements[i].Kind != "FETCH" {
			continue
		}
		p, err := s.findPortal(ctx, named(&does.statements[i]))
		switch {
		case err != nil:
		case p != nil && p.req != nil:
			addAll(p.req.Statements)
		case p != nil:
			addAll(p.statements)
		}
	}
	return e
}

// bound notes on p what it is bound as, where columns are protected. A refusal says
// why it cannot run: what its names stand for may be other things than when it
// was prepared. M is what its text means, or nil.
func (s *session) bound(ctx context.Context, p *portal, m *meaning) (*refusal, error) {
	protected := s.ps.Terms().Protected
	if !protected.Strict() && !s.tracks() {
		return nil, nil
	}
	p.subject = s.boundAs(ctx, p.st, m)
	if !protected.Strict() {
		return nil, nil
	}
	if p.subject.isUnknownCall(p.st.facts, p.st.index) {
		return unknownCall, nil
	}
	t, err := s.tellOf(ctx, p.subject, protected)
	p.fails = t == nil || t.fails
	switch {
	case err != nil:
		s.env.Log.Warn("what a statement names cannot be looked up", append(s.logAttrs(), "error", err)...)
		return notLookedUp, ctx.Err()
	case t != nil && t.refusal != "":
		return t.refused(), nil
	}
	return nil, nil
}

// boundAs returns the statement that st is bound as now. M is what its text means, or
// nil.
func (s *session) boundAs(ctx context.Context, st *prepared, m *meaning) *subject {
	var sub *subject
	if m != nil && st.index < len(m.subjects) {
		sub = m.subjects[st.index]
	} else if sub = s.subjectOf(ctx, st.facts, st.index, s.path(ctx)); sub == nil || sub.facts != st.facts || st.viaSQL {
		return sub
	}
	as := sub.sense
	as.edition, as.parameters = st.edition, st.parameters()
	switch {
	case as == sub.sense:
		return sub
	case st.bound == nil || st.bound.sense != as:
		st.bound = &subject{sense: as}
	}
	return st.bound
}

// apply adds to h, whose fields the server says come from columns, what r tells of
// it.
func (r *reading) apply(h *head, columns []column) {
	if r.protected.Strict() {
		r.witness(h, columns)
		return
	}
	for i := range h.Fields {
		f := &h.Fields[i]
		var o origin
		if i < len(h.origins) {
			o = h.origins[i]
		}
		for _, name := range o.below {
			if _, is := r.protected.Column(name); is {
				f.Origins = append(f.Origins, name)
			}
		}
		if o.view && r.redefined {
			f.Origins, f.Lineage = append(f.Origins, redefinedView), event.LineageUnknown
		}
		if f.Lineage == event.LineageUnknown && len(f.Origins) == 0 {
			if r.isConstant(h, i) {
				f.Lineage = event.LineageClean
			} else {
				f.Origins = append(f.Origins, r.calls...)
			}
		}
	}
}

// isConstant is whether the text says that field i is the same whatever the
// database holds.
func (r *reading) isConstant(h *head, i int) bool {
	return len(r.constants) == len(h.Fields) && r.constants[i] && h.oids[i] < firstUserOID
}

// witness sets the origins and lineage of h's fields to what the statement's
// lineage tells, where the server's own description agrees: a field that it says
// comes from a column must be one that depends on it. Otherwise nothing is known
// of the field.
func (r *reading) witness(h *head, columns []column) {
	for i := range h.Fields {
		f := &h.Fields[i]
		if r.told == nil || len(r.told.fields) != len(h.Fields) {
			f.Lineage, f.Why = event.LineageUnknown, "the statement is not known"
			if r.told != nil {
				f.Why = cmp.Or(r.told.unknown, "the server describes other fields")
			}
			if len(f.Origins) > 0 {
				continue
			}
			if r.told == nil && r.isConstant(h, i) {
				f.Lineage, f.Why = event.LineageClean, ""
			} else {
				f.Origins = append(f.Origins, r.calls...)
			}
			continue
		}
		told := &r.told.fields[i]
		if columns[i].table != 0 && !slices.Contains(told.shown, columns[i]) {
			f.Origins, f.Lineage = append(f.Origins, told.origins...), event.LineageUnknown
			f.Why = "the server says that it is another column"
			continue
		}
		f.Origins, f.Lineage, f.Why, f.Within = slices.Clip(told.origins), told.lineage, told.reason, told.within
		if r.told.unknown != "" {
			f.Lineage, f.Why = event.LineageUnknown, cmp.Or(f.Why, r.told.unknown)
		}
	}
}
