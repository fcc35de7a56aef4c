package detect

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math/bits"

	"gatehouse/core/event"
)

// A value is read eight bytes at a time until there is something to look at
// closely.

// shortest is the length of the shortest value that a detector can find: a@b.cc.
const shortest = 6

// ssnDigits is the least number of digits in what the detectors of numbers find.
const ssnDigits = 9

const (
	ones  = 0x0101010101010101
	highs = 0x80 * ones
)

// notDigits has the high bit set of each byte of w that is no decimal digit.
func notDigits(w uint64) uint64 {
	w ^= '0' * ones
	return (w&^highs + (0x80-10)*ones | w) & highs
}

// look counts the digits in the eight bytes of w; ats has a high bit set if
// there is an @ among them.
func look(w uint64) (digits int, ats uint64) {
	digits = 8 - bits.OnesCount64(notDigits(w))
	w ^= '@' * ones
	return digits, (w - ones) &^ w
}

// promising reports whether v may hold an address or a number: whether there is
// an @ in it, or digits enough. It may count a digit twice. V is not shorter
// than shortest.
func promising(v []byte) bool {
	if len(v) <= 32 {
		return promisingShort(v)
	}
	return promisingLong(v)
}

// promisingShort is promising for up to 32 bytes. It has no loop.
func promisingShort(v []byte) bool {
	n := len(v)
	if n < 8 {
		_, ats := look(uint64(binary.LittleEndian.Uint32(v)) | uint64(binary.LittleEndian.Uint32(v[n-4:]))<<32)
		return ats&highs != 0
	}
	digits, ats := look(binary.LittleEndian.Uint64(v))
	if n > 8 {
		d, a := look(binary.LittleEndian.Uint64(v[n-8:]))
		digits, ats = digits+d, ats|a
	}
	if n > 16 {
		d0, a0 := look(binary.LittleEndian.Uint64(v[8:]))
		d1, a1 := look(binary.LittleEndian.Uint64(v[n-16:]))
		digits, ats = digits+d0+d1, ats|a0|a1
	}
	return ats&highs != 0 || digits >= ssnDigits
}

// promisingLong is promising for more than 32 bytes.
func promisingLong(v []byte) bool {
	digits, ats := look(binary.LittleEndian.Uint64(v[len(v)-8:]))
	for ; len(v) >= 32; v = v[32:] {
		d0, a0 := look(binary.LittleEndian.Uint64(v))
		d1, a1 := look(binary.LittleEndian.Uint64(v[8:]))
		d2, a2 := look(binary.LittleEndian.Uint64(v[16:]))
		d3, a3 := look(binary.LittleEndian.Uint64(v[24:]))
		digits += d0 + d1 + d2 + d3
		ats |= a0 | a1 | a2 | a3
	}
	for ; len(v) >= 8; v = v[8:] {
		d, a := look(binary.LittleEndian.Uint64(v))
		digits, ats = digits+d, ats|a
	}
	return ats&highs != 0 || digits >= ssnDigits
}

// unhex returns the bytes of a bytea in its hexadecimal form, or v as it is.
func unhex(v []byte) []byte {
	if digits, ok := bytes.CutPrefix(v, []byte(`\x`)); ok {
		if b, err := hex.AppendDecode(nil, digits); err == nil {
			return b
		}
	}
	return v
}

// A quotes follows the strings of a JSON text.
type quotes struct {
	at int
	in bool // a string is open at at
}

// around reports whether v[i] is in a string. I must not decrease.
func (q *quotes) around(v []byte, i int) bool {
	for ; q.at < i; q.at++ {
		switch v[q.at] {
		case '"':
			q.in = !q.in
		case '\\':
			q.at++
		}
	}
	return q.in
}

// A span is a part of a value that is treated.
type span struct {
	from, to  int
	treatment treatment
}

// A treatment is what is done to a span.
type treatment struct {
	Kind event.TreatmentKind
	Keep uint8
}

// join makes one span of s and a later one that overlaps it.
func (s *span) join(t span) {
	s.to = max(s.to, t.to)
	if t.treatment != s.treatment {
		s.treatment = treatment{Kind: min(s.treatment.Kind, t.treatment.Kind, event.Redact)}
	}
}

// A finder finds what the detectors that are built in find in one value, in
// order.
type finder struct {
	*field
	v                 []byte
	letters, digits   bool // whether there may be more e-mail addresses, numbers
	mail, number      span // found, but not returned yet, if not empty
	atEmail, atNumber int  // where to go on
}

func newFinder(f *field, v []byte) finder {
	return finder{field: f, v: v, letters: f.email.Kind != event.Pass, digits: f.card.Kind != event.Pass || f.ssn.Kind != event.Pass}
}

// next returns the next part to treat. Parts that overlap are one.
func (f *finder) next() (s span, ok bool) {
	for {
		p := f.peek()
		switch {
		case p == nil || ok && p.from >= s.to:
			return s, ok
		case !ok:
			s, ok = *p, true
		default:
			s.join(*p)
		}
		*p = span{}
	}
}

// peek looks for what is to be found next where it has nothing yet, and returns
// the first of what it has, or nil.
func (f *finder) peek() *span {
	if f.letters && f.mail.to == 0 {
		f.letters = f.findEmail()
	}
	if f.digits && f.number.to == 0 {
		f.digits = f.findNumber()
	}
	switch {
	case f.mail.to != 0 && (f.number.to == 0 || f.mail.from <= f.number.from):
		return &f.mail
	case f.number.to != 0:
		return &f.number
	}
	return nil
}
