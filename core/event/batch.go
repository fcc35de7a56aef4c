package event

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// A batch is the cells that one plugin inspects, in the flat form in which they
// cross into a guest; the edits that come back are flat too. Both are
// little-endian and every table in them is aligned to four bytes:
//
//	batch                              edits
//	u32 "GHB" and the version          u32 "GHE" and the version
//	u32 rows                           u32 count
//	u32 fields                         u32 length of the texts
//	u32 flags, zero                    count times
//	u32 length of the head                 u32 row, u32 field
//	u32 length of the arena                u32 from, u32 to
//	u32 off[rows*fields + 1]               u8 kind, u8 keep, u16 zero
//	u32 nulls[(rows*fields + 31) / 32]     u32 offset, u32 length of the text
//	the head, padded to four bytes     the texts
//	the arena
//
// Cells are row-major: cell k = row*fields + field is arena[off[k]:off[k+1]],
// and NULL where bit k%32 of nulls[k/32] is set. The head is the encoding of a
// Head that describes the fields.
const (
	batchMagic  = uint32('G') | 'H'<<8 | 'B'<<16 | 0<<24
	editsMagic  = uint32('G') | 'H'<<8 | 'E'<<16 | 0<<24
	batchHeader = 6 * 4
	editsHeader = 3 * 4
	editSize    = 7 * 4
)

// MaxBatch limits the encoding of a batch, in bytes.
const MaxBatch = 1 << 30

// SizeBatch returns how many bytes AppendBatch appends for the given fields of
// the rows from from on, and the end of those rows. It stops at limit bytes,
// but not before it has one row; what a single row needs may be more.
func SizeBatch(r *Rows, fields []int, head []byte, from, limit int) (to, size int) {
	cells := 0
	fixed := batchHeader + 4 + align4(len(head)) + 4
	arena := 0
	for to = from; to < r.Len(); to++ {
		row, _ := r.Row(to)
		n := 0
		for _, j := range fields {
			n += len(row[j])
		}
		next := fixed + (cells+len(fields))*4 + (cells+len(fields))/8 + arena + n
		if to > from && next > limit {
			break
		}
		cells += len(fields)
		arena += n
	}
	return to, batchHeader + 4*(cells+1) + 4*((cells+31)/32) + align4(len(head)) + arena
}

func align4(n int) int { return (n + 3) &^ 3 }

// AppendBatch appends the given fields of the rows from from to to. Head is the
// encoding of a Head that describes those fields. The result must not grow
// beyond MaxBatch, which SizeBatch tells.
func AppendBatch(b []byte, r *Rows, fields []int, head []byte, from, to int) []byte {
	cells := (to - from) * len(fields)
	start := len(b)
	for _, v := range [...]uint32{batchMagic, uint32(to - from), uint32(len(fields)), 0, uint32(len(head)), 0} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	off := len(b)
	b = appendZeros(b, 4*(cells+1)+4*((cells+31)/32))
	b = append(b, head...)
	b = appendZeros(b, align4(len(head))-len(head))
	nulls := off + 4*(cells+1)
	arena := len(b)
	k := 0
	for i := from; i < to; i++ {
		row, _ := r.Row(i)
		for _, j := range fields {
			if row[j] == nil {
				b[nulls+k/8] |= 1 << (k % 8) // the same bit in any word size
			}
			b = append(b, row[j]...)
			k++
			binary.LittleEndian.PutUint32(b[off+4*k:], uint32(len(b)-arena))
		}
	}
	binary.LittleEndian.PutUint32(b[start+20:], uint32(len(b)-arena))
	return b
}

func appendZeros(b []byte, n int) []byte {
	at := len(b)
	b = slices.Grow(b, n)[:at+n]
	clear(b[at:])
	return b
}

// A Batch reads an encoded batch in place. It is not safe for concurrent use.
type Batch struct {
	rows, fields int
	off          []byte
	nulls        []byte
	head         []byte
	arena        []byte
	bad          bool
	decoded      *Head
}

// Decode sets b to read the batch in p, which b aliases. It checks that every
// table is whole; what the tables say of a cell is checked when the cell is
// read, and Err tells.
func (b *Batch) Decode(p []byte) error {
	*b = Batch{}
	if len(p) < batchHeader {
		return fmt.Errorf("decode batch: %w", ErrMalformed)
	}
	u32 := func(at int) uint64 { return uint64(binary.LittleEndian.Uint32(p[at:])) }
	rows, fields, head, arena := u32(4), u32(8), u32(16), u32(20)
	if rows > MaxBatch || fields > MaxBatch || rows > rows*fields || rows*fields > MaxBatch {
		return fmt.Errorf("decode batch: %w", ErrMalformed)
	}
	cells := rows * fields
	off := uint64(batchHeader)
	nulls := off + 4*(cells+1)
	heads := nulls + 4*((cells+31)/32)
	arenas := heads + (head+3)&^3
	if u32(0) != uint64(batchMagic) || u32(12) != 0 || arenas+arena != uint64(len(p)) {
		return fmt.Errorf("decode batch: %w", ErrMalformed)
	}
	*b = Batch{
		rows: int(rows), fields: int(fields),
		off: p[off:nulls], nulls: p[nulls:heads],
		head: p[heads : heads+head], arena: p[arenas:],
	}
	return nil
}

// Len is the number of rows.
func (b *Batch) Len() int { return b.rows }

// Fields is the number of fields.
func (b *Batch) Fields() int { return b.fields }

// Field describes field j. It is the zero Field where the batch does not say.
// The first call decodes the descriptions of all fields.
func (b *Batch) Field(j int) Field {
	if b.decoded == nil {
		b.decoded = new(Head)
		if b.decoded.Decode(b.head) != nil {
			b.decoded, b.bad = new(Head), true
		}
	}
	if j >= len(b.decoded.Fields) {
		return Field{}
	}
	return b.decoded.Fields[j]
}

// Cell returns the value of field j in row i, or nil for NULL. It aliases the
// encoding. A cell whose offsets are malformed reads as NULL and makes Err
// return an error.
func (b *Batch) Cell(i, j int) []byte {
	k := i*b.fields + j
	if b.nulls[k/8]&(1<<(k%8)) != 0 {
		return nil
	}
	from := binary.LittleEndian.Uint32(b.off[4*k:])
	to := binary.LittleEndian.Uint32(b.off[4*k+4:])
	if from > to || uint64(to) > uint64(len(b.arena)) {
		b.bad = true
		return nil
	}
	return b.arena[from:to:to]
}

// Err returns ErrMalformed if anything that was read so far was malformed.
func (b *Batch) Err() error {
	if b.bad {
		return fmt.Errorf("read batch: %w", ErrMalformed)
	}
	return nil
}

// AppendEdits appends the encoding of edits to b. Rules are not part of it.
func AppendEdits(b []byte, edits []Edit) []byte {
	texts := 0
	for i := range edits {
		texts += len(edits[i].Text)
	}
	for _, v := range [...]uint32{editsMagic, uint32(len(edits)), uint32(texts)} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	text := 0
	for i := range edits {
		e := &edits[i]
		for _, v := range [...]int{
			e.Row, e.Field, e.From, e.To,
			int(e.Treatment.Kind) | int(e.Treatment.Keep)<<8,
			text, len(e.Text),
		} {
			b = binary.LittleEndian.AppendUint32(b, uint32(v))
		}
		text += len(e.Text)
	}
	for i := range edits {
		b = append(b, edits[i].Text...)
	}
	return b
}

// TakeEdits decodes the edits in b, which are the answer to the batch of the
// given fields of the rows from from to to, and returns them together with
// those that it has taken since r was last reset with DropEdits. Their fields
// and rows are those of r. It copies what it needs of b; the result is valid
// until the next DropEdits. Edits that are out of bounds, out of order or
// overlap, and treatments that are none for a single value, are malformed.
func (r *Rows) TakeEdits(b []byte, fields []int, from, to int) ([]Edit, error) {
	n := len(b)
	if n < editsHeader || binary.LittleEndian.Uint32(b) != editsMagic {
		return nil, fmt.Errorf("decode edits: %w", ErrMalformed)
	}
	count, texts := binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:])
	if uint64(n) != editsHeader+uint64(count)*editSize+uint64(texts) {
		return nil, fmt.Errorf("decode edits: %w", ErrMalformed)
	}
	kept := len(r.texts)
	r.texts = append(r.texts, b[n-int(texts):]...)
	text := r.texts[kept:]
	lastCell, lastTo := -1, 0
	for at := editsHeader; at < n-int(texts); at += editSize {
		e, cell, err := r.decodeEdit(b[at:at+editSize:at+editSize], text, fields, from, to)
		if err != nil {
			return nil, err
		}
		if cell < lastCell || cell == lastCell && e.From < lastTo {
			return nil, fmt.Errorf("decode edits: edit of row %d, field %d out of order: %w", e.Row, e.Field, ErrMalformed)
		}
		lastCell, lastTo = cell, e.To
		r.edits = append(r.edits, e)
	}
	return r.edits, nil
}

func (r *Rows) decodeEdit(b, text []byte, fields []int, from, to int) (e Edit, cell int, err error) {
	u32 := func(i int) uint32 { return binary.LittleEndian.Uint32(b[4*i:]) }
	row, field, how := u32(0), u32(1), u32(4)
	if uint64(row) >= uint64(to-from) || uint64(field) >= uint64(len(fields)) {
		return e, 0, fmt.Errorf("decode edits: edit of row %d, field %d of %d rows of %d fields: %w", row, field, to-from, len(fields), ErrMalformed)
	}
	e = Edit{Row: from + int(row), Field: fields[field]}
	start, end := u32(2), u32(3)
	size := len(r.Cell(e.Row, e.Field))
	if start > end || uint64(end) > uint64(size) {
		return e, 0, fmt.Errorf("decode edits: edit of bytes %d to %d of %d: %w", start, end, size, ErrMalformed)
	}
	e.From, e.To = int(start), int(end)
	e.Treatment = Treatment{Kind: TreatmentKind(how), Keep: uint8(how >> 8)}
	if how > math.MaxUint16 || e.Treatment.Kind >= Inspect && e.Treatment.Kind != Fake {
		return e, 0, fmt.Errorf("decode edits: treatment %#x: %w", how, ErrMalformed)
	}
	at, length := uint64(u32(5)), uint64(u32(6))
	if at+length > uint64(len(text)) {
		return e, 0, fmt.Errorf("decode edits: text of bytes %d to %d of %d: %w", at, at+length, len(text), ErrMalformed)
	}
	if length > 0 {
		e.Text = text[at : at+length : at+length]
	}
	return e, int(row)*len(fields) + int(field), nil
}

// DropEdits forgets the edits that TakeEdits returned. It keeps the memory that
// r has.
func (r *Rows) DropEdits() { r.edits, r.texts = r.edits[:0], r.texts[:0] }
