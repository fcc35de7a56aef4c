package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"gatehouse/core/lineage"
	"gatehouse/core/protect"
)

// A routine is a function as pg_proc has it.
type routine struct {
	oid                     uint32
	schema, name            string
	kind, volatility        byte
	set, ordered            bool
	variadic                uint32 // of what it takes any number; 0
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
		Least: max(r.arguments-r.defaults, 0), Volatile: r.volatility == 'v', Many: r.set}
	f.Names, f.Columns = r.signature()
	f.Takes = v.namesOfTypes(r.takes)
	v.classify(ctx, r, f)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.made[r.oid] == nil {
		v.made[r.oid] = f
	}
	return v.made[r.oid]
}

// namesOfTypes returns the names of types of which values are; none for others.
func (v *vocabulary) namesOfTypes(oids []uint32) []lineage.Name {
	names := make([]lineage.Name, len(oids))
	v.mu.Lock()
	defer v.mu.Unlock()
	for i, oid := range oids {
		names[i] = nameOfType(v.own, v.others, oid)
	}
	return names
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
		f.Total, f.Tallies, f.Shaped, f.Extracts = totals[r.name], r.name == "count", populating[r.name], extracts(r.name)
		f.Unordered = unordered[r.name] || len(r.takes) == 1 && slices.Contains(unorderedOf[r.name], r.takes[0])
		f.Part = r.part()
		if f.Kind == lineage.Opaque {
			f.Reason = "it may return what the database holds"
		}
	case r.kind == 'a' && v.harmlessParts(r), r.harmless():
		f.Kind = of()
	case r.language == "sql" && r.kind == 'f' && r.variadic == 0:
		v.read(ctx, r, f)
	default:
		f.Reason = "its code, in " + r.language + ", is not read"
		f.Stores = r.volatility == 'v'
	}
}

// unordered are aggregates and window functions of the server's own that return the
// same in whichever order rows come, and unorderedOf those that do for values of some
// types: of numbers that are added without rounding, and of those types of which equal
// values look the same.
var (
	unordered   = set(`count regr_count bool_and bool_or every bit_and bit_or bit_xor rank dense_rank percent_rank cume_dist`)
	unorderedOf = map[string][]uint32{
		"sum": exactSums, "avg": exactSums, "variance": exactSums, "var_pop": exactSums, "var_samp": exactSums, "stddev": exactSums, "stddev_pop": exactSums, "stddev_samp": exactSums,
		"min": exactEquals, "max": exactEquals,
	}
	exactSums   = []uint32{pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.NumericOID}
	exactEquals = []uint32{pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.DateOID, pgtype.TimeOID, pgtype.TimestampOID, pgtype.TimestamptzOID}
)

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
	if f.DefaultsHome = "pg_catalog"; standard == "true" {
		f.Home = "pg_catalog"
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
