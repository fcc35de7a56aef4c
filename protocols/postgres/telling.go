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

// A subject is a statement of a text, with what decides what its names stand for
// when the server reads it.
type subject struct {
	facts      *statement.Result
	index      int
	path       string // as session.path has it
	redefined  bool   // definitions change in the transaction, which only the session sees
	uncertain  bool   // the session may have other temporary relations, which it alone sees
	temporary  temporary
	renamed    bool     // what names of relations stand for, too
	parameters string   // OIDs of the types of its parameters, as far as they are known
	edition    string   // of the dictionary by which the server read it first; "" where that is not known
	trigger    *trigger // that it is, instead of a statement of a text
	held       *held    // what it was when a cursor WITH HOLD was declared; nil for others
	// caller is the text of the EXECUTE that runs it with arguments, as its
	// statement at call; nil where they are all constants.
	caller *statement.Result
	call   int
}

// A held is what was told of a cursor's query when it was declared: its rows stay
// what they are, whatever the definitions become.
type held struct {
	told     *told
	identity string // of what was protected then
}

// An analysis is a subject under what is protected.
type analysis struct {
	subject
	identity, all string
}

// A told is what the lineage of a statement tells of it, where columns are
// protected strictly.
type told struct {
	number uint64 // no other has it
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
func (v *vocabulary) tell(ctx context.Context, sub subject, protected, all *protect.Columns) (*told, error) {
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
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.told) < maxTold {
		v.told[key] = t
	}
	return t, nil
}

func (v *vocabulary) telling(ctx context.Context, sub subject, protected, all *protect.Columns) (*told, error) {
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
	j := &judgement{told: t, subject: &sub, protected: protected, all: all, result: r, risky: w.risky}
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

// query is what the subject does.
func (s *subject) query() lineage.Statement {
	if s.trigger != nil {
		return s.trigger.each
	}
	q := s.facts.Query(s.index)
	if s.caller != nil && q != nil {
		q = &lineage.Execute{Args: argumentsOf(s.caller, s.call), Statement: q}
	}
	return q
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

// namesOf returns the names that the columns of a result go by: their own, and
// those of the columns that they inherit from, or that inherit them. It returns also
// where they come from.
func (v *vocabulary) namesOf(ctx context.Context, r *lineage.Result) (names map[lineage.Column][]string, origins map[column]origin, err error) {
	names = make(map[lineage.Column][]string)
	var asked []column
	add := func(lists ...[]lineage.Column) {
		for _, list := range lists {
			for _, c := range list {
				if _, known := names[c]; known {
					continue
				}
				names[c] = []string{c.String()}
				if of, is := columnOf(c); is {
					asked = append(asked, of)
				}
			}
		}
	}
	depends := func(d *lineage.Dependence) {
		add(d.Matched, d.Ordered, d.Failing)
		for _, c := range d.Compared {
			add([]lineage.Column{c.Column})
		}
	}
	add(r.Summed)
	depends(&r.Rows)
	for i := range r.Fields {
		add(r.Fields[i].Exact, r.Fields[i].Derived)
		depends(&r.Fields[i].Rows)
	}
	for i := range r.Flows {
		add(r.Flows[i].Exact, r.Flows[i].Derived, []lineage.Column{r.Flows[i].To})
		depends(&r.Flows[i].Rows)
	}
	if origins, err = v.catalog.learn(ctx, asked); err != nil {
		return nil, nil, err
	}
	for c := range names {
		if of, is := columnOf(c); is {
			if o := origins[of]; !o.view { // what a view's column comes from is told with it
				names[c] = append(append(names[c], o.names...), o.below...)
			}
		}
	}
	return names, origins, nil
}

// columnOf returns the server's identity of a column, if it has one.
func columnOf(c lineage.Column) (column, bool) {
	return column{uint32(c.ID), uint16(int16(c.Number))}, c.ID > 0
}

// A judgement is what a lineage means where columns are protected.
type judgement struct {
	*told
	*subject
	protected *protect.Columns // from the principal
	all       *protect.Columns // of the resource
	result    *lineage.Result
	names     map[lineage.Column][]string
	origins   map[column]origin
	into      lineage.Name // the relation that the statement makes, if it does
	risky     bool         // casts that no text shows may run code
	constants []bool
}

// isProtected is whether one of columns is.
func (j *judgement) isProtected(lists ...[]lineage.Column) bool {
	for _, list := range lists {
		for _, c := range list {
			if slices.ContainsFunc(j.names[c], func(name string) bool { _, is := j.protected.At(name, j.keys(c)); return is }) {
				return true
			}
		}
	}
	return false
}

// keys are those of the place in its documents that c is. Where what was computed
// of protected columns is stored in it, that may be anywhere.
func (j *judgement) keys(c lineage.Column) []string {
	if j.computed([]lineage.Column{c}) {
		return nil
	}
	return c.Keys()
}

// protectedOf returns the names of those of columns that are protected.
func (j *judgement) protectedOf(lists ...[]lineage.Column) (names []string) {
	for _, list := range lists {
		for _, c := range list {
			for _, name := range j.names[c] {
				if _, is := j.protected.At(name, j.keys(c)); is && !slices.Contains(names, name) {
					names = append(names, name)
				}
			}
		}
	}
	return names
}

// decides is whether protected columns decide which rows there are, more than by
// comparisons with constants, or why that is not known.
func (j *judgement) decides(d *lineage.Dependence) (bool, string) {
	if d.Reason != "" {
		return true, d.Reason
	}
	if j.protected.Uses().Matches == protect.Allowed {
		return false, ""
	}
	if i := slices.IndexFunc(d.Matched, func(c lineage.Column) bool { return !isSetting(c) && j.isProtected([]lineage.Column{c}) }); i >= 0 {
		return true, "which rows there are depends on " + d.Matched[i].String()
	}
	return false, ""
}

// isSetting is whether a column stands for the session's settings, which hold
// nothing that is protected, since nothing such may be stored in them.
func isSetting(c lineage.Column) bool {
	return c.ID == 0 && c.Relation == "pg_catalog" && c.Name == "current_setting()"
}

func (j *judgement) judge(kind string) {
	r := j.result
	chosen, reason := j.decides(&r.Rows)
	switch {
	case r.Unknown != "":
		j.unknown = r.Unknown
	case j.renamed && len(r.Fields) > 0 && !j.plain():
		j.unknown = "what names stand for changes in the transaction"
	case chosen:
		j.unknown = reason
	}
	for i := range r.Fields {
		f := j.field(&r.Fields[i])
		if j.risky && (f.lineage == event.LineageDerived || f.lineage == event.LineageClean && (len(j.constants) != len(r.Fields) || !j.constants[i])) {
			f.lineage, f.reason = event.LineageUnknown, "a value has a type that code which is not read may cast"
		}
		if f.lineage == event.LineageUnknown || j.isProtected(r.Fields[i].Exact, r.Fields[i].Derived, r.Fields[i].Rows.Matched) {
			j.touches = true
		}
		j.fields = append(j.fields, f)
	}
	j.touches = j.touches || j.unknown != "" || len(r.Flows) > 0 || j.isProtected(r.Rows.Matched, r.Rows.Ordered, r.Rows.Failing)
	j.fails = j.unknown != "" || j.isProtected(r.Rows.Failing)
	for i := range r.Fields {
		j.fails = j.fails || r.Fields[i].Reason != "" || j.isProtected(r.Fields[i].Rows.Failing)
	}
	compared, partial := j.compared()
	j.sums = j.protectedOf(r.Summed)
	j.touches = j.touches || compared || len(j.sums) > 0
	switch {
	case partial > maxPartial:
		j.refuse("a statement that compares protected columns by range or pattern more than twice is refused", "")
	case j.isProtected(j.counted()):
		j.refuse("a statement whose number of rows depends on protected columns is refused", "")
	case chosen && r.Rows.Reason == "" && j.protected.Uses().Matches == protect.Refused:
		j.refuse("a statement in which protected columns decide which rows there are is refused", "")
	case chosen && kind != "SELECT" && kind != "COPY" && kind != "EXPLAIN" && kind != "DECLARE CURSOR" && kind != "PREPARE":
		j.refuse(kind+" with protected columns in expressions or joins is refused", "")
	}
	j.writes()
}

// maxPartial is how many comparisons of a statement may tell a part of a value,
// like a range or a pattern.
const maxPartial = 2

func (t *told) refuse(why, hint string) {
	if t.refusal == "" {
		t.refusal, t.hint = why, hint
	}
}

// compared is whether protected columns are compared with constants, and how
// often by a part of them.
func (j *judgement) compared() (is bool, partial int) {
	for _, c := range j.result.Compared {
		if j.isProtected([]lineage.Column{c.Column}) {
			is = true
			if !c.Whole {
				partial += c.Times
			}
		}
	}
	return is, partial
}

// counted are the columns on which it depends how many rows there are.
func (j *judgement) counted() []lineage.Column {
	all := slices.Clone(j.result.Rows.Counted)
	for i := range j.result.Fields {
		all = append(all, j.result.Fields[i].Rows.Counted...)
	}
	return all
}

// field returns what is told of a field.
func (j *judgement) field(f *lineage.Field) toldField {
	t := toldField{lineage: event.LineageClean, reason: f.Reason}
	var whole []string // of which not only places have a part
	for _, list := range [][]lineage.Column{f.Exact, f.Derived} {
		for _, c := range list {
			keys := j.keys(c)
			for _, name := range j.names[c] {
				if !slices.Contains(t.origins, name) {
					t.origins = append(t.origins, name)
				}
				if len(keys) == 0 {
					whole = append(whole, name)
				} else {
					t.within = append(t.within, event.Place{Origin: name, Keys: keys})
				}
			}
		}
	}
	t.within = slices.DeleteFunc(t.within, func(p event.Place) bool { return slices.Contains(whole, p.Origin) })
	switch {
	case len(f.Derived) > 0 || j.computed(f.Exact):
		t.lineage = event.LineageDerived
	case len(f.Exact) > 0:
		t.lineage = event.LineageExact
	}
	for _, c := range f.Exact {
		if of, is := columnOf(c); is {
			t.shown = append(t.shown, of)
		}
	}
	for _, c := range f.Derived {
		if of, is := columnOf(c); is && len(c.Keys()) == 0 {
			t.shown = append(t.shown, of) // by a cast that does nothing
		}
	}
	if chosen, reason := j.decides(&f.Rows); chosen && t.reason == "" {
		t.reason = reason
	}
	switch {
	case t.reason != "":
		t.lineage = event.LineageUnknown
	case j.isProtected(f.Derived):
		t.reason = f.Why
	}
	return t
}

// plain is whether no column has a part in the result.
func (j *judgement) plain() bool {
	r := &j.result.Rows
	return !slices.ContainsFunc(j.result.Fields, func(f lineage.Field) bool { return len(f.Exact)+len(f.Derived) > 0 || f.Reason != "" }) &&
		len(r.Compared)+len(r.Matched)+len(r.Ordered) == 0
}

// writes decides about what is written.
func (j *judgement) writes() {
	for i := range j.result.Flows {
		f := &j.result.Flows[i]
		chosen, reason := j.decides(&f.Rows)
		untracked := j.track(f)
		if f.Reason == "" && !chosen && !j.isProtected(f.Exact, f.Derived) && !(j.renamed && len(f.Exact)+len(f.Derived) > 0) {
			continue
		}
		if f.Reason != "" {
			reason = f.Reason
		}
		if reason == "" && !j.renamed && j.protected.Uses().Writes == protect.Held {
			j.stores = append(j.stores, j.protectedOf(f.Exact, f.Derived)...)
			continue
		}
		if reason == "" && !j.renamed && j.protected.Uses().Writes == protect.Tracked {
			if untracked == "" {
				continue
			}
			reason = untracked
		}
		hint := ""
		if reason != "" {
			hint = "What is written is not known: " + reason + "."
		}
		j.refuse("a statement that stores what it reads from protected columns is refused", hint)
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
		declared := *sub
		declared.held = &held{t, protected.Identity()}
		e.subjects[i] = &declared
	}
}

// subjectOf returns the i-th statement of a text as the server would read it now.
// What it runs by name stands in its place. It is nil where that is not known.
func (s *session) subjectOf(ctx context.Context, facts *statement.Result, i int, path string) *subject {
	if facts == nil || i >= facts.Len() || s.untold {
		return nil
	}
	st := &facts.Statements[facts.Top(i)]
	where, certain := s.temporaries()
	switch st.Kind {
	case "EXECUTE":
		p := s.queue.lookup(named(st))
		if p == nil {
			return nil
		}
		sub := subject{facts: p.facts, index: p.index, path: path, redefined: s.queue.redefines(), temporary: where, uncertain: !certain, renamed: s.queue.renames()}
		return sub.calledBy(facts, i)
	case "FETCH":
		p, err := s.findPortal(ctx, named(st))
		if err != nil || p == nil {
			return nil
		}
		return p.subject
	}
	return &subject{facts: facts, index: i, path: path, edition: s.edition(ctx), redefined: s.queue.redefines() || redefines(facts) && !makesAlone(facts), temporary: where, uncertain: !certain || s.temporary.changing(facts, s.makesTemporary(facts)) && !makesAlone(facts), renamed: s.queue.renames() || renames(facts)}
}

// edition is that of the dictionary by which the server chooses among functions and
// operators of one name now; "" where it may be another's, of another role.
func (s *session) edition(ctx context.Context) string {
	if !s.ps.Terms().Protected.Strict() || !s.settings.roleIsFirst() {
		return ""
	}
	_, others, err := s.vocabulary().dictionaries(ctx)
	if err != nil {
		return ""
	}
	return others.edition
}

// calledBy is sub where an EXECUTE runs it, which the server may have read before.
func (sub subject) calledBy(facts *statement.Result, index int) *subject {
	sub.edition = ""
	if computes(argumentsOf(facts, index)) {
		sub.caller, sub.call = facts, index
	}
	return &sub
}

// argumentsOf are those that the EXECUTE at index of a text gives, or the one that
// EXPLAIN runs there.
func argumentsOf(facts *statement.Result, index int) []lineage.Expr {
	q := facts.Query(index)
	if e, is := q.(*lineage.Explain); is {
		q = e.Statement
	}
	if other, is := q.(*lineage.Other); is && other.What == "EXECUTE" {
		return other.Exprs
	}
	return nil
}

// isUnknownCall is whether the i-th statement of a text is an EXECUTE that gives what
// it computes to a statement that sub does not say.
func (sub *subject) isUnknownCall(facts *statement.Result, i int) bool {
	return computes(argumentsOf(facts, i)) && (sub == nil || sub.caller == nil)
}

var unknownCall = &refusal{code: codeAccessDenied, message: "gatehouse: EXECUTE with computed arguments is refused where the statement is not known" + because}

// computes is whether arguments are more than constants.
func computes(args []lineage.Expr) bool {
	return slices.ContainsFunc(args, func(e lineage.Expr) bool {
		_, constant := e.(*lineage.Constant)
		return e != nil && !constant
	})
}

// runIn returns the statement that the i-th of a text runs by a name that the text
// itself defines, of which all have those before it. It is nil where that is not
// certain; found is whether the text decides what the name means.
func runIn(facts *statement.Result, all []*subject, i int) (sub *subject, found bool) {
	st := &facts.Statements[facts.Top(i)]
	name := named(st)
	switch st.Kind {
	case "EXECUTE":
		for _, p := range slices.Backward(facts.Preparations()) {
			if p.Index >= facts.Top(i) || p.Name != name && p.Name != "" {
				continue
			}
			for j := range i {
				if facts.Top(j) == p.Index && p.Body != nil && all[j] != nil {
					return all[j].calledBy(facts, i), true
				}
			}
			return nil, true
		}
	case "FETCH":
		for j := i - 1; j >= 0; j-- {
			switch before := &facts.Statements[facts.Top(j)]; before.Kind {
			case "DECLARE CURSOR":
				if named(before) == name {
					return all[j], true
				}
			case "CLOSE CURSOR":
				if named(before) == name {
					return nil, true
				}
			case "CLOSE CURSOR ALL", "DISCARD ALL", "COMMIT", "ROLLBACK", "PREPARE TRANSACTION", "CALL", "DO":
				return nil, true
			default:
				if before.Opaque {
					return nil, true
				}
			}
		}
	}
	return nil, false
}

// subjects returns the statements of a text as the server would read them.
func (s *session) subjects(ctx context.Context, facts *statement.Result) []*subject {
	if facts == nil {
		return nil
	}
	path := s.path(ctx)
	if facts.Len() > 1 && slices.ContainsFunc(facts.Statements, func(st event.Statement) bool { return movesPath(&st) }) {
		path = ""
	}
	all := make([]*subject, facts.Len())
	for i := range all {
		found := false
		if all[i], found = runIn(facts, all, i); !found {
			all[i] = s.subjectOf(ctx, facts, i, path)
		}
	}
	return all
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
	return s.vocabulary().tell(ctx, *sub, protected, s.ps.Terms().AllProtected)
}

// addTold adds to req the protected columns of which the statements of facts have
// sums that pass, and those whose values they store elsewhere, where policy lets
// somebody approve that.
func (s *session) addTold(ctx context.Context, req *event.Request, facts *statement.Result) error {
	protected := s.ps.Terms().Protected
	if !protected.Strict() || protected.Uses().Writes != protect.Held && protected.Uses().Sums == 0 || facts == nil {
		return nil
	}
	for _, sub := range s.subjects(ctx, facts) {
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
func (s *session) refuseByLineage(ctx context.Context, facts *statement.Result) (*refusal, error) {
	protected := s.ps.Terms().Protected
	if !protected.Strict() {
		return nil, nil
	}
	for i, sub := range s.subjects(ctx, facts) {
		if sub.isUnknownCall(facts, i) {
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
