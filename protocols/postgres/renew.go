package postgres

import (
	"context"
	"time"
)

// lead takes one message on its way. A session goes over to a changed policy
// between two of them.
func (s *session) lead(request func() error) error {
	s.busy.Lock()
	defer s.busy.Unlock()
	err := request()
	if s.ps.Outdated() {
		s.nudge() // as soon as nothing is owed
	}
	return err
}

// renew goes over to the policy in force before a request is judged, if it
// changed. What is under way ends under the policy that judged it.
func (s *session) renew(ctx context.Context) error {
	if s.barred != nil {
		return s.barred
	}
	if !s.ps.Outdated() {
		return nil
	}
	if err := s.drain(ctx, 0); err != nil {
		return err
	}
	return s.goOver(ctx)
}

// goOver goes over to the policy in force. Nothing may be owed. The caller
// holds busy.
func (s *session) goOver(ctx context.Context) error {
	before := s.ps.Terms().Protected.Identity()
	if err := s.ps.Renew(ctx); err != nil {
		s.barred = &endError{refusal{code: codeAccessDenied,
			message: "gatehouse: the session ends because the policy changed: " + reason(err, "it cannot go on under the new one")}, err}
		if !s.ending.CompareAndSwap(nil, s.barred) {
			s.barred = s.ending.Load()
		}
		return s.barred
	}
	if s.ps.Terms().Protected.Identity() != before {
		s.untold = s.untold || s.temporary.may
		s.reexamine(ctx)
	}
	s.renewals++
	s.context.runs++ // portals that were bound before are judged again
	s.nudge()
	return nil
}

// renewIdle goes over to the policy in force if nothing is under way. It
// reports false where that will be later: at the next request, or when nudge is
// called again.
func (s *session) renewIdle(ctx context.Context) bool {
	if !s.busy.TryLock() {
		return false
	}
	defer s.busy.Unlock()
	if owed, _ := s.queue.load(); owed > 0 || s.barred != nil {
		return false
	}
	if s.goOver(ctx) != nil {
		s.endOnceIdle(ctx, s.barred) // within a transaction the next request ends it
	}
	return true
}

// nudge makes watch look at the session again.
func (s *session) nudge() {
	select {
	case s.nudged <- struct{}{}:
	default:
	}
}

// watch takes the session, while it is idle, over to a policy that changed. It
// ends the session when it was idle for too long, and at its next idle point
// when the gate drains or the principal's proof of identity expires.
func (s *session) watch(ctx context.Context) {
	s.stir()
	for {
		outdated := s.ps.Terms().InForce.Done()
		if s.ps.Outdated() && !s.renewIdle(ctx) {
			outdated = nil
		}
		expired, stopExpired := after(0)
		if at := s.ps.Terms().Session.Principal.Expires; !at.IsZero() {
			expired, stopExpired = after(max(time.Until(at), 1))
		}
		idle, stopIdle := after(sooner(s.endIfIdle(ctx), s.endIfUntaken(ctx)))
		var e *endError
		select {
		case <-ctx.Done():
			stopExpired()
			stopIdle()
			return
		case <-outdated:
		case <-s.nudged:
		case <-idle:
		case <-s.env.Draining:
			e = &endError{refusal{code: codeShutdown, message: "gatehouse: the gate is shutting down", hint: "Connect again."}, nil}
		case <-expired:
			e = &endError{refusal{code: codeUnauthenticated, message: "gatehouse: the identity token has expired",
				hint: "Connect again with a fresh token."}, nil}
		}
		stopExpired()
		stopIdle()
		if e != nil {
			s.endOnceIdle(ctx, e)
			return
		}
	}
}

// after returns a channel that is sent to after d, or never where d is zero.
func after(d time.Duration) (c <-chan time.Time, stop func()) {
	if d == 0 {
		return nil, func() {}
	}
	t := time.NewTimer(d)
	return t.C, func() { t.Stop() }
}
