package recorder_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatehouse/core/event"
	"gatehouse/recorder"
)

// verify verifies what the gate stored.
func (g *gate) verify(t testing.TB, o recorder.VerifyOptions) *recorder.Report {
	t.Helper()
	r, err := recorder.Verify(t.Context(), g.store, g.vkey, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func wantOK(t testing.TB, r *recorder.Report) {
	t.Helper()
	for _, p := range r.Problems {
		t.Errorf("accused: %v", p)
	}
}

func wantProblems(t testing.TB, r *recorder.Report, want ...string) {
	t.Helper()
	var got []string
	for _, p := range r.Problems {
		got = append(got, string(p.Fault)+" "+p.Object)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("problems:\n got %q\nwant %q", got, want)
		for _, p := range r.Problems {
			t.Log(p)
		}
	}
}

// piece is the name of a piece of session i.
func piece(i, q int) string { return folder(i) + fmt.Sprintf("%06d.piece", q) }

func folder(i int) string {
	s := info(i)
	return s.Start.Format("sessions/2006/01/02/") + s.ID + "/"
}

// recorded is a gate with sessions 0 to n-1 of several pieces each, stored,
// logged and closed.
func recorded(t *testing.T, n int) *gate {
	g := newGate(t, func(o *recorder.Options) { o.PieceSize = 2 << 10 })
	for i := range n {
		s := g.begin(t, i)
		for j := range 100 {
			appendFrame(t, s, event.KindData, uint64(j), fmt.Appendf(nil, "%100d", rand.Uint64()))
			commit(t, s)
		}
		end(t, s)
	}
	g.flush(t)
	if err := g.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *gate) path(name string) string { return filepath.Join(g.dir, "store", name) }

func (g *gate) read(t testing.TB, name string) []byte {
	t.Helper()
	if m, ok := g.store.(recorder.Memory); ok && m[name] != nil {
		return m[name]
	}
	b, err := os.ReadFile(g.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (g *gate) write(t testing.TB, name string, b []byte) {
	t.Helper()
	if m, ok := g.store.(recorder.Memory); ok {
		m[name] = b
		return
	}
	if err := os.WriteFile(g.path(name), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (g *gate) remove(t testing.TB, name string) {
	t.Helper()
	if m, ok := g.store.(recorder.Memory); ok {
		maps.DeleteFunc(m, func(n string, _ []byte) bool { return strings.HasPrefix(n, name) })
		return
	}
	if err := os.RemoveAll(g.path(name)); err != nil {
		t.Fatal(err)
	}
}

func flip(b []byte) []byte {
	b = bytes.Clone(b)
	b[rand.IntN(len(b))] ^= 1 << rand.IntN(8)
	return b
}

func TestUntouchedRecordingsAreNotAccused(t *testing.T) {
	g := recorded(t, 30)
	r := g.verify(t, recorder.VerifyOptions{Frames: true})
	wantOK(t, r)
	if r.Sessions != 30 || len(r.Open) != 0 || len(r.Unlogged) != 0 || r.Origin != "gate.example/test" {
		t.Errorf("report: %+v", r)
	}
	if r.Pieces < 100 || int64(r.Pieces)+30 != r.Entries {
		t.Errorf("%d pieces, %d entries", r.Pieces, r.Entries)
	}
	if r, err := recorder.Verify(t.Context(), g.store, g.vkey, recorder.VerifyOptions{Session: "s000099"}); !errors.Is(err, recorder.ErrNotFound) {
		t.Errorf("a session that never was: %+v, %v", r, err)
	}
	one := g.verify(t, recorder.VerifyOptions{Session: "s000007"})
	wantOK(t, one)
	if one.Pieces != r.Pieces/30 {
		t.Errorf("one of 30 equal sessions has %d pieces of %d", one.Pieces, r.Pieces)
	}
}

func TestRunningSessionIsOpen(t *testing.T) {
	g := newGate(t, nil)
	g.record(t, 1, 10)
	s := g.begin(t, 2)
	commit(t, s)
	g.flush(t)
	r := g.verify(t, recorder.VerifyOptions{Frames: true})
	wantOK(t, r)
	if !slices.Equal(r.Open, []string{"s000002"}) || r.Sessions != 2 {
		t.Errorf("report: %+v", r)
	}
	end(t, s)
	g.flush(t)
	if r := g.verify(t, recorder.VerifyOptions{Frames: true}); !r.OK() || len(r.Open) != 0 {
		t.Errorf("after its end: %+v", r)
	}
}

// tamperings alter the store of a gate with 40 sessions of six pieces each, and
// say what is to be found.
var tamperings = map[string]struct {
	tamper func(t *testing.T, g *gate)
	want   []string
}{
	"flipped bit": {
		func(t *testing.T, g *gate) { g.write(t, piece(3, 2), flip(g.read(t, piece(3, 2)))) },
		[]string{"altered " + piece(3, 2)},
	},
	"truncated piece": {
		func(t *testing.T, g *gate) { b := g.read(t, piece(3, 2)); g.write(t, piece(3, 2), b[:len(b)-1]) },
		[]string{"altered " + piece(3, 2)},
	},
	"emptied piece": {
		func(t *testing.T, g *gate) { g.write(t, piece(3, 2), nil) },
		[]string{"altered " + piece(3, 2)},
	},
	"appended to": {
		func(t *testing.T, g *gate) { g.write(t, piece(3, 2), append(g.read(t, piece(3, 2)), 0)) },
		[]string{"altered " + piece(3, 2)},
	},
	"deleted piece": {
		func(t *testing.T, g *gate) { g.remove(t, piece(3, 2)) },
		[]string{"missing " + piece(3, 2)},
	},
	"deleted last piece and manifest": {
		func(t *testing.T, g *gate) { g.remove(t, piece(3, 5)); g.remove(t, folder(3)+"manifest.json") },
		[]string{"missing " + piece(3, 5), "missing " + folder(3) + "manifest.json"},
	},
	"deleted session": {
		func(t *testing.T, g *gate) { g.remove(t, folder(3)) },
		[]string{"missing " + folder(3)},
	},
	"swapped pieces": {
		func(t *testing.T, g *gate) {
			a, b := g.read(t, piece(3, 2)), g.read(t, piece(3, 3))
			g.write(t, piece(3, 2), b)
			g.write(t, piece(3, 3), a)
		},
		[]string{"reordered " + piece(3, 2), "reordered " + piece(3, 3)},
	},
	"swapped sessions": {
		func(t *testing.T, g *gate) {
			a, b := g.read(t, piece(3, 2)), g.read(t, piece(4, 2))
			g.write(t, piece(3, 2), b)
			g.write(t, piece(4, 2), a)
		},
		[]string{"reordered " + piece(3, 2), "reordered " + piece(4, 2)},
	},
	"piece replaced by another": {
		func(t *testing.T, g *gate) { g.write(t, piece(3, 2), g.read(t, piece(3, 1))) },
		[]string{"duplicated " + piece(3, 2)},
	},
	"piece added at the end": {
		func(t *testing.T, g *gate) { g.write(t, piece(3, 6), g.read(t, piece(3, 5))) },
		[]string{"duplicated " + piece(3, 6)},
	},
	"made-up piece": {
		func(t *testing.T, g *gate) { g.write(t, piece(3, 6), flip(g.read(t, piece(3, 5)))) },
		[]string{"extra " + piece(3, 6)},
	},
	"altered manifest": {
		func(t *testing.T, g *gate) {
			name := folder(3) + "manifest.json"
			g.write(t, name, bytes.Replace(g.read(t, name), []byte("agent@"), []byte("admin@"), 1))
		},
		[]string{"altered " + folder(3) + "manifest.json"},
	},
	"deleted manifest": {
		func(t *testing.T, g *gate) { g.remove(t, folder(3)+"manifest.json") },
		[]string{"missing " + folder(3) + "manifest.json"},
	},
	"deleted checkpoint": {
		func(t *testing.T, g *gate) { g.remove(t, "log/checkpoint") },
		[]string{"missing log/checkpoint"},
	},
	"altered checkpoint": {
		func(t *testing.T, g *gate) {
			g.write(t, "log/checkpoint", bytes.Replace(g.read(t, "log/checkpoint"), []byte("\n280\n"), []byte("\n279\n"), 1))
		},
		[]string{"unsigned log/checkpoint"},
	},
	"altered entry": {
		func(t *testing.T, g *gate) { g.write(t, entries(0), swapByte(g.read(t, entries(0)), "s000003")) },
		[]string{"altered " + entries(0)},
	},
	"altered entries and their piece": {
		func(t *testing.T, g *gate) {
			g.write(t, entries(0), swapByte(g.read(t, entries(0)), "s000003/000002"))
			g.write(t, piece(3, 2), flip(g.read(t, piece(3, 2))))
		},
		[]string{"altered " + entries(0), "altered " + piece(3, 2)},
	},
	"deleted entries": {
		func(t *testing.T, g *gate) { g.remove(t, entries(0)) },
		[]string{"missing " + entries(0)},
	},
	"truncated entries": {
		func(t *testing.T, g *gate) { g.write(t, entries(0), g.read(t, entries(0))[:100]) },
		[]string{"altered " + entries(0)},
	},
	"altered tile": {
		func(t *testing.T, g *gate) { g.write(t, tile(0), flip(g.read(t, tile(0)))) },
		[]string{"altered " + tile(0)},
	},
	"deleted tile": {
		func(t *testing.T, g *gate) { g.remove(t, tile(0)) },
		[]string{"missing " + tile(0)},
	},
	"altered tile of the second level": {
		func(t *testing.T, g *gate) { g.write(t, tile(1), flip(g.read(t, tile(1)))) },
		[]string{"altered " + tile(1)},
	},
}

func TestTampering(t *testing.T) {
	g := recorded(t, 40).copy(t) // 280 entries: one full tile
	wantOK(t, g.verify(t, recorder.VerifyOptions{Frames: true}))
	for name, tt := range tamperings {
		t.Run(name, func(t *testing.T) {
			h := g.copy(t)
			tt.tamper(t, h)
			wantProblems(t, h.verify(t, recorder.VerifyOptions{}), tt.want...)
			wantProblems(t, h.verify(t, recorder.VerifyOptions{Frames: true}), tt.want...)
		})
	}
}

// checkTampering checks that the report names what was touched, and nothing
// else. Where a part of the log is gone that proves the rest, it suffices that
// this is said.
func checkTampering(t *testing.T, r *recorder.Report, touched []string) {
	t.Helper()
	named := make(map[string]bool)
	for _, p := range r.Problems {
		named[p.Object] = true
		if !slices.Contains(touched, p.Object) && p.Object != "log/checkpoint" {
			t.Errorf("touched %q, accused: %v", touched, p)
		}
	}
	for _, name := range touched {
		if !named[name] && !named["log/checkpoint"] {
			t.Errorf("touched %q, not named: %s", touched, name)
		}
	}
}

func entries(int) string { return "log/tile/entries/000" }

func tile(level int) string {
	if level == 1 {
		return "log/tile/1/000.p/1"
	}
	return "log/tile/0/000"
}

// swapByte alters one byte of the first occurrence of s.
func swapByte(b []byte, s string) []byte {
	i := bytes.Index(b, []byte(s))
	b = bytes.Clone(b)
	b[i+len(s)-1] ^= 1
	return b
}

// copy is the same gate with its store copied into memory.
func (g *gate) copy(t *testing.T) *gate {
	t.Helper()
	h := *g
	if m, ok := g.store.(recorder.Memory); ok {
		h.store = maps.Clone(m)
		return &h
	}
	m := recorder.Memory{}
	root := os.DirFS(filepath.Join(g.dir, "store"))
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			m[name], err = fs.ReadFile(root, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	h.store = m
	return &h
}

func TestKeptCheckpoint(t *testing.T) {
	g := newGate(t, nil)
	g.record(t, 1, 10)
	g.flush(t)
	early := []byte(g.verify(t, recorder.VerifyOptions{}).Checkpoint)
	old := g.copy(t)
	g.record(t, 2, 10)
	g.flush(t)
	late := []byte(g.verify(t, recorder.VerifyOptions{}).Checkpoint)

	wantOK(t, g.verify(t, recorder.VerifyOptions{Kept: early}))
	wantOK(t, g.verify(t, recorder.VerifyOptions{Kept: late}))
	wantProblems(t, old.verify(t, recorder.VerifyOptions{Kept: late}), "rolled back log/checkpoint")

	other := newGate(t, func(o *recorder.Options) { o.Key = g.key })
	for i := range 5 {
		other.record(t, 10+i, 1)
	}
	other.flush(t)
	other.vkey = g.vkey
	wantOK(t, other.verify(t, recorder.VerifyOptions{}))
	wantProblems(t, other.verify(t, recorder.VerifyOptions{Kept: late}), "forked log/checkpoint")
	wantProblems(t, other.verify(t, recorder.VerifyOptions{Kept: []byte("junk")}), "unsigned the kept checkpoint")
}

func TestAnotherKeyIsRefused(t *testing.T) {
	g := recorded(t, 1)
	_, g.vkey, _ = recorder.GenerateKey("gate.example/test")
	wantProblems(t, g.verify(t, recorder.VerifyOptions{}), "unsigned log/checkpoint")
}

func TestReaderRefusesATamperedRecording(t *testing.T) {
	g := recorded(t, 2)
	tests := map[string]func(g *gate){
		"gap":     func(g *gate) { g.remove(t, piece(1, 2)) },
		"no end":  func(g *gate) { g.remove(t, piece(1, 5)) },
		"swapped": func(g *gate) { g.write(t, piece(1, 2), g.read(t, piece(1, 3))) },
		"foreign": func(g *gate) { g.write(t, piece(1, 2), g.read(t, piece(0, 2))) },
		"flipped": func(g *gate) { g.write(t, piece(1, 2), flip(g.read(t, piece(1, 2)))) },
	}
	for name, tamper := range tests {
		t.Run(name, func(t *testing.T) {
			h := g.copy(t)
			tamper(h)
			var last error
			for _, err := range recorder.NewReader(h.store).Frames(t.Context(), "s000001") {
				last = err
			}
			if last == nil || !strings.Contains(last.Error(), "s000001") {
				t.Errorf("read to the end: %v", last)
			}
		})
	}
}
