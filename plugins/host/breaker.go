package host

import (
	"fmt"
	"sync"
	"time"
)

// A breaker opens when calls keep failing: then it refuses all of them at once,
// for a pause. After that it lets one through, which closes it if it succeeds.
type breaker struct {
	limit int           // of failures in succession
	pause time.Duration // while it is open

	mu       sync.Mutex
	failures int
	since    time.Time // when it opened; zero if it is closed
	until    time.Time // when a call is tried
	why      error
	trying   bool // a call that it let through is under way
	opened   uint64
}

// allow returns why a call must not be made, or nil. A call that it allows is
// told to done.
func (b *breaker) allow() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.since.IsZero() {
		return nil
	}
	if wait := time.Until(b.until); wait > 0 || b.trying {
		return fmt.Errorf("%w: %d calls in succession, the last: %w", ErrFailing, b.failures, b.why)
	}
	b.trying = true
	return nil
}

// done tells how a call went: why says how it failed. It reports whether the
// breaker opened.
func (b *breaker) done(why error) (opened bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if why == nil {
		b.failures, b.since, b.until, b.why, b.trying = 0, time.Time{}, time.Time{}, nil, false
		return false
	}
	b.failures++
	b.why = why
	if b.failures < b.limit && !b.trying {
		return false
	}
	opened = b.since.IsZero()
	if opened {
		b.opened++
		b.since = time.Now()
	}
	b.until, b.trying = time.Now().Add(b.pause), false
	return opened
}

// skip tells that a call was not made.
func (b *breaker) skip() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trying = false
}

// state returns how often the breaker opened, and since when it is open, and why.
func (b *breaker) state() (opened uint64, since time.Time, why error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.since.IsZero() {
		return b.opened, time.Time{}, nil
	}
	return b.opened, b.since, b.why
}

// isOpen is whether calls are refused, or one is tried.
func (b *breaker) isOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.since.IsZero()
}
