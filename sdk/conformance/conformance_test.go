package main

import (
	"path/filepath"
	"testing"

	"gatehouse/plugins/plugintest"
)

// Every SDK passes.
func TestConformance(t *testing.T) {
	for _, language := range plugintest.Languages {
		t.Run(language, func(t *testing.T) {
			dir := filepath.Join("..", language, "conformance")
			wasm := plugintest.BuildIn(t, language, dir, dir)
			if err := check(t.Context(), wasm, filepath.Join("..", "testdata", "abi")); err != nil {
				t.Error(err)
			}
		})
	}
}
