package lineage

import (
	"fmt"
	"slices"
)

// A Floor is a condition of HAVING without which no group passes: that a count is
// at least so high.
type Floor struct {
	Operator Name // <= or <, >= or >
	Count    *Call
	Least    int
}

// summed is what a sum of v is: of enough rows it shows none of them, though it may
// fail for what is in one.
func (a *analysis) summed(s *scope, c *Call, f *Function, args []value, v value) value {
	v = a.fails(v)
	if v.why = a.sums(s, c, f, args); v.why == "" {
		a.sum = a.sum.with(v.all())
		v.exact, v.derived = nil, nil
	}
	return v
}

// sums is why what c makes of a column is not a sum over enough rows of its table,
// each of which counts once: so many that none of them shows; "" where it is one.
//
// Which rows those are may depend on no column that tells one row from all others,
// nor on the column that is summed. Two sums over rows that differ in one still tell
// its value.
func (a *analysis) sums(s *scope, c *Call, f *Function, args []value) string {
	if len(c.Args) != 1 || c.Over != nil || c.Filter != nil || c.Distinct || c.Within || c.Variadic || len(c.Order) > 0 {
		return "what is summed is not only a column"
	}
	if !a.spend(len(s.items)) {
		return tooMuch
	}
	p := s.place(c.Args[0])
	switch {
	case p.item == nil || args[0].outer || args[0].many || len(args[0].derived) > 0 || args[0].reason != "" || !args[0].exact.holds(set{a.number(p.of.Columns[p.column].Column)}):
		return "what is summed is not a column of a table, as it is"
	case s.body == nil || !a.once(s, p.item):
		return "rows of " + p.name + " may count more than once"
	case s.multiplied || s.rows.reason != "":
		return "it is not known which rows are summed"
	}
	by := a.whole(a.choosing(s.rows))
	for i, col := range p.of.Columns {
		if n := (set{a.number(col.Column)}); (col.Unique || col.Hidden || i == p.column) && by.holds(n) {
			return "which rows are summed depends on " + col.String()
		}
	}
	if !slices.ContainsFunc(s.body.Floors, func(x Floor) bool { return x.Least >= f.Sums && a.spend(len(s.items)) && a.floors(s, x, p) }) {
		return fmt.Sprintf("HAVING count(%s) >= %d is missing", p.columns[p.column].name, f.Sums)
	}
	return ""
}

// whole are the columns that s has, or has places of.
func (a *analysis) whole(s set) set {
	for _, n := range s {
		s = s.with(set{a.number(a.columns[n].Whole())})
	}
	return s
}

// choosing are the columns that have a part in which rows there are.
func (a *analysis) choosing(r rows) set { return a.deciding(r).with(r.ordered).with(r.failing) }

// floors is whether x holds for a group only if at least so many rows of a table
// have a value in the column p.
func (a *analysis) floors(s *scope, x Floor, p place) bool {
	c := x.Count
	args := a.each(s, c.Args)
	meant := a.functionsOf(s, c, args)
	found, by := meant.Functions, a.operatorsOf(s, &Operation{Operator: x.Operator}, []Name{meant.Returns, {}}).Functions
	if len(found) == 0 || slices.ContainsFunc(found, func(f *Function) bool { return !f.Tallies }) || !serversOwn(by, ComparesPart) ||
		c.Over != nil || c.Filter != nil || c.Within || c.Variadic {
		return false
	}
	if slices.ContainsFunc(args, func(v value) bool { return v.outer || v.many || v.reason != "" }) {
		return false
	}
	var q place
	if len(c.Args) == 1 {
		q = s.place(c.Args[0])
	}
	if q == p {
		return true
	}
	if !p.of.Columns[p.column].Required {
		return false
	}
	// Each row has a value: as many rows do, of the table itself or, where there
	// is nothing else, of any.
	return q.item == p.item || len(s.items) == 1
}

// serversOwn is whether operators are all the server's own of a kind.
func serversOwn(found []*Function, of Compares) bool {
	return len(found) > 0 && !slices.ContainsFunc(found, func(f *Function) bool { return f.Compares != of })
}

// once is whether each row of a table is in a query's rows once at most: all other
// tables are joined to it by keys.
func (a *analysis) once(s *scope, it *item) bool {
	once, asked := s.single[it]
	if !asked {
		once = a.joinedOnce(s, it)
		if s.single == nil {
			s.single = map[*item]bool{}
		}
		s.single[it] = once
	}
	return once
}

func (a *analysis) joinedOnce(s *scope, it *item) bool {
	j := joining{analysis: a, scope: s, of: it, steps: map[*item][]*item{}}
	for _, src := range s.body.From {
		if !j.take(src) {
			return false
		}
	}
	j.holds(s.body.Where, nil)
	reached, next := map[*item]bool{it: true}, []*item{it}
	for len(next) > 0 {
		for _, to := range j.steps[next[0]] {
			if !reached[to] {
				reached[to], next = true, append(next, to)
			}
		}
		next = next[1:]
	}
	return len(reached) == j.tables
}

// A joining is how the tables of a query are joined to one of them: steps are to
// those of which a row of another has one at most, by a key.
type joining struct {
	*analysis
	*scope
	of     *item
	tables int
	steps  map[*item][]*item
}

// take takes a source in. It is false where its rows cannot be followed.
func (j *joining) take(src Source) bool {
	switch src := src.(type) {
	case *Table:
		j.tables++
		return len(src.Sample) == 0 && j.spend(len(j.items)) && j.table(src) != nil
	case *Join:
		right, single := src.Right.(*Table)
		if src.Alias.Name != "" || src.Natural || src.Outer != Inner && (src.Outer != LeftOuter || !single) || !j.take(src.Left) || !j.take(src.Right) {
			return false
		}
		var only *item
		if src.Outer == LeftOuter && j.table(right) != j.of { // rows of which have what the condition says
			only = j.table(right)
		}
		j.holds(src.On, only)
		for _, name := range src.Using {
			if single {
				j.equals(j.using(src.Left, name), place{j.table(right), j.table(right).place(name)}, Name{Name: "="}, only)
			}
		}
		return true
	}
	return false
}

// table is the item of a table of the query.
func (j *joining) table(t *Table) *item {
	name := t.Alias.Name
	if name == "" {
		name = t.Name.Name
	}
	it, in, _ := j.scope.source("", name)
	if it == nil || in != j.scope || it.of == nil {
		return nil
	}
	return it
}

// using is the column of a name, of the one table of a source that has it.
func (j *joining) using(src Source, name string) (found place) {
	switch src := src.(type) {
	case *Table:
		if it := j.table(src); it != nil && j.spend(len(j.items)) {
			return place{it, it.place(name)}
		}
	case *Join:
		found = j.using(src.Left, name)
		if right := j.using(src.Right, name); found.item == nil || found.column < 0 {
			return right
		} else if right.item != nil && right.column >= 0 {
			return place{}
		}
	}
	return found
}

// holds takes in what e says of all rows, or of those of one table alone.
func (j *joining) holds(e Expr, only *item) {
	switch e := e.(type) {
	case *Logic:
		for _, arg := range e.Args {
			if e.And {
				j.holds(arg, only)
			}
		}
	case *Operation:
		if len(e.Args) == 2 && !e.Any && e.Operator.Name == "=" && j.spend(2*len(j.items)) {
			j.equals(j.scope.place(e.Args[0]), j.scope.place(e.Args[1]), e.Operator, only)
		}
	}
}

// equals takes in that two columns are equal. By a key of one its table has one row
// for each of the other's.
func (j *joining) equals(a, b place, by Name, only *item) {
	if by.Name != "=" || a.item == nil || b.item == nil || a.column < 0 || b.column < 0 {
		return
	}
	x, y := &a.of.Columns[a.column], &b.of.Columns[b.column]
	found := j.operatorsOf(j.scope, &Operation{Operator: by}, []Name{a.columns[a.column].typ, b.columns[b.column].typ})
	if !serversOwn(found.Functions, ComparesWhole) || !comparesExactly(x.Type, y.Type) {
		return
	}
	if y.Unique && (only == nil || only == b.item) {
		j.steps[a.item] = append(j.steps[a.item], b.item)
	}
	if x.Unique && (only == nil || only == a.item) {
		j.steps[b.item] = append(j.steps[b.item], a.item)
	}
}

// comparesExactly is whether values of two types are equal only if they are the
// same, so that a value of one equals one key of the other at most.
func comparesExactly(a, b Name) bool {
	integers := []string{"int2", "int4", "int8"}
	return a.Schema == "pg_catalog" && b.Schema == "pg_catalog" &&
		(a.Name == "uuid" && b.Name == "uuid" || slices.Contains(integers, a.Name) && slices.Contains(integers, b.Name))
}
