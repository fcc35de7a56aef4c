//go:build !portable

package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
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
	entries  []byte // of the page table, as they were read last
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
		if m.putBack() {
			return nil
		}
		return unix.Madvise(m.reserved[:m.size], unix.MADV_DONTNEED)
	}
	return m.begin(i)
}

// begin maps an image, which is not empty, in place of all that is in m.
func (m *memory) begin(i *image) error {
	_, err := unix.MmapPtr(int(i.file.Fd()), 0, unsafe.Pointer(&m.reserved[0]), uintptr(i.size),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_FIXED)
	if err != nil {
		return fmt.Errorf("map memory: %w", err)
	}
	m.image = i
	return nil
}

// maxOwn is how much of its memory a guest may have written to and keep as its own at
// a reset, in bytes.
const maxOwn = 1 << 20

// putBack copies what the image has to the pages that were written to, and reports
// whether it did. They stay the guest's own, so that its next call need not ask the
// kernel for each of them again: that takes longer than most calls. More than maxOwn,
// and where the kernel does not tell which pages they are, is left to the caller.
func (m *memory) putBack() bool {
	table := pageTable()
	if table == nil {
		return false
	}
	page := uint64(os.Getpagesize())
	pages := m.size / page
	m.entries = slices.Grow(m.entries[:0], int(pages)*8)[:pages*8]
	at := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(m.reserved)))) / page * 8
	if _, err := table.ReadAt(m.entries, int64(at)); err != nil {
		return false
	}
	own := uint64(0)
	for k := range pages {
		if isOwn(m.entries[k*8:]) {
			own += page
		}
	}
	if own > maxOwn {
		return false
	}
	for k := range pages {
		if isOwn(m.entries[k*8:]) {
			copy(m.reserved[k*page:(k+1)*page], m.image.shared[k*page:])
		}
	}
	return true
}

// isOwn reports whether an entry of the page table is of a page that belongs to no
// file: one that was written to, even if it is swapped out.
func isOwn(entry []byte) bool {
	const present, swapped, file = 1 << 63, 1 << 62, 1 << 61
	e := binary.LittleEndian.Uint64(entry)
	return e&(present|swapped) != 0 && e&file == 0
}

// pageTable returns the page table of this process, or nil if it cannot be had or does
// not tell what isOwn takes from it.
var pageTable = sync.OnceValue(func() *os.File {
	table, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return nil
	}
	if !tells(table) {
		_ = table.Close() // it is not used
		return nil
	}
	return table
})

// tells reports whether table tells pages that were written to from those that were
// read only, and from those that were not touched.
func tells(table *os.File) bool {
	page := os.Getpagesize()
	i, err := newImage(make([]byte, 3*page))
	if err != nil {
		return false
	}
	defer i.close()
	m, err := newMemory(int64(3 * page))
	if err != nil {
		return false
	}
	defer m.Free()
	if m.Reallocate(uint64(3*page)) == nil || m.begin(i) != nil {
		return false
	}
	m.reserved[0] = m.reserved[page] + 1 // the first is written to, the second read
	entries := make([]byte, 3*8)
	at := int64(uintptr(unsafe.Pointer(unsafe.SliceData(m.reserved)))) / int64(page) * 8
	_, err = table.ReadAt(entries, at)
	return err == nil && isOwn(entries) && !isOwn(entries[8:]) && !isOwn(entries[16:])
}

// An image is a copy of a guest's memory, in a file without a name.
type image struct {
	file   *os.File
	shared []byte // the file, to read
	size   uint64
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
	i := &image{file: f, size: uint64(len(memory))}
	if i.size == 0 {
		return i, nil
	}
	if i.shared, err = unix.Mmap(fd, 0, len(memory), unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return nil, errors.Join(fmt.Errorf("map image: %w", err), f.Close())
	}
	return i, nil
}

func (i *image) close() error {
	var err error
	if i.shared != nil {
		err = unix.Munmap(i.shared)
	}
	return errors.Join(err, i.file.Close())
}
