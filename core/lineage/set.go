package lineage

import "slices"

// A set is one of numbers, sorted. Sets are never changed once made.
type set []int32

// with returns the union of two sets.
func (s set) with(t set) set {
	switch {
	case len(t) == 0 || len(s) == len(t) && &s[0] == &t[0]:
		return s
	case len(s) == 0:
		return t
	case s.holds(t):
		return s
	case t.holds(s):
		return t
	}
	all := make(set, 0, len(s)+len(t))
	for len(s) > 0 && len(t) > 0 {
		switch {
		case s[0] < t[0]:
			all, s = append(all, s[0]), s[1:]
		case s[0] > t[0]:
			all, t = append(all, t[0]), t[1:]
		default:
			all, s, t = append(all, s[0]), s[1:], t[1:]
		}
	}
	return append(append(all, s...), t...)
}

// holds is whether all of t is in s.
func (s set) holds(t set) bool {
	if len(t) > len(s) {
		return false
	}
	for i := 0; len(t) > 0; i++ {
		if i == len(s) || s[i] > t[0] {
			return false
		}
		if s[i] == t[0] {
			t = t[1:]
		}
	}
	return true
}

// two is two of s, where it has more: whether there are several is all that counts.
func (s set) two() set { return s[:min(len(s), 2):min(len(s), 2)] }

// equal is whether both have the same.
func (s set) equal(t set) bool { return slices.Equal(s, t) }
