package postgres

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
)

// A longRow is a message of one row, or of several of a COPY, that is too long
// to be held, on its way through its treatments into a spill. Of the values that
// plugins inspect it holds as many as may be held; all others are treated as they
// come. What is behind a DataRow's last treated value needs not wait there: the
// message's length is known by then.
type longRow struct {
	s       *session
	e       *owed
	h       *head
	copy    *copyReader // of the COPY that the row is of, or nil
	columns []int       // those that are treated
	fields  []event.Field
	file    *spill
	held    []heldValue
	seen    int // how many of held the plugins have seen
	room    int // bytes of values that may still be held
	rows    int64
	next    int    // the first column of a DataRow that is not read yet
	out     []byte // what a part of a value became
}

// A heldValue is one that a plugin is to inspect.
type heldValue struct {
	at     int64 // where in the file it belongs
	column int   // of the row
	k      int   // its place in what is treated
	v      []byte
}

// treatLong treats the message that the server has begun, whose first bytes are
// start, and sends it. Read takes the rest of it into the file.
func (s *session) treatLong(ctx context.Context, e *owed, h *head, start []byte, read func(*longRow, context.Context) error) error {
	r := &longRow{s: s, e: e, h: h, file: &spill{of: &s.protocol.spills}, room: s.protocol.config.Limits.Inspect}
	defer r.file.close()
	r.columns, r.fields = e.x.Treated()
	if err := read(r, ctx); err != nil {
		return s.longRowFailed(ctx, err)
	}
	size := int64(len(start)) + r.file.size + int64(s.fromServer.left)
	for i := range r.held {
		size += int64(len(r.held[i].v))
	}
	if err := setLength(start, size); err != nil {
		return err
	}
	if err := s.begin(ctx, e, start); err != nil {
		return err
	}
	if err := r.send(ctx); err != nil {
		return s.longRowFailed(ctx, err)
	}
	e.rows += r.rows
	s.finish()
	return nil
}

// dataRow reads the values of a DataRow, up to the last that is treated.
func (r *longRow) dataRow(ctx context.Context) (err error) {
	r.rows = 1
	r.next, err = r.treated(ctx)
	return err
}

// values reads the values of a row that has the length of each before it.
func (r *longRow) values(ctx context.Context) error {
	j, err := r.treated(ctx)
	if err != nil {
		return err
	}
	r.rows++
	return r.pass(r.file, j)
}

// treated reads the values of a row up to the last that is treated, and returns
// the column behind that.
func (r *longRow) treated(ctx context.Context) (j int, err error) {
	for k := 0; k < len(r.columns); j++ {
		if r.columns[k] != j {
			err = r.passOne(r.file)
		} else {
			err = r.read(j, k)
			k++
		}
		if err != nil {
			return j, err
		}
	}
	return j, r.inspect(ctx)
}

// longRowFailed ends a session whose server left within a row, or which has no
// room for it.
func (s *session) longRowFailed(ctx context.Context, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return s.serverLeft(ctx, err)
	}
	return spillError(err)
}

// spillError says that a row had no room, if that is what err is.
func spillError(err error) error {
	if errors.Is(err, errSpillsFull) {
		return &endError{refusal{code: codeLimit, message: "gatehouse: the session ends: " + errSpillsFull.Error(),
			hint: "Read fewer or shorter columns at a time."}, err}
	}
	return err
}

// length takes the length of the next value, -1 for NULL, from the server.
func (r *longRow) length() (n int, word []byte, err error) {
	word, err = r.s.fromServer.take(4)
	if err != nil {
		return 0, nil, err
	}
	n = int(int32(binary.BigEndian.Uint32(word)))
	if n < -1 || n > r.s.fromServer.left {
		return 0, nil, violated("a value of %d bytes where %d are left", n, r.s.fromServer.left)
	}
	return n, word, nil
}

// pass takes the values of column j and those behind it to w.
func (r *longRow) pass(w io.Writer, j int) error {
	for ; j < len(r.h.oids); j++ {
		if err := r.passOne(w); err != nil {
			return err
		}
	}
	return nil
}

// passOne takes a value to w.
func (r *longRow) passOne(w io.Writer) error {
	n, word, err := r.length()
	if err != nil {
		return err
	}
	if _, err := w.Write(word); err != nil {
		return err
	}
	return r.parts(n, func(p []byte) error {
		_, err := w.Write(p)
		return err
	})
}

// read takes the value of column j, the k-th of those treated, from the server
// to the file, or holds it.
func (r *longRow) read(j, k int) error {
	n, word, err := r.length()
	switch {
	case err != nil:
		return err
	case n < 0 && r.e.x.Blind(k):
		return r.treat(j, k, 0)
	case n < 0:
		_, err := r.file.Write(word)
		return err
	case r.e.x.Inspected(k) && n <= r.room:
		r.room -= n
		v := make([]byte, 0, n)
		err := r.parts(n, func(p []byte) error {
			v = append(v, p...)
			return nil
		})
		r.held = append(r.held, heldValue{r.file.size, j, k, v})
		return err
	case r.e.x.Passes(k):
		if _, err := r.file.Write(word); err != nil {
			return err
		}
		return r.parts(n, func(p []byte) error {
			_, err := r.file.Write(p)
			return err
		})
	}
	return r.treat(j, k, n)
}

// parts calls f for each part of a value of n bytes.
func (r *longRow) parts(n int, f func([]byte) error) error {
	for n > 0 {
		p, err := r.s.fromServer.piece(n)
		if err != nil {
			return err
		}
		n -= len(p)
		if err := f(p); err != nil {
			return err
		}
	}
	return nil
}

// treat writes what the value of column j, of n bytes, becomes.
func (r *longRow) treat(j, k, n int) error {
	l := r.e.x.Long(k)
	form := formOf(r.h.oids[j], r.h.formats[j])
	if l == nil || form == formNone {
		return r.drop(j, n, l)
	}
	at := r.file.size
	if _, err := r.file.Write(make([]byte, 4)); err != nil { // its length, which is not known yet
		return err
	}
	w := longValueWriter{to: r.file, form: form}
	if err := w.begin(); err != nil {
		return err
	}
	skip := 0
	if form == formJSONB && n > 0 {
		skip = 1 // its version, which is no part of the text
	}
	err := r.parts(n, func(p []byte) error {
		p, skip = p[skip:], 0
		r.out = l.Append(r.out[:0], p)
		return w.write(r.out)
	})
	if err != nil {
		return err
	}
	if r.out, err = l.End(r.out[:0]); err != nil {
		return err
	}
	if err := w.write(r.out); err != nil {
		return err
	}
	if err := w.end(); err != nil {
		return err
	}
	size := r.file.size - at - 4
	if size > math.MaxInt32 {
		return violated("a treated value of %d bytes", size)
	}
	return r.file.set(at, binary.BigEndian.AppendUint32(nil, uint32(size)))
}

// drop writes NULL, or what stands for a masked value, in the place of a value of
// n bytes.
func (r *longRow) drop(j, n int, l *pipeline.Long) error {
	err := r.parts(n, func(p []byte) error {
		if l != nil {
			r.out = l.Append(r.out[:0], p)
		}
		return nil
	})
	if err == nil && l != nil {
		r.out, err = l.End(r.out[:0])
	}
	if err != nil {
		return err
	}
	var sent []byte
	if l != nil {
		sent = blank(r.h.oids[j], r.h.formats[j])
	}
	word, err := appendValue(nil, sent)
	if err == nil {
		_, err = r.file.Write(word)
	}
	return err
}

// A longValueWriter writes a treated text in the form in which a value has it,
// as encodeCell does at once. The text is no JSON: no treatment of a long value
// leaves it that.
type longValueWriter struct {
	to   io.Writer
	form form
	rest []byte // the beginning of a character
}

func (w *longValueWriter) begin() error {
	start := ""
	switch w.form {
	case formJSONB:
		start = string(rune(jsonbVersion)) + `"`
	case formJSON:
		start = `"`
	}
	_, err := io.WriteString(w.to, start)
	return err
}

func (w *longValueWriter) write(text []byte) error {
	if w.form == formJSON || w.form == formJSONB {
		all := append(w.rest, text...)
		text = wholeRunes(all)
		w.rest = append([]byte(nil), all[len(text):]...)
		text = jsonText(text)
	}
	_, err := w.to.Write(text)
	return err
}

func (w *longValueWriter) end() error {
	if w.form != formJSON && w.form != formJSONB {
		return nil
	}
	_, err := w.to.Write(append(jsonText(w.rest), '"'))
	return err
}

// jsonText returns text as it is in a JSON string, without the quotes.
func jsonText(text []byte) []byte {
	b, _ := json.Marshal(string(text)) // a string always has a JSON form
	return b[1 : len(b)-1]
}

// inspect lets the plugins see the values of a row that are held, edits them, and
// puts them as they are sent.
func (r *longRow) inspect(ctx context.Context) error {
	held := r.held[r.seen:]
	r.seen = len(r.held)
	if len(held) == 0 {
		return nil
	}
	b := rowBuffers{types: r.s.rows.types} // not kept: it may be large
	b.rows.Reset(r.fields)
	cells := b.rows.Grow()
	for i := range held {
		v := &held[i]
		cells[v.k] = r.textOf(&b, v)
	}
	b.given = append(b.given, cells...)
	if err := r.e.x.Rows(ctx, &b.rows); err != nil {
		return r.s.locked(func() error { return r.s.untreated(r.e, err) })
	}
	edited, _ := b.rows.Row(0)
	for i := range held {
		v := &held[i]
		if err := r.encode(v, edited[v.k], !same(edited[v.k], b.given[v.k])); err != nil {
			return err
		}
	}
	return nil
}

// textOf returns the text of a value that is held.
func (r *longRow) textOf(b *rowBuffers, v *heldValue) []byte {
	if r.copy != nil && !r.copy.binary {
		text, _ := r.copy.decode(v.v, nil)
		return text
	}
	return b.textOf(r.h, v.column, v.v)
}

// encode makes v what is sent of it, where the plugins made it text.
func (r *longRow) encode(v *heldValue, text []byte, edited bool) (err error) {
	sent := v.v
	if edited {
		sent = encodeCell(r.h.oids[v.column], r.h.formats[v.column], text)
	}
	switch {
	case r.copy == nil || r.copy.binary:
		v.v, err = appendValue(nil, sent)
	case edited:
		v.v, err = r.copy.append(nil, sent, v.column, len(r.h.oids))
	}
	return err
}

// send sends the values in their order, those in the file and those held, and
// then those of a DataRow that are still to be read.
func (r *longRow) send(ctx context.Context) error {
	w := bufio.NewWriterSize(pieceWriter{ctx, r.s}, pieceBuffer)
	at := int64(0)
	copyTo := func(to int64) error {
		_, err := w.ReadFrom(r.file.section(at, to))
		at = to
		return err
	}
	for i := range r.held {
		v := &r.held[i]
		if err := copyTo(v.at); err != nil {
			return err
		}
		if _, err := w.Write(v.v); err != nil {
			return err
		}
	}
	if err := copyTo(r.file.size); err != nil {
		return err
	}
	if r.copy == nil {
		if err := r.pass(w, r.next); err != nil {
			return err
		}
		if r.s.fromServer.left > 0 {
			return violated("malformed DataRow")
		}
	}
	return w.Flush()
}

// A pieceWriter sends pieces of a frame.
type pieceWriter struct {
	ctx context.Context
	s   *session
}

func (w pieceWriter) Write(p []byte) (int, error) {
	if err := w.s.sendPiece(w.ctx, p); err != nil {
		return 0, err
	}
	return len(p), nil
}
