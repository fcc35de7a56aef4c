package fuel_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"gatehouse/plugins/host/fuel"
)

// wide are limits that refuse nothing.
var wide = fuel.Limits{Module: math.MaxInt32, Body: math.MaxInt32, Table: math.MaxInt32}

const plenty = math.MaxInt64 / 4

// A script is one of the specification's tests, as wast2json writes it.
type script struct {
	Commands []command `json:"commands"`
}

type command struct {
	Type       string
	Line       int
	Name       string
	Filename   string
	As         string
	ModuleType string `json:"module_type"`
	Action     action
}

type action struct {
	Type   string
	Module string
	Field  string
	Args   []value
}

type value struct {
	Type  string
	Lane  string `json:"lane_type"`
	Value any
}

// moduleDir returns where the source of a module is that this one requires.
func moduleDir(t testing.TB, path string) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", path).Output()
	if err != nil {
		t.Fatalf("find %s: %v", path, err)
	}
	return strings.TrimSpace(string(out))
}

// A world is a runtime with the modules of one script.
type world struct {
	runtime wazero.Runtime
	named   map[string]api.Module
	last    api.Module
	rewrite bool
}

func newWorld(t testing.TB, spectest []byte, rewrite bool) *world {
	ctx := t.Context()
	w := &world{
		runtime: wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithCoreFeatures(api.CoreFeaturesV2)),
		named:   make(map[string]api.Module), rewrite: rewrite,
	}
	addTick(t, w.runtime, func(int64) int64 { return plenty })
	if _, err := w.runtime.InstantiateWithConfig(ctx, spectest, wazero.NewModuleConfig()); err != nil {
		t.Fatal(err)
	}
	return w
}

func addTick(t testing.TB, r wazero.Runtime, tick func(int64) int64) {
	t.Helper()
	_, err := r.NewHostModuleBuilder(fuel.TickModule).NewFunctionBuilder().
		WithGoFunction(api.GoFunc(func(_ context.Context, stack []uint64) {
			stack[0] = uint64(tick(int64(stack[0])))
		}), []api.ValueType{api.ValueTypeI64}, []api.ValueType{api.ValueTypeI64}).
		Export(fuel.Tick).Instantiate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
}

// supply sets the counters of a rewritten module.
func supply(m api.Module, units, stack int64) {
	m.ExportedGlobal(fuel.Fuel).(api.MutableGlobal).Set(uint64(units))
	m.ExportedGlobal(fuel.Stack).(api.MutableGlobal).Set(uint64(stack))
}

func (w *world) load(ctx context.Context, wasm []byte, name string) error {
	start := false
	if w.rewrite {
		m, err := fuel.Rewrite(wasm, wide)
		if err != nil {
			return err
		}
		wasm, start = m.Wasm, m.Start
	}
	m, err := w.runtime.InstantiateWithConfig(ctx, wasm, wazero.NewModuleConfig().WithName(name).WithStartFunctions())
	if err != nil {
		return err
	}
	if w.rewrite {
		supply(m, plenty, 1<<20)
	}
	if start {
		if _, err := m.ExportedFunction(fuel.Start).Call(ctx); err != nil {
			return err
		}
	}
	w.last = m
	return nil
}

// do runs an action and returns what came of it.
func (w *world) do(ctx context.Context, a action) ([]uint64, error) {
	m := w.last
	if a.Module != "" {
		m = w.named[a.Module]
	}
	if m == nil {
		return nil, errors.New("no module")
	}
	if a.Type == "get" {
		return []uint64{m.ExportedGlobal(a.Field).Get()}, nil
	}
	var args []uint64
	for _, v := range a.Args {
		args = append(args, v.bits()...)
	}
	if w.rewrite {
		supply(m, plenty, 1<<20)
	}
	return m.ExportedFunction(a.Field).Call(ctx, args...)
}

func (v value) bits() []uint64 {
	if lanes, ok := v.Value.([]any); ok {
		width, _ := strconv.Atoi(v.Lane[1:])
		var out [2]uint64
		for i, l := range lanes {
			out[i*width/64] |= parse(l.(string), width) << (i * width % 64)
		}
		return out[:]
	}
	s, _ := v.Value.(string)
	width := 64
	if strings.HasSuffix(v.Type, "32") {
		width = 32
	}
	return []uint64{parse(s, width)}
}

func parse(s string, width int) uint64 {
	n, _ := strconv.ParseUint(s, 10, 64)
	if i, err := strconv.ParseInt(s, 10, 64); err == nil && i < 0 {
		n = uint64(i) & (1<<width - 1)
	}
	return n
}

// trap is what an error says of a trap, without where.
func trap(err error) string {
	if err == nil {
		return ""
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// A rewritten module does what the original does, on all of the tests of the
// WebAssembly specification, versions 1 and 2, that come with the runtime: the
// same results, bit by bit, the same traps, and what is not a module is none.
func TestSpecification(t *testing.T) {
	root := filepath.Join(moduleDir(t, "github.com/tetratelabs/wazero"), "internal", "integration_test", "spectest")
	spectest, err := os.ReadFile(filepath.Join(root, "testdata", "spectest.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	count := make(map[string]int)
	for _, version := range []string{"v1", "v2"} {
		scripts, err := filepath.Glob(filepath.Join(root, version, "testdata", "*.json"))
		if err != nil || len(scripts) < 50 {
			t.Fatalf("%d scripts, %v", len(scripts), err)
		}
		for _, path := range scripts {
			name := version + "/" + strings.TrimSuffix(filepath.Base(path), ".json")
			t.Run(name, func(t *testing.T) { runScript(t, path, spectest, count) })
		}
	}
	if count["invoke"] < 60000 || count["trap"] < 2000 || count["module"] < 2000 || count["refused"] < 2000 {
		t.Errorf("the tests are not all there: %v", count)
	}
}

func runScript(t *testing.T, path string, spectest []byte, count map[string]int) {
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var s script
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	plain, rewritten := newWorld(t, spectest, false), newWorld(t, spectest, true)
	defer plain.runtime.Close(ctx)
	defer rewritten.runtime.Close(ctx)
	for i, c := range s.Commands {
		switch c.Type {
		case "module":
			name := ""
			if i+1 < len(s.Commands) && s.Commands[i+1].Type == "register" {
				name = s.Commands[i+1].As
			}
			wasm := read(t, path, c.Filename)
			want, got := plain.load(ctx, wasm, name), rewritten.load(ctx, wasm, name)
			if want != nil || got != nil {
				t.Fatalf("line %d: %s: %v, %v", c.Line, c.Filename, want, got)
			}
			if c.Name != "" {
				plain.named[c.Name], rewritten.named[c.Name] = plain.last, rewritten.last
			}
			count["module"]++
		case "assert_return", "action", "assert_trap", "assert_exhaustion":
			want, wantErr := plain.do(ctx, c.Action)
			got, gotErr := rewritten.do(ctx, c.Action)
			same := trap(wantErr) == trap(gotErr)
			if c.Type == "assert_exhaustion" {
				same = wantErr != nil && gotErr != nil
			}
			if !same || !slices.Equal(want, got) && !references(plain, c.Action) {
				t.Errorf("line %d: %s: %v, %v; want %v, %v", c.Line, c.Action.Field, got, gotErr, want, wantErr)
			}
			count["invoke"]++
			if wantErr != nil {
				count["trap"]++
			}
		case "assert_malformed", "assert_invalid", "assert_unlinkable", "assert_uninstantiable":
			if c.ModuleType == "text" {
				continue
			}
			wasm := read(t, path, c.Filename)
			want, got := plain.load(ctx, wasm, ""), rewritten.load(ctx, wasm, "")
			if strings.HasSuffix(path, "v2/testdata/ref_func.json") && c.Line == 113 {
				// Its start function refers to itself, which needs a
				// declaration. The export that it becomes is one.
				continue
			}
			if (want == nil) != (got == nil) {
				t.Errorf("line %d: %s: %v, want %v", c.Line, c.Filename, got, want)
			}
			count["refused"]++
		case "register":
		default:
			t.Errorf("line %d: what is %s?", c.Line, c.Type)
		}
	}
}

// references says whether a function returns references, which are addresses.
func references(w *world, a action) bool {
	m := w.last
	if a.Module != "" {
		m = w.named[a.Module]
	}
	if a.Type == "get" {
		return false
	}
	return slices.ContainsFunc(m.ExportedFunction(a.Field).Definition().ResultTypes(), func(t api.ValueType) bool {
		return t == api.ValueTypeExternref || t == 0x70
	})
}

func read(t *testing.T, script, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(filepath.Dir(script), name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
