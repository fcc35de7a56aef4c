package fuel_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"gatehouse/plugins/host/fuel"
	"gatehouse/plugins/plugintest"
)

// function assembles a module of one function without parameters, called f, a
// memory of two pages and a table of ten elements.
func function(result byte, locals []byte, code ...byte) []byte {
	var results []byte
	if result != 0 {
		results = []byte{result}
	}
	return assemble(results, locals, code)
}

func assemble(results, locals, code []byte) []byte {
	b := []byte("\x00asm\x01\x00\x00\x00")
	section := func(id byte, content ...byte) { b = append(append(b, id), counted(content)...) }
	section(1, append([]byte{1, 0x60, 0}, counted(results)...)...)
	section(3, 1, 0)
	section(4, 1, 0x70, 0, 10)
	section(5, 1, 0, 2)
	section(7, 2, 1, 'f', 0, 0, 1, 'm', 2, 0)
	body := slices.Concat(locals, code, []byte{0x0b})
	section(10, append([]byte{1}, counted(body)...)...)
	return b
}

func counted(b []byte) []byte { return append(leb(len(b)), b...) }

func leb(n int) []byte {
	if n < 0x80 {
		return []byte{byte(n)}
	}
	return append([]byte{byte(n) | 0x80}, leb(n>>7)...)
}

var errFuel = errors.New("no fuel")

// A meter gives a guest fuel by the quantum, as a host would.
type meter struct{ left, quantum, ticks int64 }

func (m *meter) tick(fuel int64) int64 {
	m.ticks++
	m.left += fuel
	if m.left < 0 {
		panic(errFuel)
	}
	granted := min(m.left, m.quantum)
	m.left -= granted
	return granted
}

// run calls f of a rewritten module and returns what it used.
func run(t *testing.T, wasm []byte, budget int64) (used int64, m *meter, err error) {
	t.Helper()
	ctx := t.Context()
	out, err := fuel.Rewrite(wasm, wide)
	if err != nil {
		t.Fatal(err)
	}
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler())
	defer r.Close(ctx)
	m = &meter{quantum: 100_000}
	addTick(t, r, m.tick)
	mod, err := r.InstantiateWithConfig(ctx, out.Wasm, wazero.NewModuleConfig())
	if err != nil {
		t.Fatal(err)
	}
	granted := min(budget, m.quantum)
	m.left = budget - granted
	supply(mod, granted, 100_000)
	_, err = mod.ExportedFunction("f").Call(ctx)
	left := int64(mod.ExportedGlobal(fuel.Fuel).Get())
	return budget - m.left - left, m, err
}

// What is charged is about what runs: no less than its instructions, and not
// much more however much there is that does not.
func TestCharges(t *testing.T) {
	none := []byte{0}
	one32 := []byte{1, 1, 0x7f} // one i32
	straight := bytes.Repeat([]byte{0x41, 1, 0x1a}, 10_000)
	// A loop of a thousand turns, each through one of a hundred cases.
	loop := []byte{0x03, 0x40, 0x20, 0, 0x41, 1, 0x6a, 0x22, 0, 0x41, 0xe8, 0x07, 0x49, 0x0d, 0, 0x0b}
	const cases = 100
	var table []byte
	for range cases + 1 {
		table = append(table, 0x02, 0x40)
	}
	table = append(append(table, 0x20, 0, 0x41, 0xe4, 0, 0x70, 0x0e), leb(cases)...)
	for i := range cases + 1 {
		table = append(table, byte(i))
	}
	table = append(table, 0x0b)
	for i := range cases {
		table = append(table, bytes.Repeat([]byte{0x41, 1, 0x1a}, 50)...)
		table = append(table, 0x0c)
		table = append(table, byte(cases-1-i))
		table = append(table, 0x0b)
	}
	switching := slices.Concat([]byte{0x03, 0x40}, table, loop[2:])
	for _, c := range []struct {
		name      string
		wasm      []byte
		low, high int64
	}{
		{"nothing", function(0, none), 1, 10},
		{"a straight line", function(0, none, straight...), 20_000, 20_100},
		{"half of a straight line", function(0, none, slices.Concat([]byte{0x41, 0, 0x04, 0x40}, straight, []byte{0x05}, straight[:300], []byte{0x0b})...), 200, 600},
		{"an early return", function(0, none, slices.Concat([]byte{0x41, 1, 0x0d, 0}, straight)...), 1, 20_100},
		{"a loop", function(0, one32, loop...), 6_000, 10_000},
		{"a switch in a loop", function(0, one32, switching...), 1000 * 110, 1000 * 450},
		{"memory.fill", function(0, none, 0x41, 0, 0x41, 0, 0x41, 0x80, 0x80, 0x04, 0xfc, 11, 0), 65536 / 8, 65536/8 + 200},
		{"memory.copy", function(0, none, 0x41, 0, 0x41, 8, 0x41, 0x80, 0x80, 0x04, 0xfc, 10, 0, 0), 65536 / 8, 65536/8 + 200},
		{"memory.grow", function(0, none, 0x41, 1, 0x40, 0, 0x1a), 65536 / 8, 65536/8 + 200},
		{"table.fill", function(0, none, 0x41, 0, 0xd0, 0x70, 0x41, 10, 0xfc, 17, 0), 40, 300},
	} {
		used, _, err := run(t, c.wasm, 10_000_000)
		if err != nil || used < c.low || used > c.high {
			t.Errorf("%s: %d, not %d to %d; %v", c.name, used, c.low, c.high, err)
		}
	}
}

// Whatever does not end is stopped, at the same count each time.
func TestStops(t *testing.T) {
	none := []byte{0}
	fill := []byte{0x41, 0, 0x41, 0, 0x41, 0x80, 0x80, 0x04, 0xfc, 11, 0}
	for _, c := range []struct {
		name string
		wasm []byte
		fuel bool // it is the fuel that ends, not the stack
	}{
		{"a loop", function(0, none, 0x03, 0x40, 0x0c, 0, 0x0b), true},
		{"a loop by a switch", function(0, none, 0x03, 0x40, 0x41, 0, 0x0e, 1, 0, 0, 0x0b), true},
		{"recursion", function(0, none, 0x10, 0), false},
		{"indirect recursion", indirect(), false},
		{"broad recursion", function(0, none, bytes.Repeat([]byte{0x10, 0}, 1000)...), false},
		{"filling memory", function(0, none, slices.Concat([]byte{0x03, 0x40}, fill, []byte{0x0c, 0, 0x0b})...), true},
		{"filling memory, without a loop", function(0, none, bytes.Repeat(fill, 3000)...), true},
		{"growing memory", function(0, none, 0x03, 0x40, 0x41, 0, 0x40, 0, 0x1a, 0x0c, 0, 0x0b), true},
		{"growing memory by too much", function(0, none, 0x41, 0x7f, 0x40, 0, 0x1a), true},
	} {
		used, m, err := run(t, c.wasm, 20_000_000)
		if err == nil {
			t.Errorf("%s: it ended", c.name)
			continue
		}
		if c.fuel != strings.Contains(err.Error(), errFuel.Error()) {
			t.Errorf("%s: %v", c.name, err)
		}
		again, _, _ := run(t, c.wasm, 20_000_000)
		if used != again {
			t.Errorf("%s: stopped at %d, then at %d", c.name, used, again)
		}
		// The host gets its turn, so that nothing holds up the garbage
		// collector.
		if c.fuel && used < 1<<40 && m.ticks < 100 {
			t.Errorf("%s: %d ticks", c.name, m.ticks)
		}
	}
}

// indirect is a function that calls itself through the table.
func indirect() []byte {
	b := function(0, []byte{0}, 0x41, 0, 0x11, 0, 0)
	// Element 0 of the table is the function: a section in front of the code.
	at := bytes.LastIndexByte(b, 10)
	for at > 0 && !(b[at] == 10 && int(b[at+1]) == len(b)-at-2) {
		at--
	}
	return slices.Concat(b[:at], []byte{9, 7, 1, 0, 0x41, 0, 0x0b, 1, 0}, b[at:])
}

// Exponential recursion without a loop, which takes no stack to speak of, ends
// when the fuel and the overdraft are used up.
func TestStopsRecursionWithoutLoop(t *testing.T) {
	ctx := t.Context()
	// A function that calls itself twice if the number in memory, its depth,
	// is not 0.
	add := func(op byte) []byte { return []byte{0x41, 0, 0x41, 0, 0x28, 2, 0, 0x41, 1, op, 0x36, 2, 0} }
	m := instantiate(t, ctx, function(0, []byte{0}, slices.Concat(
		[]byte{0x41, 0, 0x28, 2, 0, 0x45, 0x04, 0x40, 0x0f, 0x0b}, add(0x6b), []byte{0x10, 0, 0x10, 0}, add(0x6a))...),
		wazero.NewRuntimeConfigCompiler(), true)
	f := m.ExportedFunction("f")
	m.Memory().WriteUint32Le(0, 10)
	supply(m, 1_000_000, 1<<20)
	if _, err := f.Call(ctx); err != nil {
		t.Fatal(err)
	}
	m.Memory().WriteUint32Le(0, 60)
	supply(m, 1000, 1<<20)
	if _, err := f.Call(ctx); err == nil || !strings.Contains(err.Error(), "unreachable") {
		t.Error(err)
	}
	if left := int64(m.ExportedGlobal(fuel.Fuel).Get()); left > -fuel.Overdraft || left < -fuel.Overdraft-1000 {
		t.Errorf("%d left", left)
	}
}

// A module computes the same, rewritten, whatever language it comes from.
func TestWork(t *testing.T) {
	ctx := t.Context()
	for _, language := range []string{"c", "go"} {
		wasm := build(t, language)
		plain := instantiate(t, ctx, wasm, wazero.NewRuntimeConfigCompiler(), false)
		rewritten := instantiate(t, ctx, wasm, wazero.NewRuntimeConfigCompiler(), true)
		for _, w := range work[language] {
			for _, arg := range []uint64{w.arg, w.arg / 2, 1} {
				want, err1 := plain.ExportedFunction(w.name).Call(ctx, arg)
				got, err2 := rewritten.ExportedFunction(w.name).Call(ctx, arg)
				if err1 != nil || err2 != nil || !slices.Equal(want, got) {
					t.Errorf("%s %s(%d): %v, %v; want %v, %v", language, w.name, arg, got, err2, want, err1)
				}
			}
		}
	}
}

// corpus are modules of compilers: the plugins that ship, which are of Go,
// PostgreSQL's parser, which is of C, and others of AssemblyScript, C, TinyGo, Rust and
// Zig.
func corpus(t testing.TB) map[string][]byte {
	t.Helper()
	plugins, err := filepath.Glob("../../wasm/*.wasm")
	if err != nil || len(plugins) < 4 {
		t.Fatalf("plugins %v, %v: run go generate ./plugins/...", plugins, err)
	}
	parser := filepath.Join(moduleDir(t, "github.com/wasilibs/go-pgquery"), "internal", "wasm", "libpg_query.so")
	modules := make(map[string][]byte)
	wazero := moduleDir(t, "github.com/tetratelabs/wazero")
	others, err := filepath.Glob(filepath.Join(wazero, "imports", "wasi_snapshot_preview1", "testdata", "*", "wasi.wasm"))
	if err != nil || len(others) < 3 {
		t.Fatalf("modules of TinyGo, Rust and Zig: %v, %v", others, err)
	}
	for _, path := range slices.Concat(plugins, others, []string{parser, "testdata/work-c.wasm"}) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		modules[path] = b
	}
	for _, example := range []string{"detect-content", "hold-risk", "mask-field", "shadow"} {
		dir := filepath.Join("..", "..", "..", "examples", "plugins", example, "assemblyscript")
		modules[dir] = plugintest.BuildExample(t, dir)
	}
	return modules
}

// Real modules are taken, and stay what they were in all that shows: imports,
// exports and their types.
func TestCorpus(t *testing.T) {
	ctx := t.Context()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(api.CoreFeaturesV2|experimental.CoreFeaturesThreads))
	defer r.Close(ctx)
	for name, wasm := range corpus(t) {
		out, err := fuel.Rewrite(wasm, wide)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		before, err1 := r.CompileModule(ctx, wasm)
		after, err2 := r.CompileModule(ctx, out.Wasm)
		if err1 != nil || err2 != nil {
			t.Errorf("%s: %v, %v", name, err1, err2)
			continue
		}
		for name, f := range before.ExportedFunctions() {
			g := after.ExportedFunctions()[name]
			if g == nil || !slices.Equal(f.ParamTypes(), g.ParamTypes()) || !slices.Equal(f.ResultTypes(), g.ResultTypes()) {
				t.Errorf("export %s changed", name)
			}
		}
		if n, m := len(before.ImportedFunctions()), len(after.ImportedFunctions()); m != n+1 {
			t.Errorf("%s: %d imports, %d before", name, m, n)
		}
		if len(wasm) > 10_000 && len(out.Wasm) > 2*len(wasm) {
			t.Errorf("%s: %d bytes of %d", name, len(out.Wasm), len(wasm))
		}
	}
}

func TestRefuses(t *testing.T) {
	limits := fuel.Limits{Module: 100_000, Body: 50_000, Table: 10}
	many := func(n int) []byte { return bytes.Repeat([]byte{0x41, 1, 0x1a}, n) }
	imports := []byte("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x02\x16\x01\x0egatehouse.host\x03abc\x00\x00")
	exports := bytes.Replace(function(0, []byte{0}), []byte{7, 9, 2, 1, 'f', 0, 0, 1, 'm', 2, 0}, append([]byte{7, 18, 1, 14}, "gatehouse.fuel\x00\x00"...), 1)
	for _, c := range []struct {
		name, want string
		wasm       []byte
	}{
		{"nothing", "not a WebAssembly module", nil},
		{"text", "not a WebAssembly module", []byte("module")},
		{"a large module", "module of", make([]byte, 100_001)},
		{"a large body", "function body of", function(0, []byte{0}, many(20_000)...)},
		{"many locals", "locals", function(0, []byte{1, 0xff, 0xff, 0xff, 0x7f, 0x7f})},
		{"many locals in groups", "locals", function(0, []byte{2, 0xff, 0x4d, 0x7f, 0xff, 0x4d, 0x7f})},
		{"the host's import", "imports from", imports},
		{"the host's export", "exports", exports},
		{"the counter of fuel", "not a WebAssembly module", function(0, []byte{0}, 0x42, 0, 0x24, 0)},
		{"the host's function", "not a WebAssembly module", function(0, []byte{0}, 0x10, 1)},
		{"the local that is added", "not a WebAssembly module", function(0, []byte{0}, 0x41, 0, 0x41, 0, 0x41, 0, 0xfc, 11, 0, 0x20, 0, 0x1a)},
		{"the block that is added", "not a WebAssembly module", function(0, []byte{0}, 0x10, 0, 0x0c, 1)},
		{"a tail call", "unknown instruction", function(0, []byte{0}, 0x12, 0)},
		{"an unknown atomic operation", "unknown instruction", function(0, []byte{0}, 0xfe, 0x60, 0)},
		{"many blocks", "too complex", function(0, []byte{0}, bytes.Repeat([]byte{0x02, 0x40, 0x0b}, 15_000)...)},
		{"code behind the end", "not a WebAssembly module", function(0, []byte{0}, 0x0b, 0x01)},
		{"no end", "not a WebAssembly module", function(0, []byte{0}, 0x02, 0x40)},
	} {
		m, err := fuel.Rewrite(c.wasm, limits)
		if err == nil || !strings.Contains(err.Error(), c.want) || m != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// State that is not in memory and globals is told.
func TestKeeps(t *testing.T) {
	for name, c := range map[string]struct {
		code []byte
		want bool
	}{
		"nothing":    {nil, true},
		"table.get":  {[]byte{0x41, 0, 0x25, 0, 0x1a}, true},
		"table.set":  {[]byte{0x41, 0, 0xd0, 0x70, 0x26, 0}, false},
		"table.fill": {[]byte{0x41, 0, 0xd0, 0x70, 0x41, 1, 0xfc, 17, 0}, false},
		"table.grow": {[]byte{0xd0, 0x70, 0x41, 1, 0xfc, 15, 0, 0x1a}, false},
		"table.copy": {[]byte{0x41, 0, 0x41, 0, 0x41, 0, 0xfc, 14, 0, 0}, false},
	} {
		m, err := fuel.Rewrite(function(0, []byte{0}, c.code...), wide)
		if err != nil || m.Keeps != c.want {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}

// Whatever it is given, Rewrite neither panics nor takes much memory, and what
// the runtime takes it takes rewritten, and nothing else.
func FuzzRewrite(f *testing.F) {
	f.Add(function(0x7f, []byte{1, 2, 0x7e}, 0x02, 0x40, 0x03, 0x40, 0x0c, 1, 0x0b, 0x0b, 0x41, 1))
	f.Add(function(0, []byte{0}, 0x41, 0, 0x41, 0, 0x41, 4, 0xfc, 11, 0, 0x10, 0, 0x0f))
	f.Add(indirect())
	work, err := os.ReadFile("testdata/work-c.wasm")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(work)
	root := filepath.Join(moduleDir(f, "github.com/tetratelabs/wazero"), "internal", "integration_test", "spectest", "v1", "testdata")
	for _, name := range []string{"br_table.0", "if.0", "loop.0", "call_indirect.0", "data.0", "elem.0", "globals.0", "start.3", "return.0", "func.0"} {
		wasm, err := os.ReadFile(filepath.Join(root, name+".wasm"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wasm)
	}
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithMemoryLimitPages(16))
	f.Cleanup(func() { _ = r.Close(ctx) })
	limits := fuel.Limits{Module: 1 << 16, Body: 1 << 14, Table: 1 << 10}
	f.Fuzz(func(t *testing.T, wasm []byte) {
		out, err := fuel.Rewrite(wasm, limits)
		if err == nil && len(out.Wasm) > 40*len(wasm)+200 {
			t.Fatalf("%d bytes of %d", len(out.Wasm), len(wasm))
		}
		if err != nil {
			// Not for the runtime either: it believes what lists say of
			// their lengths.
			return
		}
		compile := func(wasm []byte) error {
			c, err := r.CompileModule(ctx, wasm)
			if err == nil {
				err = c.Close(ctx)
			}
			return err
		}
		before, after := compile(wasm), compile(out.Wasm)
		if before != nil && (strings.Contains(before.Error(), "custom") || strings.Contains(before.Error(), "undeclared function")) {
			return // custom sections are left out, and the start function declared
		}
		if (before == nil) != (after == nil) {
			t.Fatalf("%v, rewritten %v", before, after)
		}
	})
}
