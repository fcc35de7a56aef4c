package lineage

import "gatehouse/core/event"

// A Finding is what a field has to do with columns that are protected.
type Finding struct {
	// Lineage is exact where the field shows one of them as it is, derived
	// where it is computed from one, filtered where only which rows there are
	// depends on one, clean where nothing does, and unknown where that cannot
	// be told.
	Lineage event.Lineage
	// Origins are all columns that the value depends on, "schema.table.column",
	// protected or not: those that it shows as they are before others.
	Origins []string
	// Rows is how which rows there are depends on them: those of the result,
	// and those that the value was computed from.
	Rows Exposure
	// Reason says, for people, what is unknown.
	Reason string
}

// An Exposure is how which rows there are depends on columns that are protected.
type Exposure struct {
	// Whole and Part are how many comparisons with constants ask for whole
	// values, and for a range or a pattern.
	Whole, Part int
	// Matched is whether it depends on them otherwise, Ordered whether their
	// order does, and Failing whether the statement fails for some values.
	Matched, Ordered, Failing bool
	// Reason is why it cannot be told, if so.
	Reason string
}

// None is whether nothing depends on what is protected.
func (e Exposure) None() bool { return e == Exposure{} }

// On returns how rows depend on the columns that are protected.
func (d *Dependence) On(protected func(Column) bool) Exposure {
	e := Exposure{Reason: d.Reason}
	for _, c := range d.Compared {
		switch {
		case !protected(c.Column):
		case c.Whole:
			e.Whole += c.Times
		default:
			e.Part += c.Times
		}
	}
	e.Matched, e.Ordered, e.Failing = among(d.Matched, protected), among(d.Ordered, protected), among(d.Failing, protected)
	return e
}

func (e Exposure) with(f Exposure) Exposure {
	return Exposure{
		Whole: e.Whole + f.Whole, Part: e.Part + f.Part,
		Matched: e.Matched || f.Matched, Ordered: e.Ordered || f.Ordered, Failing: e.Failing || f.Failing,
		Reason: first(e.Reason, f.Reason),
	}
}

func among(columns []Column, protected func(Column) bool) bool {
	for _, c := range columns {
		if protected(c) {
			return true
		}
	}
	return false
}

// For returns what each field has to do with the columns that are protected. It
// returns none where the fields are not known: Unknown says why.
func (r *Result) For(protected func(Column) bool) []Finding {
	if r.Fields == nil {
		return nil
	}
	rows := r.Rows.On(protected)
	findings := make([]Finding, len(r.Fields))
	for i := range r.Fields {
		f := &r.Fields[i]
		g := &findings[i]
		g.Rows, g.Reason = rows.with(f.Rows.On(protected)), f.Reason
		for _, list := range [][]Column{f.Exact, f.Derived} {
			for _, c := range list {
				g.Origins = append(g.Origins, c.String())
			}
		}
		switch {
		case f.Reason != "":
			g.Lineage = event.LineageUnknown
		case among(f.Derived, protected):
			g.Lineage = event.LineageDerived
		case among(f.Exact, protected):
			g.Lineage = event.LineageExact
		case g.Rows.Reason != "":
			g.Lineage, g.Reason = event.LineageUnknown, g.Rows.Reason
		case !g.Rows.None():
			g.Lineage = event.LineageFiltered
		default:
			g.Lineage = event.LineageClean
		}
	}
	return findings
}
