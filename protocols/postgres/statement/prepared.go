package statement

import (
	"slices"

	"gatehouse/core/event"
)

// A Preparation is what a text does to the session's prepared statements once
// the server has carried it out.
type Preparation struct {
	// Index is the statement in Result.Statements that does it.
	Index int
	// Name is the prepared statement; empty means all of them.
	Name string
	// Body is what Name stands for from then on; nil when it is gone or not
	// known. Its statements' parents are indexes in Body, -1 for the
	// outermost.
	Body []event.Statement
}

// Preparations returns what the text does to the session's prepared
// statements, in order: PREPARE, DEALLOCATE and DISCARD ALL. What is done in
// the body of a DO, on conditions, leaves the name unknown; what may be done
// unseen leaves all names unknown.
func (r *Result) Preparations() []Preparation {
	var list []Preparation
	for i := range r.Statements {
		s := &r.Statements[i]
		if !s.Runs {
			continue
		}
		switch s.Kind {
		case "PREPARE":
			p := Preparation{Index: i, Name: only(s.Names)}
			if s.Parent < 0 {
				p.Body = r.Contents(i)
			}
			list = append(list, p)
		case "DEALLOCATE":
			list = append(list, Preparation{Index: i, Name: only(s.Names)})
		case "DEALLOCATE ALL", "DISCARD ALL":
			list = append(list, Preparation{Index: i})
		default:
			if s.Opaque {
				list = append(list, Preparation{Index: i})
			}
		}
	}
	return list
}

func only(names []string) string {
	if len(names) != 1 {
		return ""
	}
	return names[0]
}

// Contents copies the statements that the one at index contains. Their parents
// are indexes in the copy, -1 for the outermost.
func (r *Result) Contents(index int) []event.Statement {
	at := map[int]int{index: -1} // where each is in the copy
	body := []event.Statement{}
	for i := index + 1; i < len(r.Statements); i++ {
		parent, inside := at[r.Statements[i].Parent]
		if !inside {
			continue
		}
		s := r.Statements[i]
		s.Parent = parent
		at[i] = len(body)
		body = append(body, s)
	}
	return body
}

// Executes is whether the text executes a prepared statement by SQL, so that
// what it does depends on what Resolve's lookup knows.
func (r *Result) Executes() bool { return r.executes }

// Fetches is whether the text runs a cursor by its name.
func (r *Result) Fetches() bool { return r.fetches }

// maxResolved is how many statements Resolve adds to those of a text.
const maxResolved = 50_000

// Resolve returns the statements with what each EXECUTE stands for below it,
// within "execute". The lookup knows the session's prepared statements, those
// that the protocol prepared included: SQL and protocol share their names. It
// returns statements whose parents are indexes among them, and false for a name
// that it does not know, which leaves the EXECUTE opaque. What the text itself
// prepares counts from there on. Without an EXECUTE the result's own statements
// are returned, which must not be changed. A text that executes large
// statements so often that more than maxResolved would have to be added leaves
// the further EXECUTEs opaque.
func (r *Result) Resolve(lookup func(name string) ([]event.Statement, bool)) []event.Statement {
	if !r.executes {
		return r.Statements
	}
	own := r.Preparations()
	find := func(index int, name string) ([]event.Statement, bool) {
		for _, p := range slices.Backward(own) {
			if p.Index < index && (p.Name == name || p.Name == "") {
				return p.Body, p.Body != nil
			}
		}
		return lookup(name)
	}
	all := slices.Clone(r.Statements)
	for i := range r.Statements {
		if all[i].Kind != "EXECUTE" {
			continue
		}
		body, known := find(i, only(all[i].Names))
		if !known || len(all)+len(body) > len(r.Statements)+maxResolved {
			all[i].Opaque = true
			continue
		}
		first := len(all)
		for _, s := range body {
			if s.Parent < 0 {
				s.Parent, s.Within = i, "execute"
			} else {
				s.Parent += first
			}
			s.Runs = all[i].Runs
			all = append(all, s)
		}
	}
	return all
}
