package proxy_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"gatehouse/core/event"
	"gatehouse/core/proxy"
)

// A greeter asks for one line, which is the credential, says whether it will
// do, and then waits until the client leaves.
type greeter struct{}

func (greeter) Serve(ctx context.Context, client net.Conn, env proxy.Env) error {
	stop := context.AfterFunc(ctx, func() { client.Close() })
	defer stop()
	err := env.Refusal
	if err == nil {
		in := bufio.NewReader(client)
		line, rerr := in.ReadString('\n')
		if rerr != nil {
			return nil
		}
		if _, err = env.Authenticate(ctx, strings.TrimSpace(line)); err == nil {
			fmt.Fprintln(client, "welcome")
			_, _ = in.ReadString('\n')
			return nil
		}
	}
	if limit, ok := errors.AsType[*proxy.LimitError](err); ok {
		fmt.Fprintln(client, limit.Limit)
	} else {
		fmt.Fprintln(client, "wrong")
	}
	return nil
}

// A guarded server lets "good" in.
type guarded struct {
	t      *testing.T
	addr   string
	server *proxy.Server
}

func guard(t *testing.T, l proxy.Limits) *guarded {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &guarded{t: t, addr: listener.Addr().String()}
	g.server = &proxy.Server{Listener: listener, Protocol: greeter{}, Limits: l, Env: proxy.Env{
		Log: slog.New(slog.DiscardHandler),
		Authenticate: func(_ context.Context, credential string) (event.Principal, error) {
			if credential != "good" {
				return event.Principal{}, errors.New("wrong")
			}
			return event.Principal{}, nil
		},
	}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.server.Serve(ctx, 0) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return g
}

// dial opens a connection from 127.0.0.FROM.
func (g *guarded) dial(from byte) net.Conn {
	g.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, from)}}
	c, err := d.Dial("tcp", g.addr)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Minute)); err != nil {
		g.t.Fatal(err)
	}
	return c
}

// answer is what the server says, or how it does not.
func answer(c net.Conn) string {
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return "cut"
	}
	return strings.TrimSpace(line)
}

func say(c net.Conn, credential string) string {
	fmt.Fprintln(c, credential)
	return answer(c)
}

func (g *guarded) want(what, got, want string) {
	g.t.Helper()
	if got != want {
		g.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestClientsOverTheLimitAreRefused(t *testing.T) {
	g := guard(t, proxy.Limits{Connections: 3, Address: 2})
	first := g.dial(1)
	g.want("the first", say(first, "good"), "welcome")
	g.want("the second", say(g.dial(1), "good"), "welcome")
	g.want("a third with the same address", say(g.dial(1), "good"), proxy.OverAddress)
	g.want("one with another address", say(g.dial(2), "good"), "welcome")
	g.want("a fourth", say(g.dial(3), "good"), proxy.OverConnections)
	first.Close()
	for n := 0; ; n++ { // its end takes a moment to be noticed
		got := say(g.dial(1), "good")
		if got == "welcome" {
			break
		}
		if n > 1000 {
			t.Fatalf("after one left: %q", got)
		}
	}
	if r := g.server.Refused(); r[proxy.OverConnections] == 0 || r[proxy.OverAddress] == 0 {
		t.Errorf("counted %v", r)
	}
}

// Clients that do not say who they are keep nobody else out: neither those that
// did, nor those that come after them, and of one address there are few.
func TestStrangersKeepNobodyOut(t *testing.T) {
	g := guard(t, proxy.Limits{Unauthenticated: 6, UnauthenticatedAddress: 4, Connections: 100})
	known := g.dial(9)
	g.want("before", say(known, "good"), "welcome")
	var silent []net.Conn
	for range 4 {
		silent = append(silent, g.dial(1))
	}
	// Served in the order of their coming: once this one is refused, they
	// are all there.
	g.want("a fifth of the same address", answer(g.dial(1)), proxy.OverUnauthenticatedAddress)
	g.dial(2)
	g.dial(3)
	for range 10 {
		g.want("while strangers hold all there is", say(g.dial(4), "good"), "welcome")
	}
	g.want("the oldest of whom holds most", answer(silent[0]), "cut")
	fmt.Fprintln(known)
	g.want("a client that was there before", answer(known), "cut") // its own good-bye
	if r := g.server.Refused(); r[proxy.OverUnauthenticated] == 0 || r[proxy.OverUnauthenticatedAddress] != 1 {
		t.Errorf("counted %v", r)
	}
}

func TestFailuresOfAnAddressAreLimited(t *testing.T) {
	g := guard(t, proxy.Limits{Failures: 3})
	for range 3 {
		g.want("a wrong credential", say(g.dial(1), "bad"), "wrong")
	}
	for _, credential := range []string{"bad", "good"} {
		g.want("after too many", say(g.dial(1), credential), proxy.OverFailures)
	}
	g.want("another address", say(g.dial(2), "good"), "welcome")
	if r := g.server.Refused(); r[proxy.OverFailures] != 2 {
		t.Errorf("counted %v", r)
	}
}
