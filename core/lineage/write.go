package lineage

// target brings the table that a statement writes into scope.
func (a *analysis) target(ctx within, t *Table) (*scope, *item) {
	s := &scope{within: ctx}
	alias := t.Alias
	if alias.Name == "" {
		alias.Name = t.Name.Name
	}
	it := a.item(s, a.relation(t.Name, t.Only), alias)
	if t.Alias.Name == "" {
		it.schema = t.Name.Schema
	}
	s.items = []*item{it}
	return s, it
}

// written are the columns of the relations that a name stands for, of that name.
func (a *analysis) written(name Name, column string) []Column {
	found, err := a.catalog.Relations(a.ctx, name)
	if err != nil {
		a.fail("relation "+name.Name, err)
	}
	var columns []Column
	for _, of := range found {
		for _, c := range of.Columns {
			if c.Name == column {
				columns = append(columns, c.Column)
			}
		}
	}
	if len(columns) == 0 {
		columns = []Column{{Relation: name.String(), Name: column}}
	}
	return columns
}

// String returns "schema.name", or the name alone.
func (n Name) String() string {
	if n.Schema == "" {
		return n.Name
	}
	return n.Schema + "." + n.Name
}

// write notes that a value is written to a column.
func (a *analysis) write(name Name, column string, v value, r rows) {
	for _, to := range a.written(name, column) {
		a.flow(to, "", v, r)
	}
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
	columns := w.Columns
	if columns == nil {
		for _, c := range into.columns {
			if !c.hidden {
				columns = append(columns, c.name)
			}
		}
	}
	s.rows = rows{} // rows that are there already have no part
	if w.Source != nil {
		from := a.statement(ctx, w.Source)
		s.rows = from.rows
		if from.unknown != "" {
			s.rows.reason = first(s.rows.reason, from.unknown)
			for _, name := range columns {
				a.write(w.Into.Name, name, unknown(from.unknown), s.rows)
			}
		}
		for i, c := range from.columns {
			if i < len(columns) {
				a.write(w.Into.Name, columns[i], c.value, s.rows)
			}
		}
		if into.unknown != "" && w.Columns == nil && len(from.columns) > 0 {
			a.write(w.Into.Name, "*", whole(from.columns), s.rows)
		}
	}
	if c := w.Conflict; c != nil {
		a.conflict(s, w, c, into)
	}
	return a.returning(s, w.Returning)
}

// conflict is what an insert does with rows that there are already.
func (a *analysis) conflict(s *scope, w *Insert, c *Conflict, into *item) {
	excluded := &item{name: "excluded", byName: true, byColumn: true, columns: into.columns, unknown: into.unknown}
	excluded.columns = append([]column(nil), into.columns...)
	for i := range excluded.columns {
		excluded.columns[i].value = a.given(w.Into.Name, excluded.columns[i])
	}
	in := &scope{within: s.within, items: []*item{into, excluded}}
	for _, e := range c.Keys {
		s.rows = s.rows.with(a.expr(s, e).decides())
	}
	s.rows = s.rows.with(a.condition(s, c.KeysWhere))
	in.rows = s.rows.with(a.condition(in, c.Where))
	a.assign(in, w.Into.Name, c.Set)
	s.rows = in.rows
}

// given is what a column of a row gets that is written.
func (a *analysis) given(name Name, c column) value {
	v := c.value
	for _, to := range a.written(name, c.name) {
		for _, f := range a.flows {
			if f.by == "" && f.to == to {
				v = v.or(f.value)
			}
		}
	}
	return v
}

// assign sets columns.
func (a *analysis) assign(s *scope, name Name, set []Assignment) {
	for _, as := range set {
		v := a.expr(s, as.Value)
		for i, c := range as.Columns {
			w := v
			if len(as.Columns) > 1 {
				if w = v.computed(); i < len(v.record) {
					w = v.record[i].value
					w.rows, w.reason = w.rows.with(v.rows), first(w.reason, v.reason)
				}
			}
			if as.Part {
				w = w.computed()
			}
			a.write(name, c, w, s.rows)
		}
	}
}

// update changes rows.
func (a *analysis) update(ctx within, w *Update) *relation {
	ctx = a.common(ctx, w.With)
	s, _ := a.target(ctx, &w.Table)
	a.from(s, w.From)
	s.rows = s.rows.with(a.condition(s, w.Where))
	a.assign(s, w.Table.Name, w.Set)
	a.changed(s, w.Table.Name)
	return a.returning(s, w.Returning)
}

// changed gives the target's columns what was written to them, for what is
// returned of them.
func (a *analysis) changed(s *scope, name Name) {
	it := *s.items[0]
	it.row, it.index = nil, nil
	it.columns = append([]column(nil), it.columns...)
	for i := range it.columns {
		it.columns[i].value = a.given(name, it.columns[i])
	}
	s.items = append([]*item{&it}, s.items[1:]...)
	// The row before and after, where the dialect has them.
	for _, n := range []string{"old", "new"} {
		if found, _, reason := s.source("", n); found == nil && reason == "" {
			row := it
			row.name, row.byColumn, row.schema = n, false, ""
			s.items = append(s.items, &row)
		}
	}
}

// delete removes rows.
func (a *analysis) delete(ctx within, w *Delete) *relation {
	ctx = a.common(ctx, w.With)
	s, _ := a.target(ctx, &w.Table)
	a.from(s, w.Using)
	s.rows = s.rows.with(a.condition(s, w.Where))
	a.changed(s, w.Table.Name)
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
		a.assign(s, w.Into.Name, when.Set)
		columns := when.Columns
		if columns == nil {
			for _, c := range into.columns {
				if !c.hidden {
					columns = append(columns, c.name)
				}
			}
		}
		for i, e := range when.Values {
			name := "*"
			if i < len(columns) {
				name = columns[i]
			}
			a.write(w.Into.Name, name, a.expr(s, e), s.rows)
		}
	}
	a.changed(s, w.Into.Name)
	// What is returned is of the source's row, too.
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
