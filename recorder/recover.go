package recorder

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gatehouse/core/event"
)

// The remains of a session in the spool.
type remains struct {
	chain  bool
	frames []uint64 // sequences, in order
	pieces []uint64
}

// recover takes up what an earlier process left in the spool.
func (r *Recorder) recover() error {
	files, err := os.ReadDir(r.dir) // sorted by name
	if err != nil {
		return err
	}
	found := make(map[string]*remains)
	for _, f := range files {
		name := f.Name()
		if strings.HasSuffix(name, partial) {
			if err := remove(filepath.Join(r.dir, name)); err != nil {
				return err
			}
			continue
		}
		if err := sortFile(found, name); err != nil {
			return err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(found)) {
		if err := r.recoverSession(id, found[id]); err != nil {
			return fmt.Errorf("session %s: %w", id, err)
		}
	}
	return nil
}

func sortFile(found map[string]*remains, name string) error {
	parts := strings.Split(name, ".")
	if !ValidID(parts[0]) {
		return strayFile(name)
	}
	m := found[parts[0]]
	if m == nil {
		m = new(remains)
		found[parts[0]] = m
	}
	if len(parts) == 2 && parts[1] == kindChain {
		m.chain = true
		return nil
	}
	if len(parts) != 3 {
		return strayFile(name)
	}
	sequence, err := strconv.ParseUint(parts[1], 10, 32)
	switch {
	case err == nil && parts[2] == kindPart:
		m.frames = append(m.frames, sequence)
	case err == nil && parts[2] == kindPiece:
		m.pieces = append(m.pieces, sequence)
	default:
		return strayFile(name)
	}
	return nil
}

func strayFile(name string) error {
	return fmt.Errorf("%s is no file of the spool: let the version of the gate that wrote it store it, or move it away", name)
}

// recoverSession takes up one session and closes it.
func (r *Recorder) recoverSession(id string, m *remains) error {
	s := newSession(r, &event.Session{ID: id})
	s.opened, s.ended, s.closed, s.reason = true, true, true, restart
	info, links, whole, err := readChain(s.path(0, kindChain))
	if err != nil {
		return err
	}
	if m.chain {
		if err := os.Truncate(s.path(0, kindChain), whole); err != nil {
			return err
		}
		s.chain.size = whole
	}
	for _, l := range links {
		s.chain.add(l)
		s.open.apply(l.change)
	}
	s.stored, s.sums = s.chain.next, s.chain
	if err := s.recoverPieces(m.pieces, links); err != nil {
		return err
	}
	if err := s.recoverFrames(m.frames); err != nil {
		return err
	}
	if info == nil {
		if info, err = s.firstFrame(); err != nil || info == nil {
			return errors.Join(err, s.discard())
		}
	}
	if info.ID != id {
		return fmt.Errorf("the recording is of session %s", info.ID)
	}
	s.info = *info
	return s.resume()
}

// recoverPieces takes up the sealed pieces. One that is not in the chain yet
// is sealed again from its frames.
func (s *Session) recoverPieces(sequences []uint64, links []*sealed) error {
	for _, q := range sequences {
		if q >= s.chain.next || s.r.log.entered(links[q].header.Object()) {
			if err := remove(s.path(q, kindPiece)); err != nil {
				return err
			}
			continue
		}
		s.stored = min(s.stored, q)
		s.parts = append(s.parts, &part{sequence: q, sealed: links[q], since: links[q].header.From, done: make(chan struct{})})
		s.r.hold(int64(links[q].size))
	}
	return nil
}

func (s *Session) recoverFrames(sequences []uint64) error {
	s.next = s.chain.next
	for _, q := range sequences {
		name := s.path(q, kindPart)
		if q < s.chain.next { // sealed
			if err := remove(name); err != nil {
				return err
			}
			continue
		}
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		if q != s.next || info.Size() > maxPart || s.chain.finished {
			return fmt.Errorf("%s does not belong to the recording", filepath.Base(name))
		}
		s.next++
		s.parts = append(s.parts, &part{sequence: q, size: info.Size(), since: info.ModTime(), done: make(chan struct{})})
		s.r.hold(info.Size())
	}
	return nil
}

// firstFrame reads the session from its KindOpen. It returns nil if nothing of
// the session was committed.
func (s *Session) firstFrame() (*event.Session, error) {
	if len(s.parts) == 0 {
		return nil, nil
	}
	b, _, err := s.readFrames(nil, s.parts[0])
	if err != nil {
		return nil, err
	}
	var f event.Frame
	if _, err := f.Decode(b); err != nil {
		return nil, nil
	}
	if f.Kind != event.KindOpen {
		return nil, errors.New("the recording does not begin with its session")
	}
	info := new(event.Session)
	return info, info.Decode(f.Payload)
}

// discard removes a session of which nothing was committed.
func (s *Session) discard() error {
	var errs []error
	for _, p := range s.parts {
		s.r.hold(-p.size)
		errs = append(errs, remove(s.path(p.sequence, kindPart)))
	}
	return errors.Join(append(errs, remove(s.path(0, kindChain)))...)
}

// resume hands the session to those who seal and store.
func (s *Session) resume() error {
	if !s.chain.finished {
		if s.next == s.chain.next { // nothing is left to seal
			s.parts = append(s.parts, &part{sequence: s.next, done: make(chan struct{})})
			s.next++
		}
		s.parts[len(s.parts)-1].last = true
	} else if len(s.parts) == 0 {
		if s.r.log.entered(manifestObject(&s.info)) {
			return remove(s.path(0, kindChain))
		}
		s.manifestDue = true
	}
	s.r.sessions[s.info.ID] = s
	s.sealing, s.putting = true, true
	s.r.seals.push(s)
	s.r.puts.push(s)
	s.r.o.Logger.Info("recorder: session recovered", "session", s.info.ID, "parts", len(s.parts))
	return nil
}
