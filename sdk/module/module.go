// Package module compiles plugins, in the languages that there are SDKs for, and
// reads and writes the custom sections of modules.
package module

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// SchemaSection is the custom section with the JSON Schema of a plugin's
// configuration.
const SchemaSection = "gatehouse.schema"

// SchemaFile is the file with it beside a plugin's source.
const SchemaFile = "schema.json"

var header = []byte("\x00asm\x01\x00\x00\x00")

// ErrMalformed is returned for what is no module.
var ErrMalformed = errors.New("not a WebAssembly module")

// Schema returns the schema of the plugin in dir: its schema.json, or that of the
// folder above, where a plugin in several languages has it, or nil.
func Schema(dir string) ([]byte, error) {
	for _, dir := range []string{dir, filepath.Join(dir, "..")} {
		schema, err := os.ReadFile(filepath.Join(dir, SchemaFile))
		if err == nil {
			return schema, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read schema: %w", err)
		}
	}
	return nil, nil
}

// Build compiles the Go program in dir to a module, as Language.Compile does.
func Build(ctx context.Context, dir string) ([]byte, error) {
	return Languages[0].Compile(ctx, dir, "")
}

// Append returns the module with a custom section at its end.
func Append(wasm []byte, name string, contents []byte) []byte {
	section := binary.AppendUvarint(nil, uint64(len(name)))
	section = append(append(section, name...), contents...)
	wasm = append(bytes.Clone(wasm), 0)
	wasm = binary.AppendUvarint(wasm, uint64(len(section)))
	return append(wasm, section...)
}

// Custom returns the contents of the custom sections of that name, in order.
func Custom(wasm []byte, name string) (found [][]byte, err error) {
	err = Sections(wasm, func(id byte, section []byte) error {
		if id != 0 {
			return nil
		}
		n, size := binary.Uvarint(section)
		if size <= 0 || n > uint64(len(section)-size) {
			return ErrMalformed
		}
		if section = section[size:]; string(section[:n]) == name {
			found = append(found, section[n:])
		}
		return nil
	})
	return found, err
}

// Sections calls f for each section of a module, in order.
func Sections(wasm []byte, f func(id byte, section []byte) error) error {
	rest, is := bytes.CutPrefix(wasm, header)
	if !is {
		return ErrMalformed
	}
	for len(rest) > 0 {
		size, n := binary.Uvarint(rest[1:])
		if n <= 0 || size > uint64(len(rest)-1-n) {
			return ErrMalformed
		}
		if err := f(rest[0], rest[1+n:1+n+int(size)]); err != nil {
			return err
		}
		rest = rest[1+n+int(size):]
	}
	return nil
}
