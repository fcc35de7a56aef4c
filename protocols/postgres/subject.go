package postgres

import (
	"context"
	"slices"
	"sync/atomic"

	"gatehouse/core/event"
	"gatehouse/core/lineage"
	"gatehouse/protocols/postgres/statement"
)

// A subject is a statement that a session runs. It is safe for concurrent use.
type subject struct {
	sense
	told atomic.Pointer[told] // of it, last
}

// A sense is a statement of a text, with what decides what its names stand for
// when the server reads it.
type sense struct {
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

// query is what the statement does.
func (s *sense) query() lineage.Statement {
	if s.trigger != nil {
		return s.trigger.each
	}
	q := s.facts.Query(s.index)
	if s.caller != nil && q != nil {
		q = &lineage.Execute{Args: argumentsOf(s.caller, s.call), Statement: q}
	}
	return q
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
		of := sense{facts: p.facts, index: p.index, path: path, redefined: s.queue.redefines(), temporary: where, uncertain: !certain, renamed: s.queue.renames()}
		return of.calledBy(facts, i)
	case "FETCH":
		p, err := s.findPortal(ctx, named(st))
		if err != nil || p == nil {
			return nil
		}
		return p.subject
	}
	return &subject{sense: sense{
		facts: facts, index: i, path: path, edition: s.edition(ctx), temporary: where,
		redefined: s.queue.redefines() || redefines(facts) && !makesAlone(facts),
		uncertain: !certain || s.temporary.changing(facts, s.makesTemporary(facts)) && !makesAlone(facts),
		renamed:   s.queue.renames() || renames(facts),
	}}
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

// calledBy is the subject that an EXECUTE runs, which the server may have read before.
func (s sense) calledBy(facts *statement.Result, index int) *subject {
	s.edition = ""
	if computes(argumentsOf(facts, index)) {
		s.caller, s.call = facts, index
	}
	return &subject{sense: s}
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
