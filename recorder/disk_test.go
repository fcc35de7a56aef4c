package recorder_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gatehouse/core/event"
	"gatehouse/recorder"
)

// mountDisk mounts a file system of its own at the spool's place.
func mountDisk(t *testing.T, spool string) { mountDiskOf(t, spool, "4m") }

func mountDiskOf(t *testing.T, spool, size string) {
	t.Helper()
	if err := os.MkdirAll(spool, 0o700); err != nil {
		t.Fatal(err)
	}
	mount(t, "tmpfs", spool, "tmpfs", 0, "size="+size)
}

func mount(t *testing.T, source, target, kind string, flags uintptr, options string) {
	t.Helper()
	if err := syscall.Mount(source, target, kind, flags, options); err != nil {
		t.Fatalf("mount %s: %v: this test needs to be root, or CAP_SYS_ADMIN: run it so, or in `unshare -rm`", target, err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(target, syscall.MNT_DETACH) }) // or it is unmounted already
}

// fill takes all that is left of a disk and returns what gives it back.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	name := filepath.Join(dir, "filler")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFullDisk fills the spool's disk under sessions that are at work: nothing
// is committed then, which is counted and logged, and when there is room again
// they go on. What they recorded is whole.
func TestFullDisk(t *testing.T) {
	g := newGate(t, func(o *recorder.Options) {
		mountDisk(t, o.Spool)
		o.SealAfter, o.FullWait = time.Millisecond, time.Millisecond
	})
	open, fresh := g.begin(t, 1), g.begin(t, 2)
	appendFrame(t, open, event.KindData, 1, []byte("before"))
	commit(t, open)
	free := fill(t, g.options.Spool)
	for _, s := range []*recorder.Session{open, fresh} {
		appendFrame(t, s, event.KindData, 2, make([]byte, 50_000))
		// Who comes after the first waits for room before it writes.
		if err := s.Commit(t.Context()); !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, recorder.ErrSpoolFull) {
			t.Fatalf("commit on a full disk: %v", err)
		}
	}
	if st := g.Stats(); st.FailuresBy["spool"] == 0 || st.Backlog < st.SpoolLimit {
		t.Errorf("on a full disk: %+v", st)
	}
	free()
	for _, s := range []*recorder.Session{open, fresh} {
		commit(t, s)
		end(t, s)
	}
	g.flush(t)
	r := g.verify(t, recorder.VerifyOptions{Frames: true})
	wantOK(t, r)
	for id, want := range map[string]int{"s000001": len("before") + 50_000, "s000002": 50_000} {
		if _, data := kinds(t, g.Reader(), id); len(data) != want {
			t.Errorf("session %s: %d bytes of data, want %d", id, len(data), want)
		}
	}
}

// TestDiskFullOfFrames fills the spool's disk with what is recorded while the
// store is away, which is less than the spool may hold. When the store is back
// all of it is stored, and sessions go on, without anybody making room.
func TestDiskFullOfFrames(t *testing.T) {
	g, m := newMoodyGate(t, func(o *recorder.Options) {
		mountDiskOf(t, o.Spool, "32m")
		o.SealAfter, o.FullWait = 10*time.Millisecond, 10*time.Millisecond
	})
	m.away.Store(true)
	sessions := make([]*recorder.Session, 4)
	sent := make([][]byte, len(sessions))
	var wg sync.WaitGroup
	for i := range sessions {
		s := g.begin(t, i)
		commit(t, s)
		sessions[i] = s
		wg.Go(func() {
			noise := rand.NewChaCha8([32]byte{byte(i)})
			for {
				b := make([]byte, 1+rand.IntN(50_000))
				_, _ = noise.Read(b)
				if err := s.Append(event.Frame{Kind: event.KindData, Exchange: 1, Time: start, Payload: b}); err != nil {
					t.Error(err)
					return
				}
				sent[i] = append(sent[i], b...)
				if err := s.Commit(t.Context()); errors.Is(err, recorder.ErrSpoolFull) {
					return
				} else if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if st := g.Stats(); st.Backlog < 20<<20 || st.FailuresBy["spool"] > 0 {
		t.Errorf("on a full disk: %+v", st)
	}
	m.away.Store(false)
	g.flush(t)
	for _, s := range sessions {
		end(t, s)
	}
	g.flush(t)
	wantOK(t, g.verify(t, recorder.VerifyOptions{Frames: true}))
	for i, want := range sent {
		if _, data := kinds(t, recorder.NewReader(g.store), fmt.Sprintf("s%06d", i)); !bytes.Equal(data, want) {
			t.Errorf("session %d: %d bytes of data, want %d", i, len(data), len(want))
		}
	}
}

// A gate that ends while its disk is full leaves nothing torn behind.
func TestCrashOnFullDisk(t *testing.T) {
	g := newGate(t, func(o *recorder.Options) { mountDisk(t, o.Spool) })
	s := g.begin(t, 1)
	appendFrame(t, s, event.KindData, 1, []byte("before"))
	commit(t, s)
	free := fill(t, g.options.Spool)
	appendFrame(t, s, event.KindData, 2, make([]byte, 50_000))
	if err := s.Commit(t.Context()); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("commit on a full disk: %v", err)
	}
	if err := g.Crash(); err != nil {
		t.Fatal(err)
	}
	free()
	g.open(t)
	g.flush(t)
	wantOK(t, g.verify(t, recorder.VerifyOptions{Frames: true}))
	if _, data := kinds(t, g.Reader(), "s000001"); string(data) != "before" {
		t.Errorf("%d bytes of data, want what was committed", len(data))
	}
	if got := notices(t, recorder.NewReader(g.store), "s000001"); len(got) != 1 || got[0] != "restarted" {
		t.Errorf("notices %q", got)
	}
}

// TestReadOnlySpool makes the directory read-only under a session, and writable
// again.
func TestReadOnlySpool(t *testing.T) {
	g := newGate(t, func(o *recorder.Options) { mountDisk(t, o.Spool) })
	s := g.begin(t, 1)
	writable := readOnly(t, filepath.Join(g.options.Spool, "sessions"))
	if err := s.Commit(t.Context()); !errors.Is(err, syscall.EROFS) {
		t.Fatalf("commit to a read-only directory: %v", err)
	}
	if n := g.Stats().FailuresBy["spool"]; n != 1 {
		t.Errorf("%d failures were counted", n)
	}
	writable()
	commit(t, s)
	end(t, s)
	g.flush(t)
	wantOK(t, g.verify(t, recorder.VerifyOptions{Frames: true}))
}

// TestWriteThatCannotBeUndone ends a session where a write failed, and what it
// left cannot be cut off.
func TestWriteThatCannotBeUndone(t *testing.T) {
	g := newGate(t, func(o *recorder.Options) { mountDisk(t, o.Spool) })
	s := g.begin(t, 1)
	appendFrame(t, s, event.KindData, 1, []byte("before"))
	commit(t, s)
	if err := s.Break(); err != nil {
		t.Fatal(err)
	}
	writable := readOnly(t, filepath.Join(g.options.Spool, "sessions"))
	appendFrame(t, s, event.KindData, 2, []byte("during"))
	if err := s.Commit(t.Context()); !errors.Is(err, recorder.ErrNotDurable) || !errors.Is(err, syscall.EROFS) {
		t.Errorf("commit: %v", err)
	}
	writable()
	if err := s.Commit(t.Context()); !errors.Is(err, recorder.ErrNotDurable) {
		t.Errorf("commit again: %v", err)
	}
	if err := s.Append(event.Frame{Kind: event.KindData, Time: start}); !errors.Is(err, recorder.ErrNotDurable) {
		t.Errorf("append: %v", err)
	}
	if err := s.Close(); !errors.Is(err, recorder.ErrNotDurable) {
		t.Errorf("close: %v", err)
	}
	g.record(t, 2, 1) // other sessions go on
	g.flush(t)
	wantOK(t, g.verify(t, recorder.VerifyOptions{Frames: true}))
	if _, data := kinds(t, g.Reader(), "s000001"); string(data) != "before" {
		t.Errorf("data %q", data)
	}
	if got := notices(t, recorder.NewReader(g.store), "s000001"); len(got) != 1 || got[0] != "disk" {
		t.Errorf("notices %q", got)
	}
}

// readOnly makes a directory read-only until the function that it returns is
// called.
func readOnly(t *testing.T, dir string) (writable func()) {
	t.Helper()
	mount(t, dir, dir, "", syscall.MS_BIND, "")
	if err := syscall.Mount("", dir, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Fatal(err)
		}
	}
}

// A failing disk writes a part of what it gets and says that it failed, now and
// then; after some of these the file takes no more and cannot be cut either.
type failingDisk struct{ fails atomic.Bool }

func (d *failingDisk) write(f *os.File, b []byte) (int, error) {
	if !d.fails.Load() || rand.IntN(6) > 0 {
		return f.Write(b)
	}
	n, err := f.Write(b[:rand.IntN(len(b)+1)])
	if rand.IntN(3) == 0 {
		err = errors.Join(err, f.Close())
	}
	return n, errors.Join(syscall.EIO, err)
}

func (d *failingDisk) sync(f *os.File) error {
	if d.fails.Load() && rand.IntN(60) == 0 {
		return syscall.EIO
	}
	return nil // what is in the page cache survives the end of a process
}

// TestFailingDisk has the spool's disk fail with EIO at random, and the gate end
// and start again meanwhile: what could not be written is not committed, what
// was committed is recorded once and in order, and nothing torn is taken for a
// frame.
func TestFailingDisk(t *testing.T) {
	for _, durable := range []bool{false, true} {
		t.Run(fmt.Sprintf("durable=%t", durable), func(t *testing.T) { testFailingDisk(t, durable) })
	}
}

func testFailingDisk(t *testing.T, durable bool) {
	var d failingDisk
	g := newGate(t, func(o *recorder.Options) {
		o.PieceSize, o.PowerSafe = 3000, durable
		o.SetWrite(d.write)
		o.SetSync(d.sync)
	})
	committed := make(map[string]int) // frames of data
	for round := range 6 {
		d.fails.Store(true)
		for i := range 10 {
			one := info(round*10 + i)
			s, err := g.Begin(one)
			if err != nil {
				t.Fatal(err)
			}
			committed[one.ID] = 0
			n := useFailingDisk(t, s, one, func(n int) { committed[one.ID] = n })
			if n < 0 || rand.IntN(3) == 0 {
				continue // it is over, or still open when the gate ends
			}
			if err := s.Close(); err != nil && !errors.Is(err, syscall.EIO) && !errors.Is(err, os.ErrClosed) {
				t.Error(err)
			}
		}
		_ = g.Crash() // some files are closed already
		d.fails.Store(false)
		g.open(t)
	}
	g.flush(t)
	r := g.verify(t, recorder.VerifyOptions{Frames: true})
	wantOK(t, r)
	for id, want := range committed {
		got := 0
		for f, err := range recorder.NewReader(g.store).Frames(t.Context(), id) {
			if errors.Is(err, recorder.ErrNotFound) {
				break // nothing of it was committed
			}
			if err != nil {
				t.Fatal(err)
			}
			if f.Kind != event.KindData {
				continue
			}
			if !bytes.Equal(f.Payload, dataFrame(got)) {
				t.Fatalf("session %s: frame %d is %q", id, got, f.Payload)
			}
			got++
		}
		if got < want {
			t.Errorf("session %s: %d frames of %d committed", id, got, want)
		}
	}
}

// TestTornChain has the write of a chain's second record fail halfway, and its
// file with it. What is sealed after it is found after a restart.
func TestTornChain(t *testing.T) {
	for _, part := range []float64{0, 0.3, 1} {
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			var chains atomic.Int32
			g, m := newMoodyGate(t, func(o *recorder.Options) {
				o.PieceSize = 1000
				o.SetWrite(func(f *os.File, b []byte) (int, error) {
					if filepath.Ext(f.Name()) != ".chain" || chains.Add(1) != 2 {
						return f.Write(b)
					}
					n, err := f.Write(b[:int(part*float64(len(b)))])
					return n, errors.Join(err, f.Close(), syscall.EIO)
				})
			})
			m.away.Store(true)
			s := g.begin(t, 1)
			var want []byte
			for i := range 4 {
				b := bytes.Repeat([]byte{byte('a' + i)}, 1500)
				appendFrame(t, s, event.KindData, 1, b)
				commit(t, s)
				want = append(want, b...)
			}
			for chains.Load() < 5 {
				time.Sleep(time.Millisecond)
			}
			if err := g.Crash(); err != nil {
				t.Fatal(err)
			}
			m.away.Store(false)
			g.open(t)
			g.flush(t)
			wantOK(t, g.verify(t, recorder.VerifyOptions{Frames: true}))
			if _, data := kinds(t, recorder.NewReader(g.store), "s000001"); !bytes.Equal(data, want) {
				t.Errorf("%d bytes of data, want %d", len(data), len(want))
			}
		})
	}
}

func dataFrame(n int) []byte { return fmt.Appendf(nil, "%d %0*d", n, 1+n*37%400, n) }

// useFailingDisk appends frames and commits them until the disk takes them. It
// returns how many it committed, or -1 if the session was broken off.
func useFailingDisk(t *testing.T, s *recorder.Session, one *event.Session, tell func(int)) int {
	t.Helper()
	add := func(k event.Kind, payload []byte) bool {
		err := s.Append(event.Frame{Kind: k, Time: start, Payload: payload})
		for err == nil {
			if err = s.Commit(t.Context()); err == nil {
				return true
			}
			if !errors.Is(err, recorder.ErrNotDurable) {
				err = nil // it may be tried again
			}
		}
		if !errors.Is(err, recorder.ErrNotDurable) {
			t.Fatal(err)
		}
		return false
	}
	if !add(event.KindOpen, one.Append(nil)) {
		return -1
	}
	n := rand.IntN(40)
	for i := range n {
		if !add(event.KindData, dataFrame(i)) {
			return -1
		}
		tell(i + 1)
	}
	return n
}
