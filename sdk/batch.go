package sdk

import "gatehouse/core/event"

// NewBatch makes a batch, for tests of an Inspector: one row of cells after the
// other, each with a cell for each field, nil for NULL.
func NewBatch(fields []Field, rows ...[][]byte) *Batch {
	var r event.Rows
	r.Reset(fields)
	indexes := make([]int, len(fields))
	for j := range fields {
		indexes[j] = j
	}
	for _, row := range rows {
		copy(r.Grow(), row)
	}
	head := event.Head{Fields: fields}
	b := new(Batch)
	if err := b.Decode(event.AppendBatch(nil, &r, indexes, head.Append(nil), 0, r.Len())); err != nil {
		panic(err) // rows without fields
	}
	return b
}
