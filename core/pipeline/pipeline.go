// Package pipeline judges, masks and records one session. Protocols call it at
// the moments that mean something; it never calls back. It has no goroutines,
// no framing, no sockets, and does not know which protocol calls it.
package pipeline

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/core/event"
)

// A Plugin takes part in sessions in the roles of Roles, if it has that method,
// else in those whose interfaces it implements. New finds out which, once.
type Plugin interface{ Name() string }

// Roles are the ways in which one plugin takes part, nil where it does not.
type Roles struct {
	Judge   Judge
	Masker  Masker
	Uploads Uploads
	Ender   Ender
	Closer  Closer
}

// A Judge decides whether a request may go upstream. An error counts as Block.
// Judges are called concurrently.
type Judge interface {
	Judge(context.Context, *event.Session, *event.Request) (event.Verdict, error)
}

// A Masker decides how the values of a response are treated. Maskers are
// called concurrently.
type Masker interface {
	// Treat returns one treatment for each field of the head.
	Treat(context.Context, *event.Session, *event.Head) ([]event.Treatment, error)
	// Inspect returns the edits of the values in fields, for which Treat
	// answered Inspect. The edits of one value are in order and do not
	// overlap; the slice is valid until the next call with the same rows.
	Inspect(ctx context.Context, s *event.Session, rows *event.Rows, fields []int) ([]event.Edit, error)
}

// A Detector is a Masker that may answer Detect.
type Detector interface {
	// Detect appends the edits of what the detections, one list for each of
	// fields, find in the values of these fields. The edits of one value are in
	// order and do not overlap.
	Detect(edits []event.Edit, rows *event.Rows, fields []int, detections [][]event.Detection) []event.Edit
}

// Uploads judges rows that a client sends with a request, all fields of them. An
// error counts as Block, and so does Hold.
type Uploads interface {
	JudgeUpload(context.Context, *event.Session, *event.Head, *event.Rows) (event.Verdict, error)
}

// An Ender is told the outcomes of exchanges. What it notes, if it is not nil,
// is recorded.
type Ender interface {
	End(context.Context, *event.Session, *event.Outcome) (*event.Note, error)
}

// A Closer is told that a session has ended, or goes on without the plugin. What
// it notes, if it is not nil, is recorded.
type Closer interface {
	Close(context.Context) (*event.Note, error)
}

// A Recorder keeps the frames of one session. It is safe for concurrent use.
type Recorder interface {
	// Append adds a frame whose payload is f.Payload followed by more. It
	// copies both.
	Append(f event.Frame, more ...[]byte) error
	// Commit returns when all that was appended before survives the end of
	// this process.
	Commit(context.Context) error
}

// An Approver decides held requests. Await shows a request to those who may decide
// it, calls its Shown, if there is one, and returns when someone decided, the
// request expired or ctx ended; the zero Decision is a denial.
type Approver interface {
	Await(context.Context, *event.Pending) (event.Decision, error)
}

// A Config is what a session is made of.
type Config struct {
	Terms    Terms // that the session begins with
	Recorder Recorder
	Approver Approver
	Key      []byte // keys hashes and digests; at least 32 bytes
}

// A Session is one judged and recorded connection. Its methods are safe for
// concurrent use; those of one Exchange are not.
type Session struct {
	recorder Recorder
	approver Approver
	key      []byte
	last     atomic.Uint64

	renewing sync.Mutex
	current  atomic.Pointer[terms]
}

// New returns a session and records its opening. Nothing is durable before
// Commit. The terms are the session's until Close, also when New fails.
func New(c Config) (*Session, error) {
	s := &Session{recorder: c.Recorder, approver: c.Approver, key: c.Key}
	t := newTerms(c.Terms, c.Key)
	s.current.Store(t)
	if err := s.record(event.KindOpen, 0, t.Session.Append); err != nil {
		t.release()
		return nil, err
	}
	return s, nil
}

// Masks is whether responses are treated, by plugins or because columns are
// protected, so that a protocol must know the fields of every result.
func (s *Session) Masks() bool {
	t := s.current.Load()
	return len(t.maskers) > 0 || t.Protected != nil || slices.ContainsFunc(t.shadows, func(p named[Roles]) bool { return p.role.Masker != nil })
}

// Commit returns when everything recorded so far is durable. Call it before
// every write to a socket.
func (s *Session) Commit(ctx context.Context) error {
	if err := s.recorder.Commit(ctx); err != nil {
		return fmt.Errorf("commit recording: %w", err)
	}
	return nil
}

// Notice records a remark on the session.
func (s *Session) Notice(n event.Notice) error {
	return s.record(event.KindNotice, 0, n.Append)
}

// Close records why the session ended and makes the recording durable. No
// exchange may be used afterwards.
func (s *Session) Close(ctx context.Context, n event.Notice) error {
	t := s.current.Load()
	defer t.release()
	if err := s.closePlugins(ctx, t); err != nil {
		return err
	}
	if err := s.record(event.KindClose, 0, n.Append); err != nil {
		return err
	}
	return s.Commit(ctx)
}

// scratch are buffers to encode frames in: the recorder copies what it is given.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

// maxScratch bounds the buffers that are kept.
const maxScratch = 64 << 10

// record records what encode appends.
func (s *Session) record(k event.Kind, exchange uint64, encode func([]byte) []byte) error {
	b := scratch.Get().(*[]byte)
	*b = encode((*b)[:0])
	err := s.append(k, exchange, *b)
	if cap(*b) <= maxScratch {
		scratch.Put(b)
	}
	return err
}

func (s *Session) append(k event.Kind, exchange uint64, payload []byte) error {
	err := s.recorder.Append(event.Frame{Kind: k, Exchange: exchange, Time: time.Now(), Payload: payload})
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return nil
}

// Data records bytes that the client is about to get outside of any exchange.
func (s *Session) Data(b []byte) error {
	return s.append(event.KindData, 0, b)
}

// Amend records a further outcome of an exchange that has ended: what became of
// it when its transaction did.
func (s *Session) Amend(exchange uint64, o event.Outcome) error {
	if err := s.record(event.KindOutcome, exchange, o.Append); err != nil {
		return err
	}
	return s.tellEnders(s.current.Load(), exchange, &o)
}
