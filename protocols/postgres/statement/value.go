package statement

import (
	"slices"
	"sort"

	tree "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"
)

// A Column is a column, or several, as far as a text names it.
type Column struct {
	// Schema and Relation are empty where the text does not tell.
	Schema, Relation string
	// Name is empty for the column at Position, from 1, of a relation, and
	// where Position is zero too for any of its columns.
	Name     string
	Position int
}

// A Value is what a text tells of one of its constants, or of a parameter. The
// zero Value is one of which it tells nothing.
type Value struct {
	// Columns are those that it meets: it is compared with them, assigned to
	// them, or stands in one expression with them.
	Columns []Column
	// Known is whether it meets no others. Without columns it is the value
	// of none: a LIMIT, a type's length.
	Known bool
	// Flows is whether it goes where the text is not followed, and may meet
	// anything there that the statement touches: by a subquery, by EXECUTE.
	Flows bool
}

// with is what is told of a value that is used in two places.
func (v Value) with(w Value) Value {
	return Value{Columns: slices.Concat(v.Columns, w.Columns), Known: v.Known && w.Known, Flows: v.Flows || w.Flows}
}

// EachValue reports whether is holds for what is told of all constants and
// parameters, as far as it is certain which those are.
func (r *Result) EachValue(is func(v *Value) bool) bool {
	for i := range r.constants {
		if !is(&r.constants[i]) {
			return false
		}
	}
	for _, v := range r.params {
		if !is(&v) {
			return false
		}
	}
	return !r.misread
}

// Param returns what is told of the parameter $n.
func (r *Result) Param(n int) Value { return r.params[n] }

// values are what a text tells of its values.
type values struct {
	constants []Value // in the order of the text
	params    map[int]Value
	misread   bool // the lexer and the parser do not agree where constants are
}

func (v *values) size() int {
	n := 0
	var last *Column
	for _, list := range v.constants {
		n += 32
		// Constants that stand together share their columns.
		if len(list.Columns) > 0 && &list.Columns[0] != last {
			last = &list.Columns[0]
			n += 64 * len(list.Columns)
		}
	}
	for _, p := range v.params {
		n += 64 + 64*len(p.Columns)
	}
	return n
}

// A valuer finds what the values of a text meet.
type valuer struct {
	values
	sql   string
	at    []spot // where the constants are
	met   []bool // the constants that were found in the tree
	scope []relation
	ctes  []string
}

// A relation is one that columns may be of, by the name that it has in a query.
type relation struct {
	alias, schema, name string
	derived             bool // a subquery, a function, a WITH query
}

// A unit is what stands together in one expression.
type unit struct {
	columns   []Column
	constants []int
	params    []int
	open      bool // it may meet more than its columns
	flows     bool
}

// A sink takes the units of a query's results, each with its place, or -1 where
// that is not certain. A nil sink is that nobody else uses them.
type sink func(j int, u *unit)

// valuesOf returns what is told of the values of sql, which was parsed.
func valuesOf(sql string, parsed *tree.ParseResult) values {
	v := valuer{sql: sql}
	lex := lexer{text: sql}
	for kind := lex.next(); kind != tokenEnd; kind = lex.next() {
		if kind == tokenString || kind == tokenNumber {
			v.at = append(v.at, spot{lex.from, lex.pos})
		}
	}
	v.constants, v.met = make([]Value, len(v.at)), make([]bool, len(v.at))
	for _, raw := range parsed.GetStmts() {
		m := message(raw.GetStmt())
		if _, fetch := m.(*tree.FetchStmt); fetch { // it has numbers of rows only
			start := int(raw.GetStmtLocation())
			for i := v.after(start); i < len(v.at) && (raw.GetStmtLen() == 0 || v.at[i].from < start+int(raw.GetStmtLen())); i++ {
				v.constants[i].Known = true
			}
		}
		v.statement(m)
	}
	return v.values
}

// A spot is where a constant stands in the text.
type spot struct{ from, to int }

// after returns the index of the first constant that ends behind a location.
func (v *valuer) after(location int) int {
	return sort.Search(len(v.at), func(i int) bool { return v.at[i].to > location })
}

// constant returns the index of a constant in the tree, or -1 where it is no
// constant of the text: TRUE, NULL and key words are none.
func (v *valuer) constant(c *tree.A_Const) int {
	at := int(c.GetLocation())
	if c.GetIsnull() || c.GetBoolval() != nil || at < 0 || at >= len(v.sql) {
		return -1
	}
	i := v.after(at)
	if i < len(v.at) && (v.at[i].from <= at || v.sql[at] == '-') {
		return i
	}
	if begins(v.sql[at:]) {
		v.misread = true
	}
	return -1
}

// begins reports whether what PostgreSQL takes for a constant begins text.
func begins(text string) bool {
	switch c := text[0]; {
	case !isIdentStart(c):
		return true
	case len(text) > 1 && text[1] == '\'':
		return true
	case len(text) > 2 && c|0x20 == 'u' && text[1] == '&' && text[2] == '\'':
		return true
	}
	return false
}

// found adds what is told of a constant in one place.
func (v *valuer) found(i int, w Value) {
	if v.met[i] {
		w = v.constants[i].with(w)
	}
	v.constants[i], v.met[i] = w, true
}

func (v *valuer) foundParam(n int, w Value) {
	if v.params == nil {
		v.params = make(map[int]Value)
	}
	if old, met := v.params[n]; met {
		w = old.with(w)
	}
	v.params[n] = w
}

// close ends a unit: all its values meet all its columns.
func (v *valuer) close(u *unit) {
	if len(u.constants)+len(u.params) == 0 {
		return
	}
	w := Value{Columns: distinct(u.columns), Known: !u.open && len(u.columns) > 0, Flows: u.flows}
	for _, i := range u.constants {
		v.found(i, w)
	}
	for _, n := range u.params {
		v.foundParam(n, w)
	}
}

// distinct returns columns once each. The result has no room to grow.
func distinct(columns []Column) []Column {
	if len(columns) > 1 {
		seen := make(map[Column]struct{}, len(columns))
		columns = slices.DeleteFunc(columns, func(c Column) bool {
			_, again := seen[c]
			seen[c] = struct{}{}
			return again
		})
	}
	return slices.Clip(columns)
}

// plain takes values that are those of no column.
func (v *valuer) plain(m proto.Message) {
	switch m := m.(type) {
	case nil:
	case *tree.Node:
		v.plain(message(m))
	case *tree.A_Const:
		if i := v.constant(m); i >= 0 {
			v.found(i, Value{Known: true})
		}
	case *tree.ParamRef:
		v.foundParam(int(m.GetNumber()), Value{Known: true})
	default:
		children(m, func(child proto.Message) bool { v.plain(child); return true })
	}
}

// count takes a number of rows, or the place of a column.
func (v *valuer) count(n *tree.Node) {
	switch m := message(stripped(n)).(type) {
	case *tree.A_Const:
		if m.GetSval() == nil {
			v.plain(n)
			return
		}
	case *tree.ParamRef:
		v.plain(n)
		return
	}
	v.expression(n)
}

// expression takes an expression by itself.
func (v *valuer) expression(n *tree.Node) {
	var u unit
	v.collect(&u, message(n))
	v.close(&u)
}

func (v *valuer) expressions(list []*tree.Node) {
	for _, n := range list {
		v.expression(n)
	}
}

// condition takes a condition: what AND, OR and NOT connect does not meet.
func (v *valuer) condition(n *tree.Node) {
	switch m := message(n).(type) {
	case nil:
	case *tree.BoolExpr:
		for _, arg := range m.GetArgs() {
			v.condition(arg)
		}
	case *tree.A_Expr:
		if !v.rows(m) {
			v.expression(n)
		}
	default:
		v.expression(n)
	}
}

// rows takes a comparison of rows, whose values meet one by one.
func (v *valuer) rows(e *tree.A_Expr) bool {
	left := e.GetLexpr().GetRowExpr().GetArgs()
	if len(left) == 0 {
		return false
	}
	var rights []*tree.Node
	switch e.GetKind() {
	case tree.A_Expr_Kind_AEXPR_OP, tree.A_Expr_Kind_AEXPR_DISTINCT, tree.A_Expr_Kind_AEXPR_NOT_DISTINCT:
		rights = []*tree.Node{e.GetRexpr()}
	case tree.A_Expr_Kind_AEXPR_IN:
		rights = e.GetRexpr().GetList().GetItems()
	}
	for _, r := range rights {
		if len(r.GetRowExpr().GetArgs()) != len(left) {
			return false
		}
	}
	for k := range left {
		var u unit
		v.collect(&u, message(left[k]))
		for _, r := range rights {
			v.collect(&u, message(r.GetRowExpr().GetArgs()[k]))
		}
		v.close(&u)
	}
	return len(rights) > 0
}

// collect adds what stands in a part of an expression to u.
func (v *valuer) collect(u *unit, m proto.Message) {
	switch m := m.(type) {
	case nil:
	case *tree.Node:
		v.collect(u, message(m))
	case *tree.A_Const:
		if i := v.constant(m); i >= 0 {
			u.constants = append(u.constants, i)
		}
	case *tree.ParamRef:
		u.params = append(u.params, int(m.GetNumber()))
	case *tree.ColumnRef:
		v.column(u, m)
	case *tree.A_Expr:
		v.collect(u, message(m.GetLexpr()))
		v.collect(u, message(m.GetRexpr()))
	case *tree.List:
		for _, n := range m.GetItems() {
			v.collect(u, message(n))
		}
	case *tree.TypeCast:
		v.collect(u, message(m.GetArg()))
		v.plain(m.GetTypeName())
	case *tree.TypeName:
		v.plain(m)
	case *tree.SubLink:
		v.collect(u, message(m.GetTestexpr()))
		query := m.GetSubselect().GetSelectStmt()
		if m.GetSubLinkType() == tree.SubLinkType_EXISTS_SUBLINK {
			v.query(query, nil)
			return
		}
		v.query(query, func(_ int, inner *unit) { u.add(inner) })
	case *tree.SelectStmt:
		v.query(m, func(_ int, inner *unit) { u.add(inner) })
	case *tree.FuncCall:
		u.open = u.open || !transforms(m) // others may look up anything
		children(m, func(child proto.Message) bool { v.collect(u, child); return true })
	default:
		children(m, func(child proto.Message) bool { v.collect(u, child); return true })
	}
}

// transforms reports whether f is one of the functions that the parser itself
// puts in the place of SQL's special forms, and that make a value of another
// without looking anything up.
func transforms(f *tree.FuncCall) bool {
	name := texts(f.GetFuncname())
	if len(name) != 2 || name[0] != "pg_catalog" {
		return false
	}
	switch name[1] {
	case "like_escape", "similar_to_escape", "btrim", "ltrim", "rtrim", "extract", "timezone", "position", "substring", "overlay":
		return true
	}
	return false
}

// add makes what stands in w stand in u.
func (u *unit) add(w *unit) {
	u.columns = append(u.columns, w.columns...)
	u.constants = append(u.constants, w.constants...)
	u.params = append(u.params, w.params...)
	u.open, u.flows = u.open || w.open, u.flows || w.flows
}

// column adds the column that c names, or all that it may mean.
func (v *valuer) column(u *unit, c *tree.ColumnRef) {
	var names [3]string // the last of c's, "" for a star
	fields := c.GetFields()
	if len(fields) == 0 {
		return
	}
	fields = fields[max(0, len(fields)-3):]
	for i, n := range fields {
		names[3-len(fields)+i] = text(n)
	}
	schema, name, column := names[0], names[1], names[2]
	switch len(fields) {
	case 1:
		v.unqualified(u, column)
	case 2:
		for _, r := range slices.Backward(v.scope) {
			if r.alias != name {
				continue
			}
			if r.derived {
				u.flows, u.open = true, true
				u.columns = append(u.columns, Column{Name: column})
				return
			}
			u.columns = append(u.columns, Column{Schema: r.schema, Relation: r.name, Name: column})
			return
		}
		u.open = true
		u.columns = append(u.columns, Column{Relation: name, Name: column})
	default:
		u.columns = append(u.columns, Column{Schema: schema, Relation: name, Name: column})
	}
}

// unqualified adds a column that may be one of every relation in scope, or the
// whole row of one.
func (v *valuer) unqualified(u *unit, column string) {
	u.open = u.open || len(v.scope) == 0
	if len(v.scope) == 0 {
		u.columns = append(u.columns, Column{Name: column})
	}
	for _, r := range v.scope {
		switch {
		case r.derived:
			u.open, u.flows = true, true
			u.columns = append(u.columns, Column{Name: column})
		case r.alias == column:
			u.columns = append(u.columns, Column{Schema: r.schema, Relation: r.name})
			fallthrough
		default:
			u.columns = append(u.columns, Column{Schema: r.schema, Relation: r.name, Name: column})
		}
	}
}
