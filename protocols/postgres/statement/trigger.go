package statement

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	tree "github.com/pganalyze/pg_query_go/v6"

	"gatehouse/core/lineage"
)

// A Trigger is what the function of a trigger, or a rule, does with a row, as far as
// package lineage follows that.
type Trigger struct {
	// When are conditions of which some may decide what is done, Set is what
	// becomes of the row, and Do what else is done.
	When []lineage.Expr
	Set  []lineage.Assignment
	Do   []lineage.Statement
	// Unread is why it is not followed, for people, if so.
	Unread string
}

// TriggerRows are the names by which the function of a trigger knows the row, and
// TriggerConstants others that it knows.
var (
	TriggerRows      = []string{"new", "old"}
	TriggerConstants = []string{"found", "tg_name", "tg_when", "tg_level", "tg_op", "tg_relid", "tg_relname", "tg_table_name", "tg_table_schema", "tg_nargs", "tg_argv"}
)

// Trigger reads the body of a trigger's function in PL/pgSQL: assignments to
// columns of NEW, statements that write, conditions, PERFORM and RETURN NEW, OLD
// or NULL. It uses no variables. When is the trigger's own condition, "" if it
// has none. The error is one of Analyze, but for what cannot be read.
func (a *Analyzer) Trigger(ctx context.Context, body, when string) (*Trigger, error) {
	t := &Trigger{}
	switch {
	case a.limits.check(body) != nil || !bearable(body):
		t.Unread = "its body is too large or too deep"
	case strings.HasPrefix(strings.TrimSpace(body), "#") || declares(body):
		t.Unread = "it declares variables, or how names are read"
	}
	if t.Unread != "" {
		return t, nil
	}
	source, err := a.parser.parsePLpgSQL(ctx, "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS '"+strings.ReplaceAll(body, "'", "''")+"'")
	if syntax, is := errors.AsType[*SyntaxError](err); is {
		t.Unread = "its body cannot be read: " + syntax.Message
		return t, nil
	}
	if err != nil {
		return nil, err
	}
	var functions []struct {
		Function *struct {
			Datums []map[string]plpgsqlDatum `json:"datums"`
			Action plpgsqlNode               `json:"action"`
		} `json:"PLpgSQL_function"`
	}
	if json.Unmarshal([]byte(source), &functions) != nil || len(functions) != 1 || functions[0].Function == nil {
		t.Unread = "its body cannot be read"
		return t, nil
	}
	r := &triggerReader{ctx: ctx, analyzer: a, trigger: t}
	for _, datum := range functions[0].Function.Datums {
		for kind, d := range datum {
			if kind != "PLpgSQL_recfield" && !(kind == "PLpgSQL_rec" && (d.Name == "new" || d.Name == "old")) && !(kind == "PLpgSQL_var" && d.Name == "found") {
				r.unread("it has variables")
			}
		}
	}
	if when != "" {
		r.condition(when)
	}
	r.node(functions[0].Function.Action)
	return t, r.err
}

// declares is whether the word DECLARE stands in a body.
func declares(body string) bool {
	lex := lexer{text: body}
	for kind := lex.next(); kind != tokenEnd; kind = lex.next() {
		if kind == tokenWord && strings.EqualFold(lex.token(), "declare") {
			return true
		}
	}
	return false
}

// A plpgsqlDatum is a variable of a body.
type plpgsqlDatum struct {
	Name string `json:"refname"`
}

// A plpgsqlNode is one node of a body: its kind, with its fields.
type plpgsqlNode map[string]map[string]json.RawMessage

// A triggerReader reads the nodes of a trigger's body.
type triggerReader struct {
	ctx      context.Context
	analyzer *Analyzer
	trigger  *Trigger
	err      error
}

// unread notes that it is not followed.
func (r *triggerReader) unread(why string) {
	if r.trigger.Unread == "" {
		r.trigger.Unread = why
	}
}

// followed are the fields of nodes that are followed. Nodes that have others are not.
var followed = map[string][]string{
	"PLpgSQL_stmt_block":   {"body", "lineno"},
	"PLpgSQL_stmt_if":      {"cond", "then_body", "elsif_list", "else_body", "lineno"},
	"PLpgSQL_if_elsif":     {"cond", "stmts", "lineno"},
	"PLpgSQL_stmt_assign":  {"expr", "varno", "lineno"},
	"PLpgSQL_stmt_execsql": {"sqlstmt", "lineno"},
	"PLpgSQL_stmt_perform": {"expr", "lineno"},
	"PLpgSQL_stmt_return":  {"expr", "lineno"},
}

func (r *triggerReader) node(n plpgsqlNode) {
	if len(n) != 1 {
		r.unread("its body cannot be read")
		return
	}
	for kind, fields := range n {
		known, is := followed[kind]
		if !is {
			r.unread("it has a statement that is not followed: " + strings.ToUpper(strings.TrimPrefix(kind, "PLpgSQL_stmt_")))
			return
		}
		for name := range fields {
			if !slices.Contains(known, name) {
				r.unread("it has " + strings.ToUpper(name) + ", which is not followed")
				return
			}
		}
		switch kind {
		case "PLpgSQL_stmt_block":
			r.list(fields["body"])
		case "PLpgSQL_stmt_if", "PLpgSQL_if_elsif":
			r.condition(r.text(fields["cond"]))
			for _, part := range []string{"then_body", "elsif_list", "else_body", "stmts"} {
				r.list(fields[part])
			}
		case "PLpgSQL_stmt_assign":
			r.assign(fields["expr"])
		case "PLpgSQL_stmt_execsql":
			r.do(r.text(fields["sqlstmt"]))
		case "PLpgSQL_stmt_perform":
			r.do(r.text(fields["expr"]))
		case "PLpgSQL_stmt_return":
			if text := r.text(fields["expr"]); !slices.Contains([]string{"new", "old", "null"}, strings.ToLower(strings.TrimSpace(text))) {
				r.unread("it returns something else than NEW, OLD or NULL")
			}
		}
	}
}

// list reads a list of nodes, which may not be there.
func (r *triggerReader) list(raw json.RawMessage) {
	var nodes []plpgsqlNode
	if len(raw) > 0 && json.Unmarshal(raw, &nodes) != nil {
		r.unread("its body cannot be read")
	}
	for _, n := range nodes {
		r.node(n)
	}
}

// text is that of an expression.
func (r *triggerReader) text(raw json.RawMessage) string {
	var n struct {
		Expr struct {
			Query string `json:"query"`
		} `json:"PLpgSQL_expr"`
	}
	if json.Unmarshal(raw, &n) != nil || n.Expr.Query == "" {
		r.unread("its body cannot be read")
	}
	return n.Expr.Query
}

// query reads one statement.
func (r *triggerReader) query(sql string) lineage.Statement {
	facts, err := r.analyzer.Analyze(r.ctx, sql)
	switch {
	case r.ctx.Err() != nil || errors.Is(err, ErrParser):
		r.err = errors.Join(r.err, err)
	case err == nil && facts.Len() == 1:
		return facts.Query(0)
	}
	r.unread("a statement or an expression of it cannot be read")
	return nil
}

// values reads a list of expressions, and nothing else.
func (r *triggerReader) values(list string, n int) []lineage.Expr {
	q, _ := r.query("SELECT " + list).(*lineage.Query)
	if q == nil {
		r.unread("an expression of it cannot be read")
		return nil
	}
	s, _ := q.Body.(*lineage.Select)
	if s == nil || len(s.Targets) != n || len(s.From)+len(s.DistinctOn)+len(s.Group)+len(q.Order)+len(q.With.Queries) > 0 || s.Where != nil || s.Having != nil || s.Distinct || s.Grouped || q.Limited || q.Locks {
		r.unread("an expression of it is a query")
		return nil
	}
	all := make([]lineage.Expr, n)
	for i := range all {
		all[i] = s.Targets[i].Expr
	}
	return all
}

// condition reads a condition.
func (r *triggerReader) condition(text string) {
	if e := r.values(text, 1); e != nil {
		r.trigger.When = append(r.trigger.When, e[0])
	}
}

// assign reads an assignment to a column of NEW.
func (r *triggerReader) assign(raw json.RawMessage) {
	list, assigns := strings.CutPrefix(assignment(r.text(raw)), "SELECT ")
	if !assigns {
		r.unread("an assignment of it cannot be read")
		return
	}
	e := r.values(list, 2)
	if e == nil {
		return
	}
	to, _ := e[0].(*lineage.Ref)
	if to == nil || to.Star || len(to.Parts) != 2 || to.Parts[0] != "new" {
		r.unread("it assigns to something else than a column of NEW")
		return
	}
	r.trigger.Set = append(r.trigger.Set, lineage.Assignment{Columns: []string{to.Parts[1]}, Value: e[1]})
}

// do reads a statement that is run.
func (r *triggerReader) do(sql string) {
	switch q := r.query(sql).(type) {
	case *lineage.Query, *lineage.Insert, *lineage.Update, *lineage.Delete:
		r.trigger.Do = append(r.trigger.Do, q)
	default:
		r.unread("a statement of it is not followed")
	}
}

// Rule reads a CREATE RULE that adds statements to a write. The error is one of
// Analyze, but for what cannot be read.
func (a *Analyzer) Rule(ctx context.Context, sql string) (*Trigger, error) {
	t := &Trigger{Unread: "it cannot be read"}
	if a.limits.check(sql) != nil {
		return t, nil
	}
	parsed, err := a.parser.parse(ctx, sql)
	if _, is := errors.AsType[*SyntaxError](err); is {
		return t, nil
	}
	if err != nil {
		return nil, err
	}
	if len(parsed.GetStmts()) != 1 {
		return t, nil
	}
	rule := parsed.GetStmts()[0].GetStmt().GetRuleStmt()
	if rule == nil || rule.GetInstead() || rule.GetEvent() == tree.CmdType_CMD_SELECT {
		t.Unread = "it stands in the place of the write"
		return t, nil
	}
	t.Unread = ""
	if rule.GetWhereClause() != nil {
		t.When = append(t.When, (&translator{}).expr(rule.GetWhereClause()))
	}
	for _, action := range rule.GetActions() {
		switch q := (&translator{}).statement(message(action)).(type) {
		case *lineage.Query, *lineage.Insert, *lineage.Update, *lineage.Delete:
			t.Do = append(t.Do, q)
		default:
			t.Unread = "a statement of it is not followed"
		}
	}
	return t, nil
}
