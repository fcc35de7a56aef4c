// Command guard is the plugin that keeps agents from doing harm: it blocks or
// holds requests by what their statements do. It judges facts, never text. Its
// README lists the rules and documents its configuration.
package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"gatehouse/sdk"
)

// A config is what the plugin is told.
type config struct {
	// Rules says what the standard rules do: off, hold or block.
	Rules map[string]action `json:"rules"`
	// Rows is how many rows a request may write, as the server estimates
	// it, before the rule mass-write applies.
	Rows *int `json:"rows"`
	// Custom rules come on top of the standard ones.
	Custom []custom `json:"custom"`
}

// An action is what a rule does to a request that it applies to.
type action sdk.Action

const off = action(sdk.Allow)

// UnmarshalText reads "off", "hold" or "block".
func (a *action) UnmarshalText(b []byte) error {
	switch string(b) {
	case "off":
		*a = off
	case "hold":
		*a = action(sdk.Hold)
	case "block":
		*a = action(sdk.Block)
	default:
		return fmt.Errorf("%q is none of off, hold and block", b)
	}
	return nil
}

type plugin struct {
	sdk.FactsOnly
	rules  []rule // those that are not off
	rows   int
	mass   action // what mass-write does
	unsure action // what unestimated does
	custom []custom
}

func (p *plugin) Configure(b []byte) error {
	var c config
	if err := sdk.Unmarshal(b, &c); err != nil {
		return err
	}
	p.rules, p.mass, p.unsure, p.rows = nil, off, off, defaultRows
	for _, r := range standard {
		if a, set := c.Rules[r.name]; set {
			r.action = a
			delete(c.Rules, r.name)
		}
		if r.action != off {
			p.rules = append(p.rules, r)
		}
		switch r.name {
		case "mass-write":
			p.mass = r.action
		case "unestimated":
			p.unsure = r.action
		}
	}
	var errs []error
	if c.Rows != nil {
		if p.rows = *c.Rows; p.rows < 1 {
			errs = append(errs, fmt.Errorf("rows: %d is not a number of rows; the rule mass-write can be off", p.rows))
		}
	}
	for name := range c.Rules {
		errs = append(errs, fmt.Errorf("rules: there is no rule %q", name))
	}
	for i := range c.Custom {
		if err := c.Custom[i].validate(); err != nil {
			errs = append(errs, fmt.Errorf("custom[%d]: %w", i, err))
		}
	}
	p.custom = c.Custom
	return errors.Join(errs...)
}

// Judge returns the strictest verdict on any statement of the request.
func (p *plugin) Judge(_ *sdk.Session, r *sdk.Request) sdk.Verdict {
	verdict := sdk.Verdict{Action: sdk.Allow}
	pinned := slices.Contains(r.Attrs, sdk.Attr{Key: "db.read_only", Value: "on"})
	for st := range sdk.Effective(r.Statements) {
		rules := p.rules
		if !pinned && (st.Kind == "BEGIN" || st.Kind == "START TRANSACTION") {
			rules = nil // READ WRITE is what the session has anyway
		}
		if v := p.judge(st, rules, r.Labels); v.Action < verdict.Action {
			verdict = v
		}
	}
	switch n, known := estimated(r.Attrs); {
	case p.mass == off:
	case n > p.rows && sdk.Action(p.mass) < verdict.Action:
		why := fmt.Sprintf("about %d rows would be written, which is more than %d (rule guard/mass-write)", n, p.rows)
		verdict = sdk.Verdict{Action: sdk.Action(p.mass), Rule: "guard/mass-write", Reason: why}
	case !known && sdk.Action(p.unsure) < verdict.Action:
		why := "the server cannot say how many rows would be written (rule guard/unestimated)"
		verdict = sdk.Verdict{Action: sdk.Action(p.unsure), Rule: "guard/unestimated", Reason: why}
	}
	return verdict
}

// defaultRows is how many rows a request may write where nothing else is
// configured.
const defaultRows = 10_000

// estimated returns how many rows a request would write, and whether that is
// known: it is 0 where the gate sees no need to ask.
func estimated(attrs []sdk.Attr) (rows int, known bool) {
	for _, a := range attrs {
		if a.Key == "db.estimated_rows" {
			n, err := strconv.ParseFloat(a.Value, 64)
			return int(min(n, 1e15)), err == nil
		}
	}
	return 0, true
}

func (p *plugin) judge(st *sdk.Statement, rules []rule, labels []sdk.Attr) sdk.Verdict {
	verdict := sdk.Verdict{Action: sdk.Allow}
	for i := range rules {
		r := &rules[i]
		if sdk.Action(r.action) >= verdict.Action {
			continue
		}
		if why := r.applies(st); why != "" {
			verdict = sdk.Verdict{Action: sdk.Action(r.action), Rule: "guard/" + r.name, Reason: fmt.Sprintf("%s (rule guard/%s)", why, r.name)}
		}
	}
	for i := range p.custom {
		c := &p.custom[i]
		if sdk.Action(c.Action) < verdict.Action && c.Selects(st, labels) {
			verdict = c.verdict(st)
		}
	}
	return verdict
}

func has(list []string, names ...string) bool { return first(list, names) != "" }

// first returns the first of list that is one of names, or "".
func first(list, names []string) string {
	for _, s := range list {
		if slices.Contains(names, s) {
			return s
		}
	}
	return ""
}

func init() { sdk.Register(new(plugin)) }

func main() {}
