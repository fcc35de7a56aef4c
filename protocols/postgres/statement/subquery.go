package statement

import (
	"cmp"
	"slices"

	tree "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"
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
		if op := texts(l.GetOperName()); len(op) == 0 || slices.Contains([]string{"=", "<=", ">="}, op[len(op)-1]) {
			if s.allOfTarget(l.GetTestexpr(), l) {
				return always
			}
		}
	case tree.SubLinkType_EXPR_SUBLINK:
		if value := cmp.Or(bare(query), s.ownValue(l)); value != nil {
			return s.effect(value, false)
		}
	case tree.SubLinkType_ALL_SUBLINK:
		op := texts(l.GetOperName())
		if value := bare(query); value != nil && len(op) > 0 && slices.Contains([]string{"=", "<=", ">="}, op[len(op)-1]) && s.equal(l.GetTestexpr(), value) {
			return always
		}
		bound := &tree.Node{Node: &tree.Node_SubLink{SubLink: l}}
		if len(op) > 0 && s.extreme(op[len(op)-1], l.GetTestexpr(), bound) {
			return always
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
	values := []*tree.Node{value}
	if row := value.GetRowExpr(); row != nil {
		values = row.GetArgs()
	}
	if s.amongOwn(values, q) {
		return true
	}
	var wanted []string
	for _, n := range values {
		parts := columnParts(n)
		if len(parts) == 0 || !s.depends(message(stripped(n))) {
			return false
		}
		wanted = append(wanted, parts[len(parts)-1])
	}
	return s.yields(q, nil, wanted, s.ctes.len(), 0)
}

// maxNested is how deep queries in queries are looked at.
const maxNested = 8

// yields reports whether the columns of a query with the given names, or all of
// them in order, are the wanted columns of every row of the target. The first
// ctes of the WITH queries are in its scope.
func (s *scoper) yields(q *tree.SelectStmt, names, wanted []string, ctes, depth int) bool {
	if q == nil || depth > maxNested || q.GetHavingClause() != nil || !s.unlimited(q) {
		return false
	}
	if q.GetLarg() != nil && q.GetWithClause() != nil {
		return false
	}
	switch q.GetOp() {
	case tree.SetOperation_SETOP_UNION:
		return s.yields(q.GetLarg(), names, wanted, ctes, depth+1) || s.yields(q.GetRarg(), names, wanted, ctes, depth+1)
	case tree.SetOperation_SETOP_INTERSECT:
		return s.yields(q.GetLarg(), names, wanted, ctes, depth+1) && s.yields(q.GetRarg(), names, wanted, ctes, depth+1)
	case tree.SetOperation_SETOP_EXCEPT:
		return s.yields(q.GetLarg(), names, wanted, ctes, depth+1) && q.GetRarg().GetWhereClause() != nil && s.selectsNone(q.GetRarg().GetWhereClause())
	}
	if q.GetLarg() != nil || len(q.GetFromClause()) != 1 {
		return false
	}
	inner, ok := outputs(q, names, wanted)
	if !ok {
		return false
	}
	switch from := message(q.GetFromClause()[0]).(type) {
	case *tree.RangeVar:
		if w := q.GetWhereClause(); w != nil {
			within := newScoper(from, true)
			if s.same(object(from)) {
				within.joinSelf(s.asRelations(), w)
			}
			e := within.effect(w, false)
			s.literal = s.literal || within.literal
			if e == restricts {
				return false
			}
		}
		if from.GetSchemaname() == "" {
			for _, n := range slices.Backward(q.GetWithClause().GetCtes()) {
				if cte := n.GetCommonTableExpr(); cte.GetCtename() == from.GetRelname() {
					return s.yields(cte.GetCtequery().GetSelectStmt(), inner, wanted, ctes, depth+1)
				}
			}
			if cte, ok := s.ctes.before(from.GetRelname(), ctes); ok {
				return s.yields(cte.query, inner, wanted, cte.place, depth+1)
			}
		}
		return s.same(object(from)) && slices.Equal(inner, wanted)
	case *tree.RangeSubselect:
		return q.GetWhereClause() == nil && len(from.GetAlias().GetColnames()) == 0 &&
			s.yields(from.GetSubquery().GetSelectStmt(), inner, wanted, ctes, depth+1)
	}
	return false
}

// unlimited reports whether a query returns all of its rows.
func (s *scoper) unlimited(q *tree.SelectStmt) bool {
	skips := q.GetLimitOffset().GetAConst().GetIval()
	s.literal = s.literal || skips != nil
	return (q.GetLimitCount() == nil || q.GetLimitCount().GetAConst().GetIsnull()) && (q.GetLimitOffset() == nil || skips != nil && skips.GetIval() == 0)
}

// asRelations returns the target under each of its names.
func (s *scoper) asRelations() (all []*tree.Node) {
	for _, name := range s.names {
		r := &tree.RangeVar{Schemaname: s.target.Schema, Relname: s.target.Name, Alias: &tree.Alias{Aliasname: name}}
		all = append(all, &tree.Node{Node: &tree.Node_RangeVar{RangeVar: r}})
	}
	return all
}

// outputs returns the columns that a query reads for those that it yields under
// names, or for all of them in order.
func outputs(q *tree.SelectStmt, names, wanted []string) (inner []string, ok bool) {
	targets := q.GetTargetList()
	if names == nil && len(targets) != len(wanted) {
		return nil, false
	}
	for i := range wanted {
		column := ""
		for j, n := range targets {
			t := n.GetResTarget()
			val := t.GetVal()
			if f := val.GetFuncCall(); names == nil && len(f.GetArgs()) == 1 && routine(f.GetFuncname()) == "array_agg" {
				val = f.GetArgs()[0]
			}
			parts := columnParts(val)
			switch {
			case isStar(val) && names != nil:
				column = names[i]
			case len(parts) == 0:
			case names == nil && i == j, names != nil && cmp.Or(t.GetName(), parts[len(parts)-1]) == names[i]:
				column = parts[len(parts)-1]
			}
		}
		if column == "" {
			return nil, false
		}
		inner = append(inner, column)
	}
	return inner, true
}

func isStar(n *tree.Node) bool {
	fields := n.GetColumnRef().GetFields()
	return len(fields) > 0 && fields[len(fields)-1].GetAStar() != nil
}

// extreme reports whether value op bound holds of every row, because bound is
// the largest or the smallest of all.
func (s *scoper) extreme(op string, value, bound *tree.Node) bool {
	want := map[string]string{"<=": "max", ">=": "min"}[op]
	q := bound.GetSubLink().GetSubselect().GetSelectStmt()
	if want == "" || len(q.GetTargetList()) != 1 || len(columnParts(value)) == 0 {
		return false
	}
	f := q.GetTargetList()[0].GetResTarget().GetVal().GetFuncCall()
	if routine(f.GetFuncname()) != want || len(f.GetArgs()) != 1 || f.GetAggFilter() != nil || len(q.GetGroupClause()) > 0 {
		return false
	}
	all := proto.CloneOf(q)
	all.TargetList[0].GetResTarget().Val = f.GetArgs()[0]
	parts := columnParts(value)
	return s.yields(all, nil, parts[len(parts)-1:], s.ctes.len(), 0)
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
	if !s.skipsNone(q) {
		return s.depends(q)
	}
	if own := s.ownRow(q); own != nil && s.finds(own) {
		return false
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
