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
	text   []byte   // cells converted to text
	types  *pgtype.Map
}

// dataRows treats the row f, and those behind it that are at hand, and passes
// them on.
func (s *session) dataRows(ctx context.Context, e *owed, f []byte) error {
	if err := e.countValues(f); err != nil {
		return err
	}
	h := e.head
	if e.portal != nil {
		h = e.portal.head
	}
	if h == nil {
		if s.ps.Masks() {
			return violated("the server sent a row that it did not describe")
		}
		e.rows++
		if e.rows == 1 && e.portal != nil {
			if err := s.recordHead(ctx, e); err != nil {
				return err
			}
		}
		return s.send(e, f)
	}
	if e.portal != nil && e.portal.headOf != e.x {
		if err := e.x.Head(ctx, &h.Head); err != nil {
			return s.untreated(e, err)
		}
		e.portal.headOf = e.x
	}
	columns, fields := e.x.Treated()
	if len(columns) == 0 {
		c := cursor{b: f[frameHeader:]}
		if n := c.uint16(); n != len(h.oids) {
			return violated("a row of %d values under %d fields", n, len(h.oids))
		}
		e.rows++
		return s.send(e, f)
	}
	frames, err := s.batch(f)
	if err != nil {
		return err
	}
	b := &s.rows
	b.rows.Reset(fields)
	b.given, b.text = b.given[:0], b.text[:0]
	for _, f := range frames {
		if err := b.add(f, h, columns); err != nil {
			return err
		}
	}
	if err := e.x.Rows(ctx, &b.rows); err != nil {
		return s.untreated(e, err)
	}
	e.rows += int64(len(frames))
	if err := s.send(e, nil); err != nil { // attributes what follows
		return err
	}
	for i, f := range frames {
		if s.down.buf, err = b.append(s.down.buf, i, f, h, columns); err != nil {
			return err
		}
	}
	return nil
}

// countValues checks that a row has as many values as were described, or, in
// answer to an Execute, as the row before.
func (e *owed) countValues(f []byte) error {
	c := cursor{b: f[frameHeader:]}
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
	s.server.conn.Close()
	end := &endError{refusal{code: codeAccessDenied,
		message: "gatehouse: the session ends: a result cannot be treated as the policy asks",
		hint:    "What the statement changed is undone unless it was committed."}, fmt.Errorf("treat result: %w", cause)}
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

// batch returns f and the rows behind it that need no reading.
func (s *session) batch(f []byte) ([][]byte, error) {
	frames, size := append(s.rows.frames[:0], f), len(f)
	for len(frames) < maxBatch && size < maxBuffer && s.fromServer.buffered() && s.fromServer.peek() == 'D' {
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
		if v != nil && h.formats[j] != 0 {
			v, _ = b.toText(h.oids[j], v)
		}
		cells[k] = v
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
			if !same(cells[k], given[k]) {
				v = encodeCell(h.oids[j], h.formats[j], cells[k])
			}
			k++
		}
		if err == nil {
			to, err = appendValue(to, v)
		}
	})
	n := len(to) - at - 1
	if err == nil && n > 1<<30-1 {
		err = violated("a treated row of %d bytes", n)
	}
	if err != nil {
		return to[:at], err // which ends at a frame's border
	}
	binary.BigEndian.PutUint32(to[at+1:], uint32(n))
	return to, nil
}

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

// encodeCell returns an edited value in the form that the client expects. What
// the type cannot hold becomes NULL.
func encodeCell(oid uint32, format int16, v []byte) []byte {
	if v == nil {
		return nil
	}
	switch {
	case oid == pgtype.JSONOID || oid == pgtype.JSONBOID:
		if !json.Valid(v) {
			v, _ = json.Marshal(string(v)) // a string always has a JSON form
		}
		if oid == pgtype.JSONBOID && format == 1 {
			v = append([]byte{1}, v...)
		}
		return v
	case textual(oid):
		return v
	case oid >= firstUserOID && format == 0:
		return v
	}
	return nil
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
		return b.keep(append(b.text, value...)), true
	case int64:
		return b.keep(strconv.AppendInt(b.text, value, 10)), true
	case float64:
		return b.keep(strconv.AppendFloat(b.text, value, 'g', -1, 64)), true
	case bool:
		return b.keep(strconv.AppendBool(b.text, value)), true
	case time.Time:
		return b.keep(value.AppendFormat(b.text, time.RFC3339Nano)), true
	}
	return v, false
}

// keep makes grown, which is b.text with a value appended, the new b.text and
// returns the value.
func (b *rowBuffers) keep(grown []byte) []byte {
	n := len(b.text)
	b.text = grown
	return grown[n:len(grown):len(grown)]
}
