package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"gatehouse/core/event"
	"gatehouse/plugins/cases"
	"gatehouse/plugins/host"
	"gatehouse/protocols/postgres/statement"
)

func newPlugin() *cobra.Command {
	c := &cobra.Command{
		Use:   "plugin",
		Short: "Write, build, try and sign plugins",
		Long: `Write, build, try and sign plugins: WebAssembly modules that judge requests and
mask responses. None of these commands needs a gate.`,
		Example: `  gatehouse plugin new tellers --lang go
  gatehouse plugin build tellers
  gatehouse plugin test tellers/tellers.wasm
  gatehouse plugin bench tellers/tellers.wasm`,
		Args: func(_ *cobra.Command, args []string) error { return unknownVerb(args) },
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newPluginNew(), newPluginBuild(), newPluginCheck(), newPluginTest(), newPluginBench(), newPluginRun(), newPluginSign())
	return c
}

// pluginHost returns a host for a command, which keeps what it compiles for the
// next one.
func pluginHost(ctx context.Context, o host.Options) (*host.Host, error) {
	if cache, err := os.UserCacheDir(); err == nil {
		o.CacheDir = filepath.Join(cache, "gatehouse", "plugins")
	}
	return host.New(ctx, o)
}

// loadModule reads a module.
func loadModule(file string) ([]byte, error) {
	b, err := readUpTo(file, host.DefaultModule)
	if errors.Is(err, os.ErrNotExist) {
		err = usage(advise(err, "gatehouse plugin build makes a module of a plugin's source."))
	}
	return b, err
}

// pluginConfig reads a plugin's configuration, YAML or JSON, from a file; none is
// the empty one.
func pluginConfig(file string) ([]byte, error) {
	if file == "" {
		return []byte("{}"), nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, usage(err)
	}
	settings := map[string]any{}
	if err := yaml.Unmarshal(b, &settings); err != nil {
		return nil, usage(fmt.Errorf("%s: %w", file, err))
	}
	return json.Marshal(settings)
}

// A moduleFlags is what a command takes beside a module: its configuration, and what
// it is granted.
type moduleFlags struct {
	settings string
	grants   []string
}

func (f *moduleFlags) addSettings(c *cobra.Command) {
	c.Flags().StringVar(&f.settings, "settings", "", "the plugin's configuration, a YAML or JSON `file`")
}

func (f *moduleFlags) addGrants(c *cobra.Command) {
	c.Flags().StringSliceVar(&f.grants, "grant", nil, "a `grant`, clock or random, as the gate's configuration may give it; may be given several times")
}

// options are those of a host with the grants.
func (f *moduleFlags) options() (o host.Options, err error) {
	for _, g := range f.grants {
		switch g {
		case "clock":
			o.Clock = true
		case "random":
			o.Random = true
		default:
			return o, usage(fmt.Errorf("--grant %q is neither clock nor random", g))
		}
	}
	return o, nil
}

// advised says how to give a grant that a plugin needs.
func advised(err error) error {
	if need, is := errors.AsType[*host.GrantError](err); is {
		return advise(err, "That is for the gate's configuration. Here it is --grant %s.", need.Grant)
	}
	return err
}

func newPluginCheck() *cobra.Command {
	c := &cobra.Command{
		Use:   "check MODULE",
		Short: "Say what a module is, and whether the gate takes it",
		Long: `Say what a module is, and whether the gate takes it: its digest, which pins it in
the gate's configuration, what it imports, which hooks it has, and how far it is
from the limits. Then start it with its configuration.`,
		Example: `  gatehouse plugin check tellers.wasm
  gatehouse plugin check tellers.wasm --settings tellers.yaml`,
		Args: arguments("MODULE"),
	}
	var flags moduleFlags
	flags.addSettings(c)
	flags.addGrants(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		return flags.with(c.Context(), args[0], func(h *host.Host, wasm, config []byte) error {
			w := c.OutOrStdout()
			d, err := h.Describe(c.Context(), wasm)
			describe(w, d)
			if err != nil {
				return fmt.Errorf("%s is refused: %w", args[0], err)
			}
			p, err := h.Load(c.Context(), pluginName(args[0]), wasm, config)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(w, "It starts, takes its configuration, and uses %s.\n", orNone(p.Hooks()))
			return errors.Join(err, p.Close(c.Context()))
		})
	}
	return c
}

// with calls do with a host, the module in a file, and its configuration.
func (f *moduleFlags) with(ctx context.Context, file string, do func(h *host.Host, wasm, config []byte) error) (err error) {
	wasm, err := loadModule(file)
	if err != nil {
		return err
	}
	config, err := pluginConfig(f.settings)
	if err != nil {
		return err
	}
	o, err := f.options()
	if err != nil {
		return err
	}
	h, err := pluginHost(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close(ctx)) }()
	return advised(do(h, wasm, config))
}

// pluginName is what a module in a file is called.
func pluginName(file string) string {
	return strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
}

func describe(w io.Writer, d *host.Description) {
	line := func(key, format string, args ...any) { fmt.Fprintf(w, "%-10s %s\n", key, fmt.Sprintf(format, args...)) }
	line("sha256", "%x", d.Digest)
	line("size", "%d bytes, of at most %d", d.Size, host.DefaultModule)
	line("functions", "%d, the largest of %d bytes, of at most %d", d.Functions, d.Largest, host.DefaultBody)
	memory := "as much as the gate gives it"
	if d.MaxMemory > 0 {
		memory = fmt.Sprintf("%d KiB at most", d.MaxMemory>>10)
	}
	line("memory", "%d KiB at first, %s", d.Memory>>10, memory)
	line("exports", "%s", orNone(d.Hooks))
	line("imports", "%s", orNone(d.Imports))
	schema := "none: the plugin itself checks its configuration"
	if d.Schema {
		schema = "the module carries one"
	}
	line("schema", "%s", schema)
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	const most = 32
	var clean []string
	for _, s := range list[:min(len(list), most)] {
		clean = append(clean, shorten(oneLine(s), 80))
	}
	if n := len(list) - most; n > 0 {
		clean = append(clean, fmt.Sprintf("and %d more", n))
	}
	return strings.Join(clean, ", ")
}

func newPluginTest() *cobra.Command {
	var files []string
	c := &cobra.Command{
		Use:   "test MODULE",
		Short: "Try a module on cases: requests and rows with what must become of them",
		Long: `Try a module on cases: requests and rows with what must become of them. The
module runs in the gate's own host and pipeline. The cases are in cases.yaml beside
the module unless --cases names others; gatehouse/CASES.md, in a plugin that
"plugin new" wrote, says how they are written. Where cases say what the clock
tells, that is what it does; else the plugin has one only with the grant.`,
		Example: `  gatehouse plugin test tellers.wasm
  gatehouse plugin test tellers.wasm --cases last-week.jsonl --cases odd.yaml`,
		Args: arguments("MODULE"),
	}
	c.Flags().StringArrayVar(&files, "cases", nil, "`file` of cases, YAML or JSON Lines; may be given several times")
	var flags moduleFlags
	flags.addGrants(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(files) == 0 {
			files = []string{filepath.Join(filepath.Dir(args[0]), "cases.yaml")}
		}
		wasm, err := loadModule(args[0])
		if err != nil {
			return err
		}
		o, err := flags.options()
		if err != nil {
			return err
		}
		passed, failed := 0, 0
		var clock bool // one is missing
		w := c.OutOrStdout()
		for _, file := range files {
			results, err := runCases(c.Context(), o, file, wasm)
			if err != nil {
				return err
			}
			for i, result := range results {
				if result.Err == nil {
					passed++
					continue
				}
				failed++
				fmt.Fprintf(w, "FAIL %s: case %d: %s\n%s\n", oneLine(file), i+1, oneLine(result.Name), indented(result.Err.Error()))
				need, is := errors.AsType[*host.GrantError](result.Err)
				clock = clock || is && need.Grant == "clock"
			}
		}
		fmt.Fprintf(w, "%s passed, %d failed\n", count(passed, "case"), failed)
		if failed == 0 {
			return nil
		}
		err = fmt.Errorf("%s of %s failed", count(failed, "case"), args[0])
		if clock {
			return advise(err, "Say in the cases what the clock tells, as in clock: 2026-03-02T09:30:00Z, or give the real one: --grant clock.")
		}
		return err
	}
	return c
}

// runCases runs a file of cases in a host of its own.
func runCases(ctx context.Context, o host.Options, file string, wasm []byte) (results []cases.Result, err error) {
	f, err := readCases(file)
	if err != nil {
		return nil, err
	}
	analyzer := statement.NewAnalyzer(statement.Limits{Instances: 1})
	f.Statements = func(ctx context.Context, sql string) ([]event.Statement, error) {
		facts, err := analyzer.Analyze(ctx, sql)
		if err != nil {
			return nil, err
		}
		return facts.Statements, nil
	}
	if f.Clocked() {
		o.Clock, o.Now = true, f.Now
	}
	h, err := pluginHost(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.Close(ctx)) }()
	return f.Run(ctx, h, wasm)
}

// maxCases is the size of a file of cases, in bytes.
const maxCases = 64 << 20

func readCases(file string) (*cases.File, error) {
	b, err := readUpTo(file, maxCases)
	if errors.Is(err, os.ErrNotExist) {
		return nil, usage(advise(err, "Name a file of cases with --cases FILE."))
	}
	if err != nil {
		return nil, usage(err)
	}
	parse := cases.Parse
	if strings.EqualFold(filepath.Ext(file), ".jsonl") {
		parse = cases.ParseLines
	}
	f, err := parse(b)
	if err != nil {
		return nil, usage(fmt.Errorf("%s: %w", file, err))
	}
	return f, nil
}
