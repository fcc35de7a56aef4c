package statement

import (
	"cmp"
	"math"
	"slices"
	"strings"

	tree "github.com/pganalyze/pg_query_go/v6"
)

// ordered is the effect of left op right, where op is one of = <> < <= > >=.
func (s *scoper) ordered(op string, left, right *tree.Node) effect {
	left, right = s.reduced(left), s.reduced(right)
	if order, decided := s.order(left, right); decided {
		if order != 0 && isText(left) {
			return free // as numbers, or as a collation has it, they may be in another order
		}
		return chosen(holds(op, order))
	}
	if (op == ">=" || op == "<") && s.isLeast(right) || (op == "<=" || op == ">") && s.isLeast(left) {
		return chosen(op == ">=" || op == "<=")
	}
	if op == "<=" && s.isMost(right) || op == ">=" && s.isMost(left) || op == ">=" && s.isBefore(right) || op == "<=" && s.isBefore(left) {
		return always
	}
	if s.extreme(op, left, right) || s.extreme(mirrored[op], right, left) {
		return always
	}
	if s.among(op, left, right) || s.among(mirrored[op], right, left) {
		return always
	}
	return s.decide(op, left, right)
}

// among reports whether value op bound holds because bound is the greatest, or the
// least, of the value and others.
func (s *scoper) among(op string, value, bound *tree.Node) bool {
	m := bound.GetMinMaxExpr()
	want := map[string]tree.MinMaxOp{"<=": tree.MinMaxOp_IS_GREATEST, ">=": tree.MinMaxOp_IS_LEAST}[op]
	return m != nil && m.GetOp() == want && slices.ContainsFunc(m.GetArgs(), func(n *tree.Node) bool { return s.equal(value, n) })
}

// mirrored pairs comparisons with those of the operands the other way round.
var mirrored = map[string]string{"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}

// holds reports whether a comparison holds of two values in an order.
func holds(op string, order int) bool {
	switch op {
	case "=":
		return order == 0
	case "<>":
		return order != 0
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	case ">=":
		return order >= 0
	}
	return false
}

// fold decides comparisons of two constants, which generated conditions have.
func (s *scoper) fold(e *tree.A_Expr) effect {
	if e.GetKind() != tree.A_Expr_Kind_AEXPR_OP || mirrored[operator(e)] == "" {
		return free
	}
	left, right := e.GetLexpr(), e.GetRexpr()
	if left.GetAConst() == nil || right.GetAConst() == nil {
		return free
	}
	if order, decided := s.order(left, right); decided && (order == 0 || !isText(left) || operator(e) == "=" || operator(e) == "<>") {
		return chosen(holds(operator(e), order))
	}
	return free
}

// isText reports whether n is a text constant.
func isText(n *tree.Node) bool { return n.GetAConst().GetSval() != nil }

// isLeast reports whether n is the empty text, before which none is.
func (s *scoper) isLeast(n *tree.Node) bool {
	s.literal = s.literal || isText(n)
	return isText(n) && n.GetAConst().GetSval().GetSval() == ""
}

// isMost reports whether n is true or infinity, behind which nothing is, and
// isBefore whether it is false or minus infinity.
func (s *scoper) isMost(n *tree.Node) bool   { return s.isBound(n, true, "infinity") }
func (s *scoper) isBefore(n *tree.Node) bool { return s.isBound(n, false, "-infinity") }

func (s *scoper) isBound(n *tree.Node, boolean bool, text string) bool {
	c := n.GetAConst()
	s.literal = s.literal || isText(n)
	return c.GetBoolval() != nil && c.GetBoolval().GetBoolval() == boolean || isText(n) && strings.EqualFold(c.GetSval().GetSval(), text)
}

// order compares two expressions where their order does not depend on what the
// columns in them hold: id and id + 1, CASE … END and 1.
func (s *scoper) order(left, right *tree.Node) (order int, decided bool) {
	a, aText := left.GetAConst().GetVal().(*tree.A_Const_Sval)
	b, bText := right.GetAConst().GetVal().(*tree.A_Const_Sval)
	if aText && bText {
		s.literal = true
		if a.Sval.GetSval() == b.Sval.GetSval() {
			return 0, true
		}
		return cmp.Compare(a.Sval.GetSval(), b.Sval.GetSval()), true
	}
	var d difference
	if !s.add(&d, left, 1, 0) || !s.add(&d, right, -1, 0) {
		return 0, false
	}
	if !s.cancels(d.terms) {
		return 0, false
	}
	s.literal = true
	return cmp.Compare(d.constant, 0), true
}

// A difference is a sum of integers and of terms times integers.
type difference struct {
	constant int64
	terms    []term
}

type term struct {
	node   *tree.Node
	factor int64
}

// What a difference is made of is bounded.
const (
	maxTerms  = 100
	maxFactor = math.MaxInt32
)

// add adds an expression times a factor. It returns false for what is not worth
// a comparison: a parameter, a text, too much.
func (s *scoper) add(d *difference, n *tree.Node, factor int64, depth int) bool {
	n = s.reduced(n)
	if depth > maxTerms || factor > maxFactor || factor < -maxFactor {
		return false
	}
	switch m := message(n).(type) {
	case nil, *tree.ParamRef:
		return false
	case *tree.A_Const:
		v, ok := m.GetVal().(*tree.A_Const_Ival)
		if !ok && m.GetVal() != nil {
			return false
		}
		if ok {
			d.constant += factor * int64(v.Ival.GetIval())
		}
		return ok
	case *tree.A_Expr:
		if m.GetKind() != tree.A_Expr_Kind_AEXPR_OP {
			break
		}
		switch left, right := m.GetLexpr(), m.GetRexpr(); operator(m) {
		case "+":
			return s.add(d, left, factor, depth+1) && s.add(d, right, factor, depth+1)
		case "-":
			return (left == nil || s.add(d, left, factor, depth+1)) && s.add(d, right, -factor, depth+1)
		case "*":
			if left.GetAConst().GetIval() != nil {
				left, right = right, left
			}
			if by := right.GetAConst().GetIval(); by != nil {
				s.literal = true
				return s.add(d, left, factor*int64(by.GetIval()), depth+1)
			}
		}
	}
	d.terms = append(d.terms, term{n, factor})
	return len(d.terms) <= maxTerms
}

// cancels reports whether terms add up to nothing. Terms that have no other of
// their kind are not looked at: literals in them then do not matter.
func (s *scoper) cancels(terms []term) bool {
	for i := range terms {
		partner := terms[i].factor == 0
		for j := range terms {
			partner = partner || i != j && alike(terms[i].node, terms[j].node)
		}
		if !partner {
			return false
		}
	}
	sums := make(map[string]int64)
	for _, t := range terms {
		sums[s.key("", []*tree.Node{t.node})] += t.factor
	}
	for _, sum := range sums {
		if sum != 0 {
			return false
		}
	}
	return true
}

// A ray is a condition x < c, or one with another comparison.
type ray struct {
	op    string
	bound int64
}

// rayOf takes a comparison of an expression with an integer apart.
func (s *scoper) rayOf(n *tree.Node, negated bool) (of *tree.Node, r ray, ok bool) {
	for n.GetBoolExpr().GetBoolop() == tree.BoolExprType_NOT_EXPR {
		n, negated = n.GetBoolExpr().GetArgs()[0], !negated
	}
	e := n.GetAExpr()
	if e == nil || e.GetKind() != tree.A_Expr_Kind_AEXPR_OP {
		return nil, ray{}, false
	}
	op, left, right := operator(e), stripped(e.GetLexpr()), stripped(e.GetRexpr())
	if left.GetAConst() != nil {
		op, left, right = mirrored[op], right, left
	}
	c := right.GetAConst().GetIval()
	if c == nil || left.GetAConst() != nil || mirrored[op] == "" {
		return nil, ray{}, false
	}
	if negated {
		op = map[string]string{"=": "<>", "<>": "=", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}[op]
	}
	return left, ray{op, int64(c.GetIval())}, op != "="
}

// covers reports whether two rays together are everything.
func (a ray) covers(b ray) bool {
	switch {
	case a.op == "<>" && b.op == "<>":
		return a.bound != b.bound
	case a.op == "<>":
		return holds(b.op, cmp.Compare(a.bound, b.bound))
	case b.op == "<>":
		return b.covers(a)
	case a.op[0] == b.op[0]:
		return false
	case a.op[0] == '>':
		a, b = b, a
	}
	// x < a or x > b leaves out what lies from a to b.
	if a.op == "<" && b.op == ">" {
		return b.bound < a.bound
	}
	return b.bound <= a.bound
}

// coversAll reports whether two parts of a disjunction are ranges of one
// expression that leave nothing out, as in id > 5 OR id < 6.
func (s *scoper) coversAll(args []*tree.Node, negated bool) bool {
	type half struct {
		of *tree.Node
		ray
	}
	var halves []half
	for _, n := range args {
		if of, r, ok := s.rayOf(n, negated); ok && len(halves) < maxTerms {
			halves = append(halves, half{of, r})
		}
	}
	for i, a := range halves {
		for _, b := range halves[:i] {
			if a.op[0] == b.op[0] && a.op != "<>" || !alike(a.of, b.of) {
				continue
			}
			s.literal = true
			if a.covers(b.ray) && s.equal(a.of, b.of) {
				return true
			}
		}
	}
	return false
}
