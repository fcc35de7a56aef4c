package recorder_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"gatehouse/core/event"
	"gatehouse/recorder"
)

// mountDisk mounts a file system of its own at the spool's place.
func mountDisk(t *testing.T, spool string) {
	t.Helper()
	if err := os.MkdirAll(spool, 0o700); err != nil {
		t.Fatal(err)
	}
	mount(t, "tmpfs", spool, "tmpfs", 0, "size=4m")
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
		o.SealAfter = time.Millisecond
	})
	open, fresh := g.begin(t, 1), g.begin(t, 2)
	appendFrame(t, open, event.KindData, 1, []byte("before"))
	commit(t, open)
	free := fill(t, g.options.Spool)
	for _, s := range []*recorder.Session{open, fresh} {
		appendFrame(t, s, event.KindData, 2, make([]byte, 50_000))
		if err := s.Commit(t.Context()); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("commit on a full disk: %v", err)
		}
	}
	if n := g.Stats().FailuresBy["spool"]; n < 2 {
		t.Errorf("%d failures were counted", n)
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
	dir := filepath.Join(g.options.Spool, "sessions")
	mount(t, dir, dir, "", syscall.MS_BIND, "")
	if err := syscall.Mount("", dir, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context()); !errors.Is(err, syscall.EROFS) {
		t.Fatalf("commit to a read-only directory: %v", err)
	}
	if n := g.Stats().FailuresBy["spool"]; n != 1 {
		t.Errorf("%d failures were counted", n)
	}
	if err := syscall.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	commit(t, s)
	end(t, s)
	g.flush(t)
	wantOK(t, g.verify(t, recorder.VerifyOptions{Frames: true}))
}
