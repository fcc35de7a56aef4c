package recorder_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/recorder"
)

var _ pipeline.Recorder = (*recorder.Session)(nil)

// A gate is a recorder with what it records to.
type gate struct {
	*recorder.Recorder
	store     recorder.Store
	dir       string
	key, vkey string
	options   recorder.Options
}

func newGate(t *testing.T, change func(*recorder.Options)) *gate {
	t.Helper()
	g := &gate{dir: t.TempDir()}
	var err error
	if g.key, g.vkey, err = recorder.GenerateKey("gate.example/test"); err != nil {
		t.Fatal(err)
	}
	dir, err := recorder.OpenDir(filepath.Join(g.dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	g.store = dir
	g.options = recorder.Options{
		Spool: filepath.Join(g.dir, "spool"), Store: dir, Key: g.key,
		SealAfter: time.Hour, LogEvery: time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	g.options.SetMapAfter(1)
	if change != nil {
		change(&g.options)
	}
	g.open(t)
	t.Cleanup(func() { g.Close(t.Context()) })
	return g
}

func (g *gate) open(t *testing.T) {
	t.Helper()
	r, err := recorder.Open(g.options)
	if err != nil {
		t.Fatal(err)
	}
	g.Recorder = r
}

// flush waits until everything is stored and logged.
func (g *gate) flush(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	if err := g.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

var start = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

func info(i int) *event.Session {
	at := start.Add(time.Duration(i) * time.Second)
	return &event.Session{
		ID: fmt.Sprintf("s%06d", i), Gate: "gate-1", Protocol: "lines", Resource: "orders", Policy: "1",
		Principal: event.Principal{Issuer: "https://id.example", Subject: "42", Name: "agent@example.com", Groups: []string{"agents"}},
		Client:    "127.0.0.1:1234", Start: at,
	}
}

// begin opens a session with its first frame.
func (g *gate) begin(t testing.TB, i int) *recorder.Session {
	t.Helper()
	s, err := g.Begin(info(i))
	if err != nil {
		t.Fatal(err)
	}
	appendFrame(t, s, event.KindOpen, 0, info(i).Append(nil))
	return s
}

func appendFrame(t testing.TB, s *recorder.Session, k event.Kind, exchange uint64, payload []byte) {
	t.Helper()
	if err := s.Append(event.Frame{Kind: k, Exchange: exchange, Time: start.Add(time.Hour), Payload: payload}); err != nil {
		t.Fatal(err)
	}
}

func commit(t testing.TB, s *recorder.Session) {
	t.Helper()
	if err := s.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// end closes a session as a gate does.
func end(t testing.TB, s *recorder.Session) {
	t.Helper()
	n := event.Notice{Code: "closed", Text: "the client hung up"}
	appendFrame(t, s, event.KindClose, 0, n.Append(nil))
	commit(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// record records a whole session with n data frames of about 100 bytes.
func (g *gate) record(t testing.TB, i, n int) {
	t.Helper()
	s := g.begin(t, i)
	for j := range n {
		appendFrame(t, s, event.KindData, uint64(j), fmt.Appendf(nil, "%100d", j))
	}
	end(t, s)
}

// kinds reads a recording.
func kinds(t testing.TB, r *recorder.Reader, id string) (kinds []event.Kind, data []byte) {
	t.Helper()
	for f, err := range r.Frames(t.Context(), id) {
		if err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, f.Kind)
		if f.Kind == event.KindData {
			data = append(data, f.Payload...)
		}
	}
	return kinds, data
}

func TestRecordingIsReadAsWritten(t *testing.T) {
	g := newGate(t, func(o *recorder.Options) { o.PieceSize = 4 << 10 })
	s := g.begin(t, 1)
	var want []byte
	for i := range 200 {
		b := fmt.Appendf(nil, "row %d %0*d\n", i, i*13, i)
		appendFrame(t, s, event.KindData, 1, b)
		want = append(want, b...)
		if i%7 == 0 {
			commit(t, s)
		}
	}
	commit(t, s)
	check := func(r *recorder.Reader, last event.Kind) {
		t.Helper()
		ks, data := kinds(t, r, "s000001")
		if !bytes.Equal(data, want) {
			t.Errorf("read %d bytes of data, wrote %d", len(data), len(want))
		}
		if ks[0] != event.KindOpen || ks[len(ks)-1] != last {
			t.Errorf("recording runs from kind %d to %d", ks[0], ks[len(ks)-1])
		}
	}
	check(g.Reader(), event.KindData)
	end(t, s)
	check(g.Reader(), event.KindClose)
	g.flush(t)
	check(g.Reader(), event.KindClose)
	check(recorder.NewReader(g.store), event.KindClose)
	if st := g.Stats(); st.Backlog != 0 || st.Sessions != 0 || st.Failures != 0 {
		t.Errorf("after flush: %+v", st)
	}
}
