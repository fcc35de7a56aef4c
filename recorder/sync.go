package recorder

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sync/errgroup"

	"gatehouse/core/event"
)

const (
	// syncBatch is how many commits one round of fsyncs serves at most.
	syncBatch = 4096
	// syncers is how many files are synced at a time. File systems with a
	// journal write it once for those that wait together.
	syncers = 32
	// durableSealers is how many pieces are sealed at a time where each
	// waits for the disk.
	durableSealers = 8
)

// ErrNotDurable means that the disk failed to keep what was written to it, or to
// give up what it wrote of a write that failed. The session takes no more
// frames: after a failed fsync the kernel may have dropped what it could not
// write, so that a second one proves nothing.
var ErrNotDurable = errors.New("the spool's disk failed to make a recording durable")

// A syncer makes spool files survive a power failure. Those who wait at the
// same time share a round: one fsync of each file and one of the directory.
type syncer struct {
	sync    func(*os.File) error
	dir     *os.File // of the files
	queue   queue[*syncing]
	stopped chan struct{}
}

// A syncing waits for files, and perhaps for the directory after them.
type syncing struct {
	files   []*os.File
	entries bool
	done    chan error // has room
}

func newSyncer(dir string, sync func(*os.File) error) (*syncer, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	y := &syncer{sync: sync, dir: f, stopped: make(chan struct{})}
	y.queue.init()
	return y, nil
}

// run serves those who wait until ctx ends.
func (y *syncer) run(ctx context.Context) {
	defer y.dir.Close()
	defer close(y.stopped)
	for {
		first, ok := y.queue.pop(ctx)
		if !ok {
			return
		}
		y.round(append([]*syncing{first}, y.queue.take(syncBatch-1)...))
	}
}

func (y *syncer) round(batch []*syncing) {
	errs := make([]error, len(batch))
	var g errgroup.Group
	g.SetLimit(syncers)
	entries := false
	for i, w := range batch {
		entries = entries || w.entries
		g.Go(func() error {
			for _, f := range w.files {
				if err := y.sync(f); err != nil {
					errs[i] = err
					return nil
				}
			}
			return nil
		})
	}
	_ = g.Wait() // each keeps its own error
	var failed error
	if entries {
		failed = y.sync(y.dir)
	}
	for i, w := range batch {
		if errs[i] == nil && w.entries {
			errs[i] = failed
		}
		w.done <- errs[i]
	}
}

// wait returns when the files are durable, and with entries that they are in
// the directory.
func (y *syncer) wait(entries bool, files ...*os.File) error {
	w := &syncing{files, entries, make(chan error, 1)}
	y.queue.push(w)
	select {
	case err := <-w.done:
		return err
	case <-y.stopped:
		return ErrClosed
	}
}

// wrote notes that the file has frames that may not survive a power failure.
func (s *Session) wrote(f *spoolFile) {
	if s.r.syncer == nil || f.dirty {
		return
	}
	f.dirty = true
	f.refs++
	s.unsynced = append(s.unsynced, f)
}

// makeDurable returns when what was written before survives a power failure.
// The caller holds the lock, which is given up meanwhile.
func (s *Session) makeDurable() error {
	files, before := s.unsynced, s.syncing
	if len(files) == 0 && before == nil {
		return s.broken
	}
	s.unsynced = nil
	own := make(chan struct{})
	s.syncing = own
	entries := false
	sizes := make([]int64, len(files))
	raw := make([]*os.File, len(files))
	for i, f := range files {
		f.dirty = false
		entries = entries || !f.listed
		sizes[i], raw[i] = f.part.size, f.File
	}
	s.mu.Unlock()
	if before != nil {
		<-before // or a failure of that could be missed
	}
	var err error
	if len(files) > 0 {
		err = s.r.syncer.wait(entries, raw...)
	}
	s.mu.Lock()
	if err != nil && s.broken == nil {
		s.breakOff(err)
	}
	for i, f := range files {
		if s.broken == nil {
			f.part.durable, f.listed = sizes[i], true
		}
		if err := f.release(); err != nil {
			s.r.o.Logger.Error("close spool file", "session", s.info.ID, "err", err)
		}
	}
	if s.syncing == own {
		s.syncing = nil
	}
	close(own)
	return s.broken
}

// breakOff ends a session whose frames the disk may have lost. What was durable
// is recorded; of the rest nothing has taken effect.
func (s *Session) breakOff(err error) {
	s.broken = fmt.Errorf("%w: %w", ErrNotDurable, err)
	if s.closed {
		return // it is recorded as it is
	}
	s.release()
	s.reason = event.Notice{Code: "disk", Text: "the spool's disk failed; what was not committed took no effect"}
	if s.r.syncer != nil {
		lost := s.loseUnsynced()
		s.reason.Text = fmt.Sprintf("the spool's disk failed; %d bytes of frames were not durable, and nothing of them took effect", lost)
	}
	s.rotate(false)
}

// loseUnsynced gives up what is not durable and returns how much that is.
func (s *Session) loseUnsynced() (lost int64) {
	for _, p := range s.parts {
		if p.sealed == nil {
			lost += p.size - p.durable
			p.size = p.durable
		}
	}
	s.r.hold(-lost)
	return lost
}

// syncEntries makes the creation and removal of spool files durable, if they
// are to be.
func (r *Recorder) syncEntries() error {
	if r.syncer == nil {
		return nil
	}
	return r.syncer.wait(true)
}

// syncFolder makes the creation and removal of a folder's files durable.
func syncFolder(name string, sync func(*os.File) error) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(sync(f), f.Close())
}
