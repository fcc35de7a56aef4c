package postgres

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"gatehouse/core/event"
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
	s.listens.note(facts.Statements)
	s.temporary.note(facts, s.makesTemporary(facts))
	if facts.Context || facts.Code {
		s.context.runs++
	}
	if facts.Context {
		s.settings.note(facts.Statements)
		if unseen(facts.Statements) {
			s.unread = s.segment
		}
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

// unknown is what judges and approvers are told where the gate cannot tell.
const unknown = "unknown"

// Settings are what the gate knows of the session's settings. The server
// reports some (GUC_REPORT; search_path from version 18 on); of the others the
// gate knows what a statement made them, as long as nothing may have changed
// them again.
type settings struct {
	mu       sync.Mutex
	reported map[string]string
	searches *string // search_path as it is reported, if it is
	path     string  // search_path where it is not reported
	role     string
	hidden   bool // search_path as it is reported may hold a protected value
	unsure   bool // what the server reports next may be others
	moved    bool // the path is not the one that the session began with, or the role
	acts     bool // the role may be another than the session began with
}

// begin sets what is known when a session begins. A client's start-up
// parameter wins over what ALTER ROLE and ALTER DATABASE have set.
func (k *settings) begin(reported, asked map[string]string, first naming) {
	k.reported = maps.Clone(reported)
	if path, reports := reported["search_path"]; reports {
		k.searches = &path
	}
	k.path, k.role = cmp.Or(first.path, unknown), cmp.Or(first.role, unknown)
	if v, ok := asked["search_path"]; ok {
		k.path = cmp.Or(v, `""`) // as SET writes an empty one
	}
}

// report takes a ParameterStatus into account, and whether its value may be
// shown. It returns whether what a statement means may be another thing now.
func (k *settings) report(name, value string, shown bool) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if name == "search_path" {
		k.hidden = !shown
	}
	if old, known := k.reported[name]; known && old == value {
		return false
	}
	if k.reported == nil {
		k.reported = map[string]string{}
	}
	if len(k.reported) < maxReported {
		k.reported[name] = value
		if name == "search_path" {
			k.searches = &value
		}
	}
	return name != "application_name"
}

// maxReported is how many settings a server may report. PostgreSQL 18 has 16 of
// them.
const maxReported = 100

// note takes into account what statements that are sent to the server may
// change. A procedure may change anything.
func (k *settings) note(statements []event.Statement) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.unsure = true
	for i := range statements {
		st := &statements[i]
		all := st.Opaque || st.Kind == "CALL" || slices.Contains(st.Settings, "all")
		if all || slices.Contains(st.Settings, "search_path") {
			k.path, k.moved = unknown, true
		}
		if all || slices.Contains(st.Settings, "role") || slices.Contains(st.Settings, "session_authorization") {
			k.role, k.moved, k.acts = unknown, true, true
		}
	}
}

// movesPath reports whether a statement may change in which schemas names are
// looked for.
func movesPath(st *event.Statement) bool {
	return st.Opaque || slices.ContainsFunc(st.Settings, func(name string) bool {
		return name == "all" || name == "search_path" || name == "role" || name == "session_authorization"
	})
}

// move says that code which the text does not show may change the path.
func (k *settings) move() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.path, k.role, k.moved, k.acts = unknown, unknown, true, true
}

// searched returns the search path, empty where it is the one that sessions
// begin with, and could not be found out. It reports false where that is not known.
// Settled is whether the server has answered all that was sent.
func (k *settings) searched(settled bool) (path string, known bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if settled {
		k.unsure = false
	}
	switch {
	case k.searches != nil:
		return *k.searches, !k.unsure
	case k.moved:
		return "", false
	case k.path == unknown:
		return "", true
	}
	return k.path, true
}

// roleIsFirst is whether the session has the role that it began with, as the gate's
// own connection has.
func (k *settings) roleIsFirst() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.acts
}

// completed takes into account that a statement has ended well. A role that was
// set in a transaction block may be undone with it.
func (k *settings) completed(e *owed, block bool) {
	if e.kind != 'Q' || block || e.facts == nil || e.facts.Len() != 1 {
		return
	}
	st := &e.facts.Statements[0]
	if st.Kind != "SET" || len(st.Settings) != 1 || st.Settings[0] != "role" || len(st.Names) != 1 || slices.Contains(st.Options, "LOCAL") {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.role = st.Names[0]
}

// attrs are the settings that the server reported.
func (k *settings) attrs() []event.Attr {
	k.mu.Lock()
	defer k.mu.Unlock()
	var attrs []event.Attr
	for _, name := range slices.Sorted(maps.Keys(k.reported)) {
		attrs = append(attrs, event.Attr{Key: "postgres.setting." + name, Value: k.reported[name]})
	}
	return attrs
}

// known returns the search path and the role, or that they are unknown. Settled
// is whether the server has answered all that was sent.
func (k *settings) known(settled bool) (path, role string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if settled {
		k.unsure = false
	}
	switch {
	case k.searches == nil:
		return k.path, k.role
	case k.unsure, k.hidden:
		return unknown, k.role
	}
	return *k.searches, k.role
}

// unseen reports whether statements run text that the gate cannot read, so that
// only the server's report tells how text is read afterwards.
func unseen(statements []event.Statement) bool {
	return slices.ContainsFunc(statements, func(st event.Statement) bool { return st.Runs && (st.Opaque || st.Kind == "CALL") })
}

// unsettled refuses a text that means another thing where
// standard_conforming_strings or client_encoding are not what the gate relies
// on, while code may have changed them that the gate could not read and the
// server has not reported since. It does with every ReadyForQuery.
func (s *session) unsettled(ctx context.Context, sql []byte) (*refusal, error) {
	if s.unread == 0 || !slices.ContainsFunc(sql, func(c byte) bool { return c == '\\' || c >= 0x80 }) {
		return nil, nil
	}
	if s.unread == s.segment {
		return &refusal{code: codeAccessDenied, message: "gatehouse: how the statement is read may have changed before it",
			hint: "Send a Sync before it."}, nil
	}
	if err := s.drain(ctx, 0); err != nil {
		return nil, err
	}
	s.unread = 0
	return nil, nil
}
