package lineage

import (
	"context"
	"fmt"
)

// What an analysis takes on is bounded. What exceeds it is unknown.
const (
	// maxSteps is how many expressions and dependences are looked at. A column
	// takes columnSteps.
	maxSteps    = 2 << 20
	columnSteps = 8
	// maxDepth is how deep statements, views and functions may contain each
	// other.
	maxDepth = 64
	// maxExprDepth is how deep expressions may.
	maxExprDepth = 2000
	// maxRounds is how often a recursive query is gone through.
	maxRounds = 32
	// MaxFields is how many fields a result may have: more than servers allow.
	MaxFields = 4096
)

// tooMuch is why something is unknown that exceeds a limit.
const tooMuch = "the statement is too large to follow"

// Analyze finds out what s returns and does. The result is never changed, and may
// be shared. An error is the catalogue's.
func Analyze(ctx context.Context, s Statement, c Catalog) (*Result, error) {
	a := &analysis{
		ctx:       ctx,
		catalog:   c,
		numbers:   map[Column]int32{},
		found:     map[Name][]*Relation{},
		relations: map[Name]*relation{},
		read:      map[*Relation]*relation{},
		casts:     map[Name]casts{},
		sites:     map[comparing]int32{},
		sources:   map[origin]int32{},
		writes:    map[written]int{},
	}
	version := c.Version()
	r := a.statement(within{}, s)
	if a.err != nil {
		return nil, a.err
	}
	result := a.result(r)
	result.Version = version
	return result, nil
}

// An analysis is one of one statement.
type analysis struct {
	ctx     context.Context
	catalog Catalog
	err     error

	numbers map[Column]int32
	columns []Column
	// comparisons are those met, and sites their numbers.
	comparisons []Comparison
	sites       map[comparing]int32

	found     map[Name][]*Relation
	relations map[Name]*relation
	read      map[*Relation]*relation
	casts     map[Name]casts

	// sources are the numbers of those that values change with.
	sources map[origin]int32

	flows  []flow
	writes map[written]int // their indexes
	// control are the columns that may decide what is computed, and decided what
	// decides about rows, anywhere in the statement.
	control set
	decided rows
	sum     set // columns of which there are sums of enough rows
	steps   int
	depth   int         // of statements
	nested  int         // of expressions
	bodies  []Statement // of functions, each called by the one before
}

type casts struct {
	functions []*Function
	known     bool
}

// comparing is one comparison, by the place where it stands.
type comparing struct {
	at     any // an expression, or the body of a query that tells rows apart
	column int32
	whole  bool
}

// An origin is a source by the place where it stands, or one that it is made of.
type origin struct {
	at any
	of int32 // -1: itself
}

// A flow is a Flow as yet.
type flow struct {
	written
	value value
	rows  rows
}

// written is where a flow goes: a column, or what a function keeps.
type written struct {
	to Column
	by string
}

// A relation is what a query's rows are.
type relation struct {
	columns []column
	rows    rows
	// unknown is why the columns are not known, if so.
	unknown string
	none    bool // it returns no columns at all
}

// unknownRelation is one of which neither columns nor rows are known.
func unknownRelation(reason string) *relation {
	return &relation{unknown: reason, rows: rows{reason: reason}}
}

// spend takes n steps. It is false where there are none left.
func (a *analysis) spend(n int) bool {
	a.steps += n
	return a.steps <= maxSteps && a.err == nil
}

// number returns the number of a column.
func (a *analysis) number(c Column) int32 {
	n, ok := a.numbers[c]
	if !ok {
		n = int32(len(a.columns))
		a.numbers[c] = n
		a.columns = append(a.columns, c)
	}
	return n
}

// fail notes the catalogue's error, which ends the analysis.
func (a *analysis) fail(what string, err error) {
	if a.err == nil {
		a.err = fmt.Errorf("look %s up: %w", what, err)
	}
}

// statement returns what a statement returns.
func (a *analysis) statement(ctx within, s Statement) *relation {
	if a.depth++; a.depth > maxDepth {
		a.depth--
		return unknownRelation("it is nested too deep")
	}
	defer func() { a.depth-- }()
	if !a.spend(1) {
		return unknownRelation(tooMuch)
	}
	switch s := s.(type) {
	case *Query:
		return a.query(ctx, s)
	case *Insert:
		return a.insert(ctx, s)
	case *Update:
		return a.update(ctx, s)
	case *Delete:
		return a.delete(ctx, s)
	case *Merge:
		return a.merge(ctx, s)
	case *Create:
		return a.create(ctx, s)
	case *Each:
		return a.eachRow(ctx, s)
	case *Explain:
		a.statement(ctx, s.Statement)
		return &relation{unknown: "it is of EXPLAIN"}
	case *Execute:
		return a.execute(ctx, s)
	case *Other:
		return a.other(ctx, s)
	}
	return unknownRelation("the statement is not followed")
}

// execute is a statement that is run with arguments.
func (a *analysis) execute(ctx within, s *Execute) *relation {
	in := &scope{within: ctx}
	args := a.each(in, s.Args)
	for i := range args { // they become the types that the statement has for them
		in.rows = in.rows.with(rows{failing: args[i].failing})
		args[i] = a.fails(args[i].computed())
	}
	r := a.statement(within{arguments: &arguments{&Function{}, args}}, s.Statement)
	r.rows = r.rows.with(in.rows)
	return r
}

// other is a statement of which little is told.
func (a *analysis) other(ctx within, s *Other) *relation {
	in := &scope{within: ctx}
	r := &relation{none: !s.Returns}
	var all value
	for _, e := range s.Exprs {
		all = all.with(a.expr(in, e))
	}
	r.rows = all.decides()
	if s.Stores {
		a.flow(Column{}, s.What, all, rows{})
	}
	if s.Returns {
		r.unknown = s.What
	}
	return r
}

// result turns what was found into what is told.
func (a *analysis) result(r *relation) *Result {
	res := &Result{Unknown: r.unknown, Rows: a.dependence(r.rows)}
	if len(r.columns) > MaxFields {
		r.columns, res.Unknown = nil, tooMuch
	}
	if a.steps > maxSteps {
		r.columns, res.Unknown, res.Rows.Reason = nil, tooMuch, tooMuch
	}
	res.Compared, res.Summed = a.tally(a.comparisons), a.named(a.sum)
	failing := r.rows.failing
	for _, c := range r.columns {
		failing = failing.with(c.failing)
	}
	res.Rows.Failing = a.named(failing)
	if r.unknown == "" && !r.none {
		res.Fields = make([]Field, 0, len(r.columns))
		for _, c := range r.columns {
			if c.hidden {
				continue
			}
			res.Fields = append(res.Fields, Field{
				Name: c.name, Exact: a.named(c.exact), Derived: a.named(c.derived),
				Rows: a.dependence(c.rows), Reason: c.reason, Why: c.why,
			})
		}
	}
	a.decided = a.decided.with(r.rows)
	for _, f := range a.flows {
		if f.by != "" { // when a function is called is the server's choice
			f.value.derived = f.value.derived.with(a.control)
			if f.rows = f.rows.with(a.decided); f.value.plain() && f.rows.none() {
				continue
			}
		}
		reason := f.value.reason
		if a.steps > maxSteps {
			reason = tooMuch
		}
		res.Flows = append(res.Flows, Flow{
			To: f.to, By: f.by, Exact: a.named(f.value.exact), Derived: a.named(f.value.derived),
			Rows: a.dependence(f.rows.with(f.value.rows)), Reason: reason,
		})
	}
	return res
}

// named returns the columns of a set.
func (a *analysis) named(s set) []Column {
	if len(s) == 0 {
		return nil
	}
	columns := make([]Column, len(s))
	for i, n := range s {
		columns[i] = a.columns[n]
	}
	return columns
}

func (a *analysis) dependence(r rows) Dependence {
	d := Dependence{Matched: a.named(r.matched), Counted: a.named(r.counted), Ordered: a.named(r.ordered), Failing: a.named(r.failing), Reason: r.reason}
	all := make([]Comparison, len(r.compared))
	for i, n := range r.compared {
		all[i] = a.comparisons[n]
	}
	d.Compared = a.tally(all)
	return d
}

// tally returns comparisons with how often there is each.
func (a *analysis) tally(all []Comparison) (tallied []Comparison) {
	at := map[Comparison]int{}
	for _, c := range all {
		if i, ok := at[c]; ok {
			tallied[i].Times++
			continue
		}
		at[c] = len(tallied)
		tallied = append(tallied, c)
	}
	return tallied
}

// flow notes that a value is written, for the rows that it is written in.
func (a *analysis) flow(to Column, by string, v value, r rows) {
	k := written{to, by}
	if i, ok := a.writes[k]; ok {
		f := &a.flows[i]
		f.value, f.rows = f.value.or(v), f.rows.with(r)
		return
	}
	a.writes[k] = len(a.flows)
	a.flows = append(a.flows, flow{k, v, r})
}
