package postgres

import (
	"context"
	"net"
	"time"

	"gatehouse/core/event"
	"gatehouse/core/lineage"
	"gatehouse/core/protect"
	"gatehouse/core/proxy"
	"gatehouse/protocols/postgres/statement"
)

// On a busy machine a server takes longer to plan a statement.
func init() { estimateTimeout = time.Minute }

// SetDial makes connections to the resource by dial.
func (r *Resource) SetDial(dial func(ctx context.Context, network, addr string) (net.Conn, error)) {
	r.dialFunc = dial
}

// Constants are the frames that the gate sends in the place of refused ones.
func Constants() [][]byte {
	return [][]byte{constantQuery, constantParse, constantUnnamed, constantMalformed, constantCall}
}

// CopyName is the name of the statement by which the gate asks what columns a
// COPY has.
const CopyName = copyName

// Catalogs is how many databases the gate keeps a catalogue of.
func (r *Resource) Catalogs() int {
	r.catalogs.mu.Lock()
	defer r.catalogs.mu.Unlock()
	return len(r.catalogs.m)
}

// Lineage is what a statement of the resource's database returns and does, under
// the search path public.
func (r *Resource) Lineage(ctx context.Context, a *statement.Analyzer, sql string) (*lineage.Result, error) {
	facts, err := a.Analyze(ctx, sql)
	if err != nil {
		return nil, err
	}
	protected, err := protect.New(protect.Config{Mode: protect.Strict, Columns: map[string]event.Treatment{"none.of.these": {Kind: event.Redact}}})
	if err != nil {
		return nil, err
	}
	v := r.catalogs.of(r, r.Database, Address{r.Host, r.Port}).vocabulary(a)
	return lineage.Analyze(ctx, facts.Query(0), &world{vocabulary: v, path: []string{"pg_catalog", "public"}, protected: protected})
}

// Close closes the resource's own connections.
func (r *Resource) Close() { r.catalogs.close() }

// Hands pass the messages of one session, in the place of its goroutines.
type Hands struct {
	s *session
}

// OpenByHand opens a session for a client and returns the connection to its server,
// which is the caller's: what the session writes is dropped.
func OpenByHand(ctx context.Context, p *Protocol, client net.Conn, env proxy.Env) (*Hands, net.Conn, error) {
	s, err := p.open(ctx, client, env)
	if err != nil {
		return nil, nil, err
	}
	server := s.server.conn
	s.client, s.server.conn = dropping{client}, dropping{server}
	return &Hands{s}, server, nil
}

// Close ends the session.
func (h *Hands) Close() { h.s.close(context.Background()) }

// Ask takes messages of the client and returns what goes to the server.
func (h *Hands) Ask(frames [][]byte) ([]byte, error) {
	for _, f := range frames {
		if err := h.s.lead(func() error { return h.s.request(context.Background(), f) }); err != nil {
			return nil, err
		}
	}
	up := h.s.up
	return up, h.s.flushUp(context.Background())
}

// Answer takes a message of the server.
func (h *Hands) Answer(f []byte) error {
	if err := h.s.respond(context.Background(), f); err != nil || f[0] != 'Z' {
		return err
	}
	return h.s.pauseDown(context.Background())
}

// Pass takes messages of the client, and of the server what it answers.
func (h *Hands) Pass(frames, answers [][]byte) error {
	_, err := h.Ask(frames)
	for _, f := range answers {
		if err == nil {
			err = h.Answer(f)
		}
	}
	return err
}

type dropping struct{ net.Conn }

func (dropping) Write(b []byte) (int, error) { return len(b), nil }

func (dropping) SetWriteDeadline(time.Time) error { return nil }
