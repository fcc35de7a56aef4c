package postgres

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"

	"gatehouse/core/event"
)

// copyBatch returns what treats the second of three columns in frames of one row
// each, as the pipeline would.
func copyBatch(tb testing.TB, format copyFormat, rows int) (treat func(), size int) {
	var frames [][]byte
	for i := range rows {
		f := appendFrame(nil, 'd', func(b []byte) []byte {
			return fmt.Appendf(b, "%d%[2]ccustomer%[1]d@example.com%[2]cA note of ordinary length which says what was agreed\n", i, format.delimiter)
		})
		frames, size = append(frames, f), size+len(f)
	}
	h := &head{Head: event.Head{Fields: make([]event.Field, 3)}, oids: []uint32{pgtype.TextOID, pgtype.TextOID, pgtype.TextOID}, formats: make([]int16, 3)}
	c := &copying{head: h, reader: copyReader{copyFormat: format, limit: 1 << 20}}
	var b rowBuffers
	var to []byte
	columns, redacted := []int{1}, []byte("[redacted]")
	return func() {
		b.rows.Reset(h.Fields[:1])
		b.given, b.spans, b.text = b.given[:0], b.spans[:0], b.text[:0]
		parts, err := b.cut(c, frames)
		if err != nil {
			tb.Fatal(err)
		}
		for _, p := range parts {
			if err := b.addCopied(c, p, columns); err != nil {
				tb.Fatal(err)
			}
		}
		for i := range b.rows.Len() {
			b.rows.Set(i, 0, redacted)
		}
		if to, err = b.appendCopied(to[:0], c, parts, columns); err != nil || b.rows.Len() != rows {
			tb.Fatalf("%d rows, %v", b.rows.Len(), err)
		}
	}, size
}

// Rows of a COPY take no memory of their own once the buffers have grown.
func TestTreatedRowsOfCopyDoNotAllocate(t *testing.T) {
	for _, format := range copyFormats()[:4] {
		treat, _ := copyBatch(t, format, maxBatch)
		treat()
		if n := testing.AllocsPerRun(20, treat); n > 0 {
			t.Errorf("%d rows take %v allocations", maxBatch, n)
		}
	}
}

func BenchmarkTreatedRowsOfCopy(b *testing.B) {
	for name, format := range map[string]copyFormat{"text": copyFormats()[0], "csv": copyFormats()[2]} {
		b.Run(name, func(b *testing.B) {
			treat, size := copyBatch(b, format, maxBatch)
			b.SetBytes(int64(size))
			for b.Loop() {
				treat()
			}
		})
	}
}
