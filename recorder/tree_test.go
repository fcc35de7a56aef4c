package recorder

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// A tileMap is a stored log, as the reader of another implementation sees it.
type tileMap map[string][]byte

func (m tileMap) Height() int { return 8 }

func (m tileMap) ReadTiles(tiles []tlog.Tile) (data [][]byte, err error) {
	for _, t := range tiles {
		// x/mod puts the height into the path, C2SP does not.
		name := logFolder + strings.Replace(t.Path(), "tile/8/", "tile/", 1)
		b, ok := m[name]
		if !ok {
			return nil, fmt.Errorf("no tile %s", name)
		}
		data = append(data, b)
	}
	return data, nil
}

func (m tileMap) SaveTiles([]tlog.Tile, [][]byte) {}

func leaf(i int64) []byte { return fmt.Appendf(nil, "leaf %d", i) }

// TestTreeIsTheOneOfTheSpecification builds logs and reads them with
// golang.org/x/mod/sumdb/tlog: root, inclusion and consistency.
func TestTreeIsTheOneOfTheSpecification(t *testing.T) {
	sizes := []int64{1, 2, 3, 255, 256, 257, 511, 512, 1000, 65535, 65536, 65537, 70000}
	var tr tree
	stored := tileMap{}
	store := func(objects []object) {
		for _, o := range objects {
			if old, ok := stored[o.Name]; ok && string(old) != string(o.Data) {
				t.Fatalf("%s is stored twice, with other content", o.Name)
			}
			stored[o.Name] = append([]byte(nil), o.Data...)
		}
	}
	roots := map[int64]tlog.Hash{}
	for _, size := range sizes {
		for tr.Size < size {
			store(tr.add(leaf(tr.Size)))
		}
		store(tr.edge())
		roots[size] = tr.root()
	}
	for _, size := range sizes {
		r := tlog.TileHashReader(tlog.Tree{N: size, Hash: roots[size]}, stored)
		if h, err := tlog.TreeHash(size, r); err != nil || h != roots[size] {
			t.Errorf("size %d: root %v, %v, want %v", size, h, err, roots[size])
		}
		for _, i := range []int64{0, size / 3, size - 1} {
			p, err := tlog.ProveRecord(size, i, r)
			if err == nil {
				err = tlog.CheckRecord(p, size, roots[size], i, tlog.RecordHash(leaf(i)))
			}
			if err != nil {
				t.Errorf("size %d: leaf %d: %v", size, i, err)
			}
		}
		for _, old := range sizes {
			if old > size {
				break
			}
			p, err := tlog.ProveTree(size, old, r)
			if err == nil {
				err = tlog.CheckTree(p, size, roots[size], old, roots[old])
			}
			if err != nil {
				t.Errorf("from %d to %d: %v", old, size, err)
			}
		}
	}
	n := int64(0)
	for _, size := range []int64{65536, 70000} { // every entry is in its bundle
		for ; n < size; n += tileWidth {
			width := int(min(tileWidth, size-n))
			i := n
			err := entries(stored[tilePath(entriesLevel, n/tileWidth, width)], func(b []byte) error {
				if string(b) != string(leaf(i)) {
					return fmt.Errorf("entry %d is %q", i, b)
				}
				i++
				return nil
			})
			if err != nil || i != n+int64(width) {
				t.Fatalf("bundle from %d ends at %d: %v", n, i, err)
			}
		}
	}
}

func TestTilePaths(t *testing.T) {
	for want, got := range map[string]string{
		"log/tile/0/000":                    tilePath("0", 0, 256),
		"log/tile/0/x001/x234/067":          tilePath("0", 1234067, 256),
		"log/tile/2/x001/000.p/1":           tilePath("2", 1000, 1),
		"log/tile/entries/273.p/112":        tilePath(entriesLevel, 273, 112),
		"log/tile/entries/x999/x999/999":    tilePath(entriesLevel, 999999999, 256),
		"log/tile/1/x001/x000/x000/000.p/9": tilePath("1", 1000000000, 9),
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestEmptyTree(t *testing.T) {
	want, err := tlog.TreeHash(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := new(tree).root(); got != want {
		t.Errorf("root %v, want %v", got, want)
	}
}
