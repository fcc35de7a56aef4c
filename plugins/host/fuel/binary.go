package fuel

import "encoding/binary"

// A reader reads the binary format. After an error it reads zeros, and every
// list is empty.
type reader struct {
	b   []byte
	at  int
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.at = len(r.b)
}

func (r *reader) more() bool { return r.at < len(r.b) }

func (r *reader) byte() byte {
	if !r.more() {
		r.fail(ErrMalformed)
		return 0
	}
	r.at++
	return r.b[r.at-1]
}

// u32 reads an unsigned number in LEB128.
func (r *reader) u32() (v uint32) {
	for shift := 0; ; shift += 7 {
		c := r.byte()
		if shift == 28 && c > 0x0f {
			r.fail(ErrMalformed)
			return 0
		}
		v |= uint32(c&0x7f) << shift
		if c&0x80 == 0 {
			return v
		}
	}
}

// skipLEB skips a number of at most n bytes in LEB128.
func (r *reader) skipLEB(n int) {
	for range n {
		if r.byte()&0x80 == 0 {
			return
		}
	}
	r.fail(ErrMalformed)
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b)-r.at {
		r.fail(ErrMalformed)
		return nil
	}
	r.at += n
	return r.b[r.at-n : r.at : r.at]
}

func (r *reader) skip(n int) { r.take(n) }

// bytes reads a length and that many bytes.
func (r *reader) bytes() []byte { return r.take(int(r.u32())) }

// count reads the length of a list, each of whose items has at least one byte.
func (r *reader) count() int {
	n := int(r.u32())
	if n < 0 || n > len(r.b)-r.at {
		r.fail(ErrMalformed)
		return 0
	}
	return n
}

func u32(b []byte, v uint32) []byte { return binary.AppendUvarint(b, uint64(v)) }

// s64 appends a signed number in LEB128.
func s64(b []byte, v int64) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func counted(b, item []byte) []byte { return append(u32(b, uint32(len(item))), item...) }
