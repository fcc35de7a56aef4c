package postgres

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
)

// A lease counts the sessions of a Resource, so that what the gate keeps open
// for them is closed with the last one after another took its place.
type lease struct {
	catalogs catalogs
	heir     atomic.Pointer[Resource] // took its place

	mu       sync.Mutex
	sessions int
	replaced bool
}

// enter counts a session in.
func (l *lease) enter() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sessions++
}

// leave counts a session out.
func (l *lease) leave() {
	l.mu.Lock()
	l.sessions--
	last := l.replaced && l.sessions == 0
	l.mu.Unlock()
	if last {
		l.catalogs.close()
	}
}

// replace says that no further session will enter but those that found the
// resource before.
func (l *lease) replace() {
	l.mu.Lock()
	l.replaced = true
	last := l.sessions == 0
	l.mu.Unlock()
	if last {
		l.catalogs.close()
	}
}

// newest returns the resource with the credential in force for a server of r's.
func (r *Resource) newest(a Address) *Resource {
	for {
		heir := r.heir.Load()
		if heir == nil || !slices.Contains(heir.addresses(), a) {
			return r
		}
		r = heir
	}
}

// SetResources puts other resources in the place of those that clients can
// open, and returns the names of those that differ. Sessions that are open keep
// their servers. It is called by one goroutine at a time.
func (p *Protocol) SetResources(to map[string]*Resource) (changed []string, err error) {
	if err := validateAll(to); err != nil {
		return nil, err
	}
	from := *p.resources.Load()
	next := make(map[string]*Resource, len(to))
	for name, r := range to {
		if old := from[name]; old != nil && reflect.DeepEqual(old.settings(), r.settings()) {
			r = old
		}
		next[name] = r
	}
	if err := p.track(next); err != nil {
		return nil, err
	}
	p.resources.Store(&next)
	for name, old := range from {
		r := next[name]
		if r == old {
			continue
		}
		old.heir.Store(r)
		old.replace()
		changed = append(changed, name)
	}
	for name := range next {
		if from[name] == nil {
			changed = append(changed, name)
		}
	}
	slices.Sort(changed)
	return changed, nil
}

// track gives resources what is known of their tracked columns. Those that take the
// place of others go on with the same.
func (p *Protocol) track(resources map[string]*Resource) error {
	if p.tainted == nil {
		p.tainted = map[string]*taints{}
	}
	for _, name := range slices.Sorted(maps.Keys(resources)) {
		r := resources[name]
		if r.Tracked == "" {
			continue
		}
		t := p.tainted[r.Tracked]
		if t == nil {
			var err error
			if t, err = openTaints(r.Tracked); err != nil {
				return fmt.Errorf("postgres: resource %s: %w", name, err)
			}
			p.tainted[r.Tracked] = t
		}
		if r.taints != t { // one that sessions use has them
			r.taints = t
		}
	}
	return nil
}

func validateAll(resources map[string]*Resource) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(resources)) {
		if err := resources[name].Validate(); err != nil {
			errs = append(errs, fmt.Errorf("postgres: resource %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}
