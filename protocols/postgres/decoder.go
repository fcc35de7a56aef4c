package postgres

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/event"
	"gatehouse/recorder"
)

// Bounds of what a Decoder remembers: results, and messages that have begun.
const (
	maxResults = 10_000
	maxRests   = 4
	// maxRead is the longest message that is read whole. Of longer rows the
	// beginning of each value is.
	maxRead = 8 << 20
)

// A Decoder reads the rows and messages out of a recorded session. It
// implements recorder.Decoder.
type Decoder struct {
	results map[uint64]*result
	rests   map[rest][]byte       // the beginning of a message
	longs   map[rest]*longMessage // one of more than maxRead bytes
	rows    rowBuffers
	cells   [][]byte
	copying *result // whose COPY's data comes; there is one at a time
}

// A rest is where a message has begun that is not whole yet.
type rest struct {
	exchange uint64
	kind     event.Kind
}

// A result is what is known of an exchange's rows.
type result struct {
	copy      *copyReader // of a COPY's data; nil where there is none
	long      *longCopied // its row that is too long to be read whole
	fields    []event.Field
	oids      []uint32
	formats   []int16
	announced bool
}

// NewDecoder returns a decoder for one session.
func NewDecoder() recorder.Decoder {
	return &Decoder{results: map[uint64]*result{}, rests: map[rest][]byte{}, longs: map[rest]*longMessage{}}
}

// columnsAttr is the attribute of a recorded head that holds the type and the
// format of each field: "25:0,20:1".
const columnsAttr = "postgres.columns"

// setAttr adds columnsAttr to h.
func (h *head) setAttr() {
	var b []byte
	for i := range h.oids {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(h.oids[i]), 10)
		b = append(b, ':')
		b = strconv.AppendInt(b, int64(h.formats[i]), 10)
	}
	h.Attrs = []event.Attr{{Key: columnsAttr, Value: string(b)}}
}

// Decode implements recorder.Decoder.
func (d *Decoder) Decode(f *event.Frame, emit func(recorder.Part) error) error {
	switch f.Kind {
	case event.KindHead:
		return d.head(f)
	case event.KindData, event.KindUpload:
		return d.data(f, emit)
	case event.KindOutcome:
		if r := d.results[f.Exchange]; r != nil {
			r.copy = nil
		}
	}
	return nil
}

func (d *Decoder) of(exchange uint64) *result {
	r := d.results[exchange]
	if r == nil {
		if len(d.results) >= maxResults {
			clear(d.results)
		}
		r = &result{}
		d.results[exchange] = r
	}
	return r
}

func (d *Decoder) head(f *event.Frame) error {
	var h event.Head
	if err := h.Decode(f.Payload); err != nil {
		return err
	}
	r := d.of(f.Exchange)
	*r = result{fields: h.Fields}
	if format := copyFormatOf(h.Attrs); format != nil {
		if d.copying != nil {
			d.copying.copy = nil
		}
		d.copying = r
		r.copy = &copyReader{copyFormat: *format, limit: maxFrame}
	}
	for _, a := range h.Attrs {
		if a.Key != columnsAttr {
			continue
		}
		for c := range strings.SplitSeq(a.Value, ",") {
			oid, format, _ := strings.Cut(c, ":")
			o, err1 := strconv.ParseUint(oid, 10, 32)
			n, err2 := strconv.ParseInt(format, 10, 16)
			if err1 != nil || err2 != nil {
				return fmt.Errorf("malformed %s", columnsAttr)
			}
			r.oids, r.formats = append(r.oids, uint32(o)), append(r.formats, int16(n))
		}
	}
	if len(r.oids) != len(r.fields) {
		r.oids, r.formats = make([]uint32, len(r.fields)), make([]int16, len(r.fields))
	}
	return nil
}

// data reads the messages in a frame. A large one goes on in the next frames of
// its exchange.
func (d *Decoder) data(f *event.Frame, emit func(recorder.Part) error) error {
	r := d.of(f.Exchange)
	b := f.Payload
	at := rest{f.Exchange, f.Kind}
	if begun := d.rests[at]; begun != nil {
		b = append(begun, b...)
		delete(d.rests, at)
	}
	for len(b) > 0 {
		if l := d.longs[at]; l != nil {
			var err error
			if b, err = d.long(at, r, l, b, emit); err != nil {
				return err
			}
			continue
		}
		if len(b) < frameHeader {
			break
		}
		n := uint64(binary.BigEndian.Uint32(b[1:])) + 1
		if n < frameHeader || n > maxFrame {
			return fmt.Errorf("malformed message %q in recorded data", b[0])
		}
		if n > maxRead {
			d.longs[at] = newLongMessage(b[0], int(n)-frameHeader)
			b = b[frameHeader:]
			continue
		}
		if n > uint64(len(b)) {
			break
		}
		if err := d.message(r, b[0], b[:n:n], b[frameHeader:n:n], emit); err != nil {
			return err
		}
		b = b[n:]
	}
	if len(b) > 0 {
		d.rests[at] = bytes.Clone(b)
	}
	if len(d.rests)+len(d.longs) > maxRests {
		return fmt.Errorf("more than %d unfinished messages in recorded data", maxRests)
	}
	return nil
}

func (d *Decoder) message(r *result, kind byte, frame, body []byte, emit func(recorder.Part) error) error {
	switch kind {
	case 'T':
		return r.describe(body, emit)
	case 'D':
		return d.row(r, frame, emit)
	case 'V':
		return d.row(r, valueAsRow(frame), emit)
	case 'H':
		if r.copy != nil {
			return r.announce(emit)
		}
	case 'd':
		return d.copied(r, body, emit)
	case 'c', 'f':
		return d.copyEnd(r, kind, body, emit)
	case 'E':
		var m pgproto3.ErrorResponse
		if err := m.Decode(body); err != nil {
			return err
		}
		return emit(recorder.Part{Message: notice("error", &m)})
	case 'N':
		var m pgproto3.NoticeResponse
		if err := m.Decode(body); err != nil {
			return err
		}
		return emit(recorder.Part{Message: notice("notice", (*pgproto3.ErrorResponse)(&m))})
	case 'A':
		// Not by pgproto3, which panics where the process number is cut off.
		c := cursor{b: body}
		c.uint32()
		channel, payload := c.cstring(), c.cstring()
		if !c.done() {
			return errors.New("malformed notification in recorded data")
		}
		return emit(recorder.Part{Message: &event.Notice{Code: "notification", Text: string(channel) + ": " + string(payload)}})
	}
	return nil
}

func notice(code string, m *pgproto3.ErrorResponse) *event.Notice {
	n := &event.Notice{Code: code, Text: m.Severity + " " + m.Code + ": " + m.Message}
	for _, a := range []event.Attr{{Key: "detail", Value: m.Detail}, {Key: "hint", Value: m.Hint}, {Key: "where", Value: m.Where}} {
		if a.Value != "" {
			n.Attrs = append(n.Attrs, a)
		}
	}
	return n
}

func (r *result) describe(body []byte, emit func(recorder.Part) error) error {
	var m pgproto3.RowDescription
	if err := m.Decode(body); err != nil {
		return err
	}
	fields := r.fields // with their origins, where they are those of this result
	if r.announced || len(fields) != len(m.Fields) {
		fields = make([]event.Field, len(m.Fields))
	}
	*r = result{fields: fields, announced: true}
	for i, d := range m.Fields {
		if fields[i].Name == "" {
			fields[i] = event.Field{Name: string(d.Name), Type: typeName(d.DataTypeOID)}
		}
		r.oids, r.formats = append(r.oids, d.DataTypeOID), append(r.formats, d.Format)
	}
	return emit(recorder.Part{Fields: r.fields})
}

func (d *Decoder) row(r *result, frame []byte, emit func(recorder.Part) error) error {
	c := cursor{b: frame[frameHeader:]}
	n := c.uint16()
	if err := d.announce(r, n, emit); err != nil {
		return err
	}
	err := dataRow(frame, n, func(j int, v []byte) {
		d.cells = append(d.cells, d.shown(r, j, v))
	})
	if err != nil {
		return err
	}
	return d.emitRow(emit)
}

// announce begins a row of n values.
func (d *Decoder) announce(r *result, n int, emit func(recorder.Part) error) error {
	if len(r.oids) != n {
		*r = unnamed(n)
	}
	if err := r.announce(emit); err != nil {
		return err
	}
	d.cells, d.rows.text = d.cells[:0], d.rows.text[:0]
	return nil
}

// shown returns the text of the value v of field j.
func (d *Decoder) shown(r *result, j int, v []byte) []byte {
	if v != nil && j < len(r.formats) && r.formats[j] != 0 {
		text, ok := d.rows.toText(r.oids[j], v)
		if !ok && bytes.ContainsFunc(v, unicode.IsControl) {
			return hexText(v)
		}
		v = text
	}
	return printableText(v)
}

// printableText returns v, or where that is no text its hexadecimal form.
func printableText(v []byte) []byte {
	if !utf8.Valid(v) {
		return hexText(v)
	}
	return v
}

func (d *Decoder) emitRow(emit func(recorder.Part) error) error {
	if d.cells == nil {
		d.cells = [][]byte{}
	}
	return emit(recorder.Part{Row: d.cells})
}

// announce emits the fields, once.
func (r *result) announce(emit func(recorder.Part) error) error {
	if r.announced {
		return nil
	}
	r.announced = true
	return emit(recorder.Part{Fields: r.fields})
}

// copied reads the rows in COPY data. Data that is no rows is said to be so:
// a client may have sent it, for the server to reject.
func (d *Decoder) copied(r *result, data []byte, emit func(recorder.Part) error) error {
	if r.copy == nil {
		return nil // already said, or of a COPY that was not announced
	}
	if err := r.announce(emit); err != nil {
		return err
	}
	var err error
	if r.long != nil {
		data, err = d.copiedLong(r, data, emit)
	}
	c := r.copy
	c.reset()
	if err == nil {
		err = c.feed(data)
	}
	for err == nil {
		kind, from, to, ok, nerr := c.next()
		if err = nerr; err != nil {
			break
		}
		if !ok {
			if rest := c.buf[c.from:]; len(rest) > maxRead {
				r.long = newLongCopied(&c.copyFormat)
				c.restart()
				_, err = d.copiedLong(r, rest, emit)
			}
			break
		}
		if kind == copyRow {
			if err := d.copiedRow(r, c.buf[from:to], emit); err != nil {
				return err
			}
		}
	}
	if err != nil && !isViolation(err) && !errors.Is(err, errMalformedRow) {
		return err
	}
	if err != nil {
		r.copy = nil
		return emit(recorder.Part{Message: &event.Notice{Code: "unreadable", Text: "COPY data: " + err.Error()}})
	}
	return nil
}

func (d *Decoder) copiedRow(r *result, row []byte, emit func(recorder.Part) error) error {
	d.cells, d.rows.text = d.cells[:0], d.rows.text[:0]
	r.copy.values(row, func(j int, raw []byte) {
		var v []byte
		v, d.rows.text = r.copy.decode(raw, d.rows.text)
		d.cells = append(d.cells, d.shown(r, j, v))
	})
	return d.emitRow(emit)
}

// copyEnd reads the last row, which may have no line break, and why a client
// gave up.
func (d *Decoder) copyEnd(r *result, kind byte, body []byte, emit func(recorder.Part) error) error {
	if c := r.copy; c != nil && !c.binary && (r.long != nil || c.from < len(c.buf)) && kind == 'c' {
		if err := d.copied(r, []byte{'\n'}, emit); err != nil {
			return err
		}
	}
	r.copy = nil
	if kind == 'f' {
		c := cursor{b: body}
		return emit(recorder.Part{Message: &event.Notice{Code: "copy failed", Text: string(c.cstring())}})
	}
	return nil
}

// unnamed describes rows of which no description was recorded.
func unnamed(n int) result {
	r := result{fields: make([]event.Field, n), oids: make([]uint32, n), formats: make([]int16, n)}
	for i := range r.fields {
		r.fields[i].Name = fmt.Sprintf("column%d", i+1)
	}
	return r
}
