package recorder

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"io/fs"
	"iter"
	"strings"
	"testing"
	"time"

	"gatehouse/core/event"
)

func samplePiece(t testing.TB, h Header, frames ...event.Frame) []byte {
	t.Helper()
	z, err := newEncoder()
	if err != nil {
		t.Fatal(err)
	}
	var b []byte
	for i := range frames {
		b = frames[i].Append(b)
	}
	h.scan(b, new(exchanges))
	h.Size = uint64(len(b))
	p, err := encodePiece(z, nil, &h, b, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func sampleFrames() []event.Frame {
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	s := event.Session{ID: "s1", Start: at}
	n := event.Notice{Code: "closed"}
	return []event.Frame{
		{Kind: event.KindOpen, Time: at, Payload: s.Append(nil)},
		{Kind: event.KindData, Time: at, Payload: bytes.Repeat([]byte("data"), 100)},
		{Kind: event.KindClose, Time: at, Payload: n.Append(nil)},
	}
}

func sampleHeader() Header {
	return Header{Session: "s1", Start: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC), Retention: "standard", Last: true}
}

// FuzzPiece reads hostile bytes as a piece: an error or frames, within bounds.
func FuzzPiece(f *testing.F) {
	good := samplePiece(f, sampleHeader(), sampleFrames()...)
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(samplePiece(f, sampleHeader()))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		h, err := readHeader(r)
		if err != nil {
			return
		}
		var again Header
		if err := again.Decode(h.Append(nil)); err != nil || again != h {
			t.Fatalf("header %+v becomes %+v: %v", h, again, err)
		}
		size := uint64(0)
		for fr, err := range bodyFrames(&h, r, nil) {
			if err != nil {
				return
			}
			if size += uint64(len(fr.Append(nil))); size > h.Size {
				t.Fatalf("more than %d bytes", h.Size)
			}
		}
		if size != h.Size {
			t.Fatalf("%d bytes of %d without an error", size, h.Size)
		}
	})
}

// FuzzCommitted holds what is read of a part's file against what was committed to
// it: of a file with anything behind it, all commits and nothing else.
func FuzzCommitted(f *testing.F) {
	f.Add([]byte("frames"), []byte("more"), []byte{1, 0, 0, 0, 5})
	f.Add([]byte{1}, []byte{2}, make([]byte, 9000))
	f.Add([]byte{1}, []byte{0}, []byte{255, 255, 255, 255, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, one, other, rest []byte) {
		b := append([]byte(nil), rest...)
		_, alone := committed(b)
		if alone > len(rest) {
			t.Fatalf("%d bytes of %d are torn", alone, len(rest))
		}
		if len(one) == 0 || len(other) == 0 {
			return // a commit has frames
		}
		for _, frames := range [][]byte{one, other} {
			b = append(make([]byte, commitHead), frames...)
			stamp([][]byte{b})
			rest = append(b, rest...)
		}
		frames, torn := committed(append([]byte(nil), rest...))
		if want := append(append([]byte(nil), other...), one...); !bytes.HasPrefix(frames, want) || torn != alone {
			t.Fatalf("frames %q, %d torn; want %q first, and %d", frames, torn, want, alone)
		}
		// Cut anywhere, a commit is there whole or not at all.
		whole := 2*commitHead + len(one) + len(other)
		for n := 0; n < whole; n += 1 + whole/1000 {
			frames, _ := committed(append([]byte(nil), rest[:n]...))
			if len(frames) != 0 && !bytes.Equal(frames, other) {
				t.Fatalf("of %d bytes: frames %q", n, frames)
			}
		}
	})
}

// FuzzEntry reads hostile bytes as a bundle of log entries.
func FuzzEntry(f *testing.F) {
	h := sampleHeader()
	e := entry{Object: h.Object(), Header: h.Append(nil)}
	leaf := e.append(nil)
	f.Add(append(binary.BigEndian.AppendUint16(nil, uint16(len(leaf))), leaf...))
	f.Fuzz(func(t *testing.T, b []byte) {
		v := &verification{sessions: make(map[string]*loggedSession), objects: make(map[Digest]string)}
		i := int64(0)
		_ = entries(b, func(leaf []byte) error {
			v.enter(i, leaf)
			i++
			return nil
		})
	})
}

// FuzzChain reads hostile bytes as a spool's chain file.
func FuzzChain(f *testing.F) {
	s := event.Session{ID: "s1"}
	l := sealed{header: sampleHeader(), size: 5, close: &event.Notice{Code: "closed"}}
	b := appendRecord(nil, func(b []byte) []byte { return event.AppendElement(b, 1, s.Append(nil)) })
	f.Add(appendRecord(b, l.append))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, links, whole, err := parseChain(b)
		if err == nil && (whole > int64(len(b)) || len(links) > len(b)) {
			t.Fatalf("%d links in %d of %d bytes", len(links), whole, len(b))
		}
	})
}

// FuzzCheckpoint reads hostile text as a checkpoint.
func FuzzCheckpoint(f *testing.F) {
	f.Add(checkpointText("gate", 5, new(tree).root()))
	f.Add("0\n0\n0000000000000000000000000000000000000000001=\n") // not canonical
	f.Fuzz(func(t *testing.T, text string) {
		origin, size, root, err := parseCheckpoint(text)
		if err == nil && !strings.HasPrefix(text, checkpointText(origin, size, root)) {
			t.Fatalf("%q is read as %q", text, checkpointText(origin, size, root))
		}
	})
}

// FuzzManifest reads hostile bytes as a manifest.
func FuzzManifest(f *testing.F) {
	s := event.Session{ID: "s1", Start: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)}
	b, err := newManifest(&s, []*sealed{{header: sampleHeader(), size: 5}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := parseManifest(b); err == nil {
			_ = m.Key()
		}
	})
}

// A memory is a store of a few objects.
type memory map[string][]byte

func (m memory) Put(context.Context, string, []byte) error             { return fs.ErrPermission }
func (m memory) Replace(context.Context, string, []byte, []byte) error { return fs.ErrPermission }

func (m memory) Get(_ context.Context, name string) (io.ReadCloser, error) {
	b, ok := m[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func (m memory) List(_ context.Context, folder string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		seen := make(map[string]bool)
		for name := range m {
			rest, ok := strings.CutPrefix(name, folder)
			if !ok {
				continue
			}
			if i := strings.IndexByte(rest, '/'); i >= 0 {
				name = folder + rest[:i+1]
			}
			if !seen[name] && !yield(name, nil) {
				return
			}
			seen[name] = true
		}
	}
}

// FuzzReader reads a recording of two hostile pieces and a hostile manifest in
// every way that there is.
func FuzzReader(f *testing.F) {
	first := sampleHeader()
	first.Last = false
	fr := sampleFrames()
	a := samplePiece(f, first, fr[:2]...)
	second := sampleHeader()
	second.Sequence, second.Previous, second.First = 1, digest(a), 2
	f.Add(a, samplePiece(f, second, fr[2]), []byte("{}"))
	f.Add(a, a, []byte(nil))
	f.Fuzz(func(t *testing.T, a, b, manifest []byte) {
		const folder = "sessions/2026/11/23/s1/"
		m := memory{folder + "000000.piece": a, folder + "000001.piece": b}
		if manifest != nil {
			m[folder+manifestName] = manifest
		}
		r := NewReader(m)
		if _, err := r.List(t.Context(), Query{}); err != nil {
			t.Fatalf("one bad recording spoils the list: %v", err)
		}
		_ = WriteJSONL(io.Discard, Transcript(r.Frames(t.Context(), "s1"), nil))
		_ = WriteText(io.Discard, Transcript(r.Frames(t.Context(), "s1"), nil))
		_ = WriteCSV(io.Discard, Transcript(r.Frames(t.Context(), "s1"), nil))
	})
}

// TestBomb reads a small piece that would decompress to a lot.
func TestBomb(t *testing.T) {
	z, err := newEncoder()
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 200<<20)
	for name, size := range map[string]uint64{"size that is true": uint64(len(zeros)), "size that lies": 1000} {
		h := sampleHeader()
		h.Size = size
		b, err := encodePiece(z, nil, &h, zeros, nil)
		if err != nil {
			t.Fatal(err)
		}
		r := bytes.NewReader(b)
		got, err := readHeader(r)
		if err != nil {
			continue // refused by its header
		}
		n := 0
		for _, err = range bodyFrames(&got, r, nil) {
			n++
		}
		if err == nil || n > 1 {
			t.Errorf("%s: %d frames, %v", name, n, err)
		}
	}
}
