package lineage

import "slices"

// query returns what a query returns.
func (a *analysis) query(ctx within, q *Query) *relation {
	ctx = a.common(ctx, q.With)
	var r *relation
	var s *scope // in which its order is told
	switch b := q.Body.(type) {
	case *Select:
		r, s = a.selection(ctx, b)
	case *Combined:
		r = a.combined(ctx, b)
	case *Values:
		r = a.values(ctx, b)
	}
	if r == nil {
		return unknownRelation("the query is not followed")
	}
	if s == nil {
		s = &scope{within: ctx}
	}
	a.ordered(s, r, q)
	a.arrives(s, r)
	if q.Locks {
		by := ""
		if a.nested > 0 {
			by = "FOR UPDATE" // whether it runs may be decided where it stands
		}
		if locked := r.rows.selecting(); by != "" || !locked.none() {
			a.flow(Column{}, by, value{}, locked)
		}
	}
	return r
}

// ordered adds to r what its order and limits depend on.
func (a *analysis) ordered(s *scope, r *relation, q *Query) {
	for _, p := range s.following {
		if !slices.ContainsFunc(q.Order, func(k Key) bool { return s.sorting(q, k).tells(p) }) {
			r.rows.ordered = r.rows.ordered.with(p.columns[p.column].all())
		}
	}
	for _, k := range q.Order {
		r.sorted(a.key(s, r, k))
	}
	if len(s.items) != 1 || !slices.ContainsFunc(q.Order, func(k Key) bool { return s.sorting(q, k).isKey() }) {
		for _, v := range s.windowed { // no key says in which order rows come
			r.sorted(v)
		}
	}
	if b, ok := q.Body.(*Select); q.Limited || ok && len(b.DistinctOn) > 0 {
		r.rows = r.rows.selecting()
	}
	for _, e := range q.Limits {
		r.rows = r.rows.with(a.expr(&scope{within: s.within}, e).counts())
	}
}

// sorted adds to r that its rows come in the order of v.
func (r *relation) sorted(v value) {
	r.rows = r.rows.with(v.rows)
	switch r.rows.matched = r.rows.matched.with(v.derived); { // an order may tell whatever is computed
	case len(v.from) > 1: // and how what is known compares with what is not
		r.rows.matched = r.rows.matched.with(v.exact)
	default:
		r.rows.ordered = r.rows.ordered.with(v.exact)
	}
	r.rows.reason = first(r.rows.reason, v.reason)
	r.rows.failing = r.rows.failing.with(v.failing)
}

// key is what rows are sorted or told apart by. A name alone is first a result's.
func (a *analysis) key(s *scope, r *relation, k Key) (v value) {
	if k.Using != nil {
		defer func() { v = v.with(a.operation(s, &Operation{Operator: *k.Using, Args: make([]Expr, 2)})) }()
	}
	if k.Position > 0 {
		switch {
		case r.unknown != "":
			return unknown("position, since " + r.unknown)
		case k.Position > len(r.columns):
			return unknown("a position that there is not")
		}
		return r.columns[k.Position-1].value
	}
	name, ok := k.Expr.(*Ref)
	if ok && len(name.Parts) == 1 && !name.Star {
		var found []value
		for _, c := range r.columns {
			if c.name == name.Parts[0] {
				found = append(found, c.value)
			}
		}
		if len(found) > 0 {
			v := found[0]
			for _, w := range found[1:] {
				v = v.or(w)
			}
			return v
		}
		if r.unknown != "" {
			return unknown(name.Parts[0] + ", since " + r.unknown)
		}
	}
	return a.expr(s, k.Expr)
}

// has is whether a query's own sources have a column of that name.
func (s *scope) has(name string) bool {
	for _, it := range s.items {
		if it.byColumn && (it.unknown != "" || it.more != "" || len(it.find(name)) > 0) {
			return true
		}
	}
	return false
}

// selection returns what a Select returns.
func (a *analysis) selection(ctx within, b *Select) (*relation, *scope) {
	s := &scope{within: ctx, windows: b.Windows, body: b}
	a.from(s, b.From)
	s.rows = s.rows.with(a.condition(s, b.Where))

	a.grouped(s, b)
	r := a.targets(s, b.Targets)
	having := a.condition(s, b.Having)
	r.rows = s.rows
	if s.aggregated && !b.Grouped {
		r.rows = rows{failing: s.rows.failing} // there is one row whatever it is made of, or none at all
	}
	r.rows = r.rows.with(having)
	for _, c := range r.columns {
		if c.many {
			r.rows = r.rows.with(c.counts())
		}
	}
	if b.Distinct {
		for _, c := range a.distinct(s, b.Targets, r.columns) {
			r.rows = r.rows.with(a.apart(b, c.value))
		}
	}
	for _, k := range b.DistinctOn {
		r.rows = r.rows.with(a.apart(b, a.key(s, r, k)))
	}
	return r, s
}

// grouped adds to the scope of b what its rows are grouped by. Beside a primary key
// the server leaves out the other columns of its table itself, so that rows do not
// come in their order either.
func (a *analysis) grouped(s *scope, b *Select) {
	keys := make([]place, len(b.Group))
	for i, k := range b.Group {
		if !b.Sets && a.spend(len(s.items)) {
			keys[i] = s.grouping(b.Targets, k)
		}
	}
	primary := keyed(keys, func(c *RelationColumn) bool { return c.Primary })
	for i, k := range b.Group {
		if !keys[i].follows(primary) {
			v := a.group(s, b.Targets, k)
			s.rows, s.multiplied = s.rows.with(a.apart(b, v)), s.multiplied || v.many
		}
	}
}

// grouping is the column that rows are grouped by.
func (s *scope) grouping(targets []Target, k Key) place {
	name, is := k.Expr.(*Ref)
	switch {
	case k.Position > 0:
		if places := s.places(targets); k.Position <= len(places) {
			return places[k.Position-1]
		}
		return place{}
	case is && len(name.Parts) == 1 && !s.has(name.Parts[0]):
		for _, t := range targets {
			if t.Name == name.Parts[0] {
				return s.place(t.Expr)
			}
		}
	}
	return s.place(k.Expr)
}

// sorting is the column that rows are sorted by.
func (s *scope) sorting(q *Query, k Key) place {
	b, is := q.Body.(*Select)
	if name, named := k.Expr.(*Ref); !is || k.Using != nil || named && len(name.Parts) == 1 &&
		slices.ContainsFunc(b.Targets, func(t Target) bool { return t.Name == name.Parts[0] && s.place(t.Expr) != s.place(k.Expr) }) {
		return place{}
	}
	return s.grouping(b.Targets, k)
}

// distinct returns those of columns, which targets stand for, that decide which
// rows are the same.
func (a *analysis) distinct(s *scope, targets []Target, columns []column) []column {
	if !a.spend(len(targets) * len(s.items)) {
		return columns
	}
	places := s.places(targets)
	if len(places) != len(columns) {
		return columns
	}
	all := keyed(places, func(*RelationColumn) bool { return true })
	var some []column
	for i, p := range places {
		if !p.follows(all) {
			some = append(some, columns[i])
		} else {
			s.following = append(s.following, p)
		}
	}
	return some
}

// group is what rows are grouped by: a column, else a result.
func (a *analysis) group(s *scope, targets []Target, k Key) value {
	name, ok := k.Expr.(*Ref)
	if k.Position == 0 && (!ok || len(name.Parts) != 1 || s.has(name.Parts[0])) {
		return a.expr(s, k.Expr)
	}
	for i := range targets {
		t := targets[i : i+1]
		switch {
		case k.Position == 0 && t[0].Name == name.Parts[0]:
			return a.expr(s, t[0].Expr)
		case k.Position > 0 && !starred(t[0].Expr):
			if k.Position--; k.Position == 0 {
				return a.expr(s, t[0].Expr)
			}
		case k.Position > 0:
			r := a.targets(s, t)
			if r.unknown != "" {
				return unknown("a position, since " + r.unknown)
			}
			if k.Position <= len(r.columns) {
				return r.columns[k.Position-1].value
			}
			k.Position -= len(r.columns)
		}
	}
	if ok {
		return a.expr(s, k.Expr)
	}
	return unknown("a position that there is not")
}

func starred(e Expr) bool {
	switch e := e.(type) {
	case *Ref:
		return e.Star
	case *Member:
		return e.Star
	}
	return false
}

// targets returns the columns of a list of results.
func (a *analysis) targets(s *scope, targets []Target) *relation {
	r := &relation{columns: make([]column, 0, len(targets))}
	for _, t := range targets {
		var more []column
		reason := ""
		switch e := t.Expr.(type) {
		case *Ref:
			if e.Star {
				more, reason = a.star(s, e)
				break
			}
			more = []column{{name: t.Name, value: a.expr(s, e)}}
		case *Member:
			if e.Star {
				v := a.expr(s, e.Of)
				if more = v.record; more == nil {
					reason = "the fields of a row are not known"
				}
				break
			}
			more = []column{{name: t.Name, value: a.expr(s, e)}}
		default:
			more = []column{{name: t.Name, value: a.expr(s, e)}}
		}
		if reason != "" && r.unknown == "" {
			r.unknown = reason
		}
		if !a.spend(columnSteps*len(more)) || len(r.columns)+len(more) > MaxFields {
			return unknownRelation(tooMuch)
		}
		r.columns = append(r.columns, more...)
	}
	if r.unknown != "" {
		r.columns = nil
	}
	return r
}

// combined returns what a set operation returns.
func (a *analysis) combined(ctx within, b *Combined) *relation {
	left, right := a.statement(ctx, b.Left), a.statement(ctx, b.Right)
	r := &relation{rows: left.rows.with(right.rows), unknown: first(left.unknown, right.unknown)}
	if r.unknown != "" {
		return r
	}
	if len(left.columns) != len(right.columns) {
		r.unknown = "the branches differ in their columns"
		return r
	}
	for i, c := range left.columns {
		known := c.shown() && right.columns[i].shown()
		typ := a.catalog.Common([]Name{c.typ, right.columns[i].typ})
		c.value = c.becoming(typ).or(right.columns[i].becoming(typ))
		r.columns = append(r.columns, c)
		switch {
		case b.Matching && !known: // values may be there as often as they are to tell
			r.rows = r.rows.with(c.counts())
		case b.Matching || b.Distinct:
			r.rows = r.rows.with(a.apart(b, c.value))
		}
	}
	return r
}

// values returns what VALUES returns.
func (a *analysis) values(ctx within, b *Values) *relation {
	s := &scope{within: ctx}
	r := &relation{}
	var types [][]Name // of each column
	for i, row := range b.Rows {
		given, reason := a.spread(s, row)
		if reason != "" {
			return unknownRelation(reason)
		}
		for j, v := range given {
			switch {
			case i == 0:
				r.columns = append(r.columns, column{name: ordinal("column", j+1), value: v})
				types = append(types, nil)
			case j < len(r.columns):
				r.columns[j].value = r.columns[j].or(v)
			default:
				continue
			}
			if !slices.Contains(types[j], v.typ) {
				types[j] = append(types[j], v.typ)
			}
		}
	}
	for j := range r.columns {
		r.columns[j].typ = a.catalog.Common(types[j])
		r.columns[j].document = r.columns[j].document && len(types[j]) == 1
	}
	return r
}

// spread returns the values of a row, in which * stands for as many as there are.
func (a *analysis) spread(s *scope, row []Expr) (all []value, reason string) {
	for _, e := range row {
		r, is := e.(*Ref)
		if !is || !r.Star {
			all = append(all, a.expr(s, e))
			continue
		}
		columns, reason := a.star(s, r)
		if reason != "" {
			return nil, reason
		}
		for _, c := range columns {
			c.outer = true // of a query that this one stands in
			all = append(all, c.value)
		}
	}
	return all, ""
}
