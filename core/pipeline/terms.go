package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"gatehouse/core/event"
	"gatehouse/core/protect"
)

// Terms are what policy says of one session: what judges and masks it, and who
// decides what it holds. They do not change: a session whose policy changed
// goes over to other ones by Renew.
type Terms struct {
	// Session is the session as plugins and approvers see it, with the
	// version of the policy.
	Session   *event.Session
	Plugins   []Plugin      // in the order in which they judge
	Approvers []string      // groups that may decide what this session holds
	HoldFor   time.Duration // how long a held request waits
	Quota     Quota         // nil: none
	// Columns bounds what is done with each protected column. The zero value
	// does not.
	Columns ColumnQuotas
	// Protected are the columns that are treated whatever plugins say.
	Protected *protect.Columns
	// AllProtected are those of the resource, also where the principal may
	// see them: their values are masked in what is recorded and shown of
	// requests, and what is done with them counts.
	AllProtected *protect.Columns

	// InForce ends when the policy changed. Nil is never.
	InForce context.Context
	// Renew returns the terms of the policy that is in force then. An error
	// says that it does not let the session go on.
	Renew func(context.Context) (Terms, error)
	// Release is called once, when the session uses the terms no more.
	Release func()
}

// terms are Terms at work.
type terms struct {
	Terms
	judges  []named[Judge]
	maskers []Masker
	enders  []named[Ender]
	closers []named[Closer]
	uploads []named[Uploads]
	shadows []named[Roles]
	release func()

	seeker seeker

	mu    sync.Mutex
	heads map[*event.Head]*treatedHead
}

// A named role is one of the plugin of that name.
type named[R any] struct {
	plugin string
	role   R
}

func rolesOf(p Plugin) (r Roles) {
	if c, ok := p.(interface{ Roles() Roles }); ok {
		return c.Roles()
	}
	r.Judge, _ = p.(Judge)
	r.Masker, _ = p.(Masker)
	r.Uploads, _ = p.(Uploads)
	r.Ender, _ = p.(Ender)
	r.Closer, _ = p.(Closer)
	return r
}

func newTerms(c Terms, key []byte) *terms {
	if c.InForce == nil {
		c.InForce = context.Background()
	}
	t := &terms{Terms: c, release: func() {}}
	if c.Release != nil {
		t.release = sync.OnceFunc(c.Release)
	}
	for _, p := range c.Plugins {
		r := rolesOf(p)
		if _, is := p.(inShadow); is {
			t.shadows = append(t.shadows, named[Roles]{p.Name(), r})
			r.Judge, r.Masker, r.Uploads = nil, nil, nil
		}
		if r.Judge != nil {
			t.judges = append(t.judges, named[Judge]{p.Name(), r.Judge})
		}
		if r.Masker != nil {
			t.maskers = append(t.maskers, r.Masker)
		}
		if r.Uploads != nil {
			t.uploads = append(t.uploads, named[Uploads]{p.Name(), r.Uploads})
		}
		if r.Ender != nil {
			t.enders = append(t.enders, named[Ender]{p.Name(), r.Ender})
		}
		if r.Closer != nil {
			t.closers = append(t.closers, named[Closer]{p.Name(), r.Closer})
		}
	}
	if c.Protected.HasParts() {
		t.maskers = append(t.maskers, documents{c.Protected, key})
	}
	return t
}

// A barred session is one that the policy does not let go on.
type barred struct{}

func (barred) Name() string { return "gatehouse" }

func (barred) Judge(context.Context, *event.Session, *event.Request) (event.Verdict, error) {
	return event.Verdict{Rule: "gatehouse/policy", Reason: "the policy changed and does not let the session go on"}, nil
}

// Terms returns the terms that requests are judged under now.
func (s *Session) Terms() Terms { return s.current.Load().Terms }

// Outdated reports whether the policy changed, so that the session should go
// over to its new terms before the next request.
func (s *Session) Outdated() bool { return s.current.Load().InForce.Err() != nil }

// Renew makes the session go over to the terms that are in force, and records
// that. Of exchanges that were begun before, only Data and End may be called
// afterwards: what their responses need of the old plugins must have happened.
// After an error, which says why the session may not go on, all requests are
// blocked.
func (s *Session) Renew(ctx context.Context) error {
	s.renewing.Lock()
	defer s.renewing.Unlock()
	old := s.current.Load()
	c, err := old.Renew(ctx)
	if err != nil {
		c = old.Terms
		c.Plugins, c.Approvers, c.Release = []Plugin{barred{}}, nil, nil
	}
	before, after := old.Session.Policy, c.Session.Policy
	s.current.Store(newTerms(c, s.key))
	unrecorded := s.closePlugins(ctx, old)
	old.release()
	if err := errors.Join(err, unrecorded); err != nil || before == after {
		return err
	}
	n := event.Notice{Code: "policy", Text: "the policy changed", Attrs: []event.Attr{
		{Key: "gatehouse.policy", Value: after}, {Key: "gatehouse.policy_before", Value: before},
	}}
	for _, a := range c.Session.Attrs {
		if a.Key == AttrPlugin {
			n.Attrs = append(n.Attrs, a)
		}
	}
	return s.Notice(n)
}

// judge returns what the plugins say of req, and the quota's error where one has
// nothing left for it: then it is blocked, or held.
func (t *terms) judge(ctx context.Context, req *event.Request) (v event.Verdict, exceeded error) {
	v = t.askJudges(ctx, req)
	// A transaction that is open may always be ended.
	if v.Action == event.Block || req.EndsTransaction() {
		return v, nil
	}
	if v = t.permit(req, v); v.Action == event.Block {
		return v, nil
	}
	return t.afford(req, v)
}

// askJudges returns the strictest of what the plugins say of req.
func (t *terms) askJudges(ctx context.Context, req *event.Request) event.Verdict {
	strictest := event.Verdict{Action: event.Allow}
	for _, j := range t.judges {
		v, err := j.role.Judge(ctx, t.Session, req)
		if err != nil {
			return event.Verdict{
				Rule:   "gatehouse/plugin",
				Reason: fmt.Sprintf("plugin %s could not judge the request", j.plugin),
				Labels: []event.Attr{{Key: "gatehouse.error", Value: err.Error()}},
			}
		}
		if len(req.Labels) == 0 {
			req.Labels = slices.Clip(v.Labels) // which are the plugin's
		} else {
			req.Labels = append(req.Labels, v.Labels...)
		}
		v.Labels = nil
		if v.Action < strictest.Action {
			strictest = v
		}
	}
	return strictest
}
