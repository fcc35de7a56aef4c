package recorder_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/core/event"
	"gatehouse/recorder"
)

// attacks are those on the evidence, by the names under which FORMAT.md says
// what is done about each.
var attacks = []string{"L07", "L08", "L09", "L11", "L12", "L13", "L15", "L16", "L17", "L19", "L20"}

// TestEveryAttackIsAnswered looks for each attack in FORMAT.md's table, and for
// the tests that it names.
func TestEveryAttackIsAnswered(t *testing.T) {
	format, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	var code []byte
	for _, dir := range []string{".", "s3", "../core/cmd/gatehouse"} {
		files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			code = append(code, b...)
		}
	}
	_, table, found := bytes.Cut(format, []byte("## Attacks on the evidence"))
	if !found {
		t.Fatal("FORMAT.md has no table of attacks")
	}
	var answered []string
	for _, row := range regexp.MustCompile(`(?m)^\| (.*?) \| .* \| (.*)\|$`).FindAllSubmatch(table, -1) {
		attack := string(row[1])
		tests := regexp.MustCompile("`(Test[A-Za-z0-9]+)`").FindAllSubmatch(row[2], -1)
		if attack == "Attack" {
			continue
		}
		if len(tests) == 0 {
			t.Errorf("%s: no test is named", attack)
		}
		for _, test := range tests {
			if !bytes.Contains(code, append(append([]byte("func "), test[1]...), '(')) {
				t.Errorf("%s: there is no %s", attack, test[1])
			}
		}
		if name, _, _ := strings.Cut(attack, " "); regexp.MustCompile(`^L\d\d$`).MatchString(name) {
			answered = append(answered, name)
		}
	}
	if !slices.Equal(answered, attacks) {
		t.Errorf("answered are %q, want %q", answered, attacks)
	}
}

// TestHostEditsTheSpool alters what waits in the spool, as only the host's root
// can: what is sealed is found out, and what is not, is not.
func TestHostEditsTheSpool(t *testing.T) {
	g, m := newMoodyGate(t, nil)
	m.away.Store(true)
	sealed := g.begin(t, 1)
	end(t, sealed)
	for g.Stats().Sealed == 0 {
		time.Sleep(time.Millisecond) // polls the recorder's work
	}
	open := g.begin(t, 2)
	appendFrame(t, open, event.KindData, 1, []byte("as it was"))
	commit(t, open)
	edit(t, filepath.Join(g.options.Spool, "sessions", "s000001.000000.piece"), flip)
	edit(t, g.spoolFile("s000002", 0), func(b []byte) []byte {
		frames, _ := recorder.Committed(b)
		return recorder.NewCommit(bytes.Replace(frames, []byte("as it was"), []byte("as forged"), 1))
	})
	m.away.Store(false)
	end(t, open)
	g.flush(t)
	wantProblems(t, g.verify(t, recorder.VerifyOptions{}), "altered "+piece(1, 0))
	if _, data := kinds(t, recorder.NewReader(g.store), "s000002"); string(data) != "as forged" {
		t.Errorf("recorded %q", data)
	}
}
