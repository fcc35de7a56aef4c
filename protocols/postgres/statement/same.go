package statement

import (
	"slices"
	"strings"

	tree "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// complete reports whether two parts of a disjunction are each other's
// negation, as in x IS NULL OR x IS NOT NULL.
func (s *scoper) complete(args []*tree.Node, negated bool) bool {
	tests := make(map[string][2]bool) // by operator class: seen plain, negated
	for _, n := range args {
		t := testOf(n, negated)
		seen := tests[t.class]
		seen[t.side()] = true
		tests[t.class] = seen
	}
	seen := make(map[string]struct{})
	for _, n := range args {
		t := testOf(n, negated)
		if sides := tests[t.class]; !sides[0] || !sides[1] {
			continue
		}
		key := s.key(t.class, t.operands)
		if _, ok := seen[key+sideName[1-t.side()]]; ok {
			return true
		}
		seen[key+sideName[t.side()]] = struct{}{}
	}
	return false
}

var sideName = [2]string{"+", "-"}

// isTrue is the class of tests of a boolean. What is unknown counts as neither.
const isTrue = "true"

// A test is a condition taken apart, so that it can be compared with its
// negation.
type test struct {
	class    string // what is asked
	negated  bool
	operands []*tree.Node
}

func (t test) side() int {
	if t.negated {
		return 1
	}
	return 0
}

// negations pairs operators with what they are the negation of.
var negations = map[string]string{"<>": "=", ">=": "<", ">": "<=", "!~": "~", "!~*": "~*", "!~~": "~~", "!~~*": "~~*"}

func testOf(n *tree.Node, negated bool) test {
	for n.GetBoolExpr().GetBoolop() == tree.BoolExprType_NOT_EXPR {
		n, negated = n.GetBoolExpr().GetArgs()[0], !negated
	}
	switch m := message(n).(type) {
	case *tree.NullTest:
		if m.GetNulltesttype() == tree.NullTestType_IS_NOT_NULL {
			negated = !negated
		}
		return test{"null", negated, []*tree.Node{m.GetArg()}}
	case *tree.BooleanTest:
		switch m.GetBooltesttype() {
		case tree.BoolTestType_IS_TRUE, tree.BoolTestType_IS_NOT_FALSE:
			return test{isTrue, negated, []*tree.Node{m.GetArg()}}
		case tree.BoolTestType_IS_FALSE, tree.BoolTestType_IS_NOT_TRUE:
			return test{isTrue, !negated, []*tree.Node{m.GetArg()}}
		}
	case *tree.A_Expr:
		op := operator(m)
		if plain, ok := negations[op]; ok {
			op, negated = plain, !negated
		}
		switch m.GetKind() {
		case tree.A_Expr_Kind_AEXPR_DISTINCT:
			return test{"distinct", negated, []*tree.Node{m.GetLexpr(), m.GetRexpr()}}
		case tree.A_Expr_Kind_AEXPR_NOT_DISTINCT:
			return test{"distinct", !negated, []*tree.Node{m.GetLexpr(), m.GetRexpr()}}
		}
		if strings.HasPrefix(op, "NOT ") {
			op, negated = op[len("NOT "):], !negated
		}
		if b := m.GetRexpr().GetAConst().GetBoolval(); b != nil && op == "=" && m.GetKind() == tree.A_Expr_Kind_AEXPR_OP {
			return testOf(m.GetLexpr(), negated != !b.GetBoolval())
		}
		return test{strings.Replace(m.GetKind().String(), "_NOT_", "_", 1) + op, negated, []*tree.Node{m.GetLexpr(), m.GetRexpr()}}
	}
	return test{isTrue, negated, []*tree.Node{n}}
}

// equal reports whether two expressions are the same but for what leaves a
// value as it is.
func (s *scoper) equal(a, b *tree.Node) bool {
	a, b = s.reduced(a), s.reduced(b)
	return alike(a, b) && s.key("", []*tree.Node{a}) == s.key("", []*tree.Node{b})
}

// alike reports whether two expressions are of one kind, which costs less to
// find out than whether they are equal.
func alike(a, b *tree.Node) bool {
	left, right := message(a), message(b)
	return left != nil && right != nil && left.ProtoReflect().Descriptor() == right.ProtoReflect().Descriptor()
}

// stripped removes casts, collations and subqueries around nothing: (SELECT x).
func stripped(n *tree.Node) *tree.Node {
	for {
		switch m := message(n).(type) {
		case *tree.TypeCast:
			n = m.GetArg()
		case *tree.CollateClause:
			n = m.GetArg()
		case *tree.SubLink:
			inner := bare(m.GetSubselect().GetSelectStmt())
			if m.GetSubLinkType() != tree.SubLinkType_EXPR_SUBLINK || inner == nil {
				return n
			}
			n = inner
		default:
			return n
		}
	}
}

// bare returns what a query without relations and conditions yields, or nil.
func bare(q *tree.SelectStmt) *tree.Node {
	if lists := q.GetValuesLists(); len(lists) == 1 && len(lists[0].GetList().GetItems()) == 1 && q.GetLimitCount() == nil && q.GetLimitOffset() == nil && q.GetWithClause() == nil {
		return lists[0].GetList().GetItems()[0]
	}
	if len(q.GetFromClause()) > 0 || len(q.GetTargetList()) != 1 || q.GetWhereClause() != nil || q.GetHavingClause() != nil ||
		q.GetLimitCount() != nil || q.GetLimitOffset() != nil || q.GetWithClause() != nil {
		return nil
	}
	return q.GetTargetList()[0].GetResTarget().GetVal()
}

// key writes expressions so that equal ones have the same key, wherever they
// stand.
func (s *scoper) key(class string, nodes []*tree.Node) string {
	out := []byte(class)
	for _, n := range nodes {
		out = append(out, '|')
		out = s.appendKey(out, message(stripped(n)))
	}
	return string(out)
}

func (s *scoper) appendKey(out []byte, m proto.Message) []byte {
	if n, ok := m.(*tree.Node); ok {
		m = message(n)
	}
	if m == nil {
		return append(out, '_')
	}
	if c, ok := m.(*tree.ColumnRef); ok {
		return s.appendColumn(out, c)
	}
	if _, ok := m.(*tree.A_Const); ok {
		s.literal = true
	}
	r := m.ProtoReflect()
	out = append(out, r.Descriptor().Name()...)
	out = append(out, '(')
	fields := r.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if field.Name() == "location" || !r.Has(field) {
			continue
		}
		out = append(out, field.Name()...)
		out = append(out, ':')
		v := r.Get(field)
		switch {
		case field.IsList() && field.Message() != nil:
			for j := range v.List().Len() {
				out = s.appendKey(append(out, ','), v.List().Get(j).Message().Interface())
			}
		case field.Message() != nil:
			out = s.appendKey(out, v.Message().Interface())
		default:
			out = appendScalar(out, v)
		}
		out = append(out, ';')
	}
	return append(out, ')')
}

func appendScalar(out []byte, v protoreflect.Value) []byte {
	value := v.String()
	for _, c := range []byte(value) {
		if c == '\\' || c == ';' || c == ')' || c == ',' || c == '|' {
			out = append(out, '\\')
		}
		out = append(out, c)
	}
	return out
}

// appendColumn writes the target's columns without their qualifier.
func (s *scoper) appendColumn(out []byte, c *tree.ColumnRef) []byte {
	fields := c.GetFields()
	if s.owns(c) && len(fields) > 1 {
		if slices.Contains(s.names[:1], text(fields[0])) {
			fields = fields[1:]
		} else if len(fields) == 3 && slices.Contains(s.names[:1], text(fields[1])) {
			fields = fields[2:]
		}
	}
	out = append(out, "column"...)
	for _, n := range fields {
		out = append(out, '.')
		if n.GetAStar() != nil {
			out = append(out, '*')
			continue
		}
		out = appendScalar(out, protoreflect.ValueOfString(text(n)))
	}
	return out
}
