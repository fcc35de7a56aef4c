package postgres

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
)

// Spills are temporary files for rows that are too long to be held and whose
// length is not known before their last treated value is. Only what clients may
// see is in them.
type spills struct {
	dir   string // "" is the system's own for temporary files
	limit int64  // of all files together, in bytes
	held  int    // how much of each is in memory, in bytes
	used  atomic.Int64
}

// errSpillsFull is returned beyond the limit.
var errSpillsFull = errors.New("rows that wait on disk take too much of it")

// A spill is one of the files and the last that was written to it, which is in
// memory. There is no file before that is more than is held. Write to it, then
// read it, then close it.
type spill struct {
	of   *spills
	file *os.File // or nil
	held int64    // of what is in the file
	buf  []byte   // what is behind that
	size int64    // of what was written
}

// Write appends b.
func (p *spill) Write(b []byte) (int, error) {
	if len(p.buf)+len(b) > p.of.held {
		if err := p.store(p.buf); err != nil {
			return 0, err
		}
		p.buf = p.buf[:0]
	}
	if len(b) > p.of.held {
		if err := p.store(b); err != nil {
			return 0, err
		}
	} else {
		p.buf = append(p.buf, b...)
	}
	p.size += int64(len(b))
	return len(b), nil
}

// store appends b to the file, within the limit.
func (p *spill) store(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if p.file == nil {
		if err := p.open(); err != nil {
			return fmt.Errorf("open spill: %w", err)
		}
	}
	if p.of.used.Add(int64(len(b))) > p.of.limit {
		p.of.used.Add(-int64(len(b)))
		return fmt.Errorf("write spill: %w", errSpillsFull)
	}
	p.held += int64(len(b))
	if _, err := p.file.Write(b); err != nil {
		return fmt.Errorf("write spill: %w", err)
	}
	return nil
}

// open makes a file that no name leads to, so that it ends with the process.
func (p *spill) open() error {
	f, err := os.CreateTemp(p.of.dir, "row-*")
	if err != nil {
		return err
	}
	p.file = f
	return os.Remove(f.Name())
}

// set replaces what one Write wrote at off by b, which is as long.
func (p *spill) set(off int64, b []byte) error {
	if off >= p.held {
		copy(p.buf[off-p.held:], b)
		return nil
	}
	if _, err := p.file.WriteAt(b, off); err != nil {
		return fmt.Errorf("write spill: %w", err)
	}
	return nil
}

// section returns a reader of what was written from from to to.
func (p *spill) section(from, to int64) io.Reader {
	mid := min(max(from, p.held), to)
	var behind []byte
	if mid < to {
		behind = p.buf[mid-p.held : to-p.held]
	}
	return io.MultiReader(io.NewSectionReader(p.file, from, mid-from), bytes.NewReader(behind))
}

// close gives the file's space back.
func (p *spill) close() {
	p.of.used.Add(-p.held)
	if p.file != nil {
		_ = p.file.Close() // nothing in it is needed any more
	}
}
