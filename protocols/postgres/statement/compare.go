package statement

import (
	"strings"

	tree "github.com/pganalyze/pg_query_go/v6"
)

// comparison is the effect of an operator.
func (s *scoper) comparison(e *tree.A_Expr) effect {
	op := operator(e)
	if e.GetKind() == tree.A_Expr_Kind_AEXPR_OP && mirrored[op] != "" && (e.GetLexpr().GetAConst().GetIsnull() || e.GetRexpr().GetAConst().GetIsnull()) {
		return never
	}
	if !s.depends(e) {
		return s.fold(e)
	}
	same := func(a, b *tree.Node) bool { return s.equal(a, b) }
	switch e.GetKind() {
	case tree.A_Expr_Kind_AEXPR_OP:
		switch op {
		case "=", "<=", ">=", "<>", "<", ">":
			if op == "=" && s.selfJoin(e) {
				return always
			}
			if equal := pairs(e); equal != nil {
				return s.all(equal, false)
			}
			if of, negated, is := truth(op, e); is {
				return s.effect(of, negated)
			}
			return s.ordered(op, e.GetLexpr(), e.GetRexpr())
		case "@>", "<@":
			whole, part := e.GetLexpr(), e.GetRexpr()
			if op == "<@" {
				whole, part = part, whole
			}
			if s.emptyContainer(part) || same(whole, part) {
				return always
			}
		case "&&":
			if len(stripped(e.GetLexpr()).GetAArrayExpr().GetElements()) > 0 && same(e.GetLexpr(), e.GetRexpr()) {
				return always
			}
		case "~", "~*", "^@":
			if s.matchesAll(e.GetRexpr(), trivialRegexp) {
				return always
			}
		case "~~", "~~*", "!~~", "!~~*":
			if s.matchesAll(e.GetRexpr(), trivialLike) {
				return chosen(op[0] != '!')
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
		if e.GetRexpr().GetAConst().GetIsnull() && s.isFilled(e.GetLexpr()) || e.GetLexpr().GetAConst().GetIsnull() && s.isFilled(e.GetRexpr()) {
			return chosen(e.GetKind() == tree.A_Expr_Kind_AEXPR_DISTINCT)
		}
	case tree.A_Expr_Kind_AEXPR_LIKE, tree.A_Expr_Kind_AEXPR_ILIKE, tree.A_Expr_Kind_AEXPR_SIMILAR:
		if s.matchesAll(e.GetRexpr(), trivialLike) || same(e.GetLexpr(), e.GetRexpr()) {
			return chosen(!strings.HasPrefix(op, "!"))
		}
	case tree.A_Expr_Kind_AEXPR_IN:
		items := e.GetRexpr().GetList().GetItems()
		if s.oneOf(e.GetLexpr(), items) || bothBooleans(items) {
			return chosen(op == "=")
		}
	case tree.A_Expr_Kind_AEXPR_OP_ALL:
		if s.emptyContainer(e.GetRexpr()) {
			return always
		}
	case tree.A_Expr_Kind_AEXPR_OP_ANY:
		if s.emptyContainer(e.GetRexpr()) {
			return never
		}
		list := stripped(e.GetRexpr())
		if op == "=" && (s.oneOf(e.GetLexpr(), list.GetAArrayExpr().GetElements()) || s.allOfTarget(e.GetLexpr(), list.GetSubLink())) {
			return always
		}
	case tree.A_Expr_Kind_AEXPR_BETWEEN, tree.A_Expr_Kind_AEXPR_BETWEEN_SYM,
		tree.A_Expr_Kind_AEXPR_NOT_BETWEEN, tree.A_Expr_Kind_AEXPR_NOT_BETWEEN_SYM:
		bounds := e.GetRexpr().GetList().GetItems()
		if len(bounds) == 2 && s.ordered(">=", e.GetLexpr(), bounds[0]) == always && s.ordered("<=", e.GetLexpr(), bounds[1]) == always {
			return chosen(!strings.HasPrefix(op, "NOT"))
		}
	}
	return restricts
}

// truth takes a comparison of a condition with true or false, (id = id) = true, for
// the condition or its negation.
func truth(op string, e *tree.A_Expr) (of *tree.Node, negated, is bool) {
	of, with := e.GetLexpr(), e.GetRexpr()
	if of.GetAConst() != nil {
		of, with = with, of
	}
	b := with.GetAConst().GetBoolval()
	return of, (op == "=") != b.GetBoolval(), b != nil && (op == "=" || op == "<>")
}

// chosen is always or never.
func chosen(rows bool) effect {
	if rows {
		return always
	}
	return never
}

// oneOf reports whether a value is compared with itself in a list.
func (s *scoper) oneOf(value *tree.Node, list []*tree.Node) bool {
	own := ""
	value = s.reduced(value)
	for _, n := range list {
		constant := n.GetAConst() != nil && value.GetAConst() == nil
		if constant || n.GetParamRef() != nil {
			continue
		}
		if n = s.reduced(n); !alike(value, n) {
			continue
		}
		if own == "" {
			own = s.key("", []*tree.Node{value})
		}
		if s.key("", []*tree.Node{n}) == own {
			return true
		}
	}
	return false
}

// bothBooleans reports whether a list has true and false.
func bothBooleans(list []*tree.Node) bool {
	var seen [2]bool
	for _, n := range list {
		if b := n.GetAConst().GetBoolval(); b != nil {
			seen[map[bool]int{true: 1}[b.GetBoolval()]] = true
		}
	}
	return seen[0] && seen[1]
}

// emptyContainer reports whether n is an array or a JSON document without
// elements, which every other one contains.
func (s *scoper) emptyContainer(n *tree.Node) bool {
	n = stripped(n)
	if a := n.GetAArrayExpr(); a != nil {
		return len(a.GetElements()) == 0
	}
	value, ok := constant(n)
	s.literal = s.literal || ok
	value = strings.Join(strings.Fields(value), "")
	return value == "{}" || value == "[]"
}

// matchesAll reports whether a pattern is a constant that matches every text.
func (s *scoper) matchesAll(n *tree.Node, trivial func(string) bool) bool {
	n = stripped(n)
	if f := n.GetFuncCall(); f != nil && len(f.GetArgs()) > 0 {
		switch routine(f.GetFuncname()) {
		case "similar_to_escape", "like_escape":
			n = f.GetArgs()[0]
		}
	}
	pattern, ok := s.textOf(n)
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
