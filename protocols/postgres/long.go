package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf8"

	"gatehouse/core/event"
)

// longFromServer is whether a server's frames of a type may be so long that they
// are relayed in pieces.
func longFromServer(kind byte) bool { return kind == 'D' || kind == 'd' || kind == 'V' }

// longFromClient is the same for clients. Of theirs only the data of an upload is
// relayed in pieces: every request is judged whole. But one that is too long is
// read to its end, so that it can be refused in step.
func longFromClient(byte) bool { return true }

// respondLong relays a frame of which only the header has been read, f.
func (s *session) respondLong(ctx context.Context, f []byte) error {
	kind, e := f[0], s.queue.head()
	switch {
	case e == nil:
		return violated("the server sent %q, which nobody asked for", kind)
	case e.refusal != nil || e.failed != "":
		return violated("the server answered with %q where only an error was due", kind)
	case kind == 'D' && (e.kind == 'E' || e.kind == 'Q'):
		return s.longRow(ctx, e)
	case kind == 'd':
		return s.longCopied(ctx, e)
	case kind == 'V' && e.kind == 'F':
		return s.longResponse(ctx, e)
	}
	return violated("the server answered %q with %q", e.kind, kind)
}

// longRow relays a row that is too long to be held.
func (s *session) longRow(ctx context.Context, e *owed) error {
	start := binary.BigEndian.AppendUint32([]byte{'D'}, uint32(s.fromServer.left+4))
	count, err := s.fromServer.take(2)
	if err != nil {
		return s.serverLeft(ctx, err)
	}
	start = append(start, count...)
	var h *head
	var columns []int
	err = s.locked(func() (err error) {
		h, columns, _, err = s.rowHead(ctx, e, count)
		return err
	})
	if err != nil {
		return err
	}
	return s.relayLong(ctx, e, h, start, len(columns) > 0, (*longRow).dataRow)
}

// relayLong relays the message that the server has begun, whose first bytes are
// start. If its values are treated, read takes the rest of it to be so.
func (s *session) relayLong(ctx context.Context, e *owed, h *head, start []byte, treated bool, read func(*longRow, context.Context) error) error {
	size := len(start) + s.fromServer.left
	if err := s.locked(func() error { return s.take(e, size) }); err != nil {
		return err
	}
	if treated {
		return s.treatLong(ctx, e, h, start, read)
	}
	e.rows++
	return s.stream(ctx, e, start)
}

// locked runs f while nothing else is said to the client.
func (s *session) locked(f func() error) error {
	s.down.mu.Lock()
	defer s.down.mu.Unlock()
	return f()
}

// stream sends the client, as part of e's response, a frame that begins with
// start and ends with what is left of the one that the server has begun. Each
// piece is recorded, and sent, before the next is read.
func (s *session) stream(ctx context.Context, e *owed, start []byte) error {
	if err := s.begin(ctx, e, start); err != nil {
		return err
	}
	for s.fromServer.left > 0 {
		p, err := s.fromServer.piece(pieceBuffer)
		if err != nil {
			return s.serverLeft(ctx, err)
		}
		if err := s.sendPiece(ctx, p); err != nil {
			return err
		}
	}
	s.finish()
	return nil
}

// begin sends what is owed and start, which is the beginning of a frame that
// sendPiece goes on with, as part of e's response.
func (s *session) begin(ctx context.Context, e *owed, start []byte) error {
	d := &s.down
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := s.send(e, start); err != nil {
		return err
	}
	d.within = true
	return s.flushDown(ctx)
}

// sendPiece records and sends a further piece of a frame.
func (s *session) sendPiece(ctx context.Context, p []byte) error {
	d := &s.down
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.record(s.ps, p); err != nil {
		return err
	}
	if err := s.ps.Commit(ctx); err != nil {
		return err
	}
	s.stir()
	return s.writeDown(p)
}

// finish ends a frame that begin began, all of which was sent.
func (s *session) finish() {
	s.down.mu.Lock()
	defer s.down.mu.Unlock()
	s.down.within = false
}

// A longRequest is a message that is longer than the limit.
type longRequest struct {
	kind byte
	size int
}

// skipLong reads to its end a client's message that is longer than the limit,
// of which only the header f has been read.
func (s *session) skipLong(f []byte) (longRequest, error) {
	l := longRequest{f[0], s.fromClient.left + frameHeader}
	if strings.IndexByte("QPBEDCFd", l.kind) < 0 {
		return l, violated("message %q of %d bytes", l.kind, l.size)
	}
	return l, s.fromClient.skip()
}

// refuseLong refuses a message that is longer than the limit.
func (s *session) refuseLong(ctx context.Context, l longRequest) error {
	if l.kind == 'd' { // no COPY is under way: the server would drop it
		return nil
	}
	if s.copyingIn() {
		if answered, err := s.leaveUpload(ctx, s.uploading, l.kind); !answered || err != nil {
			return err
		}
	}
	if err := s.settle(ctx); err != nil || s.discarding {
		return err
	}
	if err := s.makeRoom(ctx); err != nil {
		return err
	}
	r := &refusal{code: codeTooLong, message: fmt.Sprintf("gatehouse: a message of %d bytes is longer than the limit of %d",
		l.size, s.protocol.config.Limits.MessageSize)}
	switch l.kind {
	case 'Q':
		return s.refuseQuery(ctx, &event.Request{Operation: "query"}, nil, r)
	case 'F':
		return s.refuseCall(ctx, &event.Request{Operation: "function call"}, nil, r)
	case 'P':
		return s.refuseExtended(&owed{kind: 'E', x: s.reject(ctx, &event.Request{Operation: "prepare"}, nil, r)}, r)
	}
	return s.refuseExtended(&owed{kind: 'E', x: s.reject(ctx, &event.Request{Operation: "execute"}, nil, r)}, r)
}

// wholeRunes returns b without a character at its end that is cut off.
func wholeRunes(b []byte) []byte {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if last := b[len(b)-n:]; utf8.RuneStart(last[0]) {
			if !utf8.FullRune(last) {
				return b[:len(b)-n]
			}
			break
		}
	}
	return b
}
