package postgres

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
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
	rests   map[uint64][]byte       // the beginning of a message, by exchange
	longs   map[uint64]*longMessage // one of more than maxRead bytes, by exchange
	rows    rowBuffers
	cells   [][]byte
}

// A result is what is known of an exchange's rows.
type result struct {
	fields    []event.Field
	oids      []uint32
	formats   []int16
	announced bool
}

// NewDecoder returns a decoder for one session.
func NewDecoder() recorder.Decoder {
	return &Decoder{results: map[uint64]*result{}, rests: map[uint64][]byte{}, longs: map[uint64]*longMessage{}}
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
	case event.KindData:
		return d.data(f, emit)
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
	if rest := d.rests[f.Exchange]; rest != nil {
		b = append(rest, b...)
		delete(d.rests, f.Exchange)
	}
	for len(b) > 0 {
		if l := d.longs[f.Exchange]; l != nil {
			var err error
			if b, err = d.long(f.Exchange, r, l, b, emit); err != nil {
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
			d.longs[f.Exchange] = newLongMessage(b[0], int(n)-frameHeader)
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
		d.rests[f.Exchange] = bytes.Clone(b)
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
	if !r.announced {
		r.announced = true
		if err := emit(recorder.Part{Fields: r.fields}); err != nil {
			return err
		}
	}
	d.cells, d.rows.text = d.cells[:0], d.rows.text[:0]
	return nil
}

// shown returns the text of the value v of field j.
func (d *Decoder) shown(r *result, j int, v []byte) []byte {
	if v != nil && r.formats[j] != 0 {
		v, _ = d.rows.toText(r.oids[j], v)
	}
	return printableText(v)
}

// printableText returns v, or where that is no text its hexadecimal form.
func printableText(v []byte) []byte {
	if !utf8.Valid(v) {
		v = append([]byte(`\x`), hex.AppendEncode(nil, v)...)
	}
	return v
}

func (d *Decoder) emitRow(emit func(recorder.Part) error) error {
	if d.cells == nil {
		d.cells = [][]byte{}
	}
	return emit(recorder.Part{Row: d.cells})
}

// unnamed describes rows of which no description was recorded.
func unnamed(n int) result {
	r := result{fields: make([]event.Field, n), oids: make([]uint32, n), formats: make([]int16, n)}
	for i := range r.fields {
		r.fields[i].Name = fmt.Sprintf("column%d", i+1)
	}
	return r
}
