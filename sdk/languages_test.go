package sdk_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"gatehouse/plugins/cases"
	"gatehouse/plugins/host"
	"gatehouse/plugins/plugintest"
	"gatehouse/sdk/module"
)

// sources are what the plugins of the READMEs are called in their commands.
var sources = map[string]string{"c": "plugin.c", "rust": "plugin.rs", "assemblyscript": "plugin.ts"}

var block = regexp.MustCompile("(?s)```(\\w+)\n(.*?)```")

// The plugin in each language's README does what it says, built as it says.
func TestReadmes(t *testing.T) {
	sdk, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	file, err := cases.Parse([]byte(`
cases:
  - {name: reading, request: {statements: [{kind: SELECT}]}, verdict: {action: allow}}
  - name: emptying
    request: {statements: [{kind: SELECT}, {kind: TRUNCATE TABLE}]}
    verdict: {action: block, rule: no-truncate, reason: tables are not emptied here}
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, language := range plugintest.Languages {
		t.Run(language, func(t *testing.T) {
			readme, err := os.ReadFile(filepath.Join(language, "README.md"))
			if err != nil {
				t.Fatal(err)
			}
			blocks := block.FindAllSubmatch(readme, -1)
			if len(blocks) < 2 || string(blocks[1][1]) != "sh" {
				t.Fatal("the README does not begin with a plugin and how to compile it")
			}
			dir := t.TempDir()
			if err := os.Symlink(sdk, filepath.Join(dir, "sdk")); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, sources[language]), blocks[0][2], 0o644); err != nil {
				t.Fatal(err)
			}
			sh := exec.Command("sh", "-ec", string(blocks[1][2]))
			sh.Dir = dir
			if language == "rust" {
				sh.Env = append(os.Environ(), "PATH="+filepath.Dir(rustc(t))+":"+os.Getenv("PATH"))
			}
			if said, err := sh.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			wasm, err := os.ReadFile(filepath.Join(dir, "plugin.wasm"))
			if err != nil {
				t.Fatal(err)
			}
			results, err := file.Run(t.Context(), plugintest.Host(t, host.Options{}), wasm)
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

// A plugin without std builds as others do, with the oldest compiler that there is.
func TestRustWithoutStd(t *testing.T) {
	dir := t.TempDir()
	const source = `#![no_std]

extern crate alloc;

use alloc::{format, string::String};
use gatehouse::*;

struct Longest(u64);

impl Plugin for Longest {
    const HOOKS: u32 = REQUEST;

    fn configure(config: &Config) -> Result<Self, String> {
        config.json.get("bytes").and_then(Json::number).map(Longest).ok_or_else(|| String::from("bytes are missing"))
    }

    fn request(&self, _: &Session, r: &Request) -> Verdict {
        match r.payload.len() as u64 {
            0 => panic!("there is nothing"),
            n if n > self.0 => Verdict::block("longest", format!("{} bytes are more than {}", n, self.0)),
            _ => Verdict::allow(),
        }
    }
}

plugin!(Longest);
`
	if err := os.WriteFile(filepath.Join(dir, "plugin.rs"), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	file, err := cases.Parse([]byte(`
config: {bytes: 8}
cases:
  - {name: short, request: {payload: SELECT 1}, verdict: allow}
  - {name: long, request: {payload: SELECT 10}, verdict: {action: block, reason: 9 bytes are more than 8}}
  - {name: none, request: {payload: ""}, fails: trapped}
  - {name: unconfigured, config: {}, fails: bytes are missing}
`))
	if err != nil {
		t.Fatal(err)
	}
	results, err := file.Run(t.Context(), plugintest.Host(t, host.Options{}), plugintest.BuildIn(t, "rust", dir, dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Err != nil {
			t.Errorf("%s: %v", r.Name, r.Err)
		}
	}
}

func rustc(t *testing.T) string {
	t.Helper()
	name, err := module.Rustc(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// The crate is one for Cargo too, which runs its tests.
func TestCargo(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("rust")); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Dir(rustc(t))
	for _, args := range [][]string{{"build", "--target", "wasm32-unknown-unknown"}, {"test"}} {
		cargo := exec.Command(filepath.Join(bin, "cargo"), append(args, "--offline")...)
		cargo.Dir = dir
		cargo.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "RUSTFLAGS=-D warnings")
		if said, err := cargo.CombinedOutput(); err != nil {
			t.Errorf("%v: %v\n%s", cargo, err, said)
		}
	}
}
