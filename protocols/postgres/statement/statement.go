// Package statement says what PostgreSQL statements do: it turns SQL text into
// the facts of package event, with PostgreSQL's own parser.
//
// Facts never hold the value of a literal. Beside them stands which columns each
// literal and parameter meets, so that it can be masked. What cannot be read,
// such as dynamic SQL, is marked as opaque; what cannot be parsed is an error,
// and the caller refuses it. Text that the parser could not bear is refused
// before it gets there. The analyzer knows no catalogue: it reads what is written, assumes
// standard_conforming_strings to be on, and leaves open what a name stands for.
package statement

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	tree "github.com/pganalyze/pg_query_go/v6"

	"gatehouse/core/event"
	"gatehouse/core/lineage"
)

// Defaults of Limits.
const (
	DefaultText         = 16 << 20
	DefaultTokens       = 50_000
	DefaultDepth        = 600
	DefaultParses       = 500
	DefaultInstances    = 2
	DefaultCacheEntries = 10_000
	DefaultCacheBytes   = 32 << 20
)

// Limits bound what an Analyzer takes on. A zero field means its default.
type Limits struct {
	// Text is the longest text in bytes. A value takes the parser little,
	// however long it is: 16 MiB some 0.1 to 1 second.
	Text int
	// Tokens is how many words, constants and operators a text may have.
	// Memory and time follow it: 50,000 take 100 MB and half a second, and
	// all sessions share the parser's instances.
	Tokens int
	// Depth bounds the estimated depth of the parse tree: brackets, CASEs
	// and the operators of one expression add to it.
	Depth int
	// Parses is how many texts one request may have, bodies of functions
	// and their statements included. Beyond it a body is opaque.
	Parses int
	// Instances is how many texts are parsed at the same time. Each takes
	// over a second to start and 24 MB.
	Instances int
	// CacheEntries and CacheBytes bound the results that are kept.
	CacheEntries int
	CacheBytes   int
}

func (l Limits) withDefaults() Limits {
	set := func(field *int, value int) {
		if *field <= 0 {
			*field = value
		}
	}
	set(&l.Text, DefaultText)
	set(&l.Tokens, DefaultTokens)
	set(&l.Depth, DefaultDepth)
	set(&l.Parses, DefaultParses)
	set(&l.Instances, DefaultInstances)
	set(&l.CacheEntries, DefaultCacheEntries)
	set(&l.CacheBytes, DefaultCacheBytes)
	return l
}

// An Analyzer reads statements. It may be used concurrently. The parser's
// instances belong to the process, so a process should have one Analyzer.
type Analyzer struct {
	limits Limits
	parser *parser
	cache  *cache
	keys   sync.Pool // of *[]byte
}

// NewAnalyzer returns an analyzer. Its parser starts at the first statement,
// or with Warm.
func NewAnalyzer(limits Limits) *Analyzer {
	limits = limits.withDefaults()
	return &Analyzer{
		limits: limits,
		parser: newParser(limits.Instances),
		cache:  newCache(limits.CacheEntries, limits.CacheBytes),
		keys:   sync.Pool{New: func() any { return new([]byte) }},
	}
}

// Warm starts the parser's instances, which takes seconds, so that no client
// waits for it.
func (a *Analyzer) Warm(ctx context.Context) error {
	return a.parser.warm(ctx)
}

// Err returns nil while statements can be read. Afterwards it wraps ErrParser:
// every Analyze fails, and the process must be started again.
func (a *Analyzer) Err() error { return a.parser.err() }

// Analyze returns what the statements of sql do. The result is shared and must
// not be changed. The error is a *SyntaxError, or wraps ErrLimit, ErrParser or
// the context's error; whichever it is, the text must not run.
func (a *Analyzer) Analyze(ctx context.Context, sql string) (*Result, error) {
	if len(sql) > a.limits.Text {
		return nil, a.limits.check(sql)
	}
	buf := a.keys.Get().(*[]byte)
	defer a.keys.Put(buf)

	keys, shaped := appendShape(append((*buf)[:0], 's'), sql)
	shape := len(keys)
	if shaped {
		if r, ok := a.cache.get(keys); ok && r != nil {
			*buf = keys
			return r, nil
		}
	}
	keys = append(append(keys, 't'), sql...)
	*buf = keys
	if r, ok := a.cache.get(keys[shape:]); ok {
		return r, nil
	}

	r, literal, err := a.read(ctx, sql)
	if err != nil {
		return nil, err
	}
	if shaped && !literal {
		a.cache.put(string(keys[:shape]), r)
		return r, nil
	}
	if shaped {
		a.cache.put(string(keys[:shape]), nil)
	}
	a.cache.put(string(keys[shape:]), r)
	return r, nil
}

// read analyzes text afresh. It reports whether a literal's value had a part
// in the facts.
func (a *Analyzer) read(ctx context.Context, sql string) (*Result, bool, error) {
	if err := a.limits.check(sql); err != nil {
		return nil, false, err
	}
	parsed, err := a.parser.parse(ctx, sql)
	if err != nil {
		return nil, false, err
	}
	b := &builder{ctx: ctx, analyzer: a, parses: a.limits.Parses}
	for _, raw := range parsed.GetStmts() {
		start := int(raw.GetStmtLocation())
		end := len(sql)
		if n := int(raw.GetStmtLen()); n > 0 {
			end = start + n
		}
		if start < 0 || start > end || end > len(sql) {
			return nil, false, fmt.Errorf("%w: statement at %d to %d of %d", ErrParser, start, end, len(sql))
		}
		b.spans = append(b.spans, span{start: start, end: end, first: len(b.stmts)})
		b.text, b.top = sql[start:end], message(raw.GetStmt())
		if c, ok := b.top.(*tree.CopyStmt); ok && c.GetFilename() == "" && !c.GetIsProgram() {
			b.spans[len(b.spans)-1].copy = b.clientCopy(c, sql, start)
		}
		b.spans[len(b.spans)-1].constants = constants(raw.GetStmt())
		t := translator{}
		b.spans[len(b.spans)-1].query = t.statement(b.top)
		b.spans[len(b.spans)-1].querySize = t.size
		b.literal = b.literal || t.literal
		b.statement(raw.GetStmt(), outermost)
	}
	if err := ctx.Err(); err != nil {
		return nil, false, fmt.Errorf("read statements: %w", err)
	}
	if b.err != nil {
		return nil, false, b.err
	}
	r := newResult(b)
	r.values = valuesOf(sql, parsed)
	return r, b.literal || !plain(b), nil
}

// plain reports whether the text is one statement of a kind whose facts do not
// depend on literals unless the builder says so.
func plain(b *builder) bool {
	if len(b.spans) > 1 {
		return false
	}
	for i := range b.stmts {
		switch b.stmts[i].Kind {
		case "SELECT", "INSERT", "UPDATE", "DELETE", "MERGE":
		default:
			return false
		}
	}
	return true
}

// A Result is what a text does. It is shared between requests and must not be
// changed.
type Result struct {
	// Statements are the facts, outer statements before those they contain.
	Statements []event.Statement
	// Copy is whether data may flow in COPY's mode: COPY FROM STDIN or TO
	// STDOUT.
	Copy bool
	// Transaction is whether it begins, ends or marks a transaction.
	Transaction bool
	// Context is whether the settings, the role or the search path may be
	// others afterwards: SET, RESET, DISCARD, set_config, the end of a
	// transaction or of a savepoint (which ends SET LOCAL and undoes SET),
	// and what may do any of that unseen: CALL, DO, EXECUTE, opaque text.
	Context bool
	// Code is whether code of the database may run that the text does not
	// show: of functions, views, triggers and cursors. It may do anything,
	// to settings too.
	Code bool
	// DDL is whether what names stand for may be others afterwards. A
	// rollback undoes DDL too and is not marked as such.
	DDL bool

	values
	spans    []span
	executes bool
	fetches  bool
}

// A span is where a top-level statement stands, its index in Statements, what it
// copies from or to the client, and which fields it returns are constants.
type span struct {
	start, end, first int
	copy              *Copy
	constants         []bool // of the fields of its result
	query             lineage.Statement
	querySize         int
}

// IsEmpty is whether the text holds no statement: white space and comments.
func (r *Result) IsEmpty() bool { return len(r.Statements) == 0 }

// Len is how many top-level statements there are.
func (r *Result) Len() int { return len(r.spans) }

// Span returns where the i-th top-level statement of sql stands: sql[start:end],
// without the semicolon that ends it where there are several. The text must be
// the one that the result was given for.
func (r *Result) Span(sql string, i int) (start, end int) {
	if len(r.spans) == 1 {
		return 0, len(sql) // the result may come from a text of other length
	}
	return r.spans[i].start, r.spans[i].end
}

// End returns the index in Statements behind the last that the i-th top-level
// statement contains.
func (r *Result) End(i int) int {
	if i+1 < len(r.spans) {
		return r.spans[i+1].first
	}
	return len(r.Statements)
}

// Top returns the index in Statements of the i-th top-level statement.
func (r *Result) Top(i int) int { return r.spans[i].first }

func newResult(b *builder) *Result {
	r := &Result{Statements: b.stmts, spans: b.spans}
	for i := range r.Statements {
		r.note(&r.Statements[i])
	}
	return r
}

// note sets the flags that a statement calls for.
func (r *Result) note(s *event.Statement) {
	r.executes = r.executes || s.Kind == "EXECUTE"
	if !s.Runs {
		return
	}
	if s.Opaque || len(s.Functions)+len(s.Operators)+len(s.Types)+len(s.Fields)+len(s.Reads)+len(s.Writes) > 0 {
		r.Code = true
	}
	switch s.Kind {
	case "EXECUTE":
		r.Context = true
	case "FETCH", "MOVE":
		r.Code, r.fetches = true, true
	case "COPY":
		r.Copy = r.Copy || slices.Contains(s.Options, "STDIN") || slices.Contains(s.Options, "STDOUT")
	case "BEGIN", "START TRANSACTION", "SAVEPOINT":
		r.Transaction = true
	case "COMMIT", "ROLLBACK", "RELEASE", "PREPARE TRANSACTION", "COMMIT PREPARED", "ROLLBACK PREPARED":
		r.Transaction = true
		r.Context = true
	case "SET", "RESET", "DISCARD ALL":
		r.Context = true
	case "CALL", "DO":
		r.Context, r.DDL, r.Transaction = true, true, true
	}
	if s.Opaque || len(s.Settings) > 0 {
		r.Context = true
	}
	if isDDL(s.Kind) || s.Opaque {
		r.DDL = true
	}
}

func isDDL(kind string) bool {
	switch kind {
	case "SELECT INTO", "IMPORT FOREIGN SCHEMA", "REASSIGN OWNED", "DISCARD ALL", "DISCARD TEMP",
		"GRANT", "REVOKE", "GRANT ROLE", "REVOKE ROLE", "SECURITY LABEL":
		return true
	}
	return strings.HasPrefix(kind, "CREATE ") || strings.HasPrefix(kind, "ALTER ") || strings.HasPrefix(kind, "DROP ")
}

// size is about how many bytes the result takes.
func (r *Result) size() int {
	if r == nil {
		return 0
	}
	n := 128 + r.values.size()
	for _, s := range r.spans {
		n += 136 + s.copy.size() + len(s.constants) + s.querySize
	}
	for i := range r.Statements {
		s := &r.Statements[i]
		n += 300 + len(s.Kind) + len(s.Within)
		for _, list := range [][]string{s.Columns, s.Predicates, s.Functions, s.Operators, s.Types, s.Settings, s.Names, s.Options, s.Pinned, s.Required, s.Sets, s.Symbols, s.Fields} {
			for _, v := range list {
				n += 16 + len(v)
			}
		}
		for _, list := range [][]event.Object{s.Writes, s.Reads} {
			for _, v := range list {
				n += 32 + len(v.Schema) + len(v.Name)
			}
		}
	}
	return n
}
