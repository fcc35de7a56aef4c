package host

import (
	"encoding/binary"
	"sync"
	"time"

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

// An input is what a guest's judge or treat gets: the encoding of a session,
// and behind it that of a request or a head.
type input struct {
	// b is the length of the session's encoding (u32) and the input.
	b []byte
}

const inputHeader = 4

// inputs keeps the memory of inputs that are no longer used.
var inputs = sync.Pool{New: func() any { return new(input) }}

// maxKept is the largest input whose memory is kept, in bytes.
const maxKept = 256 << 10

func newInput(s *event.Session, factsOnly bool) *input {
	if factsOnly {
		s = &event.Session{
			Gate: s.Gate, Protocol: s.Protocol, Resource: s.Resource, Policy: s.Policy,
			Principal: s.Principal, Attrs: s.Attrs,
		}
		s.Principal.Expires = time.Time{}
	}
	in := inputs.Get().(*input)
	in.b = s.Append(append(in.b[:0], make([]byte, inputHeader)...))
	binary.LittleEndian.PutUint32(in.b, uint32(len(in.b)-inputHeader))
	return in
}

// key is what tells in from other inputs.
func (in *input) key() []byte { return in.b }

// parts returns all of in, and the lengths of its two parts.
func (in *input) parts() (all []byte, session, argument int) {
	all, session = in.b[inputHeader:], int(binary.LittleEndian.Uint32(in.b))
	return all, session, len(all) - session
}

func (in *input) free() {
	if cap(in.b) <= maxKept {
		inputs.Put(in)
	}
}
