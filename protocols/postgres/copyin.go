package postgres

import (
	"context"
	"errors"
	"io"
	"time"

	"gatehouse/core/event"
	"gatehouse/protocols/postgres/statement"
)

// copiesIn reports whether a statement of facts copies from the client.
func copiesIn(facts *statement.Result) bool {
	for i := range facts.Len() {
		if c := facts.CopyOf(i); c != nil && c.In {
			return true
		}
	}
	return false
}

// copyInResponse begins an upload: the server reads COPY data from now on.
func (s *session) copyInResponse(ctx context.Context, e *owed, f []byte) error {
	c := e.copies()
	if c == nil || !c.In || s.queue.copyingIn(e) {
		return violated("the server answered %q with %q", e.kind, f[0])
	}
	format, _ := newCopyFormat(c)
	n, err := readCopyResponse(f, &format)
	if err != nil {
		return err
	}
	if err := s.attribute(e.x); err != nil { // what came before is not of this head
		return err
	}
	if err := s.send(e, f); err != nil {
		return err
	}
	h := copyNamed(c, &format, n)
	var treatments []event.Treatment
	if e.masked, err = s.maskUpload(ctx, e, c, &format, n); err != nil {
		return err
	}
	if e.masked != nil {
		h, treatments = e.masked.head(h), e.masked.treatments
	}
	e.judged = s.judgeUpload(ctx, e, c, &format, n)
	if err := e.x.Accept(&h.Head, treatments); err != nil {
		return err
	}
	e.uploads = true
	s.queue.beginCopyIn(e)
	return nil
}

// awaitCopyIn waits until the server either reads COPY data for e or has
// answered e: what the client sends until then means one or the other.
func (s *session) awaitCopyIn(ctx context.Context, e *owed) error {
	s.uploading = e
	if err := s.flushUp(ctx); err != nil {
		return err
	}
	return s.attend(ctx, func(ctx context.Context) error { return s.queue.awaitCopyIn(ctx, e) })
}

// copyingIn reports whether the server reads COPY data, as far as it said.
func (s *session) copyingIn() bool {
	return s.uploading != nil && s.queue.copyingIn(s.uploading)
}

// copyIn takes a message that may belong to an upload. It reports false where
// the server no longer reads one.
func (s *session) copyIn(ctx context.Context, f []byte) (taken bool, err error) {
	e := s.uploading
	if !s.queue.copyingIn(e) {
		s.uploading = nil
		return false, nil
	}
	if (f[0] == 'S' || f[0] == 'H') && len(f) > frameHeader {
		return true, violated("malformed %q", f[0])
	}
	switch f[0] {
	case 'd', 'c', 'f':
		if err := s.upload(ctx, e, f); err != nil {
			return true, err
		}
		if f[0] == 'd' && e.unwanted.Load() == nil {
			return true, nil
		}
		return true, s.uploaded(ctx, e)
	case 'S':
		s.doubt(f)
		return true, nil
	case 'H':
		return true, nil // the server ignores it
	}
	answered, err := s.leaveUpload(ctx, e, f[0])
	return !answered, err
}

// uploaded takes the end of e's upload.
func (s *session) uploaded(ctx context.Context, e *owed) error {
	s.uploading = nil
	s.queue.endCopyIn()
	if e.kind == 'Q' {
		return s.awaitCopyIn(ctx, e) // another may follow
	}
	return nil
}

// upload records and sends COPY data, with that behind it which is at hand, or what
// ends it. Where plugins do not allow that, it gives the upload up.
func (s *session) upload(ctx context.Context, e *owed, f []byte) error {
	at, u, j := len(s.up), e.masked, e.judged
	if j != nil && f[0] != 'f' {
		j.begin()
		if f[0] == 'c' {
			if v := j.end(ctx, true); v.Action != event.Allow {
				return s.refuseUpload(e, v)
			}
		} else {
			j.data(f[frameHeader:])
		}
	}
	if u != nil {
		u.begin()
		if f[0] != 'd' {
			s.up = append(s.up, f...)
			return u.record(f)
		}
		u.data(f[frameHeader:])
	}
	s.up = append(s.up, f...)
	for f[0] == 'd' && len(s.up)-at < maxBuffer && s.fromClient.buffered() && s.fromClient.peek() == 'd' {
		next, err := s.fromClient.next()
		if err != nil {
			return err
		}
		s.up = append(s.up, next...)
		if u != nil {
			u.data(next[frameHeader:])
		}
		if j != nil {
			j.data(next[frameHeader:])
		}
	}
	if j != nil && f[0] == 'd' {
		if v := j.end(ctx, false); v.Action != event.Allow {
			s.up = s.up[:at]
			return s.refuseUpload(e, v)
		}
	}
	if u != nil {
		return u.record(nil)
	}
	return e.x.Upload(s.up[at:])
}

// uploadLong relays COPY data that is too long to be held, of which only the
// header f has been read. Each piece is recorded, and sent, before the next is
// read. Where plugins do not allow some of it, the upload is given up behind it.
// Gone is why the client did not send the rest of it.
func (s *session) uploadLong(ctx context.Context, f []byte) (gone, err error) {
	e := s.uploading
	err = s.lead(func() error {
		if err := s.flushUp(ctx); err != nil {
			return err
		}
		s.within = true
		p, begun := f, false // the header comes first
		for {
			if err := e.uploadPiece(ctx, p, begun); err != nil {
				return err
			}
			begun = true
			if err := s.ps.Commit(ctx); err != nil {
				return err
			}
			if err := s.writeUp(p); err != nil {
				return err
			}
			if s.fromClient.left == 0 {
				s.within = false
				return s.endLong(ctx, e)
			}
			if p, gone = s.fromClient.piece(pieceBuffer); gone != nil {
				return nil
			}
		}
	})
	return gone, err
}

// endLong gives the upload up where plugins did not allow some of a long message.
func (s *session) endLong(ctx context.Context, e *owed) error {
	if e.judged == nil || e.judged.refused == nil {
		return nil
	}
	if err := s.refuseUpload(e, *e.judged.refused); err != nil {
		return err
	}
	return s.uploaded(ctx, e)
}

// uploadPiece records a piece of a message, or its header.
func (e *owed) uploadPiece(ctx context.Context, p []byte, data bool) error {
	u := e.masked
	if e.judged != nil && data {
		e.judged.piece(ctx, p)
	}
	switch {
	case u == nil:
		return e.x.Upload(p)
	case !data:
		return nil
	}
	u.begin()
	u.data(p)
	return u.record(nil)
}

// attend calls wait and meanwhile reads ahead, to notice a client that hangs
// up: then the wait's context ends, and reading goes on at the end of the
// stream; or, where that is not reached yet, the server has no more time than
// after a client that hangs up at any other point.
func (s *session) attend(ctx context.Context, wait func(context.Context) error) error {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	gone := make(chan error, 1)
	go func() {
		err := s.listen(waiting)
		switch {
		case errors.Is(err, io.EOF):
			cancel()
		case err != nil:
			// What it had sent is still to be read, once the server has answered.
			s.leaving.Store(true)
			_ = s.server.conn.SetReadDeadline(timeIn(farewell)) // fails where it is closed
		}
		gone <- err
	}()
	err := wait(waiting)
	cancel()
	_ = s.client.SetReadDeadline(time.Unix(1, 0)) // wakes listen
	heard := <-gone
	if ctx.Err() == nil && errors.Is(err, context.Canceled) {
		err = nil
	}
	if heard != nil && !errors.Is(heard, io.EOF) && !errors.Is(heard, io.ErrUnexpectedEOF) {
		return errors.Join(err, heard)
	}
	return errors.Join(err, s.client.SetReadDeadline(time.Time{}))
}

// beginCopyIn says that the server reads COPY data for e, which is owed.
func (q *queue) beginCopyIn(e *owed) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.copyIn = e
	q.moved.Broadcast()
}

// endCopyIn says that the server reads no more COPY data, or will not when it
// gets there.
func (q *queue) endCopyIn() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.copyIn = nil
}

// copyingIn reports whether the server reads COPY data for e, as far as it said.
func (q *queue) copyingIn(e *owed) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return e.queued && q.copyIn == e
}

// awaitCopyIn returns when copyingIn(e) is so, e is no longer owed, ctx ended or
// the queue was closed.
func (q *queue) awaitCopyIn(ctx context.Context, e *owed) error {
	return q.until(ctx, func() bool { return !e.queued || q.copyIn == e })
}
