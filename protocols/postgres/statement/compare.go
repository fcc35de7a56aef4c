package statement

import (
	"strings"

	tree "github.com/pganalyze/pg_query_go/v6"
)

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
		constant := n.GetAConst() != nil && value.GetAConst() == nil
		if constant || n.GetParamRef() != nil || !s.alike(value, n) {
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
	if f := n.GetFuncCall(); f != nil && len(f.GetArgs()) > 0 {
		switch routine(f.GetFuncname()) {
		case "similar_to_escape", "like_escape":
			n = f.GetArgs()[0]
		}
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
