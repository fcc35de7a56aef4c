package recorder

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"gatehouse/core/event"
)

// The log is stored under this folder, in the layout of c2sp.org/tlog-tiles.
const (
	logFolder      = "log/"
	checkpointName = logFolder + "checkpoint"
)

const (
	tileWidth = 256
	tileBytes = tileWidth * tlog.HashSize
	maxEntry  = math.MaxUint16
	maxBundle = tileWidth * (2 + maxEntry)
)

// An entry of the log states one stored object. Its encoding is the leaf.
type entry struct {
	Object string
	Digest Digest
	Header []byte // of a piece, encoded; nil for a manifest
	// Rotation is a note that replaces the log's key. There is no object.
	Rotation []byte
}

func (e *entry) append(b []byte) []byte {
	if e.Rotation != nil {
		return event.AppendElement(b, 4, e.Rotation)
	}
	b = event.AppendElement(b, 1, []byte(e.Object))
	b = event.AppendElement(b, 2, e.Digest[:])
	if e.Header != nil {
		b = event.AppendElement(b, 3, e.Header)
	}
	return b
}

func (e *entry) decode(b []byte) error {
	*e = entry{}
	err := event.Elements(b, func(tag uint64, v []byte) error {
		switch tag {
		case 1:
			e.Object = string(v)
		case 2:
			if len(v) != len(e.Digest) {
				return event.ErrMalformed
			}
			copy(e.Digest[:], v)
		case 3:
			e.Header = v
		case 4:
			e.Rotation = v
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("decode log entry: %w", err)
	}
	return nil
}

// entries calls f for each leaf of a bundle.
func entries(bundle []byte, f func(leaf []byte) error) error {
	for len(bundle) > 0 {
		if len(bundle) < 2 {
			return fmt.Errorf("log bundle: %w", event.ErrMalformed)
		}
		n := int(binary.BigEndian.Uint16(bundle))
		if n > len(bundle)-2 {
			return fmt.Errorf("log bundle: %w", event.ErrMalformed)
		}
		if err := f(bundle[2 : 2+n : 2+n]); err != nil {
			return err
		}
		bundle = bundle[2+n:]
	}
	return nil
}

// tilePath returns the name of tile n of a level, or of an entry bundle; a
// width of less than tileWidth makes it a partial one.
func tilePath(level string, n int64, width int) string {
	path := fmt.Sprintf("%03d", n%1000)
	for n >= 1000 {
		n /= 1000
		path = fmt.Sprintf("x%03d/%s", n%1000, path)
	}
	path = logFolder + "tile/" + level + "/" + path
	if width < tileWidth {
		path += fmt.Sprintf(".p/%d", width)
	}
	return path
}

const entriesLevel = "entries"

// An object is something to store.
type object struct {
	Name string
	Data []byte
}

// partial reports whether o is a partial tile or bundle, which a later object
// replaces.
func (o *object) partial() bool { return strings.Contains(o.Name, ".p/") }

// A tree is the right edge of a log: as much as it takes to extend it.
type tree struct {
	Size   int64
	Tiles  [][]byte // the partial tile of each level, maybe empty
	Bundle []byte   // the entries of the partial tile of level 0
}

// add adds a leaf and returns the tiles and the bundle that it completes.
func (t *tree) add(leaf []byte) (complete []object) {
	t.Bundle = binary.BigEndian.AppendUint16(t.Bundle, uint16(len(leaf)))
	t.Bundle = append(t.Bundle, leaf...)
	hash := tlog.RecordHash(leaf)
	n := t.Size
	t.Size++
	for level := 0; ; level++ {
		if level == len(t.Tiles) {
			t.Tiles = append(t.Tiles, nil)
		}
		t.Tiles[level] = append(t.Tiles[level], hash[:]...)
		n /= tileWidth
		if len(t.Tiles[level]) < tileBytes {
			return complete
		}
		complete = append(complete, object{tilePath(fmt.Sprint(level), n, tileWidth), t.Tiles[level]})
		if level == 0 {
			complete = append(complete, object{tilePath(entriesLevel, n, tileWidth), t.Bundle})
			t.Bundle = nil
		}
		hash = rootOf(perfect(nil, t.Tiles[level]))
		t.Tiles[level] = nil
	}
}

// edge returns the partial tiles and the partial bundle.
func (t *tree) edge() (partial []object) {
	n := t.Size
	for level, data := range t.Tiles {
		n /= tileWidth
		width := len(data) / tlog.HashSize
		if width == 0 {
			continue
		}
		partial = append(partial, object{tilePath(fmt.Sprint(level), n, width), data})
		if level == 0 {
			partial = append(partial, object{tilePath(entriesLevel, n, width), t.Bundle})
		}
	}
	return partial
}

// root returns the Merkle tree hash.
func (t *tree) root() tlog.Hash {
	var roots []tlog.Hash
	for level := len(t.Tiles) - 1; level >= 0; level-- {
		roots = perfect(roots, t.Tiles[level])
	}
	return rootOf(roots)
}

// perfect appends the roots of the perfect subtrees, largest first, over the
// hashes in tile.
func perfect(roots []tlog.Hash, tile []byte) []tlog.Hash {
	f := frontier{roots: roots}
	for ; len(tile) >= tlog.HashSize; tile = tile[tlog.HashSize:] {
		f.add(tlog.Hash(tile[:tlog.HashSize]))
	}
	return f.roots
}

// A frontier is the roots of a tree's perfect subtrees, largest first: what it
// takes to compute the hash of a tree that grows.
type frontier struct {
	size  int64
	roots []tlog.Hash
}

func (f *frontier) add(h tlog.Hash) {
	for n := f.size; n&1 == 1; n >>= 1 {
		last := len(f.roots) - 1
		h = tlog.NodeHash(f.roots[last], h)
		f.roots = f.roots[:last]
	}
	f.roots = append(f.roots, h)
	f.size++
}

// rootOf folds the roots of perfect subtrees, largest first, into one.
func rootOf(roots []tlog.Hash) tlog.Hash {
	if len(roots) == 0 {
		return tlog.Hash(digest(nil))
	}
	h := roots[len(roots)-1]
	for i := len(roots) - 2; i >= 0; i-- {
		h = tlog.NodeHash(roots[i], h)
	}
	return h
}

// checkpointText returns the text that the log's key signs.
func checkpointText(origin string, size int64, root tlog.Hash) string {
	return fmt.Sprintf("%s\n%d\n%s\n", origin, size, root)
}

// parseCheckpoint reads a checkpoint's text. Extension lines are allowed.
func parseCheckpoint(text string) (origin string, size int64, root tlog.Hash, err error) {
	lines := strings.Split(text, "\n")
	if len(lines) < 4 || lines[0] == "" {
		return "", 0, root, errCheckpoint
	}
	if _, err := fmt.Sscanf(lines[1], "%d", &size); err != nil || fmt.Sprint(size) != lines[1] || size < 0 || size > 1<<40 {
		return "", 0, root, errCheckpoint
	}
	if root, err = tlog.ParseHash(lines[2]); err != nil || root.String() != lines[2] {
		return "", 0, root, errCheckpoint
	}
	return lines[0], size, root, nil
}

var errCheckpoint = errors.New("malformed checkpoint")
