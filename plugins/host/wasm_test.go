package host_test

import (
	"encoding/binary"
	"slices"
)

// Types of values in the binary format.
const (
	i32 byte = 0x7f
	i64 byte = 0x7e
)

// Instructions.
const (
	opUnreachable = 0x00
	opBlock       = 0x02
	opLoop        = 0x03
	opIf          = 0x04
	opEnd         = 0x0b
	opBr          = 0x0c
	opBrIf        = 0x0d
	opBrTable     = 0x0e
	opReturn      = 0x0f
	opCall        = 0x10
	opDrop        = 0x1a
	opLocalGet    = 0x20
	opMemorySize  = 0x3f
	opMemoryGrow  = 0x40
	opI32Const    = 0x41
	opI64Const    = 0x42
	opI32Ne       = 0x47
	opI32GtU      = 0x4b
	opI64Const0   = 0x00
	opNoResult    = 0x40
	opMore        = 0xfc
	opMemoryInit  = 8
	opDataDrop    = 9
)

// A function of a module under construction. Without a body it is imported from
// the module that from names.
type function struct {
	name            string
	params, results []byte
	body            []byte
	from            string
}

// A module in the making, exported functions and one memory.
type module struct {
	functions []function
	pages     int64  // of memory; none if negative
	table     uint32 // elements of a table, if any
	elements  int    // of the table, all the first function
	start     string // the function of the start section
	data      []byte // at dataAt
	locals    int    // of type i32, of each function

	countData bool // it counts its segments of data
	passive   bool // it has one that does nothing, the first
}

const dataAt = 1024

// bytes assembles m.
func (m module) bytes() []byte {
	b := []byte("\x00asm\x01\x00\x00\x00")
	var types, imports, defined, exports, code [][]byte
	for i, f := range m.functions {
		types = append(types, slices.Concat([]byte{0x60}, counted(f.params), counted(f.results)))
		index := leb(uint64(i))
		if f.from != "" {
			imports = append(imports, slices.Concat(counted([]byte(f.from)), counted([]byte(f.name)), []byte{0x00}, index))
			continue
		}
		defined = append(defined, index)
		locals := []byte{0}
		if m.locals > 0 {
			locals = append(append([]byte{1}, leb(uint64(m.locals))...), i32)
		}
		code = append(code, counted(slices.Concat(locals, f.body, []byte{opEnd})))
		exports = append(exports, slices.Concat(counted([]byte(f.name)), []byte{0x00}, index))
	}
	b = section(b, 1, types)
	b = section(b, 2, imports)
	b = section(b, 3, defined)
	if m.table > 0 {
		b = section(b, 4, [][]byte{slices.Concat([]byte{0x70, 0x00}, leb(uint64(m.table)))})
	}
	if m.pages >= 0 {
		b = section(b, 5, [][]byte{slices.Concat([]byte{0x00}, leb(uint64(m.pages)))})
		exports = append(exports, slices.Concat(counted([]byte("memory")), []byte{0x02, 0x00}))
	}
	b = section(b, 7, exports)
	if i := slices.IndexFunc(m.functions, func(f function) bool { return f.name == m.start }); m.start != "" {
		b = append(append(b, 8), counted(leb(uint64(i)))...)
	}
	if m.elements > 0 {
		b = section(b, 9, [][]byte{slices.Concat([]byte{0x00, opI32Const, 0, opEnd}, leb(uint64(m.elements)), make([]byte, m.elements))})
	}
	var data [][]byte
	if m.passive {
		data = append(data, append([]byte{0x01}, counted(allow)...))
	}
	if m.data != nil {
		at := slices.Concat([]byte{0x00, opI32Const}, sleb(dataAt), []byte{opEnd})
		data = append(data, append(at, counted(m.data)...))
	}
	if m.countData {
		b = append(b, 12, 1, byte(len(data)))
	}
	b = section(b, 10, code)
	b = section(b, 11, data)
	return b
}

func section(b []byte, id byte, items [][]byte) []byte {
	if len(items) == 0 {
		return b
	}
	return append(append(b, id), counted(slices.Concat(leb(uint64(len(items))), slices.Concat(items...)))...)
}

func counted(b []byte) []byte { return append(leb(uint64(len(b))), b...) }

func leb(v uint64) []byte { return binary.AppendUvarint(nil, v) }

func sleb(v int64) (b []byte) {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func i32Const(v int64) []byte { return append([]byte{opI32Const}, sleb(v)...) }

func i64Const(v int64) []byte { return append([]byte{opI64Const}, sleb(v)...) }

// reply returns the packed result for n bytes at ptr.
func reply(ptr, n int) []byte { return i64Const(int64(ptr)<<32 | int64(n)) }

// without returns functions but for the one called name.
func without(functions []function, name string) []function {
	return slices.DeleteFunc(slices.Clone(functions), func(f function) bool { return f.name == name })
}

// with returns functions with f in place of the one of its name, or added.
func with(functions []function, f function) []function {
	return append(without(functions, f.name), f)
}
