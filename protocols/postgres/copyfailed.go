package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgproto3/v2"
)

// An upload fails at the server when it reads what is wrong with it, and the gate
// hears of that later. Meanwhile a client may have sent on, and what it sent means
// one thing to a server that reads COPY data and another to one that does not:
// the first ignores a Sync, and ends the session at any request. What follows
// finds out which it was, so that nothing depends on when the gate heard.

// copyGivenUp is what the gate gives an upload up with.
const copyGivenUp = "gatehouse: a message came that is no part of the upload"

// leaveUpload finds out whether the server still reads COPY data for e, where the
// client sent a message of another kind: it gives the upload up in the client's
// place. If the server was reading, the session ends, as the server would have
// ended it: see outOfStep. It reports false where the message means nothing any
// more, because the session ends.
func (s *session) leaveUpload(ctx context.Context, e *owed, kind byte) (bool, error) {
	s.fromClient.detach() // the frame is needed after the wait, which reads ahead
	f := appendFrame(nil, 'f', func(b []byte) []byte { return append(append(b, copyGivenUp...), 0) })
	s.misplaced.Store(int32(kind))
	if err := s.upload(ctx, e, f); err != nil {
		return false, err
	}
	if err := s.flushUp(ctx); err != nil {
		return false, err
	}
	s.uploading = nil
	answered := false
	err := s.attend(ctx, func(ctx context.Context) error {
		return s.queue.until(ctx, func() bool {
			answered = !e.queued
			return answered
		})
	})
	return answered, err
}

// gaveUp reports whether m says that the server was reading when leaveUpload gave
// the upload up.
func (s *session) gaveUp(m *pgproto3.ErrorResponse) bool {
	return s.misplaced.Load() != 0 && m.Code == codeCanceled && strings.Contains(m.Message, copyGivenUp)
}

// outOfStep ends the session in the server's words where a message came in the
// place of COPY data: the server no longer knows where a message begins.
func (s *session) outOfStep(e *owed, m *pgproto3.ErrorResponse) error {
	m.Code, m.Message = codeProtocol, fmt.Sprintf("unexpected message type 0x%02X during COPY from stdin", s.misplaced.Load())
	f, err := m.Encode(nil)
	if err != nil {
		return fmt.Errorf("encode error: %w", err)
	}
	if err := s.send(e, f); err != nil {
		return err
	}
	if err := s.erred(e); err != nil {
		return err
	}
	s.cut = e.x
	if err := s.end(e, failure(e, codeProtocol)); err != nil {
		return err
	}
	return &endError{refusal{code: codeProtocol, message: "terminating connection because protocol synchronization was lost"}, nil}
}

// doubt takes a Sync within an upload. The server answers it if the upload had
// failed by then.
func (s *session) doubt(f []byte) {
	s.doubts.Add(1)
	s.segment++
	s.up = append(s.up, f...)
}

// inDoubt reports whether a Sync is in doubt, or the gate's own that tells.
func (s *session) inDoubt() bool { return s.doubts.Load() > 0 || s.lastReady != nil }

// readyInDoubt takes a ReadyForQuery that answers a Sync in doubt, if f is one.
// The caller knows that there may be such.
func (s *session) readyInDoubt(ctx context.Context, e *owed, f []byte) (taken bool, err error) {
	switch {
	case f[0] == 'Z' && e != nil && e.settles:
		if s.lastReady != nil {
			err = s.answerDoubt(s.lastReady)
		}
		s.lastReady = append([]byte(nil), f...)
		return true, err
	case f[0] == 'Z' && (e == nil || !e.readyIsDue()):
		return true, s.answerDoubt(f)
	case f[0] == '3' && e != nil && e.settles && s.lastReady != nil:
		last := s.lastReady
		s.lastReady = nil
		s.doubts.Store(0)
		return false, s.ready(ctx, e, last)
	case strings.IndexByte("NASZ", f[0]) < 0 && (f[0] != 'E' || e == nil || !e.uploads):
		s.doubts.Store(0) // their answers would have come before
	}
	return false, nil
}

// answerDoubt passes on the answer to a Sync in doubt.
func (s *session) answerDoubt(f []byte) error {
	if s.doubts.Add(-1) < 0 {
		return violated("the server is ready more often than it was asked")
	}
	if err := s.send(nil, f); err != nil {
		return err
	}
	s.queue.report(f[frameHeader])
	return s.settled(f[frameHeader])
}

// readyIsDue reports whether the server may answer e with ReadyForQuery next.
func (e *owed) readyIsDue() bool {
	return e.kind == 'S' || (e.kind == 'Q' || e.kind == 'F') && (e.index > 0 || e.rows > 0 || e.failed != "")
}

// settle finds out whether a server whose upload failed discards messages, or has
// answered a Sync in doubt since: it counts the server's answers up to that of
// the gate's own Sync. If the server did discard them, the gate does so from here.
func (s *session) settle(ctx context.Context) error {
	if s.doubts.Load() == 0 {
		return nil
	}
	if err := s.drain(ctx, 0); err != nil { // it may not have said yet how the upload ended
		return err
	}
	if s.doubts.Load() == 0 || !s.queue.skipping() {
		return nil
	}
	e := &owed{kind: 'S', swallow: true, settles: true}
	if err := s.forward(syncMessage, e); err != nil {
		return err
	}
	if err := s.forward(closeCopy, &owed{kind: 'C', object: 'S', name: copyName, swallow: true, probe: &copyProbe{quiet: true}}); err != nil {
		return err
	}
	if err := s.drain(ctx, 0); err != nil {
		return err
	}
	s.discarding = !s.queue.resumed()
	return nil
}

// closeCopy closes what does not exist, to be answered.
var closeCopy = appendFrame(nil, 'C', func(b []byte) []byte { return append(append(append(b, 'S'), copyName...), 0) })
