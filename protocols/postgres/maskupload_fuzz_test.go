package postgres

import (
	"context"
	"testing"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
)

// uploads records uploads in memory.
type uploads struct{ frames [][]byte }

func (r *uploads) Append(f event.Frame, more ...[]byte) error {
	b := append([]byte(nil), f.Payload...)
	for _, m := range more {
		b = append(b, m...)
	}
	if f.Kind == event.KindUpload {
		r.frames = append(r.frames, b)
	}
	return nil
}

func (*uploads) Commit(context.Context) error { return nil }

// Whatever a client uploads, and however it is cut into messages, what is
// recorded are rows of which the masked column is masked.
func FuzzUploadMask(f *testing.F) {
	for i := range byte(5) {
		f.Add(i, []byte("1\tsecret\n2|secret\n3,\"secret\n\"\n4;'secret'\n\\N\t\\N\nsecret\tsecret\tsecret\nsecret"), 3)
	}
	f.Add(byte(4), []byte(copySignature+"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x011\x00\x00\x00\x06secret\x00\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), 7)
	f.Fuzz(func(t *testing.T, i byte, data []byte, n int) {
		var tape uploads
		ps, err := pipeline.New(pipeline.Config{Terms: pipeline.Terms{Session: &event.Session{}}, Recorder: &tape, Key: make([]byte, 32)})
		if err != nil {
			t.Fatal(err)
		}
		format := copyFormats()[i%5]
		u := newUploadMask(ps, ps.Begin(t.Context(), &event.Request{}), &format, []event.Treatment{{Kind: event.Pass}, {Kind: event.Redact}}, 1<<16)
		for len(data) > 0 {
			k := min(n&0xff+1, len(data))
			u.begin()
			u.data(data[:k])
			if err := u.record(nil); err != nil {
				t.Fatal(err)
			}
			data = data[k:]
		}
		u.begin()
		if err := u.record([]byte{'c', 0, 0, 0, 4}); err != nil {
			t.Fatal(err)
		}
		r := copyReader{copyFormat: u.written, limit: 1 << 20}
		for _, b := range tape.frames {
			if b[0] == 'c' {
				continue
			}
			r.reset()
			if err := r.feed(b[frameHeader:]); err != nil {
				t.Fatal(err)
			}
			for {
				kind, from, to, ok, err := r.next()
				if err != nil {
					t.Fatalf("%q cannot be read: %v", b, err)
				}
				if !ok {
					break
				}
				if kind != copyRow {
					continue
				}
				count := r.values(r.buf[from:to], func(j int, raw []byte) {
					if v, _ := r.decode(raw, nil); j == 1 && v != nil && string(v) != "[redacted]" {
						t.Errorf("recorded %q", v)
					}
				})
				if count != 2 {
					t.Errorf("recorded a row of %d values", count)
				}
			}
		}
	})
}
