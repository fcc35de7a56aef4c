// Package sdk is what a plugin of the gate imports, and all that it needs to.
//
// A plugin is a type with some of the methods of Configurer, Judge, Masker and
// Inspector, registered once:
//
//	package main
//
//	import "gatehouse/sdk"
//
//	type plugin struct{}
//
//	func (plugin) Judge(s *sdk.Session, r *sdk.Request) sdk.Verdict {
//		for _, st := range r.Statements {
//			if st.Kind == "TRUNCATE" {
//				return sdk.Verdict{Rule: "no-truncate", Reason: "tables are not emptied here"}
//			}
//		}
//		return sdk.Verdict{Action: sdk.Allow}
//	}
//
//	func init() { sdk.Register(plugin{}) }
//	func main() {}
//
// It is compiled with
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o plugin.wasm
//
// and, being an ordinary type, tested with an ordinary go test. ABI.md
// specifies what passes between the gate and a plugin in any language.
//
// A plugin keeps no state between calls besides its configuration: the gate
// runs several instances of it, and replaces them as it likes. It has no clock,
// no randomness, no files, no network and no goroutines that outlive a call.
// What it is given is valid until its method returns.
package sdk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"gatehouse/core/event"
)

// ABIVersion is the version of the interface that this package speaks.
const ABIVersion = 0

// A Configurer gets the plugin's configuration, as JSON, before any other call;
// it is null where there is none. An error refuses it. A plugin that is no
// Configurer takes no configuration.
type Configurer interface{ Configure(config []byte) error }

// A Judge says whether a request may go on. The zero Verdict blocks it.
type Judge interface {
	Judge(*Session, *Request) Verdict
}

// A Masker says how the values of a result are treated: one treatment for each
// field of the head. The zero Treatment makes a field NULL.
type Masker interface {
	Treat(*Session, *Head) []Treatment
}

// An Inspector looks at the values for which its Treat answered Inspect, and
// appends to edits what is done to parts of them. The edits must be in the
// order of the cells and of the bytes in a cell, and not overlap; an edit's
// field counts those of the batch.
type Inspector interface {
	Inspect(edits []Edit, b *Batch) []Edit
}

// FactsOnly, embedded in a plugin, keeps from its Judge and Treat what differs
// from one request to the next: a request's Payload and Params, and a session's
// ID, Client and Start and when its principal's proof ends. In return the gate
// asks but once for each combination of facts and remembers the answer, which
// is many times faster.
type FactsOnly struct{}

func (FactsOnly) factsOnly() {}

// The vocabulary. Package event documents it.
type (
	Attr          = event.Attr
	Principal     = event.Principal
	Session       = event.Session
	Request       = event.Request
	Object        = event.Object
	Statement     = event.Statement
	Scope         = event.Scope
	Head          = event.Head
	Field         = event.Field
	Lineage       = event.Lineage
	Action        = event.Action
	Verdict       = event.Verdict
	Treatment     = event.Treatment
	TreatmentKind = event.TreatmentKind
	Batch         = event.Batch
	Edit          = event.Edit
)

// What may happen to a request.
const (
	Block = event.Block
	Hold  = event.Hold
	Allow = event.Allow
)

// The rows that a write selects.
const (
	ScopeNone       = event.ScopeNone
	ScopeAll        = event.ScopeAll
	ScopeRestricted = event.ScopeRestricted
)

// How a field's values come about.
const (
	LineageUnknown  = event.LineageUnknown
	LineageExact    = event.LineageExact
	LineageDerived  = event.LineageDerived
	LineageFiltered = event.LineageFiltered
	LineageClean    = event.LineageClean
)

// What is done to values.
const (
	Null     = event.Null
	Redact   = event.Redact
	Hash     = event.Hash
	KeepLast = event.KeepLast
	Replace  = event.Replace
	Inspect  = event.Inspect
	Pass     = event.Pass
	Fake     = event.Fake
)

// ParseTreatment reads a treatment as configurations have it: "null", "redact",
// "hash", "fake", "keep_last:N" or "pass".
func ParseTreatment(text string) (Treatment, error) { return event.ParseTreatment(text) }

// The bits of the export hooks.
const (
	hookConfigure = 1 << iota
	hookJudge
	hookTreat
	hookInspect
	factsOnly
)

var registered any

// Register makes p the plugin of this program. Call it once, from init: it
// panics if p has none of the hooks, or if there is a plugin already.
func Register(p any) {
	if hooksOf(p)&(hookJudge|hookTreat) == 0 {
		panic(fmt.Sprintf("sdk: %T is neither a Judge nor a Masker", p))
	}
	if registered != nil {
		panic("sdk: Register called twice")
	}
	registered = p
}

func hooksOf(p any) (bits int32) {
	if _, ok := p.(Configurer); ok {
		bits |= hookConfigure
	}
	if _, ok := p.(Judge); ok {
		bits |= hookJudge
	}
	if _, ok := p.(Masker); ok {
		bits |= hookTreat
	}
	if _, ok := p.(Inspector); ok {
		bits |= hookInspect
	}
	if _, ok := p.(interface{ factsOnly() }); ok {
		bits |= factsOnly
	}
	return bits
}

// Unmarshal sets the struct that v points to from a plugin's configuration.
// Unknown keys and anything after the first value are errors; null leaves v as
// it is.
func Unmarshal(config []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(config))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("configuration: more than one value")
	}
	return nil
}
