package recorder_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/core/event"
	"gatehouse/recorder"
)

func identity(t *testing.T) (ids recorder.Identities, recipient string) {
	t.Helper()
	secret, recipient, err := recorder.GenerateIdentity()
	if err != nil {
		t.Fatal(err)
	}
	ids, err = recorder.ParseIdentities("# made for a test\n" + secret + "\n")
	if err != nil {
		t.Fatal(err)
	}
	return ids, recipient
}

// everything reads what is in a folder as one text.
func everything(t *testing.T, dir string) (all []byte) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			var b []byte
			b, err = os.ReadFile(name)
			all = append(append(all, name...), b...)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestAgeReadsPieces runs what FORMAT.md says of reading an encrypted recording
// without Gatehouse.
func TestAgeReadsPieces(t *testing.T) {
	format, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(format), "```sh\n")
	script, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("FORMAT.md has no commands")
	}
	age, err := exec.Command("go", "tool", "-n", "age").Output()
	if err != nil {
		t.Fatal(err)
	}
	secret, recipient, err := recorder.GenerateIdentity()
	if err != nil {
		t.Fatal(err)
	}
	g := newGate(t, func(o *recorder.Options) { o.Recipients = []string{recipient} })
	s := g.begin(t, 1)
	appendFrame(t, s, event.KindData, 1, []byte("the patient's number is 4711"))
	end(t, s)
	g.flush(t)
	dir := filepath.Join(g.dir, "store", "sessions", "2026", "11", "23", "s000001")
	if err := os.WriteFile(filepath.Join(dir, "identity.txt"), []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	programs := t.TempDir()
	if err := os.Symlink(strings.TrimSpace(string(age)), filepath.Join(programs, "age")); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("bash", "-eo", "pipefail", "-c", script)
	c.Dir, c.Env = dir, append(os.Environ(), "PATH="+programs+":"+os.Getenv("PATH"))
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	frames, err := os.ReadFile(filepath.Join(dir, "000000.frames"))
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	for len(frames) > 0 {
		var f event.Frame
		if frames, err = f.Decode(frames); err != nil {
			t.Fatal(err)
		}
		if f.Kind == event.KindData {
			got = append(got, f.Payload...)
		}
	}
	if string(got) != "the patient's number is 4711" {
		t.Errorf("frames with %q", got)
	}
	if private, err := os.ReadFile(filepath.Join(dir, "private.json")); err != nil || !bytes.Contains(private, []byte("agent@example.com")) {
		t.Errorf("private %q, %v", private, err)
	}
}

func TestEncryption(t *testing.T) {
	first, r1 := identity(t)
	second, r2 := identity(t)
	stranger, _ := identity(t)
	g, m := newMoodyGate(t, func(o *recorder.Options) {
		o.Recipients, o.PieceSize = []string{r1, r2}, 2000
	})
	m.odds.Store(10) // objects are the same at every try
	s := g.begin(t, 1)
	secret := "the patient's number is 4711"
	for range 100 {
		appendFrame(t, s, event.KindData, 1, []byte(secret))
		commit(t, s)
	}
	end(t, s)
	open := g.begin(t, 2) // has no manifest
	appendFrame(t, open, event.KindData, 1, []byte(secret))
	commit(t, open)
	g.flush(t)
	m.odds.Store(0)

	stored := everything(t, filepath.Join(g.dir, "store"))
	for _, hidden := range []string{secret, "agent@example.com", "https://id.example", "orders", "127.0.0.1:1234", "hung up", r1} {
		if bytes.Contains(stored, []byte(hidden)) {
			t.Errorf("the store shows %q", hidden)
		}
	}
	report := g.verify(t, recorder.VerifyOptions{Frames: true})
	wantOK(t, report)
	if report.Encrypted != report.Pieces || report.Pieces < 2 {
		t.Errorf("without an identity: %d of %d pieces are encrypted", report.Encrypted, report.Pieces)
	}
	for name, ids := range map[string]recorder.Identities{"first": first, "second": second} {
		for _, r := range []*recorder.Reader{recorder.NewReader(g.store).With(ids), g.Reader().With(ids)} {
			if _, data := kinds(t, r, "s000001"); string(data) != strings.Repeat(secret, 100) {
				t.Errorf("%s: %d bytes of data", name, len(data))
			}
			sum, err := r.Summary(t.Context(), "s000001")
			if err != nil || sum.Encrypted || sum.Principal.Name != "agent@example.com" || sum.Reason != "the client hung up" {
				t.Errorf("%s: summary %+v, %v", name, sum, err)
			}
		}
		report := g.verify(t, recorder.VerifyOptions{Frames: true, Identities: ids})
		wantOK(t, report)
		if report.Encrypted != 0 {
			t.Errorf("%s: %d pieces were not read", name, report.Encrypted)
		}
	}
	for name, ids := range map[string]recorder.Identities{"none": nil, "another": stranger} {
		r := recorder.NewReader(g.store).With(ids)
		for _, id := range []string{"s000001", "s000002"} {
			var last error
			for _, err := range r.Frames(t.Context(), id) {
				last = err
			}
			if !errors.Is(last, recorder.ErrNoIdentity) {
				t.Errorf("%s: read %s: %v", name, id, last)
			}
			sum, err := r.Summary(t.Context(), id)
			if err != nil || !sum.Encrypted || sum.ID != id || sum.Frames == 0 || !sum.Start.Equal(info(int(id[6]-'0')).Start) {
				t.Errorf("%s: summary %+v, %v", name, sum, err)
			}
		}
		list, err := r.List(t.Context(), recorder.Query{})
		if err != nil || len(list) != 2 || list[0].Code == "unreadable" {
			t.Errorf("%s: list %+v, %v", name, list, err)
		}
	}
}

// What was sealed before a crash is not encrypted anew: that would be another
// object.
func TestEncryptionSurvivesACrash(t *testing.T) {
	ids, recipient := identity(t)
	g, m := newMoodyGate(t, func(o *recorder.Options) { o.Recipients, o.PieceSize = []string{recipient}, 2000 })
	m.odds.Store(2)
	for i := range 10 {
		g.record(t, i, 30)
		if i%3 == 2 {
			g.reopen(t)
		}
	}
	m.odds.Store(0)
	g.flush(t)
	r := g.verify(t, recorder.VerifyOptions{Frames: true, Identities: ids})
	wantOK(t, r)
	if r.Sessions != 10 || r.Encrypted != 0 || len(r.Unlogged) != 0 {
		t.Errorf("report: %+v", r)
	}
}

func TestRecipientsAndIdentitiesAreChecked(t *testing.T) {
	secret, recipient, err := recorder.GenerateIdentity()
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "age1x", secret, "ssh-ed25519 AAAA"} {
		o := recorder.Options{Recipients: []string{recipient, bad}}
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), "recipient") {
			t.Errorf("recipient %q: %v", bad, err)
		}
	}
	for _, bad := range []string{"", "# nothing\n", recipient, secret + "x"} {
		if _, err := recorder.ParseIdentities(bad); err == nil || strings.Contains(err.Error(), "AGE-SECRET-KEY-1"+secret[16:20]) {
			t.Errorf("identity %q: %v", bad, err)
		}
	}
}
