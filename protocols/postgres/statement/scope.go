package statement

import (
	"slices"

	tree "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"

	"gatehouse/core/event"
)

// An effect is how a condition chooses rows of the target.
type effect uint8

const (
	restricts effect = iota // it depends on the target's columns
	always                  // it holds for every row
	never                   // it holds for none
	free                    // it does not depend on the target
)

// not returns the effect of the negation.
func (e effect) not() effect {
	switch e {
	case always:
		return never
	case never:
		return always
	}
	return e
}

// A scoper finds out whether a condition restricts a target.
type scoper struct {
	target event.Object
	names  []string            // what the target is called: its alias or its name
	alone  bool                // no other relation could own an unqualified column
	vars   map[string]struct{} // names that may be a routine's variables
	// literal is set when a literal's value was looked at.
	literal bool
	cases   int   // how many CASEs were looked at
	ctes    names // WITH queries in scope
}

// scopeOf returns which rows of target a condition selects. With further
// relations beside it, only qualified columns count as the target's.
func (b *builder) scopeOf(target *tree.RangeVar, others []*tree.Node, where *tree.Node) event.Scope {
	switch {
	case where == nil:
		return event.ScopeAll
	case where.GetCurrentOfExpr() != nil:
		return event.ScopeRestricted
	}
	s := newScoper(target, len(others) == 0)
	s.vars, s.ctes = b.vars, b.ctes
	s.joinSelf(others, where)
	e := s.effect(where, false)
	b.literal = b.literal || s.literal
	if e == restricts {
		return event.ScopeRestricted
	}
	return event.ScopeAll
}

func newScoper(target *tree.RangeVar, alone bool) *scoper {
	s := &scoper{target: object(target), alone: alone}
	if name := target.GetAlias().GetAliasname(); name != "" {
		s.names = []string{name}
	} else {
		s.names = []string{target.GetRelname()}
	}
	return s
}

// maxSelves is how many names of the target beside its own are looked at; with
// more the condition restricts less.
const maxSelves = 8

// joinSelf looks for the target joined with itself, t.id = s.id: what restricts
// the other then restricts the target, and the join alone restricts nothing.
func (s *scoper) joinSelf(others []*tree.Node, where *tree.Node) {
	var selves []string
	for _, n := range others {
		if r := n.GetRangeVar(); r != nil && s.same(object(r)) && len(selves) < maxSelves {
			selves = append(selves, newScoper(r, false).names...)
		}
	}
	conjuncts := []*tree.Node{where}
	if e := where.GetBoolExpr(); e.GetBoolop() == tree.BoolExprType_AND_EXPR {
		conjuncts = e.GetArgs()
	}
	for _, n := range conjuncts {
		left, right := sides(n.GetAExpr())
		if len(left) != 2 || len(right) != 2 || left[1] != right[1] {
			continue
		}
		for _, self := range selves {
			joined := right[0] == self && slices.Contains(s.names, left[0]) || left[0] == self && slices.Contains(s.names, right[0])
			if joined && !slices.Contains(s.names, self) {
				s.names = append(s.names, self)
			}
		}
	}
}

// selfJoin reports whether a comparison joins the target with itself.
func (s *scoper) selfJoin(e *tree.A_Expr) bool {
	left, right := sides(e)
	return len(left) == 2 && len(right) == 2 && left[1] == right[1] &&
		slices.Contains(s.names, left[0]) && slices.Contains(s.names, right[0])
}

// same reports whether o may be the target.
func (s *scoper) same(o event.Object) bool {
	return o.Name == s.target.Name && (o.Schema == s.target.Schema || o.Schema == "" || s.target.Schema == "")
}

// sides returns the columns that a = b compares.
func sides(e *tree.A_Expr) (left, right []string) {
	if e.GetKind() != tree.A_Expr_Kind_AEXPR_OP || operator(e) != "=" {
		return nil, nil
	}
	return columnParts(e.GetLexpr()), columnParts(e.GetRexpr())
}

// columnParts returns the parts of a column's name.
func columnParts(n *tree.Node) []string {
	c := stripped(n).GetColumnRef()
	var parts []string
	for _, f := range c.GetFields() {
		if f.GetAStar() != nil {
			return nil
		}
		parts = append(parts, text(f))
	}
	return parts
}

func operator(e *tree.A_Expr) string {
	if len(e.GetName()) == 0 {
		return ""
	}
	return text(e.GetName()[len(e.GetName())-1])
}

// effect returns what a condition, or its negation, does.
func (s *scoper) effect(n *tree.Node, negated bool) effect {
	switch m := message(n).(type) {
	case *tree.BoolExpr:
		switch m.GetBoolop() {
		case tree.BoolExprType_NOT_EXPR:
			return s.effect(m.GetArgs()[0], !negated)
		case tree.BoolExprType_AND_EXPR:
			if negated {
				return s.any(m.GetArgs(), true)
			}
			return s.all(m.GetArgs(), false)
		default:
			if negated {
				return s.all(m.GetArgs(), true)
			}
			return s.any(m.GetArgs(), false)
		}
	case *tree.BooleanTest:
		return s.booleanTest(m, negated)
	}
	e := s.leaf(n)
	if negated {
		return e.not()
	}
	return e
}

// all is the effect of a conjunction: one part that restricts is enough.
func (s *scoper) all(args []*tree.Node, negated bool) effect {
	result := always
	for _, n := range args {
		switch e := s.effect(n, negated); {
		case e == restricts:
			return restricts
		case e == never:
			result = never
		case e == free && result == always:
			result = free
		}
	}
	return result
}

// any is the effect of a disjunction: every part must restrict, and no two may
// complete each other.
func (s *scoper) any(args []*tree.Node, negated bool) effect {
	result := never
	for _, n := range args {
		switch e := s.effect(n, negated); {
		case e == always:
			return always
		case e == free:
			result = free
		case e == restricts && result == never:
			result = restricts
		}
	}
	if result == restricts && (s.complete(args, negated) || s.coversAll(args, negated)) {
		return always
	}
	return result
}

func (s *scoper) booleanTest(t *tree.BooleanTest, negated bool) effect {
	switch t.GetBooltesttype() {
	case tree.BoolTestType_IS_TRUE, tree.BoolTestType_IS_NOT_FALSE:
		return s.effect(t.GetArg(), negated)
	case tree.BoolTestType_IS_FALSE, tree.BoolTestType_IS_NOT_TRUE:
		return s.effect(t.GetArg(), !negated)
	}
	if e := t.GetArg().GetColumnRef(); e != nil && s.depends(e) {
		return restricts
	}
	return free
}

// leaf is the effect of a condition that is not made of others.
func (s *scoper) leaf(n *tree.Node) effect {
	switch m := message(n).(type) {
	case *tree.A_Const:
		switch v := m.GetVal().(type) {
		case *tree.A_Const_Boolval:
			if v.Boolval.GetBoolval() {
				return always
			}
			return never
		case nil:
			return never // NULL
		}
		return free
	case *tree.NullTest:
		if isSystemColumn(m.GetArg()) {
			return chosen(m.GetNulltesttype() == tree.NullTestType_IS_NOT_NULL)
		}
		// Of a computed value nobody knows whether it is ever null.
		if s.depends(m.GetArg()) && (m.GetArg().GetColumnRef() != nil || m.GetArg().GetRowExpr() != nil) {
			return restricts
		}
		return free
	case *tree.A_Expr:
		return s.comparison(m)
	case *tree.SubLink:
		return s.subquery(m)
	case *tree.CaseExpr:
		return s.caseExpr(m)
	case *tree.CoalesceExpr:
		// What comes behind something that is never null does not count.
		if e := s.effect(m.GetArgs()[0], false); m.GetArgs()[0].GetAConst() != nil && e != restricts {
			return e
		}
	case *tree.FuncCall:
		if args := m.GetArgs(); routine(m.GetFuncname()) == "starts_with" && len(args) == 2 && s.matchesAll(args[1], isEmpty) {
			return always
		}
	}
	if s.depends(message(n)) {
		return restricts
	}
	return free
}

// caseExpr is the effect of a CASE: that of its results, where they agree.
func (s *scoper) caseExpr(c *tree.CaseExpr) effect {
	if s.cases++; s.cases > maxCases {
		return restricts
	}
	list := s.results(c)
	result := s.effect(list[0], false)
	for _, n := range list[1:] {
		if s.effect(n, false) != result {
			result = restricts
		}
	}
	if result == restricts && !s.depends(c) {
		return free
	}
	return result
}

func isEmpty(s string) bool { return s == "" }

// isSystemColumn reports whether n is a column that every table has and that is
// never null.
func isSystemColumn(n *tree.Node) bool {
	parts := columnParts(n)
	if len(parts) == 0 {
		return false
	}
	switch parts[len(parts)-1] {
	case "ctid", "tableoid", "xmin", "xmax", "cmin", "cmax":
		return true
	}
	return false
}

// depends reports whether anything in a part of the tree is the target's.
func (s *scoper) depends(m proto.Message) bool {
	switch m := m.(type) {
	case nil:
		return false
	case *tree.ColumnRef:
		return s.owns(m)
	case *tree.SelectStmt:
		inner := s.inside(m)
		return !children(m, func(child proto.Message) bool { return !inner.depends(child) })
	case *tree.A_Const, *tree.TypeName, *tree.String:
		return false
	}
	return !children(m, func(child proto.Message) bool { return !s.depends(child) })
}

// owns reports whether a column is the target's.
func (s *scoper) owns(c *tree.ColumnRef) bool {
	fields := c.GetFields()
	if len(fields) == 0 {
		return false
	}
	first := text(fields[0])
	switch {
	case text(fields[len(fields)-1]) == "tableoid":
		return false // it tells tables apart, not rows
	case len(fields) == 1:
		if _, declared := s.vars[first]; declared {
			return false
		}
		return s.alone || slices.Contains(s.names, first)
	case slices.Contains(s.names, first):
		return true
	}
	return len(fields) >= 3 && s.target.Schema == first && slices.Contains(s.names, text(fields[1]))
}
