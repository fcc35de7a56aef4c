// Package detect finds parts of values: e-mail addresses, card numbers, US
// social security numbers, and what patterns describe. It says what becomes of
// them so that a value stays one of its type.
package detect

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"gatehouse/core/event"
)

// The detectors that are built in.
const (
	Email = "email" // e-mail addresses
	Card  = "card"  // payment card numbers
	SSN   = "ssn"   // US social security numbers
)

var builtin = []string{Email, Card, SSN}

// Limits of a declared detector.
const (
	maxName    = 64
	maxPattern = 1 << 10
	maxProgram = 4096 // instructions of the pattern, compiled
)

// A Set is the detectors that a plugin may name: those that are built in, and
// its own. The zero Set has only the former. It is safe for concurrent use.
type Set struct{ patterns map[string]*regexp.Regexp }

// New returns a Set with detectors of a plugin's own.
func New(ds []event.Detector) (Set, error) {
	s := Set{patterns: make(map[string]*regexp.Regexp, len(ds))}
	var errs []error
	for _, d := range ds {
		re, err := compile(d)
		if err == nil && s.Has(d.Name) {
			err = errors.New("the name is taken")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("detector %q: %w", d.Name, err))
			continue
		}
		s.patterns[d.Name] = re
	}
	return s, errors.Join(errs...)
}

func compile(d event.Detector) (*regexp.Regexp, error) {
	if d.Name == "" || len(d.Name) > maxName || strings.Trim(d.Name, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
		return nil, fmt.Errorf("a name has 1 to %d of a-z, 0-9, _ and -", maxName)
	}
	return Compile(d.Pattern)
}

// Compile compiles a pattern in RE2's syntax, which may be hostile: it refuses
// those that are long or grow large.
func Compile(pattern string) (*regexp.Regexp, error) {
	if len(pattern) == 0 || len(pattern) > maxPattern {
		return nil, fmt.Errorf("a pattern has 1 to %d bytes", maxPattern)
	}
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, err
	}
	if size(parsed) > maxProgram {
		return nil, fmt.Errorf("the pattern, compiled, has more than %d instructions", maxProgram)
	}
	return regexp.Compile(pattern)
}

// size is at least how many instructions re compiles to, as far as that is not
// beyond maxProgram.
func size(re *syntax.Regexp) int {
	n := 2 + len(re.Rune)
	for _, sub := range re.Sub {
		n = min(n+size(sub), maxProgram+1)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1)
	}
	return min(n, maxProgram+1)
}

// Has reports whether s has a detector of this name.
func (s Set) Has(name string) bool {
	return slices.Contains(builtin, name) || s.patterns[name] != nil
}

// Futile reports whether values of a type can hold nothing that these
// detections could find.
func Futile(typ string, ds []event.Detection) bool {
	plain := shapeOf(typ) == plain
	return !slices.ContainsFunc(ds, func(d event.Detection) bool {
		return d.Kind != event.Pass && !(plain && slices.Contains(builtin, d.Detector))
	})
}

// A field is what is looked for in the values of one field.
type field struct {
	shape
	email, card, ssn treatment
	patterns         []pattern
}

type pattern struct {
	*regexp.Regexp
	treatment
}

// of returns what ds look for in values of a type.
func (s Set) of(typ string, ds []event.Detection) field {
	off := treatment{Kind: event.Pass}
	f := field{shape: shapeOf(typ), email: off, card: off, ssn: off}
	for _, d := range ds {
		t := treatment{d.Kind, d.Keep}
		switch d.Detector {
		case Email:
			f.email = t
		case Card:
			f.card = t
		case SSN:
			f.ssn = t
		default:
			if re := s.patterns[d.Detector]; re != nil && t != off {
				f.patterns = append(f.patterns, pattern{re, t})
			}
		}
	}
	return f
}

// Search appends to edits what is done to the values of the given fields of
// rows, of each of which detections has what is looked for, in order.
func (s Set) Search(edits []event.Edit, rows *event.Rows, fields []int, detections [][]event.Detection) []event.Edit {
	var few [8]field
	sought := few[:0]
	for k, j := range fields {
		sought = append(sought, s.of(rows.Fields[j].Type, detections[k]))
	}
	for i := range rows.Len() {
		for k, j := range fields {
			f, v := &sought[k], rows.Cell(i, j)
			if len(f.patterns) > 0 || len(v) >= shortest && (f.shape == bytea || f.shape != plain && promising(v)) {
				edits = f.search(edits, i, j, v)
			}
		}
	}
	return edits
}

// search appends the edits of one value.
func (f *field) search(edits []event.Edit, row, column int, v []byte) []event.Edit {
	text := v
	if f.shape == bytea {
		text = unhex(v)
	}
	find := newFinder(f, text)
	if len(f.patterns) == 0 {
		var q quotes
		for s, ok := find.next(); ok; s, ok = find.next() {
			var whole bool
			if edits, whole = f.edit(edits, row, column, v, s, &q); whole {
				break
			}
		}
		return edits
	}
	var q quotes
	for _, s := range f.all(&find, text) {
		var whole bool
		if edits, whole = f.edit(edits, row, column, v, s, &q); whole {
			break
		}
	}
	return edits
}

// all returns all that is found in v, in order and without overlaps.
func (f *field) all(find *finder, v []byte) (spans []span) {
	if len(v) >= shortest && f.shape != plain {
		for s, ok := find.next(); ok; s, ok = find.next() {
			spans = append(spans, s)
		}
	}
	for _, p := range f.patterns {
		for _, m := range p.FindAllSubmatchIndex(v, -1) {
			if len(m) > 2 {
				m = m[2:]
			}
			if m[0] < m[1] { // a group that did not match is at -1
				spans = append(spans, span{m[0], m[1], p.treatment})
			}
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return a.from - b.from })
	joined := spans[:0]
	for _, s := range spans {
		if n := len(joined); n > 0 && s.from < joined[n-1].to {
			joined[n-1].join(s)
			continue
		}
		joined = append(joined, s)
	}
	return joined
}

// edit appends the edit of a span of v so that the value stays one of its type,
// and reports whether it is one of the whole value. Spans come in order.
func (f *field) edit(edits []event.Edit, row, column int, v []byte, s span, q *quotes) (_ []event.Edit, whole bool) {
	e := event.Edit{Row: row, Field: column, From: s.from, To: s.to, Treatment: event.Treatment{Kind: s.treatment.Kind, Keep: s.treatment.Keep}}
	switch {
	case f.shape == bytea || f.shape == number || f.shape == plain || e.Treatment.Kind == event.Null || f.cuts(v, s):
		e.From, e.To, e.Treatment = 0, len(v), event.Treatment{Kind: event.Null}
		return append(dropCell(edits, row, column), e), true
	case f.shape == numbers:
		e.Treatment, e.Text = event.Treatment{Kind: event.Replace}, sqlNull
	case f.shape == json && !q.around(v, e.From):
		e.Treatment, e.Text = event.Treatment{Kind: event.Replace}, jsonNull
	}
	return append(edits, e), false
}

// cuts reports whether s has some of the form of an array or a JSON document in
// it, so that what is left without it could be none.
func (f *field) cuts(v []byte, s span) bool {
	switch f.shape {
	case array:
		return bytes.ContainsAny(v[s.from:s.to], `{}",\`) || s.from > 0 && v[s.from-1] == '\\'
	case json:
		return bytes.ContainsAny(v[s.from:s.to], `"\`) || s.from > 0 && v[s.from-1] == '\\'
	}
	return false
}

var sqlNull, jsonNull = []byte("NULL"), []byte("null")

// dropCell takes back the edits of a value that were appended already.
func dropCell(edits []event.Edit, row, column int) []event.Edit {
	n := len(edits)
	for n > 0 && edits[n-1].Row == row && edits[n-1].Field == column {
		n--
	}
	return edits[:n]
}
