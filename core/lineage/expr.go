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
	case *Constant:
		return value{typ: a.typeOf(s, e.Type, e.Many)}
	case *Argument:
		if s.arguments == nil { // the client's
			return value{typ: a.parameter(e)}
		}
		return s.numbered(e.Number)
	case *Member:
		return a.member(s, e)
	case *Record:
		return a.record(s, e)
	case *Computed:
		return a.computed(s, e)
	case *Logic:
		return a.controls(a.chosen(a.all(s, e.Args))).as(a.catalog.Condition()).sifts()
	case *Test:
		return a.expr(s, e.Arg).computed().as(a.catalog.Condition()).sifts()
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
	if v.has(e.Name) || len(a.functionsOf(s, call, []value{v}).Functions) == 0 {
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
	args := a.each(s, e.Args)
	v := a.chosen(a.extracted(e.Extracts, args, e.Places))
	if e.Results < len(e.Args) && !places(e.Extracts, args, e.Places) {
		v = v.sifts()
	}
	if e.Fails {
		v = a.fails(v)
	}
	if v = a.controls(v); e.Results > 0 {
		v.typ = a.catalog.Common(typesOf(args[:e.Results]))
	}
	if e.Many {
		v.typ = a.typeOf(s, v.typ, true)
	}
	return v
}

// as is v as of a type.
func (v value) as(t Name) value {
	v.typ = t
	return v
}

// parameter is the type of one of the client's. One that nothing has given a type
// gets it where it is met first.
func (a *analysis) parameter(e *Argument) Name {
	t := a.catalog.Parameter(e.Number)
	if t == Literal && !e.Once {
		return Name{}
	}
	return t
}

// typeOf is the type that a name stands for, or the array of it.
func (a *analysis) typeOf(s *scope, name Name, many bool) Name {
	if !many && (name.Schema != "" || name == Literal) || name == (Name{}) {
		return name
	}
	if name.Schema == "" {
		name.Schema = s.home
	}
	if name.Schema != "" && !many {
		return name
	}
	t, err := a.catalog.Type(a.ctx, name, many)
	if err != nil {
		a.fail("type "+name.Name, err)
	}
	return t
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
	args := a.each(s, e.Args)
	return a.operated(s, e, args, a.operatorsOf(s, e, typesOf(args)))
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
func (a *analysis) operated(s *scope, e *Operation, args []value, meant Meant) value {
	v := a.applied(s, args, meant.Functions, e.Places)
	if len(meant.Functions) == 0 {
		v.reason = first(v.reason, "operator "+e.Operator.Name+" is not known")
	}
	if v.typ = meant.Returns; e.First {
		v.typ = Name{}
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
func (a *analysis) operatorsOf(s *scope, e *Operation, types []Name) Meant {
	if !e.Any || e.Array || len(types) < 2 {
		return a.operators(s, e, types)
	}
	// Each value is compared by itself, or all as of one type.
	of, values := types[0], types[1:]
	var meant Meant
	var seen []Name
	for _, t := range append(slices.Clip(values), a.catalog.Common(types)) {
		if slices.Contains(seen, t) {
			continue
		}
		seen = append(seen, t)
		more := a.operators(s, e, []Name{of, t})
		if len(seen) > 1 && more.Returns != meant.Returns {
			more.Returns = Name{}
		}
		meant.Returns = more.Returns
		for _, f := range more.Functions {
			if !slices.Contains(meant.Functions, f) {
				meant.Functions = append(meant.Functions, f)
			}
		}
	}
	return meant
}

func (a *analysis) operators(s *scope, e *Operation, types []Name) Meant {
	u := Use{Name: e.Operator, Types: types, Array: e.Array}
	s.settle(&u)
	if e.Implied {
		u.Name = e.Operator
	}
	meant, err := a.catalog.Operators(a.ctx, &u)
	if err != nil {
		a.fail("operator "+e.Operator.Name, err)
	}
	return meant
}

// applied is what functions make of what they are given, any of which may be the
// one: operators, and those of casts.
func (a *analysis) applied(s *scope, args []value, found []*Function, at [][]string) value {
	v := joined(args)
	for i, f := range found {
		of := a.extracted(f.Extracts, args, at)
		w := a.kept(s, f, of)
		switch {
		case f.Body != nil:
			w = of.with(a.body(f, f.taking(args)))
		case f.Kind == Opaque:
			w.reason = first(w.reason, f.opaque())
			w = a.fails(w)
		case !f.Total && f.Compares == ComparesNot:
			w = a.fails(w)
		}
		if w.typ = (Name{}); f.Body == nil && !f.takesPart(args) && !places(f.Extracts, args, at) {
			w = w.sifts()
		}
		if i == 0 {
			v = w
		} else {
			v = v.or(w)
		}
	}
	return v
}

// takesPart is whether what f makes of values is a part of one of them, by constants,
// or all of them.
func (f *Function) takesPart(args []value) bool {
	if f.Part == Whole {
		return true
	}
	for i, v := range args {
		if i != f.Part-1 && !v.plain() {
			return false
		}
	}
	return f.Part > 0
}

// extracted is what is computed from values, of the first of which only what is at
// places counts, where it is a document and the text says which.
func (a *analysis) extracted(how Extracts, args []value, at [][]string) value {
	if !places(how, args, at) {
		return joined(args)
	}
	v := args[0].computed()
	var found set
	for _, n := range v.derived {
		for _, keys := range at {
			found = found.with(set{a.number(a.columns[n].at(keys))})
		}
	}
	v.derived = found
	rest := joined(args[1:])
	if how != ExtractsDocument || !rest.plain() || rest.risky {
		return v.with(rest)
	}
	v.typ, v.document = args[0].typ, true
	return v
}

// places is whether what is extracted from values is at places in the first.
func places(how Extracts, args []value, at [][]string) bool {
	return how != ExtractsNot && len(args) > 0 && args[0].document && len(at) > 0
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
	document := e.Document && v.document && c.known && len(c.functions) == 0
	v = v.computed()
	v.document = document
	if !c.known {
		v.reason = first(v.reason, "type "+e.To.Name+" is not known")
	}
	if !e.Text {
		v = a.fails(v)
	}
	plain := v
	for _, f := range c.functions {
		v = v.or(a.applied(s, []value{plain}, []*Function{f}, nil))
	}
	v.typ = a.typeOf(s, e.To, e.Many)
	if e.Many {
		return v
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
	r := a.settled(a.statement(s.inner(), e.Query))
	v := value{rows: r.rows.selecting()}
	v.risky = slices.ContainsFunc(r.columns, func(c column) bool { return c.risky })
	if v.risky {
		v.failing = a.deciding(v.rows) // whether a row is computed
	}
	for _, c := range r.columns {
		v.failing = v.failing.with(c.failing)
	}
	switch {
	case e.Kind == Exists:
		v.outer = true // which rows there are may be for what is outside
		return v.as(a.catalog.Condition())
	case r.unknown != "":
		v.reason = r.unknown
		return v
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
		if len(r.columns) == 1 {
			v.typ = a.typeOf(s, r.columns[0].typ, true)
		}
	case Any:
		test := a.expr(s, e.Test)
		compares := &Operation{Operator: e.Operator, Args: make([]Expr, 2)}
		types := make([]Name, 2)
		if len(r.columns) == 1 {
			types[0], types[1] = test.typ, r.columns[0].typ
		}
		meant := a.operatorsOf(s, compares, types)
		equal := test.shown() && len(r.columns) == 1 && r.columns[0].shown() && equalities(meant.Functions)
		v = v.with(test)
		for _, c := range r.columns {
			v = v.with(c.value)
		}
		sifted := v.sifted
		if equal { // how often does not matter
			v.from = nil
		}
		if v = a.operated(s, compares, []value{v, {}}, meant); equalities(meant.Functions) {
			v.sifted = sifted
		}
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
