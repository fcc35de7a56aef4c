package statement

import (
	"strings"

	tree "github.com/pganalyze/pg_query_go/v6"
)

// pinned returns what event.Statement has as Pinned.
func (b *builder) pinned(s *scoper, where *tree.Node) (columns []string) {
	conjuncts := []*tree.Node{where}
	if e := where.GetBoolExpr(); e.GetBoolop() == tree.BoolExprType_AND_EXPR {
		conjuncts = e.GetArgs()
	}
	for _, n := range conjuncts {
		e := n.GetAExpr()
		if e.GetKind() != tree.A_Expr_Kind_AEXPR_OP || operator(e) != "=" || len(e.GetName()) != 1 {
			continue
		}
		column, value := e.GetLexpr(), e.GetRexpr()
		variable, single := b.single(value)
		if !single {
			column, value = value, column
			if variable, single = b.single(value); !single {
				continue
			}
		}
		if c := column.GetColumnRef(); c != nil && s.owns(c) {
			if parts := columnParts(column); len(parts) > 0 {
				columns = append(columns, parts[len(parts)-1]+variable)
			}
		}
	}
	return columns
}

// single reports whether n is one value: a constant, a parameter, a variable of
// the routine at hand or a field of one. It returns the name of a variable that
// may be a column's too, behind "=".
func (b *builder) single(n *tree.Node) (variable string, single bool) {
	n = stripped(n)
	if n.GetAConst() != nil || n.GetParamRef() != nil {
		return "", true
	}
	parts := columnParts(n)
	if len(parts) == 0 || len(parts) > 2 {
		return "", false
	}
	if _, declared := b.vars[parts[0]]; !declared {
		return "", false
	}
	if len(parts) == 1 {
		return "=" + parts[0], true
	}
	_, relation := b.aliases.lookup(parts[0])
	return "", !relation
}

// Inner returns the text of the query in an EXPLAIN, in a COPY of a query, or in
// a PREPARE.
func Inner(sql string) string {
	lex := lexer{text: sql}
	lex.next() // EXPLAIN, COPY or PREPARE
	copies, prepares := strings.EqualFold(lex.token(), "copy"), strings.EqualFold(lex.token(), "prepare")
	open := 0
	for depth := 0; lex.next() != tokenEnd; {
		switch word := strings.ToLower(lex.token()); {
		case word == "(":
			if depth++; depth == 1 {
				open = lex.pos
			}
		case word == ")":
			if depth--; depth == 0 && copies {
				return sql[open:lex.from]
			}
		case prepares && depth == 0 && word == "as":
			return sql[lex.pos:]
		case prepares, depth > 0, word == "analyze", word == "analyse", word == "verbose":
		default:
			return sql[lex.from:]
		}
	}
	return ""
}
