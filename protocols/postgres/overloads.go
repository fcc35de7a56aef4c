package postgres

import (
	"context"
	"encoding/binary"
	"slices"

	"gatehouse/core/lineage"
	"gatehouse/protocols/postgres/overload"
)

// overloaded is a name of functions or operators as one path finds it.
type overloaded struct {
	path     string // of a name without a schema, or the schema of temporary ones
	name     lineage.Name
	operator bool
}

// Overloads are the functions or operators of a name, among which the types of the
// arguments choose.
type overloads struct {
	candidates []overload.Candidate
	routines   []*routine // of functions
	operators  []operator
	own        bool // all are PostgreSQL's own
	casts      bool // there is a type of the name, in any schema
}

// schemas are those in which the server looks for functions, in its order; nil
// where it is not known.
func (w *world) schemas(others *dictionary) []string {
	if w.path == nil {
		return nil
	}
	path := w.path
	if slices.Contains(path[1:], "pg_catalog") { // it comes first only where it is not named
		path = path[1:]
	}
	schemas := make([]string, 0, len(path))
	for _, schema := range path {
		if others.usable[schema] && !slices.Contains(schemas, schema) {
			schemas = append(schemas, schema)
		}
	}
	return schemas
}

// overloadsOf returns the functions or operators of a name.
func (w *world) overloadsOf(own, others *dictionary, name lineage.Name, isOperator bool) *overloads {
	key := overloaded{name: name, operator: isOperator}
	switch name.Schema {
	case "":
		key.path = w.pathText
	case "pg_temp":
		key.path = w.temporary.schema
	}
	w.mu.Lock()
	o := w.overloads[key]
	w.mu.Unlock()
	if o != nil {
		return o
	}
	o = &overloads{own: true}
	schemas := w.schemas(others)
	place := func(schema string) (int, bool) {
		if name.Schema != "" || schemas == nil {
			return 0, w.sees(name, schema)
		}
		i := slices.Index(schemas, schema)
		return i, i >= 0
	}
	for _, d := range []*dictionary{own, others} {
		for _, r := range d.functions[name.Name] {
			if at, sees := place(r.schema); sees && !isOperator {
				names, _ := r.signature()
				o.candidates = append(o.candidates, overload.Candidate{Place: at, Takes: r.takes, Names: names, Defaults: r.defaults, Variadic: r.variadic, Returns: r.returns})
				o.routines, o.own = append(o.routines, r), o.own && d == own
			}
		}
		for _, op := range d.operators[name.Name] {
			if at, sees := place(op.schema); sees && isOperator {
				takes := []uint32{op.left, op.right}
				if op.left == 0 {
					takes = takes[1:]
				}
				o.candidates = append(o.candidates, overload.Candidate{Place: at, Takes: takes, Returns: op.returns})
				o.operators, o.own = append(o.operators, op), o.own && d == own
			}
		}
		o.casts = o.casts || len(d.types[name.Name]) > 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.overloads) < maxHeads {
		w.overloads[key] = o
	}
	return o
}

// call is a use as the choice among overloads sees it. It is not certain where the
// server may know, or have known, others.
func (w *world) call(own, others *dictionary, u *lineage.Use, o *overloads) overload.Call {
	c := overload.Call{Types: make([]uint32, len(u.Types)), Names: u.Names, Variadic: u.Variadic, Within: u.Within, Casts: o.casts}
	if w.settled {
		for i, t := range u.Types {
			c.Types[i] = oidOfType(own, others, t)
		}
		fixed := u.Name.Schema == "pg_catalog" && o.own
		c.Certain = fixed || w.same && !u.Stored && (w.path != nil || u.Name.Schema != "")
	}
	if n := len(c.Types); u.Array && n > 0 {
		c.Types[n-1] = w.types.Element(c.Types[n-1])
	}
	return c
}

// Functions implements lineage.Catalog.
func (w *world) Functions(ctx context.Context, u *lineage.Use) (m lineage.Meant, err error) {
	own, others, err := w.dictionaries(ctx)
	if err != nil {
		return m, err
	}
	o := w.overloadsOf(own, others, u.Name, false)
	chosen, returns := w.types.Function(o.candidates, w.call(own, others, u, o))
	for _, i := range chosen {
		m.Functions = w.add(m.Functions, w.function(ctx, o.routines[i]))
		w.met(nameOfType(own, others, o.routines[i].returns))
	}
	m.Returns = nameOfType(own, others, returns)
	return m, ctx.Err()
}

// Operators implements lineage.Catalog.
func (w *world) Operators(ctx context.Context, u *lineage.Use) (m lineage.Meant, err error) {
	own, others, err := w.dictionaries(ctx)
	if err != nil {
		return m, err
	}
	o := w.overloadsOf(own, others, u.Name, true)
	chosen, returns := w.types.Operator(o.candidates, w.call(own, others, u, o))
	for _, i := range chosen {
		m.Functions = w.add(m.Functions, w.operator(ctx, own, others, &o.operators[i]))
	}
	m.Returns = nameOfType(own, others, returns)
	return m, ctx.Err()
}

// operator returns what the engine is told of an operator.
func (w *world) operator(ctx context.Context, own, others *dictionary, o *operator) *lineage.Function {
	w.mu.Lock()
	made := w.vocabulary.operators[o.oid]
	w.mu.Unlock()
	if made != nil {
		return made
	}
	f := lineage.Function{Reason: "its function is not known"}
	r := own.byOID[o.function]
	if r == nil {
		r = others.byOID[o.function]
	}
	if r != nil {
		f = *w.function(ctx, r)
	}
	f.ID, f.Schema, f.Name, f.Names, f.Least = uint64(o.oid), o.schema, o.name, nil, 1
	if f.Kind == lineage.Scalar && (o.oid < firstUserOID && o.schema == "pg_catalog" || knownExtensions[o.extension]) {
		f.Compares = compares(o.name, o.returns == boolOID)
		f.Total = o.returns == boolOID || totalOperators[o.name]
		switch f.Part = 0; {
		case o.name == "||":
			f.Part = lineage.Whole
		case totalOperators[o.name]:
			f.Part = 1
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.vocabulary.operators[o.oid] = &f
	return &f
}

const (
	boolOID = 16
	int4OID = 23
)

// oidOfType returns the OID of a type by its name; 0 where it has none.
func oidOfType(own, others *dictionary, name lineage.Name) uint32 {
	switch name {
	case lineage.Name{}:
		return 0
	case lineage.Literal:
		return overload.Unknown
	}
	if oid, is := own.named[name]; is {
		return oid
	}
	return others.named[name]
}

// nameOfType returns the name of a type of which values are; none of another.
func nameOfType(own, others *dictionary, oid uint32) lineage.Name {
	if oid == overload.Unknown {
		return lineage.Literal
	}
	for _, d := range []*dictionary{own, others} {
		if t, is := d.all[oid]; is && t.Kind != 'p' {
			return d.names[oid]
		}
	}
	return lineage.Name{}
}

// Type implements lineage.Catalog.
func (w *world) Type(ctx context.Context, name lineage.Name, many bool) (lineage.Name, error) {
	own, others, err := w.dictionaries(ctx)
	if err != nil {
		return lineage.Name{}, err
	}
	if name.Schema == "" && name != lineage.Literal {
		if name.Schema = w.schemaOf(own, others, name.Name); name.Schema == "" {
			return lineage.Name{}, nil
		}
	}
	if many {
		return nameOfType(own, others, w.types.Array(oidOfType(own, others, name))), nil
	}
	return name, nil
}

// schemaOf returns the schema in which the server finds a type; "" where that is
// not certain. Temporary relations are types, too, and come before others.
func (w *world) schemaOf(own, others *dictionary, name string) string {
	if !w.settled || !w.same || w.path == nil || w.temporary.schema != "" && others.named[lineage.Name{Schema: w.temporary.schema, Name: name}] != 0 {
		return ""
	}
	for _, schema := range w.schemas(others) {
		of := lineage.Name{Schema: schema, Name: name}
		if own.named[of] != 0 || others.named[of] != 0 {
			return schema
		}
	}
	return ""
}

// Common implements lineage.Catalog.
func (w *world) Common(types []lineage.Name) lineage.Name {
	w.mu.Lock()
	own, others := w.own, w.others
	w.mu.Unlock()
	if own == nil || others == nil {
		return lineage.Name{}
	}
	oids := make([]uint32, len(types))
	for i, t := range types {
		oids[i] = oidOfType(own, others, t)
	}
	return nameOfType(own, others, w.types.Common(oids))
}

// Parameter implements lineage.Catalog.
func (w *world) Parameter(number int) lineage.Name {
	at := 4 * (number - 1)
	if at < 0 || at+4 > len(w.parameters) {
		return lineage.Name{}
	}
	w.mu.Lock()
	own, others := w.own, w.others
	w.mu.Unlock()
	switch oid := binary.BigEndian.Uint32([]byte(w.parameters[at:])); {
	case oid == 0:
		return lineage.Literal
	case own == nil || others == nil:
		return lineage.Name{}
	default:
		return nameOfType(own, others, oid)
	}
}

// Condition implements lineage.Catalog.
func (w *world) Condition() lineage.Name { return lineage.Name{Schema: "pg_catalog", Name: "bool"} }
