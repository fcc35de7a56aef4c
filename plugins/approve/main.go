// Command approve is the plugin that holds requests until a person approves
// them: by rules, and above a risk. Its README documents its configuration.
package main

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"gatehouse/sdk"
)

// defaultRisk is the threshold where the configuration names none.
const defaultRisk = 50

// A config is what the plugin is told.
type config struct {
	// Risk holds requests whose label risk is this or more; 0 holds none.
	Risk int `json:"risk"`
	// Rules hold requests with a statement that they select.
	Rules []rule `json:"rules"`
}

// A rule holds requests.
type rule struct {
	Name string `json:"name"`
	sdk.Selector
	Reason string `json:"reason"`
}

type plugin struct {
	sdk.FactsOnly
	config config
}

func (p *plugin) Configure(b []byte) error {
	p.config = config{Risk: defaultRisk}
	if err := sdk.Unmarshal(b, &p.config); err != nil {
		return err
	}
	var errs []error
	if p.config.Risk < 0 || p.config.Risk > 100 {
		errs = append(errs, fmt.Errorf("risk: %d is not between 0 and 100", p.config.Risk))
	}
	for i := range p.config.Rules {
		r := &p.config.Rules[i]
		if r.Name == "" || strings.ContainsAny(r.Name, "/ ") {
			errs = append(errs, fmt.Errorf("rules[%d]: name %q must be one word", i, r.Name))
		}
		if err := r.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("rules[%d]: %w", i, err))
		}
	}
	return errors.Join(errs...)
}

// Judge holds the request for the first rule that selects one of its
// statements, or else for its risk.
func (p *plugin) Judge(_ *sdk.Session, r *sdk.Request) sdk.Verdict {
	for i := range p.config.Rules {
		rule := &p.config.Rules[i]
		for st := range sdk.Effective(r.Statements) {
			if rule.Selects(st, r.Labels) {
				why := cmp.Or(rule.Reason, sdk.Subject(st)+" needs approval")
				return held(rule.Name, why)
			}
		}
	}
	if why := p.risk(r.Labels); why != "" {
		return held("risk", why)
	}
	return sdk.Verdict{Action: sdk.Allow}
}

func held(rule, why string) sdk.Verdict {
	return sdk.Verdict{Action: sdk.Hold, Rule: "approve/" + rule, Reason: fmt.Sprintf("%s (rule approve/%s)", why, rule)}
}

// risk says why a request with these labels is held for its risk, or "". A risk
// that nobody assessed may be any.
func (p *plugin) risk(labels []sdk.Attr) string {
	if p.config.Risk == 0 {
		return ""
	}
	assessed := false
	for _, l := range labels {
		if l.Key != "risk" {
			continue
		}
		n, err := strconv.Atoi(l.Value)
		if err != nil || n >= p.config.Risk {
			return fmt.Sprintf("its risk is %s, and from %d on someone must approve", l.Value, p.config.Risk)
		}
		assessed = true
	}
	if !assessed {
		return "nobody assessed its risk: classify must come before approve"
	}
	return ""
}

func init() { sdk.Register(new(plugin)) }

func main() {}
