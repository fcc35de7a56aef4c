package recorder

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"gatehouse/core/event"
)

// A check is one logged object to read.
type check struct {
	object string
	want   Digest
	got    Digest
	size   int64
	there  bool
	wrong  error  // of its content
	closed bool   // its content is encrypted and no identity opens it
	lock   Lock   // that it should have
	lacks  string // in what way it has not
	hidden string // what hides it
	behind string // the version that was logged, if hidden
}

// checkObjects compares the stored objects with the log.
func (v *verification) checkObjects(ctx context.Context) error {
	var checks []*check
	for _, key := range v.order {
		if v.wants(key) {
			checks = append(checks, v.sessions[key].checks(key)...)
		}
	}
	if err := v.readObjects(ctx, checks); err != nil {
		return err
	}
	v.reportHidden(checks)
	there := make(map[string]bool, len(checks))
	changed := make(map[string]bool)
	for _, c := range checks {
		there[c.object] = true
		switch {
		case !c.there || c.got == c.want:
		case c.want == Digest{} && v.blind:
			v.report.Unlogged = append(v.report.Unlogged, c.object)
		default:
			changed[c.object] = true
		}
		if c.there && strings.HasSuffix(c.object, ".piece") {
			v.report.Pieces++
			v.report.Bytes += c.size
			if c.closed {
				v.report.Encrypted++
			}
		}
	}
	v.reportMissing(checks)
	for _, c := range checks {
		switch {
		case changed[c.object]:
			v.reportChanged(c, changed)
		case c.wrong != nil:
			v.found(Broken, c.object, "%v", c.wrong)
		}
	}
	return v.checkExtra(ctx, there)
}

// checks lists a session's objects.
func (s *loggedSession) checks(key string) []*check {
	var cs []*check
	for q, d := range s.pieces {
		c := &check{object: fmt.Sprintf("sessions/%s/%06d.piece", key, q), want: d}
		if q < len(s.locks) {
			c.lock = s.locks[q]
		}
		cs = append(cs, c)
	}
	if s.manifest != nil {
		c := &check{object: "sessions/" + key + "/" + manifestName, want: *s.manifest}
		if n := len(s.locks); n > 0 {
			c.lock = s.locks[n-1]
		}
		cs = append(cs, c)
	}
	return cs
}

func (v *verification) readObjects(ctx context.Context, checks []*check) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(verifiers)
	var mu sync.Mutex
	done := 0
	for _, c := range checks {
		g.Go(func() error {
			if err := v.read(ctx, c, v.o.Frames); err != nil {
				return err
			}
			if err := v.lookBehind(ctx, c); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			done++
			if v.o.Progress != nil {
				v.o.Progress(done, len(checks))
			}
			return nil
		})
	}
	return g.Wait()
}

// read reads one object, and all that is in it if content is set. Its error is
// one of the store.
func (v *verification) read(ctx context.Context, c *check, content bool) error {
	r, err := v.store.Get(ctx, c.object)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer r.Close()
	c.there = true
	sum := sha256.New()
	body := &counter{r: io.TeeReader(storeReader{r}, sum)}
	if content {
		c.wrong = v.readContent(c.object, body)
		if errors.Is(c.wrong, ErrNoIdentity) {
			c.wrong, c.closed = nil, true
		}
	}
	if _, err := io.Copy(io.Discard, body); err != nil {
		return fmt.Errorf("read %s: %w", c.object, err)
	}
	sum.Sum(c.got[:0])
	c.size = body.n
	return nil
}

// A counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// readContent reads every frame of a piece, or a manifest, and says what is
// wrong with it.
func (v *verification) readContent(object string, r io.Reader) error {
	key, name, err := splitObject(object)
	if err != nil {
		return err
	}
	if name == manifestName {
		return v.readManifest(key, r)
	}
	h, err := readHeader(r)
	if err != nil {
		return err
	}
	if h.Object() != object {
		return fmt.Errorf("it is %s", h.Object())
	}
	index, closed := h.First, false
	for f, err := range bodyFrames(&h, r, v.o.Identities) {
		if err != nil {
			return err
		}
		if (f.Kind == event.KindOpen) != (index == 0) || closed {
			return fmt.Errorf("frame %d of kind %d is out of place", index, f.Kind)
		}
		closed = f.Kind == event.KindClose
		index++
	}
	if closed != h.Last {
		return errors.New("its last frame is not what the header says")
	}
	return nil
}

func (v *verification) readManifest(key string, r io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(r, maxManifest))
	if err != nil {
		return err
	}
	m, err := parseManifest(b)
	if err != nil {
		return err
	}
	s := v.sessions[key]
	if m.Key() != key || m.Frames != s.frames || m.Counts != s.counts && !v.holes || len(m.Pieces) != len(s.pieces) {
		return errors.New("it does not agree with the log")
	}
	for i, p := range m.Pieces {
		if p.SHA256 != s.pieces[i].String() && s.pieces[i] != (Digest{}) {
			return fmt.Errorf("it does not agree with the log about piece %d", i)
		}
	}
	return nil
}

// reportMissing reports the objects that are not there; those of a session of
// which nothing is there as one.
func (v *verification) reportMissing(checks []*check) {
	present := make(map[string]bool)
	count := make(map[string]int)
	for _, c := range checks {
		folder := path.Dir(c.object)
		present[folder] = present[folder] || c.there
		count[folder]++
	}
	for _, c := range checks {
		folder := path.Dir(c.object)
		switch {
		case c.there || count[folder] == 0:
		case present[folder]:
			v.found(Missing, c.object, "it was logged")
		default:
			v.found(Missing, folder+"/", "the whole session, %d objects", count[folder])
			count[folder] = 0
		}
	}
}

// reportChanged says what an object holds in place of what was logged.
func (v *verification) reportChanged(c *check, changed map[string]bool) {
	object := c.object
	other, known := v.objects[c.got]
	switch {
	case c.want == Digest{}:
		v.found(Altered, object, "neither it nor its log entry is what was logged")
	case !known:
		v.found(Altered, object, "its SHA-256 is %s, which is not what was logged", c.got)
	case changed[other]:
		v.found(Reordered, object, "it holds what was logged as %s", other)
	default:
		v.found(Duplicated, object, "it holds a copy of %s", other)
	}
}

// checkExtra looks for objects that the log does not state.
func (v *verification) checkExtra(ctx context.Context, logged map[string]bool) error {
	for key, err := range storedKeys(ctx, v.store, "sessions/", keyElements, Query{}) {
		if err != nil {
			return err
		}
		if !v.wants(key) {
			continue
		}
		for name, err := range v.store.List(ctx, "sessions/"+key+"/") {
			if err != nil {
				return err
			}
			if logged[name] {
				continue
			}
			if err := v.unlogged(ctx, key, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// unlogged tells what is not logged yet from what never will be.
func (v *verification) unlogged(ctx context.Context, key, name string) error {
	c := check{object: name}
	if strings.HasSuffix(name, "/") {
		v.found(Extra, name, "recordings have no such folder")
		return nil
	}
	if err := v.read(ctx, &c, false); err != nil {
		return err
	}
	s := v.sessions[key]
	_, ours := pieceSequence(path.Base(name))
	ours = ours || path.Base(name) == manifestName
	switch other, known := v.objects[c.got]; {
	case !c.there: // gone meanwhile
	case known:
		v.found(Duplicated, name, "it is a copy of %s", other)
	case !ours:
		v.found(Extra, name, "recordings have no such object")
	case s != nil && s.manifest != nil && !v.holes:
		v.found(Extra, name, "the session ended without it")
	default:
		newest, err := v.newestFrame(ctx, name)
		if err != nil {
			return err
		}
		if v.holes && !v.blind && !newest.After(v.newest) {
			v.found(Altered, name, "neither it nor its log entry is what was logged")
			break
		}
		if v.newest.Sub(newest) > unloggedFor && !v.blind {
			v.found(Extra, name, "the log has gone on for %v without it", v.newest.Sub(newest).Round(time.Second))
			break
		}
		v.report.Unlogged = append(v.report.Unlogged, name)
	}
	return nil
}

// newestFrame returns the time of the newest frame that an unlogged object is
// about, zero if it is malformed.
func (v *verification) newestFrame(ctx context.Context, name string) (time.Time, error) {
	r, err := v.store.Get(ctx, name)
	if err != nil {
		return time.Time{}, err
	}
	defer r.Close()
	if path.Base(name) == manifestName {
		b, err := io.ReadAll(io.LimitReader(r, maxManifest))
		if err != nil {
			return time.Time{}, fmt.Errorf("read %s: %w", name, err)
		}
		m, err := parseManifest(b)
		if err != nil {
			return time.Time{}, nil
		}
		return m.End, nil
	}
	h, err := readHeader(storeReader{r})
	var failed *readError
	if errors.As(err, &failed) {
		return time.Time{}, fmt.Errorf("read %s: %w", name, err)
	}
	if err != nil || h.Object() != name {
		return time.Time{}, nil
	}
	return h.To, nil
}
