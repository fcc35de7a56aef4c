package module

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A Language is one in which plugins are written.
type Language struct {
	Name string
	// Main is the file that every plugin in the language has.
	Main string
	// Needs says what compiling takes, for people.
	Needs string

	compile func(*compilation) error
}

// Languages are those in which plugins are written.
var Languages = []*Language{
	{"go", "main.go", "Go 1.26 or newer", compileGo},
	{"c", "plugin.c", "clang and lld", compileC},
	{"rust", "plugin.rs", "rustc with its target wasm32-unknown-unknown (in Debian the packages rustc, lld and libstd-rust-dev-wasm32)", compileRust},
	{"assemblyscript", "plugin.ts", "asc (npm install assemblyscript in the plugin's folder)", compileAssemblyScript},
}

// LanguageOf returns the language of the plugin in dir.
func LanguageOf(dir string) (*Language, error) {
	var files []string
	for _, l := range Languages {
		_, err := os.Stat(filepath.Join(dir, l.Main))
		if err == nil {
			return l, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		files = append(files, l.Main)
	}
	return nil, fmt.Errorf("there is no plugin in %s: none of %s", dir, strings.Join(files, ", "))
}

// ErrNoCompiler is returned where what Needs says is not there.
var ErrNoCompiler = errors.New("the compiler is not there")

// Compile compiles the plugin in dir with the SDK of its language, which is in the
// folder sdk; Go finds its own. Files that the source names are looked for in
// include too. The plugin's schema, if there is one and the compiler has not put it in
// already, becomes the module's section gatehouse.schema.
func (l *Language) Compile(ctx context.Context, dir, sdk string, include ...string) (wasm []byte, err error) {
	temporary, err := os.MkdirTemp("", "gatehouse-plugin-")
	if err != nil {
		return nil, fmt.Errorf("build plugin: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temporary)) }()
	c := &compilation{ctx: ctx, dir: dir, sdk: sdk, include: include, temporary: temporary}
	if err := l.compile(c); err != nil {
		return nil, fmt.Errorf("build plugin in %s: %w", dir, err)
	}
	if wasm, err = os.ReadFile(c.out()); err != nil {
		return nil, fmt.Errorf("build plugin: %w", err)
	}
	schema, err := Schema(dir)
	if err != nil || schema == nil {
		return wasm, err
	}
	has, err := Custom(wasm, SchemaSection)
	if err == nil && len(has) == 0 {
		wasm = Append(wasm, SchemaSection, schema)
	}
	return wasm, err
}

// A compilation is of one plugin.
type compilation struct {
	ctx       context.Context
	dir, sdk  string
	include   []string
	temporary string
}

// out is where the module goes.
func (c *compilation) out() string { return filepath.Join(c.temporary, "plugin.wasm") }

// run runs a compiler in the plugin's folder.
func (c *compilation) run(env []string, name string, args ...string) error {
	cmd := exec.CommandContext(c.ctx, name, args...)
	cmd.Dir, cmd.Env = c.dir, append(os.Environ(), env...)
	said, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%s: %w", name, ErrNoCompiler)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, said)
	}
	return nil
}

func compileGo(c *compilation) error {
	return c.run([]string{"GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0"},
		"go", "build", "-trimpath", "-buildvcs=false", "-buildmode=c-shared", "-ldflags=-s -w", "-o", c.out(), ".")
}

func compileC(c *compilation) error {
	args := []string{"--target=wasm32", "-std=c11", "-Os", "-mbulk-memory", "-ffreestanding", "-nostdlib", "-Wall", "-Wextra", "-Werror", "-Wl,--no-entry"}
	for _, dir := range slices.Concat([]string{c.sdk, c.dir}, c.include) {
		args = append(args, "-I", dir)
	}
	return c.run(nil, "clang", append(args, "-o", c.out(), "plugin.c", filepath.Join(c.sdk, "gatehouse.c"))...)
}

// rustTarget is what Rust calls a module without a system.
const rustTarget = "wasm32-unknown-unknown"

func compileRust(c *compilation) error {
	rustc, err := Rustc(c.ctx)
	if err != nil {
		return err
	}
	flags := []string{"--edition", "2021", "--target", rustTarget, "-C", "opt-level=s", "-C", "panic=abort", "-D", "warnings"}
	lib := filepath.Join(c.temporary, "libgatehouse.rlib")
	if err := c.run(nil, rustc, append(slices.Clone(flags), "--crate-type", "rlib", "--crate-name", "gatehouse", "-o", lib, filepath.Join(c.sdk, "src", "lib.rs"))...); err != nil {
		return err
	}
	return c.run(nil, rustc, append(flags, "-C", "strip=debuginfo", "--crate-type", "cdylib", "--extern", "gatehouse="+lib, "-o", c.out(), "plugin.rs")...)
}

// Rustc returns a Rust compiler that compiles to WebAssembly: the first one in the
// PATH may not, beside a distribution's.
func Rustc(ctx context.Context) (string, error) {
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/bin") {
		rustc := filepath.Join(dir, "rustc")
		out, err := exec.CommandContext(ctx, rustc, "--print", "target-libdir", "--target", rustTarget).Output()
		if err != nil {
			continue
		}
		if _, err := os.Stat(strings.TrimSpace(string(out))); err == nil {
			return rustc, nil
		}
	}
	return "", fmt.Errorf("rustc for %s: %w", rustTarget, ErrNoCompiler)
}

// compileAssemblyScript takes the compiler that npm installed in the plugin's folder
// or the SDK's, or else the first one in the PATH.
func compileAssemblyScript(c *compilation) error {
	asc := "asc"
	for _, dir := range []string{c.sdk, c.dir} {
		installed := filepath.Join(dir, "node_modules", ".bin", "asc")
		if _, err := os.Stat(installed); err == nil {
			asc = installed
		}
	}
	return c.run(nil, asc, "plugin.ts", "-O", "--runtime", "minimal", "--exportStart", "_initialize", "--use", "abort=", "--pedantic", "-o", c.out())
}
