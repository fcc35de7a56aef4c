package statement

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"

	tree "github.com/pganalyze/pg_query_go/v6"
)

// An interval is where the values of an expression lie, whatever its columns hold,
// as long as they are not null: those of id ^ 2 from 0 on.
type interval struct{ low, high float64 }

var (
	anywhere = interval{math.Inf(-1), math.Inf(1)}
	positive = interval{0, math.Inf(1)}
)

// sizes are functions that never return less than 0.
var sizes = []string{
	"abs", "length", "char_length", "character_length", "octet_length", "bit_length", "cardinality", "pg_column_size",
	"sqrt", "exp", "num_nulls", "num_nonnulls", "strpos", "position", "bit_count", "count", "row_number", "rank",
}

// fields are where parts of dates lie. Those of intervals may lie elsewhere, which
// columns seldom are.
var fields = map[string]interval{
	"month": {1, 12}, "quarter": {1, 4}, "week": {1, 53}, "doy": {1, 366}, "dow": {0, 6}, "isodow": {1, 7},
}

// intervalOf returns where the values of an expression lie. Constants are looked at
// only in what is not anywhere.
func (s *scoper) intervalOf(n *tree.Node, depth int) interval {
	if n = s.reduced(n); depth > maxNested {
		return anywhere
	}
	switch m := message(n).(type) {
	case *tree.A_Const:
		return s.point(m)
	case *tree.A_Expr:
		if m.GetKind() == tree.A_Expr_Kind_AEXPR_OP {
			return s.computed(operator(m), m.GetLexpr(), m.GetRexpr(), depth+1)
		}
	case *tree.FuncCall:
		return s.called(m, depth+1)
	case *tree.CoalesceExpr:
		return s.oneOfAll(m.GetArgs(), depth+1)
	case *tree.MinMaxExpr:
		return s.oneOfAll(m.GetArgs(), depth+1)
	case *tree.CaseExpr:
		if s.cases++; s.cases <= maxCases {
			list, _ := s.results(m)
			return s.oneOfAll(list, depth+1)
		}
	case *tree.SubLink:
		q := m.GetSubselect().GetSelectStmt()
		if m.GetSubLinkType() != tree.SubLinkType_EXPR_SUBLINK || len(q.GetTargetList()) != 1 || !aggregates(q) {
			break
		}
		f := q.GetTargetList()[0].GetResTarget().GetVal().GetFuncCall()
		if routine(f.GetFuncname()) != "count" {
			break
		}
		if own := s.ownRow(q); own != nil && f.GetAggFilter() == nil && f.GetAggStar() && s.finds(own) {
			return interval{1, math.Inf(1)}
		}
		return positive
	}
	return anywhere
}

// point is the interval of a constant.
func (s *scoper) point(c *tree.A_Const) interval {
	text := ""
	switch v := c.GetVal().(type) {
	case *tree.A_Const_Ival:
		text = strconv.Itoa(int(v.Ival.GetIval()))
	case *tree.A_Const_Fval:
		text = v.Fval.GetFval()
	case *tree.A_Const_Sval:
		text = v.Sval.GetSval()
	}
	s.literal = true
	if x, err := strconv.ParseFloat(text, 64); err == nil && !math.IsInf(x, 0) && !math.IsNaN(x) {
		return interval{x, x}
	}
	return anywhere
}

// oneOfAll is the interval of what is one of a list. What is null counts as nothing.
func (s *scoper) oneOfAll(list []*tree.Node, depth int) interval {
	all := interval{math.Inf(1), math.Inf(-1)}
	for _, n := range list {
		if n.GetAConst().GetIsnull() {
			continue
		}
		of := s.intervalOf(n, depth)
		if all.low, all.high = min(all.low, of.low), max(all.high, of.high); all == anywhere {
			break
		}
	}
	if all.low > all.high {
		return anywhere
	}
	return all
}

// computed is the interval of an operation.
func (s *scoper) computed(op string, left, right *tree.Node, depth int) interval {
	if left == nil {
		switch op {
		case "@", "|/":
			return positive
		case "-":
			of := s.intervalOf(right, depth)
			return interval{-of.high, -of.low}
		}
		return anywhere
	}
	switch op {
	case "^":
		return s.power(left, right)
	case "%":
		return s.remainder(left, right, depth)
	case "<->":
		return positive
	case "*":
		if s.equal(left, right) {
			return positive
		}
	case "+", "-":
	default:
		return anywhere
	}
	a := s.intervalOf(left, depth)
	if a == anywhere {
		return anywhere
	}
	b := s.intervalOf(right, depth)
	switch {
	case b == anywhere:
		return anywhere
	case op == "+":
		return interval{a.low + b.low, a.high + b.high}
	case op == "-":
		return interval{a.low - b.high, a.high - b.low}
	case a.low >= 0 && b.low >= 0:
		return positive
	}
	return anywhere
}

// power is the interval of a power, which is never negative where the exponent is
// even.
func (s *scoper) power(base, exponent *tree.Node) interval {
	c := s.reduced(exponent).GetAConst()
	if c == nil {
		return anywhere
	}
	if of := s.point(c); of.low == of.high && math.Mod(of.low, 2) == 0 {
		return positive
	}
	return anywhere
}

// remainder is the interval of what is left of a division by a constant.
func (s *scoper) remainder(of, by *tree.Node, depth int) interval {
	c := s.reduced(by).GetAConst()
	if c == nil {
		return anywhere
	}
	p := s.point(c)
	if p == anywhere || p.low == 0 {
		return anywhere
	}
	most := math.Nextafter(math.Abs(p.low), 0) // it never is as much
	if s.intervalOf(of, depth).low >= 0 {
		return interval{0, most}
	}
	return interval{-most, most}
}

// called is the interval of what a function returns.
func (s *scoper) called(f *tree.FuncCall, depth int) interval {
	args := f.GetArgs()
	switch name := routine(f.GetFuncname()); {
	case slices.Contains(sizes, name):
		if filled := s.countsNulls(name, args); filled != nil {
			return *filled
		}
		return positive
	case (name == "power" || name == "pow") && len(args) == 2:
		return s.power(args[0], args[1])
	case name == "mod" && len(args) == 2:
		return s.remainder(args[0], args[1], depth)
	case (name == "extract" || name == "date_part") && len(args) == 2 && len(columnParts(args[1])) > 0:
		field, ok := s.textOf(args[0])
		if of, known := fields[strings.ToLower(field)]; ok && known {
			return of
		}
	case name == "sign" || name == "sin" || name == "cos" || name == "tanh":
		return interval{-1, 1}
	}
	return anywhere
}

// countsNulls is the interval of num_nulls and num_nonnulls of columns that count as
// never null.
func (s *scoper) countsNulls(function string, args []*tree.Node) *interval {
	if function != "num_nulls" && function != "num_nonnulls" {
		return nil
	}
	for _, n := range args {
		if !s.isFilled(n) {
			return nil
		}
	}
	n := 0.0
	if function == "num_nonnulls" {
		n = float64(len(args))
	}
	return &interval{n, n}
}

// decide is the effect of a comparison that holds, or does not, wherever in two
// intervals its operands lie.
func (s *scoper) decide(op string, left, right *tree.Node) effect {
	if left.GetAConst() != nil {
		op, left, right = mirrored[op], right, left
	}
	a := s.intervalOf(left, 0)
	if a == anywhere {
		return restricts
	}
	b := s.intervalOf(right, 0)
	if b == anywhere {
		return restricts
	}
	least, most := cmp.Compare(a.low, b.high), cmp.Compare(a.high, b.low)
	switch {
	case least > 0, most < 0, least == 0 && most == 0:
		return chosen(holds(op, least))
	case least == 0 && (op == ">=" || op == "<"):
		return chosen(op == ">=")
	case most == 0 && (op == "<=" || op == ">"):
		return chosen(op == "<=")
	}
	return restricts
}
