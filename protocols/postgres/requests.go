package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/protocols/postgres/statement"
)

// refusedName is the statement name of the Parse that stands for a refused
// message of another kind. The server never stores it: it cannot be parsed.
const refusedName = "gatehouse refused"

// requests relays from the client to the server until the client leaves.
func (s *session) requests(ctx context.Context) error {
	for {
		if !s.fromClient.buffered() {
			if err := s.flushUp(ctx); err != nil {
				return err
			}
		}
		f, err := s.fromClient.next()
		var long longRequest
		if err == nil && s.fromClient.left > 0 {
			long, err = s.skipLong(f)
		}
		if err != nil {
			return s.leave(ctx, err)
		}
		switch {
		case long.size > 0 && s.uploading != nil && s.queue.copyingIn(s.uploading):
			err = violated("a message %q of %d bytes during COPY from stdin", long.kind, long.size)
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
	s.leaving.Store(true)
	s.up = append(s.up, 'X', 0, 0, 0, 4)
	if err := s.flushUp(ctx); err != nil {
		return err
	}
	return s.server.conn.SetReadDeadline(timeIn(farewell))
}

// stop returns err, which ends the session. Where the client broke the protocol
// it gets first what it is owed for what came before.
func (s *session) stop(ctx context.Context, err error) error {
	if isViolation(err) && (s.uploading == nil || !s.queue.copyingIn(s.uploading)) {
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
	if !slices.Contains([]byte("QPBEDCSHFdcf"), kind) {
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
		return s.closeName(f, body)
	case 'S':
		if len(body) > 0 {
			return violated("malformed Sync")
		}
		s.discarding = false
		return s.forward(f, &owed{kind: 'S'})
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
	if s.queue.push(e) {
		s.up = append(s.up, f...)
		if e.kind == 'S' || e.kind == 'Q' {
			s.segment++
		}
	} else if e.x != nil {
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

// tooMany refuses a name that would be one too many. The unnamed statement and
// portal take the place of those before.
func (s *session) tooMany(ctx context.Context, name string) (*refusal, error) {
	limits := &s.protocol.config.Limits
	if name == "" || !s.queue.full(limits.Prepared, limits.MessageSize) {
		return nil, nil
	}
	// What is owed may close some.
	if err := s.drain(ctx, 0); err != nil || !s.queue.full(limits.Prepared, limits.MessageSize) {
		return nil, err
	}
	return &refusal{code: codeTooComplex, message: "gatehouse: too many prepared statements and portals, or too large ones",
		hint: "Close those that are no longer needed."}, nil
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
		return s.forward(constantMalformed, &owed{kind: 'F', x: s.reject(req, r), refusal: r})
	}
	req.Payload = sql
	facts, statements, ref, err := s.analyze(ctx, sql)
	if err != nil {
		return err
	}
	if ref != nil {
		return s.refuseQuery(req, ref)
	}
	req.Statements = statements
	e := &owed{kind: 'Q', facts: facts, names: changesNames(facts.Statements), bytes: keeps(sql, statements)}
	if e.names {
		e.sql = bytes.Clone(sql)
	}
	if defines(facts.Statements) {
		if ref, err = s.tooMany(ctx, "by SQL"); err != nil {
			return err
		}
		if ref != nil {
			return s.refuseQuery(req, ref)
		}
	}
	if ref, err = s.judge(ctx, e, req); err != nil || ref == errSkipped {
		return err
	}
	if ref != nil {
		return s.forward(constantQuery, refused(e, ref))
	}
	if c := copyOut(facts); c != nil && s.ps.Masks() {
		if on, err := s.probeQuery(ctx, e, c); !on || err != nil {
			return err
		}
	}
	e.context = s.now()
	s.note(facts)
	if facts.Len() == 1 {
		e.context = s.now()
		s.refresh(facts)
	}
	if err := s.forward(f, e); err != nil || !copiesIn(facts) {
		return err
	}
	return s.awaitCopyIn(ctx, e)
}

// refused marks e as the response to a refused message.
func refused(e *owed, r *refusal) *owed {
	e.refusal, e.facts, e.names = r, nil, false
	return e
}

// constantQuery and constantParse take the place of refused messages. The
// server rejects them, which fails its transaction and keeps it in step.
var (
	constantQuery = appendFrame(nil, 'Q', func(b []byte) []byte {
		return append(append(b, statement.Reject...), 0)
	})
	constantParse = parseReject(refusedName)
	// constantUnnamed drops the unnamed statement too, as the message that it
	// stands for would have.
	constantUnnamed = parseReject("")
)

// constantCall takes the place of refused function calls: no function has the
// OID 0.
var constantCall = appendFrame(nil, 'F', func(b []byte) []byte {
	return append(b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
})

// constantMalformed takes the place of a Query that does not hold one string.
// Unlike constantQuery it leaves the unnamed statement.
var constantMalformed = appendFrame(nil, 'Q', func(b []byte) []byte { return b })

func parseReject(name string) []byte {
	return appendFrame(nil, 'P', func(b []byte) []byte {
		b = append(append(b, name...), 0)
		b = append(append(b, statement.Reject...), 0)
		return append(b, 0, 0)
	})
}

// refusedText is how much is recorded of a text that is refused unread.
const refusedText = 1 << 20

// reject records req as refused by the gate itself, not by a plugin.
func (s *session) reject(req *event.Request, r *refusal) *pipeline.Exchange {
	if n := len(req.Payload); n > refusedText {
		req.Payload = wholeRunes(req.Payload[:refusedText])
		req.Attrs = append(req.Attrs, event.Attr{Key: "gatehouse.payload_bytes", Value: strconv.Itoa(n)})
	}
	return s.ps.Refuse(req, event.Verdict{Rule: "postgres/protocol", Reason: r.message})
}

// refuseQuery refuses a simple query that the gate itself does not let pass.
func (s *session) refuseQuery(req *event.Request, r *refusal) error {
	x := s.reject(req, r)
	return s.forward(constantQuery, &owed{kind: 'Q', x: x, refusal: r})
}

// refuseExtended refuses a message of the extended protocol: nothing up to
// Sync runs.
func (s *session) refuseExtended(e *owed, r *refusal) error {
	s.discarding = true
	constant := constantParse
	if e.kind == 'P' && e.name == "" {
		constant = constantUnnamed
	}
	return s.forward(constant, refused(e, r))
}

// analyze reads what sql does. A refusal says why it cannot run.
func (s *session) analyze(ctx context.Context, sql []byte) (*statement.Result, []event.Statement, *refusal, error) {
	if ref, err := s.unsettled(ctx, sql); ref != nil || err != nil {
		return nil, nil, ref, err
	}
	facts, err := s.protocol.config.Analyzer.Analyze(ctx, string(sql))
	if err != nil {
		if ctx.Err() != nil {
			return nil, nil, nil, ctx.Err()
		}
		return nil, nil, unparsable(err), nil
	}
	if ref := s.refuseCopies(facts); ref != nil {
		return nil, nil, ref, nil
	}
	if name := changesReading(facts.Statements); name != "" {
		return nil, nil, &refusal{code: codeAccessDenied,
			message: fmt.Sprintf("gatehouse: %s may not be changed: it alters how statements are read", name)}, nil
	}
	statements, err := s.resolve(ctx, facts)
	return facts, statements, nil, err
}

// resolve returns the statements of facts with the contents of the prepared
// statements that they execute by SQL.
func (s *session) resolve(ctx context.Context, facts *statement.Result) ([]event.Statement, error) {
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

func unparsable(err error) *refusal {
	if e, ok := errors.AsType[*statement.SyntaxError](err); ok {
		return &refusal{code: codeSyntax, message: e.Message, position: e.Position}
	}
	if errors.Is(err, statement.ErrLimit) {
		return &refusal{code: codeTooComplex, message: "gatehouse: the statement cannot be judged: " + err.Error()}
	}
	return &refusal{code: codeAccessDenied, message: "gatehouse: the statement cannot be judged"}
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

// errSkipped is the refusal of a message that the server will discard.
var errSkipped = &refusal{}

// judge begins e's exchange and waits out a hold. It returns nil where the
// request may go to the server.
func (s *session) judge(ctx context.Context, e *owed, req *event.Request, cut ...event.Parameter) (*refusal, error) {
	req.Attrs = s.contextAttrs()
	e.x = s.ps.Begin(ctx, req, cut...)
	v := e.x.Verdict
	if v.Action == event.Hold && req.Operation != "prepare" {
		return s.hold(ctx, e.x, req)
	}
	if e.x.Exceeded != nil {
		return exceeded(e.x.Exceeded), nil
	}
	if v.Action == event.Block {
		return denied(v), nil
	}
	return nil, nil
}

func denied(v event.Verdict) *refusal {
	r := &refusal{code: codeAccessDenied, message: "gatehouse: " + v.Reason}
	if v.Rule != "" && !strings.Contains(v.Reason, v.Rule) {
		r.hint = "rule " + v.Rule
	}
	return r
}

// parse judges a statement by its text. What is to be held is held at Bind,
// when its values are known: preparing runs nothing.
func (s *session) parse(ctx context.Context, f, body []byte) error {
	req := &event.Request{Operation: "prepare"}
	var m pgproto3.Parse
	if err := m.Decode(body); err != nil || len(body) != len(m.Name)+len(m.Query)+4+4*len(m.ParameterOIDs) {
		return violated("malformed Parse")
	}
	req.Payload = []byte(m.Query)
	e := &owed{kind: 'P', name: m.Name}
	facts, statements, ref, err := s.analyze(ctx, req.Payload)
	if err != nil {
		return err
	}
	if ref == nil {
		ref = cutName(m.Name)
	}
	if ref == nil {
		if ref, err = s.tooMany(ctx, m.Name); err != nil {
			return err
		}
	}
	if ref != nil {
		e.x = s.reject(req, ref)
		return s.refuseExtended(e, ref)
	}
	req.Statements = statements
	e.st = &prepared{sql: req.Payload, facts: facts, names: changesNames(facts.Statements), statements: statements}
	e.st.setOIDs(m.ParameterOIDs)
	e.st.measure()
	if ref, err = s.judge(ctx, e, req); err != nil {
		return err
	}
	if ref != nil {
		return s.refuseExtended(e, ref)
	}
	s.renamed(m.Name)
	return s.forward(f, e)
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
		return s.refuseExtended(&owed{kind: 'B', x: s.reject(req, r)}, r)
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
	if st == nil {
		r = &refusal{code: codeNoStatement, message: missing("prepared statement", m.statement)}
	}
	if r != nil {
		e.x = s.reject(req, r)
		return s.refuseExtended(e, r)
	}
	req.Payload, req.Statements = st.sql, st.statements
	var cut []event.Parameter
	req.Params, cut = s.paramTexts(&m, st, s.protocol.config.Limits.Parameters)
	if !st.viaSQL {
		// What a name means may have changed since Parse.
		if req.Statements, err = s.resolve(ctx, st.facts); err != nil {
			return err
		}
	}
	e.portal = &portal{st: st, req: req, renewals: s.renewals, formats: string(m.results)}
	e.portal.measure()
	ref, err := s.judge(ctx, e, req, cut...)
	if err != nil || ref == errSkipped {
		return err
	}
	if ref != nil {
		return s.refuseExtended(e, ref)
	}
	e.portal.x, e.portal.context = e.x, s.now() // a hold waits for what the server reports
	s.renamed(m.portal)
	if len(f) > maxBuffer {
		return s.forwardAtOnce(ctx, f, e)
	}
	return s.forward(f, e)
}

func missing(what, name string) string {
	if name == "" {
		return "unnamed " + what + " does not exist"
	}
	return fmt.Sprintf("%s %q does not exist", what, name)
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
		return s.refuseExtended(&owed{kind: 'E', x: s.reject(&event.Request{Operation: "execute"}, r)}, r)
	}
	p, err := s.findPortal(ctx, name)
	if err != nil {
		return err
	}
	if p == nil && name != "" || p != nil && p.st == nil {
		return s.executeCursor(ctx, f, name, limit, p)
	}
	e := &owed{kind: 'E', portal: p}
	if p == nil {
		r := &refusal{code: codeNoPortal, message: fmt.Sprintf("portal %q does not exist", name)}
		e.x = s.reject(&event.Request{Operation: "execute"}, r)
		return s.refuseExtended(e, r)
	}
	e.x, e.st = p.x, p.st
	if defines(p.st.facts.Statements) && !p.st.viaSQL {
		r, err := s.tooMany(ctx, "by SQL")
		if err != nil {
			return err
		}
		if r != nil {
			e.x = s.reject(p.req, r)
			return s.refuseExtended(e, r)
		}
	}
	if !p.st.viaSQL {
		e.facts, e.sql, e.names = p.st.facts, p.st.sql, p.st.names
	}
	if s.stale(p) {
		again := *p.req // an approver's page may still show the other
		again.Labels = nil
		if !p.st.viaSQL {
			if again.Statements, err = s.resolve(ctx, p.st.facts); err != nil {
				return err
			}
		}
		p.req = &again
		ref, err := s.judge(ctx, e, p.req)
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
	copies := e.copies()
	switch {
	case !s.ps.Masks():
	case copies != nil && !copies.In:
		s.probe(e, copies, false)
	case copies == nil && p.asked != s.segment && !p.known.Load():
		// The portal's own description is the one that cannot be stale.
		if err := s.forward(describePortal(name), &owed{kind: 'D', object: 'P', portal: p, x: p.x, swallow: true}); err != nil {
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
		return s.refuseExtended(&owed{kind: 'D', x: s.reject(&event.Request{Operation: "describe"}, r)}, r)
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
	}
	return s.forward(f, e)
}

func (s *session) closeName(f, body []byte) error {
	kind, name, err := object(body)
	if err != nil {
		return err
	}
	if r := cutName(name); r != nil {
		return s.refuseExtended(&owed{kind: 'C', x: s.reject(&event.Request{Operation: "close"}, r)}, r)
	}
	s.renamed(name)
	return s.forward(f, &owed{kind: 'C', object: kind, name: name})
}

// contextAttrs describes the context in which a request would run now.
func (s *session) contextAttrs() []event.Attr {
	status, settled := s.queue.transaction()
	path, role := s.settings.known(settled)
	attrs := append(make([]event.Attr, 0, 6), s.attrs[status]...) // room for those of a hold
	attrs = append(attrs, event.Attr{Key: "postgres.search_path", Value: path}, event.Attr{Key: "postgres.role", Value: role})
	if s.readOnly.Load() {
		attrs = append(attrs, event.Attr{Key: "db.read_only", Value: "on"})
	}
	return attrs
}

// newContextAttrs are the attributes of a context by transaction status.
func newContextAttrs(database string) map[byte][]event.Attr {
	m := map[byte][]event.Attr{}
	for status, name := range map[byte]string{'I': "idle", 'T': "open", 'E': "failed"} {
		m[status] = []event.Attr{{Key: "db.namespace", Value: database}, {Key: "db.transaction", Value: name}}
	}
	return m
}
