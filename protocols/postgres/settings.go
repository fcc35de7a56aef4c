package postgres

import (
	"fmt"

	"gatehouse/protocols/postgres/statement"
)

// A judged is the context that something was judged in. Where it is another one
// now, what would run may be another thing.
type judged struct {
	runs     uint64 // changes when a setting may have, or code that the gate cannot see has run
	names    uint64 // changes when a prepared statement or portal may have
	reported uint64 // changes when the server reports another setting
}

func (j judged) String() string { return fmt.Sprintf("%d.%d.%d", j.runs, j.names, j.reported) }

// now is the context of what is sent next. The requests' goroutine calls it, as
// all below.
func (s *session) now() judged {
	j := s.context
	j.reported = s.reported.Load()
	return j
}

// stale reports whether what p would run may be another thing than when it was
// judged.
func (s *session) stale(p *portal) bool {
	now := s.now()
	if p.context.runs != now.runs || p.context.reported != now.reported {
		return true
	}
	byName := p.st != nil && !p.st.viaSQL && (p.st.facts.Executes() || p.st.facts.Fetches())
	return byName && p.context.names != now.names
}

// note takes into account what a request that goes to the server may change.
func (s *session) note(facts *statement.Result) {
	if facts.Context || facts.Code {
		s.context.runs++
	}
	if changesNames(facts.Statements) {
		s.context.names++
	}
}

// noteExecuted is note for an Execute of p, which was judged in the context as
// it is. What p itself changes does not count against it.
func (s *session) noteExecuted(p *portal) {
	if p.st.viaSQL {
		s.context.runs++ // the facts are of the PREPARE
	} else {
		s.note(p.st.facts)
	}
	p.context = s.now()
}

// renamed takes into account that a message may make name mean another thing.
func (s *session) renamed(name string) {
	if name != "" {
		s.context.names++
	}
}
