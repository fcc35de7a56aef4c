package postgres

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/core/poll"
)

// responses relays from the server to the client until the server leaves, or
// until there is nothing to read for now.
func (s *session) responses(ctx context.Context) error {
	for {
		f, err := s.fromServer.next()
		if errors.Is(err, poll.ErrWait) {
			return poll.ErrWait
		}
		if err != nil {
			return s.serverLeft(ctx, err)
		}
		if s.fromServer.left > 0 {
			err = s.respondLong(ctx, f)
		} else {
			err = s.respond(ctx, f)
		}
		if errors.Is(err, errServerLeft) {
			return errors.Join(io.EOF, s.pauseDown(ctx))
		}
		if err == nil && !s.fromServer.buffered() {
			err = s.pauseDown(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// errServerLeft says that the server has said its last word.
var errServerLeft = errors.New("the server ended the session")

// pauseDown sends what is at hand before the server is waited for.
func (s *session) pauseDown(ctx context.Context) error {
	err := s.lockedFlush(ctx)
	s.stir()
	if err == nil && s.ending.Load() != nil {
		s.endIdle(ctx)
	}
	if s.ps.Outdated() {
		s.nudge()
	}
	return err
}

func (s *session) lockedFlush(ctx context.Context) error {
	s.down.mu.Lock()
	defer s.down.mu.Unlock()
	return s.flushDown(ctx)
}

// serverLeft ends the session after the server's last words went out.
func (s *session) serverLeft(ctx context.Context, err error) error {
	if isViolation(err) {
		return err
	}
	if s.leaving.Load() {
		return io.EOF
	}
	return errors.Join(io.EOF, s.pauseDown(ctx))
}

func (s *session) respond(ctx context.Context, f []byte) error {
	s.down.mu.Lock()
	defer s.down.mu.Unlock()
	if err := s.response(ctx, f); err != nil {
		return err
	}
	if len(s.down.buf) > maxBuffer {
		return s.flushDown(ctx)
	}
	return nil
}

// send appends a message for the client, as part of e's response.
func (s *session) send(e *owed, f []byte) error {
	if e != nil {
		if x := e.x; x != s.down.x && (x != nil || e.object == 'S') {
			if err := s.attribute(x); err != nil {
				return err
			}
		}
	}
	s.down.buf = append(s.down.buf, f...)
	return nil
}

// response pairs one message of the server with what was asked. A message that
// does not fit what is owed ends the session: client and server would be out
// of step.
func (s *session) response(ctx context.Context, f []byte) error {
	e := s.queue.head()
	if !wellFormed(f) {
		return violated("the server sent a malformed %q", f[0])
	}
	if s.inDoubt() {
		if taken, err := s.readyInDoubt(ctx, e, f); taken || err != nil {
			return err
		}
		e = s.queue.head()
	}
	switch f[0] {
	case 'N':
		return s.notice(f)
	case 'A':
		return s.notification(f)
	case 'S':
		return s.parameterStatus(f)
	case 'E':
		return s.errorResponse(e, f)
	}
	if e == nil {
		return violated("the server sent %q, which nobody asked for", f[0])
	}
	if (e.refusal != nil || e.failed != "") && (f[0] != 'Z' || e.failed == "") {
		return violated("the server answered with %q where only an error was due", f[0])
	}
	if e.asksSchema {
		return s.toldSchema(e, f)
	}
	if e.swallow && e.probe != nil {
		return s.probed(ctx, e, f)
	}
	if e.copying != nil && f[0] != 'd' && f[0] != 'c' {
		return violated("the server sent %q amid COPY data", f[0])
	}
	switch f[0] {
	case 'D':
		if e.kind == 'E' || e.kind == 'Q' {
			return s.dataRows(ctx, e, f)
		}
	case 'H':
		if e.kind == 'E' || e.kind == 'Q' {
			return s.copyOutResponse(ctx, e, f)
		}
	case 'G':
		if e.kind == 'E' || e.kind == 'Q' {
			return s.copyInResponse(ctx, e, f)
		}
	case 'd':
		return s.copyData(ctx, e, f)
	case 'c':
		return s.copyDone(e, f)
	case 'C', 'I':
		if e.kind == 'E' || e.kind == 'Q' {
			return s.complete(e, f)
		}
	case 'V':
		if e.kind == 'F' {
			return s.functionResponse(ctx, e, f)
		}
	case 's':
		if e.kind == 'E' {
			return s.suspended(e, f)
		}
	case 'Z':
		if (e.kind == 'Q' || e.kind == 'S' || e.kind == 'F') && !s.queue.copyingIn(e) {
			return s.ready(ctx, e, f)
		}
	case '1':
		if e.kind == 'P' {
			return s.prepared(e, f)
		}
	case '2':
		if e.kind == 'B' {
			return s.defined(e, f)
		}
	case '3':
		if e.kind == 'C' {
			return s.defined(e, f)
		}
	case 'T':
		if e.kind == 'Q' || e.kind == 'D' {
			return s.rowDescription(ctx, e, f)
		}
	case 'n':
		if e.kind == 'D' && e.described == (e.object == 'S') {
			return s.described(e, f, nil)
		}
	case 't':
		if e.kind == 'D' && e.object == 'S' {
			return s.parameterDescription(e, f)
		}
	}
	return violated("the server answered %q with %q", e.kind, f[0])
}

// wellFormed checks the bodies of messages that are passed on without being
// read otherwise.
func wellFormed(f []byte) bool {
	c := cursor{b: f[frameHeader:]}
	switch f[0] {
	case '1', '2', '3', 's', 'n', 'I', 'c':
		return c.done()
	case 'Z':
		status := c.uint8()
		return c.done() && (status == 'I' || status == 'T' || status == 'E')
	case 'A':
		c.uint32()
		c.cstring()
		c.cstring()
		return c.done()
	case 'S':
		c.cstring()
		c.cstring()
		return c.done()
	case 'C':
		c.cstring()
		return c.done()
	case 'T':
		for range c.uint16() {
			c.cstring()
			c.bytes(18) // its origin, type and format
		}
		return c.done()
	case 'E', 'N':
		for c.uint8() != 0 {
			c.cstring()
		}
		return c.done()
	}
	return true
}

func (s *session) parameterStatus(f []byte) error {
	var m pgproto3.ParameterStatus
	if err := m.Decode(f[frameHeader:]); err != nil {
		return violated("malformed ParameterStatus")
	}
	if err := errors.Join(checkParam(m.Name, m.Value), s.resource.checkRole(m.Name, m.Value)); err != nil {
		return &endError{refusal{code: codeAccessDenied, message: "gatehouse: the session ends: " + err.Error()}, err}
	}
	show := !s.guarded() || s.shown.report(m.Name, m.Value)
	if s.settings.report(m.Name, m.Value, show) {
		s.reported.Add(1)
	}
	if m.Name == paramReadOnly {
		s.readOnly.Store(m.Value == "on")
	}
	if !show {
		return nil
	}
	return s.send(nil, f)
}

func (s *session) prepared(e *owed, f []byte) error {
	if err := s.defined(e, f); err != nil {
		return err
	}
	return e.x.End(event.Outcome{Status: "ok"})
}

// defined takes a confirmed Parse, Bind or Close into account.
func (s *session) defined(e *owed, f []byte) error {
	if e.kind == 'B' {
		s.shown.ran(e) // planning runs functions
	}
	s.queue.define(e)
	s.queue.pop()
	return s.send(e, f)
}

func (s *session) parameterDescription(e *owed, f []byte) error {
	c := cursor{b: f[frameHeader:]}
	oids := make([]uint32, min(c.uint16(), len(c.b)/4))
	for i := range oids {
		oids[i] = c.uint32()
	}
	if !c.done() {
		return violated("malformed ParameterDescription")
	}
	if e.described {
		return violated("the server described parameters twice")
	}
	e.described = true
	if e.st != nil {
		e.st.setOIDs(oids)
	}
	return s.send(e, f)
}

// rowDescription announces rows: at once where they follow, or in answer to a
// Describe.
func (s *session) rowDescription(ctx context.Context, e *owed, f []byte) error {
	// A statement's parameters come first, and a result has one description.
	if e.described != (e.kind == 'D' && e.object == 'S') {
		return violated("the server described rows out of turn")
	}
	c := cursor{b: f[frameHeader:]}
	e.described, e.columns = true, c.uint16()
	if !s.ps.Masks() {
		if e.kind == 'D' {
			return s.describedOnly(e, f)
		}
		return s.send(e, f)
	}
	h, err := s.describeRows(ctx, f, s.reads(ctx, e))
	if err != nil {
		return err
	}
	if e.kind == 'D' {
		if e.swallow { // an Execute is behind it: what can be decided before rows go is
			if err := e.x.Head(ctx, &h.Head); err != nil {
				return s.untreated(e, err)
			}
			e.portal.headOf = e.x
		}
		return s.described(e, f, h)
	}
	e.head = h
	if err := s.send(e, f); err != nil {
		return err
	}
	if err := e.x.Head(ctx, &h.Head); err != nil {
		return s.untreated(e, err)
	}
	return nil
}

// described ends the answer to a Describe.
func (s *session) described(e *owed, f []byte, h *head) error {
	if e.object == 'P' && e.portal != nil {
		e.portal.head = h
		e.portal.known.Store(true)
	}
	s.queue.pop()
	if e.swallow {
		return nil
	}
	return s.send(e, f)
}

// describedOnly ends the answer to a Describe where nothing is masked. What a
// statement's rows look like is kept for the record.
func (s *session) describedOnly(e *owed, f []byte) error {
	if e.object == 'S' && e.st != nil {
		h, _, err := readHead(f[frameHeader:])
		if err != nil {
			return err
		}
		e.st.described = h
	}
	return s.described(e, f, nil)
}

// complete ends one statement: the only one of an Execute, one of several in a
// Query.
func (s *session) complete(e *owed, f []byte) error {
	if e.copying != nil || s.queue.copyingIn(e) {
		return violated("the server ended a COPY whose data goes on")
	}
	tag := ""
	if f[0] == 'C' {
		t, err := text(f[frameHeader:])
		if err != nil {
			return err
		}
		if tag = string(t); !knownTag(tag) {
			return violated("the server completed a command with an unknown tag")
		}
	}
	if err := s.send(e, f); err != nil {
		return err
	}
	s.shown.ran(e)
	if n, ok := copiedRows(tag); ok && e.copied {
		e.rows, e.copied = e.before+n, false
	}
	e.before = e.rows
	if e.facts != nil {
		s.queue.took(e)
	}
	e.tag = tag
	if f[0] == 'C' {
		if err := s.completed(e, tag); err != nil {
			return err
		}
		s.settings.completed(e, s.tx.block)
	}
	if e.kind == 'Q' {
		e.index++
		e.head, e.described = nil, false
		return nil
	}
	s.queue.executed()
	return s.end(e, event.Outcome{Status: "ok", Tag: tag, Rows: e.rows})
}

func (s *session) suspended(e *owed, f []byte) error {
	if err := s.send(e, f); err != nil {
		return err
	}
	s.tx.did(e.x.ID)
	s.queue.executed()
	return s.end(e, event.Outcome{Status: "suspended", Rows: e.rows})
}

// end records the outcome of e's exchange behind the bytes that belong to it.
func (s *session) end(e *owed, o event.Outcome) error {
	if err := s.attribute(e.x); err != nil {
		return err
	}
	return e.x.End(o)
}

func (s *session) ready(ctx context.Context, e *owed, f []byte) error {
	if len(f) != frameHeader+1 {
		return violated("malformed ReadyForQuery")
	}
	if !e.swallow {
		if err := s.send(e, f); err != nil {
			return err
		}
	}
	n, made := s.queue.ready(f[frameHeader])
	if n > 0 {
		s.catalog.settle(n)
	}
	if len(made) > 0 {
		if err := s.catalog.settleTaints(ctx, made); err != nil {
			// Their names count as long as it is not known what they are.
			s.env.Log.Warn("what a statement has made cannot be looked up", append(s.logAttrs(), "error", err)...)
		}
	}
	s.shown.computed = false
	if e.kind == 'S' {
		return s.settled(f[frameHeader])
	}
	o := event.Outcome{Status: "ok", Tag: e.tag, Rows: e.rows}
	if e.failed != "" {
		o = failure(e, e.failed)
	}
	if err := s.end(e, o); err != nil {
		return err
	}
	if err := s.became(e); err != nil {
		return err
	}
	return s.settled(f[frameHeader])
}

// became records what became of a Query where that is more than its outcome
// says: a failed one is undone but for what a COMMIT in it kept, others stay
// but for what a ROLLBACK in it undid.
func (s *session) became(e *owed) error {
	status := e.undone
	e.kept = e.kept || e.failed == "" && slices.Contains(s.tx.open, e.x.ID)
	if e.kept && (e.failed != "" || status != "") {
		status = outcomeInPart
	} else if e.failed != "" && status == outcomeUndone {
		return nil
	}
	if status == "" {
		return nil
	}
	return e.x.End(event.Outcome{Status: status})
}

func failure(e *owed, code string) event.Outcome {
	o := event.Outcome{Status: "error", Code: code, Rows: e.rows}
	if e.refusal != nil {
		o.Status, o.Code = "refused", e.refusal.code
	}
	if r := e.unwanted.Load(); r != nil && r.code == code {
		o.Status = "refused"
	}
	return o
}

// errorResponse passes an error on; that of a refused message in the gate's
// words.
func (s *session) errorResponse(e *owed, f []byte) error {
	var m pgproto3.ErrorResponse
	if err := m.Decode(f[frameHeader:]); err != nil {
		return violated("malformed ErrorResponse")
	}
	gaveUp, unwanted := s.gaveUp(&m), e.refusedUpload(&m)
	if s.guarded() {
		scrub(&m)
		if e != nil && (e.fails || e.portal != nil && e.portal.fails) {
			blur(&m)
		}
		var err error
		if f, err = m.Encode(nil); err != nil {
			return err
		}
	}
	if m.SeverityUnlocalized == "FATAL" || m.SeverityUnlocalized == "PANIC" {
		// The server leaves, and what is owed stays owed.
		return errors.Join(s.send(e, f), errServerLeft)
	}
	if e == nil {
		return s.send(nil, f)
	}
	if e.asksSchema {
		s.queue.fail() // in a transaction that has failed
		return nil
	}
	s.queue.endCopyIn()
	e.copying = nil
	if gaveUp {
		return s.outOfStep(e, &m)
	}
	failed := s.tx.failed
	if err := s.erred(e); err != nil {
		return err
	}
	code := m.Code
	if e.probe != nil && e.swallow {
		if e.probe.quiet {
			return s.failed(e, code)
		}
		var err error
		if f, err = e.probe.error(&m); err != nil {
			return err
		}
	}
	if e.refusal != nil && (m.Code == codeSyntax || e.kind == 'F') {
		if failed && e.futile {
			e.refusal = inFailed
		}
		code = e.refusal.code
		f = e.refusal.append(nil, "ERROR")
	}
	if unwanted != nil {
		code, f = unwanted.code, unwanted.append(nil, "ERROR")
	}
	if err := s.send(e, f); err != nil {
		return err
	}
	if e.kind == 'Q' || e.kind == 'F' {
		e.failed = code
		return nil
	}
	if e.kind == 'S' {
		return nil // a failing commit; ReadyForQuery follows
	}
	return s.failed(e, code)
}

// failed ends what the server skips after an error of e: all before Sync.
func (s *session) failed(e *owed, code string) error {
	var last *pipeline.Exchange
	for _, d := range s.queue.fail() {
		if d.x == nil || d.x == last {
			continue
		}
		o := event.Outcome{Status: "skipped"}
		if d == e {
			o = failure(e, code)
		}
		last = d.x
		if err := s.end(d, o); err != nil {
			return err
		}
	}
	return nil
}

// abandon records what becomes of the transaction that is open, and that the
// outcome of what is still owed is not known.
func (s *session) abandon() {
	_, _ = s.closing(nil) // as below
	last := s.cut
	for _, e := range s.queue.rest() {
		if e.x != nil && e.x != last {
			last = e.x
			_ = e.x.End(event.Outcome{Status: "unknown"}) // the recording closes next, and says so
		}
	}
}
