package recorder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// A checkpoint is the verified content of one.
type checkpoint struct {
	origin string
	size   int64
	root   tlog.Hash
	keys   []publicKey // that signed it
}

// log checks the log and takes up its entries. It returns false if there is
// nothing to compare the objects with.
func (v *verification) log(ctx context.Context) (ok bool, err error) {
	b, err := v.readCheckpoint(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		v.found(Missing, checkpointName, "without it nothing is proved")
		return false, nil
	}
	if err != nil && !errors.Is(err, errTooLarge) {
		return false, err
	}
	c, err := v.openCheckpoint(b)
	if errors.Is(err, errUnsigned) {
		// It may be signed by a later key.
		if err := v.followKeys(ctx, b); err != nil {
			return false, err
		}
		c, err = v.openCheckpoint(b)
	}
	if err != nil {
		v.found(Unsigned, checkpointName, "%v", err)
		return false, nil
	}
	v.report.Origin, v.report.Entries, v.report.Checkpoint = c.origin, c.size, string(b)
	if err := v.compareCheckpoints(ctx, c); err != nil {
		return false, err
	}
	bundles, err := v.readBundles(ctx, c.size)
	if err != nil {
		return false, err
	}
	leaves, err := v.resolve(ctx, bundles, c)
	if err != nil {
		return false, err
	}
	if err := v.checkTiles(ctx, leaves, c.size); err != nil {
		return false, err
	}
	if err := v.fillHoles(ctx, bundles); err != nil {
		return false, err
	}
	v.checkKeys(bundles, c)
	v.checkKept(leaves, c)
	for _, b := range bundles {
		v.recent = append(v.recent, time.Time{})
		for i, leaf := range b.leaves {
			if b.sound(i) {
				v.enter(b.n*tileWidth+int64(i), leaf)
			}
		}
	}
	return true, v.checkLogLocks(ctx)
}

// A bundle is a bundle of entries and the tile that should hold their hashes.
type bundle struct {
	n      int64
	width  int
	leaves [][]byte    // nil if the bundle cannot be used
	hashes []tlog.Hash // of leaves
	tile   []tlog.Hash // nil if the tile cannot be used
	chosen []tlog.Hash // the one of both that was logged; nil if neither is known to be
	sure   bool        // chosen is confirmed by another object
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
	b, err := v.readFirst(ctx, name, limit)
	if errors.Is(err, fs.ErrNotExist) {
		v.found(Missing, name, "a part of the log")
		return nil, nil
	}
	if errors.Is(err, errTooLarge) {
		v.found(Altered, name, "%v", errTooLarge)
		return nil, nil
	}
	if b == nil && err == nil {
		b = []byte{}
	}
	return b, err
}

// resolve finds out which of the entries and of the tiles are what the
// checkpoint states and reports the others. It returns the leaves' hashes, nil
// if they are not all known.
func (v *verification) resolve(ctx context.Context, bundles []*bundle, c checkpoint) ([]tlog.Hash, error) {
	above, err := v.readAbove(ctx, c.size)
	if err != nil {
		return nil, err
	}
	for _, b := range bundles {
		b.choose(above)
	}
	leaves, proved := prove(bundles, c)
	if !proved {
		for _, b := range bundles {
			if !b.sure {
				b.chosen = either(b.tile, b.hashes)
			}
		}
		leaves, proved = prove(bundles, c)
	}
	sure := true
	for _, b := range bundles {
		b.sure = b.sure || proved
		sure = sure && b.sure
		v.reportUnchosen(b)
	}
	switch {
	case !sure:
		return nil, nil
	case !proved:
		v.found(Forked, checkpointName, "the log's entries are not those that it states")
	}
	return leaves, nil
}

// readAbove reads the hashes of level 1, as far as they can be had. What is
// wrong with them is reported by checkTiles.
func (v *verification) readAbove(ctx context.Context, size int64) (above []tlog.Hash, err error) {
	full := size / tileWidth
	for n := int64(0); n*tileWidth < full; n++ {
		width := int(min(tileWidth, full-n*tileWidth))
		b, err := get(ctx, v.store, tilePath("1", n, width), tileBytes)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errTooLarge) {
			return nil, err
		}
		b = append(b, make([]byte, tileBytes)...)[:width*tlog.HashSize]
		for h := range slices.Chunk(b, tlog.HashSize) {
			above = append(above, tlog.Hash(h))
		}
	}
	return above, nil
}

// choose prefers what another object confirms.
func (b *bundle) choose(above []tlog.Hash) {
	b.chosen = either(b.hashes, b.tile)
	b.sure = b.hashes != nil && slices.Equal(b.hashes, b.tile)
	if b.n >= int64(len(above)) {
		return
	}
	for _, hashes := range [][]tlog.Hash{b.hashes, b.tile} {
		if hashes != nil && rootOf(frontierOf(hashes).roots) == above[b.n] {
			b.chosen, b.sure = hashes, true
			return
		}
	}
}

// prove compares what was chosen with the checkpoint.
func prove(bundles []*bundle, c checkpoint) (leaves []tlog.Hash, proved bool) {
	for _, b := range bundles {
		leaves = append(leaves, b.chosen...)
	}
	return leaves, int64(len(leaves)) == c.size && rootOf(frontierOf(leaves).roots) == c.root
}

// reportUnchosen reports what is there of a bundle and was not chosen.
func (v *verification) reportUnchosen(b *bundle) {
	if !b.sure {
		b.chosen = nil
	}
	if b.tile != nil && !slices.Equal(b.tile, b.chosen) {
		v.found(Altered, b.tileName(), "its hashes are not what was logged")
	}
	switch {
	case b.hashes == nil || slices.Equal(b.hashes, b.chosen):
	case b.chosen == nil:
		v.found(Altered, b.name(), "its entries are not what was logged")
	default:
		for i := range b.hashes {
			if b.hashes[i] != b.chosen[i] {
				v.found(Altered, b.name(), "entry %d is not what was logged", b.n*tileWidth+int64(i))
			}
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
	if leaves == nil {
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
	case !v.reigned(kept):
		v.found(Unsigned, "the kept checkpoint", "%v", errReplaced)
	case kept.size > c.size:
		v.found(RolledBack, checkpointName, "it states %d entries, the kept checkpoint %d", c.size, kept.size)
	case leaves == nil && kept.size > 0:
		// The log could not be read, which is reported.
	case rootOf(frontierOf(leaves[:kept.size]).roots) != kept.root:
		v.found(Forked, checkpointName, "the first %d entries are not those that the kept checkpoint states", kept.size)
	}
}
