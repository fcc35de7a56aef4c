package postgres_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/event"
	"gatehouse/core/peers"
	"gatehouse/core/pipeline"
	"gatehouse/core/proxy"
	"gatehouse/protocols/postgres"
)

// A scripted client and a scripted server, with a gate between them over pipes,
// so that a whole session runs in synctest's time: what waits for a limit of
// the gate's waits no longer than it takes, and a goroutine that would wait for
// ever fails the test.

// secret is the value that the scripts' masker masks. No mutation of what the
// server says may bring it to the client.
const secret = "s3cr3t-value"

// A fieldMasker redacts fields by their name.
type fieldMasker string

func (fieldMasker) Name() string { return "field masker" }

func (m fieldMasker) Treat(_ context.Context, _ *event.Session, h *event.Head) ([]event.Treatment, error) {
	ts := make([]event.Treatment, len(h.Fields))
	for i, f := range h.Fields {
		if ts[i].Kind = event.Pass; f.Name == string(m) {
			ts[i].Kind = event.Redact
		}
	}
	return ts, nil
}

func (fieldMasker) Inspect(context.Context, *event.Session, *event.Rows, []int) ([]event.Edit, error) {
	return nil, nil
}

// An assent approves what is held after a second.
type assent struct{}

func (assent) Await(ctx context.Context, p *event.Pending) (event.Decision, error) {
	if p.Shown != nil {
		p.Shown()
	}
	select {
	case <-time.After(time.Second):
		return event.Decision{Approved: true, By: event.Principal{Name: "ann"}}, nil
	case <-ctx.Done():
		return event.Decision{}, ctx.Err()
	}
}

// A spool is a tape that knows what of it was committed.
type spool struct {
	tape
	committed int
}

func (s *spool) Commit(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.committed = len(s.frames)
	return nil
}

// allowed counts the committed requests of an operation that were allowed, by
// their text.
func (s *spool) allowed(operation string) map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests, counts := map[uint64]string{}, map[string]int{}
	for _, f := range s.frames[:s.committed] {
		switch f.Kind {
		case event.KindRequest:
			var req event.Request
			if req.Decode(f.Payload) == nil && req.Operation == operation {
				requests[f.Exchange] = string(req.Payload)
			}
		case event.KindVerdict:
			var v event.Verdict
			if sql, ok := requests[f.Exchange]; ok && v.Decode(f.Payload) == nil && (v.Action == event.Allow || v.Action == event.Hold && operation == "prepare") {
				counts[sql]++
			}
		}
	}
	return counts
}

// uploads are the committed bytes of uploads.
func (s *spool) uploads() (b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.frames[:s.committed] {
		if f.Kind == event.KindUpload {
			b = append(b, f.Payload...)
		}
	}
	return b
}

// A said frame is what the server says once it has heard so many frames of the
// client, Flushes apart.
type said struct {
	after int
	frame []byte
}

// A stage is a gate between scripts.
type stage struct {
	t        testing.TB
	protocol *postgres.Protocol
	resource *postgres.Resource
	env      proxy.Env
	serving  sync.WaitGroup

	mu     sync.Mutex
	spools map[string]*spool // by the session's application_name
	bare   bool              // without plugins
	redact bool              // with one that masks all
	ends   []error           // of Serve
	lasted []time.Duration   // of Serve
}

// newStage returns a gate whose connections to the server are made by dial.
func newStage(t testing.TB, tlsConfig *tls.Config, dial func(context.Context, string, string) (net.Conn, error)) *stage {
	t.Helper()
	g := &stage{t: t, spools: map[string]*spool{}, resource: &postgres.Resource{Name: "orders", Host: "127.0.0.1", User: "gate", Password: "upstream", Database: "d", SSLMode: "disable"}}
	g.resource.SetDial(dial)
	var err error
	g.protocol, err = postgres.New(postgres.Config{Resources: map[string]*postgres.Resource{"orders": g.resource},
		TLS: tlsConfig, Plaintext: tlsConfig == nil, Analyzer: analyzer()})
	if err != nil {
		t.Fatal(err)
	}
	g.env = proxy.Env{
		Authenticate: func(_ context.Context, token string) (event.Principal, error) {
			if token != "good" {
				return event.Principal{}, errors.New("bad token")
			}
			return event.Principal{Name: "agent@example.com"}, nil
		},
		Open: func(_ context.Context, s *event.Session) (*pipeline.Session, error) {
			g.mu.Lock()
			defer g.mu.Unlock()
			r := &spool{}
			s.ID = fmt.Sprint(len(g.spools))
			for _, a := range s.Attrs {
				if a.Key == "postgres.application_name" {
					g.spools[a.Value] = r
				}
			}
			plugins := []pipeline.Plugin{rule(words), fieldMasker("secret")}
			switch {
			case g.bare:
				plugins = nil
			case g.redact:
				plugins[1] = redactor{}
			}
			return pipeline.New(pipeline.Config{Terms: pipeline.Terms{Session: s, Plugins: plugins, HoldFor: time.Minute},
				Recorder: r, Approver: assent{}, Key: []byte(strings.Repeat("k", 32))})
		},
		Log:      slog.New(slog.DiscardHandler),
		Draining: make(chan struct{}),
	}
	return g
}

// connect returns a client's connection to the gate.
func (g *stage) connect() net.Conn {
	client, gate := net.Pipe()
	g.serving.Go(func() {
		begun := time.Now()
		err := g.protocol.Serve(context.Background(), pipeEnd{gate}, g.env)
		g.mu.Lock()
		defer g.mu.Unlock()
		g.lasted = append(g.lasted, time.Since(begun))
		g.ends = append(g.ends, err)
	})
	return client
}

// finish waits until all sessions are over.
func (g *stage) finish() {
	g.t.Helper()
	g.serving.Wait()
	g.protocol.Close()
	for _, err := range g.ends {
		if err != nil && strings.Contains(err.Error(), "panicked") {
			g.t.Error(err)
		}
	}
}

// A faulty connection treats the bytes that are written to it, counted from the
// first, as trouble says.
type faulty struct {
	net.Conn
	trouble trouble
	written int
}

// A pipeEnd is the gate's end of a pipe, with the errors that a socket has.
type pipeEnd struct{ net.Conn }

func (c pipeEnd) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	return n, asSocket(err)
}

func (c pipeEnd) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	return n, asSocket(err)
}

// Of a socket that the other side closed deadlines can be set.
func (c pipeEnd) SetDeadline(t time.Time) error      { _ = c.Conn.SetDeadline(t); return nil }
func (c pipeEnd) SetReadDeadline(t time.Time) error  { _ = c.Conn.SetReadDeadline(t); return nil }
func (c pipeEnd) SetWriteDeadline(t time.Time) error { _ = c.Conn.SetWriteDeadline(t); return nil }

func asSocket(err error) error {
	if errors.Is(err, io.ErrClosedPipe) {
		return &net.OpError{Op: "pipe", Err: syscall.EPIPE}
	}
	return err
}

// trouble is what happens to a stream of bytes.
type trouble struct {
	kind string // "", "split", "stall", "close", "bytewise"
	at   int
}

// patience is how long a script waits for an answer that does not come, and how
// long a stalled one does nothing before it hangs up. The gate's own limits are
// shorter where it has any.
const patience = 2 * time.Minute

func (c *faulty) Write(b []byte) (int, error) {
	defer func() { c.written += len(b) }()
	if c.trouble.kind == "bytewise" {
		for i := range b {
			if _, err := c.Conn.Write(b[i : i+1]); err != nil {
				return i, err
			}
		}
		return len(b), nil
	}
	k := c.trouble.at - c.written
	if c.trouble.kind == "" || k < 0 || k >= len(b) {
		return c.Conn.Write(b)
	}
	n := 0
	if k > 0 { // to a pipe nothing is something
		var err error
		if n, err = c.Conn.Write(b[:k]); err != nil {
			return n, err
		}
	}
	switch c.trouble.kind {
	case "split":
		time.Sleep(time.Millisecond)
		m, err := c.Conn.Write(b[k:])
		return n + m, err
	case "stall":
		time.Sleep(patience)
	}
	c.Conn.Close()
	return n, net.ErrClosed
}

// A client is a scripted one.
type client struct {
	conn net.Conn
	tls  *tls.Config // nil: plaintext
	name string      // application_name
}

// run opens a session, sends the steps, each after the answer to the one
// before, and returns all that the gate answered, up to the end of the session.
func (c client) run(steps [][]byte) []byte {
	defer c.conn.Close()
	if c.tls != nil {
		_, _ = c.conn.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47})
		var answer [1]byte
		if _, err := io.ReadFull(c.conn, answer[:]); err != nil || answer[0] != 'S' {
			return answer[:]
		}
		conn := tls.Client(c.conn, c.tls)
		if err := conn.Handshake(); err != nil {
			return nil
		}
		c.conn = conn
	}
	var all bytes.Buffer
	ended, answered := make(chan struct{}), make(chan byte, 1000)
	go func() {
		defer close(ended)
		for {
			f, err := readFrame(c.conn)
			all.Write(f)
			if err != nil {
				return
			}
			if f[0] == 'R' || f[0] == 'Z' {
				select {
				case answered <- f[0]:
				default: // a server that never ends its answers
				}
			}
		}
	}()
	wait := func(n int) bool {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		for range n {
			select {
			case <-answered:
			case <-ended:
				return false
			case <-timer.C:
				return false
			}
		}
		return true
	}
	start := startUp(c.name)
	ok := true
	for _, s := range slices.Concat([][]byte{start, password}, steps) {
		if _, err := c.conn.Write(s); err != nil {
			ok = false
			break
		}
		n := 1
		switch s[0] {
		case 'p':
			n = 2 // AuthenticationOk and ReadyForQuery
		case 0, 'X':
			n = int(1 - s[0]/'X')
		default:
			n = replies(s)
		}
		if ok = wait(n); !ok {
			break
		}
	}
	if !ok {
		c.conn.Close()
	}
	select {
	case <-ended:
	case <-time.After(patience):
		c.conn.Close()
		<-ended
	}
	return all.Bytes()
}

func startUp(name string) []byte {
	b := []byte("\x00\x00\x00\x00\x00\x03\x00\x00user\x00a\x00database\x00orders\x00application_name\x00" + name + "\x00\x00")
	b[3] = byte(len(b))
	return b
}

var password = []byte("p\x00\x00\x00\x09good\x00")

// replies is how many ReadyForQuery a step gets.
func replies(step []byte) (n int) {
	for len(step) >= 5 {
		if step[0] == 'Q' || step[0] == 'S' {
			n++
		}
		size := 1 + int(binary.BigEndian.Uint32(step[1:]))
		if size < 5 || size > len(step) {
			break
		}
		step = step[size:]
	}
	return n
}

// readFrame reads one frame, of which it returns what came.
func readFrame(r io.Reader) ([]byte, error) {
	f := make([]byte, 5, 64)
	if n, err := io.ReadFull(r, f); err != nil {
		return f[:n], err
	}
	size := int64(binary.BigEndian.Uint32(f[1:])) - 4
	if size < 0 {
		return f, errors.New("a negative length")
	}
	var body bytes.Buffer
	_, err := io.CopyN(&body, r, size)
	return append(f, body.Bytes()...), err
}

// A server is a scripted one, for one connection. It lets the gate in, says what
// it is to say, and keeps what it heard.
type server struct {
	stage  *stage
	script []said
	greet  []byte // what it says after the start-up packet
	name   string // the client's application_name
	heard  [][]byte
}

// greeting lets a client in without asking for anything.
var greeting = slices.Concat(frame('R', "\x00\x00\x00\x00"), frame('S', "client_encoding\x00UTF8\x00"),
	frame('S', "standard_conforming_strings\x00on\x00"), frame('K', "\x00\x00\x00\x07\x00\x00\x00\x09"), frame('Z', "I"))

func frame(kind byte, body string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{kind}, uint32(4+len(body)))
	return append(b, body...)
}

// serve plays the script on conn, and checks that what comes was recorded. A
// connection that is not of the session which was mutated has no trouble, and
// one of the gate's own is hung up on.
func (s *server) serve(pipe net.Conn, t trouble) {
	defer pipe.Close()
	var packet bytes.Buffer
	var size [4]byte
	if _, err := io.ReadFull(pipe, size[:]); err != nil {
		return
	}
	if _, err := io.CopyN(&packet, pipe, int64(binary.BigEndian.Uint32(size[:]))-4); err != nil {
		return
	}
	conn := &faulty{Conn: pipe, trouble: t}
	switch text := packet.String(); {
	case strings.Contains(text, "beside"):
		s.name, s.script, s.greet, conn.trouble = "beside", plain.script, greeting, trouble{}
	case strings.Contains(text, "gatehouse"), strings.HasPrefix(text, "\x04\xd2\x16\x2e"):
		return // the gate's own, which a session can do without
	}
	counts := make(chan int, 10_000)
	go func() {
		defer close(counts)
		n := 0
		for {
			f, err := readFrame(conn)
			if err != nil {
				return
			}
			s.heard = append(s.heard, f)
			if f[0] == 'p' {
				continue
			}
			if s.name != "" {
				s.recorded(f)
			}
			if f[0] == 'X' {
				return
			}
			if f[0] != 'H' {
				n++
				counts <- n
			}
		}
	}()
	if _, err := conn.Write(s.greet); err != nil {
		return
	}
	heard := 0
	for _, c := range s.script {
		for heard < c.after {
			n, ok := <-counts
			if !ok {
				return
			}
			heard = n
		}
		if _, err := conn.Write(c.frame); err != nil {
			break
		}
	}
	for range counts { // until the gate leaves
	}
}

// recorded checks that a request which reached the server is in the spool,
// committed and allowed.
func (s *server) recorded(f []byte) {
	for _, c := range postgres.Constants() {
		if bytes.Equal(c, f) {
			return
		}
	}
	var operation, sql string
	switch f[0] {
	case 'Q':
		operation, sql = "query", strings.TrimSuffix(string(f[5:]), "\x00")
	case 'P':
		var m pgproto3.Parse
		if err := m.Decode(f[5:]); err != nil {
			s.stage.t.Errorf("the server got %q", f)
			return
		}
		if operation, sql = "prepare", m.Query; m.Name == postgres.CopyName {
			return // the gate's own, of a COPY that was judged
		}
	case 'd', 'c', 'f':
		s.stage.mu.Lock()
		kept := s.stage.spools[s.name]
		s.stage.mu.Unlock()
		if !bytes.Contains(kept.uploads(), f) {
			s.stage.t.Errorf("the server got %q, which the spool does not hold", f)
		}
		return
	case 'B', 'E', 'D', 'C', 'S', 'H', 'X':
		return // of statements that were judged
	default:
		s.stage.t.Errorf("the server got %q", f)
		return
	}
	s.stage.mu.Lock()
	kept := s.stage.spools[s.name]
	s.stage.mu.Unlock()
	if kept.allowed(operation)[sql] == 0 {
		s.stage.t.Errorf("the server got %q, which the spool does not hold as allowed", f)
	}
}

// A conversation is a client's steps and what a real server answered to them.
type conversation struct {
	name   string
	steps  [][]byte
	script []said
	answer []byte // of the gate, without its keys
	bare   bool   // in a gate without plugins
	redact bool   // in one that masks all, and only rows have the secret
}

func encode(ms ...pgproto3.FrontendMessage) (b []byte) {
	for _, m := range ms {
		var err error
		if b, err = m.Encode(b); err != nil {
			panic(err)
		}
	}
	return b
}

func query(sql string) []byte { return encode(&pgproto3.Query{String: sql}) }

const secretQuery = "SELECT 1 AS n, 's3cr3t-value' AS secret"

// copies are messages with data.
func copies(data ...string) (b []byte) {
	for _, d := range data {
		b = append(b, frame('d', d)...)
	}
	return b
}

// scripts are the clients' side of the conversations.
var scripts = map[string][][]byte{
	"simple": {query(secretQuery), query(secretQuery + "; SELECT 2; " + secretQuery), query("")},
	"extended": {
		encode(&pgproto3.Parse{Name: "s", Query: secretQuery + ", $1::int"}, &pgproto3.Describe{ObjectType: 'S', Name: "s"}, &pgproto3.Sync{}),
		encode(&pgproto3.Bind{PreparedStatement: "s", Parameters: [][]byte{[]byte("7")}}, &pgproto3.Execute{}, &pgproto3.Sync{}),
		encode(&pgproto3.Bind{PreparedStatement: "s", Parameters: [][]byte{{0, 0, 0, 7}}, ParameterFormatCodes: []int16{1}, ResultFormatCodes: []int16{1}},
			&pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}, &pgproto3.Close{ObjectType: 'S', Name: "s"}, &pgproto3.Sync{}),
	},
	"pipeline": {encode(
		&pgproto3.Parse{Query: secretQuery}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{},
		&pgproto3.Parse{Query: "SELECT 1/0"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Parse{Query: "SELECT 2"}, &pgproto3.Bind{}, &pgproto3.Sync{},
		&pgproto3.Parse{Query: "SELECT 3"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})},
	"portals": {
		encode(&pgproto3.Parse{Name: "a", Query: "SELECT n, 's3cr3t-value' AS secret FROM generate_series(1, 4) n"},
			&pgproto3.Parse{Name: "b", Query: "SELECT 's3cr3t-value' AS secret FROM generate_series(1, 4) n"},
			&pgproto3.Bind{DestinationPortal: "a", PreparedStatement: "a"}, &pgproto3.Bind{DestinationPortal: "b", PreparedStatement: "b"},
			&pgproto3.Execute{Portal: "a", MaxRows: 1}, &pgproto3.Execute{Portal: "b", MaxRows: 1},
			&pgproto3.Execute{Portal: "a", MaxRows: 1}, &pgproto3.Execute{Portal: "b"}, &pgproto3.Sync{}),
	},
	"errors": {query("SELECT 1/0"), query("DO $$ BEGIN RAISE NOTICE 'n'; END $$"), query("LISTEN c; NOTIFY c, 'x'"), query("SELECT nothing")},
	"refused": {
		query("SELECT 'forbidden'"), query("SELEC"),
		encode(&pgproto3.Parse{Query: "SELECT 1"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Parse{Query: "SELECT 'forbidden'"},
			&pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{}),
	},
	"copy out": {
		query("COPY (" + secretQuery + ") TO STDOUT"),
		query("BEGIN; COPY (" + secretQuery + ") TO STDOUT (FORMAT csv, HEADER); COMMIT"),
		encode(&pgproto3.Parse{Query: "COPY (" + secretQuery + ") TO STDOUT (FORMAT binary)"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{}),
	},
	"copy in": {
		query("CREATE TEMP TABLE copied (n int)"),
		slices.Concat(query("COPY copied FROM STDIN"), copies("1\n2", "\n3\n"), encode(&pgproto3.CopyDone{})),
		slices.Concat(query("COPY copied FROM STDIN"), copies("4\n"), encode(&pgproto3.CopyFail{Message: "no"})),
		slices.Concat(query("COPY nothing FROM STDIN"), copies("5\n", "6\n"), encode(&pgproto3.CopyDone{})),
		slices.Concat(query("COPY copied FROM STDIN"), copies("seven\n"), encode(&pgproto3.CopyDone{}, &pgproto3.Query{String: "SELECT count(*) FROM copied"})),
	},
	"held": {
		query("SELECT 'ask'"),
		encode(&pgproto3.Parse{Query: secretQuery + ", 'ask'"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{}),
	},
}

// record has the conversations with a real server, through a gate.
func record(t *testing.T) (all []*conversation) {
	pg := peers.SharedPostgres(t, 15)
	database := pg.NewDatabase(t, "")
	for name, steps := range scripts {
		c := &conversation{name: name, steps: append(slices.Clone(steps), encode(&pgproto3.Terminate{}))}
		var heard *listener
		g := newStage(t, nil, func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			if heard != nil { // the gate's own
				return conn, err
			}
			heard = &listener{Conn: conn}
			return heard, err
		})
		g.resource.Port, g.resource.User, g.resource.Password, g.resource.Database = uint16(pg.Port), peers.Superuser, pg.Password, database
		client{conn: g.connect(), name: "main"}.run(c.steps)
		g.finish()
		c.script = heard.script()
		inBubble(t, func(t *testing.T) { // with the scripted server's parameters
			c.answer, _ = play(t, c, trouble{}, trouble{})
		})
		for _, f := range frames(c.answer) {
			if f[0] == 'E' && bytes.Contains(f, []byte("FATAL")) {
				t.Fatalf("%s: %q", name, f)
			}
		}
		if bytes.Contains(c.answer, []byte(secret)) {
			t.Fatalf("%s: the secret is not masked", name)
		}
		all = append(all, c)
	}
	return all
}

// A listener keeps what passes between gate and server after the log-in.
type listener struct {
	net.Conn
	mu       sync.Mutex
	up, down []byte // that make no whole frame yet
	begun    bool
	heard    int
	said     []said
}

func (l *listener) Write(b []byte) (int, error) {
	l.mu.Lock()
	if l.begun {
		l.up = append(l.up, b...)
		for f := range whole(&l.up) {
			if f[0] != 'H' {
				l.heard++
			}
		}
	}
	l.mu.Unlock()
	return l.Conn.Write(b)
}

func (l *listener) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = append(l.down, b[:n]...)
	for f := range whole(&l.down) {
		if l.begun {
			l.said = append(l.said, said{l.heard, bytes.Clone(f)})
		}
		l.begun = l.begun || f[0] == 'Z'
	}
	return n, err
}

func (l *listener) script() []said {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said
}

// whole takes the whole frames off b.
func whole(b *[]byte) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(*b) >= 5 {
			size := 1 + int(binary.BigEndian.Uint32((*b)[1:]))
			if size < 5 || size > len(*b) {
				return
			}
			f := (*b)[:size]
			*b = (*b)[size:]
			if !yield(f) {
				return
			}
		}
	}
}

func frames(b []byte) [][]byte { return slices.Collect(whole(&b)) }

// play has a conversation with trouble on the client's side or the server's,
// and another session beside it, which must not notice. It returns what the
// client was answered, without keys.
func play(t testing.TB, c *conversation, ofClient, ofServer trouble) ([]byte, *stage) {
	return playWith(t, c, ofClient, ofServer, greeting, nil)
}

func playWith(t testing.TB, c *conversation, ofClient, ofServer trouble, greet []byte, ends *tlsEnds) ([]byte, *stage) {
	t.Helper()
	begun := time.Now()
	var g *stage
	var servers, clients sync.WaitGroup
	dial := func(context.Context, string, string) (net.Conn, error) {
		gate, conn := net.Pipe()
		s := &server{stage: g, script: c.script, greet: greet, name: "main"}
		servers.Go(func() { s.serve(conn, ofServer) })
		return pipeEnd{gate}, nil
	}
	if ends == nil {
		ends = &tlsEnds{}
	}
	g = newStage(t, ends.server, dial)
	g.bare, g.redact = c.bare, c.redact
	var answer []byte
	clients.Go(func() {
		answer = client{conn: &faulty{Conn: g.connect(), trouble: ofClient}, tls: ends.client, name: "main"}.run(c.steps)
	})
	if ofClient.kind != "" || ofServer.kind != "" {
		clients.Go(func() {
			time.Sleep(patience / 2) // while the other stalls, if it does
			got := client{conn: g.connect(), tls: ends.client, name: "beside"}.run(plain.steps)
			if !bytes.HasSuffix(got, frame('Z', "I")) || !bytes.Contains(got, frame('C', "SELECT 1\x00")) {
				t.Errorf("another session was answered %q", got)
			}
		})
	}
	clients.Wait()
	g.finish()
	synctest.Wait() // what was given up is dialled once more, to cancel
	servers.Wait()
	if took := time.Since(begun); took > 3*patience {
		t.Errorf("it took %v", took)
	}
	if bytes.Contains(answer, []byte(secret)) && !c.redact {
		t.Errorf("the secret came through: %q", answer)
	}
	return withoutKeys(answer), g
}

// tlsEnds are the two ends of TLS between client and gate.
type tlsEnds struct{ server, client *tls.Config }

// plain is the conversation of sessions beside mutated ones.
var plain = &conversation{name: "plain", steps: [][]byte{query("SELECT 1 AS n"), encode(&pgproto3.Terminate{})}, script: []said{
	{1, frame('T', "\x00\x01n\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x17\x00\x04\xff\xff\xff\xff\x00\x00")},
	{1, frame('D', "\x00\x01\x00\x00\x00\x011")}, {1, frame('C', "SELECT 1\x00")}, {1, frame('Z', "I")},
}}

// withoutKeys blanks the keys of BackendKeyData and the numbers of approvals,
// which differ from session to session.
func withoutKeys(answer []byte) []byte {
	b := bytes.Clone(answer)
	for _, f := range frames(b) {
		switch i := bytes.Index(f, []byte("waiting for approval ")); {
		case f[0] == 'K':
			clear(f[5:])
		case i >= 0:
			copy(f[i+len("waiting for approval "):], "########")
		}
	}
	return b
}

// inBubble runs f in synctest's time. What is shared by all tests must not
// belong to one bubble.
func inBubble(t *testing.T, f func(*testing.T)) {
	t.Helper()
	analyzer()
	synctest.Test(t, f)
}
