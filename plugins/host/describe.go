package host

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/tetratelabs/wazero"

	"gatehouse/plugins/host/fuel"
	"gatehouse/sdk/module"
)

// A Description is what a module says of itself before it runs.
type Description struct {
	Digest [32]byte // SHA-256
	Size   int      // in bytes
	// Functions is how many bodies the module has, and Largest is the size of
	// the largest, in bytes.
	Functions, Largest int
	// Memory is what it asks for, and MaxMemory what it allows itself at most,
	// in bytes. MaxMemory is 0 where it sets no bound of its own.
	Memory, MaxMemory int64
	Imports           []string // "module.function"
	Hooks             []string // that it exports; which of them it uses, Plugin.Hooks tells
	Schema            bool     // it carries the schema of its configuration
}

// Describe returns what a module says of itself, without running any of it. The
// error names all that keeps the host from loading it, as far as that shows before
// it runs; the description is as full as the module is readable.
func (h *Host) Describe(ctx context.Context, wasm []byte) (*Description, error) {
	d := &Description{Digest: sha256.Sum256(wasm), Size: len(wasm)}
	d.measure(wasm)
	counted, err := h.rewrite(wasm)
	if err != nil {
		return d, err
	}
	code, err := h.runtime.CompileModule(ctx, counted.Wasm)
	if err != nil {
		return d, fmt.Errorf("compile: %s", brief(err.Error()))
	}
	d.add(code)
	return d, errors.Join(checkInterface(code), code.Close(ctx))
}

func (d *Description) add(code wazero.CompiledModule) {
	for _, f := range code.ImportedFunctions() {
		if module, name, _ := f.Import(); module != fuel.TickModule {
			d.Imports = append(d.Imports, module+"."+name)
		}
	}
	for _, m := range code.ImportedMemories() {
		module, name, _ := m.Import()
		d.Imports = append(d.Imports, module+"."+name)
	}
	slices.Sort(d.Imports)
	d.Imports = slices.Compact(d.Imports)
	for name := range code.ExportedFunctions() {
		if slices.Contains(hookNames[:], name) {
			d.Hooks = append(d.Hooks, name)
		}
	}
	slices.SortFunc(d.Hooks, func(a, b string) int { return slices.Index(hookNames[:], a) - slices.Index(hookNames[:], b) })
	if m := code.ExportedMemories()["memory"]; m != nil {
		d.Memory = int64(m.Min()) * pageSize
		if most, bounded := m.Max(); bounded {
			d.MaxMemory = int64(most) * pageSize
		}
	}
}

// measure finds the module's bodies and its schema, as far as it is readable.
func (d *Description) measure(wasm []byte) {
	_ = module.Sections(wasm, func(id byte, section []byte) error {
		const code = 10
		if id != code {
			return nil
		}
		_, at := binary.Uvarint(section)
		for at > 0 && at < len(section) {
			size, n := binary.Uvarint(section[at:])
			if n <= 0 || size > uint64(len(section)-at-n) {
				break
			}
			at += n + int(size)
			d.Functions, d.Largest = d.Functions+1, max(d.Largest, int(size))
		}
		return nil
	})
	found, _ := module.Custom(wasm, module.SchemaSection)
	d.Schema = len(found) > 0
}
