package statement

import (
	"slices"

	tree "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"
)

// An ownRow is a query of the target itself, read as if the row that it finds were
// the target's row at hand: EXISTS (SELECT FROM t o WHERE o.a >= t.a) holds of every
// row, as a >= a does.
type ownRow struct {
	values []*tree.Node
	where  *tree.Node // or nil
	joined []string   // columns in which the query's row equals the row at hand
}

// ownRow returns a query of the target alone as an ownRow, or nil.
func (s *scoper) ownRow(q *tree.SelectStmt) *ownRow {
	if q == nil || q.GetLarg() != nil || len(q.GetFromClause()) != 1 || q.GetHavingClause() != nil || q.GetWithClause() != nil || !s.skipsNone(q) {
		return nil
	}
	r := q.GetFromClause()[0].GetRangeVar()
	if r == nil || !s.same(object(r)) {
		return nil
	}
	if _, cte := s.ctes.before(r.GetRelname(), s.ctes.len()); cte && r.GetSchemaname() == "" {
		return nil
	}
	name := newScoper(r, true).names[0]
	own := &ownRow{}
	for _, n := range q.GetTargetList() {
		v, ok := s.owned(n.GetResTarget().GetVal(), name)
		if !ok {
			return nil
		}
		own.values = append(own.values, v)
	}
	if w := q.GetWhereClause(); w != nil {
		var ok bool
		if own.where, ok = s.owned(w, name); !ok {
			return nil
		}
		for _, n := range conjuncts(w) {
			left, right := sides(n.GetAExpr())
			if len(left) > 0 && len(right) > 0 && left[len(left)-1] == right[len(right)-1] && (len(left) > 1 || len(right) > 1) {
				own.joined = append(own.joined, left[len(left)-1])
			}
		}
	}
	return own
}

// skipsNone reports whether a query returns a row where it finds one.
func (s *scoper) skipsNone(q *tree.SelectStmt) bool {
	if n := q.GetLimitOffset(); n != nil {
		skips := n.GetAConst().GetIval()
		if s.literal = true; skips == nil || skips.GetIval() != 0 {
			return false
		}
	}
	if n := q.GetLimitCount(); n != nil && !n.GetAConst().GetIsnull() {
		takes := n.GetAConst().GetIval()
		if s.literal = true; takes == nil || takes.GetIval() == 0 {
			return false
		}
	}
	return true
}

// owned returns an expression with the target's row for that of a relation that is
// the target under another name. Queries in it make it too hard.
func (s *scoper) owned(n *tree.Node, name string) (*tree.Node, bool) {
	n = proto.CloneOf(n)
	var own func(m proto.Message) bool
	own = func(m proto.Message) bool {
		switch m := m.(type) {
		case *tree.SelectStmt:
			return false
		case *tree.ColumnRef:
			fields := m.GetFields()
			switch _, variable := s.vars[text(fields[0])]; {
			case len(fields) == 1 && !variable:
				m.Fields = slices.Insert(fields, 0, stringNode(s.names[0]))
			case len(fields) > 1 && text(fields[0]) == name:
				fields[0] = stringNode(s.names[0])
			}
			return true
		}
		return children(m, own)
	}
	return n, n == nil || own(message(n))
}

func stringNode(s string) *tree.Node {
	return &tree.Node{Node: &tree.Node_String_{String_: &tree.String{Sval: s}}}
}

// finds reports whether the row at hand is among those that its own query finds.
func (s *scoper) finds(own *ownRow) bool {
	if own.where == nil {
		return true
	}
	e := s.effect(own.where, false)
	return e == always || e == free
}

// ownValue returns what a subquery in the place of a value, (SELECT o.id FROM t o
// WHERE o.id = t.id), yields for every row of the target, or nil. It finds one row
// at the most, or its value is the same in all that it may find.
func (s *scoper) ownValue(l *tree.SubLink) *tree.Node {
	q := l.GetSubselect().GetSelectStmt()
	if l.GetSubLinkType() != tree.SubLinkType_EXPR_SUBLINK || len(q.GetTargetList()) != 1 || q.GetWhereClause() == nil || len(q.GetGroupClause()) > 0 {
		return nil
	}
	own := s.ownRow(q)
	if own == nil {
		return nil
	}
	value, many := own.values[0], q.GetLimitCount() != nil
	if f := value.GetFuncCall(); f != nil && aggregates(q) {
		switch routine(f.GetFuncname()) {
		case "max", "min", "bool_and", "bool_or", "every":
		default:
			return nil
		}
		if len(f.GetArgs()) != 1 || f.GetAggFilter() != nil {
			return nil
		}
		value, many = f.GetArgs()[0], true
	}
	if parts := columnParts(value); many && value.GetAConst() == nil && (len(parts) == 0 || !slices.Contains(own.joined, parts[len(parts)-1])) {
		return nil
	}
	if !s.finds(own) {
		return nil
	}
	return value
}

// amongOwn reports whether the values are those that a query of the target yields for
// the row at hand.
func (s *scoper) amongOwn(values []*tree.Node, q *tree.SelectStmt) bool {
	if !s.unlimited(q) {
		return false
	}
	own := s.ownRow(q)
	if own == nil || len(own.values) != len(values) || aggregates(q) {
		return false
	}
	for i, v := range values {
		if !s.equal(v, own.values[i]) {
			return false
		}
	}
	return s.finds(own)
}
