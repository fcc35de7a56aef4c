package recorder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"filippo.io/age"

	"gatehouse/core/event"
)

// Defaults of Options.
const (
	DefaultPieceSize  = 4 << 20
	DefaultSealAfter  = time.Second
	DefaultLogEvery   = time.Second
	DefaultSpoolLimit = 8 << 30
	DefaultFullWait   = 30 * time.Second
	DefaultRetention  = "standard"
)

// Options say how to record.
type Options struct {
	// Spool is the directory for what is not stored yet. It is created if
	// needed and belongs to one Recorder at a time.
	Spool string
	// Store takes the recordings and the log.
	Store Store
	// Key signs the log: a signer key as GenerateKey or Rotate returns it. Its
	// name is the log's origin. A log has one key at a time, and a key one
	// log.
	Key string
	// Signer signs in place of Key.
	Signer Signer
	// Recipients are the age recipients ("age1...", X25519) to which
	// recordings are encrypted before they leave the spool. With none they
	// are not.
	Recipients []string
	// Retention are the retention classes that sessions can name with
	// RetentionAttr. Nil is one class, DefaultRetention, without a lock. Where
	// a class asks for a lock, Store must be a LockStore. What the log is made
	// of is locked as long as the longest of them asks; of it, partial tiles
	// for a week at most, and checkpoints, which are replaced, not at all.
	Retention map[string]Retention
	// PieceSize is how many bytes of frames fill a piece.
	PieceSize int
	// SealAfter is how long after its first frame a piece is sealed.
	SealAfter time.Duration
	// LogEvery is how often a checkpoint is signed while there is news.
	LogEvery time.Duration
	// SpoolLimit is how many bytes the spool may hold. Sessions wait when it
	// is reached, or all but DiskMargin of the spool's disk is. What they
	// have buffered by then may exceed it, by at most a piece for each
	// session.
	SpoolLimit int64
	// FullWait is how long they wait before they fail with ErrSpoolFull.
	FullWait time.Duration
	// PowerSafe is whether what was committed survives a power failure as
	// well as the end of the process. Commit then waits for the disk.
	PowerSafe bool
	// Logger gets what goes wrong outside of any call. Nil discards it.
	Logger *slog.Logger

	disk disk // except in tests, files' own methods
}

// A disk is how the spool's files are written and made durable.
type disk struct {
	write func(*os.File, []byte) (int, error)
	sync  func(*os.File) error
	// mapAfter is how many commits to a file are written by a call before it
	// is mapped.
	mapAfter int
}

func (o *Options) setDefaults() {
	o.PieceSize = cmp.Or(o.PieceSize, DefaultPieceSize)
	o.SealAfter = cmp.Or(o.SealAfter, DefaultSealAfter)
	o.LogEvery = cmp.Or(o.LogEvery, DefaultLogEvery)
	o.SpoolLimit = cmp.Or(o.SpoolLimit, DefaultSpoolLimit)
	o.FullWait = cmp.Or(o.FullWait, DefaultFullWait)
	if o.Retention == nil {
		o.Retention = map[string]Retention{DefaultRetention: {}}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.PowerSafe || o.disk.write != nil {
		o.disk.mapAfter = math.MaxInt
	}
	o.disk.mapAfter = cmp.Or(o.disk.mapAfter, mapAfter)
	if o.disk.write == nil {
		o.disk.write = (*os.File).Write
	}
	if o.disk.sync == nil {
		o.disk.sync = (*os.File).Sync
	}
}

// Validate names every option that cannot be used, with its value.
func (o *Options) Validate() error {
	var errs []error
	bad := func(field string, value any) {
		errs = append(errs, fmt.Errorf("recorder: %s cannot be %v", field, value))
	}
	if o.Spool == "" {
		bad("Spool", `""`)
	}
	if o.Store == nil {
		bad("Store", nil)
	}
	if _, _, err := o.signer(); err != nil {
		errs = append(errs, err)
	}
	if _, err := parseRecipients(o.Recipients); err != nil {
		errs = append(errs, err)
	}
	if err := o.validateRetention(); err != nil {
		errs = append(errs, err)
	}
	if o.PieceSize < 0 || o.PieceSize > MaxPieceSize {
		bad("PieceSize", o.PieceSize)
	}
	if o.SealAfter < 0 {
		bad("SealAfter", o.SealAfter)
	}
	if o.LogEvery < 0 {
		bad("LogEvery", o.LogEvery)
	}
	if o.SpoolLimit < 0 {
		bad("SpoolLimit", o.SpoolLimit)
	}
	if o.FullWait < 0 {
		bad("FullWait", o.FullWait)
	}
	return errors.Join(errs...)
}

// Errors of a Recorder and its sessions.
var (
	ErrClosed    = errors.New("recording is closed")
	ErrSpoolFull = errors.New("the spool is full")
	ErrLocked    = errors.New("the spool is in use by another process")
	// ErrFork means that the log in the store is not the one that this
	// spool continues: another gate signs with the same key, or the store
	// or the spool was replaced or rolled back. Nothing more is entered
	// into the log; recording goes on while the spool lasts.
	ErrFork = errors.New("the stored log is not the one that this spool continues")
)

// A Recorder keeps the recordings of a gate. It is safe for concurrent use.
type Recorder struct {
	o    Options
	lock *os.File
	dir  string // of the sessions' files

	mu       sync.Mutex
	sessions map[string]*Session // those not entirely stored and logged
	closed   bool

	aging      queue[aged]
	seals      queue[*Session]
	puts       queue[*Session]
	log        *ledger
	recipients []age.Recipient
	// syncer is nil unless Options.PowerSafe.
	syncer *syncer

	used  atomic.Int64 // bytes in the spool
	limit atomic.Int64 // of used
	freed bell
	stats counters

	cancel context.CancelFunc
	work   sync.WaitGroup
}

// Open returns a Recorder, which Close ends. It takes up what an earlier
// process left in the spool: the sessions that this process did not close are
// closed with a notice, and what was not stored yet will be. It does not wait
// for the store.
func Open(o Options) (*Recorder, error) {
	o.setDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	r := &Recorder{o: o, dir: filepath.Join(o.Spool, "sessions"), sessions: make(map[string]*Session)}
	r.aging.init()
	r.seals.init()
	r.puts.init()
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	var err error
	if r.lock, err = lockFile(filepath.Join(o.Spool, "lock")); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	r.measure()
	if err := r.start(); err != nil {
		return nil, errors.Join(err, r.lock.Close())
	}
	return r, nil
}

func (r *Recorder) start() error {
	var err error
	if r.recipients, err = parseRecipients(r.o.Recipients); err != nil {
		return err
	}
	if r.log, err = openLedger(r); err != nil {
		return fmt.Errorf("open spool: %w", err)
	}
	if err := r.recover(); err != nil {
		return fmt.Errorf("recover spool: %w", err)
	}
	sealers := make([]*sealer, 1)
	if r.o.PowerSafe {
		sealers = make([]*sealer, durableSealers)
	}
	for i := range sealers {
		z, err := newEncoder()
		if err != nil {
			return fmt.Errorf("open recorder: %w", err)
		}
		sealers[i] = &sealer{z: z}
	}
	if r.o.PowerSafe {
		var err error
		if r.syncer, err = newSyncer(r.dir, r.o.disk.sync); err != nil {
			return fmt.Errorf("open spool: %w", err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	if r.syncer != nil {
		r.work.Go(func() { r.syncer.run(ctx) })
	}
	r.work.Go(func() { r.age(ctx) })
	for _, z := range sealers {
		r.work.Go(func() { r.sealAll(ctx, z) })
	}
	for range storers {
		r.work.Go(func() { r.putAll(ctx) })
	}
	r.work.Go(func() { r.log.run(ctx) })
	return nil
}

func lockFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(ErrLocked, f.Close())
	}
	return f, nil
}

// Begin starts the recording of a session, whose first frame must be its
// KindOpen. The caller closes it.
func (r *Recorder) Begin(session *event.Session) (*Session, error) {
	if !ValidID(session.ID) || session.Start.IsZero() {
		return nil, fmt.Errorf("begin recording: session %q has no valid id or start", session.ID)
	}
	if class := retentionClass(session); !r.o.has(class) {
		return nil, fmt.Errorf("begin recording: there is no retention class %q", class)
	}
	s := newSession(r, session)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, fmt.Errorf("begin recording: %w", ErrClosed)
	}
	if r.sessions[session.ID] != nil {
		return nil, fmt.Errorf("begin recording: session %s exists", session.ID)
	}
	r.sessions[session.ID] = s
	return s, nil
}

// Flush seals what was committed and returns when all of it is stored and in
// the log. Sessions may go on meanwhile; for one that has its KindClose it also
// waits for Close.
func (r *Recorder) Flush(ctx context.Context) error {
	for _, s := range r.all() {
		select {
		case <-s.settled():
		case <-r.log.forked:
			return fmt.Errorf("flush recordings: %w", ErrFork)
		case <-ctx.Done():
			return fmt.Errorf("flush recordings: %w", ctx.Err())
		}
	}
	return nil
}

// all returns the sessions that are not entirely stored and logged.
func (r *Recorder) all() []*Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*Session, 0, len(r.sessions))
	for _, s := range r.sessions {
		all = append(all, s)
	}
	return all
}

func (r *Recorder) forget(s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sessions, s.info.ID)
}

// Close closes the sessions that are still open, stores what it can before ctx
// ends, and leaves the rest in the spool for the next Open. Further calls do
// nothing.
func (r *Recorder) Close(ctx context.Context) error {
	r.mu.Lock()
	closed := r.closed
	r.closed = true
	r.mu.Unlock()
	if closed {
		return nil
	}
	var errs []error
	for _, s := range r.all() {
		errs = append(errs, s.Close())
	}
	errs = append(errs, r.Flush(ctx))
	r.cancel()
	r.work.Wait()
	return errors.Join(append(errs, r.lock.Close())...)
}
