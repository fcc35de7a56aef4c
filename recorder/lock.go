package recorder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"gatehouse/core/event"
)

// A LockMode says who can remove a locked object before its time, in the words
// of S3 Object Lock.
type LockMode string

// The modes. The zero LockMode locks nothing.
const (
	// Governance: whoever has the permission to bypass it.
	Governance LockMode = "governance"
	// Compliance: nobody, not even the account's root user.
	Compliance LockMode = "compliance"
)

// covers reports whether m is at least as strict as other.
func (m LockMode) covers(other LockMode) bool {
	return m == other || m == Compliance || other == ""
}

// A Retention is what a retention class asks of the store.
type Retention struct {
	Mode LockMode
	For  time.Duration // after what an object is about
}

// Until returns the lock of an object about what happened at a time. S3 has
// whole seconds.
func (r Retention) Until(t time.Time) Lock {
	if r.Mode == "" {
		return Lock{}
	}
	return Lock{r.Mode, t.UTC().Add(r.For + time.Second - 1).Truncate(time.Second)}
}

// A Lock keeps one object from being removed or replaced. The zero Lock does
// not.
type Lock struct {
	Mode  LockMode
	Until time.Time
}

// Lacks says in what way l is less than want, "" if in none.
func (l Lock) Lacks(want Lock) string {
	const day = "2006-01-02 15:04:05 MST"
	switch {
	case want.Mode == "":
		return ""
	case l.Mode == "":
		return "it is not locked"
	case !l.Mode.covers(want.Mode):
		return fmt.Sprintf("its lock is of mode %s, not %s", l.Mode, want.Mode)
	case l.Until.Before(want.Until):
		return fmt.Sprintf("its lock ends %s, not %s", l.Until.UTC().Format(day), want.Until.UTC().Format(day))
	}
	return ""
}

// A LockStore is a Store that can lock objects and keeps the versions of each,
// so that what was locked can be hidden but not removed.
type LockStore interface {
	Store
	// PutLocked is Put of an object that is locked from the beginning.
	PutLocked(ctx context.Context, name string, data []byte, l Lock) error
	// Lock returns the lock of a version of an object. The version "" is the
	// current one.
	Lock(ctx context.Context, name, version string) (Lock, error)
	// Versions yields the versions of the object, the newest first. It
	// yields none where the store keeps none.
	Versions(ctx context.Context, name string) iter.Seq2[Version, error]
	// GetVersion is Get of a version.
	GetVersion(ctx context.Context, name, version string) (io.ReadCloser, error)
}

// A Version is one version of an object.
type Version struct {
	ID string
	// Marker is whether it is a delete marker, which hides those before it.
	Marker bool
}

// RetentionAttr is the attribute of a session that names its retention class.
// A session without it is of class DefaultRetention.
const RetentionAttr = "gatehouse.retention"

func retentionClass(s *event.Session) string {
	for _, a := range s.Attrs {
		if a.Key == RetentionAttr {
			return a.Value
		}
	}
	return DefaultRetention
}

// partialFor bounds how long a partial tile of the log is locked. A busy gate
// writes some every second, and the full tile that is locked for as long as
// the recordings states the same.
const partialFor = 7 * 24 * time.Hour

// longest returns what the log needs, which is about sessions of all classes.
func longest(classes map[string]Retention) (all Retention) {
	for _, r := range classes {
		if r.Mode == "" {
			continue
		}
		if !all.Mode.covers(r.Mode) {
			all.Mode = r.Mode
		}
		all.For = max(all.For, r.For)
	}
	return all
}

func (o *Options) has(class string) bool {
	_, ok := o.Retention[class]
	return ok
}

// retention returns what a class asks for. A class that is no longer
// configured, which a session from before a restart can have, is kept as the
// log is.
func retention(classes map[string]Retention, class string) Retention {
	if r, ok := classes[class]; ok {
		return r
	}
	return longest(classes)
}

// lock returns the lock of an object of a class, about what happened until t.
func (o *Options) lock(class string, t time.Time) Lock {
	return retention(o.Retention, class).Until(latest(t, time.Now()))
}

// logLock returns the lock of an object of the log.
func (o *Options) logLock(partial bool) Lock {
	r := longest(o.Retention)
	if partial {
		r.For = min(r.For, partialFor)
	}
	return r.Until(time.Now())
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// validateRetention returns what is wrong with the classes.
func (o *Options) validateRetention() error {
	var errs []error
	for name, r := range o.Retention {
		if name == "" || len(name) > 64 {
			errs = append(errs, fmt.Errorf("recorder: Retention cannot have a class %q", name))
		}
		if r.Mode != "" && r.Mode != Governance && r.Mode != Compliance || (r.Mode == "") != (r.For == 0) || r.For < 0 {
			errs = append(errs, fmt.Errorf("recorder: Retention %q cannot be %s for %v", name, r.Mode, r.For))
		}
	}
	if _, ok := o.Store.(LockStore); !ok && longest(o.Retention).Mode != "" {
		errs = append(errs, errors.New("recorder: Retention asks for locks, and Store cannot lock"))
	}
	return errors.Join(errs...)
}

// putLocked puts an object, locked if l locks.
func putLocked(ctx context.Context, s Store, name string, data []byte, l Lock) error {
	if l.Mode == "" {
		return s.Put(ctx, name, data)
	}
	return s.(LockStore).PutLocked(ctx, name, data, l) // Options.Validate checked that
}
