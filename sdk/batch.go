package sdk

import (
	"errors"

	"gatehouse/core/event"
)

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
	var m event.Message
	b := new(Batch)
	p := event.AppendSection(nil, event.SectionHead, head.Append(nil))
	if err := errors.Join(m.Decode(event.AppendBatch(p, &r, indexes, 0, r.Len())), b.Decode(&m)); err != nil {
		panic(err) // rows without fields
	}
	return b
}
