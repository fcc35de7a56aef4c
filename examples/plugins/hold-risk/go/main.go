// Command hold-risk is the plugin that counts points for what a request does,
// labels it with them, and holds what has too many.
package main

import (
	"fmt"
	"strconv"

	"gatehouse/sdk"
)

type plugin struct {
	sdk.FactsOnly
	Limit int `json:"limit"`
}

func (p *plugin) Configure(config []byte) error {
	*p = plugin{Limit: 50}
	return sdk.Unmarshal(config, p)
}

func points(st *sdk.Statement) int {
	switch {
	case st.Opaque, st.Scope == sdk.ScopeAll:
		return 60
	case len(st.Writes) > 0:
		return 20
	}
	return 0
}

func (p *plugin) Judge(_ *sdk.Session, r *sdk.Request) sdk.Verdict {
	risk := 0
	for i := range r.Statements {
		risk += points(&r.Statements[i])
	}
	v := sdk.Verdict{Action: sdk.Allow, Labels: []sdk.Attr{{Key: "risk", Value: strconv.Itoa(risk)}}}
	if risk >= p.Limit {
		v.Action, v.Rule = sdk.Hold, "hold-risk/limit"
		v.Reason = fmt.Sprintf("a risk of %d, where %d is held", risk, p.Limit)
	}
	return v
}

func init() { sdk.Register(new(plugin)) }
func main() {}
