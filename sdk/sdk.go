// Package sdk is what a plugin of the gate imports, and all that it needs to.
//
// A plugin is a type with some of the methods of Judge, Masker, Inspector,
// UploadJudge, Ender, Opener, Closer, Configurer and Detecter, registered once:
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
// runs several instances of it, and replaces them as it likes. It has
// no files, no network, no goroutines that outlive a call and, unless it is granted
// them (NeedsClock, NeedsRandom), no clock and no randomness.
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

// ABIVersion is the version of the interface that this package speaks: 1.0.
const ABIVersion = 1 << 16

// host is the version of the gate that the plugin runs in.
var host uint32 = ABIVersion

// HostVersion returns the version of the interface that the gate speaks, which may be
// higher than ABIVersion within the same major version: major<<16 | minor.
func HostVersion() uint32 { return host }

// A Configurer gets the plugin's configuration, a JSON object, before any other
// call; it is {} where there is none. An error refuses it. A plugin that is no
// Configurer takes no configuration.
type Configurer interface{ Configure(config []byte) error }

// A Detecter declares detectors of its own, which Treat may then name. It is
// asked after Configure.
type Detecter interface{ Detectors() []Detector }

// An Opener is told when a session begins. What it returns, at most 4 KiB, is
// the State of the session in all later calls: a plugin has no other memory.
type Opener interface{ Open(*Session) (state []byte) }

// A Closer is told when a session ends. Its note, if it is not nil, is recorded.
type Closer interface{ Close(*Session) *Note }

// An Ender is told how each response ended. Its note, if it is not nil, is
// recorded.
type Ender interface {
	End(*Session, *Outcome) *Note
}

// An UploadJudge says whether rows that a client sends, as by COPY FROM, may go
// on to the server. The zero Verdict blocks them; Hold does too.
type UploadJudge interface {
	JudgeUpload(*Session, *Head, *Batch) Verdict
}

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

// NeedsClock, embedded in a plugin, has the gate refuse to load it without the grant
// clock. Without that grant the clock tells some moment of 2022: a plugin that goes
// by the time of day would be wrong in silence.
type NeedsClock struct{}

func (NeedsClock) needsClock() {}

// NeedsRandom, embedded in a plugin, has the gate refuse to load it without the grant
// random. Without that grant random numbers are the same in every instance.
type NeedsRandom struct{}

func (NeedsRandom) needsRandom() {}

// Needs reports which grants a plugin is not to run without.
func Needs(p any) (clock, random bool) {
	_, clock = p.(interface{ needsClock() })
	_, random = p.(interface{ needsRandom() })
	return clock, random
}

// SeesFactsOnly reports whether a plugin embeds FactsOnly.
func SeesFactsOnly(p any) bool {
	_, is := p.(interface{ factsOnly() })
	return is
}

// The vocabulary. Package event documents it.
type (
	Attr          = event.Attr
	Principal     = event.Principal
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
	Detection     = event.Detection
	Detector      = event.Detector
	Outcome       = event.Outcome
	Note          = event.Note
)

// A Session is one client's connection to one resource.
type Session struct {
	event.Session
	State []byte // what the plugin's Open returned
}

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
	Detect   = event.Detect
)

// Each returns the treatment of each field of a head.
func Each(h *Head, treat func(*Field) Treatment) []Treatment {
	ts := make([]Treatment, len(h.Fields))
	for i := range h.Fields {
		ts[i] = treat(&h.Fields[i])
	}
	return ts
}

// ParseTreatment reads a treatment as configurations have it: "null", "redact",
// "hash", "fake", "keep_last:N" or "pass".
func ParseTreatment(text string) (Treatment, error) { return event.ParseTreatment(text) }

// The bits of the export hooks.
const (
	hookConfigure = 1 << iota
	hookOpen
	hookRequest
	hookHead
	hookRows
	hookUpload
	hookEnd
	hookClose

	factsOnly   = 1 << 16
	needsClock  = 1 << 17
	needsRandom = 1 << 18
)

var registered any

// Register makes p the plugin of this program. Call it once, from init: it
// panics if p has none of the hooks, or if there is a plugin already.
func Register(p any) {
	if hooksOf(p)&(hookRequest|hookHead|hookUpload|hookEnd) == 0 {
		panic(fmt.Sprintf("sdk: %T is none of Judge, Masker, UploadJudge and Ender", p))
	}
	if registered != nil {
		panic("sdk: Register called twice")
	}
	registered = p
}

func hooksOf(p any) (bits int32) {
	set := func(bit int32, is bool) {
		if is {
			bits |= bit
		}
	}
	_, configurer := p.(Configurer)
	_, detecter := p.(Detecter)
	set(hookConfigure, configurer || detecter)
	_, opener := p.(Opener)
	set(hookOpen, opener)
	_, judge := p.(Judge)
	set(hookRequest, judge)
	_, masker := p.(Masker)
	set(hookHead, masker)
	_, inspector := p.(Inspector)
	set(hookRows, inspector)
	_, uploads := p.(UploadJudge)
	set(hookUpload, uploads)
	_, ender := p.(Ender)
	set(hookEnd, ender)
	_, closer := p.(Closer)
	set(hookClose, closer)
	set(factsOnly, SeesFactsOnly(p))
	clock, random := Needs(p)
	set(needsClock, clock)
	set(needsRandom, random)
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
