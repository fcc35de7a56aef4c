package postgres

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// Frames of the protocol are a type, a length that counts itself, and a body.
// See "Message Formats" in PostgreSQL's documentation.
const frameHeader = 5

// Read buffers start small, grow under load and shrink when a large message is
// gone.
const (
	minBuffer = 4 << 10
	maxBuffer = 64 << 10
)

// A violation is a message that breaks the protocol.
type violation struct{ reason string }

func (v *violation) Error() string { return "protocol violation: " + v.reason }

func violated(format string, args ...any) error {
	return &violation{fmt.Sprintf(format, args...)}
}

// A reader reads whole frames. Not safe for concurrent use.
type reader struct {
	src   io.Reader
	limit int // of a frame, in bytes
	buf   []byte
	r, w  int // buf[r:w] is unread
}

func newReader(src io.Reader, limit int) *reader {
	return &reader{src: src, limit: limit, buf: make([]byte, minBuffer)}
}

// size returns the length of the next frame, or 0 when its header is not in
// the buffer yet.
func (r *reader) size() (int, error) {
	if r.w-r.r < frameHeader {
		return 0, nil
	}
	n := binary.BigEndian.Uint32(r.buf[r.r+1:])
	if n < 4 {
		return 0, violated("length %d of message %q", int32(n), r.buf[r.r])
	}
	if uint64(n)+1 > uint64(r.limit) {
		return 0, violated("message %q of %d bytes is longer than the limit of %d", r.buf[r.r], n, r.limit)
	}
	return int(n) + 1, nil
}

// buffered reports whether a whole frame can be had without reading.
func (r *reader) buffered() bool {
	n, err := r.size()
	return err != nil || n > 0 && r.w-r.r >= n
}

// peek returns the type of the next frame; call it after buffered.
func (r *reader) peek() byte { return r.buf[r.r] }

// next returns the next frame, header included. It is valid until the next
// call of next that has to read, that is, when buffered was false before.
func (r *reader) next() ([]byte, error) {
	for {
		n, err := r.size()
		if err != nil {
			return nil, err
		}
		if n > 0 && r.w-r.r >= n {
			f := r.buf[r.r : r.r+n : r.r+n]
			r.r += n
			return f, nil
		}
		if err := r.fill(n); err != nil {
			return nil, err
		}
	}
}

// detach moves what is unread to new memory, so that the frame returned last
// stays valid.
func (r *reader) detach() {
	to := make([]byte, max(minBuffer, r.w-r.r))
	r.w = copy(to, r.buf[r.r:r.w])
	r.r, r.buf = 0, to
}

// fill reads once, after making room for at least one more byte of a frame of
// n bytes. The buffer grows with what has arrived, not with what was announced.
func (r *reader) fill(n int) error {
	if r.r == r.w {
		r.r, r.w = 0, 0
		if len(r.buf) > maxBuffer {
			r.buf = make([]byte, maxBuffer)
		}
	}
	if r.w == len(r.buf) || r.r > 0 && n > len(r.buf)-r.r {
		to := r.buf
		if r.r == 0 {
			to = make([]byte, min(2*len(r.buf), max(n, maxBuffer)))
		}
		r.w = copy(to, r.buf[r.r:r.w])
		r.r, r.buf = 0, to
	}
	k, err := r.src.Read(r.buf[r.w:])
	r.w += k
	if k > 0 {
		if r.w == len(r.buf) && len(r.buf) < maxBuffer && r.r == 0 {
			r.buf = append(make([]byte, 0, 2*len(r.buf)), r.buf...)[:2*len(r.buf)]
		}
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	if errors.Is(err, io.EOF) && r.w > r.r {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// A cursor reads the body of a frame. After a read past the end, bad is set
// and all further reads return zero values.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) bytes(n int) []byte {
	if c.bad || n < 0 || n > len(c.b) {
		c.bad = true
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

func (c *cursor) uint8() byte {
	if v := c.bytes(1); v != nil {
		return v[0]
	}
	return 0
}

func (c *cursor) uint16() int {
	if v := c.bytes(2); v != nil {
		return int(binary.BigEndian.Uint16(v))
	}
	return 0
}

func (c *cursor) uint32() uint32 {
	if v := c.bytes(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

// cstring reads up to a NUL and over it.
func (c *cursor) cstring() []byte {
	n := bytes.IndexByte(c.b, 0)
	if c.bad || n < 0 {
		c.bad = true
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n+1:]
	return v
}

// value reads a length and that many bytes. NULL, length -1, is nil.
func (c *cursor) value() []byte {
	n := int32(c.uint32())
	if n == -1 || c.bad {
		return nil
	}
	v := c.bytes(int(n))
	if v == nil && !c.bad {
		v = []byte{}
	}
	return v
}

// done reports whether the whole body was read, and no more.
func (c *cursor) done() bool { return !c.bad && len(c.b) == 0 }

// A bind is the body of a Bind message. Its slices alias the frame.
type bind struct {
	portal, statement string
	formats           []byte // of the parameters, two bytes each
	params            [][]byte
	results           []byte // formats of the result, two bytes each
}

// format returns the format code of parameter i.
func (b *bind) format(i int) int {
	switch len(b.formats) {
	case 0:
		return 0
	case 2:
		i = 0
	}
	return int(binary.BigEndian.Uint16(b.formats[2*i:]))
}

func decodeBind(body []byte) (b bind, err error) {
	c := cursor{b: body}
	b.portal, b.statement = string(c.cstring()), string(c.cstring())
	b.formats = c.bytes(2 * c.uint16())
	n := c.uint16()
	// Each parameter takes at least its length word.
	if !c.bad && n > 0 && 4*n <= len(c.b) {
		b.params = make([][]byte, n)
		for i := range b.params {
			b.params[i] = c.value()
		}
	} else if n > 0 {
		c.bad = true
	}
	b.results = c.bytes(2 * c.uint16())
	if k := len(b.formats) / 2; !c.done() || k > 1 && k != n {
		return bind{}, violated("malformed Bind")
	}
	return b, nil
}

// text reads a body that is one string, as that of a Query.
func text(body []byte) ([]byte, error) {
	c := cursor{b: body}
	s := c.cstring()
	if !c.done() {
		return nil, violated("malformed string")
	}
	return s, nil
}

// appendFrame appends a frame of type t with the body that encode appends.
func appendFrame(b []byte, t byte, encode func([]byte) []byte) []byte {
	at := len(b)
	b = encode(append(b, t, 0, 0, 0, 0))
	binary.BigEndian.PutUint32(b[at+1:], uint32(len(b)-at-1))
	return b
}

// dataRow walks the values of a DataRow, which must be n. It calls value for
// each with its index; the values alias the frame.
func dataRow(frame []byte, n int, value func(i int, v []byte)) error {
	c := cursor{b: frame[frameHeader:]}
	if got := c.uint16(); got != n {
		return violated("a row of %d values under %d fields", got, n)
	}
	for i := range n {
		v := c.value()
		if c.bad {
			break
		}
		value(i, v)
	}
	if !c.done() {
		return violated("malformed DataRow")
	}
	return nil
}

// appendValue appends a value as DataRow and Bind have it.
func appendValue(b, v []byte) ([]byte, error) {
	if v == nil {
		return binary.BigEndian.AppendUint32(b, math.MaxUint32), nil
	}
	if len(v) > math.MaxInt32 {
		return nil, violated("a value of %d bytes", len(v))
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
	return append(b, v...), nil
}
