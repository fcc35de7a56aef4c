package proxy_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"gatehouse/core/proxy"
)

// An echo sends back what it gets until the client leaves or, between two
// bytes, the gate drains.
type echo struct{ stubborn bool }

func (e echo) Serve(ctx context.Context, client net.Conn, env proxy.Env) error {
	stop := context.AfterFunc(ctx, func() { client.Close() })
	defer stop()
	done := make(chan error, 1)
	go func() {
		for {
			var b [1]byte
			if _, err := client.Read(b[:]); err != nil {
				done <- err
				return
			}
			if b[0] == '!' {
				done <- errors.New("told to fail")
				client.Close()
				return
			}
			client.Write(b[:])
		}
	}()
	if e.stubborn {
		return <-done
	}
	select {
	case err := <-done:
		return err
	case <-env.Draining:
		client.Close()
		return <-done
	}
}

func serve(t *testing.T, p proxy.Protocol, limit int, grace time.Duration) (addr string, stop func() error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &proxy.Server{Listener: l, Protocol: p, Env: proxy.Env{Log: slog.New(slog.DiscardHandler)},
		Limits: proxy.Limits{Unauthenticated: limit}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, grace) }()
	return l.Addr().String(), func() error { cancel(); return <-done }
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// echoed reports whether a byte comes back within d.
func echoed(t *testing.T, c net.Conn, d time.Duration) bool {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(d)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("x")); err != nil {
		return false
	}
	var b [1]byte
	_, err := io.ReadFull(c, b[:])
	return err == nil
}

func TestDrainEndsIdleSessionsAndReturns(t *testing.T) {
	addr, stop := serve(t, echo{}, 0, time.Minute)
	c := dial(t, addr)
	if !echoed(t, c, 10*time.Minute) {
		t.Fatal("no echo")
	}
	if err := stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if echoed(t, c, time.Second) {
		t.Error("the session is still served")
	}
}

func TestGraceCutsWhatDoesNotDrain(t *testing.T) {
	addr, stop := serve(t, echo{stubborn: true}, 0, 10*time.Millisecond)
	if !echoed(t, dial(t, addr), 10*time.Minute) {
		t.Fatal("no echo")
	}
	if err := stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestDrainWhileFull(t *testing.T) {
	addr, stop := serve(t, echo{}, 1, time.Minute)
	if !echoed(t, dial(t, addr), 10*time.Minute) {
		t.Fatal("no echo")
	}
	if err := stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestOneFailureDoesNotEndOthers(t *testing.T) {
	addr, stop := serve(t, echo{}, 0, time.Minute)
	bad, good := dial(t, addr), dial(t, addr)
	if _, err := bad.Write([]byte("!")); err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadAll(bad)
	if !echoed(t, good, 10*time.Minute) {
		t.Error("another session ended")
	}
	if err := stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
}
