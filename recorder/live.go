package recorder

import (
	"context"
	"fmt"
	"iter"
	"os"
	"slices"
	"time"

	"gatehouse/core/event"
)

// session returns a session that is at least partly in the spool, or nil.
func (r *Reader) session(id string) *Session {
	if r.live == nil {
		return nil
	}
	r.live.mu.Lock()
	defer r.live.mu.Unlock()
	return r.live.sessions[id]
}

// liveKeys returns the keys of the sessions in the spool, the greatest first.
func (r *Reader) liveKeys(q Query) []string {
	if r.live == nil {
		return nil
	}
	var keys []string
	for _, s := range r.live.all() {
		sum := newSummary(&s.info)
		if key := sum.Key(); q.selects(key) && s.begun() {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	slices.Reverse(keys)
	return keys
}

func (s *Session) begun() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened
}

// summary summarises a session in the spool. What is not sealed yet is not
// counted.
func (s *Session) summary() Summary {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := newSummary(&s.info)
	sum.Open = !s.closed
	sum.Frames, sum.Bytes, sum.Counts = s.sums.frames, s.sums.bytes, s.sums.counts
	if !s.sums.end.IsZero() {
		sum.End = s.sums.end
	}
	if sum.Open {
		sum.End = time.Now().UTC()
	}
	if s.why != nil {
		sum.Code, sum.Reason = s.why.Code, s.why.Text
	}
	return sum
}

// liveFrames yields the frames of a session that is at least partly in the
// spool, up to what was committed when it began.
func (r *Reader) liveFrames(ctx context.Context, key string, s *Session) iter.Seq2[event.Frame, error] {
	return func(yield func(event.Frame, error) bool) {
		s.mu.Lock()
		end := s.next
		s.mu.Unlock()
		for q := range end {
			if err := ctx.Err(); err != nil {
				yield(event.Frame{}, err)
				return
			}
			for f, err := range r.partFrames(ctx, key, s, q) {
				if !yield(f, err) || err != nil {
					return
				}
			}
		}
	}
}

func (r *Reader) partFrames(ctx context.Context, key string, s *Session, q uint64) iter.Seq2[event.Frame, error] {
	p, f, err := s.openPart(q)
	if err == nil && p == nil {
		return r.pieceFrames(ctx, key, q, nil)
	}
	return func(yield func(event.Frame, error) bool) {
		if err != nil {
			yield(event.Frame{}, err)
			return
		}
		if f != nil {
			defer f.Close()
		}
		frames := p.frames(f, r.identities)
		for f, err := range frames {
			if !yield(f, err) || err != nil {
				return
			}
		}
	}
}

// openPart returns a copy of a part in the spool with its file; nil if the part
// is no longer there, and no file if the part has none.
func (s *Session) openPart(q uint64) (*part, *os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.parts, func(p *part) bool { return p.sequence == q })
	if i < 0 {
		return nil, nil, nil
	}
	p := *s.parts[i]
	kind := kindPart
	if p.sealed != nil {
		kind = kindPiece
	} else if p.size == 0 {
		return &p, nil, nil
	}
	f, err := os.Open(s.path(q, kind))
	return &p, f, err
}

// frames yields the frames of a part whose file is f.
func (p *part) frames(f *os.File, ids Identities) iter.Seq2[event.Frame, error] {
	if p.sealed != nil {
		return func(yield func(event.Frame, error) bool) {
			h, err := readHeader(f)
			if err != nil {
				yield(event.Frame{}, err)
				return
			}
			bodyFrames(&h, f, ids)(yield)
		}
	}
	return func(yield func(event.Frame, error) bool) {
		if f == nil {
			return
		}
		b, torn, err := readCommitted(f, p.size, nil)
		if err == nil && torn > 0 && !p.last { // a torn tail is cut when the part is sealed
			err = fmt.Errorf("%w: %d bytes are no whole commit", ErrMalformed, torn)
		}
		if err != nil {
			yield(event.Frame{}, err)
			return
		}
		for len(b) > 0 {
			var x event.Frame
			b, err = x.Decode(b)
			if !yield(x, err) || err != nil {
				return
			}
		}
	}
}
