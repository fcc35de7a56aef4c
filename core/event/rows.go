package event

// Rows is a batch of rows, reduced to the fields that somebody wants to see or
// change. Cells alias the protocol's read buffer: they are valid until the
// call that got the batch returns. A nil cell is NULL. Not safe for concurrent
// use.
type Rows struct {
	Fields  []Field
	cells   [][]byte // row-major
	changed []bool   // one for each row
	arena   []byte   // holds the values given to Set
	edits   []Edit   // decoded by TakeEdits
	texts   []byte   // holds the texts of edits
}

// Reset empties r for rows of fields. It keeps the memory that r has.
func (r *Rows) Reset(fields []Field) {
	r.Fields = fields
	r.cells, r.changed, r.arena = r.cells[:0], r.changed[:0], r.arena[:0]
}

// Grow appends one row and returns its cells, one for each field, for the
// caller to fill in before the next call.
func (r *Rows) Grow() [][]byte {
	n := len(r.cells)
	for range r.Fields {
		r.cells = append(r.cells, nil)
	}
	r.changed = append(r.changed, false)
	return r.cells[n:]
}

// Len is the number of rows.
func (r *Rows) Len() int { return len(r.changed) }

// Cell returns the value of field j in row i.
func (r *Rows) Cell(i, j int) []byte { return r.cells[i*len(r.Fields)+j] }

// Row returns the cells of row i and whether Set changed any.
func (r *Rows) Row(i int) (cells [][]byte, changed bool) {
	n := len(r.Fields)
	return r.cells[i*n : (i+1)*n : (i+1)*n], r.changed[i]
}

// Set replaces the value of field j in row i by a copy of v; nil is NULL.
func (r *Rows) Set(i, j int, v []byte) {
	if v != nil {
		n := len(r.arena)
		r.arena = append(r.arena, v...)
		if v = r.arena[n:len(r.arena):len(r.arena)]; v == nil {
			v = []byte{} // of an arena that has nothing yet
		}
	}
	r.cells[i*len(r.Fields)+j], r.changed[i] = v, true
}
