package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"gatehouse/core/event"
	"gatehouse/protocols/postgres/statement"
)

// A function is one that may be called by the fast path.
type function struct {
	name    string // with its schema, as SQL has it
	oid     uint32
	st      *prepared // that has the types of its arguments
	results [2]*head  // what it returns, by format
}

// function returns the function of that OID, or nil.
func (c *catalog) function(ctx context.Context, oid uint32) (*function, error) {
	c.mu.Lock()
	c.fresh()
	f := c.functions[oid]
	c.mu.Unlock()
	if f != nil {
		return f, nil
	}
	var types []uint32
	var returns uint32
	var short string
	err := c.ask(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		f = &function{oid: oid, st: new(prepared)}
		return conn.QueryRow(ctx, `SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(p.proname),
				p.proname, p.proargtypes::pg_catalog.oid[], p.prorettype
			FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
			WHERE p.oid = $1`, oid).Scan(&f.name, &short, &types, &returns)
	})
	if err != nil {
		return nil, err
	}
	f.st.setOIDs(types)
	for format := range f.results {
		h := &head{
			Head: event.Head{Fields: []event.Field{{Name: short, Type: typeName(returns)}}},
			oids: []uint32{returns}, formats: []int16{int16(format)},
		}
		h.setAttr()
		f.results[format] = h
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fresh()
	c.functions[oid] = f
	return f, nil
}

// decodeCall reads the body of a FunctionCall: the function's OID, and its
// arguments and the format of its result as Bind has them.
func decodeCall(body []byte) (oid uint32, b bind, err error) {
	c := cursor{b: body}
	oid = c.uint32()
	b.formats = c.bytes(2 * c.uint16())
	n := c.uint16()
	if !c.bad && 4*n <= len(c.b) {
		b.params = make([][]byte, n)
		for i := range b.params {
			b.params[i] = c.value()
		}
	} else {
		c.bad = true
	}
	b.results = c.bytes(2)
	if k := len(b.formats) / 2; !c.done() || k > 1 && k != n || b.results[0] != 0 || b.results[1] > 1 {
		return 0, bind{}, violated("malformed FunctionCall")
	}
	return oid, b, nil
}

// call judges a call of a function by the fast path, which the resource's
// configuration must allow, as the SELECT that does the same.
func (s *session) call(ctx context.Context, f, body []byte) error {
	oid, m, err := decodeCall(body)
	if err != nil {
		return err
	}
	req := &event.Request{Operation: "function call", Attrs: []event.Attr{{Key: "postgres.function", Value: fmt.Sprint(oid)}}}
	if !slices.Contains(s.resource.FunctionCalls, oid) {
		return s.refuseCall(ctx, req, nil, &refusal{code: codeUnsupported, message: "gatehouse: function calls by the fast path are refused",
			hint: "Use SELECT function(…)."})
	}
	fn, err := s.catalog.function(ctx, oid)
	if err != nil {
		return s.refuseCall(ctx, req, nil, &refusal{code: codeAccessDenied, message: fmt.Sprintf("gatehouse: the function of OID %d cannot be determined", oid)})
	}
	places := make([]string, len(m.params))
	for i := range places {
		places[i] = fmt.Sprintf("$%d", i+1)
	}
	req.Payload = []byte("SELECT " + fn.name + "(" + strings.Join(places, ", ") + ")")
	does, ref, err := s.analyze(ctx, req.Payload)
	if err != nil {
		return err
	}
	facts := does.facts
	if ref != nil {
		return s.refuseCall(ctx, req, facts, ref)
	}
	req.Statements = does.statements
	var cut []event.Parameter
	req.Params, cut = s.paramTexts(&m, fn.st, s.protocol.config.Limits.Parameters)
	e := s.guard(ctx, &owed{kind: 'F', head: fn.results[m.results[1]]}, does)
	if e.guarded != nil {
		h := *e.head
		h.Fields = slices.Clone(h.Fields)
		s.reads(ctx, e).apply(&h, make([]column, 1))
		e.head = &h
	}
	if ref, err = s.judge(ctx, e, req, facts, cut...); err != nil || ref == errSkipped {
		return err
	}
	if ref != nil {
		return s.forward(constantCall, refused(e, ref))
	}
	s.note(facts)
	if len(f) > maxBuffer {
		return s.forwardAtOnce(ctx, f, e)
	}
	return s.forward(f, e)
}

// refuseCall refuses a call by the fast path.
func (s *session) refuseCall(ctx context.Context, req *event.Request, facts *statement.Result, r *refusal) error {
	return s.forward(constantCall, &owed{kind: 'F', x: s.reject(ctx, req, facts, r), refusal: r})
}

// called begins the response to a call: one value, which the plugins may treat.
func (s *session) called(ctx context.Context, e *owed) (columns []int, fields []event.Field, err error) {
	if e.described {
		return nil, nil, violated("the server answered a function call twice")
	}
	e.described = true
	s.shown.computed = true
	if err := e.x.Head(ctx, &e.head.Head); err != nil {
		return nil, nil, s.untreated(e, err)
	}
	columns, fields = e.x.Treated()
	return columns, fields, nil
}

// functionResponse passes on what a function returned.
func (s *session) functionResponse(ctx context.Context, e *owed, f []byte) error {
	c := cursor{b: f[frameHeader:]}
	if c.value(); !c.done() {
		return violated("malformed FunctionCallResponse")
	}
	columns, fields, err := s.called(ctx, e)
	if err == nil {
		err = s.take(e, len(f))
	}
	if err != nil {
		return err
	}
	if len(columns) > 0 {
		// It is treated as the row that the SELECT would have returned.
		row, err := s.treatRows(ctx, nil, e, [][]byte{valueAsRow(f)}, e.head, columns, fields)
		if err != nil {
			return err
		}
		f = appendFrame(nil, 'V', func(b []byte) []byte { return append(b, row[frameHeader+2:]...) })
	}
	e.rows++
	return s.send(e, f)
}

// valueAsRow returns the DataRow with the value of a FunctionCallResponse.
func valueAsRow(f []byte) []byte {
	return appendFrame(nil, 'D', func(b []byte) []byte { return append(append(b, 0, 1), f[frameHeader:]...) })
}

// longResponse passes on what a function returned and is too long to be held.
func (s *session) longResponse(ctx context.Context, e *owed) error {
	var columns []int
	err := s.locked(func() (err error) {
		columns, _, err = s.called(ctx, e)
		return err
	})
	if err != nil {
		return err
	}
	start := binary.BigEndian.AppendUint32([]byte{'V'}, uint32(s.fromServer.left+4))
	return s.relayLong(ctx, e, e.head, start, len(columns) > 0, (*longRow).dataRow)
}
