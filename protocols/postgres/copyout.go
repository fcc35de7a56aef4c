package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/event"
	"gatehouse/protocols/postgres/statement"
)

// copyName is the name of the prepared statement by which the gate asks what a
// COPY's columns are. It exists only between two messages of the client.
const copyName = "gatehouse copy"

// A copyProbe is the question what columns a COPY TO has: a Parse and Describe
// of an equivalent SELECT, in the client's session, right before the COPY. The
// locks that Parse takes are kept until the transaction ends, so that what was
// described is what is copied.
type copyProbe struct {
	query bool
	// quiet is whether an error is the gate's own affair, because the COPY
	// will meet it too.
	quiet   bool
	reading *reading
	head    *head // for the responses' goroutine; nil before the answer, or where there is none
}

// A copying is a COPY TO whose data is coming.
type copying struct {
	reader copyReader
	head   *head
}

// copies returns what the statement that e is at copies from or to the client.
func (e *owed) copies() *statement.Copy {
	if e.facts == nil {
		return nil
	}
	return e.facts.CopyOf(e.index)
}

// refuseCopies returns why a COPY in facts cannot pass: its data could not be
// read, or its columns could not be told.
func (s *session) refuseCopies(facts *statement.Result) *refusal {
	for i := range facts.Len() {
		c := facts.CopyOf(i)
		if c == nil {
			continue
		}
		if _, ref := newCopyFormat(c); ref != nil {
			return ref
		}
		if c.In || !s.ps.Masks() {
			continue
		}
		if c.Select == "" {
			return &refusal{code: codeTooComplex, message: "gatehouse: the query of the COPY cannot be judged"}
		}
		if !steady(facts.Statements[:facts.Top(i)]) {
			return &refusal{code: codeUnsupported,
				message: "gatehouse: COPY TO STDOUT behind a statement that may change what its names mean is refused",
				hint:    "Send it as a query of its own."}
		}
	}
	return nil
}

// refuseExecuted returns why facts, which were resolved, cannot pass: an EXECUTE
// in them is of a COPY that Parse prepared, whose data would come under another
// statement.
func (s *session) refuseExecuted(facts *statement.Result) (ref *refusal) {
	facts.Resolve(func(name string) ([]event.Statement, bool) {
		if p := s.queue.lookup(name); p != nil && !p.viaSQL && (copiesIn(p.facts) || copyOut(p.facts) != nil) {
			ref = &refusal{code: codeUnsupported, message: "gatehouse: EXECUTE of a COPY is refused", hint: "Bind and execute it by the protocol, as it was prepared."}
		}
		return nil, false
	})
	return ref
}

// steady reports whether what names mean is certain to be the same after
// statements: they run no code and end no transaction.
func steady(statements []event.Statement) bool {
	for i := range statements {
		switch st := &statements[i]; st.Kind {
		case "BEGIN", "START TRANSACTION":
			if slices.Contains(st.Options, "ISOLATION LEVEL") {
				return false // it must come before the gate's question
			}
		case "SAVEPOINT", "SHOW":
		default:
			return false
		}
	}
	return true
}

// copyOut returns the first COPY TO STDOUT of facts, or nil.
func copyOut(facts *statement.Result) *statement.Copy {
	for i := range facts.Len() {
		if c := facts.CopyOf(i); c != nil && !c.In {
			return c
		}
	}
	return nil
}

// probe sends the question what columns c has. It reports false where the server
// will discard it.
func (s *session) probe(e *owed, c *statement.Copy, quiet bool) bool {
	e.probe = &copyProbe{query: c.Query, quiet: quiet}
	if e.guarded != nil {
		e.probe.reading = &reading{protected: e.guarded, constants: c.Constants, calls: e.calls, subject: e.subject()}
	}
	x := e.x
	if quiet {
		x = nil
	}
	name := append([]byte(copyName), 0)
	for _, kind := range []byte("CPDC") {
		if !s.queue.push(&owed{kind: kind, object: 'S', name: copyName, swallow: true, probe: e.probe, x: x}) {
			return false
		}
		s.up = appendFrame(s.up, kind, func(b []byte) []byte {
			if kind != 'P' {
				return append(append(b, 'S'), name...)
			}
			b = append(append(b, name...), c.Select...)
			return append(b, 0, 0, 0)
		})
	}
	return true
}

// probeQuery asks what columns a COPY in a simple query has and waits for the
// answer, without a Sync between: then the locks would be gone. It reports
// whether the query itself is still to be sent.
func (s *session) probeQuery(ctx context.Context, e *owed, c *statement.Copy) (bool, error) {
	if err := s.drain(ctx, 0); err != nil { // only the server's replies tell whether a transaction is open
		return false, err
	}
	s.fromClient.detach() // the frame is needed after the wait, which reads ahead
	status, _ := s.queue.transaction()
	quiet := status == 'I'
	if !s.probe(e, c, quiet) {
		return false, e.x.End(event.Outcome{Status: "skipped"})
	}
	s.up = append(s.up, 'H', 0, 0, 0, 4)
	if err := s.flushUp(ctx); err != nil {
		return false, err
	}
	if err := s.attend(ctx, func(ctx context.Context) error { return s.queue.wait(ctx, 0) }); err != nil {
		return false, err
	}
	if n, _ := s.queue.load(); n > 0 {
		return false, nil // the client left, or the session ends
	}
	if !s.queue.skipping() {
		return true, nil
	}
	// The server discards messages. Outside a transaction it is let go on, and
	// tells the client itself what is wrong with the COPY. Inside, that was
	// told already, and the transaction has failed.
	return quiet, s.forward([]byte{'S', 0, 0, 0, 4}, &owed{kind: 'S', swallow: quiet})
}

// probed takes a response to the gate's own question.
func (s *session) probed(ctx context.Context, e *owed, f []byte) error {
	switch {
	case e.kind == 'C' && f[0] == '3':
		s.queue.define(e)
	case e.kind == 'P' && f[0] == '1', e.kind == 'D' && f[0] == 'n':
	case e.kind == 'D' && f[0] == 't':
		return nil // more follows
	case e.kind == 'D' && f[0] == 'T':
		h, err := s.describeRows(ctx, f, s.probeReading(ctx, e.probe))
		if err != nil {
			return err
		}
		e.probe.head = h
	default:
		return violated("the server answered %q with %q", e.kind, f[0])
	}
	s.queue.pop()
	return nil
}

// probeReading is what the text of a COPY tells, and what the session knows now.
func (s *session) probeReading(ctx context.Context, p *copyProbe) *reading {
	if p.reading == nil {
		return nil
	}
	r := *p.reading
	r.redefined, r.tainted = s.queue.redefines(), s.resource.taints.more()
	s.look(ctx, &r)
	return &r
}

// probeError returns the error of a probe as that of the COPY.
func (p *copyProbe) error(m *pgproto3.ErrorResponse) ([]byte, error) {
	if !p.query {
		m.Position = 0 // in a text that the client does not know
	}
	return m.Encode(nil)
}

// copyHead returns the description of a COPY's n columns, which h is that of the
// equivalent SELECT. A COPY of a whole table leaves out generated columns, unless
// the server carries it out as that SELECT, for the sake of row security.
func (h *head) copyHead(n int, f *copyFormat) (*head, error) {
	out := &head{described: h}
	for i := range h.Fields {
		if n < len(h.Fields) && slices.Contains(h.generated, i) {
			continue
		}
		out.Fields = append(out.Fields, h.Fields[i])
		out.oids, out.formats = append(out.oids, h.oids[i]), append(out.formats, f.code())
	}
	if len(out.Fields) != n {
		return nil, violated("a COPY of %d columns under %d fields", n, len(out.Fields))
	}
	out.setAttr()
	out.Attrs = append(out.Attrs, f.attrs()...)
	return out, nil
}

// copyNamed returns what is known of n columns without asking: names, where the
// text has them.
func copyNamed(c *statement.Copy, f *copyFormat, n int) *head {
	h := &head{oids: make([]uint32, n), formats: make([]int16, n)}
	for i := range n {
		name := fmt.Sprintf("column%d", i+1)
		if len(c.Columns) == n {
			name = c.Columns[i]
		}
		h.Fields = append(h.Fields, event.Field{Name: name})
		h.formats[i] = f.code()
	}
	h.setAttr()
	if !f.unsound {
		h.Attrs = append(h.Attrs, f.attrs()...)
	}
	return h
}

// readCopyResponse reads the body of CopyInResponse and CopyOutResponse.
func readCopyResponse(f []byte, format *copyFormat) (columns int, err error) {
	c := cursor{b: f[frameHeader:]}
	code := c.uint8()
	columns = c.uint16()
	c.bytes(2 * columns)
	if !c.done() {
		return 0, violated("malformed %q", f[0])
	}
	if int16(code) != format.code() {
		return 0, violated("a COPY in format %d, asked for in %d", code, format.code())
	}
	return columns, nil
}

// copyOutResponse begins the data of a COPY TO STDOUT.
func (s *session) copyOutResponse(ctx context.Context, e *owed, f []byte) error {
	c := e.copies()
	if c == nil || c.In || e.copying != nil {
		return violated("the server answered %q with %q", e.kind, f[0])
	}
	format, ref := newCopyFormat(c)
	format.sent()
	n, err := readCopyResponse(f, &format)
	if err != nil {
		return err
	}
	h := copyNamed(c, &format, n)
	if s.ps.Masks() {
		if e.probe == nil || e.probe.head == nil || ref != nil || format.unsound {
			return violated("the server copies what it did not describe")
		}
		if h, err = e.probe.head.copyHead(n, &format); err != nil {
			return err
		}
	}
	e.probe = nil
	format.setColumns(h.Fields)
	e.copying = &copying{head: h, reader: copyReader{copyFormat: format, limit: s.protocol.config.Limits.MessageSize}}
	if err := s.attribute(e.x); err != nil { // what came before is not of this head
		return err
	}
	if err := s.send(e, f); err != nil {
		return err
	}
	if err := e.x.Head(ctx, &h.Head); err != nil {
		return s.untreated(e, err)
	}
	return nil
}

// copyData treats the data f, and that behind it that is at hand, and passes it
// on.
func (s *session) copyData(ctx context.Context, e *owed, f []byte) error {
	if e.copying == nil {
		return violated("the server sent COPY data that it did not announce")
	}
	if err := s.recheck(ctx, e, e.copying.head); err != nil {
		return err
	}
	columns, fields := e.x.Treated()
	if len(columns) == 0 {
		return s.pass(e, f)
	}
	frames, err := s.batch(f)
	if err != nil {
		return err
	}
	n, over := within(e, frames)
	if n > 0 {
		if err := s.copyTreated(ctx, e, frames[:n], columns, fields); err != nil {
			return err
		}
	}
	if over != nil {
		return s.spent(e, over)
	}
	return nil
}

// copyTreated treats the data in frames and passes it on.
func (s *session) copyTreated(ctx context.Context, e *owed, frames [][]byte, columns []int, fields []event.Field) error {
	b := &s.rows
	b.rows.Reset(fields)
	b.given, b.spans, b.text = b.given[:0], b.spans[:0], b.text[:0]
	parts, err := b.cut(e.copying, frames)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if err := b.addCopied(e.copying, p, columns); err != nil {
			return err
		}
	}
	if b.rows.Len() > 0 {
		if err := e.x.Rows(ctx, &b.rows); err != nil {
			return s.untreated(e, err)
		}
	}
	e.rows += int64(b.rows.Len())
	if err := s.send(e, nil); err != nil { // attributes what follows
		return err
	}
	s.down.buf, err = b.appendCopied(s.down.buf, e.copying, parts, columns)
	return err
}

// A cutPart is a part of a COPY's data, which is reader.buf[from:to], and the
// message in which it ended.
type cutPart struct {
	kind     copyPart
	from, to int
	message  int
}

// A span is where in a row of a COPY a value is, its length included in binary
// format.
type span struct{ from, to int }

// cut cuts the data in frames into parts. They are valid until the next call.
func (b *rowBuffers) cut(c *copying, frames [][]byte) ([]cutPart, error) {
	r := &c.reader
	r.reset()
	parts := b.parts[:0]
	for i, f := range frames {
		if err := r.feed(f[frameHeader:]); err != nil {
			return nil, err
		}
		for {
			kind, from, to, ok, err := r.next()
			if err != nil {
				return nil, err
			}
			if !ok {
				break
			}
			parts = append(parts, cutPart{kind, from, to, i})
		}
	}
	b.parts = parts
	return parts, nil
}

// addCopied adds the treated columns of one row, as text, to the batch. A line
// of names must be the names.
func (b *rowBuffers) addCopied(c *copying, p cutPart, columns []int) error {
	h, row := c.head, c.reader.buf[p.from:p.to]
	switch {
	case p.kind == copyHeader && !c.reader.binary:
		return b.checkNames(c, row)
	case p.kind != copyRow:
		return nil
	}
	cells := b.rows.Grow()
	at, between := 0, 1 // where the value is, and how much is behind it
	if c.reader.binary {
		at, between = 2, 0
	}
	k := 0
	n := c.reader.values(row, func(j int, raw []byte) {
		if k < len(columns) && columns[k] == j {
			var v []byte
			v, b.text = c.reader.decode(raw, b.text)
			cells[k] = b.textOf(h, j, v)
			b.spans = append(b.spans, span{at, at + len(raw)})
			k++
		}
		at += len(raw) + between
	})
	b.given = append(b.given, cells...)
	return c.countValues(n)
}

// countValues checks that a row of n values is one of the COPY.
func (c *copying) countValues(n int) error {
	if want := len(c.head.Fields); n != want && !(n == 1 && want == 0) {
		return violated("a COPY's row of %d values under %d fields", n, want)
	}
	return nil
}

// checkNames checks the line that names the columns.
func (b *rowBuffers) checkNames(c *copying, row []byte) error {
	fields, named := c.head.Fields, true
	n := c.reader.values(row, func(j int, raw []byte) {
		var name []byte
		name, b.text = c.reader.decode(raw, b.text)
		named = named && j < len(fields) && string(name) == fields[j].Name
	})
	if err := c.countValues(n); err != nil {
		return err
	}
	if !named {
		return violated("a COPY's first line does not name its columns")
	}
	return nil
}

// appendCopied appends parts, rows as the pipeline left them, as messages that
// end where the server's did.
func (b *rowBuffers) appendCopied(to []byte, c *copying, parts []cutPart, columns []int) ([]byte, error) {
	var err error
	row := 0
	for i := 0; i < len(parts); {
		at, message := len(to), parts[i].message
		to = append(to, 'd', 0, 0, 0, 0)
		for ; i < len(parts) && parts[i].message == message; i++ {
			p := c.reader.buf[parts[i].from:parts[i].to]
			if parts[i].kind != copyRow {
				to = append(to, p...)
				continue
			}
			if to, err = b.appendCopiedRow(to, c, row, p, columns); err != nil {
				return to, err
			}
			row++
		}
		n := len(to) - at - 1
		if n > 1<<30-1 {
			return to, violated("treated COPY data of %d bytes", n)
		}
		binary.BigEndian.PutUint32(to[at+1:], uint32(n))
	}
	return to, nil
}

// appendCopiedRow appends row i, which was row, as the pipeline left it: what is
// between the edited cells as it came.
func (b *rowBuffers) appendCopiedRow(to []byte, c *copying, i int, row []byte, columns []int) ([]byte, error) {
	cells, changed := b.rows.Row(i)
	if !changed {
		return append(to, row...), nil
	}
	h, first, at := c.head, i*len(columns), 0
	for k, j := range columns {
		if same(cells[k], b.given[first+k]) {
			continue
		}
		where := b.spans[first+k]
		to = append(to, row[at:where.from]...)
		at = where.to
		var err error
		if to, err = c.reader.append(to, encodeCell(h.oids[j], h.formats[j], cells[k]), j, len(h.oids)); err != nil {
			return to, err
		}
	}
	return append(to, row[at:]...), nil
}

// copyDone ends the data of a COPY TO STDOUT.
func (s *session) copyDone(e *owed, f []byte) error {
	if e.copying == nil {
		return violated("the server ended COPY data that it did not announce")
	}
	if columns, _ := e.x.Treated(); len(columns) > 0 && !e.copying.reader.whole() {
		return violated("COPY data ended within a row")
	}
	e.copying, e.copied = nil, true
	return s.send(e, f)
}

// copiedRows returns how many rows a COPY's command tag tells.
func copiedRows(tag string) (int64, bool) {
	n, ok := strings.CutPrefix(tag, "COPY ")
	if !ok {
		return 0, false
	}
	rows, err := strconv.ParseInt(n, 10, 64)
	return rows, err == nil
}
