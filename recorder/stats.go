package recorder

import (
	"sync/atomic"
	"time"
)

type counters struct {
	bytes, commits, frames atomic.Int64
	sealed, stored         atomic.Int64
	failures               atomic.Int64
}

// Stats are figures of a Recorder since Open, for metrics.
type Stats struct {
	Bytes    int64 // of frames written to the spool
	Commits  int64 // writes to the spool
	Frames   int64 // sealed
	Sealed   int64 // pieces
	Stored   int64 // pieces
	Failures int64 // failed attempts to seal, store or log

	Sessions   int   // not entirely stored and logged
	Backlog    int64 // bytes in the spool
	SpoolLimit int64

	LogSize    int64     // entries in the log
	Checkpoint time.Time // when the last checkpoint was stored; zero if none was
	Forked     bool      // see ErrFork
}

// Stats returns the present figures.
func (r *Recorder) Stats() Stats {
	r.mu.Lock()
	sessions := len(r.sessions)
	r.mu.Unlock()
	c := &r.stats
	s := Stats{
		Bytes: c.bytes.Load(), Commits: c.commits.Load(), Frames: c.frames.Load(),
		Sealed: c.sealed.Load(), Stored: c.stored.Load(), Failures: c.failures.Load(),
		Sessions: sessions, Backlog: r.used.Load(), SpoolLimit: r.o.SpoolLimit,
	}
	s.LogSize, s.Checkpoint, s.Forked = r.log.status()
	return s
}
