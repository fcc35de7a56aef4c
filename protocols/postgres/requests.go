package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"gatehouse/core/event"
	"gatehouse/core/poll"
)

// requests relays from the client to the server until the client leaves, or
// until there is nothing to read for now.
func (s *session) requests(ctx context.Context) error {
	for {
		more := s.fromClient.buffered()
		if !more {
			if err := s.flushUp(ctx); err != nil {
				return err
			}
		}
		f, err := s.fromClient.next()
		if errors.Is(err, poll.ErrWait) {
			return poll.ErrWait
		}
		if !more {
			s.stir()
		}
		var long longRequest
		switch {
		case err != nil || s.fromClient.left == 0:
		case f[0] == 'd' && s.copyingIn():
			gone, err := s.uploadLong(ctx, f)
			if err != nil {
				return err
			}
			if gone != nil {
				return s.leave(ctx, gone)
			}
			continue
		default:
			long, err = s.skipLong(f)
		}
		if err != nil {
			return s.leave(ctx, err)
		}
		switch {
		case long.size > 0:
			err = s.lead(func() error { return s.refuseLong(ctx, long) })
		case f[0] == 'X':
			return s.leave(ctx, io.EOF)
		default:
			err = s.lead(func() error { return s.request(ctx, f) })
		}
		if err != nil {
			return s.stop(ctx, err)
		}
		if len(s.up) > maxBuffer {
			if err := s.flushUp(ctx); err != nil {
				return err
			}
		}
	}
}

// leave sends on what the client sent before it left, lets the server go, and
// gives it time for its last responses.
func (s *session) leave(ctx context.Context, err error) error {
	if isViolation(err) {
		return s.stop(ctx, err)
	}
	if errors.Is(err, errUnsent) {
		return &endError{refusal{code: codeLost,
			message: fmt.Sprintf("the client began a message and sent no more of it for %s", s.protocol.config.Limits.Unsent)}, nil}
	}
	s.leaving.Store(true)
	if s.within {
		// The server waits for the rest of a message: only an end of the
		// stream tells it that there is none.
		if err := s.server.closeWrite(); err != nil {
			return err
		}
		return s.server.conn.SetReadDeadline(timeIn(farewell))
	}
	s.up = append(s.up, 'X', 0, 0, 0, 4)
	if err := s.flushUp(ctx); err != nil {
		return err
	}
	return s.server.conn.SetReadDeadline(timeIn(farewell))
}

// stop returns err, which ends the session. Where the client broke the protocol
// it gets first what it is owed for what came before.
func (s *session) stop(ctx context.Context, err error) error {
	if isViolation(err) && !s.copyingIn() {
		err = errors.Join(err, s.drain(ctx, 0))
	}
	return err
}

// request judges one message and appends to s.up what goes to the server.
func (s *session) request(ctx context.Context, f []byte) error {
	kind, body := f[0], f[frameHeader:]
	if s.uploading != nil {
		if taken, err := s.copyIn(ctx, f); taken || err != nil {
			return err
		}
	}
	switch kind {
	case 'Q', 'P', 'B', 'E', 'D', 'C', 'F':
		if err := s.settle(ctx); err != nil {
			return err
		}
	case 'S', 'H', 'd', 'c', 'f':
	default:
		return violated("unexpected message %q", kind)
	}
	if s.discarding && kind != 'S' {
		return nil // as the server does after an error
	}
	if err := s.makeRoom(ctx); err != nil {
		return err
	}
	switch kind {
	case 'Q', 'P', 'B', 'E', 'F':
		if err := s.renew(ctx); err != nil {
			return err
		}
	}
	switch kind {
	case 'Q':
		return s.query(ctx, f, body)
	case 'P':
		return s.parse(ctx, f, body)
	case 'B':
		return s.bind(ctx, f, body)
	case 'E':
		return s.execute(ctx, f, body)
	case 'D':
		return s.describe(ctx, f, body)
	case 'C':
		return s.closeName(ctx, f, body)
	case 'S':
		if len(body) > 0 {
			return violated("malformed Sync")
		}
		s.discarding = false
		if err := s.forward(f, &s.sync); err != nil {
			return err
		}
		return s.askSchema()
	case 'H':
		if len(body) > 0 {
			return violated("malformed Flush")
		}
		s.up = append(s.up, f...)
		return nil
	case 'F':
		return s.call(ctx, f, body)
	}
	return nil // COPY data, which the server drops outside of COPY
}

// forward sends f on, unless the server would discard it.
func (s *session) forward(f []byte, e *owed) error {
	if e != &s.sync {
		e.renames = renames(e.facts) || len(e.makes) > 0
		if e.redefines = redefines(e.facts); e.redefines {
			s.catalog.change()
		}
	}
	if s.queue.push(e) {
		s.up = append(s.up, f...)
		if e.kind == 'S' || e.kind == 'Q' {
			s.segment++
		}
		return nil
	}
	if e.redefines {
		s.catalog.settle(1)
	}
	e.moved()
	if e.x != nil {
		return e.x.End(event.Outcome{Status: "skipped"})
	}
	return nil
}

// makeRoom waits until what is owed is within the limits.
func (s *session) makeRoom(ctx context.Context) error {
	limits := &s.protocol.config.Limits
	switch n, bytes := s.queue.load(); {
	case bytes >= limits.MessageSize:
		return s.drain(ctx, 0)
	case n >= limits.Pipeline:
		return s.drain(ctx, limits.Pipeline/2)
	}
	return nil
}

// drain makes the server answer, and waits until at most n responses are owed.
func (s *session) drain(ctx context.Context, n int) error {
	if owed, _ := s.queue.load(); owed <= n {
		return nil
	}
	s.up = append(s.up, 'H', 0, 0, 0, 4)
	if err := s.flushUp(ctx); err != nil {
		return err
	}
	return s.waitOwed(ctx, n)
}

// query judges a simple query, all of its statements at once.
func (s *session) query(ctx context.Context, f, body []byte) error {
	req := &event.Request{Operation: "query"}
	sql, err := text(body)
	if err != nil {
		r := &refusal{code: codeProtocol, message: "invalid message format"}
		if !bytes.Contains(body, []byte{0}) {
			r.message = "invalid string in message"
		}
		return s.forward(constantMalformed, &owed{kind: 'F', x: s.reject(ctx, req, nil, r), refusal: r})
	}
	req.Payload = sql
	does, ref, err := s.analyze(ctx, sql)
	if err != nil {
		return err
	}
	facts := does.facts
	if ref != nil {
		return s.refuseQuery(ctx, req, facts, ref)
	}
	req.Statements = does.statements
	e := &owed{kind: 'Q', facts: facts, names: changesNames(facts.Statements), bytes: keeps(sql, does.statements)}
	if writeRows(does.statements) {
		e.writing = &writing{facts: facts, list: does.statements, sql: string(sql)}
	}
	if e.names {
		e.sql = bytes.Clone(sql)
	}
	s.guard(ctx, e, does)
	if defines(facts.Statements) {
		if ref, err = s.tooMany(ctx, "by SQL"); err != nil {
			return err
		}
		if ref != nil {
			return s.refuseQuery(ctx, req, facts, ref)
		}
	}
	if ref, err = s.judge(ctx, e, req, facts); err != nil || ref == errSkipped {
		return err
	}
	if ref == nil && s.tracks() {
		if ref, err = s.track(ctx, e, facts, s.subjects(ctx, facts), req); err != nil {
			return err
		}
	}
	if ref != nil {
		return s.forward(constantQuery, refused(e, ref))
	}
	if c := copyOut(facts); c != nil && s.ps.Masks() {
		if on, err := s.probeQuery(ctx, e, c); !on || err != nil {
			e.moved()
			return err
		}
	}
	e.context = s.now()
	s.note(facts)
	if facts.Len() == 1 {
		e.context = s.now()
		s.refresh(facts)
	}
	if err := s.forward(f, e); err != nil {
		return err
	}
	if !copiesIn(facts) {
		return s.askSchema()
	}
	return s.awaitCopyIn(ctx, e)
}

// parse judges a statement by its text. What is to be held is held at Bind,
// when its values are known: preparing runs nothing.
func (s *session) parse(ctx context.Context, f, body []byte) error {
	req := &event.Request{Operation: "prepare"}
	name, sql, oids, err := decodeParse(body)
	if err != nil {
		return err
	}
	req.Payload = bytes.Clone(sql)
	e := &owed{kind: 'P', name: name}
	does, ref, err := s.analyze(ctx, req.Payload)
	if err != nil {
		return err
	}
	facts := does.facts
	if ref == nil {
		ref = cutName(name)
	}
	if ref == nil {
		if ref, err = s.tooMany(ctx, name); err != nil {
			return err
		}
	}
	if ref != nil {
		e.x = s.reject(ctx, req, facts, ref)
		return s.refuseExtended(e, ref)
	}
	if req.Statements, err = s.giveTypes(ctx, does.statements, oids); err != nil {
		return err
	}
	e.st = &prepared{sql: req.Payload, facts: facts, names: changesNames(facts.Statements), statements: req.Statements, given: oids, edition: does.edition}
	e.st.setOIDs(oids)
	e.st.measure()
	if ref, err = s.judge(ctx, e, req, facts); err != nil {
		return err
	}
	if ref != nil {
		return s.refuseExtended(e, ref)
	}
	s.renamed(name)
	return s.forward(f, e)
}

// giveTypes adds the types that a client gives to parameters to the first statement,
// as if it cast values to them, and what those run unseen.
func (s *session) giveTypes(ctx context.Context, statements []event.Statement, oids []uint32) ([]event.Statement, error) {
	var types []string
	for _, oid := range oids {
		if name := fmt.Sprint("#", oid); oid >= firstUserOID && !slices.Contains(types, name) {
			types = append(types, name)
		}
	}
	if len(types) == 0 || len(statements) == 0 {
		return statements, nil
	}
	statements = slices.Clone(statements)
	statements[0].Types = slices.Concat(statements[0].Types, types)
	return s.expand(ctx, nil, statements)
}

// bind judges a statement with its values, before the server plans it: that
// already runs functions.
func (s *session) bind(ctx context.Context, f, body []byte) error {
	m, err := decodeBind(body)
	if err != nil {
		return err
	}
	req := &event.Request{Operation: "execute"}
	if r := cutName(m.portal, m.statement); r != nil {
		return s.refuseExtended(&owed{kind: 'B', x: s.reject(ctx, req, nil, r)}, r)
	}
	st, err := s.findStatement(ctx, m.statement)
	if err != nil {
		return err
	}
	e := &owed{kind: 'B', name: m.portal, st: st}
	r, err := s.tooMany(ctx, m.portal)
	if err != nil {
		return err
	}
	switch {
	case st == nil:
		r = &refusal{code: codeNoStatement, message: missing("prepared statement", m.statement)}
	case st.refusal != nil:
		r = st.refusal
	}
	if r != nil {
		e.x = s.reject(ctx, req, nil, r)
		return s.refuseExtended(e, r)
	}
	req.Payload, req.Statements = st.sql, st.statements
	var cut []event.Parameter
	req.Params, cut = s.paramTexts(&m, st, s.protocol.config.Limits.Parameters)
	var means *meaning
	if req.Statements, means, err = s.runs(ctx, st); err != nil {
		return err
	}
	if r := s.refuseExecuted(st.facts); r != nil && !st.viaSQL {
		e.x = s.reject(ctx, req, st.facts, r)
		return s.refuseExtended(e, r)
	}
	e.portal = &portal{st: st, req: req, renewals: s.renewals, formats: string(m.results), sends: string(m.formats)}
	if writeRows(req.Statements) {
		values := m
		e.writing = &writing{facts: st.facts, list: req.Statements, sql: string(st.sql), bind: &values, st: st, portal: e.portal}
	}
	if r, err = s.bound(ctx, e.portal, means); r == nil && err == nil && !means.runs(req.Statements) {
		r, err = s.refuseUnseen(ctx, req.Statements)
	}
	if err != nil {
		return err
	}
	if r != nil {
		e.x = s.reject(ctx, req, st.facts, r)
		return s.refuseExtended(e, r)
	}
	e.portal.measure()
	ref, err := s.judge(ctx, e, req, st.facts, cut...)
	if err != nil || ref == errSkipped {
		return err
	}
	if ref != nil {
		return s.refuseExtended(e, ref)
	}
	e.portal.measure()                          // as it is masked
	e.portal.x, e.portal.context = e.x, s.now() // a hold waits for what the server reports
	s.renamed(m.portal)
	if len(f) > maxBuffer {
		return s.forwardAtOnce(ctx, f, e)
	}
	return s.forward(f, e)
}

// runs returns what executing st does now: what a name means may have changed since
// it was prepared. It returns what its text means as well, where that is known.
func (s *session) runs(ctx context.Context, st *prepared) (statements []event.Statement, m *meaning, err error) {
	if st.viaSQL {
		statements, err = s.expand(ctx, nil, st.statements)
		return statements, nil, err
	}
	if m = s.meaningAnew(ctx, st.facts); m != nil {
		statements = m.statements
	} else if statements, err = s.resolve(ctx, st.facts); err != nil {
		return nil, nil, err
	}
	statements, err = s.giveTypes(ctx, statements, st.given)
	return statements, m, err
}

// findStatement returns what a name means, waiting for the server where only
// it can tell.
func (s *session) findStatement(ctx context.Context, name string) (*prepared, error) {
	st, known := s.queue.findStatement(name)
	if !known {
		if err := s.drain(ctx, 0); err != nil {
			return nil, err
		}
		st, _ = s.queue.findStatement(name)
	}
	return st, nil
}

func (s *session) findPortal(ctx context.Context, name string) (*portal, error) {
	p, known := s.queue.findPortal(name)
	if !known {
		if err := s.drain(ctx, 0); err != nil {
			return nil, err
		}
		p, _ = s.queue.findPortal(name)
	}
	return p, nil
}

// execute runs a portal that Bind had judged. It is judged again only if the
// session's context changed since.
func (s *session) execute(ctx context.Context, f, body []byte) error {
	c := cursor{b: body}
	name, limit := string(c.cstring()), c.uint32()
	if !c.done() {
		return violated("malformed Execute")
	}
	if r := cutName(name); r != nil {
		return s.refuseExtended(&owed{kind: 'E', x: s.reject(ctx, &event.Request{Operation: "execute"}, nil, r)}, r)
	}
	p, err := s.findPortal(ctx, name)
	if err != nil {
		return err
	}
	if p == nil && name != "" || p != nil && p.st == nil {
		return s.executeCursor(ctx, f, name, limit, p)
	}
	e := &owed{kind: 'E', portal: p}
	if p != nil {
		e.estimate = p.estimate
	}
	if p == nil {
		return s.executeUnknown(ctx, e)
	}
	if p.refusal != nil {
		e.x = s.reject(ctx, p.req, p.text(), p.refusal)
		return s.refuseExtended(e, p.refusal)
	}
	e.x, e.st = p.x, p.st
	s.guard(ctx, e, script{statements: p.req.Statements})
	if defines(p.st.facts.Statements) && !p.st.viaSQL {
		r, err := s.tooMany(ctx, "by SQL")
		if err != nil {
			return err
		}
		if r != nil {
			e.x = s.reject(ctx, p.req, p.st.facts, r)
			return s.refuseExtended(e, r)
		}
	}
	if !p.st.viaSQL {
		e.facts, e.sql, e.names = p.st.facts, p.st.sql, p.st.names
	}
	if s.stale(p) {
		again := *p.req // an approver's page may still show the other
		again.Labels = nil
		if again.Statements, _, err = s.runs(ctx, p.st); err != nil {
			return err
		}
		p.req = &again
		if r := s.refuseExecuted(p.st.facts); r != nil && !p.st.viaSQL {
			e.x = s.reject(ctx, p.req, p.st.facts, r)
			return s.refuseExtended(e, r)
		}
		ref, err := s.refuseUnseen(ctx, p.req.Statements)
		if err != nil {
			return err
		}
		if ref != nil {
			e.x = s.reject(ctx, p.req, p.st.facts, ref)
			return s.refuseExtended(e, ref)
		}
		ref, err = s.judge(ctx, e, p.req, p.st.facts)
		if err != nil || ref == errSkipped {
			return err
		}
		if ref != nil {
			return s.refuseExtended(e, ref)
		}
		p.x, p.context = e.x, s.now()
		if p.renewals != s.renewals { // the fields were of no interest before, or of another
			p.renewals, p.asked = s.renewals, 0
			p.known.Store(false)
		}
	}
	if s.tracks() {
		ref, err := s.track(ctx, e, nil, []*subject{p.subject}, p.req)
		if err != nil {
			return err
		}
		if ref != nil {
			return s.refuseExtended(e, ref)
		}
	}
	copies := e.copies()
	switch {
	case !s.ps.Masks():
	case copies != nil && !copies.In:
		if !p.copied {
			s.probe(e, copies, false)
		}
		p.copied = true
	case copies == nil && p.asked != s.segment && !p.known.Load():
		// The portal's own description is the one that cannot be stale.
		if err := s.forward(describePortal(name), &owed{kind: 'D', object: 'P', portal: p, x: p.x, swallow: true, guarded: e.guarded, calls: e.calls}); err != nil {
			return err
		}
		p.asked = s.segment
	}
	s.noteExecuted(p)
	e.context = p.context
	if err := s.forward(f, e); err != nil || copies == nil || !copies.In {
		return err
	}
	return s.awaitCopyIn(ctx, e)
}

// executeUnknown refuses to run the unnamed portal, which the gate knows nothing
// of. What is wrong with it the server tells in answer to a Describe: there is
// none, or it is what a failed query left, which nothing can run any more.
func (s *session) executeUnknown(ctx context.Context, e *owed) error {
	r := &refusal{code: codeNoPortal, message: `portal "" does not exist`}
	e.x = s.reject(ctx, &event.Request{Operation: "execute"}, nil, r)
	if err := s.forward(describePortal(""), &owed{kind: 'D', object: 'P', portal: &portal{}, x: e.x, swallow: true}); err != nil {
		return err
	}
	return s.refuseExtended(e, inFailed)
}

func describePortal(name string) []byte {
	return appendFrame(nil, 'D', func(b []byte) []byte {
		return append(append(append(b, 'P'), name...), 0)
	})
}

// object reads the body of Describe and Close.
func object(body []byte) (kind byte, name string, err error) {
	c := cursor{b: body}
	kind, name = c.uint8(), string(c.cstring())
	if !c.done() || kind != 'S' && kind != 'P' {
		return 0, "", violated("malformed Describe or Close")
	}
	return kind, name, nil
}

func (s *session) describe(ctx context.Context, f, body []byte) error {
	kind, name, err := object(body)
	if err != nil {
		return err
	}
	if r := cutName(name); r != nil {
		return s.refuseExtended(&owed{kind: 'D', x: s.reject(ctx, &event.Request{Operation: "describe"}, nil, r)}, r)
	}
	e := &owed{kind: 'D', object: kind, name: name}
	if kind == 'S' {
		if e.st, err = s.findStatement(ctx, name); err != nil {
			return err
		}
		return s.forward(f, e)
	}
	if e.portal, err = s.findPortal(ctx, name); err != nil {
		return err
	}
	if e.portal != nil {
		e.portal.asked, e.x = s.segment, e.portal.x
		if e.portal.req != nil {
			s.guard(ctx, e, script{statements: e.portal.req.Statements})
		}
	}
	return s.forward(f, e)
}

func (s *session) closeName(ctx context.Context, f, body []byte) error {
	kind, name, err := object(body)
	if err != nil {
		return err
	}
	if r := cutName(name); r != nil {
		return s.refuseExtended(&owed{kind: 'C', x: s.reject(ctx, &event.Request{Operation: "close"}, nil, r)}, r)
	}
	s.renamed(name)
	return s.forward(f, &owed{kind: 'C', object: kind, name: name})
}
