// Package plugins_test holds the example plugins, in every language, to their
// cases.
package plugins_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tetratelabs/wazero"

	"gatehouse/plugins/cases"
	"gatehouse/plugins/host"
	"gatehouse/plugins/plugintest"
)

var examples = []string{"mask-field", "block-fact", "hold-risk", "detect-content", "shadow"}

// Every language's build of an example does the same.
func TestExamples(t *testing.T) {
	h := plugintest.Host(t, host.Options{})
	for _, example := range examples {
		text, err := os.ReadFile(filepath.Join(example, "cases.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		file, err := cases.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, language := range append([]string{"go"}, plugintest.Languages...) {
			t.Run(example+"/"+language, func(t *testing.T) {
				wasm := plugintest.BuildExample(t, filepath.Join(example, language))
				sameSchema(t, wasm, filepath.Join(example, "schema.json"))
				results, err := file.Run(t.Context(), h, wasm)
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range results {
					if r.Err != nil {
						t.Errorf("%s: %v", r.Name, r.Err)
					}
				}
			})
		}
	}
}

// sameSchema checks that a module has the schema in a file.
func sameSchema(t *testing.T, wasm []byte, file string) {
	t.Helper()
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter().WithCustomSections(true))
	defer func() { _ = r.Close(t.Context()) }()
	code, err := r.CompileModule(t.Context(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, s := range code.CustomSections() {
		if s.Name() == "gatehouse.schema" && string(s.Data()) == string(want) {
			found++
		}
	}
	if found != 1 {
		t.Errorf("the module has %d sections gatehouse.schema that are %s", found, file)
	}
}
