package console_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"gatehouse/console"
	"gatehouse/console/internal/sample"
)

// dial opens a WebSocket as the page would in who's browser.
func (g *gate) dial(who string) *websocket.Conn {
	g.t.Helper()
	conn, res, err := g.connect(http.Header{"Cookie": {"who=" + who}, "Origin": {g.url}})
	if err != nil {
		g.t.Fatalf("dial: %v (%v)", err, res)
	}
	return conn
}

func (g *gate) connect(h http.Header) (*websocket.Conn, *http.Response, error) {
	conn, res, err := websocket.DefaultDialer.DialContext(g.t.Context(), "ws"+strings.TrimPrefix(g.url, "http")+"/api/events", h)
	if err == nil {
		g.t.Cleanup(func() { conn.Close() })
	}
	return conn, res, err
}

// next returns the next event as text, without those that only say that the
// connection is alive.
func next(t *testing.T, conn *websocket.Conn) string {
	t.Helper()
	for {
		var e console.Event
		if err := conn.ReadJSON(&e); err != nil {
			t.Fatalf("read event: %v", err)
		}
		switch {
		case e.Type == "alive":
			continue
		case e.Approval != nil:
			return e.Type + " " + e.Approval.ID
		case e.Failing != nil:
			return fmt.Sprint(e.Type, " ", e.Failing[0].Plugin, " ", e.Failing[0].Since.Unix(), " ", e.Failing[0].Why.Head)
		case e.Outage != nil:
			return fmt.Sprint(e.Type, " ", e.Outage.Since.Unix(), " ", e.Outage.Why.Head)
		case e.Ending != nil:
			return strings.TrimSpace(e.Type + " " + e.Ending.ID + " " + e.Ending.How + " " + e.Ending.By)
		}
		return e.Type
	}
}

func want(t *testing.T, conn *websocket.Conn, events ...string) {
	t.Helper()
	for _, w := range events {
		if got := next(t, conn); got != w {
			t.Fatalf("event %q, want %q", got, w)
		}
	}
}

func TestEvents(t *testing.T) {
	g := newGate(t)
	g.hold(t.Context(), sample.Held("A", "UPDATE t"))
	alice, agent := g.dial("alice"), g.dial("agent")
	want(t, alice, "approval A", "ready")
	want(t, agent, "approval A", "ready")
	carol := g.dial("carol")
	want(t, carol, "ready")

	ctx, cancel := context.WithCancel(t.Context())
	c := g.hold(ctx, sample.Held("B", "UPDATE t"))
	want(t, alice, "approval B")
	cancel()
	<-c
	want(t, alice, "ended B withdrawn")
	if err := g.approvals.Decide("A", sample.People["bob"], false, "no"); err != nil {
		t.Fatal(err)
	}
	want(t, alice, "ended A denied bob@example.com")
	// The agent has not read meanwhile, and may have missed that B came and went.
	for e := ""; e != "ended A denied bob@example.com"; {
		if e = next(t, agent); strings.Contains(e, "A") && !strings.HasPrefix(e, "ended A") {
			t.Errorf("the agent hears %q", e)
		}
	}
	// Whoever may see none of it hears of none.
	g.console.Close()
	if _, _, err := carol.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseGoingAway) {
		t.Errorf("carol hears %v, want the end", err)
	}
}

// Auditors and approvers hear of an outage of the store at once, and others do
// not.
func TestOutage(t *testing.T) {
	var mu sync.Mutex
	var since time.Time
	var why error
	set := func(at int64, err error) {
		mu.Lock()
		defer mu.Unlock()
		if since, why = time.Unix(at, 0), err; err == nil {
			since = time.Time{}
		}
	}
	g := newGate(t, func(c *console.Console) {
		console.SetSocketLimits(c, time.Minute, time.Second)
		c.Approvers = func() []string { return []string{"dba"} }
		c.Outage = func() (time.Time, error) {
			mu.Lock()
			defer mu.Unlock()
			return since, why
		}
	})
	set(1000, errors.New("the bucket is full"))
	bob, carol, agent := g.dial("bob"), g.dial("carol"), g.dial("agent")
	for _, conn := range []*websocket.Conn{bob, carol} {
		want(t, conn, "ready 1000 the bucket is full")
	}
	set(0, nil)
	for _, conn := range []*websocket.Conn{bob, carol} {
		want(t, conn, "outage")
	}
	set(2000, errors.New("it is away"))
	for _, conn := range []*websocket.Conn{bob, carol} {
		want(t, conn, "outage 2000 it is away")
	}
	g.hold(t.Context(), sample.Held("A", "UPDATE t"))
	want(t, agent, "ready", "approval A")
}

// So they do of a plugin that keeps failing.
func TestFailingPlugin(t *testing.T) {
	var mu sync.Mutex
	failing := []console.Failing{console.NewFailing("guard", time.Unix(1000, 0), errors.New("it trapped"))}
	g := newGate(t, func(c *console.Console) {
		console.SetSocketLimits(c, time.Minute, time.Second)
		c.Approvers = func() []string { return []string{"dba"} }
		c.Failing = func() []console.Failing {
			mu.Lock()
			defer mu.Unlock()
			return failing
		}
	})
	bob, carol, agent := g.dial("bob"), g.dial("carol"), g.dial("agent")
	for _, conn := range []*websocket.Conn{bob, carol} {
		want(t, conn, "ready guard 1000 it trapped")
	}
	mu.Lock()
	failing = nil
	mu.Unlock()
	for _, conn := range []*websocket.Conn{bob, carol} {
		want(t, conn, "outage")
	}
	g.hold(t.Context(), sample.Held("A", "UPDATE t"))
	want(t, agent, "ready", "approval A")
}

// A04.
func TestEventsOfOtherSites(t *testing.T) {
	g := newGate(t)
	g.hold(t.Context(), sample.Held("A", "UPDATE t"))
	host := strings.TrimPrefix(g.url, "http://")
	for _, tc := range []struct {
		name string
		h    http.Header
		want int
	}{
		{"a foreign origin", http.Header{"Cookie": {"who=alice"}, "Origin": {"https://evil.example"}}, 403},
		{"the null origin", http.Header{"Cookie": {"who=alice"}, "Origin": {"null"}}, 403},
		{"an origin that begins like ours", http.Header{"Cookie": {"who=alice"}, "Origin": {g.url + ".evil.example"}}, 403},
		{"an origin that ends like ours", http.Header{"Cookie": {"who=alice"}, "Origin": {"http://evil" + host}}, 403},
		{"an origin and a Host that agree", http.Header{"Cookie": {"who=alice"}, "Origin": {"http://evil.example"}, "Host": {"evil.example"}}, 403},
		{"no origin", http.Header{"Cookie": {"who=alice"}}, 403},
		{"a foreign origin with a token", http.Header{"Authorization": {"Bearer alice"}, "Origin": {"https://evil.example"}}, 403},
		{"nobody", http.Header{"Origin": {g.url}}, 401},
		{"a program with a token", http.Header{"Authorization": {"Bearer alice"}}, 101},
		{"the page", http.Header{"Cookie": {"who=alice"}, "Origin": {g.url}}, 101},
	} {
		_, res, err := g.connect(tc.h)
		if res == nil {
			t.Errorf("%s: %v", tc.name, err)
		} else if res.StatusCode != tc.want {
			t.Errorf("%s: %s, want %d", tc.name, res.Status, tc.want)
		}
	}
	if res := g.send("GET", "/api/events", "", nil); res.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("without an upgrade: %s", res.Status)
	}
}

// Whoever does not read is dropped, and holds up nobody meanwhile.
func TestSlowReader(t *testing.T) {
	g := newGate(t, func(c *console.Console) { console.SetSocketLimits(c, time.Minute, 200*time.Millisecond) })
	ctx, cancel := context.WithCancel(t.Context())
	slow := g.dial("alice")
	// More than any socket's buffers take.
	statement := strings.Repeat("x", 64<<10)
	for i := range 900 {
		p := sample.Held(fmt.Sprint(i), statement)
		s := *p.Session
		s.Principal.Subject = fmt.Sprint("agent", i) // the requests of one are limited
		p.Session = &s
		g.hold(ctx, p)
	}
	console.WaitSockets(g.console) // it is dropped
	patient := newGate(t, func(c *console.Console) { c.Approvals = g.approvals })
	quick := patient.dial("bob")
	for range 900 {
		next(t, quick)
	}
	want(t, quick, "ready")
	if err := g.approvals.Decide("7", sample.People["bob"], true, ""); err != nil {
		t.Error(err)
	}
	want(t, quick, "ended 7 approved bob@example.com")
	for {
		if _, _, err := slow.ReadMessage(); err != nil {
			break
		}
	}
	cancel()
}

// A reader that falls behind is told how things stand, not how they changed.
func TestResynchronised(t *testing.T) {
	g := newGate(t)
	conn := g.dial("alice")
	want(t, conn, "ready")
	for i := range 2000 {
		ctx, cancel := context.WithCancel(t.Context())
		c := g.hold(ctx, sample.Held(fmt.Sprint("gone", i), "UPDATE t"))
		cancel()
		<-c
	}
	g.hold(t.Context(), sample.Held("last", "UPDATE t"))
	known := map[string]bool{}
	for !known["last"] {
		kind, id, _ := strings.Cut(next(t, conn), " ")
		id, _, _ = strings.Cut(id, " ")
		if kind == "ended" && !known[id] {
			t.Fatalf("%s ended without having been told of", id)
		}
		known[id] = kind == "approval"
	}
	for id, waits := range known {
		if waits && id != "last" {
			t.Errorf("%s is gone, and the reader was not told", id)
		}
	}
}

func TestSignInEnds(t *testing.T) {
	g := newGate(t, func(c *console.Console) { console.SetSocketLimits(c, 10*time.Millisecond, time.Second) })
	g.hold(t.Context(), sample.Held("A", "UPDATE t"))
	conn := g.dial("alice")
	want(t, conn, "approval A", "ready")
	g.signIn.Ban("alice")
	for {
		_, _, err := conn.ReadMessage()
		if err == nil {
			continue // alive
		}
		if !websocket.IsCloseError(err, 4401) {
			t.Errorf("read: %v, want code 4401", err)
		}
		break
	}
}

func TestUnwantedMessages(t *testing.T) {
	g := newGate(t)
	conn := g.dial("alice")
	want(t, conn, "ready")
	if err := conn.WriteMessage(websocket.TextMessage, []byte(`{"decision":"approve"}`)); err != nil {
		t.Fatal(err)
	}
	g.hold(t.Context(), sample.Held("A", "UPDATE t"))
	want(t, conn, "approval A") // a small one is passed over
	// The gate may hang up before all of it is written.
	_ = conn.WriteMessage(websocket.TextMessage, make([]byte, 1<<20))
	if _, _, err := conn.ReadMessage(); err == nil {
		t.Error("a message of 1 MiB was taken")
	}
	console.WaitSockets(g.console)
}

func TestClose(t *testing.T) {
	g := newGate(t)
	a, b := g.dial("alice"), g.dial("bob")
	want(t, a, "ready")
	want(t, b, "ready")
	if err := errors.Join(g.console.Close(), g.console.Close()); err != nil {
		t.Error(err)
	}
	for _, c := range []*websocket.Conn{a, b} {
		if _, _, err := c.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseGoingAway) {
			t.Errorf("read: %v, want going away", err)
		}
	}
	if _, res, _ := g.connect(http.Header{"Cookie": {"who=alice"}, "Origin": {g.url}}); res == nil || res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("after Close: %v, want 503", res)
	}
}

func TestMaxSockets(t *testing.T) {
	g := newGate(t)
	for range console.MaxSockets {
		want(t, g.dial("alice"), "ready")
	}
	_, res, _ := g.connect(http.Header{"Cookie": {"who=alice"}, "Origin": {g.url}})
	if res == nil || res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("beyond the limit: %v, want 503", res)
	}
	if _, err := g.client("alice").List(t.Context()); err != nil {
		t.Errorf("the API beside: %v", err)
	}
}
