package recorder_test

import (
	"path/filepath"
	"testing"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"

	"gatehouse/recorder"
)

// leafHashes are those of a bundle's entries, as a public client parses it.
func leafHashes(bundle []byte) ([][]byte, error) {
	var b api.EntryBundle
	if err := b.UnmarshalText(bundle); err != nil {
		return nil, err
	}
	var hashes [][]byte
	for _, e := range b.Entries {
		hashes = append(hashes, rfc6962.DefaultHasher.HashLeaf(e))
	}
	return hashes, nil
}

// TestPublicClientReadsTheLog reads the log with Tessera's client, which knows
// tlog-tiles and nothing of gates: it checks all of the log, the inclusion of
// each entry, and that the log only grows, also past a rotation of the key.
func TestPublicClientReadsTheLog(t *testing.T) {
	g := newGate(t, nil)
	for i := range 150 { // 300 entries, more than a tile
		g.record(t, i, 1)
	}
	g.flush(t)
	ctx, origin := t.Context(), "gate.example/test"
	files := client.FileFetcher{Root: filepath.Join(g.dir, "store", "log")}
	verifier := func() note.Verifier {
		v, err := note.NewVerifier(g.vkey)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	early, _, _, err := client.FetchCheckpoint(ctx, files.ReadCheckpoint, verifier(), origin)
	if err != nil {
		t.Fatal(err)
	}
	g.rotate(t)
	for i := range 10 {
		g.record(t, 500+i, 1)
	}
	g.flush(t)
	late, _, _, err := client.FetchCheckpoint(ctx, files.ReadCheckpoint, verifier(), origin)
	if err != nil {
		t.Fatal(err)
	}
	if early.Size != 300 || late.Size != 321 {
		t.Fatalf("the log has %d entries, then %d", early.Size, late.Size)
	}
	if err := fsck.New(origin, verifier(), files, leafHashes, fsck.Opts{N: 1}).Check(ctx); err != nil {
		t.Errorf("fsck: %v", err)
	}
	proofs, err := client.NewProofBuilder(ctx, late.Size, files.ReadTile)
	if err != nil {
		t.Fatal(err)
	}
	consistency, err := proofs.ConsistencyProof(ctx, early.Size, late.Size)
	if err != nil {
		t.Fatal(err)
	}
	if err := proof.VerifyConsistency(rfc6962.DefaultHasher, early.Size, late.Size, consistency, early.Hash, late.Hash); err != nil {
		t.Errorf("consistency: %v", err)
	}
	for n := uint64(0); n*256 < late.Size; n++ {
		b, err := client.GetEntryBundle(ctx, files.ReadEntryBundle, n, late.Size)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range b.Entries {
			index := n*256 + uint64(i)
			inclusion, err := proofs.InclusionProof(ctx, index)
			if err != nil {
				t.Fatal(err)
			}
			if err := proof.VerifyInclusion(rfc6962.DefaultHasher, index, late.Size, rfc6962.DefaultHasher.HashLeaf(e), inclusion, late.Hash); err != nil {
				t.Errorf("entry %d: %v", index, err)
			}
		}
	}
	wantOK(t, g.verify(t, recorder.VerifyOptions{}))
}
