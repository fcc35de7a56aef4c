package recorder

import (
	"context"
	"math"
	"syscall"
	"time"
)

// DiskMargin is how much of the spool's disk frames leave free: an eighth, and
// no more than this. Sealing and the log need it, to store frames and so make
// room for others.
const DiskMargin = 64 << 20

// measureEvery is how often sessions that wait look at the disk.
const measureEvery = 100 * time.Millisecond

// measure finds out how much the spool may hold with what its disk has left.
// From then on what the recorder itself writes is counted.
func (r *Recorder) measure() {
	limit := r.o.SpoolLimit
	used := r.used.Load() // before the disk is asked: more counts twice then, and not less
	var fs syscall.Statfs_t
	// Where there is no answer, writing says whether there is room. Some file
	// systems do not know how large they are.
	if syscall.Statfs(r.dir, &fs) == nil && fs.Blocks > 0 && fs.Bsize > 0 {
		blocks := func(n uint64) int64 { return int64(min(n, math.MaxInt64/4/uint64(fs.Bsize))) * int64(fs.Bsize) }
		limit = min(limit, used+blocks(fs.Bavail)-min(blocks(fs.Blocks)/8, DiskMargin))
	}
	r.limit.Store(limit)
}

// full reports whether the spool takes no more frames.
func (r *Recorder) full() bool { return r.used.Load() >= r.limit.Load() }

// admit returns when the spool has room.
func (r *Recorder) admit(ctx context.Context) error {
	timeout := time.NewTimer(r.o.FullWait)
	defer timeout.Stop()
	again := time.NewTicker(measureEvery)
	defer again.Stop()
	for {
		freed := r.freed.wait()
		if r.measure(); !r.full() {
			return nil
		}
		select {
		case <-freed:
		case <-again.C:
		case <-timeout.C:
			return ErrSpoolFull
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// hold changes how many bytes the spool is known to hold.
func (r *Recorder) hold(n int64) {
	r.used.Add(n)
	if n < 0 {
		r.freed.ring()
	}
}
