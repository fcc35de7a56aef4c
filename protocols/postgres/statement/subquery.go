package statement

import (
	"slices"

	tree "github.com/pganalyze/pg_query_go/v6"
)

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
	if inner := bare(q); inner != nil {
		return s.equal(value, inner)
	}
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
		inner.joinSelf(q.GetFromClause(), w)
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
