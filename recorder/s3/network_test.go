package s3_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	random "math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"gatehouse/core/event"
	"gatehouse/recorder"
)

// A fate is what becomes of one connection. The zero fate is a good one.
type fate struct {
	latency time.Duration // of what passes at a time
	rate    int           // bytes a second, each way; 0 is no limit
	cut     int           // after so many bytes, both ways together, it ends; 0 is never
	reset   bool          // it ends by RST
	stall   time.Duration // it passes nothing for so long, and ends
}

// A network carries connections to an address, each to its fate.
type network struct {
	l    net.Listener
	to   string
	next func() fate  // of the next connection
	bad  atomic.Int64 // fates that were not good

	mu   sync.Mutex
	open map[net.Conn]struct{}
	work sync.WaitGroup
}

func newNetwork(t *testing.T, to string, next func() fate) *network {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &network{l: l, to: to, next: next, open: map[net.Conn]struct{}{}}
	n.work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f := n.next()
			if f != (fate{}) {
				n.bad.Add(1)
			}
			n.work.Go(func() { n.carry(c, f) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		n.mu.Lock()
		for c := range n.open { // the client keeps some
			c.Close()
		}
		n.mu.Unlock()
		n.work.Wait()
	})
	return n
}

func (n *network) carry(client net.Conn, f fate) {
	server, err := net.Dial("tcp", n.to)
	if err != nil {
		client.Close()
		return
	}
	n.mu.Lock()
	n.open[client] = struct{}{}
	n.mu.Unlock()
	var once sync.Once
	end := func() {
		once.Do(func() {
			if f.reset {
				_ = client.(*net.TCPConn).SetLinger(0) // or it is closed already
			}
			client.Close()
			server.Close()
		})
	}
	var left atomic.Int64
	left.Store(int64(f.cut))
	pass := func(to, from net.Conn) {
		defer end()
		b := make([]byte, 4096)
		for {
			if f.stall > 0 {
				time.Sleep(f.stall)
				return
			}
			k, err := from.Read(b)
			time.Sleep(f.latency)
			if f.rate > 0 {
				time.Sleep(time.Duration(k) * time.Second / time.Duration(f.rate))
			}
			if f.cut > 0 {
				if rest := left.Add(-int64(k)); rest < 0 {
					_, _ = to.Write(b[:max(0, int64(k)+rest)]) // it ends anyway
					return
				}
			}
			if _, werr := to.Write(b[:k]); err != nil || werr != nil {
				return
			}
		}
	}
	var back sync.WaitGroup
	back.Go(func() { pass(client, server) })
	pass(server, client)
	back.Wait()
	n.mu.Lock()
	delete(n.open, client)
	n.mu.Unlock()
}

// pieceSize is of what does not compress.
const pieceSize = 60_000

// TestNetwork has the way to the service be bad in every way: sessions go on,
// and what they recorded is stored by itself, once and in order.
func TestNetwork(t *testing.T) {
	m := newServer(t)
	m.makeBucket(t, "network", minio.MakeBucketOptions{ObjectLocking: true}) // it keeps versions
	// several returns fates for the first n connections; what comes after has a good one.
	several := func(n int64, f func() fate) func() fate {
		var left atomic.Int64
		left.Store(n)
		return func() fate {
			if left.Add(-1) < 0 {
				return fate{}
			}
			return f()
		}
	}
	always := func(f fate) func() fate { return func() fate { return f } }
	cut := func(reset bool) func() fate {
		return func() fate { return fate{cut: 1 + random.IntN(2*pieceSize), reset: reset} }
	}
	for name, fates := range map[string]func() fate{
		"latency":               always(fate{latency: 10 * time.Millisecond}),
		"slow link":             always(fate{rate: 500_000}),
		"cut at random bytes":   several(15, cut(false)),
		"reset at random bytes": several(15, cut(true)),
		"all of it, now and then": several(25, func() fate {
			f := cut(random.IntN(2) == 0)()
			f.latency = time.Millisecond
			f.rate = 1_000_000
			return f
		}),
		"nothing passes": several(10, always(fate{stall: 100 * time.Millisecond})),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testNetwork(t, m, strings.NewReplacer(" ", "-", ",", "").Replace(name), fates)
		})
	}
}

func testNetwork(t *testing.T, m *server, prefix string, fates func() fate) {
	n := newNetwork(t, m.address, fates)
	o := m.options("network")
	o.Prefix = prefix
	direct := open(t, o)
	o.Endpoint, o.Region = "http://"+n.l.Addr().String(), "us-east-1"
	key, vkey, err := recorder.GenerateKey("gate.example/network")
	if err != nil {
		t.Fatal(err)
	}
	r, err := recorder.Open(recorder.Options{
		Spool: t.TempDir(), Store: open(t, o), Key: key, PieceSize: pieceSize, LogEvery: 10 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	sent := map[string][]byte{}
	for i := range 4 {
		id := fmt.Sprintf("n%d", i)
		sent[id] = recordNoise(t, r, id)
	}
	flush(t, r)
	if n.bad.Load() == 0 {
		t.Error("nothing was bad")
	}
	if st := r.Stats(); st.Backlog != 0 || st.Forked || !st.Away.IsZero() {
		t.Errorf("afterwards: %+v", st)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
	report, err := recorder.Verify(t.Context(), direct, vkey, recorder.VerifyOptions{Frames: true})
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK() || report.Sessions != len(sent) || len(report.Open)+len(report.Unlogged) > 0 {
		t.Errorf("report: %+v", report)
	}
	for id, want := range sent {
		var got []byte
		for frame, err := range recorder.NewReader(direct).Frames(t.Context(), id) {
			if err != nil {
				t.Fatal(err)
			}
			if frame.Kind == event.KindData {
				got = append(got, frame.Payload...)
			}
		}
		if !bytes.Equal(got, want) {
			t.Errorf("session %s: got %d bytes, sent %d", id, len(got), len(want))
		}
	}
	wantOnce(t, m, prefix)
}

// wantOnce looks for objects that were written more than once.
func wantOnce(t *testing.T, m *server, prefix string) {
	t.Helper()
	versions := map[string]int{}
	for o := range m.client(t).ListObjectsIter(t.Context(), "network", minio.ListObjectsOptions{Prefix: prefix, Recursive: true, WithVersions: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		versions[o.Key]++
	}
	for name, n := range versions {
		if n != 1 && !strings.HasSuffix(name, "/log/checkpoint") {
			t.Errorf("%s was written %d times", name, n)
		}
	}
}

// recordNoise records a session whose data does not compress, and returns that.
func recordNoise(t *testing.T, r *recorder.Recorder, id string) (sent []byte) {
	t.Helper()
	sent = make([]byte, 3*pieceSize/5000*5000)
	_, _ = io.ReadFull(rand.Reader, sent)
	recordSession(t, r, id, slices.Collect(slices.Chunk(sent, 5000))...)
	return sent
}
