// Package console is the web application for approvers and auditors: a page,
// the JSON API behind it, and a WebSocket on which requests that wait for
// approval appear at once. The command line uses the same API through Client.
//
// The page takes everything that sessions contain as hostile text. Whoever
// decides a request sends back the digest that was shown, so that what was
// shown is what is approved.
package console

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"gatehouse/core/approval"
	"gatehouse/core/event"
	"gatehouse/core/protect"
)

// A SignIn knows who sends requests. Its methods are safe for concurrent use.
// *identity.SignIn is one.
type SignIn interface {
	// Principal returns who sent r, by its cookie or its bearer token. Asked
	// again later with the same request, it says whether that still holds.
	Principal(r *http.Request) (event.Principal, error)
	// Routes adds what a browser needs: GET SignInPath and POST SignOutPath.
	Routes(*http.ServeMux)
}

// Where the page signs people in and out.
const (
	SignInPath  = "/signin" // with the query parameter "return": a path to end at
	SignOutPath = "/signout"
)

// A Config is what a Console is made of.
type Config struct {
	// URL is where browsers find the console, such as
	// "https://gate.example.com". Other origins are refused.
	URL       string
	SignIn    SignIn
	Approvals *approval.Registry
	Sessions  Sessions // nil where nothing is recorded
	Auditors  []string // groups that may see every session
	// Approvers returns the groups that may decide requests by the policy in
	// force; nil is none.
	Approvers func() []string
	// Protected returns what the policy in force protects from by of the
	// resource of a session, or why by does not reach it. Nil lets nobody see
	// what is masked in requests.
	Protected func(by event.Principal, s *event.Session) (*protect.Columns, error)
	// Tracking is what is tracked of what statements store; nil where nothing is.
	Tracking Tracking
	// Outage returns since when and why recordings are not being stored, or
	// the zero time if they are. Auditors and approvers get to know. Nil where
	// nothing is recorded. It is called often, by many at a time.
	Outage func() (since time.Time, why error)
	// Failing returns the plugins that keep failing, so that all requests that
	// need them are refused, by name. Auditors and approvers get to know. Nil
	// where there are none. It is called as Outage is.
	Failing func() []Failing
	Log     *slog.Logger
}

// A Console serves the page and its API. Close it when the server that uses it
// has stopped accepting.
type Console struct {
	Config
	origin  string
	handler http.Handler
	limits  socketLimits

	// The WebSockets end with ctx; Close waits for them.
	ctx    context.Context
	cancel context.CancelFunc

	reads     chan struct{} // a slot for each request that reads recordings
	downloads chan struct{} // a slot for each download

	mu      sync.Mutex
	closed  bool
	open    int
	sockets sync.WaitGroup
}

// New returns a console.
func New(c Config) (*Console, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, fmt.Errorf("console URL: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || (u.Path != "" && u.Path != "/") {
		return nil, fmt.Errorf("console URL %q: want a scheme and a host, such as https://gate.example.com", c.URL)
	}
	if c.SignIn == nil || c.Approvals == nil || c.Log == nil {
		return nil, errors.New("console: SignIn, Approvals and Log are required")
	}
	s := &Console{Config: c, origin: origin(u), limits: defaultSocketLimits, reads: make(chan struct{}, maxReads), downloads: make(chan struct{}, maxDownloads)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	dist, err := fs.Sub(assets, "assets/dist")
	if err != nil {
		return nil, fmt.Errorf("open page: %w", err)
	}
	s.handler = s.routes(s.pages(dist))
	return s, nil
}

// origin returns the URL's origin as browsers write it.
func origin(u *url.URL) string {
	port := map[string]string{"https": ":443", "http": ":80"}[u.Scheme]
	return u.Scheme + "://" + strings.TrimSuffix(strings.ToLower(u.Host), port)
}

func (c *Console) routes(pages http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /api/me", c.api(c.me))
	mux.Handle("GET /api/approvals", c.api(c.listApprovals))
	mux.Handle("GET /api/approvals/{id}", c.api(c.getApproval))
	mux.Handle("POST /api/approvals/{id}", c.api(c.decide))
	mux.Handle("POST /api/approvals/{id}/reveal", c.api(c.reveal))
	mux.Handle("GET /api/events", c.api(c.events))
	mux.Handle("GET /api/sessions", c.api(c.auditor(c.listSessions)))
	mux.Handle("GET /api/sessions/{id}", c.api(c.auditor(c.getSession)))
	mux.Handle("GET /api/sessions/{id}/recording", c.api(c.auditor(c.getRecording)))
	mux.Handle("GET /api/tracked", c.api(c.tracking(c.listTracked)))
	mux.Handle("POST /api/tracked", c.api(c.tracking(c.lift)))
	mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, &apiError{http.StatusNotFound, "there is nothing at " + r.Method + " " + r.URL.Path, "the page and the command line may be of another version than the gate: reload, or update"})
	})
	c.SignIn.Routes(mux)
	mux.Handle("/", pages)
	return mux
}

// ServeHTTP serves the console.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	h.Set("Cache-Control", "no-store")
	c.handler.ServeHTTP(w, r)
}

// contentPolicy lets the page load its own files and nothing else, run no
// inline script, and never turn text into HTML.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
	"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

// Close ends the WebSockets and returns when all are over. Later calls return
// at once.
func (c *Console) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.sockets.Wait()
	return nil
}

// me says who the principal is and what they may see.
func (c *Console) me(w http.ResponseWriter, r *http.Request, by event.Principal) error {
	v := Me{Principal: principalView(by), Auditor: c.mayAudit(by), Expires: by.Expires}
	if c.Tracking != nil {
		may, any := c.Tracking.Sees(by)
		v.Tracks = may && any
	}
	return writeJSON(w, http.StatusOK, v)
}

func (c *Console) mayAudit(by event.Principal) bool {
	return c.Sessions != nil && inAny(by, c.Auditors)
}

// mayHear is whether by may know how the gate fares.
func (c *Console) mayHear(by event.Principal) bool {
	return inAny(by, c.Auditors) || c.Approvers != nil && inAny(by, c.Approvers())
}

func inAny(by event.Principal, groups []string) bool {
	return slices.ContainsFunc(groups, func(g string) bool { return slices.Contains(by.Groups, g) })
}

// auditor serves those who may see sessions.
func (c *Console) auditor(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request, by event.Principal) error {
		if c.Sessions == nil {
			return &apiError{http.StatusNotFound, "this gate shows no sessions", "configure where it records to"}
		}
		if !c.mayAudit(by) {
			return &apiError{http.StatusForbidden, "you are in none of the groups that may see sessions", "ask whoever runs the gate to add one of your groups to the console's viewers"}
		}
		return h(w, r, by)
	}
}
