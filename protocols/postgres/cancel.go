package postgres

import (
	"crypto/rand"
	"crypto/subtle"
	"slices"
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
// The process number is the server's, because clients compare it with that of
// notifications and of pg_backend_pid(). The secret is the gate's own: the
// server's stays between the gate and the server.
type cancelKey struct {
	pid    uint32
	secret string
}

// A cancelRegistry finds the session that a CancelRequest means.
type cancelRegistry struct {
	mu       sync.Mutex
	sessions map[uint32][]cancelEntry // several servers may use one number
}

type cancelEntry struct {
	secret string
	cancel func()
}

// add returns a key for process pid with a secret of n bytes that is not in
// use, under which cancel is called.
func (r *cancelRegistry) add(pid uint32, n int, cancel func()) cancelKey {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sessions == nil {
		r.sessions = make(map[uint32][]cancelEntry)
	}
	for {
		b := make([]byte, n)
		_, _ = rand.Read(b) // never fails: crypto/rand
		k := cancelKey{pid, string(b)}
		if slices.ContainsFunc(r.sessions[pid], k.opens) {
			continue
		}
		r.sessions[pid] = append(r.sessions[pid], cancelEntry{k.secret, cancel})
		return k
	}
}

func (r *cancelRegistry) remove(k cancelKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	left := slices.DeleteFunc(r.sessions[k.pid], k.opens)
	if len(left) == 0 {
		delete(r.sessions, k.pid)
		return
	}
	r.sessions[k.pid] = left
}

// cancel cancels what the session of k does, and reports whether there is one.
// A wrong key does nothing, and takes the same time.
func (r *cancelRegistry) cancel(k cancelKey) bool {
	var cancel func()
	r.mu.Lock()
	for _, e := range r.sessions[k.pid] {
		if k.opens(e) {
			cancel = e.cancel
		}
	}
	r.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	return cancel != nil
}

// opens reports whether k has the secret of e, in a time that does not tell
// how much of it is right.
func (k cancelKey) opens(e cancelEntry) bool {
	return subtle.ConstantTimeCompare([]byte(e.secret), []byte(k.secret)) == 1
}
