package recorder_test

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"gatehouse/recorder"
)

// rotate ends the gate and opens it with the next key.
func (g *gate) rotate(t *testing.T) {
	t.Helper()
	if err := g.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	next, vkey, err := recorder.Rotate(g.options.Key)
	if err != nil {
		t.Fatal(err)
	}
	g.options.Key, g.key, g.vkey = next, next, vkey
	g.open(t)
}

func (g *gate) verifyWith(t *testing.T, vkey string, kept []byte) *recorder.Report {
	t.Helper()
	r, err := recorder.Verify(t.Context(), g.store, vkey, recorder.VerifyOptions{Kept: kept})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestKeyRotation(t *testing.T) {
	for name, lost := range map[string]bool{"spool kept": false, "spool lost": true} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, nil)
			keys := []string{g.vkey}
			var kept [][]byte
			for i := range 3 {
				g.record(t, i, 3)
				g.flush(t)
				kept = append(kept, []byte(g.verify(t, recorder.VerifyOptions{}).Checkpoint))
				if i == 2 {
					break
				}
				if lost {
					g.options.Spool = t.TempDir()
				}
				g.rotate(t)
				keys = append(keys, g.vkey)
			}
			r := g.verify(t, recorder.VerifyOptions{Frames: true})
			if r.Entries != 8 || r.Sessions != 3 {
				t.Errorf("report: %+v", r)
			}
			for i, key := range keys {
				wantOK(t, g.verifyWith(t, key, nil))
				for j, checkpoint := range kept {
					if r := g.verifyWith(t, key, checkpoint); !r.OK() {
						t.Errorf("key %d, checkpoint %d: %v", i, j, r.Problems)
					}
				}
			}
			_, stranger, err := recorder.GenerateKey("gate.example/test")
			if err != nil {
				t.Fatal(err)
			}
			wantProblems(t, g.verifyWith(t, stranger, nil), "unsigned log/checkpoint")
		})
	}
}

// A key that no record names is refused, whichever way round.
func TestKeyWithoutARotation(t *testing.T) {
	g := newGate(t, nil)
	g.record(t, 1, 1)
	g.flush(t)
	old, kept := g.vkey, []byte(g.verify(t, recorder.VerifyOptions{}).Checkpoint)
	if err := g.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var err error
	if g.options.Key, g.vkey, err = recorder.GenerateKey("gate.example/test"); err != nil {
		t.Fatal(err)
	}
	o := g.options
	o.Spool = t.TempDir()
	r, err := recorder.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close(t.Context())
	other := &gate{Recorder: r}
	other.record(t, 2, 1)
	if err := r.Flush(t.Context()); !errors.Is(err, recorder.ErrFork) {
		t.Errorf("a gate with another key went on with the log: %v", err)
	}
	wantProblems(t, g.verifyWith(t, g.vkey, nil), "unsigned log/checkpoint")

	fresh := newGate(t, func(o *recorder.Options) { o.Key = g.options.Key })
	fresh.record(t, 1, 1)
	fresh.record(t, 2, 1)
	fresh.flush(t)
	wantProblems(t, fresh.verifyWith(t, old, nil), "unsigned log/checkpoint")
	wantProblems(t, fresh.verifyWith(t, g.vkey, kept), "unsigned the kept checkpoint")
}

// A thief of the old key cannot go on with the log after its rotation.
func TestReplacedKeyIsRefused(t *testing.T) {
	g := newGate(t, nil)
	g.record(t, 1, 1)
	g.flush(t)
	old, oldKey := g.vkey, g.options.Key
	g.rotate(t)
	g.record(t, 2, 1)
	g.flush(t)
	text, _, _ := strings.Cut(string(g.read(t, "log/checkpoint")), "\n\n")
	s, err := note.NewSigner(oldKey)
	if err != nil {
		t.Fatal(err)
	}
	forged, err := note.Sign(&note.Note{Text: text + "\n"}, s)
	if err != nil {
		t.Fatal(err)
	}
	g.write(t, "log/checkpoint", forged)
	for _, key := range []string{old, g.vkey} {
		wantProblems(t, g.verifyWith(t, key, nil), "unsigned log/checkpoint")
	}
}

// A service signs in place of a key in a file.
type service struct {
	key   string
	inner note.Signer
	fails bool
}

func (s *service) VerifierKey() string { return s.key }

func (s *service) Sign(b []byte) ([]byte, error) {
	if s.fails {
		return nil, errAway
	}
	return s.inner.Sign(b)
}

func TestSigningService(t *testing.T) {
	key, vkey, err := recorder.GenerateKey("gate.example/test")
	if err != nil {
		t.Fatal(err)
	}
	inner, err := note.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	g := newGate(t, func(o *recorder.Options) { o.Key, o.Signer = "", &service{vkey, inner, false} })
	g.vkey = vkey
	g.record(t, 1, 1)
	g.flush(t)
	wantOK(t, g.verify(t, recorder.VerifyOptions{}))
	o := g.options
	o.Key = key
	if err := o.Validate(); err == nil {
		t.Error("a key beside a signer is accepted")
	}
}
