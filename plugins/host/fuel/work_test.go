package fuel_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"gatehouse/plugins/host/fuel"
)

// work are functions of the modules in testdata, with arguments.
var work = map[string][]struct {
	name string
	arg  uint64
}{
	"c":  {{"scan", 1 << 16}, {"sort", 7}, {"fibonacci", 22}, {"copy", 50}, {"machine", 100000}},
	"go": {{"scan", 1 << 16}, {"sort", 7}, {"fibonacci", 22}, {"match", 2000}, {"decode", 16000}},
}

func build(t testing.TB, language string) []byte {
	t.Helper()
	path := "testdata/work-c.wasm"
	if language == "go" {
		path = filepath.Join(t.TempDir(), "work.wasm")
		c := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-buildmode=c-shared", "-ldflags=-s -w", "-o", path, ".")
		c.Dir = "testdata/work"
		c.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
		if said, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// instantiate starts a module in a runtime of its own. Rewritten ones have
// plenty of fuel.
func instantiate(t testing.TB, ctx context.Context, wasm []byte, c wazero.RuntimeConfig, rewrite bool) api.Module {
	t.Helper()
	r := wazero.NewRuntimeWithConfig(ctx, c)
	t.Cleanup(func() { _ = r.Close(context.Background()) })
	wasi_snapshot_preview1.MustInstantiate(ctx, r)
	if rewrite {
		addTick(t, r, func(int64) int64 { return 1_000_000 })
		out, err := fuel.Rewrite(wasm, wide)
		if err != nil {
			t.Fatal(err)
		}
		wasm = out.Wasm
	}
	m, err := r.InstantiateWithConfig(ctx, wasm, wazero.NewModuleConfig().WithStartFunctions())
	if err != nil {
		t.Fatal(err)
	}
	if rewrite {
		supply(m, 1_000_000, 1<<20)
	}
	for _, name := range []string{fuel.Start, "_initialize"} {
		if f := m.ExportedFunction(name); f != nil {
			if _, err := f.Call(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	return m
}

// What counting costs, and what the runtime's own check of a context does, as
// ratios to neither: of the best of many short runs that take turns, since what
// else the machine does would drown them.
func BenchmarkWork(b *testing.B) {
	for _, language := range []string{"c", "go"} {
		wasm := build(b, language)
		ctx, cancel := context.WithCancel(b.Context())
		defer cancel()
		config := wazero.NewRuntimeConfigCompiler()
		free := instantiate(b, ctx, wasm, config, false)
		counted := instantiate(b, ctx, wasm, config, true)
		checked := instantiate(b, ctx, wasm, config.WithCloseOnContextDone(true), false)
		for _, w := range work[language] {
			b.Run(language+"/"+w.name, func(b *testing.B) {
				best := make([]time.Duration, 3)
				for b.Loop() {
					for i, m := range []api.Module{free, counted, checked} {
						f, stack := m.ExportedFunction(w.name), []uint64{0}
						for range 5 {
							stack[0] = w.arg
							begin := time.Now()
							if err := f.CallWithStack(ctx, stack); err != nil {
								b.Fatal(err)
							}
							if took := time.Since(begin); best[i] == 0 || took < best[i] {
								best[i] = took
							}
						}
					}
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(best[0].Nanoseconds()), "free-ns")
				b.ReportMetric(float64(best[1])/float64(best[0]), "fuel-ratio")
				b.ReportMetric(float64(best[2])/float64(best[0]), "context-ratio")
			})
		}
	}
}
