package event

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// A batch is the cells that one plugin inspects, in the flat form in which they
// cross into a guest: sections of a message, after those that go before them.
// The edits that come back are flat too. All integers are little-endian.
//
//	shape     u32 rows, u32 fields
//	offsets   u32 off[rows*fields + 1]
//	nulls     u32 nulls[(rows*fields + 31) / 32]
//	values    the cells
//
//	edits     for each: u32 row, u32 field, u32 from, u32 to,
//	          u8 kind, u8 keep, u16 zero, u32 offset, u32 length of the text
//	texts     the texts
//
// Cells are row-major: cell k = row*fields + field is values[off[k]:off[k+1]],
// and NULL where bit k%32 of nulls[k/32] is set. The section head describes the
// fields.
const (
	shapeSize = 2 * 4
	editSize  = 7 * 4
)

// MaxBatch limits the encoding of a batch, in bytes.
const MaxBatch = 1 << 30

// SizeBatch returns how many bytes AppendBatch appends for n of the fields of
// the rows from from on, and the end of those rows. Before is the size of what
// goes before them in the message. It stops at limit bytes, but not before it
// has one row; what a single row needs may be more.
func SizeBatch(r *Rows, fields []int, before, from, limit int) (to, size int) {
	cells, values := 0, 0
	for to = from; to < r.Len(); to++ {
		row, _ := r.Row(to)
		n := 0
		for _, j := range fields {
			n += len(row[j])
		}
		if to > from && before+sizeBatch(cells+len(fields), values+n) > limit {
			break
		}
		cells += len(fields)
		values += n
	}
	return to, sizeBatch(cells, values)
}

func sizeBatch(cells, values int) int {
	return SizeSection(shapeSize) + SizeSection(4*(cells+1)) + SizeSection(4*((cells+31)/32)) + SizeSection(values)
}

func align4(n int) int { return (n + 3) &^ 3 }

// AppendBatch appends the given fields of the rows from from to to. The result
// must not grow beyond MaxBatch, which SizeBatch tells.
func AppendBatch(b []byte, r *Rows, fields []int, from, to int) []byte {
	cells := (to - from) * len(fields)
	b, at := BeginSection(b, SectionShape)
	b = binary.LittleEndian.AppendUint32(b, uint32(to-from))
	b = EndSection(binary.LittleEndian.AppendUint32(b, uint32(len(fields))), at)
	b, at = BeginSection(b, SectionOffsets)
	off := len(b)
	b = EndSection(appendZeros(b, 4*(cells+1)), at)
	b, at = BeginSection(b, SectionNulls)
	nulls := len(b)
	b = EndSection(appendZeros(b, 4*((cells+31)/32)), at)
	b, at = BeginSection(b, SectionValues)
	values := len(b)
	k := 0
	for i := from; i < to; i++ {
		row, _ := r.Row(i)
		for _, j := range fields {
			if row[j] == nil {
				b[nulls+k/8] |= 1 << (k % 8) // the same bit in any word size
			}
			b = append(b, row[j]...)
			k++
			binary.LittleEndian.PutUint32(b[off+4*k:], uint32(len(b)-values))
		}
	}
	return EndSection(b, at)
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
	state        []byte
	bad          bool
	decoded      *Head
}

// Decode sets b to read the batch in m, whose bytes b aliases. It checks that
// every table is whole; what the tables say of a cell is checked when the cell is
// read, and Err tells.
func (b *Batch) Decode(m *Message) error {
	*b = Batch{}
	shape, off, nulls := m.Section(SectionShape), m.Section(SectionOffsets), m.Section(SectionNulls)
	if len(shape) != shapeSize {
		return fmt.Errorf("decode batch: %w", ErrMalformed)
	}
	rows, fields := uint64(binary.LittleEndian.Uint32(shape)), uint64(binary.LittleEndian.Uint32(shape[4:]))
	if rows > MaxBatch || fields > MaxBatch || rows > rows*fields || rows*fields > MaxBatch {
		return fmt.Errorf("decode batch: %w", ErrMalformed)
	}
	cells := rows * fields
	if uint64(len(off)) != 4*(cells+1) || uint64(len(nulls)) != 4*((cells+31)/32) {
		return fmt.Errorf("decode batch: %w", ErrMalformed)
	}
	*b = Batch{
		rows: int(rows), fields: int(fields), off: off, nulls: nulls,
		head: m.Section(SectionHead), arena: m.Section(SectionValues), state: m.Section(SectionState),
	}
	return nil
}

// State is what the plugin answered when the session was opened.
func (b *Batch) State() []byte { return b.state }

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

// AppendEdits appends the sections of edits to b. Rules are not part of them.
func AppendEdits(b []byte, edits []Edit) []byte {
	if len(edits) == 0 {
		return b
	}
	b, at := BeginSection(b, SectionEdits)
	text := 0
	for i := range edits {
		e := &edits[i]
		from := 0
		if len(e.Text) > 0 {
			from = text
		}
		for _, v := range [...]int{
			e.Row, e.Field, e.From, e.To,
			int(e.Treatment.Kind) | int(e.Treatment.Keep)<<8,
			from, len(e.Text),
		} {
			b = binary.LittleEndian.AppendUint32(b, uint32(v))
		}
		text += len(e.Text)
	}
	b = EndSection(b, at)
	if text == 0 {
		return b
	}
	b, at = BeginSection(b, SectionTexts)
	for i := range edits {
		b = append(b, edits[i].Text...)
	}
	return EndSection(b, at)
}

// TakeEdits decodes the edits in m, which are the answer to the batch of the
// given fields of the rows from from to to, and returns them together with
// those that it has taken since r was last reset with DropEdits. Their fields
// and rows are those of r. It copies what it needs of m; the result is valid
// until the next DropEdits. Edits that are out of bounds, out of order or
// overlap, and treatments that are none for a single value, are malformed.
func (r *Rows) TakeEdits(m *Message, fields []int, from, to int) ([]Edit, error) {
	b, texts := m.Section(SectionEdits), m.Section(SectionTexts)
	if len(b)%editSize != 0 {
		return nil, fmt.Errorf("decode edits: %w", ErrMalformed)
	}
	kept := len(r.texts)
	r.texts = append(r.texts, texts...)
	text := r.texts[kept:]
	lastCell, lastTo := -1, 0
	for at := 0; at < len(b); at += editSize {
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
	if how > math.MaxUint16 || !e.Treatment.Kind.Edits() {
		return e, 0, fmt.Errorf("decode edits: treatment %#x: %w", how, ErrMalformed)
	}
	at, length := uint64(u32(5)), uint64(u32(6))
	if at+length > uint64(len(text)) || e.Treatment.Kind != Replace && at|length != 0 {
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
