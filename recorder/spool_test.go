package recorder_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/core/event"
	"gatehouse/recorder"
)

var errAway = errors.New("the store is away")

// A moody store fails as it is told, before or after it has done its work.
type moody struct {
	recorder.Store
	away atomic.Bool
	odds atomic.Int32 // one of so many operations fails; zero is none
	puts sync.Map     // how often each object was created
}

func (m *moody) fails() bool {
	odds := m.odds.Load()
	return m.away.Load() || odds > 0 && rand.Int32N(odds) == 0
}

func (m *moody) Put(ctx context.Context, name string, data []byte) error {
	if m.fails() {
		return errAway
	}
	err := m.Store.Put(ctx, name, data)
	if err == nil {
		n, _ := m.puts.LoadOrStore(name, new(atomic.Int32))
		n.(*atomic.Int32).Add(1)
	}
	if m.fails() {
		return errAway // the answer is lost
	}
	return err
}

func (m *moody) Replace(ctx context.Context, name string, old, data []byte) error {
	if m.fails() {
		return errAway
	}
	if err := m.Store.Replace(ctx, name, old, data); err != nil || !m.fails() {
		return err
	}
	return errAway
}

func (m *moody) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	if m.fails() {
		return nil, errAway
	}
	return m.Store.Get(ctx, name)
}

func (m *moody) List(ctx context.Context, folder string) iter.Seq2[string, error] {
	if m.fails() {
		return func(yield func(string, error) bool) { yield("", errAway) }
	}
	return m.Store.List(ctx, folder)
}

func newMoodyGate(t *testing.T, change func(*recorder.Options)) (*gate, *moody) {
	m := new(moody)
	g := newGate(t, func(o *recorder.Options) {
		m.Store, o.Store = o.Store, m
		if change != nil {
			change(o)
		}
	})
	return g, m
}

func TestStoreThatFailsNowAndThen(t *testing.T) {
	synctest.Test(t, testMoodyStore) // so that waits take no time
}

func testMoodyStore(t *testing.T) {
	g, m := newMoodyGate(t, func(o *recorder.Options) { o.PieceSize = 1000 })
	m.odds.Store(5)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			s := g.begin(t, i)
			for j := range 50 {
				appendFrame(t, s, event.KindData, 1, fmt.Appendf(nil, "%100d", j))
				commit(t, s)
			}
			end(t, s)
		})
	}
	wg.Wait()
	if err := g.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.odds.Store(0)
	r := g.verify(t, recorder.VerifyOptions{})
	wantOK(t, r)
	if r.Sessions != 20 || len(r.Open)+len(r.Unlogged) > 0 {
		t.Errorf("report: %+v", r)
	}
	m.puts.Range(func(name, n any) bool {
		if n.(*atomic.Int32).Load() != 1 {
			t.Errorf("%v was created %d times", name, n.(*atomic.Int32).Load())
		}
		return true
	})
	if st := g.Stats(); st.Failures == 0 || st.Backlog != 0 {
		t.Errorf("stats: %+v", st)
	}
	if err := g.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestFullSpool(t *testing.T) {
	g, m := newMoodyGate(t, func(o *recorder.Options) {
		o.SpoolLimit, o.PieceSize, o.FullWait = 20_000, 1000, 20*time.Millisecond
	})
	m.away.Store(true)
	s := g.begin(t, 1)
	noise := make([]byte, 500)
	n := 0
	var err error
	for err == nil && n < 1000 {
		for i := range noise {
			noise[i] = byte(rand.Uint32()) // does not compress
		}
		appendFrame(t, s, event.KindData, 1, noise)
		if err = s.Commit(t.Context()); err == nil {
			n++
		}
	}
	if !errors.Is(err, recorder.ErrSpoolFull) {
		t.Fatalf("%d commits, then %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Commit(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("commit with an ended context: %v", err)
	}
	other := g.begin(t, 2)
	if err := other.Commit(t.Context()); !errors.Is(err, recorder.ErrSpoolFull) {
		t.Errorf("another session: %v", err)
	}
	large := event.Frame{Kind: event.KindData, Exchange: 1, Payload: make([]byte, 100_000)}
	if err := s.Append(large); !errors.Is(err, recorder.ErrSpoolFull) {
		t.Errorf("append of what is written at once: %v", err)
	}
	m.away.Store(false)
	g.flush(t)
	end(t, s) // commits what could not be committed
	end(t, other)
	g.flush(t)
	if _, data := kinds(t, g.Reader(), "s000001"); len(data) != (n+1)*len(noise) {
		t.Errorf("%d bytes of data, want %d", len(data), (n+1)*len(noise))
	}
	wantOK(t, g.verify(t, recorder.VerifyOptions{Frames: true}))
}

func TestFailedWriteLosesNothing(t *testing.T) {
	g := newGate(t, nil)
	s := g.begin(t, 1)
	appendFrame(t, s, event.KindData, 1, []byte("before "))
	commit(t, s)
	if err := s.Break(); err != nil {
		t.Fatal(err)
	}
	appendFrame(t, s, event.KindData, 1, []byte("during "))
	if err := s.Commit(t.Context()); err == nil {
		t.Fatal("committed to a file that cannot be written")
	}
	appendFrame(t, s, event.KindData, 1, []byte("after"))
	commit(t, s)
	end(t, s)
	g.flush(t)
	if _, data := kinds(t, g.Reader(), "s000001"); string(data) != "before during after" {
		t.Errorf("data %q", data)
	}
	wantOK(t, g.verify(t, recorder.VerifyOptions{Frames: true}))
}

func TestConcurrentFrames(t *testing.T) {
	g := newGate(t, func(o *recorder.Options) { o.PieceSize = 10_000 })
	s := g.begin(t, 1)
	const writers, each = 8, 500
	var wg sync.WaitGroup
	for w := range uint64(writers) {
		wg.Go(func() {
			for i := range uint64(each) {
				appendFrame(t, s, event.KindData, w, binary.LittleEndian.AppendUint64(nil, i))
				if i%10 == 0 {
					commit(t, s)
				}
			}
		})
	}
	wg.Wait()
	end(t, s)
	next := make([]uint64, writers)
	for f, err := range g.Reader().Frames(t.Context(), "s000001") {
		if err != nil {
			t.Fatal(err)
		}
		if f.Kind != event.KindData {
			continue
		}
		if got := binary.LittleEndian.Uint64(f.Payload); got != next[f.Exchange] {
			t.Fatalf("writer %d: frame %d in place of %d", f.Exchange, got, next[f.Exchange])
		}
		next[f.Exchange]++
	}
	for w, n := range next {
		if n != each {
			t.Errorf("writer %d: %d frames", w, n)
		}
	}
}

func TestLargeFrames(t *testing.T) {
	g := newGate(t, nil)
	s := g.begin(t, 1)
	data := make([]byte, 5<<20+7)
	for i := range data {
		data[i] = byte(i >> 12)
	}
	if err := s.Append(event.Frame{Kind: event.KindData, Exchange: 1, Time: time.Now(), Payload: data[:100]}, data[100:3<<20], data[3<<20:]); err != nil {
		t.Fatal(err)
	}
	request := event.Request{Operation: "query", Payload: bytes.Repeat([]byte("x"), 9<<20)}
	appendFrame(t, s, event.KindRequest, 2, request.Append(nil))
	err := s.Append(event.Frame{Kind: event.KindRequest, Exchange: 3, Time: time.Now(), Payload: make([]byte, recorder.MaxFrame+1)})
	if err == nil {
		t.Error("appended a frame that is too large")
	}
	end(t, s)
	g.flush(t)
	var got []byte
	for f, err := range recorder.NewReader(g.store).Frames(t.Context(), "s000001") {
		if err != nil {
			t.Fatal(err)
		}
		if f.Kind == event.KindData {
			got = append(got, f.Payload...)
		}
		if f.Kind == event.KindRequest && len(f.Payload) != len(request.Append(nil)) {
			t.Errorf("request of %d bytes", len(f.Payload))
		}
	}
	if !bytes.Equal(got, data) {
		t.Errorf("%d bytes of data, want %d", len(got), len(data))
	}
	wantOK(t, g.verify(t, recorder.VerifyOptions{Frames: true}))
}

func TestFramesOutOfOrder(t *testing.T) {
	g := newGate(t, nil)
	s, err := g.Begin(info(1))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Append(event.Frame{Kind: event.KindData}); err == nil {
		t.Error("a recording began with data")
	}
	appendFrame(t, s, event.KindOpen, 0, info(1).Append(nil))
	if err := s.Append(event.Frame{Kind: event.KindOpen}); err == nil {
		t.Error("opened twice")
	}
	n := event.Notice{Code: "closed"}
	appendFrame(t, s, event.KindClose, 0, n.Append(nil))
	if err := s.Append(event.Frame{Kind: event.KindData}); !errors.Is(err, recorder.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []event.Session{{ID: "../x", Start: start}, {ID: "", Start: start}, {ID: "a"}, *info(1)} {
		if _, err := g.Begin(&bad); err == nil {
			t.Errorf("began session %q", bad.ID)
		}
	}
	empty, err := g.Begin(info(2))
	if err != nil {
		t.Fatal(err)
	}
	if err := empty.Close(); err != nil {
		t.Error(err)
	}
	g.flush(t)
	if _, err := g.Reader().Find(t.Context(), "s000002"); !errors.Is(err, recorder.ErrNotFound) {
		t.Errorf("a session without frames is found: %v", err)
	}
}

func TestUnclosedSessionSaysSo(t *testing.T) {
	g := newGate(t, nil)
	s := g.begin(t, 1)
	commit(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	left := g.begin(t, 2)
	commit(t, left)
	if err := g.Close(t.Context()); err != nil { // closes what is left
		t.Fatal(err)
	}
	for _, id := range []string{"s000001", "s000002"} {
		if got := notices(t, recorder.NewReader(g.store), id); len(got) != 1 || got[0] != "unclosed" {
			t.Errorf("%s: notices %q", id, got)
		}
	}
	if _, err := g.Begin(info(3)); !errors.Is(err, recorder.ErrClosed) {
		t.Errorf("begin after close: %v", err)
	}
	wantOK(t, g.verify(t, recorder.VerifyOptions{Frames: true}))
}

func TestPiecesAreSealedWithAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t, func(o *recorder.Options) { o.SealAfter, o.LogEvery = time.Second, time.Second })
		s := g.begin(t, 1)
		commit(t, s)
		time.Sleep(900 * time.Millisecond)
		synctest.Wait()
		if st := g.Stats(); st.Sealed != 0 {
			t.Errorf("sealed early: %+v", st)
		}
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		if st := g.Stats(); st.Sealed != 1 || st.Stored != 1 || st.LogSize != 1 || st.Backlog != 0 {
			t.Errorf("a second later: %+v", st)
		}
		end(t, s)
		g.flush(t)
		if err := g.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestNothingIsLeftBehind runs two thousand sessions.
func TestNothingIsLeftBehind(t *testing.T) {
	g := newGate(t, func(o *recorder.Options) { o.LogEvery = 100 * time.Millisecond })
	count := func() (goroutines, files int) {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return runtime.NumGoroutine(), len(fds)
	}
	g.record(t, 0, 1)
	g.flush(t)
	goroutines, files := count()
	var open []*recorder.Session
	for i := range 2000 {
		s := g.begin(t, i+1)
		commit(t, s)
		open = append(open, s)
		if len(open) == 200 {
			if now, _ := count(); now > goroutines {
				t.Errorf("%d goroutines for %d sessions, %d for none", now, len(open), goroutines)
			}
			for _, s := range open {
				end(t, s)
			}
			open = open[:0]
		}
	}
	g.flush(t)
	if nowG, nowF := count(); nowG > goroutines || nowF > files {
		t.Errorf("%d goroutines and %d files before, %d and %d after", goroutines, files, nowG, nowF)
	}
	if left, _ := filepath.Glob(filepath.Join(g.dir, "spool", "sessions", "*")); len(left) != 0 {
		t.Errorf("%d files left in the spool", len(left))
	}
	if st := g.Stats(); st.Sessions != 0 || st.Backlog != 0 || st.LogSize != 2*2001 {
		t.Errorf("stats: %+v", st)
	}
	wantOK(t, g.verify(t, recorder.VerifyOptions{}))
}

func TestLogThatIsNotOurs(t *testing.T) {
	tests := map[string]func(t *testing.T, g *gate){
		"rolled back": func(t *testing.T, g *gate) {
			old := g.read(t, "log/checkpoint")
			g.record(t, 2, 1)
			g.flush(t)
			g.write(t, "log/checkpoint", old)
		},
		"removed": func(t *testing.T, g *gate) { g.remove(t, "log/checkpoint") },
		"another gate with the key": func(t *testing.T, g *gate) {
			o := g.options
			o.Spool = filepath.Join(g.dir, "spool2")
			r, err := recorder.Open(o)
			if err != nil {
				t.Fatal(err)
			}
			other := &gate{Recorder: r}
			other.record(t, 3, 1)
			other.flush(t)
			if err := r.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		"altered": func(t *testing.T, g *gate) { g.write(t, "log/checkpoint", flip(g.read(t, "log/checkpoint"))) },
	}
	for name, tamper := range tests {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, nil)
			g.record(t, 1, 1)
			g.flush(t)
			tamper(t, g)
			g.record(t, 9, 1)
			if err := g.Flush(t.Context()); !errors.Is(err, recorder.ErrFork) {
				t.Errorf("flush: %v", err)
			}
			if !g.Stats().Forked {
				t.Error("the fork does not show in the stats")
			}
			if _, data := kinds(t, g.Reader(), "s000009"); len(data) != 100 {
				t.Error("the recording cannot be read")
			}
		})
	}
}

func TestLostSpool(t *testing.T) {
	g := newGate(t, func(o *recorder.Options) { o.LogEvery = 100 * time.Millisecond })
	for i := range 300 { // more than a tile
		g.record(t, i, 1)
	}
	g.flush(t)
	if err := g.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(g.dir, "spool")); err != nil {
		t.Fatal(err)
	}
	g.open(t)
	for i := range 10 {
		g.record(t, 1000+i, 1)
	}
	g.flush(t)
	r := g.verify(t, recorder.VerifyOptions{Frames: true})
	wantOK(t, r)
	if r.Sessions != 310 {
		t.Errorf("%d sessions", r.Sessions)
	}
}

func TestOptionsAreValidated(t *testing.T) {
	g := newGate(t, nil)
	for name, change := range map[string]func(*recorder.Options){
		"spool":  func(o *recorder.Options) { o.Spool = "" },
		"store":  func(o *recorder.Options) { o.Store = nil },
		"key":    func(o *recorder.Options) { o.Key = g.vkey },
		"piece":  func(o *recorder.Options) { o.PieceSize = recorder.MaxPieceSize + 1 },
		"limit":  func(o *recorder.Options) { o.SpoolLimit = -1 },
		"wait":   func(o *recorder.Options) { o.FullWait = -1 },
		"seal":   func(o *recorder.Options) { o.SealAfter = -1 },
		"log":    func(o *recorder.Options) { o.LogEvery = -1 },
		"parent": func(o *recorder.Options) { o.Spool = filepath.Join(g.dir, "store", "file", "x") },
	} {
		o := g.options
		o.Spool = t.TempDir()
		if name == "parent" {
			g.write(t, "file", nil)
		}
		change(&o)
		if r, err := recorder.Open(o); err == nil {
			t.Errorf("%s: opened", name)
			_ = r.Close(t.Context())
		}
	}
}

func TestKeys(t *testing.T) {
	for range 50 { // base64 with and without a plus
		key, vkey, err := recorder.GenerateKey("gate.example/keys")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := recorder.VerifierKey(key + "\n"); err != nil || got != vkey {
			t.Fatalf("verifier key %q, %v, want %q", got, err, vkey)
		}
	}
	for _, bad := range []string{"", "x", "PRIVATE+KEY+a+b+c"} {
		if _, err := recorder.VerifierKey(bad); err == nil {
			t.Errorf("%q is a signer key", bad)
		}
	}
	if _, _, err := recorder.GenerateKey("a name with spaces"); err == nil {
		t.Error("generated a key with an invalid name")
	}
}
