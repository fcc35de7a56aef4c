//go:build linux

package poll

import (
	"net"
	"testing"
	"time"
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

// TestBusyPoll: a session that is busy alone comes to be polled for, is served while
// it is, and is not polled for any more after a pause.
func TestBusyPoll(t *testing.T) {
	const busy = 20 * time.Millisecond // of which a machine that runs other tests will often have a turn
	p, err := Open(busy)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.Take(b)
	if err != nil {
		t.Fatal(err)
	}
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
