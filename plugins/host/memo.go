package host

import (
	"sync"
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
