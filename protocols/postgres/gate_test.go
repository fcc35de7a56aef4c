package postgres_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgproto3/v2"
	"github.com/jackc/pgx/v5"

	"gatehouse/core/event"
	"gatehouse/core/peers"
	"gatehouse/core/pipeline"
	"gatehouse/core/protect"
	"gatehouse/core/proxy"
	"gatehouse/protocols/postgres"
	"gatehouse/protocols/postgres/statement"
)

// analyzer is warm, so that no test's time is spent on that.
var analyzer = sync.OnceValue(func() *statement.Analyzer {
	var limits statement.Limits
	if flag.Lookup("test.fuzz").Value.String() != "" {
		limits.Instances = 1 // inputs come one by one
	}
	a := statement.NewAnalyzer(limits)
	if err := a.Warm(context.Background()); err != nil {
		panic(err)
	}
	return a
})

// A tape records in memory.
type tape struct {
	mu     sync.Mutex
	frames []event.Frame
}

func (r *tape) Append(f event.Frame, more ...[]byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	f.Payload = append([]byte(nil), f.Payload...)
	for _, b := range more {
		f.Payload = append(f.Payload, b...)
	}
	r.frames = append(r.frames, f)
	return nil
}

func (r *tape) Commit(context.Context) error { return nil }

func (r *tape) all() []event.Frame {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]event.Frame(nil), r.frames...)
}

// A rule is a plugin made of a function.
type rule func(*event.Request) event.Verdict

func (rule) Name() string { return "rule" }

func (r rule) Judge(_ context.Context, _ *event.Session, req *event.Request) (event.Verdict, error) {
	return r(req), nil
}

// words blocks and holds by words in the text.
func words(req *event.Request) event.Verdict {
	switch text := string(req.Payload); {
	case strings.Contains(text, "forbidden"):
		return event.Verdict{Rule: "test/forbidden", Reason: "forbidden"}
	case strings.Contains(text, "ask"):
		return event.Verdict{Action: event.Hold, Rule: "test/ask", Reason: "somebody must agree"}
	}
	return event.Verdict{Action: event.Allow}
}

// columns treats fields by their origin.
type columns map[string]event.Treatment

func (columns) Name() string { return "columns" }

func (m columns) Treat(_ context.Context, _ *event.Session, h *event.Head) ([]event.Treatment, error) {
	ts := make([]event.Treatment, len(h.Fields))
	for i, f := range h.Fields {
		ts[i].Kind = event.Pass
		for _, o := range f.Origins {
			if t, ok := m[o]; ok && t.Compare(ts[i]) < 0 {
				ts[i] = t
			}
		}
	}
	return ts, nil
}

func (columns) Inspect(context.Context, *event.Session, *event.Rows, []int) ([]event.Edit, error) {
	return nil, nil
}

// A desk decides held requests by what a test sends it.
type desk struct {
	pending chan *event.Pending
	decide  chan event.Decision
	ended   chan error // why Await returned, when nobody decided
}

func newDesk() *desk {
	return &desk{make(chan *event.Pending, 10), make(chan event.Decision), make(chan error, 10)}
}

func (d *desk) Await(ctx context.Context, p *event.Pending) (event.Decision, error) {
	d.pending <- p
	if p.Shown != nil {
		p.Shown()
	}
	select {
	case v := <-d.decide:
		return v, nil
	case <-ctx.Done():
		d.ended <- context.Cause(ctx)
		return event.Decision{}, ctx.Err()
	case <-time.After(time.Until(p.Expires)):
		err := errors.New("nobody decided in time")
		d.ended <- err
		return event.Decision{}, err
	}
}

// A gate is a running gate in front of a real server.
type gate struct {
	addr     string
	pg       *peers.Postgres
	database string
	desk     *desk
	server   *postgres.Resource
	protocol *postgres.Protocol

	policy *book

	mu    sync.Mutex
	tapes []*tape
}

type gateConfig struct {
	version  int
	sql      string // that makes the database
	plugins  []pipeline.Plugin
	columns  *protect.Columns // nil: none are protected
	holdFor  time.Duration
	expires  time.Time
	limits   postgres.Limits
	door     proxy.Limits
	record   func(*event.Session) pipeline.Recorder // nil: on a tape
	calls    []uint32                               // functions for the fast path
	spillDir string
	tls      *tls.Config        // nil: plaintext
	server   *postgres.Resource // nil: a database of its own on the shared server
	log      io.Writer          // nil: the test's output
}

func startGate(t testing.TB, c gateConfig) *gate {
	t.Helper()
	if c.version == 0 {
		c.version = 15
	}
	if c.holdFor == 0 {
		c.holdFor = time.Minute
	}
	if c.log == nil {
		c.log = t.Output()
	}
	if c.limits.StartupTime == 0 {
		c.limits.StartupTime = hangs // on a busy machine
	}
	g := &gate{desk: newDesk(), policy: newBook(c.holdFor, c.plugins...)}
	g.policy.columns = c.columns
	if c.server == nil {
		g.pg = peers.SharedPostgres(t, c.version)
		g.database = g.pg.NewDatabase(t, c.sql)
		c.server = &postgres.Resource{
			Name: "orders", Host: "127.0.0.1", Port: uint16(g.pg.Port), User: peers.Superuser,
			Password: g.pg.Password, Database: g.database, SSLMode: "disable", FunctionCalls: c.calls, ConnectTimeout: hangs,
		}
	}
	g.server = c.server
	p, err := postgres.New(postgres.Config{
		Resources: map[string]*postgres.Resource{"orders": c.server},
		TLS:       c.tls, Plaintext: c.tls == nil, Limits: c.limits, SpillDir: c.spillDir, Analyzer: analyzer(),
	})
	if err != nil {
		t.Fatal(err)
	}
	g.protocol = p
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.addr = l.Addr().String()
	srv := &proxy.Server{Listener: l, Protocol: p, Limits: c.door, BusyPoll: 200 * time.Microsecond, Env: proxy.Env{
		Authenticate: func(_ context.Context, token string) (event.Principal, error) {
			if token != "good" && token != "other" {
				return event.Principal{}, errors.New("bad token")
			}
			return event.Principal{Issuer: "test", Subject: map[string]string{"good": "agent", "other": "other"}[token], Name: "agent@example.com", Expires: c.expires}, nil
		},
		Open: func(_ context.Context, s *event.Session) (*pipeline.Session, error) {
			r := &tape{}
			g.mu.Lock()
			defer g.mu.Unlock()
			s.ID = fmt.Sprint(len(g.tapes))
			g.tapes = append(g.tapes, r)
			rec := pipeline.Recorder(r)
			if c.record != nil {
				rec = c.record(s)
			}
			terms, err := g.policy.terms(s)
			if err != nil {
				return nil, err
			}
			return pipeline.New(pipeline.Config{Terms: terms, Recorder: rec, Approver: g.desk, Key: []byte(strings.Repeat("k", 32))})
		},
		Log: slog.New(slog.NewTextHandler(c.log, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, 5*time.Second) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		p.Close()
	})
	return g
}

func (g *gate) url(params string) string {
	return "postgres://agent:good@" + g.addr + "/orders?sslmode=disable" + params
}

func (g *gate) connect(t testing.TB, params string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(context.Background(), g.url(params))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

// direct is a connection that does not pass the gate.
func (g *gate) direct(t testing.TB) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(context.Background(), g.pg.URL(g.database))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

// one returns the only value of a query, by a connection that does not pass
// the gate.
func (g *gate) one(t testing.TB, sql string) string {
	t.Helper()
	c, err := pgx.Connect(context.Background(), g.pg.URL(g.database))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	var v string
	if err := c.QueryRow(context.Background(), sql).Scan(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// A raw client speaks the protocol message by message.
type raw struct {
	net.Conn
	t testing.TB
}

// hangs is how long nothing takes on any machine.
const hangs = 10 * time.Minute

// dialRaw opens a session by hand: through the gate, or at the server itself.
func dialRaw(t testing.TB, addr string, params map[string]string, password string) *raw {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(hangs)); err != nil {
		t.Fatal(err)
	}
	r := &raw{c, t}
	r.send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersionNumber, Parameters: params})
	if password != "" {
		r.send(&pgproto3.PasswordMessage{Password: password})
	}
	return r
}

func (g *gate) raw(t testing.TB) *raw {
	t.Helper()
	r := dialRaw(t, g.addr, map[string]string{"user": "agent", "database": "orders"}, "")
	r.expect("R")
	r.send(&pgproto3.PasswordMessage{Password: "good"})
	r.until("Z")
	return r
}

func (r *raw) send(ms ...pgproto3.FrontendMessage) {
	r.t.Helper()
	var b []byte
	for _, m := range ms {
		var err error
		if b, err = m.Encode(b); err != nil {
			r.t.Fatal(err)
		}
	}
	if _, err := r.Write(b); err != nil {
		r.t.Fatal(err)
	}
}

// message returns the type and the body of the next message.
func (r *raw) message() (kind byte, body []byte) {
	r.t.Helper()
	var h [5]byte
	_, err := io.ReadFull(r, h[:])
	if err == nil {
		body = make([]byte, binary.BigEndian.Uint32(h[1:])-4)
		_, err = io.ReadFull(r, body)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return h[0], body
}

// read returns the next message in short: its type, and of some the contents.
func (r *raw) read() (string, error) {
	var h [5]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return "", err
	}
	body := make([]byte, binary.BigEndian.Uint32(h[1:])-4)
	if _, err := io.ReadFull(r, body); err != nil {
		return "", err
	}
	return short(h[0], body), nil
}

func short(kind byte, body []byte) string {
	switch kind {
	case 'E':
		var m pgproto3.ErrorResponse
		if m.Decode(body) == nil {
			return "E " + m.Code
		}
	case 'N':
		var m pgproto3.NoticeResponse
		if m.Decode(body) == nil {
			return "N " + m.Message
		}
	case 'C':
		return "C " + strings.TrimSuffix(string(body), "\x00")
	case 'Z':
		return "Z " + string(body)
	case 'D':
		var m pgproto3.DataRow
		if m.Decode(body) == nil {
			var cells []string
			for _, v := range m.Values {
				if v == nil {
					v = []byte("NULL")
				}
				cells = append(cells, string(v))
			}
			return "D " + strings.Join(cells, "|")
		}
	}
	return string(kind)
}

// next is read that must succeed, without the parameters that a server reports
// at any time.
func (r *raw) next() string {
	r.t.Helper()
	for {
		m, err := r.read()
		if err != nil {
			r.t.Fatalf("read: %v", err)
		}
		if m != "S" && m != "K" {
			return m
		}
	}
}

// until reads up to a message that begins with prefix and returns all of them.
func (r *raw) until(prefix string) (ms []string) {
	r.t.Helper()
	for {
		m := r.next()
		ms = append(ms, m)
		if strings.HasPrefix(m, prefix) {
			return ms
		}
	}
}

func (r *raw) expect(prefix string) string {
	r.t.Helper()
	m := r.next()
	if !strings.HasPrefix(m, prefix) {
		r.t.Fatalf("got %q, want %q", m, prefix)
	}
	return m
}

// gone checks that the other side has closed the connection.
func (r *raw) gone() {
	r.t.Helper()
	for {
		if m, err := r.read(); err != nil {
			if errors.Is(err, io.EOF) || strings.Contains(err.Error(), "reset") || errors.Is(err, io.ErrUnexpectedEOF) {
				return
			}
			r.t.Fatalf("the connection is still open: %v", err)
		} else if !strings.HasPrefix(m, "E") {
			r.t.Fatalf("unexpected %q", m)
		}
	}
}

func limitsFor(startup time.Duration) postgres.Limits { return postgres.Limits{StartupTime: startup} }
