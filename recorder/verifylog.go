package recorder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// A checkpoint is the verified content of one.
type checkpoint struct {
	origin string
	size   int64
	root   tlog.Hash
}

// log checks the log and takes up its entries. It returns false if there is
// nothing to compare the objects with.
func (v *verification) log(ctx context.Context) (ok bool, err error) {
	b, err := get(ctx, v.store, checkpointName, maxCheckpoint)
	if errors.Is(err, fs.ErrNotExist) {
		v.found(Missing, checkpointName, "without it nothing is proved")
		return false, nil
	}
	if err != nil {
		return false, err
	}
	c, err := v.openCheckpoint(b)
	if err != nil {
		v.found(Unsigned, checkpointName, "%v", err)
		return false, nil
	}
	v.report.Origin, v.report.Entries, v.report.Checkpoint = c.origin, c.size, string(b)
	bundles, err := v.readBundles(ctx, c.size)
	if err != nil {
		return false, err
	}
	leaves := v.resolve(bundles, c)
	if err := v.checkTiles(ctx, leaves, c.size); err != nil {
		return false, err
	}
	v.checkKept(leaves, c)
	if err := v.fillHoles(ctx, bundles); err != nil {
		return false, err
	}
	for _, b := range bundles {
		for i, leaf := range b.leaves {
			if b.sound(i) {
				v.enter(b.n*tileWidth+int64(i), leaf)
			}
		}
	}
	return true, nil
}

// A bundle is a bundle of entries and the tile that should hold their hashes.
type bundle struct {
	n      int64
	width  int
	leaves [][]byte    // nil if the bundle cannot be used
	hashes []tlog.Hash // of leaves
	tile   []tlog.Hash // nil if the tile cannot be used
	chosen []tlog.Hash // the one of both that the checkpoint states
}

// sound reports whether leaf i is what was logged.
func (b *bundle) sound(i int) bool {
	return i < len(b.chosen) && b.hashes[i] == b.chosen[i]
}

func (b *bundle) name() string     { return tilePath(entriesLevel, b.n, b.width) }
func (b *bundle) tileName() string { return tilePath("0", b.n, b.width) }

// readBundles reads the entries and the tiles of level 0.
func (v *verification) readBundles(ctx context.Context, size int64) ([]*bundle, error) {
	var all []*bundle
	for n := int64(0); n*tileWidth < size; n++ {
		b := &bundle{n: n, width: int(min(tileWidth, size-n*tileWidth))}
		data, err := v.logObject(ctx, b.name(), maxBundle)
		if err != nil {
			return nil, err
		}
		if data != nil {
			b.parse(data)
			if b.leaves == nil {
				v.found(Altered, b.name(), "it does not hold %d entries", b.width)
			}
		}
		if b.tile, err = v.readTile(ctx, b); err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}

func (b *bundle) parse(data []byte) {
	var leaves [][]byte
	var hashes []tlog.Hash
	err := entries(data, func(leaf []byte) error {
		leaves = append(leaves, leaf)
		hashes = append(hashes, tlog.RecordHash(leaf))
		return nil
	})
	if err == nil && len(leaves) == b.width {
		b.leaves, b.hashes = leaves, hashes
	}
}

func (v *verification) readTile(ctx context.Context, b *bundle) ([]tlog.Hash, error) {
	data, err := v.logObject(ctx, b.tileName(), tileBytes)
	if err != nil || data == nil {
		return nil, err
	}
	if len(data) != b.width*tlog.HashSize {
		v.found(Altered, b.tileName(), "it has %d bytes, not %d", len(data), b.width*tlog.HashSize)
		return nil, nil
	}
	var tile []tlog.Hash
	for h := range slices.Chunk(data, tlog.HashSize) {
		tile = append(tile, tlog.Hash(h))
	}
	return tile, nil
}

// logObject reads an object of the log. It returns nil if there is none.
func (v *verification) logObject(ctx context.Context, name string, limit int64) ([]byte, error) {
	b, err := get(ctx, v.store, name, limit)
	if errors.Is(err, fs.ErrNotExist) {
		v.found(Missing, name, "a part of the log")
		return nil, nil
	}
	if b == nil && err == nil {
		b = []byte{}
	}
	return b, err
}

// resolve finds out which of the entries and of the tiles are what the
// checkpoint states, reports the others, and returns the leaves' hashes.
func (v *verification) resolve(bundles []*bundle, c checkpoint) []tlog.Hash {
	candidates := []func(*bundle) []tlog.Hash{
		func(b *bundle) []tlog.Hash { return either(b.hashes, b.tile) },
		func(b *bundle) []tlog.Hash { return either(b.tile, b.hashes) },
	}
	var leaves []tlog.Hash
	proved := false
	for _, choose := range candidates {
		leaves = leaves[:0]
		for _, b := range bundles {
			b.chosen = choose(b)
			leaves = append(leaves, b.chosen...)
		}
		if int64(len(leaves)) == c.size && rootOf(frontierOf(leaves).roots) == c.root {
			proved = true
			break
		}
	}
	if !proved && int64(len(leaves)) == c.size { // else the reason is reported
		v.found(Forked, checkpointName, "the log's entries are not those that it states")
	}
	for _, b := range bundles {
		v.reportDifference(b, proved)
	}
	return leaves
}

func (v *verification) reportDifference(b *bundle, proved bool) {
	if b.hashes == nil || b.tile == nil || slices.Equal(b.hashes, b.tile) {
		return // or reported already
	}
	if !proved {
		v.found(Altered, b.name(), "it and %s do not agree", b.tileName())
		return
	}
	if slices.Equal(b.chosen, b.hashes) {
		v.found(Altered, b.tileName(), "its hashes are not those of the entries")
		return
	}
	for i := range b.hashes {
		if b.hashes[i] != b.tile[i] {
			v.found(Altered, b.name(), "entry %d is not what was logged", b.n*tileWidth+int64(i))
		}
	}
}

func either(a, b []tlog.Hash) []tlog.Hash {
	if a != nil {
		return a
	}
	return b
}

func frontierOf(leaves []tlog.Hash) *frontier {
	f := new(frontier)
	for _, h := range leaves {
		f.add(h)
	}
	return f
}

// checkTiles compares the tiles above level 0 with what the leaves make them.
func (v *verification) checkTiles(ctx context.Context, leaves []tlog.Hash, size int64) error {
	if int64(len(leaves)) != size {
		return nil // the reason is reported
	}
	hashes := leaves
	for level := 1; len(hashes) >= tileWidth; level++ {
		var above []tlog.Hash
		for tile := range slices.Chunk(hashes[:len(hashes)/tileWidth*tileWidth], tileWidth) {
			above = append(above, rootOf(frontierOf(tile).roots))
		}
		hashes = above
		n := int64(0)
		for tile := range slices.Chunk(hashes, tileWidth) {
			name := tilePath(fmt.Sprint(level), n, len(tile))
			data, err := v.logObject(ctx, name, tileBytes)
			if err != nil {
				return err
			}
			var want []byte
			for _, h := range tile {
				want = append(want, h[:]...)
			}
			if data != nil && !bytes.Equal(data, want) {
				v.found(Altered, name, "its hashes are not those of the tiles below")
			}
			n++
		}
	}
	return nil
}

// checkKept compares the log with the checkpoint that was kept.
func (v *verification) checkKept(leaves []tlog.Hash, c checkpoint) {
	if v.o.Kept == nil {
		return
	}
	kept, err := v.openCheckpoint(v.o.Kept)
	switch {
	case err != nil:
		v.found(Unsigned, "the kept checkpoint", "%v", err)
	case kept.size > c.size:
		v.found(RolledBack, checkpointName, "it states %d entries, the kept checkpoint %d", c.size, kept.size)
	case kept.size > int64(len(leaves)):
		// The log could not be read, which is reported.
	case rootOf(frontierOf(leaves[:kept.size]).roots) != kept.root:
		v.found(Forked, checkpointName, "the first %d entries are not those that the kept checkpoint states", kept.size)
	}
}
