package statement

import (
	"slices"
	"strings"

	tree "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"
)

// statement takes a statement with names of its own.
func (v *valuer) statement(m proto.Message) {
	scope, ctes := len(v.scope), len(v.ctes)
	defer func() { v.scope, v.ctes = v.scope[:scope], v.ctes[:ctes] }()
	switch m := m.(type) {
	case nil:
	case *tree.SelectStmt:
		v.query(m, nil)
	case *tree.InsertStmt:
		v.insert(m)
	case *tree.UpdateStmt:
		v.with(m.GetWithClause())
		r := v.push(m.GetRelation())
		v.from(m.GetFromClause())
		v.assigned(r, m.GetTargetList())
		v.condition(m.GetWhereClause())
		v.targets(m.GetReturningList(), nil)
	case *tree.DeleteStmt:
		v.with(m.GetWithClause())
		v.push(m.GetRelation())
		v.from(m.GetUsingClause())
		v.condition(m.GetWhereClause())
		v.targets(m.GetReturningList(), nil)
	case *tree.MergeStmt:
		v.merge(m)
	case *tree.CopyStmt:
		if m.GetRelation() != nil {
			v.push(m.GetRelation())
		}
		v.condition(m.GetWhereClause())
		v.statement(message(m.GetQuery()))
	default:
		v.other(m)
	}
}

// other takes the parts of a statement whose own values are not followed.
func (v *valuer) other(m proto.Message) {
	if n, ok := m.(*tree.Node); ok {
		m = message(n)
	}
	switch m := m.(type) {
	case nil, *tree.A_Const:
	case *tree.ParamRef:
		v.foundParam(int(m.GetNumber()), Value{})
	case *tree.SelectStmt, *tree.InsertStmt, *tree.UpdateStmt, *tree.DeleteStmt, *tree.MergeStmt, *tree.CopyStmt:
		v.statement(m)
	case *tree.TypeName:
		v.plain(m)
	case *tree.ColumnDef:
		v.named(m.GetColname(), m)
	case *tree.AlterTableCmd:
		v.named(m.GetName(), m)
	case *tree.ExecuteStmt:
		u := unit{open: true, flows: true}
		for _, n := range m.GetParams() {
			v.collect(&u, message(n))
		}
		v.close(&u)
	case *tree.VariableSetStmt:
		for _, n := range m.GetArgs() {
			if c := n.GetAConst(); c != nil && c.GetSval() == nil && !strings.Contains(m.GetName(), ".") {
				v.plain(c)
			}
		}
	case *tree.A_Expr, *tree.BoolExpr, *tree.FuncCall, *tree.SubLink, *tree.CaseExpr, *tree.NullTest, *tree.ColumnRef:
		u := unit{open: true}
		v.collect(&u, m)
		v.close(&u)
	default:
		children(m, func(child proto.Message) bool { v.other(child); return true })
	}
}

// named takes the definition of a column, or what changes it.
func (v *valuer) named(column string, m proto.Message) {
	u := unit{open: true}
	if column != "" {
		u.columns = []Column{{Name: column}}
	}
	children(m, func(child proto.Message) bool { v.collect(&u, child); return true })
	v.close(&u)
}

// query takes a query, whose results go to out.
func (v *valuer) query(s *tree.SelectStmt, out sink) {
	if s == nil {
		return
	}
	scope, ctes := len(v.scope), len(v.ctes)
	defer func() { v.scope, v.ctes = v.scope[:scope], v.ctes[:ctes] }()
	v.with(s.GetWithClause())
	v.query(s.GetLarg(), out)
	v.query(s.GetRarg(), out)
	v.from(s.GetFromClause())
	v.targets(s.GetTargetList(), out)
	for _, row := range s.GetValuesLists() {
		v.cells(row.GetList().GetItems(), out)
	}
	v.condition(s.GetWhereClause())
	v.condition(s.GetHavingClause())
	v.expressions(s.GetDistinctClause())
	v.expressions(s.GetWindowClause())
	for _, n := range s.GetGroupClause() {
		v.count(n)
	}
	for _, n := range s.GetSortClause() {
		v.count(n.GetSortBy().GetNode())
	}
	v.count(s.GetLimitOffset())
	v.count(s.GetLimitCount())
}

// targets takes the results of a query.
func (v *valuer) targets(list []*tree.Node, out sink) {
	certain := true
	for j, n := range list {
		val := n.GetResTarget().GetVal()
		if fields := val.GetColumnRef().GetFields(); len(fields) > 0 && fields[len(fields)-1].GetAStar() != nil {
			certain = false // it stands for several
		}
		if !certain {
			j = -1
		}
		v.cell(j, val, out)
	}
}

func (v *valuer) cells(list []*tree.Node, out sink) {
	for j, n := range list {
		v.cell(j, n, out)
	}
}

func (v *valuer) cell(j int, n *tree.Node, out sink) {
	var u unit
	v.collect(&u, message(n))
	if out == nil {
		v.close(&u)
		return
	}
	out(j, &u)
}

// flowing is the sink of results that others use under names of their own.
func (v *valuer) flowing(_ int, u *unit) {
	u.open, u.flows = true, true
	v.close(u)
}

// with brings WITH queries into scope.
func (v *valuer) with(w *tree.WithClause) {
	for _, n := range w.GetCtes() {
		cte := n.GetCommonTableExpr()
		if w.GetRecursive() {
			v.ctes = append(v.ctes, cte.GetCtename())
		}
		if q, ok := message(cte.GetCtequery()).(*tree.SelectStmt); ok {
			v.query(q, v.flowing)
		} else {
			v.statement(message(cte.GetCtequery()))
		}
		for _, mark := range []*tree.Node{cte.GetCycleClause().GetCycleMarkValue(), cte.GetCycleClause().GetCycleMarkDefault()} {
			v.expression(mark)
		}
		v.ctes = append(v.ctes, cte.GetCtename())
	}
}

// push brings a relation into scope.
func (v *valuer) push(n *tree.RangeVar) relation {
	r := relation{alias: n.GetAlias().GetAliasname(), schema: n.GetSchemaname(), name: n.GetRelname()}
	if r.alias == "" {
		r.alias = r.name
	}
	// Columns that were given other names here are no longer told apart.
	r.derived = r.schema == "" && slices.Contains(v.ctes, r.name) || len(n.GetAlias().GetColnames()) > 0
	v.scope = append(v.scope, r)
	return r
}

func (v *valuer) pushDerived(a *tree.Alias) {
	v.scope = append(v.scope, relation{alias: a.GetAliasname(), derived: true})
}

// from brings the items of a FROM into scope.
func (v *valuer) from(items []*tree.Node) {
	for _, n := range items {
		switch m := message(n).(type) {
		case *tree.RangeVar:
			v.push(m)
		case *tree.JoinExpr:
			v.from([]*tree.Node{m.GetLarg(), m.GetRarg()})
			v.condition(m.GetQuals())
			if m.GetAlias() != nil {
				v.pushDerived(m.GetAlias())
			}
		case *tree.RangeSubselect:
			v.query(m.GetSubquery().GetSelectStmt(), v.flowing)
			v.pushDerived(m.GetAlias())
		case *tree.RangeTableSample:
			v.from([]*tree.Node{m.GetRelation()})
			for _, arg := range m.GetArgs() {
				v.count(arg)
			}
			v.count(m.GetRepeatable())
		case nil:
		default:
			u := unit{open: true, flows: true}
			v.collect(&u, m)
			v.close(&u)
			a, _ := m.(interface{ GetAlias() *tree.Alias })
			if a == nil {
				v.pushDerived(nil)
				continue
			}
			v.pushDerived(a.GetAlias())
		}
	}
}

// into is a sink of what is inserted into columns of r, or where there are none
// into those that r has, in their order.
func (v *valuer) into(r relation, columns []*tree.Node) sink {
	at := make([]Column, len(columns))
	for j, n := range columns {
		at[j] = Column{Schema: r.schema, Relation: r.name, Name: n.GetResTarget().GetName()}
	}
	return func(j int, u *unit) {
		switch {
		case j >= 0 && j < len(at):
			u.columns = append(u.columns, at[j])
		case j >= 0 && len(at) == 0:
			u.columns = append(u.columns, Column{Schema: r.schema, Relation: r.name, Position: j + 1})
		default:
			u.open = true
			u.columns = append(u.columns, Column{Schema: r.schema, Relation: r.name})
		}
		v.close(u)
	}
}

func (v *valuer) insert(s *tree.InsertStmt) {
	v.with(s.GetWithClause())
	t := s.GetRelation()
	r := relation{alias: t.GetAlias().GetAliasname(), schema: t.GetSchemaname(), name: t.GetRelname()}
	v.query(s.GetSelectStmt().GetSelectStmt(), v.into(r, s.GetCols()))
	v.push(t)
	if c := s.GetOnConflictClause(); c != nil {
		for _, n := range c.GetInfer().GetIndexElems() {
			v.expression(n.GetIndexElem().GetExpr())
		}
		v.condition(c.GetInfer().GetWhereClause())
		v.scope = append(v.scope, relation{alias: "excluded", schema: r.schema, name: r.name})
		v.assigned(r, c.GetTargetList())
		v.condition(c.GetWhereClause())
	}
	v.targets(s.GetReturningList(), nil)
}

// assigned takes what columns of r are set to.
func (v *valuer) assigned(r relation, targets []*tree.Node) {
	for _, n := range targets {
		t := n.GetResTarget()
		u := unit{columns: []Column{{Schema: r.schema, Relation: r.name, Name: t.GetName()}}}
		for _, i := range t.GetIndirection() {
			v.collect(&u, message(i))
		}
		if multi := t.GetVal().GetMultiAssignRef(); multi != nil {
			args := multi.GetSource().GetRowExpr().GetArgs()
			if k := int(multi.GetColno()) - 1; k >= 0 && k < len(args) && len(args) == int(multi.GetNcolumns()) {
				v.collect(&u, message(args[k]))
			} else {
				v.collect(&u, message(multi.GetSource()))
			}
		} else {
			v.collect(&u, message(t.GetVal()))
		}
		v.close(&u)
	}
}

func (v *valuer) merge(s *tree.MergeStmt) {
	v.with(s.GetWithClause())
	r := v.push(s.GetRelation())
	v.from([]*tree.Node{s.GetSourceRelation()})
	v.condition(s.GetJoinCondition())
	for _, n := range s.GetMergeWhenClauses() {
		when := n.GetMergeWhenClause()
		v.condition(when.GetCondition())
		if len(when.GetValues()) > 0 {
			v.cells(when.GetValues(), v.into(r, when.GetTargetList()))
		} else {
			v.assigned(r, when.GetTargetList())
		}
	}
	v.targets(s.GetReturningList(), nil)
}
