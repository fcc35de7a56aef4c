package sdk_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/core/event"
)

var update = flag.Bool("update", false, "write the golden files of the ABI anew")

var (
	goldenSession = event.Session{
		ID: "01JDM3K8Q2", Gate: "gate-1", Protocol: "postgres", Resource: "orders", Policy: "a1b2c3",
		Principal: event.Principal{
			Issuer: "https://id.example.com", Subject: "7", Name: "agent@example.com", Groups: []string{"agents", ""},
			Expires: time.Unix(1764158400, 5),
		},
		Client: "192.0.2.1:50432", Start: time.Unix(1764154800, 123456789), Attrs: []event.Attr{{Key: "db.namespace", Value: "shop"}, {Key: "empty"}},
	}
	goldenRequest = event.Request{
		Operation: "query", Payload: []byte("UPDATE public.orders SET total = $1 WHERE id = $2"),
		Params: [][]byte{nil, []byte("17"), {}},
		Statements: []event.Statement{
			{
				Kind: "UPDATE", Parent: -1, Runs: true, Writes: []event.Object{{Schema: "public", Name: "orders"}}, Reads: []event.Object{{Name: "orders"}, {Name: "items"}},
				Columns: []string{"total", "orders.id", "*"}, Functions: []string{"app.price"}, Settings: []string{"search_path"}, Names: []string{"cursor1"},
				Options: []string{"ONLY"}, Scope: event.ScopeRestricted, Operators: []string{"==="}, Types: []string{"money_pair"}, Predicates: []string{"id"},
			},
			{Kind: "SELECT", Parent: 0, Within: "cte", Opaque: true, Scope: event.ScopeAll},
		},
		Labels: []event.Attr{{Key: "risk", Value: "40"}}, Attrs: []event.Attr{{Key: "db.transaction", Value: "idle"}},
		Cut:    []event.Cut{{Param: 1, Size: 1 << 33, Digest: [32]byte([]byte("0123456789abcdef0123456789abcdef"))}},
		Masked: []string{"public.customers.ssn", "public.*"},
	}
	goldenHead = event.Head{
		Fields: []event.Field{
			{Name: "email", Type: "text", Origins: []string{"public.customers.email"}, Lineage: event.LineageExact},
			{Name: "n", Type: "int8", Origins: []string{"a.b.c", "a.b.d"}, Lineage: event.LineageDerived},
			{},
		},
		Attrs: []event.Attr{{Key: "http.response.status_code", Value: "200"}},
	}
	goldenOutcome = event.Outcome{Status: "error", Tag: "UPDATE 3", Code: "42501", Rows: 300}
)

// goldenRows has NULLs in the second word of the bitmap too.
func goldenRows() *event.Rows {
	var r event.Rows
	r.Reset([]event.Field{{Name: "email", Type: "text"}, {Name: "note", Type: "text"}})
	for i := range 17 {
		cells := r.Grow()
		cells[0] = []byte("user" + string(rune('a'+i)) + "@example.com")
		switch i % 3 {
		case 0:
			cells[1] = []byte("é, ü")
		case 1:
			cells[1] = []byte{}
		}
	}
	return &r
}

func sections(parts ...any) (b []byte) {
	for i := 0; i < len(parts); i += 2 {
		v, is := parts[i+1].([]byte)
		if !is {
			v = parts[i+1].(interface{ Append([]byte) []byte }).Append(nil)
		}
		b = event.AppendSection(b, parts[i].(event.Section), v)
	}
	return b
}

// goldens are the messages in testdata/abi.
func goldens() map[string][]byte {
	long := strings.Repeat("long ", 40)
	verdict := event.Verdict{Action: event.Hold, Rule: "test/hold", Reason: long, Labels: []event.Attr{{Key: "risk", Value: "80"}, {Key: "class"}}}
	treatments := []event.Treatment{
		{}, {Kind: event.Redact, Rule: "r"}, {Kind: event.Hash}, {Kind: event.KeepLast, Keep: 255}, {Kind: event.Inspect, Rule: "test/inspect"},
		{Kind: event.Pass}, {Kind: event.Fake},
		{Kind: event.Detect, Rule: "test/detect", Detect: []event.Detection{
			{Detector: "email", Kind: event.Redact}, {Detector: "card", Kind: event.KeepLast, Keep: 4}, {Detector: "key", Kind: event.Null},
		}},
	}
	edits := []event.Edit{
		{Row: 0, Field: 0, From: 0, To: 5, Treatment: event.Treatment{Kind: event.KeepLast, Keep: 2}},
		{Row: 0, Field: 0, From: 5, To: 6, Treatment: event.Treatment{Kind: event.Replace}, Text: []byte(" at ")},
		{Row: 0, Field: 1, From: 0, To: 6, Treatment: event.Treatment{Kind: event.Null}},
		{Row: 16, Field: 0, From: 3, To: 3, Treatment: event.Treatment{Kind: event.Replace}, Text: []byte("ü")},
		{Row: 16, Field: 0, From: 4, To: 17, Treatment: event.Treatment{Kind: event.Fake}},
	}
	rows, all := goldenRows(), []int{0, 1}
	columns := event.Head{Fields: rows.Fields}
	s, state := event.SectionSession, event.SectionState
	return map[string][]byte{
		"configure-in":          sections(event.SectionConfig, []byte(`{"limit": 3}`), event.SectionHost, event.AppendUint(nil, 1, 1<<16)),
		"configure-out":         sections(event.SectionDetectors, event.AppendDetectors(nil, []event.Detector{{Name: "key", Pattern: "AKIA[0-9A-Z]{16}"}, {Name: "iban", Pattern: `IBAN:? *([A-Z]{2}\d{10,30})`}})),
		"configure-problem-out": sections(event.SectionProblem, []byte("limit: 3 is not between 5 and 9")),
		"on_open-in":            sections(s, &goldenSession),
		"on_open-out":           sections(state, []byte("team=night")),
		"on_request-in":         sections(s, &goldenSession, state, []byte("team=night"), event.SectionRequest, &goldenRequest),
		"on_request-facts-in":   sections(s, &event.Session{Gate: "gate-1"}, event.SectionRequest, &event.Request{Operation: "query"}),
		"on_request-out":        sections(event.SectionVerdict, &verdict),
		"on_request-allow-out":  sections(event.SectionVerdict, &event.Verdict{Action: event.Allow}),
		"on_request-block-out":  sections(event.SectionVerdict, &event.Verdict{}),
		"on_head-in":            sections(s, &goldenSession, event.SectionHead, &goldenHead),
		"on_head-out":           sections(event.SectionTreatments, event.AppendTreatments(nil, treatments)),
		"on_rows-in":            event.AppendBatch(sections(state, []byte("team=night"), event.SectionHead, &columns), rows, all, 0, rows.Len()),
		"on_rows-out":           event.AppendEdits(nil, edits),
		"on_rows-none-out":      nil,
		"on_upload-in":          event.AppendBatch(sections(s, &goldenSession, event.SectionHead, &columns), rows, all, 15, 17),
		"on_upload-out":         sections(event.SectionVerdict, &event.Verdict{Rule: "test/upload", Reason: "no notes"}),
		"on_end-in":             sections(s, &goldenSession, state, []byte("team=night"), event.SectionOutcome, &goldenOutcome),
		"on_end-out":            sections(event.SectionNote, &event.Note{Text: "3 rows changed", Labels: []event.Attr{{Key: "rows", Value: "3"}}}),
		"on_close-in":           sections(s, &goldenSession, state, []byte("team=night")),
		"on_close-out":          nil,
	}
}

// ABI.md's structures are in testdata/abi, byte for byte, and so is what they
// say.
func TestGoldenBytes(t *testing.T) {
	dir := filepath.Join("testdata", "abi")
	want := goldens()
	if *update {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, b := range want {
		said := append(spoken(t, b), '\n')
		if *update {
			if err := os.WriteFile(filepath.Join(dir, name+".bin"), b, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name+".json"), said, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		golden, err := os.ReadFile(filepath.Join(dir, name+".bin"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(golden, b) {
			t.Errorf("%s is\n%x, want\n%x", name, b, golden)
		}
		text, err := os.ReadFile(filepath.Join(dir, name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(text), string(said)); diff != "" {
			t.Errorf("%s says: %s", name, diff)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.bin"))
	if err != nil || len(files) < len(want) {
		t.Errorf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".bin")
		if _, there := want[name]; !there && !strings.HasPrefix(name, "bad-") {
			t.Errorf("%s is nobody's", f)
		}
	}
}

// What follows reads messages by the tables of ABI.md alone, without package
// event.

// A shape is a structure as ABI.md has it: its elements by tag.
type shape map[uint64]element

type element struct {
	name string
	kind string // "text", "number", "time", "flag", "param" or that of nested
	list bool
	of   shape
}

var (
	attrShape      = shape{1: {name: "key"}, 2: {name: "value"}}
	objectShape    = shape{1: {name: "schema"}, 2: {name: "name"}}
	principalShape = shape{1: {name: "issuer"}, 2: {name: "subject"}, 3: {name: "name"}, 4: {name: "groups", list: true}, 5: {name: "expires", kind: "time"}}
	sessionShape   = shape{
		1: {name: "id"}, 2: {name: "gate"}, 3: {name: "protocol"}, 4: {name: "resource"}, 5: {name: "policy"}, 6: {name: "principal", of: principalShape},
		7: {name: "client"}, 8: {name: "start", kind: "time"}, 9: {name: "attrs", list: true, of: attrShape},
	}
	statementShape = shape{
		1: {name: "kind"}, 2: {name: "parent", kind: "number"}, 3: {name: "within"}, 4: {name: "runs", kind: "flag"},
		5: {name: "writes", list: true, of: objectShape}, 6: {name: "reads", list: true, of: objectShape},
		7: {name: "columns", list: true}, 8: {name: "functions", list: true}, 9: {name: "settings", list: true}, 10: {name: "names", list: true},
		11: {name: "options", list: true}, 12: {name: "scope", kind: "number"}, 13: {name: "opaque", kind: "flag"},
		14: {name: "operators", list: true}, 15: {name: "types", list: true}, 16: {name: "predicates", list: true},
	}
	requestShape = shape{
		1: {name: "operation"}, 2: {name: "payload"}, 3: {name: "params", kind: "param", list: true}, 4: {name: "statements", list: true, of: statementShape},
		5: {name: "labels", list: true, of: attrShape}, 6: {name: "attrs", list: true, of: attrShape},
		7: {name: "cut", list: true, of: shape{1: {name: "param", kind: "number"}, 2: {name: "size", kind: "number"}, 3: {name: "digest"}}}, 8: {name: "masked", list: true},
	}
	fieldShape     = shape{1: {name: "name"}, 2: {name: "type"}, 3: {name: "origins", list: true}, 4: {name: "lineage", kind: "number"}}
	treatmentShape = shape{1: {name: "kind", kind: "number"}, 2: {name: "keep", kind: "number"}, 3: {name: "rule"}, 4: {name: "detect", list: true, of: shape{
		1: {name: "name"}, 2: {name: "kind", kind: "number"}, 3: {name: "keep", kind: "number"},
	}}}
	messageShape = shape{
		1: {name: "session", of: sessionShape}, 2: {name: "state"}, 3: {name: "request", of: requestShape},
		4:  {name: "head", of: shape{1: {name: "fields", list: true, of: fieldShape}, 2: {name: "attrs", list: true, of: attrShape}}},
		5:  {name: "outcome", of: shape{1: {name: "status"}, 2: {name: "tag"}, 3: {name: "code"}, 4: {name: "rows", kind: "number"}}},
		6:  {name: "config"},
		7:  {name: "host", of: shape{1: {name: "version", kind: "number"}}},
		32: {name: "problem"}, 33: {name: "detectors", of: shape{1: {name: "detectors", list: true, of: shape{1: {name: "name"}, 2: {name: "pattern"}}}}},
		34: {name: "verdict", of: shape{1: {name: "action", kind: "number"}, 2: {name: "rule"}, 3: {name: "reason"}, 4: {name: "labels", list: true, of: attrShape}}},
		35: {name: "treatments", of: shape{1: {name: "treatments", list: true, of: treatmentShape}}},
		38: {name: "note", of: shape{1: {name: "text"}, 2: {name: "labels", list: true, of: attrShape}}},
	}
)

// spoken returns what a message says, as the JSON of testdata/abi.
func spoken(t *testing.T, b []byte) []byte {
	t.Helper()
	said := make(map[string]any)
	tables := make(map[uint32][]byte)
	for last := uint32(0); len(b) > 0; {
		tag, n := binary.LittleEndian.Uint32(b), int(binary.LittleEndian.Uint32(b[4:]))
		v := b[8 : 8+n]
		b = b[8+(n+3)&^3:]
		if tag <= last {
			t.Errorf("section %d after %d", tag, last)
		}
		last = tag
		e, known := messageShape[uint64(tag)]
		switch {
		case !known:
			tables[tag] = v
		case e.of != nil:
			said[e.name] = e.of.read(t, v)
		default:
			said[e.name] = string(v)
		}
	}
	if shape := tables[8]; shape != nil {
		rows, fields := int(u32(shape, 0)), int(u32(shape, 1))
		said["shape"] = map[string]any{"rows": rows, "fields": fields}
		var values [][]any
		for i := range rows {
			var row []any
			for j := range fields {
				k := i*fields + j
				if u32(tables[10], k/32)>>(k%32)&1 != 0 {
					row = append(row, nil)
					continue
				}
				row = append(row, string(tables[11][u32(tables[9], k):u32(tables[9], k+1)]))
			}
			values = append(values, row)
		}
		said["values"] = values
	}
	if edits := tables[36]; edits != nil {
		var list []any
		for at := 0; at < len(edits)/4; at += 7 {
			e := map[string]any{"row": u32(edits, at), "field": u32(edits, at+1), "from": u32(edits, at+2), "to": u32(edits, at+3), "kind": u32(edits, at+4) & 0xff}
			if keep := u32(edits, at+4) >> 8; keep != 0 {
				e["keep"] = keep
			}
			if offset, n := u32(edits, at+5), u32(edits, at+6); n > 0 {
				e["text"] = string(tables[37][offset : offset+n])
			}
			list = append(list, e)
		}
		said["edits"] = list
	}
	text, err := json.MarshalIndent(said, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func u32(b []byte, i int) uint32 { return binary.LittleEndian.Uint32(b[4*i:]) }

func (s shape) read(t *testing.T, b []byte) map[string]any {
	t.Helper()
	said := make(map[string]any)
	var last uint64
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		size, m := binary.Uvarint(b[n:])
		v := b[n+m : n+m+int(size)]
		b = b[n+m+int(size):]
		e, known := s[tag]
		if !known || tag < last || tag == last && !e.list {
			t.Errorf("element %d after %d", tag, last)
		}
		last = tag
		var x any
		switch {
		case e.of != nil:
			x = e.of.read(t, v)
		case e.kind == "number", e.kind == "time":
			x, _ = binary.Uvarint(v)
		case e.kind == "flag":
			x = true
		case e.kind == "param" && len(v) == 0:
			x = nil
		case e.kind == "param":
			x = string(v[1:])
		default:
			x = string(v)
		}
		if e.list {
			list, _ := said[e.name].([]any)
			x = append(slices.Clip(list), x)
		}
		said[e.name] = x
	}
	return said
}
