package poll

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Waking a processor that sleeps takes microseconds, in a virtual machine ten or more,
// for each message of a session that otherwise has the machine to itself: as long as
// many a server takes to answer. A worker can poll for a while instead ("busy
// polling"), with the rules by which KVM has a virtual processor poll before it halts
// (halt_poll_ns): what was polled for in vain is not polled for again, and what came
// soon after a worker slept is polled for longer.

// firstBusy is how long a worker polls after something came soon for the first time.
const firstBusy = 10 * time.Microsecond

// minAlone is after how many events that no other connection had two of them count as
// alone: a session's, from the client and from the server.
const minAlone = 16

// Company is what a worker saw of the connections that it served.
type company struct {
	last, other *Conn
	alone       int // events in a row that these two had
}

func (o *company) served(c *Conn) {
	if c == o.last || c == o.other {
		o.alone++
	} else {
		o.alone = 0
	}
	if c != o.last {
		o.last, o.other = c, o.last
	}
}

// A window is for how long to poll after an event of a connection. It may be used by
// several at a time.
type window struct{ atomic.Int64 }

func (w *window) get() time.Duration { return time.Duration(w.Load()) }

// learn takes into account that the next event came after so long, which polling did
// not find. It is worth it to poll for most at most.
func (w *window) learn(waited, most time.Duration) {
	switch now := w.get(); {
	case waited > most:
		w.Store(0)
	case waited > now:
		w.Store(int64(min(most, max(firstBusy, 2*now))))
	}
}

// await waits for an event. Where seen is of one session it polls first, unless another
// worker waits, which would be woken all the same.
func (p *Poller) await(events []unix.EpollEvent, seen *company) (int, error) {
	if p.busy == 0 || seen.alone < minAlone {
		return unix.EpollWait(p.epoll, events, -1)
	}
	w, begun := &seen.last.window, time.Now()
	for busy := w.get(); p.waiting.Load() == 1 && time.Since(begun) < busy; {
		if n, err := unix.EpollWait(p.epoll, events, 0); n > 0 || err != nil {
			return n, err
		}
		_, _, _ = unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0) // to who waits for this processor
	}
	n, err := unix.EpollWait(p.epoll, events, -1)
	if n > 0 {
		w.learn(time.Since(begun), p.busy)
	}
	return n, err
}
