package postgres

import (
	"bytes"
	"context"
	"encoding/hex"
	"math"
	"slices"

	"gatehouse/core/event"
)

// paramTexts returns the parameters as text, as much of them as is shown, limit
// bytes, and whole those of which that is not all. The texts are copies: the exchange
// outlives the frame.
func (s *session) paramTexts(m *bind, st *prepared, limit int) (texts [][]byte, cut []event.Parameter) {
	if len(m.params) == 0 {
		return nil, nil
	}
	limit = share(m.params, limit)
	texts = make([][]byte, len(m.params))
	s.params.text = s.params.text[:0]
	for i, v := range m.params {
		switch {
		case v == nil:
		case len(v) > limit:
			cut = append(cut, event.Parameter{Param: i, Part: v})
			if m.format(i) == 0 || textual(st.oid(i)) {
				texts[i] = bytes.Clone(wholeRunes(v[:limit]))
			} else {
				texts[i] = hexText(v[:limit/2])
			}
		case m.format(i) == 0:
			texts[i] = bytes.Clone(v)
		default:
			t, ok := s.params.toText(st.oid(i), v)
			if !ok {
				t = hexText(v)
			}
			texts[i] = bytes.Clone(t)
		}
		if v != nil && texts[i] == nil {
			texts[i] = []byte{}
		}
	}
	if cap(s.params.text) > maxBuffer {
		s.params.text = nil
	}
	return texts, cut
}

func hexText(v []byte) []byte { return hex.AppendEncode([]byte(`\x`), v) }

// share returns how many bytes of each value may be shown so that all of them
// together are within limit. Short values leave what they do not need to others.
func share(values [][]byte, limit int) int {
	sizes := make([]int, len(values))
	for i, v := range values {
		sizes[i] = len(v)
	}
	slices.Sort(sizes)
	for i, n := range sizes {
		each := limit / (len(sizes) - i)
		if n > each {
			return each
		}
		limit -= n
	}
	return math.MaxInt
}

// forwardAtOnce is forward for a frame that is too large to be copied.
func (s *session) forwardAtOnce(ctx context.Context, f []byte, e *owed) error {
	if err := s.flushUp(ctx); err != nil {
		return err
	}
	if !s.queue.push(e) {
		if e.x != nil {
			return e.x.End(event.Outcome{Status: "skipped"})
		}
		return nil
	}
	if err := s.ps.Commit(ctx); err != nil {
		return err
	}
	_, err := s.server.conn.Write(f)
	return err
}
