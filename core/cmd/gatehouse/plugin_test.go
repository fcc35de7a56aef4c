package main

import (
	"context"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"aead.dev/minisign"

	"gatehouse/core/peers"
)

// said runs a command line and returns its exit code and all that it printed.
func said(t *testing.T, args ...string) (code int, text string) {
	t.Helper()
	code, out, err := gatehouse(t, args...)
	return code, out + err
}

func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	code, text := said(t, args...)
	if code != 0 {
		t.Fatalf("gatehouse %s: exit %d\n%s", strings.Join(args, " "), code, text)
	}
	return text
}

// A plugin of each language, as it is written, builds, is taken and does what its
// cases say.
func TestNewPlugins(t *testing.T) {
	t.Setenv("GOPROXY", "off")
	asc, err := filepath.Abs("../../../sdk/assemblyscript/node_modules/.bin")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", asc+string(filepath.ListSeparator)+os.Getenv("PATH"))
	for _, lang := range languageNames() {
		t.Run(lang, func(t *testing.T) {
			dir := t.TempDir()
			mustRun(t, "plugin", "new", "tellers", "--lang", lang, "--dir", dir)
			dir = filepath.Join(dir, "tellers")
			module := filepath.Join(dir, "tellers.wasm")
			mustRun(t, "plugin", "build", dir)
			text := mustRun(t, "plugin", "check", module, "--settings", filepath.Join(dir, "settings.yaml"))
			if !strings.Contains(text, "uses configure, on_request, on_head.") || !strings.Contains(text, "the module carries one") {
				t.Errorf("check says:\n%s", text)
			}
			if text := mustRun(t, "plugin", "test", module); !strings.HasSuffix(text, "5 cases passed, 0 failed\n") {
				t.Errorf("test says:\n%s", text)
			}
			if code, text := said(t, "plugin", "check", module); code == 0 || !strings.Contains(text, "column") {
				t.Errorf("without its settings: exit %d\n%s", code, text)
			}
			checkLinks(t, dir)
			if code, text := said(t, "plugin", "new", "tellers", "--lang", lang, "--dir", filepath.Dir(dir)); code != exitUsage || !strings.Contains(text, "Nothing is overwritten") {
				t.Errorf("once more: exit %d\n%s", code, text)
			}
			bench := mustRun(t, "plugin", "bench", module, "--settings", filepath.Join(dir, "settings.yaml"), "--time", "5ms")
			for _, want := range []string{"a request", "a cell of 1 row", "a cell of 1000 rows", "to load", "memory"} {
				if !strings.Contains(bench, want) {
					t.Errorf("bench does not tell %q:\n%s", want, bench)
				}
			}
		})
	}
}

// checkLinks checks that what a plugin's documents lead to is there.
func checkLinks(t *testing.T, dir string) {
	t.Helper()
	documents, err := filepath.Glob(filepath.Join(dir, "gatehouse", "*.md"))
	if err != nil || len(documents) != 3 {
		t.Errorf("documents: %v, %v", documents, err)
	}
	for _, file := range append(documents, filepath.Join(dir, "README.md")) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range links.FindAllSubmatch(text, -1) {
			target, _, _ := strings.Cut(string(m[2]), "#")
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), target)); !strings.Contains(target, "://") && err != nil {
				t.Errorf("%s leads to %s", file, target)
			}
		}
	}
}

// A plugin that goes by the time is not taken without a clock, and its cases say what
// the clock tells.
func TestPluginThatNeedsTheClock(t *testing.T) {
	t.Setenv("GOPROXY", "off")
	asc, err := filepath.Abs("../../../sdk/assemblyscript/node_modules/.bin")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", asc+string(filepath.ListSeparator)+os.Getenv("PATH"))
	for lang, source := range map[string]struct{ file, text string }{
		"go": {"main.go", `package main

import (
	"time"

	"gatehouse/sdk"
)

type plugin struct{ sdk.NeedsClock }

func (plugin) Judge(_ *sdk.Session, r *sdk.Request) sdk.Verdict {
	if hour := time.Now().UTC().Hour(); hour < 9 || hour >= 17 {
		return sdk.Verdict{Rule: "hours/closed"}
	}
	return sdk.Verdict{Action: sdk.Allow}
}

func init() { sdk.Register(plugin{}) }
func main() {}
`},
		"c": {"plugin.c", `#include "gatehouse.h"

static gh_verdict judge(const gh_session *s, const gh_request *r) {
	(void)s, (void)r;
	int64_t hour = gh_now() / 1000000000 / 3600 % 24;
	if (hour < 9 || hour >= 17) return (gh_verdict){.rule = GH("hours/closed")};
	return (gh_verdict){.action = GH_ALLOW};
}

const gh_plugin gatehouse = {.clock = true, .request = judge};
`},
		"rust": {"plugin.rs", `use gatehouse::*;

struct Hours;

impl Plugin for Hours {
    const HOOKS: u32 = REQUEST | CLOCK;

    fn configure(_: &Config) -> Result<Self, String> {
        Ok(Hours)
    }

    fn request(&self, _: &Session, _: &Request) -> Verdict {
        match now() / 1_000_000_000 / 3600 % 24 {
            9..=16 => Verdict::allow(),
            _ => Verdict::block("hours/closed", ""),
        }
    }
}

plugin!(Hours);
`},
		"assemblyscript": {"plugin.ts", `import { Hook, now, Plugin, register, Request, Session, Verdict } from "./gatehouse/assembly";

export * from "./gatehouse/assembly/guest";

class Hours extends Plugin {
  request(session: Session, request: Request): Verdict {
    const hour = (now() / 1000000000 / 3600) % 24;
    return hour < 9 || hour >= 17 ? Verdict.block("hours/closed", "") : Verdict.allow();
  }
}

register(new Hours(), Hook.request | Hook.clock);
`},
	} {
		t.Run(lang, func(t *testing.T) {
			dir := t.TempDir()
			mustRun(t, "plugin", "new", "hours", "--lang", lang, "--dir", dir)
			dir = filepath.Join(dir, "hours")
			cases := `
cases:
  - {name: open, clock: 2026-03-02T09:30:00Z, request: {sql: "UPDATE a SET b = 1"}, verdict: allow}
  - {name: closed, clock: 2026-03-02T17:00:00Z, request: {sql: "UPDATE a SET b = 1"}, verdict: {action: block, rule: hours/closed}}
`
			for file, text := range map[string]string{source.file: source.text, "schema.json": "{}", "cases.yaml": cases} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			module := filepath.Join(dir, "hours.wasm")
			if err := os.RemoveAll(filepath.Join(dir, "main_test.go")); err != nil {
				t.Fatal(err)
			}
			mustRun(t, "plugin", "build", dir)
			if code, text := said(t, "plugin", "check", module); code == 0 || !strings.Contains(text, "needs the grant clock") || !strings.Contains(text, "--grant clock") {
				t.Errorf("exit %d\n%s", code, text)
			}
			mustRun(t, "plugin", "check", module, "--grant", "clock")
			if code, text := said(t, "plugin", "check", module, "--grant", "files"); code != exitUsage {
				t.Errorf("exit %d\n%s", code, text)
			}
			if text := mustRun(t, "plugin", "test", module); !strings.Contains(text, "2 cases passed") {
				t.Error(text)
			}
			timeless := filepath.Join(dir, "timeless.jsonl")
			if err := os.WriteFile(timeless, []byte(`{"request": {"sql": "SELECT 1"}, "verdict": "allow"}`), 0o600); err != nil {
				t.Fatal(err)
			}
			if code, text := said(t, "plugin", "test", module, "--cases", timeless); code != exitFailed || !strings.Contains(text, "Say in the cases what the clock tells") {
				t.Errorf("exit %d\n%s", code, text)
			}
		})
	}
}

func TestPluginTestSaysWhatFails(t *testing.T) {
	dir := t.TempDir()
	mustRun(t, "plugin", "new", "tellers", "--dir", dir)
	dir = filepath.Join(dir, "tellers")
	mustRun(t, "plugin", "build", dir)
	cases := filepath.Join(dir, "more.jsonl")
	if err := os.WriteFile(cases, []byte(`{"config": {"column": "a.b.c", "kind": "SELECT"}, "request": {"sql": "SELECT 1"}, "verdict": "allow"}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, text := said(t, "plugin", "test", filepath.Join(dir, "tellers.wasm"), "--cases", cases)
	if code != exitFailed || !strings.Contains(text, "action: got block") || !strings.Contains(text, "0 cases passed, 1 failed") {
		t.Errorf("exit %d\n%s", code, text)
	}
}

func TestPluginSign(t *testing.T) {
	dir := t.TempDir()
	key, module := filepath.Join(dir, "plugins"), filepath.Join(dir, "tellers.wasm")
	if err := os.WriteFile(module, []byte("\x00asm\x01\x00\x00\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "plugin", "sign", "--new-key", key)
	mustRun(t, "plugin", "sign", module, "--key", "file:"+key+".key")
	public, err := minisign.PublicKeyFromFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	signature, err := os.ReadFile(module + ".minisig")
	if err != nil {
		t.Fatal(err)
	}
	wasm, err := os.ReadFile(module)
	if err != nil || !minisign.Verify(public, wasm, signature) || minisign.Verify(public, append(wasm, 0), signature) {
		t.Errorf("the signature is not one of the module alone: %v\n%s", err, signature)
	}
	for _, args := range [][]string{
		{"plugin", "sign", "--new-key", key},
		{"plugin", "sign", module},
		{"plugin", "sign", module, "--key", "file:" + key + ".pub"},
		{"plugin", "sign", module, "--key", key + ".key"},
	} {
		if code, text := said(t, args...); code == 0 {
			t.Errorf("%v: %s", args, text)
		}
	}
}

// commands are the blocks of shell in a text.
var commands = regexp.MustCompile("(?s)```sh\n(.*?)```")

// What the guide tells a reader to type works, in its order.
func TestFirstPluginGuide(t *testing.T) {
	guide, err := os.ReadFile("../../../sdk/FIRST.md")
	if err != nil {
		t.Fatal(err)
	}
	pg := peers.NewPostgres(t, peers.PostgresOptions{Version: 15})
	if err := pg.CreateDatabase(t.Context(), "shop", ""); err != nil {
		t.Fatal(err)
	}
	if err := pg.Exec(t.Context(), "shop", "CREATE TABLE customers (id int, email text); INSERT INTO customers VALUES (1, 'ann@example.com'), (2, NULL)"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "bin", "gatehouse")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	script := "set -eu\n"
	for _, block := range commands.FindAllSubmatch(guide, -1) {
		script += string(block[1])
	}
	text := shell(t, t.Context(), dir, script, "PATH="+filepath.Dir(program)+":"+os.Getenv("PATH"), "DATABASE="+pg.URL("shop"), "GOPROXY=off")
	for _, want := range []string{"5 cases passed, 0 failed", "6 cases passed, 0 failed", "verdict: allow", "1   ann@example.com", "1   [redacted]", "2   NULL", "Wrote tellers.wasm.minisig"} {
		if !strings.Contains(text, want) {
			t.Errorf("the commands do not print %q:\n%s", want, text)
		}
	}
	if !regexp.MustCompile(`sha256 +` + strings.Repeat(`[0-9a-f]`, hex.EncodedLen(32))).MatchString(text) {
		t.Error("no digest is printed")
	}
}

func shell(t *testing.T, ctx context.Context, dir, script string, env ...string) string {
	t.Helper()
	c := exec.CommandContext(ctx, "bash", "-c", script)
	c.Dir, c.Env = dir, append(os.Environ(), env...)
	text, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return string(text)
}
