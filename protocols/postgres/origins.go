package postgres

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"gatehouse/core/event"
)

// What is looked up for one question is bounded. Beyond, origins are unknown.
const (
	maxRounds    = 32
	maxRelations = 10_000
)

// An origin is where a column's values come from.
type origin struct {
	// names are "schema.table.column": the column's own, those that a view's
	// column or a generated one comes from, and those of the tables that the
	// table inherits from.
	names []string
	// below are those of the tables that inherit it.
	below     []string
	lineage   event.Lineage
	generated bool
	view      bool // they come through a view
	computed  bool // it holds what was computed of protected columns and stored there
	typ       dataType
	relation  string // the name of the column's own
}

// A dataType is a type with its modifier.
type dataType struct {
	oid      uint32
	modifier int32
}

// A relation is what the catalogue says of a table, a view or another relation.
type relation struct {
	schema, name string
	kind         byte // pg_class.relkind
	system       bool
	columns      map[uint16]attribute
	parents      []uint32 // that it inherits from
	heirs        []uint32 // that inherit from it
	view         viewDef
	uses         []column // what a view depends on; number 0 is all of a relation
}

// An attribute is a column of a relation.
type attribute struct {
	name      string
	typ       dataType
	generated bool
	uses      []column // what a generated column depends on
	from      []string // the protected columns whose values statements stored there
	computed  bool     // they stored something else than the values as they are
}

// relations are those that a question needs, by OID.
type relations map[uint32]*relation

// load asks for relations, for all that they depend on, and what they are tainted
// with.
func (c *catalog) load(ctx context.Context, conn *pgx.Conn, oids []uint32) (relations, error) {
	found, made := c.resource.taints.of(c.database)
	m := relations{}
	if err := m.load(ctx, conn, oids); err != nil {
		return nil, err
	}
	return m, c.taint(m, found, made)
}

// load asks for relations and for all that they depend on.
func (m relations) load(ctx context.Context, conn *pgx.Conn, oids []uint32) error {
	for range maxRounds {
		oids = slices.DeleteFunc(oids, func(oid uint32) bool { return m[oid] != nil })
		if len(oids) == 0 || len(m) > maxRelations {
			return nil
		}
		if err := m.loadColumns(ctx, conn, oids); err != nil {
			return err
		}
		for _, oid := range oids {
			if m[oid] == nil {
				m[oid] = &relation{} // not to be seen: of a transaction that goes on
			}
		}
		for _, load := range []func(context.Context, *pgx.Conn, []uint32) error{m.loadHeirs, m.loadViews, m.loadUses} {
			if err := load(ctx, conn, oids); err != nil {
				return err
			}
		}
		var next []uint32
		for _, oid := range oids {
			r := m[oid]
			next = append(append(next, r.parents...), r.heirs...)
			for _, c := range r.uses {
				next = append(next, c.table)
			}
			for _, c := range r.view.targets {
				next = append(next, c.table)
			}
			for _, a := range r.columns {
				for _, c := range a.uses {
					next = append(next, c.table)
				}
			}
		}
		slices.Sort(next)
		oids = slices.Compact(next)
	}
	return nil
}

func (m relations) loadColumns(ctx context.Context, conn *pgx.Conn, oids []uint32) error {
	rows, err := conn.Query(ctx, `SELECT r.oid, n.nspname, r.relname, r.relkind::pg_catalog.text, n.nspname IN ('pg_catalog', 'information_schema'),
			a.attnum, a.attname, a.attgenerated <> '', a.atttypid, a.atttypmod
		FROM pg_catalog.pg_class r
		JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
		JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid
		WHERE r.oid = ANY($1::pg_catalog.oid[])`, oids)
	if err != nil {
		return err
	}
	var oid uint32
	var number int16
	var schema, name, kind, column string
	var system, generated bool
	var typ dataType
	_, err = pgx.ForEachRow(rows, []any{&oid, &schema, &name, &kind, &system, &number, &column, &generated, &typ.oid, &typ.modifier}, func() error {
		r := m[oid]
		if r == nil {
			r = &relation{schema: schema, name: name, kind: kind[0], system: system, columns: map[uint16]attribute{}}
			m[oid] = r
		}
		r.columns[uint16(number)] = attribute{name: column, typ: typ, generated: generated}
		return nil
	})
	return err
}

func (m relations) loadHeirs(ctx context.Context, conn *pgx.Conn, oids []uint32) error {
	rows, err := conn.Query(ctx, `SELECT inhrelid, inhparent FROM pg_catalog.pg_inherits
		WHERE inhrelid = ANY($1::pg_catalog.oid[]) OR inhparent = ANY($1::pg_catalog.oid[])`, oids)
	if err != nil {
		return err
	}
	var heir, parent uint32
	add := func(list *[]uint32, oid uint32) {
		if !slices.Contains(*list, oid) {
			*list = append(*list, oid)
		}
	}
	_, err = pgx.ForEachRow(rows, []any{&heir, &parent}, func() error {
		if r := m[heir]; r != nil {
			add(&r.parents, parent)
		}
		if r := m[parent]; r != nil {
			add(&r.heirs, heir)
		}
		return nil
	})
	return err
}

// loadViews asks for the definitions of views. Those of the server's own views
// are not looked into: the columns in them that hold values are known by name.
func (m relations) loadViews(ctx context.Context, conn *pgx.Conn, oids []uint32) error {
	rows, err := conn.Query(ctx, `SELECT ev_class, ev_action::pg_catalog.text FROM pg_catalog.pg_rewrite
		WHERE ev_class = ANY($1::pg_catalog.oid[]) AND ev_type = '1'`, oids)
	if err != nil {
		return err
	}
	var oid uint32
	var action string
	_, err = pgx.ForEachRow(rows, []any{&oid, &action}, func() error {
		if r := m[oid]; r != nil && !r.system {
			r.view = readViewDef(action)
		}
		return nil
	})
	return err
}

// loadUses asks for the columns that views and generated columns depend on.
func (m relations) loadUses(ctx context.Context, conn *pgx.Conn, oids []uint32) error {
	rows, err := conn.Query(ctx, `SELECT v.ev_class, 0::pg_catalog.int2, d.refobjid, d.refobjsubid
		FROM pg_catalog.pg_rewrite v
		JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = v.oid
		WHERE v.ev_class = ANY($1::pg_catalog.oid[]) AND v.ev_type = '1'
			AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid <> v.ev_class
		UNION ALL
		SELECT f.adrelid, f.adnum, d.refobjid, d.refobjsubid
		FROM pg_catalog.pg_attrdef f
		JOIN pg_catalog.pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum AND a.attgenerated <> ''
		JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.objid = f.oid
		WHERE f.adrelid = ANY($1::pg_catalog.oid[]) AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
			AND NOT (d.refobjid = f.adrelid AND d.refobjsubid = f.adnum)
		UNION ALL
		-- Before version 15 the columns depend on the generated one itself.
		SELECT d.objid, d.objsubid::pg_catalog.int2, d.refobjid, d.refobjsubid
		FROM pg_catalog.pg_attribute a
		JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = a.attrelid AND d.objsubid = a.attnum
		WHERE a.attrelid = ANY($1::pg_catalog.oid[]) AND a.attgenerated <> ''
			AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = a.attrelid AND d.refobjsubid > 0`, oids)
	if err != nil {
		return err
	}
	var oid, table uint32
	var of int16
	var number int32
	_, err = pgx.ForEachRow(rows, []any{&oid, &of, &table, &number}, func() error {
		r, c := m[oid], column{table, uint16(number)}
		if r == nil {
			return nil
		}
		if of == 0 {
			r.uses = append(r.uses, c)
			return nil
		}
		if a, ok := r.columns[uint16(of)]; ok {
			a.uses = append(a.uses, c)
			r.columns[uint16(of)] = a
		}
		return nil
	})
	return err
}

// A tracer follows columns to what they come from.
type tracer struct {
	relations
	seen map[column]bool
	origin
}

// origin returns where a column's values come from.
func (m relations) origin(c column) origin {
	t := tracer{relations: m, seen: map[column]bool{}}
	t.lineage = event.LineageExact
	if r := m[c.table]; r != nil {
		t.typ, t.relation = r.columns[c.number].typ, r.name
	}
	t.follow(c)
	if t.computed && t.lineage == event.LineageExact {
		t.lineage = event.LineageDerived
	}
	return t.origin
}

// follow takes what c comes from. Of what is not known the lineage is unknown.
func (t *tracer) follow(c column) {
	if t.seen[c] {
		return
	}
	t.seen[c] = true
	r := t.relations[c.table]
	if r == nil || r.columns[c.number].name == "" {
		t.lineage = event.LineageUnknown
		return
	}
	a := r.columns[c.number]
	t.names = append(append(t.names, r.schema+"."+r.name+"."+a.name), a.from...)
	t.computed = t.computed || a.computed
	switch {
	case r.system:
		return
	case r.kind == 'v' || r.kind == 'm':
		t.view = true
		if from, exact := r.view.targets[c.number]; exact {
			t.follow(from)
			return
		}
		t.lineage = event.LineageUnknown
		t.followAll(r.uses, r.view.whole)
	case r.kind == 'f' || r.kind == 'S':
		t.lineage = event.LineageUnknown // of another server; of whatever set it
	}
	if a.generated {
		t.generated = true
		if t.lineage == event.LineageExact {
			t.lineage = event.LineageDerived
		}
		t.followAll(a.uses, false)
	}
	t.inherited(r, a.name)
}

// followAll takes what columns come from, or what all columns of their relations
// do.
func (t *tracer) followAll(columns []column, whole bool) {
	for _, c := range columns {
		if r := t.relations[c.table]; r != nil && (whole || c.number == 0) {
			for number := range r.columns {
				t.follow(column{c.table, number})
			}
			continue
		}
		t.follow(c)
	}
}

// inherited takes the columns of the same name in the tables above and below.
func (t *tracer) inherited(r *relation, name string) {
	seen := map[*relation]bool{r: true}
	var walk func(oids []uint32, up bool)
	walk = func(oids []uint32, up bool) {
		for _, oid := range oids {
			q := t.relations[oid]
			if q == nil || seen[q] {
				continue
			}
			seen[q] = true
			names := []string{q.schema + "." + q.name + "." + name}
			for _, a := range q.columns {
				if a.name == name {
					names = append(names, a.from...)
					t.computed = t.computed || a.computed
				}
			}
			if up {
				t.names = append(t.names, names...)
				walk(q.parents, up)
				continue
			}
			t.below = append(t.below, names...)
			if q.kind == 'f' {
				t.lineage = event.LineageUnknown
			}
			walk(q.heirs, up)
		}
	}
	walk(r.parents, true)
	walk(r.heirs, false)
}
