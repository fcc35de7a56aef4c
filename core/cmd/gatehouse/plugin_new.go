package main

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/spf13/cobra"

	"gatehouse/core/event"
	"gatehouse/plugins/cases"
	"gatehouse/sdk"
	"gatehouse/sdk/module"
)

// scaffold has a plugin in each language, as templates.
//
//go:embed all:scaffold
var scaffold embed.FS

// sdkFolder is where a plugin has the SDK that it is compiled with.
const sdkFolder = "gatehouse"

// pluginNames are those that are names of a module, a folder and an identifier in
// every language.
var pluginNames = regexp.MustCompile(`^[a-z][a-z0-9]{0,31}$`)

func newPluginNew() *cobra.Command {
	var lang, dir string
	c := &cobra.Command{
		Use:   "new NAME",
		Short: "Write a plugin to begin with",
		Long: `Write a plugin to begin with, in a new directory NAME: one that masks a column and
blocks a kind of statement, with its configuration's schema, cases and a test. It
builds as it is, without this program's source and without a network: the SDK is
copied beside it.`,
		Example: `  gatehouse plugin new tellers --lang go
  gatehouse plugin build tellers
  gatehouse plugin test tellers/tellers.wasm`,
		Args: arguments("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			if !pluginNames.MatchString(args[0]) {
				return usage(fmt.Errorf("%q is no name for a plugin: it takes up to 32 lower-case letters and digits, a letter first", args[0]))
			}
			if !slices.Contains(languageNames(), lang) {
				return usage(fmt.Errorf("--lang %q is none of %s", lang, strings.Join(languageNames(), ", ")))
			}
			to := filepath.Join(dir, args[0])
			if err := writePlugin(to, args[0], lang); err != nil {
				return err
			}
			l := module.Languages[slices.Index(languageNames(), lang)]
			_, err := fmt.Fprintf(c.OutOrStdout(), "Wrote %s. It takes %s. Next:\n  gatehouse plugin build %s\n  gatehouse plugin test %s\n", to, l.Needs, to, filepath.Join(to, args[0]+".wasm"))
			return err
		},
	}
	c.Flags().StringVar(&lang, "lang", "go", "`language`: "+strings.Join(languageNames(), ", "))
	c.Flags().StringVar(&dir, "dir", ".", "`directory` in which the plugin's is made")
	return c
}

// writePlugin writes the plugin of a language to a new directory.
func writePlugin(to, name, lang string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(to, 0o755); errors.Is(err, fs.ErrExist) {
		return usage(advise(err, "Nothing is overwritten. Choose another name, or another --dir."))
	} else if err != nil {
		return err
	}
	values := struct{ Name string }{name}
	for _, from := range []string{"scaffold/all", "scaffold/" + lang} {
		err := fs.WalkDir(scaffold, from, func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			t, err := template.New(file).Delims("<<", ">>").ParseFS(scaffold, file)
			if err != nil {
				return err
			}
			var b strings.Builder
			if err := t.ExecuteTemplate(&b, path.Base(file), values); err != nil {
				return err
			}
			rest := strings.TrimSuffix(strings.TrimPrefix(file, from+"/"), ".tmpl")
			return writeNew(filepath.Join(to, filepath.FromSlash(rest)), []byte(b.String()))
		})
		if err != nil {
			return err
		}
	}
	return errors.Join(copySDK(filepath.Join(to, sdkFolder), lang), copyDocs(filepath.Join(to, sdkFolder), lang))
}

// copyDocs copies what is written for authors of plugins in a language.
func copyDocs(to, lang string) error {
	about := "sdk/README.md"
	if lang != "go" {
		about = path.Join("sdk", lang, "README.md")
	}
	for from, name := range map[string]string{about: "README.md", "sdk/ABI.md": "ABI.md", "plugins/cases/README.md": "CASES.md"} {
		text := cases.Readme
		if of, is := strings.CutPrefix(from, "sdk/"); is {
			var err error
			if text, err = sdk.Source.ReadFile(of); err != nil {
				return err
			}
		}
		if err := writeNew(filepath.Join(to, name), relink(text, path.Dir(from), path.Join("sdk", lang))); err != nil {
			return err
		}
	}
	return nil
}

var links = regexp.MustCompile(`\[([^\]]*)\]\(([^)]*)\)`)

// relink has links of a text, which is in folder dir, lead to where a plugin has what
// they lead to: what was in the folder of the SDK is beside the text. A link to what a
// plugin has not becomes its text.
func relink(text []byte, dir, source string) []byte {
	return links.ReplaceAllFunc(text, func(link []byte) []byte {
		m := links.FindSubmatch(link)
		target, fragment, _ := strings.Cut(string(m[2]), "#")
		if target == "" || strings.Contains(target, "://") {
			return link
		}
		if fragment != "" {
			fragment = "#" + fragment
		}
		switch target = path.Join(dir, target); target {
		case "sdk/ABI.md":
			return fmt.Appendf(nil, "[%s](ABI.md%s)", m[1], fragment)
		case "plugins/cases", "plugins/cases/README.md":
			return fmt.Appendf(nil, "[%s](CASES.md%s)", m[1], fragment)
		}
		file, is := strings.CutPrefix(target, source+"/")
		if _, err := fs.Stat(sdk.Source, strings.TrimPrefix(target, "sdk/")); !is || err != nil {
			return m[1]
		}
		return fmt.Appendf(nil, "[%s](%s)", m[1], file)
	})
}

// copySDK copies what a plugin in a language is compiled with.
func copySDK(to, lang string) error {
	if lang == "go" {
		return errors.Join(copySource(filepath.Join(to, "sdk"), sdk.Source), copySource(filepath.Join(to, "core", "event"), event.Source))
	}
	source, err := fs.Sub(sdk.Source, lang)
	if err != nil {
		return err
	}
	return copySource(to, source)
}

// copySource copies source, of Go that of one package without its tests.
func copySource(to string, source fs.FS) error {
	return fs.WalkDir(source, ".", func(file string, d fs.DirEntry, err error) error {
		_, packaged := source.(embed.FS)
		switch {
		case err != nil:
			return err
		case d.IsDir() && packaged && file != ".":
			return fs.SkipDir
		case d.IsDir() || strings.HasSuffix(file, "_test.go") || file == "source.go" || path.Ext(file) == ".md":
			return nil
		}
		b, err := fs.ReadFile(source, file)
		if err != nil {
			return err
		}
		return writeNew(filepath.Join(to, filepath.FromSlash(file)), b)
	})
}

func writeNew(file string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o644)
}
