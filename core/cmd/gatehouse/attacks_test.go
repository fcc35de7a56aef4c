package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// attacks are the attacks on what exists, each of which has a test that carries
// it out. The test names the attack, in its own name or in a comment: P for
// PostgreSQL's protocol, A for identity, approvals and the console, W for
// plugins. The general oracle of all: nothing panics; memory and goroutines go
// back to what they were; nothing reaches the server that is not in the record;
// the other sessions go on.
var attacks = map[string]string{
	"P01": "a length below 4",
	"P02": "a huge length",
	"P03": "a length that wraps around, or a message that ends inside itself",
	"P05": "NUL in SQL",
	"P06": "bytes before TLS, of either side",
	"P07": "negotiation without end, or inside TLS",
	"P09": "start-up packets that are too long, cut, ambiguous, or of nobody",
	"P10": "bytes that come one by one, slowly",
	"P11": "memory before authentication",
	"P13": "cancel requests of others, of nobody, too late, for a hold",
	"P14": "further messages during a hold",
	"P15": "a refusal in the middle of a pipeline",
	"P17": "a pipeline without Sync",
	"P18": "work that is told done and then rolled back",
	"P19": "a COMMIT amid a message",
	"P21": "other parameters than were approved",
	"P22": "other settings than were approved",
	"P23": "other objects than were approved",
	"P25": "portals that take turns",
	"P26": "rows without a description, or with another",
	"P27": "a server that contradicts itself",
	"P29": "function calls",
	"P30": "replication",
	"P31": "start-up options",
	"P33": "messages of COPY without a COPY",
	"P34": "other encodings, and none",
	"P35": "what a session leaves to others",
	"P37": "floods of notices and columns",
	"A01": "tokens of other algorithms, keys and forms",
	"A02": "tokens of other times, audiences, issuers and subjects",
	"A04": "the live events opened by another site",
	"A05": "an approval sent by another site, by GET or by a prefetcher",
	"A06": "text that forges what a page, a terminal or a log shows",
	"A08": "decisions that come twice, at once, or too late",
	"A09": "decisions of one person, twice or of an own request",
	"A10": "the console's own session",
	"W01": "a plugin that never ends",
	"W02": "a plugin that takes all memory",
	"W03": "a plugin that traps or overflows its stack",
	"W04": "a plugin that sleeps",
	"W05": "answers that are outside memory, too long, or no answers",
	"W07": "what a plugin keeps of other sessions, of those that ship",
	"W08": "a module that is not the one that was checked",
}

// named finds the names of attacks in comments, names of tests and names of
// cases.
var named = regexp.MustCompile(`(?:\b|Test)([PAW]\d\d)(?:\b|[A-Z])`)

func TestEveryAttackHasATest(t *testing.T) {
	const root = "../../.."
	found := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() != ".." && strings.HasPrefix(d.Name(), ".") && len(d.Name()) > 2):
			return filepath.SkipDir
		case !strings.HasSuffix(path, "_test.go") || d.Name() == "attacks_test.go":
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range named.FindAllStringSubmatch(string(b), -1) {
			found[m[1]] = path
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for id, what := range attacks {
		if found[id] == "" {
			t.Errorf("%s, %s: no test names it", id, what)
		}
	}
}
