package main

import (
	"path/filepath"
	"testing"

	"gatehouse/plugins/plugintest"
)

// Every SDK passes.
func TestConformance(t *testing.T) {
	for language, wasm := range guests(t) {
		t.Run(language, func(t *testing.T) {
			if err := check(t.Context(), wasm, filepath.Join("..", "testdata", "abi")); err != nil {
				t.Error(err)
			}
		})
	}
}

// guests returns the conformance guests, by language.
func guests(t *testing.T) map[string][]byte {
	t.Helper()
	all := map[string][]byte{"go": plugintest.Build(t, "guest")}
	for _, language := range plugintest.Languages {
		dir := filepath.Join("..", language, "conformance")
		all[language] = plugintest.BuildIn(t, language, dir, dir)
	}
	return all
}
