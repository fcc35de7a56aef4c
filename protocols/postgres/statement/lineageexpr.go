package statement

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	tree "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"

	"gatehouse/core/lineage"
)

func (t *translator) exprs(list []*tree.Node) []lineage.Expr {
	exprs := make([]lineage.Expr, len(list))
	for i, n := range list {
		exprs[i] = t.expr(n)
	}
	return exprs
}

// expr is an expression; nil where there is none.
func (t *translator) expr(n *tree.Node) lineage.Expr {
	t.size += nodeSize
	switch m := message(n).(type) {
	case nil, *tree.SetToDefault:
		return nil
	case *tree.A_Const:
		return literalOf(m)
	case *tree.SQLValueFunction:
		return sqlValues[m.GetOp()]
	case *tree.ParamRef:
		return t.argument(m)
	case *tree.ColumnRef:
		return reference(m)
	case *tree.A_Expr:
		return t.operation(m)
	case *tree.BoolExpr:
		return &lineage.Logic{Args: t.exprs(m.GetArgs()), And: m.GetBoolop() == tree.BoolExprType_AND_EXPR}
	case *tree.NullTest:
		return &lineage.Test{Arg: t.expr(m.GetArg())}
	case *tree.BooleanTest:
		return &lineage.Test{Arg: t.expr(m.GetArg())}
	case *tree.FuncCall:
		return t.call(m)
	case *tree.TypeCast:
		if message(m.GetArg()) == nil {
			return nil
		}
		if m.GetArg().GetAConst() != nil && ownType(m.GetTypeName()) {
			return &lineage.Constant{Type: called(m.GetTypeName().GetNames()), Many: len(m.GetTypeName().GetArrayBounds()) > 0}
		}
		return t.typed(t.expr(m.GetArg()), m.GetTypeName())
	case *tree.SubLink:
		return t.sublink(m)
	case *tree.A_Indirection:
		return t.indirection(m)
	case *tree.CollateClause:
		return t.oneOf("COLLATE", m.GetArg())
	case *tree.NamedArgExpr:
		return t.expr(m.GetArg())
	case *tree.RowExpr:
		return &lineage.Record{Fields: t.exprs(m.GetArgs())}
	case *tree.List:
		return &lineage.Record{Fields: t.exprs(m.GetItems())}
	case *tree.MultiAssignRef:
		return t.expr(m.GetSource())
	case *tree.A_ArrayExpr:
		array := t.oneOf("ARRAY", m.GetElements()...)
		array.Many = true
		return array
	case *tree.CoalesceExpr:
		return t.oneOf("COALESCE", m.GetArgs()...)
	case *tree.MinMaxExpr:
		return t.oneOf("GREATEST", m.GetArgs()...)
	case *tree.CaseExpr:
		return t.choice(m)
	case *tree.GroupingFunc:
		return integer // of the grouping set, which no value has a part in
	case *tree.CurrentOfExpr:
		return &lineage.Not{What: "the row that a cursor is at"}
	case *tree.XmlExpr:
		return t.xml(m)
	case *tree.XmlSerialize:
		return t.typed(t.expr(m.GetExpr()), m.GetTypeName())
	default:
		return t.json(m)
	}
}

func (t *translator) computed(what string, args ...*tree.Node) lineage.Expr {
	return &lineage.Computed{What: what, Args: t.exprs(args)}
}

// oneOf is one of several values, or made of them.
func (t *translator) oneOf(what string, args ...*tree.Node) *lineage.Computed {
	return &lineage.Computed{What: what, Args: t.exprs(args), Results: len(args)}
}

// Constants by their types. They are shared, since they say nothing else.
var (
	untyped   = &lineage.Constant{Type: lineage.Literal}
	integer   = constantOf("int4")
	bigint    = constantOf("int8")
	numeric   = constantOf("numeric")
	boolean   = constantOf("bool")
	bits      = constantOf("bit")
	nameValue = constantOf("name")
	sqlValues = map[tree.SQLValueFunctionOp]lineage.Expr{
		tree.SQLValueFunctionOp_SVFOP_CURRENT_DATE:        constantOf("date"),
		tree.SQLValueFunctionOp_SVFOP_CURRENT_TIME:        constantOf("timetz"),
		tree.SQLValueFunctionOp_SVFOP_CURRENT_TIME_N:      constantOf("timetz"),
		tree.SQLValueFunctionOp_SVFOP_CURRENT_TIMESTAMP:   constantOf("timestamptz"),
		tree.SQLValueFunctionOp_SVFOP_CURRENT_TIMESTAMP_N: constantOf("timestamptz"),
		tree.SQLValueFunctionOp_SVFOP_LOCALTIME:           constantOf("time"),
		tree.SQLValueFunctionOp_SVFOP_LOCALTIME_N:         constantOf("time"),
		tree.SQLValueFunctionOp_SVFOP_LOCALTIMESTAMP:      constantOf("timestamp"),
		tree.SQLValueFunctionOp_SVFOP_LOCALTIMESTAMP_N:    constantOf("timestamp"),
		tree.SQLValueFunctionOp_SVFOP_CURRENT_ROLE:        nameValue,
		tree.SQLValueFunctionOp_SVFOP_CURRENT_USER:        nameValue,
		tree.SQLValueFunctionOp_SVFOP_USER:                nameValue,
		tree.SQLValueFunctionOp_SVFOP_SESSION_USER:        nameValue,
		tree.SQLValueFunctionOp_SVFOP_CURRENT_CATALOG:     nameValue,
		tree.SQLValueFunctionOp_SVFOP_CURRENT_SCHEMA:      nameValue,
	}
)

func constantOf(name string) *lineage.Constant {
	return &lineage.Constant{Type: lineage.Name{Schema: "pg_catalog", Name: name}}
}

// literalOf is a literal of the type that the server takes it to have. Literals of
// one shape have one type.
func literalOf(c *tree.A_Const) *lineage.Constant {
	switch v := c.GetVal().(type) {
	case *tree.A_Const_Ival:
		return integer
	case *tree.A_Const_Fval:
		switch i, err := strconv.ParseInt(v.Fval.GetFval(), 0, 64); {
		case err != nil && !errors.Is(err, strconv.ErrRange) && strings.ContainsAny(v.Fval.GetFval(), "_xXoObB"):
			return nil
		case err != nil:
			return numeric
		case int64(int32(i)) == i:
			return integer
		}
		return bigint
	case *tree.A_Const_Boolval:
		return boolean
	case *tree.A_Const_Bsval:
		return bits
	}
	return untyped
}

// argument is a parameter. One that stands in several places, or is looked at
// several times, has the type that the first gives it.
func (t *translator) argument(p *tree.ParamRef) lineage.Expr {
	n := int(p.GetNumber())
	e := &lineage.Argument{Number: n, Once: !t.declared}
	for _, other := range t.arguments {
		if other.Number == n {
			other.Once, e.Once = false, false
		}
	}
	if len(t.arguments) < maxArguments {
		t.arguments = append(t.arguments, e)
	} else {
		e.Once = false
	}
	return e
}

// maxArguments is how many parameters are told apart.
const maxArguments = 64

// typed is a value as of a type, which may be none.
func (t *translator) typed(e lineage.Expr, to *tree.TypeName) lineage.Expr {
	if to == nil {
		return e
	}
	n := called(to.GetNames())
	many := len(to.GetArrayBounds()) > 0
	own := !many && (n.Schema == "" || n.Schema == "pg_catalog")
	return &lineage.Cast{Arg: e, To: n, Text: own && textTypes[n.Name], Many: many, Document: own && (n.Name == "json" || n.Name == "jsonb")}
}

// textTypes hold the text of every value.
var textTypes = map[string]bool{"text": true, "varchar": true, "bpchar": true, "name": true}

// reference is a column's name, or *.
func reference(c *tree.ColumnRef) *lineage.Ref {
	r := &lineage.Ref{}
	for _, n := range c.GetFields() {
		if n.GetAStar() != nil {
			r.Star = true
			continue
		}
		r.Parts = append(r.Parts, text(n))
	}
	return r
}

func (t *translator) operation(x *tree.A_Expr) lineage.Expr {
	if equal := pairs(x); equal != nil && !slices.ContainsFunc(equal, ofStar) {
		return &lineage.Logic{Args: t.exprs(equal), And: true} // as the server takes it
	}
	op := lineage.Operation{Operator: called(x.GetName())}
	switch x.GetKind() {
	case tree.A_Expr_Kind_AEXPR_OP_ANY, tree.A_Expr_Kind_AEXPR_OP_ALL:
		op.Any, op.Array = true, true
	case tree.A_Expr_Kind_AEXPR_DISTINCT, tree.A_Expr_Kind_AEXPR_NOT_DISTINCT:
		op.Implied = true
	case tree.A_Expr_Kind_AEXPR_NULLIF:
		op.Implied, op.First = true, true
	case tree.A_Expr_Kind_AEXPR_IN:
		op.Any = true
		op.Args = append([]lineage.Expr{t.several(x.GetLexpr())}, t.exprs(x.GetRexpr().GetList().GetItems())...)
		return &op
	case tree.A_Expr_Kind_AEXPR_BETWEEN, tree.A_Expr_Kind_AEXPR_NOT_BETWEEN, tree.A_Expr_Kind_AEXPR_BETWEEN_SYM, tree.A_Expr_Kind_AEXPR_NOT_BETWEEN_SYM:
		of, bounds := t.several(x.GetLexpr()), t.exprs(x.GetRexpr().GetList().GetItems())
		between, operators := &lineage.Logic{}, []string{">=", "<="}
		if x.GetKind() == tree.A_Expr_Kind_AEXPR_NOT_BETWEEN || x.GetKind() == tree.A_Expr_Kind_AEXPR_NOT_BETWEEN_SYM {
			operators = []string{"<", ">"}
		}
		for i, bound := range bounds {
			by := operators[i%2]
			between.Args = append(between.Args, &lineage.Operation{Operator: lineage.Name{Name: by}, Args: []lineage.Expr{of, bound}})
		}
		return between
	}
	if x.GetLexpr() != nil {
		op.Args = append(op.Args, t.expr(x.GetLexpr()))
	}
	op.Args = append(op.Args, t.expr(x.GetRexpr()))
	op.Places = t.operated(x)
	return &op
}

// ofStar is whether a side of a comparison may stand for several values.
func ofStar(n *tree.Node) bool {
	star := func(n *tree.Node) bool {
		if i := n.GetAIndirection().GetIndirection(); len(i) > 0 {
			return i[len(i)-1].GetAStar() != nil
		}
		f := n.GetColumnRef().GetFields()
		return len(f) > 0 && f[len(f)-1].GetAStar() != nil
	}
	return star(n.GetAExpr().GetLexpr()) || star(n.GetAExpr().GetRexpr())
}

func (t *translator) call(f *tree.FuncCall) lineage.Expr {
	c := &lineage.Call{
		Function: called(f.GetFuncname()), Args: t.exprs(f.GetArgs()), Variadic: f.GetFuncVariadic(), Star: f.GetAggStar(), Distinct: f.GetAggDistinct(),
		Order: t.sortExprs(f.GetAggOrder()), Filter: t.expr(f.GetAggFilter()), Within: f.GetAggWithinGroup(), Over: t.over(f.GetOver()),
	}
	for i, n := range f.GetArgs() {
		if a := n.GetNamedArgExpr(); a != nil {
			if c.Names == nil {
				c.Names = make([]string, len(f.GetArgs()))
			}
			c.Names[i] = a.GetName()
		}
	}
	c.Given, c.Places = t.given(f), t.extracting(f)
	t.size += nodeSize
	return c
}

func (t *translator) choice(c *tree.CaseExpr) lineage.Expr {
	e := &lineage.Computed{What: "CASE", Args: []lineage.Expr{untyped}, Results: 1 + len(c.GetArgs())}
	if c.GetDefresult() != nil {
		e.Args[0] = t.expr(c.GetDefresult())
	}
	for _, n := range c.GetArgs() {
		e.Args = append(e.Args, t.expr(n.GetCaseWhen().GetResult()))
	}
	of := t.several(c.GetArg())
	if c.GetArg() != nil {
		e.Args = append(e.Args, of, &lineage.Operation{Operator: lineage.Name{Name: "="}, Args: make([]lineage.Expr, 2), Implied: true})
	}
	for _, n := range c.GetArgs() {
		e.Args = append(e.Args, t.expr(n.GetCaseWhen().GetExpr()))
	}
	return e
}

// several is an expression that is compared several times.
func (t *translator) several(n *tree.Node) lineage.Expr {
	first := len(t.arguments)
	e := t.expr(n)
	for _, a := range t.arguments[first:] {
		a.Once = false
	}
	return e
}

// indirection takes fields and elements of a value.
func (t *translator) indirection(x *tree.A_Indirection) lineage.Expr {
	e := t.expr(x.GetArg())
	for _, n := range x.GetIndirection() {
		switch m := message(n).(type) {
		case *tree.String:
			e = &lineage.Member{Of: e, Name: m.GetSval()}
		case *tree.A_Star:
			e = &lineage.Member{Of: e, Star: true}
		case *tree.A_Indices:
			e = &lineage.Computed{What: "an element", Args: []lineage.Expr{e, t.expr(m.GetLidx()), t.expr(m.GetUidx())},
				Extracts: lineage.ExtractsDocument, Places: t.subscripted(m)}
		}
	}
	return e
}

func (t *translator) sublink(l *tree.SubLink) lineage.Expr {
	s := &lineage.Subquery{Query: t.statement(message(l.GetSubselect())), Test: t.expr(l.GetTestexpr()), Operator: called(l.GetOperName())}
	switch l.GetSubLinkType() {
	case tree.SubLinkType_EXISTS_SUBLINK:
		s.Kind = lineage.Exists
	case tree.SubLinkType_ANY_SUBLINK, tree.SubLinkType_ALL_SUBLINK:
		s.Kind = lineage.Any
		if s.Operator.Name == "" {
			s.Operator.Name = "="
		}
	case tree.SubLinkType_ARRAY_SUBLINK:
		s.Kind = lineage.Array
	}
	return s
}

func (t *translator) xml(x *tree.XmlExpr) lineage.Expr {
	e := &lineage.Computed{What: "XML", Args: t.exprs(x.GetArgs()), Fails: true}
	for _, n := range x.GetNamedArgs() {
		e.Args = append(e.Args, t.expr(n.GetResTarget().GetVal()))
	}
	return e
}

// json is one of the constructors and queries of JSON, or what is not followed.
func (t *translator) json(m proto.Message) lineage.Expr {
	build := func(to *tree.JsonOutput, args ...lineage.Expr) lineage.Expr {
		return t.typed(&lineage.Computed{What: "JSON", Args: args, Fails: true}, to.GetTypeName())
	}
	switch m := m.(type) {
	case *tree.JsonObjectConstructor:
		return build(m.GetOutput(), t.exprs(m.GetExprs())...)
	case *tree.JsonArrayConstructor:
		return build(m.GetOutput(), t.exprs(m.GetExprs())...)
	case *tree.JsonArrayQueryConstructor:
		return build(m.GetOutput(), &lineage.Subquery{Kind: lineage.Array, Query: t.statement(message(m.GetQuery()))})
	case *tree.JsonKeyValue:
		return build(nil, t.expr(m.GetKey()), t.jsonValue(m.GetValue()))
	case *tree.JsonValueExpr:
		return t.jsonValue(m)
	case *tree.JsonFuncExpr:
		args := append([]lineage.Expr{t.jsonValue(m.GetContextItem()), t.expr(m.GetPathspec())}, t.passing(m.GetPassing())...)
		e := &lineage.Computed{What: "JSON", Args: append(args, t.behaviors(m.GetOnEmpty(), m.GetOnError())...), Fails: true, Extracts: lineage.ExtractsValue}
		t.literal, e.Places = true, jsonPath(m.GetPathspec())
		return t.typed(e, m.GetOutput().GetTypeName())
	case *tree.JsonParseExpr:
		return build(m.GetOutput(), t.jsonValue(m.GetExpr()))
	case *tree.JsonScalarExpr:
		return build(m.GetOutput(), t.expr(m.GetExpr()))
	case *tree.JsonSerializeExpr:
		return build(m.GetOutput(), t.jsonValue(m.GetExpr()))
	case *tree.JsonIsPredicate:
		return t.computed("IS JSON", m.GetExpr())
	case *tree.JsonObjectAgg:
		return t.jsonAggregate("json_object_agg", m.GetConstructor(), t.expr(m.GetArg().GetKey()), t.jsonValue(m.GetArg().GetValue()))
	case *tree.JsonArrayAgg:
		return t.jsonAggregate("json_agg", m.GetConstructor(), t.jsonValue(m.GetArg()))
	}
	return &lineage.Not{What: "an expression of another kind: " + string(m.ProtoReflect().Descriptor().Name())}
}

func (t *translator) jsonAggregate(function string, c *tree.JsonAggConstructor, args ...lineage.Expr) lineage.Expr {
	call := &lineage.Call{
		Function: lineage.Name{Schema: "pg_catalog", Name: function}, Args: args,
		Order: t.sortExprs(c.GetAggOrder()), Filter: t.expr(c.GetAggFilter()), Over: t.over(c.GetOver()),
	}
	return t.typed(call, c.GetOutput().GetTypeName())
}

func (t *translator) jsonValue(v *tree.JsonValueExpr) lineage.Expr {
	if v == nil {
		return nil
	}
	return t.expr(v.GetRawExpr())
}

// passing are the values of PASSING.
func (t *translator) passing(list []*tree.Node) []lineage.Expr {
	var exprs []lineage.Expr
	for _, n := range list {
		exprs = append(exprs, t.jsonValue(n.GetJsonArgument().GetVal()))
	}
	return exprs
}

// behaviors are the values of DEFAULT … ON ERROR and ON EMPTY.
func (t *translator) behaviors(list ...*tree.JsonBehavior) []lineage.Expr {
	var exprs []lineage.Expr
	for _, b := range list {
		if b.GetExpr() != nil {
			exprs = append(exprs, t.expr(b.GetExpr()))
		}
	}
	return exprs
}
