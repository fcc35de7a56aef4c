package recorder_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"gatehouse/core/event"
	"gatehouse/recorder"
)

// A disk is what of a spool survives a power failure: of each file the content
// at its last fsync, of each folder the names at its own.
type disk struct {
	mu      sync.Mutex
	content map[uint64][]byte            // by inode
	names   map[string]map[string]uint64 // by folder
	grave   string                       // keeps files that are removed, so that no inode comes twice
	syncs   int
}

func inode(info os.FileInfo) uint64 { return info.Sys().(*syscall.Stat_t).Ino }

// keep reports whether the file of that name still is there.
func (d *disk) keep(name string, ino uint64) bool {
	err := os.Link(name, filepath.Join(d.grave, fmt.Sprint(ino)))
	return err == nil || errors.Is(err, fs.ErrExist)
}

func (d *disk) sync(f *os.File) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.syncs++
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.IsDir() {
		b, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
		if d.keep(f.Name(), inode(info)) {
			d.content[inode(info)] = b
		}
		return err
	}
	names := make(map[string]uint64)
	entries, err := os.ReadDir(f.Name())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && !e.IsDir() && d.keep(filepath.Join(f.Name(), e.Name()), inode(info)) {
			names[e.Name()] = inode(info)
		}
	}
	d.names[f.Name()] = names
	return nil
}

// fail leaves in the spool what survives. The caller has stopped the recorder.
func (d *disk) fail(t *testing.T, spool string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, folder := range []string{spool, filepath.Join(spool, "sessions")} {
		entries, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !e.IsDir() {
				if err := os.Remove(filepath.Join(folder, e.Name())); err != nil {
					t.Fatal(err)
				}
			}
		}
		for name, ino := range d.names[folder] {
			if err := os.WriteFile(filepath.Join(folder, name), d.content[ino], 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	d.content, d.names = make(map[uint64][]byte), make(map[string]map[string]uint64)
	for _, folder := range []string{spool, filepath.Join(spool, "sessions")} {
		entries, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		d.names[folder] = make(map[string]uint64)
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				t.Fatal(err)
			}
			if e.IsDir() {
				continue
			}
			if d.content[inode(info)], err = os.ReadFile(filepath.Join(folder, e.Name())); err != nil {
				t.Fatal(err)
			}
			d.names[folder][e.Name()] = inode(info)
		}
	}
}

func powerSafe(t *testing.T, d *disk) *gate {
	return newGate(t, func(o *recorder.Options) {
		o.PowerSafe, o.PieceSize = true, 3000
		o.SetSync(d.sync)
	})
}

func newDisk(t *testing.T) *disk {
	return &disk{content: make(map[uint64][]byte), names: make(map[string]map[string]uint64), grave: t.TempDir()}
}

// TestPowerFailure cuts the power at random points: every frame that was
// committed is in the recordings, which verify.
func TestPowerFailure(t *testing.T) {
	d := newDisk(t)
	g := powerSafe(t, d)
	committed := make(map[string]int)
	for round := range 8 {
		var mu sync.Mutex
		var wg sync.WaitGroup
		ctx, stop := context.WithCancel(t.Context())
		var n atomic.Int32
		limit := int32(20 + rand.IntN(400))
		for i := range 5 {
			wg.Go(func() {
				for k := 0; ctx.Err() == nil; k++ {
					one := info(round*10_000 + i*1000 + k)
					s, err := g.Begin(one)
					if err != nil {
						return
					}
					err = s.Append(event.Frame{Kind: event.KindOpen, Time: start, Payload: one.Append(nil)})
					for j := 0; err == nil && j < 5+rand.IntN(60); j++ {
						data := fmt.Appendf(nil, "%d %0*d", j, rand.IntN(300), j)
						if err = s.Append(event.Frame{Kind: event.KindData, Exchange: 1, Time: start, Payload: data}); err != nil {
							break
						}
						if err = s.Commit(context.Background()); err == nil {
							mu.Lock()
							committed[one.ID] = j + 1
							mu.Unlock()
						}
						if n.Add(1) == limit {
							stop()
							return
						}
					}
					if ctx.Err() != nil {
						return
					}
					close := event.Notice{Code: "closed"}
					_ = s.Append(event.Frame{Kind: event.KindClose, Time: start, Payload: close.Append(nil)})
					_ = s.Close()
				}
			})
		}
		<-ctx.Done()
		if err := g.Crash(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		stop()
		d.fail(t, filepath.Join(g.dir, "spool"))
		g.open(t)
	}
	g.flush(t)
	r := g.verify(t, recorder.VerifyOptions{Frames: true})
	wantOK(t, r)
	if len(r.Unlogged)+len(r.Open) > 0 {
		t.Errorf("report: %+v", r)
	}
	for _, id := range slices.Sorted(maps.Keys(committed)) {
		got := 0
		for f, err := range recorder.NewReader(g.store).Frames(t.Context(), id) {
			if err != nil {
				t.Fatal(err)
			}
			if f.Kind == event.KindData {
				if want := fmt.Sprintf("%d ", got); string(f.Payload[:len(want)]) != want {
					t.Fatalf("session %s: frame %q in place of %s", id, f.Payload, want)
				}
				got++
			}
		}
		if got < committed[id] {
			t.Errorf("session %s: %d frames of %d committed", id, got, committed[id])
		}
	}
	t.Logf("%d sessions, %d fsyncs", len(committed), d.syncs)
}

// TestFailedSync makes fsync fail once: the session ends there, with all that
// was committed before, and a later fsync that succeeds is not believed.
func TestFailedSync(t *testing.T) {
	for name, durable := range map[string]bool{"after a commit": true, "at the first": false} {
		t.Run(name, func(t *testing.T) {
			var fails atomic.Bool
			d := newDisk(t)
			g := newGate(t, func(o *recorder.Options) {
				o.PowerSafe = true
				o.SetSync(func(f *os.File) error {
					if fails.Load() {
						return syscall.EIO
					}
					return d.sync(f)
				})
			})
			s := g.begin(t, 1)
			var want []string
			if durable {
				request(t, s, 1, event.Allow)
				commit(t, s)
				want = append(want, "1 unknown")
			}
			fails.Store(true)
			request(t, s, 2, event.Allow)
			if err := s.Commit(t.Context()); !errors.Is(err, recorder.ErrNotDurable) || !errors.Is(err, syscall.EIO) {
				t.Fatalf("commit to a disk that fails: %v", err)
			}
			fails.Store(false)
			if err := s.Commit(t.Context()); !errors.Is(err, recorder.ErrNotDurable) {
				t.Errorf("a second commit: %v", err)
			}
			if err := s.Append(event.Frame{Kind: event.KindData, Time: start}); !errors.Is(err, recorder.ErrNotDurable) {
				t.Errorf("append: %v", err)
			}
			if err := s.Close(); !errors.Is(err, recorder.ErrNotDurable) {
				t.Errorf("close: %v", err)
			}
			g.record(t, 2, 1) // other sessions go on
			g.flush(t)
			if got := outcomes(t, recorder.NewReader(g.store), "s000001"); !slices.Equal(got, append(want, "disk")) {
				t.Errorf("recorded %q", got)
			}
			wantOK(t, g.verify(t, recorder.VerifyOptions{Frames: true}))
			if st := g.Stats(); st.Backlog != 0 || st.Sessions != 0 {
				t.Errorf("stats: %+v", st)
			}
		})
	}
}

// Commits that wait for the disk at the same time share a round of fsyncs.
func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var directory atomic.Int32
		release := make(chan struct{})
		g := newGate(t, func(o *recorder.Options) {
			o.PowerSafe = true
			o.SetSync(func(f *os.File) error {
				if filepath.Base(f.Name()) == "sessions" {
					directory.Add(1)
					<-release
				}
				return nil
			})
		})
		var committed atomic.Int32
		for i := range 100 {
			s := g.begin(t, i)
			go func() {
				commit(t, s)
				committed.Add(1)
			}()
			synctest.Wait() // it waits for the disk
		}
		if n := committed.Load(); n != 0 {
			t.Errorf("%d commits did not wait for the disk", n)
		}
		close(release)
		synctest.Wait()
		if n, d := committed.Load(), directory.Load(); n != 100 || d != 2 {
			t.Errorf("%d commits with %d fsyncs of the directory", n, d)
		}
		if err := g.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
