package recorder

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"
)

// What is looked for behind the current versions is bounded, however many
// somebody put before it.
const (
	// oldestVersions is in how many of its oldest versions an object is
	// looked for that is written once: the first is the one that was.
	oldestVersions = 16
	// newestVersions is how many checkpoints before the current one are
	// compared with it.
	newestVersions = 16
)

// History is what a store keeps of an object.
type history struct {
	newest Version
	oldest []Version // without delete markers, the newest first
	count  int       // of versions and delete markers
}

// hider says what hides all but the newest version.
func (h *history) hider() string {
	if h.newest.Marker {
		return "a delete marker hides it"
	}
	return "a newer version hides it"
}

// history returns nothing of a store without versions.
func (v *verification) history(ctx context.Context, name string) (h history, err error) {
	store, ok := v.store.(LockStore)
	if !ok {
		return h, nil
	}
	for version, err := range store.Versions(ctx, name) {
		if err != nil {
			return h, err
		}
		if h.count++; h.count == 1 {
			h.newest = version
		}
		if version.Marker {
			continue
		}
		if len(h.oldest) == oldestVersions {
			h.oldest = append(h.oldest[:0], h.oldest[1:]...)
		}
		h.oldest = append(h.oldest, version)
	}
	return h, nil
}

// readFirst reads an object of the log that is written once: its first version,
// and it reports what hides that.
func (v *verification) readFirst(ctx context.Context, name string, limit int64) ([]byte, error) {
	h, err := v.history(ctx, name)
	if err != nil {
		return nil, err
	}
	if h.count < 2 || len(h.oldest) == 0 {
		return get(ctx, v.store, name, limit)
	}
	first := h.oldest[len(h.oldest)-1]
	v.first[name] = first.ID
	v.found(Hidden, name, "%s; its first version is still there, as version %s", h.hider(), first.ID)
	return v.getVersion(ctx, name, first.ID, limit)
}

func (v *verification) getVersion(ctx context.Context, name, id string, limit int64) ([]byte, error) {
	return get(ctx, versionStore{v.store.(LockStore), id}, name, limit)
}

// A versionStore reads one version of the object that it is asked for.
type versionStore struct {
	LockStore
	version string
}

func (s versionStore) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	return s.GetVersion(ctx, name, s.version)
}

// readCheckpoint reads the current checkpoint, or the one before it if that was
// hidden, which it reports.
func (v *verification) readCheckpoint(ctx context.Context) ([]byte, error) {
	store, ok := v.store.(LockStore)
	if !ok {
		return get(ctx, v.store, checkpointName, maxCheckpoint)
	}
	var versions []Version
	marker := false
	for version, err := range store.Versions(ctx, checkpointName) {
		if err != nil {
			return nil, err
		}
		if version.Marker {
			marker = marker || len(versions) == 0
			continue
		}
		if versions = append(versions, version); len(versions) > newestVersions {
			break
		}
	}
	if len(versions) == 0 {
		return get(ctx, v.store, checkpointName, maxCheckpoint)
	}
	current, err := v.getVersion(ctx, checkpointName, versions[0].ID, maxCheckpoint)
	if err != nil {
		return current, err
	}
	if marker {
		v.found(Hidden, checkpointName, "a delete marker hides it; it is still there, as version %s", versions[0].ID)
	}
	v.earlier = versions[1:]
	return current, nil
}

// compareCheckpoints reports a checkpoint that states less than one before it.
func (v *verification) compareCheckpoints(ctx context.Context, c checkpoint) error {
	for _, version := range v.earlier {
		b, err := v.getVersion(ctx, checkpointName, version.ID, maxCheckpoint)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errTooLarge) {
			continue
		}
		if err != nil {
			return err
		}
		if e, err := v.openCheckpoint(b); err == nil && e.size > c.size {
			v.found(RolledBack, checkpointName, "it states %d entries, and version %s, which is older, states %d", c.size, version.ID, e.size)
			return nil
		}
	}
	return nil
}

// lookBehind looks for what was logged as an object behind its current version
// where that is something else, or not locked as it should be.
func (v *verification) lookBehind(ctx context.Context, c *check) error {
	as := c.there && c.got == c.want
	if as {
		if err := v.lockOf(ctx, c, ""); err != nil || c.lacks == "" {
			return err
		}
	}
	if (c.want == Digest{}) {
		return nil
	}
	h, err := v.history(ctx, c.object)
	if err != nil || h.count < 2 {
		return err
	}
	for i := len(h.oldest) - 1; i >= 0; i-- {
		same, err := v.isVersion(ctx, c, h.oldest[i].ID)
		if err != nil {
			return err
		}
		if !same || as && h.oldest[i].ID == h.newest.ID {
			continue
		}
		c.hidden, c.behind = h.hider(), h.oldest[i].ID
		c.lacks = ""
		return v.lockOf(ctx, c, c.behind)
	}
	return nil
}

// isVersion reports whether a version is what was logged as an object.
func (v *verification) isVersion(ctx context.Context, c *check, id string) (bool, error) {
	r, err := v.store.(LockStore).GetVersion(ctx, c.object, id)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer r.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, r); err != nil {
		return false, fmt.Errorf("read %s, version %s: %w", c.object, id, err)
	}
	return Digest(sum.Sum(nil)) == c.want, nil
}

// lockOf compares the lock of a version, "" for the current one.
func (v *verification) lockOf(ctx context.Context, c *check, version string) error {
	if c.lock.Mode == "" {
		return nil
	}
	got, err := v.store.(LockStore).Lock(ctx, c.object, version)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // gone meanwhile
	}
	if err == nil {
		c.lacks = got.Lacks(c.lock)
	}
	return err
}

// reportHidden reports what is hidden or not locked as it should be. What was
// found behind something counts as there from then on.
func (v *verification) reportHidden(checks []*check) {
	for _, c := range checks {
		if c.lacks != "" {
			v.found(Unlocked, c.object, "%s: until then it was to be kept from removal", c.lacks)
		}
		if c.behind == "" {
			continue
		}
		v.found(Hidden, c.object, "%s; what was logged is still there, as version %s", c.hidden, c.behind)
		c.there, c.got, c.wrong = true, c.want, nil
	}
}

// locked reports whether locks are compared.
func (v *verification) locked() bool { return longest(v.o.Retention).Mode != "" }

// noteRecent notes a frame's time for the bundle that is being taken up.
func (v *verification) noteRecent(t time.Time) {
	if n := len(v.recent); n > 0 {
		v.recent[n-1] = latest(v.recent[n-1], t)
	}
}

// checkLogLocks compares the locks of the log's full tiles and bundles.
func (v *verification) checkLogLocks(ctx context.Context) error {
	if !v.locked() {
		return nil
	}
	want := longest(v.o.Retention)
	one := func(name string, about time.Time) error {
		c := check{object: name, lock: want.Until(about)}
		if about.IsZero() {
			return nil
		}
		if err := v.lockOf(ctx, &c, v.first[name]); err != nil {
			return err
		}
		if c.lacks != "" {
			v.found(Unlocked, name, "%s: until then it was to be kept from removal", c.lacks)
		}
		return nil
	}
	recent := v.recent
	for level := 0; len(recent) > 0; level++ {
		var above []time.Time
		for n, about := range recent {
			if full := int64(n+1) * width(level+1); full > v.report.Entries {
				break
			}
			if err := one(tilePath(fmt.Sprint(level), int64(n), tileWidth), about); err != nil {
				return err
			}
			if level == 0 {
				if err := one(tilePath(entriesLevel, int64(n), tileWidth), about); err != nil {
					return err
				}
			}
			if n%tileWidth == 0 {
				above = append(above, time.Time{})
			}
			above[n/tileWidth] = latest(above[n/tileWidth], about)
		}
		recent = above
	}
	return nil
}

// width is how many entries are below a full tile's level.
func width(level int) int64 {
	w := int64(1)
	for range level {
		w *= tileWidth
	}
	return w
}
