package statement

import (
	tree "github.com/pganalyze/pg_query_go/v6"

	"gatehouse/core/lineage"
)

func (t *translator) insert(s *tree.InsertStmt) lineage.Statement {
	w := &lineage.Insert{With: t.with(s.GetWithClause()), Into: t.table(s.GetRelation()), Returning: t.targets(s.GetReturningList())}
	for _, n := range s.GetCols() {
		w.Columns = append(w.Columns, n.GetResTarget().GetName())
	}
	if q := s.GetSelectStmt().GetSelectStmt(); q != nil {
		w.Source = t.query(q)
	}
	if c := s.GetOnConflictClause(); c != nil {
		conflict := &lineage.Conflict{
			Update: c.GetAction() == tree.OnConflictAction_ONCONFLICT_UPDATE,
			Set:    t.assignments(c.GetTargetList()), Where: t.expr(c.GetWhereClause()),
			KeysWhere: t.expr(c.GetInfer().GetWhereClause()),
		}
		for _, n := range c.GetInfer().GetIndexElems() {
			e := n.GetIndexElem()
			if e.GetName() != "" {
				conflict.Keys = append(conflict.Keys, &lineage.Ref{Parts: []string{e.GetName()}})
			} else {
				conflict.Keys = append(conflict.Keys, t.expr(e.GetExpr()))
			}
		}
		w.Conflict = conflict
	}
	return w
}

// assignments are those of SET. Those of one row to several columns belong
// together.
func (t *translator) assignments(list []*tree.Node) []lineage.Assignment {
	var set []lineage.Assignment
	for _, n := range list {
		r := n.GetResTarget()
		if m := r.GetVal().GetMultiAssignRef(); m != nil && m.GetColno() > 1 && len(set) > 0 {
			last := &set[len(set)-1]
			last.Columns = append(last.Columns, r.GetName())
			last.Part = last.Part || len(r.GetIndirection()) > 0
			continue
		}
		t.size += nodeSize
		set = append(set, lineage.Assignment{Columns: []string{r.GetName()}, Value: t.expr(r.GetVal()), Part: len(r.GetIndirection()) > 0})
	}
	return set
}

func (t *translator) update(s *tree.UpdateStmt) lineage.Statement {
	return &lineage.Update{
		With: t.with(s.GetWithClause()), Table: t.table(s.GetRelation()), Set: t.assignments(s.GetTargetList()),
		From: t.sources(s.GetFromClause()), Where: t.expr(s.GetWhereClause()), Returning: t.targets(s.GetReturningList()),
	}
}

func (t *translator) merge(s *tree.MergeStmt) lineage.Statement {
	w := &lineage.Merge{
		With: t.with(s.GetWithClause()), Into: t.table(s.GetRelation()), Using: t.source(s.GetSourceRelation()),
		On: t.expr(s.GetJoinCondition()), Returning: t.targets(s.GetReturningList()),
	}
	for _, n := range s.GetMergeWhenClauses() {
		c := n.GetMergeWhenClause()
		when := lineage.When{Condition: t.expr(c.GetCondition())}
		if c.GetCommandType() == tree.CmdType_CMD_INSERT {
			for _, n := range c.GetTargetList() {
				when.Columns = append(when.Columns, n.GetResTarget().GetName())
			}
			when.Values = t.exprs(c.GetValues())
		} else {
			when.Set = t.assignments(c.GetTargetList())
		}
		w.When = append(w.When, when)
	}
	return w
}
