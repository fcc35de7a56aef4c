// Command guest is the conformance guest in Go: the package above says what one
// does.
package main

import (
	"encoding/json"
	"time"

	"gatehouse/sdk"
)

type guest struct {
	Answer *answer `json:"answer"` // nil: tell what was given
	Fail   string  `json:"fail"`   // how; empty where it does not
}

// An answer is a message in the golden files' JSON.
type answer struct {
	Problem    string                           `json:"problem"`
	State      string                           `json:"state"`
	Detectors  struct{ Detectors []detector }   `json:"detectors"`
	Verdict    verdict                          `json:"verdict"`
	Treatments struct{ Treatments []treatment } `json:"treatments"`
	Edits      []edit                           `json:"edits"`
	Note       *note                            `json:"note"`
}

type detector struct{ Name, Pattern string }

type label struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

type verdict struct {
	Action       sdk.Action
	Rule, Reason string
	Labels       []label
}

type treatment struct {
	Kind   sdk.TreatmentKind
	Keep   uint8
	Rule   string
	Detect []struct {
		Name string
		Kind sdk.TreatmentKind
		Keep uint8
	}
}

type edit struct {
	Row, Field, From, To int
	Kind                 sdk.TreatmentKind
	Keep                 uint8
	Text                 string
}

type note struct {
	Text   string
	Labels []label
}

// A message is one as told: an object of its sections.
type message map[string]any

func (m message) String() string {
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(b)
}

type problem string

func (p problem) Error() string { return string(p) }

func (g *guest) Configure(config []byte) error {
	*g = guest{}
	if err := json.Unmarshal(config, g); err != nil {
		return err
	}
	switch {
	case g.Answer != nil && g.Answer.Problem != "":
		return problem(g.Answer.Problem)
	case g.Answer == nil && g.Fail == "" && string(config) != "{}":
		return problem(message{"config": string(config), "host": message{"version": sdk.HostVersion()}}.String())
	}
	return nil
}

func (g *guest) Detectors() (all []sdk.Detector) {
	if g.Answer != nil {
		for _, d := range g.Answer.Detectors.Detectors {
			all = append(all, sdk.Detector(d))
		}
	}
	return all
}

func deeper(n int) int {
	if n == 0 {
		return 0
	}
	return deeper(n+1) + n
}

func (g *guest) fail() {
	switch g.Fail {
	case "trap":
		panic("as it was told")
	case "outside":
		_ = g.Fail[len(g.Fail)+deeper(0)]
	case "memory":
		for all := [][]byte{}; ; {
			all = append(all, make([]byte, 1<<20))
			all[len(all)-1][0] = 1
		}
	case "recursion":
		panic(deeper(1))
	case "loop":
		for deeper(0) == 0 {
		}
	}
}

func (g *guest) Open(s *sdk.Session) []byte {
	g.fail()
	if g.Answer != nil {
		return []byte(g.Answer.State)
	}
	return []byte(message{"session": session(s)}.String())
}

func (g *guest) Judge(s *sdk.Session, r *sdk.Request) sdk.Verdict {
	g.fail()
	return g.verdict(message{"session": session(s), "state": string(s.State), "request": request(r)})
}

func (g *guest) verdict(told message) sdk.Verdict {
	if g.Answer == nil {
		return sdk.Verdict{Action: sdk.Allow, Reason: told.String()}
	}
	v := &g.Answer.Verdict
	return sdk.Verdict{Action: v.Action, Rule: v.Rule, Reason: v.Reason, Labels: attrs(v.Labels)}
}

func (g *guest) Treat(s *sdk.Session, h *sdk.Head) []sdk.Treatment {
	g.fail()
	if g.Answer == nil {
		ts := make([]sdk.Treatment, len(h.Fields))
		for i := range ts {
			ts[i].Kind = sdk.Pass
		}
		ts[0].Rule = message{"session": session(s), "state": string(s.State), "head": head(h)}.String()
		return ts
	}
	var ts []sdk.Treatment
	for _, t := range g.Answer.Treatments.Treatments {
		out := sdk.Treatment{Kind: t.Kind, Keep: t.Keep, Rule: t.Rule}
		for _, d := range t.Detect {
			out.Detect = append(out.Detect, sdk.Detection{Detector: d.Name, Kind: d.Kind, Keep: d.Keep})
		}
		ts = append(ts, out)
	}
	return ts
}

func (g *guest) Inspect(edits []sdk.Edit, b *sdk.Batch) []sdk.Edit {
	g.fail()
	if g.Answer == nil {
		h := new(sdk.Head)
		for j := range b.Fields() {
			h.Fields = append(h.Fields, b.Field(j))
		}
		told := batch(b, h)
		told["state"] = string(b.State())
		return append(edits, sdk.Edit{Treatment: sdk.Treatment{Kind: sdk.Replace}, Text: []byte(told.String())})
	}
	for _, e := range g.Answer.Edits {
		edits = append(edits, sdk.Edit{Row: e.Row, Field: e.Field, From: e.From, To: e.To, Treatment: sdk.Treatment{Kind: e.Kind, Keep: e.Keep}, Text: []byte(e.Text)})
	}
	return edits
}

func (g *guest) JudgeUpload(s *sdk.Session, h *sdk.Head, b *sdk.Batch) sdk.Verdict {
	g.fail()
	told := batch(b, h)
	told["session"], told["state"] = session(s), string(s.State)
	return g.verdict(told)
}

func (g *guest) End(s *sdk.Session, o *sdk.Outcome) *sdk.Note {
	g.fail()
	return g.note(message{"session": session(s), "state": string(s.State), "outcome": message{"status": o.Status, "tag": o.Tag, "code": o.Code, "rows": o.Rows}})
}

func (g *guest) Close(s *sdk.Session) *sdk.Note {
	g.fail()
	return g.note(message{"session": session(s), "state": string(s.State)})
}

func (g *guest) note(told message) *sdk.Note {
	if g.Answer == nil {
		return &sdk.Note{Text: told.String()}
	}
	if n := g.Answer.Note; n != nil {
		return &sdk.Note{Text: n.Text, Labels: attrs(n.Labels)}
	}
	return nil
}

func attrs(labels []label) (all []sdk.Attr) {
	for _, l := range labels {
		all = append(all, sdk.Attr(l))
	}
	return all
}

func labels(all []sdk.Attr) []label {
	out := []label{}
	for _, a := range all {
		out = append(out, label(a))
	}
	return out
}

func instant(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func session(s *sdk.Session) message {
	p := &s.Principal
	return message{
		"id": s.ID, "gate": s.Gate, "protocol": s.Protocol, "resource": s.Resource, "policy": s.Policy,
		"principal": message{"issuer": p.Issuer, "subject": p.Subject, "name": p.Name, "groups": list(p.Groups), "expires": instant(p.Expires)},
		"client":    s.Client, "start": instant(s.Start), "attrs": labels(s.Attrs),
	}
}

func list(texts []string) []string { return append([]string{}, texts...) }

func objects(all []sdk.Object) []message {
	out := []message{}
	for _, o := range all {
		out = append(out, message{"schema": o.Schema, "name": o.Name})
	}
	return out
}

// cell is a text, or nil for NULL.
func cell(v []byte) any {
	if v == nil {
		return nil
	}
	return string(v)
}

func request(r *sdk.Request) message {
	params, statements, cuts := []any{}, []message{}, []message{}
	for _, v := range r.Params {
		params = append(params, cell(v))
	}
	for _, s := range r.Statements {
		statements = append(statements, message{
			"kind": s.Kind, "parent": s.Parent + 1, "within": s.Within, "runs": s.Runs, "writes": objects(s.Writes), "reads": objects(s.Reads),
			"columns": list(s.Columns), "functions": list(s.Functions), "settings": list(s.Settings), "names": list(s.Names), "options": list(s.Options),
			"scope": s.Scope, "opaque": s.Opaque, "operators": list(s.Operators), "types": list(s.Types), "predicates": list(s.Predicates),
		})
	}
	for _, c := range r.Cut {
		cuts = append(cuts, message{"param": c.Param, "size": c.Size, "digest": string(c.Digest[:])})
	}
	return message{
		"operation": r.Operation, "payload": string(r.Payload), "params": params, "statements": statements,
		"labels": labels(r.Labels), "attrs": labels(r.Attrs), "cut": cuts, "masked": list(r.Masked),
	}
}

func head(h *sdk.Head) message {
	fields := []message{}
	for _, f := range h.Fields {
		fields = append(fields, message{"name": f.Name, "type": f.Type, "origins": list(f.Origins), "lineage": f.Lineage})
	}
	return message{"fields": fields, "attrs": labels(h.Attrs)}
}

func batch(b *sdk.Batch, h *sdk.Head) message {
	values := [][]any{}
	for i := range b.Len() {
		row := []any{}
		for j := range b.Fields() {
			row = append(row, cell(b.Cell(i, j)))
		}
		values = append(values, row)
	}
	return message{"head": head(h), "shape": message{"rows": b.Len(), "fields": b.Fields()}, "values": values}
}

func init() { sdk.Register(&guest{}) }

func main() {}
