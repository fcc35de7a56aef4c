package postgres

import (
	"context"
	"net"

	"gatehouse/core/event"
	"gatehouse/core/lineage"
	"gatehouse/core/protect"
	"gatehouse/protocols/postgres/statement"
)

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
