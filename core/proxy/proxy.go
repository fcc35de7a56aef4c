// Package proxy accepts connections, limits them, hands each to its protocol
// and drains them at shutdown.
package proxy

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/core/poll"
)

// An Env is what the gate offers a protocol. Its functions are safe for
// concurrent use. Their errors may have a method Reason() string, whose result
// the client may read.
type Env struct {
	// Authenticate returns who a credential proves its bearer to be.
	Authenticate func(ctx context.Context, credential string) (event.Principal, error)
	// Open admits a principal to a resource and opens its session. The
	// protocol sets Protocol, Resource, Principal, Client and Attrs; Open
	// sets the rest.
	Open func(ctx context.Context, s *event.Session) (*pipeline.Session, error)
	// Refusal is not nil where the connection is over a limit: the client is
	// told so, in its protocol's terms, before it is asked who it is.
	Refusal error
	Log     *slog.Logger
	// Poller waits for client, and may for connections that the protocol opens.
	// Where it is nil, goroutines do.
	Poller *poll.Poller
	// Draining is closed when sessions should end at their next idle point.
	Draining <-chan struct{}
}

// A Protocol speaks one wire protocol with a client. Serve returns when the
// connection is over; it owns client and closes it. When ctx ends, so does
// Serve, at once.
type Protocol interface {
	Serve(ctx context.Context, client net.Conn, env Env) error
}

// A Server serves one listener.
type Server struct {
	Listener net.Listener
	Protocol Protocol
	Env      Env // Poller and Draining are the server's to set
	Limits   Limits
	BusyPoll time.Duration // as poll.Open has it

	served atomic.Int64
	active atomic.Int64
	door   atomic.Pointer[door]
}

// Active is how many connections are being served.
func (s *Server) Active() int64 { return s.active.Load() }

// Served is how many connections were accepted so far.
func (s *Server) Served() int64 { return s.served.Load() }

// Refused is how many connections were refused so far, by limit.
func (s *Server) Refused() map[string]int64 {
	d := s.door.Load()
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.refused)
}

// Serve accepts connections until ctx ends. Then it stops accepting, asks
// sessions to end at their next idle point, cuts those that have not ended
// after grace, and returns when all are over.
func (s *Server) Serve(ctx context.Context, grace time.Duration) error {
	d := newDoor(s.Limits)
	s.door.Store(d)
	draining := make(chan struct{})
	env := s.Env
	env.Draining = draining
	poller, err := poll.Open(s.BusyPoll)
	if err == nil {
		env.Poller = poller
		defer poller.Close()
	} else if !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	cut, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { s.Listener.Close() })
	defer stop()

	var sessions sync.WaitGroup
	for {
		var conn net.Conn
		if conn, err = s.accept(ctx); err != nil {
			break
		}
		if env.Poller != nil {
			taken, terr := env.Poller.Take(conn)
			if terr != nil {
				env.Log.Warn("connection not served", "error", terr)
				continue
			}
			conn = taken
		}
		g, over := d.enter(conn)
		if g == nil {
			conn.Close()
			continue
		}
		s.served.Add(1)
		s.active.Add(1)
		sessions.Go(func() {
			defer s.active.Add(-1)
			defer d.leave(g, over != nil)
			env := env
			env.Refusal = over
			env.Authenticate = d.authenticate(g, env.Authenticate)
			s.serve(cut, conn, env)
		})
	}
	s.Listener.Close()
	close(draining)
	timer := time.AfterFunc(grace, cancel)
	defer timer.Stop()
	sessions.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// accept takes a connection. Errors that may pass, such as too many open files,
// are waited out.
func (s *Server) accept(ctx context.Context) (net.Conn, error) {
	for {
		conn, err := s.Listener.Accept()
		if err == nil || ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return conn, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (s *Server) serve(ctx context.Context, conn net.Conn, env Env) {
	defer conn.Close()
	defer func() {
		// One session must not take the others with it.
		if r := recover(); r != nil {
			env.Log.Error("session panicked", "client", conn.RemoteAddr().String(), "panic", r)
		}
	}()
	if err := s.Protocol.Serve(ctx, conn, env); err != nil {
		env.Log.Warn("session ended with an error", "client", conn.RemoteAddr().String(), "error", err)
	}
}
