// Package approval holds requests until someone decides them.
//
// A Registry knows every request that waits. A request ends exactly once, in
// one of five ways: approved, denied, expired, withdrawn because its client went
// away, or outdated by a change of the policy. Whatever comes first wins; all
// that comes later is told how the request ended.
package approval

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"gatehouse/core/event"
)

// What bounds a Registry.
const (
	// DefaultPending is how many requests may wait at a time.
	DefaultPending = 1000
	// DefaultPrincipal is how many of them may be of one principal.
	DefaultPrincipal = 100
	// DefaultBytes is how many bytes the requests that wait may have
	// together, statements and values.
	DefaultBytes = 64 << 20
	// MaxComment is how many bytes a comment may have.
	MaxComment = 2000
	// remembered is how many ended requests are remembered, so that who
	// comes too late learns how they ended.
	remembered = 1000
)

// Errors of Await, Get and Decide.
var (
	// ErrFull is returned for a request beyond the registry's limits.
	ErrFull = errors.New("too many requests wait for approval already")
	// ErrManyOwn is returned for a request beyond the limit for each
	// principal.
	ErrManyOwn = errors.New("too many of your requests wait for approval already")
	// ErrNobody is returned for a request that no group may decide.
	ErrNobody = errors.New("no group may approve requests here")
	// ErrExpired is returned when a request was not decided in time.
	ErrExpired = errors.New("nobody decided")
	// ErrWithdrawn is returned when a request's client went away.
	ErrWithdrawn = errors.New("the request was withdrawn while it waited for approval")
	// ErrUnknown is returned for a request that does not exist, or that the
	// principal may not see.
	ErrUnknown = errors.New("no such request waits for approval")
	// ErrGone is what an EndedError is.
	ErrGone = errors.New("the request does not wait any more")
	// ErrNotApprover is returned to who is in none of a request's groups.
	ErrNotApprover = errors.New("you are in none of the groups that may decide this request")
	// ErrOwn is returned to who would decide a request of their own.
	ErrOwn = errors.New("nobody decides a request of their own")
	// ErrComment is returned for a comment that is too long or not plain text.
	ErrComment = fmt.Errorf("a comment is plain text of at most %d bytes", MaxComment)
)

// How says in which way a request ended.
type How string

// The ways in which a request ends.
const (
	Approved  How = "approved"
	Denied    How = "denied"
	Expired   How = "expired"   // nobody decided in time
	Withdrawn How = "withdrawn" // the client cancelled or hung up
	Outdated  How = "outdated"  // the policy changed
)

// An Ending is how and when a request ended. Decision is zero unless someone
// decided.
type Ending struct {
	ID       string
	How      How
	At       time.Time
	Decision event.Decision
}

// An EndedError says that a decision came too late. It is ErrGone.
type EndedError struct{ Ending Ending }

// Error says how the request ended.
func (e *EndedError) Error() string {
	s := fmt.Sprintf("request %s was %s", e.Ending.ID, e.Ending.How)
	switch e.Ending.How {
	case Expired:
		s = fmt.Sprintf("request %s expired", e.Ending.ID)
	case Outdated:
		s = fmt.Sprintf("request %s ended because the policy changed", e.Ending.ID)
	}
	if by := e.Ending.Decision.By; by.Subject != "" {
		s += " by " + cmp.Or(by.Name, by.Subject)
	}
	return s + " at " + e.Ending.At.UTC().Format(time.RFC3339)
}

// Is reports whether target is ErrGone.
func (e *EndedError) Is(target error) bool { return target == ErrGone }

// Limits bound a Registry. Zero fields mean the defaults.
type Limits struct {
	Pending   int // requests
	Principal int // requests of one principal
	Bytes     int // of all requests together
}

// A Registry holds requests until they are decided. It satisfies
// pipeline.Approver. Its methods are safe for concurrent use.
type Registry struct {
	limits Limits

	mu       sync.Mutex
	held     map[string]*held
	bytes    int
	ended    map[string]*held
	order    [remembered]string // the keys of ended, a ring
	next     int
	watchers map[chan struct{}]struct{}
}

// A held is a request that waits, or waited.
type held struct {
	pending event.Pending
	size    int
	done    chan struct{} // closed when ending is set
	ending  Ending
}

// New returns an empty registry.
func New(l Limits) *Registry {
	return &Registry{
		limits:   Limits{Pending: cmp.Or(l.Pending, DefaultPending), Principal: cmp.Or(l.Principal, DefaultPrincipal), Bytes: cmp.Or(l.Bytes, DefaultBytes)},
		held:     map[string]*held{},
		ended:    map[string]*held{},
		watchers: map[chan struct{}]struct{}{},
	}
}

// Await shows p to those who may decide it and returns what they decided. It
// returns ErrExpired when p.Expires passes first, and when ctx ends first
// event.ErrPolicyChanged if that is the cause, or else ErrWithdrawn. It keeps a
// copy of the request, so that the caller may reuse p once it returned.
func (r *Registry) Await(ctx context.Context, p *event.Pending) (event.Decision, error) {
	h, err := r.hold(p)
	if err != nil {
		return event.Decision{}, err
	}
	if p.Shown != nil {
		p.Shown()
	}
	timer := time.NewTimer(time.Until(p.Expires))
	defer timer.Stop()
	select {
	case <-h.done:
	case <-timer.C:
		r.end(h, Ending{How: Expired})
	case <-ctx.Done():
		how := Withdrawn
		if errors.Is(context.Cause(ctx), event.ErrPolicyChanged) {
			how = Outdated
		}
		r.end(h, Ending{How: how})
	}
	// Whoever ended it first has set the ending; it does not change again.
	<-h.done
	switch h.ending.How {
	case Expired:
		return event.Decision{}, fmt.Errorf("%w within %s", ErrExpired, p.Expires.Sub(p.Since))
	case Outdated:
		return event.Decision{}, fmt.Errorf("%w while the request waited for approval", event.ErrPolicyChanged)
	case Withdrawn:
		return event.Decision{}, fmt.Errorf("%w: %w", ErrWithdrawn, context.Cause(ctx))
	}
	return h.ending.Decision, nil
}

func (r *Registry) hold(p *event.Pending) (*held, error) {
	if len(p.Approvers) == 0 {
		return nil, ErrNobody
	}
	// The encoding is the copy.
	b := p.Request.Append(nil)
	h := &held{pending: *p, size: len(b) + p.Request.Sent.Size(), done: make(chan struct{})}
	h.pending.Approvers = slices.Clone(p.Approvers)
	h.pending.Request = new(event.Request)
	if err := h.pending.Request.Decode(b); err != nil {
		return nil, fmt.Errorf("copy request: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.held) >= r.limits.Pending || r.bytes+h.size > r.limits.Bytes {
		return nil, fmt.Errorf("%w (%d)", ErrFull, len(r.held))
	}
	own := 0
	for _, other := range r.held {
		if other.pending.Session.Principal.Is(p.Session.Principal) {
			own++
		}
	}
	if own >= r.limits.Principal {
		return nil, fmt.Errorf("%w (%d)", ErrManyOwn, own)
	}
	if r.held[p.ID] != nil || r.ended[p.ID] != nil {
		return nil, fmt.Errorf("approval %s exists already", p.ID)
	}
	r.held[p.ID] = h
	r.bytes += h.size
	r.changed()
	return h, nil
}

// end ends h unless it has ended.
func (r *Registry) end(h *held, e Ending) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.endLocked(h, e)
}

func (r *Registry) endLocked(h *held, e Ending) {
	id := h.pending.ID
	if r.held[id] != h {
		return
	}
	delete(r.held, id)
	r.bytes -= h.size
	e.ID, e.At = id, time.Now()
	h.ending = e
	h.pending.Request, h.pending.Reveal = nil, nil // not needed any more; List gave out copies
	delete(r.ended, r.order[r.next])
	r.order[r.next], r.ended[id] = id, h
	r.next = (r.next + 1) % len(r.order)
	close(h.done)
	r.changed()
}

// List returns the requests that by may see, oldest first: those that by's
// groups may decide, and by's own. They must not be changed.
func (r *Registry) List(by event.Principal) []*event.Pending {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ps []*event.Pending
	for _, h := range r.held {
		if sees(&h.pending, by) {
			p := h.pending
			ps = append(ps, &p)
		}
	}
	slices.SortFunc(ps, func(a, b *event.Pending) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID))
	})
	return ps
}

// Get returns one request that by may see. The error is ErrUnknown, or ErrGone
// as an EndedError.
func (r *Registry) Get(id string, by event.Principal) (*event.Pending, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h, err := r.find(id, by)
	if err != nil {
		return nil, err
	}
	p := h.pending
	return &p, nil
}

func (r *Registry) find(id string, by event.Principal) (*held, error) {
	if h := r.held[id]; h != nil && sees(&h.pending, by) {
		return h, nil
	}
	if h := r.ended[id]; h != nil && sees(&h.pending, by) {
		return nil, &EndedError{h.ending}
	}
	return nil, ErrUnknown
}

// Decide ends the request id as by decided. Exactly one call for a request
// succeeds, and then Await returns that decision. The errors are those of Get
// and MayDecide, and ErrComment.
func (r *Registry) Decide(id string, by event.Principal, approved bool, comment string) error {
	if !IsComment(comment) {
		return ErrComment
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	h, err := r.find(id, by)
	if err != nil {
		return err
	}
	if err := MayDecide(&h.pending, by); err != nil {
		return err
	}
	now := time.Now()
	if !now.Before(h.pending.Expires) {
		r.endLocked(h, Ending{How: Expired})
		return &EndedError{h.ending}
	}
	how := Denied
	if approved {
		how = Approved
	}
	r.endLocked(h, Ending{How: how, Decision: event.Decision{Approved: approved, By: by, Comment: comment, At: now}})
	return nil
}

// MayDecide returns nil when by may decide p, else ErrNotApprover or ErrOwn.
func MayDecide(p *event.Pending, by event.Principal) error {
	if by.Subject == "" || !slices.ContainsFunc(p.Approvers, func(g string) bool { return slices.Contains(by.Groups, g) }) {
		return ErrNotApprover
	}
	if p.Session.Principal.Is(by) {
		return ErrOwn
	}
	return nil
}

func sees(p *event.Pending, by event.Principal) bool {
	return MayDecide(p, by) == nil || by.Subject != "" && p.Session.Principal.Is(by)
}

// IsComment is whether a client can be shown s: it goes into protocols' messages
// and onto terminals.
func IsComment(s string) bool {
	if len(s) > MaxComment || !utf8.ValidString(s) {
		return false
	}
	for _, c := range s {
		if unicode.IsControl(c) && c != '\n' && c != '\t' || unicode.Is(unicode.Bidi_Control, c) {
			return false
		}
	}
	return true
}

// Watch returns a channel that is sent to after the registry changed. Changes
// that were not yet received are one: a watcher compares List with what it
// knew, so that a slow one misses nothing and holds up nobody. Call stop when
// done.
func (r *Registry) Watch() (changes <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watchers[c] = struct{}{}
	return c, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.watchers, c)
	}
}

func (r *Registry) changed() {
	for c := range r.watchers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// Len is how many requests wait.
func (r *Registry) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.held)
}
