package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gatehouse/console"
	"gatehouse/core/event"
	"gatehouse/core/policy"
	"gatehouse/protocols/postgres"
	"gatehouse/recorder"
)

// A tracking shows the console what is tracked, and lifts it for those who may.
type tracking struct {
	gate    *gate
	viewers []string // see all of it
}

var _ console.Tracking = (*tracking)(nil)

func (t *tracking) views(by event.Principal) bool { return shares(by.Groups, t.viewers) }

func shares(a, b []string) bool {
	return slices.ContainsFunc(a, func(g string) bool { return slices.Contains(b, g) })
}

// Sees implements console.Tracking.
func (t *tracking) Sees(by event.Principal) (may, any bool) {
	p := t.gate.rules.policy()
	return t.views(by) || shares(by.Groups, p.Lifters()), p.Tracks() || len(t.gate.postgres.TrackedResources()) > 0
}

// List implements console.Tracking.
func (t *tracking) List(ctx context.Context, by event.Principal, resource string) ([]console.Tracked, error) {
	p := t.gate.rules.policy()
	var all []console.Tracked
	for _, name := range t.gate.postgres.TrackedResources() {
		if resource != "" && name != resource {
			continue
		}
		found, err := t.gate.postgres.Tracked(ctx, name)
		if err != nil {
			return nil, err
		}
		for i := range found {
			one := &found[i]
			if _, may := p.Lifter(by, name, one.Database); !may && !t.views(by) {
				continue
			}
			all = append(all, trackedView(name, one, mayLift(p, by, name, one)))
		}
	}
	return all, nil
}

func trackedView(resource string, t *postgres.Tracked, whyNot *console.LiftError) console.Tracked {
	v := console.Tracked{
		ID: t.ID, Resource: resource, Database: t.Database, Column: t.Now, From: t.From, Computed: t.Computed, State: string(t.State),
		Temporary: t.Temporary, Causes: []console.Cause{}, MayLift: whyNot == nil,
	}
	if whyNot != nil {
		v.WhyNot = whyNot.Why
	}
	for _, c := range t.Causes {
		v.Causes = append(v.Causes, console.Cause{
			Session: c.Session, Exchange: c.Exchange, At: c.At, Statement: c.Statement,
			Principal: console.Principal{Issuer: c.Issuer, Subject: c.Subject, Name: cmp.Or(c.Name, c.Subject), Groups: []string{}},
		})
	}
	return v
}

// mayLift returns why by may not lift a column, or nil.
func mayLift(p *policy.Policy, by event.Principal, resource string, t *postgres.Tracked) *console.LiftError {
	access, may := p.Lifter(by, resource, t.Database)
	_, configured := access.AllProtected.Column(t.Now)
	switch {
	case !may:
		return &console.LiftError{Why: "you are in none of the groups that may lift what is tracked of this resource", Next: "ask someone of the lifters of a policy for it", Forbidden: true}
	case slices.ContainsFunc(t.Causes, func(c postgres.Cause) bool { return c.By(by) }):
		return &console.LiftError{Why: "a session of your own stored protected values there", Next: "ask someone else of the groups that may lift it", Forbidden: true}
	case t.State != postgres.StateGone && (t.Others || len(t.Causes) == 0):
		return &console.LiftError{Why: "it is not known of everybody who stored protected values there", Next: "drop the column, or stop the gate and remove it from its file"}
	case t.State != postgres.StateGone && configured:
		return &console.LiftError{Why: "the configuration protects the column, too", Next: "take it out of protect.columns of the resource first"}
	}
	return liftState(t.State)
}

// liftState returns why a column of a state cannot be lifted, or nil.
func liftState(s postgres.State) *console.LiftError {
	switch s {
	case postgres.StateMaking:
		return &console.LiftError{Why: "the transaction that makes its table is open", Next: "wait until it has ended"}
	case postgres.StateLeft:
		return &console.LiftError{Why: "what became of its table when a gate ended is not known yet", Next: "wait until the server has ended that gate's sessions, and list again"}
	case postgres.StateUnknown:
		return &console.LiftError{Why: "the server does not answer", Next: "try again once it does"}
	}
	return nil
}

// Lift implements console.Tracking.
func (t *tracking) Lift(ctx context.Context, by event.Principal, client string, l console.Lift) (console.Lifted, error) {
	p := t.gate.rules.policy()
	done := console.Lifted{Resource: l.Resource, Column: l.Column}
	var evidence *evidence
	err := t.gate.postgres.Lift(ctx, l.Resource, l.ID, func(one *postgres.Tracked) error {
		if one.Now != l.Column {
			return postgres.ErrNotTracked
		}
		if why := mayLift(p, by, l.Resource, one); why != nil {
			return why
		}
		access, _ := p.Lifter(by, l.Resource, one.Database)
		var err error
		evidence, err = t.record(ctx, by, client, access, p.Version(), l, one)
		return err
	})
	if evidence != nil {
		done.Session = evidence.id
		err = errors.Join(err, evidence.close(ctx, err))
	}
	switch {
	case errors.Is(err, postgres.ErrNotTracked):
		err = &console.LiftError{Why: err.Error(), Next: "list what is tracked again, and look at it"}
	case errors.Is(err, postgres.ErrStoring):
		err = &console.LiftError{Why: err.Error(), Next: "look at what it stores once it has ended, and try again"}
	case errors.Is(err, postgres.ErrUnsettled):
		err = &console.LiftError{Why: err.Error(), Next: "list what is tracked again"}
	}
	return done, err
}

// Evidence is the recording of somebody who lifts a column: a session with one
// request.
type evidence struct {
	id      string
	session *recorder.Session
}

// What the request of such a recording says, each attribute once or more.
const (
	attrTrackedFrom  = "gatehouse.tracked.from"  // a protected column
	attrTrackedCause = "gatehouse.tracked.cause" // a statement that stored its values
	attrTrackedState = "gatehouse.tracked.state" // what has become of the column
)

// record makes durable that by lifts a column, and why.
func (t *tracking) record(ctx context.Context, by event.Principal, client string, access policy.Access, version string, l console.Lift, one *postgres.Tracked) (*evidence, error) {
	now := time.Now()
	s := &event.Session{
		ID: newID(now), Gate: t.gate.parts.config.Gate, Protocol: "gatehouse", Resource: l.Resource, Policy: version,
		Principal: by, Client: client, Start: now,
		Attrs: []event.Attr{{Key: "db.namespace", Value: one.Database}, {Key: recorder.RetentionAttr, Value: access.Retention}},
	}
	req := &event.Request{Operation: "lift", Payload: []byte("gatehouse tracked lift " + l.Resource + " " + l.Column),
		Attrs: []event.Attr{{Key: attrTrackedState, Value: string(one.State)}}}
	for _, from := range one.From {
		req.Attrs = append(req.Attrs, event.Attr{Key: attrTrackedFrom, Value: from})
	}
	for _, c := range one.Causes {
		req.Attrs = append(req.Attrs, event.Attr{Key: attrTrackedCause, Value: fmt.Sprintf("session %s, exchange %d, %s, by %s (%s at %s): %s",
			c.Session, c.Exchange, c.At.Format(time.RFC3339), c.Name, c.Subject, c.Issuer, c.Statement)})
	}
	verdict := &event.Verdict{Action: event.Allow, Rule: access.Rule, Reason: "the policy lets its lifters"}
	decision := &event.Decision{Approved: true, By: by, Comment: l.Comment, At: now}
	r, err := t.gate.recorder.Begin(s)
	if err != nil {
		return nil, err
	}
	e := &evidence{s.ID, r}
	err = errors.Join(e.add(event.KindOpen, 0, s.Append), e.add(event.KindRequest, 1, req.Append),
		e.add(event.KindVerdict, 1, verdict.Append), e.add(event.KindDecision, 1, decision.Append))
	if err == nil {
		err = r.Commit(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return e, nil
}

func (e *evidence) add(k event.Kind, exchange uint64, encode func([]byte) []byte) error {
	return e.session.Append(event.Frame{Kind: k, Exchange: exchange, Time: time.Now(), Payload: encode(nil)})
}

// close records what became of it: nothing, if failed says why.
func (e *evidence) close(ctx context.Context, failed error) error {
	o, n := &event.Outcome{Status: "ok", Tag: "LIFT"}, &event.Notice{Code: "closed", Text: "the column is lifted"}
	if failed != nil {
		o, n.Text = &event.Outcome{Status: "error"}, "the column is not lifted: "+failed.Error()
	}
	return errors.Join(e.add(event.KindOutcome, 1, o.Append), e.add(event.KindClose, 0, n.Append),
		e.session.Commit(context.WithoutCancel(ctx)), e.session.Close())
}
