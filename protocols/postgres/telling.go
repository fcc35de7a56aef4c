package postgres

import (
	"context"
	"slices"
	"sync/atomic"

	"gatehouse/core/event"
	"gatehouse/core/lineage"
	"gatehouse/core/protect"
	"gatehouse/protocols/postgres/statement"
)

// An analysis is a statement under what is protected.
type analysis struct {
	sense
	identity, all string
}

// A told is what the lineage of a statement tells of it, where columns are
// protected strictly.
type told struct {
	number uint64 // no other has it
	// It counts in this version of the vocabulary, and while this is protected.
	version       uint64
	identity, all string

	fields []toldField
	// unknown is why all fields are unknown, or more than their own lineage
	// tells: protected columns decide which rows there are.
	unknown string
	// touches is whether a protected column has any part in it, or may.
	touches bool
	// fails is whether it fails, and how, may depend on protected columns.
	fails bool
	// refusal is why the statement is refused, if it is.
	refusal string
	hint    string
	// stores are the protected columns whose values are stored elsewhere, where
	// somebody may approve that.
	stores []string
	// taints are what columns hold then, where policy says that it is tracked.
	// That of a relation which the statement makes has no number.
	taints []*Taint
	makes  bool // it makes a table of them
	// sums are the protected columns of which it has sums that pass.
	sums []string
}

// A toldField is one of a result, in its order.
type toldField struct {
	origins []string
	lineage event.Lineage
	within  []event.Place
	shown   []column // that the server may say it comes from
	reason  string   // why its lineage is unknown, or what a sum of something protected lacks
}

var tolds atomic.Uint64

// maxTold is how many statements are kept told.
const maxTold = 4096

// tell returns what the lineage of a statement tells, where columns are protected
// from a principal, and all of these of the resource.
func (v *vocabulary) tell(ctx context.Context, sub sense, protected, all *protect.Columns) (*told, error) {
	key := analysis{sub, protected.Identity(), all.Identity()}
	v.mu.Lock()
	t := v.told[key]
	v.mu.Unlock()
	if t != nil {
		return t, nil
	}
	t, err := v.telling(ctx, sub, protected, all)
	if err != nil {
		return nil, err
	}
	t.version, t.identity, t.all = v.version, key.identity, key.all
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.told) < maxTold {
		v.told[key] = t
	}
	return t, nil
}

func (v *vocabulary) telling(ctx context.Context, sub sense, protected, all *protect.Columns) (*told, error) {
	t := &told{number: tolds.Add(1)}
	q := sub.query()
	explained := false
	if e, is := q.(*lineage.Explain); is {
		q, explained = e.Statement, true
	}
	if other, is := q.(*lineage.Other); is && other.Stores && other.What != "CALL" {
		t.touches = true // what it stores is looked at by names: see defines
		return t, nil
	}
	if q == nil {
		t.fails = true
		t.unknown, t.touches = "the statement is not followed", true
		return t, nil
	}
	_, others, err := v.dictionaries(ctx)
	if err != nil {
		return nil, err
	}
	unsettled := v.catalog.unsettled()
	w := &world{vocabulary: v, path: searchPath(sub.path), pathText: sub.path, temporary: sub.temporary, redefined: sub.redefined, protected: protected,
		settled: !unsettled && !sub.redefined && !sub.uncertain, same: sub.edition == others.edition, parameters: sub.parameters,
		tracks: all.Strict() && all.Uses().Writes == protect.Tracked}
	r, err := lineage.Analyze(ctx, q, w)
	if err == nil && !w.redefined && (unsettled && len(r.Flows) > 0 || !unsettled && v.catalog.unsettled()) {
		// What it stores is decided about now, and read once it gets the locks.
		w.redefined, w.settled = len(r.Flows) > 0, false
		r, err = lineage.Analyze(ctx, q, w)
	}
	if err != nil {
		return nil, err
	}
	j := &judgement{told: t, sense: &sub, protected: protected, all: all, result: r, risky: w.risky}
	if j.names, j.origins, err = v.namesOf(ctx, r); err != nil {
		return nil, err
	}
	if made, is := q.(*lineage.Create); is {
		j.into = made.Into
	}
	if sub.trigger != nil {
		j.judge(sub.trigger.String())
		j.judgeTrigger()
		return t, nil
	}
	j.constants = sub.facts.Constants(sub.index)
	j.judge(sub.facts.Statements[sub.facts.Top(sub.index)].Kind)
	if explained {
		t.explain()
	}
	return t, nil
}

// explain makes t what is told of the statement's plan: it passes where nothing
// that is protected has a part in it.
func (t *told) explain() {
	t.fields = []toldField{{lineage: event.LineageClean}}
	if t.touches {
		t.fields[0] = toldField{origins: []string{"pg_catalog.explain()"}, reason: "planning computes with values, and estimates come from statistics of them"}
	}
	t.unknown = ""
}

func (t *told) refuse(why, hint string) {
	if t.refusal == "" {
		t.refusal, t.hint = why, hint
	}
}

// refused returns the refusal of what t is told of.
func (t *told) refused() *refusal {
	return &refusal{code: codeAccessDenied, message: "gatehouse: " + t.refusal + because, hint: t.hint}
}

// notLookedUp refuses what the catalogue tells nothing of.
var notLookedUp = &refusal{code: codeAccessDenied, message: "gatehouse: what the statement names cannot be looked up" + because}

// pin notes on e whether its statements may fail for protected columns, and what is
// told of the cursors WITH HOLD that it declares.
func (s *session) pin(ctx context.Context, e *owed, facts *statement.Result, protected *protect.Columns) {
	for i, sub := range e.subjects {
		t, err := s.tellOf(ctx, sub, protected)
		if err != nil {
			t = nil
		}
		e.fails = e.fails || t == nil || t.fails
		if sub == nil || !slices.Contains(facts.Statements[facts.Top(i)].Options, "WITH HOLD") {
			continue
		}
		e.subjects[i] = &subject{sense: sub.sense}
		e.subjects[i].held = &held{t, protected.Identity()}
	}
}

// vocabulary returns what names stand for at the moment.
func (s *session) vocabulary() *vocabulary {
	return s.catalog.vocabulary(s.protocol.config.Analyzer)
}

// tellOf returns what the lineage of a subject tells, which may be nothing.
func (s *session) tellOf(ctx context.Context, sub *subject, protected *protect.Columns) (*told, error) {
	switch {
	case sub == nil:
		return nil, nil
	case sub.held != nil && sub.held.identity != protected.Identity():
		return nil, nil
	case sub.held != nil:
		return sub.held.told, nil
	}
	v, all := s.vocabulary(), s.ps.Terms().AllProtected
	if t := sub.told.Load(); t != nil && t.version == v.version && t.identity == protected.Identity() && t.all == all.Identity() {
		return t, nil
	}
	t, err := v.tell(ctx, sub.sense, protected, all)
	sub.told.Store(t)
	return t, err
}

// addTold adds to req the protected columns of which the statements of facts have
// sums that pass, and those whose values they store elsewhere, where policy lets
// somebody approve that. Subjects are nil where it is not known yet what the statements
// are.
func (s *session) addTold(ctx context.Context, req *event.Request, facts *statement.Result, subjects []*subject) error {
	protected := s.ps.Terms().Protected
	if !protected.Strict() || protected.Uses().Writes != protect.Held && protected.Uses().Sums == 0 || facts == nil {
		return nil
	}
	if subjects == nil {
		subjects = s.subjects(ctx, facts)
	}
	for _, sub := range subjects {
		t, err := s.tellOf(ctx, sub, protected)
		if err != nil {
			return err
		}
		if t == nil {
			continue
		}
		add := func(key string, names []string) {
			for _, name := range names {
				if a := (event.Attr{Key: key, Value: name}); !slices.Contains(req.Attrs, a) {
					req.Attrs = append(req.Attrs, a)
				}
			}
		}
		add(event.AttrStored, t.stores)
		for _, name := range t.sums { // counted once, if it is in a condition as well
			if !slices.Contains(req.Attrs, event.Attr{Key: event.AttrPredicate, Value: name}) {
				add(event.AttrSum, []string{name})
			}
		}
	}
	return nil
}

// refuseByLineage returns why statements are refused for what they do with
// protected columns.
func (s *session) refuseByLineage(ctx context.Context, does *script) (*refusal, error) {
	protected := s.ps.Terms().Protected
	for i, sub := range does.subjects {
		if sub.isUnknownCall(does.facts, i) {
			return unknownCall, nil
		}
		t, err := s.tellOf(ctx, sub, protected)
		if err != nil {
			s.env.Log.Warn("what a statement names cannot be looked up", append(s.logAttrs(), "error", err)...)
			return notLookedUp, ctx.Err()
		}
		if t != nil && t.refusal != "" {
			return t.refused(), nil
		}
	}
	return nil, nil
}
