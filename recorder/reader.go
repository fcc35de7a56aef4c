package recorder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"
	"time"

	"gatehouse/core/event"
)

// Limits of a Query.
const (
	DefaultListLimit = 100
	MaxListLimit     = 1000
)

// ErrNotFound means that there is no recording of that session.
var ErrNotFound = errors.New("no such recording")

// A Reader reads recordings. What it reads is hostile: it bounds what it
// allocates and returns errors. It does not verify what it reads; Verify does.
// It is safe for concurrent use.
type Reader struct {
	store Store
	live  *Recorder // nil for what is stored alone

	identities Identities
}

// NewReader returns a reader of what is in store.
func NewReader(store Store) *Reader { return &Reader{store: store} }

// Reader returns a reader of what r stored and of what is still in its spool:
// of running sessions it reads everything that is committed.
func (r *Recorder) Reader() *Reader { return &Reader{store: r.o.Store, live: r} }

// With returns a reader that opens encrypted recordings with ids.
func (r *Reader) With(ids Identities) *Reader {
	c := *r
	c.identities = ids
	return &c
}

// A Query selects recordings.
type Query struct {
	// Day limits the list to a year, month or day: "2026", "2026/11",
	// "2026/11/23", in UTC.
	Day string
	// Before is the Key of the last Summary of the page before.
	Before string
	// Limit is how many to return at most: DefaultListLimit if zero, and
	// never more than MaxListLimit.
	Limit int
}

// Key is the session's place among the recordings: "2026/11/23/ID". Later
// sessions have greater keys.
func (s *Summary) Key() string { return s.Start.UTC().Format("2006/01/02") + "/" + s.ID }

// List returns recordings, newest first. One that cannot be summarised is
// listed with its ID and the Code "unreadable".
func (r *Reader) List(ctx context.Context, q Query) ([]Summary, error) {
	limit := q.Limit
	if limit <= 0 {
		limit = DefaultListLimit
	}
	limit = min(limit, MaxListLimit)
	var list []Summary
	for key, err := range r.keys(ctx, q) {
		if err != nil {
			return nil, fmt.Errorf("list recordings: %w", err)
		}
		s, err := r.summary(ctx, key)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("list recordings: %w", ctx.Err())
		}
		if err != nil {
			s = Summary{ID: path.Base(key), Code: "unreadable", Reason: err.Error(), Open: true}
			s.Start, _ = time.Parse("2006/01/02", path.Dir(key)) // so that it has that key
		}
		if list = append(list, s); len(list) == limit {
			break
		}
	}
	return list, nil
}

// keys yields the keys that q selects, the greatest first.
func (r *Reader) keys(ctx context.Context, q Query) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		live := r.liveKeys(q)
		for key, err := range storedKeys(ctx, r.store, "sessions/", keyElements, q) {
			if err != nil {
				yield("", err)
				return
			}
			for len(live) > 0 && live[0] > key {
				if !yield(live[0], nil) {
					return
				}
				live = live[1:]
			}
			if len(live) > 0 && live[0] == key {
				live = live[1:]
			}
			if !yield(key, nil) {
				return
			}
		}
		for _, key := range live {
			if !yield(key, nil) {
				return
			}
		}
	}
}

// selects reports whether the key, or one in the folder of that key, can be
// meant.
func (q *Query) selects(key string) bool {
	day := strings.Trim(q.Day, "/")
	if day != "" {
		day += "/"
		if !strings.HasPrefix(key+"/", day) && !strings.HasPrefix(day, key+"/") {
			return false
		}
	}
	if q.Before == "" {
		return true
	}
	if strings.Count(key, "/") == 3 {
		return key < q.Before
	}
	return key <= q.Before[:min(len(key), len(q.Before))]
}

// A Key has so many elements, and that of a day.
const (
	keyElements = 4
	dayElements = 3
)

// storedKeys yields the keys in a folder, or the first elements of each, the
// greatest first.
func storedKeys(ctx context.Context, store Store, folder string, elements int, q Query) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		var keys []string
		for name, err := range store.List(ctx, folder) {
			if err != nil {
				yield("", err)
				return
			}
			key := strings.TrimSuffix(strings.TrimPrefix(name, "sessions/"), "/")
			if strings.HasSuffix(name, "/") && validKey(key) && q.selects(key) {
				keys = append(keys, key)
			}
		}
		slices.Sort(keys)
		for _, key := range slices.Backward(keys) {
			if strings.Count(key, "/") == elements-1 {
				if !yield(key, nil) {
					return
				}
				continue
			}
			for key, err := range storedKeys(ctx, store, "sessions/"+key+"/", elements, q) {
				if !yield(key, err) || err != nil {
					return
				}
			}
		}
	}
}

// validKey reports whether key is the beginning of a Key, or one.
func validKey(key string) bool {
	widths := []int{4, 2, 2}
	for i, p := range strings.Split(key, "/") {
		switch {
		case i < 3 && (len(p) != widths[i] || strings.Trim(p, "0123456789") != ""):
			return false
		case i == 3 && !ValidID(p), i > 3:
			return false
		}
	}
	return true
}

// Find returns the key of the session with that ID.
func (r *Reader) Find(ctx context.Context, id string) (string, error) {
	if !ValidID(id) {
		return "", fmt.Errorf("find recording %q: %w", id, ErrNotFound)
	}
	if s := r.session(id); s != nil {
		sum := newSummary(&s.info)
		return sum.Key(), nil
	}
	for day, err := range storedKeys(ctx, r.store, "sessions/", dayElements, Query{}) {
		if err != nil {
			return "", fmt.Errorf("find recording: %w", err)
		}
		for _, err := range r.store.List(ctx, "sessions/"+day+"/"+id+"/") {
			if err != nil {
				return "", fmt.Errorf("find recording: %w", err)
			}
			return day + "/" + id, nil
		}
	}
	return "", fmt.Errorf("find recording %s: %w", id, ErrNotFound)
}

// Summary returns the summary of the session with that ID.
func (r *Reader) Summary(ctx context.Context, id string) (Summary, error) {
	key, err := r.Find(ctx, id)
	if err != nil {
		return Summary{}, err
	}
	return r.summary(ctx, key)
}

func (r *Reader) summary(ctx context.Context, key string) (Summary, error) {
	if s := r.session(path.Base(key)); s != nil {
		return s.summary(), nil
	}
	m, err := readManifest(ctx, r.store, key)
	if err == nil {
		if m.Private != nil {
			if err := m.reveal(m.Private, r.identities); err != nil && !errors.Is(err, ErrNoIdentity) {
				return Summary{}, err
			}
		}
		return m.Summary, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return Summary{}, err
	}
	return r.summaryOfPieces(ctx, key)
}

func readManifest(ctx context.Context, store Store, key string) (*Manifest, error) {
	b, err := get(ctx, store, "sessions/"+key+"/"+manifestName, maxManifest)
	if err != nil {
		return nil, err
	}
	m, err := parseManifest(b)
	if err == nil && m.Key() != key {
		err = errors.New("manifest: of another session")
	}
	return m, err
}

func parseManifest(b []byte) (*Manifest, error) {
	m := new(Manifest)
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if m.Format != manifestFormat || !ValidID(m.ID) {
		return nil, errors.New("manifest: malformed")
	}
	return m, nil
}

// summaryOfPieces summarises a session without a manifest. Its counts are
// those of its first and last piece.
func (r *Reader) summaryOfPieces(ctx context.Context, key string) (Summary, error) {
	sequences, _, err := r.pieces(ctx, key)
	if err != nil {
		return Summary{}, err
	}
	var sum Summary
	for f, err := range r.pieceFrames(ctx, key, sequences[0], nil) {
		if errors.Is(err, ErrNoIdentity) {
			sum = Summary{ID: path.Base(key), Encrypted: true}
			break
		}
		if err != nil {
			return sum, err
		}
		var s event.Session
		if f.Kind != event.KindOpen || s.Decode(f.Payload) != nil {
			return sum, fmt.Errorf("%w: does not begin with its session", ErrMalformed)
		}
		sum = newSummary(&s)
		break
	}
	ends := slices.Compact([]uint64{sequences[0], sequences[len(sequences)-1]})
	for _, q := range ends {
		h, err := r.header(ctx, key, q)
		if err != nil {
			return sum, err
		}
		if sum.Start.IsZero() {
			sum.Start, sum.End = h.Start.UTC(), h.Start.UTC()
		}
		sum.add(&h)
		sum.Frames = h.First + h.Frames
	}
	if sum.Key() != key {
		return sum, fmt.Errorf("%w: of another session", ErrMalformed)
	}
	return sum, nil
}

// pieces returns the sequences of the stored pieces, in order, and whether
// there is a manifest.
func (r *Reader) pieces(ctx context.Context, key string) (sequences []uint64, manifest bool, err error) {
	folder := "sessions/" + key + "/"
	for name, err := range r.store.List(ctx, folder) {
		if err != nil {
			return nil, false, err
		}
		if q, ok := pieceSequence(strings.TrimPrefix(name, folder)); ok {
			sequences = append(sequences, q)
		}
		manifest = manifest || name == folder+manifestName
	}
	slices.Sort(sequences)
	if len(sequences) == 0 {
		return nil, manifest, ErrNotFound
	}
	return sequences, manifest, nil
}

func pieceSequence(name string) (q uint64, ok bool) {
	if _, err := fmt.Sscanf(name, "%d.piece", &q); err != nil {
		return 0, false
	}
	return q, q <= 1<<32 && name == fmt.Sprintf("%06d.piece", q)
}

func (r *Reader) header(ctx context.Context, key string, q uint64) (Header, error) {
	rc, err := r.open(ctx, key, q)
	if err != nil {
		return Header{}, err
	}
	defer rc.Close()
	return readHeader(rc)
}

func (r *Reader) open(ctx context.Context, key string, q uint64) (io.ReadCloser, error) {
	return r.store.Get(ctx, fmt.Sprintf("sessions/%s/%06d.piece", key, q))
}
