package poll_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"gatehouse/core/poll"
)

func open(t testing.TB) *poll.Poller {
	t.Helper()
	p, err := poll.Open(200 * time.Microsecond)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// pair returns both ends of a connection over loopback.
func pair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return a, b
}

func take(t testing.TB, p *poll.Poller, c net.Conn) *poll.Conn {
	t.Helper()
	taken, err := p.Take(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	return taken
}

// TestConn holds connections to the contract of net.Conn.
func TestConn(t *testing.T) {
	p := open(t)
	nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
		a, b := pair(t)
		c, d := take(t, p, a), take(t, p, b)
		return c, d, func() { c.Close(); d.Close() }, nil
	})
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// An echo is a task that sends back what it reads.
func echo(c *poll.Conn, ended chan<- error) func() bool {
	b := make([]byte, 1000)
	return func() bool {
		for {
			n, err := c.Try(c, b)
			if errors.Is(err, poll.ErrWait) {
				return true
			}
			if err == nil {
				_, err = c.Write(b[:n])
			}
			if err != nil {
				c.Close()
				ended <- err
				return false
			}
		}
	}
}

// TestTasks: what many clients send comes back, whole and in order, also where
// they read late.
func TestTasks(t *testing.T) {
	p := open(t)
	defer p.Close()
	const clients = 40
	ended := make(chan error, clients)
	var all sync.WaitGroup
	for range clients {
		a, b := pair(t)
		c := take(t, p, b)
		c.Serve(echo(c, ended))
		all.Go(func() {
			sent := make([]byte, 3<<20)
			_, _ = rand.Read(sent)
			go func() {
				for rest := sent; len(rest) > 0; {
					n := min(len(rest), 1+int(rest[0])*100)
					if _, err := a.Write(rest[:n]); err != nil {
						t.Error(err)
						return
					}
					rest = rest[n:]
				}
				_ = a.(*net.TCPConn).CloseWrite()
			}()
			time.Sleep(20 * time.Millisecond)
			got, err := io.ReadAll(a)
			if err != nil || sha256.Sum256(got) != sha256.Sum256(sent) {
				t.Errorf("of %d bytes %d came back: %v", len(sent), len(got), err)
			}
			a.Close()
		})
	}
	all.Wait()
	for range clients {
		if err := <-ended; !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	}
}

// TestTasksThatWait: as many tasks as there are, and more than workers, wait for
// something else; the others are served.
func TestTasksThatWait(t *testing.T) {
	p := open(t)
	defer p.Close()
	release := make(chan struct{})
	var waiting atomic.Int32
	n := 4*runtime.GOMAXPROCS(0) + 3
	var conns []net.Conn
	ended := make(chan error, n)
	for range n {
		a, b := pair(t)
		conns = append(conns, a)
		c := take(t, p, b)
		send := echo(c, ended)
		c.Serve(func() bool {
			if waiting.Load() < int32(n-1) {
				one := make([]byte, 1)
				if k, _ := c.Try(c, one); k == 0 {
					return true
				}
				waiting.Add(1)
				<-release
			}
			return send()
		})
	}
	// All but the last one wait once they have something to read.
	for _, a := range conns[:n-1] {
		if _, err := a.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
	}
	for waiting.Load() < int32(n-1) {
		time.Sleep(time.Millisecond)
	}
	for range 100 {
		roundTrip(t, conns[n-1], "still here")
	}
	close(release)
	for _, a := range conns {
		roundTrip(t, a, "and here")
		a.Close()
	}
	for range n {
		<-ended
	}
}

func roundTrip(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len(text))
	if _, err := io.ReadFull(c, b); err != nil || !bytes.Equal(b, []byte(text)) {
		t.Fatalf("%q came back for %q: %v", b, text, err)
	}
}

// TestTaskIsToldOfDeadlineAndClose: a task that waits hears of both.
func TestTaskIsToldOfDeadlineAndClose(t *testing.T) {
	p := open(t)
	defer p.Close()
	_, b := pair(t)
	c := take(t, p, b)
	errs := make(chan error, 3)
	c.Serve(func() bool {
		_, err := c.Try(c, make([]byte, 1))
		errs <- err
		return !errors.Is(err, net.ErrClosed)
	})
	for _, step := range []struct {
		do   func() error
		want error
	}{
		{func() error { return nil }, poll.ErrWait},
		{func() error { return c.SetReadDeadline(time.Now().Add(time.Millisecond)) }, os.ErrDeadlineExceeded},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if err := <-errs; !errors.Is(err, step.want) {
			t.Fatalf("the task got %v, not %v", err, step.want)
		}
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	c.Close()
	for err := range errs { // it may look once more at the deadline
		if errors.Is(err, net.ErrClosed) {
			break
		}
	}
}

// TestDataBeforeTheEnd: nothing that came before an end is lost.
func TestDataBeforeTheEnd(t *testing.T) {
	p := open(t)
	defer p.Close()
	for range 500 {
		a, b := pair(t)
		c := take(t, p, b)
		var got []byte
		end := make(chan error, 1)
		c.Serve(func() bool {
			buf := make([]byte, 64)
			for {
				n, err := c.Try(c, buf)
				if errors.Is(err, poll.ErrWait) {
					return true
				}
				got = append(got, buf[:n]...)
				if err != nil {
					end <- err
					return false
				}
			}
		})
		for range 3 {
			_, _ = a.Write(make([]byte, 50))
		}
		a.Close()
		if err := <-end; !errors.Is(err, io.EOF) || len(got) != 150 {
			t.Fatalf("%d bytes, then %v", len(got), err)
		}
		c.Close()
	}
}
