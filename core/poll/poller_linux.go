package poll

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long all workers may be busy with what they serve before
// another one begins to wait for sockets.
const patience = 4 * time.Millisecond

// What the keeper's looks, one each patience, tell.
const (
	looks  = 16 // after so many the width is set
	crowd  = 12 // of them with no worker that waits: there is work for more
	spare  = 4  // and at most so many: for fewer
	asleep = 10 // in a row without an event: the keeper sleeps
)

// idleWidth is how many workers wait while there is little to do.
const idleWidth = 2

// A Poller waits for the sockets of its connections. It is safe for concurrent
// use.
type Poller struct {
	epoll  int
	closed int // an eventfd: can be read when the workers are to end
	most   int32
	busy   time.Duration // as Open has it

	width   atomic.Int32  // workers that may wait; the keeper sets it
	waiting atomic.Int32  // workers that wait
	turns   atomic.Uint64 // events that workers took
	beats   atomic.Uint32 // times that the keeper looked
	lazy    atomic.Bool   // the keeper sleeps until it is called
	call    chan struct{}
	done    chan struct{}
	all     sync.WaitGroup // workers, the keeper, and what runs outside of a worker

	mu    sync.RWMutex
	conns map[uint64]*Conn
	last  uint64 // number of a connection
}

// most is how many workers of a Poller wait at most: as many as Go uses processors.
// A worker that waits looks to Go like a goroutine in a system call that is about to
// end, which keeps its place among those that run, until Go's monitor takes it away.
// So that nothing else waits for that, and the monitor has no reason to look every
// 20 microseconds, Go gets as many places more.
var most = sync.OnceValue(func() int32 {
	n := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(2 * n)
	return int32(n)
})

// Open starts a Poller, which has at most as many workers that wait as Go uses
// processors. From the first on GOMAXPROCS is twice what it was. While one session
// is busy alone, and the next of its messages mostly comes within busy, a worker polls
// for that, at most for so long, and does not sleep. Zero is never.
func Open(busy time.Duration) (*Poller, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	closed, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err == nil {
		err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, closed, &unix.EpollEvent{Events: unix.EPOLLIN})
	}
	if err != nil {
		return nil, errors.Join(os.NewSyscallError("eventfd", err), unix.Close(epoll))
	}
	p := &Poller{
		epoll: epoll, closed: closed, most: most(), busy: busy,
		call: make(chan struct{}, 1), done: make(chan struct{}), conns: make(map[uint64]*Conn),
	}
	p.lazy.Store(true)
	p.widen(idleWidth)
	p.all.Go(p.keep)
	return p, nil
}

// Close ends the Poller. Its connections must have been closed before.
func (p *Poller) Close() error {
	close(p.done)
	one := [8]byte{1}
	_, err := unix.Write(p.closed, one[:])
	p.all.Wait()
	return errors.Join(err, unix.Close(p.closed), unix.Close(p.epoll))
}

// start lets one more worker wait.
func (p *Poller) start() {
	p.waiting.Add(1)
	p.all.Go(p.work)
}

// work waits for sockets and serves what comes, until the Poller ends or enough
// others wait.
func (p *Poller) work() {
	// One event at a time: what else has come is for other workers.
	var events [1]unix.EpollEvent
	var beat uint32
	var seen company
	for {
		if now := p.beats.Load(); now != beat {
			beat = now
			if now%2 == 0 {
				runtime.Gosched() // or Go's monitor interrupts a worker that does not come by for 10 ms
			}
		}
		n, err := p.await(events[:], &seen)
		if n < 1 && (err == nil || errors.Is(err, unix.EINTR)) {
			continue
		}
		if err != nil {
			panic(fmt.Sprintf("epoll_wait: %v", err)) // a mistake of this package's
		}
		e := &events[0]
		number := uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32
		if number == 0 {
			return // closed
		}
		p.turns.Add(1)
		if p.waiting.Add(-1) == 0 && p.lazy.Load() && p.lazy.CompareAndSwap(true, false) {
			p.call <- struct{}{}
		}
		p.mu.RLock()
		c := p.conns[number]
		p.mu.RUnlock()
		if c != nil && c.event(e.Events) {
			c.serve()
			seen.served(c)
		}
		if !p.waitAgain() {
			return
		}
	}
}

// waitAgain counts the caller among the workers that wait, unless enough others do.
func (p *Poller) waitAgain() bool {
	for {
		n := p.waiting.Load()
		if n >= p.width.Load() {
			return false
		}
		if p.waiting.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// relieve lets another worker wait where none does, since the caller, who may be
// one, waits for something else.
func (p *Poller) relieve() {
	if p.waiting.Load() == 0 {
		p.start()
	}
}

// widen lets as many as n workers wait.
func (p *Poller) widen(n int32) {
	n = min(n, p.most)
	for range n - p.width.Swap(n) {
		p.start()
	}
}

// keep sees to it that a worker waits, or will before long, and that not many more
// do than there is work for. An event wakes the worker that waits for the shortest
// time: where that is always the same, its memory is still in the processor's cache.
// While it serves, which mostly takes microseconds, another that waits would be woken
// for what comes; without one the event waits for it, and nobody is woken. The keeper
// looks while there is something to do, and sleeps otherwise.
func (p *Poller) keep() {
	tick := time.NewTicker(patience)
	defer tick.Stop()
	for {
		select {
		case <-p.done:
			return
		case <-p.call:
		}
		tick.Reset(patience)
		turns := p.turns.Load()
		for quiet, look, busy := 0, 0, 0; quiet < asleep; {
			select {
			case <-p.done:
				return
			case <-tick.C:
			}
			p.beats.Add(1)
			now, none := p.turns.Load(), p.waiting.Load() == 0
			switch {
			case now != turns:
				quiet = 0
			case none:
				p.start()
				quiet = 0
			default:
				quiet++
			}
			turns = now
			if none {
				busy++
			}
			if look++; look == looks {
				p.adapt(busy)
				look, busy = 0, 0
			}
		}
		if p.width.Load() < idleWidth {
			p.widen(idleWidth)
		}
		tick.Stop()
		p.lazy.Store(true)
		if p.waiting.Load() == 0 && p.lazy.CompareAndSwap(true, false) {
			p.call <- struct{}{}
		}
	}
}

// adapt sets the width by how often the keeper saw no worker wait.
func (p *Poller) adapt(busy int) {
	switch width := p.width.Load(); {
	case busy >= crowd:
		p.widen(2 * width)
	case busy <= spare && width > 1:
		p.width.Store(width - 1) // one of them ends after its next turn
	}
}

// Take makes a connection over a socket one of the Poller's. In any case conn is
// not to be used any more.
func (p *Poller) Take(conn net.Conn) (*Conn, error) {
	defer conn.Close()
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("a connection of type %T has no socket", conn)
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("take a connection: %w", err)
	}
	c := &Conn{
		poller: p, local: conn.LocalAddr(), remote: conn.RemoteAddr(), readable: true, writable: true,
		mayRead: make(chan struct{}, 1), mayWrite: make(chan struct{}, 1),
	}
	var derr error
	// Another descriptor, so that Go's own poller lets go of the socket.
	err = raw.Control(func(fd uintptr) { c.fd, derr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(err, os.NewSyscallError("fcntl", derr)); err != nil {
		return nil, fmt.Errorf("take a connection: %w", err)
	}
	p.mu.Lock()
	p.last++
	c.number = p.last
	p.conns[c.number] = c
	p.mu.Unlock()
	err = unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, c.fd, &unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET,
		Fd:     int32(uint32(c.number)), Pad: int32(uint32(c.number >> 32)),
	})
	if err != nil {
		return nil, errors.Join(os.NewSyscallError("epoll_ctl", err), c.Close())
	}
	return c, nil
}

func (p *Poller) forget(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c.number)
}
