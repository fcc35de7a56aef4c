package postgres

import (
	"context"
	"encoding/binary"
	"io"

	"gatehouse/core/pipeline"
)

// longCopied relays a message of COPY data that is too long to be held. Servers
// send one row in each; of several it takes whole ones only.
func (s *session) longCopied(ctx context.Context, e *owed) error {
	c := e.copying
	if c == nil {
		return violated("the server sent COPY data that it did not announce")
	}
	if err := s.locked(func() error { return s.recheck(ctx, e, c.head) }); err != nil {
		return err
	}
	columns, _ := e.x.Treated()
	if len(columns) > 0 && !c.reader.between() {
		return violated("a row of COPY that begins in one message goes on in one of %d bytes", s.fromServer.left)
	}
	start := binary.BigEndian.AppendUint32([]byte{'d'}, uint32(s.fromServer.left+4))
	return s.relayLong(ctx, e, c.head, start, len(columns) > 0, func(r *longRow, ctx context.Context) error {
		r.copy = &c.reader
		if r.copy.binary {
			return r.binaryRows(ctx)
		}
		return r.lines(ctx)
	})
}

// between reports whether what is read next begins a row, or is not of one.
func (r *copyReader) between() bool { return r.from == len(r.buf) }

// binaryRows reads rows in binary format, the header before them and the trailer
// behind them.
func (r *longRow) binaryRows(ctx context.Context) error {
	c := r.copy
	if !c.begun {
		if err := r.binaryHeader(); err != nil {
			return err
		}
	}
	for r.s.fromServer.left > 0 {
		word, err := r.s.fromServer.take(2)
		if err != nil {
			return err
		}
		n := int(int16(binary.BigEndian.Uint16(word)))
		switch {
		case c.ended:
			return violated("data behind the end of a COPY")
		case n == -1:
			c.ended = true
		case n != len(r.h.oids):
			return violated("a COPY's row of %d values under %d fields", n, len(r.h.oids))
		}
		if _, err := r.file.Write(word); err != nil {
			return err
		}
		if c.ended {
			continue
		}
		if err := r.values(ctx); err != nil {
			return err
		}
	}
	return nil
}

// binaryHeader reads the header of the data.
func (r *longRow) binaryHeader() error {
	b, err := r.s.fromServer.take(copyHeaderSize)
	if err != nil {
		return err
	}
	n, err := r.copy.headerSize(b)
	if err != nil {
		return err
	}
	if n -= len(b); n > r.s.fromServer.left {
		return violated("a header of a binary COPY that is cut off")
	}
	if _, err := r.file.Write(b); err != nil {
		return err
	}
	r.copy.begun = true
	return r.parts(n, func(p []byte) error {
		_, err := r.file.Write(p)
		return err
	})
}

// lines reads rows in text or CSV, and the line before them that names the
// columns.
func (r *longRow) lines(ctx context.Context) error {
	scan := copyScanner{copyFormat: &r.copy.copyFormat}
	r.out = []byte{} // an empty value is not NULL
	v := copiedValue{longRow: r}
	within := false
	for r.s.fromServer.left > 0 {
		p, err := r.s.fromServer.piece(pieceBuffer)
		if err != nil {
			return err
		}
		for len(p) > 0 {
			n, end := scan.next(p)
			if err := v.part(p[:n]); err != nil {
				return err
			}
			if within = end != '\n'; end == 0 {
				break
			}
			if err := v.end(ctx, end); err != nil {
				return err
			}
			p = p[n+1:]
		}
	}
	if within {
		return violated("a row of COPY that is too long for one message goes on in another")
	}
	return nil
}

// A copiedValue is a value in text or CSV that comes in parts, and the row that
// it is in.
type copiedValue struct {
	*longRow
	j, k    int    // which value of the row it is, and which of those that are treated
	raw     []byte // what is held of it
	begun   bool   // not held any more: its treatment has begun
	long    *pipeline.Long
	decoder copyDecoder
	text    []byte
	writer  *longValueWriter // where more has come out of it than is held
}

// named reports whether the value is the name of a column.
func (v *copiedValue) named() bool { return v.copy.header && !v.copy.begun }

func (v *copiedValue) treated() bool { return v.k < len(v.columns) && v.columns[v.k] == v.j }

// part takes a part of the value.
func (v *copiedValue) part(raw []byte) error {
	switch {
	case v.j >= len(v.h.oids):
		return nil // which end will tell
	case !v.named() && !v.treated():
		_, err := v.file.Write(raw)
		return err
	case v.begun:
		return v.treat(raw, false)
	}
	v.raw = append(v.raw, raw...)
	most := len(v.copy.null) // it tells whether the value is NULL
	switch {
	case v.named():
		most = maxBuffer
	case v.e.x.Inspected(v.k):
		most = max(most, v.room)
	}
	if len(v.raw) <= most {
		return nil
	}
	if v.named() {
		return violated("a COPY's first line does not name its columns")
	}
	return v.treat(v.raw, false)
}

// end takes the end of the value, and of the row where that is a line break.
func (v *copiedValue) end(ctx context.Context, end byte) error {
	n := len(v.h.oids)
	if v.j >= n || end == '\n' && v.j != n-1 {
		return violated("a COPY's row of other than %d values", n)
	}
	var err error
	switch {
	case v.named():
		err = v.endName()
	case v.treated():
		err = v.endTreated()
		v.k++
	}
	if err != nil {
		return err
	}
	v.raw, v.begun, v.long, v.writer = v.raw[:0], false, nil, nil
	if _, err := v.file.Write([]byte{end}); err != nil {
		return err
	}
	if v.j++; end != '\n' {
		return nil
	}
	if !v.named() {
		v.rows++
	}
	v.j, v.k, v.copy.begun = 0, 0, true
	return v.inspect(ctx)
}

// endName takes the end of a column's name.
func (v *copiedValue) endName() error {
	name, _ := v.copy.decode(v.raw, nil)
	if string(name) != v.h.Fields[v.j].Name {
		return violated("a COPY's first line does not name its columns")
	}
	_, err := v.file.Write(v.raw)
	return err
}

// endTreated takes the end of a value that is treated.
func (v *copiedValue) endTreated() error {
	if !v.begun {
		if v.copy.isNull(v.raw) && !v.e.x.Blind(v.k) {
			_, err := v.file.Write(v.raw)
			return err
		}
		if v.e.x.Inspected(v.k) && len(v.raw) <= v.room {
			v.room -= len(v.raw)
			v.held = append(v.held, heldValue{v.file.size, v.j, v.k, append([]byte{}, v.raw...)}) // an empty value is not NULL
			return nil
		}
	}
	if err := v.treat(v.raw, true); err != nil || v.e.x.Passes(v.k) {
		return err
	}
	return v.encode()
}

// treat treats a part of the value, the last or not.
func (v *copiedValue) treat(raw []byte, last bool) error {
	if v.e.x.Passes(v.k) {
		_, err := v.file.Write(raw)
		v.begun, v.raw = true, v.raw[:0]
		return err
	}
	if !v.begun {
		v.begun, v.decoder, v.out = true, copyDecoder{copyFormat: &v.copy.copyFormat}, v.out[:0]
		v.long = v.e.x.Long(v.k)
	}
	v.raw = v.raw[:0]
	if v.long == nil {
		return nil
	}
	v.text = v.decoder.append(v.text[:0], raw, last)
	v.out = v.long.Append(v.out, v.text)
	if last {
		var err error
		v.out, err = v.long.End(v.out)
		return err
	}
	if len(v.out) > maxBuffer {
		return v.flush()
	}
	return nil
}

// form is how the value has a text.
func (v *copiedValue) form() form { return formOf(v.h.oids[v.j], 0) }

// flush writes what has come out of a value that goes on. In CSV it is quoted,
// since it may turn out to need that.
func (v *copiedValue) flush() error {
	if v.form() == formNone {
		v.out = v.out[:0]
		return nil
	}
	if v.writer == nil {
		v.writer = &longValueWriter{to: &copyWriter{copyFormat: &v.copy.copyFormat, to: v.file}, form: v.form()}
		if err := v.quote(); err != nil {
			return err
		}
		if err := v.writer.begin(); err != nil {
			return err
		}
	}
	err := v.writer.write(v.out)
	v.out = v.out[:0]
	return err
}

// quote writes a quote around a value of CSV.
func (v *copiedValue) quote() error {
	if !v.copy.csv {
		return nil
	}
	_, err := v.file.Write([]byte{v.copy.quote})
	return err
}

// encode writes what came out of the value, or the rest of that.
func (v *copiedValue) encode() error {
	if v.writer == nil {
		var sent []byte
		if v.long != nil {
			sent = encodeCell(v.h.oids[v.j], 0, v.out)
		}
		b, err := v.copy.append(v.text[:0], sent, v.j, len(v.h.oids))
		if err != nil {
			return err
		}
		_, err = v.file.Write(b)
		return err
	}
	if err := v.flush(); err != nil {
		return err
	}
	if err := v.writer.end(); err != nil {
		return err
	}
	return v.quote()
}

// A copyWriter writes a part of what is within one value.
type copyWriter struct {
	*copyFormat
	to  io.Writer
	buf []byte
}

func (w *copyWriter) Write(p []byte) (int, error) {
	if w.csv {
		w.buf = w.appendEscaped(w.buf[:0], p)
	} else {
		w.buf = w.appendText(w.buf[:0], p)
	}
	_, err := w.to.Write(w.buf)
	return len(p), err
}
