package host_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"

	"gatehouse/core/event"
	"gatehouse/plugins/host"
	"gatehouse/plugins/plugintest"
)

// items is a section of n times what item is.
func items(id byte, n int, item ...byte) []byte {
	return append([]byte{id}, counted(slices.Concat(leb(uint64(n)), bytes.Repeat(item, n)))...)
}

// declares is a section that says that it has n items, and has none.
func declares(id byte, n uint64) []byte { return append([]byte{id}, counted(leb(n))...) }

func custom(name string, contents ...byte) []byte {
	return append([]byte{0}, counted(append(counted([]byte(name)), contents...))...)
}

// Sections that have more, or say so, than a module needs are refused before they
// are compiled: the time for some grows to minutes, and their memory to gigabytes.
func TestSectionBombsAreRefused(t *testing.T) {
	h := plugintest.Host(t, host.Options{})
	const magic = "\x00asm\x01\x00\x00\x00"
	for name, c := range map[string]struct {
		sections []byte
		want     string
	}{
		"types":             {items(1, 2_500_000, 0x60, 0, 0), "section 1 of 2500000 items is larger than 50000"},
		"imports":           {items(2, 100_000, 1, 'a', 1, 'b', 0, 0), "section 2 of 100000 items"},
		"functions":         {append(items(1, 1, 0x60, 0, 0), items(3, 100_000, 0)...), "section 3 of 100000 items"},
		"tables":            {items(4, 100_000, 0x70, 0, 1), "section 4 of 100000 items"},
		"globals":           {items(6, 1_000_000, i32, 1, opI32Const, 0, opEnd), "section 6 of 1000000 items"},
		"exports":           {items(7, 700_000, 1, 'a', 0, 0), "section 7 of 700000 items"},
		"elements":          {items(9, 100_000, 0, opI32Const, 0, opEnd, 1, 0), "section 9 of 100000 items"},
		"bodies":            {items(10, 100_000, 2, 0, opEnd), "section 10 of 100000 items"},
		"data":              {items(11, 1_000_000, 1, 0), "section 11 of 1000000 items"},
		"declared types":    {declares(1, 40_000), "not a WebAssembly module"},
		"declared imports":  {declares(2, 1<<32-1), "section 2 of 4294967295 items"},
		"endless count":     {append([]byte{1}, counted(bytes.Repeat([]byte{0x80}, 100))...), "not a WebAssembly module"},
		"a gigabyte":        {slices.Concat([]byte{11}, counted(slices.Concat([]byte{1, 1}, leb(1<<30), []byte("x")))), "not a WebAssembly module"},
		"a section's":       {append([]byte{11}, leb(1<<30)...), "not a WebAssembly module"},
		"a table":           {items(4, 1, slices.Concat([]byte{0x70, 0}, leb(10_000_000))...), "table of 10000000 elements"},
		"a million targets": {judging(i32Const(0), []byte{opBrTable}, leb(1_000_000), make([]byte, 1_000_001), i64Const(0)).bytes()[len(magic):], "function body"},
	} {
		p, err := h.Load(t.Context(), "guest", append([]byte(magic), c.sections...), nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if p != nil {
			_ = p.Close(t.Context())
		}
	}
}

// What a module says of itself in names and custom sections is not believed, and what
// it has to spare is not in the way.
func TestSectionsThatAreIgnored(t *testing.T) {
	h := plugintest.Host(t, host.Options{})
	for name, section := range map[string][]byte{
		"names that are not there":   custom("name", 1, 0xff, 0xff, 0xff, 0xff, 0x0f),
		"names of 4,294,967,295":     custom("name", 1, 5, 0xff, 0xff, 0xff, 0xff, 0x0f),
		"a million debugging notes":  bytes.Repeat(custom(".debug"), 500_000),
		"a name of a megabyte":       custom(strings.Repeat("n", 1<<20)),
		"a name of escape sequences": custom("\x1b[2J\u202e"),
	} {
		p, err := h.Load(t.Context(), "guest", append(allowing.bytes(), section...), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if v, err := plugintest.Judge(t, p).Judge(t.Context(), new(event.Session), short); err != nil || v.Action != event.Allow {
			t.Errorf("%s: %v, %v", name, v, err)
		}
	}
}

// Whatever a module is called, imports or writes, what is said of it is short, and
// does nothing to a terminal.
func TestErrorsAreHarmless(t *testing.T) {
	h := plugintest.Host(t, host.Options{})
	foreign := func(n int, name string) (fs []function) {
		for i := range n {
			fs = append(fs, function{name: fmt.Sprint(name, i), from: "\x1b[31menv\u202e"})
		}
		return append(fs, allowing.functions...)
	}
	shouting := slices.Concat(
		[]function{{name: "fd_write", from: "wasi_snapshot_preview1", params: bytes.Repeat([]byte{i32}, 4), results: []byte{i32}}},
		allowing.functions,
		[]function{{name: "_initialize", body: slices.Concat(i32Const(2), i32Const(dataAt), i32Const(1), i32Const(0), []byte{opCall, 0, opDrop, opUnreachable})}})
	said := slices.Concat(binary.LittleEndian.AppendUint64(nil, 24<<32|(dataAt+8)), []byte("\x1b]0;title\x07 sorry\u202e\u2066\r\u0085"))
	twice := module{functions: append(slices.Clone(allowing.functions), function{name: "\x1b[2J", body: nil}, function{name: "\x1b[2J", body: nil}), pages: 4}
	for name, c := range map[string]struct {
		wasm []byte
		want string
	}{
		"an import's name":            {module{functions: foreign(1, "exec\x07"), pages: 4}.bytes(), "imports ?[31menv?.exec?0: only wasi_snapshot_preview1"},
		"an import's name of 1 MB":    {module{functions: foreign(1, strings.Repeat("x", 1<<20)), pages: 4}.bytes(), "only wasi_snapshot_preview1"},
		"a thousand imports":          {module{functions: foreign(1000, "exec"), pages: 4}.bytes(), "and 980 imports more"},
		"WASI's of 1 MB":              {module{functions: append([]function{{name: strings.Repeat("\x1b", 1<<20), from: "wasi_snapshot_preview1"}}, allowing.functions...), pages: 4}.bytes(), "start: "},
		"the host's own of 1 MB":      {module{functions: append([]function{{name: "tick", from: "gatehouse." + strings.Repeat("\x1b", 1<<20)}}, allowing.functions...), pages: 4}.bytes(), "the host's own"},
		"exports of one name":         {twice.bytes(), "compile: "},
		"what it writes at its start": {module{functions: shouting, pages: 4, data: said}.bytes(), "?]0;title? sorry"},
	} {
		for what, ask := range map[string]func() error{
			"load": func() error { _, err := h.Load(t.Context(), "guest", c.wasm, nil); return err },
			"describe": func() error {
				_, err := h.Describe(t.Context(), c.wasm)
				return err
			},
		} {
			err := ask()
			if what == "load" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s: %.400v, want %q", name, err, c.want)
			}
			if err == nil {
				continue
			}
			if len(err.Error()) > 8<<10 {
				t.Errorf("%s: %s: an error of %d bytes", name, what, len(err.Error()))
			}
			if i := strings.IndexFunc(err.Error(), func(r rune) bool { return !unicode.IsGraphic(r) && r != '\n' }); i >= 0 {
				t.Errorf("%s: %s: %q", name, what, err.Error()[i:min(i+20, len(err.Error()))])
			}
		}
	}
}

// Nor does what a guest says in answers, as long as that is not too long.
func TestAnswersAreHarmless(t *testing.T) {
	const evil = "\x1b[31m red \u202e desrever \u200b\u2028\x00\x7f\u009b"
	answer := verdict(event.Verdict{Action: event.Block, Rule: evil, Reason: evil, Labels: []event.Attr{{Key: evil, Value: evil}}})
	m := judging(reply(dataAt, len(answer)))
	m.data = answer
	v, err := load(t, plugintest.Host(t, host.Options{}), m).Judge(t.Context(), new(event.Session), short)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{v.Rule, v.Reason, v.Labels[0].Key, v.Labels[0].Value} {
		if s != "?[31m red ? desrever ??????"[:len(s)] || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) }) {
			t.Errorf("%q", s)
		}
	}
	for name, v := range map[string]event.Verdict{
		"a label of 1 MB":  {Action: event.Allow, Labels: []event.Attr{{Key: "a", Value: strings.Repeat("x", 1<<20)}}},
		"a reason of 1 MB": {Action: event.Allow, Reason: strings.Repeat("x", 1<<20)},
		"a million labels": {Action: event.Allow, Labels: make([]event.Attr, 1_000_000)},
	} {
		answer := verdict(v)
		m := judging(reply(dataAt, len(answer)))
		m.data, m.pages = answer, 1000
		m.functions = with(m.functions, function{name: "buffer", params: []byte{i32}, results: []byte{i32}, body: i32Const(32 << 20)})
		v, err := load(t, plugintest.Host(t, host.Options{Failures: 1000}), m).Judge(t.Context(), new(event.Session), short)
		if !errors.Is(err, host.ErrAnswer) || v.Action != event.Block {
			t.Errorf("%s: %v, %.300v", name, v.Action, err)
		}
	}
}

// A guest that takes more memory in each call gets as much as there is, and is
// replaced by a clean one for another session.
func TestMemoryThatGrowsInEachCall(t *testing.T) {
	// It grows by a page, and allows.
	m := judging(i32Const(1), []byte{opMemoryGrow, 0, opDrop}, reply(dataAt, len(allow)))
	p, err := plugintest.Host(t, host.Options{Instances: 1, MemoryLimit: 2 << 20}).Load(t.Context(), "guest", m.bytes(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		s := open(t, p, fmt.Sprint(i))
		for range 100 {
			if v, err := s.Judge(t.Context(), new(event.Session), short); err != nil || v.Action != event.Allow {
				t.Fatal(v, err)
			}
		}
	}
	if s := p.Stats(); s.Traps+s.Malformed+s.Timeouts > 0 || s.Instances > 2 {
		t.Errorf("%+v", s)
	}
}

// A module that says other things of itself when it starts again is refused then.
func TestSecondInstanceThatDiffers(t *testing.T) {
	// hooks is on_request, and at random facts only: it changes with each instance.
	// Its segment of data that is dropped keeps it from being copied.
	dice := slices.Concat(
		i32Const(0), i32Const(4), []byte{opCall, 0, opDrop},
		i32Const(0), []byte{0x28, 2, 0}, i32Const(1), []byte{0x71}, i32Const(16), []byte{0x74}, i32Const(4), []byte{0x72})
	m := judging([]byte{opLocalGet, 0}, i32Const(128), []byte{opI32GtU, opIf, opNoResult, opUnreachable, opEnd}, reply(dataAt, len(allow)))
	m.functions = slices.Concat(
		[]function{{name: "random_get", from: "wasi_snapshot_preview1", params: []byte{i32, i32}, results: []byte{i32}}},
		m.functions,
		[]function{{name: "hooks", results: []byte{i32}, body: dice}, {name: "_initialize", body: []byte{opMore, opDataDrop, 0}}})
	m.countData, m.passive = true, true
	p, err := plugintest.Host(t, host.Options{Instances: 1, Random: true, Failures: 1000}).Load(t.Context(), "guest", m.bytes(), nil)
	if err != nil {
		t.Fatal(err)
	}
	refused, allowed := 0, 0
	for i := range 64 {
		s := open(t, p, fmt.Sprint(i))
		_, _ = s.Judge(t.Context(), new(event.Session), long) // ends the instance, if it sees the payload
		switch v, err := s.Judge(t.Context(), new(event.Session), short); {
		case err == nil && v.Action == event.Allow:
			allowed++
		case errors.Is(err, host.ErrAnswer) && v.Action == event.Block && strings.Contains(err.Error(), "say different things"):
			refused++
		default:
			t.Fatal(v, err)
		}
	}
	if refused == 0 || allowed == 0 {
		t.Errorf("refused %d times, allowed %d times", refused, allowed)
	}
}

// No import calls back into the guest, whatever it exports: a host function gets
// lengths and pointers and nothing that it could call, and functions of its own that a
// guest asks for by their names are refused with them.
func TestImportsDoNotReenter(t *testing.T) {
	callbacks := []string{"canonical_abi_realloc", "cabi_realloc", "malloc", "__wasm_call_ctors", "wasi_thread_start", "__indirect_function_table", "_start", "__alloc"}
	// Each of these exports notes that it was called, and traps.
	m := allowing
	wasi := func(name string, params int, kinds ...byte) function {
		if kinds == nil {
			kinds = bytes.Repeat([]byte{i32}, params)
		}
		return function{name: name, from: "wasi_snapshot_preview1", params: kinds, results: []byte{i32}}
	}
	imports := []function{
		wasi("fd_write", 4), wasi("random_get", 2), wasi("poll_oneoff", 4), wasi("args_get", 2), wasi("environ_get", 2),
		wasi("clock_time_get", 0, i32, i64, i32), wasi("sched_yield", 0, []byte{}...), wasi("fd_read", 4),
	}
	var body []byte
	for i, f := range imports {
		for _, kind := range f.params {
			if kind == i64 {
				body = append(body, i64Const(0)...)
			} else {
				body = append(body, i32Const(1)...)
			}
		}
		body = slices.Concat(body, []byte{opCall, byte(i), opDrop})
	}
	functions := slices.Clone(imports)
	for _, f := range m.functions {
		if f.name == "on_request" {
			f.body = slices.Concat(body, f.body)
		}
		functions = append(functions, f)
	}
	for _, name := range callbacks {
		functions = append(functions, function{name: name, body: []byte{opUnreachable}})
	}
	m.functions = functions
	m.table, m.elements = 1, 1
	p, err := plugintest.Host(t, host.Options{Instances: 1}).Load(t.Context(), "guest", m.bytes(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := plugintest.Judge(t, p).Judge(t.Context(), new(event.Session), short); err != nil || v.Action != event.Allow {
		t.Errorf("%v, %v", v, err)
	}
	for _, from := range []string{"env", "guest", "gatehouse", "wasi"} {
		m := allowing
		m.functions = append([]function{{name: "on_request", from: from, params: hookParams, results: []byte{i64}}}, m.functions...)
		_, err := plugintest.Host(t, host.Options{}).Load(t.Context(), "guest", m.bytes(), nil)
		if err == nil || !strings.Contains(err.Error(), "imports "+from+".on_request: only wasi_snapshot_preview1 may be imported") {
			t.Errorf("%v", err)
		}
	}
}
