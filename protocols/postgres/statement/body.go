package statement

import (
	"strings"

	tree "github.com/pganalyze/pg_query_go/v6"
)

// A definition of a routine, as its options give it.
type routineOptions struct {
	language string
	body     []string
	repeated bool // an option came twice, so that it is unclear which counts
}

func (o *routineOptions) take(d *tree.DefElem) {
	switch d.GetDefname() {
	case "language":
		o.repeated = o.repeated || o.language != ""
		o.language = text(d.GetArg())
	case "as":
		o.repeated = o.repeated || o.body != nil
		if list := d.GetArg().GetList(); list != nil {
			o.body = texts(list.GetItems())
		} else {
			o.body = []string{text(d.GetArg())}
		}
	}
}

// do takes a DO block: what its body does is done.
func (b *builder) do(s *tree.DoStmt) {
	b.kind("DO")
	b.literal = true
	var o routineOptions
	for _, n := range s.GetArgs() {
		o.take(n.GetDefElem())
	}
	if o.language == "" {
		o.language = "plpgsql"
	}
	b.option("LANGUAGE " + o.language)
	if o.repeated || o.language != "plpgsql" || len(o.body) != 1 || !b.plpgsql(s, o.body[0], b.inside("do", true)) {
		b.opaque()
	}
}

// createFunction takes CREATE FUNCTION and CREATE PROCEDURE: what the body does
// is defined, not done.
func (b *builder) createFunction(s *tree.CreateFunctionStmt) {
	b.kind("CREATE FUNCTION")
	if s.GetIsProcedure() {
		b.kind("CREATE PROCEDURE")
	}
	b.literal = true
	b.writes(named(s.GetFuncname()))
	b.optionIf(s.GetReplace(), "OR REPLACE")
	b.functionOptions(s.GetOptions())
	outer := b.vars
	b.vars = make(map[string]struct{})
	defer func() { b.vars = outer }()
	for _, n := range s.GetParameters() {
		p := n.GetFunctionParameter()
		b.vars[p.GetName()] = struct{}{}
		b.visit(p.GetDefexpr())
	}
	var o routineOptions
	for _, n := range s.GetOptions() {
		o.take(n.GetDefElem())
	}
	if o.language == "" && s.GetSqlBody() != nil {
		o.language = "sql"
		b.option("LANGUAGE sql")
	}
	if !b.routineBody(s, o) {
		b.opaque()
	}
}

// routineBody takes the body of a routine. It returns false when some of it
// cannot be read.
func (b *builder) routineBody(s *tree.CreateFunctionStmt, o routineOptions) bool {
	p := b.inside("function", false)
	switch {
	case o.repeated:
		return false
	case s.GetSqlBody() != nil:
		b.atomicBody(s.GetSqlBody(), p)
		return o.language == "sql"
	case len(o.body) != 1:
		return false
	case o.language == "sql":
		return b.sql(o.body[0], p)
	case o.language == "plpgsql":
		return b.plpgsql(s, o.body[0], p)
	}
	return false
}

// atomicBody takes RETURN expression, or the statements of BEGIN ATOMIC.
func (b *builder) atomicBody(n *tree.Node, p place) {
	if list := n.GetList(); list != nil {
		for _, item := range list.GetItems() {
			b.atomicBody(item, p)
		}
		return
	}
	if message(n) != nil { // an empty statement is nothing
		b.statement(n, p)
	}
}

// functionOptions takes what CREATE and ALTER FUNCTION say beside the body.
func (b *builder) functionOptions(options []*tree.Node) {
	for _, n := range options {
		d := n.GetDefElem()
		on := d.GetArg().GetBoolean().GetBoolval()
		switch d.GetDefname() {
		case "language":
			b.option("LANGUAGE " + text(d.GetArg()))
		case "security":
			b.optionIf(on, "SECURITY DEFINER")
			b.optionIf(!on, "SECURITY INVOKER")
		case "leakproof":
			b.optionIf(on, "LEAKPROOF")
		case "volatility":
			b.option(strings.ToUpper(text(d.GetArg())))
		case "window":
			b.option("WINDOW")
		case "set":
			b.setVariable(d.GetArg().GetVariableSetStmt())
		case "support":
			b.option("SUPPORT")
			b.function(routine(d.GetArg().GetList().GetItems()))
		}
	}
}
