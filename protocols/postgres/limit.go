package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse/core/proxy"
)

// overLimit is what a client is told that is over a limit of the gate's, or nil
// where err is something else.
func overLimit(err error) *endError {
	e, ok := errors.AsType[*proxy.LimitError](err)
	if !ok {
		return nil
	}
	r := refusal{code: codeTooMany, message: "gatehouse: " + e.Reason(), hint: "Close connections that are no longer needed, or try again later."}
	if e.Limit == proxy.OverFailures {
		r.code, r.hint = codeUnauthenticated, ""
	}
	return &endError{r, err}
}

// exceeded is what a client is told of a quota that is used up.
func exceeded(err error) *refusal {
	r := &refusal{code: codeLimit, message: "gatehouse: " + err.Error()}
	if e, ok := errors.AsType[interface {
		error
		Frees() time.Time
	}](err); ok {
		r.hint = fmt.Sprintf("Some of it is free again at %s.", e.Frees().UTC().Format("15:04:05 MST"))
	}
	return r
}

// take counts a row of n bytes that the client is about to get of e's result.
// Where the quota ends, so does the session: rows may have gone before it. The
// caller holds down.mu.
func (s *session) take(e *owed, n int) error {
	if err := e.x.Take(1, n); err != nil {
		return s.spent(e, err)
	}
	return nil
}

// within counts rows of e's result that the client is about to get, and returns
// how many of them the quota lets through. Over is why it was not all.
func within(e *owed, frames [][]byte) (n int, over error) {
	for n < len(frames) && over == nil {
		if over = e.x.Take(1, len(frames[n])); over == nil {
			n++
		}
	}
	return n, over
}

// spent ends the session in the middle of e's result, because the quota ends.
func (s *session) spent(e *owed, err error) error {
	r := exceeded(err)
	r.message += ", and the session ends"
	return s.cutResult(e, &endError{*r, err})
}

// idleSince says for how long the session does nothing, and which limit that is
// under; zero where there is none, or the session is busy. The caller holds
// busy.
func (s *session) idleSince() (since time.Time, limit time.Duration, end *endError) {
	limits := &s.protocol.config.Limits
	if owed, _ := s.queue.load(); owed > 0 {
		return time.Time{}, 0, nil
	}
	since = time.Unix(0, s.active.Load())
	if status, _ := s.queue.transaction(); status == 'I' {
		return since, limits.Idle, &endError{refusal{code: codeIdle, message: "terminating connection due to idle-session timeout"}, nil}
	}
	return since, limits.IdleInTransaction, &endError{refusal{code: codeIdleInTx, message: "terminating connection due to idle-in-transaction timeout"}, nil}
}

// endIfIdle ends the session if it was idle for too long. It returns when to
// look again; zero is never.
func (s *session) endIfIdle(ctx context.Context) time.Duration {
	limits := &s.protocol.config.Limits
	// The shorter limit is how often to look, since one idleness turns into
	// the other.
	again := sooner(limits.Idle, limits.IdleInTransaction)
	if again == 0 || !s.busy.TryLock() {
		return again
	}
	defer s.busy.Unlock()
	since, limit, e := s.idleSince()
	if limit == 0 {
		return again
	}
	left := limit - time.Since(since)
	if left > 0 {
		return min(left, again)
	}
	s.quit(ctx, e)
	s.client.Close()
	s.server.conn.Close()
	return 0
}

// endIfUntaken ends the session if the server neither takes what it is sent nor
// says anything. It returns when to look again.
func (s *session) endIfUntaken(ctx context.Context) time.Duration {
	limit := s.protocol.config.Limits.Untaken
	began := s.sending.Load()
	if began == 0 {
		return limit
	}
	left := limit - time.Since(time.Unix(0, max(began, s.active.Load())))
	if left > 0 {
		return left
	}
	s.quit(ctx, &endError{refusal{code: codeLost, message: fmt.Sprintf("gatehouse: the session ends: the server took nothing of what it was sent for %s", limit)}, nil})
	s.client.Close()
	s.server.conn.Close()
	return 0
}

// sooner returns the shorter of two times, of which zero is never.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// stir says that the session is not idle at this moment.
func (s *session) stir() { s.active.Store(time.Now().UnixNano()) }
