package postgres

import (
	"context"
	"fmt"
	"strings"

	"gatehouse/core/event"
	"gatehouse/protocols/postgres/statement"
)

// newCursor returns the portal that the DECLARE at index of e's statements
// makes.
func newCursor(e *owed, index int) *portal {
	p := &portal{context: e.context, statements: e.facts.Contents(index), bytes: nameCost}
	p.bytes += statementCost * len(p.statements)
	if e.index < len(e.subjects) {
		p.subject = e.subjects[e.index]
	}
	for _, o := range e.facts.Statements[index].Options {
		p.holds = p.holds || o == "WITH HOLD"
	}
	return p
}

// named returns the only name that a statement has, or "".
func named(st *event.Statement) string {
	if len(st.Names) != 1 {
		return ""
	}
	return st.Names[0]
}

// fetched returns statements with what the cursors do that they run by name,
// below the FETCH or MOVE, where the context has changed since the cursor was
// judged. A cursor that a function opened is judged by the call alone.
func (s *session) fetched(ctx context.Context, statements []event.Statement) ([]event.Statement, error) {
	all := statements[:len(statements):len(statements)]
	for i := range statements {
		st := &statements[i]
		if !st.Runs || st.Kind != "FETCH" && st.Kind != "MOVE" {
			continue
		}
		p, err := s.findPortal(ctx, named(st))
		if err != nil {
			return nil, err
		}
		if p == nil || !s.stale(p) {
			continue
		}
		body := p.statements
		if p.req != nil {
			body = p.req.Statements
		}
		all = appendBelow(all, i, "fetch", body)
	}
	return all, nil
}

// appendBelow appends body, whose parents are indexes in itself, as what the
// statement at index does.
func appendBelow(all []event.Statement, index int, within string, body []event.Statement) []event.Statement {
	first := len(all)
	for _, st := range body {
		if st.Parent < 0 {
			st.Parent, st.Within = index, within
		} else {
			st.Parent += first
		}
		all = append(all, st)
	}
	return all
}

// refresh says that what facts run by name has been judged in the context as it
// is now: what a cursor itself changes does not make it stale.
func (s *session) refresh(facts *statement.Result) {
	if facts.Len() != 1 || !facts.Fetches() {
		return
	}
	if p, known := s.queue.findPortal(named(&facts.Statements[0])); known && p != nil {
		p.context = s.now()
	}
}

// executeCursor runs by the protocol a portal that no Bind of this session
// made: a cursor that SQL declared, or one that a function opened. That is what
// FETCH does, and it is judged as such.
func (s *session) executeCursor(ctx context.Context, f []byte, name string, limit uint32, p *portal) error {
	req := &event.Request{Operation: "execute", Payload: fetch(name, limit)}
	var err error
	req.Statements, err = s.fetched(ctx, []event.Statement{{Kind: "FETCH", Parent: -1, Runs: true, Names: []string{name}}})
	if err != nil {
		return err
	}
	e := &owed{kind: 'E', portal: &portal{}}
	if p != nil {
		e.portal.subject = p.subject
	}
	s.guard(ctx, e, script{statements: req.Statements})
	if p != nil && p.refusal != nil {
		e.x = s.reject(ctx, req, nil, p.refusal)
		return s.refuseExtended(e, p.refusal)
	}
	facts, err := s.protocol.config.Analyzer.Analyze(ctx, string(req.Payload))
	if err != nil {
		return err
	}
	ref, err := s.judge(ctx, e, req, facts)
	if err != nil || ref == errSkipped {
		return err
	}
	if ref != nil {
		return s.refuseExtended(e, ref)
	}
	if s.ps.Masks() {
		d := &owed{kind: 'D', object: 'P', portal: e.portal, x: e.x, swallow: true, guarded: e.guarded, calls: e.calls}
		if err := s.forward(describePortal(name), d); err != nil {
			return err
		}
	}
	s.context.runs++
	if p != nil {
		p.context = s.now()
	}
	return s.forward(f, e)
}

// fetch writes the FETCH that does what an Execute does.
func fetch(name string, limit uint32) []byte {
	rows := "ALL"
	if limit > 0 {
		rows = fmt.Sprint(limit)
	}
	return []byte(`FETCH ` + rows + ` FROM "` + strings.ReplaceAll(name, `"`, `""`) + `"`)
}
