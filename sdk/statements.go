package sdk

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// Effective yields the statements of a request that have an effect: those that
// run, and those that they contain. What is only prepared has its effect when
// it is executed; what is only explained has none. What is defined, as in a
// function's body, counts, since it may run unseen later.
func Effective(statements []Statement) iter.Seq[*Statement] {
	return func(yield func(*Statement) bool) {
		var few [16]bool
		effective := append(few[:0], make([]bool, len(statements))...)
		for i := range statements {
			st := &statements[i]
			if effective[i] = hasEffect(st, i, effective); effective[i] && !yield(st) {
				return
			}
		}
	}
}

func hasEffect(st *Statement, i int, effective []bool) bool {
	switch {
	case st.Runs, st.Parent >= i: // a parent that comes later is none
		return true
	case st.Parent < 0, st.Within == "prepare", st.Within == "explain":
		return false
	}
	return effective[st.Parent]
}

// A Selector is the part of a configuration that picks statements: those that
// match all of the lists that it has, each by one of its patterns.
type Selector struct {
	Kinds     []string `json:"kinds"`     // "CREATE *"
	Tables    []string `json:"tables"`    // "public.orders", read or written; see MatchObject
	Functions []string `json:"functions"` // "pg_sleep", in any schema
	Labels    []string `json:"labels"`    // "sensitive=*", what earlier plugins said
}

// Validate returns what is wrong with s.
func (s *Selector) Validate() error {
	var errs []error
	if len(s.Kinds)+len(s.Tables)+len(s.Functions)+len(s.Labels) == 0 {
		errs = append(errs, errors.New("needs kinds, tables, functions or labels"))
	}
	for _, l := range s.Labels {
		if !strings.Contains(l, "=") {
			errs = append(errs, fmt.Errorf("label %q is not key=value", l))
		}
	}
	return errors.Join(errs...)
}

// Selects reports whether s picks a statement of a request with these labels.
func (s *Selector) Selects(st *Statement, labels []Attr) bool {
	return (len(s.Kinds) == 0 || MatchAny(s.Kinds, []string{st.Kind})) &&
		(len(s.Tables) == 0 || MatchAnyObject(s.Tables, slices.Concat(st.Writes, st.Reads)...)) &&
		(len(s.Functions) == 0 || Calls(st, s.Functions) != "") &&
		(len(s.Labels) == 0 || labelled(s.Labels, labels))
}

func labelled(patterns []string, labels []Attr) bool {
	return slices.ContainsFunc(labels, func(l Attr) bool {
		return MatchAny(patterns, []string{l.Key + "=" + l.Value})
	})
}

// Calls returns the first function that a statement calls, in whatever schema,
// whose name matches one of patterns, or "".
func Calls(st *Statement, patterns []string) string {
	for _, f := range st.Functions {
		if MatchAny(patterns, []string{f, f[strings.LastIndexByte(f, '.')+1:]}) {
			return f
		}
	}
	return ""
}

// Subject names a statement and the first objects that it writes to, for
// reasons that people read: "DROP TABLE a, b".
func Subject(st *Statement) string {
	const most = 3
	var b strings.Builder
	switch st.Kind {
	case "DELETE":
		b.WriteString("DELETE FROM")
	case "INSERT":
		b.WriteString("INSERT INTO")
	case "TRUNCATE TABLE":
		b.WriteString("TRUNCATE")
	default:
		b.WriteString(st.Kind)
	}
	for i, o := range st.Writes {
		if i == most {
			fmt.Fprintf(&b, " and %d more", len(st.Writes)-most)
			break
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte(' ')
		b.WriteString(o.String())
	}
	return b.String()
}
