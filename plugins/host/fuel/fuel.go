// Package fuel rewrites WebAssembly modules so that they count what they do.
// What a module computes stays the same; what it may take is bounded, equally
// on a busy machine and on an idle one, and with no clock.
//
// A rewritten module has two counters, globals that its host sets and that its
// own code cannot name. Fuel pays for instructions: the entry of a function and
// the header of a loop charge what is certain to follow them, and points behind
// branches charge what depends on those. Bulk operations charge by length,
// before they begin. When a loop or a bulk operation finds no fuel left it
// calls the host, Tick, for more; that is also when the host's scheduler and
// garbage collector get their turn. A function's entry does not call, since a
// call there would cost every function its registers: it traps once Overdraft
// is used up too. Stack pays for the frames of functions that call others; one
// that finds none left traps.
//
// A start section becomes the export Start, for the host to call once it has
// set the counters. Globals that can change are exported, so that a host can
// put them back. Custom sections are left out.
//
// Ordinary code takes 10 to 30 per cent longer for it, calls of tiny functions
// 80, and the shortest of loops, of two cycles a turn, twice as long; the
// runtime's own check of a context takes 3 to 30 times (BenchmarkWork).
package fuel

import (
	"bytes"
	"errors"
	"fmt"
)

// Names that a rewritten module imports and exports. A module that already has
// an import or an export that begins with Prefix is refused.
const (
	Prefix = "gatehouse."

	// TickModule and Tick name the function (i64) -> (i64) that gets the
	// fuel that is left, a negative number, and returns how much there is
	// from then on. To stop the guest it panics.
	TickModule = Prefix + "host"
	Tick       = "tick"

	Fuel   = Prefix + "fuel"   // the i64 that counts fuel
	Stack  = Prefix + "stack"  // the i64 that counts stack
	Start  = Prefix + "start"  // the function of the start section, if any
	global = Prefix + "global" // and its index: a global that can change
)

// Overdraft is how much fuel functions may use that come by no loop, after
// there was none left.
const Overdraft = 10_000_000

// Global returns the export of the i-th of the globals that can change.
func Global(i int) string { return fmt.Sprint(global, i) }

// Limits bound the modules that are rewritten, since compiling takes time and
// memory that grow faster than what is compiled. Modules beyond them are
// refused.
type Limits struct {
	Module int // bytes of the module
	Body   int // bytes of one function's body
	Table  int // elements of one table
}

// Limits that are no options.
const (
	MaxLocals  = 10_000 // parameters and locals of a function
	MaxResults = 32     // of a function or a block
	MaxItems   = 50_000 // of a section: types, imports, functions, globals, exports, segments

	// MaxComplexity is a measure of a module's blocks, branches and locals,
	// by which a compiler's time grows: about ten seconds.
	MaxComplexity = 200_000_000
)

// A Module is a rewritten one.
type Module struct {
	Wasm    []byte
	Globals int  // that can change
	Start   bool // it exports Start

	// Keeps says that the module changes no table and drops no segment, and
	// that those of its globals that can change are numbers: memory and
	// globals are all the state that it has, and can be put back.
	Keeps bool
}

// ErrMalformed is what is wrong with what is no WebAssembly module.
var ErrMalformed = errors.New("not a WebAssembly module")

var magic = []byte("\x00asm\x01\x00\x00\x00")

// Rewrite rewrites a module. It does not find everything that makes a module
// invalid, but what is valid stays so, and what is not does not become valid.
func Rewrite(wasm []byte, l Limits) (*Module, error) {
	if len(wasm) > l.Module {
		return nil, fmt.Errorf("module of %d bytes is larger than %d", len(wasm), l.Module)
	}
	if !bytes.HasPrefix(wasm, magic) {
		return nil, ErrMalformed
	}
	m := module{limits: l, keeps: true}
	if err := m.read(wasm[len(magic):]); err != nil {
		return nil, err
	}
	out, err := m.write()
	if err != nil {
		return nil, err
	}
	return &Module{Wasm: out, Globals: len(m.mutable), Start: m.hasStart, Keeps: m.keeps}, nil
}
