package statement

import (
	"strings"

	tree "github.com/pganalyze/pg_query_go/v6"
)

// maxCases is how many CASEs of a condition are taken apart.
const maxCases = 100

// reduced returns an expression without what leaves its value as it is: casts,
// x + 0, x * 1, x || ”, coalesce(x, x), a CASE whose result is decided, a query for
// the row at hand.
func (s *scoper) reduced(n *tree.Node) *tree.Node {
	for {
		n = stripped(n)
		var inner *tree.Node
		switch m := message(n).(type) {
		case *tree.A_Expr:
			inner = s.operand(m)
		case *tree.CoalesceExpr:
			inner = s.onlyOne(m.GetArgs())
			if first := m.GetArgs()[0]; inner == nil && (first.GetAConst() != nil && !first.GetAConst().GetIsnull() || s.isFilled(first)) {
				inner = first
			}
		case *tree.SubLink:
			inner = s.ownValue(m)
		case *tree.MinMaxExpr:
			inner = s.onlyOne(m.GetArgs())
		case *tree.CaseExpr:
			if s.cases++; s.cases <= maxCases {
				list, _ := s.results(m)
				inner = s.onlyOne(list)
			}
		}
		if inner == nil {
			return n
		}
		n = inner
	}
}

// operand returns the operand of an operation that changes nothing, or nil.
func (s *scoper) operand(e *tree.A_Expr) *tree.Node {
	if e.GetKind() != tree.A_Expr_Kind_AEXPR_OP {
		return nil
	}
	op, left, right := operator(e), e.GetLexpr(), e.GetRexpr()
	switch {
	case left == nil && op == "+":
		return right
	case left == nil:
		return nil
	case (op == "&" || op == "|") && s.equal(left, right):
		return left
	case op == "%" && right.GetAConst().GetIval() != nil:
		if s.literal = true; right.GetAConst().GetIval().GetIval() == 1 {
			return zero
		}
	case s.isNeutral(op, right):
		return left
	case op != "-" && op != "/" && s.isNeutral(op, left):
		return right
	}
	return nil
}

// isNeutral reports whether an operation with the constant n changes nothing.
func (s *scoper) isNeutral(op string, n *tree.Node) bool {
	c := n.GetAConst()
	if c == nil {
		return false
	}
	switch v := c.GetVal().(type) {
	case *tree.A_Const_Ival:
		switch op {
		case "+", "-", "|", "#":
			s.literal = true
			return v.Ival.GetIval() == 0
		case "*", "/":
			s.literal = true
			return v.Ival.GetIval() == 1
		}
	case *tree.A_Const_Sval:
		if op == "||" {
			s.literal = true
			return v.Sval.GetSval() == ""
		}
	}
	return false
}

// onlyOne returns what all of a list are, or nil.
func (s *scoper) onlyOne(list []*tree.Node) *tree.Node {
	if len(list) == 0 {
		return nil
	}
	for _, n := range list[1:] {
		if !alike(list[0], n) {
			return nil
		}
	}
	if len(list) > 1 {
		key := s.key("", list[:1])
		for i := range list[1:] {
			if s.key("", list[i+1:i+2]) != key {
				return nil
			}
		}
	}
	return list[0]
}

// results returns the results that a CASE may have: not those of branches that
// are never taken, nor those behind one that always is. Each of the first any is the
// result for all rows or for none.
func (s *scoper) results(c *tree.CaseExpr) (list []*tree.Node, any int) {
	depends := false
	for _, n := range c.GetArgs() {
		when := n.GetCaseWhen()
		e := restricts
		if c.GetArg() != nil {
			if s.equal(c.GetArg(), when.GetExpr()) {
				e = always
			}
		} else {
			e = s.effect(when.GetExpr(), false)
		}
		if e == never {
			continue
		}
		list = append(list, when.GetResult())
		depends = depends || e == restricts
		if !depends {
			any = len(list)
		}
		if e == always {
			return list, any
		}
	}
	list = append(list, null)
	if c.GetDefresult() != nil {
		list[len(list)-1] = c.GetDefresult()
	}
	if !depends {
		any = len(list)
	}
	return list, any
}

var zero = &tree.Node{Node: &tree.Node_AConst{AConst: &tree.A_Const{Val: &tree.A_Const_Ival{Ival: &tree.Integer{}}}}}

var null = &tree.Node{Node: &tree.Node_AConst{AConst: &tree.A_Const{Isnull: true}}}

// textOf returns the value of a text that is made of constants.
func (s *scoper) textOf(n *tree.Node) (string, bool) {
	n = stripped(n)
	if value, ok := constant(n); ok {
		s.literal = true
		return value, true
	}
	if e := n.GetAExpr(); e.GetKind() == tree.A_Expr_Kind_AEXPR_OP && operator(e) == "||" {
		return s.concatenated(e.GetLexpr(), e.GetRexpr())
	}
	f := n.GetFuncCall()
	switch args := f.GetArgs(); routine(f.GetFuncname()) {
	case "concat":
		return s.concatenated(args...)
	case "lower", "upper", "btrim", "ltrim", "rtrim", "quote_literal", "text":
		if len(args) == 1 {
			return s.textOf(args[0])
		}
	case "repeat":
		if len(args) == 2 {
			return s.textOf(args[0])
		}
	case "chr":
		if len(args) == 1 && args[0].GetAConst().GetIval() != nil {
			s.literal = true
			return string(rune(args[0].GetAConst().GetIval().GetIval())), true
		}
	}
	return "", false
}

func (s *scoper) concatenated(parts ...*tree.Node) (string, bool) {
	var b strings.Builder
	for _, n := range parts {
		value, ok := s.textOf(n)
		if !ok {
			return "", false
		}
		b.WriteString(value)
	}
	return b.String(), true
}
