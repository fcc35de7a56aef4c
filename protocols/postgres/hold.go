package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
)

func timeIn(d time.Duration) time.Time { return time.Now().Add(d) }

// hold lets a request wait for a decision. Everything asked before it is
// answered first, so that what the approver is shown of the transaction is
// true. While it waits, the session reads no further requests.
func (s *session) hold(ctx context.Context, e *owed, req *event.Request) (*refusal, error) {
	x := e.x
	s.fromClient.detach() // the frame is needed after the wait, which reads ahead
	if err := s.drain(ctx, 0); err != nil {
		return nil, err
	}
	if s.queue.skipping() {
		return errSkipped, x.End(event.Outcome{Status: "skipped"})
	}
	if status, settled := s.queue.transaction(); status == 'E' && settled && e.isFutile() {
		return inFailed, nil // nobody need decide what cannot run
	}
	if err := s.addTransaction(ctx, req); err != nil {
		return nil, err
	}
	s.addObjects(ctx, req)
	s.addBound(e, req)
	shown := s.now()
	p := x.Pend()
	cause, err := s.await(ctx, x, p)
	switch {
	case err != nil:
		return nil, err
	case errors.Is(cause, errClientCanceled):
		return &refusal{code: codeCanceled, message: "canceling statement due to user request",
			hint: "It was waiting for approval " + p.ID + "."}, nil
	case x.Verdict.Action != event.Allow:
		return denied(x.Verdict), nil
	}
	if err := s.hearReports(ctx); err != nil {
		return nil, err
	}
	if s.now() != shown {
		return &refusal{code: codeAccessDenied, message: "gatehouse: a setting changed after approval " + p.ID + " was asked for",
			hint: "Send the statement again."}, nil
	}
	if r := s.swapped(ctx, req, p); r != nil {
		return r, s.ps.Notice(event.Notice{Code: "swapped", Text: r.message})
	}
	return nil, nil
}

// hearReports lets the server report settings that it has changed while the
// session waited, when its configuration was read again: it does so at its next
// ReadyForQuery. A Sync changes nothing but in a pipeline, which it would end.
func (s *session) hearReports(ctx context.Context) error {
	if _, settled := s.queue.transaction(); !settled {
		return nil
	}
	if err := s.forward(syncMessage, &owed{kind: 'S', swallow: true}); err != nil {
		return err
	}
	return s.drain(ctx, 0)
}

var syncMessage = []byte{'S', 0, 0, 0, 4}

// addTransaction adds to req what an approver should know of its transaction.
func (s *session) addTransaction(ctx context.Context, req *event.Request) error {
	judged := req.Attrs
	req.Attrs = append(s.contextAttrs(), event.Attr{Key: "postgres.context", Value: s.now().String()})
	if i := slices.IndexFunc(judged, func(a event.Attr) bool { return a.Key == estimateAttr }); i >= 0 {
		req.Attrs = append(req.Attrs, judged[i])
	}
	req.Attrs = append(req.Attrs, usesAmong(judged)...)
	if status, _ := s.queue.transaction(); status == 'I' {
		return nil
	}
	locks, err := s.catalog.locks(ctx, s.server.pid)
	if err != nil {
		locks = "unknown: the server could not be asked"
	}
	if locks != "" {
		req.Attrs = append(req.Attrs, event.Attr{Key: "db.locks", Value: locks})
	}
	return nil
}

// addBound adds to req what, beside all that an approver is shown, decides what the
// server makes of it: what the server reported of its settings, and the types
// and formats of the values.
func (s *session) addBound(e *owed, req *event.Request) {
	req.Bound = s.settings.attrs()
	if p := e.portal; p != nil && p.st != nil {
		types := ""
		for i := range req.Params {
			types += fmt.Sprintf("%d ", p.st.oid(i))
		}
		req.Bound = append(req.Bound, event.Attr{Key: "postgres.parameter_types", Value: types},
			event.Attr{Key: "postgres.parameter_formats", Value: p.sends}, event.Attr{Key: "postgres.result_formats", Value: p.formats})
	}
}

// tell tells the client that it waits, and for what.
func (s *session) tell(ctx context.Context, x *pipeline.Exchange, p *event.Pending) error {
	why := denied(p.Verdict)
	m := pgproto3.NoticeResponse{
		Severity: "NOTICE", SeverityUnlocalized: "NOTICE", Code: "00000",
		Message: fmt.Sprintf("gatehouse: waiting for approval %s until %s: %s",
			p.ID, p.Expires.UTC().Format("15:04:05 MST"), p.Verdict.Reason),
		Hint: why.hint,
	}
	s.down.mu.Lock()
	defer s.down.mu.Unlock()
	err := s.attribute(x)
	if err != nil {
		return err
	}
	if s.down.buf, err = m.Encode(s.down.buf); err != nil {
		return fmt.Errorf("encode notice: %w", err)
	}
	return s.flushDown(ctx)
}

// await waits for the decision, and tells the client so once approvers see what it
// waits for. The client can end the wait by CancelRequest,
// which is the cause then, or by hanging up, which is an error.
func (s *session) await(ctx context.Context, x *pipeline.Exchange, p *event.Pending) (cause, err error) {
	held, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var untold error
	p.Shown = func() {
		if untold = s.tell(ctx, x, p); untold != nil {
			cancel(untold)
		}
	}
	s.setHeld(cancel)
	defer s.setHeld(nil)
	gone := make(chan error, 1)
	go func() {
		err := s.listen(held)
		if err != nil {
			cancel(err)
		}
		gone <- err
	}()
	x.Await(held)
	cause = context.Cause(held)
	cancel(nil)
	_ = s.client.SetReadDeadline(time.Unix(1, 0)) // wakes listen
	err = <-gone
	if derr := s.client.SetReadDeadline(time.Time{}); err == nil {
		err = derr
	}
	if untold != nil {
		err = untold
	}
	return cause, err
}

func (s *session) setHeld(cancel context.CancelCauseFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = cancel
}

// hangUpAfter is how long the gate waits for the server before it looks whether
// the client is still there.
const hangUpAfter = time.Second

// waitOwed waits until at most n responses are owed. A client that hangs up
// meanwhile leaves the server no more time than one that hangs up at any other
// point.
func (s *session) waitOwed(ctx context.Context, n int) error {
	listening, cancel := context.WithCancel(ctx)
	defer cancel()
	gone := make(chan error, 1)
	timer := time.AfterFunc(hangUpAfter, func() {
		s.fromClient.detach() // the frame is needed after the wait
		err := s.listen(listening)
		if err != nil {
			s.leaving.Store(true)
			_ = s.server.conn.SetReadDeadline(timeIn(farewell)) // fails where it is closed
		}
		gone <- err
	})
	err := s.queue.wait(ctx, n)
	if timer.Stop() {
		return err
	}
	cancel()
	_ = s.client.SetReadDeadline(time.Unix(1, 0)) // wakes listen
	err = errors.Join(err, <-gone)
	return errors.Join(err, s.client.SetReadDeadline(time.Time{}))
}

// listen reads ahead, as far as the buffer goes, to notice when a client that
// waits hangs up. It returns nil when ctx ends first.
func (s *session) listen(ctx context.Context) error {
	r := s.fromClient
	for ctx.Err() == nil {
		if r.w-r.r >= maxBuffer {
			<-ctx.Done() // the client sends more: TCP pushes back
			return nil
		}
		if err := r.fill(r.w-r.r+1, r.src.Read); err != nil {
			if ctx.Err() != nil && isTimeout(err) {
				return nil
			}
			return err
		}
	}
	return nil
}

func isTimeout(err error) bool {
	t, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err)
	return ok && t.Timeout()
}
