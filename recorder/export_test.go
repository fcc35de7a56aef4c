package recorder

import (
	"bytes"
	"errors"
	"os"
)

// Crash ends r as the end of its process would, except that memory is kept:
// nothing is closed, sealed or stored any more.
func (r *Recorder) Crash() error {
	r.cancel()
	r.work.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	var errs []error
	for _, s := range r.sessions {
		s.mu.Lock()
		if s.file != nil {
			errs = append(errs, s.file.Close())
		}
		s.mu.Unlock()
	}
	return errors.Join(append(errs, r.lock.Close())...)
}

// Break makes the session's next write fail.
func (s *Session) Break() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.file.Close()
}

// Memory is a store in memory, for reading.
type Memory = memory

// SetSync puts sync in the place of fsync.
func (o *Options) SetSync(sync func(*os.File) error) { o.disk.sync = sync }

// Committed returns the frames in a part's file, and how much else is in it.
func Committed(file []byte) (frames []byte, torn int) { return committed(bytes.Clone(file)) }

// NewCommit returns frames as a part's file has them.
func NewCommit(frames []byte) []byte {
	b := append(make([]byte, commitHead), frames...)
	stamp([][]byte{b})
	return b
}

// SetMapAfter has a spool file mapped after n commits.
func (o *Options) SetMapAfter(n int) { o.disk.mapAfter = n }

// SetWrite puts write in the place of writing to the spool's files.
func (o *Options) SetWrite(write func(*os.File, []byte) (int, error)) { o.disk.write = write }

// RewritePiece returns a piece with other frames and a header to match, as
// somebody would make it who has not the signing key.
func RewritePiece(b []byte, change func(frames [][]byte) [][]byte) ([]byte, error) {
	r := bytes.NewReader(b)
	h, err := readHeader(r)
	if err != nil {
		return nil, err
	}
	var frames [][]byte
	for f, err := range bodyFrames(&h, r, nil) {
		if err != nil {
			return nil, err
		}
		frames = append(frames, f.Append(nil))
	}
	frames = change(frames)
	z, err := newEncoder()
	if err != nil {
		return nil, err
	}
	body := bytes.Join(frames, nil)
	h.Frames, h.Size = uint64(len(frames)), uint64(len(body))
	return encodePiece(z, nil, &h, body, nil)
}
