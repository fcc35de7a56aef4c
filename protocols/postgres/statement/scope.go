package statement

import (
	"slices"
	"strings"

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
	s.vars = b.vars
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
	if result == restricts && s.complete(args, negated) {
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
	}
	if s.depends(message(n)) {
		return restricts
	}
	return free
}

// caseExpr looks for a CASE whose every result is the same.
func (s *scoper) caseExpr(c *tree.CaseExpr) effect {
	result := s.leafOrNever(c.GetDefresult())
	for _, n := range c.GetArgs() {
		if e := s.leafOrNever(n.GetCaseWhen().GetResult()); e != result {
			result = restricts
		}
	}
	if result == restricts && !s.depends(c) {
		return free
	}
	return result
}

func (s *scoper) leafOrNever(n *tree.Node) effect {
	if n == nil {
		return never
	}
	return s.effect(n, false)
}

// comparison is the effect of an operator.
func (s *scoper) comparison(e *tree.A_Expr) effect {
	if !s.depends(e) {
		return s.fold(e)
	}
	op := operator(e)
	same := func(a, b *tree.Node) bool { return s.equal(a, b) }
	switch e.GetKind() {
	case tree.A_Expr_Kind_AEXPR_OP:
		switch op {
		case "=", "<=", ">=":
			if op == "=" && s.selfJoin(e) {
				return always
			}
			if same(e.GetLexpr(), e.GetRexpr()) {
				return always
			}
		case "<>", "<", ">":
			if same(e.GetLexpr(), e.GetRexpr()) {
				return never
			}
		case "~", "~*", "^@":
			if s.matchesAll(e.GetRexpr(), trivialRegexp) {
				return always
			}
		case "!~", "!~*":
			if s.matchesAll(e.GetRexpr(), trivialRegexp) {
				return never
			}
		}
	case tree.A_Expr_Kind_AEXPR_NOT_DISTINCT, tree.A_Expr_Kind_AEXPR_DISTINCT:
		if same(e.GetLexpr(), e.GetRexpr()) {
			return chosen(e.GetKind() == tree.A_Expr_Kind_AEXPR_NOT_DISTINCT)
		}
	case tree.A_Expr_Kind_AEXPR_LIKE, tree.A_Expr_Kind_AEXPR_ILIKE, tree.A_Expr_Kind_AEXPR_SIMILAR:
		if s.matchesAll(e.GetRexpr(), trivialLike) || same(e.GetLexpr(), e.GetRexpr()) {
			return chosen(!strings.HasPrefix(op, "!"))
		}
	case tree.A_Expr_Kind_AEXPR_IN:
		if s.oneOf(e.GetLexpr(), e.GetRexpr().GetList().GetItems()) {
			return chosen(op == "=")
		}
	case tree.A_Expr_Kind_AEXPR_OP_ANY:
		if op == "=" && (s.oneOf(e.GetLexpr(), e.GetRexpr().GetAArrayExpr().GetElements()) || s.allOfTarget(e.GetLexpr(), e.GetRexpr().GetSubLink())) {
			return always
		}
	case tree.A_Expr_Kind_AEXPR_BETWEEN, tree.A_Expr_Kind_AEXPR_BETWEEN_SYM,
		tree.A_Expr_Kind_AEXPR_NOT_BETWEEN, tree.A_Expr_Kind_AEXPR_NOT_BETWEEN_SYM:
		bounds := e.GetRexpr().GetList().GetItems()
		if len(bounds) == 2 && same(e.GetLexpr(), bounds[0]) && same(e.GetLexpr(), bounds[1]) {
			return chosen(!strings.HasPrefix(op, "NOT"))
		}
	}
	return restricts
}

// chosen is always or never.
func chosen(rows bool) effect {
	if rows {
		return always
	}
	return never
}

// fold decides comparisons of two constants, which generated conditions have.
func (s *scoper) fold(e *tree.A_Expr) effect {
	left, right := e.GetLexpr().GetAConst(), e.GetRexpr().GetAConst()
	if left == nil || right == nil || e.GetKind() != tree.A_Expr_Kind_AEXPR_OP {
		return free
	}
	s.literal = true
	var order int
	switch l := left.GetVal().(type) {
	case *tree.A_Const_Ival:
		r, ok := right.GetVal().(*tree.A_Const_Ival)
		if !ok {
			return free
		}
		order = int(l.Ival.GetIval()) - int(r.Ival.GetIval())
	case *tree.A_Const_Sval:
		r, ok := right.GetVal().(*tree.A_Const_Sval)
		if !ok || operator(e) != "=" && operator(e) != "<>" {
			return free
		}
		order = strings.Compare(l.Sval.GetSval(), r.Sval.GetSval())
	default:
		return free
	}
	switch operator(e) {
	case "=":
		return chosen(order == 0)
	case "<>":
		return chosen(order != 0)
	case "<":
		return chosen(order < 0)
	case "<=":
		return chosen(order <= 0)
	case ">":
		return chosen(order > 0)
	case ">=":
		return chosen(order >= 0)
	}
	return free
}

// oneOf reports whether a value is compared with itself in a list.
func (s *scoper) oneOf(value *tree.Node, list []*tree.Node) bool {
	own := ""
	for _, n := range list {
		if n.GetAConst() != nil || n.GetParamRef() != nil || !s.alike(value, n) {
			continue
		}
		if own == "" {
			own = s.key("", []*tree.Node{s.neutral(stripped(value))})
		}
		if s.key("", []*tree.Node{s.neutral(stripped(n))}) == own {
			return true
		}
	}
	return false
}

// matchesAll reports whether a pattern is a constant that matches every text.
func (s *scoper) matchesAll(n *tree.Node, trivial func(string) bool) bool {
	n = stripped(n)
	if f := n.GetFuncCall(); f != nil && routine(f.GetFuncname()) == "similar_to_escape" {
		n = f.GetArgs()[0]
	}
	pattern, ok := constant(n)
	if ok {
		s.literal = true
	}
	return ok && trivial(pattern)
}

func trivialLike(pattern string) bool {
	return pattern != "" && strings.Trim(pattern, "%") == ""
}

func trivialRegexp(pattern string) bool {
	switch strings.Trim(pattern, "()") {
	case "", "^", "$", ".*", "^.*", ".*$", "^.*$", ".*?", "^.*?$", ".?", "|":
		return true
	}
	return false
}

// subquery is the effect of a condition with a subquery.
func (s *scoper) subquery(l *tree.SubLink) effect {
	query := l.GetSubselect().GetSelectStmt()
	switch l.GetSubLinkType() {
	case tree.SubLinkType_EXISTS_SUBLINK:
		if s.correlated(query) {
			return restricts
		}
		return free
	case tree.SubLinkType_ANY_SUBLINK:
		if op := texts(l.GetOperName()); len(op) == 0 || op[len(op)-1] == "=" {
			if s.allOfTarget(l.GetTestexpr(), l) {
				return always
			}
		}
	}
	if s.depends(l) {
		return restricts
	}
	return free
}

// allOfTarget reports whether a subquery yields a column of the target for
// every row of it, so that id IN (SELECT id FROM t) holds always.
func (s *scoper) allOfTarget(value *tree.Node, l *tree.SubLink) bool {
	q := l.GetSubselect().GetSelectStmt()
	if len(q.GetFromClause()) != 1 || len(q.GetTargetList()) != 1 || q.GetHavingClause() != nil || q.GetLimitCount() != nil || q.GetLimitOffset() != nil {
		return false
	}
	from := q.GetFromClause()[0].GetRangeVar()
	if from == nil || !s.same(object(from)) {
		return false
	}
	outer, inner := columnParts(value), columnParts(q.GetTargetList()[0].GetResTarget().GetVal())
	if len(outer) == 0 || len(inner) == 0 || outer[len(outer)-1] != inner[len(inner)-1] {
		return false
	}
	if q.GetWhereClause() == nil {
		return true
	}
	within := newScoper(from, true)
	e := within.effect(q.GetWhereClause(), false)
	s.literal = s.literal || within.literal
	return e != restricts
}

// correlated reports whether what a subquery finds depends on the target in a
// way that restricts: by its conditions, not by what it returns.
func (s *scoper) correlated(q *tree.SelectStmt) bool {
	if q == nil {
		return false
	}
	if q.GetLarg() != nil {
		return s.correlated(q.GetLarg()) && s.correlated(q.GetRarg())
	}
	inner := s.inside(q)
	found := false
	if aggregates(q) && q.GetHavingClause() == nil {
		return false // it yields a row whatever its conditions select
	}
	if w := q.GetWhereClause(); w != nil {
		found = inner.effect(w, false) == restricts
	}
	if h := q.GetHavingClause(); h != nil && !found {
		found = inner.effect(h, false) == restricts
	}
	for _, n := range q.GetFromClause() {
		found = found || inner.joined(n)
	}
	s.literal = s.literal || inner.literal
	return found
}

// aggregates reports whether a query without groups returns one row always.
func aggregates(q *tree.SelectStmt) bool {
	if len(q.GetGroupClause()) > 0 {
		return false
	}
	for _, n := range q.GetTargetList() {
		f := n.GetResTarget().GetVal().GetFuncCall()
		if f == nil || f.GetOver() != nil {
			continue
		}
		switch routine(f.GetFuncname()) {
		case "count", "sum", "max", "min", "avg", "bool_and", "bool_or", "every", "string_agg", "array_agg", "json_agg", "jsonb_agg":
			return true
		}
	}
	return false
}

// joined reports whether a FROM item depends on the target: by a condition of a
// join, or as a subquery.
func (s *scoper) joined(n *tree.Node) bool {
	switch m := message(n).(type) {
	case *tree.JoinExpr:
		inner := m.GetJointype() == tree.JoinType_JOIN_INNER
		return inner && m.GetQuals() != nil && s.effect(m.GetQuals(), false) == restricts ||
			s.joined(m.GetLarg()) || s.joined(m.GetRarg())
	case *tree.RangeSubselect:
		return s.correlated(m.GetSubquery().GetSelectStmt())
	case *tree.RangeFunction:
		return s.depends(m)
	}
	return false
}

// inside is the scoper for the conditions of a subquery: its own relations own
// the unqualified columns and may hide the target's name.
func (s *scoper) inside(q *tree.SelectStmt) *scoper {
	inner := *s
	inner.alone = s.alone && len(q.GetFromClause()) == 0
	scope := builder{}
	scope.addAliases(q.GetFromClause()...)
	inner.names = slices.DeleteFunc(slices.Clone(s.names), func(name string) bool {
		_, hidden := scope.aliases.lookup(name)
		return hidden
	})
	return &inner
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
