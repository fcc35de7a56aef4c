package postgres

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"sync"
)

// The lengths of secrets, in bytes: before version 3.2 of the protocol they have
// four, from then on up to 256.
const (
	shortSecret = 4
	longSecret  = 32
	maxSecret   = 256
)

// A cancelKey is what BackendKeyData gives a client and CancelRequest returns.
// The gate makes its own: the server's stays between the gate and the server.
type cancelKey struct {
	pid    uint32
	secret string
}

// A cancelRegistry finds the session that a CancelRequest means.
type cancelRegistry struct {
	mu       sync.Mutex
	sessions map[uint32]cancelEntry
}

type cancelEntry struct {
	secret string
	cancel func()
}

// add returns a new key with a secret of n bytes, under which cancel is called.
func (r *cancelRegistry) add(n int, cancel func()) cancelKey {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sessions == nil {
		r.sessions = make(map[uint32]cancelEntry)
	}
	for {
		b := make([]byte, 4+n)
		_, _ = rand.Read(b) // never fails: crypto/rand
		k := cancelKey{pid: binary.BigEndian.Uint32(b) & 0x7fffffff, secret: string(b[4:])}
		if _, taken := r.sessions[k.pid]; taken || k.pid == 0 {
			continue
		}
		r.sessions[k.pid] = cancelEntry{k.secret, cancel}
		return k
	}
}

func (r *cancelRegistry) remove(k cancelKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sessions, k.pid)
}

// cancel cancels what the session of k does. A wrong key does nothing, and
// takes the same time.
func (r *cancelRegistry) cancel(k cancelKey) {
	r.mu.Lock()
	e := r.sessions[k.pid]
	r.mu.Unlock()
	if subtle.ConstantTimeCompare([]byte(e.secret), []byte(k.secret)) == 1 && e.cancel != nil {
		e.cancel()
	}
}
