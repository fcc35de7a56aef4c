// Command mask is the plugin that masks responses: columns by where they come
// from, and e-mail addresses, card numbers and US social security numbers
// wherever they are. Its README documents its configuration.
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
	// Columns says how columns are treated, by patterns of their origin.
	Columns map[string]treatment `json:"columns"`
	Detect  detect               `json:"detect"`
}

// A detect says how detected values are treated; pass turns a detector off.
type detect struct {
	Email treatment `json:"email"`
	Card  treatment `json:"card"`
	SSN   treatment `json:"ssn"`
}

type treatment sdk.Treatment

// UnmarshalJSON reads null, "null", "redact", "hash", "keep_last:N" or "pass".
func (t *treatment) UnmarshalJSON(b []byte) error {
	word, err := strconv.Unquote(string(b))
	if err != nil {
		word = string(b)
	}
	parsed, err := sdk.ParseTreatment(word)
	*t = treatment(parsed)
	return err
}

type plugin struct {
	sdk.FactsOnly
	columns []column
	detect  sdk.Treatment
}

// A column is a pattern of origins with the treatment of what it matches.
type column struct {
	pattern   string
	treatment sdk.Treatment
}

func (p *plugin) Configure(b []byte) error {
	c := config{Detect: detect{
		Email: treatment{Kind: sdk.Redact},
		Card:  treatment{Kind: sdk.KeepLast, Keep: 4},
		SSN:   treatment{Kind: sdk.Redact},
	}}
	if err := sdk.Unmarshal(b, &c); err != nil {
		return err
	}
	p.detect, p.columns = c.Detect.treatment(), nil
	var errs []error
	for _, pattern := range slices.Sorted(maps.Keys(c.Columns)) {
		if !strings.Contains(pattern, "*") && strings.Count(pattern, ".") < 2 {
			errs = append(errs, fmt.Errorf("columns: %q is not schema.table.column", pattern))
		}
		t := sdk.Treatment(c.Columns[pattern])
		t.Rule = "mask/" + pattern
		p.columns = append(p.columns, column{pattern, t})
	}
	slices.SortStableFunc(p.columns, func(a, b column) int { return a.treatment.Compare(b.treatment) })
	return errors.Join(errs...)
}

// treatment is that of fields that no pattern matches.
func (d *detect) treatment() sdk.Treatment {
	t := sdk.Treatment{Kind: sdk.Detect, Rule: "mask/detect"}
	for _, x := range []struct {
		name string
		as   treatment
	}{{"email", d.Email}, {"card", d.Card}, {"ssn", d.SSN}} {
		if x.as.Kind != sdk.Pass {
			t.Detect = append(t.Detect, sdk.Detection{Detector: x.name, Kind: x.as.Kind, Keep: x.as.Keep})
		}
	}
	if len(t.Detect) == 0 {
		return sdk.Treatment{Kind: sdk.Pass}
	}
	return t
}

func (p *plugin) Treat(_ *sdk.Session, h *sdk.Head) []sdk.Treatment {
	return sdk.Each(h, p.treat)
}

func (p *plugin) treat(f *sdk.Field) sdk.Treatment {
	for _, c := range p.columns {
		if !sdk.MatchAny([]string{c.pattern}, f.Origins) {
			continue
		}
		t := c.treatment
		if t.Kind != sdk.Pass && !slices.Contains(textTypes, f.Type) {
			t.Kind, t.Keep = sdk.Null, 0 // the type has no way to say the rest
		}
		return t
	}
	return p.detect
}

// textTypes can hold any text.
var textTypes = []string{"text", "varchar", "bpchar", "name", "citext", "xml", "unknown", "cstring"}

func init() { sdk.Register(&plugin{}) }

func main() {}
