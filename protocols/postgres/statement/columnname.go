package statement

import (
	"cmp"

	tree "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"
)

// columnName is the name that PostgreSQL gives a result that has none
// (FigureColname).
func columnName(n *tree.Node) string {
	name, _ := figured(n)
	return cmp.Or(name, "?column?")
}

// figured returns the name that an expression suggests, and how much it does: a
// type's name less than another's.
func figured(n *tree.Node) (name string, strength int) {
	switch m := message(n).(type) {
	case *tree.ColumnRef:
		for _, f := range m.GetFields() {
			if s := f.GetString_(); s != nil {
				name = s.GetSval()
			}
		}
		return name, 2
	case *tree.A_Indirection:
		for _, f := range m.GetIndirection() {
			if s := f.GetString_(); s != nil {
				name = s.GetSval()
			}
		}
		if name != "" {
			return name, 2
		}
		return figured(m.GetArg())
	case *tree.FuncCall:
		return named(m.GetFuncname()).Name, 2
	case *tree.A_Expr:
		if m.GetKind() == tree.A_Expr_Kind_AEXPR_NULLIF {
			return "nullif", 2
		}
	case *tree.TypeCast:
		if name, strength = figured(m.GetArg()); strength <= 1 && m.GetTypeName() != nil {
			return named(m.GetTypeName().GetNames()).Name, 1
		}
		return name, strength
	case *tree.CollateClause:
		return figured(m.GetArg())
	case *tree.GroupingFunc:
		return "grouping", 2
	case *tree.SubLink:
		switch m.GetSubLinkType() {
		case tree.SubLinkType_EXISTS_SUBLINK:
			return "exists", 2
		case tree.SubLinkType_ARRAY_SUBLINK:
			return "array", 2
		case tree.SubLinkType_EXPR_SUBLINK:
			return firstName(m.GetSubselect().GetSelectStmt())
		}
	case *tree.CaseExpr:
		if name, strength = figured(m.GetDefresult()); strength <= 1 {
			return "case", 1
		}
		return name, strength
	case *tree.A_ArrayExpr:
		return "array", 2
	case *tree.RowExpr:
		return "row", 2
	case *tree.CoalesceExpr:
		return "coalesce", 2
	case *tree.MinMaxExpr:
		if m.GetOp() == tree.MinMaxOp_IS_LEAST {
			return "least", 2
		}
		return "greatest", 2
	case *tree.SQLValueFunction:
		return valueFunctions[m.GetOp()], 2
	case *tree.XmlExpr:
		return xmlNames[m.GetOp()], 2
	case *tree.XmlSerialize:
		return "xmlserialize", 2
	}
	if name = newFunction(message(n)); name != "" {
		return name, 2
	}
	return "", 0
}

// newFunction is the name of what the grammar has of its own since version 16 or
// 17, and was a function like others before.
func newFunction(m proto.Message) string {
	switch m := m.(type) {
	case *tree.JsonParseExpr:
		return "json"
	case *tree.JsonScalarExpr:
		return "json_scalar"
	case *tree.JsonSerializeExpr:
		return "json_serialize"
	case *tree.JsonObjectConstructor:
		return "json_object"
	case *tree.JsonArrayConstructor, *tree.JsonArrayQueryConstructor:
		return "json_array"
	case *tree.JsonObjectAgg:
		return "json_objectagg"
	case *tree.JsonArrayAgg:
		return "json_arrayagg"
	case *tree.JsonTable:
		return "json_table"
	case *tree.MergeSupportFunc:
		return "merge_action"
	case *tree.JsonFuncExpr:
		return map[tree.JsonExprOp]string{
			tree.JsonExprOp_JSON_EXISTS_OP: "json_exists", tree.JsonExprOp_JSON_QUERY_OP: "json_query", tree.JsonExprOp_JSON_VALUE_OP: "json_value",
		}[m.GetOp()]
	}
	return ""
}

// firstName is the name of a query's first result.
func firstName(s *tree.SelectStmt) (string, int) {
	for s.GetLarg() != nil {
		s = s.GetLarg()
	}
	if len(s.GetValuesLists()) > 0 {
		return "column1", 2
	}
	if len(s.GetTargetList()) == 0 {
		return "", 0
	}
	r := s.GetTargetList()[0].GetResTarget()
	return cmp.Or(r.GetName(), columnName(r.GetVal())), 2
}

var valueFunctions = map[tree.SQLValueFunctionOp]string{
	tree.SQLValueFunctionOp_SVFOP_CURRENT_DATE: "current_date", tree.SQLValueFunctionOp_SVFOP_CURRENT_TIME: "current_time",
	tree.SQLValueFunctionOp_SVFOP_CURRENT_TIME_N: "current_time", tree.SQLValueFunctionOp_SVFOP_CURRENT_TIMESTAMP: "current_timestamp",
	tree.SQLValueFunctionOp_SVFOP_CURRENT_TIMESTAMP_N: "current_timestamp", tree.SQLValueFunctionOp_SVFOP_LOCALTIME: "localtime",
	tree.SQLValueFunctionOp_SVFOP_LOCALTIME_N: "localtime", tree.SQLValueFunctionOp_SVFOP_LOCALTIMESTAMP: "localtimestamp",
	tree.SQLValueFunctionOp_SVFOP_LOCALTIMESTAMP_N: "localtimestamp", tree.SQLValueFunctionOp_SVFOP_CURRENT_ROLE: "current_role",
	tree.SQLValueFunctionOp_SVFOP_CURRENT_USER: "current_user", tree.SQLValueFunctionOp_SVFOP_USER: "user",
	tree.SQLValueFunctionOp_SVFOP_SESSION_USER: "session_user", tree.SQLValueFunctionOp_SVFOP_CURRENT_CATALOG: "current_catalog",
	tree.SQLValueFunctionOp_SVFOP_CURRENT_SCHEMA: "current_schema",
}

var xmlNames = map[tree.XmlExprOp]string{
	tree.XmlExprOp_IS_XMLCONCAT: "xmlconcat", tree.XmlExprOp_IS_XMLELEMENT: "xmlelement", tree.XmlExprOp_IS_XMLFOREST: "xmlforest",
	tree.XmlExprOp_IS_XMLPARSE: "xmlparse", tree.XmlExprOp_IS_XMLPI: "xmlpi", tree.XmlExprOp_IS_XMLROOT: "xmlroot",
}
