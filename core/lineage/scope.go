package lineage

import (
	"slices"
	"strings"
)

// A column is one that an expression can name.
type column struct {
	name   string
	hidden bool
	value
}

// An item is a source as names refer to it.
type item struct {
	name   string // by which it is known, "" for none
	schema string // of a relation that has no alias, as it is written
	stored bool   // it is a relation, that has no alias
	// byName is whether its name may be referred to, open whether its columns
	// may be without it.
	byName, byColumn bool
	columns          []column
	index            map[string][]int // of columns by name, of wide ones
	// unknown is why its columns are not known, if they are not.
	unknown string
	// single is whether its row is its one column's value: a function's.
	single bool
	row    *value // as a whole, once it was needed
	// of is the table that it is, with the same columns, if it is one, and joins
	// whether it is several sources side by side.
	of    *Relation
	joins bool
	// more is why there may be other columns than are known.
	more string
}

// wide is how many columns an item has that are looked up by an index.
const wide = 16

// find returns the columns of that name.
func (it *item) find(name string) (found []*column) {
	if len(it.columns) >= wide {
		if it.index == nil {
			it.index = make(map[string][]int, len(it.columns))
			for i := range it.columns {
				it.index[it.columns[i].name] = append(it.index[it.columns[i].name], i)
			}
		}
		for _, i := range it.index[name] {
			found = append(found, &it.columns[i])
		}
		return found
	}
	for i := range it.columns {
		if it.columns[i].name == name {
			found = append(found, &it.columns[i])
		}
	}
	return found
}

// within is what a statement can name that stands in another.
type within struct {
	outer     *scope
	with      *common
	arguments *arguments
	// home is the schema of functions and operators without one, in texts that
	// name others with theirs.
	home string
}

// A scope is what the expressions of one query can name.
type scope struct {
	within
	items []*item
	// rows are on what it depends which rows there are, and that aggregates
	// are computed from.
	rows    rows
	windows []Windowing
	// aggregated is whether an aggregate was met.
	aggregated bool
	// body is the query, and multiplied whether what it is grouped by makes
	// several rows of one.
	body       *Select
	multiplied bool
	// single is of which tables each row is there once at most, as far as that
	// was asked.
	single map[*item]bool
	// following are columns of DISTINCT that follow from keys beside them: rows
	// may come in their order.
	following []place
	// windowed are what windows divide and sort rows by, which come in that order,
	// and grouped what aggregates do.
	windowed, grouped []value
}

// inner is the context of a query in an expression of s.
func (s *scope) inner() within { return within{s, s.with, s.arguments, s.home} }

// arguments are what a function's body was given.
type arguments struct {
	function *Function
	values   []value
}

// ref returns what a name stands for.
func (a *analysis) ref(s *scope, r *Ref) value {
	if r.Star && len(r.Parts) > 0 {
		return s.row(r.Parts)
	}
	switch len(r.Parts) {
	case 1:
		return a.plainRef(s, r.Parts[0])
	case 2, 3, 4:
		return a.qualifiedRef(s, r.Parts)
	}
	return unknown("the name " + strings.Join(r.Parts, "."))
}

// plainRef is a column by its name alone, of the innermost query that has one, or
// a source's row as a whole.
func (a *analysis) plainRef(s *scope, name string) value {
	for in := s; in != nil; in = in.outer {
		var found []*column
		missing := ""
		for _, it := range in.items {
			if it.byColumn {
				found = append(found, it.find(name)...)
				missing = first(missing, first(it.unknown, it.more))
			}
		}
		switch {
		case len(found) == 1:
			v := found[0].value
			v.outer = v.outer || in != s
			return v
		case len(found) > 1:
			return unknown("column " + name + " is ambiguous")
		case missing != "":
			return unknown("column " + name + ", since " + missing)
		}
	}
	if it, in, reason := s.source("", name); reason != "" {
		return unknown(reason)
	} else if it != nil {
		return it.whole(in != s)
	}
	if v, ok := s.argument(name); ok {
		return v
	}
	return unknown("column " + name + " is not known")
}

// source finds the innermost source of a name.
func (s *scope) source(schema, name string) (*item, *scope, string) {
	for in := s; in != nil; in = in.outer {
		var found *item
		for _, it := range in.items {
			if it.byName && it.name == name && (schema == "" || it.stored && (it.schema == schema || it.schema == "")) {
				if found != nil {
					return nil, nil, "source " + name + " is ambiguous"
				}
				found = it
			}
		}
		if found != nil {
			return found, in, ""
		}
	}
	return nil, nil, ""
}

// row is a source's row as a whole, by the source's name.
func (s *scope) row(parts []string) value {
	it, in, reason := s.source(qualified(parts))
	if it == nil {
		return unknown(first(reason, "source "+parts[len(parts)-1]+" is not known"))
	}
	return it.whole(in != s)
}

// qualified are the last two parts of a name.
func qualified(parts []string) (schema, name string) {
	if len(parts) > 1 {
		schema = parts[len(parts)-2]
	}
	return schema, parts[len(parts)-1]
}

// whole is a source's row as a whole.
func (it *item) whole(outer bool) value {
	if it.unknown != "" {
		return unknown("the row " + it.name + ", since " + it.unknown)
	}
	if it.row == nil {
		row := whole(it.columns)
		if it.single {
			row = row.record[0].value // a function's value goes by the function's name
		}
		it.row = &row
	}
	v := *it.row
	v.outer = v.outer || outer
	return v
}

// qualifiedRef is a column of a source, or of a function of the source's row.
func (a *analysis) qualifiedRef(s *scope, parts []string) value {
	name, parts := parts[len(parts)-1], parts[:len(parts)-1]
	schema, from := qualified(parts)
	it, in, reason := s.source(schema, from)
	switch {
	case reason != "":
		return unknown(reason)
	case it == nil:
		if v, ok := s.argumentOf(from, name); ok {
			return v
		}
		return unknown("source " + from + " is not known")
	case it.unknown != "":
		return unknown("column " + from + "." + name + ", since " + it.unknown)
	}
	found := it.find(name)
	switch len(found) {
	case 0:
		row := it.whole(in != s)
		return a.call(s, &Call{Function: Name{Name: name}}, []value{row})
	case 1:
		v := found[0].value
		v.outer = v.outer || in != s
		return v
	}
	return unknown("column " + from + "." + name + " is ambiguous")
}

// argument is the argument of a name, of the function whose body s is in.
func (s *scope) argument(name string) (value, bool) {
	if s.arguments == nil {
		return value{}, false
	}
	i := slices.Index(s.arguments.function.Names, name)
	if i < 0 || i >= len(s.arguments.values) {
		return value{}, false
	}
	return s.arguments.values[i], true
}

// argumentOf is function.argument, or argument.field.
func (s *scope) argumentOf(of, name string) (value, bool) {
	if s.arguments != nil && s.arguments.function.Name == of {
		if v, ok := s.argument(name); ok {
			return v, ok
		}
	}
	v, ok := s.argument(of)
	return member(v, name), ok
}

// member is a field of a row.
func member(v value, name string) value {
	for _, c := range v.record {
		if c.name == name {
			f := c.value
			f.outer = f.outer || v.outer
			return f
		}
	}
	return v.computed()
}

// star returns what * stands for.
func (a *analysis) star(s *scope, r *Ref) ([]column, string) {
	var all []column
	add := func(it *item) string {
		for _, c := range it.columns {
			if !c.hidden {
				all = append(all, c)
			}
		}
		return it.unknown
	}
	if len(r.Parts) == 0 {
		for _, it := range s.items {
			if it.byColumn {
				if reason := add(it); reason != "" {
					return nil, reason
				}
			}
		}
		return all, ""
	}
	schema, name := qualified(r.Parts)
	it, _, reason := s.source(schema, name)
	switch {
	case reason != "":
		return nil, reason
	case it == nil:
		return nil, "source " + name + " is not known"
	}
	reason = add(it)
	return all, reason
}
