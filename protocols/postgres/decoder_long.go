package postgres

import (
	"encoding/binary"
	"errors"
	"fmt"

	"gatehouse/core/event"
	"gatehouse/recorder"
)

// How much of a long row is shown.
const (
	shownValue = 64 << 10 // of a value, in bytes
	shownRow   = 4 << 20  // of all of its values together
)

// A longMessage is a message of which a Decoder reads a frame's worth at a time.
// It keeps no more of a row than is shown.
type longMessage struct {
	kind byte
	size int // of the body
	left int // bytes of the body to come

	word   []byte // what has come of a number: the count of values, or a length
	values int    // how many are to come; -1 before the count has
	value  longValue
	done   []longValue
	room   int // bytes that may still be kept
}

// A longValue is one value of a long row.
type longValue struct {
	size int    // -1 is NULL
	left int    // bytes to come
	head []byte // its beginning
}

func newLongMessage(kind byte, size int) *longMessage {
	return &longMessage{kind: kind, size: size, left: size, values: -1, room: shownRow}
}

// long reads what b has of l and returns what follows it.
func (d *Decoder) long(at rest, r *result, l *longMessage, b []byte, emit func(recorder.Part) error) ([]byte, error) {
	n := min(len(b), l.left)
	l.left -= n
	if l.kind == 'D' {
		rest, err := l.read(b[:n])
		if err == nil && len(rest) > 0 {
			err = errMalformedRow
		}
		if err != nil {
			return nil, err
		}
	}
	if l.kind == 'd' {
		if err := d.copied(r, b[:n], emit); err != nil {
			return nil, err
		}
	}
	if b = b[n:]; l.left > 0 {
		return b, nil
	}
	delete(d.longs, at)
	if l.kind == 'd' {
		return b, nil
	}
	if l.kind != 'D' {
		return b, emit(recorder.Part{Message: &event.Notice{Code: "long", Text: fmt.Sprintf("a message %q of %d bytes, which is not shown", l.kind, l.size)}})
	}
	if !l.whole() {
		return nil, errMalformedRow
	}
	if err := d.announce(r, len(l.done), emit); err != nil {
		return nil, err
	}
	return b, d.longRow(r, l.done, emit)
}

// whole reports whether a row has ended.
func (l *longMessage) whole() bool { return l.values == 0 && l.value.left == 0 && len(l.word) == 0 }

func (d *Decoder) longRow(r *result, values []longValue, emit func(recorder.Part) error) error {
	for j := range values {
		d.cells = append(d.cells, values[j].shown(d, r, j))
	}
	return d.emitRow(emit)
}

var errMalformedRow = errors.New("malformed row in recorded data")

// keep takes the next part of the value, of which it keeps what is shown.
func (v *longValue) keep(p []byte, room *int) {
	n := min(len(p), shownValue-len(v.head), *room)
	v.head = append(v.head, p[:n]...)
	*room -= n
}

// read reads the next bytes of a row and returns what is behind it.
func (l *longMessage) read(b []byte) (rest []byte, err error) {
	for len(b) > 0 && !l.whole() {
		if l.value.left > 0 {
			n := min(len(b), l.value.left)
			l.value.keep(b[:n], &l.room)
			l.value.left -= n
			if b = b[n:]; l.value.left == 0 {
				l.done = append(l.done, l.value)
			}
			continue
		}
		width := 4
		if l.values < 0 {
			width = 2
		}
		n := min(len(b), width-len(l.word))
		l.word = append(l.word, b[:n]...)
		if b = b[n:]; len(l.word) == width {
			if err := l.number(); err != nil {
				return nil, err
			}
			l.word = l.word[:0]
		}
	}
	return b, nil
}

// number takes a number that has come whole.
func (l *longMessage) number() error {
	if l.values < 0 {
		l.values = int(binary.BigEndian.Uint16(l.word))
		return nil
	}
	n := int(int32(binary.BigEndian.Uint32(l.word)))
	if l.values--; l.values < 0 || n < -1 {
		return errMalformedRow
	}
	l.value = longValue{size: n, left: max(n, 0)}
	if l.value.left == 0 {
		l.done = append(l.done, l.value)
	}
	return nil
}

// shown returns the text of v, which is the value of field j, and of one that
// is cut how long it is.
func (v *longValue) shown(d *Decoder, r *result, j int) []byte {
	switch {
	case v.size < 0:
		return nil
	case len(v.head) == v.size:
		if v.head == nil {
			v.head = []byte{}
		}
		return d.shown(r, j, v.head)
	}
	text := v.head
	if j >= len(r.formats) || r.formats[j] == 0 || textual(r.oids[j]) {
		text = wholeRunes(text)
	}
	return fmt.Appendf(printableText(text), "… (%d bytes in all)", v.size)
}

// A longCopied is a row of a COPY that is too long to be read whole.
type longCopied struct {
	*copyFormat
	scan  copyScanner  // in text and CSV
	row   *longMessage // in binary format
	value longValue
	done  []longValue
	room  int
}

// maxColumns is more columns than a table or a result can have.
const maxColumns = 1 << 12

func newLongCopied(f *copyFormat) *longCopied {
	return &longCopied{copyFormat: f, scan: copyScanner{copyFormat: f}, row: newLongMessage('d', 0), room: shownRow}
}

// read reads the next bytes of the row. Whole is whether it has ended; rest is
// behind it then.
func (l *longCopied) read(b []byte) (rest []byte, whole bool, err error) {
	if l.binary {
		rest, err = l.row.read(b)
		l.done = l.row.done
		return rest, l.row.whole(), err
	}
	for len(b) > 0 {
		n, end := l.scan.next(b)
		l.value.keep(b[:n], &l.room)
		if l.value.size += n; end == 0 {
			return nil, false, nil
		}
		l.done = append(l.done, l.text(l.value))
		if len(l.done) > maxColumns {
			return nil, false, errMalformedRow
		}
		l.value, b = longValue{}, b[n+1:]
		if end == '\n' {
			return b, true, nil
		}
	}
	return nil, false, nil
}

// text returns what the value that v is as it is written stands for.
func (l *longCopied) text(v longValue) longValue {
	switch whole := len(v.head) == v.size; {
	case whole && l.isNull(v.head):
		return longValue{size: -1}
	case whole:
		v.head, _ = l.decode(v.head, nil)
		v.size = len(v.head)
	default:
		d := copyDecoder{copyFormat: l.copyFormat}
		v.head = d.append(nil, v.head, false)
	}
	return v
}

// copiedLong reads what data has of a long row and returns what is behind it.
func (d *Decoder) copiedLong(r *result, data []byte, emit func(recorder.Part) error) ([]byte, error) {
	rest, whole, err := r.long.read(data)
	if err != nil || !whole {
		return nil, err
	}
	values := r.long.done
	r.long = nil
	d.cells, d.rows.text = d.cells[:0], d.rows.text[:0]
	return rest, d.longRow(r, values, emit)
}
