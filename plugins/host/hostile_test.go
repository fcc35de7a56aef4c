package host_test

import (
	"bytes"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/core/event"
	"gatehouse/plugins/host"
	"gatehouse/plugins/plugintest"
)

var (
	spin   = []byte{opLoop, opNoResult, opBr, 0, opEnd}
	nested = func(n int) []byte { return bytes.Repeat([]byte{opBlock, opNoResult}, n) }
	ends   = func(n int) []byte { return bytes.Repeat([]byte{opEnd}, n) }
)

// A module that would be costly to compile or to start is refused at once.
func TestBombsAreRefused(t *testing.T) {
	h := plugintest.Host(t, host.Options{StartFuel: 20_000_000})
	start := allowing
	start.functions = with(start.functions, function{name: "begin", body: spin})
	start.start = "begin"
	trap := start
	trap.functions = with(trap.functions, function{name: "begin", body: []byte{opUnreachable}})
	elements := allowing
	elements.table, elements.elements = 1, 100_000
	many := judging(i64Const(0))
	many.locals = 50_000
	for _, c := range []struct {
		name, want string
		wasm       []byte
	}{
		{"50 MB", "larger than", append(allowing.bytes(), make([]byte, 50<<20)...)},
		{"a start function that hangs", "start: the plugin took too long: more than 20000000 instructions", start.bytes()},
		{"a start function that traps", "start: the plugin trapped", trap.bytes()},
		{"a table", "table of 4294967295 elements", module{functions: allowing.functions, pages: 4, table: 1<<32 - 1}.bytes()},
		{"elements", "segment of 100000 elements", elements.bytes()},
		{"locals", "more than 10000 locals", many.bytes()},
		{"a body", "function body", judging(bytes.Repeat([]byte{opI64Const, 0, opDrop}, 50_000), i64Const(0)).bytes()},
		{"blocks", "too complex", judging(nested(20_000), ends(20_000), i64Const(0)).bytes()},
		{"loops", "too complex", judging(bytes.Repeat([]byte{opLoop, opNoResult, opEnd}, 10_000), i64Const(0)).bytes()},
		{"locals in loops", "too complex", func() []byte {
			m := judging(bytes.Repeat([]byte{opLoop, opNoResult}, 1000), ends(1000), i64Const(0))
			m.locals = 5000
			return m.bytes()
		}()},
		{"a table for branches to nested blocks", "too complex", judging(nested(20_000), i32Const(0), []byte{opBrTable}, leb(20_000), bytes.Repeat([]byte{1}, 20_001), ends(20_000), i64Const(0)).bytes()},
	} {
		begin := host.ProcessorTime(t)
		_, err := h.Load(t.Context(), "guest", c.wasm, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if took := host.ProcessorTime(t) - begin; took > 5*time.Second {
			t.Errorf("%s: took %v", c.name, took)
		}
	}
}

// What a guest does in a call that would take for ever is ended by the count of
// its instructions: the same call always, whatever else the machine does.
func TestCallsThatTakeTooMuch(t *testing.T) {
	const memory = 8 << 20
	forever := func(body ...[]byte) []byte {
		return slices.Concat([]byte{opLoop, opNoResult}, slices.Concat(body...), []byte{opBr, 0, opEnd})
	}
	wasi := func(name string, params int) function {
		return function{name: name, from: "wasi_snapshot_preview1", params: bytes.Repeat([]byte{i32}, params), results: []byte{i32}}
	}
	call := func(args ...int64) (b []byte) {
		for _, a := range args {
			b = append(b, i32Const(a)...)
		}
		return append(b, opCall, 0, opDrop)
	}
	all := slices.Concat(i32Const(0), i32Const(7), []byte{opMemorySize, 0}, i32Const(16), []byte{0x74}, []byte{opMore, 11, 0})
	full := slices.Concat(i32Const(100), []byte{opMemoryGrow, 0, opDrop})
	for _, c := range []struct {
		name    string
		body    []byte
		imports []function
		want    error
	}{
		{"a loop", spin, nil, host.ErrTimeout},
		{"a loop that fills all memory", slices.Concat(full, forever(all)), nil, host.ErrTimeout},
		{"a line that fills all memory", slices.Concat(full, bytes.Repeat(all, 500)), nil, host.ErrTimeout},
		{"a loop that copies all memory", slices.Concat(full, forever(i32Const(0), i32Const(8), i32Const(6<<20), []byte{opMore, 10, 0, 0})), nil, host.ErrTimeout},
		{"a loop that asks for memory", forever(i32Const(1), []byte{opMemoryGrow, 0, opDrop}), nil, host.ErrTimeout},
		{"a loop through a table", forever(i32Const(0), []byte{opBrTable}, leb(30_000), make([]byte, 30_001)), nil, host.ErrTimeout},
		{"random numbers", slices.Concat(full, forever(call(0, 6<<20))), []function{wasi("random_get", 2)}, host.ErrTimeout},
		{"random numbers, in a line", slices.Concat(full, bytes.Repeat(call(0, 6<<20), 2000)), []function{wasi("random_get", 2)}, host.ErrTimeout},
		{"output", slices.Concat(full, forever(call(1, 0, 700_000, 6<<20))), []function{wasi("fd_write", 4)}, host.ErrTimeout},
		{"sleep", slices.Concat(full, forever(call(0, 0, 100_000, 6<<20))), []function{wasi("poll_oneoff", 4)}, host.ErrTimeout},
		{"reading the clock", forever(i32Const(0), i64Const(0), i32Const(0), []byte{opCall, 0, opDrop}), []function{{name: "clock_time_get", from: "wasi_snapshot_preview1", params: []byte{i32, i64, i32}, results: []byte{i32}}}, host.ErrTimeout},
		{"lengths beyond the memory", call(0, -1), []function{wasi("random_get", 2)}, host.ErrTimeout},
		{"leaving", slices.Concat(i32Const(0), []byte{opCall, 0}), []function{{name: "proc_exit", from: "wasi_snapshot_preview1", params: []byte{i32}}}, host.ErrTrap},
		{"recursion", []byte{opLocalGet, 0, opCall, 2, opDrop}, nil, host.ErrTrap},
	} {
		m := onLong(c.body, i64Const(0))
		m.functions = slices.Concat(c.imports, m.functions)
		p, err := plugintest.Host(t, host.Options{Instances: 1, MemoryLimit: memory, Fuel: 100_000_000}).Load(t.Context(), "guest", m.bytes(), nil)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		judge := plugintest.Judge(t, p)
		v, err := judge.Judge(t.Context(), new(event.Session), long)
		if !errors.Is(err, c.want) || v.Action != event.Block {
			t.Errorf("%s: %v, %v", c.name, v, err)
		}
		if c.want == host.ErrTimeout && err != nil && !strings.Contains(err.Error(), "more than 100000000 instructions") {
			t.Errorf("%s: %v", c.name, err)
		}
		if v, err := judge.Judge(t.Context(), new(event.Session), short); err != nil || v.Action != event.Allow {
			t.Errorf("after %s: %v, %v", c.name, v, err)
		}
	}
}

// Straight lines at the limit of a body's size, whatever of, are well within the
// limit of a call.
func TestStraightLines(t *testing.T) {
	for name, line := range map[string][]byte{
		"constants": {opI64Const, 0, opDrop},
		"divisions": slices.Concat(i32Const(7), i32Const(3), []byte{0x6d, opDrop}),
		"loads":     slices.Concat(i32Const(0), []byte{0x28, 2, 0, opDrop}),
	} {
		m := judging(bytes.Repeat(line, (host.DefaultBody-32)/len(line)), reply(dataAt, len(allow)))
		p, err := plugintest.Host(t, host.Options{}).Load(t.Context(), "guest", m.bytes(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := plugintest.Judge(t, p).Judge(t.Context(), new(event.Session), short); err != nil || v.Action != event.Allow {
			t.Errorf("%s: %v, %v", name, v, err)
		}
	}
}

// However its frames are made, a guest that recurses takes little of the host's
// memory.
func TestStackIsBounded(t *testing.T) {
	rep := bytes.Repeat
	set := func(n int) (b []byte) {
		for i := range n {
			at := leb(uint64(i + 1))
			b = slices.Concat(b, []byte{opLocalGet}, at, i32Const(1), []byte{0x6a, 0x21}, at)
		}
		return b
	}
	use := func(n int) []byte {
		b := i32Const(0)
		for i := range n {
			b = slices.Concat(b, []byte{opLocalGet}, leb(uint64(i+1)), []byte{0x6a})
		}
		return append(b, opDrop)
	}
	values := func(n int) (b []byte) {
		for i := range n {
			b = slices.Concat(b, i32Const(0), []byte{0x28, 2}, leb(uint64(i*4)))
		}
		return b
	}
	self := []byte{opLocalGet, 0, opCall, 2, opDrop}
	within := func(op byte, depth int, in []byte) []byte {
		return slices.Concat(rep([]byte{op, opNoResult}, depth), in, rep(slices.Concat(i32Const(0), []byte{opBrIf, 0, opEnd}), depth))
	}
	for _, c := range []struct {
		name   string
		locals int
		body   []byte
	}{
		{"small", 0, self},
		{"values", 0, slices.Concat(values(1000), self, rep([]byte{0x6a}, 999), []byte{opDrop})},
		{"many values", 0, slices.Concat(values(8000), self, rep([]byte{0x6a}, 7999), []byte{opDrop})},
		{"locals", 1000, slices.Concat(set(1000), self, use(1000))},
		{"locals in blocks", 100, slices.Concat(within(opBlock, 100, slices.Concat(set(100), self)), use(100))},
		{"locals in loops", 100, slices.Concat(within(opLoop, 100, slices.Concat(set(100), self)), use(100))},
		{"many locals in loops", 1000, slices.Concat(within(opLoop, 20, slices.Concat(set(1000), self)), use(1000))},
	} {
		m := judging(c.body, i64Const(0))
		m.locals = c.locals
		p, err := plugintest.Host(t, host.Options{Instances: 1}).Load(t.Context(), "guest", m.bytes(), nil)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err = plugintest.Judge(t, p).Judge(t.Context(), new(event.Session), long)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, host.ErrTrap) || !strings.Contains(err.Error(), "stack takes more than 4194304 bytes") {
			t.Errorf("%s: %v", c.name, err)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 32<<20 {
			t.Errorf("%s: it took %d bytes of the host", c.name, took)
		}
	}
}

// A trap in any function of a guest fails what it was asked for, and nothing
// else.
func TestTrapInEveryHook(t *testing.T) {
	ctx := t.Context()
	unreachable := []byte{opUnreachable}
	whole := func() []function {
		fs := basic
		for _, name := range []string{"on_open", "on_request", "on_head", "on_rows", "on_upload", "on_end", "on_close", "configure"} {
			fs = with(fs, function{name: name, params: hookParams, results: []byte{i64}, body: i64Const(0)})
		}
		fs = with(fs, function{name: "hooks", results: []byte{i32}, body: i32Const(1<<8 - 1)})
		return with(fs, function{name: "_initialize"})
	}
	trapping := func(name string) []byte {
		fs := slices.Clone(whole())
		for i, f := range fs {
			if f.name == name {
				fs[i].body = unreachable
			}
		}
		return module{functions: fs, pages: 4}.bytes()
	}
	h := plugintest.Host(t, host.Options{Instances: 1, Failures: 1000})
	for _, name := range []string{"_initialize", "abi_version", "hooks", "buffer", "configure"} {
		if _, err := h.Load(ctx, "guest", trapping(name), []byte("{}")); !errors.Is(err, host.ErrTrap) {
			t.Errorf("%s: %v", name, err)
		}
	}
	head := &event.Head{Fields: []event.Field{{Name: "a"}}}
	var rows event.Rows
	rows.Reset(head.Fields)
	rows.Grow()[0] = []byte("value")
	for name, ask := range map[string]func(*host.Session) error{
		"on_request": func(s *host.Session) error {
			v, err := s.Judge(ctx, new(event.Session), short)
			if v.Action != event.Block {
				t.Errorf("%v", v)
			}
			return err
		},
		"on_head": func(s *host.Session) error { _, err := s.Treat(ctx, new(event.Session), head); return err },
		"on_rows": func(s *host.Session) error {
			_, err := s.Inspect(ctx, new(event.Session), &rows, []int{0})
			return err
		},
		"on_upload": func(s *host.Session) error {
			v, err := s.JudgeUpload(ctx, new(event.Session), head, &rows)
			if v.Action != event.Block {
				t.Errorf("%v", v)
			}
			return err
		},
		"on_end":   func(s *host.Session) error { _, err := s.End(ctx, new(event.Session), new(event.Outcome)); return err },
		"on_close": func(s *host.Session) error { _, err := s.Close(ctx); return err },
	} {
		p, err := h.Load(ctx, "guest", trapping(name), nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for range 3 {
			s, err := p.Open(ctx, &event.Session{ID: "session"})
			if err != nil {
				t.Fatal(err)
			}
			if err := ask(s); !errors.Is(err, host.ErrTrap) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if s := p.Stats(); s.Traps != 3 || s.Instances > 2 {
			t.Errorf("%s: %+v", name, s)
		}
	}
	p, err := h.Load(ctx, "guest", trapping("on_open"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Open(ctx, &event.Session{ID: "session"}); !errors.Is(err, host.ErrTrap) {
		t.Error(err)
	}
}

// While a guest runs and runs the garbage collector gets its turn, and so does
// everything else.
func TestGuestHoldsUpNothing(t *testing.T) {
	m := onLong(spin, i64Const(0))
	p, err := plugintest.Host(t, host.Options{Instances: 1, Fuel: 3_000_000_000}).Load(t.Context(), "guest", m.bytes(), nil)
	if err != nil {
		t.Fatal(err)
	}
	judge := plugintest.Judge(t, p)
	ended := make(chan error)
	begin := time.Now()
	go func() {
		_, err := judge.Judge(t.Context(), new(event.Session), long)
		ended <- err
	}()
	collections := 0
	for {
		select {
		case err := <-ended:
			if !errors.Is(err, host.ErrTimeout) {
				t.Error(err)
			}
			if collections < 5 {
				t.Errorf("%d collections in %v", collections, time.Since(begin))
			}
			return
		default:
			runtime.GC()
			collections++
		}
	}
}

// The clock ends a call only if nothing else does.
func TestLastResort(t *testing.T) {
	m := onLong(spin, i64Const(0))
	p, err := plugintest.Host(t, host.Options{Instances: 1, Fuel: 1 << 60, Timeout: 50 * time.Millisecond}).Load(t.Context(), "guest", m.bytes(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plugintest.Judge(t, p).Judge(t.Context(), new(event.Session), long); !errors.Is(err, host.ErrTimeout) || !strings.Contains(err.Error(), "more than 50ms") {
		t.Error(err)
	}
}
