package lineage

import "slices"

// condition is on what rows depend that a condition is to hold of.
func (a *analysis) condition(s *scope, e Expr) rows {
	if a.nested++; a.nested > maxExprDepth {
		a.nested--
		return rows{reason: tooMuch}
	}
	r := a.holding(s, e)
	a.nested--
	a.decided = a.decided.with(r)
	return r
}

func (a *analysis) holding(s *scope, e Expr) rows {
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
		return a.comparison(e, a.expr(s, e), true)
	case *Test:
		if _, ok := e.Arg.(*Ref); ok {
			return a.comparison(e, a.expr(s, e.Arg), true)
		}
		return a.told(e, a.expr(s, e.Arg))
	case *Subquery:
		if e.Kind == Exists { // what its rows are is told of them
			return a.expr(s, e).decides()
		}
	case *Operation:
		return a.compared(s, e)
	}
	return a.told(e, a.expr(s, e))
}

// told is on what rows depend that v, which is computed, decides about: a bit for
// each row of a source, or any number of rows where it is made of those of several,
// or tells of many values at once.
func (a *analysis) told(at Expr, v value) rows {
	if len(v.from) > 1 || v.sifted {
		return v.counts()
	}
	r := v.decides()
	for _, n := range v.all() {
		r.compared = r.compared.with(set{a.site(at, n, false)})
	}
	return r
}

// compared is an operation as a condition: a comparison of a column with
// constants, an equality, or anything else.
func (a *analysis) compared(s *scope, e *Operation) rows {
	args := a.each(s, e.Args)
	column, compares := a.compares(s, e, args)
	meant := a.operatorsOf(s, e, typesOf(args))
	found := meant.Functions
	whole := equalities(found)
	compares = compares && !slices.ContainsFunc(found, func(f *Function) bool { return f.Compares == ComparesNot })
	switch v := a.operated(s, e, args, meant); {
	case compares && v.reason == "":
		return a.comparison(e, args[column], whole && !e.Any)
	case whole && !slices.ContainsFunc(args, func(arg value) bool { return !arg.shown() }):
		return v.decides() // columns are equal, or not
	case whole:
		v.sifted = slices.ContainsFunc(args, func(arg value) bool { return arg.sifted })
		return a.told(e, v)
	default:
		return v.counts()
	}
}

// equalities is whether operators only tell whether whole values are equal.
func equalities(operators []*Function) bool {
	return !slices.ContainsFunc(operators, func(f *Function) bool { return f.Compares != ComparesWhole })
}

// comparison compares what a name stands for with constants. What is a column as
// it is, is compared; what is computed is matched.
func (a *analysis) comparison(at Expr, v value, whole bool) rows {
	if len(v.derived) > 0 && (len(v.from) > 1 || v.sifted) {
		return v.counts()
	}
	r := v.rows
	r.matched = r.matched.with(v.derived)
	r.failing = r.failing.with(v.failing)
	r.reason = first(r.reason, v.reason)
	for _, n := range v.exact {
		r.compared = r.compared.with(set{a.site(at, n, whole)})
	}
	for _, n := range v.derived {
		r.compared = r.compared.with(set{a.site(at, n, false)})
	}
	return r
}

// apart is on what rows depend that a query's body tells apart by v. By what is
// computed of a column that tells a part of it, as a comparison does: whether it is
// equal to what the text says, in a row beside it.
func (a *analysis) apart(at any, v value) rows {
	r := v.parts()
	for _, n := range v.derived {
		r.compared = r.compared.with(set{a.site(at, n, false)})
	}
	return r
}

// site returns the number of the comparison of a column at a place.
func (a *analysis) site(at any, column int32, whole bool) int32 {
	k := comparing{at, column, whole}
	c, ok := a.sites[k]
	if !ok {
		c = int32(len(a.comparisons))
		a.sites[k] = c
		a.comparisons = append(a.comparisons, Comparison{Column: a.columns[column], Whole: whole, Times: 1})
	}
	return c
}

// compares finds the one column that an operation compares with constants.
func (a *analysis) compares(s *scope, e *Operation, args []value) (column int, ok bool) {
	for i, arg := range e.Args {
		if ref, is := arg.(*Ref); is && !ok && !ref.Star {
			column, ok = i, true
			continue
		}
		if !args[i].plain() || !a.constant(s, arg) {
			return 0, false
		}
	}
	return column, ok
}

// constant is whether an expression is the same in each row. What depends on the
// session is not where it is told which part of it: that may change meanwhile.
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
	case *Constant:
		return true
	case *Cast:
		c := a.castsTo(e.To)
		return c.known && steady(c.functions) && a.constant(s, e.Arg)
	case *Operation:
		found := a.operatorsOf(s, e, make([]Name, len(e.Args))).Functions
		return len(found) > 0 && steady(found) && all(e.Args)
	case *Call:
		found := a.functionsOf(s, e, make([]value, len(e.Args))).Functions
		return len(found) > 0 && steady(found) && (len(e.Args) == 0 || found[0].Kind == Scalar) && e.Over == nil && e.Filter == nil && all(e.Args)
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
