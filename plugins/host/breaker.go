package host

import (
	"fmt"
	"sync"
	"time"

	"gatehouse/core/event"
)

// A principal is whose calls a breaker tells apart.
type principal struct{ issuer, subject string }

func principalOf(s *event.Session) principal {
	return principal{s.Principal.Issuer, s.Principal.Subject}
}

// maxSuspects is how many principals a breaker tells apart of those whose calls fail.
// All others count as one.
const maxSuspects = 1000

// A breaker opens when calls keep failing: then it refuses them at once, for a pause.
// After that it lets one through, which closes it if it succeeds.
//
// It opens for one principal when limit calls of that one fail in succession, so that
// an agent that has found what a plugin fails on does not lock out the others. For all
// it opens when limit calls of anybody fail in succession, of which at most half count
// of any one principal.
type breaker struct {
	limit int           // of failures in succession
	pause time.Duration // while it is open

	mu       sync.Mutex
	all      circuit
	suspects map[principal]*circuit // of those whose last call failed
}

// A circuit is a breaker's for one principal, or for all.
type circuit struct {
	failures int
	since    time.Time // when it opened; zero if it is closed
	until    time.Time // when a call is tried
	why      error
	trying   bool // a call that it let through is under way
	opened   uint64
}

// allow returns why a call for who must not be made, or nil. A call that it allows is
// told to done, or to skip.
func (b *breaker) allow(who principal) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	own := b.suspects[b.known(who)]
	if own != nil && own.refuses() {
		return fmt.Errorf("%w for this principal: %d calls in succession, the last: %w", ErrFailing, own.failures, own.why)
	}
	if b.all.refuses() {
		return fmt.Errorf("%w: %d calls in succession, the last: %w", ErrFailing, b.all.failures, b.all.why)
	}
	if own != nil {
		own.trying = own.open()
	}
	b.all.trying = b.all.open()
	return nil
}

// known is who, or whom all stand for that are too many to be told apart.
func (b *breaker) known(who principal) principal {
	if b.suspects[who] == nil && len(b.suspects) >= maxSuspects {
		return principal{}
	}
	return who
}

func (c *circuit) open() bool { return !c.since.IsZero() }

func (c *circuit) refuses() bool {
	return c.open() && (c.trying || time.Until(c.until) > 0)
}

// done tells how a call went: why says how it failed. It reports whether the breaker
// opened, for who or for all.
func (b *breaker) done(who principal, why error) (own, all bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	who = b.known(who)
	if why == nil {
		delete(b.suspects, who)
		b.all = circuit{opened: b.all.opened}
		return false, false
	}
	c := b.suspects[who]
	if c == nil {
		if b.suspects == nil {
			b.suspects = make(map[principal]*circuit)
		}
		c = new(circuit)
		b.suspects[who] = c
	}
	own = c.fail(b.limit, b.pause, why)
	if c.failures <= (b.limit+1)/2 || b.all.trying {
		all = b.all.fail(max(b.limit, 2), b.pause, why)
	}
	return own, all
}

// fail counts a failure, and opens c at limit or where the call was tried.
func (c *circuit) fail(limit int, pause time.Duration, why error) (opened bool) {
	c.failures++
	c.why = why
	if c.failures < limit && !c.trying {
		return false
	}
	if opened = !c.open(); opened {
		c.opened++
		c.since = time.Now()
	}
	c.until, c.trying = time.Now().Add(pause), false
	return opened
}

// skip tells that a call for who was not made.
func (b *breaker) skip(who principal) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if own := b.suspects[b.known(who)]; own != nil {
		own.trying = false
	}
	b.all.trying = false
}

// state returns how often the breaker opened for all, and since when it is open for
// all, and why; and for how many principals it is open on their own.
func (b *breaker) state() (opened uint64, since time.Time, principals int, why error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.suspects {
		if c.open() {
			principals++
		}
	}
	if b.all.open() {
		since, why = b.all.since, b.all.why
	}
	return b.all.opened, since, principals, why
}

// isOpen is whether calls for who are refused, or one is tried.
func (b *breaker) isOpen(who principal) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	own := b.suspects[b.known(who)]
	return b.all.open() || own != nil && own.open()
}
