package statement

import (
	"strings"

	tree "github.com/pganalyze/pg_query_go/v6"
)

// sqlText says which arguments of a function are SQL that it runs. Where it
// has none, the function reads what its arguments do not say.
var sqlText = map[string][]argument{
	"query_to_xml":                  {{0, "query"}},
	"query_to_xmlschema":            {{0, "query"}},
	"query_to_xml_and_xmlschema":    {{0, "query"}},
	"ts_stat":                       {{0, "query"}},
	"crosstab":                      {{0, ""}, {1, ""}},
	"crosstab2":                     {{0, ""}},
	"crosstab3":                     {{0, ""}},
	"crosstab4":                     {{0, ""}},
	"crosstab_hash":                 {{0, ""}, {1, ""}},
	"dblink_send_query":             {{1, ""}},
	"dblink_fetch":                  nil,
	"dblink_get_result":             nil,
	"connectby":                     nil,
	"cursor_to_xml":                 nil,
	"cursor_to_xmlschema":           nil,
	"schema_to_xml":                 nil,
	"schema_to_xmlschema":           nil,
	"schema_to_xml_and_xmlschema":   nil,
	"database_to_xml":               nil,
	"database_to_xmlschema":         nil,
	"database_to_xml_and_xmlschema": nil,
}

// An argument of a function, by position from 0 and by name.
type argument struct {
	at   int
	name string
}

// funcCall takes a function call, and what the functions do that work on names
// and statements given as text.
func (b *builder) funcCall(f *tree.FuncCall) {
	name := routine(f.GetFuncname())
	b.function(name)
	b.byName(name, f)
	b.visitAll(f.GetArgs(), f.GetAggOrder())
	b.visit(f.GetAggFilter())
	if f.GetOver() != nil {
		b.visit(f.GetOver())
	}
}

// runsText reports whether a function runs SQL that it is given as text.
func runsText(name string) bool {
	_, known := sqlText[name]
	return known || strings.HasPrefix(name, "dblink")
}

func (b *builder) byName(name string, f *tree.FuncCall) {
	base := name[strings.LastIndexByte(name, '.')+1:]
	literal := b.literal
	b.literal = true
	switch base {
	case "set_config":
		b.setConfig(f)
	case "table_to_xml", "table_to_xmlschema", "table_to_xml_and_xmlschema":
		b.tableByName(f)
	case "xpath_table":
		b.xpathTable(f)
	case "ts_rewrite":
		if len(f.GetArgs()) == 2 {
			b.run(f, argument{1, ""})
		}
	case "dblink", "dblink_exec", "dblink_open":
		b.dblink(base, f)
	default:
		if args, known := sqlText[base]; known {
			b.runAll(f, args)
		} else {
			b.literal = literal
		}
	}
}

// runAll reads the arguments that a call has of those that hold SQL.
func (b *builder) runAll(f *tree.FuncCall, args []argument) {
	ran := false
	for _, a := range args {
		if operand(f, a) != nil {
			ran = true
			b.run(f, a)
		}
	}
	if !ran {
		b.opaque()
	}
}

// operand returns an argument of a call, or nil.
func operand(f *tree.FuncCall, a argument) *tree.Node {
	if f.GetFuncVariadic() {
		return nil
	}
	for i, n := range f.GetArgs() {
		if by := n.GetNamedArgExpr(); by != nil {
			if a.name != "" && by.GetName() == a.name {
				return by.GetArg()
			}
		} else if i == a.at {
			return n
		}
	}
	return nil
}

// run reads an argument as the SQL that the function runs.
func (b *builder) run(f *tree.FuncCall, a argument) {
	sql, ok := constant(operand(f, a))
	if !ok || !b.sql(sql, b.inside("function", true)) {
		b.opaque()
	}
}

// dblink finds the statement among the arguments: the last text, after the
// name of a connection or a cursor.
func (b *builder) dblink(name string, f *tree.FuncCall) {
	last := -1
	for i, n := range f.GetArgs() {
		if n.GetNamedArgExpr() != nil {
			b.opaque()
			return
		}
		if n.GetAConst().GetBoolval() == nil {
			last = i
		}
	}
	if last < 0 || name == "dblink_open" && last == 0 {
		b.opaque()
		return
	}
	b.run(f, argument{at: last})
}

// setConfig takes set_config(name, value, is_local).
func (b *builder) setConfig(f *tree.FuncCall) {
	setting := operand(f, argument{0, "setting_name"})
	name, ok := constant(setting)
	if !ok && b.only != "" && isColumn(setting, "name") {
		name, ok = b.only, true
	}
	if !ok {
		b.opaque()
		b.setting("all")
		return
	}
	b.setting(name)
	if value, ok := constant(operand(f, argument{1, "new_value"})); ok {
		b.option(valueWords(strings.ToLower(name), value))
	}
	b.optionIf(operand(f, argument{2, "is_local"}).GetAConst().GetBoolval().GetBoolval(), "LOCAL")
}

// tableByName takes table_to_xml('schema.table', …).
func (b *builder) tableByName(f *tree.FuncCall) {
	name, ok := constant(operand(f, argument{0, "tbl"}))
	if !ok || !b.relationText(name) {
		b.opaque()
	}
}

// relationText reads a text as the name of a relation.
func (b *builder) relationText(name string) bool {
	parsed, ok := b.parse("TABLE " + name)
	if !ok || len(parsed.GetStmts()) != 1 {
		return false
	}
	from := parsed.GetStmts()[0].GetStmt().GetSelectStmt().GetFromClause()
	if len(from) != 1 || from[0].GetRangeVar() == nil {
		return false
	}
	b.reads(object(from[0].GetRangeVar()))
	return true
}

// xpathTable takes xpath_table(key, document, relation, xpaths, criteria),
// which puts its arguments together to a query.
func (b *builder) xpathTable(f *tree.FuncCall) {
	var part [5]string
	for i := range part {
		var ok bool
		if part[i], ok = constant(operand(f, argument{at: i})); !ok {
			b.opaque()
			return
		}
	}
	query := "SELECT " + part[0] + ", " + part[1] + " FROM " + part[2] + " WHERE " + part[4]
	if !b.sql(query, b.inside("function", true)) {
		b.opaque()
	}
}

// constant returns the value of a text constant.
func constant(n *tree.Node) (string, bool) {
	if cast := n.GetTypeCast(); cast != nil && textType(cast.GetTypeName()) {
		n = cast.GetArg()
	}
	s, ok := n.GetAConst().GetVal().(*tree.A_Const_Sval)
	if !ok {
		return "", false
	}
	return s.Sval.GetSval(), true
}

// textType reports whether a cast to a type leaves text as it is.
func textType(t *tree.TypeName) bool {
	if len(t.GetTypmods()) > 0 || len(t.GetArrayBounds()) > 0 {
		return false
	}
	o := named(t.GetNames())
	if o.Schema != "" && o.Schema != "pg_catalog" {
		return false
	}
	switch o.Name {
	case "text", "varchar", "unknown", "cstring", "regclass":
		return true
	}
	return false
}

// valueWords names the values of settings that matter for judging a change.
func valueWords(setting, value string) string {
	value = strings.ToLower(strings.TrimSpace(value))
	if setting == "client_encoding" {
		switch strings.NewReplacer("-", "", "_", "", " ", "").Replace(value) {
		case "utf8", "unicode":
			return "TO UTF8"
		}
		return ""
	}
	switch value {
	case "on", "true", "yes", "1":
		return "TO ON"
	case "off", "false", "no", "0":
		return "TO OFF"
	}
	return ""
}
