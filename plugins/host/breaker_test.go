package host

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A breaker opens after so many failures in succession, tries one call after
// its pause, and closes when that succeeds.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker{limit: 3, pause: 10 * time.Second}
		trap := errors.New("trap")
		call := func(result error) (opened bool) {
			t.Helper()
			if err := b.allow(); err != nil {
				t.Fatal(err)
			}
			return b.done(result)
		}
		refuses := func() {
			t.Helper()
			err := b.allow()
			if !errors.Is(err, ErrFailing) || !errors.Is(err, trap) {
				t.Fatalf("allowed: %v", err)
			}
		}
		for range 5 {
			// Others succeed: it is not the plugin that fails.
			call(trap)
			call(trap)
			call(nil)
		}
		call(trap)
		call(trap)
		if !call(trap) {
			t.Fatal("not opened")
		}
		refuses()
		time.Sleep(9 * time.Second)
		refuses()
		if n, since, why := b.state(); time.Since(since) != 9*time.Second || !errors.Is(why, trap) || n != 1 {
			t.Errorf("%v, opened %d times", why, n)
		}
		time.Sleep(time.Second)
		if err := b.allow(); err != nil {
			t.Fatal(err)
		}
		refuses() // one is tried
		if b.done(trap) {
			t.Error("it was open before")
		}
		refuses()
		time.Sleep(10 * time.Second)
		if err := b.allow(); err != nil {
			t.Fatal(err)
		}
		b.skip() // that call did not come to the plugin
		call(nil)
		call(trap)
		call(nil)
		if n, since, why := b.state(); !since.IsZero() || why != nil || n != 1 {
			t.Errorf("%v, opened %d times", why, n)
		}
	})
}
