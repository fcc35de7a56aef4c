// Command nightshift holds writes to the ledger.
package main

import "gatehouse/sdk"

type plugin struct{}

func (plugin) Judge(_ *sdk.Session, r *sdk.Request) sdk.Verdict {
	for _, st := range r.Statements {
		for _, table := range st.Writes {
			if table.Name == "ledger" {
				return sdk.Verdict{Action: sdk.Hold, Rule: "nightshift/ledger", Reason: "writes to the ledger need a second pair of eyes"}
			}
		}
	}
	return sdk.Verdict{Action: sdk.Allow}
}

func init() { sdk.Register(plugin{}) }

func main() {}
