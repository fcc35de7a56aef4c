package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"gatehouse/core/cmd/gatehouse/config"
	"gatehouse/plugins/host"
)

// gatehouse runs a command line as a shell would.
func gatehouse(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(t.Context(), args, &out, &err)
	return code, out.String(), err.String()
}

func TestEveryVerbHasHelpWithAnExample(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Example == "" || !strings.Contains(c.Example, "gatehouse "+strings.TrimPrefix(strings.TrimPrefix(c.CommandPath(), "gatehouse"), " ")) {
			t.Errorf("%s has no example of itself: %q", c.CommandPath(), c.Example)
		}
		if c.Short == "" {
			t.Errorf("%s says nothing of itself", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRoot())
	for _, verb := range []string{"serve", "check", "demo", "keygen", "sessions list", "sessions show", "sessions replay", "sessions export",
		"verify", "approvals list", "approvals show", "approvals approve", "approvals deny", "version"} {
		code, out, stderr := gatehouse(t, append(strings.Fields(verb), "--help")...)
		if code != exitOK || !strings.Contains(out, "Examples:") {
			t.Errorf("%s --help: code %d\n%s%s", verb, code, out, stderr)
		}
	}
}

func TestCommandLine(t *testing.T) {
	for _, test := range []struct {
		args string
		code int
		want string // of standard error; a pattern
	}{
		{"frobnicate", exitUsage, `^gatehouse: unknown command "frobnicate"\ngatehouse --help lists the commands.\n$`},
		{"sessions frobnicate", exitUsage, `^gatehouse: unknown command "frobnicate"\n`},
		{"serve", exitUsage, `^gatehouse: --config is missing\nName the configuration with --config FILE.`},
		{"serve --frob", exitUsage, `^gatehouse: unknown flag: --frob\ngatehouse serve --help shows what it takes.\n$`},
		{"serve extra", exitUsage, `^gatehouse: gatehouse serve takes no arguments, got \["extra"\]\n`},
		{"serve --config /does/not/exist", exitUsage, `no such file or directory\nexamples/gatehouse.yaml is a configuration to start from.\n$`},
		{"serve --config x --log-format loud", exitUsage, `--log-format "loud" is none of auto, text, json`},
		{"sessions list", exitUsage, `no store is named\nName a configuration with --config FILE, or a directory with --store DIR.\n$`},
		{"sessions show --store .", exitUsage, `takes \["SESSION"\], got \[\]`},
		{"sessions list --store /does/not/exist", exitUsage, `no such file`},
		{"approvals list", exitUsage, `no console is named\nName it with --url or GATEHOUSE_URL.\n$`},
		{"approvals list --url http://gate.example.com --token secret", exitUsage, `"http://gate.example.com" is no URL of a console: https, or http to this host\nName it as https://HOST`},
		{"approvals list --url http://localhost:1 --token secret", exitUsage, `a secret is a reference: env:NAME or file:PATH\nRefer to an identity token`},
	} {
		code, _, stderr := gatehouse(t, strings.Fields(test.args)...)
		if code != test.code || !regexp.MustCompile(test.want).MatchString(stderr) {
			t.Errorf("gatehouse %s: code %d, want %d; %q does not match %s", test.args, code, test.code, stderr, test.want)
		}
	}
}

func TestVersionIsPrinted(t *testing.T) {
	code, out, _ := gatehouse(t, "version")
	if code != exitOK || !strings.HasPrefix(out, "gatehouse ") {
		t.Errorf("code %d, %q", code, out)
	}
}

func TestKeygenNeverOverwrites(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	code, out, stderr := gatehouse(t, "keygen", "--name", "gate.example.com/1", "--dir", dir)
	if code != exitOK || !strings.Contains(out, "gate.example.com/1+") {
		t.Fatalf("code %d\n%s%s", code, out, stderr)
	}
	before, err := os.ReadFile(filepath.Join(dir, "signing.key"))
	if err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(filepath.Join(dir, "signing.key")); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if strings.Contains(out, strings.TrimSpace(string(before))) {
		t.Error("the secret key is printed")
	}
	code, _, stderr = gatehouse(t, "keygen", "--dir", dir)
	if code != exitFailed || !strings.Contains(stderr, "Keys are not overwritten") {
		t.Errorf("code %d, %s", code, stderr)
	}
	after, err := os.ReadFile(filepath.Join(dir, "signing.key"))
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the key changed, %v", err)
	}
}

func TestSessionIDsSortByStart(t *testing.T) {
	start := time.Now()
	last := ""
	for i := range 1000 {
		id := newID(start.Add(time.Duration(i) * time.Millisecond))
		if len(id) != 26 || id <= last {
			t.Fatalf("%s after %s", id, last)
		}
		last = id
	}
	if a, b := newID(start), newID(start); a == b || a[:10] != b[:10] {
		t.Errorf("%s and %s", a, b)
	}
	// The ULID specification's own example of a time.
	if got, want := newID(time.UnixMilli(1469918176385))[:10], "01ARYZ6S41"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestAdmin(t *testing.T) {
	broken := errors.New("full: 9 bytes wait for the store")
	away := errors.New("away")
	conditions := []condition{
		{name: "listeners", err: func() error { return nil }},
		{name: "spool", err: func() error { return broken }},
		{name: "store", err: func() error { return away }, warns: true},
	}
	h := newAdmin(newMetrics(func() []statistic {
		return []statistic{
			{"connections", "Connections.", listener("postgres"), func() float64 { return 3 }},
			{"connections_total", "Accepted.", listener("postgres"), func() float64 { return 7 }},
		}
	}), conditions)
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code, w.Body.String()
	}
	if code, body := get("/healthz"); code != 200 || body != "ok\n" {
		t.Errorf("/healthz: %d %q", code, body)
	}
	if code, body := get("/readyz"); code != 503 || body != "listeners: ok\nspool: full: 9 bytes wait for the store\nstore: away\n" {
		t.Errorf("/readyz: %d %q", code, body)
	}
	broken = nil
	if code, body := get("/readyz"); code != 200 || body != "listeners: ok\nspool: ok\nstore: away\n" {
		t.Errorf("/readyz: %d %q", code, body)
	}
	_, body := get("/metrics")
	for _, want := range []string{`gatehouse_connections{protocol="postgres"} 3`, "# TYPE gatehouse_connections_total counter", `gatehouse_connections_total{protocol="postgres"} 7`, "go_goroutines"} {
		if !strings.Contains(body, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	if code, _ := get("/debug/pprof/"); code != 404 {
		t.Errorf("/debug/pprof/: %d", code)
	}
}

func TestLogFormats(t *testing.T) {
	for format, want := range map[string]string{"auto": `"msg":"hello"`, "json": `"msg":"hello"`, "text": "msg=hello"} {
		var b bytes.Buffer
		log, err := newLog(&b, format, slog.LevelInfo)
		if err != nil {
			t.Fatal(err)
		}
		log.Info("hello")
		log.Debug("quiet")
		if !strings.Contains(b.String(), want) || strings.Contains(b.String(), "quiet") {
			t.Errorf("%s: %s", format, b.String())
		}
	}
}

// A06: a terminal shows control characters, and does not obey them.
//
// What a client sent cannot move the cursor of whoever reads it.
func TestTerminalText(t *testing.T) {
	hostile := "SELECT 1 --\r\nDROP\x1b[2J\tx\u202ey\x00é"
	if got, want := oneLine(hostile), `SELECT 1 -- DROP\x1b[2J x\u202ey\x00é`; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := indented(hostile), "  SELECT 1 --\\r\n  DROP\\x1b[2J    x\\u202ey\\x00é"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := shorten("grüße", 4), "grü…"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestJSONLines(t *testing.T) {
	var b bytes.Buffer
	if err := writeJSONLines(&b, []map[string]int{{"a": 1}, {"b": 2}}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(b.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("%q", line)
		}
		got = append(got, strings.TrimSpace(line))
	}
	if d := cmp.Diff([]string{`{"a":1}`, `{"b":2}`}, got); d != "" {
		t.Error(d)
	}
}

func TestCount(t *testing.T) {
	if got := fmt.Sprint(count(1, "problem"), ", ", count(2, "problem")); got != "1 problem, 2 problems" {
		t.Error(got)
	}
}

// W08: a module is what its digest says, or it is not loaded, whatever its file
// was when somebody checked it.
func TestW08ModulesAreLoadedByDigest(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.wasm")
	c := &config.Plugin{Module: config.Path(file), SHA256: fmt.Sprintf("%x", sha256.Sum256([]byte("checked")))}
	for content, want := range map[string]bool{"checked": true, "replaced": false, "": false} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		wasm, err := readModule(c, host.DefaultModule, nil)
		if (err == nil) != want || err == nil && string(wasm) != content {
			t.Errorf("%q: %q, %v", content, wasm, err)
		}
	}
}
