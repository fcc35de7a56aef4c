//go:build linux

package poll

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestBusyWindow: what comes soon after a worker slept is polled for, longer each time
// that it was not found; after a long wait nothing is.
func TestBusyWindow(t *testing.T) {
	const most = 100 * time.Microsecond
	var w window
	for _, step := range []struct{ waited, want time.Duration }{
		{most, firstBusy}, {15 * time.Microsecond, 2 * firstBusy}, {most, 4 * firstBusy}, {30 * time.Microsecond, 4 * firstBusy},
		{most, 8 * firstBusy}, {most, most}, {most, most}, {most + 1, 0}, {time.Hour, 0}, {1, firstBusy},
	} {
		if w.learn(step.waited, most); w.get() != step.want {
			t.Fatalf("after %s: %s, want %s", step.waited, w.get(), step.want)
		}
	}
}

// TestCompany: two connections that take turns in any order are alone until a third has
// a turn.
func TestCompany(t *testing.T) {
	a, b, c := new(Conn), new(Conn), new(Conn)
	var seen company
	for i, step := range []struct {
		served *Conn
		alone  int
	}{{a, 0}, {b, 0}, {a, 1}, {a, 2}, {b, 3}, {b, 4}, {c, 0}, {b, 1}, {a, 0}, {b, 1}} {
		if seen.served(step.served); seen.alone != step.alone || seen.last != step.served {
			t.Fatalf("%d: %d turns alone, want %d", i, seen.alone, step.alone)
		}
	}
}

// TestAwait: a worker that waits alone finds by polling what comes for the session that
// is busy alone; where another waits too it sleeps, and learns how long it did. Where
// no session was alone for long enough it just sleeps.
func TestAwait(t *testing.T) {
	for _, tt := range []struct {
		waiting int32
		alone   int
		window  time.Duration // before
		want    time.Duration // after
	}{{1, minAlone, time.Minute, time.Minute}, {2, minAlone, time.Minute, 0}, {1, minAlone - 1, 1, 1}} {
		epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(epoll)
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN}); err != nil {
			t.Fatal(err)
		}
		seen := company{last: new(Conn), alone: tt.alone}
		seen.last.window.Store(int64(tt.window))
		p := &Poller{epoll: epoll, busy: 1} // so that a sleep of any length is too long to poll for
		p.waiting.Store(tt.waiting)
		timer := time.AfterFunc(5*time.Millisecond, func() { _, _ = unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}) })
		defer timer.Stop()
		var events [1]unix.EpollEvent
		n, err := p.await(events[:], &seen)
		if n != 1 || err != nil || seen.last.window.get() != tt.want {
			t.Errorf("%+v: %d events, %v, then polls for %s", tt, n, err, seen.last.window.get())
		}
	}
}

// TestBusyPoll: a session that is busy alone comes to be polled for, is served while
// it is, and is not polled for any more after a pause.
func TestBusyPoll(t *testing.T) {
	const busy = 20 * time.Millisecond // of which a machine that runs other tests will often have a turn
	p, err := Open(busy)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	a, c := connect(t, p)
	defer a.Close()
	defer c.Close()
	c.Serve(func() bool {
		b := make([]byte, 1)
		for {
			if _, err := c.Try(c, b); err != nil {
				return err == ErrWait
			}
			if _, err := c.Write(b); err != nil {
				return false
			}
		}
	})
	turn := func() {
		t.Helper()
		if _, err := a.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	for c.window.get() == 0 {
		turn()
	}
	for range 1000 {
		turn()
	}
	for c.window.get() != 0 {
		time.Sleep(2 * busy)
		turn()
	}
}
