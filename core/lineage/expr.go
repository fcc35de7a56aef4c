package lineage

import "slices"

// expr returns what an expression yields.
func (a *analysis) expr(s *scope, e Expr) value {
	if e == nil {
		return value{}
	}
	if a.nested++; a.nested > maxExprDepth {
		a.nested--
		return unknown(tooMuch)
	}
	v := a.evaluated(s, e)
	a.nested--
	if !a.spend(1 + len(v.exact) + len(v.derived) + len(v.rows.matched)) {
		return unknown(tooMuch)
	}
	return v
}

func (a *analysis) evaluated(s *scope, e Expr) value {
	switch e := e.(type) {
	case *Ref:
		return a.ref(s, e)
	case *Argument:
		return s.numbered(e.Number)
	case *Member:
		return a.member(s, e)
	case *Record:
		return a.record(s, e)
	case *Computed:
		return a.computed(s, e)
	case *Logic:
		return a.controls(a.all(s, e.Args).chosen())
	case *Test:
		return a.expr(s, e.Arg).computed()
	case *Operation:
		return a.operation(s, e)
	case *Call:
		return a.called(s, e)
	case *Cast:
		return a.cast(s, e)
	case *Subquery:
		return a.subquery(s, e)
	case *Not:
		v := a.all(s, e.Args)
		v.reason = e.What
		return v
	}
	return unknown("an expression is not followed")
}

// all is what is computed from several expressions.
func (a *analysis) all(s *scope, exprs []Expr) value {
	var v value
	for _, e := range exprs {
		if e != nil {
			v = v.with(a.expr(s, e))
		}
	}
	return v
}

// member is a field of a row, or where it has none of that name a function of it.
func (a *analysis) member(s *scope, e *Member) value {
	v := a.expr(s, e.Of)
	v.typ = Name{} // of which functions may take others
	call := &Call{Function: Name{Name: e.Name}}
	if v.has(e.Name) || len(a.functionsOf(call, []value{v})) == 0 {
		return member(v, e.Name)
	}
	w := a.call(s, call, []value{v})
	if v.record == nil {
		w = w.or(v.computed())
	}
	return w
}

// numbered is an argument of the function whose body s is in.
func (s *scope) numbered(n int) value {
	if s.arguments == nil {
		return value{} // the client's
	}
	if n < 1 || n > len(s.arguments.values) {
		return unknown("an argument that there is not")
	}
	return s.arguments.values[n-1]
}

// record is ROW(…), of which fields can be taken.
func (a *analysis) record(s *scope, e *Record) value {
	columns := make([]column, 0, len(e.Fields))
	for _, f := range e.Fields {
		if starred(f) {
			r := a.targets(s, []Target{{Expr: f}})
			if r.unknown != "" {
				return unknown(r.unknown)
			}
			columns = append(columns, r.columns...)
			continue
		}
		columns = append(columns, column{value: a.expr(s, f)})
	}
	for i := range columns {
		columns[i].name, columns[i].hidden = ordinal("f", i+1), false
	}
	return whole(columns)
}

// computed is what the language itself computes.
func (a *analysis) computed(s *scope, e *Computed) value {
	v := a.all(s, e.Args).chosen()
	if e.Fails {
		v = v.fails()
	}
	return a.controls(v)
}

// controls notes that what is in v may decide what else is computed of the
// statement, so that it shows in what functions keep.
func (a *analysis) controls(v value) value {
	a.control = a.control.with(v.all())
	a.decided = a.decided.with(v.rows)
	return v
}

// operation applies operators: any of those that a name stands for.
func (a *analysis) operation(s *scope, e *Operation) value {
	return a.operated(s, e, a.each(s, e.Args))
}

// each are the values of several expressions.
func (a *analysis) each(s *scope, exprs []Expr) []value {
	values := make([]value, len(exprs))
	for i, e := range exprs {
		values[i] = a.expr(s, e)
	}
	return values
}

// operated is what an operator makes of values.
func (a *analysis) operated(s *scope, e *Operation, args []value) value {
	found := a.operatorsOf(e, args)
	v := a.applied(s, args, found)
	if len(found) == 0 {
		v.reason = first(v.reason, "operator "+e.Operator.Name+" is not known")
	}
	return v
}

// joined is what is computed from values.
func joined(args []value) value {
	var v value
	for _, arg := range args {
		v = v.with(arg)
	}
	return v
}

// operatorsOf returns the operators that may be meant.
func (a *analysis) operatorsOf(e *Operation, args []value) []*Function {
	all, ok := a.operators[e.Operator]
	if !ok {
		var err error
		if all, err = a.catalog.Operators(a.ctx, e.Operator); err != nil {
			a.fail("operator "+e.Operator.Name, err)
		}
		a.operators[e.Operator] = all
	}
	if e.Any && len(args) > 1 {
		args = []value{args[0], {}}
	}
	return taking(all, args, false)
}

// taking returns the functions that can be given these arguments.
func taking(all []*Function, args []value, variadic bool) []*Function {
	takes := func(f *Function) bool {
		return (variadic || len(args) >= f.Least && len(args) <= f.Most) && f.accepts(args)
	}
	if !slices.ContainsFunc(all, func(f *Function) bool { return !takes(f) }) {
		return all
	}
	var some []*Function
	for _, f := range all {
		if takes(f) {
			some = append(some, f)
		}
	}
	return some
}

// accepts is whether no argument is known to be of another type.
func (f *Function) accepts(args []value) bool {
	for i, types := range f.Accepts {
		if i < len(args) && args[i].typ != (Name{}) && types != nil && !slices.Contains(types, args[i].typ) {
			return false
		}
	}
	return true
}

// applied is what functions make of what they are given, any of which may be the
// one: operators, and those of casts.
func (a *analysis) applied(s *scope, args []value, found []*Function) value {
	of := joined(args)
	v := of
	for i, f := range found {
		w := a.kept(s, f, of)
		switch {
		case f.Body != nil:
			w = of.with(a.body(f, args))
		case f.Kind == Opaque:
			w.reason = first(w.reason, f.opaque())
			w = w.fails()
		case !f.Total && f.Compares == ComparesNot:
			w = w.fails()
		}
		w.typ = f.Returns
		if i == 0 {
			v = w
		} else {
			v = v.or(w)
		}
	}
	return v
}

// kept notes where a function keeps what it is given.
func (a *analysis) kept(s *scope, f *Function, v value) value {
	if f.Stores {
		a.flow(Column{}, f.named(), v.computed(), s.rows)
	}
	return v
}

func (f *Function) named() string {
	if f.Named != "" {
		return f.Named
	}
	return f.Schema + "." + f.Name + "()"
}

// opaque is why nothing is known of what it returns.
func (f *Function) opaque() string {
	if f.Reason != "" {
		return f.named() + ": " + f.Reason
	}
	return f.named() + " is not followed"
}

// cast is a value as of another type.
func (a *analysis) cast(s *scope, e *Cast) value {
	v := a.expr(s, e.Arg)
	c := a.castsTo(e.To)
	v = v.computed()
	if !c.known {
		v.reason = first(v.reason, "type "+e.To.Name+" is not known")
	}
	if !e.Text {
		v = v.fails()
	}
	plain := v
	for _, f := range c.functions {
		v = v.or(a.applied(s, []value{plain}, []*Function{f}))
	}
	v.typ = Name{}
	if e.Many {
		return v
	}
	if e.To.Schema != "" {
		v.typ = e.To
	}
	fields, err := a.catalog.Fields(a.ctx, e.To)
	if err != nil {
		a.fail("type "+e.To.Name, err)
	}
	if len(fields) > 0 {
		v = v.shapedAs(fields)
	}
	return v
}

func (a *analysis) castsTo(to Name) casts {
	c, ok := a.casts[to]
	if !ok {
		var err error
		if c.functions, c.known, err = a.catalog.Casts(a.ctx, to); err != nil {
			a.fail("type "+to.Name, err)
		}
		a.casts[to] = c
	}
	return c
}

// subquery is what becomes of a query's rows in an expression.
func (a *analysis) subquery(s *scope, e *Subquery) value {
	r := a.statement(s.inner(), e.Query)
	v := value{rows: r.rows.selecting()}
	v.risky = slices.ContainsFunc(r.columns, func(c column) bool { return c.risky })
	if v.risky {
		v.failing = a.deciding(v.rows) // whether a row is computed
	}
	switch {
	case e.Kind == Exists:
		v.outer = true // which rows there are may be for what is outside
		return v
	case r.unknown != "":
		v.reason = r.unknown
		return v
	}
	for _, c := range r.columns {
		v.failing = v.failing.with(c.failing)
	}
	switch e.Kind {
	case One:
		failing := v.failing.with(a.deciding(v.rows)) // where there are several
		if v = whole(r.columns); len(r.columns) == 1 {
			v = r.columns[0].value
		}
		v = v.of(r.rows.selecting(), failing)
		v.risky = true
	case Array:
		v.rows = v.rows.with(r.rows)
		for _, c := range r.columns {
			v = v.with(c.value)
		}
	case Any:
		test := a.expr(s, e.Test)
		compares := &Operation{Operator: e.Operator, Args: make([]Expr, 2)}
		equal := test.shown() && len(r.columns) == 1 && r.columns[0].shown() && equalities(a.operatorsOf(compares, []value{test, r.columns[0].value}))
		v = v.with(test)
		for _, c := range r.columns {
			v = v.with(c.value)
		}
		if equal { // how often does not matter
			v.from = nil
		}
		v = a.operated(s, compares, []value{v, {}})
	}
	v.many, v.outer = false, true
	return v
}

// deciding are the columns that decide which rows there are.
func (a *analysis) deciding(r rows) set {
	columns := r.matched
	for _, n := range r.compared {
		columns = columns.with(set{a.numbers[a.comparisons[n].Column]})
	}
	return columns
}
