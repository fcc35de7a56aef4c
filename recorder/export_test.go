package recorder

import (
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
func (o *Options) SetSync(sync func(*os.File) error) { o.sync = sync }
