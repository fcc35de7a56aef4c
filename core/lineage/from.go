package lineage

import (
	"slices"
	"strconv"
)

func ordinal(name string, n int) string { return name + strconv.Itoa(n) }

// from brings the sources of a query into its scope.
func (a *analysis) from(s *scope, sources []Source) {
	for _, src := range sources {
		_, items := a.source(s, src, s.items)
		s.items = append(s.items[:len(s.items):len(s.items)], items...)
	}
}

// lateral is the context of what sees the sources before it.
func (s *scope) lateral(prior []*item) within {
	return within{&scope{within: s.within, items: prior, rows: s.rows}, s.with, s.arguments, s.home}
}

// source returns a source as names refer to it: itself, and with the sources in
// it that can be named. What its rows depend on is added to the scope.
func (a *analysis) source(s *scope, src Source, prior []*item) (*item, []*item) {
	if a.nested++; a.nested > maxExprDepth {
		a.nested--
		it := &item{byColumn: true, unknown: tooMuch}
		return it, []*item{it}
	}
	defer func() { a.nested-- }()
	var it *item
	switch src := src.(type) {
	case *Table:
		it = a.table(s, src)
	case *Derived:
		ctx := within{s.outer, s.with, s.arguments, s.home}
		if src.Lateral {
			ctx = s.lateral(prior)
		}
		it = a.item(s, a.varying(src, a.statement(ctx, src.Query)), src.Alias)
	case *Join:
		return a.join(s, src, prior)
	case *Calls:
		it = a.calls(s, src, prior)
	case *Document:
		it = a.document(s, src, prior)
	case *Unfollowed:
		in := &scope{within: s.lateral(prior)}
		for _, e := range src.Exprs {
			s.rows = s.rows.with(a.expr(in, e).decides())
		}
		it = &item{name: src.Name, byName: true, byColumn: true, unknown: src.What}
	}
	if it == nil {
		it = &item{byColumn: true, unknown: "a source is not followed"}
	}
	return it, []*item{it}
}

// item makes a source of what a query returns.
func (a *analysis) item(s *scope, r *relation, alias Alias) *item {
	s.rows = s.rows.with(r.rows)
	for _, c := range r.columns { // they may be computed where nothing asks for them
		s.rows.failing = s.rows.failing.with(c.failing)
	}
	r = a.settled(r)
	return &item{
		name: alias.Name, byName: alias.Name != "", byColumn: true,
		columns: renamed(r.columns, alias.Columns), unknown: r.unknown,
	}
}

// settled is what a query returns to what is around it: literals have a type then.
func (a *analysis) settled(r *relation) *relation {
	if !slices.ContainsFunc(r.columns, func(c column) bool { return c.typ == Literal }) {
		return r
	}
	return r.each(func(v value) value {
		if v.typ == Literal {
			v.typ = a.catalog.Common([]Name{Literal})
		}
		return v
	})
}

// renamed gives columns other names, as far as there are any.
func renamed(columns []column, names []string) []column {
	if len(names) == 0 {
		return columns
	}
	columns = append([]column(nil), columns...)
	for i := 0; i < len(columns) && len(names) > 0; i++ {
		if !columns[i].hidden {
			columns[i].name, names = names[0], names[1:]
		}
	}
	return columns
}

// table is a relation by its name, or a common table expression.
func (a *analysis) table(s *scope, t *Table) *item {
	alias := t.Alias
	if alias.Name == "" {
		alias.Name = t.Name.Name
	}
	if t.Name.Schema == "" {
		if c := s.find(t.Name.Name); c != nil {
			r := a.resolved(c)
			if c.open { // it refers to itself
				return a.item(s, a.changing(t, r), alias)
			}
			return a.item(s, a.varying(t, r), alias)
		}
	}
	it := a.item(s, a.varying(t, a.relation(t.Name, t.Only)), alias)
	it.schema, it.stored = t.Name.Schema, t.Alias.Name == ""
	if found := a.found[t.Name]; len(found) == 1 && found[0].Definition == nil && found[0].Opaque == "" {
		it.of = found[0]
	}
	for _, e := range t.Sample {
		s.rows = s.rows.with(a.expr(&scope{within: s.within}, e).counts())
	}
	return it
}

// varying is r where it is a source: each of its columns changes with a source of
// its own, for each that it is made of.
func (a *analysis) varying(src Source, r *relation) *relation {
	return r.each(func(v value) value {
		if len(v.from) == 0 {
			return v.at(set{a.sourceOf(src, -1)})
		}
		var from set
		for _, n := range v.from {
			from = from.with(set{a.sourceOf(src, n)})
		}
		return v.at(from)
	})
}

// changing is r where it is a source whose columns all change together.
func (a *analysis) changing(src Source, r *relation) *relation {
	from := set{a.sourceOf(src, -1)}
	return r.each(func(v value) value { return v.at(from) })
}

// each is r with other values.
func (r *relation) each(f func(value) value) *relation {
	q := *r
	q.columns = append([]column(nil), r.columns...)
	for i := range q.columns {
		q.columns[i].value = f(q.columns[i].value)
	}
	return &q
}

// sourceOf returns the number of a source, or of one that it is made of.
func (a *analysis) sourceOf(src any, of int32) int32 {
	k := origin{src, of}
	n, ok := a.sources[k]
	if !ok {
		n = int32(len(a.sources))
		a.sources[k] = n
	}
	return n
}

// relation returns what the relations of a name are, any of which it may stand for.
func (a *analysis) relation(name Name, only bool) *relation {
	if r, ok := a.relations[name]; ok && !only {
		return r
	}
	found, err := a.catalog.Relations(a.ctx, name)
	if err != nil {
		a.fail("relation "+name.Name, err)
		return unknownRelation("relation " + name.Name + " is not known")
	}
	a.found[name] = found
	var r *relation
	for _, of := range found {
		one := a.reading(of, only)
		if r == nil {
			r = one
			continue
		}
		r = either(r, one, name.Name)
	}
	if r == nil {
		r = unknownRelation("relation " + name.Name + " is not known")
	}
	if !only {
		a.relations[name] = r
	}
	return r
}

// either is one relation or the other. Where their columns differ, what there is
// cannot be told.
func either(r, q *relation, name string) *relation {
	u := &relation{rows: r.rows.with(q.rows), unknown: first(r.unknown, q.unknown)}
	same := len(r.columns) == len(q.columns)
	for i := 0; same && i < len(r.columns); i++ {
		same = r.columns[i].name == q.columns[i].name
	}
	if !same {
		u.unknown = first(u.unknown, "relation "+name+" may be one of several with other columns")
	}
	if u.unknown != "" {
		return u
	}
	for i, c := range r.columns {
		c.value = c.or(q.columns[i].value)
		u.columns = append(u.columns, c)
	}
	return u
}

// reading is what a relation's rows are.
func (a *analysis) reading(of *Relation, only bool) *relation {
	if r, ok := a.read[of]; ok && !only {
		return r
	}
	if !a.spend(columnSteps*len(of.Columns)) || a.depth > maxDepth {
		return unknownRelation(tooMuch)
	}
	name := of.Schema + "." + of.Name
	r := &relation{columns: make([]column, len(of.Columns))}
	for i, c := range of.Columns {
		r.columns[i] = column{name: c.Name, hidden: c.Hidden}
		r.columns[i].exact, r.columns[i].typ, r.columns[i].document = set{a.number(c.Column)}, c.Type, c.Document
		if c.Domain != (Name{}) {
			r.columns[i].typ = c.Domain
		}
	}
	if !only {
		// What refers to it from within is not followed.
		a.read[of] = unknownRelation(name + " is made of itself")
		defer func() { a.read[of] = r }()
	}
	if of.Opaque != "" {
		for i := range r.columns {
			r.columns[i].reason = name + ": " + of.Opaque
		}
		r.rows.reason = name + ": " + of.Opaque
		return r
	}
	defer r.shape(of)
	a.depth++
	defer func() { a.depth-- }()
	if of.Definition != nil {
		a.defined(r, of, name)
	}
	a.generated(r, of)
	a.guarded(r, of)
	if !only {
		for _, heir := range of.Heirs {
			a.inherited(r, heir)
		}
	}
	return r
}

// shape gives its columns that hold rows their fields.
func (r *relation) shape(of *Relation) {
	for i, c := range of.Columns {
		if len(c.Fields) > 0 && i < len(r.columns) {
			r.columns[i].value = r.columns[i].shapedAs(c.Fields)
		}
	}
}

// defined adds to a view's columns what they are made of.
func (a *analysis) defined(r *relation, of *Relation, name string) {
	d := a.statement(within{home: of.Home}, of.Definition)
	r.rows = r.rows.with(d.rows)
	i := 0
	for j := range r.columns {
		switch {
		case r.columns[j].hidden:
		case d.unknown != "":
			r.columns[j].reason = name + ": " + d.unknown
		case i >= len(d.columns):
			r.columns[j].reason = name + " has other columns than it is defined with"
		default:
			v := d.columns[i].value
			v.exact, v.typ = r.columns[j].exact.with(v.exact), r.columns[j].typ
			r.columns[j].value = v
			i++
		}
	}
}

// generated adds to generated columns what they are computed from.
func (a *analysis) generated(r *relation, of *Relation) {
	s := &scope{within: within{home: of.Home}, items: []*item{{name: of.Name, schema: of.Schema, stored: true, byName: true, byColumn: true, columns: append([]column(nil), r.columns...)}}}
	for i, c := range of.Columns {
		if c.Generated != nil {
			v := a.expr(s, c.Generated).computed()
			v.sifted = false // since no statement chooses it
			r.columns[i].value = r.columns[i].or(v).as(r.columns[i].typ)
		}
	}
}

// guarded adds to its rows what the server adds conditions on.
func (a *analysis) guarded(r *relation, of *Relation) {
	s := &scope{within: within{home: of.Home}, items: []*item{{name: of.Name, schema: of.Schema, stored: true, byName: true, byColumn: true, columns: r.columns}}}
	for _, e := range of.Guarded {
		r.rows = r.rows.with(a.condition(s, e))
	}
}

// inherited adds to its columns those of the same name of a relation whose rows it
// has too.
func (a *analysis) inherited(r *relation, heir *Relation) {
	h := a.reading(heir, false)
	r.rows = r.rows.with(h.rows)
	from := item{columns: h.columns}
	for i := range r.columns {
		if h.unknown != "" {
			r.columns[i].reason = h.unknown
		}
		for _, c := range from.find(r.columns[i].name) {
			r.columns[i].value = r.columns[i].or(c.value).as(r.columns[i].typ)
		}
	}
}

// join is two sources, and the columns of both under one alias or none.
func (a *analysis) join(s *scope, j *Join, prior []*item) (*item, []*item) {
	left, in := a.source(s, j.Left, prior)
	right, more := a.source(s, j.Right, append(prior[:len(prior):len(prior)], in...))
	in = append(in[:len(in):len(in)], more...)
	on := &scope{within: within{s.outer, s.with, s.arguments, s.home}, items: in}
	s.rows = s.rows.with(a.condition(on, j.On))

	it := &item{byColumn: true, joins: true, unknown: first(left.unknown, right.unknown)}
	using := j.Using
	if j.Natural {
		for _, c := range left.columns {
			if !c.hidden && len(right.find(c.name)) > 0 && !right.find(c.name)[0].hidden {
				using = append(using, c.name)
			}
		}
	}
	merged := map[string]bool{}
	for _, name := range using {
		l, r := left.find(name), right.find(name)
		if len(l) != 1 || len(r) != 1 {
			it.unknown = first(it.unknown, "column "+name+" of a join is not known")
			continue
		}
		merged[name] = true
		typ := a.catalog.Common([]Name{l[0].typ, r[0].typ})
		v := l[0].becoming(typ).or(r[0].becoming(typ))
		equal := &Operation{Operator: Name{Name: "="}, Implied: true}
		sides := []value{l[0].value, r[0].value}
		compared := a.operated(on, equal, sides, a.operators(on, equal, typesOf(sides)))
		s.rows.reason = first(s.rows.reason, compared.reason)
		s.rows.failing = s.rows.failing.with(compared.failing)
		s.rows.matched = s.rows.matched.with(v.all())
		if l[0].shown() && r[0].shown() {
			v.from = l[0].from // they are equal
		} else {
			s.rows.counted = s.rows.counted.with(v.all())
		}
		it.columns = append(it.columns, column{name: name, value: v})
		s.rows.reason = first(s.rows.reason, first(l[0].reason, r[0].reason))
	}
	n := len(it.columns)
	for _, side := range []*item{left, right} {
		for _, c := range side.columns {
			if !c.hidden && !merged[c.name] {
				it.columns = append(it.columns, c)
			}
		}
	}
	if !a.spend(columnSteps * len(it.columns)) {
		it.columns, it.unknown = nil, tooMuch
		n = 0
	}
	if j.Alias.Name != "" {
		it.name, it.byName = j.Alias.Name, true
		it.columns = renamed(it.columns, j.Alias.Columns)
		return it, []*item{it}
	}
	items := make([]*item, 0, len(in)+2)
	for _, one := range in {
		if one.byColumn {
			hidden := *one
			hidden.byColumn = false
			one = &hidden
		}
		if one.byName || !one.joins {
			items = append(items, one)
		}
	}
	if j.UsingAlias != "" {
		items = append(items, &item{name: j.UsingAlias, byName: true, joins: true, columns: it.columns[:n:n], unknown: it.unknown})
	}
	return it, append(items, it)
}

// calls are functions in FROM.
func (a *analysis) calls(s *scope, c *Calls, prior []*item) *item {
	in := &scope{within: s.lateral(prior)}
	it := &item{name: c.Alias.Name, byName: true, byColumn: true}
	for _, f := range c.Functions {
		v := a.expr(in, f.Call)
		s.rows = s.rows.with(v.counts())
		name := f.Name
		if v.shaped {
			it.more = "function " + f.Name + " may return a row"
		}
		if v.reason != "" && len(f.Columns) == 0 {
			it.unknown = v.reason
		}
		switch {
		case len(f.Columns) > 0:
			for _, n := range f.Columns {
				w := member(v, n)
				it.columns = append(it.columns, column{name: n, value: w})
			}
		case v.record != nil:
			it.columns = append(it.columns, v.record...)
		default:
			if len(c.Functions) == 1 && c.Alias.Name != "" {
				name = c.Alias.Name
			}
			it.columns = append(it.columns, column{name: name, value: v})
		}
		if it.name == "" {
			it.name = f.Name
		}
	}
	it.single = len(it.columns) == 1 && !c.Ordinality
	if c.Ordinality {
		it.columns = append(it.columns, column{name: "ordinality"})
	}
	of := set{a.sourceOf(c, -1)}
	for i := range it.columns {
		it.columns[i].value = it.columns[i].at(of.with(it.columns[i].from).two())
		it.columns[i].many = false
	}
	it.columns = renamed(it.columns, c.Alias.Columns)
	return it
}

// document is a table made of a document.
func (a *analysis) document(s *scope, d *Document, prior []*item) *item {
	in := &scope{within: s.lateral(prior)}
	var of value
	for _, e := range d.Of {
		of = of.with(a.expr(in, e))
	}
	of = a.fails(of)
	s.rows = s.rows.with(of.counts())
	it := &item{name: d.Alias.Name, byName: d.Alias.Name != "", byColumn: true}
	for _, t := range d.Columns {
		v := of.with(a.expr(in, t.Expr))
		it.columns = append(it.columns, column{name: t.Name, value: v.at(v.from.with(set{a.sourceOf(d, -1)}).two())})
	}
	it.columns = renamed(it.columns, d.Alias.Columns)
	return it
}
