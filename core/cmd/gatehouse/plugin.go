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
func pluginHost(ctx context.Context) (*host.Host, error) {
	var o host.Options
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

// settingsFlag adds --settings, a plugin's configuration.
func settingsFlag(c *cobra.Command) *string {
	return c.Flags().String("settings", "", "the plugin's configuration, a YAML or JSON `file`")
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
	settings := settingsFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		return withModule(c.Context(), args[0], *settings, func(h *host.Host, wasm, config []byte) error {
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

// withModule calls f with a host, the module in a file, and its configuration, which
// is in another file if that has a name.
func withModule(ctx context.Context, file, settings string, f func(h *host.Host, wasm, config []byte) error) (err error) {
	wasm, err := loadModule(file)
	if err != nil {
		return err
	}
	config, err := pluginConfig(settings)
	if err != nil {
		return err
	}
	h, err := pluginHost(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close(ctx)) }()
	return f(h, wasm, config)
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
	clean := make([]string, len(list))
	for i, s := range list {
		clean[i] = oneLine(s)
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
the module unless --cases names others; plugins/cases/README.md says how they
are written.`,
		Example: `  gatehouse plugin test tellers.wasm
  gatehouse plugin test tellers.wasm --cases last-week.jsonl --cases odd.yaml`,
		Args: arguments("MODULE"),
	}
	c.Flags().StringArrayVar(&files, "cases", nil, "`file` of cases, YAML or JSON Lines; may be given several times")
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(files) == 0 {
			files = []string{filepath.Join(filepath.Dir(args[0]), "cases.yaml")}
		}
		return withModule(c.Context(), args[0], "", func(h *host.Host, wasm, _ []byte) error {
			analyzer := statement.NewAnalyzer(statement.Limits{Instances: 1})
			passed, failed := 0, 0
			w := c.OutOrStdout()
			for _, file := range files {
				f, err := readCases(file)
				if err != nil {
					return err
				}
				f.Statements = func(ctx context.Context, sql string) ([]event.Statement, error) {
					facts, err := analyzer.Analyze(ctx, sql)
					if err != nil {
						return nil, err
					}
					return facts.Statements, nil
				}
				results, err := f.Run(c.Context(), h, wasm)
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
				}
			}
			fmt.Fprintf(w, "%s passed, %d failed\n", count(passed, "case"), failed)
			if failed > 0 {
				return fmt.Errorf("%s of %s failed", count(failed, "case"), args[0])
			}
			return nil
		})
	}
	return c
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
