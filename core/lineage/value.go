package lineage

import "slices"

// A value is what an expression yields, as far as it matters here. The zero value
// is a constant.
type value struct {
	exact   set  // the columns of which one it is, as it is, or none
	derived set  // those that it is computed from
	from    set  // the sources with whose rows it changes, two of them where there are more
	rows    rows // which rows it depends on
	failing set  // the columns that what computes it may fail for
	reason  string
	why     string   // it depends on so much
	record  []column // the fields, of a row as a whole
	outer   bool     // it has a column of an outer query in it
	many    bool     // it is a row for each of a set
	risky   bool     // computing it may fail, for some columns or for none
	shaped  bool     // it may be a row of columns that are not known
	sifted  bool     // it may be the same for values of its columns that are chosen at will
	typ     Name     // its type, where that is known
	// document is whether it is what is in the columns, or at places in them, as it
	// is, and these are documents.
	document bool
}

// all are the columns that it depends on.
func (v value) all() set { return v.exact.with(v.derived) }

// plain is whether it is a constant.
func (v value) plain() bool {
	return len(v.exact)+len(v.derived) == 0 && v.rows.none() && v.reason == ""
}

// rows are on what it depends which rows there are.
type rows struct {
	compared set // numbers of comparisons
	matched  set
	counted  set // of matched
	ordered  set
	failing  set // on which it depends whether anything is returned at all
	reason   string
	// arriving is in which orders rows came that it may show, as long as it is not
	// known what gives them these.
	arriving arrival
}

func (r rows) with(q rows) rows {
	return rows{r.compared.with(q.compared), r.matched.with(q.matched), r.counted.with(q.counted), r.ordered.with(q.ordered), r.failing.with(q.failing),
		first(r.reason, q.reason), r.arriving | q.arriving}
}

// selecting is what r is where the order decides which rows there are.
func (r rows) selecting() rows {
	r.matched, r.ordered = r.matched.with(r.ordered), nil
	return r
}

func (r rows) equal(q rows) bool {
	return r.compared.equal(q.compared) && r.matched.equal(q.matched) && r.counted.equal(q.counted) && r.ordered.equal(q.ordered) && r.failing.equal(q.failing) && r.reason == q.reason
}

func (r rows) none() bool {
	return len(r.compared)+len(r.matched)+len(r.ordered)+len(r.failing) == 0 && r.reason == ""
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// with returns what is computed from two values.
func (v value) with(w value) value {
	v.derived = v.all().with(w.all())
	v.exact, v.record, v.typ, v.shaped, v.document = nil, nil, Name{}, false, false
	v.from = v.from.with(w.from).two()
	v.rows = v.rows.with(w.rows)
	v.failing = v.failing.with(w.failing)
	v.reason, v.why = first(v.reason, w.reason), first(v.why, w.why)
	v.outer = v.outer || w.outer
	v.many = v.many || w.many
	v.risky, v.sifted = v.risky || w.risky, v.sifted || w.sifted
	return v
}

// computed is what is computed from v.
func (v value) computed() value {
	v.exact, v.derived, v.record, v.typ, v.shaped, v.document = nil, v.all(), nil, Name{}, false, false
	return v
}

// sifts is v where something tells of it what it likes.
func (v value) sifts() value {
	v.sifted = len(v.exact)+len(v.derived) > 0
	return v
}

// or returns what is one value or the other.
func (v value) or(w value) value {
	u := v
	u.exact = v.exact.with(w.exact)
	u.derived = v.derived.with(w.derived)
	u.from = v.from.with(w.from).two()
	u.rows = v.rows.with(w.rows)
	u.failing = v.failing.with(w.failing)
	u.reason, u.why = first(v.reason, w.reason), first(v.why, w.why)
	u.outer = v.outer || w.outer
	u.many = v.many || w.many
	u.risky, u.sifted = v.risky || w.risky, v.sifted || w.sifted
	u.shaped = v.shaped || w.shaped
	u.record = nil
	u.document = v.document && (w.document || len(w.all()) == 0) || w.document && len(v.all()) == 0
	if v.typ != w.typ {
		u.typ = Name{}
	}
	if len(v.record) == len(w.record) {
		for i := range v.record {
			u.record = append(u.record, column{name: v.record[i].name, value: v.record[i].or(w.record[i].value)})
		}
	}
	return u
}

// becoming is v as of the type t, if it is of another by a cast that the text does
// not have, which may make another document of it.
func (v value) becoming(t Name) value {
	v.document = v.document && v.typ == t && t != (Name{})
	v.typ = t
	return v
}

// has is whether v is known to be a row with a field of that name.
func (v value) has(name string) bool {
	return slices.ContainsFunc(v.record, func(c column) bool { return c.name == name })
}

// of is v where it depends on rows, too, and may fail for columns: as a whole, and
// each of its fields.
func (v value) of(r rows, failing set) value {
	v.rows, v.failing = v.rows.with(r), v.failing.with(failing)
	if v.record != nil {
		record := make([]column, len(v.record))
		for i, c := range v.record {
			record[i] = c
			record[i].value = c.value.of(r, failing)
		}
		v.record = record
	}
	return v
}

// at is v where it changes with other sources.
func (v value) at(from set) value {
	v.from = from
	if v.record != nil {
		record := append([]column(nil), v.record...)
		for i := range record {
			record[i].value = record[i].at(from)
		}
		v.record = record
	}
	return v
}

// fails is v where computing it may fail: for what it is computed from, and for
// which rows there were.
func (a *analysis) fails(v value) value {
	v.failing, v.risky = v.failing.with(v.all()).with(a.deciding(v.rows)), true
	return v
}

// chosen is what is chosen from v's parts, or may end before it comes to all of
// them: if any may fail, then all that it depends on decides whether it does.
func (a *analysis) chosen(v value) value {
	if v.risky {
		v = a.fails(v)
	}
	return v
}

func unknown(reason string) value { return value{reason: reason} }

func (v value) equal(w value) bool {
	return v.document == w.document && v.sifted == w.sifted && v.exact.equal(w.exact) && v.derived.equal(w.derived) && v.from.equal(w.from) && v.failing.equal(w.failing) && v.rows.equal(w.rows) && v.reason == w.reason
}

// shown is whether v is a column of one source, as it is.
func (v value) shown() bool {
	return len(v.exact) > 0 && len(v.derived) == 0 && len(v.from) <= 1
}

// parts is on what rows depend that are told apart, or chosen, by v: how many there
// are tells more than whether something is equal where v is made of the rows of
// several sources.
func (v value) parts() rows {
	if len(v.from) > 1 && len(v.derived) > 0 {
		return v.counts()
	}
	return v.decides()
}

// decides is on what rows depend that the value decides about.
func (v value) decides() rows {
	r := v.rows
	r.matched = r.matched.with(v.all())
	r.failing = r.failing.with(v.failing)
	r.reason = first(r.reason, v.reason)
	return r
}

// counts is decides where the value may decide about any number of rows.
func (v value) counts() rows {
	r := v.decides()
	r.counted = r.counted.with(v.all())
	return r
}

// shapedAs is v as a row, each field of which may be of any part of it.
func (v value) shapedAs(fields []string) value {
	one := v.computed()
	v.document = false
	v.record = make([]column, len(fields))
	for i, name := range fields {
		v.record[i] = column{name: name, value: one}
	}
	return v
}

// whole is the row of columns.
func whole(columns []column) value {
	record := make([]column, 0, len(columns))
	for _, c := range columns {
		if !c.hidden {
			record = append(record, c)
		}
	}
	v := gathered(record)
	v.record = record
	return v
}

// gathered is what is computed from columns.
func gathered(columns []column) value {
	switch len(columns) {
	case 0:
		return value{}
	case 1:
		return columns[0].value.computed()
	}
	half := len(columns) / 2
	return gathered(columns[:half]).with(gathered(columns[half:]))
}
