package recorder_test

import (
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/core/event"
	"gatehouse/recorder"
)

// alterationsEach is how many times each alteration is made.
const alterationsEach = 200

// A history is a gate's store, in memory, as it was at several times.
type history struct {
	gate  *gate
	kept  []byte // the last checkpoint
	early []recorder.Memory
	forks []recorder.Memory // of other gates with the key
}

func newHistory(t *testing.T) *history {
	g := newGate(t, func(o *recorder.Options) { o.PieceSize = 2 << 10 })
	h := new(history)
	for i := range 40 {
		s := g.begin(t, i)
		for j := range 100 {
			appendFrame(t, s, event.KindData, uint64(j), []byte(strings.Repeat(string(rune('a'+j%26)), 100)))
			commit(t, s)
		}
		end(t, s)
		if i%4 == 3 {
			g.flush(t)
			h.early = append(h.early, g.copy(t).store.(recorder.Memory))
		}
	}
	h.gate = g.copy(t)
	h.kept = h.gate.read(t, "log/checkpoint")
	h.early = h.early[:len(h.early)-1]
	for n := range 3 {
		other := newGate(t, func(o *recorder.Options) { o.Key = g.key })
		for i := range 100 * (n + 1) {
			other.record(t, 1000+i, 1)
		}
		other.flush(t)
		h.forks = append(h.forks, other.copy(t).store.(recorder.Memory))
	}
	return h
}

// current reports whether an object is one that verification reads: partial
// tiles of older checkpoints are not.
func (h *history) current(name string) bool {
	size := strings.Split(string(h.kept), "\n")[1]
	if size != "280" {
		panic("the log has " + size + " entries")
	}
	return !strings.Contains(name, ".p/") || strings.HasSuffix(name, "/001.p/24") || name == tile(1)
}

// TestEveryAlteration makes each alteration at random places, again and again:
// each is found and named, and nothing else is accused.
func TestEveryAlteration(t *testing.T) {
	h := newHistory(t)
	var names, pieces []string
	for name := range h.gate.store.(recorder.Memory) {
		if h.current(name) {
			names = append(names, name)
		}
		if strings.HasSuffix(name, ".piece") {
			pieces = append(pieces, name)
		}
	}
	slices.Sort(names) // the log's come first, and are picked more often
	pick := func() string { return names[rand.IntN(1+rand.IntN(len(names)))] }
	two := func() (a, b string) {
		for a == b {
			a, b = pick(), pick()
		}
		return a, b
	}
	rewrite := func(m recorder.Memory, change func([][]byte) [][]byte) []string {
		name := pieces[rand.IntN(len(pieces))]
		b, err := recorder.RewritePiece(m[name], change)
		if err != nil {
			t.Fatal(err)
		}
		m[name] = b
		return []string{name}
	}
	checkpoint := []string{"log/checkpoint"}
	// Each alters a store and returns the names of what it altered; a folder
	// where that is a whole session.
	alterations := map[string]func(m recorder.Memory) []string{
		"nothing":     func(recorder.Memory) []string { return nil },
		"flipped bit": func(m recorder.Memory) []string { a := pick(); m[a] = flip(m[a]); return []string{a} },
		"truncated":   func(m recorder.Memory) []string { a := pick(); m[a] = m[a][:rand.IntN(len(m[a]))]; return []string{a} },
		"extended": func(m recorder.Memory) []string {
			a := pick()
			m[a] = append(slices.Clip(m[a]), 'x')
			return []string{a}
		},
		"deleted":  func(m recorder.Memory) []string { a := pick(); delete(m, a); return []string{a} },
		"swapped":  func(m recorder.Memory) []string { a, b := two(); m[a], m[b] = m[b], m[a]; return []string{a, b} },
		"replaced": func(m recorder.Memory) []string { a, b := two(); m[a] = m[b]; return []string{a} },
		"two at once": func(m recorder.Memory) []string {
			a, b := two()
			m[a] = flip(m[a])
			delete(m, b)
			return []string{a, b}
		},
		"copied piece": func(m recorder.Memory) []string {
			a := piece(rand.IntN(40), 6)
			m[a] = m[pieces[rand.IntN(len(pieces))]]
			return []string{a}
		},
		"deleted session": func(m recorder.Memory) []string {
			a := folder(rand.IntN(40))
			maps.DeleteFunc(m, func(n string, _ []byte) bool { return strings.HasPrefix(n, a) })
			return []string{a}
		},
		"reordered frames": func(m recorder.Memory) []string {
			return rewrite(m, func(f [][]byte) [][]byte { i := rand.IntN(len(f) - 1); f[i], f[i+1] = f[i+1], f[i]; return f })
		},
		"duplicated frame": func(m recorder.Memory) []string {
			return rewrite(m, func(f [][]byte) [][]byte { i := rand.IntN(len(f)); return slices.Insert(f, i, f[i]) })
		},
		"removed frame": func(m recorder.Memory) []string {
			return rewrite(m, func(f [][]byte) [][]byte { i := rand.IntN(len(f)); return slices.Delete(f, i, i+1) })
		},
		"rolled back": func(m recorder.Memory) []string {
			clear(m)
			maps.Copy(m, h.early[rand.IntN(len(h.early))])
			return checkpoint
		},
		"truncated log": func(m recorder.Memory) []string {
			m["log/checkpoint"] = h.early[rand.IntN(len(h.early))]["log/checkpoint"]
			return checkpoint
		},
		"fork": func(m recorder.Memory) []string {
			clear(m)
			maps.Copy(m, h.forks[rand.IntN(len(h.forks))])
			return checkpoint
		},
	}
	for what, alter := range alterations {
		t.Run(what, func(t *testing.T) {
			for range alterationsEach {
				g := h.gate.copy(t)
				touched := alter(g.store.(recorder.Memory))
				r := g.verify(t, recorder.VerifyOptions{Kept: h.kept})
				checkTampering(t, r, touched)
				if r.OK() != (touched == nil) {
					t.Errorf("altered %q, found %v", touched, r.Problems)
				}
				if t.Failed() {
					return
				}
			}
		})
	}
}

// TestTwoGatesAtOnce lets two gates with one key and one store go on at the
// same time: one of them, or both, find it out, and what is in the log stays
// whole.
func TestTwoGatesAtOnce(t *testing.T) {
	g := newGate(t, nil)
	o := g.options
	o.Spool = filepath.Join(g.dir, "spool2")
	r, err := recorder.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(t.Context()) })
	other := &gate{Recorder: r}
	var wg sync.WaitGroup
	for i, g := range []*gate{g, other} {
		wg.Go(func() {
			for j := 0; !g.Stats().Forked && !other.Stats().Forked && j < 500; j++ {
				g.record(t, 1000*i+j, 1)
				_ = g.Flush(t.Context()) // the fork is looked for below
			}
		})
	}
	wg.Wait()
	if !g.Stats().Forked && !other.Stats().Forked {
		t.Error("two gates wrote one log and neither found out")
	}
}

// TestClocksDoNotMatter steps the clock back and forth within a session.
func TestClocksDoNotMatter(t *testing.T) {
	g := newGate(t, func(o *recorder.Options) { o.PieceSize = 500 })
	s := g.begin(t, 1)
	steps := []time.Duration{0, -time.Hour, 365 * 24 * time.Hour, -30 * 365 * 24 * time.Hour, time.Second}
	for i := range 50 {
		f := event.Frame{Kind: event.KindData, Exchange: 1, Time: start.Add(steps[i%len(steps)]), Payload: []byte{byte(i)}}
		if err := s.Append(f); err != nil {
			t.Fatal(err)
		}
		commit(t, s)
	}
	end(t, s)
	g.flush(t)
	_, data := kinds(t, recorder.NewReader(g.store), "s000001")
	for i, b := range data {
		if int(b) != i {
			t.Fatalf("frame %d at place %d", b, i)
		}
	}
	wantOK(t, g.verify(t, recorder.VerifyOptions{Frames: true}))
}

// The spool's lock is the operating system's: it ends with the process, not
// with the file.
func TestStaleLockFileIsNoLock(t *testing.T) {
	g := newGate(t, nil)
	if err := g.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(g.dir, "spool", "lock")); err != nil {
		t.Fatal(err)
	}
	g.open(t)
}
