package host

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"gatehouse/plugins/host/fuel"
)

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
	errs := foreign(code)
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

// foreign names the imports that a module may not have, the first of them if they are
// many.
func foreign(code wazero.CompiledModule) (errs []error) {
	const most = 20
	n := 0
	refuse := func(format string, args ...string) {
		if n++; n <= most {
			errs = append(errs, fmt.Errorf(format, brief(strings.Join(args, "."))))
		}
	}
	for _, f := range code.ImportedFunctions() {
		if module, name, _ := f.Import(); module != wasi_snapshot_preview1.ModuleName && module != fuel.TickModule {
			refuse("imports %s: only wasi_snapshot_preview1 may be imported", module, name)
		}
	}
	for _, m := range code.ImportedMemories() {
		module, name, _ := m.Import()
		refuse("imports memory %s: it must have its own", module, name)
	}
	if n > most {
		errs = append(errs, fmt.Errorf("and %d imports more that it may not have", n-most))
	}
	return errs
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
