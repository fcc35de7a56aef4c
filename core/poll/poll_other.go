//go:build !linux

package poll

import (
	"errors"
	"net"
	"time"
)

// A Poller is for Linux alone.
type Poller struct{}

// A Conn is for Linux alone.
type Conn struct {
	net.Conn
	try bool
}

// Open fails: sessions have goroutines of their own.
func Open(time.Duration) (*Poller, error) { return nil, errors.ErrUnsupported }

// Close does nothing.
func (*Poller) Close() error { return nil }

// Take is not called.
func (*Poller) Take(net.Conn) (*Conn, error) { return nil, errors.ErrUnsupported }

// Serve is not called.
func (*Conn) Serve(func() (more bool)) {}

// CloseWrite is not called.
func (*Conn) CloseWrite() error { return errors.ErrUnsupported }
