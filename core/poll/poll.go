// Package poll lets a few goroutines wait for many sockets. Go's own way, a
// goroutine for each direction of a connection, wakes one for each message that
// comes, through the runtime's poller and its scheduler, which costs a proxy more
// than copying the message does. Here the goroutine that learns of a message, a
// worker, serves it itself, and then waits for the next of any socket: see
// "Edge-triggered and level-triggered" in epoll(7).
//
// What a worker serves may also wait for something else: for a person, a disk or
// another socket. Others take its place then.
package poll

import (
	"io"
	"net"
)

// ErrWait is what Try returns where nothing can be read now. It says that it is
// temporary, so that TLS takes it for no end.
var ErrWait net.Error = waitError{}

type waitError struct{}

func (waitError) Error() string   { return "nothing can be read now" }
func (waitError) Timeout() bool   { return false }
func (waitError) Temporary() bool { return true }

// Of returns the connection of a Poller's that conn is, or that TLS or another
// layer with a method NetConn uses, or nil.
func Of(conn net.Conn) *Conn {
	for {
		switch c := conn.(type) {
		case *Conn:
			return c
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return nil
		}
	}
}

// Try reads from r, which is c or a layer above it, what can be read without
// waiting. Where that is nothing it returns ErrWait. Nothing else may read from r
// meanwhile.
func (c *Conn) Try(r io.Reader, b []byte) (int, error) {
	c.try = true
	defer func() { c.try = false }()
	return r.Read(b)
}
