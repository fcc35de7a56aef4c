package statement

import (
	"slices"
	"strings"

	tree "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"
)

// A Use is what a statement does with columns beside returning them as they are
// and comparing them with constants. Columns go by their last name; "*" is all
// columns of a relation, "f()" what a function returns, and "operator()" what an
// operator does that is not PostgreSQL's own.
type Use struct {
	// Chosen are those on which it depends which rows there are, and those
	// that a subquery returns by another name or computed, so that what
	// becomes of them is not followed.
	Chosen []string
	// Counted are those on which it depends how many rows there are: in the
	// arguments of functions that return sets, in limits, and in inequalities
	// of columns.
	Counted []string
	// Stored are those whose values are written, or given to a function that
	// keeps them.
	Stored []string
	// Stores is whether anything is.
	Stores bool
}

// Use returns what the i-th top-level statement does with columns.
func (r *Result) Use(i int) *Use {
	if i < 0 || i >= len(r.spans) {
		return nil
	}
	return &r.spans[i].use
}

func (u *Use) size() int {
	n := 0
	for _, list := range [][]string{u.Chosen, u.Counted, u.Stored} {
		for _, name := range list {
			n += 16 + len(name)
		}
	}
	return n
}

// use finds what a statement does with columns.
func use(n *tree.Node) Use {
	u := user{ranges: map[string]bool{}}
	u.ranged(message(n))
	u.statement(message(n))
	for _, list := range []*[]string{&u.Chosen, &u.Counted, &u.Stored} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return u.Use
}

// A user walks through a statement.
type user struct {
	Use
	ranges  map[string]bool // the names and aliases of relations: alone they are rows as a whole
	partial int             // comparisons that tell a part of a value
}

// maxPartial is how many comparisons of a statement may tell a part of a value,
// like a range or a pattern, before they count as a use.
const maxPartial = 2

func (u *user) ranged(m proto.Message) {
	switch m := m.(type) {
	case nil:
		return
	case *tree.RangeVar:
		u.ranges[m.GetRelname()] = true
	case *tree.Alias:
		u.ranges[m.GetAliasname()] = true
	case *tree.RangeFunction:
		for _, n := range m.GetFunctions() {
			u.ranged(n)
		}
		return // its alias is its value
	}
	children(m, func(child proto.Message) bool {
		u.ranged(child)
		return true
	})
}

func (u *user) statement(m proto.Message) {
	switch m := m.(type) {
	case *tree.SelectStmt:
		if selectInto(m) != nil {
			u.Stores = true
			u.refs(&u.Stored, m)
		}
		u.query(m, true)
	case *tree.CopyStmt:
		u.statement(message(m.GetQuery()))
		u.condition(m.GetWhereClause())
	case *tree.ExplainStmt:
		u.statement(message(m.GetQuery()))
	case *tree.DeclareCursorStmt:
		u.statement(message(m.GetQuery()))
	case *tree.PrepareStmt:
		u.statement(message(m.GetQuery()))
	case *tree.InsertStmt:
		u.insert(m)
	case *tree.UpdateStmt:
		u.with(m.GetWithClause())
		u.from(m.GetFromClause())
		u.assigned(m.GetTargetList())
		u.condition(m.GetWhereClause())
		u.targets(m.GetReturningList(), true)
	case *tree.DeleteStmt:
		u.with(m.GetWithClause())
		u.from(m.GetUsingClause())
		u.condition(m.GetWhereClause())
		u.targets(m.GetReturningList(), true)
	case *tree.MergeStmt:
		u.merge(m)
	case *tree.CreateTableAsStmt:
		u.Stores = true
		u.refs(&u.Stored, message(m.GetQuery()))
		u.statement(message(m.GetQuery()))
	case *tree.ViewStmt:
		u.statement(message(m.GetQuery()))
	case *tree.VariableShowStmt, *tree.VariableSetStmt, *tree.TransactionStmt, nil:
	default:
		// What else has expressions keeps what they refer to.
		u.refs(&u.Stored, m)
		u.Stores = u.Stores || len(u.Stored) > 0
	}
}

func (u *user) insert(s *tree.InsertStmt) {
	u.Stores = true
	u.with(s.GetWithClause())
	u.refs(&u.Stored, s.GetSelectStmt())
	u.query(s.GetSelectStmt().GetSelectStmt(), false)
	if c := s.GetOnConflictClause(); c != nil {
		u.assigned(c.GetTargetList())
		u.condition(c.GetWhereClause())
	}
	u.targets(s.GetReturningList(), true)
}

func (u *user) merge(s *tree.MergeStmt) {
	u.with(s.GetWithClause())
	u.from([]*tree.Node{s.GetSourceRelation()})
	u.condition(s.GetJoinCondition())
	for _, n := range s.GetMergeWhenClauses() {
		when := n.GetMergeWhenClause()
		u.condition(when.GetCondition())
		u.assigned(when.GetTargetList())
		for _, v := range when.GetValues() {
			u.refs(&u.Stored, v)
		}
	}
	u.Stores = true
	u.targets(s.GetReturningList(), true)
}

// assigned takes SET column = value.
func (u *user) assigned(targets []*tree.Node) {
	u.Stores = true
	for _, n := range targets {
		u.refs(&u.Stored, n.GetResTarget().GetVal())
		u.expression(n.GetResTarget().GetVal())
	}
}

func (u *user) with(w *tree.WithClause) {
	for _, n := range w.GetCtes() {
		cte := n.GetCommonTableExpr()
		if len(cte.GetAliascolnames()) > 0 {
			u.Chosen = append(u.Chosen, "*")
		}
		u.inner(cte.GetCtequery())
	}
}

// inner takes a statement whose result another part of the text goes on with.
func (u *user) inner(n *tree.Node) {
	switch m := message(n).(type) {
	case *tree.SelectStmt:
		u.query(m, false)
	default:
		u.statement(m)
	}
}

// query takes a query, whose result is the client's where outer.
func (u *user) query(s *tree.SelectStmt, outer bool) {
	if s == nil {
		return
	}
	u.with(s.GetWithClause())
	if s.GetOp() != tree.SetOperation_SETOP_NONE {
		for _, part := range []*tree.SelectStmt{s.GetLarg(), s.GetRarg()} {
			u.query(part, false)
			if !outer {
				for _, n := range part.GetTargetList() { // it may get the name of another branch's
					u.refs(&u.Chosen, n)
				}
			}
		}
	}
	u.from(s.GetFromClause())
	u.targets(s.GetTargetList(), outer)
	u.condition(s.GetWhereClause())
	u.condition(s.GetHavingClause())
	for _, list := range [][]*tree.Node{s.GetDistinctClause(), s.GetGroupClause(), s.GetSortClause(), s.GetWindowClause()} {
		for _, n := range list {
			u.order(n)
		}
	}
	for _, n := range s.GetValuesLists() {
		if !outer {
			u.refs(&u.Chosen, n)
		}
		u.expression(n)
	}
	u.refs(&u.Counted, s.GetLimitCount())
	u.refs(&u.Counted, s.GetLimitOffset())
}

// order takes what rows are ordered or grouped by: a column as it is tells their
// order only.
func (u *user) order(n *tree.Node) {
	by := n
	if s := n.GetSortBy(); s != nil {
		by = s.GetNode()
	}
	if by.GetColumnRef() == nil {
		u.refs(&u.Chosen, by)
		u.expression(by)
	}
}

// targets takes a list of results. Of the client's own the server tells the
// origins; of others only those are followed that keep their names.
func (u *user) targets(list []*tree.Node, outer bool) {
	for _, n := range list {
		t := n.GetResTarget()
		fields := t.GetVal().GetColumnRef().GetFields()
		if len(fields) > 0 {
			last := fields[len(fields)-1]
			if name := last.GetString_().GetSval(); !outer && (u.ranges[name] || t.GetName() != "" && t.GetName() != name) {
				u.refs(&u.Chosen, t.GetVal())
			}
			continue
		}
		if !outer {
			u.refs(&u.Chosen, t.GetVal())
		}
		u.expression(t.GetVal())
	}
}

// from takes the relations of a query.
func (u *user) from(list []*tree.Node) {
	for _, n := range list {
		switch m := message(n).(type) {
		case *tree.RangeVar:
			u.alias(m.GetAlias())
		case *tree.RangeSubselect:
			u.alias(m.GetAlias())
			u.inner(m.GetSubquery())
		case *tree.JoinExpr:
			u.alias(m.GetAlias())
			u.from([]*tree.Node{m.GetLarg(), m.GetRarg()})
			u.Chosen = append(u.Chosen, texts(m.GetUsingClause())...)
			if m.GetIsNatural() {
				u.Chosen = append(u.Chosen, "*")
			}
			u.condition(m.GetQuals())
		case nil:
		default:
			// What a function returns is another's; how much, its arguments say.
			var all []string
			u.refs(&all, m)
			for _, name := range all {
				if strings.HasSuffix(name, "()") {
					u.Chosen = append(u.Chosen, name)
				} else {
					u.Counted = append(u.Counted, name)
				}
			}
			u.expression(n)
		}
	}
}

func (u *user) alias(a *tree.Alias) {
	if len(a.GetColnames()) > 0 {
		u.Chosen = append(u.Chosen, "*")
	}
}

// condition takes what selects rows.
func (u *user) condition(n *tree.Node) {
	switch m := message(n).(type) {
	case nil, *tree.ColumnRef, *tree.A_Const:
	case *tree.BoolExpr:
		for _, arg := range m.GetArgs() {
			u.condition(arg)
		}
	case *tree.NullTest:
		if m.GetArg().GetColumnRef() == nil {
			u.refs(&u.Chosen, m)
			u.expression(n)
		}
	case *tree.SubLink:
		if m.GetSubLinkType() != tree.SubLinkType_EXISTS_SUBLINK {
			u.refs(&u.Chosen, m)
		}
		u.expression(n)
	case *tree.A_Expr:
		u.comparison(m)
		u.expression(n)
	default:
		u.refs(&u.Chosen, m)
		u.expression(n)
	}
}

// comparison takes a comparison. That of a column with constants is no use of
// it, as long as few of them tell a part of its value.
func (u *user) comparison(e *tree.A_Expr) {
	operator := ""
	if names := texts(e.GetName()); len(names) > 0 {
		operator = names[len(names)-1]
	}
	whole := (operator == "=" || operator == "<>") && e.GetKind() <= tree.A_Expr_Kind_AEXPR_IN
	column, value := e.GetLexpr(), e.GetRexpr()
	if column.GetColumnRef() == nil {
		column, value = value, column
	}
	name := column.GetColumnRef().GetFields()
	if len(name) > 0 && ownOperators[operator] && !u.ranges[name[len(name)-1].GetString_().GetSval()] && allConstant(value) {
		if whole {
			return
		}
		if u.partial++; u.partial <= maxPartial {
			return
		}
	}
	list := &u.Chosen
	if !whole {
		list = &u.Counted
	}
	u.refs(list, e)
}

// allConstant reports whether a value, or each of a list, is a constant.
func allConstant(n *tree.Node) bool {
	items := n.GetList().GetItems()
	if a := n.GetAArrayExpr(); a != nil {
		items = a.GetElements()
	} else if n.GetList() == nil {
		return isConstant(n)
	}
	return !slices.ContainsFunc(items, func(n *tree.Node) bool { return !isConstant(n) })
}

// expression looks through a value for what is in it: subqueries, functions that
// return sets, and such that keep what they are given.
func (u *user) expression(n *tree.Node) {
	u.within(message(n))
}

func (u *user) within(m proto.Message) {
	switch m := m.(type) {
	case nil:
		return
	case *tree.SelectStmt:
		u.query(m, false)
		return
	case *tree.FuncCall:
		name := routine(m.GetFuncname())
		if setFunctions[name] {
			u.arguments(&u.Counted, m)
		}
		if keepers[name] {
			u.Stores = true
			u.arguments(&u.Stored, m)
		}
	}
	children(m, func(child proto.Message) bool {
		u.within(child)
		return true
	})
}

// arguments adds what the arguments of a call refer to.
func (u *user) arguments(list *[]string, f *tree.FuncCall) {
	for _, n := range f.GetArgs() {
		u.refs(list, n)
	}
}

// refs adds the columns that m refers to, those of queries in it too.
func (u *user) refs(list *[]string, m proto.Message) {
	switch m := m.(type) {
	case nil:
		return
	case *tree.Node:
		u.refs(list, message(m))
		return
	case *tree.ColumnRef:
		fields := m.GetFields()
		for i, f := range fields {
			name := f.GetString_().GetSval()
			if f.GetAStar() != nil || i == len(fields)-1 && u.ranges[name] {
				name = "*"
			}
			if i == len(fields)-1 {
				*list = append(*list, name)
			}
		}
		return
	case *tree.RangeVar:
		return
	case *tree.FuncCall:
		*list = append(*list, routine(m.GetFuncname())+"()")
	case *tree.A_Expr:
		if names := texts(m.GetName()); len(names) > 0 && !ownOperators[names[len(names)-1]] {
			*list = append(*list, "operator()")
		}
	case *tree.JoinExpr:
		*list = append(*list, texts(m.GetUsingClause())...)
	}
	children(m, func(child proto.Message) bool {
		u.refs(list, child)
		return true
	})
}

// ownOperators are the names of PostgreSQL's own operators.
var ownOperators = func() map[string]bool {
	m := make(map[string]bool)
	for _, name := range strings.Fields("= <> != < > <= >= + - * / % ^ | & # ~ ! || |/ ||/ @ << >> && " +
		"~~ !~~ ~~* !~~* ~* !~ !~* ^@ @> <@ @@ @@@ @? ? ?| ?& #> #>> -> ->> #- <-> -|- &< &> <<| |>> &<| |&> <^ >^ ?- ?# ?-| ?|| ~= " +
		"<<= >>= ~<~ ~<=~ ~>~ ~>=~ *= *<> *< *> *<= *>= !! ## @-@ @@ BETWEEN |") {
		m[name] = true
	}
	for _, words := range []string{"BETWEEN", "NOT BETWEEN", "BETWEEN SYMMETRIC", "NOT BETWEEN SYMMETRIC", "~~", "!~~"} {
		m[words] = true
	}
	return m
}()

// setFunctions return as many rows as their arguments say.
var setFunctions = map[string]bool{
	"generate_series": true, "generate_subscripts": true, "unnest": true, "regexp_split_to_table": true, "regexp_matches": true,
	"string_to_table": true, "json_array_elements": true, "jsonb_array_elements": true, "json_array_elements_text": true,
	"jsonb_array_elements_text": true, "json_object_keys": true, "jsonb_object_keys": true, "json_each": true, "jsonb_each": true,
	"jsonb_path_query": true, "xpath": true, "pg_sleep": true, "pg_sleep_for": true,
}

// keepers keep what they are given where another statement finds it.
var keepers = map[string]bool{
	"set_config": true, "setval": true, "pg_notify": true, "setseed": true,
	"lo_from_bytea": true, "lo_put": true, "lowrite": true, "lo_creat": true, "lo_create": true, "lo_truncate": true, "lo_truncate64": true, "lo_lseek": true, "lo_open": true,
	"pg_advisory_lock": true, "pg_advisory_xact_lock": true, "pg_try_advisory_lock": true, "pg_try_advisory_xact_lock": true,
	"pg_advisory_lock_shared": true, "pg_advisory_xact_lock_shared": true, "pg_try_advisory_lock_shared": true, "pg_try_advisory_xact_lock_shared": true,
	"pg_replication_origin_create": true, "pg_create_restore_point": true, "pg_create_physical_replication_slot": true,
	"pg_create_logical_replication_slot": true, "pg_cancel_backend": true, "pg_terminate_backend": true,
}
