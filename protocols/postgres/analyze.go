package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"gatehouse/core/event"
	"gatehouse/protocols/postgres/statement"
)

// A script is what a text does.
type script struct {
	facts      *statement.Result
	statements []event.Statement // with what they run by name, and unseen
	subjects   []*subject        // where columns are protected strictly
	edition    string            // as in subject
}

// analyze reads what sql does. A refusal says why it cannot run; it has facts where
// the text was read.
func (s *session) analyze(ctx context.Context, sql []byte) (does script, ref *refusal, err error) {
	if ref, err := s.unsettled(ctx, sql); ref != nil || err != nil {
		return script{}, ref, err
	}
	facts, err := s.protocol.config.Analyzer.Analyze(ctx, string(sql))
	if err != nil {
		if ctx.Err() != nil {
			return script{}, nil, ctx.Err()
		}
		return script{}, s.unparsable(ctx, err), nil
	}
	m, untried := s.meaning(ctx, facts)
	if m != nil {
		return m.script, nil, nil
	}
	does, ref, err = s.understand(ctx, facts)
	if untried {
		s.keep(ctx, does, ref == nil && err == nil)
	}
	return does, ref, err
}

// understand is analyze for a text that was read.
func (s *session) understand(ctx context.Context, facts *statement.Result) (does script, ref *refusal, err error) {
	does.facts = facts
	if ref := s.refuseCopies(facts); ref != nil {
		return does, ref, nil
	}
	if ref, err := s.refuseProtected(ctx, facts); ref != nil || err != nil {
		if err != nil {
			s.env.Log.Warn("what a statement names cannot be looked up", append(s.logAttrs(), "error", err)...)
			ref = notLookedUp
		}
		return does, ref, ctx.Err()
	}
	if name := changesReading(facts.Statements); name != "" {
		return does, &refusal{code: codeAccessDenied,
			message: fmt.Sprintf("gatehouse: %s may not be changed: it alters how statements are read", name)}, nil
	}
	if does.statements, err = s.resolve(ctx, facts); err != nil {
		return does, nil, err
	}
	if ref := s.refuseExecuted(facts); ref != nil {
		return does, ref, nil
	}
	if s.ps.Terms().Protected.Strict() {
		does.subjects, does.edition = s.subjects(ctx, facts), s.edition(ctx)
		ref, err = s.refuseByLineage(ctx, &does)
	}
	if ref == nil && err == nil {
		ref, err = s.refuseUnseen(ctx, does.statements)
	}
	return does, ref, err
}

// resolve returns the statements of facts with the contents of the prepared
// statements that they execute by SQL, and with what all of them run unseen.
func (s *session) resolve(ctx context.Context, facts *statement.Result) ([]event.Statement, error) {
	statements, err := s.named(ctx, facts)
	if err != nil {
		return nil, err
	}
	return s.expand(ctx, facts, statements)
}

// named returns the statements of facts with the contents of the prepared
// statements and cursors that they run by name.
func (s *session) named(ctx context.Context, facts *statement.Result) ([]event.Statement, error) {
	if !facts.Executes() {
		if facts.Fetches() {
			return s.fetched(ctx, facts.Statements)
		}
		return facts.Statements, nil
	}
	// Only the server's replies tell what names mean by then.
	if err := s.drain(ctx, 0); err != nil {
		return nil, err
	}
	return s.fetched(ctx, facts.Resolve(func(name string) ([]event.Statement, bool) {
		p := s.queue.lookup(name)
		if p == nil {
			return nil, false
		}
		return p.statements, true
	}))
}

// changesReading returns the name of a setting that statements change, and that
// would make the server read text differently from the gate. A setting whose
// name is computed counts.
func changesReading(statements []event.Statement) string {
	for i := range statements {
		st := &statements[i]
		config := slices.Contains(st.Functions, "set_config")
		if st.Opaque && slices.Contains(st.Settings, "all") {
			return "a setting with a computed name" // set_config, UPDATE of pg_settings
		}
		if st.Kind != "SET" && !config {
			continue
		}
		for _, name := range st.Settings {
			switch {
			case name == "standard_conforming_strings" && !slices.Contains(st.Options, "TO ON"),
				name == "client_encoding" && !slices.Contains(st.Options, "TO UTF8"):
				return name
			}
		}
	}
	return ""
}

// changesNames reports whether statements define or drop names that the
// protocol shares with SQL: of prepared statements and of portals.
func changesNames(statements []event.Statement) bool {
	for i := range statements {
		switch statements[i].Kind {
		case "PREPARE", "DEALLOCATE", "DEALLOCATE ALL", "DISCARD ALL", "DECLARE CURSOR", "CLOSE CURSOR", "CLOSE CURSOR ALL":
			return true
		}
	}
	return false
}

// defines reports whether statements may define names that the gate remembers.
func defines(statements []event.Statement) bool {
	for i := range statements {
		if k := statements[i].Kind; statements[i].Runs && (k == "PREPARE" || k == "DECLARE CURSOR") {
			return true
		}
	}
	return false
}

// judge begins e's exchange and waits out a hold. It returns nil where the
// request, whose text facts are of, may go to the server.
func (s *session) judge(ctx context.Context, e *owed, req *event.Request, facts *statement.Result, cut ...event.Parameter) (*refusal, error) {
	req.Attrs = s.contextAttrs()
	if e.estimate != "" {
		req.Attrs = append(req.Attrs, event.Attr{Key: estimateAttr, Value: e.estimate})
	}
	s.mask(ctx, req, facts, cut...)
	if err := errors.Join(s.addUses(ctx, req, facts), s.addTold(ctx, req, facts, e.subjects)); err != nil {
		return nil, err
	}
	req.Shared = s.shared.of(req)
	e.x = s.ps.Propose(ctx, req, cut...)
	if e.x.Open {
		found, err := s.findOut(ctx, e)
		if err != nil {
			return nil, err
		}
		e.x.Settle(ctx, found...)
	}
	v := e.x.Verdict
	if v.Action == event.Hold && req.Operation != "prepare" {
		ref, err := s.hold(ctx, e, req)
		if ref == nil && err == nil {
			s.made.note(req.Statements)
		}
		return ref, err
	}
	if e.x.Exceeded != nil {
		return exceeded(e.x.Exceeded), nil
	}
	if v.Action == event.Block {
		return denied(v), nil
	}
	s.made.note(req.Statements)
	return nil, nil
}

// contextAttrs describes the context in which a request would run now. What it
// returns must not be changed.
func (s *session) contextAttrs() []event.Attr {
	status, settled := s.queue.transaction()
	now := surroundings{status: status, readOnly: s.readOnly.Load()}
	now.path, now.role = s.settings.known(settled)
	if now != s.around || s.attrs == nil {
		s.around, s.attrs = now, s.shared.attrs(now, s.database)
	}
	return s.attrs
}

// A sharing has the facts that requests of a session share, and the attributes of
// the surroundings that they met.
type sharing struct {
	facts    map[factsKey]*event.Facts
	contexts map[surroundings][]event.Attr
}

// A factsKey tells facts apart by the memory that they are in.
type factsKey struct {
	operation  string
	statements *event.Statement
	attrs      *event.Attr
	n          int // of statements
}

// Limits of what a session keeps to be shared.
const (
	maxShared     = 32
	maxSharedSize = 2 << 10 // of the facts of one request, in bytes
	maxContexts   = 8
)

// of returns the facts of req for it to share, or nil where others will hardly have
// the same.
func (h *sharing) of(req *event.Request) *event.Facts {
	if len(req.Statements) == 0 || len(req.Attrs) == 0 {
		return nil
	}
	key := factsKey{req.Operation, &req.Statements[0], &req.Attrs[0], len(req.Statements)}
	if f := h.facts[key]; f != nil {
		return f
	}
	if !h.has(req.Attrs) {
		return nil // they are this request's alone
	}
	f := event.NewFacts(req.Operation, req.Statements, req.Attrs)
	if f.Size() > maxSharedSize {
		return nil
	}
	if h.facts == nil || len(h.facts) >= maxShared {
		h.facts = make(map[factsKey]*event.Facts)
	}
	h.facts[key] = f
	return f
}

// has is whether attrs are those of surroundings, and nothing else.
func (h *sharing) has(attrs []event.Attr) bool {
	for _, of := range h.contexts {
		if len(of) == len(attrs) && &of[0] == &attrs[0] {
			return true
		}
	}
	return false
}

// attrs returns the attributes of surroundings, which must not be changed.
func (h *sharing) attrs(c surroundings, database string) []event.Attr {
	of := h.contexts[c]
	if of == nil {
		if h.contexts == nil || len(h.contexts) >= maxContexts {
			*h = sharing{contexts: make(map[surroundings][]event.Attr)}
		}
		of = slices.Clip(c.attrs(database))
		h.contexts[c] = of
	}
	return of
}

// Surroundings are what requests are told of the context that they run in.
type surroundings struct {
	status     byte // of the transaction
	path, role string
	readOnly   bool
}

func (c *surroundings) attrs(database string) []event.Attr {
	attrs := []event.Attr{
		{Key: "db.namespace", Value: database}, {Key: "db.transaction", Value: transactionNames[c.status]},
		{Key: "postgres.search_path", Value: c.path}, {Key: "postgres.role", Value: c.role},
	}
	if c.readOnly {
		attrs = append(attrs, event.Attr{Key: "db.read_only", Value: "on"})
	}
	return attrs
}

// transactionNames are those of a transaction's statuses.
var transactionNames = map[byte]string{'I': "idle", 'T': "open", 'E': "failed"}
