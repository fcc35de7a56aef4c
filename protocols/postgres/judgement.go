package postgres

import (
	"context"
	"slices"
	"strings"

	"gatehouse/core/event"
	"gatehouse/core/lineage"
	"gatehouse/core/protect"
)

// namesOf returns the names that the columns of a result go by: their own, and
// those of the columns that they inherit from, or that inherit them. It returns also
// where they come from.
func (v *vocabulary) namesOf(ctx context.Context, r *lineage.Result) (names map[lineage.Column][]string, origins map[column]origin, err error) {
	names = make(map[lineage.Column][]string)
	var asked []column
	add := func(lists ...[]lineage.Column) {
		for _, list := range lists {
			for _, c := range list {
				if _, known := names[c]; known {
					continue
				}
				names[c] = []string{c.String()}
				if of, is := columnOf(c); is {
					asked = append(asked, of)
				}
			}
		}
	}
	depends := func(d *lineage.Dependence) {
		add(d.Matched, d.Ordered, d.Failing)
		for _, c := range d.Compared {
			add([]lineage.Column{c.Column})
		}
	}
	add(r.Summed)
	depends(&r.Rows)
	for i := range r.Fields {
		add(r.Fields[i].Exact, r.Fields[i].Derived)
		depends(&r.Fields[i].Rows)
	}
	for i := range r.Flows {
		add(r.Flows[i].Exact, r.Flows[i].Derived, []lineage.Column{r.Flows[i].To})
		depends(&r.Flows[i].Rows)
	}
	if origins, err = v.catalog.learn(ctx, asked); err != nil {
		return nil, nil, err
	}
	for c := range names {
		if of, is := columnOf(c); is {
			if o := origins[of]; !o.view { // what a view's column comes from is told with it
				names[c] = append(append(names[c], o.names...), o.below...)
			}
		}
	}
	return names, origins, nil
}

// columnOf returns the server's identity of a column, if it has one.
func columnOf(c lineage.Column) (column, bool) {
	return column{uint32(c.ID), uint16(int16(c.Number))}, c.ID > 0
}

// A judgement is what a lineage means where columns are protected.
type judgement struct {
	*told
	*sense
	protected *protect.Columns // from the principal
	all       *protect.Columns // of the resource
	result    *lineage.Result
	names     map[lineage.Column][]string
	origins   map[column]origin
	into      lineage.Name // the relation that the statement makes, if it does
	risky     bool         // casts that no text shows may run code
	constants []bool
}

// isProtected is whether one of columns is.
func (j *judgement) isProtected(lists ...[]lineage.Column) bool {
	for _, list := range lists {
		for _, c := range list {
			if slices.ContainsFunc(j.names[c], func(name string) bool { _, is := j.protected.At(name, j.keys(c)); return is }) {
				return true
			}
		}
	}
	return false
}

// keys are those of the place in its documents that c is. Where what was computed
// of protected columns is stored in it, that may be anywhere.
func (j *judgement) keys(c lineage.Column) []string {
	if j.computed([]lineage.Column{c}) {
		return nil
	}
	return c.Keys()
}

// protectedOf returns the names of those of columns that are protected.
func (j *judgement) protectedOf(lists ...[]lineage.Column) (names []string) {
	for _, list := range lists {
		for _, c := range list {
			for _, name := range j.names[c] {
				if _, is := j.protected.At(name, j.keys(c)); is && !slices.Contains(names, name) {
					names = append(names, name)
				}
			}
		}
	}
	return names
}

// decides is whether protected columns decide which rows there are, more than by
// comparisons with constants, or why that is not known.
func (j *judgement) decides(d *lineage.Dependence) (bool, string) {
	if d.Reason != "" {
		return true, d.Reason
	}
	if j.protected.Uses().Matches == protect.Allowed {
		return false, ""
	}
	if i := slices.IndexFunc(d.Matched, func(c lineage.Column) bool { return !isSetting(c) && j.isProtected([]lineage.Column{c}) }); i >= 0 {
		return true, "which rows there are depends on " + d.Matched[i].String()
	}
	return false, ""
}

// isSetting is whether a column stands for the session's settings, which hold
// nothing that is protected, since nothing such may be stored in them.
func isSetting(c lineage.Column) bool {
	return c.ID == 0 && c.Relation == "pg_catalog" && c.Name == "current_setting()"
}

func (j *judgement) judge(kind string) {
	r := j.result
	chosen, reason := j.decides(&r.Rows)
	switch {
	case r.Unknown == kind:
		j.unknown = "what " + kind + " returns is not known"
	case r.Unknown != "":
		j.unknown = r.Unknown
	case j.renamed && len(r.Fields) > 0 && !j.plain():
		j.unknown = "what names stand for changes in the transaction"
	case chosen:
		j.unknown = reason
	}
	for i := range r.Fields {
		f := j.field(&r.Fields[i])
		if j.risky && (f.lineage == event.LineageDerived || f.lineage == event.LineageClean && (len(j.constants) != len(r.Fields) || !j.constants[i])) {
			f.lineage, f.reason = event.LineageUnknown, "a value has a type that code which is not read may cast"
		}
		if f.lineage == event.LineageUnknown || j.isProtected(r.Fields[i].Exact, r.Fields[i].Derived, r.Fields[i].Rows.Matched) {
			j.touches = true
		}
		j.fields = append(j.fields, f)
	}
	j.touches = j.touches || j.unknown != "" || len(r.Flows) > 0 || j.isProtected(r.Rows.Matched, r.Rows.Ordered, r.Rows.Failing)
	j.fails = j.unknown != "" || j.isProtected(r.Rows.Failing)
	for i := range r.Fields {
		j.fails = j.fails || r.Fields[i].Reason != "" || j.isProtected(r.Fields[i].Rows.Failing)
	}
	compared, partial := j.compared()
	j.sums = j.protectedOf(r.Summed)
	j.touches = j.touches || compared || len(j.sums) > 0
	switch {
	case partial > maxPartial:
		j.refuse("a statement that compares protected columns by range or pattern, or tells rows apart by what it computes of them, more than twice is refused", "")
	case j.isProtected(j.counted()):
		name := j.protectedOf(j.counted())[0]
		j.refuse("a statement whose number of rows depends on "+name+" is refused", "A policy can clear its principals for "+name+".")
	case chosen && r.Rows.Reason == "" && j.protected.Uses().Matches == protect.Refused:
		j.refuse("a statement in which protected columns decide which rows there are is refused", "")
	case chosen && kind != "SELECT" && kind != "COPY" && kind != "EXPLAIN" && kind != "DECLARE CURSOR" && kind != "PREPARE":
		what := " with protected columns in expressions or joins is refused"
		if r.Rows.Reason != "" {
			what = " of rows that may depend on protected columns is refused"
		}
		j.refuse(kind+what, strings.ToUpper(reason[:1])+reason[1:]+".")
	}
	j.writes()
}

// maxPartial is how many comparisons of a statement may tell a part of a value,
// like a range or a pattern.
const maxPartial = 2

// compared is whether protected columns are compared with constants, and how
// often by a part of them.
func (j *judgement) compared() (is bool, partial int) {
	for _, c := range j.result.Compared {
		if j.isProtected([]lineage.Column{c.Column}) {
			is = true
			if !c.Whole {
				partial += c.Times
			}
		}
	}
	return is, partial
}

// counted are the columns on which it depends how many rows there are.
func (j *judgement) counted() []lineage.Column {
	all := slices.Clone(j.result.Rows.Counted)
	for i := range j.result.Fields {
		all = append(all, j.result.Fields[i].Rows.Counted...)
	}
	return all
}

// field returns what is told of a field.
func (j *judgement) field(f *lineage.Field) toldField {
	t := toldField{lineage: event.LineageClean, reason: f.Reason}
	var whole []string // of which not only places have a part
	for _, list := range [][]lineage.Column{f.Exact, f.Derived} {
		for _, c := range list {
			keys := j.keys(c)
			for _, name := range j.names[c] {
				if !slices.Contains(t.origins, name) {
					t.origins = append(t.origins, name)
				}
				if len(keys) == 0 {
					whole = append(whole, name)
				} else {
					t.within = append(t.within, event.Place{Origin: name, Keys: keys})
				}
			}
		}
	}
	t.within = slices.DeleteFunc(t.within, func(p event.Place) bool { return slices.Contains(whole, p.Origin) })
	switch {
	case len(f.Derived) > 0 || j.computed(f.Exact):
		t.lineage = event.LineageDerived
	case len(f.Exact) > 0:
		t.lineage = event.LineageExact
	}
	for _, c := range f.Exact {
		if of, is := columnOf(c); is {
			t.shown = append(t.shown, of)
		}
	}
	for _, c := range f.Derived {
		if of, is := columnOf(c); is && len(c.Keys()) == 0 {
			t.shown = append(t.shown, of) // by a cast that does nothing
		}
	}
	if chosen, reason := j.decides(&f.Rows); chosen && t.reason == "" {
		t.reason = reason
	}
	switch {
	case t.reason != "":
		t.lineage = event.LineageUnknown
	case j.isProtected(f.Derived):
		t.reason = f.Why
	}
	return t
}

// plain is whether no column has a part in the result.
func (j *judgement) plain() bool {
	r := &j.result.Rows
	return !slices.ContainsFunc(j.result.Fields, func(f lineage.Field) bool { return len(f.Exact)+len(f.Derived) > 0 || f.Reason != "" }) &&
		len(r.Compared)+len(r.Matched)+len(r.Ordered) == 0
}

// writes decides about what is written.
func (j *judgement) writes() {
	for i := range j.result.Flows {
		f := &j.result.Flows[i]
		chosen, reason := j.decides(&f.Rows)
		untracked := j.track(f)
		if f.Reason == "" && !chosen && !j.isProtected(f.Exact, f.Derived) && !(j.renamed && len(f.Exact)+len(f.Derived) > 0) {
			continue
		}
		if f.Reason != "" {
			reason = f.Reason
		}
		if reason == "" && !j.renamed && j.protected.Uses().Writes == protect.Held {
			j.stores = append(j.stores, j.protectedOf(f.Exact, f.Derived)...)
			continue
		}
		if reason == "" && !j.renamed && j.protected.Uses().Writes == protect.Tracked {
			if untracked == "" {
				continue
			}
			reason = untracked
		}
		hint := ""
		if reason != "" {
			hint = "What is written is not known: " + reason + "."
		}
		j.refuse("a statement that stores what it reads from protected columns is refused", hint)
	}
}
