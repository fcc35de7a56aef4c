package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/core/approval"
	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/core/policy"
	"gatehouse/core/quota"
	"gatehouse/recorder"
)

// Sessions opens the sessions of every protocol.
type sessions struct {
	gate      string
	key       []byte // keys hashes and digests
	rules     *rules
	quotas    *quota.Ledger
	recorder  *recorder.Recorder
	approvals *approval.Registry
}

// open admits a principal to a resource, as proxy.Env has it.
func (o *sessions) open(ctx context.Context, s *event.Session) (*pipeline.Session, error) {
	s.Start = time.Now()
	s.ID = newID(s.Start)
	s.Gate = o.gate
	terms, err := o.terms(ctx, s)
	if err != nil {
		return nil, err
	}
	r, err := o.recorder.Begin(terms.Session)
	if err != nil {
		terms.Release()
		return nil, err
	}
	opened, err := pipeline.New(pipeline.Config{
		Terms: terms, Recorder: &recording{session: r}, Approver: o.approvals, Key: o.key,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open session: %w", err), r.Close())
	}
	if err := opened.Commit(ctx); err != nil {
		terms.Release()
		return nil, errors.Join(fmt.Errorf("open session: %w", err), r.Close())
	}
	return opened, nil
}

// terms returns what the policy in force says of the session s. Plugins stay
// loaded until its Release, which may be called twice.
func (o *sessions) terms(ctx context.Context, s *event.Session) (pipeline.Terms, error) {
	set := o.rules.take()
	release := sync.OnceFunc(func() { o.rules.drop(set) })
	access, err := set.policy.Decide(s.Principal, s.Resource, attribute(s.Attrs, "db.namespace"))
	if err != nil {
		release()
		return pipeline.Terms{}, err
	}
	if !slices.ContainsFunc(s.Attrs, func(a event.Attr) bool { return a.Key == recorder.RetentionAttr }) {
		// A recording keeps the class that it began with.
		s.Attrs = append(s.Attrs, event.Attr{Key: recorder.RetentionAttr, Value: access.Retention})
	}
	session := under(s, set.policy.Version(), access)
	session.Attrs = append(slices.Clip(session.Attrs), set.inForceFor(access.Plugins)...)
	plugins, err := set.open(ctx, access.Plugins, session)
	if err != nil {
		release()
		return pipeline.Terms{}, fmt.Errorf("open session: %w", err)
	}
	terms := pipeline.Terms{
		Session: session, Plugins: plugins,
		Approvers: access.Approvers, HoldFor: access.HoldFor,
		Protected: access.Protected, AllProtected: access.AllProtected,
		InForce: set.inForce, Release: release,
		Renew: func(ctx context.Context) (pipeline.Terms, error) { return o.terms(ctx, s) },
	}
	if access.Stay {
		terms.InForce = nil
	}
	if access.Quota == (policy.Quota{}) {
		return terms, nil
	}
	spending := &spending{ledger: o.quotas, who: s.Principal, access: access}
	if err := spending.bound(&terms); err != nil {
		release()
		return pipeline.Terms{}, fmt.Errorf("open session: %w", err)
	}
	terms.Release = func() {
		spending.close()
		release()
	}
	return terms, nil
}

// under returns s as it is under a policy of this version.
func under(s *event.Session, version string, access policy.Access) *event.Session {
	c := *s
	c.Policy = version
	if access.OutlastToken && !s.Principal.Expires.IsZero() {
		c.Attrs = append(slices.Clip(s.Attrs), event.Attr{Key: "gatehouse.token_expires", Value: s.Principal.Expires.UTC().Format(time.RFC3339)})
		c.Principal.Expires = time.Time{}
	}
	return &c
}

func attribute(attrs []event.Attr, key string) string {
	for _, a := range attrs {
		if a.Key == key {
			return a.Value
		}
	}
	return ""
}

// A recording is a recorder's session that closes itself after the frame that
// ends it.
type recording struct {
	session *recorder.Session
	ended   atomic.Bool
}

func (r *recording) Append(f event.Frame, more ...[]byte) error {
	err := r.session.Append(f, more...)
	if f.Kind != event.KindClose {
		return err
	}
	r.ended.Store(true)
	if err != nil {
		return errors.Join(err, r.session.Close())
	}
	return nil
}

func (r *recording) Commit(ctx context.Context) error {
	err := r.session.Commit(ctx)
	if r.ended.Load() {
		return errors.Join(err, r.session.Close())
	}
	return err
}
