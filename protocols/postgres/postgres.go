// Package postgres speaks PostgreSQL's wire protocol (version 3) on both sides
// of a session and tells the pipeline what it sees. It authenticates clients by
// identity tokens in the place of passwords, opens the server with the gate's
// own credential, and relays every message in between: frames that nobody
// changes are forwarded as the bytes that they were.
//
// Each direction of a session is served on its own, when there is something to
// read: by a worker of core/poll, which waits for the sockets of all sessions, or
// by a goroutine that reads, where a connection is not over a socket. What is said
// below of the requests' goroutine and the responses' is of whichever serves that
// direction at the time. A queue of responses owed, in the order asked, pairs what
// the server says with what it answers.
package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/core/proxy"
	"gatehouse/protocols/postgres/statement"
)

// Defaults of Limits.
const (
	DefaultStartupTime = 10 * time.Second
	DefaultMessageSize = 64 << 20
	DefaultBuffer      = 1 << 20
	DefaultParameters  = 1 << 20
	DefaultInspect     = 4 << 20
	DefaultSpill       = 8 << 30
	DefaultUnread      = 5 * time.Minute
	DefaultUnsent      = time.Minute
	DefaultUntaken     = time.Hour
	DefaultPipeline    = 4096
	DefaultPrepared    = 4096
	DefaultWrongKeys   = 60
)

// lastWord is how long a client may take to be told why it is not let in.
const lastWord = time.Second

// Limits bound what one session may use. Zero fields mean the default.
type Limits struct {
	// StartupTime is how long a client may take to say who it is.
	StartupTime time.Duration
	// MessageSize is the largest message that is read whole, in bytes: all
	// that clients send but for the data of uploads, and what servers send
	// but for rows. A client's larger one is refused, a server's ends the
	// session.
	MessageSize int
	// Parameters is how much plugins and approvers get of the parameters of
	// a request, all of them together. Longer ones are cut for them, but
	// recorded whole.
	Parameters int
	// Buffer is the largest row that is read whole. Of larger ones, up to
	// PostgreSQL's gigabyte, the gate has a piece at a time in memory.
	Buffer int
	// Inspect is how much of a row that is not read whole plugins may
	// inspect, all of its values together. Longer ones are redacted.
	Inspect int
	// Spill is how many bytes of the disk the rows of all sessions may take
	// that are not read whole and have treated values.
	Spill int64
	// Unread is how long a client may read nothing of what it is sent.
	Unread time.Duration
	// Unsent is how long a client that has begun a message may take for each
	// 64 KiB of it, and for its rest.
	Unsent time.Duration
	// Untaken is how long a server may take nothing of what it is sent, while
	// it says nothing either.
	Untaken time.Duration
	// Pipeline is how many responses may be owed before the gate reads no
	// further requests.
	Pipeline int
	// Prepared is how many prepared statements and portals a session may
	// have at a time.
	Prepared int
	// Idle is how long a session may do nothing outside a transaction, and
	// IdleInTransaction how long within one. Zero is for ever.
	Idle, IdleInTransaction time.Duration
	// WrongKeys is how many cancel requests with a wrong key of one address
	// are looked at within a minute. Further ones are dropped, right or not.
	WrongKeys int
}

// A Config is what a Protocol is made of.
type Config struct {
	Resources map[string]*Resource // by the name that clients give as database
	TLS       *tls.Config          // nil: TLS is declined; not changed
	Plaintext bool                 // clients on a loopback address may go without TLS
	Limits    Limits
	// SpillDir is the directory for temporary files with masked rows that are
	// too long for memory. "" is the system's own.
	SpillDir string
	Analyzer *statement.Analyzer
}

// A Protocol serves PostgreSQL clients. It is safe for concurrent use.
type Protocol struct {
	config    Config
	resources atomic.Pointer[map[string]*Resource] // in the place of config.Resources
	cancels   cancelRegistry
	spills    spills
	wrongKeys proxy.Throttle
	dropped   atomic.Int64 // cancel requests
	failures  failureCount

	tainted map[string]*taints // by file
}

var _ proxy.Protocol = (*Protocol)(nil)

// New returns a protocol for c. Close ends what it started.
func New(c Config) (*Protocol, error) {
	if c.TLS == nil && !c.Plaintext {
		return nil, errors.New("postgres: neither TLS nor plaintext on loopback is configured, so no client could connect")
	}
	if c.Analyzer == nil {
		return nil, errors.New("postgres: no analyzer of statements is given")
	}
	if err := validateAll(c.Resources); err != nil {
		return nil, err
	}
	if c.TLS != nil {
		c.TLS = c.TLS.Clone()
		c.TLS.NextProtos = []string{alpn}
	}
	l := &c.Limits
	setDefault(&l.StartupTime, DefaultStartupTime)
	setDefault(&l.MessageSize, DefaultMessageSize)
	setDefault(&l.Parameters, DefaultParameters)
	setDefault(&l.Buffer, DefaultBuffer)
	setDefault(&l.Inspect, DefaultInspect)
	setDefault(&l.Spill, DefaultSpill)
	setDefault(&l.Unread, DefaultUnread)
	setDefault(&l.Unsent, DefaultUnsent)
	setDefault(&l.Untaken, DefaultUntaken)
	setDefault(&l.Pipeline, DefaultPipeline)
	setDefault(&l.Prepared, DefaultPrepared)
	setDefault(&l.WrongKeys, DefaultWrongKeys)
	p := &Protocol{config: c, wrongKeys: proxy.Throttle{Limit: l.WrongKeys}, spills: spills{dir: c.SpillDir, limit: l.Spill, held: min(l.Buffer, pieceBuffer)}}
	if err := p.track(c.Resources); err != nil {
		return nil, err
	}
	p.resources.Store(&c.Resources)
	return p, nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Close closes the gate's own connections to the resources, once their sessions
// have ended.
func (p *Protocol) Close() {
	for _, r := range *p.resources.Load() {
		r.replace()
	}
}

// Dropped is how many cancel requests were dropped, because their address had
// sent too many with wrong keys.
func (p *Protocol) Dropped() int64 { return p.dropped.Load() }

// cancel carries out a cancel request, unless its address guesses keys.
func (p *Protocol) cancel(from net.Addr, k cancelKey) {
	a := proxy.AddressOf(from)
	if p.wrongKeys.Wait(a) > 0 {
		p.dropped.Add(1)
		return
	}
	if !p.cancels.cancel(k) {
		p.wrongKeys.Fail(a)
	}
}

// Serve relays one connection until either side ends, ctx ends, or the session
// must end: at a drain or when its identity expires it ends at the next idle
// point.
func (p *Protocol) Serve(ctx context.Context, client net.Conn, env proxy.Env) error {
	defer client.Close()
	stop := context.AfterFunc(ctx, func() { client.Close() })
	defer stop()
	s, err := p.open(ctx, client, env)
	if errors.Is(err, errCancelRequest) || errors.Is(err, io.EOF) {
		return nil // a probe, or a cancel request, is no session
	}
	if err != nil {
		return err
	}
	defer s.close(ctx)
	return s.relay(ctx)
}

// open takes a client from its first byte to an open session. A client that
// does not get there is told why.
func (p *Protocol) open(whole context.Context, client net.Conn, env proxy.Env) (*session, error) {
	ctx, cancel := context.WithTimeout(whole, p.config.Limits.StartupTime)
	defer cancel()
	deadline, _ := ctx.Deadline()
	if err := client.SetDeadline(deadline); err != nil {
		return nil, fmt.Errorf("set deadline: %w", err)
	}
	st, err := p.negotiate(ctx, client)
	var s *session
	if err == nil {
		s, err = p.admit(ctx, st, env)
	}
	if err == nil {
		// From here on it is the servers that take their time.
		if err = client.SetDeadline(time.Time{}); err == nil {
			err = s.dial(whole, st)
		}
		if err == nil {
			return s, nil
		}
		s.resource.leave()
		err = errors.Join(err, s.ps.Close(context.WithoutCancel(ctx), event.Notice{Code: "unreachable", Text: "the resource could not be opened"}))
	}
	var told *endError
	if errors.As(err, &told) || isViolation(err) {
		_ = client.SetWriteDeadline(timeIn(lastWord)) // the time to start up may be over
		_, werr := st.conn.Write(fatal(err).append(nil, "FATAL"))
		return nil, errors.Join(err, werr)
	}
	return nil, err
}

func isViolation(err error) bool {
	_, ok := errors.AsType[*violation](err)
	return ok
}

// admit authenticates a client and opens its session, which has no server yet.
func (p *Protocol) admit(ctx context.Context, st *startup, env proxy.Env) (*session, error) {
	if env.Refusal != nil {
		return nil, overLimit(env.Refusal)
	}
	token, err := st.askToken()
	if err != nil {
		return nil, err
	}
	principal, err := env.Authenticate(ctx, token)
	if over := overLimit(err); over != nil {
		return nil, over
	}
	if err != nil {
		return nil, &endError{refusal{code: codeBadPassword,
			message: "gatehouse: " + reason(err, "the identity token was not accepted"),
			hint:    "Give a fresh identity token as the password."}, err}
	}
	denied := &endError{refusal{code: codeUnauthenticated,
		message: fmt.Sprintf("gatehouse: resource %q does not exist or is not open to you", st.resource),
		hint:    "Give the name of a resource as the database name."}, nil}
	r := (*p.resources.Load())[st.resource]
	if r == nil {
		return nil, denied
	}
	database, err := r.choose(st.database)
	if err != nil {
		return nil, err
	}
	attrs := []event.Attr{
		{Key: "db.namespace", Value: database},
		{Key: "postgres.requested_user", Value: st.user},
		{Key: "postgres.application_name", Value: st.params["application_name"]},
	}
	if st.certificate != "" {
		attrs = append(attrs, event.Attr{Key: "tls.client.subject", Value: st.certificate})
	}
	ps, err := env.Open(ctx, &event.Session{
		Protocol:  "postgres",
		Resource:  r.Name,
		Principal: principal,
		Client:    st.conn.RemoteAddr().String(),
		Attrs:     attrs,
	})
	if err != nil {
		if r := reason(err, ""); r != "" {
			denied.message, denied.hint = "gatehouse: "+r, ""
		}
		denied.err = err
		return nil, denied
	}
	r.enter()
	return newSession(p, r, database, st, env, ps), nil
}

// newSession returns a session that is not connected to its server yet.
func newSession(p *Protocol, r *Resource, database string, st *startup, env proxy.Env, ps *pipeline.Session) *session {
	st.reader.limit = p.config.Limits.MessageSize
	st.reader.patience, st.reader.setDeadline = p.config.Limits.Unsent, st.conn.SetReadDeadline
	st.reader.inPieces, st.reader.whole = longFromClient, p.config.Limits.MessageSize
	return &session{
		protocol: p, resource: r, database: database, env: env, ps: ps,
		client: st.conn, fromClient: st.reader, queue: newQueue(),
		sync: owed{kind: 'S'}, segment: 1, nudged: make(chan struct{}, 1),
	}
}
