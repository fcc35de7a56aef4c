// Package overload chooses among functions and operators of one name as PostgreSQL
// does: FuncnameGetCandidates, func_get_detail, func_select_candidate, oper, and
// select_common_type. It errs on one side only: where a type is not known, or the
// server's choice not certain, all count that may be it.
package overload

import "slices"

// OIDs of PostgreSQL's own types that have a part in the rules.
const (
	// Unknown is the type of a literal, or a parameter, that nothing has given one.
	Unknown uint32 = 705

	text        uint32 = 25
	int2vector  uint32 = 22
	oidvector   uint32 = 30
	record      uint32 = 2249
	recordArray uint32 = 2287
	anything    uint32 = 2276

	anyArray      uint32 = 2277
	anyElement    uint32 = 2283
	anyNonArray   uint32 = 2776
	anyEnum       uint32 = 3500
	anyRange      uint32 = 3831
	anyMultirange uint32 = 4537

	anyCompatible           uint32 = 5077
	anyCompatibleArray      uint32 = 5078
	anyCompatibleNonArray   uint32 = 5079
	anyCompatibleRange      uint32 = 5080
	anyCompatibleMultirange uint32 = 4538
)

func polymorphic(oid uint32) bool {
	switch oid {
	case anyArray, anyElement, anyNonArray, anyEnum, anyRange, anyMultirange,
		anyCompatible, anyCompatibleArray, anyCompatibleNonArray, anyCompatibleRange, anyCompatibleMultirange:
		return true
	}
	return false
}

// A Type is a type as pg_type and pg_range have it.
type Type struct {
	Kind      byte   // typtype
	Category  byte   // typcategory
	Preferred bool   // typispreferred
	Base      uint32 // of a domain
	Element   uint32 // of an array
	Array     uint32 // of such elements
	Subtype   uint32 // of a range
	Ranges    uint32 // the multirange of a range, the range of a multirange
}

// Types are those that a database has, and how they become each other.
type Types struct {
	Own, Others map[uint32]Type // PostgreSQL's own, and others
	// Implicit are the casts that the server applies by itself, by source and
	// target.
	Implicit map[[2]uint32]bool
}

func (t *Types) get(oid uint32) (Type, bool) {
	if d, ok := t.Own[oid]; ok {
		return d, true
	}
	d, ok := t.Others[oid]
	return d, ok
}

// maxDomains is how deep domains may be made of each other.
const maxDomains = 32

// base is what a domain is made of, and any other type itself; 0 where that is not
// known.
func (t *Types) base(oid uint32) uint32 {
	for range maxDomains {
		d, known := t.get(oid)
		switch {
		case !known:
			return 0
		case d.Kind != 'd':
			return oid
		}
		oid = d.Base
	}
	return 0
}

// element is of what a type is an array; 0 where it is none.
func (t *Types) element(oid uint32) uint32 {
	d, _ := t.get(oid)
	return d.Element
}

// Element is of what values of a type, or of a domain over it, are arrays; 0 where
// that is not known.
func (t *Types) Element(oid uint32) uint32 {
	if oid == Unknown {
		return Unknown
	}
	return t.element(t.base(oid))
}

// Array is the array of a type; 0 where that is not known.
func (t *Types) Array(oid uint32) uint32 {
	d, _ := t.get(oid)
	return d.Array
}

// Known is whether a type is one that values have.
func (t *Types) Known(oid uint32) bool {
	d, known := t.get(oid)
	return known && (d.Kind != 'p' || oid == Unknown)
}

func (t *Types) category(oid uint32) (category byte, preferred bool) {
	d, _ := t.get(oid)
	return d.Category, d.Preferred
}

// An answer may be that nobody knows.
type answer uint8

const (
	no answer = iota
	perhaps
	yes
)

// coerces is whether a value becomes one of another type by itself. What is
// polymorphic takes any, one at a time.
func (t *Types) coerces(from, to uint32) answer {
	switch {
	case from == 0:
		return perhaps
	case from == to, to == anything, polymorphic(to), from == Unknown:
		return yes
	}
	a, b := t.base(from), t.base(to)
	switch {
	case a == 0 || b == 0:
		return perhaps
	case a == b || t.Implicit[[2]uint32{a, b}]:
		return yes
	}
	x, _ := t.get(a)
	y, _ := t.get(b)
	rows := func(oid uint32, d Type) bool { return oid == record || d.Kind == 'c' }
	switch {
	case rows(a, x) && rows(b, y), b == recordArray: // by inheritance, or not
		return perhaps
	case x.Element != 0 && y.Element != 0 && b != oidvector && b != int2vector:
		return t.coerces(x.Element, y.Element)
	}
	return no
}

// Common is the type of what is one of several values, as of CASE and UNION; 0
// where it is not known.
func (t *Types) Common(types []uint32) uint32 {
	if len(types) == 0 || slices.Contains(types, 0) {
		return 0
	}
	if first := types[0]; first != Unknown && !slices.ContainsFunc(types, func(oid uint32) bool { return oid != first }) {
		return first
	}
	common := Unknown
	for _, oid := range types {
		if oid == Unknown {
			continue
		}
		oid = t.base(oid)
		if oid == 0 {
			return 0
		}
		if common == Unknown || oid == common {
			common = oid
			continue
		}
		mine, preferred := t.category(common)
		if its, _ := t.category(oid); its != mine {
			return 0
		}
		if preferred {
			continue
		}
		there, back := t.coerces(common, oid), t.coerces(oid, common)
		switch {
		case there == perhaps || back == perhaps:
			return 0
		case there == yes && back == no:
			common = oid
		}
	}
	if common == Unknown {
		return text
	}
	return common
}
