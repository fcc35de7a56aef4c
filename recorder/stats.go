package recorder

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

type counters struct {
	bytes, commits, frames atomic.Int64
	sealed, stored         atomic.Int64
	failures               [failureKinds]atomic.Int64
	outage                 outage
}

// Stats are figures of a Recorder since Open, for metrics.
type Stats struct {
	Bytes    int64 // of frames written to the spool
	Commits  int64 // writes to the spool
	Frames   int64 // sealed
	Sealed   int64 // pieces
	Stored   int64 // pieces
	Failures int64 // failed attempts to write to the spool, seal, store or log
	// FailuresBy are those by what was attempted: "spool", "seal", "store",
	// "log". Frames that could not be written to the spool were not committed.
	FailuresBy map[string]int64

	Sessions   int   // not entirely stored and logged
	Backlog    int64 // bytes in the spool
	SpoolLimit int64 // that it may hold at present: see Options.SpoolLimit

	LogSize    int64     // entries in the log
	Checkpoint time.Time // when the last checkpoint was stored; zero if none was
	Forked     bool      // see ErrFork

	// Oldest is since when the oldest of what is not stored and logged waits
	// for that; zero if nothing does.
	Oldest time.Time
	// Away is since when attempts to store or log have failed, without one in
	// between that did not; zero if the last did not. Why is the error. That
	// of an ErrFork does not end.
	Away time.Time
	Why  error
}

// Outage returns what Stats has as Away and Why, and is cheap to ask often.
func (r *Recorder) Outage() (since time.Time, why error) { return r.stats.outage.state() }

// Stats returns the present figures.
func (r *Recorder) Stats() Stats {
	r.measure()
	r.mu.Lock()
	sessions := len(r.sessions)
	r.mu.Unlock()
	c := &r.stats
	s := Stats{
		Bytes: c.bytes.Load(), Commits: c.commits.Load(), Frames: c.frames.Load(),
		Sealed: c.sealed.Load(), Stored: c.stored.Load(), FailuresBy: make(map[string]int64, failureKinds),
		Sessions: sessions, Backlog: r.used.Load(), SpoolLimit: r.limit.Load(),
	}
	for kind, name := range failureNames {
		n := c.failures[kind].Load()
		s.FailuresBy[name] = n
		s.Failures += n
	}
	s.LogSize, s.Checkpoint, s.Forked = r.log.status()
	s.Oldest = r.oldest()
	s.Away, s.Why = c.outage.state()
	return s
}

// What can fail outside of any call.
const (
	failedSeal = iota
	failedStore
	failedLog
	failedSpool
	failureKinds
)

var failureNames = [failureKinds]string{"seal", "store", "log", "spool"}

// An outage is a time in which the store takes nothing.
type outage struct {
	mu    sync.Mutex
	since time.Time
	why   error
}

func (o *outage) failed(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if errors.Is(o.why, ErrFork) {
		return
	}
	if o.why = err; o.since.IsZero() {
		o.since = time.Now()
	}
}

func (o *outage) worked() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !errors.Is(o.why, ErrFork) {
		o.since, o.why = time.Time{}, nil
	}
}

func (o *outage) state() (since time.Time, why error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.since, o.why
}

// failed counts a failure and logs it.
func (r *Recorder) failed(kind int, what string, err error, args ...any) {
	r.stats.failures[kind].Add(1)
	if kind == failedStore || kind == failedLog {
		r.stats.outage.failed(err)
	}
	r.o.Logger.Error("recorder: "+what, append(args, "err", err)...)
}

// oldest returns since when the oldest part waits.
func (r *Recorder) oldest() (t time.Time) {
	for _, s := range r.all() {
		s.mu.Lock()
		if len(s.parts) > 0 {
			if since := s.parts[0].since; !since.IsZero() && (t.IsZero() || since.Before(t)) {
				t = since
			}
		}
		s.mu.Unlock()
	}
	return t
}
