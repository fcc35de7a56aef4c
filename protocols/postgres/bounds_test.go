package postgres

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"gatehouse/core/event"
)

// What names keep is counted, so that few of them, or many small ones, cannot
// take more than the limit: neither parameters that are NULL nor the formats of
// results are for nothing.
func TestWhatNamesKeepIsCounted(t *testing.T) {
	const each = 60_000
	body := append([]byte("p\x00s\x00"), 0, 0, each>>8, each&0xff)
	body = append(append(body, bytes.Repeat([]byte{0xff}, 4*each)...), each>>8, each&0xff)
	m, err := decodeBind(append(body, make([]byte, 2*each)...))
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	q := newQueue()
	const limit = 8 << 20
	n := 0
	for ; !q.full(DefaultPrepared, limit); n++ {
		params, _ := (&session{}).paramTexts(&m, &prepared{}, DefaultParameters)
		p := &portal{req: &event.Request{Params: params}, formats: string(m.results)}
		p.measure()
		q.define(&owed{kind: 'B', name: strings.Repeat("n", n%60) + string(rune('a'+n%26)), portal: p})
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if took := int64(after.HeapAlloc) - int64(before.HeapAlloc); took > 2*limit {
		t.Errorf("%d portals took %d bytes, %d allowed", n, took, limit)
	}
	runtime.KeepAlive(q)
}

// P02, P11: memory follows what came, not what was announced.
func TestP02P11AnnouncedBytesTakeNoMemory(t *testing.T) {
	const n = 1000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var readers [n]*reader
	for i := range readers {
		readers[i] = newReader(strings.NewReader("p\x03\xff\xff\xff1"), DefaultMessageSize)
		if _, err := readers[i].next(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / n; each > 2*minBuffer {
		t.Errorf("each of %d announcements of 64 MiB took %d bytes", n, each)
	}
	runtime.KeepAlive(&readers)
}

// P03: a value or a row that would not fit its length word is an error, never a
// length that wraps around.
func TestP03LengthsDoNotWrap(t *testing.T) {
	if got, err := appendValue(nil, nil); err != nil || !bytes.Equal(got, []byte{0xff, 0xff, 0xff, 0xff}) {
		t.Errorf("NULL is %x, %v", got, err)
	}
	for _, size := range []int64{-1, 0, frameHeader - 1, maxFrame + 1, 1 << 31, 1<<32 + 5, 1<<32 + 1<<20, 1 << 62} {
		if f := []byte("D0000"); setLength(f, size) == nil || string(f) != "D0000" {
			t.Errorf("a message of %d bytes got the length %x", size, f[1:])
		}
	}
	if f := []byte("D0000"); setLength(f, maxFrame) != nil || string(f) != "D\x3f\xff\xff\xff" {
		t.Errorf("the longest message got the length %x", f[1:])
	}
	// What lies behind a message that ends inside its own values is a message
	// of its own, which is judged, or a violation: the reader goes by lengths
	// alone.
	r := newReader(strings.NewReader("B\x00\x00\x00\x0e\x00\x00\x00\x00\x00\x01\x00\x00\x00\x64Q\x00\x00\x00\x11DROP TABLE t\x00"), DefaultMessageSize)
	f, err := r.next()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decodeBind(f[frameHeader:]); err == nil {
		t.Error("a Bind that ends inside a value was read")
	}
	if f, err = r.next(); err != nil || f[0] != 'Q' {
		t.Errorf("behind it: %q, %v", f, err)
	}
}
