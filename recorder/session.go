package recorder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"gatehouse/core/event"
)

// How frames are buffered on their way to the spool.
const (
	// flushSize is how much a session buffers before it writes by itself.
	flushSize = 256 << 10
	// largePayload is from where a payload is written without a copy.
	largePayload = 64 << 10
	// dataFrame is the payload of the frames into which larger data is cut.
	dataFrame = 1 << 20
)

// buffers are shared, so that an idle session has none.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 8<<10); return &b }}

// A Session records one session. It is safe for concurrent use.
type Session struct {
	r    *Recorder
	info event.Session

	mu      sync.Mutex
	buf     *[]byte    // the next commit; nil when it has no frames
	file    *spoolFile // of the last part; nil if that takes no more
	parts   []*part    // those not stored and logged yet, in order
	next    uint64     // sequence of the next part
	opened  bool       // has its KindOpen
	ended   bool       // has its KindClose
	closed  bool       // takes no more frames
	sealing bool       // queued for, or being, sealed
	putting bool       // queued for, or being, stored
	done    chan struct{}
	sums    chain         // a copy of chain, for readers
	why     *event.Notice // why it ended, once that is sealed

	unsynced []*spoolFile  // with frames that may not survive a power failure
	syncing  chan struct{} // closed when the last round of fsyncs ends; nil if it has
	broken   error         // a file could not be made durable

	chain  chain        // of the sealed pieces; used by the sealer alone
	open   exchanges    // at the end of them; likewise
	reason event.Notice // closes a recording that has no KindClose

	// Used by who stores the session's pieces alone.
	stored      uint64 // how many pieces are
	manifestDue bool   // all pieces are
}

// A part becomes a piece. Its commits are first in a file that grows, then in
// one that is sealed.
type part struct {
	sequence uint64
	size     int64  // of the commits in the file
	filled   int64  // size of the frames in those
	durable  int64  // size that survives a power failure, if that is asked for
	extra    []byte // frames that are to follow those in the file
	last     bool
	since    time.Time // it has waited
	sealed   *sealed   // nil before
	done     chan struct{}
}

func newSession(r *Recorder, info *event.Session) *Session {
	return &Session{r: r, info: *info, done: make(chan struct{}), reason: noClose}
}

// path returns the name of a spool file: kind is "part", "piece" or "chain".
func (s *Session) path(sequence uint64, kind string) string {
	if kind == kindChain {
		return filepath.Join(s.r.dir, s.info.ID+"."+kindChain)
	}
	return filepath.Join(s.r.dir, fmt.Sprintf("%s.%06d.%s", s.info.ID, sequence, kind))
}

// Append adds a frame whose payload is f.Payload followed by more, and copies
// both. The first frame must be KindOpen, and KindClose is the last. Data of
// any length is taken, as several frames if need be; other payloads of more
// than MaxFrame are refused. Append may block like Commit when much is
// buffered.
func (s *Session) Append(f event.Frame, more ...[]byte) error {
	n := len(f.Payload)
	for _, m := range more {
		n += len(m)
	}
	if isData(f.Kind) && n > dataFrame {
		return s.appendCut(f, more)
	}
	if n > MaxFrame {
		return fmt.Errorf("append frame: payload of %d bytes", n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return fmt.Errorf("append frame: %w", s.broken)
	}
	if n >= largePayload || s.buf != nil && len(*s.buf) >= flushSize {
		if err := s.write(context.Background()); err != nil {
			return fmt.Errorf("append frame: %w", err)
		}
	}
	if s.closed || s.ended || s.opened == (f.Kind == event.KindOpen) {
		return s.refuse(f.Kind)
	}
	if err := s.add(&f, n, more); err != nil {
		return fmt.Errorf("append frame: %w", err)
	}
	s.opened = true
	s.ended = f.Kind == event.KindClose
	return nil
}

func (s *Session) refuse(k event.Kind) error {
	if s.closed || s.ended {
		return fmt.Errorf("append frame: %w", ErrClosed)
	}
	return fmt.Errorf("append frame: kind %d out of order", k)
}

// appendCut appends data as frames of a bounded size.
func (s *Session) appendCut(f event.Frame, more [][]byte) error {
	parts := append([][]byte{f.Payload}, more...)
	for _, p := range parts {
		for len(p) > 0 {
			n := min(len(p), dataFrame)
			f.Payload = p[:n]
			if err := s.Append(f); err != nil {
				return err
			}
			p = p[n:]
		}
	}
	return nil
}

// add adds a frame with a payload of n bytes to what Commit will write, or if
// that is large to the spool.
func (s *Session) add(f *event.Frame, n int, more [][]byte) error {
	if n >= largePayload {
		return s.writeLarge(f, n, more)
	}
	if s.buf == nil {
		s.buf = buffers.Get().(*[]byte)
		*s.buf = append(*s.buf, make([]byte, commitHead)...)
	}
	*s.buf = f.Append(*s.buf, more...)
	return nil
}

// Commit returns when what was appended before is in the spool and so survives
// the end of the process, and with Options.PowerSafe that of the machine. It
// waits while the spool is full, until ctx ends or for Options.FullWait. After
// an error nothing is lost and it may be called again, unless that is
// ErrNotDurable: then the session is over, and what was not committed is not
// in its recording.
func (s *Session) Commit(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buf != nil {
		if err := s.write(ctx); err != nil {
			return fmt.Errorf("commit frames: %w", err)
		}
	}
	err := s.broken
	if s.r.syncer != nil {
		err = s.makeDurable()
	}
	if err != nil {
		return fmt.Errorf("commit frames: %w", err)
	}
	return nil
}

// write writes the buffer, if any, to the spool, once that has room for more.
// It gives up the lock while it waits for that.
func (s *Session) write(ctx context.Context) error {
	if s.r.full() {
		s.mu.Unlock()
		err := s.r.admit(ctx)
		s.mu.Lock()
		if err != nil {
			return err
		}
		if s.closed {
			return ErrClosed
		}
	}
	if s.broken != nil {
		return s.broken
	}
	return s.writeNow()
}

func (s *Session) writeNow() error {
	if s.buf == nil {
		return nil
	}
	if err := s.extend(*s.buf); err != nil {
		return err
	}
	s.release()
	s.rotateIfFull()
	return nil
}

func (s *Session) release() {
	if s.buf == nil {
		return
	}
	if cap(*s.buf) <= 2*flushSize {
		*s.buf = (*s.buf)[:0]
		buffers.Put(s.buf)
	}
	s.buf = nil
}

// writeLarge writes a frame with a payload of n bytes as it is. The buffer is
// empty.
func (s *Session) writeLarge(f *event.Frame, n int, more [][]byte) error {
	head := frameHead(f, n)
	if err := s.extend(append([][]byte{append(make([]byte, commitHead), head...), f.Payload}, more...)...); err != nil {
		return err
	}
	s.rotateIfFull()
	return nil
}

// frameHead is the encoding of f for a payload of n bytes, without the payload.
func frameHead(f *event.Frame, n int) []byte {
	g := *f
	g.Payload = nil
	head := g.Append(nil)
	length := uint32(len(head) - 4 + n)
	head[0], head[1], head[2], head[3] = byte(length), byte(length>>8), byte(length>>16), byte(length>>24)
	return head
}

// extend adds a commit to the file of the current part, all of it or nothing. Its
// first bytes are for the commit's head.
func (s *Session) extend(commit ...[]byte) error {
	err := s.extendFile(commit)
	if err != nil {
		s.r.failed(failedSpool, "write spool", err, "session", s.info.ID)
		s.r.measure() // perhaps another filled the disk
	}
	return err
}

func (s *Session) extendFile(commit [][]byte) error {
	if s.file == nil {
		if err := s.newPart(); err != nil {
			return err
		}
	}
	p := s.parts[len(s.parts)-1]
	n := stamp(commit)
	if err := s.file.commit(commit, n); err != nil {
		s.file.unmap() // what undoing cuts off
		return errors.Join(err, s.undoWrite(p))
	}
	s.r.hold(n)
	s.r.stats.bytes.Add(n)
	s.r.stats.commits.Add(1)
	p.size += n
	p.filled += n - commitHead
	s.wrote(s.file)
	return nil
}

// undoWrite takes back a failed write. A part that has nothing else is given up:
// as a piece it would have no frames.
func (s *Session) undoWrite(p *part) error {
	if p.size > 0 || os.Remove(s.path(p.sequence, kindPart)) != nil {
		return s.undo(p)
	}
	err := s.file.release()
	s.file = nil
	s.parts = s.parts[:len(s.parts)-1]
	s.next--
	close(p.done)
	return err
}

// undo cuts off what a failed write left. Where even that fails the session is
// over: after a restart what is left could be taken for a commit, whose frames would
// be there twice if they were committed to the next part.
func (s *Session) undo(p *part) error {
	if err := os.Truncate(s.path(p.sequence, kindPart), p.size); err != nil {
		s.breakOff(err)
		return s.broken
	}
	if _, err := s.file.Seek(p.size, 0); err != nil {
		s.rotate(false)
		return err
	}
	return nil
}

func (s *Session) newPart() error {
	p := &part{sequence: s.next, since: time.Now(), done: make(chan struct{})}
	f, err := os.OpenFile(s.path(p.sequence, kindPart), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	s.file = &spoolFile{File: f, part: p, refs: 1, disk: &s.r.o.disk, limit: int64(s.r.o.PieceSize)}
	s.next++
	s.parts = append(s.parts, p)
	s.r.measure()
	s.r.aging.push(aged{s, p, time.Now().Add(s.r.o.SealAfter)})
	return nil
}

// rotateIfFull leaves a session that has ended to Close, so that its KindClose
// is in its last piece.
func (s *Session) rotateIfFull() {
	if !s.ended && s.parts[len(s.parts)-1].filled >= int64(s.r.o.PieceSize) {
		s.rotate(false)
	}
}

// rotate hands the current part, if there is one, to the sealer.
func (s *Session) rotate(last bool) {
	if s.file == nil {
		return
	}
	if err := s.file.release(); err != nil {
		s.r.o.Logger.Error("close spool file", "session", s.info.ID, "err", err)
	}
	s.file = nil
	s.parts[len(s.parts)-1].last = last
	s.queueSeal()
}

func (s *Session) queueSeal() {
	if !s.sealing {
		s.sealing = true
		s.r.seals.push(s)
	}
}

// rotateAged seals p if it still takes frames.
func (s *Session) rotateAged(p *part) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != nil && s.parts[len(s.parts)-1] == p && !s.ended {
		s.rotate(false)
	}
}

// settled seals what is in the spool and returns a channel that is closed when
// that is stored and logged.
func (s *Session) settled() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.done
	}
	if !s.ended {
		s.rotate(false)
	}
	if len(s.parts) == 0 {
		none := make(chan struct{})
		close(none)
		return none
	}
	return s.parts[len(s.parts)-1].done
}

// Close ends the recording and hands what is left of it to be stored. What
// could not be written to the spool is kept in memory until it is stored. If
// there was no KindClose, one is added that says so. Further calls do nothing.
func (s *Session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if !s.opened {
		s.r.forget(s)
		close(s.done)
		return nil
	}
	err := s.broken
	if err == nil {
		err = s.writeNow()
	}
	if s.file == nil {
		s.parts = append(s.parts, &part{sequence: s.next, since: time.Now(), done: make(chan struct{})})
		s.next++
	}
	p := s.parts[len(s.parts)-1]
	if s.buf != nil {
		p.extra = append(p.extra, (*s.buf)[commitHead:]...)
		s.release()
	}
	p.last = true
	if s.file != nil {
		s.rotate(true)
	}
	for _, f := range s.unsynced {
		if err := f.release(); err != nil {
			s.r.o.Logger.Error("close spool file", "session", s.info.ID, "err", err)
		}
	}
	s.unsynced = nil
	s.queueSeal()
	if err != nil {
		return fmt.Errorf("close recording: %w", err)
	}
	return nil
}
