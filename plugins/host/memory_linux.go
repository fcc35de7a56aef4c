package host

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A memory is what an instance has as its memory: address space for all that it
// may have, of which the kernel gives it what it touches. What of it comes from
// an image is shared with other instances until it is written to.
type memory struct {
	reserved []byte
	size     uint64 // that the guest has
	image    *image // that it begins with; nil if none
}

func newMemory(most int64) (*memory, error) {
	b, err := unix.Mmap(-1, 0, int(most), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("reserve memory: %w", err)
	}
	return &memory{reserved: b}, nil
}

// Reallocate gives the guest size bytes, at the same address, or returns nil.
func (m *memory) Reallocate(size uint64) []byte {
	if size > uint64(len(m.reserved)) {
		return nil
	}
	if size > m.size {
		if unix.Mprotect(m.reserved[m.size:size], unix.PROT_READ|unix.PROT_WRITE) != nil {
			return nil
		}
		m.size = size
	}
	return m.reserved[:size:size]
}

// Free gives everything back. No view of the memory may be used any more.
func (m *memory) Free() {
	if m.reserved != nil {
		_ = unix.Munmap(m.reserved)
		m.reserved = nil
	}
}

// load puts an image in place of all that is in m, which must be as large.
func (m *memory) load(i *image) error {
	if m.size != i.size {
		return errors.New("memory is not of the image's size")
	}
	if i.size == 0 {
		return nil
	}
	if m.image == i {
		return unix.Madvise(m.reserved[:m.size], unix.MADV_DONTNEED)
	}
	_, err := unix.MmapPtr(int(i.file.Fd()), 0, unsafe.Pointer(&m.reserved[0]), uintptr(i.size),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_FIXED)
	if err != nil {
		return fmt.Errorf("map memory: %w", err)
	}
	m.image = i
	return nil
}

// An image is a copy of a guest's memory, in a file without a name.
type image struct {
	file *os.File
	size uint64
}

func newImage(memory []byte) (*image, error) {
	fd, err := unix.MemfdCreate("plugin", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make image: %w", err)
	}
	f := os.NewFile(uintptr(fd), "plugin")
	if _, err := f.Write(memory); err != nil {
		return nil, errors.Join(fmt.Errorf("write image: %w", err), f.Close())
	}
	return &image{file: f, size: uint64(len(memory))}, nil
}

func (i *image) close() error { return i.file.Close() }
