package statement

import (
	"strings"

	tree "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"

	"gatehouse/core/event"
)

// message returns what a node holds, or nil.
func message(n *tree.Node) proto.Message {
	switch w := n.GetNode().(type) {
	case nil:
		return nil
	case *tree.Node_ColumnRef:
		return w.ColumnRef
	case *tree.Node_AConst:
		return w.AConst
	case *tree.Node_ParamRef:
		return w.ParamRef
	case *tree.Node_AExpr:
		return w.AExpr
	case *tree.Node_BoolExpr:
		return w.BoolExpr
	case *tree.Node_FuncCall:
		return w.FuncCall
	case *tree.Node_ResTarget:
		return w.ResTarget
	case *tree.Node_TypeCast:
		return w.TypeCast
	case *tree.Node_RangeVar:
		return w.RangeVar
	case *tree.Node_SelectStmt:
		return w.SelectStmt
	case *tree.Node_List:
		return w.List
	}
	r := n.ProtoReflect()
	field := r.WhichOneof(r.Descriptor().Oneofs().Get(0))
	if field == nil {
		return nil
	}
	return r.Get(field).Message().Interface()
}

// children calls yield with every message right below m, in the order of their
// fields, until it says no.
func children(m proto.Message, yield func(proto.Message) bool) bool {
	if n, ok := m.(*tree.Node); ok {
		inner := message(n)
		return inner == nil || yield(inner)
	}
	r := m.ProtoReflect()
	fields := r.Descriptor().Fields() // Range has an order of its own in each build
	for i := range fields.Len() {
		field := fields.Get(i)
		if field.Message() == nil || !r.Has(field) {
			continue
		}
		v := r.Get(field)
		if !field.IsList() {
			if !yield(v.Message().Interface()) {
				return false
			}
			continue
		}
		for i, list := 0, v.List(); i < list.Len(); i++ {
			if !yield(list.Get(i).Message().Interface()) {
				return false
			}
		}
	}
	return true
}

// visit takes the facts of a part of the tree into the open statement. What it
// does not know it looks through, so that nothing below is missed.
func (b *builder) visit(m proto.Message) {
	if compares(m) {
		b.deciding++
		defer func() { b.deciding-- }()
	}
	switch m := m.(type) {
	case nil:
	case *tree.Node:
		b.visit(message(m))
	case *tree.SelectStmt:
		b.query(m)
	case *tree.RangeVar:
		b.relation(m)
	case *tree.ColumnRef:
		b.columnRef(m)
	case *tree.FuncCall:
		b.funcCall(m)
	case *tree.A_Indirection:
		b.indirection(m)
	case *tree.JoinExpr:
		b.join(m)
	case *tree.WindowDef: // in this order, which reflection does not keep
		b.visitAll(m.GetPartitionClause(), m.GetOrderClause())
		b.visit(m.GetStartOffset())
		b.visit(m.GetEndOffset())
	case *tree.InsertStmt, *tree.UpdateStmt, *tree.DeleteStmt, *tree.MergeStmt:
		b.statementOf(m, b.inside("cte", true))
	case *tree.CaseExpr:
		if m.GetArg() != nil {
			b.symbol("=")
		}
		b.decides(m.GetArg())
		b.visitAll(m.GetArgs(), []*tree.Node{m.GetDefresult()})
	case *tree.CaseWhen:
		b.decides(m.GetExpr())
		b.visit(m.GetResult())
	case *tree.A_Expr:
		b.operatorName(m.GetName())
		b.children(m)
	case *tree.SubLink:
		b.operatorName(m.GetOperName())
		b.children(m)
	case *tree.SortBy:
		b.operatorName(m.GetUseOp())
		b.children(m)
	case *tree.TypeName:
		b.typeName(m)
	case *tree.A_Const, *tree.ParamRef, *tree.String, *tree.RoleSpec, *tree.Alias:
	default:
		b.function(newFunction(m))
		b.children(m)
	}
}

func (b *builder) children(m proto.Message) {
	children(m, func(child proto.Message) bool {
		b.visit(child)
		return true
	})
}

// visitAll visits the nodes of lists.
func (b *builder) visitAll(lists ...[]*tree.Node) {
	for _, list := range lists {
		for _, n := range list {
			b.visit(n)
		}
	}
}

// relation is a relation that is read.
func (b *builder) relation(r *tree.RangeVar) {
	if r.GetSchemaname() == "" {
		if _, ok := b.ctes.lookup(r.GetRelname()); ok {
			return
		}
	}
	b.reads(object(r))
}

// columnRef is a column, or a whole row, that is named.
func (b *builder) columnRef(c *tree.ColumnRef) {
	fields := make([]string, len(c.GetFields()))
	for i, n := range c.GetFields() {
		if n.GetAStar() != nil {
			fields[i] = "*"
		} else {
			fields[i] = text(n)
		}
	}
	switch len(fields) {
	case 0:
	case 1:
		b.column(fields[0])
		if relation, ok := b.aliases.lookup(fields[0]); ok && relation != "" {
			b.column(relation + ".*")
		}
	case 2:
		if relation, ok := b.aliases.lookup(fields[0]); ok && relation != "" {
			fields[0] = relation
		}
		fallthrough
	default:
		b.column(strings.Join(fields, "."))
		b.member(fields[0], fields[len(fields)-1], len(fields) == 2)
	}
}

// member is a column of a relation, name.member, or a call of the function
// member. What a function in FROM returns may be any value, not a row.
func (b *builder) member(name, member string, maybeValue bool) {
	relation, known := b.aliases.lookup(name)
	switch {
	case member == "*":
	case maybeValue && known && relation == "":
		b.field("." + member)
		if runsText(member) {
			b.opaque()
		}
	default:
		b.field(member)
	}
}

// indirection takes (value).name, which is a field of it, or a call of the
// function name.
func (b *builder) indirection(i *tree.A_Indirection) {
	of := i.GetArg()
	for _, n := range i.GetIndirection() {
		if name := text(n); name != "" {
			b.field("." + name)
			if runsText(name) {
				b.byName(name, &tree.FuncCall{Args: []*tree.Node{of}})
			}
		}
		of = null
	}
	b.children(i)
}

// addAliases brings the names of FROM items into scope.
func (b *builder) addAliases(items ...*tree.Node) {
	for _, n := range items {
		switch n := message(n).(type) {
		case *tree.RangeVar:
			b.addAlias(n)
		case *tree.JoinExpr:
			b.addAliases(n.GetLarg(), n.GetRarg())
			b.addSubquery(n.GetAlias())
		case *tree.RangeSubselect:
			b.addSubquery(n.GetAlias())
		case *tree.RangeFunction:
			b.addSubquery(n.GetAlias())
		case *tree.RangeTableFunc:
			b.addSubquery(n.GetAlias())
		case *tree.RangeTableSample:
			b.addAliases(n.GetRelation())
		case *tree.JsonTable:
			b.addSubquery(n.GetAlias())
		}
	}
}

func (b *builder) addAlias(r *tree.RangeVar) {
	name := r.GetAlias().GetAliasname()
	if name == "" {
		name = r.GetRelname()
	}
	relation := object(r).String()
	if r.GetSchemaname() == "" {
		if _, ok := b.ctes.lookup(r.GetRelname()); ok {
			relation = ""
		}
	}
	b.aliases.push(name, relation)
}

func (b *builder) addSubquery(a *tree.Alias) {
	if a.GetAliasname() != "" {
		b.aliases.push(a.GetAliasname(), "")
	}
}

// text returns what a String node holds.
func text(n *tree.Node) string { return n.GetString_().GetSval() }

// texts returns what a list of String nodes holds.
func texts(list []*tree.Node) []string {
	var values []string
	for _, n := range list {
		values = append(values, text(n))
	}
	return values
}

// named turns the parts of a qualified name into an object.
func named(parts []*tree.Node) event.Object {
	names := texts(parts)
	switch len(names) {
	case 0:
		return event.Object{}
	case 1:
		return event.Object{Name: names[0]}
	}
	return event.Object{Schema: names[len(names)-2], Name: names[len(names)-1]}
}

// routine writes a qualified name as functions are written: lower case and
// without pg_catalog.
func routine(parts []*tree.Node) string {
	o := named(parts)
	if strings.EqualFold(o.Schema, "pg_catalog") {
		o.Schema = ""
	}
	return strings.ToLower(o.String())
}
