package plugins_test

import (
	"strings"
	"testing"

	"gatehouse/core/pipeline"
	"gatehouse/plugins"
	"gatehouse/plugins/host"
	"gatehouse/plugins/plugintest"
)

// The plugins that ship load without a configuration and are what they should
// be. They must have been compiled.
func TestBuiltin(t *testing.T) {
	h := plugintest.Host(t, host.Options{})
	for _, name := range plugins.Names {
		wasm, err := plugins.Builtin(name)
		if err != nil {
			t.Fatal(err)
		}
		p, err := h.Load(t.Context(), name, wasm, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, judge := p.Pipeline().(pipeline.Judge)
		_, masker := p.Pipeline().(pipeline.Masker)
		if judge != (name != "mask") || masker != (name == "mask") {
			t.Errorf("%s: judge %v, masker %v", name, judge, masker)
		}
	}
	if _, err := plugins.Builtin("other"); err == nil || !strings.Contains(err.Error(), "approve, classify, guard, mask") {
		t.Error(err)
	}
}
