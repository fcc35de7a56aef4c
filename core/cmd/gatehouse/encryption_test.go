package main

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/core/event"
	"gatehouse/recorder"
)

// recordEncrypted stores one encrypted session in a directory.
func recordEncrypted(t *testing.T, recipient string) (dir, vkey string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "store")
	store, err := recorder.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	signer, vkey, err := recorder.GenerateKey("test")
	if err != nil {
		t.Fatal(err)
	}
	r, err := recorder.Open(recorder.Options{Spool: t.TempDir(), Store: store, Key: signer, Recipients: []string{recipient}})
	if err != nil {
		t.Fatal(err)
	}
	info := &event.Session{ID: "s1", Protocol: "lines", Resource: "orders", Start: time.Now(), Principal: event.Principal{Subject: "7", Name: "agent-7"}}
	s, err := r.Begin(info)
	if err != nil {
		t.Fatal(err)
	}
	close := event.Notice{Code: "closed", Text: "done"}
	for _, f := range []event.Frame{
		{Kind: event.KindOpen, Payload: info.Append(nil)},
		{Kind: event.KindRequest, Exchange: 1, Payload: (&event.Request{Operation: "query", Payload: []byte("SELECT 42")}).Append(nil)},
		{Kind: event.KindClose, Payload: close.Append(nil)},
	} {
		f.Time = time.Now()
		if err := s.Append(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return dir, vkey
}

func TestEncryptedRecordings(t *testing.T) {
	keys := t.TempDir()
	code, out, stderr := gatehouse(t, "keygen", "--recipient", "--dir", keys)
	recipient := regexp.MustCompile(`age1[0-9a-z]+`).FindString(out)
	if code != exitOK || recipient == "" {
		t.Fatalf("keygen --recipient: code %d\n%s%s", code, out, stderr)
	}
	if code, _, _ := gatehouse(t, "keygen", "--recipient", "--dir", keys); code == exitOK {
		t.Error("keygen has overwritten an identity")
	}
	identity := "file:" + filepath.Join(keys, "recordings.key")
	dir, vkey := recordEncrypted(t, recipient)
	t.Setenv("VKEY", vkey)
	for _, test := range []struct {
		args string
		code int
		want string
	}{
		{"sessions list --store " + dir, exitOK, "s1 .*\\(encrypted\\)"},
		{"sessions list --identity " + identity + " --store " + dir, exitOK, "s1 .*agent-7 .*orders .*closed"},
		{"sessions show s1 --store " + dir, exitOK, "Who +\\(encrypted\\)"},
		{"sessions replay s1 --store " + dir, exitFailed, "no identity that opens it was given\nName the identity"},
		{"sessions replay s1 --identity " + identity + " --store " + dir, exitOK, "SELECT 42"},
		{"sessions export s1 --store " + dir, exitFailed, "no identity that opens it was given"},
		{"sessions export s1 --identity " + identity + " --store " + dir, exitOK, "SELECT 42"},
		{"verify --key env:VKEY --store " + dir, exitOK, "^Verified"},
		{"verify --frames --key env:VKEY --store " + dir, exitOK, "encrypted and not read, though checked: 1 piece[^\n]*\nVerified"},
		{"verify --frames --identity " + identity + " --key env:VKEY --store " + dir, exitOK, "^Verified"},
		{"sessions replay s1 --identity env:VKEY --store " + dir, exitUsage, "not an age identity"},
	} {
		code, out, stderr := gatehouse(t, strings.Fields(test.args)...)
		if code != test.code || !regexp.MustCompile(test.want).MatchString(out+stderr) {
			t.Errorf("gatehouse %s: code %d\n%s%s", test.args, code, out, stderr)
		}
	}
}
