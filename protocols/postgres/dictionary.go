package postgres

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"strings"

	"github.com/jackc/pgx/v5"

	"gatehouse/core/lineage"
	"gatehouse/protocols/postgres/overload"
)

// A dictionary has functions, operators, types and casts by their names without a
// schema.
type dictionary struct {
	functions map[string][]*routine
	folded    map[string][]*routine // by their names in lower case
	byOID     map[uint32]*routine
	operators map[string][]operator
	types     map[string][]typeEntry
	casts     map[uint32][]uint32 // functions, by the OID of the type that they cast to
	// unseen are the types from which a function may cast where the text shows
	// no cast, or within the server's own functions.
	unseen map[uint32][]uint32
	// all are the types as the choice among overloads sees them, arrays too, by
	// their OIDs, and names and named their names.
	all   map[uint32]overload.Type
	names map[uint32]lineage.Name
	named map[lineage.Name]uint32
	// implicit are the casts that the server applies by itself.
	implicit map[[2]uint32]bool
	// usable are the schemas in which the server looks for the names of the
	// resource's user.
	usable map[string]bool
	// edition tells dictionaries apart of which a name may mean something else.
	edition string
	// risky are the types of which values may be cast unseen by code that is
	// not followed, and those that hold such values.
	risky map[lineage.Name]bool
}

type operator struct {
	oid          uint32
	schema, name string
	function     uint32
	left, right  uint32 // 0: none
	returns      uint32
	extension    string
}

type typeEntry struct {
	oid          uint32
	schema, name string
	kind         byte   // pg_type.typtype
	base         uint32 // of a domain
	input        uint32 // the function that reads its text, where that is not the server's own
}

// maxEntries bounds a dictionary. A database that has more is one of which
// nothing is known.
const maxEntries = 50_000

var errTooManyEntries = fmt.Errorf("the database has more than %d functions, operators and types", maxEntries)

// The server's own are those that initdb made (FirstNormalObjectId).
const (
	routinesQuery = `SELECT p.oid, n.nspname, p.proname, p.prokind::text, p.provolatile::text, p.proretset, p.provariadic,
			COALESCE(g.aggkind <> 'n', false), p.pronargs::int4, p.pronargdefaults::int4, p.proargtypes::oid[], p.prorettype, l.lanname, COALESCE(x.extname, ''),
			COALESCE(p.proargnames, '{}'), COALESCE(p.proargmodes::text[], '{}'),
			ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE t.typrelid <> 0 AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
			p.proconfig IS NOT NULL,
			CASE WHEN g.aggfnoid IS NULL THEN '{}' ELSE ARRAY[g.aggtransfn::oid, g.aggfinalfn::oid, g.aggcombinefn::oid, g.aggserialfn::oid,
				g.aggdeserialfn::oid, g.aggmtransfn::oid, g.aggminvtransfn::oid, g.aggmfinalfn::oid] END
		FROM pg_proc p
		JOIN pg_namespace n ON n.oid = p.pronamespace
		JOIN pg_language l ON l.oid = p.prolang
		JOIN pg_type t ON t.oid = p.prorettype
		LEFT JOIN pg_aggregate g ON g.aggfnoid = p.oid
		LEFT JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
		LEFT JOIN pg_extension x ON x.oid = d.refobjid
		WHERE (p.oid < 16384 AND n.nspname = 'pg_catalog') = $1 ORDER BY p.oid LIMIT $2`
	operatorsQuery = `SELECT o.oid, n.nspname, o.oprname, o.oprcode::oid, o.oprleft, o.oprright, o.oprresult, COALESCE(x.extname, '')
		FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace
		LEFT JOIN pg_depend d ON d.classid = 'pg_operator'::regclass AND d.objid = o.oid AND d.deptype = 'e'
		LEFT JOIN pg_extension x ON x.oid = d.refobjid
		WHERE (o.oid < 16384 AND n.nspname = 'pg_catalog') = $1 ORDER BY o.oid LIMIT $2`
	typesQuery = `SELECT t.oid, n.nspname, t.typname, t.typtype::text, t.typbasetype,
			CASE WHEN t.typtype = 'b' AND t.typinput::oid >= 16384 THEN t.typinput::oid ELSE 0 END,
			t.typcategory::text, t.typispreferred, CASE WHEN t.typlen = -1 THEN t.typelem ELSE 0 END, t.typarray,
			COALESCE(g.rngsubtype, 0), COALESCE((to_jsonb(g) ->> 'rngmultitypid')::oid, m.rngtypid, 0), t.typelem <> 0 AND t.typcategory = 'A'
		FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
		LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
		LEFT JOIN pg_range g ON g.rngtypid = t.oid
		LEFT JOIN pg_range m ON t.typtype = 'm' AND (to_jsonb(m) ->> 'rngmultitypid')::oid = t.oid
		WHERE (t.oid < 16384 AND n.nspname = 'pg_catalog') = $1 AND e.typtype IS DISTINCT FROM 'c' ORDER BY t.oid LIMIT $2`
	usableQuery = `SELECT nspname, has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE NOT $1 ORDER BY oid LIMIT $2`
	castsQuery  = `SELECT c.castsource, c.casttarget, c.castfunc, c.castcontext = 'i', c.castcontext <> 'e' OR c.casttarget IN ('json'::regtype, 'jsonb'::regtype)
		FROM pg_cast c WHERE (c.castfunc >= 16384 OR c.castcontext = 'i') AND NOT $1 ORDER BY c.oid LIMIT $2`
	riskyQuery = `WITH RECURSIVE risky (t) AS (
			SELECT unnest($1::oid[])
			UNION
			SELECT t.oid FROM risky r JOIN pg_type t ON t.typelem = r.t OR t.typbasetype = r.t OR EXISTS (
				SELECT FROM pg_attribute a WHERE t.typrelid <> 0 AND a.attrelid = t.typrelid AND a.atttypid = r.t AND a.attnum > 0 AND NOT a.attisdropped
			) OR EXISTS (SELECT FROM pg_range g WHERE g.rngtypid = t.oid AND g.rngsubtype = r.t)
		)
		SELECT n.nspname, t.typname FROM risky r JOIN pg_type t ON t.oid = r.t JOIN pg_namespace n ON n.oid = t.typnamespace`
)

// A dictionaryReader reads a dictionary.
type dictionaryReader struct {
	*dictionary
	conn    *pgx.Conn
	beside  *dictionary // PostgreSQL's own; nil where that is what is read
	sum     hash.Hash   // of what makes the edition
	entries int
}

// readDictionary reads what is not PostgreSQL's own, or all that is where that is nil.
func readDictionary(ctx context.Context, conn *pgx.Conn, beside *dictionary) (*dictionary, error) {
	d := &dictionary{functions: map[string][]*routine{}, folded: map[string][]*routine{}, byOID: map[uint32]*routine{},
		operators: map[string][]operator{}, types: map[string][]typeEntry{}, casts: map[uint32][]uint32{}, unseen: map[uint32][]uint32{},
		all: map[uint32]overload.Type{}, names: map[uint32]lineage.Name{}, named: map[lineage.Name]uint32{}, implicit: map[[2]uint32]bool{}, usable: map[string]bool{}}
	r := &dictionaryReader{dictionary: d, conn: conn, beside: beside, sum: sha256.New()}
	for _, read := range []func(context.Context) error{r.readRoutines, r.readOperators, r.readTypes, r.readCasts, r.readSchemas} {
		if err := read(ctx); err != nil {
			return nil, err
		}
	}
	d.edition = string(r.sum.Sum(nil))
	return d, nil
}

// each scans every row of a query into variables and calls take.
func (r *dictionaryReader) each(ctx context.Context, query string, into []any, take func()) error {
	rows, err := r.conn.Query(ctx, query, r.beside == nil, maxEntries+1)
	if err != nil {
		return err
	}
	_, err = pgx.ForEachRow(rows, into, func() error {
		take()
		if r.entries++; r.entries > maxEntries {
			return errTooManyEntries
		}
		return nil
	})
	return err
}

// note makes what is written a part of the edition. Names are quoted, so that
// different ones make different texts.
func (r *dictionaryReader) note(format string, args ...any) {
	_, _ = fmt.Fprintf(r.sum, format+"\n", args...)
}

func (r *dictionaryReader) readRoutines(ctx context.Context) error {
	var f routine
	var kind, volatility string
	return r.each(ctx, routinesQuery, []any{&f.oid, &f.schema, &f.name, &kind, &volatility, &f.set, &f.variadic, &f.ordered, &f.arguments, &f.defaults,
		&f.takes, &f.returns, &f.language, &f.extension, &f.names, &f.modes, &f.composite, &f.configured, &f.parts}, func() {
		one := f
		one.kind, one.volatility = kind[0], volatility[0]
		r.note("%d %q %q %d %d %q %d", one.oid, one.schema, one.name, one.takes, one.defaults, one.names, one.variadic)
		r.functions[one.name] = append(r.functions[one.name], &one)
		r.byOID[one.oid] = &one
		if folded := strings.ToLower(one.name); r.beside != nil {
			r.folded[folded] = append(r.folded[folded], &one)
		}
		f.names, f.modes, f.composite, f.parts, f.takes = nil, nil, nil, nil, nil
	})
}

func (r *dictionaryReader) readOperators(ctx context.Context) error {
	var o operator
	return r.each(ctx, operatorsQuery, []any{&o.oid, &o.schema, &o.name, &o.function, &o.left, &o.right, &o.returns, &o.extension}, func() {
		r.note("%#v", o)
		r.operators[o.name] = append(r.operators[o.name], o)
	})
}

func (r *dictionaryReader) readTypes(ctx context.Context) error {
	var t typeEntry
	var of overload.Type
	var kind, category string
	var array bool
	return r.each(ctx, typesQuery, []any{&t.oid, &t.schema, &t.name, &kind, &t.base, &t.input, &category, &of.Preferred, &of.Element, &of.Array, &of.Subtype, &of.Ranges, &array}, func() {
		t.kind = kind[0]
		of.Kind, of.Category, of.Base = kind[0], category[0], t.base
		name := lineage.Name{Schema: t.schema, Name: t.name}
		r.all[t.oid], r.names[t.oid], r.named[name] = of, name, t.oid
		if !array {
			r.types[t.name] = append(r.types[t.name], t)
		}
		if t.kind != 'c' || r.beside != nil && len(r.beside.types[t.name])+len(r.types[t.name]) > 1 { // other tables come and go
			r.note("%#v %#v", t, of)
		}
	})
}

func (r *dictionaryReader) readCasts(ctx context.Context) error {
	var source, target, function uint32
	var implicit, unseen bool
	return r.each(ctx, castsQuery, []any{&source, &target, &function, &implicit, &unseen}, func() {
		if implicit {
			r.implicit[[2]uint32{source, target}] = true
		}
		r.note("%d %d %t", source, target, implicit)
		if function < firstUserOID {
			return
		}
		r.casts[target] = append(r.casts[target], function)
		if unseen {
			r.unseen[source] = append(r.unseen[source], function)
		}
	})
}

func (r *dictionaryReader) readSchemas(ctx context.Context) error {
	var schema string
	var usable bool
	return r.each(ctx, usableQuery, []any{&schema, &usable}, func() {
		r.usable[schema] = usable
		r.note("%q %t", schema, usable)
	})
}

// readRisky finds the types of which values may be cast unseen by code that is
// not known to be harmless.
func (v *vocabulary) readRisky(ctx context.Context, own, others *dictionary) error {
	others.risky = map[lineage.Name]bool{}
	var sources []uint32
	for source, functions := range others.unseen {
		for _, oid := range functions {
			r := others.byOID[oid]
			if r == nil {
				r = own.byOID[oid]
			}
			if r == nil || !r.harmless() {
				sources = append(sources, source)
			}
		}
	}
	if len(sources) == 0 {
		return nil
	}
	return v.catalog.ask(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, riskyQuery, sources)
		if err != nil {
			return err
		}
		var name lineage.Name
		_, err = pgx.ForEachRow(rows, []any{&name.Schema, &name.Name}, func() error {
			others.risky[name] = true
			return nil
		})
		return err
	})
}

// typeOf returns the type of an OID, unless it is an array.
func (d *dictionary) typeOf(oid uint32) (typeEntry, bool) {
	for _, t := range d.types[d.names[oid].Name] {
		if t.oid == oid {
			return t, true
		}
	}
	return typeEntry{}, false
}
