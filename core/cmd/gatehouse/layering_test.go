package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// A layer is a set of units: a folder with all packages below it. Packages
// import only what is in lower layers, or of their own unit.
var layers = [][]string{
	{"core/event", "core/poll"},
	{"core/protect", "core/detect"},
	{"core/lineage", "core/pipeline", "core/policy", "core/quota", "core/approval", "core/identity", "core/peers", "recorder", "sdk"},
	{"core/proxy", "plugins/host", "recorder/s3", "console", "plugins"},
	{"protocols/postgres", "plugins/plugintest", "plugins/cases", "sdk/sdktest"},
	{"core/cmd", "bench", "examples"},
}

// Guests run inside WebAssembly: of the module they import the SDK alone.
var guests = []string{
	"plugins/approve", "plugins/classify", "plugins/guard", "plugins/mask", "examples/nightshift",
	"examples/plugins/mask-field/go", "examples/plugins/block-fact/go", "examples/plugins/hold-risk/go",
	"examples/plugins/detect-content/go", "examples/plugins/shadow/go",
}

const modulePath = "gatehouse"

// place returns the unit of a package and its layer. The longest unit counts.
func place(path string) (unit string, layer int) {
	path = strings.TrimPrefix(path, modulePath+"/")
	layer = -1
	for i, units := range layers {
		for _, u := range units {
			if (path == u || strings.HasPrefix(path, u+"/")) && len(u) > len(unit) {
				unit, layer = u, i
			}
		}
	}
	return unit, layer
}

type listed struct {
	ImportPath string
	Doc        string
	GoFiles    []string
	Imports    []string
}

// packages returns the module's packages as the go command lists them. It is
// asked as for WebAssembly too, since guests build for nothing else.
func packages(t *testing.T, env ...string) []listed {
	t.Helper()
	c := exec.Command("go", "list", "-e", "-json=ImportPath,Doc,GoFiles,Imports", modulePath+"/...")
	c.Env = append(c.Environ(), env...)
	out, err := c.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		if len(p.GoFiles) > 0 {
			all = append(all, p)
		}
	}
}

func TestLayering(t *testing.T) {
	all := append(packages(t), packages(t, "GOOS=wasip1", "GOARCH=wasm")...)
	if len(all) < 10 {
		t.Fatalf("only %d packages", len(all))
	}
	for _, p := range all {
		unit, layer := place(p.ImportPath)
		if layer < 0 {
			t.Errorf("%s is in no layer", p.ImportPath)
		}
		guest := slices.Contains(guests, strings.TrimPrefix(p.ImportPath, modulePath+"/"))
		for _, i := range p.Imports {
			if !strings.HasPrefix(i, modulePath+"/") {
				continue
			}
			if guest {
				if i != modulePath+"/sdk" && i != modulePath+"/core/event" {
					t.Errorf("%s is a guest and imports %s", p.ImportPath, i)
				}
				continue
			}
			of, below := place(i)
			if of != unit && below >= layer {
				t.Errorf("%s (layer %d) imports %s (layer %d)", p.ImportPath, layer, i, below)
			}
		}
	}
}

func TestPackagesHaveDocComments(t *testing.T) {
	for _, p := range append(packages(t), packages(t, "GOOS=wasip1", "GOARCH=wasm")...) {
		if p.Doc == "" {
			t.Errorf("%s has no doc comment", p.ImportPath)
		}
	}
}

// core/event is for guests too: it imports the standard library alone.
func TestVocabularyStandsAlone(t *testing.T) {
	for _, p := range packages(t) {
		if p.ImportPath != modulePath+"/core/event" {
			continue
		}
		for _, i := range p.Imports {
			if strings.Contains(i, ".") || strings.HasPrefix(i, modulePath) {
				t.Errorf("core/event imports %s", i)
			}
		}
		return
	}
	t.Fatal("there is no core/event")
}
