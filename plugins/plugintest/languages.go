package plugintest

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"gatehouse/sdk/module"
)

// Languages are those in which plugins are written, beside Go, by the names of their
// folders.
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
	sdk := filepath.Join(root(t), "sdk", language)
	for _, l := range module.Languages {
		if l.Name != language {
			continue
		}
		if language != "go" {
			sources(t, dir, sdk)
		}
		wasm, err := l.Compile(t.Context(), dir, sdk, beside)
		if err != nil {
			t.Fatal(err)
		}
		return wasm
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
