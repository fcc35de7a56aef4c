package recorder_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/core/event"
	"gatehouse/recorder"
)

// python runs the reader that was written from FORMAT.md on the gate's store.
// It returns whether it verified, and what it printed.
func (g *gate) python(t *testing.T, args ...string) (ok bool, out string) {
	t.Helper()
	dir := filepath.Join(g.dir, "store")
	if m, inMemory := g.store.(recorder.Memory); inMemory {
		dir = t.TempDir()
		for name, b := range m {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(g.vkey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// Debian's own, for whose packages it is.
	c := exec.Command("/usr/bin/python3", append([]string{"../examples/verify.py", dir, key}, args...)...)
	b, err := c.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 3) {
		t.Fatalf("%v: %v\n%s", c, err, b)
	}
	return err == nil, string(b)
}

func TestPythonReadsTheFormat(t *testing.T) {
	g := recorded(t, 40) // more than a tile
	ok, out := g.python(t, "--frames")
	if !ok || !strings.Contains(out, "Verified: 280 entries, 280 objects, 0 sessions without an end.") {
		t.Fatalf("a good store does not verify:\n%.2000s", out)
	}
	if n := strings.Count(out, " data b'"); n != 40*100 {
		t.Errorf("it read %d data frames", n)
	}
	if !strings.Contains(out, "s000003 0 ") || !strings.Contains(out, "agent@example.com") {
		t.Error("it did not print the frames")
	}
	lines, err := os.ReadFile("../examples/verify.py")
	if err != nil || bytes.Count(lines, []byte("\n")) >= 300 {
		t.Errorf("it has %d lines, %v", bytes.Count(lines, []byte("\n")), err)
	}
}

func TestPythonKnowsKeysAndEncryption(t *testing.T) {
	_, recipient := identity(t)
	g := newGate(t, func(o *recorder.Options) { o.Recipients = []string{recipient} })
	g.record(t, 1, 3)
	g.flush(t)
	old, kept := g.vkey, filepath.Join(g.dir, "kept")
	if err := os.WriteFile(kept, g.read(t, "log/checkpoint"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.rotate(t)
	g.record(t, 2, 3)
	g.flush(t)
	s := g.begin(t, 3)
	appendFrame(t, s, event.KindData, 1, []byte("goes on"))
	commit(t, s)
	g.flush(t)
	next := g.vkey
	for _, key := range []string{old, next} {
		g.vkey = key
		if ok, out := g.python(t, "--kept", kept); !ok || !strings.Contains(out, "1 sessions without an end") {
			t.Errorf("key %s: %s", key, out)
		}
	}
	g.vkey = next
	late := filepath.Join(g.dir, "late")
	if err := os.WriteFile(late, g.read(t, "log/checkpoint"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.write(t, "log/checkpoint", g.readFile(t, kept))
	if ok, out := g.python(t, "--kept", late); ok {
		t.Errorf("rolled back: %s", out)
	}
}

func (g *gate) readFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPythonAgrees lets both verifiers look at the same alterations.
func TestPythonAgrees(t *testing.T) {
	g := recorded(t, 40).copy(t)
	for name, tt := range tamperings {
		t.Run(name, func(t *testing.T) {
			h := g.copy(t)
			tt.tamper(t, h)
			ok, out := h.python(t)
			if r := h.verify(t, recorder.VerifyOptions{Frames: true}); r.OK() != ok || ok {
				t.Errorf("gatehouse verify: %v, verify.py: %s", r.Problems, out)
			}
			for _, want := range tt.want {
				_, object, _ := strings.Cut(want, " ")
				if strings.Contains(out, "log/checkpoint: ") && !strings.HasPrefix(object, "log/") {
					continue // it goes no further than a log that is wrong
				}
				if !strings.Contains(out, object) {
					t.Errorf("verify.py does not name %s:\n%s", object, out)
				}
			}
		})
	}
}
