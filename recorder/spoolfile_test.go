package recorder_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"gatehouse/core/event"
	"gatehouse/recorder"
)

// sizes are of commits that a call writes and of such that pages take.
var sizes = []int{1, 100, 3000, 20_000, 7, 4096, 70_000, 12}

// TestPages commits what calls write and what the file's pages take by turns: who
// looks sees all of it at once, and after the end of the process it is there.
func TestPages(t *testing.T) {
	for _, after := range []int{1, 8} {
		t.Run(fmt.Sprintf("after=%d", after), func(t *testing.T) {
			g := newGate(t, func(o *recorder.Options) { o.SetMapAfter(after) })
			s := g.begin(t, 1)
			var want []byte
			pages := false
			for i := range 100 {
				b := bytes.Repeat([]byte{byte('a' + i%26)}, sizes[i%len(sizes)])
				appendFrame(t, s, event.KindData, 1, b)
				commit(t, s)
				want = append(want, b...)
				pages = pages || g.partSize(t)%65536 == 0
				if _, data := kinds(t, g.Reader(), "s000001"); !bytes.Equal(data, want) {
					t.Fatalf("after commit %d: %d bytes, want %d", i, len(data), len(want))
				}
			}
			if !pages {
				t.Error("the file's pages took nothing")
			}
			g.reopen(t)
			g.flush(t)
			wantOK(t, g.verify(t, recorder.VerifyOptions{Frames: true}))
			if _, data := kinds(t, g.Reader(), "s000001"); !bytes.Equal(data, want) {
				t.Errorf("%d bytes, want %d", len(data), len(want))
			}
			if got := notices(t, recorder.NewReader(g.store), "s000001"); len(got) != 1 || got[0] != "restarted" {
				t.Errorf("notices %q", got)
			}
		})
	}
}

// TestPagesOfSmallCommits fills parts with commits whose heads take nearly as much
// as what is in them.
func TestPagesOfSmallCommits(t *testing.T) {
	g := newGate(t, func(o *recorder.Options) { o.PieceSize = 400_000 })
	s := g.begin(t, 1)
	var want []byte
	for i := range 40_000 {
		want = append(want, byte(i))
		appendFrame(t, s, event.KindData, 1, want[i:])
		commit(t, s)
	}
	end(t, s)
	g.flush(t)
	wantOK(t, g.verify(t, recorder.VerifyOptions{Frames: true}))
	if _, data := kinds(t, g.Reader(), "s000001"); !bytes.Equal(data, want) {
		t.Errorf("%d bytes, want %d", len(data), len(want))
	}
}

// A part that takes few commits is not mapped, and neither is one whose commits wait
// for the disk.
func TestPagesAreLeftAlone(t *testing.T) {
	for name, change := range map[string]func(*recorder.Options){
		"few commits": func(o *recorder.Options) { o.SetMapAfter(0) },
		"power safe":  func(o *recorder.Options) { o.PowerSafe = true },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, change)
			s := g.begin(t, 1)
			commit(t, s)
			for range 5 {
				appendFrame(t, s, event.KindData, 1, []byte("x"))
				commit(t, s)
			}
			if got := g.partSize(t); got%65536 == 0 {
				t.Errorf("the file has %d bytes", got)
			}
		})
	}
}

func (g *gate) partSize(t *testing.T) int64 {
	t.Helper()
	i, err := os.Stat(g.spoolFile("s000001", 0))
	if err != nil {
		t.Fatal(err)
	}
	return i.Size()
}

// TestPagesThatAreGone cuts a file whose pages take commits: the gate lives, and
// goes on to record.
func TestPagesThatAreGone(t *testing.T) {
	g := newGate(t, nil)
	s := g.begin(t, 1)
	for range 3 {
		appendFrame(t, s, event.KindData, 1, make([]byte, 5000))
		commit(t, s)
	}
	if err := os.Truncate(g.spoolFile("s000001", 0), 100); err != nil {
		t.Fatal(err)
	}
	appendFrame(t, s, event.KindData, 1, []byte("after"))
	commit(t, s)
	end(t, s)
	g.record(t, 2, 1) // other sessions go on
	g.flush(t)
	wantOK(t, g.verify(t, recorder.VerifyOptions{Frames: true}))
	if got := notices(t, recorder.NewReader(g.store), "s000001"); len(got) == 0 || got[0] != "torn" {
		t.Errorf("notices %q", got)
	}
}

// TestPagesOfAFullDisk fills the disk under sessions whose commits pages take: what
// is committed is recorded, and when there is room again they go on.
func TestPagesOfAFullDisk(t *testing.T) {
	g := newGate(t, func(o *recorder.Options) {
		mountDisk(t, o.Spool)
		o.FullWait = time.Millisecond
	})
	s := g.begin(t, 1)
	var want []byte
	add := func() error {
		b := fmt.Appendf(nil, "%0*d", 1000, len(want))
		appendFrame(t, s, event.KindData, 1, b)
		want = append(want, b...)
		return s.Commit(t.Context())
	}
	for range 3 {
		if err := add(); err != nil {
			t.Fatal(err)
		}
	}
	free := fill(t, g.options.Spool)
	n := 0
	for ; n < 1000; n++ {
		if err := add(); errors.Is(err, syscall.ENOSPC) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if n < 10 || n > 200 {
		t.Errorf("%d commits to a full disk", n)
	}
	free()
	commit(t, s)
	for range 100 {
		if err := add(); err != nil {
			t.Fatal(err)
		}
	}
	end(t, s)
	g.flush(t)
	wantOK(t, g.verify(t, recorder.VerifyOptions{Frames: true}))
	if _, data := kinds(t, g.Reader(), "s000001"); !bytes.Equal(data, want) {
		t.Errorf("%d bytes, want %d", len(data), len(want))
	}
}
