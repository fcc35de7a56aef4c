package host

import (
	"context"
	"crypto/rand"
	"encoding/binary"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"gatehouse/plugins/host/fuel"
)

// Errors of WASI.
const (
	wasiSuccess = 0
	wasiBadFile = 8
	wasiFault   = 21
)

// What host functions charge.
const (
	costWrite     = 200 // and for each buffer a tenth
	costSubscribe = 50
)

// A world is what of a guest's surroundings changes with what it does. It goes
// back to what it was when the guest does.
type world struct {
	clock, watch uint64 // how often they were read
	random       uint64
}

// clockStart is when the clock starts, in seconds since 1970: 2022.
const clockStart = 1640995200

const readingTakes = 1_000_000 // nanoseconds

func (w *world) walltime() (sec int64, nsec int32) {
	w.clock++
	t := w.clock * readingTakes
	return clockStart + int64(t/1e9), int32(t % 1e9)
}

func (w *world) nanotime() int64 {
	w.watch++
	return int64(w.watch * readingTakes)
}

// next returns the next random number (splitmix64).
func (w *world) next() uint64 {
	w.random += 0x9e3779b97f4a7c15
	z := w.random
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// instantiateHost makes what guests may import: WASI, in which what takes a
// length is charged by it and nothing has state but a guest's world, and the
// function of the fuel.
func instantiateHost(ctx context.Context, r wazero.Runtime) error {
	wasi := r.NewHostModuleBuilder(wasi_snapshot_preview1.ModuleName)
	wasi_snapshot_preview1.NewFunctionExporter().ExportFunctions(wasi)
	i32 := api.ValueTypeI32
	for _, f := range []struct {
		name   string
		params int
		call   func(*instance, api.Memory, []uint64) uint64
	}{
		{"random_get", 2, randomGet},
		{"fd_write", 4, fdWrite},
		{"poll_oneoff", 4, pollOneoff},
		{"fd_close", 1, standardFile},
		{"fd_fdstat_set_flags", 2, standardFile},
		{"fd_renumber", 2, func(*instance, api.Memory, []uint64) uint64 { return wasiBadFile }},
	} {
		params := make([]api.ValueType, f.params)
		for i := range params {
			params[i] = i32
		}
		wasi.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, m api.Module, stack []uint64) {
			stack[0] = f.call(calling(ctx), m.Memory(), stack)
		}), params, []api.ValueType{i32}).Export(f.name)
	}
	if _, err := wasi.Instantiate(ctx); err != nil {
		return err
	}
	i64 := []api.ValueType{api.ValueTypeI64}
	_, err := r.NewHostModuleBuilder(fuel.TickModule).NewFunctionBuilder().
		WithGoFunction(api.GoFunc(func(ctx context.Context, stack []uint64) {
			stack[0] = uint64(calling(ctx).tick(int64(stack[0])))
		}), i64, i64).Export(fuel.Tick).Instantiate(ctx)
	return err
}

func randomGet(in *instance, m api.Memory, stack []uint64) uint64 {
	n := uint32(stack[1])
	in.spend(costWrite + int64(n)/4)
	b, ok := m.Read(uint32(stack[0]), n)
	if !ok {
		return wasiFault
	}
	if in.limits.Random {
		_, _ = rand.Read(b) // it never fails
		return wasiSuccess
	}
	for len(b) > 0 {
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], in.world.next())
		b = b[copy(b, word[:]):]
	}
	return wasiSuccess
}

func fdWrite(in *instance, m api.Memory, stack []uint64) uint64 {
	if fd := uint32(stack[0]); fd != 1 && fd != 2 {
		return wasiBadFile
	}
	n := uint32(stack[2])
	in.spend(costWrite + int64(n)*costWrite/10)
	if n > 1<<28 {
		return wasiFault
	}
	vectors, ok := m.Read(uint32(stack[1]), n*8)
	if !ok {
		return wasiFault
	}
	written := uint32(0)
	for ; len(vectors) > 0; vectors = vectors[8:] {
		b, ok := m.Read(binary.LittleEndian.Uint32(vectors), binary.LittleEndian.Uint32(vectors[4:]))
		if !ok {
			return wasiFault
		}
		in.output.write(b)
		written += uint32(len(b))
	}
	if !m.WriteUint32Le(uint32(stack[3]), written) {
		return wasiFault
	}
	return wasiSuccess
}

// pollOneoff says of everything that it has happened.
func pollOneoff(in *instance, m api.Memory, stack []uint64) uint64 {
	const subscription, event = 48, 32
	n := uint32(stack[2])
	in.spend(costWrite + int64(n)*costSubscribe)
	if n == 0 || n > 1<<24 {
		return wasiFault
	}
	subscriptions, ok1 := m.Read(uint32(stack[0]), n*subscription)
	events, ok2 := m.Read(uint32(stack[1]), n*event)
	if !ok1 || !ok2 || !m.WriteUint32Le(uint32(stack[3]), n) {
		return wasiFault
	}
	for i := range int(n) {
		s, e := subscriptions[i*subscription:], events[i*event:]
		user, tag := binary.LittleEndian.Uint64(s), s[8]
		clear(e[:event])
		binary.LittleEndian.PutUint64(e, user)
		e[10] = tag
	}
	return wasiSuccess
}

// standardFile does nothing to the files that there are.
func standardFile(_ *instance, _ api.Memory, stack []uint64) uint64 {
	if uint32(stack[0]) > 2 {
		return wasiBadFile
	}
	return wasiSuccess
}
