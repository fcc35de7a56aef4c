package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"gatehouse/core/approval"
	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/recorder"
)

// Sessions opens the sessions of every protocol.
type sessions struct {
	parts     *parts
	recorder  *recorder.Recorder
	approvals *approval.Registry
}

// open admits a principal to a resource, as proxy.Env has it.
func (o *sessions) open(ctx context.Context, s *event.Session) (*pipeline.Session, error) {
	access, err := o.parts.policy.Decide(s.Principal, s.Resource, attribute(s.Attrs, "db.namespace"))
	if err != nil {
		return nil, err
	}
	plugins, err := o.parts.chain(access.Plugins)
	if err != nil {
		return nil, err
	}
	s.Start = time.Now()
	s.ID = newID(s.Start)
	s.Gate = o.parts.config.Gate
	s.Policy = o.parts.policy.Version()
	if access.OutlastToken && !s.Principal.Expires.IsZero() {
		s.Attrs = append(s.Attrs, event.Attr{Key: "gatehouse.token_expires", Value: s.Principal.Expires.UTC().Format(time.RFC3339)})
		s.Principal.Expires = time.Time{}
	}
	s.Attrs = append(s.Attrs, event.Attr{Key: recorder.RetentionAttr, Value: access.Retention})
	r, err := o.recorder.Begin(s)
	if err != nil {
		return nil, err
	}
	opened, err := pipeline.New(pipeline.Config{
		Session:   s,
		Plugins:   plugins,
		Recorder:  &recording{session: r},
		Approver:  o.approvals,
		Approvers: access.Approvers,
		HoldFor:   access.HoldFor,
		Key:       o.parts.hashKey,
	})
	if err == nil {
		err = opened.Commit(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open session: %w", err), r.Close())
	}
	return opened, nil
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
