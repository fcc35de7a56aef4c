// Command classify is the plugin that says what a request is, for the plugins
// after it and the people who decide: its classes, what sensitive data it
// touches and a risk score. It allows everything. Its README documents the
// labels, the score and its configuration.
package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"gatehouse/sdk"
)

// A config is what the plugin is told.
type config struct {
	// Sensitive lists tables and columns by the name of what is sensitive
	// about them: "public.customers", "public.customers.email".
	Sensitive map[string][]string `json:"sensitive"`
}

type plugin struct {
	sdk.FactsOnly
	sensitive []sensitivity
}

// A sensitivity is a label with the tables and columns that deserve it.
type sensitivity struct {
	name    string
	tables  []string
	columns []column
}

// A column is a pattern of columns of the tables of a pattern.
type column struct{ table, name string }

func (p *plugin) Configure(b []byte) error {
	var c config
	if err := sdk.Unmarshal(b, &c); err != nil {
		return err
	}
	p.sensitive = nil
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(c.Sensitive)) {
		s := sensitivity{name: name}
		if len(c.Sensitive[name]) == 0 {
			errs = append(errs, fmt.Errorf("sensitive: %s lists nothing", name))
		}
		for _, pattern := range c.Sensitive[name] {
			switch i := strings.LastIndexByte(pattern, '.'); strings.Count(pattern, ".") {
			case 0, 1:
				s.tables = append(s.tables, pattern)
			case 2:
				s.columns = append(s.columns, column{pattern[:i], pattern[i+1:]})
			default:
				errs = append(errs, fmt.Errorf("sensitive: %s: %q is neither a table nor a column", name, pattern))
			}
		}
		p.sensitive = append(p.sensitive, s)
	}
	return errors.Join(errs...)
}

// Judge allows the request and labels it.
func (p *plugin) Judge(_ *sdk.Session, r *sdk.Request) sdk.Verdict {
	var labels []sdk.Attr
	add := func(key, value string) {
		if l := (sdk.Attr{Key: key, Value: value}); !slices.Contains(labels, l) {
			labels = append(labels, l)
		}
	}
	highest := 0
	for st := range sdk.Effective(r.Statements) {
		class := classOf(st)
		add("class", class)
		sensitive := false
		for i := range p.sensitive {
			if s := &p.sensitive[i]; s.touched(st) {
				add("sensitive", s.name)
				sensitive = true
			}
		}
		highest = max(highest, risk(st, class, sensitive))
	}
	add("risk", strconv.Itoa(highest))
	return sdk.Verdict{Action: sdk.Allow, Labels: labels}
}

// touched reports whether st reads or writes what is sensitive. Where a
// statement does not say which columns it means, it may mean all.
func (s *sensitivity) touched(st *sdk.Statement) bool {
	objects := slices.Concat(st.Reads, st.Writes)
	if sdk.MatchAnyObject(s.tables, objects...) {
		return true
	}
	return slices.ContainsFunc(s.columns, func(c column) bool {
		return sdk.MatchAnyObject([]string{c.table}, objects...) && (len(st.Columns) == 0 || slices.ContainsFunc(st.Columns, c.matches))
	})
}

// matches reports whether a column as a statement names it may be c: "*",
// "email", "customers.email", "c.email".
func (c column) matches(named string) bool {
	named = named[strings.LastIndexByte(named, '.')+1:]
	return named == "*" || sdk.Match(c.name, named)
}

func init() { sdk.Register(new(plugin)) }

func main() {}
