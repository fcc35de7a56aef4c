package statement

import (
	"context"
	"errors"
	"slices"
	"strings"

	tree "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"

	"gatehouse/core/event"
)

// A builder gathers the facts of one text. Its methods add to the statement
// that is open, b.stmts[b.open].
type builder struct {
	ctx      context.Context
	analyzer *Analyzer
	err      error // ends the reading
	literal  bool  // a literal's value had a part in the facts
	parses   int   // how many more texts may be parsed
	bodies   int   // how many texts around this one

	text  string        // the top-level statement at hand
	top   proto.Message // the same, as a tree
	spans []span
	stmts []event.Statement
	seen  []map[fact]struct{}
	open  int

	ctes     names               // WITH queries in scope
	aliases  names               // relations in scope, by alias or name
	vars     map[string]struct{} // names that a routine's body declares
	loops    int                 // how many loops of a routine's body stand around
	deciding int                 // how many predicates stand around what is visited
	only     string              // the only setting that the query at hand reads from pg_settings
}

// A fact is an element of one of a statement's lists.
type fact struct {
	list         byte
	schema, name string
}

// Names are the names in scope and what each stands for. The name that came
// last hides others.
type names struct {
	stack []string           // in the order they came
	at    map[string][]scope // what each stands for, the last one last
}

// A scope is what a name stands for: a relation, or none for a subquery, a WITH
// query or a function.
type scope struct {
	relation string
	query    *tree.SelectStmt // of a WITH query
	place    int              // in the stack
}

func (n *names) push(name, relation string) {
	if n.at == nil {
		n.at = make(map[string][]scope)
	}
	n.at[name] = append(n.at[name], scope{relation: relation, place: len(n.stack)})
	n.stack = append(n.stack, name)
}

// reads says what the WITH query of a name reads.
func (n *names) reads(name string, q *tree.SelectStmt) {
	if list := n.at[name]; len(list) > 0 {
		list[len(list)-1].query = q
	}
}

// cut takes the names after the first size out of scope.
func (n *names) cut(size int) {
	for _, name := range n.stack[size:] {
		n.at[name] = n.at[name][:len(n.at[name])-1]
	}
	n.stack = n.stack[:size]
}

func (n *names) len() int { return len(n.stack) }

func (n *names) lookup(name string) (relation string, ok bool) {
	found, ok := n.before(name, len(n.stack))
	return found.relation, ok
}

// before is what a name stood for when the scope had size names.
func (n *names) before(name string, size int) (scope, bool) {
	for _, s := range slices.Backward(n.at[name]) {
		if s.place < size {
			return s, true
		}
	}
	return scope{}, false
}

// A place says how a statement is contained in another.
type place struct {
	parent int
	within string
	runs   bool
}

var outermost = place{parent: -1, runs: true}

// inside is the place of what the open statement contains.
func (b *builder) inside(within string, runs bool) place {
	return place{parent: b.open, within: within, runs: runs && b.stmts[b.open].Runs}
}

// begin opens a statement and returns what closes it.
func (b *builder) begin(p place) (end func()) {
	before, ctes, aliases := b.open, b.ctes.len(), b.aliases.len()
	b.stmts = append(b.stmts, event.Statement{Parent: p.parent, Within: p.within, Runs: p.runs})
	b.seen = append(b.seen, nil)
	b.open = len(b.stmts) - 1
	return func() {
		b.open = before
		b.ctes.cut(ctes)
		b.aliases.cut(aliases)
	}
}

// first reports whether a fact is new to the open statement.
func (b *builder) first(list byte, schema, name string) bool {
	if b.seen[b.open] == nil {
		b.seen[b.open] = make(map[fact]struct{})
	}
	key := fact{list, schema, name}
	if _, ok := b.seen[b.open][key]; ok {
		return false
	}
	b.seen[b.open][key] = struct{}{}
	return true
}

func (b *builder) current() *event.Statement { return &b.stmts[b.open] }

func (b *builder) kind(kind string) { b.current().Kind = kind }

func (b *builder) opaque() { b.current().Opaque = true }

func (b *builder) add(mark byte, list *[]string, value string) {
	if value != "" && b.first(mark, "", value) {
		*list = append(*list, value)
	}
}

func (b *builder) column(name string) {
	b.add('c', &b.current().Columns, name)
	if b.deciding > 0 {
		b.add('d', &b.current().Predicates, name)
	}
}

func (b *builder) function(name string) { b.add('f', &b.current().Functions, strings.ToLower(name)) }
func (b *builder) operator(name string) { b.add('p', &b.current().Operators, name) }
func (b *builder) field(name string)    { b.add('.', &b.current().Fields, name) }
func (b *builder) symbol(name string)   { b.add('y', &b.current().Symbols, name) }
func (b *builder) typeOf(name string)   { b.add('t', &b.current().Types, name) }
func (b *builder) setting(name string)  { b.add('s', &b.current().Settings, strings.ToLower(name)) }
func (b *builder) name(name string)     { b.add('n', &b.current().Names, name) }

func (b *builder) option(words ...string) {
	for _, w := range words {
		b.add('o', &b.current().Options, w)
	}
}

// optionIf adds an option when it holds.
func (b *builder) optionIf(holds bool, words string) {
	if holds {
		b.option(words)
	}
}

func (b *builder) reads(o event.Object) {
	if o.Name != "" && b.first('r', o.Schema, o.Name) {
		b.current().Reads = append(b.current().Reads, o)
	}
}

func (b *builder) writes(o event.Object) {
	if o.Name != "" && b.first('w', o.Schema, o.Name) {
		b.current().Writes = append(b.current().Writes, o)
	}
}

// target adds a relation to what is written. Temporary relations are told
// apart where the text says so.
func (b *builder) target(r *tree.RangeVar) {
	if r == nil {
		return
	}
	b.writes(object(r))
	b.optionIf(r.GetRelpersistence() == "t" || strings.HasPrefix(r.GetSchemaname(), "pg_temp"), "TEMPORARY")
	b.optionIf(r.GetRelpersistence() == "u", "UNLOGGED")
}

func object(r *tree.RangeVar) event.Object {
	return event.Object{Schema: r.GetSchemaname(), Name: r.GetRelname()}
}

// statement adds a statement, and those that it contains, at a place.
func (b *builder) statement(n *tree.Node, p place) {
	b.statementOf(message(n), p)
}

func (b *builder) statementOf(m proto.Message, p place) {
	defer b.begin(p)()
	switch m := m.(type) {
	case nil:
		b.opaque()
	case *tree.SelectStmt:
		b.selectStmt(m)
	case *tree.InsertStmt:
		b.insert(m)
	case *tree.UpdateStmt:
		b.update(m)
	case *tree.DeleteStmt:
		b.delete(m)
	case *tree.MergeStmt:
		b.merge(m)
	default:
		if b.utility(m) || b.definition(m) || b.change(m) {
			return
		}
		// Something new: what is below it is taken, what it does is not known.
		b.kind(string(m.ProtoReflect().Descriptor().Name()))
		b.opaque()
		b.children(m)
	}
}

// sql reads a text that the statement carries and puts its statements at p. It
// returns false when they cannot be read.
func (b *builder) sql(sql string, p place) bool {
	parsed, ok := b.parse(sql)
	if !ok {
		return false
	}
	ctes, aliases, outer, top := b.ctes, b.aliases, b.text, b.top
	b.ctes, b.aliases, b.bodies = names{}, names{}, b.bodies+1
	for _, raw := range parsed.GetStmts() {
		start, end := int(raw.GetStmtLocation()), len(sql)
		if n := int(raw.GetStmtLen()); n > 0 {
			end = min(start+n, len(sql))
		}
		b.text, b.top = sql[min(start, end):end], message(raw.GetStmt())
		b.statement(raw.GetStmt(), p)
	}
	b.ctes, b.aliases, b.text, b.top, b.bodies = ctes, aliases, outer, top, b.bodies-1
	return true
}

// maxBodies is how deep texts may lie in texts.
const maxBodies = 4

// parse parses a text that the statement carries.
func (b *builder) parse(sql string) (*tree.ParseResult, bool) {
	if !b.admit(sql) {
		return nil, false
	}
	parsed, err := b.analyzer.parser.parse(b.ctx, sql)
	return parsed, b.settle(err)
}

// admit reports whether one more text may be parsed.
func (b *builder) admit(sql string) bool {
	if b.err != nil || b.parses <= 0 || b.bodies >= maxBodies || b.analyzer.limits.check(sql) != nil {
		return false
	}
	b.parses--
	return true
}

// settle reports whether a text was parsed; errors other than those of its
// syntax end the reading.
func (b *builder) settle(err error) bool {
	var syntax *SyntaxError
	if err != nil && !errors.As(err, &syntax) {
		b.err = err
	}
	return err == nil
}
