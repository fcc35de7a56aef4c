package recorder

import (
	"os"

	"golang.org/x/sys/unix"
)

// mapFile returns the first size bytes of a file as memory. The file may be shorter:
// what it does not have must not be touched.
func mapFile(f *os.File, size int64) ([]byte, error) {
	return unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

// populate makes pages of a mapped file present and writable. It fails where the
// disk has no room for them, and before Linux 5.14.
func populate(pages []byte) error { return unix.Madvise(pages, unix.MADV_POPULATE_WRITE) }

func unmapFile(pages []byte) error { return unix.Munmap(pages) }
