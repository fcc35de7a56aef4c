package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/sdk/module"
)

// A language is one that plugins are written in.
type language struct {
	name string
	main string // the file that a plugin in it has
	// needs says how to get what building takes.
	needs string
	// command compiles the plugin in the working directory. Nil is Go, which
	// has a package for that.
	command func(out string) []string
}

var languages = []language{
	{name: "go", main: "main.go", needs: "Install Go 1.26 or newer."},
	{
		name: "c", main: "plugin.c", needs: "Install clang and lld.",
		command: func(out string) []string {
			return []string{"clang", "--target=wasm32", "-std=c11", "-Os", "-mbulk-memory", "-ffreestanding", "-nostdlib", "-Wall", "-Wextra",
				"-Wl,--no-entry", "-I", "gatehouse", "-I", ".", "-o", out, "plugin.c", "gatehouse/gatehouse.c"}
		},
	},
}

func languageNames() (names []string) {
	for _, l := range languages {
		names = append(names, l.name)
	}
	return names
}

func newPluginBuild() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "build [DIRECTORY]",
		Short: "Compile a plugin's source to a module",
		Long: `Compile a plugin's source to a module, with the compiler of its language: ` + strings.Join(languageNames(), ", ") + `.
Where the directory has a schema.json, it becomes part of the module: the JSON
Schema by which the gate checks the plugin's configuration.`,
		Example: `  gatehouse plugin build tellers
  gatehouse plugin build -o /etc/gatehouse/tellers.wasm`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 1 {
				return arguments("DIRECTORY")(c, args)
			}
			return nil
		},
	}
	c.Flags().StringVarP(&out, "output", "o", "", "the module's `file` (default: DIRECTORY.wasm in the directory)")
	c.RunE = func(c *cobra.Command, args []string) error {
		dir := "."
		if len(args) > 0 {
			dir = args[0]
		}
		dir, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		if out == "" {
			out = filepath.Join(dir, filepath.Base(dir)+".wasm")
		}
		if out, err = filepath.Abs(out); err != nil {
			return err
		}
		if err := buildPlugin(c, dir, out); err != nil {
			return err
		}
		info, err := os.Stat(out)
		if err == nil {
			_, err = fmt.Fprintf(c.OutOrStdout(), "Wrote %s, %d bytes.\n", out, info.Size())
		}
		return err
	}
	return c
}

// buildPlugin compiles the plugin in dir.
func buildPlugin(c *cobra.Command, dir, out string) error {
	i := slices.IndexFunc(languages, func(l language) bool {
		_, err := os.Stat(filepath.Join(dir, l.main))
		return err == nil
	})
	if i < 0 {
		var files []string
		for _, l := range languages {
			files = append(files, l.main)
		}
		return usage(advise(fmt.Errorf("%s has no plugin: none of %s", dir, strings.Join(files, ", ")), "gatehouse plugin new NAME writes one."))
	}
	l := languages[i]
	var wasm []byte
	var err error
	if l.command == nil {
		wasm, err = module.Build(c.Context(), dir)
	} else {
		wasm, err = l.build(c.Context(), dir)
	}
	if errors.Is(err, exec.ErrNotFound) {
		return advise(fmt.Errorf("a plugin in %s needs a compiler that is not there: %w", l.name, err), "%s", l.needs)
	}
	if err != nil {
		return err
	}
	return os.WriteFile(out, wasm, 0o644)
}

// build compiles the plugin in dir with the command of its language. A schema.json
// becomes part of the module, unless the compiler has seen to it.
func (l *language) build(ctx context.Context, dir string) ([]byte, error) {
	temporary, err := os.MkdirTemp("", "gatehouse-plugin-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temporary)
	out := filepath.Join(temporary, "plugin.wasm")
	args := l.command(out)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = dir
	if said, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, said)
	}
	wasm, err := os.ReadFile(out)
	if err != nil {
		return nil, err
	}
	schema, err := os.ReadFile(filepath.Join(dir, module.SchemaFile))
	if errors.Is(err, os.ErrNotExist) {
		return wasm, nil
	}
	if err != nil {
		return nil, err
	}
	has, err := module.Custom(wasm, module.SchemaSection)
	if err != nil || len(has) > 0 {
		return wasm, err
	}
	return module.Append(wasm, module.SchemaSection, schema), nil
}
