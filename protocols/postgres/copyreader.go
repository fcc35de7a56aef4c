package postgres

import (
	"bytes"
	"encoding/binary"
)

// copySignature begins data in binary format. Flags and the length of an
// extension follow.
const copySignature = "PGCOPY\n\xff\r\n\x00"

// A copyPart says what a piece of a COPY's data is.
type copyPart uint8

const (
	copyRow     copyPart = iota
	copyHeader           // of a binary file, or the line that names the columns
	copyTrailer          // of a binary file
)

// A copyReader cuts the stream of a COPY into its parts, wherever messages cut
// it. It keeps no more than what is not cut yet, which is bounded by limit, and the
// data that came last.
type copyReader struct {
	copyFormat
	limit int
	buf   []byte
	from  int  // where the next part begins
	at    int  // how far it was looked at
	in    bool // CSV: at stands in a quoted value
	left  int  // binary: values of the row that come at at; 0: a row begins
	begun bool // the header has come
	ended bool // the trailer has come
}

// reset drops what was cut already. Offsets from before are invalid.
func (r *copyReader) reset() {
	r.buf = r.buf[:copy(r.buf, r.buf[r.from:])]
	r.at, r.from = r.at-r.from, 0
	if cap(r.buf) > 4*maxBuffer && len(r.buf) < maxBuffer {
		r.buf = append(make([]byte, 0, maxBuffer), r.buf...)
	}
}

// restart drops the part that is under way: the data behind it comes next.
func (r *copyReader) restart() {
	r.buf, r.from, r.at, r.in, r.left = nil, 0, 0, false, 0
}

// feed adds data, once all parts of what came before are cut.
func (r *copyReader) feed(data []byte) error {
	if len(r.buf)-r.from > r.limit {
		return violated("a row of COPY is longer than the limit of %d bytes", r.limit)
	}
	r.buf = append(r.buf, data...)
	return nil
}

// next returns the next whole part, which is r.buf[from:to]. It reports false
// where more data is needed.
func (r *copyReader) next() (kind copyPart, from, to int, ok bool, err error) {
	from = r.from
	switch {
	case r.ended && r.from < len(r.buf):
		return 0, 0, 0, false, violated("data behind the end of a COPY")
	case r.ended:
		return 0, 0, 0, false, nil
	case r.binary && !r.begun:
		kind = copyHeader
		to, ok, err = r.binaryHeader()
	case r.binary:
		to, ok, err = r.binaryRow()
		if r.ended {
			kind = copyTrailer
		}
	default:
		if r.header && !r.begun {
			kind = copyHeader
		}
		to, ok = r.line()
	}
	if ok {
		r.from, r.at, r.begun = to, to, true
	}
	return kind, from, to, ok, err
}

// whole reports whether the data ended where it may.
func (r *copyReader) whole() bool {
	return r.from == len(r.buf) && (!r.binary || r.ended)
}

// line looks for the end of a line: a line break that is neither escaped, in
// text, nor quoted, in CSV.
func (r *copyReader) line() (int, bool) {
	if !r.csv {
		for {
			n := bytes.IndexByte(r.buf[r.at:], '\n')
			if n < 0 {
				r.at = len(r.buf)
				return 0, false
			}
			r.at += n + 1
			k := r.at - 1
			for k > r.from && r.buf[k-1] == '\\' {
				k--
			}
			if (r.at-1-k)%2 == 0 {
				return r.at, true
			}
		}
	}
	for r.at < len(r.buf) {
		if !r.in { // up to the next quote
			rest := r.buf[r.at:]
			end := bytes.IndexByte(rest, '\n')
			if end >= 0 {
				rest = rest[:end]
			}
			n := bytes.IndexByte(rest, r.quote)
			switch {
			case n >= 0:
				r.in = true
				r.at += n + 1
			case end >= 0:
				return r.at + end + 1, true
			default:
				r.at = len(r.buf)
			}
			continue
		}
		switch c := r.buf[r.at]; {
		case c == r.escape && r.escape != r.quote:
			if r.at+1 == len(r.buf) {
				return 0, false // the next byte tells
			}
			if n := r.buf[r.at+1]; n == r.quote || n == r.escape {
				r.at++
			}
		case c == r.quote:
			r.in = false // a doubled quote leaves and comes back
		}
		r.at++
	}
	return 0, false
}

// copyHeaderSize is how long the header of binary format is without extensions.
const copyHeaderSize = len(copySignature) + 4 + 4

func (r *copyReader) binaryHeader() (int, bool, error) {
	b := r.buf[r.from:]
	n, err := r.headerSize(b)
	if err != nil || n == 0 || n > len(b) {
		return 0, false, err
	}
	return r.from + n, true, nil
}

// headerSize returns how long the header is that begins with b, or 0 where more
// of it must be known.
func (r *copyReader) headerSize(b []byte) (int, error) {
	if n := min(len(b), len(copySignature)); string(b[:n]) != copySignature[:n] {
		return 0, violated("malformed header of a binary COPY")
	}
	if len(b) < copyHeaderSize {
		return 0, nil
	}
	if flags := binary.BigEndian.Uint32(b[len(copySignature):]); flags != 0 {
		return 0, violated("flags %#x in a binary COPY", flags)
	}
	n := uint64(binary.BigEndian.Uint32(b[copyHeaderSize-4:]))
	if n > uint64(r.limit) {
		return 0, violated("an extension of %d bytes in the header of a binary COPY", n)
	}
	return copyHeaderSize + int(n), nil
}

func (r *copyReader) binaryRow() (int, bool, error) {
	if r.at == r.from {
		if len(r.buf)-r.at < 2 {
			return 0, false, nil
		}
		r.left = int(int16(binary.BigEndian.Uint16(r.buf[r.at:])))
		r.at += 2
		if r.left < -1 {
			return 0, false, violated("a row of %d values in a binary COPY", r.left)
		}
		r.ended = r.left == -1
	}
	for r.left > 0 {
		if len(r.buf)-r.at < 4 {
			return 0, false, nil
		}
		n := int32(binary.BigEndian.Uint32(r.buf[r.at:]))
		if n < -1 {
			return 0, false, violated("a value of %d bytes in a binary COPY", n)
		}
		n = max(n, 0)
		if int64(n) > int64(len(r.buf)-r.at-4) {
			return 0, false, nil
		}
		r.at += 4 + int(n)
		r.left--
	}
	return r.at, true, nil
}

// A copyScanner finds where the values and rows of a COPY in text or CSV end,
// wherever its data is cut.
type copyScanner struct {
	*copyFormat
	in      bool // CSV: within quotes
	escaped bool // an escape came last
}

// next returns how much of p belongs to the value that is under way. End is the
// delimiter or line break behind that, or 0 where the value goes on behind p.
func (s *copyScanner) next(p []byte) (n int, end byte) {
	for i, c := range p {
		if s.escaped {
			s.escaped = false
			if !s.csv || c == s.quote || c == s.escape {
				continue
			}
		}
		switch {
		case !s.csv && c == '\\', s.csv && s.in && c == s.escape && s.escape != s.quote:
			s.escaped = true
		case s.csv && c == s.quote:
			s.in = !s.in // a doubled quote leaves and comes back
		case (c == s.delimiter || c == '\n') && !s.in:
			return i, c
		}
	}
	return len(p), 0
}

// A copyDecoder reads one value of a COPY in text or CSV that comes in parts.
type copyDecoder struct {
	*copyFormat
	rest []byte // an escape that is not whole yet
	in   bool   // CSV: within quotes
}

// append appends what a further part of the value, the last one or not, stands
// for.
func (d *copyDecoder) append(to, raw []byte, last bool) []byte {
	if len(d.rest) > 0 {
		raw = append(d.rest, raw...)
	}
	n := len(raw)
	if d.csv {
		to, n = d.unquotePart(raw, to, &d.in, last)
	} else {
		if !last {
			n = wholeEscapes(raw)
		}
		to = unescape(raw[:n], to)
	}
	d.rest = append([]byte(nil), raw[n:]...)
	return to
}

// longestEscape is how long an escape in text is at most: \ooo or \xhh.
const longestEscape = 4

// wholeEscapes returns how much of raw, which goes on, has no escape that may do
// so too.
func wholeEscapes(raw []byte) int {
	for i := 0; ; i += 2 {
		n := bytes.IndexByte(raw[i:], '\\')
		if n < 0 {
			return len(raw)
		}
		if i += n; i+longestEscape > len(raw) {
			return i
		}
	}
}
