package statement

import (
	"slices"
	"strings"

	tree "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"
)

// decides visits what decides which rows there are.
func (b *builder) decides(nodes ...*tree.Node) {
	b.deciding++
	b.visitAll(nodes)
	b.deciding--
}

// orders visits what a query's rows are told apart, grouped and ordered by. It may
// stand there by the number or the name of a result.
func (b *builder) orders(s *tree.SelectStmt) {
	targets := s.GetTargetList()
	for _, list := range [][]*tree.Node{s.GetDistinctClause(), s.GetGroupClause(), s.GetSortClause()} {
		for _, n := range list {
			if message(n) == nil { // DISTINCT without ON
				b.decides(targets...)
				continue
			}
			b.decides(n)
			by := n
			if sort := n.GetSortBy(); sort != nil {
				by = sort.GetNode()
			}
			if by.GetAConst().GetIval() != nil {
				// A * makes the numbers uncertain.
				b.literal = true
				b.decides(targets...)
			}
			if fields := by.GetColumnRef().GetFields(); len(fields) == 1 {
				for _, t := range targets {
					if t.GetResTarget().GetName() == text(fields[0]) {
						b.decides(t)
					}
				}
			}
		}
	}
}

func (b *builder) join(j *tree.JoinExpr) {
	b.visitAll([]*tree.Node{j.GetLarg(), j.GetRarg()})
	b.deciding++
	if j.GetIsNatural() {
		b.column("*")
	}
	if j.GetIsNatural() || len(j.GetUsingClause()) > 0 {
		b.symbol("=")
	}
	for _, n := range j.GetUsingClause() {
		b.column(text(n))
	}
	b.visit(j.GetQuals())
	b.deciding--
}

// compares is whether what stands in a part of the tree is compared, wherever that
// is, rather than returned.
func compares(m proto.Message) bool {
	switch m := m.(type) {
	case *tree.A_Expr:
		return m.GetKind() != tree.A_Expr_Kind_AEXPR_OP || !slices.Contains(computes, operator(m))
	case *tree.NullTest, *tree.BooleanTest, *tree.BoolExpr, *tree.MinMaxExpr, *tree.WindowDef, *tree.SortBy:
		return true
	case *tree.SubLink:
		return m.GetTestexpr() != nil
	case *tree.FuncCall:
		return m.GetAggDistinct() || m.GetAggFilter() != nil || m.GetAggWithinGroup() || comparesBy(routine(m.GetFuncname()))
	}
	return false
}

// computes are operators that make a new value of others.
var computes = []string{"+", "-", "*", "/", "%", "^", "||", "->", "->>", "#>", "#>>"}

// comparing are functions that compare what they are given; those that operators
// stand for have names like texteq and int4lt.
var comparing = []string{
	"starts_with", "position", "strpos", "regexp_like", "regexp_match", "regexp_matches", "regexp_count", "regexp_instr",
	"regexp_substr", "like", "notlike", "width_bucket", "num_nulls", "num_nonnulls", "similarity", "word_similarity", "levenshtein",
	"isempty", "jsonb_path_exists", "jsonb_path_match", "jsonb_exists", "ts_rank", "ts_rank_cd",
}

func comparesBy(function string) bool {
	if slices.Contains(comparing, function) {
		return true
	}
	return slices.ContainsFunc([]string{"eq", "ne", "lt", "le", "gt", "ge", "like", "nlike", "cmp", "_contains", "_contained"}, func(end string) bool {
		return strings.HasSuffix(function, end)
	})
}
