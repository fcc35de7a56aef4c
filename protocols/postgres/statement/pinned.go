package statement

import (
	"strings"

	tree "github.com/pganalyze/pg_query_go/v6"
)

// pinned returns the columns of the target that a condition compares with one
// value each.
func pinned(s *scoper, where *tree.Node) (columns []string) {
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
		if column.GetColumnRef() == nil {
			column, value = value, column
		}
		value = stripped(value)
		if value.GetAConst() == nil && value.GetParamRef() == nil {
			continue
		}
		if c := column.GetColumnRef(); c != nil && s.owns(c) {
			if parts := columnParts(column); len(parts) > 0 {
				columns = append(columns, parts[len(parts)-1])
			}
		}
	}
	return columns
}

// Inner returns the text of the query in an EXPLAIN, or in a COPY of a query.
func Inner(sql string) string {
	lex := lexer{text: sql}
	lex.next() // EXPLAIN or COPY
	copies := strings.EqualFold(lex.token(), "copy")
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
		case depth > 0, word == "analyze", word == "analyse", word == "verbose":
		default:
			return sql[lex.from:]
		}
	}
	return ""
}
