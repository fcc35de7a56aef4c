package recorder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// fillHoles finds entries that were altered or lost, where the tile still has
// their hashes: an object that is as it was logged gives the same entry again.
// So an attack on the log does not throw suspicion on recordings.
func (v *verification) fillHoles(ctx context.Context, bundles []*bundle) error {
	holes := make(map[tlog.Hash]func(leaf []byte))
	for _, b := range bundles {
		if b.chosen == nil {
			v.holes, v.blind = true, true
			continue
		}
		if b.leaves == nil {
			b.leaves, b.hashes = make([][]byte, b.width), make([]tlog.Hash, b.width)
		}
		for i := range b.chosen {
			if !b.sound(i) {
				holes[b.chosen[i]] = func(leaf []byte) { b.leaves[i], b.hashes[i] = leaf, b.chosen[i] }
			}
		}
	}
	if len(holes) == 0 {
		return nil
	}
	for key, err := range storedKeys(ctx, v.store, "sessions/", keyElements, Query{}) {
		if err != nil {
			return err
		}
		for name, err := range v.store.List(ctx, "sessions/"+key+"/") {
			if err != nil {
				return err
			}
			leaf, err := v.leafOf(ctx, name)
			if err != nil {
				return err
			}
			if fill := holes[tlog.RecordHash(leaf)]; leaf != nil && fill != nil {
				fill(leaf)
				delete(holes, tlog.RecordHash(leaf))
			}
		}
	}
	v.holes = v.holes || len(holes) > 0
	return nil
}

// leafOf returns the entry that an object would have; nil if it can have none.
func (v *verification) leafOf(ctx context.Context, name string) ([]byte, error) {
	if strings.HasSuffix(name, "/") {
		return nil, nil
	}
	c := check{object: name}
	if err := v.read(ctx, &c, false); err != nil || !c.there {
		return nil, err
	}
	e := entry{Object: name, Digest: c.got}
	if strings.HasSuffix(name, ".piece") {
		r, err := v.store.Get(ctx, name)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		var raw bytes.Buffer
		h, err := readHeader(io.TeeReader(storeReader{r}, &raw))
		var failed *readError
		if errors.As(err, &failed) {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		if err != nil || h.Object() != name {
			return nil, nil
		}
		e.Header = raw.Bytes()[len(pieceMagic)+4:]
	}
	return e.append(nil), nil
}
