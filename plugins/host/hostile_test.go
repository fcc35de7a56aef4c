package host_test

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatehouse/core/event"
	"gatehouse/plugins/host"
	"gatehouse/plugins/plugintest"
)

var update = flag.Bool("update", false, "write the golden files of bad answers anew")

// answering is a guest whose hook gives this answer.
func answering(hook string, answer []byte) module {
	m := module{functions: with(basic, function{name: hook, params: hookParams, results: []byte{i64}, body: reply(dataAt, len(answer))}), pages: 4, data: answer}
	switch hook {
	case "on_rows":
		m.functions = with(m.functions, function{name: "on_head", params: hookParams, results: []byte{i64}, body: i64Const(0)})
	case "on_request", "on_head", "on_upload", "on_end":
	default:
		m.functions = with(m.functions, function{name: "on_end", params: hookParams, results: []byte{i64}, body: i64Const(0)})
	}
	return m
}

// shown are the rows that hooks get in these tests.
func shown() *event.Rows {
	var rows event.Rows
	rows.Reset([]event.Field{{Name: "a", Type: "text"}, {Name: "b", Type: "text"}})
	for range 2 {
		cells := rows.Grow()
		cells[0], cells[1] = []byte("abcd"), []byte("éf")
	}
	return &rows
}

// callHook has the guest answer in a hook, after it is loaded where that does not
// call the hook.
func callHook(ctx context.Context, h *host.Host, hook string, wasm []byte) error {
	p, err := h.Load(ctx, "guest", wasm, nil)
	if err != nil {
		return err
	}
	defer p.Close(ctx)
	s, err := p.Open(ctx, &event.Session{ID: "s"})
	if err != nil {
		return err
	}
	head := &event.Head{Fields: shown().Fields}
	switch hook {
	case "on_request":
		_, err = s.Judge(ctx, nil, &event.Request{Operation: "query"})
	case "on_head":
		_, err = s.Treat(ctx, nil, head)
	case "on_rows":
		_, err = s.Inspect(ctx, nil, shown(), []int{0, 1})
	case "on_upload":
		_, err = s.JudgeUpload(ctx, nil, head, shown())
	case "on_end":
		_, err = s.End(ctx, nil, &event.Outcome{Status: "ok"})
	case "on_close":
		_, err = s.Close(ctx)
	}
	return err
}

func oneSection(s event.Section, v []byte) []byte { return event.AppendSection(nil, s, v) }

// edits encodes one edit of the numbers that it consists of.
func edits(texts string, numbers ...uint32) []byte {
	var b []byte
	for _, v := range numbers {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return append(oneSection(event.SectionEdits, b), oneSection(event.SectionTexts, []byte(texts))...)
}

func treatments(ts ...event.Treatment) []byte {
	return oneSection(event.SectionTreatments, event.AppendTreatments(nil, ts))
}

func detecting(detector string, kind event.TreatmentKind) event.Treatment {
	return event.Treatment{Kind: event.Detect, Detect: []event.Detection{{Detector: detector, Kind: kind}}}
}

// badAnswers are answers that the host refuses, by the hook that gives them and
// what is wrong with them.
func badAnswers() map[string]map[string][]byte {
	pass := event.Treatment{Kind: event.Pass}
	many := event.Treatment{Kind: event.Detect, Detect: slices.Repeat([]event.Detection{{Detector: "email"}}, 65)}
	long := strings.Repeat("x", 5000)
	v := func(v event.Verdict) []byte { return verdict(v) }
	verdicts := map[string][]byte{
		"section cut off":        {34, 0, 0, 0, 9, 0, 0, 0, 1},
		"header cut off":         {34, 0, 0, 0},
		"longest section":        {34, 0, 0, 0, 255, 255, 255, 255},
		"padding":                {34, 0, 0, 0, 3, 0, 0, 0, 1, 1, 2, 7},
		"twice":                  append(v(event.Verdict{}), v(event.Verdict{})...),
		"element cut off":        oneSection(event.SectionVerdict, []byte{1, 5, 2}),
		"unknown action":         oneSection(event.SectionVerdict, []byte{1, 1, 3}),
		"action of two bytes":    oneSection(event.SectionVerdict, []byte{1, 2, 2, 0}),
		"longest element":        oneSection(event.SectionVerdict, []byte{2, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1}),
		"endless number":         oneSection(event.SectionVerdict, slices.Repeat([]byte{255}, 20)),
		"long rule":              v(event.Verdict{Action: event.Allow, Rule: long[:257]}),
		"long reason":            v(event.Verdict{Action: event.Allow, Reason: long}),
		"many labels":            v(event.Verdict{Action: event.Allow, Labels: make([]event.Attr, 65)}),
		"long label":             v(event.Verdict{Action: event.Allow, Labels: []event.Attr{{Value: long}}}),
		"long key":               v(event.Verdict{Action: event.Allow, Labels: []event.Attr{{Key: long[:257]}}}),
		"label in label cut off": oneSection(event.SectionVerdict, []byte{4, 3, 1, 9, 1}),
	}
	notes := map[string][]byte{
		"long note":   oneSection(event.SectionNote, (&event.Note{Text: long}).Append(nil)),
		"many labels": oneSection(event.SectionNote, (&event.Note{Labels: make([]event.Attr, 65)}).Append(nil)),
		"cut off":     oneSection(event.SectionNote, []byte{1, 9}),
	}
	detectors := func(ds ...event.Detector) []byte {
		return oneSection(event.SectionDetectors, event.AppendDetectors(nil, ds))
	}
	return map[string]map[string][]byte{
		"configure": {
			"long problem":     oneSection(event.SectionProblem, []byte(long)),
			"many detectors":   detectors(make([]event.Detector, 65)...),
			"cut off":          oneSection(event.SectionDetectors, []byte{1, 9}),
			"builtin detector": detectors(event.Detector{Name: "email", Pattern: "x"}),
			"no name":          detectors(event.Detector{Pattern: "x"}),
			"same name":        detectors(event.Detector{Name: "a", Pattern: "x"}, event.Detector{Name: "a", Pattern: "y"}),
			"no pattern":       detectors(event.Detector{Name: "a"}),
			"bad pattern":      detectors(event.Detector{Name: "a", Pattern: "("}),
			"large pattern":    detectors(event.Detector{Name: "a", Pattern: "(abcdefgh){900}"}),
			"long pattern":     detectors(event.Detector{Name: "a", Pattern: long}),
		},
		"on_open": {
			"long state": oneSection(event.SectionState, []byte(long)),
			"cut off":    {2, 0, 0, 0, 5, 0, 0, 0, 1},
		},
		"on_request": verdicts,
		"on_upload":  verdicts,
		"on_head": {
			"too few":              treatments(pass),
			"none":                 {},
			"too many":             treatments(pass, pass, pass),
			"replace":              treatments(pass, event.Treatment{Kind: event.Replace}),
			"inspect without rows": treatments(pass, event.Treatment{Kind: event.Inspect}),
			"unknown kind":         oneSection(event.SectionTreatments, []byte{1, 3, 1, 1, 9, 1, 0}),
			"long rule":            treatments(pass, event.Treatment{Kind: event.Pass, Rule: long[:257]}),
			"unknown detector":     treatments(pass, detecting("iban", event.Redact)),
			"detect nothing":       treatments(pass, event.Treatment{Kind: event.Detect}),
			"detect by pass":       treatments(pass, event.Treatment{Kind: event.Pass, Detect: []event.Detection{{Detector: "email"}}}),
			"detect and replace":   treatments(pass, detecting("email", event.Replace)),
			"detect and inspect":   treatments(pass, detecting("email", event.Inspect)),
			"detect and detect":    treatments(pass, detecting("email", event.Detect)),
			"many detections":      treatments(pass, many),
			"keep of two bytes":    oneSection(event.SectionTreatments, []byte{1, 7, 1, 1, 3, 2, 2, 128, 2, 1, 0}),
		},
		"on_rows": {
			"cut off":             edits("", 0, 0, 0, 1, 1, 0),
			"row outside":         edits("", 2, 0, 0, 1, 1, 0, 0),
			"field outside":       edits("", 0, 2, 0, 1, 1, 0, 0),
			"largest row":         edits("", 1<<32-1, 0, 0, 1, 1, 0, 0),
			"end outside":         edits("", 0, 0, 0, 5, 1, 0, 0),
			"largest end":         edits("", 0, 0, 0, 1<<32-1, 1, 0, 0),
			"backwards":           edits("", 0, 0, 3, 2, 1, 0, 0),
			"inspect":             edits("", 0, 0, 0, 1, 5, 0, 0),
			"pass":                edits("", 0, 0, 0, 1, 6, 0, 0),
			"detect":              edits("", 0, 0, 0, 1, 8, 0, 0),
			"unknown treatment":   edits("", 0, 0, 0, 1, 99, 0, 0),
			"reserved bytes":      edits("", 0, 0, 0, 1, 1<<16|1, 0, 0),
			"text outside":        edits("abc", 0, 0, 0, 1, 4, 1, 3),
			"text that wraps":     edits("abc", 0, 0, 0, 1, 4, 1<<32-1, 2),
			"text of redact":      edits("abc", 0, 0, 0, 1, 1, 0, 3),
			"overlapping":         edits("", 0, 0, 0, 2, 1, 0, 0, 0, 0, 1, 3, 1, 0, 0),
			"out of order":        edits("", 0, 1, 0, 1, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0),
			"rows out of order":   edits("", 1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0),
			"no section of edits": {36, 0, 0},
		},
		"on_end":   notes,
		"on_close": notes,
	}
}

// What a guest must not answer ends its instance, whatever the hook, and is
// counted, but in configure, where the plugin is not loaded. The answers are
// golden files too, for other hosts and SDKs.
func TestBadAnswers(t *testing.T) {
	h := plugintest.Host(t, host.Options{Instances: 1})
	golden := filepath.Join("..", "..", "sdk", "testdata", "abi")
	for hook, answers := range badAnswers() {
		for name, answer := range answers {
			err := callHook(t.Context(), h, hook, answering(hook, answer).bytes())
			if err == nil || hook != "configure" && !errors.Is(err, host.ErrAnswer) {
				t.Errorf("%s, %s: %v", hook, name, err)
			}
			file := filepath.Join(golden, "bad-"+hook+"-"+strings.ReplaceAll(name, " ", "-")+"-out.bin")
			if *update {
				if err := os.WriteFile(file, answer, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want, err := os.ReadFile(file); err != nil || string(want) != string(answer) {
				t.Errorf("%s: %x, %v", file, answer, err)
			}
		}
	}
}

// Answers outside of the memory, or beyond what a hook may answer, are refused in
// every hook.
func TestAnswersOutOfBounds(t *testing.T) {
	h := plugintest.Host(t, host.Options{Instances: 1})
	for _, hook := range []string{"configure", "on_open", "on_request", "on_head", "on_rows", "on_upload", "on_end", "on_close"} {
		for name, body := range map[string][]byte{
			"pointer outside": reply(1<<30, 8), "length outside": reply(4*65536-4, 8), "longest": i64Const(0xffffffff), "largest pointer": i64Const(0x7fffffff<<32 | 8),
			"too long for any hook": reply(0, 9<<20), "an error": i64Const(-1), "the least number": i64Const(-1 << 63),
		} {
			m := answering(hook, nil)
			m.functions = with(m.functions, function{name: hook, params: hookParams, results: []byte{i64}, body: body})
			if err := callHook(t.Context(), h, hook, m.bytes()); !errors.Is(err, host.ErrAnswer) {
				t.Errorf("%s, %s: %v", hook, name, err)
			}
		}
	}
}

// The buffer is the guest's own and aligned, or its input is not written.
func TestBadBuffers(t *testing.T) {
	for name, at := range map[string]int64{"outside": 4*65536 - 8, "far outside": -8, "not aligned": 4097} {
		m := allowing
		m.functions = with(m.functions, function{name: "buffer", params: []byte{i32}, results: []byte{i32}, body: i32Const(at)})
		judge := load(t, plugintest.Host(t, host.Options{}), m)
		if _, err := judge.Judge(t.Context(), new(event.Session), short); !errors.Is(err, host.ErrAnswer) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What a guest says goes to people: it cannot forge what they read.
func TestTextsAreCleaned(t *testing.T) {
	answer := verdict(event.Verdict{Action: event.Hold, Rule: "r\x1b[2J", Reason: "a\xffb\x00c\u202ed é", Labels: []event.Attr{{Key: "k\r", Value: "v\u0085"}}})
	judge := load(t, plugintest.Host(t, host.Options{}), answering("on_request", answer))
	v, err := judge.Judge(t.Context(), new(event.Session), short)
	if err != nil || v.Rule != "r?[2J" || v.Reason != "a?b?c?d é" || v.Labels[0] != (event.Attr{Key: "k?", Value: "v?"}) {
		t.Errorf("%q, %v", v, err)
	}
}

// What carries no configuration, carries two schemas or lies about its version is
// not loaded.
func TestBadSections(t *testing.T) {
	h := plugintest.Host(t, host.Options{})
	schema := func(texts ...string) []byte {
		wasm := allowing.bytes()
		for _, text := range texts {
			wasm = custom(wasm, "gatehouse.schema", text)
		}
		return wasm
	}
	for name, c := range map[string]struct {
		wasm []byte
		want string
	}{
		"two schemas":        {schema("{}", "{}"), "there twice"},
		"a long schema":      {schema(strings.Repeat(" ", 65<<10) + "{}"), "larger than"},
		"no JSON":            {schema("{"), "gatehouse.schema"},
		"a schema that asks": {schema(`{"required": ["limit"]}`), "limit"},
		"a name cut off":     {append(allowing.bytes(), 0, 2, 9, 'x'), "not a WebAssembly module"},
		"a section cut off":  {append(allowing.bytes(), 0, 9, 1, 'x'), "not a WebAssembly module"},
		"an empty section":   {append(allowing.bytes(), 0, 0), "not a WebAssembly module"},
	} {
		if _, err := h.Load(t.Context(), "guest", c.wasm, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := h.Load(t.Context(), "guest", custom(custom(schema("{}"), "other", "x"), "other", "y"), nil); err != nil {
		t.Errorf("other sections: %v", err)
	}
}

// custom appends a custom section to a module.
func custom(wasm []byte, name, contents string) []byte {
	return append(append(slices.Clone(wasm), 0), counted(append(counted([]byte(name)), contents...))...)
}
