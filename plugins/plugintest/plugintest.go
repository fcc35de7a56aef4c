// Package plugintest compiles plugins and runs them in the host, for tests.
package plugintest

import (
	"os"
	"path/filepath"
	"testing"

	"gatehouse/core/pipeline"
	"gatehouse/plugins/host"
	"gatehouse/sdk/module"
)

// Build compiles the Go program in dir to a plugin.
func Build(t testing.TB, dir string) []byte {
	t.Helper()
	b, err := module.Build(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Host returns a host for the duration of a test. Unless o names a cache it has
// one that all tests share, since compiling takes the race detector long.
func Host(t testing.TB, o host.Options) *host.Host {
	t.Helper()
	if cache, err := os.UserCacheDir(); err == nil && o.CacheDir == "" {
		o.CacheDir = filepath.Join(cache, "gatehouse", "test-plugins")
	}
	h, err := host.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	return h
}

// Load compiles the plugin in the current directory and loads it with config.
func Load(t testing.TB, config string) *host.Plugin {
	t.Helper()
	p, err := Host(t, host.Options{}).Load(t.Context(), "plugin", Build(t, "."), []byte(config))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Judge returns p as a Judge.
func Judge(t testing.TB, p *host.Plugin) pipeline.Judge {
	t.Helper()
	j := p.Roles().Judge
	if j == nil {
		t.Fatal("the plugin is no Judge")
	}
	return j
}

// Masker returns p as a Masker.
func Masker(t testing.TB, p *host.Plugin) pipeline.Masker {
	t.Helper()
	m := p.Roles().Masker
	if m == nil {
		t.Fatal("the plugin is no Masker")
	}
	return m
}
