package host

import (
	"slices"
	"sync"

	"gatehouse/core/event"
)

// Limits of a memo, in bytes of keys. It may hold twice memoSize.
const (
	memoSize = 2 << 20
	memoKey  = 16 << 10
)

// A memo remembers what a guest that sees facts only answered to which input.
// Such a guest has nothing to answer differently with: it keeps no state, and
// its clock and its randomness are the same in every instance. When a memo is
// full it forgets what was not asked for since it was half full. It is safe for
// concurrent use.
type memo[V any] struct {
	mu         sync.Mutex
	young, old map[string]V
	size       int // of the keys of young
}

func (m *memo[V]) get(key []byte) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.young[string(key)]
	if ok {
		return v, true
	}
	if v, ok = m.old[string(key)]; ok {
		m.keep(string(key), v)
	}
	return v, ok
}

func (m *memo[V]) put(key []byte, v V) {
	if len(key) > memoKey {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keep(string(key), v)
}

func (m *memo[V]) keep(key string, v V) {
	if m.young == nil || m.size+len(key) > memoSize {
		m.young, m.old, m.size = make(map[string]V), m.young, 0
	}
	if _, there := m.young[key]; !there {
		m.size += len(key)
	}
	m.young[key] = v
}

// maxSaid is how many verdicts a session remembers.
const maxSaid = 64

// A said remembers, for one session, the verdicts on facts that requests share, by
// these themselves: nothing is encoded to look one up. It is safe for concurrent use.
type said struct {
	mu sync.Mutex
	m  map[*event.Facts]saidOf
}

// A saidOf is a verdict on facts with labels.
type saidOf struct {
	labels  []event.Attr
	verdict event.Verdict
}

func (s *said) get(f *event.Facts, labels []event.Attr) (event.Verdict, bool) {
	s.mu.Lock()
	of, ok := s.m[f]
	s.mu.Unlock()
	return of.verdict, ok && slices.Equal(of.labels, labels)
}

func (s *said) put(f *event.Facts, labels []event.Attr, v event.Verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil || len(s.m) >= maxSaid {
		s.m = make(map[*event.Facts]saidOf)
	}
	s.m[f] = saidOf{labels, v}
}
