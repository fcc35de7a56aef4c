package postgres

import (
	"context"
	"encoding/binary"
	"fmt"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/protocols/postgres/statement"
)

// An uploadMask makes what is recorded of an upload some of whose columns are
// masked, or in which detectors find something: its rows, written anew. The server
// gets them as they came. What is no row of its columns is not recorded, only that
// it came.
type uploadMask struct {
	ps         *pipeline.Session
	hiding     *pipeline.Hiding // of what is in columns that are not masked, or nil
	x          *pipeline.Exchange
	reader     copyReader
	written    copyFormat // of the rows that are recorded
	treatments []event.Treatment
	lost       bool // where rows begin is no longer known

	frame, unread []byte // of the batch at hand
	text, cell    []byte // of a value
}

// maskUpload returns what masks the upload of c, e's statement at hand, of n
// columns, or nil where nothing in it is to be masked.
func (s *session) maskUpload(ctx context.Context, e *owed, c *statement.Copy, format *copyFormat, n int) (*uploadMask, error) {
	hiding, err := s.ps.Hides(ctx)
	if err != nil {
		return nil, err
	}
	treatments, any := make([]event.Treatment, n), hiding != nil
	for j := range treatments {
		if treatments[j].Kind = event.Pass; any {
			treatments[j] = hiding.Treatment()
		}
	}
	if protected := s.ps.Terms().AllProtected; protected != nil {
		m := masking{s: s, ctx: ctx, protected: protected, req: &event.Request{Statements: e.facts.Statements}}
		for j, v := range m.uploaded(e.statement(), c, n) {
			if t, masks := m.treatment(&v, ""); masks {
				treatments[j], any = t, true
			}
		}
	}
	if !any {
		return nil, nil
	}
	u := newUploadMask(s.ps, e.x, format, treatments, s.protocol.config.Limits.MessageSize)
	u.hiding = hiding
	return u, nil
}

// newUploadMask returns what masks an upload in a format whose columns are treated
// so, and whose rows have at most limit bytes.
func newUploadMask(ps *pipeline.Session, x *pipeline.Exchange, format *copyFormat, treatments []event.Treatment, limit int) *uploadMask {
	u := &uploadMask{ps: ps, x: x, treatments: treatments, lost: format.unsound, reader: copyReader{copyFormat: *format, limit: limit}}
	switch {
	case format.binary:
		u.written.setFormat("binary")
	case format.csv:
		u.written.setFormat("csv")
		u.written.escape = u.written.quote
	default:
		u.written.setFormat("text")
	}
	return u
}

// uploaded returns what is told of the values in each of the n columns that st
// copies.
func (m *masking) uploaded(st *event.Statement, c *statement.Copy, n int) []statement.Value {
	var target event.Object
	if len(st.Writes) == 1 {
		target = st.Writes[0]
	}
	of := statement.Column{Schema: target.Schema, Relation: target.Name}
	values := make([]statement.Value, n)
	for j := range values {
		values[j] = statement.Value{Known: true, Columns: []statement.Column{of}}
		if len(c.Columns) == n {
			values[j].Columns[0].Name = c.Columns[j]
		}
	}
	if len(c.Columns) > 0 {
		return values
	}
	for _, t := range m.s.catalog.tablesNamed(m.ctx, target.Schema, target.Name) {
		j := 0
		for _, own := range t.columns {
			if own.generated || j >= n {
				continue
			}
			named := statement.Column{Schema: t.schema, Relation: target.Name, Name: own.name}
			if values[j].Columns[0].Name == "" {
				values[j].Columns = nil
			}
			values[j].Columns = append(values[j].Columns, named)
			j++
		}
	}
	for j := range values {
		if len(values[j].Columns) == 0 {
			values[j].Columns = []statement.Column{of}
		}
	}
	return values
}

// head returns the description of what is recorded of h, the upload's.
func (u *uploadMask) head(h *head) *head {
	for j, t := range u.treatments {
		if t.Kind != event.Pass && t.Kind != event.Detect {
			h.oids[j] = 25 // text
		}
	}
	h.setAttr()
	h.Attrs = append(h.Attrs, u.written.attrs()...)
	return h
}

// begin begins a batch of messages.
func (u *uploadMask) begin() {
	u.reader.reset()
	u.frame = append(u.frame[:0], 'd', 0, 0, 0, 0)
	u.unread = u.unread[:0]
}

// data takes further data of the upload.
func (u *uploadMask) data(b []byte) {
	if !u.lost {
		if err := u.reader.feed(b); err == nil {
			u.rows()
			return
		}
		u.lose()
	}
	u.unread = append(u.unread, b...)
}

// lose gives up reading rows.
func (u *uploadMask) lose() {
	u.lost = true
	u.unread = append(u.unread, u.reader.buf[u.reader.from:]...)
	u.reader.restart()
}

// rows writes the rows that have come whole.
func (u *uploadMask) rows() {
	for {
		kind, from, to, ok, err := u.reader.next()
		switch {
		case err != nil:
			u.lose()
			return
		case !ok:
			return
		}
		part := u.reader.buf[from:to]
		switch {
		case kind == copyRow:
			u.row(part)
		case u.written.binary && kind == copyHeader:
			u.frame = append(append(u.frame, copySignature...), 0, 0, 0, 0, 0, 0, 0, 0)
		case u.written.binary:
			u.frame = append(u.frame, part...)
		}
	}
}

// row writes one row, or takes it as unread where it is none of these columns.
func (u *uploadMask) row(row []byte) {
	start, n := len(u.frame), len(u.treatments)
	if u.written.binary {
		u.frame = binary.BigEndian.AppendUint16(u.frame, uint16(n))
	}
	var wrong error
	count := u.reader.values(row, func(j int, raw []byte) {
		if j >= n || wrong != nil {
			return
		}
		var v []byte
		v, u.text = u.reader.decode(raw, u.text[:0])
		switch t := u.treatments[j]; {
		case v == nil, t.Kind == event.Pass:
		case t.Kind == event.Detect:
			v = u.hiding.Hide(v)
		default:
			u.cell = u.ps.AppendMasked(u.cell[:0], t, v)
			v = u.cell
		}
		if j > 0 && !u.written.binary {
			u.frame = append(u.frame, u.written.delimiter)
		}
		u.frame, wrong = u.written.append(u.frame, v, j, n)
	})
	if count != n || wrong != nil {
		u.frame = u.frame[:start]
		u.unread = append(u.unread, row...)
		return
	}
	if !u.written.binary {
		u.frame = append(u.frame, '\n')
	}
}

// record records the batch, and then the message f that ends the upload, unless
// it is nil.
func (u *uploadMask) record(f []byte) error {
	if f != nil && !u.lost && !u.reader.binary && u.reader.from < len(u.reader.buf) && f[0] == 'c' {
		u.data([]byte{'\n'}) // the last line has none
	}
	if f != nil && !u.reader.whole() {
		u.lose()
	}
	if len(u.unread) > 0 {
		n := event.Notice{
			Code:  "unread",
			Text:  fmt.Sprintf("%d bytes of the upload are no rows of its columns and are not recorded", len(u.unread)),
			Attrs: []event.Attr{{Key: "gatehouse.digest", Value: string(u.ps.AppendDigest(nil, u.unread))}},
		}
		if err := u.x.Note(n); err != nil {
			return err
		}
	}
	if len(u.frame) > frameHeader {
		if err := setLength(u.frame, int64(len(u.frame))); err != nil {
			return err
		}
		if err := u.x.Upload(u.frame); err != nil {
			return err
		}
	}
	switch {
	case f == nil:
		return nil
	case f[0] == 'f': // its text can be anything
		f = appendFrame(nil, 'f', func(b []byte) []byte { return append(b, 0) })
	}
	return u.x.Upload(f)
}
