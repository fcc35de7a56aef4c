package recorder

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// A Fault says what is wrong with an object.
type Fault string

// The faults that Verify finds.
const (
	Altered    Fault = "altered"     // its content is not what was logged
	Missing    Fault = "missing"     // it was logged and is not there
	Reordered  Fault = "reordered"   // it has changed places with another
	Duplicated Fault = "duplicated"  // it is a copy of another, or logged twice
	Extra      Fault = "extra"       // it was never logged
	Broken     Fault = "broken"      // it was logged so, but makes no whole recording
	Unsigned   Fault = "unsigned"    // the key did not sign it
	Forked     Fault = "forked"      // the log is not one with the kept checkpoint, or with its own
	RolledBack Fault = "rolled back" // the log is older than the kept checkpoint
	Hidden     Fault = "hidden"      // it is there, behind a delete marker or a newer version
	Unlocked   Fault = "unlocked"    // the store does not keep it as its retention class asks
)

// A Problem is one thing that Verify found.
type Problem struct {
	Fault   Fault  `json:"fault"`
	Object  string `json:"object"`            // its name in the store, or a session's folder
	Session string `json:"session,omitempty"` // the ID, for an object of a session
	Detail  string `json:"detail"`
}

// String returns the problem as one line.
func (p Problem) String() string { return fmt.Sprintf("%s: %s: %s", p.Object, p.Fault, p.Detail) }

// A Report is what Verify found.
type Report struct {
	Origin     string `json:"origin"`
	Entries    int64  `json:"entries"`
	Checkpoint string `json:"checkpoint"` // signed; worth keeping outside
	Sessions   int    `json:"sessions"`   // in the log
	Pieces     int    `json:"pieces"`     // whose content was checked
	Bytes      int64  `json:"bytes"`      // of them, as stored
	// Encrypted is how many pieces Frames asked to read and no identity
	// opens. Their digests were checked as all others.
	Encrypted int `json:"encrypted,omitempty"`

	// Open are the sessions of which more is to come: they run, or their
	// gate has not been restarted.
	Open []string `json:"open,omitempty"`
	// Unlogged are objects that the log does not state yet. A running gate
	// has some for a moment; one that is stopped has none.
	Unlogged []string  `json:"unlogged,omitempty"`
	Problems []Problem `json:"problems,omitempty"`
}

// OK reports whether nothing was found.
func (r *Report) OK() bool { return len(r.Problems) == 0 }

// VerifyOptions narrow or widen what Verify does.
type VerifyOptions struct {
	// Session is the ID of the one session whose objects are checked, which
	// fails with ErrNotFound if nothing is known of it. The log is checked
	// whole. Empty means all.
	Session string
	// Kept is a checkpoint of this log that was kept elsewhere. What it
	// states must still be so.
	Kept []byte
	// Frames is whether every frame is read too. Digests show whether a
	// piece is as it was sealed; this shows whether it was sealed right.
	Frames bool
	// Identities open encrypted pieces for Frames. Nothing else needs them.
	Identities Identities
	// Retention are the retention classes. If one asks for a lock, the lock
	// of every object is compared with what its class asks, and the store
	// must be a LockStore.
	Retention map[string]Retention
	// Progress, if not nil, is called after each object that was checked,
	// by one goroutine at a time.
	Progress func(done, total int)
}

const (
	// verifiers is how many objects are read at a time.
	verifiers = 8
	// unloggedFor is how much newer than an object the log may be before
	// the object counts as extra.
	unloggedFor = 15 * time.Minute
)

// Verify checks what is in store: that the checkpoint is signed by the verifier
// key, that the log is what it states, that every logged object is there and
// unchanged, that each session's pieces follow on one another without a gap,
// and that there is nothing else. It needs no secret. What it finds is in the
// report; its error says why it could not go on.
func Verify(ctx context.Context, store Store, verifierKey string, o VerifyOptions) (*Report, error) {
	v, err := parsePublicKey(strings.TrimSpace(verifierKey))
	if err != nil {
		return nil, fmt.Errorf("verify: verifier key: %w", err)
	}
	vr := &verification{store: store, keys: []publicKey{v}, o: o, sessions: make(map[string]*loggedSession), objects: make(map[Digest]string), first: make(map[string]string)}
	if err := vr.run(ctx); err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	vr.sort()
	return &vr.report, nil
}

// A verification is one run of Verify.
type verification struct {
	store     Store
	keys      []publicKey // trusted: the one given, and those that rotations lead to
	rotations []rotation  // in the log
	o         VerifyOptions
	report    Report

	sessions map[string]*loggedSession // by key
	order    []string                  // the keys as they come up in the log
	objects  map[Digest]string         // names of what was logged
	newest   time.Time                 // frame in the log
	recent   []time.Time               // newest frame in each bundle of the log
	earlier  []Version                 // checkpoints before the current one
	first    map[string]string         // first versions of the log's objects that are hidden
	holes    bool                      // entries are lost for good
	blind    bool                      // of some of them even the hash
}

// A loggedSession is what the log says of a session.
type loggedSession struct {
	chain
	pieces   []Digest
	manifest *Digest
	locks    []Lock // that the pieces should have, if that is checked
}

func (v *verification) found(f Fault, object, detail string, args ...any) {
	p := Problem{Fault: f, Object: object, Detail: fmt.Sprintf(detail, args...)}
	if key, ok := strings.CutPrefix(object, "sessions/"); ok {
		if parts := strings.Split(key, "/"); len(parts) >= keyElements {
			p.Session = parts[keyElements-1]
		}
	}
	v.report.Problems = append(v.report.Problems, p)
}

func (v *verification) run(ctx context.Context) error {
	if _, locks := v.store.(LockStore); !locks && v.locked() {
		return errors.New("the retention classes ask for locks, and this store has none to compare")
	}
	ok, err := v.log(ctx)
	if err != nil || !ok {
		return err
	}
	v.report.Sessions = len(v.order)
	for _, key := range v.order {
		if v.wants(key) && v.sessions[key].manifest == nil {
			v.report.Open = append(v.report.Open, sessionOf(key))
		}
	}
	if err := v.checkObjects(ctx); err != nil {
		return err
	}
	if v.o.Session != "" && v.report.OK() && len(v.report.Unlogged) == 0 && !slices.ContainsFunc(v.order, v.wants) {
		return fmt.Errorf("session %s: %w in the log", v.o.Session, ErrNotFound)
	}
	return nil
}

func sessionOf(key string) string { return key[strings.LastIndexByte(key, '/')+1:] }

func (v *verification) wants(key string) bool {
	return v.o.Session == "" || v.o.Session == sessionOf(key)
}

// enter takes up one entry of the log.
func (v *verification) enter(index int64, leaf []byte) {
	var e entry
	if err := e.decode(leaf); err != nil {
		v.found(Broken, logFolder, "entry %d: %v", index, err)
		return
	}
	if e.Object == "" {
		return // a rotation, or a kind of entry from a later version
	}
	key, name, err := splitObject(e.Object)
	if err != nil {
		v.found(Broken, logFolder, "entry %d: %v", index, err)
		return
	}
	s := v.sessions[key]
	if s == nil {
		s = new(loggedSession)
		v.sessions[key] = s
		v.order = append(v.order, key)
	}
	v.objects[e.Digest] = e.Object
	if name == manifestName {
		v.enterManifest(s, &e)
	} else {
		v.enterPiece(s, &e)
	}
}

// splitObject splits the name of a session's object into key and file.
func splitObject(object string) (key, file string, err error) {
	rest, ok := strings.CutPrefix(object, "sessions/")
	i := strings.LastIndexByte(rest, '/')
	if !ok || i < 0 || strings.Count(rest[:i], "/") != keyElements-1 || !validKey(rest[:i]) {
		return "", "", fmt.Errorf("%q is no object of a session", object)
	}
	return rest[:i], rest[i+1:], nil
}

func (v *verification) enterManifest(s *loggedSession, e *entry) {
	switch {
	case s.manifest != nil:
		v.found(Duplicated, e.Object, "logged twice")
	case !s.finished && !v.holes:
		v.found(Broken, e.Object, "logged before the session's last piece")
	default:
		d := e.Digest
		s.manifest = &d
	}
}

func (v *verification) enterPiece(s *loggedSession, e *entry) {
	var h Header
	if err := h.Decode(e.Header); err != nil {
		v.found(Broken, e.Object, "its log entry: %v", err)
		return
	}
	if h.To.After(v.newest) {
		v.newest = h.To
	}
	v.noteRecent(h.To)
	switch {
	case h.Object() != e.Object:
		v.found(Broken, e.Object, "its log entry is that of %s", h.Object())
		return
	case h.Sequence < s.next:
		v.found(Duplicated, e.Object, "logged twice")
		return
	case h.Sequence > s.next && (!v.holes || h.Sequence > s.next+maxSkipped):
		v.found(Broken, e.Object, "logged before piece %d", s.next)
		return
	case h.Sequence > s.next:
		s.skip(&h)
	case s.finished:
		v.found(Broken, e.Object, "logged after the session's last piece")
	case h.Previous != s.previous || h.First != s.frames:
		v.found(Broken, e.Object, "does not follow the piece before")
	}
	s.chain.add(&sealed{header: h, digest: e.Digest})
	s.pieces = append(s.pieces, e.Digest)
	if v.locked() {
		s.locks = append(s.locks, retention(v.o.Retention, h.Retention).Until(h.To))
	}
}

// skip passes over pieces whose entries are lost, to h. Of the last of them h
// has the digest.
func (s *loggedSession) skip(h *Header) {
	for uint64(len(s.pieces)) < h.Sequence {
		s.pieces = append(s.pieces, Digest{})
	}
	s.pieces[h.Sequence-1] = h.Previous
	if s.locks != nil {
		s.locks = append(s.locks, make([]Lock, len(s.pieces)-len(s.locks))...) // nothing is known of them
	}
	s.frames = h.First
}

// maxSkipped bounds what a false sequence can cost.
const maxSkipped = 1 << 16

// sort puts the findings into the order of the objects' names.
func (v *verification) sort() {
	r := &v.report
	slices.SortStableFunc(r.Problems, func(a, b Problem) int { return strings.Compare(a.Object, b.Object) })
	slices.Sort(r.Open)
	slices.Sort(r.Unlogged)
}

var errUnsigned = errors.New("not signed by the verifier key")

// openCheckpoint checks a checkpoint's signatures by trusted keys and reads it.
func (v *verification) openCheckpoint(b []byte) (checkpoint, error) {
	var c checkpoint
	for _, key := range v.keys {
		n, err := note.Open(b, note.VerifierList(key))
		if err != nil || !canonical(n.Sigs) {
			continue
		}
		c.keys = append(c.keys, key)
		if c.origin, c.size, c.root, err = parseCheckpoint(n.Text); err != nil {
			return c, err
		}
		if c.origin != key.Name() {
			return c, fmt.Errorf("its origin is %q, the key's name is %q", c.origin, key.Name())
		}
	}
	if len(c.keys) == 0 {
		return c, errUnsigned
	}
	return c, nil
}

// canonical reports whether the signatures have no other form that verifies
// too, so that every changed bit shows.
func canonical(sigs []note.Signature) bool {
	for _, s := range sigs {
		if _, err := base64.StdEncoding.Strict().DecodeString(s.Base64); err != nil {
			return false
		}
	}
	return true
}
