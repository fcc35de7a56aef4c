package recorder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"

	"gatehouse/core/event"
)

const (
	// storers is how many sessions are stored at a time.
	storers = 4
	// storeTimeout ends one operation of the store.
	storeTimeout = 2 * time.Minute
)

// An aged part is to be sealed when it is due.
type aged struct {
	s   *Session
	p   *part
	due time.Time
}

// age seals parts that have become old.
func (r *Recorder) age(ctx context.Context) {
	for {
		a, ok := r.aging.pop(ctx)
		if !ok || !pause(ctx, time.Until(a.due)) {
			return
		}
		a.s.rotateAged(a.p)
	}
}

// A sealer turns parts into pieces. It keeps its memory from one to the next.
type sealer struct {
	z             *zstd.Encoder
	frames, piece []byte
}

// keptBuffer is how much memory a sealer keeps at most: enough for pieces of the
// default size that do not compress.
const keptBuffer = 12 << 20

func (z *sealer) release() {
	if cap(z.frames)+cap(z.piece) > keptBuffer {
		z.frames, z.piece = nil, nil
	}
}

// sealAll seals the parts that take no more frames. A session is queued once,
// so that its pieces are in order.
func (r *Recorder) sealAll(ctx context.Context, z *sealer) {
	var wait backoff
	for {
		s, ok := r.seals.pop(ctx)
		if !ok {
			return
		}
		err := s.seal(z)
		if err == nil {
			wait.reset()
			continue
		}
		if ctx.Err() != nil {
			return
		}
		r.failed(failedSeal, "seal piece", err, "session", s.info.ID)
		if !wait.wait(ctx) {
			return
		}
		r.seals.push(s)
	}
}

// seal seals the session's parts, but not the one that still takes frames.
func (s *Session) seal(z *sealer) error {
	for {
		p := s.nextPart(func(p *part) bool { return p.sealed == nil }, &s.sealing)
		if p == nil {
			return nil
		}
		l, err := s.sealPart(z, p)
		if err != nil {
			return err
		}
		s.mu.Lock()
		raw := p.size
		p.sealed, s.sums, s.why = l, s.chain, l.close
		if !s.putting {
			s.putting = true
			s.r.puts.push(s)
		}
		s.mu.Unlock()
		s.r.hold(-raw)
		if err := remove(s.path(p.sequence, kindPart)); err != nil {
			return err
		}
	}
}

// nextPart returns the first part that takes no more frames and is wanted. If
// there is none it clears working.
func (s *Session) nextPart(wanted func(*part) bool, working *bool) *part {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, p := range s.parts {
		if i == len(s.parts)-1 && s.file != nil {
			break
		}
		if wanted(p) {
			return p
		}
	}
	*working = false
	return nil
}

// sealPart writes the piece's file and enters it into the chain.
func (s *Session) sealPart(z *sealer, p *part) (*sealed, error) {
	defer z.release()
	if err := s.mendChain(); err != nil {
		return nil, err
	}
	frames, torn, err := s.readFrames(z.frames, p)
	if err != nil {
		return nil, err
	}
	h := Header{
		Session: s.info.ID, Start: s.info.Start, Sequence: s.chain.next, Previous: s.chain.previous,
		First: s.chain.frames, Retention: retentionClass(&s.info), Last: p.last,
	}
	if s.chain.next == 0 && len(frames) == 0 { // nothing of the session was durable
		f := event.Frame{Kind: event.KindOpen, Time: s.info.Start, Payload: s.info.Append(nil)}
		frames = f.Append(frames)
	}
	open := s.open.clone()
	whole, last := h.scan(frames, &open)
	if torn += len(frames) - whole; torn > 0 {
		frames = appendNotice(frames[:whole], event.KindNotice, tornNotice(torn))
	}
	if p.last && last.Kind != event.KindClose {
		frames = appendNotice(open.conclude(frames), event.KindClose, s.reason)
	}
	if n, added := h.scan(frames[whole:], &open); n > 0 {
		last = added
	}
	h.Size = uint64(len(frames))
	l := &sealed{header: h, change: s.open.to(&open)}
	if p.last {
		l.close = closing(frames, last)
	}
	data, err := encodePiece(z.z, z.piece, &h, frames, s.r.recipients)
	if err != nil {
		return nil, err
	}
	l.header = h
	if p.last && len(s.r.recipients) > 0 {
		if l.private, err = s.conceal(l.close); err != nil {
			return nil, err
		}
	}
	z.frames, z.piece = frames, data
	l.digest, l.size = digest(data), uint64(len(data))
	name := s.path(p.sequence, kindPiece)
	if err := s.r.writeFile(name, data, s.r.o.PowerSafe); err != nil {
		return nil, err
	}
	// The chain must not know of a piece that a power failure took.
	if err := s.r.syncEntries(); err != nil {
		return nil, err
	}
	if err := s.extendChain(l); err != nil {
		return nil, err
	}
	s.open = open
	s.r.hold(int64(len(data)))
	s.r.stats.sealed.Add(1)
	s.r.stats.frames.Add(int64(h.Frames))
	return l, nil
}

// closing returns the notice of a KindClose.
func closing(frames []byte, last event.Frame) *event.Notice {
	n := new(event.Notice)
	if last.Kind != event.KindClose || n.Decode(last.Payload) != nil {
		return &event.Notice{}
	}
	return n
}

// readFrames reads the frames of a part, into b if they fit, and how many bytes a
// failure left of others.
func (s *Session) readFrames(b []byte, p *part) (frames []byte, torn int, err error) {
	s.mu.Lock()
	size, extra := p.size, p.extra
	s.mu.Unlock()
	if size == 0 {
		return append(b[:0], extra...), 0, nil
	}
	f, err := os.Open(s.path(p.sequence, kindPart))
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	frames, torn, err = readCommitted(f, size, b)
	return append(frames, extra...), torn, err
}

// writeFile creates or replaces a spool file in one step. If it is to be durable
// its content survives a power failure, and its name once the folder is synced
// too.
func (r *Recorder) writeFile(name string, data []byte, durable bool) error {
	tmp := name + partial
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = r.o.disk.write(f, data)
	if err == nil && durable {
		err = r.o.disk.sync(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, remove(tmp))
	}
	return os.Rename(tmp, name)
}

func remove(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// putAll stores sealed pieces.
func (r *Recorder) putAll(ctx context.Context) {
	var wait backoff
	for {
		s, ok := r.puts.pop(ctx)
		if !ok {
			return
		}
		err := s.put(ctx, &wait)
		if err == nil {
			wait.reset()
			continue
		}
		if ctx.Err() != nil {
			return
		}
		r.failed(failedStore, "store piece", err, "session", s.info.ID)
		if !wait.wait(ctx) {
			return
		}
		r.puts.push(s)
	}
}

// put stores the session's sealed pieces, in order. It resets wait when it gets
// on.
func (s *Session) put(ctx context.Context, wait *backoff) error {
	for {
		if s.manifestDue {
			manifest, err := s.putManifest(ctx)
			if err != nil {
				return err
			}
			s.manifestDue = false
			s.r.log.enter(logged{entry{Object: manifestObject(&s.info), Digest: digest(manifest)}, s, nil})
		}
		p := s.nextPart(func(p *part) bool { return p.sequence >= s.stored && p.sealed != nil }, &s.putting)
		if p == nil {
			return nil
		}
		l := p.sealed
		if err := s.putPiece(ctx, l, s.path(p.sequence, kindPiece)); err != nil {
			return err
		}
		wait.reset()
		s.r.stats.stored.Add(1)
		s.r.stats.outage.worked()
		s.stored, s.manifestDue = p.sequence+1, l.header.Last
		s.r.log.enter(logged{entry{Object: l.header.Object(), Digest: l.digest, Header: l.header.Append(nil)}, s, p})
	}
}

// putPiece stores the piece that the file holds, without a copy where the store
// can.
func (s *Session) putPiece(ctx context.Context, l *sealed, file string) error {
	name, lock := l.header.Object(), s.r.o.lock(l.header.Retention, l.header.To)
	if links, ok := s.r.o.Store.(linkStore); ok && lock.Mode == "" && links.putFile(ctx, name, file) == nil {
		return nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return putOnce(ctx, s.r.o.Store, name, data, lock)
}

// A linkStore can make an object of a file that nobody writes to any more.
type linkStore interface {
	// putFile is a Put of what the file holds. It fails where Put would not:
	// if the file is on another file system, say.
	putFile(ctx context.Context, name, file string) error
}

// putOnce stores an object that may be there already from an attempt whose
// answer was lost. One of that name with other content is an error.
func putOnce(ctx context.Context, store Store, name string, data []byte, l Lock) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	err := putLocked(ctx, store, name, data, l)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	there, err := get(ctx, store, name, int64(len(data)))
	if err != nil {
		return err
	}
	if !bytes.Equal(there, data) {
		return fmt.Errorf("%s: %w", name, errOther)
	}
	return nil
}

var errOther = errors.New("the store holds another object of that name")

// settle notes that a piece, or with nil the manifest, is in the log, and
// removes it from the spool.
func (s *Session) settle(p *part) error {
	if p == nil {
		if err := remove(s.path(0, kindChain)); err != nil {
			return err
		}
		s.r.forget(s)
		close(s.done)
		return nil
	}
	s.mu.Lock()
	s.parts = slices.DeleteFunc(s.parts, func(x *part) bool { return x == p })
	s.mu.Unlock()
	close(p.done)
	err := remove(s.path(p.sequence, kindPiece))
	s.r.hold(-int64(p.sealed.size))
	return err
}
