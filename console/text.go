package console

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Of texts longer than this, lists show the head and the tail.
const (
	listHead, listTail = 12 << 10, 4 << 10
	// One request by itself is shown whole up to this.
	wholeHead, wholeTail = 1<<20 - 64<<10, 64 << 10
)

// A Text is what a session contains, for showing. Bytes that are no UTF-8
// appear as ⟨0x9F⟩; all else is as it was, so that whoever shows it must take
// care of control characters.
type Text struct {
	Head string `json:"head"`
	// Hidden is how many bytes between Head and Tail are left out.
	Hidden int    `json:"hidden,omitempty"`
	Tail   string `json:"tail,omitempty"`
	// Bytes is how long it is in all.
	Bytes int `json:"bytes"`
}

// cut says that t is the beginning of a text of size bytes, unless that is 0.
func (t *Text) cut(size uint64) {
	if size == 0 {
		return
	}
	t.Hidden += max(1, int(size)-t.Bytes)
	t.Bytes = int(size)
}

// text returns b, with its middle left out if it is longer than head and tail
// together.
func text(b []byte, head, tail int) Text {
	t := Text{Bytes: len(b)}
	if len(b) <= head+tail {
		t.Head = valid(b)
		return t
	}
	from, to := head, len(b)-tail
	for from > 0 && from > head-utf8.UTFMax && !utf8.RuneStart(b[from]) {
		from--
	}
	for to < len(b) && to < len(b)-tail+utf8.UTFMax && !utf8.RuneStart(b[to]) {
		to++
	}
	t.Head, t.Hidden, t.Tail = valid(b[:from]), to-from, valid(b[to:])
	return t
}

func valid(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var s strings.Builder
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&s, "⟨0x%02X⟩", b[0])
		} else {
			s.Write(b[:n])
		}
		b = b[n:]
	}
	return s.String()
}
