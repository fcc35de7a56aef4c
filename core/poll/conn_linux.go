package poll

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Conn is a connection over a socket that a Poller waits for. It keeps
// net.Conn's contract; and where it was given a task, that is run whenever there
// may be something to read.
type Conn struct {
	poller        *Poller
	number        uint64 // of all that the Poller ever had
	fd            int
	local, remote net.Addr
	window        window // to poll for what comes after one of its events
	try           bool   // Read does not wait; belongs to who reads

	reading, writing sync.Mutex // one call at a time

	mu       sync.Mutex
	closed   bool
	using    int  // calls that use fd
	readable bool // there may be something to read
	over     bool // nothing more comes behind it
	writable bool
	// What waits for the above to change is told by these.
	mayRead, mayWrite chan struct{}
	readsWait         bool
	readTimer         *time.Timer
	readBefore        time.Time
	writeBefore       time.Time
	task              func() bool
	running           bool
}

// Serve lets workers run task, once now and then whenever there may be something
// to read, or Close was called, or the deadline for reading passed, but never
// twice at a time. A task reads by Try until it gets ErrWait and returns true. Once
// it returns false it is not run again.
func (c *Conn) Serve(task func() (more bool)) {
	c.mu.Lock()
	c.task, c.running = task, true
	c.mu.Unlock()
	c.poller.all.Go(c.serve)
}

// serve runs the task until there is nothing to read. The caller has set running.
func (c *Conn) serve() {
	for {
		more := c.task()
		c.mu.Lock()
		if !more {
			c.task = nil
		}
		if !more || !c.readable && !c.over && !c.closed && !past(c.readBefore) {
			c.running = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
	}
}

// event takes note of what the socket reports. It returns whether the caller must
// serve.
func (c *Conn) event(events uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	const end = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
	if events&(unix.EPOLLOUT|end) != 0 && !c.writable {
		c.writable = true
		signal(c.mayWrite)
	}
	c.over = c.over || events&end != 0
	if events&(unix.EPOLLIN|end) == 0 {
		return false
	}
	c.readable = true
	return c.wakeReader()
}

// wakeReader tells who reads to look again. It returns whether the caller must
// serve instead. The caller holds mu.
func (c *Conn) wakeReader() bool {
	if c.readsWait {
		signal(c.mayRead)
		return false
	}
	run := c.task != nil && !c.running
	c.running = c.running || run
	return run
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// past is whether a deadline has passed. Zero is none.
func past(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

// use begins a call that uses fd. The caller holds mu.
func (c *Conn) use(before time.Time) error {
	switch {
	case c.closed:
		return net.ErrClosed
	case past(before):
		return os.ErrDeadlineExceeded
	}
	return nil
}

// call calls f while fd stays what it is. The caller holds mu. F is of the package
// syscall, as what net calls is: the race detector knows by that what messages put in
// order.
func (c *Conn) call(f func(int, []byte) (int, error), b []byte) (n int, err error) {
	c.using++
	c.mu.Unlock()
	for {
		if n, err = f(c.fd, b); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	c.mu.Lock()
	if c.using--; c.closed && c.using == 0 {
		_ = unix.Close(c.fd)
	}
	return max(n, 0), err
}

// Read waits until something can be read.
func (c *Conn) Read(b []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if err := c.use(c.readBefore); err != nil {
			return 0, c.failed("read", err)
		}
		switch {
		case len(b) == 0:
			return 0, nil
		case c.readable || c.over:
			// Until the next event, which may come during the call, unless
			// there is more than b takes.
			over := c.over
			c.readable, c.over = false, false
			n, err := c.call(syscall.Read, b)
			if errors.Is(err, unix.EAGAIN) {
				continue
			}
			c.over = c.over || over
			switch {
			case err != nil:
				return 0, c.failed("read", os.NewSyscallError("read", err))
			case n == 0:
				c.over = true
				return 0, io.EOF
			default:
				c.readable = c.readable || n == len(b)
				return n, nil
			}
		case c.try:
			return 0, ErrWait
		default:
			c.readsWait = true
			c.wait(c.mayRead, c.readBefore)
			c.readsWait = false
		}
	}
}

// Write waits until all of b was taken.
func (c *Conn) Write(b []byte) (n int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if err := c.use(c.writeBefore); err != nil {
			return n, c.failed("write", err)
		}
		switch {
		case n == len(b):
			return n, nil
		case c.writable:
			c.writable = false // until the next event, unless some of b was taken
			k, err := c.call(syscall.Write, b[n:])
			n += k
			switch {
			case err == nil:
				c.writable = true
			case !errors.Is(err, unix.EAGAIN):
				return n, c.failed("write", os.NewSyscallError("write", err))
			}
		default:
			c.wait(c.mayWrite, c.writeBefore)
		}
	}
}

// wait waits for a signal, at most until a deadline. The caller holds mu.
func (c *Conn) wait(told <-chan struct{}, before time.Time) {
	c.mu.Unlock()
	defer c.mu.Lock()
	c.poller.relieve()
	if before.IsZero() {
		<-told
		return
	}
	t := time.NewTimer(time.Until(before))
	defer t.Stop()
	select {
	case <-told:
	case <-t.C:
	}
}

// failed returns what the package net would.
func (c *Conn) failed(op string, err error) error {
	return &net.OpError{Op: op, Net: c.remote.Network(), Source: c.local, Addr: c.remote, Err: err}
}

// Close ends the connection, and what waits for it.
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return c.failed("close", net.ErrClosed)
	}
	c.closed = true
	c.stopTimer()
	signal(c.mayWrite)
	c.wakeTask()
	var err error
	if c.using == 0 {
		err = os.NewSyscallError("close", unix.Close(c.fd))
	}
	c.mu.Unlock()
	c.poller.forget(c)
	return err
}

// wakeTask is wakeReader outside of a worker. The caller holds mu.
func (c *Conn) wakeTask() {
	if c.wakeReader() {
		c.poller.all.Go(c.serve)
	}
}

// CloseWrite ends what goes out.
func (c *Conn) CloseWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.failed("close", net.ErrClosed)
	}
	if err := unix.Shutdown(c.fd, unix.SHUT_WR); err != nil {
		return c.failed("close", os.NewSyscallError("shutdown", err))
	}
	return nil
}

// LocalAddr returns this side's address.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the other side's address.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline sets when reads, those that wait too, fail; zero is never.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.failed("set", net.ErrClosed)
	}
	c.stopTimer()
	c.readBefore = t
	if c.readsWait {
		signal(c.mayRead)
	}
	if c.task != nil && !t.IsZero() {
		c.readTimer = time.AfterFunc(time.Until(t), func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if past(c.readBefore) {
				c.wakeTask()
			}
		})
	}
	return nil
}

func (c *Conn) stopTimer() {
	if c.readTimer != nil {
		c.readTimer.Stop()
		c.readTimer = nil
	}
}

// SetWriteDeadline sets when writes, those that wait too, fail; zero is never.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.failed("set", net.ErrClosed)
	}
	c.writeBefore = t
	if !c.writable {
		signal(c.mayWrite)
	}
	return nil
}
