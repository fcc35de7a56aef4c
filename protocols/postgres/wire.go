package postgres

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"gatehouse/core/poll"
)

// Frames of the protocol are a type, a length that counts itself, and a body.
// See "Message Formats" in PostgreSQL's documentation.
const frameHeader = 5

// maxFrame is the longest frame that there can be: no value or message of
// PostgreSQL reaches a gigabyte (MaxAllocSize).
const maxFrame = 1 << 30

// Read buffers start small, grow under load and shrink when a large message is
// gone.
const (
	minBuffer = 4 << 10
	maxBuffer = 64 << 10
	// pieceBuffer is that of a frame that is read in pieces.
	pieceBuffer = 256 << 10
)

// A violation is a message that breaks the protocol.
type violation struct{ reason string }

func (v *violation) Error() string { return "protocol violation: " + v.reason }

func violated(format string, args ...any) error {
	return &violation{fmt.Sprintf(format, args...)}
}

// A reader reads whole frames, and those that are too long to be kept in pieces.
// Not safe for concurrent use.
type reader struct {
	src   io.Reader
	limit int // of a frame that is read whole, in bytes
	// try, unless it is nil, reads from src without waiting: next returns
	// poll.ErrWait then, and is called again once there is something to read.
	try func([]byte) (int, error)
	// Frames of the types for which inPieces, unless it is nil, is true may
	// have up to maxFrame bytes. Those of more than whole come in pieces.
	inPieces func(kind byte) bool
	whole    int

	// patience is how long a sender that has begun a frame may take for each
	// maxBuffer bytes of it, and for the rest; 0 is for ever. The time counts
	// that is spent waiting for the sender. SetDeadline is src's.
	patience    time.Duration
	setDeadline func(time.Time) error

	buf    []byte
	r, w   int           // buf[r:w] is unread
	left   int           // bytes to come of the frame that next has begun
	since  time.Time     // when the wait began that is under way
	waited time.Duration // for the frame, or for
	got    int           // bytes of it
}

func newReader(src io.Reader, limit int) *reader {
	return &reader{src: src, limit: limit, buf: make([]byte, minBuffer)}
}

// size returns how much of the next frame comes in one, or 0 when its header is
// not in the buffer yet, and how much comes in pieces behind that.
func (r *reader) size() (n, left int, err error) {
	if r.w-r.r < frameHeader {
		return 0, 0, nil
	}
	length := binary.BigEndian.Uint32(r.buf[r.r+1:])
	if length < 4 {
		return 0, 0, violated("length %d of message %q", int32(length), r.buf[r.r])
	}
	whole, most := r.limit, r.limit
	if r.inPieces != nil && r.inPieces(r.buf[r.r]) {
		whole, most = r.whole, maxFrame
	}
	switch size := uint64(length) + 1; {
	case size > uint64(most):
		return 0, 0, violated("message %q of %d bytes is longer than the limit of %d", r.buf[r.r], length, most)
	case size > uint64(whole):
		return frameHeader, int(length) - 4, nil
	default:
		return int(size), 0, nil
	}
}

// buffered reports whether a whole frame can be had without reading.
func (r *reader) buffered() bool {
	n, left, err := r.size()
	return err != nil || n > 0 && left == 0 && r.w-r.r >= n
}

// peek returns the type of the next frame; call it after buffered.
func (r *reader) peek() byte { return r.buf[r.r] }

// errUnread is a mistake of the caller's.
var errUnread = errors.New("the frame before was not read to its end")

// next returns the next frame, header included. It is valid until the next
// call of next that has to read, that is, when buffered was false before.
//
// Of a frame that comes in pieces it returns the header, which is valid until
// the reader is used again, and sets left: all of its body is to be read by
// piece and take before next is called again.
func (r *reader) next() ([]byte, error) {
	if r.left > 0 {
		return nil, errUnread
	}
	for {
		n, left, err := r.size()
		if err != nil {
			return nil, err
		}
		if n > 0 && r.w-r.r >= n {
			f := r.buf[r.r : r.r+n : r.r+n]
			r.r += n
			r.left = left
			r.waited, r.got = 0, 0
			return f, nil
		}
		read := r.src.Read
		if r.try != nil {
			read = r.try
		}
		if err := r.await(n, read); err != nil {
			return nil, err
		}
	}
}

// piece returns at most n further bytes of the frame that next has begun, and
// at least one where left is not 0. They are valid until the reader is used
// again.
func (r *reader) piece(n int) ([]byte, error) {
	if n = min(n, r.left); n == 0 {
		return nil, nil
	}
	if r.r == r.w {
		if len(r.buf) < min(pieceBuffer, r.left) {
			r.buf = make([]byte, pieceBuffer)
		}
		if err := r.await(0, r.src.Read); err != nil {
			return nil, err
		}
	}
	n = min(n, r.w-r.r)
	p := r.buf[r.r : r.r+n : r.r+n]
	r.r += n
	r.left -= n
	return p, nil
}

// take returns the next n bytes, a few, of the frame that next has begun. They
// are valid until the reader is used again.
func (r *reader) take(n int) ([]byte, error) {
	if n > r.left {
		return nil, violated("a message that is cut off")
	}
	for r.w-r.r < n {
		if err := r.await(n, r.src.Read); err != nil {
			return nil, err
		}
	}
	return r.piece(n)
}

// skip reads the rest of the frame that next has begun.
func (r *reader) skip() error {
	for r.left > 0 {
		if _, err := r.piece(r.left); err != nil {
			return err
		}
	}
	return nil
}

// detach moves what is unread to new memory, so that the frame returned last
// stays valid.
func (r *reader) detach() {
	to := make([]byte, max(minBuffer, r.w-r.r))
	r.w = copy(to, r.buf[r.r:r.w])
	r.r, r.buf = 0, to
}

// errUnsent is that the rest of a frame does not come.
var errUnsent = errors.New("a message was begun and its rest did not come in time")

// await reads once, as fill does, and no longer than the sender has patience
// left if a frame has begun.
func (r *reader) await(n int, read func([]byte) (int, error)) error {
	if r.patience == 0 || r.r == r.w && r.left == 0 {
		return r.fill(n, read)
	}
	if r.since.IsZero() {
		r.since = time.Now()
		if err := r.setDeadline(r.since.Add(r.patience - r.waited)); err != nil {
			return err
		}
	}
	had := r.w - r.r
	err := r.fill(n, read)
	if errors.Is(err, poll.ErrWait) {
		return err // the time goes on
	}
	since := r.since
	r.since = time.Time{}
	switch {
	case isTimeout(err):
		return errUnsent
	case err != nil:
		return err
	}
	r.waited += time.Since(since)
	if r.got += r.w - r.r - had; r.got >= maxBuffer {
		r.waited, r.got = 0, 0
	}
	return r.setDeadline(time.Time{})
}

// fill reads once, after making room for at least one more byte of a frame of
// n bytes. The buffer grows with what has arrived, not with what was announced:
// to a whole frame once a quarter of it is there.
func (r *reader) fill(n int, read func([]byte) (int, error)) error {
	if r.r == r.w {
		r.r, r.w = 0, 0
		if len(r.buf) > maxBuffer && r.left == 0 {
			r.buf = make([]byte, maxBuffer)
		}
	}
	if r.w == len(r.buf) || r.r > 0 && n > len(r.buf)-r.r {
		to := r.buf
		if r.r == 0 {
			to = make([]byte, min(4*len(r.buf), max(n, maxBuffer)))
		}
		r.w = copy(to, r.buf[r.r:r.w])
		r.r, r.buf = 0, to
	}
	k, err := read(r.buf[r.w:])
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
	if errors.Is(err, io.EOF) && (r.w > r.r || r.left > 0) {
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

// decodeParse reads the body of a Parse message. The text aliases it.
func decodeParse(body []byte) (name string, sql []byte, oids []uint32, err error) {
	c := cursor{b: body}
	name, sql = string(c.cstring()), c.cstring()
	n := c.uint16()
	if 4*n != len(c.b) {
		c.bad = true
	}
	if !c.bad && n > 0 {
		oids = make([]uint32, n)
		for i := range oids {
			oids[i] = c.uint32()
		}
	}
	if !c.done() {
		return "", nil, nil, violated("malformed Parse")
	}
	return name, sql, oids, nil
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

// appendFrame appends a frame of type t with the body that encode appends. The
// caller knows that it is no longer than maxFrame.
func appendFrame(b []byte, t byte, encode func([]byte) []byte) []byte {
	at := len(b)
	b = encode(append(b, t, 0, 0, 0, 0))
	if err := setLength(b[at:], int64(len(b)-at)); err != nil {
		panic(err)
	}
	return b
}

// setLength writes into the header of frame that the frame has size bytes,
// header included. It refuses what no frame can have, so that no length wraps.
func setLength(frame []byte, size int64) error {
	if size < frameHeader || size > maxFrame {
		return violated("message %q of %d bytes is longer than the limit of %d", frame[0], size, maxFrame)
	}
	binary.BigEndian.PutUint32(frame[1:], uint32(size-1))
	return nil
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
	if len(v) > maxFrame {
		return nil, violated("a value of %d bytes", len(v))
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
	return append(b, v...), nil
}
