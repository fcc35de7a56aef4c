// Command mask-field is the plugin that masks the fields that come from configured
// columns.
package main

import (
	"slices"

	"gatehouse/sdk"
)

type plugin struct {
	sdk.FactsOnly
	Columns []string `json:"columns"`
	Keep    uint8    `json:"keep"`
}

func (p *plugin) Configure(config []byte) error {
	*p = plugin{Keep: 4}
	return sdk.Unmarshal(config, p)
}

func (p *plugin) Treat(_ *sdk.Session, h *sdk.Head) []sdk.Treatment {
	return sdk.Each(h, p.treat)
}

func (p *plugin) treat(f *sdk.Field) sdk.Treatment {
	switch f.Lineage {
	case sdk.LineageClean, sdk.LineageFiltered:
		return sdk.Treatment{Kind: sdk.Pass}
	case sdk.LineageUnknown:
		if len(f.Origins) == 0 {
			return sdk.Treatment{Kind: sdk.Redact, Rule: "mask-field/unknown"}
		}
	}
	for _, origin := range f.Origins {
		switch {
		case !slices.Contains(p.Columns, origin):
		case f.Lineage == sdk.LineageExact:
			return sdk.Treatment{Kind: sdk.KeepLast, Keep: p.Keep, Rule: "mask-field/" + origin}
		default:
			return sdk.Treatment{Kind: sdk.Redact, Rule: "mask-field/" + origin}
		}
	}
	return sdk.Treatment{Kind: sdk.Pass}
}

func init() { sdk.Register(new(plugin)) }
func main() {}
