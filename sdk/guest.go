//go:build wasip1

package sdk

import (
	"bytes"
	"math"
	"runtime"
	"unsafe"

	"gatehouse/core/event"
)

// The guest's side of the ABI. A guest has one thread: these variables are the
// memory that the host writes inputs to and reads answers from.
var (
	in      []byte
	out     []byte
	message event.Message
	edits   []Edit
	batch   Batch
	session Session
	request Request
	head    Head
	outcome Outcome

	sessionBytes []byte // what session was decoded from
)

const (
	failed     = -1
	maxProblem = 4 << 10
)

//go:wasmexport abi_version
func abiVersion() int32 { return ABIVersion }

//go:wasmexport hooks
func hooks() int32 { return hooksOf(registered) }

//go:wasmexport buffer
func buffer(n uint32) uint32 {
	if uint32(cap(in)) < n {
		in = make([]byte, n)
	}
	in = in[:cap(in)]
	return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(in))))
}

// answer returns what the host gets: where out is, and how long.
func answer() int64 {
	return int64(uintptr(unsafe.Pointer(unsafe.SliceData(out))))<<32 | int64(len(out))
}

// section appends a section to out, whose contents encode appends.
func section(s event.Section, encode func([]byte) []byte) {
	var at int
	out, at = event.BeginSection(out, s)
	out = event.EndSection(encode(out), at)
}

// large is an input with which a call may leave much garbage. The collector marks on a
// goroutine of its own, which a guest has to give way to: nothing interrupts it.
const large = 4 << 10

// input decodes the first n bytes of the buffer to message, and the session in
// them, and reports whether that went well. It clears out.
func input(n uint32) bool {
	if out = out[:0]; n > large {
		runtime.Gosched()
	}
	if n > uint32(len(in)) || message.Decode(in[:n]) != nil {
		return false
	}
	s := message.Section(event.SectionSession)
	if s != nil && (sessionBytes == nil || !bytes.Equal(s, sessionBytes)) {
		sessionBytes = append(sessionBytes[:0], s...)
		if session.Session.Decode(s) != nil {
			sessionBytes = nil
			return false
		}
	}
	session.State = message.Section(event.SectionState)
	return true
}

//go:wasmexport configure
func configure(n uint32) int64 {
	if !input(n) {
		return failed
	}
	err := event.Elements(message.Section(event.SectionHost), func(tag uint64, v []byte) error {
		if tag != 1 {
			return nil
		}
		n, err := event.DecodeUint(v, math.MaxUint32)
		host = uint32(n)
		return err
	})
	if err != nil {
		return failed
	}
	if c, is := registered.(Configurer); is {
		if err := c.Configure(message.Section(event.SectionConfig)); err != nil {
			problem := err.Error()
			out = event.AppendSection(out, event.SectionProblem, []byte(problem[:min(len(problem), maxProblem)]))
			return answer()
		}
	}
	if d, is := registered.(Detecter); is {
		out = event.AppendSection(out, event.SectionDetectors, event.AppendDetectors(nil, d.Detectors()))
	}
	return answer()
}

//go:wasmexport on_open
func onOpen(n uint32) int64 {
	o, is := registered.(Opener)
	if !is || !input(n) {
		return failed
	}
	if state := o.Open(&session); len(state) > 0 {
		out = event.AppendSection(out, event.SectionState, state)
	}
	return answer()
}

//go:wasmexport on_request
func onRequest(n uint32) int64 {
	j, is := registered.(Judge)
	if !is || !input(n) || request.Decode(message.Section(event.SectionRequest)) != nil {
		return failed
	}
	v := j.Judge(&session, &request)
	section(event.SectionVerdict, v.Append)
	return answer()
}

//go:wasmexport on_head
func onHead(n uint32) int64 {
	k, is := registered.(Masker)
	if !is || !input(n) || head.Decode(message.Section(event.SectionHead)) != nil {
		return failed
	}
	ts := k.Treat(&session, &head)
	section(event.SectionTreatments, func(b []byte) []byte { return event.AppendTreatments(b, ts) })
	return answer()
}

//go:wasmexport on_rows
func onRows(n uint32) int64 {
	i, is := registered.(Inspector)
	if !is || !input(n) || batch.Decode(&message) != nil {
		return failed
	}
	edits = i.Inspect(edits[:0], &batch)
	if batch.Err() != nil {
		return failed
	}
	out = event.AppendEdits(out, edits)
	return answer()
}

//go:wasmexport on_upload
func onUpload(n uint32) int64 {
	j, is := registered.(UploadJudge)
	if !is || !input(n) || batch.Decode(&message) != nil || head.Decode(message.Section(event.SectionHead)) != nil {
		return failed
	}
	v := j.JudgeUpload(&session, &head, &batch)
	if batch.Err() != nil {
		return failed
	}
	section(event.SectionVerdict, v.Append)
	return answer()
}

//go:wasmexport on_end
func onEnd(n uint32) int64 {
	e, is := registered.(Ender)
	if !is || !input(n) || outcome.Decode(message.Section(event.SectionOutcome)) != nil {
		return failed
	}
	return noted(e.End(&session, &outcome))
}

//go:wasmexport on_close
func onClose(n uint32) int64 {
	c, is := registered.(Closer)
	if !is || !input(n) {
		return failed
	}
	return noted(c.Close(&session))
}

func noted(n *Note) int64 {
	if n != nil {
		section(event.SectionNote, n.Append)
	}
	return answer()
}
