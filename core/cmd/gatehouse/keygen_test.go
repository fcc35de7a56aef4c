package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/recorder"
)

func TestKeygenRotates(t *testing.T) {
	dir := t.TempDir()
	next := filepath.Join(dir, "next")
	if code, _, stderr := gatehouse(t, "keygen", "--name", "gate.example/1", "--dir", dir); code != exitOK {
		t.Fatal(stderr)
	}
	rotate := []string{"keygen", "--rotate", "file:" + filepath.Join(dir, "signing.key"), "--dir", next}
	code, out, stderr := gatehouse(t, rotate...)
	if code != exitOK {
		t.Fatalf("code %d: %s", code, stderr)
	}
	read := func(name string) string {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	key, public := read(filepath.Join(next, "signing.key")), strings.TrimSpace(read(filepath.Join(next, "signing.pub")))
	if got, err := recorder.VerifierKey(key); err != nil || got != public || !strings.Contains(out, public) {
		t.Errorf("the key's public key is %q, %v, not %q", got, err, public)
	}
	if old := strings.TrimSpace(read(filepath.Join(dir, "signing.pub"))); !strings.Contains(key, old) || strings.Contains(key, strings.TrimSpace(read(filepath.Join(dir, "signing.key")))) {
		t.Error("the new key does not state what it replaces, or contains the old secret")
	}
	if code, _, _ := gatehouse(t, rotate...); code == exitOK {
		t.Error("a key was overwritten")
	}
	if code, _, _ := gatehouse(t, "keygen", "--rotate", "file:"+filepath.Join(dir, "signing.pub"), "--dir", next); code != exitUsage {
		t.Errorf("a public key was rotated: code %d", code)
	}
}
