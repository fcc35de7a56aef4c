package plugintest

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// Languages are those in which plugins are written, by the names of their
// folders. Each has an SDK.
var Languages = []string{"c"}

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
	sources(t, dir, filepath.Join(root(t), "sdk", language))
	switch language {
	case "c":
		return buildC(t, dir, beside)
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
