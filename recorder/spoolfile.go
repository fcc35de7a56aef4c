package recorder

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
)

// A part's file is a sequence of commits, each the length of its frames (u32,
// little-endian), their CRC-32C (u32) and the frames. Commits follow each other
// until a length is zero or the checksum does not fit: what is there then is none,
// but what a failure left of one, or space for others.
const commitHead = 8

// maxPart bounds a part's file: what becomes a piece, commits' heads and space. A
// commit's frames take twice what its head does, and more.
const maxPart = maxPiece + maxPiece/2 + mapStep

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// stamp fills in the head of a commit, in the first bytes of its first part. It
// returns how long the commit is.
func stamp(commit [][]byte) int64 {
	sum := crc32.Checksum(commit[0][commitHead:], castagnoli)
	n := len(commit[0])
	for _, b := range commit[1:] {
		sum = crc32.Update(sum, castagnoli, b)
		n += len(b)
	}
	binary.LittleEndian.PutUint32(commit[0], uint32(n-commitHead))
	binary.LittleEndian.PutUint32(commit[0][4:], sum)
	return int64(n)
}

// committed moves the frames of the commits that b begins with to its front. What
// follows the last whole commit is torn bytes, without zeros at its end.
func committed(b []byte) (frames []byte, torn int) {
	frames = b[:0]
	for len(b) > commitHead {
		n, sum := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
		if n == 0 || uint64(n) > uint64(len(b)-commitHead) {
			break
		}
		end := commitHead + int(n)
		if crc32.Checksum(b[commitHead:end], castagnoli) != sum {
			break
		}
		frames = append(frames, b[commitHead:end]...)
		b = b[end:]
	}
	return frames, len(bytes.TrimRight(b, "\x00"))
}

// readCommitted reads the frames of a part's file of that size, into b if they fit.
func readCommitted(f *os.File, size int64, b []byte) (frames []byte, torn int, err error) {
	b = slices.Grow(b[:0], int(size)+maxHeader)[:size]
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, 0, fmt.Errorf("read spool: %w", err)
	}
	frames, torn = committed(b)
	return frames, torn, nil
}

// How commits reach a file. A call that writes one takes about a microsecond.
// Where more come than mapAfter, which take as long as it takes to map the file,
// they are copied to its pages: those belong to the kernel as what is written does,
// and outlive the process.
const (
	mapAfter = 8
	// mapStep is how much of a file is made ready at a time. It is a multiple
	// of every page size.
	mapStep = 64 << 10
	// largestCopy is from where a commit is written by a call all the same,
	// which then takes less than touching the pages one by one.
	largestCopy = 16 << 10
)

// A spoolFile is the file of a part that takes commits, or did when they became
// durable. The session's lock guards it.
type spoolFile struct {
	*os.File
	part   *part
	refs   int  // closed when none is left
	listed bool // its entry in the directory is durable
	dirty  bool // in Session.unsynced

	disk    *disk
	commits int    // to be counted until it is mapped
	limit   int64  // of the part's size, when it takes another commit
	pages   []byte // of the file, once it is mapped
	ready   int64  // the pages before it take commits
	moved   bool   // the part grew by pages, behind the file's offset
}

// commit adds a commit of n bytes, whole or, after an error, perhaps in part.
func (f *spoolFile) commit(commit [][]byte, n int64) error {
	f.commits++
	at := f.part.size
	if len(commit) == 1 && n < largestCopy && f.mapped(at+n) && f.fill(at, commit[0]) == nil {
		f.moved = true
		return nil
	}
	if f.moved {
		if _, err := f.Seek(at, io.SeekStart); err != nil {
			return err
		}
		f.moved = false
	}
	for _, b := range commit {
		if _, err := f.disk.write(f.File, b); err != nil {
			return err
		}
	}
	return nil
}

// mapped reports whether the file's pages take commits up to end. They are present
// and there is room for them on the disk then, so that nothing is waited for when
// they are written to.
func (f *spoolFile) mapped(end int64) bool {
	if f.commits <= f.disk.mapAfter {
		return false
	}
	if f.pages == nil {
		size := (f.limit + f.limit/4 + mapStep) &^ (mapStep - 1)
		pages, err := mapFile(f.File, size)
		if err != nil {
			f.unmap()
			return false
		}
		f.pages = pages
	}
	if end > int64(len(f.pages)) { // the heads of small commits are much of the file
		return false
	}
	f.ready = max(f.ready, f.part.size&^(mapStep-1))
	for f.ready < end {
		if f.prepare(f.ready+mapStep) != nil {
			f.unmap()
			return false
		}
	}
	return true
}

// prepare makes the pages up to next ready. They are written first, since the kernel
// takes a third of the time for many at once that it takes for one after the other.
func (f *spoolFile) prepare(next int64) error {
	from := max(f.ready, f.part.size)
	if _, err := f.WriteAt(zeros[:next-from], from); err != nil {
		return err
	}
	if err := populate(f.pages[f.ready:next]); err != nil {
		return err
	}
	f.ready = next
	return nil
}

var zeros [mapStep]byte

// fill puts a commit into the file's pages, its length last: of one that is cut
// short by the end of the process there is nothing. It fails where the pages are the
// file's no more, since somebody else cut it or the disk failed.
func (f *spoolFile) fill(at int64, commit []byte) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			fault, ok := p.(interface {
				runtime.Error
				Addr() uintptr
			})
			if !ok {
				panic(p)
			}
			f.unmap()
			err = fault
		}
	}()
	to := f.pages[at : at+int64(len(commit))]
	copy(to[4:], commit[4:])
	binary.LittleEndian.PutUint32(to, binary.LittleEndian.Uint32(commit))
	return nil
}

// unmap gives the pages up, for good.
func (f *spoolFile) unmap() {
	f.commits = math.MinInt
	if f.pages != nil {
		_ = unmapFile(f.pages) // it is one mapping, whole: that does not fail
		f.pages = nil
	}
}

func (f *spoolFile) release() error {
	if f.refs--; f.refs > 0 {
		return nil
	}
	return f.Close()
}

// Close also gives the pages up.
func (f *spoolFile) Close() error {
	f.unmap()
	return f.File.Close()
}
