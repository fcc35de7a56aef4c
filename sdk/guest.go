//go:build wasip1

package sdk

import (
	"unsafe"

	"gatehouse/core/event"
)

// The guest's side of the ABI. A guest has one thread: these variables are the
// memory that the host writes inputs to and reads answers from.
var (
	in      []byte
	out     []byte
	edits   []Edit
	batch   Batch
	session Session
	request Request
	head    Head
)

const (
	failed     = -1
	maxMessage = 4 << 10 // bytes of an error of Configure
)

//go:wasmexport abi_version
func abiVersion() int32 { return ABIVersion }

//go:wasmexport hooks
func hooks() int32 { return hooksOf(registered) }

//go:wasmexport buf
func buf(n uint32) uint32 {
	if uint32(cap(in)) < n {
		in = make([]byte, n)
	}
	in = in[:cap(in)]
	return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(in))))
}

func answer() int64 {
	return int64(uintptr(unsafe.Pointer(unsafe.SliceData(out))))<<32 | int64(len(out))
}

// input returns the first n bytes of the buffer and the m that follow, and
// whether there are so many.
func input(n, m uint32) (a, b []byte, ok bool) {
	if uint64(n)+uint64(m) > uint64(len(in)) {
		return nil, nil, false
	}
	return in[:n:n], in[n : n+m : n+m], true
}

//go:wasmexport configure
func configure(n uint32) int64 {
	config, _, ok := input(n, 0)
	c, is := registered.(Configurer)
	if !ok || !is {
		return failed
	}
	out = out[:0]
	if err := c.Configure(config); err != nil {
		out = append(out, err.Error()...)
		out = out[:min(len(out), maxMessage)]
	}
	return answer()
}

//go:wasmexport judge
func judge(n, m uint32) int64 {
	s, r, ok := input(n, m)
	j, is := registered.(Judge)
	if !ok || !is || session.Decode(s) != nil || request.Decode(r) != nil {
		return failed
	}
	v := j.Judge(&session, &request)
	out = v.Append(out[:0])
	return answer()
}

//go:wasmexport treat
func treat(n, m uint32) int64 {
	s, h, ok := input(n, m)
	k, is := registered.(Masker)
	if !ok || !is || session.Decode(s) != nil || head.Decode(h) != nil {
		return failed
	}
	out = event.AppendTreatments(out[:0], k.Treat(&session, &head))
	return answer()
}

//go:wasmexport inspect
func inspect(n uint32) int64 {
	p, _, ok := input(n, 0)
	i, is := registered.(Inspector)
	if !ok || !is || batch.Decode(p) != nil {
		return failed
	}
	edits = i.Inspect(edits[:0], &batch)
	if batch.Err() != nil {
		return failed
	}
	out = event.AppendEdits(out[:0], edits)
	return answer()
}
