package statement

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	tree "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"

	"gatehouse/core/event"
)

// plpgsql takes the statements and expressions of a PL/pgSQL body and puts them
// at p. It returns false when some of it cannot be read: dynamic SQL other than
// one constant, or a body that the parser rejects. The owner is the DO or the
// CREATE that has the body; it must be all of the text at hand, which is what
// the parser gets.
func (b *builder) plpgsql(owner proto.Message, body string, p place) bool {
	if owner != b.top || !b.admit(b.text) || b.analyzer.limits.check(body) != nil || !bearable(body) {
		return false
	}
	source, err := b.analyzer.parser.parsePLpgSQL(b.ctx, b.text)
	if !b.settle(err) {
		return false
	}
	var functions []struct {
		Function *struct {
			Datums json.RawMessage `json:"datums"`
			Action json.RawMessage `json:"action"`
		} `json:"PLpgSQL_function"`
	}
	if json.Unmarshal([]byte(source), &functions) != nil || len(functions) != 1 || functions[0].Function == nil {
		return false
	}
	f := functions[0].Function
	if len(f.Action) == 0 {
		return false
	}
	var datums, action any
	if json.Unmarshal(f.Datums, &datums) != nil || json.Unmarshal(f.Action, &action) != nil {
		return false
	}
	r := &plpgsqlReader{builder: b, place: p, readable: true, vars: make(map[string]struct{})}
	r.declare(datums)
	if r.defaults != declaredDefaults(body) {
		return false // the parser leaves out some of what is declared
	}
	outer := b.vars
	b.vars = r.vars
	for name := range outer {
		r.vars[name] = struct{}{}
	}
	r.walk(datums, "")
	r.walk(action, "")
	b.vars = outer
	return r.readable
}

// maxBlocks is how deep blocks, loops and conditions of a body may nest. Each
// takes 1.5 of the parser's 64 kB of stack, and nothing stops the stack from
// growing into what lies below it.
const maxBlocks = 20

// bearable reports whether the parser bears a body: its blocks must not nest too
// deep, and it must not have the words that make the parser warn, because it
// does not survive its own warnings inside a body. A word that looks like a
// block counts as one; what closes a block must stand where a statement begins,
// since END is a name elsewhere.
func bearable(body string) bool {
	lex := lexer{text: body}
	depth := 0
	last := ";" // a body begins like what follows a semicolon
	closed := false
	for {
		kind := lex.next()
		if kind == tokenEnd {
			return true
		}
		word := lex.token()
		if kind == tokenWord {
			word = strings.ToLower(word)
		}
		starts := startsStatement(last)
		switch word {
		case "global", "recheck":
			return false
		case "begin":
			depth++
		case "loop":
			if !closed {
				depth++
			}
		case "if", "case":
			if starts && !closed {
				depth++
			}
		case "end":
			if starts {
				depth--
			}
		}
		if depth > maxBlocks {
			return false
		}
		closed = word == "end" && starts
		if last == "." || last == "as" {
			word = "" // a name
		}
		last = word
	}
}

// startsStatement reports whether a statement begins after a token.
func startsStatement(token string) bool {
	switch token {
	case ";", "begin", "then", "else", "loop", ">":
		return true
	}
	return false
}

// declaredDefaults counts the variables that a body declares with a value.
func declaredDefaults(body string) int {
	lex := lexer{text: body}
	count := 0
	declaring, decided, words := false, false, 0
	last := ""
	for {
		kind := lex.next()
		if kind == tokenEnd {
			return count
		}
		word := ""
		switch kind {
		case tokenWord:
			word = strings.ToLower(lex.token())
		case tokenOther:
			word = lex.token()
		}
		switch {
		case word == "declare" && !declaring:
			declaring, decided, words = true, false, 0
			continue
		case !declaring:
			continue
		case word == "begin" && words == 0:
			declaring = false
			continue
		case word == ";":
			decided, words = false, 0
			continue
		}
		before := last
		last = word
		words++
		if decided || words == 1 {
			continue
		}
		switch {
		case word == "cursor" && (words == 2 || before == "scroll"):
			decided = true
		case word == "=", word == "default":
			decided = true
			count++
		}
	}
}

// A plpgsqlReader walks the tree of a body.
type plpgsqlReader struct {
	*builder
	place    place
	readable bool
	defaults int
	vars     map[string]struct{}
}

// declare notes the variables of a body and counts their values.
func (r *plpgsqlReader) declare(node any) {
	switch n := node.(type) {
	case []any:
		for _, item := range n {
			r.declare(item)
		}
	case map[string]any:
		for key, value := range n {
			switch key {
			case "refname", "name":
				if name, ok := value.(string); ok {
					r.vars[name] = struct{}{}
				}
			case "default_val":
				r.defaults++
			default:
				r.declare(value)
			}
		}
	}
}

// walk takes every expression below a node. The key is where the node stands.
func (r *plpgsqlReader) walk(node any, key string) {
	switch n := node.(type) {
	case []any:
		for _, item := range n {
			r.walk(item, key)
		}
	case map[string]any:
		for _, kind := range slices.Sorted(maps.Keys(n)) {
			r.node(kind, n[kind], key)
		}
	}
}

func (r *plpgsqlReader) node(kind string, value any, key string) {
	fields, _ := value.(map[string]any)
	switch kind {
	case "PLpgSQL_expr":
		r.expression(fields, key == "dynquery")
		return
	case "PLpgSQL_type":
		if name, _ := fields["typname"].(string); name != "" && !strings.Contains(name, "%") {
			r.expression(map[string]any{"query": "NULL::" + name, "parseMode": float64(modeExpression)}, false)
		}
		return
	case "PLpgSQL_stmt_dynexecute", "PLpgSQL_stmt_dynfors":
		if kind == "PLpgSQL_stmt_dynfors" {
			r.loops++
			defer func() { r.loops-- }()
		}
		for _, field := range slices.Sorted(maps.Keys(fields)) {
			role := field
			if field == "query" {
				role = "dynquery"
			}
			r.walk(fields[field], role)
		}
		return
	case "PLpgSQL_stmt_loop", "PLpgSQL_stmt_while", "PLpgSQL_stmt_fori", "PLpgSQL_stmt_fors", "PLpgSQL_stmt_forc", "PLpgSQL_stmt_foreach_a":
		r.loops++
		defer func() { r.loops-- }()
	case "PLpgSQL_stmt_commit":
		r.ends("COMMIT")
	case "PLpgSQL_stmt_rollback":
		r.ends("ROLLBACK")
	}
	if fields == nil {
		r.walk(value, kind)
		return
	}
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		r.walk(fields[field], field)
	}
}

// ends adds a statement that ends a transaction.
func (r *plpgsqlReader) ends(kind string) {
	defer r.begin(r.place)()
	r.kind(kind)
}

// The parser's modes for the expressions of a body.
const (
	modeStatement  = 0
	modeExpression = 2
	modeAssignment = 3 // and above, by the parts of the target's name
)

func (r *plpgsqlReader) expression(fields map[string]any, dynamic bool) {
	query, _ := fields["query"].(string)
	mode, _ := fields["parseMode"].(float64)
	switch int(mode) {
	case modeStatement:
		if !r.sql(query, r.place) {
			r.readable = false
		}
		return
	case modeExpression:
		query = "SELECT " + query
	default:
		query = assignment(query)
	}
	parsed, ok := r.parse(query)
	if !ok || len(parsed.GetStmts()) != 1 {
		r.readable = false
		return
	}
	s := parsed.GetStmts()[0].GetStmt()
	if dynamic {
		sql, ok := onlyConstant(s.GetSelectStmt())
		if ok {
			ok = r.sql(sql, r.place)
		} else {
			r.unlessInert(s)
		}
		r.readable = r.readable && ok
		return
	}
	r.unlessInert(s)
}

// assignment turns target := expression into a query of both.
func assignment(text string) string {
	lex := lexer{text: text}
	depth := 0
	for lex.next() != tokenEnd {
		switch lex.token() {
		case "(", "[":
			depth++
		case ")", "]":
			depth--
		case ":", "=":
			if depth > 0 {
				continue
			}
			target := text[:lex.from]
			if lex.token() == ":" && lex.peek(0) == '=' {
				lex.pos++
			}
			return "SELECT " + target + ", " + text[lex.pos:]
		}
	}
	return text
}

// onlyConstant returns the text of a query that is one text constant.
func onlyConstant(s *tree.SelectStmt) (string, bool) {
	if len(s.GetTargetList()) != 1 || len(s.GetFromClause()) > 0 || s.GetWhereClause() != nil || s.GetOp() > tree.SetOperation_SETOP_NONE {
		return "", false
	}
	return constant(s.GetTargetList()[0].GetResTarget().GetVal())
}

// unlessInert adds the query of an expression, unless it calls and reads
// nothing.
func (r *plpgsqlReader) unlessInert(n *tree.Node) {
	first := len(r.stmts)
	r.statement(n, r.place)
	if len(r.stmts) == first+1 && inert(&r.stmts[first]) {
		r.stmts, r.seen = r.stmts[:first], r.seen[:first]
	}
}

func inert(s *event.Statement) bool {
	return s.Kind == "SELECT" && len(s.Functions)+len(s.Operators)+len(s.Types)+len(s.Reads) == 0 && len(s.Settings) == 0 && !s.Opaque
}
