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
// a search path; "" is any.
func (r *Resource) Lineage(ctx context.Context, a *statement.Analyzer, sql, path string) (*lineage.Result, error) {
	facts, err := a.Analyze(ctx, sql)
	if err != nil {
		return nil, err
	}
	protected, err := protect.New(protect.Config{Mode: protect.Strict, Columns: map[string]event.Treatment{"none.of.these": {Kind: event.Redact}}})
	if err != nil {
		return nil, err
	}
	c := r.catalogs.of(r, r.Database, Address{r.Host, r.Port})
	v := c.vocabulary(a)
	if v.analyzer != a { // it was read by another
		c.forget()
		v = c.vocabulary(a)
	}
	return lineage.Analyze(ctx, facts.Query(0), &world{vocabulary: v, path: searchPath(path), pathText: path, protected: protected, settled: true, same: true})
}

// A Resolved is a function or operator as a statement uses it: what types its
// arguments have and which of the name may be meant.
type Resolved struct {
	Name  lineage.Name
	Types []uint32
	OIDs  []uint32
}

// Resolved returns what the functions and operators of a statement may be under a
// search path.
func (r *Resource) Resolved(ctx context.Context, a *statement.Analyzer, sql, path string, parameters ...uint32) ([]Resolved, error) {
	facts, err := a.Analyze(ctx, sql)
	if err != nil {
		return nil, err
	}
	protected, err := protect.New(protect.Config{Mode: protect.Strict, Columns: map[string]event.Treatment{"none.of.these": {Kind: event.Redact}}})
	if err != nil {
		return nil, err
	}
	v := r.catalogs.of(r, r.Database, Address{r.Host, r.Port}).vocabulary(a)
	path = schemas(path, r.User)
	types := prepared{}
	types.setOIDs(parameters)
	w := resolving{world: &world{vocabulary: v, path: searchPath(path), pathText: path, protected: protected, settled: true, same: true, parameters: types.parameters()}}
	_, err = lineage.Analyze(ctx, facts.Query(0), &w)
	return w.resolved, err
}

// Resolving is a world that notes what it resolves.
type resolving struct {
	*world
	resolved []Resolved
}

func (w *resolving) Functions(ctx context.Context, u *lineage.Use) (lineage.Meant, error) {
	if err := w.note(ctx, u, false); err != nil {
		return lineage.Meant{}, err
	}
	return w.world.Functions(ctx, u)
}

func (w *resolving) Operators(ctx context.Context, u *lineage.Use) (lineage.Meant, error) {
	if err := w.note(ctx, u, true); err != nil {
		return lineage.Meant{}, err
	}
	return w.world.Operators(ctx, u)
}

func (w *resolving) note(ctx context.Context, u *lineage.Use, isOperator bool) error {
	own, others, err := w.dictionaries(ctx)
	if err != nil {
		return err
	}
	o := w.overloadsOf(own, others, u.Name, isOperator)
	c := w.call(own, others, u, o)
	r := Resolved{Name: u.Name, Types: c.Types}
	var chosen []int
	if isOperator {
		chosen, _ = w.types.Operator(o.candidates, c)
	} else {
		chosen, _ = w.types.Function(o.candidates, c)
	}
	for _, i := range chosen {
		if isOperator {
			r.OIDs = append(r.OIDs, o.operators[i].oid)
		} else {
			r.OIDs = append(r.OIDs, o.routines[i].oid)
		}
	}
	w.resolved = append(w.resolved, r)
	return nil
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
