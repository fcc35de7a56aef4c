// Command devserver serves the real console with sample people, requests and
// recordings, for its browser tests and for working on the page. Beside it runs
// an issuer with which anybody can sign in as anybody. It prints the console's
// URL and ends with its standard input. It is no part of Gatehouse.
//
// POST /sample/hold?id=A&kind=update holds a request, POST /sample/withdraw?id=A
// takes it away, GET /sample/decision?id=A waits for what was decided. POST
// /sample/outage?why=W begins an outage of the store, and without why ends it;
// /sample/failing?why=W does so with a plugin that keeps failing.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"gatehouse/console"
	"gatehouse/console/internal/sample"
	"gatehouse/core/approval"
	"gatehouse/core/event"
	"gatehouse/core/identity"
	"gatehouse/core/identity/issuer"
	"gatehouse/core/protect"
)

func main() {
	address := flag.String("listen", "127.0.0.1:0", "where to serve")
	flag.Parse()
	if err := run(*address); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	url := "http://" + listener.Addr().String()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	signIn, closeSignIn, err := openSignIn(url, log)
	if err != nil {
		return err
	}
	d := &server{approvals: approval.New(approval.Limits{}), held: map[string]*held{}, issuer: signIn.issuer}
	c, err := console.New(console.Config{
		URL: url, SignIn: signIn, Approvals: d.approvals, Sessions: recordings(), Auditors: []string{"auditors"},
		Approvers: func() []string { return []string{"dba"} }, Outage: d.outage, Failing: d.failing, Protected: d.protected, Tracking: newTracking(), Log: log,
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /sample/hold", d.hold)
	mux.HandleFunc("POST /sample/withdraw", d.withdraw)
	mux.HandleFunc("GET /sample/decision", d.decision)
	mux.HandleFunc("POST /sample/outage", d.setOutage)
	mux.HandleFunc("POST /sample/failing", d.setFailing)
	mux.Handle("/", c)
	stop := serve(listener, mux)
	fmt.Println(url)
	_, _ = io.Copy(io.Discard, os.Stdin)
	return errors.Join(stop(), c.Close(), closeSignIn())
}

// serve serves l until stop is called.
func serve(l net.Listener, h http.Handler) (stop func() error) {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	return func() error {
		err := s.Close()
		<-done
		return err
	}
}

// A signIn is the real one, with its issuer's name.
type signIn struct {
	*identity.SignIn
	issuer string
}

// openSignIn starts an issuer that knows the sample's people.
func openSignIn(url string, log *slog.Logger) (*signIn, func() error, error) {
	const client = "console"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	c := issuer.Config{URL: "http://" + l.Addr().String(), ClientID: client, RedirectURIs: []string{url + "/callback"}}
	for _, p := range sample.People {
		c.Users = append(c.Users, issuer.User{Subject: p.Subject, Email: p.Name, Groups: p.Groups})
	}
	i, err := issuer.New(c)
	if err != nil {
		return nil, nil, err
	}
	stop := serve(l, i)
	v, err := identity.New(context.Background(), identity.Config{Issuer: c.URL, Audiences: []string{"gatehouse"}, Log: log})
	if err != nil {
		return nil, nil, err
	}
	for v.Ready() != nil { // the issuer answers: it is a matter of moments
		time.Sleep(5 * time.Millisecond)
	}
	s, err := identity.NewSignIn(identity.SignInConfig{Verifier: v, ClientID: client, URL: url, Log: log})
	if err != nil {
		return nil, nil, err
	}
	return &signIn{s, c.URL}, func() error { return errors.Join(v.Close(), stop()) }, nil
}

// A server holds what the tests ask it to hold.
type server struct {
	approvals *approval.Registry
	issuer    string

	mu    sync.Mutex
	held  map[string]*held
	since time.Time // of the outage
	why   error
	fails error // why the sample's plugin keeps failing
}

type held struct {
	cancel   context.CancelFunc
	done     chan struct{}
	decision event.Decision
	err      error
}

func (d *server) hold(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	ctx, cancel := context.WithCancel(context.Background())
	h := &held{cancel: cancel, done: make(chan struct{})}
	d.mu.Lock()
	d.held[q.Get("id")] = h
	d.mu.Unlock()
	p := request(q.Get("id"), q.Get("kind"))
	if len(p.Request.Masked) > 0 {
		p.Reveal = func(_ context.Context, by event.Principal) (*event.Sent, error) {
			return &event.Sent{Payload: []byte("UPDATE people SET ssn = '987-65-4321' WHERE ssn = $1"), Params: [][]byte{[]byte("123-45-6789")}}, nil
		}
	}
	p.Session.Principal.Issuer = d.issuer
	changes, stop := d.approvals.Watch()
	defer stop()
	go func() {
		defer close(h.done)
		h.decision, h.err = d.approvals.Await(ctx, p)
	}()
	<-changes
}

// request returns a request of a kind.
func request(id, kind string) *event.Pending {
	switch kind {
	case "hostile":
		p := sample.Held(id, sample.Hostile, "<b>bold</b>", "a\u202eb\x07")
		p.Verdict.Reason = "<script>alert(4)</script> reason"
		p.Request.Labels = append(p.Request.Labels, event.Attr{Key: "<i>key</i>", Value: "\u200bvalue"})
		return p
	case "long":
		return sample.Held(id, "SELECT 1;"+strings.Repeat(" ", 100_000)+strings.Repeat("SELECT 'padding that hides what matters';\n", 2000)+"DROP TABLE customers")
	case "masked":
		p := sample.Held(id, "UPDATE people SET ssn = '[redacted]' WHERE ssn = $1", "[redacted]")
		p.Request.Masked = []string{"*.people.ssn"}
		return p
	case "own":
		p := sample.Held(id, "UPDATE customers SET city = 'Graz'")
		p.Session.Principal = sample.People["alice"]
		return p
	}
	p := sample.Held(id, "UPDATE customers\n   SET city = $1, updated_at = now()\n WHERE id = $2\nRETURNING id, name, city", "Göteborg", "1")
	p.Request.Attrs = append(p.Request.Attrs, sample.Open...)
	return p
}

// protected clears alice.
func (d *server) protected(by event.Principal, _ *event.Session) (*protect.Columns, error) {
	all, err := protect.New(protect.Config{Columns: map[string]event.Treatment{"hr.people.ssn": {Kind: event.Redact}}})
	if by.Subject == sample.People["alice"].Subject {
		all = all.Without([]string{"hr.*"})
	}
	return all, err
}

func (d *server) withdraw(w http.ResponseWriter, r *http.Request) {
	if h := d.find(w, r); h != nil {
		h.cancel()
		<-h.done
	}
}

func (d *server) decision(w http.ResponseWriter, r *http.Request) {
	h := d.find(w, r)
	if h == nil {
		return
	}
	<-h.done
	_ = json.NewEncoder(w).Encode(map[string]any{
		"approved": h.decision.Approved, "by": h.decision.By.Name, "comment": h.decision.Comment, "failed": h.err != nil,
	})
}

// outageBegan is when the sample's outages begin.
var outageBegan = time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)

func (d *server) setOutage(_ http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.since, d.why = time.Time{}, nil
	if why := r.URL.Query().Get("why"); why != "" {
		d.since, d.why = outageBegan, errors.New(why)
	}
}

func (d *server) outage() (time.Time, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.since, d.why
}

func (d *server) setFailing(_ http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fails = nil
	if why := r.URL.Query().Get("why"); why != "" {
		d.fails = errors.New(why)
	}
}

func (d *server) failing() []console.Failing {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fails == nil {
		return nil
	}
	return []console.Failing{console.NewFailing("guard", outageBegan, d.fails)}
}

func (d *server) find(w http.ResponseWriter, r *http.Request) *held {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.held[r.URL.Query().Get("id")]
	if h == nil {
		http.Error(w, "no such request", http.StatusNotFound)
	}
	return h
}

// recordings returns sessions of the last days, newest first.
func recordings() sample.Sessions {
	start := time.Date(2026, 11, 23, 9, 41, 12, 0, time.UTC)
	var s sample.Sessions
	for i := range 120 {
		r := sample.Recorded(fmt.Sprintf("01JD%06d", 900000-i), start.Add(-time.Duration(i*i)*7*time.Minute))
		switch i % 4 {
		case 1:
			r.Info.Resource, r.Info.Principal = "billing", sample.People["bob"]
		case 2:
			r.Info.End, r.Info.Why = r.Info.Start.Add(time.Duration(i)*time.Minute), "the token expired"
		}
		if i == 0 {
			r.Info.End, r.Info.Why = time.Time{}, ""
		}
		s = append(s, r)
	}
	return s
}
