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
		if err := l.read(b[:n]); err != nil {
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
	if l.values != 0 || l.value.left > 0 || len(l.word) > 0 {
		return nil, errMalformedRow
	}
	if err := d.announce(r, len(l.done), emit); err != nil {
		return nil, err
	}
	for j := range l.done {
		d.cells = append(d.cells, l.done[j].shown(d, r, j))
	}
	return b, d.emitRow(emit)
}

var errMalformedRow = errors.New("malformed row in recorded data")

// read reads the next bytes of a row.
func (l *longMessage) read(b []byte) error {
	for len(b) > 0 {
		if l.value.left > 0 {
			n := min(len(b), l.value.left)
			keep := min(n, shownValue-len(l.value.head), l.room)
			l.value.head = append(l.value.head, b[:keep]...)
			l.value.left, l.room = l.value.left-n, l.room-keep
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
				return err
			}
			l.word = l.word[:0]
		}
	}
	return nil
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
	if r.formats[j] == 0 || textual(r.oids[j]) {
		text = wholeRunes(text)
	}
	return fmt.Appendf(printableText(text), "… (%d bytes in all)", v.size)
}
