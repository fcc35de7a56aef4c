// Command inspecting is a plugin that looks through the values of the columns named
// note, one by one, in the guest.
package main

import (
	"strings"

	"gatehouse/bench/internal/scan"
	"gatehouse/sdk"
)

type plugin struct{ sdk.FactsOnly }

func (plugin) Treat(_ *sdk.Session, h *sdk.Head) []sdk.Treatment {
	return sdk.Each(h, func(f *sdk.Field) sdk.Treatment {
		if strings.HasSuffix(f.Name, "note") {
			return sdk.Treatment{Kind: sdk.Inspect, Rule: "inspecting"}
		}
		return sdk.Treatment{Kind: sdk.Pass}
	})
}

func (plugin) Inspect(edits []sdk.Edit, b *sdk.Batch) []sdk.Edit {
	for i := range b.Len() {
		for j := range b.Fields() {
			if from, to := scan.Find(b.Cell(i, j)); from >= 0 {
				edits = append(edits, sdk.Edit{Row: i, Field: j, From: from, To: to, Treatment: sdk.Treatment{Kind: sdk.Redact}})
			}
		}
	}
	return edits
}

func init() { sdk.Register(plugin{}) }

func main() {}
