package overload

// A meaning is what polymorphic types stand for in a call; 0 where nothing says.
type meaning struct {
	element, array, ranged, multirange uint32
	common, commonRange                uint32
}

// means finds out what the polymorphic types among declared ones stand for, and
// whether they can stand for it (check_generic_type_consistency).
func (t *Types) means(actual, declared []uint32) (m meaning, is answer) {
	is = yes
	var compatible []uint32
	var nonArray, enum, compatibleNonArray bool
	// same sets what one of them stands for, which is the same wherever it stands.
	same := func(is *uint32, oid uint32) bool {
		if *is != 0 && *is != oid {
			return false
		}
		*is = oid
		return true
	}
	for i, of := range declared {
		if i >= len(actual) || !polymorphic(of) {
			continue
		}
		oid := actual[i]
		switch of {
		case anyNonArray:
			nonArray = true
		case anyEnum:
			enum = true
		case anyCompatibleNonArray:
			compatibleNonArray = true
		}
		if oid == Unknown {
			continue
		}
		switch of {
		case anyArray, anyRange, anyMultirange, anyCompatibleArray, anyCompatibleRange, anyCompatibleMultirange:
			oid = t.base(oid)
		}
		d, known := t.get(oid)
		if !known || d.Kind == 'p' && oid != record {
			return meaning{}, perhaps
		}
		holds := true
		switch of {
		case anyElement, anyNonArray, anyEnum:
			holds = same(&m.element, oid)
		case anyArray:
			holds = same(&m.array, oid)
		case anyRange:
			holds = same(&m.ranged, oid)
		case anyMultirange:
			holds = same(&m.multirange, oid)
		case anyCompatible, anyCompatibleNonArray:
			compatible = append(compatible, oid)
		case anyCompatibleArray:
			holds = d.Element != 0
			compatible = append(compatible, d.Element)
		case anyCompatibleRange:
			holds = d.Kind == 'r' && same(&m.commonRange, oid)
			compatible = append(compatible, d.Subtype)
		default: // of which there are no functions to tell apart
			return meaning{}, perhaps
		}
		if !holds {
			return meaning{}, no
		}
	}
	if m.array != 0 {
		of := t.element(m.array)
		if of == 0 || !same(&m.element, of) {
			return meaning{}, no
		}
	}
	if m.multirange != 0 {
		d, _ := t.get(m.multirange)
		if d.Kind != 'm' || !same(&m.ranged, d.Ranges) {
			return meaning{}, no
		}
	}
	if m.ranged != 0 {
		d, _ := t.get(m.ranged)
		if d.Kind != 'r' || !same(&m.element, d.Subtype) {
			return meaning{}, no
		}
		m.multirange = d.Ranges
	}
	if m.element != 0 {
		d, _ := t.get(m.element)
		switch {
		case nonArray && t.Element(m.element) != 0, enum && d.Kind != 'e':
			return meaning{}, no
		}
		if m.array == 0 {
			m.array = d.Array
		}
	}
	if len(compatible) > 0 {
		if m.common = t.Common(compatible); m.common == 0 {
			return meaning{}, perhaps // they may have none
		}
		for _, oid := range compatible {
			if c := t.coerces(oid, m.common); c != yes {
				return meaning{}, c
			}
		}
		if compatibleNonArray && t.Element(m.common) != 0 {
			return meaning{}, no
		}
		if m.commonRange != 0 {
			if d, _ := t.get(m.commonRange); d.Subtype != m.common {
				return meaning{}, no
			}
		}
	}
	return m, is
}

// of is what a type that is declared stands for; 0 where that is not known.
func (m meaning) of(t *Types, oid uint32) uint32 {
	switch oid {
	case anyElement, anyNonArray, anyEnum:
		return m.element
	case anyArray:
		return m.array
	case anyRange:
		return m.ranged
	case anyMultirange:
		return m.multirange
	case anyCompatible, anyCompatibleNonArray:
		return m.common
	case anyCompatibleArray:
		return t.Array(m.common)
	case anyCompatibleRange:
		return m.commonRange
	}
	if t.Known(oid) {
		return oid
	}
	return 0
}
