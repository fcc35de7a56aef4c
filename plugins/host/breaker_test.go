package host

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// A breaker opens after so many failures in succession of one principal, for that one
// alone, tries one call after its pause, and closes when that succeeds.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker{limit: 3, pause: 10 * time.Second}
		trap := errors.New("trap")
		agent, other := principal{"issuer", "agent"}, principal{"issuer", "other"}
		call := func(who principal, result error) (own, all bool) {
			t.Helper()
			if err := b.allow(who); err != nil {
				t.Fatal(err)
			}
			return b.done(who, result)
		}
		refuses := func() {
			t.Helper()
			err := b.allow(agent)
			if !errors.Is(err, ErrFailing) || !errors.Is(err, trap) {
				t.Fatalf("allowed: %v", err)
			}
			if !b.isOpen(agent) || b.isOpen(other) {
				t.Fatal("open for others")
			}
		}
		for range 5 {
			// Others of its calls succeed: it is not the plugin that fails.
			call(agent, trap)
			call(agent, trap)
			call(agent, nil)
		}
		call(agent, trap)
		call(agent, trap)
		if own, all := call(agent, trap); !own || all {
			t.Fatal("not opened, or for all")
		}
		refuses()
		call(other, nil)
		time.Sleep(9 * time.Second)
		refuses()
		if n, since, principals, why := b.state(); n != 0 || !since.IsZero() || why != nil || principals != 1 {
			t.Errorf("%v, opened %d times for all, for %d principals", why, n, principals)
		}
		time.Sleep(time.Second)
		if err := b.allow(agent); err != nil {
			t.Fatal(err)
		}
		refuses() // one is tried
		if own, _ := b.done(agent, trap); own {
			t.Error("it was open before")
		}
		refuses()
		time.Sleep(10 * time.Second)
		if err := b.allow(agent); err != nil {
			t.Fatal(err)
		}
		b.skip(agent) // that call did not come to the plugin
		call(agent, nil)
		call(agent, trap)
		call(agent, nil)
		if _, _, principals, _ := b.state(); principals != 0 {
			t.Errorf("open for %d principals", principals)
		}
	})
}

// It opens for all when the calls of several principals fail, however those of one
// alone do.
func TestBreakerForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker{limit: 4, pause: 10 * time.Second}
		trap := errors.New("trap")
		who := func(i int) principal { return principal{subject: fmt.Sprint(i)} }
		fail := func(i int) (all bool) {
			t.Helper()
			if err := b.allow(who(i)); err != nil {
				t.Fatal(err)
			}
			_, all = b.done(who(i), trap)
			return all
		}
		for range 4 {
			if fail(1) {
				t.Fatal("opened for all by one")
			}
		}
		if fail(2) {
			t.Fatal("opened for all by another's first")
		}
		if !fail(2) {
			t.Fatal("not opened by two halves")
		}
		if n, since, _, why := b.state(); n != 1 || since.IsZero() || !errors.Is(why, trap) {
			t.Errorf("opened %d times, %v", n, why)
		}
		if err := b.allow(who(3)); !errors.Is(err, ErrFailing) || !b.isOpen(who(3)) {
			t.Fatal("a third is allowed")
		}
		time.Sleep(10 * time.Second)
		if fail(3) {
			t.Error("it was open before")
		}
		if err := b.allow(who(3)); !errors.Is(err, ErrFailing) {
			t.Fatal("allowed after a try that failed")
		}
		time.Sleep(10 * time.Second)
		if err := b.allow(who(3)); err != nil {
			t.Fatal(err)
		}
		b.done(who(3), nil)
		for i := range 4 { // each once, others between them
			if i > 0 && b.isOpen(who(9)) {
				t.Fatal("open")
			}
			fail(10 + i)
		}
		if !b.isOpen(who(9)) {
			t.Error("not opened by four")
		}
	})
}

// The number of principals that it tells apart is bounded. Those that are too many
// count as one.
func TestBreakerIsBounded(t *testing.T) {
	b := breaker{limit: 1 << 30, pause: time.Minute}
	trap := errors.New("trap")
	for i := range 2 * maxSuspects {
		b.done(principal{subject: fmt.Sprint(i)}, trap)
	}
	if n := len(b.suspects); n > maxSuspects+1 {
		t.Errorf("%d principals", n)
	}
	if n := b.suspects[principal{}].failures; n < maxSuspects {
		t.Errorf("%d failures of the others", n)
	}
}
