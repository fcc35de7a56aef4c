package plugintest

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// Languages are those in which plugins are written, by the names of their
// folders. Each has an SDK.
var Languages = []string{"c", "rust", "assemblyscript"}

// BuildExample compiles the plugin in dir, a folder that is named as its
// language and beside which the plugin's files in all languages are.
func BuildExample(t testing.TB, dir string) []byte {
	t.Helper()
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	return BuildIn(t, filepath.Base(dir), dir, filepath.Dir(dir))
}

// BuildIn compiles the plugin in dir, which is written in a language. It may
// include files of beside.
func BuildIn(t testing.TB, language, dir, beside string) []byte {
	t.Helper()
	if language == "go" {
		return Build(t, dir)
	}
	sources(t, dir, filepath.Join(root(t), "sdk", language))
	switch language {
	case "c":
		return buildC(t, dir, beside)
	case "rust":
		return buildRust(t, dir)
	case "assemblyscript":
		return buildAssemblyScript(t, dir, beside)
	}
	t.Fatalf("there is no language %s", language)
	return nil
}

// sources makes go test know what a plugin is compiled from, so that it does not
// remember results of another one: it sees which files a test itself reads.
func sources(t testing.TB, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.Name() == "node_modules":
				return filepath.SkipDir
			case d.IsDir():
				return nil
			}
			_, err = os.Stat(name)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// root is the module's folder.
func root(t testing.TB) string {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

func buildC(t testing.TB, dir, beside string) []byte {
	t.Helper()
	sdk := filepath.Join(root(t), "sdk", "c")
	out := filepath.Join(t.TempDir(), "plugin.wasm")
	run(t, dir, "clang", "--target=wasm32", "-std=c11", "-Os", "-mbulk-memory", "-ffreestanding", "-nostdlib", "-Wall", "-Wextra", "-Werror", "-Wl,--no-entry",
		"-I", sdk, "-I", beside, "-o", out, "plugin.c", filepath.Join(sdk, "gatehouse.c"))
	return read(t, out)
}

// buildRust compiles plugin.rs, which may include files by their paths.
func buildRust(t testing.TB, dir string) []byte {
	t.Helper()
	rustc, tmp := Rustc(t), t.TempDir()
	flags := []string{"--edition", "2021", "--target", rustTarget, "-C", "opt-level=s", "-C", "panic=abort", "-D", "warnings"}
	compile := func(more ...string) { t.Helper(); run(t, dir, rustc, append(slices.Clone(flags), more...)...) }
	lib, out := filepath.Join(tmp, "libgatehouse.rlib"), filepath.Join(tmp, "plugin.wasm")
	compile("--crate-type", "rlib", "--crate-name", "gatehouse", "-o", lib, filepath.Join(root(t), "sdk", "rust", "src", "lib.rs"))
	compile("-C", "strip=debuginfo", "--crate-type", "cdylib", "--extern", "gatehouse="+lib, "-o", out, "plugin.rs")
	return read(t, out)
}

const rustTarget = "wasm32-unknown-unknown"

// Rustc returns a Rust compiler that compiles to WebAssembly: the first one in
// the PATH may not, beside the distribution's.
func Rustc(t testing.TB) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/bin") {
		rustc := filepath.Join(dir, "rustc")
		out, err := exec.Command(rustc, "--print", "target-libdir", "--target", rustTarget).Output()
		if err != nil {
			continue
		}
		if _, err := os.Stat(strings.TrimSpace(string(out))); err == nil {
			return rustc
		}
	}
	t.Fatal("there is no rustc for " + rustTarget + ": run go tool task setup")
	return ""
}

// buildAssemblyScript compiles plugin.ts, and appends schema.json if it is beside.
func buildAssemblyScript(t testing.TB, dir, beside string) []byte {
	t.Helper()
	sdk := filepath.Join(root(t), "sdk", "assemblyscript")
	out := filepath.Join(t.TempDir(), "plugin.wasm")
	run(t, dir, filepath.Join(sdk, "node_modules", ".bin", "asc"),
		"plugin.ts", "-O", "--runtime", "minimal", "--exportStart", "_initialize", "--use", "abort=", "--pedantic", "-o", out)
	if schema := filepath.Join(beside, "schema.json"); exists(schema) {
		run(t, dir, "node", filepath.Join(sdk, "schema.mjs"), out, schema)
	}
	return read(t, out)
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

func run(t testing.TB, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build plugin in %s: %v: %v\n%s", dir, cmd, err, said)
	}
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
