package postgres

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/protocols/postgres/statement"
)

// A prepared is a prepared statement, made by Parse or by PREPARE: they share
// one name space.
type prepared struct {
	sql        []byte
	facts      *statement.Result
	statements []event.Statement        // what executing it does
	index      int                      // of the statement in facts that it stands for
	refusal    *refusal                 // why the policy that is in force now does not let it pass
	names      bool                     // executing it may define or drop names by SQL
	viaSQL     bool                     // made by PREPARE; sql and facts are the whole message's
	prepares   string                   // that PREPARE
	given      []uint32                 // types of its parameters, as the client gave them
	oids       atomic.Pointer[[]uint32] // those as far as they are known
	bytes      int                      // that it keeps
	edition    string                   // as in subject, when it was prepared
	bound      *subject                 // requests: what it was bound as last

	// These belong to the responses' goroutine and serve where nothing is
	// masked.
	described *head            // from a Describe of the statement, in text formats
	inFormats map[string]*head // described in a portal's formats
}

// A portal is a statement that is bound to its parameters. Its exchange is the
// Bind's. SQL's cursors are portals too: they share one name space, and either
// side may run what the other opened.
type portal struct {
	// These belong to the requests' goroutine, but for x once it was pushed.
	st       *prepared // nil for a cursor
	x        *pipeline.Exchange
	req      *event.Request // nil for a cursor
	context  judged
	renewals uint64   // the session's, when it was judged
	asked    uint64   // the segment in which a Describe of it was sent
	copied   bool     // it was executed and is a COPY: the server does not run it again
	formats  string   // of the result, as Bind has them
	sends    string   // the formats of the parameters, as Bind has them
	estimate string   // how many rows it would write
	refusal  *refusal // why the policy that is in force now does not let it pass
	bytes    int      // that it keeps
	subject  *subject // what it was bound or declared as
	fails    bool     // as in told; true where nothing is told

	statements []event.Statement // what a cursor's query does
	holds      bool              // a cursor WITH HOLD

	known atomic.Bool // its description came

	// These belong to the responses' goroutine.
	head   *head              // nil before its description came, or where it has no rows
	headOf *pipeline.Exchange // the exchange that knows head
}

// size is how many bytes p keeps that a client chose. A nil p keeps none.
func (p *prepared) size() int {
	if p == nil {
		return 0
	}
	return p.bytes
}

func (p *portal) size() int {
	if p == nil {
		return 0
	}
	return p.bytes
}

// What keeping a name costs at least, and each parameter and statement beside
// its text, in bytes.
const (
	nameCost      = 512
	paramCost     = 32
	statementCost = 512
)

// keeps estimates how many bytes a text and what was found in it keep.
func keeps(sql []byte, statements []event.Statement) int {
	return 4*len(sql) + statementCost*len(statements)
}

// measure sets how much p keeps.
func (p *prepared) measure() {
	p.bytes = nameCost + len(p.prepares) + keeps(p.sql, p.statements)
	if oids := p.oids.Load(); oids != nil {
		p.bytes += 4 * len(*oids)
	}
}

// measure sets how much p keeps.
func (p *portal) measure() {
	p.bytes = nameCost + len(p.formats) + len(p.sends)
	for _, v := range p.req.Params {
		p.bytes += paramCost + len(v)
	}
	if p.req.Sent != nil {
		p.bytes += len(p.req.Payload) + p.req.Sent.Size()
	}
}

// text returns what the text of p's statement does, or nil where it is another
// statement's.
func (p *portal) text() *statement.Result {
	if p.st == nil || p.st.viaSQL {
		return nil
	}
	return p.st.facts
}

// as returns the description of p's rows when they come in formats, as Bind has
// them. Only the responses' goroutine calls it.
func (p *prepared) as(formats string) *head {
	h := p.inFormats[formats]
	if h == nil {
		h = &head{Head: event.Head{Fields: p.described.Fields}, oids: p.described.oids, formats: make([]int16, len(p.described.oids))}
		for i := range h.formats {
			switch {
			case len(formats) == 2:
				h.formats[i] = int16(formats[1])
			case 2*i+1 < len(formats):
				h.formats[i] = int16(formats[2*i+1])
			}
		}
		h.setAttr()
		if p.inFormats == nil || len(p.inFormats) > 16 {
			p.inFormats = map[string]*head{}
		}
		p.inFormats[formats] = h
	}
	return h
}

// setOIDs sets the types of the parameters as the server reported them.
func (p *prepared) setOIDs(oids []uint32) { p.oids.Store(&oids) }

// oid returns the type of parameter i, or 0.
func (p *prepared) oid(i int) uint32 {
	if oids := p.oids.Load(); oids != nil && i < len(*oids) {
		return (*oids)[i]
	}
	return 0
}

// parameters are the types of the parameters, as a subject has them.
func (p *prepared) parameters() string {
	oids := p.oids.Load()
	if oids == nil {
		return ""
	}
	var room [8 * 4]byte
	all := room[:0]
	for _, oid := range *oids {
		all = binary.BigEndian.AppendUint32(all, oid)
	}
	return string(all)
}

// maxName is the longest name of a statement or portal, in bytes. The server
// cuts longer ones (NAMEDATALEN), so that two that differ here could be one
// there, and what is judged under the one would run under the other.
const maxName = 63

// cutName refuses a message whose names the server would cut.
func cutName(names ...string) *refusal {
	for _, name := range names {
		if len(name) > maxName {
			return &refusal{code: codeNameTooLong, message: fmt.Sprintf("gatehouse: a name of %d bytes is longer than %d", len(name), maxName)}
		}
	}
	return nil
}

// full reports whether a further name would exceed names, or bytes that they
// keep.
func (q *queue) full(names, bytes int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.prepared)+len(q.portals) >= names || q.kept >= bytes
}

// findStatement returns the prepared statement that name means to a message sent
// now. known is false when only replies that are still owed can tell.
func (q *queue) findStatement(name string) (st *prepared, known bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	segment := true // no Sync lies between: an error would skip the message too
	for i := len(q.items) - 1; i >= 0 && q.defines > 0; i-- {
		switch e := q.items[i]; {
		case e.kind == 'S':
			segment = false
		case e.names:
			return nil, false
		case e.kind == 'Q' && name == "":
			return nil, segment
		case e.kind == 'P' && e.name == name:
			return e.st, segment
		case e.kind == 'C' && e.object == 'S' && e.name == name:
			return nil, segment
		}
	}
	return q.prepared[name], true
}

// findPortal is findStatement for portals.
func (q *queue) findPortal(name string) (p *portal, known bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	segment := true
	for i := len(q.items) - 1; i >= 0 && q.defines > 0; i-- {
		switch e := q.items[i]; {
		case e.names:
			return nil, false
		case e.kind == 'Q' && name == "":
			return nil, false // it takes its place, unless it is empty
		case e.kind == 'S', e.kind == 'Q', e.kind == 'F':
			segment = false
		case e.kind == 'B' && e.name == name:
			return e.portal, segment
		case e.kind == 'C' && e.object == 'P' && e.name == name:
			return nil, segment
		}
	}
	if !segment && len(q.items) > 0 && q.status == 'I' {
		// A Sync that is still owed may end the portals.
		return nil, false
	}
	return q.portals[name], true
}

// define makes e's name mean what e says, once the server confirmed it.
func (q *queue) define(e *owed) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case e.kind == 'P':
		q.setPrepared(e.name, e.st)
	case e.kind == 'B':
		q.setPortal(e.name, e.portal)
	case e.kind == 'C' && e.object == 'S':
		q.setPrepared(e.name, nil)
	case e.kind == 'C' && e.object == 'P':
		q.setPortal(e.name, nil)
	}
}

// setPrepared makes name mean p, or nothing. The caller holds mu, as for the
// three below.
func (q *queue) setPrepared(name string, p *prepared) {
	q.kept += p.size() - q.prepared[name].size()
	if q.prepared[name] = p; p == nil {
		delete(q.prepared, name)
	}
}

func (q *queue) setPortal(name string, p *portal) {
	q.kept += p.size() - q.portals[name].size()
	if q.portals[name] = p; p == nil {
		delete(q.portals, name)
	}
}

// dropPrepared forgets all prepared statements that have a name: DEALLOCATE ALL
// leaves the other one.
func (q *queue) dropPrepared() {
	for name := range q.prepared {
		if name != "" {
			q.setPrepared(name, nil)
		}
	}
}

// dropPortals forgets all portals but keep, and those WITH HOLD only where
// holdable is set.
func (q *queue) dropPortals(holdable bool, keep *portal) {
	for name, p := range q.portals {
		if p != keep && (!p.holds || holdable) {
			q.setPortal(name, nil)
		}
	}
}

// took takes into account that a statement of e ended well, which may have
// defined or dropped names by SQL.
func (q *queue) took(e *owed) {
	if !e.names {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if e.index >= e.facts.Len() {
		return
	}
	i := e.facts.Top(e.index)
	switch st := &e.facts.Statements[i]; st.Kind {
	case "DECLARE CURSOR":
		q.setPortal(named(st), newCursor(e, i))
	case "CLOSE CURSOR":
		q.setPortal(named(st), nil)
	case "CLOSE CURSOR ALL", "DISCARD ALL":
		q.dropPortals(true, e.portal) // not the one that runs this
	}
	for _, p := range e.facts.Preparations() {
		switch {
		case p.Index != i:
		case p.Name == "":
			q.dropPrepared()
		case p.Body == nil:
			q.setPrepared(p.Name, nil)
		default:
			for i := range p.Body {
				p.Body[i].Runs = true // when it is bound
			}
			made := &prepared{sql: e.sql, facts: e.facts, index: e.index, statements: p.Body, viaSQL: true}
			start, end := e.facts.Span(string(e.sql), e.index)
			made.prepares = string(e.sql[start:end])
			made.measure()
			q.setPrepared(p.Name, made)
		}
	}
}

// lookup returns the confirmed statement of that name.
func (q *queue) lookup(name string) *prepared {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.prepared[name]
}

// known returns what names mean: *prepared and *portal.
func (q *queue) known() (all []any) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, p := range q.prepared {
		all = append(all, p)
	}
	for _, p := range q.portals {
		all = append(all, p)
	}
	return all
}
