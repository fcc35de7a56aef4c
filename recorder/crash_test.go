package recorder_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/core/event"
	"gatehouse/recorder"
)

// The test's program is also the process that TestKill kills.
const childSpool = "RECORDER_TEST_SPOOL"

func TestMain(m *testing.M) {
	if spool := os.Getenv(childSpool); spool != "" {
		child(spool)
	}
	os.Exit(m.Run())
}

const childSessions = 8

// child records until it is killed, and prints each frame that is committed:
// the session and how many data frames it has.
func child(spool string) {
	check := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	store, err := recorder.OpenDir(spool + "-store")
	check(err)
	o := recorder.Options{
		Spool: spool, Store: store, Key: os.Getenv(childSpool + "_KEY"),
		PieceSize: 5000, SealAfter: 20 * time.Millisecond, LogEvery: 5 * time.Millisecond,
	}
	o.SetMapAfter(2)
	r, err := recorder.Open(o)
	check(err)
	for i := range childSessions {
		go func() {
			for n := 0; ; n++ {
				info := &event.Session{ID: fmt.Sprintf("p%d-%d-%d", os.Getpid(), i, n), Start: time.Now()}
				s, err := r.Begin(info)
				check(err)
				check(s.Append(event.Frame{Kind: event.KindOpen, Time: time.Now(), Payload: info.Append(nil)}))
				for j := range uint64(1 + rand.IntN(100)) {
					data := append(binary.LittleEndian.AppendUint64(nil, j), make([]byte, rand.IntN(500))...)
					check(s.Append(event.Frame{Kind: event.KindData, Time: time.Now(), Payload: data}))
					check(s.Commit(context.Background()))
					fmt.Printf("%s %d\n", info.ID, j+1)
				}
				note := event.Notice{Code: "closed"}
				check(s.Append(event.Frame{Kind: event.KindClose, Time: time.Now(), Payload: note.Append(nil)}))
				check(s.Close())
			}
		}()
	}
	select {}
}

// TestKill kills a process under load, again and again on the same spool and
// store: every frame that it committed is in the recordings, which verify.
func TestKill(t *testing.T) {
	key, vkey, err := recorder.GenerateKey("gate.example/kill")
	if err != nil {
		t.Fatal(err)
	}
	spool := filepath.Join(t.TempDir(), "spool")
	committed := make(map[string]int)
	for range 6 {
		runAndKill(t, spool, key, 100+rand.IntN(3000), committed)
	}
	store, err := recorder.OpenDir(spool + "-store")
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	r, err := recorder.Open(recorder.Options{Spool: spool, Store: store, Key: key, LogEvery: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(spool, "sessions", "*")); len(left) != 0 {
		t.Errorf("left in the spool: %q", left)
	}
	report, err := recorder.Verify(t.Context(), store, vkey, recorder.VerifyOptions{Frames: true})
	if err != nil {
		t.Fatal(err)
	}
	wantOK(t, report)
	if len(report.Open)+len(report.Unlogged) > 0 || report.Sessions < len(committed) {
		t.Errorf("%d sessions committed, report: %+v", len(committed), report)
	}
	frames := 0
	for id, n := range committed {
		if got := dataFrames(t, recorder.NewReader(store), id); got < n {
			t.Errorf("session %s: %d frames of %d committed", id, got, n)
		}
		frames += n
	}
	t.Logf("%d frames in %d sessions", frames, len(committed))
}

// runAndKill runs the child until it has committed some frames.
func runAndKill(t *testing.T, spool, key string, frames int, committed map[string]int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childSpool+"="+spool, childSpool+"_KEY="+key)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		var id string
		var j int
		if _, err := fmt.Sscanf(lines.Text(), "%s %d", &id, &j); err != nil {
			continue // the last line, cut by the kill
		}
		committed[id] = max(committed[id], j)
		if n == frames {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // it was killed
	if stderr.Len() > 0 {
		t.Fatalf("child: %s", &stderr)
	}
}

// dataFrames counts the data frames of a recording, which must be in order.
func dataFrames(t *testing.T, r *recorder.Reader, id string) int {
	t.Helper()
	n := 0
	var last event.Kind
	for f, err := range r.Frames(t.Context(), id) {
		if err != nil {
			t.Fatal(err)
		}
		if last = f.Kind; last != event.KindData {
			continue
		}
		if got := binary.LittleEndian.Uint64(f.Payload); got != uint64(n) {
			t.Fatalf("session %s: frame %d at place %d", id, got, n)
		}
		n++
	}
	if last != event.KindClose {
		t.Errorf("session %s ends with kind %d", id, last)
	}
	return n
}

// reopen crashes the gate and opens it again.
func (g *gate) reopen(t *testing.T) {
	t.Helper()
	if err := g.Crash(); err != nil {
		t.Fatal(err)
	}
	g.open(t)
}

// notices are the codes of a recording's notices.
func notices(t *testing.T, r *recorder.Reader, id string) (codes []string) {
	t.Helper()
	for e, err := range recorder.Transcript(r.Frames(t.Context(), id), nil) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Notice != nil {
			codes = append(codes, e.Notice.Code)
		}
	}
	return codes
}

func (g *gate) spoolFile(id string, sequence int) string {
	return filepath.Join(g.dir, "spool", "sessions", fmt.Sprintf("%s.%06d.part", id, sequence))
}

// edit changes a file of the spool.
func edit(t *testing.T, name string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

// storedInPart commits a session's frames, has them stored, and commits another.
func storedInPart(t *testing.T, g *gate, s *recorder.Session) {
	commit(t, s)
	g.flush(t)
	appendFrame(t, s, event.KindData, 1, []byte("x"))
	commit(t, s)
}

func TestRecovery(t *testing.T) {
	tests := map[string]struct {
		before func(t *testing.T, g *gate, s *recorder.Session)
		after  func(t *testing.T, g *gate)
		data   int
		want   []string
	}{
		"open session": {
			before: func(t *testing.T, g *gate, s *recorder.Session) { commit(t, s) },
			data:   3, want: []string{"restarted"},
		},
		"uncommitted frames": {
			before: func(t *testing.T, g *gate, s *recorder.Session) {
				commit(t, s)
				appendFrame(t, s, event.KindData, 1, []byte("x"))
			},
			data: 3, want: []string{"restarted"},
		},
		"torn tail": {
			before: func(t *testing.T, g *gate, s *recorder.Session) {
				commit(t, s)
				appendFrame(t, s, event.KindData, 1, []byte("the last commit"))
				commit(t, s)
			},
			after: func(t *testing.T, g *gate) {
				edit(t, g.spoolFile("s000001", 0), func(b []byte) []byte { return b[:bytes.Index(b, []byte(" commit"))] })
			},
			data: 3, want: []string{"torn", "restarted"},
		},
		"hole of a power failure": {
			before: func(t *testing.T, g *gate, s *recorder.Session) {
				commit(t, s)
				for range 3 {
					appendFrame(t, s, event.KindData, 1, bytes.Repeat([]byte("x"), 5000))
					commit(t, s)
				}
			},
			after: func(t *testing.T, g *gate) {
				edit(t, g.spoolFile("s000001", 0), func(b []byte) []byte { clear(b[8192:12288]); return b })
			},
			data: 5003, want: []string{"torn", "restarted"},
		},
		"nothing but a hole": {
			before: storedInPart,
			after: func(t *testing.T, g *gate) {
				if err := os.WriteFile(g.spoolFile("s000001", 1), make([]byte, 8192), 0o600); err != nil {
					t.Fatal(err)
				}
			},
			data: 3, want: []string{"restarted"},
		},
		"closed but not handed over": {
			before: func(t *testing.T, g *gate, s *recorder.Session) {
				n := event.Notice{Code: "closed"}
				appendFrame(t, s, event.KindClose, 0, n.Append(nil))
				commit(t, s)
			},
			data: 3, want: []string{"closed"},
		},
		"some pieces stored": {
			before: storedInPart,
			data:   4, want: []string{"restarted"},
		},
		"all pieces stored": {
			before: func(t *testing.T, g *gate, s *recorder.Session) { commit(t, s); g.flush(t) },
			data:   3, want: []string{"restarted"},
		},
		"torn chain": {
			before: storedInPart,
			after: func(t *testing.T, g *gate) {
				name := filepath.Join(g.dir, "spool", "sessions", "s000001.chain")
				f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				if _, err := f.Write([]byte{200, 0, 0, 0, 2}); err != nil {
					t.Fatal(err)
				}
			},
			data: 4, want: []string{"restarted"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, nil)
			s := g.begin(t, 1)
			for range 3 {
				appendFrame(t, s, event.KindData, 1, []byte("x"))
			}
			tt.before(t, g, s)
			if err := g.Crash(); err != nil {
				t.Fatal(err)
			}
			if tt.after != nil {
				tt.after(t, g)
			}
			g.open(t)
			g.reopen(t) // recovery itself may be cut short
			g.flush(t)
			if _, data := kinds(t, g.Reader(), "s000001"); len(data) != tt.data {
				t.Errorf("%d data frames, want %d", len(data), tt.data)
			}
			if got := notices(t, recorder.NewReader(g.store), "s000001"); fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("notices %q, want %q", got, tt.want)
			}
			r := g.verify(t, recorder.VerifyOptions{Frames: true})
			wantOK(t, r)
			if len(r.Open)+len(r.Unlogged) > 0 || g.Stats().Backlog != 0 || g.Stats().Sessions != 0 {
				t.Errorf("report %+v, stats %+v", r, g.Stats())
			}
		})
	}
}

// TestStrayFile: what the recorder cannot take up it does not pass over.
func TestStrayFile(t *testing.T) {
	g := newGate(t, nil)
	if err := g.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	const name = "s000001.000000.frames" // as earlier versions had them
	if err := os.WriteFile(filepath.Join(g.options.Spool, "sessions", name), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := recorder.Open(g.options); err == nil || !strings.Contains(err.Error(), name+" is no file of the spool: ") {
		t.Errorf("opened a spool with %s: %v", name, err)
	}
}

func TestSpoolHasOneOwner(t *testing.T) {
	g := newGate(t, nil)
	if _, err := recorder.Open(g.options); err == nil {
		t.Error("opened a spool that is in use")
	}
	if err := g.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.open(t)
}
