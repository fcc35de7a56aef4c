package overload

import "slices"

// A Candidate is a function, or an operator, of the name that is looked for.
type Candidate struct {
	// Place is where its schema stands among those that are looked in.
	Place    int
	Takes    []uint32 // types of its arguments; of an operator's, without one that it has not
	Names    []string // of its arguments, as far as they have any
	Defaults int      // how many of the last arguments have a default
	Variadic uint32   // of what the last argument takes any number; 0
	Returns  uint32
}

// A Call is how one of them is called.
type Call struct {
	Types    []uint32 // of the arguments; 0 where a type is not known
	Names    []string // of those that are given by name, "" for others; nil where none is
	Variadic bool     // the last argument is an array of those that there are
	// Within is whether further arguments stand in WITHIN GROUP.
	Within bool
	// Casts is whether the name may be a type's, to which one argument is cast.
	Casts bool
	// Certain is whether the candidates are those that the server knows, in their
	// places. Otherwise those count that can take the arguments.
	Certain bool
}

// A match is a candidate as it takes the arguments of a call.
type match struct {
	index    int      // of the candidate
	takes    []uint32 // for each argument of the call, in its order
	extended bool     // the last argument takes several, or none
	is       answer
}

// Function returns which of functions a call may mean, and the type of what it then
// returns; 0 where that is not known.
func (t *Types) Function(all []Candidate, c Call) (meant []int, returns uint32) {
	if c.Within {
		for i := range all {
			meant = append(meant, i)
		}
		return meant, 0
	}
	matches := make([]match, 0, len(all))
	for i := range all {
		m, takes := all[i].takes(c)
		if !takes {
			continue
		}
		m.index = i
		if c.Certain && !m.preferred(all, &matches) {
			continue
		}
		matches = append(matches, m)
	}
	if c.Certain && !slices.Contains(c.Types, 0) {
		var exact []match
		for _, m := range matches {
			if slices.Equal(m.takes, c.Types) {
				exact = append(exact, m)
			}
		}
		if len(exact) > 0 {
			return t.meant(all, exact, c.Types)
		}
	}
	some := t.taking(c.Types, matches)
	if !c.Certain || c.Casts && len(c.Types) == 1 && c.Names == nil {
		return t.meant(all, some, c.Types)
	}
	return t.meant(all, t.selected(c.Types, some), c.Types)
}

// taking returns the matches that may take values of types. It takes matches' place.
func (t *Types) taking(types []uint32, matches []match) []match {
	some := matches[:0]
	for _, m := range matches {
		if m.is = t.accepts(types, m.takes); m.is != no {
			some = append(some, m)
		}
	}
	return some
}

// takes returns how f takes the arguments of a call, if it can as to their number
// and names.
func (f *Candidate) takes(c Call) (m match, can bool) {
	n := len(c.Types)
	if c.Names != nil {
		return f.takesNamed(c)
	}
	if n >= len(f.Takes) && f.Variadic != 0 && !c.Variadic {
		m.takes = slices.Clone(f.Takes[:len(f.Takes)-1])
		for len(m.takes) < n {
			m.takes = append(m.takes, f.Variadic)
		}
		m.extended = true
		return m, true
	}
	if n > len(f.Takes) || n+f.Defaults < len(f.Takes) {
		return m, false
	}
	m.takes = f.Takes[:n:n]
	return m, true
}

// takesNamed is takes where arguments are given by name.
func (f *Candidate) takesNamed(c Call) (m match, can bool) {
	if f.Variadic != 0 && !c.Variadic || len(c.Types) > len(f.Takes) {
		return m, false
	}
	given := make([]bool, len(f.Takes))
	for i, name := range c.Names {
		at := i
		if name != "" {
			at = slices.Index(f.Names, name)
		}
		if at < 0 || at >= len(f.Takes) || given[at] {
			return m, false
		}
		given[at] = true
		m.takes = append(m.takes, f.Takes[at])
	}
	for i := range len(f.Takes) - f.Defaults {
		if !given[i] {
			return m, false
		}
	}
	return m, true
}

// preferred is whether m counts beside those that take the same: the one whose
// schema comes first, else the one that is not extended. It drops what m hides.
func (m match) preferred(all []Candidate, matches *[]match) bool {
	place := all[m.index].Place
	for i, n := range *matches {
		if !slices.Equal(n.takes, m.takes) {
			continue
		}
		theirs := all[n.index].Place
		switch {
		case theirs < place, theirs == place && m.extended && !n.extended:
			return false
		case theirs > place, n.extended && !m.extended:
			*matches = slices.Delete(*matches, i, i+1)
			return m.preferred(all, matches)
		}
	}
	return true
}

// accepts is whether values of types can be given where others are declared.
func (t *Types) accepts(types, declared []uint32) answer {
	is, generic := yes, false
	for i, of := range declared {
		is = min(is, t.coerces(types[i], of))
		if is == no {
			return no
		}
		generic = generic || polymorphic(of)
	}
	if generic {
		_, means := t.means(types, declared)
		is = min(is, means)
	}
	return is
}

// meant returns the candidates of matches, and what they all return.
func (t *Types) meant(all []Candidate, matches []match, types []uint32) (meant []int, returns uint32) {
	for i, m := range matches {
		meant = append(meant, m.index)
		of := all[m.index].Returns
		switch {
		case polymorphic(of):
			means, _ := t.means(types, m.takes)
			of = means.of(t, of)
		case !t.Known(of):
			of = 0
		}
		if i > 0 && of != returns {
			of = 0
		}
		if returns = of; returns == 0 {
			for _, m := range matches[i+1:] {
				meant = append(meant, m.index)
			}
			break
		}
	}
	return meant, returns
}

// Operator returns which of operators is meant, and the type of what it returns.
func (t *Types) Operator(all []Candidate, c Call) (meant []int, returns uint32) {
	n := len(c.Types)
	matches := make([]match, 0, 8)
	for i := range all {
		if len(all[i].Takes) != n {
			continue
		}
		m := match{index: i, takes: all[i].Takes}
		if c.Certain && !m.preferred(all, &matches) {
			continue
		}
		matches = append(matches, m)
	}
	if c.Certain && !slices.Contains(c.Types, 0) {
		if i := t.operatorOf(matches, c.Types); i >= 0 {
			return t.meant(all, matches[i:i+1], c.Types)
		}
	}
	some := t.taking(c.Types, matches)
	if c.Certain {
		some = t.selected(c.Types, some)
	}
	return t.meant(all, some, c.Types)
}

// operatorOf finds the operator of just those types. A literal is of the other
// side's first, or of what that is made of.
func (t *Types) operatorOf(matches []match, types []uint32) int {
	find := func(types ...uint32) int {
		return slices.IndexFunc(matches, func(m match) bool { return slices.Equal(m.takes, types) })
	}
	if len(types) != 2 || types[0] != Unknown && types[1] != Unknown {
		return find(types...)
	}
	of := types[0]
	if of == Unknown {
		of = types[1]
	}
	if i := find(of, of); i >= 0 {
		return i
	}
	if base := t.base(of); base != of && base != 0 {
		return find(base, base)
	}
	return -1
}

// selected returns the best of matches, all of which take the arguments
// (func_select_candidate). Where none is known to be it, it returns all of them.
func (t *Types) selected(types []uint32, matches []match) []match {
	if len(matches) < 2 || slices.Contains(types, 0) || slices.ContainsFunc(matches, func(m match) bool { return m.is != yes }) {
		return matches
	}
	bases := make([]uint32, len(types))
	unknowns := 0
	for i, oid := range types {
		if bases[i] = oid; oid == Unknown {
			unknowns++
		} else if bases[i] = t.base(oid); bases[i] == 0 {
			return matches
		}
	}
	// The most arguments that are of just the type.
	left := most(matches, func(m match) (n int) {
		for i, of := range m.takes {
			if bases[i] != Unknown && bases[i] == of {
				n++
			}
		}
		return n
	})
	if len(left) == 1 {
		return left
	}
	// The most that are so, or of the preferred type of their category.
	left = most(left, func(m match) (n int) {
		for i, of := range m.takes {
			if bases[i] == Unknown {
				continue
			}
			its, _ := t.category(bases[i])
			if category, preferred := t.category(of); bases[i] == of || preferred && category == its {
				n++
			}
		}
		return n
	})
	if len(left) == 1 {
		return left
	}
	if unknowns == 0 {
		return matches // the server takes none
	}
	if some := t.byLiterals(bases, left); len(some) == 1 {
		return some
	} else if some != nil {
		left = some
	}
	if unknowns == len(types) {
		return matches
	}
	// Literals are of the type that all others have.
	of := uint32(0)
	for _, oid := range bases {
		switch {
		case oid == Unknown:
		case of != 0 && of != oid:
			return matches
		default:
			of = oid
		}
	}
	alike := slices.Repeat([]uint32{of}, len(types))
	var fits []match
	for _, m := range left {
		switch t.accepts(alike, m.takes) {
		case perhaps:
			return matches
		case yes:
			fits = append(fits, m)
		}
	}
	if len(fits) == 1 {
		return fits
	}
	return matches
}

// most returns the matches of which n is the highest.
func most(matches []match, n func(match) int) []match {
	var left []match
	best := -1
	for _, m := range matches {
		switch k := n(m); {
		case k > best:
			best, left = k, append(left[:0:0], m)
		case k == best:
			left = append(left, m)
		}
	}
	return left
}

// byLiterals returns the matches that take literals as values of one category:
// strings if any does, and of its preferred type if any does. It returns none where
// the categories differ.
func (t *Types) byLiterals(bases []uint32, matches []match) []match {
	type slot struct {
		category  byte
		preferred bool
	}
	slots := make([]slot, len(bases))
	for i, oid := range bases {
		if oid != Unknown {
			continue
		}
		differ := false
		for _, m := range matches {
			category, preferred := t.category(m.takes[i])
			switch s := &slots[i]; {
			case s.category == 0:
				*s = slot{category, preferred}
			case s.category == category:
				s.preferred = s.preferred || preferred
			case category == 'S':
				*s = slot{category, preferred}
			default:
				differ = true
			}
		}
		if differ && slots[i].category != 'S' {
			return nil
		}
	}
	var left []match
	for _, m := range matches {
		keep := true
		for i, oid := range bases {
			if oid != Unknown {
				continue
			}
			category, preferred := t.category(m.takes[i])
			keep = keep && category == slots[i].category && (preferred || !slots[i].preferred)
		}
		if keep {
			left = append(left, m)
		}
	}
	return left
}
