// Command shadow is the plugin that lets members of a group only read, and notes
// large results: a rule to try with shadow: true before it is in force.
package main

import (
	"fmt"
	"slices"

	"gatehouse/sdk"
)

type plugin struct {
	Group string `json:"group"`
	Rows  int64  `json:"rows"`
}

func (p *plugin) Configure(config []byte) error {
	*p = plugin{Rows: 1000}
	return sdk.Unmarshal(config, p)
}

// Open says which sessions are of members.
func (p *plugin) Open(s *sdk.Session) []byte {
	if slices.Contains(s.Principal.Groups, p.Group) {
		return []byte("reader")
	}
	return nil
}

func readsOnly(s *sdk.Session) bool { return string(s.State) == "reader" }

func (p *plugin) write() sdk.Verdict {
	return sdk.Verdict{Rule: "shadow/write", Reason: "members of " + p.Group + " only read"}
}

func (p *plugin) Judge(s *sdk.Session, r *sdk.Request) sdk.Verdict {
	for _, st := range r.Statements {
		if readsOnly(s) && (st.Opaque || len(st.Writes) > 0) {
			return p.write()
		}
	}
	return sdk.Verdict{Action: sdk.Allow}
}

func (p *plugin) JudgeUpload(s *sdk.Session, _ *sdk.Head, _ *sdk.Batch) sdk.Verdict {
	if readsOnly(s) {
		return p.write()
	}
	return sdk.Verdict{Action: sdk.Allow}
}

func (p *plugin) End(_ *sdk.Session, o *sdk.Outcome) *sdk.Note {
	if o.Rows <= p.Rows {
		return nil
	}
	return &sdk.Note{Text: fmt.Sprintf("%d rows", o.Rows), Labels: []sdk.Attr{{Key: "large", Value: "true"}}}
}

func (p *plugin) Close(s *sdk.Session) *sdk.Note {
	if readsOnly(s) {
		return &sdk.Note{Text: "a reader's session"}
	}
	return nil
}

func init() { sdk.Register(new(plugin)) }
func main() {}
