package recorder

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"time"

	"gatehouse/core/event"
)

// Kinds of spool file. A session has one chain, once a piece of it is sealed,
// and for each part that is not stored yet its commits or its piece.
const (
	kindPart  = "part"
	kindPiece = "piece"
	kindChain = "chain"
)

// A chain is what the next piece of a session builds on.
type chain struct {
	begun    bool
	next     uint64 // sequence
	frames   uint64 // in the pieces before
	bytes    uint64 // of those frames
	counts   Counts
	end      time.Time // of the last frame
	previous Digest
	finished bool // the last piece is sealed

	size int64 // of the file's whole records
	torn bool  // the file has more than those
}

// A sealed is a link of a session's chain: one piece as it will be stored.
type sealed struct {
	header Header
	digest Digest
	size   uint64        // of the stored piece
	close  *event.Notice // of the last piece: why the session ended
	change change        // of the exchanges that go on
	// private is, with the last piece, what of the manifest is encrypted.
	private []byte
}

func (c *chain) add(l *sealed) {
	c.begun = true
	c.next = l.header.Sequence + 1
	c.frames += l.header.Frames
	c.bytes += l.header.Size
	c.counts.Requests += l.header.Requests
	c.counts.Held += l.header.Held
	c.counts.Blocked += l.header.Blocked
	c.end = l.header.To
	c.previous = l.digest
	c.finished = l.header.Last
}

// The chain's file is a sequence of records, each a length (u32,
// little-endian) and elements: either the session or a link.
const maxRecord = 1 << 20

func appendRecord(b []byte, encode func([]byte) []byte) []byte {
	at := len(b)
	b = encode(append(b, 0, 0, 0, 0))
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	return b
}

const privateTag = 10

func (l *sealed) append(b []byte) []byte {
	b = event.AppendElement(b, 2, l.header.Append(nil))
	b = event.AppendElement(b, 3, l.digest[:])
	b = event.AppendUint(b, 4, l.size)
	if l.close != nil {
		b = event.AppendElement(b, 5, l.close.Append(nil))
	}
	if l.private != nil {
		b = event.AppendElement(b, privateTag, l.private)
	}
	return l.change.append(b)
}

func (l *sealed) element(tag uint64, v []byte) (err error) {
	switch tag {
	case 2:
		err = l.header.Decode(v)
	case 3:
		copy(l.digest[:], v)
	case 4:
		l.size, err = event.DecodeUint(v, math.MaxInt64)
	case 5:
		l.close = new(event.Notice)
		err = l.close.Decode(v)
	case privateTag:
		l.private = v
	default:
		err = l.change.element(tag, v)
	}
	return err
}

// extendChain adds l to the session's chain file, which it begins if needed.
// The file has nothing but whole records then: see mendChain.
func (s *Session) extendChain(l *sealed) error {
	var b []byte
	if !s.chain.begun {
		b = appendRecord(b, func(b []byte) []byte {
			return event.AppendElement(b, 1, s.info.Append(nil))
		})
	}
	b = appendRecord(b, l.append)
	name := s.path(0, kindChain)
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = s.r.o.disk.write(f, b)
	if err == nil && s.r.o.PowerSafe {
		err = s.r.o.disk.sync(f)
	}
	if err == nil && !s.chain.begun {
		err = s.r.syncEntries()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		s.chain.torn = true
		return errors.Join(err, s.mendChain())
	}
	s.chain.size += int64(len(b))
	s.chain.add(l)
	return nil
}

// mendChain cuts off what failed writes left in the chain's file. A link of
// them would be of a piece that is sealed again, otherwise; and what follows a
// torn record could not be read.
func (s *Session) mendChain() error {
	if !s.chain.torn {
		return nil
	}
	if err := os.Truncate(s.path(0, kindChain), s.chain.size); err != nil {
		return err
	}
	s.chain.torn = false
	return nil
}

// readChain reads a chain file: the session, nil if the file has no whole
// record, and the links. What follows the last whole record is passed over;
// whole is how long the rest is.
func readChain(name string) (info *event.Session, links []*sealed, whole int64, err error) {
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, 0, nil
	}
	if err == nil {
		info, links, whole, err = parseChain(b)
	}
	if err != nil {
		return nil, nil, 0, fmt.Errorf("%s: %w", name, err)
	}
	return info, links, whole, nil
}

func parseChain(b []byte) (info *event.Session, links []*sealed, whole int64, err error) {
	for rest := b; len(rest) >= 4; {
		n := uint64(binary.LittleEndian.Uint32(rest))
		if n > maxRecord {
			return nil, nil, 0, fmt.Errorf("record of %d bytes", n)
		}
		if n > uint64(len(rest)-4) {
			break
		}
		l := new(sealed)
		err := event.Elements(rest[4:4+n], func(tag uint64, v []byte) error {
			if tag == 1 {
				info = new(event.Session)
				return info.Decode(v)
			}
			return l.element(tag, v)
		})
		if err != nil {
			return nil, nil, 0, err
		}
		if l.size > 0 {
			if l.header.Sequence != uint64(len(links)) {
				return nil, nil, 0, fmt.Errorf("piece %d is out of order", l.header.Sequence)
			}
			links = append(links, l)
		}
		whole += int64(n) + 4
		rest = rest[4+n:]
	}
	return info, links, whole, nil
}

// scan reads the frames in b up to the last whole one, into the header's
// counts and x. It returns how many bytes those are, and the last frame.
func (h *Header) scan(b []byte, x *exchanges) (whole int, last event.Frame) {
	for {
		var f event.Frame
		rest, err := f.Decode(b[whole:])
		if err != nil {
			return whole, last
		}
		last = f
		whole = len(b) - len(rest)
		h.count(&f)
		x.observe(&f)
	}
}

func (h *Header) count(f *event.Frame) {
	h.Frames++
	if h.From.IsZero() || f.Time.Before(h.From) {
		h.From = f.Time
	}
	if f.Time.After(h.To) {
		h.To = f.Time
	}
	switch f.Kind {
	case event.KindRequest:
		h.Requests++
	case event.KindPending:
		h.Held++
	case event.KindVerdict:
		var v event.Verdict
		if v.Decode(f.Payload) == nil && v.Action == event.Block {
			h.Blocked++
		}
	}
}

// Notices that the recorder itself adds to a recording.
var (
	noClose = event.Notice{Code: "unclosed", Text: "the gate ended the session without recording why"}
	restart = event.Notice{Code: "restarted", Text: "the gate restarted while the session was open"}
	// untracked stands for the outcomes of more than maxExchanges.
	untracked = event.Notice{Code: "untracked", Text: "requests without an outcome are more than were counted; the outcomes of the others are not known either"}
)

func tornNotice(n int) event.Notice {
	return event.Notice{Code: "torn", Text: fmt.Sprintf("%d bytes in the spool were no whole commit, and were cut", n)}
}

func appendNotice(b []byte, k event.Kind, n event.Notice) []byte {
	f := event.Frame{Kind: k, Time: time.Now(), Payload: n.Append(nil)}
	return f.Append(b)
}
