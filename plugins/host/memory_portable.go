//go:build !linux || portable

package host

import (
	"bytes"
	"errors"
)

// A memory is what an instance has as its memory, where the system is not Linux. The
// tag portable has it on Linux too, for tests.
type memory struct {
	b    []byte
	most uint64
}

func newMemory(most int64) (*memory, error) { return &memory{most: uint64(most)}, nil }

// Reallocate gives the guest size bytes, or returns nil.
func (m *memory) Reallocate(size uint64) []byte {
	if size > m.most {
		return nil
	}
	m.b = append(m.b, make([]byte, size-uint64(len(m.b)))...)
	return m.b
}

// Free gives everything back.
func (m *memory) Free() { m.b = nil }

// load puts an image in place of all that is in m, which must be as large.
func (m *memory) load(i *image) error {
	if len(m.b) != len(i.b) {
		return errors.New("memory is not of the image's size")
	}
	copy(m.b, i.b)
	return nil
}

// An image is a copy of a guest's memory.
type image struct {
	b    []byte
	size uint64
}

func newImage(memory []byte) (*image, error) {
	return &image{bytes.Clone(memory), uint64(len(memory))}, nil
}

func (i *image) close() error { return nil }
