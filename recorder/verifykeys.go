package recorder

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strconv"
)

var errReplaced = errors.New("signed by a key that the log says was replaced before")

// followKeys trusts the keys that rotations lead to from trusted ones. It looks
// for them in a log of which nothing is proved yet: each proves itself by the
// signatures of both its keys. It reads no more bundles than there are.
func (v *verification) followKeys(ctx context.Context, checkpoint []byte) error {
	lines := bytes.SplitN(checkpoint, []byte("\n"), 3)
	if len(lines) < 3 {
		return nil
	}
	size, err := strconv.ParseInt(string(lines[1]), 10, 64)
	if err != nil {
		return nil
	}
	var found []rotation
	for n := int64(0); n*tileWidth < size; n++ {
		b := bundle{n: n, width: int(min(tileWidth, size-n*tileWidth))}
		data, err := get(ctx, v.store, b.name(), maxBundle)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errTooLarge) {
			break
		}
		if err != nil {
			return err
		}
		_ = entries(data, func(leaf []byte) error { // what is malformed is reported later
			var e entry
			if e.decode(leaf) == nil && e.Rotation != nil {
				if r, err := parseRotation(e.Rotation); err == nil {
					found = append(found, r)
				}
			}
			return nil
		})
	}
	v.trust(found)
	return nil
}

// trust adds the keys that rotations link to trusted ones, in both directions:
// the keys of a rotation vouch for each other.
func (v *verification) trust(rotations []rotation) {
	for grown := true; grown; {
		grown = false
		for _, r := range rotations {
			old, new := v.trusts(r.old), v.trusts(r.new)
			if old != new {
				grown = true
				if old {
					v.keys = append(v.keys, r.new)
				} else {
					v.keys = append(v.keys, r.old)
				}
			}
		}
	}
}

func (v *verification) trusts(key publicKey) bool {
	return slices.ContainsFunc(v.keys, func(k publicKey) bool { return k.text == key.text })
}

// checkKeys takes up the rotations in the log and checks that its checkpoint is
// signed by the last key.
func (v *verification) checkKeys(bundles []*bundle, c checkpoint) {
	for _, b := range bundles {
		for i, leaf := range b.leaves {
			var e entry
			if !b.sound(i) || e.decode(leaf) != nil || e.Rotation == nil {
				continue
			}
			r, err := parseRotation(e.Rotation)
			if err != nil {
				v.found(Broken, logFolder, "entry %d: %v", b.n*tileWidth+int64(i), err)
				continue
			}
			r.index = b.n*tileWidth + int64(i)
			if n := len(v.rotations); n > 0 && v.rotations[n-1].new.text != r.old.text {
				v.found(Broken, logFolder, "entry %d: it replaces a key that was not the log's", r.index)
				continue
			}
			v.rotations = append(v.rotations, r)
		}
	}
	v.trust(v.rotations)
	if !v.reigned(c) {
		v.found(Unsigned, checkpointName, "%v", errReplaced)
	}
}

// reigned reports whether a key that signed a checkpoint was the log's at that
// size.
func (v *verification) reigned(c checkpoint) bool {
	for _, key := range c.keys {
		replaced := slices.ContainsFunc(v.rotations, func(r rotation) bool { return r.old.text == key.text && c.size > r.index })
		early := slices.ContainsFunc(v.rotations, func(r rotation) bool { return r.new.text == key.text && c.size <= r.index })
		if !replaced && !early {
			return true
		}
	}
	return false
}
