package host_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/plugins/host"
	"gatehouse/plugins/plugintest"
)

// allow is the encoding of the verdict that the guests of these tests give.
var allow = verdict(event.Verdict{Action: event.Allow, Rule: "test"})

// verdict is the answer of a guest that says v.
func verdict(v event.Verdict) []byte {
	return event.AppendSection(nil, event.SectionVerdict, v.Append(nil))
}

// basic is what every guest needs; its buffer is the second half of its memory.
var basic = []function{
	{name: "abi_version", results: []byte{i32}, body: i32Const(1 << 16)},
	{name: "buffer", params: []byte{i32}, results: []byte{i32}, body: i32Const(128 << 10)},
}

var hookParams = []byte{i32}

// judging is a guest whose judge does what body says.
func judging(body ...[]byte) module {
	return module{
		functions: with(basic, function{name: "on_request", params: hookParams, results: []byte{i64}, body: slices.Concat(body...)}),
		pages:     4,
		data:      allow,
	}
}

// allowing is a well-behaved guest.
var allowing = judging(reply(dataAt, len(allow)))

// onLong is a guest that does bad for inputs of more than 128 bytes, and
// allows the others.
func onLong(bad ...[]byte) module {
	return judging(
		[]byte{opLocalGet, 0}, i32Const(128), []byte{opI32GtU, opIf, opNoResult},
		slices.Concat(bad...), []byte{opReturn, opEnd},
		reply(dataAt, len(allow)))
}

var (
	short = &event.Request{Operation: "query"}
	long  = &event.Request{Operation: "query", Payload: bytes.Repeat([]byte("x"), 200)}
)

func load(t testing.TB, h *host.Host, m module) pipeline.Judge {
	t.Helper()
	p, err := h.Load(t.Context(), "guest", m.bytes(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return plugintest.Judge(t, p)
}

func TestLoadRefuses(t *testing.T) {
	h := plugintest.Host(t, host.Options{MemoryLimit: 1 << 20, StartFuel: 10_000_000})
	functions := allowing.functions
	initialize := func(body ...byte) []function { return with(functions, function{name: "_initialize", body: body}) }
	for _, c := range []struct {
		name string
		wasm []byte
		want []string
	}{
		{"nothing", nil, []string{"not a WebAssembly module"}},
		{"text", []byte("hello, world"), []string{"not a WebAssembly module"}},
		{"cut", allowing.bytes()[:60], []string{"not a WebAssembly module"}},
		{"too large", append(allowing.bytes(), make([]byte, host.DefaultModule)...), []string{"larger than"}},
		{"a large function", judging(bytes.Repeat([]byte{opI64Const, 0, opDrop}, host.DefaultBody/3), i64Const(0)).bytes(), []string{"function body", "larger than"}},
		{"a large table", module{functions: functions, pages: 4, table: 1 << 20}.bytes(), []string{"table", "larger than"}},
		{"much memory", module{functions: functions, pages: 1000}.bytes(), []string{"compile"}},
		{"no memory", module{functions: functions, pages: -1}.bytes(), []string{"misses export memory"}},
		{"empty", module{pages: 4}.bytes(), []string{"misses export abi_version() -> (i32)", "misses export buffer(i32) -> (i32)", "exports none of on_request"}},
		{"no hook", module{functions: basic, pages: 4}.bytes(), []string{"none of on_request"}},
		{"wrong signature", module{functions: with(functions, function{name: "on_request", params: []byte{i32, i32}, results: []byte{i64}, body: i64Const(0)}), pages: 4}.bytes(),
			[]string{"exports on_request(i32, i32) -> (i64) instead of on_request(i32) -> (i64)"}},
		{"wrong version", module{functions: with(functions, function{name: "abi_version", results: []byte{i32}, body: i32Const(7)}), pages: 4}.bytes(), []string{"version 0.7 of the ABI, not 1.0"}},
		{"a later version", module{functions: with(functions, function{name: "abi_version", results: []byte{i32}, body: i32Const(1<<16 | 1)}), pages: 4}.bytes(), []string{"version 1.1 of the ABI"}},
		{"unknown hooks", module{functions: with(functions, function{name: "hooks", results: []byte{i32}, body: i32Const(1 << 8)}), pages: 4}.bytes(), []string{"unknown bits"}},
		{"no clock", module{functions: with(functions, function{name: "hooks", results: []byte{i32}, body: i32Const(1<<17 | 4)}), pages: 4}.bytes(), []string{"needs the grant clock"}},
		{"no randomness", module{functions: with(functions, function{name: "hooks", results: []byte{i32}, body: i32Const(1<<18 | 4)}), pages: 4}.bytes(), []string{"needs the grant random"}},
		{"hooks that are none", module{functions: with(functions, function{name: "hooks", results: []byte{i32}, body: i32Const(1)}), pages: 4}.bytes(), []string{"none of on_request"}},
		{"an import", module{functions: slices.Concat([]function{{name: "exec", from: "env"}}, functions), pages: 4}.bytes(), []string{"imports env.exec"}},
		{"invalid code", judging([]byte{opI32Const, 0}).bytes(), []string{"compile"}},
		{"a trap at start", module{functions: initialize(opUnreachable), pages: 4}.bytes(), []string{"start", "trapped"}},
		{"a loop at start", module{functions: initialize(opLoop, opNoResult, opBr, 0, opEnd), pages: 4}.bytes(), []string{"start", "too long"}},
	} {
		p, err := h.Load(t.Context(), "guest", c.wasm, nil)
		if err == nil {
			t.Errorf("%s: loaded", c.name)
			_ = p.Close(t.Context())
			continue
		}
		for _, want := range append(c.want, "load plugin guest: ") {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, without %q", c.name, err, want)
			}
		}
	}
}

func TestLoadRefusesConfiguration(t *testing.T) {
	h := plugintest.Host(t, host.Options{})
	if _, err := h.Load(t.Context(), "guest", allowing.bytes(), []byte(`{"a": 1}`)); err == nil || !strings.Contains(err.Error(), "takes no configuration") {
		t.Errorf("a configuration that nobody reads: %v", err)
	}
	complaint := event.AppendSection(nil, event.SectionProblem, []byte("limit must be positive"))
	m := module{
		functions: with(basic, function{name: "on_request", params: hookParams, results: []byte{i64}, body: i64Const(0)}),
		pages:     4, data: complaint,
	}
	m.functions = with(m.functions, function{name: "configure", params: []byte{i32}, results: []byte{i64}, body: reply(dataAt, len(complaint))})
	if _, err := h.Load(t.Context(), "guest", m.bytes(), nil); err == nil || !strings.Contains(err.Error(), "load plugin guest: limit must be positive") {
		t.Errorf("what the guest says of its configuration: %v", err)
	}
}

// W01, W02, W03, W05.
//
// Whatever a guest does in a call, the host says what, throws the instance away
// and goes on.
func TestHostileGuests(t *testing.T) {
	grow := slices.Concat([]byte{opLoop, opNoResult}, i32Const(16), []byte{opMemoryGrow, 0x00, opDrop, opBr, 0, opEnd})
	for _, c := range []struct {
		name string
		bad  []byte
		want error
	}{
		{"endless loop", slices.Concat([]byte{opLoop, opNoResult, opBr, 0, opEnd}, i64Const(0)), host.ErrTimeout},
		{"memory bomb", slices.Concat(grow, i64Const(0)), host.ErrTimeout},
		{"trap", slices.Concat([]byte{opUnreachable}, i64Const(0)), host.ErrTrap},
		{"endless recursion", []byte{opLocalGet, 0, opCall, 2}, host.ErrTrap},
		{"pointer outside", reply(1<<30, 8), host.ErrAnswer},
		{"length outside", reply(4*65536-4, 8), host.ErrAnswer},
		{"longest length", i64Const(0xffffffff), host.ErrAnswer},
		{"largest pointer", i64Const(0x7fffffff<<32 | 8), host.ErrAnswer},
		{"an error", i64Const(-1), host.ErrAnswer},
		{"not a message", reply(dataAt+1, len(allow)-1), host.ErrAnswer},
		{"an unknown action", reply(dataAt+len(allow), 12), host.ErrAnswer},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := host.Options{Instances: 1, MemoryLimit: 8 << 20, Fuel: 100_000_000}
			h := plugintest.Host(t, o)
			m := onLong(c.bad)
			m.data = append(slices.Clone(allow), event.AppendSection(nil, event.SectionVerdict, []byte{1, 1, 9})...)
			p, err := h.Load(t.Context(), "guest", m.bytes(), nil)
			if err != nil {
				t.Fatal(err)
			}
			judge := plugintest.Judge(t, p)
			for range 3 {
				v, err := judge.Judge(t.Context(), new(event.Session), long)
				if !errors.Is(err, c.want) || !strings.HasPrefix(err.Error(), "plugin guest: on_request: ") {
					t.Fatalf("%v, want %v", err, c.want)
				}
				if v.Action != event.Block {
					t.Errorf("verdict %v with an error", v)
				}
				if v, err := judge.Judge(t.Context(), new(event.Session), short); err != nil || v.Action != event.Allow {
					t.Fatalf("the next call: %v, %v", v, err)
				}
			}
			s := p.Stats()
			if s.Traps+s.Timeouts+s.Malformed != 3 || s.Calls != 6 || s.Instances > 2 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestBufferOutsideMemory(t *testing.T) {
	m := allowing
	m.functions = with(m.functions, function{name: "buffer", params: []byte{i32}, results: []byte{i32}, body: i32Const(4*65536 - 8)})
	judge := load(t, plugintest.Host(t, host.Options{}), m)
	if _, err := judge.Judge(t.Context(), new(event.Session), short); !errors.Is(err, host.ErrAnswer) {
		t.Error(err)
	}
}

func TestInputTooLarge(t *testing.T) {
	p, err := plugintest.Host(t, host.Options{MemoryLimit: 1 << 20}).Load(t.Context(), "guest", allowing.bytes(), nil)
	if err != nil {
		t.Fatal(err)
	}
	huge := &event.Request{Payload: make([]byte, 1<<20)}
	if _, err := plugintest.Judge(t, p).Judge(t.Context(), new(event.Session), huge); !errors.Is(err, host.ErrTooLarge) {
		t.Error(err)
	}
	if s := p.Stats(); s.Malformed != 0 {
		t.Errorf("%+v: the guest is not to blame", s)
	}
}

// A guest is what it exports, and what it says of that.
func TestRoles(t *testing.T) {
	h := plugintest.Host(t, host.Options{})
	treat := function{name: "on_head", params: hookParams, results: []byte{i64}, body: i64Const(0)}
	masking := module{functions: with(basic, treat), pages: 4}
	both := module{functions: with(allowing.functions, treat), pages: 4, data: allow}
	said := both
	said.functions = with(both.functions, function{name: "hooks", results: []byte{i32}, body: i32Const(8)})
	for _, c := range []struct {
		name          string
		module        module
		judge, masker bool
	}{
		{"judge", allowing, true, false}, {"masker", masking, false, true}, {"both", both, true, true}, {"masker that exports judge", said, false, true},
	} {
		p, err := h.Load(t.Context(), c.name, c.module.bytes(), nil)
		if err != nil {
			t.Fatal(err)
		}
		judge, masker := p.Roles().Judge != nil, p.Roles().Masker != nil
		if judge != c.judge || masker != c.masker {
			t.Errorf("%s: judge %v, masker %v", c.name, judge, masker)
		}
		if got := p.Pipeline().Name(); got != c.name {
			t.Errorf("name %q", got)
		}
	}
}

func treating(ts []event.Treatment, more ...function) module {
	data := event.AppendSection(nil, event.SectionTreatments, event.AppendTreatments(nil, ts))
	m := module{functions: basic, pages: 4, data: data}
	for _, f := range append(more, function{name: "on_head", params: hookParams, results: []byte{i64}, body: reply(dataAt, len(data))}) {
		m.functions = with(m.functions, f)
	}
	return m
}

func TestTreatments(t *testing.T) {
	h := plugintest.Host(t, host.Options{})
	head := &event.Head{Fields: []event.Field{{Name: "a"}, {Name: "b"}}}
	inspect := function{name: "on_rows", params: hookParams, results: []byte{i64}, body: i64Const(0)}
	pass, redact := event.Treatment{Kind: event.Pass}, event.Treatment{Kind: event.Redact, Rule: "r"}
	for _, c := range []struct {
		name   string
		module module
		ok     bool
	}{
		{"good", treating([]event.Treatment{pass, redact}), true},
		{"inspecting", treating([]event.Treatment{pass, {Kind: event.Inspect}}, inspect), true},
		{"too few", treating([]event.Treatment{pass}), false},
		{"too many", treating([]event.Treatment{pass, pass, pass}), false},
		{"inspecting without inspect", treating([]event.Treatment{pass, {Kind: event.Inspect}}), false},
		{"replacing", treating([]event.Treatment{pass, {Kind: event.Replace}}), false},
	} {
		p, err := h.Load(t.Context(), c.name, c.module.bytes(), nil)
		if err != nil {
			t.Fatal(err)
		}
		ts, err := plugintest.Masker(t, p).Treat(t.Context(), new(event.Session), head)
		if c.ok != (err == nil) || !c.ok && !errors.Is(err, host.ErrAnswer) {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.name == "good" {
			if diff := cmp.Diff([]event.Treatment{pass, redact}, ts); diff != "" {
				t.Error(diff)
			}
		}
	}
}

// The edits that a guest makes are checked against what it was shown.
func TestEdits(t *testing.T) {
	edit := func(row, field, from, to int, kind event.TreatmentKind) event.Edit {
		return event.Edit{Row: row, Field: field, From: from, To: to, Treatment: event.Treatment{Kind: kind}}
	}
	good := edit(0, 0, 1, 3, event.Redact)
	for _, c := range []struct {
		name  string
		edits []event.Edit
		ok    bool
	}{
		{"one", []event.Edit{good}, true},
		{"two of a cell", []event.Edit{good, edit(0, 0, 3, 4, event.Hash)}, true},
		{"in order", []event.Edit{good, edit(0, 1, 0, 0, event.Replace), edit(1, 0, 0, 0, event.Null)}, true},
		{"row outside", []event.Edit{edit(2, 0, 0, 1, event.Redact)}, false},
		{"field outside", []event.Edit{edit(0, 2, 0, 1, event.Redact)}, false},
		{"end outside", []event.Edit{edit(0, 0, 0, 5, event.Redact)}, false},
		{"backwards", []event.Edit{edit(0, 0, 3, 1, event.Redact)}, false},
		{"in a NULL", []event.Edit{edit(1, 1, 0, 1, event.Redact)}, false},
		{"inspect", []event.Edit{edit(0, 0, 0, 1, event.Inspect)}, false},
		{"overlapping", []event.Edit{good, edit(0, 0, 2, 4, event.Hash)}, false},
		{"out of order", []event.Edit{edit(0, 1, 0, 0, event.Redact), good}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := event.AppendEdits(nil, c.edits)
			m := treating(nil)
			m.data = data
			m.functions = with(m.functions, function{name: "on_rows", params: hookParams, results: []byte{i64}, body: reply(dataAt, len(data))})
			p, err := plugintest.Host(t, host.Options{}).Load(t.Context(), "guest", m.bytes(), nil)
			if err != nil {
				t.Fatal(err)
			}
			var rows event.Rows
			// The plugin is shown the fields 2 and 0.
			rows.Reset(make([]event.Field, 3))
			for range 2 {
				cells := rows.Grow()
				cells[0], cells[1], cells[2] = []byte("ab"), []byte("never shown"), []byte("abcd")
			}
			cells, _ := rows.Row(1)
			cells[0] = nil
			edits, err := plugintest.Masker(t, p).Inspect(t.Context(), new(event.Session), &rows, []int{2, 0})
			if !c.ok {
				if !errors.Is(err, host.ErrAnswer) || p.Stats().Malformed != 1 {
					t.Errorf("%v, %v, %+v", edits, err, p.Stats())
				}
				return
			}
			want := slices.Clone(c.edits)
			for i := range want {
				want[i].Field = []int{2, 0}[want[i].Field]
			}
			if diff := cmp.Diff(want, edits); diff != "" || err != nil {
				t.Errorf("%v %s", err, diff)
			}
			if n := p.Stats().Cells; n != 4 {
				t.Errorf("%d cells", n)
			}
		})
	}
}

// Calls of many sessions at a time share the instances, some of which trap.
func TestConcurrentCalls(t *testing.T) {
	p, err := plugintest.Host(t, host.Options{Instances: 2}).Load(t.Context(), "guest", onLong([]byte{opUnreachable}, i64Const(0)).bytes(), nil)
	if err != nil {
		t.Fatal(err)
	}
	judge := plugintest.Judge(t, p)
	var sessions sync.WaitGroup
	for i := range 16 {
		sessions.Go(func() {
			s := &event.Session{ID: fmt.Sprint("session ", i)}
			for n := range 50 {
				r, want := short, error(nil)
				if (n+i)%5 == 0 {
					r, want = long, host.ErrTrap
				}
				if _, err := judge.Judge(t.Context(), s, r); !errors.Is(err, want) {
					t.Errorf("%v, want %v", err, want)
				}
			}
		})
	}
	sessions.Wait()
	if s := p.Stats(); s.Calls != 800 || s.Traps != 160 || s.Instances > 3 {
		t.Errorf("%+v", s)
	}
}

func TestClose(t *testing.T) {
	h := plugintest.Host(t, host.Options{})
	p, err := h.Load(t.Context(), "guest", allowing.bytes(), nil)
	if err != nil {
		t.Fatal(err)
	}
	judge := plugintest.Judge(t, p)
	if _, err := judge.Judge(t.Context(), new(event.Session), short); err != nil {
		t.Fatal(err)
	}
	// The same module, loaded twice, survives the other's end.
	other := load(t, h, allowing)
	for range 2 {
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := judge.Judge(t.Context(), new(event.Session), short); !errors.Is(err, host.ErrClosed) {
		t.Error(err)
	}
	if _, err := other.Judge(t.Context(), new(event.Session), short); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := h.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := other.Judge(t.Context(), new(event.Session), short); !errors.Is(err, host.ErrClosed) {
		t.Error(err)
	}
	if _, err := h.Load(context.Background(), "guest", allowing.bytes(), nil); err == nil {
		t.Error("a closed host loads plugins")
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []host.Options{{MemoryLimit: 1}, {MemoryLimit: 4 << 30}, {Timeout: -1}, {Fuel: -1}, {StartFuel: -1}, {StackLimit: 1 << 30}, {Module: -1}, {Body: -1}, {Failures: -1}, {Pause: -1}, {Instances: -1}} {
		if h, err := host.New(t.Context(), o); err == nil {
			t.Errorf("%+v was accepted", o)
			_ = h.Close(t.Context())
		}
	}
}

func BenchmarkJudge(b *testing.B) {
	judge := load(b, plugintest.Host(b, host.Options{}), allowing)
	s := new(event.Session)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := judge.Judge(b.Context(), s, short); err != nil {
			b.Fatal(err)
		}
	}
}

// A plugin that keeps failing is not asked any more: its requests are refused
// at once, and the reason says why. They are those of the principal whose calls fail,
// or everybody's if several's do.
func TestKeepsFailing(t *testing.T) {
	h := plugintest.Host(t, host.Options{Instances: 2, Failures: 5, Pause: time.Hour})
	p, err := h.Load(t.Context(), "guest", onLong([]byte{opUnreachable}, i64Const(0)).bytes(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(who string, r *event.Request) (event.Verdict, error) {
		t.Helper()
		s := &event.Session{ID: who, Principal: event.Principal{Subject: who}}
		o, err := p.Open(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		return o.Judge(t.Context(), s, r)
	}
	refused := func(who, why string) {
		t.Helper()
		v, err := ask(who, short)
		if !errors.Is(err, host.ErrFailing) || !errors.Is(err, host.ErrTrap) || v.Action != event.Block || !strings.Contains(err.Error(), why) {
			t.Fatalf("%s: %v, %v", who, v, err)
		}
	}
	for range 5 {
		if _, err := ask("agent", long); !errors.Is(err, host.ErrTrap) || errors.Is(err, host.ErrFailing) {
			t.Fatal(err)
		}
	}
	refused("agent", "plugin guest: the plugin keeps failing for this principal: 5 calls in succession, the last: the plugin trapped")
	if s := p.Stats(); s.Failing != nil || s.Opened != 0 || s.Principals != 1 || s.Calls != 5 {
		t.Errorf("%+v", s)
	}
	if v, err := ask("other", short); err != nil || v.Action != event.Allow {
		t.Fatalf("another principal: %v, %v", v, err)
	}
	for _, who := range []string{"first", "second", "first", "second", "third"} {
		if _, err := ask(who, long); !errors.Is(err, host.ErrTrap) || errors.Is(err, host.ErrFailing) {
			t.Fatal(err)
		}
	}
	refused("other", "plugin guest: the plugin keeps failing: 5 calls in succession, the last: the plugin trapped")
	if s := p.Stats(); s.Failing == nil || s.Opened != 1 || s.Calls != 11 {
		t.Errorf("%+v", s)
	}
}

// After the pause one call is tried, and ends it if it succeeds.
func TestFailsNoLonger(t *testing.T) {
	h := plugintest.Host(t, host.Options{Instances: 1, Failures: 2, Pause: 1})
	p, err := h.Load(t.Context(), "guest", onLong([]byte{opUnreachable}, i64Const(0)).bytes(), nil)
	if err != nil {
		t.Fatal(err)
	}
	judge := plugintest.Judge(t, p)
	for range 2 {
		if _, err := judge.Judge(t.Context(), new(event.Session), long); !errors.Is(err, host.ErrTrap) {
			t.Fatal(err)
		}
	}
	if s := p.Stats(); s.Principals != 1 {
		t.Errorf("%+v", s)
	}
	if v, err := judge.Judge(t.Context(), new(event.Session), short); err != nil || v.Action != event.Allow {
		t.Fatalf("%v, %v", v, err)
	}
	if s := p.Stats(); s.Principals != 0 || s.Calls != 3 {
		t.Errorf("%+v", s)
	}
}
