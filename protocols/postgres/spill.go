package postgres

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
)

// Spills are temporary files for rows that are too long to be held and whose
// length is not known before their last value is treated. Only what clients may
// see is in them.
type spills struct {
	dir   string // "" is the system's own for temporary files
	limit int64  // of all files together, in bytes
	used  atomic.Int64
}

// errSpillsFull is returned beyond the limit.
var errSpillsFull = errors.New("rows that wait on disk take too much of it")

// A spill is one of the files. Write to it, then read it, then close it.
type spill struct {
	of   *spills
	file *os.File
	w    *bufio.Writer
	size int64 // of what was written
	held int64 // of what is in the file
}

// open makes a file that no name leads to, so that it ends with the process.
func (s *spills) open() (*spill, error) {
	f, err := os.CreateTemp(s.dir, "row-*")
	if err != nil {
		return nil, fmt.Errorf("open spill: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("open spill: %w", err), f.Close())
	}
	p := &spill{of: s, file: f}
	p.w = bufio.NewWriterSize(spillFile{p}, maxBuffer)
	return p, nil
}

// A spillFile writes to the file, within the limit.
type spillFile struct{ *spill }

func (f spillFile) Write(b []byte) (int, error) {
	if f.of.used.Add(int64(len(b))) > f.of.limit {
		f.of.used.Add(-int64(len(b)))
		return 0, errSpillsFull
	}
	f.held += int64(len(b))
	return f.file.Write(b)
}

// Write appends b.
func (p *spill) Write(b []byte) (int, error) {
	n, err := p.w.Write(b)
	p.size += int64(n)
	if err != nil {
		err = fmt.Errorf("write spill: %w", err)
	}
	return n, err
}

// set replaces what is at off, which was written, by b, which is no longer.
func (p *spill) set(off int64, b []byte) error {
	err := p.w.Flush()
	if err == nil {
		_, err = p.file.WriteAt(b, off)
	}
	if err != nil {
		return fmt.Errorf("write spill: %w", err)
	}
	return nil
}

// section returns a reader of what was written from from to to.
func (p *spill) section(from, to int64) (io.Reader, error) {
	if err := p.w.Flush(); err != nil {
		return nil, fmt.Errorf("write spill: %w", err)
	}
	return io.NewSectionReader(p.file, from, to-from), nil
}

// close gives the file's space back.
func (p *spill) close() {
	p.of.used.Add(-p.held)
	_ = p.file.Close() // nothing in it is needed any more
}
