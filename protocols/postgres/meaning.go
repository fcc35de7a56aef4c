package postgres

import (
	"context"
	"slices"

	"gatehouse/core/event"
	"gatehouse/protocols/postgres/statement"
)

// Bearings are what decides what a text means to a session at a moment, beside the
// text, where the session has the role that it began with and no temporary relations.
type bearings struct {
	renewals uint64 // of the policy
	// version is the catalogue's. While definitions change in an open transaction, it
	// is another one whenever it is asked for.
	version uint64
	path    string // as session.path has it
}

// bearings returns those of now. It reports false where more than they decides.
func (s *session) bearings(ctx context.Context) (b bearings, all bool) {
	if s.temporary.may || !s.settings.roleIsFirst() {
		return bearings{}, false
	}
	return bearings{s.renewals, s.catalog.changed(), s.path(ctx)}, true
}

// Meanings are what texts mean by the same bearings, so that what is sent again is not
// worked out again. They belong to the requests' goroutine.
type meanings struct {
	by bearings
	of map[*statement.Result]*meaning // nil for those of which nothing can be kept
}

// A meaning is what was found out about a text that may pass.
type meaning struct {
	script
	// unguarded is whether it was found to name no relation with a protected column.
	unguarded bool
}

// maxMeanings is how many texts a session keeps the meanings of.
const maxMeanings = 64

// meaning returns what a text means now, or nil where that cannot be kept.
// Untried is whether nobody has looked since bearings changed.
func (s *session) meaning(ctx context.Context, facts *statement.Result) (m *meaning, untried bool) {
	if !lasting(facts) {
		return nil, false
	}
	now, all := s.bearings(ctx)
	if !all {
		return nil, false
	}
	if now != s.meanings.by {
		s.meanings = meanings{by: now}
	}
	m, known := s.meanings.of[facts]
	return m, !known
}

// meaningAnew is meaning for a text that was let pass before: where nobody has looked
// since bearings changed, it looks.
func (s *session) meaningAnew(ctx context.Context, facts *statement.Result) *meaning {
	m, untried := s.meaning(ctx, facts)
	if untried {
		does, ref, err := s.understand(ctx, facts)
		m = s.keep(ctx, does, ref == nil && err == nil)
	}
	return m
}

// lasting is whether what a text means depends on its bearings alone, as far as the text
// tells: not on what has a name by SQL, nor on what it changes itself.
func lasting(facts *statement.Result) bool {
	return len(facts.Statements) > 0 && !facts.Context && !facts.DDL && !facts.Copy && !facts.Executes() && !facts.Fetches() && !changesNames(facts.Statements)
}

// keep keeps what a text that nobody had looked at was found to mean, where it may pass,
// and returns it. It is nil where that depends on more than its bearings: on code that
// moves them, or on what the gate cannot see.
func (s *session) keep(ctx context.Context, does script, pass bool) (m *meaning) {
	if now, all := s.bearings(ctx); !all || now != s.meanings.by {
		return nil
	}
	if known, _ := s.catalog.expanded(expanded{does.facts, s.meanings.by.path}); pass && known != nil && !slices.Contains(does.subjects, nil) {
		m = &meaning{script: does}
	}
	if s.meanings.of == nil || len(s.meanings.of) >= maxMeanings {
		s.meanings.of = make(map[*statement.Result]*meaning)
	}
	s.meanings.of[does.facts] = m
	return m
}

// holds is whether statements are what m is of, and the policy and the catalogue are
// still those that it was found by.
func (s *session) holds(m *meaning, statements []event.Statement) bool {
	return m.runs(statements) && s.meanings.by.renewals == s.renewals && s.meanings.by.version == s.catalog.changed()
}

// runs is whether statements are just what the text was found to run.
func (m *meaning) runs(statements []event.Statement) bool {
	return m != nil && len(statements) > 0 && len(statements) == len(m.statements) && &statements[0] == &m.statements[0]
}
