package lineage

import (
	"slices"
	"strings"
)

// called is a function's call.
func (a *analysis) called(s *scope, c *Call) value {
	return a.call(s, c, a.each(s, c.Args))
}

// call is what a function makes of what it is given: any of those that a name may
// stand for.
func (a *analysis) call(s *scope, c *Call, args []value) value {
	meant := a.functionsOf(s, c, args)
	var v value
	is := false
	aggregates := true // all of them, so that it is certain
	for _, f := range meant.Functions {
		w := a.apply(s, c, f, args)
		if f.Body != nil && (w.typ != meant.Returns || w.typ == (Name{})) {
			w.document = false
		}
		aggregates = aggregates && f.Kind == Aggregate && c.Over == nil && !w.outer
		if is {
			w = v.or(w)
		}
		v, is = w, true
	}
	v.typ = meant.Returns
	if len(args) == 1 && args[0].record != nil && c.Function.Schema == "" {
		for _, field := range args[0].record { // field(row) is row.field
			if field.name == c.Function.Name {
				if w := field.value; is {
					v = v.or(w)
				} else {
					v, is = w, true
				}
				aggregates = false
			}
		}
	}
	s.aggregated = s.aggregated || is && aggregates
	if !is {
		v = joined(args)
		v.reason = first(v.reason, "function "+c.Function.Name+" is not known")
	}
	return v
}

// functionsOf returns the functions that may be meant.
func (a *analysis) functionsOf(s *scope, c *Call, args []value) Meant {
	u := Use{Name: c.Function, Types: typesOf(args), Names: c.Names, Variadic: c.Variadic, Within: c.Within}
	s.settle(&u)
	meant, err := a.catalog.Functions(a.ctx, &u)
	if err != nil {
		a.fail("function "+c.Function.Name, err)
	}
	return meant
}

// settle gives a name without a schema the one that it has in a definition.
func (s *scope) settle(u *Use) {
	if u.Stored = s.home != ""; u.Stored && u.Name.Schema == "" {
		u.Name.Schema = s.home
	}
}

func typesOf(args []value) []Name {
	types := make([]Name, len(args))
	for i := range args {
		types[i] = args[i].typ
	}
	return types
}

// apply is what one function makes of what it is given.
func (a *analysis) apply(s *scope, c *Call, f *Function, args []value) value {
	v := a.extracted(f.Extracts, args, c.Places)
	for _, e := range c.Order {
		v = v.with(a.expr(s, e))
	}
	a.kept(s, f, v)
	followed := f.Body != nil && !(f.Recalls && c.Given)
	switch {
	case followed:
		v = a.body(f, a.placed(f, c, args))
	case f.Counts && counted(s, c, args):
		v.exact, v.derived = nil, nil
	case f.Sums > 0:
		v = a.summed(s, c, f, args, v)
	case f.Kind == Opaque:
		v.reason = first(v.reason, f.opaque())
	case f.Kind == Set:
		v.many = true
	}
	if !f.Total && !followed {
		v = a.fails(v)
	}
	if !followed && !f.takesPart(args) && !places(f.Extracts, args, c.Places) {
		v = v.sifts()
	}
	if f.Volatile { // which is another each time
		v.from = v.from.with(set{a.sourceOf(c, -1)}).two()
		v.rows.arriving = inGroups | inWindows
	}
	switch {
	case c.Over != nil:
		v = a.windowed(s, c, f, v)
	case f.Kind == Aggregate:
		v = a.aggregated(s, c, f, args, v)
	}
	if c.Filter != nil {
		r := a.condition(s, c.Filter)
		v.rows = v.rows.with(r)
		if v.risky {
			v.failing = v.failing.with(a.deciding(r))
		}
	}
	v.shaped = f.Shaped && slices.ContainsFunc(args, shaped)
	switch {
	case len(f.Columns) > 0 && v.record == nil:
		v = v.shapedAs(f.Columns)
	case f.Shaped && len(args) > 0 && args[0].record != nil:
		v = v.shapedAs(names(args[0].record))
		v.shaped = false
	}
	return v
}

func names(columns []column) []string {
	all := make([]string, len(columns))
	for i, c := range columns {
		all[i] = c.name
	}
	return all
}

// shaped is whether a value may be a row, or rows, of columns that are not known.
func shaped(v value) bool {
	return v.typ == (Name{}) || v.typ.Schema != "pg_catalog" || strings.Contains(v.typ.Name, "pg_") || strings.Contains(v.typ.Name, "record")
}

// aggregated is what an aggregate makes of values in each row: it depends on which
// rows there are and may on their order: those of an outer query if that is where its arguments are from.
func (a *analysis) aggregated(s *scope, c *Call, f *Function, args []value, v value) value {
	v.outer = v.outer || c.Filter != nil && a.expr(s, c.Filter).outer
	if !f.Unordered && !s.tellsApart(c.Order) {
		v.rows.arriving |= inGroups
	}
	sorted := a.each(s, c.Order)
	if c.Distinct {
		sorted = append(sorted, args...)
	}
	for o := s; o != nil; o = o.outer {
		v.rows = v.rows.with(o.rows.selecting())
		if !c.Within {
			o.grouped = append(o.grouped, sorted...)
		}
		if !v.outer {
			break
		}
	}
	if v.risky { // for a row that it is given, or not
		v.failing = v.failing.with(a.deciding(v.rows))
	}
	return v
}

// windowed is what a function makes of the rows of its window: it depends on them,
// and on what they are divided and sorted by.
func (a *analysis) windowed(s *scope, c *Call, f *Function, v value) value {
	v.rows = v.rows.with(s.rows.selecting())
	apart, framed := false, false
	for _, it := range s.items {
		for i := range it.columns {
			v.from = v.from.with(it.columns[i].from).two()
		}
	}
	for w, n := c.Over, 0; w != nil && n <= len(s.windows); n++ {
		for _, e := range slices.Concat(w.Partition, w.Order) {
			k := a.expr(s, e)
			s.windowed = append(s.windowed, k)
			v = v.with(k)
		}
		v = v.with(a.all(s, w.Frame))
		apart, framed = apart || s.tellsApart(w.Order), framed || w.Framed
		w = s.window(w.Base)
	}
	if (!f.Unordered || framed) && !apart {
		v.rows.arriving |= inWindows
	}
	return v
}

// tellsApart is whether there is a key of the one table of a query among what its
// rows are sorted by.
func (s *scope) tellsApart(order []Expr) bool {
	return len(s.items) == 1 && slices.ContainsFunc(order, func(e Expr) bool { return s.place(e).isKey() })
}

// An arrival is in which order rows come to what is computed from several, where it
// does not say one itself that tells all apart: that of what else is computed beside
// it, of which the server takes one to sort the rows for all.
type arrival uint8

const (
	inGroups  arrival = 1 << iota // to aggregates: by what others sort by, or count once
	inWindows                     // to window functions: by what others divide and sort by
)

// arrived adds to r, the rows of what is computed from columns, what gives rows the
// orders that it shows.
func (s *scope) arrived(r rows, columns set) rows {
	for i, sorted := range [][]value{s.grouped, s.windowed} {
		for _, v := range sorted {
			switch {
			case r.arriving&(1<<i) == 0:
			case v.reason == "" && columns.holds(v.all()):
				r = r.with(v.rows)
			default:
				r = r.with(v.decides())
			}
		}
	}
	if s.outer == nil {
		r.arriving = 0
	}
	return r
}

// arrives adds to what a query returns what gives rows the orders that it shows. Where
// it stands in an expression, what is in it may show the order of rows around it, too.
func (a *analysis) arrives(s *scope, r *relation) {
	a.decided = a.decided.with(s.arrived(rows{arriving: inGroups | inWindows}, nil))
	r.rows = s.arrived(r.rows, nil)
	for i := range r.columns {
		c := &r.columns[i]
		c.rows = s.arrived(c.rows, c.all())
	}
}

func (s *scope) window(name string) *Windowing {
	if name == "" {
		return nil
	}
	for i := range s.windows {
		if s.windows[i].Name == name {
			return &s.windows[i]
		}
	}
	return nil
}

// placed are the arguments of a call in the order in which the function has them,
// with the defaults of those that the call does not give.
func (a *analysis) placed(f *Function, c *Call, args []value) []value {
	n := max(len(args), f.Least+len(f.Defaults))
	placed, given := make([]value, n), make([]bool, n)
	for i, v := range args {
		if c.Names != nil && c.Names[i] != "" {
			i = slices.Index(f.Names, c.Names[i])
		}
		if i >= 0 && i < n {
			placed[i], given[i] = v, true
		}
	}
	for i, e := range f.Defaults {
		if i += n - len(f.Defaults); !given[i] {
			placed[i] = a.expr(&scope{within: within{home: f.DefaultsHome}}, e)
		}
	}
	return f.taking(placed)
}

// taking are arguments as of the types that f takes.
func (f *Function) taking(args []value) []value {
	taken := make([]value, len(args))
	for i, v := range args {
		var t Name
		if i < len(f.Takes) {
			t = f.Takes[i]
		}
		taken[i] = v.becoming(t)
	}
	return taken
}

// maxBodies is how deep functions may call each other.
const maxBodies = 8

// body is what a function returns whose body can be read. One that calls itself
// depends on what it gives itself, beside what it depends on anyhow.
func (a *analysis) body(f *Function, args []value) value {
	if slices.Contains(a.bodies, f.Body) {
		v := a.fails(joined(args).computed())
		v.many = v.many || f.Kind == Set
		return v
	}
	if len(a.bodies) >= maxBodies {
		return unknown(f.named() + " calls others too deep")
	}
	a.bodies = append(a.bodies, f.Body)
	defer func() { a.bodies = a.bodies[:len(a.bodies)-1] }()
	r := a.statement(within{arguments: &arguments{f, args}, home: f.Home}, f.Body)
	if r.unknown != "" || len(r.columns) == 0 {
		return unknown(first(r.unknown, f.named()+" returns nothing"))
	}
	v := r.columns[0].value
	if len(f.Columns) > 0 || len(r.columns) > 1 {
		columns := renamed(r.columns, f.Columns)
		v = whole(columns)
	}
	v = v.of(r.rows.selecting(), nil)
	v.many = f.Kind == Set
	return v
}
