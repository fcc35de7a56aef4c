package statement

import (
	tree "github.com/pganalyze/pg_query_go/v6"

	"gatehouse/core/event"
)

// query takes a SELECT, VALUES or set operation into the open statement.
func (b *builder) query(s *tree.SelectStmt) {
	if s == nil {
		return
	}
	ctes, aliases := b.ctes.len(), b.aliases.len()
	b.with(s.GetWithClause())
	b.query(s.GetLarg())
	b.query(s.GetRarg())
	only := b.only
	b.only = b.onlySetting(s)
	b.addAliases(s.GetFromClause()...)
	b.visitAll(s.GetFromClause(), s.GetTargetList())
	b.decides(s.GetWhereClause(), s.GetHavingClause(), s.GetLimitOffset(), s.GetLimitCount())
	b.orders(s)
	b.visitAll(s.GetWindowClause(), s.GetValuesLists())
	for _, n := range s.GetLockingClause() {
		b.locking(n.GetLockingClause())
	}
	b.ctes.cut(ctes)
	b.aliases.cut(aliases)
	b.only = only
}

// onlySetting returns the setting that column name is of in a query FROM
// pg_settings WHERE name = 'setting', which is how pg_dump sets one that not
// all servers have. Of other queries it returns "".
func (b *builder) onlySetting(s *tree.SelectStmt) string {
	if len(s.GetFromClause()) != 1 {
		return ""
	}
	from := s.GetFromClause()[0].GetRangeVar()
	if o := object(from); o.Name != "pg_settings" || o.Schema != "" && o.Schema != "pg_catalog" || from.GetAlias() != nil {
		return ""
	}
	if _, shadowed := b.ctes.lookup("pg_settings"); shadowed {
		return ""
	}
	where := s.GetWhereClause().GetAExpr()
	if where.GetKind() != tree.A_Expr_Kind_AEXPR_OP || len(where.GetName()) != 1 || where.GetName()[0].GetString_().GetSval() != "=" ||
		!isColumn(where.GetLexpr(), "name") {
		return ""
	}
	setting, _ := constant(where.GetRexpr())
	return setting
}

// isColumn reports whether n is a column by that name alone.
func isColumn(n *tree.Node, name string) bool {
	fields := n.GetColumnRef().GetFields()
	return len(fields) == 1 && fields[0].GetString_().GetSval() == name
}

func (b *builder) locking(l *tree.LockingClause) {
	switch l.GetStrength() {
	case tree.LockClauseStrength_LCS_FORUPDATE:
		b.option("FOR UPDATE")
	case tree.LockClauseStrength_LCS_FORNOKEYUPDATE:
		b.option("FOR NO KEY UPDATE")
	case tree.LockClauseStrength_LCS_FORSHARE:
		b.option("FOR SHARE")
	case tree.LockClauseStrength_LCS_FORKEYSHARE:
		b.option("FOR KEY SHARE")
	}
	b.optionIf(l.GetWaitPolicy() == tree.LockWaitPolicy_LockWaitError, "NOWAIT")
	b.optionIf(l.GetWaitPolicy() == tree.LockWaitPolicy_LockWaitSkip, "SKIP LOCKED")
}

// with brings WITH queries into scope. Those that read belong to the statement;
// those that change data are statements of their own.
func (b *builder) with(w *tree.WithClause) {
	if w.GetRecursive() {
		for _, n := range w.GetCtes() {
			b.ctes.push(n.GetCommonTableExpr().GetCtename(), "")
		}
	}
	for _, n := range w.GetCtes() {
		cte := n.GetCommonTableExpr()
		b.visit(cte.GetCtequery())
		b.visit(cte.GetCycleClause().GetCycleMarkValue())
		b.visit(cte.GetCycleClause().GetCycleMarkDefault())
		if !w.GetRecursive() {
			b.ctes.push(cte.GetCtename(), "")
		}
		b.ctes.reads(cte.GetCtename(), cte.GetCtequery().GetSelectStmt())
	}
}

// selectInto returns the INTO clause of a query; it stands in the first SELECT
// of a set operation.
func selectInto(s *tree.SelectStmt) *tree.IntoClause {
	for ; s != nil; s = s.GetLarg() {
		if s.GetIntoClause() != nil {
			return s.GetIntoClause()
		}
	}
	return nil
}

func (b *builder) selectStmt(s *tree.SelectStmt) {
	b.kind("SELECT")
	if into := selectInto(s); into != nil {
		b.kind("SELECT INTO")
		b.option("INTO")
		b.target(into.GetRel())
	}
	b.query(s)
}

func (b *builder) insert(s *tree.InsertStmt) {
	b.kind("INSERT")
	b.target(s.GetRelation())
	b.with(s.GetWithClause())
	b.addAlias(s.GetRelation())
	b.assigned(s.GetCols())
	source := s.GetSelectStmt().GetSelectStmt()
	b.optionIf(source != nil && len(source.GetValuesLists()) == 0, "SELECT")
	b.query(source)
	if c := s.GetOnConflictClause(); c != nil {
		if c.GetAction() == tree.OnConflictAction_ONCONFLICT_UPDATE {
			b.option("ON CONFLICT DO UPDATE")
		} else {
			b.option("ON CONFLICT DO NOTHING")
		}
		for _, n := range c.GetInfer().GetIndexElems() {
			b.column(n.GetIndexElem().GetName())
			b.visit(n.GetIndexElem().GetExpr())
		}
		b.visit(c.GetInfer().GetWhereClause())
		b.assigned(c.GetTargetList())
		b.decides(c.GetWhereClause())
	}
	b.optionIf(s.GetOverride() > tree.OverridingKind_OVERRIDING_NOT_SET, "OVERRIDING")
	b.returning(s.GetReturningList())
}

// assigned takes the columns that are set, with their new values.
func (b *builder) assigned(targets []*tree.Node) {
	for _, n := range targets {
		t := n.GetResTarget()
		b.column(t.GetName())
		b.add('e', &b.current().Sets, t.GetName())
		b.visitAll(t.GetIndirection())
		b.visit(t.GetVal())
	}
}

func (b *builder) returning(list []*tree.Node) {
	b.optionIf(len(list) > 0, "RETURNING")
	b.visitAll(list)
}

func (b *builder) update(s *tree.UpdateStmt) {
	b.kind("UPDATE")
	b.target(s.GetRelation())
	b.with(s.GetWithClause())
	b.addAlias(s.GetRelation())
	b.addAliases(s.GetFromClause()...)
	b.visitAll(s.GetFromClause())
	b.assigned(s.GetTargetList())
	b.condition(s.GetRelation(), s.GetFromClause(), s.GetWhereClause())
	b.returning(s.GetReturningList())
	if r := s.GetRelation(); r.GetRelname() == "pg_settings" {
		b.setting("all") // a rule on the view calls set_config
		b.opaque()
	}
}

func (b *builder) delete(s *tree.DeleteStmt) {
	b.kind("DELETE")
	b.target(s.GetRelation())
	b.with(s.GetWithClause())
	b.addAlias(s.GetRelation())
	b.addAliases(s.GetUsingClause()...)
	b.visitAll(s.GetUsingClause())
	b.condition(s.GetRelation(), s.GetUsingClause(), s.GetWhereClause())
	b.returning(s.GetReturningList())
}

// condition takes the WHERE of a write and finds its scope.
func (b *builder) condition(target *tree.RangeVar, others []*tree.Node, where *tree.Node) {
	b.decides(where)
	b.optionIf(where.GetCurrentOfExpr() != nil, "CURRENT OF")
	b.name(where.GetCurrentOfExpr().GetCursorName())
	b.current().Scope = b.scopeOf(target, others, where)
	if len(others) == 0 && b.loops == 0 {
		b.current().Pinned = b.pinned(newScoper(target, true), where)
	}
}

func (b *builder) merge(s *tree.MergeStmt) {
	b.kind("MERGE")
	b.target(s.GetRelation())
	b.with(s.GetWithClause())
	b.addAlias(s.GetRelation())
	b.addAliases(s.GetSourceRelation())
	b.visit(s.GetSourceRelation())
	b.decides(s.GetJoinCondition())
	for _, n := range s.GetMergeWhenClauses() {
		when := n.GetMergeWhenClause()
		b.decides(when.GetCondition())
		b.assigned(when.GetTargetList())
		b.visitAll(when.GetValues())
		b.optionIf(when.GetMatchKind() == tree.MergeMatchKind_MERGE_WHEN_NOT_MATCHED_BY_SOURCE, "NOT MATCHED BY SOURCE")
		b.option(mergeAction(when.GetCommandType()))
	}
	b.current().Scope = b.mergeScope(s)
	b.returning(s.GetReturningList())
}

func mergeAction(c tree.CmdType) string {
	switch c {
	case tree.CmdType_CMD_UPDATE:
		return "UPDATE"
	case tree.CmdType_CMD_DELETE:
		return "DELETE"
	case tree.CmdType_CMD_INSERT:
		return "INSERT"
	}
	return "DO NOTHING"
}

// mergeScope is the widest scope of a MERGE's updates and deletes. Rows that
// the source does not match are chosen by the WHEN's own condition alone.
func (b *builder) mergeScope(s *tree.MergeStmt) event.Scope {
	scope := event.ScopeNone
	others := []*tree.Node{s.GetSourceRelation()}
	joined := b.scopeOf(s.GetRelation(), others, s.GetJoinCondition())
	for _, n := range s.GetMergeWhenClauses() {
		when := n.GetMergeWhenClause()
		if c := when.GetCommandType(); c != tree.CmdType_CMD_UPDATE && c != tree.CmdType_CMD_DELETE {
			continue
		}
		chosen := event.ScopeAll
		if when.GetCondition() != nil {
			chosen = b.scopeOf(s.GetRelation(), others, when.GetCondition())
		}
		if when.GetMatchKind() == tree.MergeMatchKind_MERGE_WHEN_MATCHED && joined == event.ScopeRestricted {
			chosen = event.ScopeRestricted
		}
		if chosen == event.ScopeAll {
			return event.ScopeAll
		}
		scope = event.ScopeRestricted
	}
	return scope
}
