package protect

import (
	"fmt"
	"strings"

	"gatehouse/core/event"
)

// A Path selects values within a JSON document: "$.owner.ssn", "$.cards[*].number",
// "$.*" for the values of any key, "$..ssn" for a key at any depth.
type Path struct {
	text  string
	steps []step
}

// A step is a key, or any key, or any element, below the value before or anywhere
// within it.
type step struct {
	key      string // "*" is any
	element  bool
	anywhere bool
}

// A Place is where a value is in a document: the keys on the way to it, from the
// outermost, with Element for an array's elements.
type Place []string

// Element stands for any element of an array in a Place.
const Element = event.Element

// ParsePath reads a path.
func ParsePath(text string) (Path, error) {
	p := Path{text: text}
	rest, ok := strings.CutPrefix(text, "$")
	for ok && rest != "" {
		var s step
		switch {
		case strings.HasPrefix(rest, "[*]"):
			s.element, rest = true, rest[3:]
			p.steps = append(p.steps, s)
			continue
		case strings.HasPrefix(rest, ".."):
			s.anywhere, rest = true, rest[2:]
		case rest[0] == '.':
			rest = rest[1:]
		default:
			rest = ""
		}
		end := strings.IndexAny(rest, ".[")
		if end < 0 {
			end = len(rest)
		}
		s.key, rest = rest[:end], rest[end:]
		ok = s.key != ""
		p.steps = append(p.steps, s)
	}
	if !ok || len(p.steps) == 0 {
		return Path{}, fmt.Errorf("%q is no path of keys like $.owner.ssn, $.cards[*].number or $..ssn", text)
	}
	return p, nil
}

// Selects is whether the value at a place is one that p selects.
func (p Path) Selects(at Place) bool { return selects(p.steps, at) }

// Meets is whether what p selects may be the value at a place, within it, or
// around it.
func (p Path) Meets(at Place) bool {
	for i, s := range p.steps {
		switch {
		case i == len(at) || s.anywhere:
			return true
		case s.element != (at[i] == Element), !s.element && s.key != "*" && s.key != at[i]:
			return false
		}
	}
	return true
}

func selects(steps []step, at Place) bool {
	if len(steps) == 0 {
		return len(at) == 0
	}
	for i, key := range at {
		s := steps[0]
		if (s.element == (key == Element)) && (s.element || s.key == "*" || s.key == key) && selects(steps[1:], at[i+1:]) {
			return true
		}
		if !s.anywhere {
			return false
		}
	}
	return false
}
