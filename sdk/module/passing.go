package module

import (
	"encoding/binary"
	"slices"

	"gatehouse/core/event"
	"gatehouse/sdk"
)

// Passing returns a module that allows every request and passes every result of so
// many fields: the least that a plugin can be, to compare others with.
func Passing(fields int) []byte {
	verdict := event.AppendSection(nil, event.SectionVerdict, (&event.Verdict{Action: event.Allow}).Append(nil))
	treatments := event.AppendSection(nil, event.SectionTreatments, event.AppendTreatments(nil, slices.Repeat([]event.Treatment{{Kind: event.Pass}}, fields)))
	const (
		at     = 1024     // where the answers are
		buffer = 64 << 10 // where inputs go
		pages  = 64       // of memory
	)
	leb := binary.AppendUvarint
	sleb := func(b []byte, v int64) []byte {
		for {
			c := byte(v & 0x7f)
			v >>= 7
			if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
				return append(b, c)
			}
			b = append(b, c|0x80)
		}
	}
	counted := func(b []byte) []byte { return append(leb(nil, uint64(len(b))), b...) }
	vector := func(items ...[]byte) []byte { return append(leb(nil, uint64(len(items))), slices.Concat(items...)...) }
	const i32, i64, end = 0x7f, 0x7e, 0x0b
	functions := []struct {
		name   string
		kind   byte // index of its type
		result int64
	}{
		{"abi_version", 0, sdk.ABIVersion}, {"buffer", 1, buffer},
		{"on_request", 2, at<<32 | int64(len(verdict))}, {"on_head", 2, int64(at+len(verdict))<<32 | int64(len(treatments))},
	}
	types := vector([]byte{0x60, 0, 1, i32}, []byte{0x60, 1, i32, 1, i32}, []byte{0x60, 1, i32, 1, i64})
	exports := [][]byte{slices.Concat(counted([]byte("memory")), []byte{2, 0})}
	var kinds, bodies [][]byte
	for i, f := range functions {
		op := byte(0x41) // i32.const
		if f.kind == 2 {
			op = 0x42
		}
		kinds = append(kinds, []byte{f.kind})
		exports = append(exports, slices.Concat(counted([]byte(f.name)), []byte{0, byte(i)}))
		bodies = append(bodies, counted(append(sleb([]byte{0, op}, f.result), end)))
	}
	data := slices.Concat(sleb([]byte{0, 0x41}, at), []byte{end}, counted(slices.Concat(verdict, treatments)))
	module := []byte("\x00asm\x01\x00\x00\x00")
	for _, s := range []struct {
		id       byte
		contents []byte
	}{
		{1, types}, {3, vector(kinds...)}, {5, vector(leb([]byte{0}, pages))}, {7, vector(exports...)}, {10, vector(bodies...)}, {11, vector(data)},
	} {
		module = append(append(module, s.id), counted(s.contents)...)
	}
	return module
}
