// Package plugins_test holds the example plugins, in every language, to their
// cases.
package plugins_test

import (
	"os"
	"path/filepath"
	"testing"

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
		for _, language := range plugintest.Languages {
			t.Run(example+"/"+language, func(t *testing.T) {
				wasm := plugintest.BuildExample(t, filepath.Join(example, language))
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
