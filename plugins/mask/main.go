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
	detect  detect
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
	p.detect, p.columns = c.Detect, nil
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

func (p *plugin) Treat(_ *sdk.Session, h *sdk.Head) []sdk.Treatment {
	ts := make([]sdk.Treatment, len(h.Fields))
	for i := range h.Fields {
		ts[i] = p.treat(&h.Fields[i])
	}
	return ts
}

func (p *plugin) treat(f *sdk.Field) sdk.Treatment {
	shape := shapeOf(f.Type)
	for _, c := range p.columns {
		if !sdk.MatchAny([]string{c.pattern}, f.Origins) {
			continue
		}
		t := c.treatment
		if t.Kind != sdk.Pass && shape != text {
			t.Kind, t.Keep = sdk.Null, 0 // the type has no way to say the rest
		}
		return t
	}
	if shape == plain || p.detect.off() {
		return sdk.Treatment{Kind: sdk.Pass}
	}
	return sdk.Treatment{Kind: sdk.Inspect, Rule: "mask/detect"}
}

func (d *detect) off() bool {
	return d.Email.Kind == sdk.Pass && d.Card.Kind == sdk.Pass && d.SSN.Kind == sdk.Pass
}

func (p *plugin) Inspect(edits []sdk.Edit, b *sdk.Batch) []sdk.Edit {
	n := b.Fields()
	var few [16]shape
	shapes := few[:0]
	for j := range n {
		shapes = append(shapes, shapeOf(b.Field(j).Type))
	}
	for i := range b.Len() {
		for j := range n {
			v := b.Cell(i, j)
			if len(v) >= shortest && (shapes[j] == bytea || promising(v)) {
				edits = p.detect.value(edits, i, j, shapes[j], v)
			}
		}
	}
	return edits
}

func init() { sdk.Register(&plugin{}) }

func main() {}
