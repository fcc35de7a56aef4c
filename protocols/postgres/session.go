package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/core/poll"
	"gatehouse/core/proxy"
)

// farewell is how long a session waits for the server's last responses after
// its client has said good-bye, to learn what became of what it sent.
const farewell = 5 * time.Second

// A session relays one client's connection. Fields without a mutex belong to
// the goroutine that their comment names.
type session struct {
	protocol *Protocol
	resource *Resource
	database string
	env      proxy.Env
	ps       *pipeline.Session
	key      cancelKey
	queue    *queue
	around   surroundings   // requests: those that attrs describes
	attrs    []event.Attr   // requests
	shared   sharing        // requests
	objects  []event.Object // requests: room for those of one
	catalog  *catalog

	client     net.Conn
	server     *upstream
	fromClient *reader                        // requests
	fromServer *reader                        // responses
	up         []byte                         // requests: to the server
	discarding bool                           // requests: a refused message's successors, up to Sync
	context    judged                         // requests: what is judged now
	renewals   uint64                         // requests: counts changes of the policy
	sync       owed                           // requests: for each Sync of the client, of which nothing is noted
	segment    uint64                         // requests: counts Syncs and simple queries, from 1
	unread     uint64                         // requests: the segment in which code ran that may change how text is read; 0 when settled
	temporary  temporaries                    // requests
	untold     bool                           // requests: they may hold what is protected since, so that no name is certain
	uploading  *owed                          // requests: what the server may read COPY data for
	within     bool                           // requests: a part of a message went up, and the rest did not
	misplaced  atomic.Int32                   // type of a message in the place of COPY data, at which the gate gave the upload up
	doubts     atomic.Int32                   // Syncs within an upload, which the server answers if the upload had failed by then
	lastReady  []byte                         // responses: that of the gate's own Sync, or of one in doubt
	params     rowBuffers                     // requests: for binary parameters
	searches   struct{ path, schemas string } // requests: the last search_path, and what it names

	down down               // to the client
	tx   transaction        // responses: the one that is open
	cut  *pipeline.Exchange // responses: whose result could not be treated, recorded as such
	rows rowBuffers

	made       made
	meanings   meanings
	shownTexts shownTexts
	listens    listens
	shown      shown // responses

	reported atomic.Uint64 // counts changes of settings that the server reported
	settings settings
	readOnly atomic.Bool // transactions only read by default, as the server reports
	leaving  atomic.Bool // the client said good-bye
	ending   atomic.Pointer[endError]
	told     sync.Once   // the client is told why its session ends
	quitting atomic.Bool // it is being told

	busy   sync.Mutex    // held while a request is on its way, and to go over to a changed policy
	barred *endError     // guarded by busy: no policy lets the session go on
	nudged chan struct{} // makes watch look again
	active atomic.Int64  // when the session last did something, in Unix nanoseconds
	// sending is when the write to the server began that is under way; 0 when
	// none is.
	sending atomic.Int64

	mu   sync.Mutex
	held context.CancelCauseFunc // ends the hold that is waiting
}

// dial connects to the server and greets the client.
func (s *session) dial(ctx context.Context, st *startup) error {
	u, err := s.connect(ctx, st.params)
	if err == nil {
		err = errors.Join(checkParams(u.params), s.resource.checkRole("is_superuser", u.params["is_superuser"]))
		if err != nil {
			u.conn.Close()
		}
	}
	if err != nil {
		return &endError{refusal{code: codeUnreachable,
			message: "gatehouse: resource \"" + s.resource.Name + "\" cannot be opened at the moment",
			hint:    "The gate's log says why; it names client " + s.client.RemoteAddr().String() + "."}, err}
	}
	s.server = u
	s.catalog = s.resource.catalogs.of(s.resource, s.database, u.address)
	s.readOnly.Store(u.params[paramReadOnly] == "on")
	s.settings.begin(u.params, st.params, s.catalog.newNaming(ctx))
	s.shown.begin(u.params)
	s.fromServer = newReader(u.conn, s.protocol.config.Limits.MessageSize)
	s.key = s.protocol.cancels.add(u.pid, st.secretLength(), func() { s.cancel(context.WithoutCancel(ctx)) })
	s.fromServer.inPieces, s.fromServer.whole = longFromServer, s.protocol.config.Limits.Buffer
	greeting, err := u.greeting(s.key)
	if err == nil {
		err = s.ps.Commit(ctx)
	}
	if err == nil {
		_, err = s.client.Write(greeting)
	}
	if err != nil {
		s.protocol.cancels.remove(s.key)
		u.conn.Close()
	}
	return err
}

// relay runs both directions until the session is over.
func (s *session) relay(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		s.client.Close()
		s.server.conn.Close()
		s.queue.close()
	})
	defer stop()
	s.env.Log.Info("session opened", s.logAttrs()...)
	ended := make(chan error, 2)
	serve(s.client, s.fromClient, unlessPanic(cancel, func() error {
		err := s.requests(ctx)
		if err != nil && err != poll.ErrWait {
			s.quit(ctx, err)
			cancel()
		}
		return err
	}), ended)
	serve(s.server.conn, s.fromServer, unlessPanic(cancel, func() error {
		err := s.responses(ctx)
		if err != poll.ErrWait {
			s.quit(ctx, err)
			cancel()
		}
		return err
	}), ended)
	err := unlessPanic(cancel, func() error { s.watch(ctx); return nil })()
	return over(cmp.Or(<-ended, <-ended, err)) // what came first is why
}

// serve relays what comes over a connection, by r, until relay returns something
// else than poll.ErrWait, which ended gets. Where a Poller waits for the
// connection, relay is called whenever there is something to read. Otherwise a
// goroutine reads.
func serve(conn net.Conn, r *reader, relay func() error, ended chan<- error) {
	c := poll.Of(conn)
	if c == nil {
		go func() { ended <- relay() }()
		return
	}
	r.try = func(b []byte) (int, error) { return c.Try(conn, b) }
	c.Serve(func() bool {
		err := relay()
		if err == poll.ErrWait {
			return true
		}
		ended <- err
		return false
	})
}

// unlessPanic runs f so that a panic in it ends the session, by cancel, and no
// other. Nothing more is said to the client: what it is owed may be half made.
func unlessPanic(cancel context.CancelFunc, f func() error) func() error {
	return func() (err error) {
		defer func() {
			if p := recover(); p != nil {
				cancel()
				err = fmt.Errorf("session panicked: %v\n%s", p, debug.Stack())
			}
		}()
		return f()
	}
}

// over drops errors that only say that the session is over.
func over(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (s *session) logAttrs() []any {
	i := s.ps.Terms().Session
	return []any{"session", i.ID, "resource", i.Resource, "principal", i.Principal.Name, "client", i.Client}
}

// quit tells the client why its session ends, where that is for the gate to
// say, and returns when it has been told. Only the first reason counts, and it is
// told once, whichever goroutine comes first.
func (s *session) quit(ctx context.Context, err error) {
	if err == nil || over(err) == nil || ctx.Err() != nil || isNetwork(err) {
		return
	}
	e := fatal(err)
	if !s.ending.CompareAndSwap(nil, e) && s.ending.Load() != err {
		return
	}
	s.told.Do(func() {
		s.quitting.Store(true)
		_ = s.client.SetWriteDeadline(timeIn(farewell)) // for the write that holds down.mu, too
		s.down.mu.Lock()
		defer s.down.mu.Unlock()
		if s.down.within {
			return // what is said now would be read as part of the frame
		}
		s.down.buf = e.append(s.down.buf, "FATAL")
		_ = s.flushDown(ctx) // the session is over either way
	})
}

func isNetwork(err error) bool {
	_, ok := errors.AsType[net.Error](err)
	return ok || errors.Is(err, io.ErrUnexpectedEOF)
}

// endOnceIdle ends the session for the reason e, at once if it is idle and otherwise
// at its next idle point.
func (s *session) endOnceIdle(ctx context.Context, e *endError) {
	s.ending.CompareAndSwap(nil, e)
	s.down.mu.Lock()
	idle := s.queue.idle() && len(s.down.buf) == 0
	s.down.mu.Unlock()
	if idle {
		s.endIdle(ctx)
	}
}

// endIdle ends the session if it is idle and should end. It is called at every
// idle point.
func (s *session) endIdle(ctx context.Context) {
	e := s.ending.Load()
	if e == nil || !s.queue.idle() || s.holding() {
		return
	}
	s.quit(ctx, e)
	s.client.Close()
	s.server.conn.Close()
}

func (s *session) holding() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held != nil
}

// errClientCanceled ends a hold by a CancelRequest.
var errClientCanceled = errors.New("canceled by the client")

// cancel ends a hold or, where there is none, cancels at the server what this
// session, and no other, is doing.
func (s *session) cancel(ctx context.Context) {
	s.mu.Lock()
	held := s.held
	s.mu.Unlock()
	if held != nil {
		held(errClientCanceled)
		return
	}
	if err := s.ps.Notice(event.Notice{Code: "cancel", Text: "the client asked to cancel"}); err != nil {
		return
	}
	if err := s.ps.Commit(ctx); err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, DefaultConnectTimeout)
	defer cancel()
	if err := s.server.cancel(ctx); err != nil {
		s.env.Log.Warn("cancel request failed", append(s.logAttrs(), "error", err)...)
	}
}

// close ends what open began and records why the session ended.
func (s *session) close(ctx context.Context) {
	s.protocol.cancels.remove(s.key)
	s.client.Close()
	s.server.conn.Close()
	s.abandon()
	s.dropTemporary(ctx)
	if n := s.queue.unsettled(); n > 0 {
		s.catalog.settle(n)
	}
	s.resource.leave()
	n := event.Notice{Code: "closed", Text: "the client left"}
	if e := s.ending.Load(); e != nil {
		n = event.Notice{Code: e.code, Text: e.message}
	} else if !s.leaving.Load() {
		n = event.Notice{Code: "lost", Text: "the connection ended"}
	}
	if err := s.ps.Close(context.WithoutCancel(ctx), n); err != nil {
		s.env.Log.Error("recording was not closed", append(s.logAttrs(), "error", err)...)
	}
	s.env.Log.Info("session closed", append(s.logAttrs(), "reason", n.Text)...)
}

// A down is what goes to the client. Whole messages are appended to buf; what
// lies behind mark is not recorded yet.
type down struct {
	mu     sync.Mutex
	buf    []byte
	mark   int
	x      *pipeline.Exchange // that buf[mark:] belongs to; nil: to the session
	within bool               // a part of a frame went out, and the rest did not
}

// attribute makes further messages belong to x, after recording what is there.
// The caller holds down.mu.
func (s *session) attribute(x *pipeline.Exchange) error {
	d := &s.down
	if len(d.buf) > d.mark {
		if err := d.record(s.ps, d.buf[d.mark:]); err != nil {
			return err
		}
		d.mark = len(d.buf)
	}
	d.x = x
	return nil
}

// record records b, which the client is about to get.
func (d *down) record(ps *pipeline.Session, b []byte) error {
	if d.x != nil {
		return d.x.Data(b)
	}
	return ps.Data(b)
}

// flushDown records and sends what the client is owed. The caller holds
// down.mu.
func (s *session) flushDown(ctx context.Context) error {
	d := &s.down
	if len(d.buf) == 0 {
		return nil
	}
	if err := s.attribute(d.x); err != nil {
		return err
	}
	if err := s.ps.Commit(ctx); err != nil {
		return err
	}
	err := s.writeDown(d.buf)
	d.buf, d.mark = d.buf[:0], 0
	if cap(d.buf) > 2*maxBuffer {
		d.buf = nil
	}
	return err
}

// writeDown writes to the client what is recorded. A client that takes nothing
// of it for too long loses its session. The caller holds down.mu.
func (s *session) writeDown(b []byte) error {
	for len(b) > 0 {
		patience := s.protocol.config.Limits.Unread
		if s.quitting.Load() {
			patience = farewell
		}
		err := s.client.SetWriteDeadline(timeIn(patience))
		if err == nil {
			// In steps, since a deadline ends a whole write.
			_, err = s.client.Write(b[:min(len(b), maxBuffer)])
		}
		if err != nil && s.leaving.Load() {
			return nil // nobody is left to read; the responses are for the record
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			s.ending.CompareAndSwap(nil, &endError{refusal{code: codeLost,
				message: fmt.Sprintf("the client read nothing for %s", patience)}, nil})
		}
		if err != nil {
			return err
		}
		b = b[min(len(b), maxBuffer):]
	}
	return nil
}

// flushUp makes the requests' records durable and sends them.
func (s *session) flushUp(ctx context.Context) error {
	if len(s.up) == 0 {
		return nil
	}
	if err := s.ps.Commit(ctx); err != nil {
		return err
	}
	err := s.writeUp(s.up)
	if s.up = s.up[:0]; cap(s.up) > 2*maxBuffer {
		s.up = nil
	}
	return err
}

// writeUp writes to the server, in steps, so that endIfUntaken sees that it takes
// something.
func (s *session) writeUp(b []byte) error {
	defer s.sending.Store(0)
	for len(b) > 0 {
		s.sending.Store(time.Now().UnixNano())
		n, err := s.server.conn.Write(b[:min(len(b), maxBuffer)])
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
