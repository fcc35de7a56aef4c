// Command block-fact is the plugin that blocks statements of configured kinds, and
// what cannot be read.
package main

import (
	"slices"

	"gatehouse/sdk"
)

type plugin struct {
	sdk.FactsOnly
	Kinds []string `json:"kinds"`
}

func (p *plugin) Configure(config []byte) error {
	*p = plugin{}
	return sdk.Unmarshal(config, p)
}

func (p *plugin) Judge(_ *sdk.Session, r *sdk.Request) sdk.Verdict {
	for _, st := range r.Statements {
		switch {
		case st.Opaque:
			return sdk.Verdict{Rule: "block-fact/opaque", Reason: "what this does cannot be read"}
		case slices.Contains(p.Kinds, st.Kind):
			return sdk.Verdict{Rule: "block-fact/kind", Reason: st.Kind + " is not allowed here"}
		}
	}
	return sdk.Verdict{Action: sdk.Allow}
}

func init() { sdk.Register(new(plugin)) }
func main() {}
