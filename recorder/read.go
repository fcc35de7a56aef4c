package recorder

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"iter"
	"path"

	"gatehouse/core/event"
)

// Frames yields the frames of the session with that ID, in order. A frame is
// valid until the next. It ends with an error if the recording has a gap or is
// malformed; of a session that is not closed it yields what there is so far.
func (r *Reader) Frames(ctx context.Context, id string) iter.Seq2[event.Frame, error] {
	return func(yield func(event.Frame, error) bool) {
		key, err := r.Find(ctx, id)
		if err != nil {
			yield(event.Frame{}, err)
			return
		}
		frames := r.storedFrames(ctx, key)
		if s := r.session(id); s != nil {
			frames = r.liveFrames(ctx, key, s)
		}
		for f, err := range frames {
			if err != nil {
				err = fmt.Errorf("read recording %s: %w", id, err)
			}
			if !yield(f, err) || err != nil {
				return
			}
		}
	}
}

// storedFrames yields the frames of all stored pieces.
func (r *Reader) storedFrames(ctx context.Context, key string) iter.Seq2[event.Frame, error] {
	return func(yield func(event.Frame, error) bool) {
		sequences, manifest, err := r.pieces(ctx, key)
		if err != nil {
			yield(event.Frame{}, err)
			return
		}
		var at position
		for i, q := range sequences {
			if q != uint64(i) {
				yield(event.Frame{}, fmt.Errorf("piece %d is missing", i))
				return
			}
			for f, err := range r.pieceFrames(ctx, key, q, &at) {
				if !yield(f, err) || err != nil {
					return
				}
			}
			if at.header.Last && i < len(sequences)-1 {
				yield(event.Frame{}, fmt.Errorf("there are pieces after the last, %d", q))
				return
			}
		}
		if manifest && !at.header.Last {
			yield(event.Frame{}, fmt.Errorf("piece %d is missing", len(sequences)))
		}
	}
}

// A position is the piece that was read last.
type position struct {
	header Header
	digest Digest
}

// pieceFrames yields the frames of one stored piece. If at is not nil the piece
// must follow it, and it is set to the piece once that is read.
func (r *Reader) pieceFrames(ctx context.Context, key string, q uint64, at *position) iter.Seq2[event.Frame, error] {
	return func(yield func(event.Frame, error) bool) {
		rc, err := r.open(ctx, key, q)
		if err != nil {
			yield(event.Frame{}, err)
			return
		}
		defer rc.Close()
		sum := sha256.New()
		body := io.TeeReader(io.LimitReader(storeReader{rc}, maxObject), sum)
		h, err := readHeader(body)
		if err == nil {
			err = h.follows(path.Base(key), q, at)
		}
		if err != nil {
			yield(event.Frame{}, err)
			return
		}
		for f, err := range bodyFrames(&h, body, r.identities) {
			if !yield(f, err) || err != nil {
				return
			}
		}
		if at != nil {
			at.header = h
			sum.Sum(at.digest[:0])
		}
	}
}

// follows checks that h is piece q of the session, and the one after at.
func (h *Header) follows(session string, q uint64, at *position) error {
	if h.Session != session || h.Sequence != q {
		return fmt.Errorf("piece %d: %w: it is piece %d of session %s", q, ErrMalformed, h.Sequence, h.Session)
	}
	if at != nil && (h.Previous != at.digest || h.First != at.header.First+at.header.Frames) {
		return fmt.Errorf("piece %d: %w: it does not follow the piece before", q, ErrMalformed)
	}
	return nil
}
