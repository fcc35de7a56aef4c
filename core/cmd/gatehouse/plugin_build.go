package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/sdk/module"
)

func languageNames() (names []string) {
	for _, l := range module.Languages {
		names = append(names, l.Name)
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

// buildPlugin compiles the plugin in dir, which has the SDK in its folder gatehouse.
func buildPlugin(c *cobra.Command, dir, out string) error {
	l, err := module.LanguageOf(dir)
	if err != nil {
		return usage(advise(err, "gatehouse plugin new NAME writes one."))
	}
	wasm, err := l.Compile(c.Context(), dir, filepath.Join(dir, sdkFolder))
	if errors.Is(err, module.ErrNoCompiler) {
		return advise(err, "A plugin in %s needs %s.", l.Name, l.Needs)
	}
	if err != nil {
		return err
	}
	return os.WriteFile(out, wasm, 0o644)
}
