package postgres

import (
	"context"
	"slices"
	"strings"

	"gatehouse/core/lineage"
	"gatehouse/core/protect"
)

// A world is what the names of a statement stand for in one session: the
// vocabulary under the session's search path, as far
// as policy lets the principal call functions. It implements lineage.Catalog.
type world struct {
	*vocabulary
	path      []string // schemas, in their order; nil: any
	pathText  string   // the same, as session.path has it
	temporary temporary
	// settled is whether the catalogue says what the server knows of names and
	// types now, and same whether it did so when the server read the statement,
	// for the role that it read it for.
	settled, same bool
	parameters    string // OIDs of the types of the parameters, four bytes each
	redefined     bool   // what views and functions stand for only the session sees
	protected     *protect.Columns
	tracks        bool // what rules that are followed store is tracked
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
	for i, r := range found {
		for i := range r.Columns {
			w.met(r.Columns[i].Type)
		}
		if r.Rewritten != "" && w.tracks {
			one := *r
			if one.Rewritten, err = w.addsOnly(ctx, r); err != nil {
				return nil, err
			}
			found[i] = &one
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
	all, err := w.relationsNamed(ctx, name.Name, w.temporary)
	if err != nil {
		return nil, err
	}
	if w.redefined {
		all = redefined(all)
	}
	if name.Schema == "pg_temp" {
		name.Schema = w.temporary.schema
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
	// A temporary one hides the others, but for how long only the session knows.
	for _, r := range all {
		if w.temporary.schema != "" && r.Schema == w.temporary.schema {
			found = append(found, r)
		}
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
	if schema != "" && schema == w.temporary.schema && (name.Schema == "" || name.Schema == "pg_temp") {
		return true
	}
	if name.Schema != "" {
		return name.Schema == schema
	}
	return w.path == nil || slices.Contains(w.path, schema)
}

// add adds f to functions, unless one that tells the same is among them.
func (w *world) add(functions []*lineage.Function, f *lineage.Function) []*lineage.Function {
	f = w.policy(f)
	for _, g := range functions {
		if g.Body == nil && f.Body == nil && g.Schema == f.Schema && g.Name == f.Name && g.Kind == f.Kind && g.Stores == f.Stores && g.Least == f.Least &&
			g.Total == f.Total && g.Unordered == f.Unordered && g.Part == f.Part && g.Extracts == f.Extracts && g.Compares == f.Compares && g.Volatile == f.Volatile && slices.Equal(g.Columns, f.Columns) && slices.Equal(g.Names, f.Names) {
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
		g.Kind, g.Reason, g.Recalls = kindOf(f), "", true
		g.Body = &lineage.Query{Body: &lineage.Select{
			From:    []lineage.Source{&lineage.Table{Name: lineage.Name{Schema: functionSchema, Name: f.Named}}},
			Targets: []lineage.Target{{Name: f.Name, Expr: &lineage.Ref{Parts: []string{f.Name + "()"}}}},
		}}
		return &g
	}
	cleared := w.protected.Clears(f.Named)
	switch {
	case f.Tallies:
		g.Counts = w.protected.Uses().Counts || w.protected.Uses().Sums > 0
	case f.Named == "pg_catalog.sum()" || f.Named == "pg_catalog.avg()":
		if !w.redefined { // which may be of constraints, too
			g.Sums = w.protected.Uses().Sums
		}
	case f.Kind == lineage.Opaque && cleared:
		g.Kind, g.Stores, g.Reason = kindOf(f), false, ""
	case f.Body != nil && w.redefined && !cleared:
		g.Kind, g.Body, g.Reason = lineage.Opaque, nil, "definitions change in the transaction"
	default:
		return f
	}
	return &g
}

// kindOf is the kind of a function of which is known what it returns.
func kindOf(f *lineage.Function) lineage.Kind {
	if f.Many {
		return lineage.Set
	}
	return lineage.Scalar
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

// redefined returns relations of which no view is followed, and no constraint
// counts.
func redefined(all []*lineage.Relation) []*lineage.Relation {
	all = slices.Clone(all)
	for i, r := range all {
		one := *r
		if all[i] = &one; r.Definition != nil {
			one.Definition, one.Opaque = nil, "definitions change in the transaction"
		}
		one.Columns = slices.Clone(r.Columns)
		for j := range one.Columns {
			one.Columns[j].Unique, one.Columns[j].Required, one.Columns[j].Primary = false, false, false
		}
	}
	return all
}

// compares returns what one of the server's own operators tells of a column that it
// compares with a constant.
func compares(name string, boolean bool) lineage.Compares {
	switch {
	case !boolean:
		return lineage.ComparesNot
	case name == "=" || name == "<>":
		return lineage.ComparesWhole
	case ranges[name]:
		return lineage.ComparesPart
	}
	return lineage.ComparesNot
}

// ranges are operators that tell whether a value is in a range, is like a pattern or
// has a key. All others tell at once whether it is one of many that are chosen at will,
// which is more than a comparison: a regular expression or SIMILAR TO, what arrays or
// multiranges have in common, a path with conditions.
var ranges = set(`< > <= >= ~~ !~~ ~~* !~~* ^@ ~<~ ~<=~ ~>=~ ~>~ ?`)

// part is which argument of a function of the server's own it returns a part of, that
// does not depend on what it is, or in another form, as in lineage.Function.
func (r *routine) part() int {
	switch r.name {
	case "btrim", "ltrim", "rtrim": // rather than characters that are given
		return 2 - r.arguments
	case "substr", "substring": // rather than by a pattern
		if len(r.takes) < 2 || r.takes[1] != int4OID {
			return 0
		}
		return 1
	case "date_trunc", "date_part", "extract":
		return 2
	case "concat", "concat_ws":
		return lineage.Whole
	}
	if partial[r.name] {
		return 1
	}
	return 0
}

var partial = set(`lower upper initcap reverse left right split_part replace md5 length char_length character_length octet_length
	to_char round trunc floor ceil ceiling`)

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

// Fields implements lineage.Catalog. Types of rows are relations, too.
func (w *world) Fields(ctx context.Context, of lineage.Name) (fields []string, err error) {
	own, _, err := w.dictionaries(ctx)
	if err != nil || w.sees(of, "pg_catalog") && len(own.types[of.Name]) > 0 {
		return nil, err
	}
	all, err := w.relationsNamed(ctx, of.Name, w.temporary)
	for _, r := range all {
		if !w.sees(of, r.Schema) {
			continue
		}
		var its []string
		for _, c := range r.Columns {
			if !c.Hidden {
				its = append(its, c.Name)
			}
		}
		if fields != nil && !slices.Equal(fields, its) {
			return nil, err
		}
		fields = its
	}
	return fields, err
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
		f := &lineage.Function{ID: uint64(oid), Reason: "a function that casts is not known", Least: 1}
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
