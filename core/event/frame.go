package event

import (
	"encoding/binary"
	"time"
)

// A Kind says what a recorded frame holds.
type Kind uint8

// The kinds of frame, with what their payload encodes.
const (
	KindOpen      Kind = 1 + iota // Session: the first frame of a recording
	KindRequest                   // Request, masked
	KindVerdict                   // Verdict on the exchange's request
	KindPending                   // Notice: the request waits for a decision
	KindDecision                  // Decision on the exchange's request
	KindHead                      // Head of a result
	KindPlan                      // treatments of the result's fields
	KindData                      // the protocol's bytes as the client got them
	KindOutcome                   // Outcome of the exchange
	KindNotice                    // Notice: something that happened to the session
	KindClose                     // Notice: why the session ended; the last frame
	KindParameter                 // Parameter: a part of what the exchange's request cuts
	KindUpload                    // the protocol's bytes of data that belongs to a request, as the client sent them
)

// A Frame is one recorded event. Exchange is zero for what concerns the
// session as a whole.
type Frame struct {
	Kind     Kind
	Exchange uint64
	Time     time.Time
	Payload  []byte
}

// A frame is a length (u32, little-endian) of what follows, a kind (u8), the
// time in nanoseconds since 1970 (i64), the exchange (u64) and the payload.
const frameHeader = 4 + 1 + 8 + 8

// MaxFrame limits the payload of one frame, in bytes.
const MaxFrame = 1<<31 - 1 - frameHeader

// Append appends the encoding of f to b. The payload is the concatenation of
// f.Payload and more, so that callers need not join them first.
func (f *Frame) Append(b []byte, more ...[]byte) []byte {
	n := len(f.Payload)
	for _, m := range more {
		n += len(m)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(frameHeader-4+n))
	b = append(b, byte(f.Kind))
	b = binary.LittleEndian.AppendUint64(b, uint64(f.Time.UnixNano()))
	b = binary.LittleEndian.AppendUint64(b, f.Exchange)
	b = append(b, f.Payload...)
	for _, m := range more {
		b = append(b, m...)
	}
	return b
}

// Decode sets f from the frame at the start of b and returns what follows it.
// The payload aliases b. It returns ErrMalformed when b does not begin with a
// whole frame.
func (f *Frame) Decode(b []byte) (rest []byte, err error) {
	if len(b) < frameHeader {
		return b, ErrMalformed
	}
	n := binary.LittleEndian.Uint32(b)
	if n < frameHeader-4 || uint64(n) > uint64(len(b)-4) {
		return b, ErrMalformed
	}
	end := 4 + int(n)
	*f = Frame{
		Kind:     Kind(b[4]),
		Time:     time.Unix(0, int64(binary.LittleEndian.Uint64(b[5:]))).UTC(),
		Exchange: binary.LittleEndian.Uint64(b[13:]),
		Payload:  b[frameHeader:end:end],
	}
	return b[end:], nil
}

// A Notice is a remark on a session or exchange: why it ended, that it waits.
type Notice struct {
	Code  string // "closed", "expired", "pending"
	Text  string
	Attrs []Attr
}

// What notices of plugins have.
const (
	CodePlugin = "plugin"           // a note of a plugin
	CodeShadow = "shadow"           // what a plugin in shadow would have done
	AttrPlugin = "gatehouse.plugin" // the attribute that names the plugin
)

// Plugin returns which plugin said what n says, or "".
func (n *Notice) Plugin() string {
	if n.Code != CodePlugin && n.Code != CodeShadow {
		return ""
	}
	for _, a := range n.Attrs {
		if a.Key == AttrPlugin {
			return a.Value
		}
	}
	return ""
}

// Append appends the encoding of n to b.
func (n *Notice) Append(b []byte) []byte {
	b = appendString(b, 1, n.Code)
	b = appendString(b, 2, n.Text)
	return appendAttrs(b, 3, n.Attrs)
}

// Decode sets n from its encoding.
func (n *Notice) Decode(b []byte) error {
	*n = Notice{}
	return wrap("notice", elements(b, func(t tag, v []byte) error {
		switch t {
		case 1:
			n.Code = string(v)
		case 2:
			n.Text = string(v)
		case 3:
			return decodeAttr(&n.Attrs, v)
		}
		return nil
	}))
}
