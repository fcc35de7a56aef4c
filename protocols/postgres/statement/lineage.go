package statement

import (
	"slices"

	tree "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"

	"gatehouse/core/lineage"
)

// Query returns what the i-th top-level statement reads and writes, for package
// lineage. That of PREPARE and DECLARE is the statement that EXECUTE and FETCH
// run. It holds no literals, and is the same for all texts of one shape.
func (r *Result) Query(i int) lineage.Statement {
	if i < 0 || i >= len(r.spans) {
		return nil
	}
	return r.spans[i].query
}

// A translator turns parse trees into the statements of package lineage.
type translator struct {
	// literal is whether a literal had a part: the number of a result.
	literal bool
	// size is about how many bytes the statement takes.
	size int
	// arguments are the parameters that were met; declared is whether the text
	// gives them types.
	arguments []*lineage.Argument
	declared  bool
}

// nodeSize is about how many bytes a node takes.
const nodeSize = 112

func (t *translator) statement(m proto.Message) lineage.Statement {
	t.size += nodeSize
	switch m := m.(type) {
	case *tree.SelectStmt:
		return t.selected(m)
	case *tree.InsertStmt:
		return t.insert(m)
	case *tree.UpdateStmt:
		return t.update(m)
	case *tree.DeleteStmt:
		return &lineage.Delete{
			With: t.with(m.GetWithClause()), Table: t.table(m.GetRelation()), Using: t.sources(m.GetUsingClause()),
			Where: t.expr(m.GetWhereClause()), Returning: t.targets(m.GetReturningList()),
		}
	case *tree.MergeStmt:
		return t.merge(m)
	case *tree.CreateTableAsStmt:
		into := m.GetInto()
		return &lineage.Create{Into: name(into.GetRel()), Columns: texts(into.GetColNames()), Query: t.statement(message(m.GetQuery()))}
	case *tree.CopyStmt:
		return t.copied(m)
	case *tree.DeclareCursorStmt:
		return t.statement(message(m.GetQuery()))
	case *tree.PrepareStmt:
		t.declared = len(m.GetArgtypes()) > 0
		return t.statement(message(m.GetQuery()))
	case *tree.ExplainStmt:
		return &lineage.Explain{Statement: t.statement(message(m.GetQuery()))}
	case *tree.VariableShowStmt:
		if steadySettings[m.GetName()] {
			return &lineage.Query{Body: &lineage.Select{Targets: []lineage.Target{{Name: m.GetName()}}}}
		}
		return &lineage.Other{What: "SHOW", Returns: true}
	case *tree.ExecuteStmt:
		return &lineage.Other{What: "EXECUTE", Returns: true, Exprs: t.exprs(m.GetParams())}
	case *tree.FetchStmt:
		return &lineage.Other{What: "FETCH", Returns: !m.GetIsmove()}
	case *tree.CallStmt:
		return &lineage.Other{What: "CALL", Returns: true, Stores: true, Exprs: t.exprs(m.GetFunccall().GetArgs())}
	case nil:
		return &lineage.Other{What: "an empty statement"}
	}
	what := string(m.ProtoReflect().Descriptor().Name())
	if refers(m) { // and keeps what it refers to
		return &lineage.Other{What: what, Stores: true, Exprs: []lineage.Expr{&lineage.Not{What: what}}}
	}
	return &lineage.Other{What: what}
}

// refers is whether there are columns or queries below m.
func refers(m proto.Message) bool {
	switch m.(type) {
	case *tree.ColumnRef, *tree.SelectStmt, *tree.FuncCall:
		return true
	}
	return !children(m, func(child proto.Message) bool { return !refers(child) })
}

// name is a relation's name.
func name(r *tree.RangeVar) lineage.Name {
	return lineage.Name{Schema: r.GetSchemaname(), Name: r.GetRelname()}
}

// called is a qualified name's last two parts.
func called(parts []*tree.Node) lineage.Name {
	o := named(parts)
	return lineage.Name{Schema: o.Schema, Name: o.Name}
}

// copied is COPY, of a table as if it were a query of it.
func (t *translator) copied(c *tree.CopyStmt) lineage.Statement {
	switch {
	case c.GetQuery() != nil:
		return t.statement(message(c.GetQuery()))
	case c.GetIsFrom():
		return &lineage.Insert{Into: t.table(c.GetRelation()), Columns: texts(c.GetAttlist())}
	}
	table := t.table(c.GetRelation())
	table.Only = true
	s := &lineage.Select{From: []lineage.Source{&table}, Where: t.expr(c.GetWhereClause())}
	for _, column := range texts(c.GetAttlist()) {
		s.Targets = append(s.Targets, lineage.Target{Name: column, Expr: &lineage.Ref{Parts: []string{column}}})
	}
	if s.Targets == nil {
		s.Targets = []lineage.Target{{Expr: &lineage.Ref{Star: true}}}
	}
	return &lineage.Query{Body: s}
}

// selected is a SELECT, with INTO or without.
func (t *translator) selected(s *tree.SelectStmt) lineage.Statement {
	q := t.query(s)
	if into := selectInto(s); into != nil {
		return &lineage.Create{Into: name(into.GetRel()), Columns: texts(into.GetColNames()), Query: q}
	}
	return q
}

// query is a SELECT, a set operation, or VALUES.
func (t *translator) query(s *tree.SelectStmt) *lineage.Query {
	t.size += 2 * nodeSize
	q := &lineage.Query{With: t.with(s.GetWithClause()), Order: t.keys(s.GetSortClause())}
	q.Limited = s.GetLimitCount() != nil || s.GetLimitOffset() != nil
	q.Locks = len(s.GetLockingClause()) > 0
	if q.Limited {
		q.Limits = []lineage.Expr{t.expr(s.GetLimitCount()), t.expr(s.GetLimitOffset())}
	}
	switch {
	case s.GetLarg() != nil:
		q.Body = &lineage.Combined{
			Left: t.query(s.GetLarg()), Right: t.query(s.GetRarg()),
			Distinct: !s.GetAll(), Matching: s.GetOp() != tree.SetOperation_SETOP_UNION,
		}
	case len(s.GetValuesLists()) > 0:
		v := &lineage.Values{}
		for _, row := range s.GetValuesLists() {
			v.Rows = append(v.Rows, t.exprs(row.GetList().GetItems()))
		}
		q.Body = v
	default:
		q.Body = t.body(s)
	}
	return q
}

func (t *translator) body(s *tree.SelectStmt) *lineage.Select {
	b := &lineage.Select{
		From: t.sources(s.GetFromClause()), Where: t.expr(s.GetWhereClause()), Targets: t.targets(s.GetTargetList()),
		Group: t.groups(s.GetGroupClause()), Grouped: len(s.GetGroupClause()) > 0, Sets: slices.ContainsFunc(s.GetGroupClause(), func(n *tree.Node) bool { return n.GetGroupingSet() != nil }), Having: t.expr(s.GetHavingClause()),
	}
	b.Floors = t.floors(s.GetHavingClause())
	for _, n := range s.GetDistinctClause() {
		if message(n) == nil {
			b.Distinct = true
			continue
		}
		b.DistinctOn = append(b.DistinctOn, t.key(n))
	}
	for _, n := range s.GetWindowClause() {
		b.Windows = append(b.Windows, *t.window(n.GetWindowDef()))
	}
	return b
}

// floors are the conditions of HAVING that a count is at least so high.
func (t *translator) floors(n *tree.Node) (floors []lineage.Floor) {
	if and := n.GetBoolExpr(); and.GetBoolop() == tree.BoolExprType_AND_EXPR {
		for _, n := range and.GetArgs() {
			floors = append(floors, t.floors(n)...)
		}
		return floors
	}
	x := n.GetAExpr()
	if x.GetKind() != tree.A_Expr_Kind_AEXPR_OP {
		return nil
	}
	f := lineage.Floor{Operator: called(x.GetName())}
	count, least := x.GetLexpr(), x.GetRexpr()
	switch f.Operator.Name {
	case ">":
		f.Least = 1
	case ">=":
	case "<":
		f.Least = 1
		count, least = least, count
	case "<=":
		count, least = least, count
	default:
		return nil
	}
	c, is := t.expr(count).(*lineage.Call)
	if !is || c.Function.Name != "count" || least.GetAConst().GetIval() == nil {
		return nil
	}
	t.literal = true
	f.Count, f.Least = c, f.Least+int(least.GetAConst().GetIval().GetIval())
	return []lineage.Floor{f}
}

func (t *translator) with(w *tree.WithClause) lineage.With {
	with := lineage.With{Recursive: w.GetRecursive()}
	for _, n := range w.GetCtes() {
		c := n.GetCommonTableExpr()
		common := lineage.Common{Name: c.GetCtename(), Columns: texts(c.GetAliascolnames()), Statement: t.statement(message(c.GetCtequery()))}
		if s := c.GetSearchClause(); s != nil {
			common.Search, common.Sequence = texts(s.GetSearchColList()), s.GetSearchSeqColumn()
		}
		if s := c.GetCycleClause(); s != nil {
			common.Cycle, common.Mark, common.Path = texts(s.GetCycleColList()), s.GetCycleMarkColumn(), s.GetCyclePathColumn()
		}
		t.size += 2 * nodeSize
		with.Queries = append(with.Queries, common)
	}
	return with
}

// targets are a list of results.
func (t *translator) targets(list []*tree.Node) []lineage.Target {
	targets := make([]lineage.Target, 0, len(list))
	for _, n := range list {
		r := n.GetResTarget()
		target := lineage.Target{Name: r.GetName(), Expr: t.expr(r.GetVal())}
		if target.Name == "" {
			target.Name = columnName(r.GetVal())
		}
		t.size += nodeSize
		targets = append(targets, target)
	}
	return targets
}

// groups are the keys of GROUP BY, those of all grouping sets.
func (t *translator) groups(list []*tree.Node) []lineage.Key {
	var keys []lineage.Key
	for _, n := range list {
		switch m := message(n).(type) {
		case *tree.GroupingSet:
			keys = append(keys, t.groups(m.GetContent())...)
		case *tree.RowExpr:
			keys = append(keys, t.groups(m.GetArgs())...)
		default:
			keys = append(keys, t.key(n))
		}
	}
	return keys
}

func (t *translator) keys(list []*tree.Node) []lineage.Key {
	var keys []lineage.Key
	for _, n := range list {
		keys = append(keys, t.key(n))
	}
	return keys
}

// key is what rows are sorted, grouped or told apart by.
func (t *translator) key(n *tree.Node) lineage.Key {
	var k lineage.Key
	if s := n.GetSortBy(); s != nil {
		if len(s.GetUseOp()) > 0 {
			using := called(s.GetUseOp())
			k.Using = &using
		}
		n = s.GetNode()
	}
	if c := n.GetAConst(); c.GetIval() != nil {
		t.literal = true
		k.Position = int(c.GetIval().GetIval())
	} else {
		k.Expr = t.expr(n)
	}
	return k
}

// sortExprs are what rows are sorted by where results have no part.
func (t *translator) sortExprs(list []*tree.Node) []lineage.Expr {
	var exprs []lineage.Expr
	for _, n := range list {
		s := n.GetSortBy()
		e := t.expr(s.GetNode())
		if len(s.GetUseOp()) > 0 {
			e = &lineage.Operation{Operator: called(s.GetUseOp()), Args: []lineage.Expr{e, nil}}
		}
		exprs = append(exprs, e)
	}
	return exprs
}

func (t *translator) window(w *tree.WindowDef) *lineage.Windowing {
	if w == nil {
		return nil
	}
	return &lineage.Windowing{
		Name: w.GetName(), Base: w.GetRefname(), Partition: t.exprs(w.GetPartitionClause()), Order: t.sortExprs(w.GetOrderClause()),
		Frame: []lineage.Expr{t.expr(w.GetStartOffset()), t.expr(w.GetEndOffset())}, Framed: w.GetFrameOptions()&framed != 0,
	}
}

// framed is PostgreSQL's FRAMEOPTION_NONDEFAULT.
const framed = 1

// over is the window of a call: one of its own, or a named one.
func (t *translator) over(w *tree.WindowDef) *lineage.Windowing {
	over := t.window(w)
	if over != nil && over.Base == "" {
		over.Base, over.Name = over.Name, ""
	}
	return over
}

// sources are the items of FROM.
func (t *translator) sources(list []*tree.Node) []lineage.Source {
	var sources []lineage.Source
	for _, n := range list {
		sources = append(sources, t.source(n))
	}
	return sources
}

func (t *translator) table(r *tree.RangeVar) lineage.Table {
	t.size += nodeSize
	return lineage.Table{Name: name(r), Alias: alias(r.GetAlias()), Only: !r.GetInh()}
}

func alias(a *tree.Alias) lineage.Alias {
	return lineage.Alias{Name: a.GetAliasname(), Columns: texts(a.GetColnames())}
}

func (t *translator) source(n *tree.Node) lineage.Source {
	t.size += nodeSize
	switch m := message(n).(type) {
	case *tree.RangeVar:
		table := t.table(m)
		return &table
	case *tree.RangeTableSample:
		table := t.table(m.GetRelation().GetRangeVar())
		table.Sample = append(t.exprs(m.GetArgs()), t.expr(m.GetRepeatable()))
		return &table
	case *tree.RangeSubselect:
		return &lineage.Derived{Query: t.statement(message(m.GetSubquery())), Lateral: m.GetLateral(), Alias: alias(m.GetAlias())}
	case *tree.JoinExpr:
		return &lineage.Join{
			Left: t.source(m.GetLarg()), Right: t.source(m.GetRarg()), Outer: outers[m.GetJointype()],
			Natural: m.GetIsNatural(), Using: texts(m.GetUsingClause()), UsingAlias: m.GetJoinUsingAlias().GetAliasname(),
			On: t.expr(m.GetQuals()), Alias: alias(m.GetAlias()),
		}
	case *tree.RangeFunction:
		return t.functions(m)
	case *tree.RangeTableFunc:
		return t.xmlTable(m)
	case *tree.JsonTable:
		return t.jsonTable(m)
	}
	return &lineage.Unfollowed{What: "a source of another kind"}
}

var outers = map[tree.JoinType]lineage.Outer{
	tree.JoinType_JOIN_LEFT: lineage.LeftOuter, tree.JoinType_JOIN_RIGHT: lineage.RightOuter, tree.JoinType_JOIN_FULL: lineage.FullOuter,
}

// functions are functions in FROM.
func (t *translator) functions(f *tree.RangeFunction) *lineage.Calls {
	calls := &lineage.Calls{Ordinality: f.GetOrdinality(), Alias: alias(f.GetAlias())}
	columns := func(list []*tree.Node) []string {
		var names []string
		for _, n := range list {
			names = append(names, n.GetColumnDef().GetColname())
		}
		return names
	}
	for _, n := range f.GetFunctions() {
		items := n.GetList().GetItems()
		if len(items) == 0 {
			continue
		}
		if f := items[0].GetFuncCall(); len(f.GetArgs()) > 1 && len(f.GetFuncname()) == 1 && text(f.GetFuncname()[0]) == "unnest" {
			for _, arg := range f.GetArgs() { // the arrays side by side
				one := &lineage.Call{Function: called(f.GetFuncname()), Args: []lineage.Expr{t.expr(arg)}}
				calls.Functions = append(calls.Functions, lineage.SourceCall{Call: one, Name: "unnest"})
			}
			continue
		}
		call := lineage.SourceCall{Call: t.expr(items[0]), Name: columnName(items[0])}
		if len(items) > 1 {
			call.Columns = columns(items[1].GetList().GetItems())
		}
		calls.Functions = append(calls.Functions, call)
	}
	if len(f.GetColdeflist()) > 0 && len(calls.Functions) == 1 {
		calls.Functions[0].Columns = columns(f.GetColdeflist())
	}
	return calls
}

func (t *translator) xmlTable(x *tree.RangeTableFunc) *lineage.Document {
	d := &lineage.Document{Of: []lineage.Expr{t.expr(x.GetDocexpr()), t.expr(x.GetRowexpr())}, Alias: alias(x.GetAlias())}
	for _, n := range x.GetNamespaces() {
		d.Of = append(d.Of, t.expr(n.GetResTarget().GetVal()))
	}
	for _, n := range x.GetColumns() {
		c := n.GetRangeTableFuncCol()
		e := lineage.Expr(&lineage.Computed{Args: []lineage.Expr{t.expr(c.GetColexpr()), t.expr(c.GetColdefexpr())}})
		d.Columns = append(d.Columns, lineage.Target{Name: c.GetColname(), Expr: t.typed(e, c.GetTypeName())})
	}
	if d.Alias.Name == "" {
		d.Alias.Name = "xmltable"
	}
	return d
}

func (t *translator) jsonTable(j *tree.JsonTable) *lineage.Document {
	d := &lineage.Document{Of: []lineage.Expr{t.jsonValue(j.GetContextItem()), t.expr(j.GetPathspec().GetString_())}, Alias: alias(j.GetAlias())}
	d.Of = append(append(d.Of, t.passing(j.GetPassing())...), t.behaviors(j.GetOnError())...)
	var add func(list []*tree.Node)
	add = func(list []*tree.Node) {
		for _, n := range list {
			c := n.GetJsonTableColumn()
			if c.GetColtype() == tree.JsonTableColumnType_JTC_NESTED {
				add(c.GetColumns())
				continue
			}
			e := lineage.Expr(&lineage.Computed{Args: t.behaviors(c.GetOnEmpty(), c.GetOnError())})
			d.Columns = append(d.Columns, lineage.Target{Name: c.GetName(), Expr: t.typed(e, c.GetTypeName())})
		}
	}
	add(j.GetColumns())
	if d.Alias.Name == "" {
		d.Alias.Name = "json_table"
	}
	return d
}
