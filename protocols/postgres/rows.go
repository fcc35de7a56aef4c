package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"gatehouse/core/event"
)

// maxBatch is how many rows are treated at a time, at the most.
const maxBatch = 512

// rowBuffers are what treating rows needs, kept from batch to batch. They
// belong to the responses' goroutine, but for toText, which the requests'
// goroutine uses with its own.
type rowBuffers struct {
	frames [][]byte
	rows   event.Rows
	given  [][]byte // the cells as they were given to the pipeline
	looks  []bool   // which of the treated columns are inspected
	text   []byte   // cells converted to text
	types  *pgtype.Map
	parts  []cutPart // of COPY data
	spans  []span    // where in their rows the cells given are
	key    []byte    // of a description
}

// rowHead returns how a row of e looks that begins with body, and which of its
// columns are treated. It is nil where nobody asks.
func (s *session) rowHead(ctx context.Context, e *owed, body []byte) (h *head, columns []int, fields []event.Field, err error) {
	if err := e.countValues(body); err != nil {
		return nil, nil, nil, err
	}
	h = e.head
	if e.portal != nil {
		h = e.portal.head
	}
	if h == nil {
		if s.ps.Masks() {
			return nil, nil, nil, violated("the server sent a row that it did not describe")
		}
		if e.rows == 0 && e.portal != nil {
			return nil, nil, nil, s.recordHead(ctx, e)
		}
		return nil, nil, nil, nil
	}
	if e.portal != nil && e.portal.headOf != e.x {
		if err := e.x.Head(ctx, &h.Head); err != nil {
			return nil, nil, nil, s.untreated(e, err)
		}
		e.portal.headOf = e.x
	}
	if err := s.recheck(ctx, e, h); err != nil {
		return nil, nil, nil, err
	}
	if len(h.oids) != e.columns {
		return nil, nil, nil, violated("a row of %d values under %d fields", e.columns, len(h.oids))
	}
	columns, fields = e.x.Treated()
	return h, columns, fields, nil
}

// pass passes on f, a row to which nothing is done.
func (s *session) pass(e *owed, f []byte) error {
	if err := s.take(e, len(f)); err != nil {
		return err
	}
	e.rows++
	return s.send(e, f)
}

// dataRows treats the row f, and those behind it that are at hand, and passes
// them on.
func (s *session) dataRows(ctx context.Context, e *owed, f []byte) error {
	h, columns, fields, err := s.rowHead(ctx, e, f[frameHeader:])
	if err != nil {
		return err
	}
	if len(columns) == 0 {
		return s.pass(e, f)
	}
	frames, err := s.batch(f)
	if err != nil {
		return err
	}
	if err := s.send(e, nil); err != nil { // attributes what follows
		return err
	}
	n, over := within(e, frames)
	if n > 0 {
		if s.down.buf, err = s.treatRows(ctx, s.down.buf, e, frames[:n], h, columns, fields); err != nil {
			return err
		}
		e.rows += int64(n)
	}
	if over != nil {
		return s.spent(e, over)
	}
	return nil
}

// treatRows appends rows to to as they are after their treatment. After an error
// to ends at a frame's border.
func (s *session) treatRows(ctx context.Context, to []byte, e *owed, frames [][]byte, h *head, columns []int, fields []event.Field) ([]byte, error) {
	b := &s.rows
	b.rows.Reset(fields)
	b.given, b.text, b.looks = b.given[:0], b.text[:0], b.looks[:0]
	for k := range columns {
		b.looks = append(b.looks, e.x.Inspected(k))
	}
	for _, f := range frames {
		if err := b.add(f, h, columns); err != nil {
			return to, err
		}
	}
	if err := e.x.Rows(ctx, &b.rows); err != nil {
		return to, s.untreated(e, err)
	}
	var err error
	for i, f := range frames {
		if to, err = b.append(to, i, f, h, columns); err != nil {
			return to, err
		}
	}
	if len(frames[0]) > maxBuffer {
		s.rows = rowBuffers{types: b.types} // which are large now
	}
	return to, nil
}

// countValues checks that a row that begins with body has as many values as were
// described, or, in answer to an Execute, as the row before.
func (e *owed) countValues(body []byte) error {
	c := cursor{b: body}
	n := c.uint16()
	if e.kind == 'E' && !e.described {
		e.described, e.columns = true, n
	}
	if c.bad || !e.described || n != e.columns {
		return violated("the server sent a row that it did not describe")
	}
	return nil
}

// untreated ends the session, because a result that cannot be treated may not
// reach the client. Rows may have gone before it, so that it is too late to
// refuse the statement. What becomes of the transaction is recorded.
func (s *session) untreated(e *owed, cause error) error {
	return s.cutResult(e, &endError{refusal{code: codeAccessDenied,
		message: "gatehouse: the session ends: a result cannot be treated as the policy asks",
		hint:    "What the statement changed is undone unless it was committed."}, fmt.Errorf("treat result: %w", cause)})
}

// cutResult ends the session for the reason end in the middle of e's result.
func (s *session) cutResult(e *owed, end *endError) error {
	s.server.conn.Close()
	s.cut = e.x
	err := s.end(e, event.Outcome{Status: "refused", Code: end.code, Rows: e.rows})
	if err == nil {
		s.tx.did(e.x.ID)
		var status string
		if status, err = s.closing(e); e.kept {
			status = outcomeInPart
		}
		if err == nil && e.kind == 'Q' {
			err = e.x.End(event.Outcome{Status: status})
		}
	}
	if err != nil {
		return err
	}
	return end
}

// recordHead records how rows look that only their statement's description
// tells about, so that a replay can show them.
func (s *session) recordHead(ctx context.Context, e *owed) error {
	if e.st == nil {
		return nil
	}
	if d := e.st.described; d != nil && e.portal.headOf != e.x {
		e.portal.headOf = e.x
		return e.x.Head(ctx, &e.st.as(e.portal.formats).Head)
	}
	return nil
}

// batch returns f and the messages of its type behind it that need no reading.
func (s *session) batch(f []byte) ([][]byte, error) {
	frames, size := append(s.rows.frames[:0], f), len(f)
	for len(frames) < maxBatch && size < maxBuffer && s.fromServer.buffered() && s.fromServer.peek() == f[0] {
		f, err := s.fromServer.next()
		if err != nil {
			return nil, err
		}
		frames, size = append(frames, f), size+len(f)
	}
	s.rows.frames = frames
	return frames, nil
}

// add adds the treated columns of one DataRow, as text, to the batch.
func (b *rowBuffers) add(f []byte, h *head, columns []int) error {
	cells := b.rows.Grow()
	k := 0
	err := dataRow(f, len(h.oids), func(j int, v []byte) {
		if k == len(columns) || columns[k] != j {
			return
		}
		cells[k] = b.textOf(h, j, v)
		k++
	})
	b.given = append(b.given, cells...)
	return err
}

// append appends row i, which was f, as the pipeline left it.
func (b *rowBuffers) append(to []byte, i int, f []byte, h *head, columns []int) ([]byte, error) {
	cells, changed := b.rows.Row(i)
	if !changed {
		return append(to, f...), nil
	}
	given := b.given[i*len(columns) : (i+1)*len(columns)]
	at, k := len(to), 0
	to = append(to, f[:frameHeader+2]...)
	var err error
	err = dataRow(f, len(h.oids), func(j int, v []byte) {
		if k < len(columns) && columns[k] == j {
			// An inspected value that nobody edited stays as it is.
			if !b.inspects(k) || !same(cells[k], given[k]) {
				v = encodeCell(h.oids[j], h.formats[j], cells[k])
			}
			k++
		}
		if err == nil {
			to, err = appendValue(to, v)
		}
	})
	if err == nil {
		err = setLength(to[at:], int64(len(to)-at))
	}
	if err != nil {
		return to[:at], err // which ends at a frame's border
	}
	return to, nil
}

// inspects is whether the k-th of the treated columns is inspected.
func (b *rowBuffers) inspects(k int) bool { return k < len(b.looks) && b.looks[k] }

func same(a, b []byte) bool {
	return (a == nil) == (b == nil) && bytes.Equal(a, b)
}

// textual are the types whose values may be any text.
func textual(oid uint32) bool {
	switch oid {
	case pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID, pgtype.NameOID, pgtype.UnknownOID, pgtype.XMLOID,
		pgtype.JSONOID, pgtype.JSONBOID:
		return true
	}
	return false
}

// firstUserOID is where the OIDs of a database's own types begin
// (FirstNormalObjectId).
const firstUserOID = 16384

// A form is how a type, in a format, has a text that is not the server's own.
type form uint8

const (
	formNone  form = iota // not at all: the value becomes the type's blank
	formText              // as it is
	formJSON              // as it is if it is JSON, else as a string
	formJSONB             // the same behind a version
)

// jsonbVersion begins a jsonb value in binary format.
const jsonbVersion = 1

func formOf(oid uint32, format int16) form {
	switch {
	case oid == pgtype.JSONBOID && format == 1:
		return formJSONB
	case oid == pgtype.JSONOID || oid == pgtype.JSONBOID:
		return formJSON
	case textual(oid), oid >= firstUserOID && format == 0:
		return formText
	}
	return formNone
}

// encodeCell returns an edited value in the form that the client expects. Where
// the type cannot hold it, it is the type's blank.
func encodeCell(oid uint32, format int16, v []byte) []byte {
	if v == nil {
		return nil
	}
	f := formOf(oid, format)
	if (f == formJSON || f == formJSONB) && !json.Valid(v) {
		v, _ = json.Marshal(string(v)) // a string always has a JSON form
	}
	switch f {
	case formNone:
		return typed(oid, format, v)
	case formJSONB:
		return append([]byte{jsonbVersion}, v...)
	}
	return v
}

// textOf returns the text of the value v of field j, valid until the next batch.
func (b *rowBuffers) textOf(h *head, j int, v []byte) []byte {
	if v != nil && h.formats[j] != 0 {
		v, _ = b.toText(h.oids[j], v)
	}
	return v
}

// toText returns the text of a value in binary format, valid until the next
// batch. ok is false, and the text is the value's own bytes, where the type is
// not known.
func (b *rowBuffers) toText(oid uint32, v []byte) (text []byte, ok bool) {
	switch {
	case oid == pgtype.JSONBOID && len(v) > 0:
		return v[1:], true
	case textual(oid):
		return v, true
	case oid == pgtype.Int8OID && len(v) == 8:
		return b.keep(strconv.AppendInt(b.text, int64(binary.BigEndian.Uint64(v)), 10)), true
	}
	if b.types == nil {
		b.types = pgtype.NewMap()
	}
	t, known := b.types.TypeForOID(oid)
	if !known {
		return v, false
	}
	value, err := t.Codec.DecodeDatabaseSQLValue(b.types, oid, pgtype.BinaryFormatCode, v)
	if err != nil {
		return v, false
	}
	switch value := value.(type) {
	case string:
		return b.keep(append(b.text, value...)), true
	case []byte:
		if oid == pgtype.ByteaOID {
			return b.keep(append(b.text, value...)), true
		}
		return b.inText(t, v) // an array
	case int64:
		return b.keep(strconv.AppendInt(b.text, value, 10)), true
	case float64:
		return b.keep(strconv.AppendFloat(b.text, value, 'g', -1, 64)), true
	case bool:
		return b.keep(strconv.AppendBool(b.text, value)), true
	case time.Time:
		layout := time.RFC3339Nano
		switch oid { // as the server writes them
		case pgtype.DateOID:
			layout = time.DateOnly
		case pgtype.TimestampOID:
			layout = "2006-01-02 15:04:05.999999"
		}
		return b.keep(value.AppendFormat(b.text, layout)), true
	}
	return v, false
}

// inText returns the text of a value in binary format that the library gives no
// text.
func (b *rowBuffers) inText(t *pgtype.Type, v []byte) (text []byte, ok bool) {
	value, err := t.Codec.DecodeValue(b.types, t.OID, pgtype.BinaryFormatCode, v)
	if err != nil || value == nil {
		return v, false
	}
	grown, err := b.types.Encode(t.OID, pgtype.TextFormatCode, value, b.text)
	if err != nil || grown == nil {
		return v, false
	}
	return b.keep(grown), true
}

// keep makes grown, which is b.text with a value appended, the new b.text and
// returns the value.
func (b *rowBuffers) keep(grown []byte) []byte {
	n := len(b.text)
	b.text = grown
	return grown[n:len(grown):len(grown)]
}
