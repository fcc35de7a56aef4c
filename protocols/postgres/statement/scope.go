package statement

import (
	"cmp"
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
	// filled is whether columns that are asked whether they are null count as
	// never null; required is which were asked.
	filled   bool
	required []string
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
	if e == restricts && s.required != nil && b.current().Kind != "MERGE" {
		filled := *s
		filled.filled, filled.cases, filled.required = true, 0, nil
		if e := filled.effect(where, false); e == always || e == free {
			b.current().Required = filled.required
		}
	}
	if e != restricts && s.selectsNone(where) {
		e = restricts
	}
	b.current().Blind = e == restricts && b.current().Kind != "MERGE" && s.blind(where)
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
	type self struct {
		name  string
		query *tree.SelectStmt // that it is, rather than the target itself
		ctes  int              // how many WITH queries the query may name
	}
	var selves []self
	for _, n := range others {
		if len(selves) == maxSelves {
			break
		}
		if q := n.GetRangeSubselect(); q != nil && len(q.GetAlias().GetColnames()) == 0 {
			selves = append(selves, self{q.GetAlias().GetAliasname(), q.GetSubquery().GetSelectStmt(), s.ctes.len()})
		}
		r := n.GetRangeVar()
		if r == nil {
			continue
		}
		name := newScoper(r, false).names[0]
		cte, is := s.ctes.before(r.GetRelname(), s.ctes.len())
		switch {
		case is && r.GetSchemaname() == "" && cte.query != nil:
			selves = append(selves, self{name, cte.query, cte.place})
		case s.same(object(r)):
			selves = append(selves, self{name: name})
		}
	}
	for _, n := range conjuncts(where) {
		left, right := sides(n.GetAExpr())
		if len(left) != 2 || len(right) != 2 || left[1] != right[1] {
			continue
		}
		for _, self := range selves {
			joined := right[0] == self.name && slices.Contains(s.names, left[0]) || left[0] == self.name && slices.Contains(s.names, right[0])
			if joined && !slices.Contains(s.names, self.name) && (self.query == nil || s.yields(self.query, left[1:], left[1:], self.ctes, 0)) {
				s.names = append(s.names, self.name)
			}
		}
	}
}

// conjuncts returns the parts of a condition that all have to hold.
func conjuncts(n *tree.Node) []*tree.Node {
	parts := pairs(n.GetAExpr())
	if e := n.GetBoolExpr(); e.GetBoolop() == tree.BoolExprType_AND_EXPR {
		parts = e.GetArgs()
	}
	if parts == nil {
		return []*tree.Node{n}
	}
	var all []*tree.Node
	for _, p := range parts {
		all = append(all, conjuncts(p)...)
	}
	return all
}

// pairs takes (a, b) = (c, d) apart. Of other conditions it returns nil.
func pairs(e *tree.A_Expr) (equal []*tree.Node) {
	left, right := e.GetLexpr().GetRowExpr().GetArgs(), e.GetRexpr().GetRowExpr().GetArgs()
	if e.GetKind() != tree.A_Expr_Kind_AEXPR_OP || operator(e) != "=" || len(left) != len(right) {
		return nil
	}
	for i := range left {
		pair := &tree.A_Expr{Kind: e.GetKind(), Name: e.GetName(), Lexpr: left[i], Rexpr: right[i]}
		equal = append(equal, &tree.Node{Node: &tree.Node_AExpr{AExpr: pair}})
	}
	return equal
}

// selectsNone reports whether a condition holds of no row, as generated ones may:
// false, 1 = 0, id <> id.
func (s *scoper) selectsNone(n *tree.Node) bool {
	switch m := message(n).(type) {
	case *tree.A_Const:
		b := m.GetBoolval()
		return m.GetIsnull() || b != nil && !b.GetBoolval()
	case *tree.BoolExpr:
		switch m.GetBoolop() {
		case tree.BoolExprType_AND_EXPR:
			return slices.ContainsFunc(m.GetArgs(), s.selectsNone)
		case tree.BoolExprType_OR_EXPR:
			return !slices.ContainsFunc(m.GetArgs(), func(n *tree.Node) bool { return !s.selectsNone(n) })
		}
	case *tree.A_Expr:
		left, right, op := m.GetLexpr(), m.GetRexpr(), operator(m)
		same := left.GetColumnRef() != nil && right.GetColumnRef() != nil && s.key("", []*tree.Node{left}) == s.key("", []*tree.Node{right})
		switch {
		case m.GetKind() == tree.A_Expr_Kind_AEXPR_DISTINCT:
			return same
		case m.GetKind() != tree.A_Expr_Kind_AEXPR_OP || len(m.GetName()) != 1 || mirrored[op] == "":
			return false
		case left.GetAConst().GetIval() != nil && right.GetAConst().GetIval() != nil:
			s.literal = true
			return !holds(op, cmp.Compare(left.GetAConst().GetIval().GetIval(), right.GetAConst().GetIval().GetIval()))
		}
		return same && !holds(op, 0) || left.GetAConst().GetIsnull() || right.GetAConst().GetIsnull() || s.decide(op, left, right) == never
	}
	return false
}

// blind reports whether a condition restricts by comparing the columns of a row with
// each other alone.
func (s *scoper) blind(n *tree.Node) bool {
	switch m := message(n).(type) {
	case *tree.BoolExpr:
		some := slices.ContainsFunc(m.GetArgs(), s.blind)
		return some && (m.GetBoolop() != tree.BoolExprType_AND_EXPR ||
			!slices.ContainsFunc(m.GetArgs(), func(n *tree.Node) bool { return !s.blind(n) && s.effect(n, false) == restricts }))
	case *tree.A_Expr:
		return m.GetKind() == tree.A_Expr_Kind_AEXPR_OP && s.depends(message(m.GetLexpr())) && s.depends(message(m.GetRexpr())) && !comesFromElsewhere(m)
	}
	return false
}

// comesFromElsewhere reports whether a part of the tree has a parameter or a query.
func comesFromElsewhere(m proto.Message) bool {
	switch m.(type) {
	case *tree.ParamRef, *tree.SubLink:
		return true
	}
	return !children(m, func(child proto.Message) bool { return !comesFromElsewhere(child) })
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
	switch {
	case negated && s.selfJoin(n.GetAExpr()):
		return free // it holds of other rows than its own
	case negated:
		return e.not()
	}
	return e
}

// all is the effect of a conjunction: one part that restricts is enough, where none
// leaves nothing.
func (s *scoper) all(args []*tree.Node, negated bool) effect {
	result := always
	for _, n := range args {
		switch e := s.effect(n, negated); {
		case e == never:
			return never
		case e == restricts, e == free && result == always:
			result = e
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
	nulls := negated // whether it holds of what is unknown
	switch kind := t.GetBooltesttype(); kind {
	case tree.BoolTestType_IS_NOT_TRUE, tree.BoolTestType_IS_NOT_FALSE:
		nulls = !negated
		fallthrough
	case tree.BoolTestType_IS_TRUE, tree.BoolTestType_IS_FALSE:
		of := kind == tree.BoolTestType_IS_FALSE || kind == tree.BoolTestType_IS_NOT_TRUE
		if e := s.effect(t.GetArg(), negated != of); e != never || !nulls {
			return e
		}
		return free
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
		if s.isFilled(m.GetArg()) {
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
		if args := m.GetArgs(); len(args) == 2 {
			switch routine(m.GetFuncname()) {
			case "starts_with":
				if s.matchesAll(args[1], isEmpty) {
					return always
				}
			case "regexp_like":
				if s.matchesAll(args[1], trivialRegexp) {
					return always
				}
			}
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
	list, any := s.results(c)
	result := s.effect(list[0], false)
	for i, n := range list {
		e := s.effect(n, false)
		if i < any && (e == always || e == free) {
			return free // it may be the one for every row
		}
		if e != result {
			result = restricts
		}
	}
	if result == restricts && !s.depends(c) {
		return free
	}
	return result
}

// isFilled reports whether n is a column of the target that counts as never null.
func (s *scoper) isFilled(n *tree.Node) bool {
	c := n.GetColumnRef()
	if c == nil || !s.owns(c) {
		return false
	}
	parts := columnParts(n)
	if len(parts) == 0 {
		return false
	}
	if name := parts[len(parts)-1]; len(s.required) < maxTerms && !slices.Contains(s.required, name) {
		s.required = append(s.required, name)
	}
	return s.filled
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
	case *tree.FuncCall:
		if routine(m.GetFuncname()) == "pg_typeof" {
			return false // it is the same for every row
		}
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
