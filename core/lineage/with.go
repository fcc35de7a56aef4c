package lineage

// A common is a common table expression in scope, the innermost first. It is
// looked at when something refers to it.
type common struct {
	*Common
	recursive bool
	within    within
	relation  *relation
	// open is whether it is being looked at, and met whether it referred to
	// itself then.
	open, met bool
	next      *common
}

// find returns the common table expression of a name.
func (c within) find(name string) *common {
	for w := c.with; w != nil; w = w.next {
		if w.Name == name {
			return w
		}
	}
	return nil
}

// common brings what WITH names into scope.
func (a *analysis) common(ctx within, w With) within {
	var all []*common
	for i := range w.Queries {
		c := &common{Common: &w.Queries[i], recursive: w.Recursive, within: ctx, next: ctx.with}
		ctx.with = c
		all = append(all, c)
	}
	for _, c := range all {
		if w.Recursive {
			c.within = ctx // which knows all of them
		}
	}
	for _, c := range all {
		if _, reads := c.Statement.(*Query); reads {
			continue
		}
		r := a.resolved(c) // it writes, whatever becomes of its result
		switch c.Statement.(type) {
		case *Delete, *Merge: // and which rows it removes shows afterwards
			if removed := r.rows.selecting(); !removed.none() {
				a.flow(Column{}, "", value{}, removed)
			}
		}
	}
	return ctx
}

// resolved is what a common table expression returns.
func (a *analysis) resolved(c *common) *relation {
	switch {
	case c.open:
		c.met = true
		return c.relation
	case c.relation != nil:
		return c.relation
	}
	c.open = true
	c.relation = c.base(a)
	for range maxRounds {
		c.met = false
		r := c.named(a.statement(c.within, c.Statement))
		if c.met { // how often it goes on is what decides about its rows
			r.rows.counted = r.rows.counted.with(r.rows.matched)
		}
		if !c.met || r.unknown != "" || r.equal(c.relation) {
			c.relation, c.open = r, false
			return r
		}
		c.relation = r
	}
	c.relation, c.open = unknownRelation("recursive query "+c.Name+" is too deep"), false
	return c.relation
}

// base is what a recursive query begins with: the branch that does not refer to it.
func (c *common) base(a *analysis) *relation {
	none := unknownRelation("query " + c.Name + " refers to itself")
	q, ok := c.Statement.(*Query)
	if !ok || !c.recursive {
		return none
	}
	b, ok := q.Body.(*Combined)
	if !ok {
		return none
	}
	c.relation = none
	return c.named(a.statement(a.common(c.within, q.With), b.Left))
}

func (r *relation) equal(q *relation) bool {
	if len(r.columns) != len(q.columns) || !r.rows.equal(q.rows) {
		return false
	}
	for i := range r.columns {
		if !r.columns[i].equal(q.columns[i].value) {
			return false
		}
	}
	return true
}

// named gives what c returns the names that it says, and adds the columns that it
// asks for.
func (c *common) named(r *relation) *relation {
	out := *r
	out.columns = renamed(r.columns, c.Columns)
	if r.unknown != "" {
		return &out
	}
	of := func(names []string) value {
		var v value
		it := item{columns: out.columns}
		for _, n := range names {
			for _, f := range it.find(n) {
				v = v.with(f.value)
			}
		}
		return v
	}
	var more []column
	if c.Sequence != "" {
		more = append(more, column{name: c.Sequence, value: of(c.Search)})
	}
	if c.Mark != "" {
		v := of(c.Cycle)
		out.rows = out.rows.with(v.counts())
		more = append(more, column{name: c.Mark, value: v}, column{name: c.Path, value: v})
	}
	if len(more) > 0 {
		out.columns = append(out.columns[:len(out.columns):len(out.columns)], more...)
	}
	return &out
}
