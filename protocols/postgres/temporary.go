package postgres

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"

	"gatehouse/core/event"
	"gatehouse/protocols/postgres/statement"
)

// Temporaries are the session's temporary relations, which it alone sees by their
// names. They belong to the requests' goroutine, but for schema.
type temporaries struct {
	may    bool                   // there may be some
	wanted bool                   // the server is to be asked for their schema
	unsure bool                   // what there is may be seen only by the session, in its open transaction
	schema atomic.Pointer[string] // where the server has them; nil: it has not said
	// changes counts when others may have come.
	changes uint64
}

// A temporary is where a statement's names find temporary relations: nowhere, if it
// is zero.
type temporary struct {
	schema  string
	changes uint64
}

// note takes into account what a request that goes to the server may make.
func (t *temporaries) note(facts *statement.Result, makes bool) {
	if makes {
		t.may, t.wanted = true, true
	}
	t.unsure = t.unsure || t.changing(facts, makes)
}

// changing is whether facts may change which temporary relations there are.
func (t *temporaries) changing(facts *statement.Result, makes bool) bool {
	return makes || t.may && (facts.DDL || slices.ContainsFunc(facts.Statements, func(st event.Statement) bool {
		return st.Opaque || st.Kind == "CALL" || strings.HasPrefix(st.Kind, "DISCARD")
	}))
}

// known returns where temporary relations are found. It is not certain where there
// may be others than the gate's own connection sees. Settled is whether nothing is
// under way, and no transaction open.
func (t *temporaries) known(settled bool) (where temporary, certain bool) {
	if !t.may {
		return temporary{}, true
	}
	if t.unsure && settled {
		t.unsure = false
		t.changes++
	}
	schema := t.schema.Load()
	if schema == nil {
		return temporary{}, false
	}
	return temporary{*schema, t.changes}, !t.unsure
}

// temporaries returns where names find the session's temporary relations, and whether
// it is certain which there are.
func (s *session) temporaries() (where temporary, certain bool) {
	status, settled := s.queue.transaction()
	return s.temporary.known(status == 'I' && settled)
}

// makesTemporary is whether what facts are of may make temporary relations: also
// since the path says that what has no schema is one.
func (s *session) makesTemporary(facts *statement.Result) bool {
	return slices.ContainsFunc(facts.Statements, func(st event.Statement) bool {
		makes := strings.HasPrefix(st.Kind, "CREATE ") || st.Kind == "SELECT INTO"
		return st.Opaque || slices.Contains(st.Options, "TEMPORARY") ||
			makes && slices.ContainsFunc(st.Writes, func(o event.Object) bool { return o.Schema == "" }) && s.pathMayBeTemporary(facts)
	})
}

// pathMayBeTemporary is whether what facts are of may make what has no schema in the
// temporary one.
func (s *session) pathMayBeTemporary(facts *statement.Result) bool {
	_, settled := s.queue.transaction()
	path, known := s.settings.searched(settled)
	return !known || path == "" || strings.Contains(path, "pg_temp") || slices.ContainsFunc(facts.Statements, func(st event.Statement) bool { return movesPath(&st) })
}

// schemaName is the name of the statement, and of the portal, by which the gate asks
// where temporary relations are.
const schemaName = "gatehouse schema"

// askSchema asks the server where the session's temporary relations are, behind a
// request that may have made the first of them, and that ends what was sent.
func (s *session) askSchema() error {
	t := &s.temporary
	if !t.wanted || t.schema.Load() != nil || !s.ps.Terms().Protected.Strict() {
		return nil
	}
	t.wanted = false
	name := append([]byte(schemaName), 0)
	for _, kind := range []byte("CPBECCS") {
		e := &owed{kind: kind, name: schemaName, swallow: true, asksSchema: kind != 'S'}
		if kind == 'C' {
			e.object = 'S'
		}
		f := appendFrame(nil, kind, func(b []byte) []byte {
			switch kind {
			case 'C':
				return append(append(b, 'S'), name...)
			case 'P':
				return append(append(append(b, name...), "SELECT n.nspname FROM pg_catalog.pg_namespace n WHERE n.oid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()\x00"...), 0, 0)
			case 'B':
				return append(append(append(b, name...), name...), 0, 0, 0, 0, 0, 0)
			case 'E':
				return append(append(b, name...), 0, 0, 0, 0)
			}
			return b
		})
		if err := s.forward(f, e); err != nil {
			return err
		}
	}
	return nil
}

// toldSchema takes a response to the gate's own question.
func (s *session) toldSchema(e *owed, f []byte) error {
	switch {
	case f[0] == 'D' && e.kind == 'E':
		c := cursor{b: f[frameHeader:]}
		if n := c.uint16(); n == 1 {
			if schema := string(c.bytes(int(c.uint32()))); c.done() {
				s.temporary.schema.Store(&schema)
				return nil
			}
		}
		return violated("the server told its temporary schema in another form")
	case f[0] == '1' && e.kind == 'P', f[0] == '2' && e.kind == 'B', f[0] == '3' && e.kind == 'C':
		s.queue.pop()
		return nil
	case f[0] == 'C' && e.kind == 'E':
		s.queue.executed()
		return nil
	}
	return violated("the server answered %q with %q", e.kind, f[0])
}

// endsWith is whether a taint ends with a session.
func (t *Taint) endsWith(session string) bool { return t.Temporary && t.Session == session }

// dropTemporary forgets what the session's temporary relations hold, which go with it.
func (s *session) dropTemporary(ctx context.Context) {
	if s.resource.taints == nil || !s.temporary.may {
		return
	}
	id := s.ps.Terms().Session.ID
	if err := s.resource.taints.drop(func(t *Taint) bool { return t.endsWith(id) }); err != nil {
		s.env.Log.WarnContext(ctx, "tracked columns of temporary relations cannot be forgotten", append(s.logAttrs(), "error", err)...)
	}
}
