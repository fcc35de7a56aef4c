package postgres

import (
	"context"
	"net"
)

// SetDial makes connections to the resource by dial.
func (r *Resource) SetDial(dial func(ctx context.Context, network, addr string) (net.Conn, error)) {
	r.dialFunc = dial
}

// Constants are the frames that the gate sends in the place of refused ones.
func Constants() [][]byte {
	return [][]byte{constantQuery, constantParse, constantUnnamed, constantMalformed, constantCall}
}

// CopyName is the name of the statement by which the gate asks what columns a
// COPY has.
const CopyName = copyName

// Catalogs is how many databases the gate keeps a catalogue of.
func (r *Resource) Catalogs() int {
	r.catalogs.mu.Lock()
	defer r.catalogs.mu.Unlock()
	return len(r.catalogs.m)
}
