package lineage

import "slices"

// target brings the table that a statement writes into scope.
func (a *analysis) target(ctx within, t *Table) (*scope, *target) {
	s := &scope{within: ctx}
	alias := t.Alias
	if alias.Name == "" {
		alias.Name = t.Name.Name
	}
	it := a.item(s, a.relation(t.Name, t.Only), alias)
	it.schema, it.stored = t.Name.Schema, t.Alias.Name == ""
	s.items = []*item{it}
	w := &target{name: t.Name, table: it}
	for _, of := range a.found[t.Name] {
		w.rewritten = first(w.rewritten, of.Rewritten)
	}
	return s, w
}

// String returns "schema.name", or the name alone.
func (n Name) String() string {
	if n.Schema == "" {
		return n.Name
	}
	return n.Schema + "." + n.Name
}

// A target is the table that a statement writes.
type target struct {
	name  Name
	table *item
	// rewritten is why writing to it may write elsewhere, if it may.
	rewritten string
}

// columns are the names of the columns that values go to that are not named.
func (w *target) columns() []string {
	var names []string
	for _, c := range w.table.columns {
		if !c.hidden {
			names = append(names, c.name)
		}
	}
	return names
}

// written are the columns that an insert writes.
func (w *target) written(i *Insert) []string {
	if i.Columns != nil {
		return i.Columns
	}
	return w.columns()
}

// write notes that a value is written to a column: of the table, and where that is
// a view of what it shows.
func (a *analysis) write(w *target, column string, v value, r rows) {
	v.reason = first(v.reason, w.rewritten)
	found := w.table.find(column)
	if len(found) == 0 {
		a.flow(Column{Relation: w.name.String(), Name: column}, "", v, r)
	}
	for _, c := range found {
		for _, to := range c.exact {
			a.flow(a.columns[to], "", v, r)
		}
	}
}

// given is what a column holds that may be written: what it had, or what it gets.
func (a *analysis) given(c column) value { return c.value.or(a.flowing(c)) }

// flowing is what is written to a column.
func (a *analysis) flowing(c column) (v value) {
	for _, to := range c.exact {
		if i, ok := a.writes[written{to: a.columns[to]}]; ok {
			v = v.or(a.flows[i].value)
		}
	}
	for _, to := range c.derived { // it is computed again
		if i, ok := a.writes[written{to: a.columns[to].Whole()}]; ok {
			v = v.or(a.flows[i].value.computed())
		}
	}
	return v
}

// returning is what a writing statement returns.
func (a *analysis) returning(s *scope, targets []Target) *relation {
	if len(targets) == 0 {
		return &relation{rows: s.rows, none: true}
	}
	r := a.targets(s, targets)
	r.rows = s.rows
	return r
}

// insert writes rows.
func (a *analysis) insert(ctx within, w *Insert) *relation {
	ctx = a.common(ctx, w.With)
	s, into := a.target(ctx, &w.Into)
	columns := into.written(w)
	s.rows = rows{} // rows that are there already have no part
	if w.Source != nil {
		from := a.statement(ctx, w.Source)
		s.rows = from.rows
		if from.unknown != "" {
			s.rows.reason = first(s.rows.reason, from.unknown)
			for _, name := range columns {
				a.write(into, name, unknown(from.unknown), s.rows)
			}
		}
		for i, c := range from.columns {
			if i < len(columns) {
				a.write(into, columns[i], c.value, s.rows)
			}
			s.rows.failing = s.rows.failing.with(c.failing)
		}
		if into.table.unknown != "" && w.Columns == nil && len(from.columns) > 0 {
			a.write(into, "*", whole(from.columns), s.rows)
		}
	}
	if c := w.Conflict; c != nil {
		a.conflict(s, w, c, into)
	}
	a.changed(s)
	return a.returning(s, w.Returning)
}

// conflict is what an insert does with rows that there are already.
func (a *analysis) conflict(s *scope, w *Insert, c *Conflict, into *target) {
	excluded := into.table.as("excluded", a.proposed)
	excluded.byColumn = true
	in := &scope{within: s.within, items: []*item{into.table, excluded}}
	s.rows = s.rows.with(a.met(s, w, c, into)).with(a.condition(s, c.KeysWhere))
	in.rows = s.rows.with(a.condition(in, c.Where))
	a.assign(in, into, c.Set)
	s.rows = in.rows
}

// met is on what it depends whether a row is there already: on the columns that
// tell rows apart, any of those that are written where it is not said which. One
// that gets a constant is compared with it.
func (a *analysis) met(s *scope, w *Insert, c *Conflict, into *target) (r rows) {
	keys := c.Keys
	if len(keys) == 0 {
		for _, name := range into.written(w) {
			keys = append(keys, &Ref{Parts: []string{name}})
		}
	}
	for _, e := range keys {
		name, plain := e.(*Ref)
		plain = plain && len(name.Parts) == 1
		given := value{}
		if plain {
			for _, found := range into.table.find(name.Parts[0]) {
				given = given.or(a.flowing(*found))
			}
		}
		if plain && given.plain() {
			r = r.with(a.comparison(e, a.expr(s, e), true))
		} else {
			r = r.with(a.expr(s, e).decides()).with(given.decides())
		}
	}
	return r
}

// assign sets columns.
func (a *analysis) assign(s *scope, w *target, set []Assignment) {
	for _, as := range set {
		v := a.expr(s, as.Value)
		s.rows.failing = s.rows.failing.with(v.failing)
		for i, c := range as.Columns {
			one := v
			if len(as.Columns) > 1 {
				if one = v.computed(); i < len(v.record) {
					one = v.record[i].value
				}
			}
			if as.Part {
				one = one.computed()
			}
			a.write(w, c, one, s.rows)
		}
	}
}

// update changes rows.
func (a *analysis) update(ctx within, w *Update) *relation {
	ctx = a.common(ctx, w.With)
	s, table := a.target(ctx, &w.Table)
	a.from(s, w.From)
	s.rows = s.rows.with(a.condition(s, w.Where))
	a.assign(s, table, w.Set)
	a.changed(s)
	return a.returning(s, w.Returning)
}

// as is a table by another name, whose columns have other values.
func (it *item) as(name string, of func(column) value) *item {
	t := &item{name: name, byName: true, unknown: it.unknown, columns: slices.Clone(it.columns)}
	for i := range t.columns {
		t.columns[i].value = of(it.columns[i])
	}
	return t
}

// proposed is what a column of a row gets that is yet to be inserted.
func (a *analysis) proposed(c column) value {
	if len(c.derived) > 0 { // it is generated
		return a.given(c)
	}
	return a.flowing(c)
}

// changed gives the target's columns what was written to them, for what is
// returned of them: of the row before and after, too, where the dialect has them.
func (a *analysis) changed(s *scope) {
	table := s.items[0]
	it := table.as(table.name, a.given)
	it.schema, it.stored, it.byColumn = table.schema, table.stored, true
	items := append([]*item{it}, s.items[1:]...)
	for _, name := range []string{"old", "new"} {
		if found, _, reason := (&scope{items: s.items}).source("", name); found == nil && reason == "" {
			items = append(items, table.as(name, a.given))
		}
	}
	s.items = items
}

// delete removes rows.
func (a *analysis) delete(ctx within, w *Delete) *relation {
	ctx = a.common(ctx, w.With)
	s, _ := a.target(ctx, &w.Table)
	a.from(s, w.Using)
	s.rows = s.rows.with(a.condition(s, w.Where))
	a.changed(s)
	return a.returning(s, w.Returning)
}

// merge does one of several things with each row.
func (a *analysis) merge(ctx within, w *Merge) *relation {
	ctx = a.common(ctx, w.With)
	s, into := a.target(ctx, &w.Into)
	a.from(s, []Source{w.Using})
	s.rows = s.rows.with(a.condition(s, w.On))
	for _, when := range w.When {
		s.rows = s.rows.with(a.condition(s, when.Condition))
	}
	for _, when := range w.When {
		a.assign(s, into, when.Set)
		columns := when.Columns
		if columns == nil {
			columns = into.columns()
		}
		for i, e := range when.Values {
			name := "*"
			if i < len(columns) {
				name = columns[i]
			}
			a.write(into, name, a.expr(s, e), s.rows)
		}
	}
	a.changed(s)
	s.items = append(s.items[1:len(s.items):len(s.items)], s.items[0]) // in which order * has them
	return a.returning(s, w.Returning)
}

// create makes a relation.
func (a *analysis) create(ctx within, c *Create) *relation {
	r := a.statement(ctx, c.Query)
	if r.unknown != "" {
		a.flow(Column{Relation: c.Into.String(), Name: "*"}, "", unknown(r.unknown), r.rows)
	}
	for _, col := range renamed(r.columns, c.Columns) {
		if !col.hidden {
			a.flow(Column{Relation: c.Into.String(), Name: col.name}, "", col.value, r.rows)
		}
	}
	return &relation{rows: r.rows, none: true}
}

// eachRow does something with each row of a table. Its rows are all on what it depends
// what is done.
func (a *analysis) eachRow(ctx within, e *Each) *relation {
	s, table := a.target(ctx, &Table{Name: e.Table})
	rows := table.table.rows(e.Rows)
	constants := &item{byColumn: true}
	for _, name := range e.Constants {
		constants.columns = append(constants.columns, column{name: name})
	}
	s.items = append(rows, constants)
	for _, condition := range e.When {
		s.rows = s.rows.with(a.condition(s, condition))
	}
	a.assign(s, table, e.Set)
	all := s.rows
	for _, do := range e.Do {
		r := a.statement(s.inner(), do)
		all = all.with(r.rows)
		if r.unknown != "" {
			all.reason = first(all.reason, r.unknown)
		}
		for _, c := range r.columns {
			all.failing = all.failing.with(c.failing)
		}
	}
	return &relation{rows: all, none: true}
}

// rows is a table by other names, of a row each.
func (it *item) rows(names []string) (all []*item) {
	for _, name := range names {
		all = append(all, it.as(name, func(c column) value { return c.value }))
	}
	return all
}
