package recorder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	// maxStep is how many entries one checkpoint adds at most.
	maxStep       = 2048
	maxCheckpoint = 64 << 10
)

// A ledger is the writer of the gate's log. It works in steps: what a step
// enters, stores and signs is first written to a file of the spool, so that a
// step that was cut short is resumed exactly.
type ledger struct {
	r         *Recorder
	signer    note.Signer
	rotations []rotation
	verifier  note.Verifiers // of the key and those before it
	file      string
	queue     queue[logged]
	forked    chan struct{} // closed at ErrFork

	// Used by run alone.
	step step // the last one
	put  int  // how many of its objects are stored for certain

	mu     sync.Mutex
	size   int64
	stored time.Time
}

// A logged is an entry with what it came from: a part, or with nil a manifest.
type logged struct {
	entry
	s *Session
	p *part
}

// A step leads from one checkpoint to the next.
type step struct {
	Before     string   // the stored checkpoint that this replaces; "" if none
	Checkpoint string   // signed
	Tree       tree     // what Checkpoint is of
	Objects    []object // to store before it
	Entered    []string // names of the objects that it adds
}

// openLedger reads the last step. It does not use the store.
func openLedger(r *Recorder) (*ledger, error) {
	l := &ledger{r: r, file: filepath.Join(r.o.Spool, "log"), forked: make(chan struct{})}
	l.queue.init()
	signer, rotations, err := r.o.signer()
	if err != nil {
		return nil, err
	}
	own, err := newNoteSigner(signer)
	if err != nil {
		return nil, err
	}
	l.signer, l.rotations = own, rotations
	verifiers := []note.Verifier{own.publicKey}
	for _, r := range rotations {
		verifiers = append(verifiers, r.old)
	}
	l.verifier = note.VerifierList(verifiers...)
	b, err := os.ReadFile(l.file)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &l.step); err != nil {
		return nil, fmt.Errorf("%s: %w", l.file, err)
	}
	size, root, err := l.verify(l.step.Checkpoint)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.file, err)
	}
	if size != l.step.Tree.Size || root != l.step.Tree.root() {
		return nil, fmt.Errorf("%s: its tree is not what was signed", l.file)
	}
	l.size = size
	return l, nil
}

func (l *ledger) verify(checkpoint string) (size int64, root tlog.Hash, err error) {
	n, err := note.Open([]byte(checkpoint), l.verifier)
	if err != nil {
		return 0, root, fmt.Errorf("checkpoint: %w", err)
	}
	origin, size, root, err := parseCheckpoint(n.Text)
	if err == nil && origin != l.signer.Name() {
		err = fmt.Errorf("checkpoint of another log: %q", origin)
	}
	return size, root, err
}

// entered reports whether the last step added the object of that name.
func (l *ledger) entered(name string) bool { return slices.Contains(l.step.Entered, name) }

// enter adds an object to the next step. What is entered of one session keeps
// its order.
func (l *ledger) enter(e logged) { l.queue.push(e) }

func (l *ledger) status() (size int64, stored time.Time, forked bool) {
	select {
	case <-l.forked:
		forked = true
	default:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size, l.stored, forked
}

// run takes steps until ctx ends or the log has forked.
func (l *ledger) run(ctx context.Context) {
	if !l.try(ctx, "open log", l.begin) || !l.try(ctx, "store checkpoint", l.publish) {
		return
	}
	if rotations := due(l.rotations, l.step.Checkpoint); len(rotations) > 0 {
		rotate := func(context.Context, *backoff) error { return l.extend(nil, rotations) }
		if !l.try(ctx, "rotate key", rotate) || !l.try(ctx, "store checkpoint", l.publish) {
			return
		}
		l.r.o.Logger.Info("recorder: the log has a new key", "rotations", len(rotations))
	}
	for {
		batch := l.queue.take(maxStep)
		if len(batch) == 0 {
			select {
			case <-l.queue.ready:
				continue
			case <-ctx.Done():
				return
			}
		}
		advance := func(context.Context, *backoff) error { return l.advance(batch) }
		if !l.try(ctx, "extend log", advance) || !l.try(ctx, "store checkpoint", l.publish) {
			return
		}
		for _, e := range batch {
			if err := e.s.settle(e.p); err != nil {
				l.r.failed(failedSeal, "clean spool", err, "session", e.s.info.ID)
			}
		}
		if !pause(ctx, l.r.o.LogEvery) {
			return
		}
	}
}

// try repeats f until it succeeds. It returns false when ctx ended or the log
// has forked. F resets the wait when it gets on.
func (l *ledger) try(ctx context.Context, what string, f func(context.Context, *backoff) error) bool {
	var wait backoff
	for {
		err := f(ctx, &wait)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		l.r.failed(failedLog, what, err)
		if errors.Is(err, ErrFork) {
			close(l.forked)
			return false
		}
		if !wait.wait(ctx) {
			return false
		}
	}
}

// begin finds the step to go on from if the spool has none: that of the stored
// checkpoint, or the first.
func (l *ledger) begin(ctx context.Context, _ *backoff) error {
	if l.step.Checkpoint != "" {
		return nil
	}
	var next step
	stored, err := l.fetch(ctx)
	if err != nil {
		return err
	}
	if stored == "" {
		next.Checkpoint, err = l.sign(&next.Tree)
	} else {
		next, err = l.adopt(ctx, stored)
	}
	if err != nil {
		return err
	}
	return l.keep(next)
}

// adopt returns a step that changes nothing about the stored checkpoint.
func (l *ledger) adopt(ctx context.Context, stored string) (step, error) {
	size, root, err := l.verify(stored)
	if err != nil {
		return step{}, fmt.Errorf("%w: %w", ErrFork, err)
	}
	t, err := readEdge(ctx, l.r.o.Store, size)
	if err != nil {
		return step{}, err
	}
	if t.root() != root {
		return step{}, fmt.Errorf("%w: its tiles are not what was signed", ErrFork)
	}
	return step{Before: stored, Checkpoint: stored, Tree: t}, nil
}

// readEdge reads the right edge of a stored log.
func readEdge(ctx context.Context, store Store, size int64) (tree, error) {
	t := tree{Size: size}
	for n, level := size, 0; n > 0; n, level = n/tileWidth, level+1 {
		width := int(n % tileWidth)
		t.Tiles = append(t.Tiles, nil)
		if width == 0 {
			continue
		}
		data, err := get(ctx, store, tilePath(fmt.Sprint(level), n/tileWidth, width), tileBytes)
		if err == nil && len(data) != width*tlog.HashSize {
			err = fmt.Errorf("%w: a tile has %d bytes", ErrFork, len(data))
		}
		if err == nil && level == 0 {
			t.Bundle, err = get(ctx, store, tilePath(entriesLevel, n/tileWidth, width), maxBundle)
		}
		if err != nil {
			return t, fmt.Errorf("read log: %w", err)
		}
		t.Tiles[level] = data
	}
	return t, nil
}

// advance makes the step that enters batch and keeps it in the spool.
func (l *ledger) advance(batch []logged) error {
	// What the last step entered must be gone from the spool for good: it
	// would be entered again.
	if err := l.r.syncEntries(); err != nil {
		return err
	}
	return l.extend(batch, nil)
}

// extend makes a step that enters batch, or rotations of the key.
func (l *ledger) extend(batch []logged, rotations []rotation) error {
	next := step{Before: l.step.Checkpoint, Tree: l.step.Tree}
	next.Tree.Tiles = slices.Clone(next.Tree.Tiles)
	for i := range batch {
		next.Objects = append(next.Objects, next.Tree.add(batch[i].append(nil))...)
		next.Entered = append(next.Entered, batch[i].Object)
	}
	for _, r := range rotations {
		e := entry{Rotation: r.text}
		next.Objects = append(next.Objects, next.Tree.add(e.append(nil))...)
	}
	next.Objects = append(next.Objects, next.Tree.edge()...)
	var err error
	if next.Checkpoint, err = l.sign(&next.Tree); err != nil {
		return err
	}
	return l.keep(next)
}

func (l *ledger) sign(t *tree) (string, error) {
	n := note.Note{Text: checkpointText(l.signer.Name(), t.Size, t.root())}
	signed, err := note.Sign(&n, l.signer)
	if err != nil {
		return "", fmt.Errorf("sign checkpoint: %w", err)
	}
	return string(signed), nil
}

func (l *ledger) keep(next step) error {
	b, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("write step: %w", err)
	}
	if err := l.r.writeFile(l.file, b, true); err != nil {
		return fmt.Errorf("write step: %w", err)
	}
	if err := syncFolder(l.r.o.Spool, l.r.o.disk.sync); err != nil {
		return fmt.Errorf("write step: %w", err)
	}
	l.step, l.put = next, 0
	return nil
}

// publish stores what the last step is made of.
func (l *ledger) publish(ctx context.Context, wait *backoff) error {
	store := l.r.o.Store
	stored, err := l.fetch(ctx)
	if err != nil {
		return err
	}
	if stored != l.step.Checkpoint {
		if stored != l.step.Before {
			return ErrFork
		}
		for _, o := range l.step.Objects[l.put:] {
			if err := putOnce(ctx, store, o.Name, o.Data, l.r.o.logLock(o.partial())); errors.Is(err, errOther) {
				return fmt.Errorf("%w: %w", ErrFork, err)
			} else if err != nil {
				return err
			}
			l.put++
			wait.reset()
		}
		ctx, cancel := context.WithTimeout(ctx, storeTimeout)
		defer cancel()
		var before []byte
		if stored != "" {
			before = []byte(stored)
		}
		// If it has changed meanwhile, by another gate or by an attempt whose
		// answer was lost, the next attempt sees which.
		if err := store.Replace(ctx, checkpointName, before, []byte(l.step.Checkpoint)); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.size, l.stored = l.step.Tree.Size, time.Now()
	l.r.stats.outage.worked()
	return nil
}

// fetch returns the checkpoint in the store, or "".
func (l *ledger) fetch(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	b, err := get(ctx, l.r.o.Store, checkpointName, maxCheckpoint)
	if errors.Is(err, fs.ErrNotExist) {
		return "", l.absent(ctx)
	}
	return string(b), err
}

// absent returns nil if there is no checkpoint by the store's list either. What
// stands before a store may say "not found" of anything while that is away, and
// a checkpoint that is gone is a fork.
func (l *ledger) absent(ctx context.Context) error {
	for name, err := range l.r.o.Store.List(ctx, logFolder) {
		if err != nil {
			return err
		}
		if name == checkpointName {
			return errors.New("the store lists the checkpoint and does not return it")
		}
	}
	return nil
}
