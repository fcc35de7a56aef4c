package host

import (
	"errors"
	"fmt"
	"slices"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// The sections of a module that are checked before it is compiled.
const (
	sectionTable = 4
	sectionCode  = 10
)

var moduleHeader = []byte("\x00asm\x01\x00\x00\x00")

var errMalformedModule = errors.New("not a WebAssembly module")

// checkModule refuses modules that would be costly to compile or to start.
// Whether a module is valid is for the compiler to say.
func checkModule(wasm []byte) error {
	if len(wasm) > MaxModule {
		return fmt.Errorf("module of %d bytes is larger than %d", len(wasm), MaxModule)
	}
	if len(wasm) < len(moduleHeader) || !slices.Equal(wasm[:len(moduleHeader)], moduleHeader) {
		return errMalformedModule
	}
	r := reader{wasm[len(moduleHeader):]}
	for len(r.b) > 0 {
		id := r.b[0]
		r.b = r.b[1:]
		section, ok := r.bytes()
		if !ok {
			return errMalformedModule
		}
		if err := checkSection(id, reader{section}); err != nil {
			return err
		}
	}
	return nil
}

func checkSection(id byte, r reader) error {
	var check func(*reader) error
	switch id {
	case sectionTable:
		check = checkTable
	case sectionCode:
		check = checkBody
	default:
		return nil
	}
	n, ok := r.u32()
	if !ok {
		return errMalformedModule
	}
	for range n {
		if err := check(&r); err != nil {
			return err
		}
	}
	return nil
}

func checkTable(r *reader) error {
	if len(r.b) < 2 {
		return errMalformedModule
	}
	r.b = r.b[1:] // the type of its elements
	limited, ok1 := r.u32()
	size, ok2 := r.u32()
	if !ok1 || !ok2 {
		return errMalformedModule
	}
	if size > MaxTable {
		return fmt.Errorf("table of %d elements is larger than %d", size, MaxTable)
	}
	if limited&1 != 0 {
		if _, ok := r.u32(); !ok {
			return errMalformedModule
		}
	}
	return nil
}

func checkBody(r *reader) error {
	body, ok := r.bytes()
	if !ok {
		return errMalformedModule
	}
	if len(body) > MaxBody {
		return fmt.Errorf("function body of %d bytes is larger than %d", len(body), MaxBody)
	}
	return nil
}

// A reader reads the binary format of modules.
type reader struct{ b []byte }

// u32 reads a number in LEB128.
func (r *reader) u32() (v uint32, ok bool) {
	for shift := 0; shift < 35; shift += 7 {
		if len(r.b) == 0 {
			return 0, false
		}
		c := r.b[0]
		r.b = r.b[1:]
		if shift == 28 && c > 0x0f {
			return 0, false
		}
		v |= uint32(c&0x7f) << shift
		if c&0x80 == 0 {
			return v, true
		}
	}
	return 0, false
}

// bytes reads a length and that many bytes.
func (r *reader) bytes() ([]byte, bool) {
	n, ok := r.u32()
	if !ok || uint64(n) > uint64(len(r.b)) {
		return nil, false
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v, true
}

// A signature is what an exported function must look like.
type signature struct {
	name            string
	params, results []api.ValueType
	required        bool
}

var (
	i32 = api.ValueTypeI32
	i64 = api.ValueTypeI64

	exported = append([]signature{
		{"abi_version", nil, []api.ValueType{i32}, true},
		{"buffer", []api.ValueType{i32}, []api.ValueType{i32}, true},
		{"_initialize", nil, nil, false},
		{"hooks", nil, []api.ValueType{i32}, false},
	}, hookSignatures()...)
)

func hookSignatures() (all []signature) {
	for h := range hookCount {
		all = append(all, signature{h.String(), []api.ValueType{i32}, []api.ValueType{i64}, false})
	}
	return all
}

// checkInterface compares a module's imports and exports with the ABI and
// names everything that differs.
func checkInterface(code wazero.CompiledModule) error {
	var errs []error
	for _, f := range code.ImportedFunctions() {
		if module, name, _ := f.Import(); module != "wasi_snapshot_preview1" {
			errs = append(errs, fmt.Errorf("imports %s.%s: only wasi_snapshot_preview1 may be imported", module, name))
		}
	}
	for _, m := range code.ImportedMemories() {
		module, name, _ := m.Import()
		errs = append(errs, fmt.Errorf("imports memory %s.%s: it must have its own", module, name))
	}
	if _, ok := code.ExportedMemories()["memory"]; !ok {
		errs = append(errs, errors.New("misses export memory"))
	}
	exports := code.ExportedFunctions()
	for _, h := range exported {
		f, ok := exports[h.name]
		switch {
		case !ok && h.required:
			errs = append(errs, fmt.Errorf("misses export %s%s", h.name, types(h.params, h.results)))
		case ok && !(slices.Equal(f.ParamTypes(), h.params) && slices.Equal(f.ResultTypes(), h.results)):
			errs = append(errs, fmt.Errorf("exports %s%s instead of %s%s", h.name, types(f.ParamTypes(), f.ResultTypes()), h.name, types(h.params, h.results)))
		}
	}
	if exports["on_request"] == nil && exports["on_head"] == nil && exports["on_upload"] == nil && exports["on_end"] == nil {
		errs = append(errs, errors.New("exports none of "+purposes))
	}
	return errors.Join(errs...)
}

func types(params, results []api.ValueType) string {
	list := func(ts []api.ValueType) string {
		s := "("
		for i, t := range ts {
			if i > 0 {
				s += ", "
			}
			s += api.ValueTypeName(t)
		}
		return s + ")"
	}
	return list(params) + " -> " + list(results)
}
