// Package protect says which columns of a resource are protected, how their
// values are treated, and which of them a principal may see. It is the host's
// own wall: it holds whatever plugins do.
package protect

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gatehouse/core/event"
)

// A Mode says which fields of a response are treated.
type Mode uint8

// The zero Mode is the strictest.
const (
	// Strict passes a field only if it is known not to depend on a protected
	// column.
	Strict Mode = iota
	// Column treats the fields that are known to depend on one.
	Column
	// Detect protects no column: only what plugins find is masked.
	Detect
)

var modes = map[string]Mode{"strict": Strict, "column": Column, "detect": Detect}

// ParseMode reads "strict", "column" or "detect".
func ParseMode(text string) (Mode, error) {
	m, known := modes[text]
	if !known {
		return 0, fmt.Errorf("mode %q is none of detect, column and strict", text)
	}
	return m, nil
}

// A Permission says what a principal may do with a protected column that it does
// not see.
type Permission uint8

// Permissions. The zero Permission is the usual one: conditions pass and are
// counted by quotas, and where a column decides otherwise which rows there are,
// fields are masked.
const (
	Usual Permission = iota
	Allowed
	Held
	Refused
	// Tracked passes, and what is stored is protected where it is stored.
	Tracked
)

// A Uses is what may be done with protected columns beside seeing them treated.
type Uses struct {
	// Predicates is what becomes of requests that have a protected column in
	// a condition or an order: Usual, Allowed, which is not counted, Held or
	// Refused.
	Predicates Permission
	// Matches is what becomes of a statement in which a protected column
	// decides which rows there are by more than comparisons with constants, in
	// mode Strict: Usual, Allowed or Refused.
	Matches Permission
	// Writes is what becomes of a statement that stores values of a protected
	// column elsewhere, in mode Strict: Usual, which is that it is refused;
	// Held, and where they are stored they are not protected; or Tracked.
	Writes Permission
	// Counts is whether it may be seen how many values there are, in mode
	// Strict.
	Counts bool
	// Sums is over how many rows of a table at least sums and averages may be
	// seen, in mode Strict, and counts with them; 0 for none.
	Sums int
}

// A Config is what is protected of a resource.
type Config struct {
	Mode Mode
	Uses Uses
	// Columns are the treatments of what the patterns match:
	// "schema.table.column", in which * stands for any characters. With a
	// path behind it, "schema.table.column$.owner.ssn", it is what that
	// selects within a JSON document.
	Columns map[string]event.Treatment
	// Implied are treatments of what holds values of protected columns in
	// turn, such as a catalogue's statistics. They protect as long as any of
	// Columns does.
	Implied map[string]event.Treatment
}

// Columns are the protected columns of a resource, as one principal finds them.
// Nil protects nothing. They do not change and are safe for concurrent use.
type Columns struct {
	mode    Mode
	uses    Uses
	columns []column // strictest first
	cleared []string

	identity string
}

type column struct {
	pattern   string
	path      *Path // nil: the whole value
	treatment event.Treatment
	implied   bool
}

// New returns the columns that c protects, or all that is wrong with it.
func New(c Config) (*Columns, error) {
	var wrong []error
	p := &Columns{mode: c.Mode, uses: c.Uses}
	for _, pattern := range slices.Sorted(maps.Keys(c.Columns)) {
		t := c.Columns[pattern]
		if err := CheckPattern(pattern); err != nil {
			wrong = append(wrong, err)
		}
		if t.Kind == event.Pass || t.Kind == event.Replace || t.Kind.Partial() {
			wrong = append(wrong, fmt.Errorf("%q has no treatment that protects it", pattern))
		}
		p.add(pattern, t, false)
	}
	for _, pattern := range slices.Sorted(maps.Keys(c.Implied)) {
		p.add(pattern, c.Implied[pattern], true)
	}
	slices.SortStableFunc(p.columns, func(a, b column) int { return a.treatment.Compare(b.treatment) })
	switch {
	case c.Mode == Detect && len(c.Columns) > 0:
		wrong = append(wrong, errors.New("columns have no use with mode detect"))
	case c.Mode != Detect && len(c.Columns) == 0:
		wrong = append(wrong, errors.New("no columns are protected"))
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	if c.Mode == Detect {
		return nil, nil
	}
	p.identify()
	return p, nil
}

func (p *Columns) add(pattern string, t event.Treatment, implied bool) {
	t.Rule = "protect/" + pattern
	c := column{pattern: pattern, treatment: t, implied: implied}
	if name, path, has := cutPath(pattern); has {
		parsed, _ := ParsePath(path) // CheckPattern did
		c.pattern, c.path = name, &parsed
	}
	p.columns = append(p.columns, c)
}

// cutPath cuts a pattern into that of columns and a path.
func cutPath(pattern string) (name, path string, has bool) {
	for i := range pattern {
		if pattern[i] == '$' && i+1 < len(pattern) && (pattern[i+1] == '.' || pattern[i+1] == '[') {
			return pattern[:i], pattern[i:], true
		}
	}
	return pattern, "", false
}

// CheckPattern returns what is wrong with a pattern of columns, or of functions:
// "schema.function()".
func CheckPattern(pattern string) error {
	pattern, path, has := cutPath(pattern)
	if has {
		if _, err := ParsePath(path); err != nil {
			return err
		}
	}
	parts := strings.SplitN(pattern, ".", 3)
	function := strings.HasSuffix(pattern, "()")
	if slices.Contains(parts, "") || len(parts) < 3 && !function && !strings.Contains(pattern, "*") {
		return fmt.Errorf("%q is not schema.table.column", pattern)
	}
	return nil
}

// Match is whether a pattern of Config stands for a column, or for something within
// its documents.
func Match(pattern, column string) bool {
	name, _, _ := cutPath(pattern)
	return event.Match(name, column)
}

// Without returns what remains protected from a principal that may see the
// columns that patterns match. It is nil where that is nothing.
func (p *Columns) Without(patterns []string) *Columns {
	if p == nil || len(patterns) == 0 {
		return p
	}
	left := &Columns{mode: p.mode, uses: p.uses, cleared: slices.Concat(p.cleared, patterns)}
	for _, c := range p.columns {
		// The * of a pattern is matched by another's * only, so that what
		// covers the text of a pattern covers all that it matches.
		if !left.isCleared(c.pattern) && (c.path == nil || !left.isCleared(c.pattern+c.path.text)) {
			left.columns = append(left.columns, c)
		}
	}
	if !slices.ContainsFunc(left.columns, func(c column) bool { return !c.implied }) {
		return nil
	}
	left.identify()
	return left
}

func (p *Columns) isCleared(column string) bool {
	return slices.ContainsFunc(p.cleared, func(c string) bool { return event.Match(c, column) })
}

// Clears is whether the principal may see a column, or call a function,
// "schema.function()", that is not known to be harmless.
func (p *Columns) Clears(name string) bool { return p == nil || p.isCleared(name) }

// Uses returns what may be done with the columns. Of nil nothing is restricted.
func (p *Columns) Uses() Uses {
	if p == nil {
		return Uses{Predicates: Allowed, Matches: Allowed, Counts: true}
	}
	return p.uses
}

// Strict is whether what is not known not to depend on a protected column is
// treated.
func (p *Columns) Strict() bool { return p != nil && p.mode == Strict }

// Column returns the treatment of a column, "schema.table.column", and whether
// it is protected. Of several that match, the strictest counts. That of one of
// which only something within is protected is Inspect.
func (p *Columns) Column(name string) (event.Treatment, bool) { return p.At(name, nil) }

// At is Column for what is at a place within the documents of a column: what is
// protected elsewhere in them does not count.
func (p *Columns) At(name string, at Place) (event.Treatment, bool) {
	if p == nil || p.isCleared(name) {
		return event.Treatment{Kind: event.Pass}, false
	}
	within := event.Treatment{Kind: event.Pass}
	for _, c := range p.columns {
		switch {
		case !event.Match(c.pattern, name):
		case c.path == nil:
			return c.treatment, true
		case !c.path.Meets(at):
		case within.Kind == event.Pass:
			within = event.Treatment{Kind: event.Inspect, Rule: c.treatment.Rule}
		}
	}
	return within, within.Kind != event.Pass
}

// A Part is what is protected within a document.
type Part struct {
	Path      Path
	Treatment event.Treatment
}

// Parts returns what is protected within the values of f, strictest first, where
// they are those of a column as they are.
func (p *Columns) Parts(f *event.Field) (parts []Part) {
	if p == nil || f.Lineage != event.LineageExact {
		return nil
	}
	for _, c := range p.columns {
		matches := func(origin string) bool { return event.Match(c.pattern, origin) && !p.isCleared(origin) }
		if c.path != nil && slices.ContainsFunc(f.Origins, matches) {
			parts = append(parts, Part{*c.path, c.treatment})
		}
	}
	return parts
}

// HasParts is whether anything is protected within documents.
func (p *Columns) HasParts() bool {
	return p != nil && slices.ContainsFunc(p.columns, func(c column) bool { return c.path != nil })
}

// Overlap returns the treatment of the columns that a pattern may stand for, and
// whether one of them is protected. In the pattern * stands for what is not
// known. Of several the strictest counts. What is protected by implication does
// not: no request sends values of that.
func (p *Columns) Overlap(pattern string) (event.Treatment, bool) {
	if p == nil || p.isCleared(pattern) {
		return event.Treatment{Kind: event.Pass}, false
	}
	for _, c := range p.columns {
		if !c.implied && overlap(c.pattern, pattern) {
			return c.treatment, true
		}
	}
	return event.Treatment{Kind: event.Pass}, false
}

// overlap reports whether there is a text that both patterns match.
func overlap(a, b string) bool {
	// reach[j] is whether the rest of a and b[j:] have one in common.
	reach := make([]bool, len(b)+1)
	for i := len(a); i >= 0; i-- {
		before := false // reach[j+1] for a[i+1:]
		for j := len(b); j >= 0; j-- {
			here := reach[j] // for a[i+1:]
			switch {
			case i == len(a) && j == len(b):
				reach[j] = true
			case i < len(a) && a[i] == '*':
				reach[j] = here || j < len(b) && reach[j+1]
			case j < len(b) && b[j] == '*':
				reach[j] = reach[j+1] || i < len(a) && here
			default:
				reach[j] = i < len(a) && j < len(b) && a[i] == b[j] && before
			}
			before = here
		}
	}
	return reach[0]
}

// Named returns the patterns of protected columns that a name without a schema
// and a relation may stand for.
func (p *Columns) Named(column string) []string {
	var patterns []string
	for _, c := range p.columns {
		name := c.pattern[strings.LastIndexByte(c.pattern, '.')+1:]
		if !c.implied && (column == "*" || event.Match(name, column)) {
			patterns = append(patterns, c.pattern)
		}
	}
	return patterns
}

// Field returns the treatment of a field of a response: the strictest of those
// of the columns that it may depend on.
func (p *Columns) Field(f *event.Field) event.Treatment {
	strictest := event.Treatment{Kind: event.Pass}
	if p == nil || f.Lineage == event.LineageFiltered || f.Lineage == event.LineageClean {
		return strictest
	}
	for _, o := range f.Origins {
		if t, protected := p.Origin(f, o); protected && t.Compare(strictest) < 0 {
			strictest = t
		}
	}
	if strictest.Kind == event.Inspect && f.Lineage != event.LineageExact {
		strictest.Kind = event.Redact // it is the document no more
	}
	protected := strictest.Kind != event.Pass
	if p.mode == Strict && (f.Lineage == event.LineageUnknown || protected && f.Lineage != event.LineageExact) &&
		strictest.Compare(event.Treatment{Kind: event.Redact}) >= 0 {
		// What is left of a value that was computed may be another part of
		// the column's.
		if strictest.Kind = event.Redact; !protected {
			strictest.Rule = "protect/unknown"
		}
		if !textTypes[f.Type] {
			strictest.Kind = event.Null // a zero would be taken for the answer
		}
	}
	return strictest
}

// Origin is Column for one of the origins of a field, as far as that has a part in
// the field.
func (p *Columns) Origin(f *event.Field, origin string) (t event.Treatment, protected bool) {
	t, placed := event.Treatment{Kind: event.Pass}, false
	for _, w := range f.Within {
		if w.Origin != origin {
			continue
		}
		placed = true
		if at, is := p.At(origin, w.Keys); is && (!protected || at.Compare(t) < 0) {
			t, protected = at, true
		}
	}
	if !placed {
		return p.Column(origin)
	}
	return t, protected
}

// Blind is whether not even which values of a field are NULL may be seen: it is
// computed, so that this may be the answer, of what is, or may be, protected.
func (p *Columns) Blind(f *event.Field) bool {
	return p.Strict() && f.Lineage != event.LineageExact && p.Field(f).Kind != event.Pass
}

// textTypes are the types, by the names that protocols give them, that hold any
// text.
var textTypes = map[string]bool{
	"": true, "text": true, "varchar": true, "bpchar": true, "name": true, "unknown": true, "json": true, "jsonb": true, "xml": true,
}

// Identity is a text that differs wherever two protect differently. It is part
// of the policy's version.
func (p *Columns) Identity() string {
	if p == nil {
		return ""
	}
	return p.identity
}

func (p *Columns) identify() {
	var b []byte
	b = fmt.Appendf(b, "%d %v", p.mode, p.uses)
	for _, c := range p.columns {
		if c.path != nil {
			b = fmt.Appendf(b, " %q", c.path.text)
		}
		b = fmt.Appendf(b, " %q:%d:%d:%t", c.pattern, c.treatment.Kind, c.treatment.Keep, c.implied)
	}
	for _, c := range slices.Sorted(slices.Values(p.cleared)) {
		b = fmt.Appendf(b, " -%q", c)
	}
	sum := sha256.Sum256(b)
	p.identity = hex.EncodeToString(sum[:16])
}
