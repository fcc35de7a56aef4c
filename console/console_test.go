package console_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/console"
	"gatehouse/console/internal/sample"
	"gatehouse/core/approval"
	"gatehouse/core/event"
	"gatehouse/core/identity"
)

var _ console.SignIn = (*identity.SignIn)(nil)

// A gate is a console that is served, and what it serves.
type gate struct {
	t         *testing.T
	url       string
	console   *console.Console
	approvals *approval.Registry
	signIn    *sample.SignIn
}

func newGate(t *testing.T, change ...func(*console.Console)) *gate {
	g := &gate{t: t, approvals: approval.New(approval.Limits{}), signIn: &sample.SignIn{}}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.console.ServeHTTP(w, r) }))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	g.url = "http://" + s.Listener.Addr().String()
	broken := sample.Recorded("01B", time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC))
	broken.Broken = true
	var err error
	g.console, err = console.New(console.Config{
		URL: g.url, SignIn: g.signIn, Approvals: g.approvals, Auditors: []string{"auditors"}, Log: slog.New(slog.DiscardHandler),
		Sessions: sample.Sessions{
			sample.Recorded("01C", time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)),
			broken,
			sample.Recorded("01A", time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(g.console)
	}
	s.Start()
	t.Cleanup(func() { s.Close(); g.console.Close() })
	return g
}

// hold returns once the request waits. The channel gets what Await returned.
func (g *gate) hold(ctx context.Context, p *event.Pending) <-chan event.Decision {
	g.t.Helper()
	changes, stop := g.approvals.Watch()
	defer stop()
	c := make(chan event.Decision, 1)
	go func() {
		d, _ := g.approvals.Await(ctx, p)
		c <- d
	}()
	<-changes
	return c
}

func (g *gate) client(who string) *console.Client {
	return &console.Client{URL: g.url, Token: who}
}

// send sends a request as the browser of alice would from the console's page,
// with the headers in header, where an empty one is left out.
func (g *gate) send(method, path, body string, header map[string]string) *http.Response {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), method, g.url+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	all := map[string]string{
		"Cookie": "who=alice", "Origin": g.url, "Content-Type": "application/json", console.RequestHeader: "1",
	}
	for k, v := range header {
		all[k] = v
	}
	for k, v := range all {
		if v != "" {
			req.Header.Set(k, v)
		}
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { res.Body.Close() })
	return res
}

func (g *gate) get(path, who string, out any) {
	g.t.Helper()
	res := g.send("GET", path, "", map[string]string{"Cookie": "who=" + who})
	if res.StatusCode != http.StatusOK {
		g.t.Fatalf("GET %s: %s", path, res.Status)
	}
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		g.t.Fatal(err)
	}
}

func decision(p *event.Pending, d string) string {
	b, _ := json.Marshal(console.Decision{Decision: d, Digest: hex.EncodeToString(p.Digest[:])})
	return string(b)
}

// problem reads an error of the API: it must say what to do next.
func problem(t *testing.T, res *http.Response) console.Problem {
	t.Helper()
	var p console.Problem
	if err := json.NewDecoder(res.Body).Decode(&p); err != nil || p.Title == "" || p.Detail == "" || p.Status != res.StatusCode {
		t.Errorf("%s: not a problem that says what to do: %+v, %v", res.Status, p, err)
	}
	return p
}

func TestNew(t *testing.T) {
	good := console.Config{URL: "https://gate.example.com", SignIn: &sample.SignIn{}, Approvals: approval.New(approval.Limits{}), Log: slog.Default()}
	if _, err := console.New(good); err != nil {
		t.Error(err)
	}
	for _, url := range []string{"", "gate.example.com", "ftp://gate.example.com", "https://", "https://gate.example.com/below", "://"} {
		c := good
		c.URL = url
		if _, err := console.New(c); err == nil {
			t.Errorf("URL %q was taken", url)
		}
	}
	good.SignIn = nil
	if _, err := console.New(good); err == nil {
		t.Error("a console without a sign-in")
	}
}

func TestWhoSeesWhat(t *testing.T) {
	g := newGate(t)
	g.hold(t.Context(), sample.Held("A", "UPDATE t", "x"))
	for _, tc := range []struct {
		who  string
		sees int
		may  bool
		why  string
	}{
		{"alice", 1, true, ""},
		{"bob", 1, true, ""},
		{"carol", 0, false, ""},
		{"agent", 1, false, approval.ErrNotApprover.Error()},
	} {
		list, err := g.client(tc.who).List(t.Context())
		if err != nil || len(list) != tc.sees {
			t.Errorf("%s sees %d requests, want %d (%v)", tc.who, len(list), tc.sees, err)
			continue
		}
		for _, a := range list {
			if a.MayDecide != tc.may || a.WhyNot != tc.why {
				t.Errorf("%s may decide: %v (%s), want %v", tc.who, a.MayDecide, a.WhyNot, tc.may)
			}
		}
	}
	for _, path := range []string{"/api/me", "/api/approvals", "/api/approvals/A", "/api/events", "/api/sessions", "/api/sessions/01C", "/api/sessions/01C/recording"} {
		res := g.send("GET", path, "", map[string]string{"Cookie": "who=mallory"})
		if problem(t, res); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("GET %s of nobody: %s", path, res.Status)
		}
	}
	var me console.Me
	g.get("/api/me", "carol", &me)
	if me.Name != "carol@example.com" || !me.Auditor {
		t.Errorf("me: %+v", me)
	}
}

func TestApprovalView(t *testing.T) {
	g := newGate(t)
	p := sample.Held("A", "UPDATE t", "x")
	p.Request.Params = append(p.Request.Params, nil, []byte{})
	g.hold(t.Context(), p)
	got, err := g.client("bob").Get(t.Context(), "A")
	if err != nil {
		t.Fatal(err)
	}
	if got.Remaining <= 0 || got.Remaining > 5*60_000 {
		t.Errorf("remaining: %d ms", got.Remaining)
	}
	got.Remaining = 0
	want := console.Approval{
		ID: "A", Digest: hex.EncodeToString(p.Digest[:]), Session: p.Session.ID, Exchange: 4,
		Resource: "orders", Protocol: "sample", Gate: "gate-1", Client: "10.1.4.23:51334",
		Principal: console.Principal{Issuer: "https://id.example.com", Subject: "agent", Name: "reporting-agent@example.com", Groups: []string{"agents"}},
		Operation: "execute",
		Statement: console.Text{Head: "UPDATE t", Bytes: 8},
		Params:    []*console.Text{{Head: "x", Bytes: 1}, nil, {}},
		Labels:    []console.Attr{{Key: "risk", Value: "70"}, {Key: "data", Value: "personal"}, {Key: "writes", Value: "public.customers"}},
		Attrs:     []console.Attr{{Key: "db.namespace", Value: "orders"}, {Key: "postgres.search_path", Value: `"$user", public`}, {Key: "postgres.role", Value: "app_writer"}},
		Rule:      "approve/customers", Reason: "writes to customer data need a second pair of eyes",
		Approvers: []string{"dba"}, Since: p.Since, Expires: p.Expires, MayDecide: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A06: what is left out is said to be.
//
// Lists stay short, whatever waits; one request by itself is whole.
func TestLongRequests(t *testing.T) {
	g := newGate(t)
	p := sample.Held("A", "SELECT '"+strings.Repeat("x", 200_000)+"'; DROP TABLE t")
	for range 3000 {
		p.Request.Params = append(p.Request.Params, []byte(strings.Repeat("y", 1000)))
	}
	g.hold(t.Context(), p)
	res := g.send("GET", "/api/approvals", "", nil)
	b, err := io.ReadAll(res.Body)
	if err != nil || len(b) > 100_000 {
		t.Errorf("the list has %d bytes (%v)", len(b), err)
	}
	list, err := g.client("alice").List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := list[0].Statement
	if !strings.HasSuffix(s.Tail, "'; DROP TABLE t") || len(s.Head)+s.Hidden+len(s.Tail) != len(p.Request.Payload) || s.Bytes != len(p.Request.Payload) {
		t.Errorf("shown: %d bytes, %d hidden, %d bytes", len(s.Head), s.Hidden, len(s.Tail))
	}
	if len(list[0].Params)+list[0].ParamsHidden != 3000 || list[0].ParamsHidden == 0 {
		t.Errorf("%d parameters shown, %d hidden", len(list[0].Params), list[0].ParamsHidden)
	}
	whole, err := g.client("alice").Get(t.Context(), "A")
	if err != nil || whole.Statement.Head != string(p.Request.Payload) || len(whole.Params) != 3000 {
		t.Errorf("not whole: %d bytes, %d parameters (%v)", len(whole.Statement.Head), len(whole.Params), err)
	}
}

func TestDecide(t *testing.T) {
	for _, approve := range []bool{true, false} {
		g := newGate(t)
		c := g.hold(t.Context(), sample.Held("A", "UPDATE t"))
		bob := g.client("bob")
		list, err := bob.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		e, err := bob.Decide(t.Context(), list[0], approve, "a reason")
		if err != nil || e.By != "bob@example.com" || e.Comment != "a reason" {
			t.Errorf("Decide: %+v, %v", e, err)
		}
		d := <-c
		if d.Approved != approve || d.Comment != "a reason" || !d.By.Is(sample.People["bob"]) {
			t.Errorf("Await: %+v", d)
		}
		_, err = g.client("alice").Decide(t.Context(), list[0], true, "")
		var refused *console.ClientError
		if !errors.As(err, &refused) || refused.Status != http.StatusGone || !strings.Contains(err.Error(), "by bob@example.com") {
			t.Errorf("a second decision: %v", err)
		}
	}
}

func TestRefusedDecisions(t *testing.T) {
	g := newGate(t)
	p := sample.Held("A", "UPDATE t")
	other := sample.Held("B", "UPDATE t")
	own := sample.Held("own", "UPDATE t")
	own.Session.Principal = sample.People["alice"]
	c := g.hold(t.Context(), p)
	g.hold(t.Context(), own)
	long, _ := json.Marshal(console.Decision{Decision: "approve", Comment: strings.Repeat("x", approval.MaxComment+1), Digest: hex.EncodeToString(p.Digest[:])})
	control, _ := json.Marshal(console.Decision{Decision: "approve", Comment: "\x1b[2J", Digest: hex.EncodeToString(p.Digest[:])})
	for _, tc := range []struct {
		name, who, id, body string
		want                int
	}{
		{"a stranger", "carol", "A", decision(p, "approve"), 404},
		{"who asks", "agent", "A", decision(p, "approve"), 403},
		{"an approver's own", "alice", "own", decision(own, "approve"), 403},
		{"nobody", "mallory", "A", decision(p, "approve"), 401},
		{"another digest", "alice", "A", decision(other, "approve"), 409},
		{"no digest", "alice", "A", `{"decision":"approve"}`, 409},
		{"an unknown request", "alice", "Z", decision(p, "approve"), 404},
		{"neither", "alice", "A", decision(p, "maybe"), 400},
		{"an unknown field", "alice", "A", `{"decision":"approve","force":true}`, 400},
		{"two values", "alice", "A", decision(p, "deny") + decision(p, "approve"), 400},
		{"no JSON", "alice", "A", "decision=approve", 400},
		{"nothing", "alice", "A", "", 400},
		{"a long comment", "alice", "A", string(long), 400},
		{"control characters", "alice", "A", string(control), 400},
		{"a huge body", "alice", "A", `{"comment":"` + strings.Repeat("x", console.MaxBody) + `"}`, 400},
	} {
		res := g.send("POST", "/api/approvals/"+tc.id, tc.body, map[string]string{"Cookie": "who=" + tc.who})
		if problem(t, res); res.StatusCode != tc.want {
			t.Errorf("%s: %s, want %d", tc.name, res.Status, tc.want)
		}
	}
	if g.approvals.Len() != 2 {
		t.Fatal("one of these ended a request")
	}
	if res := g.send("POST", "/api/approvals/A", decision(p, "approve"), nil); res.StatusCode != http.StatusOK {
		t.Errorf("the real decision: %s", res.Status)
	}
	<-c
}

// A05.
//
// What another site can make a browser send changes nothing.
func TestOtherSites(t *testing.T) {
	g := newGate(t)
	p := sample.Held("A", "UPDATE t")
	g.hold(t.Context(), p)
	host := strings.TrimPrefix(g.url, "http://")
	for _, tc := range []struct {
		name, method, path, body string
		header                   map[string]string
		want                     int
	}{
		{"a form", "POST", "", "decision=approve", map[string]string{"Content-Type": "application/x-www-form-urlencoded", "Origin": "https://evil.example", console.RequestHeader: ""}, 403},
		{"a form without Origin", "POST", "", "decision=approve", map[string]string{"Content-Type": "application/x-www-form-urlencoded", "Origin": "", console.RequestHeader: ""}, 403},
		{"JSON as text/plain", "POST", "", decision(p, "approve"), map[string]string{"Content-Type": "text/plain", console.RequestHeader: ""}, 403},
		{"JSON as text/plain, with the header", "POST", "", decision(p, "approve"), map[string]string{"Content-Type": "text/plain"}, 415},
		{"JSON without the header", "POST", "", decision(p, "approve"), map[string]string{console.RequestHeader: ""}, 403},
		{"a foreign origin", "POST", "", decision(p, "approve"), map[string]string{"Origin": "https://evil.example"}, 403},
		{"the null origin", "POST", "", decision(p, "approve"), map[string]string{"Origin": "null"}, 403},
		{"a longer origin", "POST", "", decision(p, "approve"), map[string]string{"Origin": g.url + ".evil.example"}, 403},
		{"another scheme", "POST", "", decision(p, "approve"), map[string]string{"Origin": "https://" + host}, 403},
		{"no origin, by a cookie", "POST", "", decision(p, "approve"), map[string]string{"Origin": ""}, 403},
		{"no origin, by a made-up scheme", "POST", "", decision(p, "approve"), map[string]string{"Origin": "", "Authorization": "Basic x"}, 403},
		{"GET", "GET", "?decision=approve", "", nil, 200},
		{"a prefetch", "GET", "/approve", "", map[string]string{"Sec-Purpose": "prefetch"}, 404},
		{"an overridden method", "GET", "", decision(p, "approve"), map[string]string{"X-HTTP-Method-Override": "POST"}, 200},
		{"PUT", "PUT", "", decision(p, "approve"), nil, 404},
		{"a foreign read", "GET", "", "", map[string]string{"Origin": "https://evil.example"}, 403},
	} {
		res := g.send(tc.method, "/api/approvals/A"+tc.path, tc.body, tc.header)
		if res.StatusCode != tc.want {
			t.Errorf("%s: %s, want %d", tc.name, res.Status, tc.want)
		}
		if res.StatusCode != http.StatusOK {
			problem(t, res)
		}
		if h := res.Header.Get("Access-Control-Allow-Origin"); h != "" {
			t.Errorf("%s: allows origin %s", tc.name, h)
		}
	}
	if g.approvals.Len() != 1 {
		t.Error("another site decided the request")
	}
}

// A08.
//
// Approve and deny at once: one is done, and the others are told that they
// were too late.
func TestDecideRace(t *testing.T) {
	g := newGate(t)
	for range 20 {
		p := sample.Held("A"+time.Now().Format("150405.000000000"), "UPDATE t")
		c := g.hold(t.Context(), p)
		var wg sync.WaitGroup
		var mu sync.Mutex
		var won []bool
		for i := range 6 {
			who, approve := []string{"alice", "bob"}[i%2], i%3 == 0
			wg.Go(func() {
				_, err := g.client(who).Decide(t.Context(), console.Approval{ID: p.ID, Digest: hex.EncodeToString(p.Digest[:])}, approve, "")
				var refused *console.ClientError
				switch {
				case err == nil:
					mu.Lock()
					won = append(won, approve)
					mu.Unlock()
				case !errors.As(err, &refused) || refused.Status != http.StatusGone:
					t.Errorf("Decide: %v", err)
				}
			})
		}
		wg.Wait()
		if d := <-c; len(won) != 1 || d.Approved != won[0] {
			t.Fatalf("%d decisions were taken: %v; approved: %v", len(won), won, d.Approved)
		}
	}
}

// A06, A10: pages run no script but their own, and are in no frame.
func TestSecurityHeaders(t *testing.T) {
	g := newGate(t)
	for _, path := range []string{"/", "/sessions", "/favicon.svg", "/assets/none.js", "/api/me", "/api/nothing", "/api/sessions/01C/recording"} {
		res := g.send("GET", path, "", nil)
		h := res.Header
		csp := h.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: the policy lacks %s", path, want)
			}
		}
		if strings.Contains(csp, "unsafe") || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" ||
			h.Get("X-Frame-Options") != "DENY" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: headers are %v", path, h)
		}
	}
	res := g.send("GET", "/api/nothing", "", nil)
	if problem(t, res); res.StatusCode != http.StatusNotFound {
		t.Errorf("/api/nothing: %s", res.Status)
	}
}

func TestPages(t *testing.T) {
	g := newGate(t)
	get := func(h http.Handler, method, path string) *http.Response {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w.Result()
	}
	built := console.Pages(g.console, fstest.MapFS{
		"index.html":         {Data: []byte("the page")},
		"assets/index-1a.js": {Data: []byte("script")},
		"favicon.svg":        {Data: []byte("<svg/>")},
	})
	for path, want := range map[string]string{
		"/": "the page", "/approvals": "the page", "/sessions/01C": "the page", "/assets/index-1a.js": "script", "/favicon.svg": "<svg/>",
	} {
		res := get(built, "GET", path)
		b, _ := io.ReadAll(res.Body)
		if res.StatusCode != http.StatusOK || string(b) != want {
			t.Errorf("GET %s: %s, %q", path, res.Status, b)
		}
	}
	if c := get(built, "GET", "/assets/index-1a.js").Header.Get("Cache-Control"); !strings.Contains(c, "immutable") {
		t.Errorf("an asset is cached as %q", c)
	}
	if res := get(built, "GET", "/assets/gone.js"); res.StatusCode != http.StatusNotFound || strings.Contains(res.Header.Get("Cache-Control"), "immutable") {
		t.Errorf("an asset that is not there: %s, %v", res.Status, res.Header)
	}
	if res := get(built, "POST", "/"); res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST /: %s", res.Status)
	}
	res := get(console.Pages(g.console, fstest.MapFS{}), "GET", "/")
	if b, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusNotFound || !strings.Contains(string(b), "go tool task build") {
		t.Errorf("a page that was not built: %s, %q", res.Status, b)
	}
}

func TestClientErrors(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"no JSON":        func(w http.ResponseWriter, r *http.Request) { http.Error(w, "<html>", http.StatusBadGateway) },
		"an empty error": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"half an answer": func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(`{"approvals":[`)) },
	} {
		s := httptest.NewServer(handler)
		if _, err := (&console.Client{URL: s.URL + "/", Token: "x"}).List(t.Context()); err == nil {
			t.Errorf("%s: no error", name)
		}
		s.Close()
	}
}
