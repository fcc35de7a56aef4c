package sdk

import (
	"strings"

	"gatehouse/core/event"
)

// Match reports whether s matches a pattern in which * stands for any
// characters.
func Match(pattern, s string) bool { return event.Match(pattern, s) }

// MatchObject reports whether o may be what a pattern means: "orders" is that
// name in any schema, "public.orders" the one in public. An object whose schema
// is not known may be in any.
func MatchObject(pattern string, o Object) bool {
	i := strings.LastIndexByte(pattern, '.')
	switch {
	case i < 0:
		return Match(pattern, o.Name)
	case o.Schema == "":
		return Match(pattern[i+1:], o.Name)
	}
	return Match(pattern, o.String())
}

// MatchAny reports whether one of patterns matches one of names.
func MatchAny(patterns, names []string) bool {
	for _, p := range patterns {
		for _, n := range names {
			if Match(p, n) {
				return true
			}
		}
	}
	return false
}

// MatchAnyObject reports whether one of objects may be what one of patterns
// means.
func MatchAnyObject(patterns []string, objects ...Object) bool {
	for _, p := range patterns {
		for _, o := range objects {
			if MatchObject(p, o) {
				return true
			}
		}
	}
	return false
}
