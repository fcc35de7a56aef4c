package event_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gatehouse/core/event"
)

// A structure has the encoding that this package is about.
type structure interface {
	Append([]byte) []byte
	Decode([]byte) error
}

var (
	someTime  = time.Date(2026, 11, 23, 9, 0, 0, 1, time.UTC)
	someAttrs = []event.Attr{{Key: "db.namespace", Value: "orders"}, {Key: "empty"}, {}}
	agent     = event.Principal{Issuer: "https://id.example.com", Subject: "7", Name: "agent", Groups: []string{"agents", ""}, Expires: someTime}
	long      = strings.Repeat("x", 1000)
)

// full has one of each structure with no field left out.
var full = map[string]structure{
	"principal": &agent,
	"session": &event.Session{
		ID: "s1", Gate: "g", Protocol: "postgres", Resource: "orders", Policy: "p1", Principal: agent,
		Client: "192.0.2.1:5", Start: time.Unix(0, 0).UTC(), Attrs: someAttrs,
	},
	"request": &event.Request{
		Operation: "query", Payload: []byte("SELECT 1"), Params: [][]byte{nil, {}, []byte("x")},
		Statements: []event.Statement{{Kind: "SELECT", Parent: -1, Runs: true}, {Kind: "DELETE", Parent: 0, Within: "cte"}},
		Labels:     someAttrs, Attrs: someAttrs,
	},
	"statement": &event.Statement{
		Kind: long, Parent: 3, Within: "do", Runs: true, Writes: []event.Object{{Schema: "public", Name: "t"}, {Name: long}},
		Reads: []event.Object{{}}, Columns: []string{"*", ""}, Predicates: []string{"ssn"}, Functions: []string{"f"}, Operators: []string{"==="}, Types: []string{"pair"}, Settings: []string{"role"},
		Names: []string{"n"}, Options: []string{"CASCADE"}, Scope: event.ScopeRestricted, Opaque: true,
	},
	"head": &event.Head{
		Fields: []event.Field{{Name: "email", Type: "text", Origins: []string{"public.customers.email"}, Lineage: event.LineageExact}, {Name: "n", Why: "it is not followed"}, {}},
		Attrs:  someAttrs,
	},
	"outcome":  &event.Outcome{Status: "ok", Tag: "SELECT 3", Code: "42501", Rows: 1 << 40},
	"verdict":  &event.Verdict{Action: event.Hold, Rule: "r", Reason: long, Labels: someAttrs},
	"decision": &event.Decision{Approved: true, By: agent, Comment: "fine", At: someTime},
	"note":     &event.Note{Text: "odd", Labels: someAttrs},
	"notice":   &event.Notice{Code: "closed", Text: "bye", Attrs: someAttrs},
}

// empty returns a new structure of the given name.
func empty(name string) structure {
	switch name {
	case "principal":
		return new(event.Principal)
	case "session":
		return new(event.Session)
	case "request":
		return new(event.Request)
	case "statement":
		return new(event.Statement)
	case "head":
		return new(event.Head)
	case "outcome":
		return new(event.Outcome)
	case "verdict":
		return new(event.Verdict)
	case "decision":
		return new(event.Decision)
	case "note":
		return new(event.Note)
	case "notice":
		return new(event.Notice)
	}
	return nil
}

func TestRoundTrip(t *testing.T) {
	for name, want := range full {
		encoded := want.Append(nil)
		got := empty(name)
		if err := got.Decode(encoded); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		// Decoding forgets what was there, and skips what it does not know.
		later := append(bytes.Clone(encoded), 100, 3, 'n', 'e', 'w')
		if err := got.Decode(later); err != nil || !cmp.Equal(want, got) {
			t.Errorf("%s with an unknown element: %v", name, err)
		}
		for n := range encoded {
			// No beginning of an encoding makes it panic.
			_ = empty(name).Decode(encoded[:n])
		}
	}
}

// A request with shared facts is encoded as without, also when it has others by then.
func TestSharedFacts(t *testing.T) {
	plain := *full["request"].(*event.Request)
	shared := plain
	shared.Shared = event.NewFacts(plain.Operation, plain.Statements, plain.Attrs)
	check := func(what string, shares bool) {
		t.Helper()
		if (shared.Facts() != nil) != shares {
			t.Errorf("%s: it shares its facts: %v", what, !shares)
		}
		if !bytes.Equal(plain.Append(nil), shared.Append(nil)) {
			t.Errorf("%s: it is encoded otherwise", what)
		}
	}
	check("as it was", true)
	plain.Labels, shared.Labels = nil, nil
	check("without labels", true)
	plain.Attrs = append(slices.Clip(plain.Attrs), event.Attr{Key: "more"})
	shared.Attrs = plain.Attrs
	check("with another attribute", false)
	shared.Attrs = shared.Attrs[:len(someAttrs)]
	plain.Attrs = shared.Attrs
	check("with a copy of the attributes", false)
	plain.Attrs, shared.Attrs = someAttrs, someAttrs
	plain.Operation, shared.Operation = "execute", "execute"
	check("with another operation", false)
	plain.Operation, shared.Operation = "query", "query"
	plain.Statements, shared.Statements = plain.Statements[:1], plain.Statements[:1]
	check("with a statement less", false)
}

func TestZeroVerdictBlocks(t *testing.T) {
	v := event.Verdict{Action: event.Allow}
	for _, b := range [][]byte{nil, {1}, {1, 1, 3}, {1, 2, 2, 2}, {1, 1, 2, 4, 9}} {
		if err := v.Decode(b); v.Action != event.Block {
			t.Errorf("%x decodes to %v, %v", b, v, err)
		}
	}
}

// What can be decoded stays the same when it is encoded and decoded again.
func FuzzDecode(f *testing.F) {
	for name, s := range full {
		f.Add(name, s.Append(nil))
	}
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		first := empty(name)
		if first == nil || first.Decode(b) != nil {
			return
		}
		second := empty(name)
		if err := second.Decode(first.Append(nil)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, second, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}

func FuzzDecodeTreatments(f *testing.F) {
	f.Add(event.AppendTreatments(nil, []event.Treatment{{Kind: event.Pass}, {Kind: event.KeepLast, Keep: 4, Rule: "r"}, {},
		{Kind: event.Detect, Detect: []event.Detection{{Detector: "email", Kind: event.Hash}, {Kind: event.KeepLast, Keep: 4}}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		first, err := event.DecodeTreatments(b)
		if err != nil {
			return
		}
		second, err := event.DecodeTreatments(event.AppendTreatments(nil, first))
		if diff := cmp.Diff(first, second); err != nil || diff != "" {
			t.Fatal(err, diff)
		}
	})
}

func FuzzDecodeDetectors(f *testing.F) {
	f.Add(event.AppendDetectors(nil, []event.Detector{{Name: "key", Pattern: "AKIA[0-9A-Z]{16}"}, {}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		first, err := event.DecodeDetectors(b)
		if err != nil {
			return
		}
		second, err := event.DecodeDetectors(event.AppendDetectors(nil, first))
		if diff := cmp.Diff(first, second); err != nil || diff != "" {
			t.Fatal(err, diff)
		}
	})
}

func FuzzDecodeFrame(f *testing.F) {
	frame := event.Frame{Kind: event.KindData, Exchange: 7, Time: someTime, Payload: []byte("payload")}
	f.Add(frame.Append(nil, []byte(" and more")))
	f.Fuzz(func(t *testing.T, b []byte) {
		var frame event.Frame
		rest, err := frame.Decode(b)
		if err != nil {
			return
		}
		if again := append(frame.Append(nil), rest...); !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}
