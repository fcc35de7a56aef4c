//go:build linux

package poll

import (
	"net"
	"testing"
	"time"
)

// TestWidth: where the keeper mostly saw no worker wait, twice as many do, and where
// it mostly saw one, a worker ends after its next turn; one always waits.
func TestWidth(t *testing.T) {
	p, err := Open(0)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.most = 8
	p.widen(idleWidth)
	for _, want := range []int32{4, 8, 8} {
		p.adapt(crowd)
		if w, n := p.width.Load(), p.waiting.Load(); w != want || n != want {
			t.Fatalf("width %d, %d wait; want %d", w, n, want)
		}
	}
	p.adapt(crowd - 1)
	if w := p.width.Load(); w != 8 {
		t.Fatalf("width %d where there is enough for 8", w)
	}
	a, c := connect(t, p)
	defer a.Close()
	defer c.Close()
	c.Serve(func() bool {
		_, err := c.Try(c, make([]byte, 1))
		return err == nil || err == ErrWait
	})
	for range 2 * p.most {
		p.adapt(spare)
		if _, err := a.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	for p.waiting.Load() != 1 { // until the last turns have ended
		if _, err := a.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	if w := p.width.Load(); w != 1 {
		t.Errorf("width %d where one is enough", w)
	}
}

// connect returns both ends of a connection over loopback, of which p has the second.
func connect(t *testing.T, p *Poller) (net.Conn, *Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.Take(b)
	if err != nil {
		t.Fatal(err)
	}
	return a, c
}
