package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"gatehouse/core/lineage"
	"gatehouse/core/protect"
	"gatehouse/protocols/postgres/statement"
)

// A vocabulary is what names stand for in a database, to the lineage engine: what
// the catalogue said since one moment. What is asked for twice is the same. It is
// safe for concurrent use.
type vocabulary struct {
	catalog  *catalog
	analyzer *statement.Analyzer
	version  uint64

	mu        sync.Mutex
	own       *dictionary // of PostgreSQL's own
	others    *dictionary // of what is not
	relations map[string][]*lineage.Relation
	made      map[uint32]*lineage.Function
	calls     map[uint32][]string // what functions that are read call
	told      map[analysis]*told
}

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
	// becomes are the types that become another by themselves, by that one.
	becomes map[uint32][]uint32
	// risky are the types of which values may be cast unseen by code that is
	// not followed, and those that hold such values.
	risky map[lineage.Name]bool
}

// A routine is a function as pg_proc has it.
type routine struct {
	oid                     uint32
	schema, name            string
	kind, volatility        byte
	set, variadic, ordered  bool
	arguments, defaults     int
	takes                   []uint32 // types of its arguments
	returns                 uint32
	language, extension     string
	names, modes, composite []string
	configured              bool
	parts                   []uint32 // functions that an aggregate is made of
}

// named is how policy names r.
func (r *routine) named() string { return r.schema + "." + r.name + "()" }

type operator struct {
	oid          uint32
	schema, name string
	function     uint32
	boolean      bool
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

// vocabulary returns what is known at the moment.
func (c *catalog) vocabulary(analyzer *statement.Analyzer) *vocabulary {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fresh()
	if c.words == nil {
		c.words = &vocabulary{catalog: c, analyzer: analyzer, version: c.changes, own: c.own,
			relations: map[string][]*lineage.Relation{}, made: map[uint32]*lineage.Function{}, calls: map[uint32][]string{}, told: map[analysis]*told{}}
	}
	return c.words
}

// dictionaries returns what is PostgreSQL's own and what is not.
func (v *vocabulary) dictionaries(ctx context.Context) (own, others *dictionary, err error) {
	v.mu.Lock()
	own, others = v.own, v.others
	v.mu.Unlock()
	if own != nil && others != nil {
		return own, others, nil
	}
	learnsOwn := own == nil
	err = v.catalog.ask(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		if learnsOwn {
			if own, err = readDictionary(ctx, conn, true); err != nil {
				return err
			}
		}
		others, err = readDictionary(ctx, conn, false)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if err := v.readRisky(ctx, own, others); err != nil {
		return nil, nil, err
	}
	v.catalog.mu.Lock()
	v.catalog.own = own
	v.catalog.mu.Unlock()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.own, v.others = own, others
	return own, others, nil
}

// The server's own are those that initdb made (FirstNormalObjectId).
const (
	routinesQuery = `SELECT p.oid, n.nspname, p.proname, p.prokind::text, p.provolatile::text, p.proretset, p.provariadic <> 0,
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
		WHERE (p.oid < 16384 AND n.nspname = 'pg_catalog') = $1 LIMIT $2`
	operatorsQuery = `SELECT o.oid, n.nspname, o.oprname, o.oprcode::oid, o.oprresult = 'bool'::regtype, COALESCE(x.extname, '')
		FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace
		LEFT JOIN pg_depend d ON d.classid = 'pg_operator'::regclass AND d.objid = o.oid AND d.deptype = 'e'
		LEFT JOIN pg_extension x ON x.oid = d.refobjid
		WHERE (o.oid < 16384 AND n.nspname = 'pg_catalog') = $1 LIMIT $2`
	typesQuery = `SELECT t.oid, n.nspname, t.typname, t.typtype::text, t.typbasetype,
			CASE WHEN t.typtype = 'b' AND t.typinput::oid >= 16384 THEN t.typinput::oid ELSE 0 END
		FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
		WHERE (t.oid < 16384 AND n.nspname = 'pg_catalog') = $1 AND NOT (t.typelem <> 0 AND t.typcategory = 'A') LIMIT $2`
	castsQuery = `SELECT c.castsource, c.casttarget, c.castfunc, c.castcontext = 'i', c.castcontext <> 'e' OR c.casttarget IN ('json'::regtype, 'jsonb'::regtype)
		FROM pg_cast c WHERE (c.castfunc >= 16384 OR c.castcontext = 'i') AND NOT $1 LIMIT $2`
	riskyQuery = `WITH RECURSIVE risky (t) AS (
			SELECT unnest($1::oid[])
			UNION
			SELECT t.oid FROM risky r JOIN pg_type t ON t.typelem = r.t OR t.typbasetype = r.t OR EXISTS (
				SELECT FROM pg_attribute a WHERE t.typrelid <> 0 AND a.attrelid = t.typrelid AND a.atttypid = r.t AND a.attnum > 0 AND NOT a.attisdropped
			) OR EXISTS (SELECT FROM pg_range g WHERE g.rngtypid = t.oid AND g.rngsubtype = r.t)
		)
		SELECT n.nspname, t.typname FROM risky r JOIN pg_type t ON t.oid = r.t JOIN pg_namespace n ON n.oid = t.typnamespace`
)

func readDictionary(ctx context.Context, conn *pgx.Conn, own bool) (*dictionary, error) {
	d := &dictionary{functions: map[string][]*routine{}, folded: map[string][]*routine{}, byOID: map[uint32]*routine{},
		operators: map[string][]operator{}, types: map[string][]typeEntry{}, casts: map[uint32][]uint32{}, unseen: map[uint32][]uint32{}, becomes: map[uint32][]uint32{}}
	n := 0
	count := func() error {
		if n++; n > maxEntries {
			return errTooManyEntries
		}
		return nil
	}
	each := func(query string, into []any, take func()) error {
		rows, err := conn.Query(ctx, query, own, maxEntries+1)
		if err != nil {
			return err
		}
		_, err = pgx.ForEachRow(rows, into, func() error { take(); return count() })
		return err
	}
	var r routine
	var kind, volatility string
	err := each(routinesQuery, []any{&r.oid, &r.schema, &r.name, &kind, &volatility, &r.set, &r.variadic, &r.ordered, &r.arguments, &r.defaults,
		&r.takes, &r.returns, &r.language, &r.extension, &r.names, &r.modes, &r.composite, &r.configured, &r.parts}, func() {
		one := r
		one.kind, one.volatility = kind[0], volatility[0]
		d.functions[one.name] = append(d.functions[one.name], &one)
		d.byOID[one.oid] = &one
		if folded := strings.ToLower(one.name); !own {
			d.folded[folded] = append(d.folded[folded], &one)
		}
		r.names, r.modes, r.composite, r.parts, r.takes = nil, nil, nil, nil, nil
	})
	if err != nil {
		return nil, err
	}
	var o operator
	err = each(operatorsQuery, []any{&o.oid, &o.schema, &o.name, &o.function, &o.boolean, &o.extension}, func() {
		d.operators[o.name] = append(d.operators[o.name], o)
	})
	if err != nil {
		return nil, err
	}
	var t typeEntry
	err = each(typesQuery, []any{&t.oid, &t.schema, &t.name, &kind, &t.base, &t.input}, func() {
		t.kind = kind[0]
		d.types[t.name] = append(d.types[t.name], t)
	})
	if err != nil {
		return nil, err
	}
	var source, target, function uint32
	var implicit, unseen bool
	err = each(castsQuery, []any{&source, &target, &function, &implicit, &unseen}, func() {
		if implicit {
			d.becomes[target] = append(d.becomes[target], source)
		}
		if function < firstUserOID {
			return
		}
		d.casts[target] = append(d.casts[target], function)
		if unseen {
			d.unseen[source] = append(d.unseen[source], function)
		}
	})
	return d, err
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

// harmless is whether a function is not the database's own code.
func (r *routine) harmless() bool {
	switch {
	case r.oid < firstUserOID && r.schema == "pg_catalog":
		k, stores := ownKind(r.name, r.kind, r.volatility, r.set)
		return k != lineage.Opaque && !stores
	case (r.language == "c" || r.language == "internal") && knownExtensions[r.extension]:
		return r.volatility != 'v' || extensionFunctions[r.name]
	}
	return false
}

// function returns what the engine is told of r.
func (v *vocabulary) function(ctx context.Context, r *routine) *lineage.Function {
	v.mu.Lock()
	f := v.made[r.oid]
	v.mu.Unlock()
	if f != nil {
		return f
	}
	f = &lineage.Function{ID: uint64(r.oid), Schema: r.schema, Name: r.name, Named: r.named(),
		Least: max(r.arguments-r.defaults, 0), Most: r.arguments, Volatile: r.volatility == 'v'}
	if r.variadic || r.ordered {
		f.Most = 1 << 20
	}
	if r.variadic {
		f.Least = max(f.Least-1, 0)
	}
	if r.ordered {
		f.Least = 0
	}
	f.Names, f.Columns = r.signature()
	f.Accepts, f.Returns = v.types(r)
	v.classify(ctx, r, f)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.made[r.oid] == nil {
		v.made[r.oid] = f
	}
	return v.made[r.oid]
}

// types returns which types the arguments of a function that is not the server's
// own may have, and that of its result.
func (v *vocabulary) types(r *routine) (accepts [][]lineage.Name, returns lineage.Name) {
	if r.oid < firstUserOID {
		return nil, lineage.Name{}
	}
	v.mu.Lock()
	own, others := v.own, v.others
	v.mu.Unlock()
	find := func(oid uint32) (typeEntry, bool) {
		t, found := own.typeOf(oid)
		if !found {
			t, found = others.typeOf(oid)
		}
		return t, found && t.kind != 'p' && t.kind != 'd'
	}
	for i, oid := range r.takes {
		var names []lineage.Name
		if t, plain := find(oid); plain && !(r.variadic && i == len(r.takes)-1) {
			names = []lineage.Name{{Schema: t.schema, Name: t.name}}
			for _, source := range others.becomes[oid] {
				s, found := find(source)
				if !found {
					names = nil // a type that is not followed
					break
				}
				names = append(names, lineage.Name{Schema: s.schema, Name: s.name})
			}
		}
		accepts = append(accepts, names)
	}
	if t, plain := find(r.returns); plain && !r.set {
		returns = lineage.Name{Schema: t.schema, Name: t.name}
	}
	return accepts, returns
}

// signature returns the names of what r takes, and of the columns that it returns.
func (r *routine) signature() (names, columns []string) {
	if len(r.modes) == 0 {
		if len(r.names) > r.arguments {
			return r.names[:r.arguments], r.composite
		}
		return r.names, r.composite
	}
	only := ""
	for i, mode := range r.modes {
		name := ""
		if i < len(r.names) {
			name = r.names[i]
		}
		if mode == "i" || mode == "b" || mode == "v" {
			names = append(names, name)
		}
		if mode == "o" || mode == "b" || mode == "t" {
			columns = append(columns, cmp.Or(name, fmt.Sprintf("column%d", len(columns)+1)))
			only = name
		}
	}
	if len(columns) == 1 && only == "" {
		columns = nil
	}
	if len(columns) == 0 {
		columns = r.composite
	}
	return names, columns
}

// classify sets how f makes its result.
func (v *vocabulary) classify(ctx context.Context, r *routine, f *lineage.Function) {
	of := func() lineage.Kind { // if it is harmless
		switch {
		case r.kind == 'a':
			return lineage.Aggregate
		case r.kind == 'w':
			return lineage.Window
		case r.set:
			return lineage.Set
		}
		return lineage.Scalar
	}
	switch {
	case r.oid < firstUserOID && r.schema == "pg_catalog":
		f.Kind, f.Stores = ownKind(r.name, r.kind, r.volatility, r.set)
		f.Total = totals[r.name]
		if f.Kind == lineage.Opaque {
			f.Reason = "it may return what the database holds"
		}
	case r.kind == 'a' && v.harmlessParts(r), r.harmless():
		f.Kind = of()
	case r.language == "sql" && r.kind == 'f' && !r.variadic:
		v.read(ctx, r, f)
	default:
		f.Reason = "its code, in " + r.language + ", is not read"
		f.Stores = r.volatility == 'v'
	}
}

// harmlessParts is whether all that an aggregate is made of is harmless.
func (v *vocabulary) harmlessParts(r *routine) bool {
	v.mu.Lock()
	own, others := v.own, v.others
	v.mu.Unlock()
	for _, oid := range r.parts {
		if oid == 0 {
			continue
		}
		part := own.byOID[oid]
		if part == nil {
			part = others.byOID[oid]
		}
		if part == nil || !part.harmless() {
			return false
		}
	}
	return len(r.parts) > 0
}

// read reads the body of a function in SQL.
func (v *vocabulary) read(ctx context.Context, r *routine, f *lineage.Function) {
	f.Reason = "its body cannot be read"
	if r.configured {
		f.Reason = "it has settings of its own"
		return
	}
	var source, defaults string
	err := v.catalog.ask(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return ifAnswered(conn.QueryRow(ctx, `SELECT (to_jsonb(p) ->> 'prosqlbody' IS NOT NULL)::text || ' ' || p.prosrc, COALESCE(pg_get_expr(p.proargdefaults, 0), '')
			FROM pg_proc p WHERE p.oid = $1`, r.oid).Scan(&source, &defaults))
	})
	if err != nil || source == "" {
		return
	}
	standard, source, _ := strings.Cut(source, " ")
	if standard == "true" {
		if source, err = v.standardBody(ctx, r.oid); err != nil {
			return
		}
	}
	facts, err := v.analyzer.Analyze(ctx, source)
	if err != nil || facts.Len() != 1 {
		return
	}
	body := facts.Query(0)
	if _, reads := body.(*lineage.Query); !reads {
		f.Reason, f.Stores = "it does more than to read", true
		return
	}
	f.Kind, f.Body, f.Reason = lineage.Scalar, body, ""
	f.Defaults = v.defaultsOf(ctx, r, defaults)
	var calls []string
	for i := range facts.Statements {
		for _, called := range facts.Statements[i].Functions {
			calls = append(calls, base(called))
		}
	}
	v.mu.Lock()
	v.calls[r.oid] = calls
	v.mu.Unlock()
	if r.set {
		f.Kind = lineage.Set
	}
}

// defaultsOf returns the defaults of a function's last arguments, of which sql is a
// list.
func (v *vocabulary) defaultsOf(ctx context.Context, r *routine, sql string) []lineage.Expr {
	defaults := make([]lineage.Expr, r.defaults)
	if facts, err := v.analyzer.Analyze(ctx, "SELECT "+sql); err == nil && facts.Len() == 1 {
		if q, is := facts.Query(0).(*lineage.Query); is {
			if body, is := q.Body.(*lineage.Select); is && len(body.Targets) == len(defaults) {
				for i := range defaults {
					defaults[i] = body.Targets[i].Expr
				}
				return defaults
			}
		}
	}
	for i := range defaults {
		defaults[i] = &lineage.Not{What: "the default of an argument of " + r.named() + " cannot be read"}
	}
	return defaults
}

// mayWrite returns one of the functions of these names, in lower case, in any
// schema, that may write and is not PostgreSQL's own, or "". It counts what those
// call that can be read.
func (v *vocabulary) mayWrite(ctx context.Context, protected *protect.Columns, names []string, depth int) string {
	v.mu.Lock()
	others := v.others
	v.mu.Unlock()
	for _, name := range names {
		for _, r := range others.folded[name] {
			if r.harmless() || protected.Clears(r.named()) {
				continue
			}
			if v.function(ctx, r).Body == nil || depth > maxCodeRounds {
				if r.volatility == 'v' {
					return r.named()
				}
				continue
			}
			v.mu.Lock()
			calls := v.calls[r.oid]
			v.mu.Unlock()
			if called := v.mayWrite(ctx, protected, calls, depth+1); called != "" {
				return called
			}
		}
	}
	return ""
}

// standardBody returns the body of a function that is written as the standard has
// it, as a statement.
func (v *vocabulary) standardBody(ctx context.Context, oid uint32) (source string, err error) {
	err = v.catalog.ask(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return ifAnswered(conn.QueryRow(ctx, "SELECT pg_get_function_sqlbody($1)", oid).Scan(&source))
	})
	source = strings.TrimSpace(source)
	if value, returns := strings.CutPrefix(source, "RETURN "); returns {
		return "SELECT " + value, err
	}
	source = strings.TrimPrefix(source, "BEGIN ATOMIC")
	return strings.TrimSuffix(strings.TrimSpace(strings.TrimSuffix(source, "END")), ";"), err
}

// ifAnswered drops what the server says of a question that it would not answer, so
// that the connection is kept: nothing is known then.
func ifAnswered(err error) error {
	if _, answered := errors.AsType[*pgconn.PgError](err); answered || errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	return err
}

// relationsNamed returns the relations of a name in all schemas. Temporary ones are
// left out, as those of all sessions. What one of the session's own hides is not
// what the server says that a field comes from; and nothing protected gets into one.
func (v *vocabulary) relationsNamed(ctx context.Context, name string) ([]*lineage.Relation, error) {
	v.mu.Lock()
	all, known := v.relations[name]
	v.mu.Unlock()
	if known {
		return all, nil
	}
	l := relationLoader{vocabulary: v, found: map[uint32]*lineage.Relation{}}
	err := v.catalog.ask(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		all, err = l.named(ctx, conn, name)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := l.define(ctx); err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.relations) < maxHeads {
		v.relations[name] = all
	}
	return all, nil
}

// A relationLoader reads relations with those that inherit from them.
type relationLoader struct {
	*vocabulary
	found       map[uint32]*lineage.Relation
	definitions []definition
}

// A definition is a text that a relation, or a column of it, is defined by.
type definition struct {
	of     *lineage.Relation
	column int // index in Columns, for what is generated; -1
	guards bool
	sql    string // "" where the server would not tell it
}

func (l *relationLoader) named(ctx context.Context, conn *pgx.Conn, name string) ([]*lineage.Relation, error) {
	rows, err := conn.Query(ctx, `SELECT oid FROM pg_class
		WHERE relname = $1 AND relpersistence <> 't' AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 't')`, name)
	if err != nil {
		return nil, err
	}
	oids, err := pgx.CollectRows(rows, pgx.RowTo[uint32])
	if err != nil {
		return nil, err
	}
	next := oids
	for range maxRounds {
		if len(next) == 0 || len(l.found) > maxRelations {
			break
		}
		if next, err = l.load(ctx, conn, next); err != nil {
			return nil, err
		}
	}
	var all []*lineage.Relation
	for _, oid := range oids {
		if r := l.found[oid]; r != nil {
			all = append(all, r)
		}
	}
	for _, r := range l.found {
		if len(next) > 0 {
			r.Opaque = "it has too many relations below it"
		}
	}
	return all, nil
}

// load reads relations, and returns those that inherit from them.
func (l *relationLoader) load(ctx context.Context, conn *pgx.Conn, oids []uint32) (heirs []uint32, err error) {
	rows, err := conn.Query(ctx, `SELECT r.oid, n.nspname, r.relname, r.relkind::text, r.relrowsecurity, n.nspname IN ('pg_catalog', 'information_schema'),
			EXISTS (SELECT FROM pg_rewrite w WHERE w.ev_class = r.oid AND w.ev_type <> '1')
				OR EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = r.oid AND NOT g.tgisinternal AND g.tgtype & 64 <> 0),
			a.attnum, a.attname, CASE WHEN t.typtype = 'd' THEN '' ELSE t.typname END, CASE WHEN t.typtype = 'd' THEN '' ELSE tn.nspname END, a.attgenerated <> '', COALESCE(pg_get_expr(f.adbin, f.adrelid), '')
		FROM pg_class r
		JOIN pg_namespace n ON n.oid = r.relnamespace
		JOIN pg_attribute a ON a.attrelid = r.oid AND NOT a.attisdropped
		JOIN pg_type d ON d.oid = a.atttypid
		JOIN pg_type t ON t.oid = CASE WHEN d.typtype = 'd' THEN d.typbasetype ELSE d.oid END
		JOIN pg_namespace tn ON tn.oid = t.typnamespace
		LEFT JOIN pg_attrdef f ON f.adrelid = r.oid AND f.adnum = a.attnum AND a.attgenerated <> ''
		WHERE r.oid = ANY($1)
		ORDER BY r.oid, a.attnum < 0, a.attnum`, oids)
	if err != nil {
		return nil, err
	}
	var oid uint32
	var schema, name, kind, column, typeName, typeSchema, expression string
	var secured, system, rewritten, generated bool
	var number int16
	var views, guarded []uint32
	_, err = pgx.ForEachRow(rows, []any{&oid, &schema, &name, &kind, &secured, &system, &rewritten, &number, &column, &typeName, &typeSchema, &generated, &expression}, func() error {
		r := l.found[oid]
		if r == nil {
			r = &lineage.Relation{ID: uint64(oid), Schema: schema, Name: name}
			l.found[oid] = r
			switch kind {
			case "v", "m":
				if !system {
					views = append(views, oid)
				}
			case "f":
				r.Opaque = "a foreign table holds what another server says"
			case "S":
				r.Opaque = "a sequence holds what it was set to"
			case "t":
				r.Opaque = "it holds parts of values of other tables"
			}
			if rewritten {
				r.Rewritten = "a rule or a trigger stands in the place of writes to it"
			}
			if secured {
				guarded = append(guarded, oid)
			}
		}
		r.Columns = append(r.Columns, lineage.RelationColumn{
			Column: lineage.Column{ID: uint64(oid), Number: int(number), Relation: schema + "." + name, Name: column},
			Type:   lineage.Name{Schema: typeSchema, Name: typeName}, Hidden: number < 0,
		})
		if generated {
			l.definitions = append(l.definitions, definition{of: r, column: len(r.Columns) - 1, sql: expression})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, oid := range views {
		d := definition{of: l.found[oid], column: -1}
		if err := ifAnswered(conn.QueryRow(ctx, "SELECT pg_get_viewdef($1::oid)", oid).Scan(&d.sql)); err != nil {
			return nil, err
		}
		l.definitions = append(l.definitions, d)
	}
	if err := l.loadPolicies(ctx, conn, guarded); err != nil {
		return nil, err
	}
	return l.loadHeirs(ctx, conn, oids)
}

func (l *relationLoader) loadPolicies(ctx context.Context, conn *pgx.Conn, oids []uint32) error {
	if len(oids) == 0 {
		return nil
	}
	rows, err := conn.Query(ctx, `SELECT polrelid, pg_get_expr(polqual, polrelid) FROM pg_policy
		WHERE polrelid = ANY($1) AND polqual IS NOT NULL`, oids)
	if err != nil {
		return err
	}
	var oid uint32
	var expression string
	_, err = pgx.ForEachRow(rows, []any{&oid, &expression}, func() error {
		l.definitions = append(l.definitions, definition{of: l.found[oid], column: -1, guards: true, sql: expression})
		return nil
	})
	return err
}

func (l *relationLoader) loadHeirs(ctx context.Context, conn *pgx.Conn, oids []uint32) (heirs []uint32, err error) {
	rows, err := conn.Query(ctx, "SELECT inhrelid, inhparent FROM pg_inherits WHERE inhparent = ANY($1)", oids)
	if err != nil {
		return nil, err
	}
	below := map[uint32][]uint32{}
	var heir, parent uint32
	_, err = pgx.ForEachRow(rows, []any{&heir, &parent}, func() error {
		if l.found[heir] == nil && !slices.Contains(heirs, heir) {
			heirs = append(heirs, heir)
		}
		below[parent] = append(below[parent], heir)
		return nil
	})
	if err != nil || len(below) == 0 {
		return nil, err
	}
	// Indexes inherit too, but are no relations to read.
	next, err := l.load(ctx, conn, heirs)
	if err != nil {
		return nil, err
	}
	for parent, all := range below {
		for _, heir := range all {
			if r := l.found[heir]; r != nil && l.found[parent] != nil {
				l.found[parent].Heirs = append(l.found[parent].Heirs, r)
			}
		}
	}
	return next, nil
}

// define reads the definitions that were loaded. What cannot be read makes its
// relation opaque.
func (l *relationLoader) define(ctx context.Context) error {
	for _, d := range l.definitions {
		sql := d.sql
		switch {
		case sql == "":
		case d.guards:
			sql = "SELECT FROM " + relationName(d.of) + " WHERE " + sql
		case d.column >= 0:
			sql = "SELECT " + sql + " FROM " + relationName(d.of)
		}
		var q *lineage.Query
		if sql != "" {
			facts, err := l.analyzer.Analyze(ctx, sql)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err == nil && facts.Len() == 1 {
				q, _ = facts.Query(0).(*lineage.Query)
			}
		}
		if q == nil {
			d.of.Opaque = "its definition cannot be read at the moment"
			continue
		}
		if d.column < 0 && !d.guards {
			d.of.Definition = q
			continue
		}
		body, _ := q.Body.(*lineage.Select)
		switch {
		case body == nil:
			d.of.Opaque = "its definition cannot be read"
		case d.guards:
			d.of.Guarded = append(d.of.Guarded, body.Where)
		default:
			d.of.Columns[d.column].Generated = body.Targets[0].Expr
		}
	}
	return nil
}

func relationName(r *lineage.Relation) string {
	return pgx.Identifier{r.Schema, r.Name}.Sanitize()
}

// A world is what the names of a statement stand for in one session: the
// vocabulary under the session's search path, as far
// as policy lets the principal call functions. It implements lineage.Catalog.
type world struct {
	*vocabulary
	path      []string // schemas, in their order; nil: any
	redefined bool     // what views and functions stand for only the session sees
	protected *protect.Columns
	// risky is whether values of a type may have been met that code which is
	// not followed casts unseen.
	risky bool
}

// met notes that a value of a type may be met.
func (w *world) met(types ...lineage.Name) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.others == nil || len(w.others.risky) == 0 {
		return
	}
	for _, t := range types {
		w.risky = w.risky || w.others.risky[t]
	}
}

func (w *world) Version() uint64 { return w.version }

// Relations implements lineage.Catalog.
func (w *world) Relations(ctx context.Context, name lineage.Name) ([]*lineage.Relation, error) {
	found, err := w.find(ctx, name)
	for _, r := range found {
		for i := range r.Columns {
			w.met(r.Columns[i].Type)
		}
	}
	return found, err
}

// find returns the relations that a name may stand for. PostgreSQL's own count
// beside what else may have their names, since the definitions of views mean them.
func (w *world) find(ctx context.Context, name lineage.Name) ([]*lineage.Relation, error) {
	var found []*lineage.Relation
	if name.Schema == functionSchema {
		return []*lineage.Relation{valueOf(name.Name)}, nil
	}
	all, err := w.relationsNamed(ctx, name.Name)
	if err != nil {
		return nil, err
	}
	if w.redefined {
		all = redefinedViews(all)
	}
	if name.Schema != "" {
		for _, r := range all {
			if r.Schema == name.Schema {
				found = append(found, r)
			}
		}
		return found, nil
	}
	if w.path == nil {
		return append(found, all...), nil
	}
	first := false
	for _, schema := range w.path {
		for _, r := range all {
			if r.Schema == schema && (!first || schema == "pg_catalog") {
				found, first = append(found, r), first || schema != "pg_catalog"
			}
		}
	}
	return found, nil
}

// sees is whether a name is looked for in a schema.
func (w *world) sees(name lineage.Name, schema string) bool {
	if name.Schema != "" {
		return name.Schema == schema
	}
	return w.path == nil || slices.Contains(w.path, schema)
}

// Functions implements lineage.Catalog.
func (w *world) Functions(ctx context.Context, name lineage.Name) ([]*lineage.Function, error) {
	own, others, err := w.dictionaries(ctx)
	if err != nil {
		return nil, err
	}
	var found []*lineage.Function
	for _, d := range []*dictionary{own, others} {
		for _, r := range d.functions[name.Name] {
			if w.sees(name, r.schema) {
				f := w.function(ctx, r)
				w.met(f.Returns)
				found = w.add(found, f)
			}
		}
	}
	return found, ctx.Err()
}

// add adds f to functions, unless one that tells the same is among them.
func (w *world) add(functions []*lineage.Function, f *lineage.Function) []*lineage.Function {
	f = w.policy(f)
	for _, g := range functions {
		if g.Body == nil && f.Body == nil && g.Schema == f.Schema && g.Name == f.Name && g.Kind == f.Kind && g.Stores == f.Stores && g.Least == f.Least && g.Most == f.Most &&
			g.Total == f.Total && g.Compares == f.Compares && g.Volatile == f.Volatile && slices.Equal(g.Columns, f.Columns) && slices.Equal(g.Names, f.Names) && g.Returns == f.Returns && len(g.Accepts)+len(f.Accepts) == 0 {
			return functions
		}
	}
	return append(functions, f)
}

// policy returns what f is for the principal. One that returns what is protected
// has a column of its own, by the name that policy has for it.
func (w *world) policy(f *lineage.Function) *lineage.Function {
	g := *f
	if _, is := w.protected.Column(f.Named); is {
		g.Kind, g.Reason = lineage.Scalar, ""
		g.Body = &lineage.Query{Body: &lineage.Select{
			From:    []lineage.Source{&lineage.Table{Name: lineage.Name{Schema: functionSchema, Name: f.Named}}},
			Targets: []lineage.Target{{Name: f.Name, Expr: &lineage.Ref{Parts: []string{f.Name + "()"}}}},
		}}
		return &g
	}
	cleared := w.protected.Clears(f.Named)
	switch {
	case f.Named == "pg_catalog.count()" && w.protected.Uses().Counts:
		g.Counts = true
	case f.Kind == lineage.Opaque && cleared:
		g.Kind, g.Stores, g.Reason = lineage.Scalar, false, ""
	case f.Body != nil && w.redefined && !cleared:
		g.Kind, g.Body, g.Reason = lineage.Opaque, nil, "definitions change in the transaction"
	default:
		return f
	}
	return &g
}

// functionSchema is where what protected functions return stands as a relation. No
// text can name it.
const functionSchema = "\x00function"

// valueOf returns what a function returns as a relation of one column, so that
// its name is that by which policy knows the function.
func valueOf(named string) *lineage.Relation {
	schema, name, _ := strings.Cut(named, ".")
	return &lineage.Relation{Schema: functionSchema, Name: named,
		Columns: []lineage.RelationColumn{{Column: lineage.Column{Relation: schema, Name: name}}}}
}

// redefinedViews returns relations of which no view is followed.
func redefinedViews(all []*lineage.Relation) []*lineage.Relation {
	all = slices.Clone(all)
	for i, r := range all {
		if r.Definition != nil {
			hidden := *r
			hidden.Definition, hidden.Opaque = nil, "definitions change in the transaction"
			all[i] = &hidden
		}
	}
	return all
}

// Operators implements lineage.Catalog.
func (w *world) Operators(ctx context.Context, name lineage.Name) ([]*lineage.Function, error) {
	own, others, err := w.dictionaries(ctx)
	if err != nil {
		return nil, err
	}
	var found []*lineage.Function
	for _, d := range []*dictionary{own, others} {
		for _, o := range d.operators[name.Name] {
			if !w.sees(name, o.schema) {
				continue
			}
			f := lineage.Function{ID: uint64(o.oid), Schema: o.schema, Name: o.name, Reason: "its function is not known"}
			r := own.byOID[o.function]
			if r == nil {
				r = others.byOID[o.function]
			}
			if r != nil {
				f = *w.function(ctx, r)
				f.ID, f.Schema, f.Name, f.Names = uint64(o.oid), o.schema, o.name, nil
			}
			f.Least, f.Most = 1, 2
			if f.Kind == lineage.Scalar && (d == own || knownExtensions[o.extension]) {
				f.Compares = compares(o.name, o.boolean)
				f.Total = f.Compares != lineage.ComparesNot || totalOperators[o.name]
			}
			found = w.add(found, &f)
		}
	}
	return found, ctx.Err()
}

// compares returns what one of the server's own operators tells of a column that it
// compares with a constant.
func compares(name string, boolean bool) lineage.Compares {
	switch {
	case !boolean:
		return lineage.ComparesNot
	case name == "=" || name == "<>":
		return lineage.ComparesWhole
	}
	return lineage.ComparesPart
}

// totals are functions, and totalOperators operators, of the server's own that
// fail for no value.
var (
	totals = set(`count min max array_agg string_agg bool_and bool_or every json_agg jsonb_agg
		upper lower initcap length char_length character_length octet_length bit_length btrim ltrim rtrim replace reverse left right md5
		concat concat_ws to_json to_jsonb row_to_json array_length cardinality date_trunc date_part extract`)
	totalOperators = set(`|| -> ->> #> #>>`)
)

// Casts implements lineage.Catalog.
func (w *world) Casts(ctx context.Context, to lineage.Name) (functions []*lineage.Function, known bool, err error) {
	own, others, err := w.dictionaries(ctx)
	if err != nil {
		return nil, false, err
	}
	for _, d := range []*dictionary{own, others} {
		for _, t := range d.types[to.Name] {
			if !w.sees(to, t.schema) {
				continue
			}
			known = true
			w.met(lineage.Name{Schema: t.schema, Name: t.name})
			functions = w.casts(ctx, own, others, t, functions)
		}
	}
	return functions, known, ctx.Err()
}

// casts adds the functions that a cast to t may call.
func (w *world) casts(ctx context.Context, own, others *dictionary, t typeEntry, functions []*lineage.Function) []*lineage.Function {
	called := slices.Clone(others.casts[t.oid])
	if t.input != 0 {
		called = append(called, t.input)
	}
	for _, oid := range called {
		r := others.byOID[oid]
		if r == nil {
			r = own.byOID[oid]
		}
		f := &lineage.Function{ID: uint64(oid), Reason: "a function that casts is not known", Least: 1, Most: 3}
		if r != nil {
			f = w.function(ctx, r)
		}
		functions = w.add(functions, f)
	}
	if t.kind == 'd' && t.base != 0 {
		for _, d := range []*dictionary{own, others} {
			if base, found := d.typeOf(t.base); found {
				functions = w.casts(ctx, own, others, base, functions)
			}
		}
	}
	return functions
}

// typeOf returns the type of an OID.
func (d *dictionary) typeOf(oid uint32) (typeEntry, bool) {
	for _, list := range d.types {
		for _, t := range list {
			if t.oid == oid {
				return t, true
			}
		}
	}
	return typeEntry{}, false
}

// searchPath returns the schemas of an array as session.path gives it; nil for any.
func searchPath(array string) []string {
	if array == "" {
		return nil
	}
	var path []string
	for rest := strings.Trim(array, "{}"); rest != ""; {
		// Each is in quotes, with backslashes before quotes and backslashes.
		var name strings.Builder
		i := 1
		for ; i < len(rest) && rest[i] != '"'; i++ {
			if rest[i] == '\\' {
				i++
			}
			name.WriteByte(rest[i])
		}
		path = append(path, name.String())
		rest = strings.TrimPrefix(rest[min(i+1, len(rest)):], ",")
	}
	return path
}

var _ lineage.Catalog = (*world)(nil)
