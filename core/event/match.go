package event

import "strings"

// Match reports whether s matches a pattern in which * stands for any
// characters.
func Match(pattern, s string) bool {
	part, rest, starred := strings.Cut(pattern, "*")
	if !starred {
		return pattern == s
	}
	s, ok := strings.CutPrefix(s, part)
	if !ok {
		return false
	}
	for {
		if part, rest, starred = strings.Cut(rest, "*"); !starred {
			return strings.HasSuffix(s, part)
		}
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
}
