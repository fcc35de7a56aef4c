// Package plugins holds the plugins that ship with the gate, compiled.
package plugins

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

//go:generate go run gatehouse/sdk/build -o wasm/approve.wasm ./approve
//go:generate go run gatehouse/sdk/build -o wasm/classify.wasm ./classify
//go:generate go run gatehouse/sdk/build -o wasm/guard.wasm ./guard
//go:generate go run gatehouse/sdk/build -o wasm/mask.wasm ./mask

//go:embed wasm
var modules embed.FS

// Names are the plugins that ship, in order.
var Names = []string{"approve", "classify", "guard", "mask"}

// Builtin returns the module of a plugin that ships.
func Builtin(name string) ([]byte, error) {
	if !slices.Contains(Names, name) {
		return nil, fmt.Errorf("no plugin %q ships with the gate, only %s", name, strings.Join(Names, ", "))
	}
	b, err := modules.ReadFile("wasm/" + name + ".wasm")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("plugin %s was not compiled into this program; run: go tool task build", name)
	}
	return b, err
}
