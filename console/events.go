package console

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"gatehouse/core/approval"
	"gatehouse/core/event"
)

// What bounds the WebSockets.
const (
	// MaxSockets is how many are open at a time.
	MaxSockets = 500
	// maxMessage is how many bytes a message of a browser may have; the
	// page sends none.
	maxMessage = 512
)

// socketLimits are the WebSockets' deadlines.
type socketLimits struct {
	look  time.Duration // between two looks at whether recordings are stored
	ping  time.Duration // between two pings, each of which checks the sign-in again
	pong  time.Duration // without an answer, the socket ends
	write time.Duration // for one message; a reader that is slower is dropped
}

var defaultSocketLimits = socketLimits{look: time.Second, ping: 20 * time.Second, pong: 50 * time.Second, write: 10 * time.Second}

// closeSignedOut is the WebSocket's close code when the sign-in ended.
const closeSignedOut = 4401

// An Event is one message on the WebSocket. A new reader gets what waits, then
// "ready": what it has not heard of by then is gone. A slow reader gets what
// changed since its last message. "alive" comes with every ping, so that a
// page notices a connection that is broken. "outage" comes when an outage of the
// store, or of a plugin, begins or ends; it, "ready" and "alive" have those that
// there are, if the reader may know.
type Event struct {
	Type     string    `json:"type"` // "approval", "ended", "outage", "ready" or "alive"
	Approval *Approval `json:"approval,omitempty"`
	Ending   *Ending   `json:"ending,omitempty"`
	Outage   *Outage   `json:"outage,omitempty"`
	Failing  []Failing `json:"failing,omitempty"`
}

// An Outage is a time in which recordings only wait in the gate's spool: the
// store does not take them.
type Outage struct {
	Since time.Time `json:"since"`
	Why   Text      `json:"why"`
}

// Failing is a plugin that keeps failing: all requests that need it are refused.
type Failing struct {
	Plugin string    `json:"plugin"`
	Since  time.Time `json:"since"`
	Why    Text      `json:"why"`
}

// NewFailing returns what the console tells of a plugin that keeps failing.
func NewFailing(plugin string, since time.Time, why error) Failing {
	return Failing{plugin, since, text([]byte(why.Error()), whyHead, whyTail)}
}

// outages are what a reader knows of.
type outages struct {
	store   *Outage
	plugins []Failing
}

// same is whether o and p are the same outages, whatever is why.
func (o outages) same(p outages) bool {
	return o.store.since().Equal(p.store.since()) && slices.EqualFunc(o.plugins, p.plugins, func(a, b Failing) bool {
		return a.Plugin == b.Plugin && a.Since.Equal(b.Since)
	})
}

// Of a longer reason, this much is shown.
const whyHead, whyTail = 300, 100

// events upgrades to a WebSocket on which approvals appear and end.
func (c *Console) events(w http.ResponseWriter, r *http.Request, by event.Principal) error {
	if !websocket.IsWebSocketUpgrade(r) {
		return &apiError{http.StatusUpgradeRequired, "this is a WebSocket", "connect to it as one"}
	}
	if err := c.enter(); err != nil {
		return err
	}
	defer c.leave()
	up := websocket.Upgrader{
		HandshakeTimeout: c.limits.write,
		CheckOrigin:      func(*http.Request) bool { return true }, // guard has
		Error:            func(http.ResponseWriter, *http.Request, int, error) {},
	}
	conn, err := up.Upgrade(w, r, nil)
	if err != nil {
		return &apiError{http.StatusBadRequest, "this is no WebSocket handshake", "connect with a WebSocket client"}
	}
	s := socket{Console: c, conn: conn, request: r, by: by, sent: map[string]bool{}}
	s.serve()
	return nil
}

// enter counts a socket in, unless there are too many or the console closes.
func (c *Console) enter() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return &apiError{http.StatusServiceUnavailable, "the gate is shutting down", "connect again in a moment"}
	}
	if c.open >= MaxSockets {
		return &apiError{http.StatusServiceUnavailable, "too many pages are open on this gate", "close some, and connect again in a moment"}
	}
	c.open++
	c.sockets.Add(1)
	return nil
}

func (c *Console) leave() {
	c.mu.Lock()
	c.open--
	c.mu.Unlock()
	c.sockets.Done()
}

// A socket is one open WebSocket. Its goroutine is the only one that writes.
type socket struct {
	*Console
	conn    *websocket.Conn
	request *http.Request // whose credential is checked again at each ping
	by      event.Principal
	sent    map[string]bool // the approvals that the reader knows
	told    outages         // that the reader knows
}

// serve returns when the socket is over.
func (s *socket) serve() {
	ctx, cancel := context.WithCancel(s.ctx)
	var reader sync.WaitGroup
	reader.Go(func() { defer cancel(); s.read() })
	code, reason := s.write(ctx)
	if code != 0 {
		_ = s.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), time.Now().Add(s.limits.write))
	}
	s.conn.Close()
	cancel()
	reader.Wait()
}

// read reads pongs, and the end, until then.
func (s *socket) read() {
	s.conn.SetReadLimit(maxMessage)
	alive := func(string) error { return s.conn.SetReadDeadline(time.Now().Add(s.limits.pong)) }
	s.conn.SetPongHandler(alive)
	for err := alive(""); err == nil; {
		_, _, err = s.conn.NextReader()
	}
}

// write sends what changes until ctx ends, and returns the code and reason to
// close with, or 0 if the connection is broken.
func (s *socket) write(ctx context.Context) (code int, reason string) {
	changes, stop := s.Approvals.Watch()
	defer stop()
	if s.update() != nil || s.tell("ready", s.outages()) != nil {
		return 0, ""
	}
	look := time.NewTicker(s.limits.look)
	defer look.Stop()
	ping := time.NewTicker(s.limits.ping)
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return websocket.CloseGoingAway, "going away"
		case <-changes:
			if s.update() != nil {
				return 0, ""
			}
		case <-look.C:
			if o := s.outages(); !o.same(s.told) && s.tell("outage", o) != nil {
				return 0, ""
			}
		case <-ping.C:
			by, err := s.SignIn.Principal(s.request)
			if err != nil || !by.Is(s.by) {
				return closeSignedOut, "signed out"
			}
			s.by = by
			ping := s.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(s.limits.write))
			if ping != nil || s.tell("alive", s.outages()) != nil || s.update() != nil {
				return 0, ""
			}
		}
	}
}

// outages returns those that there are, if the reader may know of them.
func (s *socket) outages() (o outages) {
	if !s.mayHear(s.by) {
		return o
	}
	if s.Failing != nil {
		o.plugins = s.Failing()
	}
	if s.Outage == nil {
		return o
	}
	if since, why := s.Outage(); !since.IsZero() {
		o.store = &Outage{since, text([]byte(why.Error()), whyHead, whyTail)}
	}
	return o
}

func (o *Outage) since() time.Time {
	if o == nil {
		return time.Time{}
	}
	return o.Since
}

// tell sends an event that says which outages there are.
func (s *socket) tell(kind string, o outages) error {
	s.told = o
	return s.send(Event{Type: kind, Outage: o.store, Failing: o.plugins})
}

// update tells the reader how what waits differs from what it knows.
func (s *socket) update() error {
	list := s.Approvals.List(s.by)
	waiting := make(map[string]bool, len(list))
	for _, p := range list {
		waiting[p.ID] = true
	}
	for id := range s.sent {
		if waiting[id] {
			continue
		}
		// How it ended may be forgotten already; that it ended is not.
		ending := Ending{ID: id, How: "ended"}
		var ended *approval.EndedError
		if _, err := s.Approvals.Get(id, s.by); errors.As(err, &ended) {
			ending = endingView(ended.Ending)
		}
		if err := s.send(Event{Type: "ended", Ending: &ending}); err != nil {
			return err
		}
		delete(s.sent, id)
	}
	for _, p := range list {
		if s.sent[p.ID] {
			continue
		}
		a := s.approvalView(p, s.by, false)
		if err := s.send(Event{Type: "approval", Approval: &a}); err != nil {
			return err
		}
		s.sent[p.ID] = true
	}
	return nil
}

func (s *socket) send(e Event) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.limits.write)); err != nil {
		return err
	}
	return s.conn.WriteJSON(e)
}
