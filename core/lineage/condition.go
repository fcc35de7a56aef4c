package lineage

// condition is on what rows depend that a condition is to hold of.
func (a *analysis) condition(s *scope, e Expr) rows {
	if a.nested++; a.nested > maxExprDepth {
		a.nested--
		return rows{reason: tooMuch}
	}
	defer func() { a.nested-- }()
	switch e := e.(type) {
	case nil:
		return rows{}
	case *Logic:
		var r rows
		for _, arg := range e.Args {
			r = r.with(a.condition(s, arg))
		}
		return r
	case *Ref:
		return a.comparison(s, e, e, true)
	case *Test:
		if _, ok := e.Arg.(*Ref); ok {
			return a.comparison(s, e, e.Arg, true)
		}
	case *Operation:
		if column, whole, ok := a.compares(s, e); ok {
			return a.comparison(s, e, column, whole)
		}
		if !a.equates(s, e) {
			return a.expr(s, e).counts()
		}
	}
	return a.expr(s, e).decides()
}

// comparison compares what a name stands for with constants. What is a column as
// it is, is compared; what is computed is matched.
func (a *analysis) comparison(s *scope, at, column Expr, whole bool) rows {
	v := a.expr(s, column)
	r := v.rows
	r.matched = r.matched.with(v.derived)
	r.reason = first(r.reason, v.reason)
	for _, n := range v.exact {
		k := comparing{at, n, whole}
		c, ok := a.compared[k]
		if !ok {
			c = int32(len(a.comparisons))
			a.compared[k] = c
			a.comparisons = append(a.comparisons, Comparison{Column: a.columns[n], Whole: whole, Times: 1})
		}
		r.compared = r.compared.with(set{c})
	}
	return r
}

// compares is whether an operation compares a column with constants, by operators
// of the server's own.
func (a *analysis) compares(s *scope, e *Operation) (column Expr, whole, ok bool) {
	whole = true
	args := make([]value, len(e.Args))
	for i, arg := range e.Args {
		if ref, is := arg.(*Ref); is && column == nil && !ref.Star {
			column, args[i] = arg, a.expr(s, arg)
			whole = i == 0 || !e.Any
			continue
		}
		if !a.constant(s, arg) {
			return nil, false, false
		}
		args[i] = a.expr(s, arg)
	}
	found := a.operatorsOf(e, args)
	for _, f := range found {
		if f.Compares == ComparesNot {
			return nil, false, false
		}
		whole = whole && f.Compares == ComparesWhole
	}
	return column, whole, column != nil && len(found) > 0
}

// equates is whether an operation asks for no more than whether values are equal.
func (a *analysis) equates(s *scope, e *Operation) bool {
	args := make([]value, len(e.Args))
	for i, arg := range e.Args {
		args[i] = a.expr(s, arg)
	}
	found := a.operatorsOf(e, args)
	for _, f := range found {
		if f.Compares != ComparesWhole {
			return false
		}
	}
	return len(found) > 0
}

// constant is whether an expression is the same in each row.
func (a *analysis) constant(s *scope, e Expr) bool {
	all := func(exprs []Expr) bool {
		for _, e := range exprs {
			if !a.constant(s, e) {
				return false
			}
		}
		return true
	}
	switch e := e.(type) {
	case nil:
		return true
	case *Argument:
		return s.arguments == nil
	case *Cast:
		c := a.castsTo(e.To)
		return c.known && steady(c.functions) && a.constant(s, e.Arg)
	case *Operation:
		found := a.operatorsOf(e, make([]value, len(e.Args)))
		return len(found) > 0 && steady(found) && all(e.Args)
	case *Call:
		found := a.functionsOf(e, make([]value, len(e.Args)))
		return len(found) > 0 && steady(found) && e.Over == nil && e.Filter == nil && all(e.Args)
	case *Computed:
		return all(e.Args)
	case *Record:
		return all(e.Fields)
	}
	return false
}

// steady is whether functions return the same for the same arguments.
func steady(functions []*Function) bool {
	for _, f := range functions {
		if f.Volatile || f.Kind != Scalar && f.Kind != Ambient {
			return false
		}
	}
	return true
}
