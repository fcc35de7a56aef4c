package module_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/sdk/module"
)

var empty = []byte("\x00asm\x01\x00\x00\x00")

func TestCustomSections(t *testing.T) {
	wasm := module.Append(module.Append(module.Append(empty, "a", []byte("first")), "b", nil), "a", make([]byte, 300))
	got, err := module.Custom(wasm, "a")
	if diff := cmp.Diff([][]byte{[]byte("first"), make([]byte, 300)}, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
	if got, err := module.Custom(wasm, "c"); got != nil || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for n := range wasm {
		if n == len(empty) || n == len(module.Append(empty, "a", []byte("first"))) || n == len(module.Append(module.Append(empty, "a", []byte("first")), "b", nil)) {
			continue
		}
		if _, err := module.Custom(wasm[:n], "a"); !errors.Is(err, module.ErrMalformed) {
			t.Errorf("the first %d bytes: %v", n, err)
		}
	}
}

// A plugin's schema is beside it, or in the folder above that its languages share.
func TestSchema(t *testing.T) {
	dir := t.TempDir()
	inner := filepath.Join(dir, "go")
	if err := os.Mkdir(inner, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ file, want string }{{"", ""}, {dir, "above"}, {inner, "beside"}} {
		if c.file != "" {
			if err := os.WriteFile(filepath.Join(c.file, module.SchemaFile), []byte(c.want), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := module.Schema(inner); string(got) != c.want || err != nil {
			t.Errorf("%q, %v, want %q", got, err, c.want)
		}
	}
}

func FuzzCustom(f *testing.F) {
	f.Add(module.Append(empty, "gatehouse.schema", []byte("{}")))
	f.Add([]byte("\x00asm\x01\x00\x00\x00\x00\xff\xff\xff\xff\x0f"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = module.Custom(b, "gatehouse.schema")
	})
}
