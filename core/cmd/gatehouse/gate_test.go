package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/minio/minio-go/v7"

	"gatehouse/recorder"
)

// newDemoGate starts a gate with all that it needs, as the demo does.
func newDemoGate(t *testing.T) *demo {
	t.Helper()
	d := newTargets(t)
	d.configure(t, func(text string) string {
		// On a busy machine a plugin waits for a processor, too.
		return strings.Replace(text, "drain: 5s", "drain: 5s\n  plugin: {time: 1m}", 1) + "\nreload: {every: 50ms}\n"
	})
	if err := d.startGate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

// newTargets starts all that a gate needs and writes its configuration.
func newTargets(t *testing.T) *demo {
	t.Helper()
	d := &demo{w: io.Discard, options: demoOptions{dir: filepath.Join(t.TempDir(), "demo"), anyPort: true}}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			log, _ := os.ReadFile(d.path("gatehouse.log"))
			t.Logf("the gate's log:\n%s", log)
		}
	})
	if err := d.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

// Everything about one running gate, which takes a while to start.
func TestGate(t *testing.T) {
	d := newDemoGate(t)
	t.Run("tour", func(t *testing.T) { testTour(t, d) })
	t.Run("check", func(t *testing.T) { testCheckGood(t, d) })
	t.Run("check reports everything", func(t *testing.T) { testCheckBad(t, d) })
	t.Run("a second gate is told what is taken", func(t *testing.T) { testSecondGate(t, d) })
	t.Run("admin", func(t *testing.T) { testAdminListener(t, d) })
	t.Run("approvals", func(t *testing.T) { testApprovals(t, d) })
	t.Run("verify", func(t *testing.T) { testVerify(t, d) })
	t.Run("sessions", func(t *testing.T) { testSessions(t, d) })
	t.Run("protected columns", func(t *testing.T) { testProtected(t, d) })
	t.Run("certificate", func(t *testing.T) { testCertificateRenewed(t, d) })
	t.Run("reload", func(t *testing.T) { testReload(t, d) })
	t.Run("drain", func(t *testing.T) { testDrain(t, d) })
	t.Run("explain", func(t *testing.T) { testExplain(t, d) })
	t.Run("harden", func(t *testing.T) { testHarden(t, d) })
}

// The demo's tour finds everything as it should be.
func testTour(t *testing.T, d *demo) {
	var out bytes.Buffer
	d.w = &out
	err := d.tour(t.Context())
	t.Log(out.String())
	if err != nil || strings.Contains(out.String(), "✗") {
		t.Errorf("the tour failed: %v", err)
	}
}

// A running gate does not mind a check of its configuration.
func testCheckGood(t *testing.T, d *demo) {
	const good = "is good: 1 resource, 4 plugins, 1 identity provider.\n"
	code, out, stderr := gatehouse(t, "check", "--config", d.path("gatehouse.yaml"))
	if code != exitOK || !strings.HasSuffix(out, good) || stderr != "" {
		t.Errorf("code %d\n%s%s", code, out, stderr)
	}
	bucket, err := d.minio.Client()
	if err != nil {
		t.Fatal(err)
	}
	mode, validity, unit := minio.Governance, uint(1), minio.Days
	if err := bucket.SetObjectLockConfig(t.Context(), "gatehouse", &mode, &validity, &unit); err != nil {
		t.Fatal(err)
	}
	code, out, stderr = gatehouse(t, "check", "--config", d.path("gatehouse.yaml"))
	if code != exitOK || !strings.HasSuffix(out, good) || !strings.Contains(stderr, "recording.store: note: the bucket's default retention locks every object for 1 days") {
		t.Errorf("with a default retention: code %d\n%s%s", code, out, stderr)
	}
	if err := bucket.SetBucketObjectLockConfig(t.Context(), "gatehouse", nil, nil, nil); err != nil {
		t.Fatal(err)
	}
}

// testCheckBad breaks one thing of every kind.
func testCheckBad(t *testing.T, d *demo) {
	good, err := os.ReadFile(d.path("gatehouse.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(
		"password: file:postgres.password", "password: file:keys/hash.key",
		"issuer: "+d.urls.issuer, "issuer: http://localhost:1",
		"builtin: guard\n", "builtin: guard\n    config: {no_such_key: true}\n",
		"builtin: mask\n", "module: gatehouse.yaml\n    sha256: \""+strings.Repeat("0", 64)+"\"\n",
		"hash: file:keys/hash.key", "hash: file:gatehouse.yaml.none",
		"signing: file:keys/signing.key", "signing: file:keys/hash.key",
		"certificate: gate.crt", "certificate: ca.crt",
	).Replace(string(good))
	file := d.path("bad.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := gatehouse(t, "check", "--config", file)
	if code != exitUsage {
		t.Errorf("code %d, want %d", code, exitUsage)
	}
	var got []string
	for line := range strings.Lines(stderr) {
		place, rest, ok := strings.Cut(strings.TrimPrefix(line, file+":"), ": ")
		if path, _, found := strings.Cut(rest, ": "); ok && found {
			got = append(got, place+" "+path)
		}
	}
	var want []string
	for _, w := range []struct{ text, path string }{
		{"tls: {certificate", "listen.postgres.tls"},
		{"issuer: http://localhost:1", "identity.providers.0.issuer"},
		{"shop:", "resources.shop"},
		{"config: {no_such_key", "plugins.guard.config"},
		{"mask:\n", "plugins.mask"},
		{"hash: file:gatehouse.yaml.none", "keys.hash"},
		{"signing: file:", "keys.signing"},
	} {
		before, _, _ := strings.Cut(text, w.text)
		line := strings.Count(before, "\n") + 1
		column := len(before) - strings.LastIndex(before, "\n")
		if key, _, scalar := strings.Cut(w.text, ": "); scalar && !strings.Contains(w.text, "{") {
			column += len(key) + 2 // a scalar's problem is at its value
		}
		want = append(want, fmt.Sprintf("%d:%d %s", line, column, w.path))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s\n%s", diff, stderr)
	}
	if strings.Contains(stderr, "only-the-gate-knows") {
		t.Error("a secret is printed")
	}
}

func testSecondGate(t *testing.T, d *demo) {
	code, _, stderr := gatehouse(t, "serve", "--config", d.path("gatehouse.yaml"))
	if code != exitUsage {
		t.Errorf("code %d, want %d", code, exitUsage)
	}
	for _, want := range []string{"listen.postgres.address: ", "console.address: ", "admin.address: ", "address already in use",
		"recording.spool.directory: ", "in use by another process", "4 problems found"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("lacks %q:\n%s", want, stderr)
		}
	}
}

func (d *demo) get(t *testing.T, path string) (int, string) {
	t.Helper()
	res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", d.ports.admin, path))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func testAdminListener(t *testing.T, d *demo) {
	if code, body := d.get(t, "/readyz"); code != 200 {
		t.Errorf("/readyz: %d\n%s", code, body)
	}
	a, err := d.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer a.close(t.Context())
	if _, _, err := a.rows(t.Context(), "SELECT email FROM customers"); err != nil {
		t.Fatal(err)
	}
	_, body := d.get(t, "/metrics")
	for _, want := range []string{
		`gatehouse_connections{protocol="postgres"} 1`, `gatehouse_plugin_calls_total{plugin="mask"}`, `gatehouse_plugin_failing{plugin="mask"} 0`,
		"gatehouse_recorder_commits_total", "gatehouse_approvals_pending 0",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("/metrics lacks %s\n%s", want, body)
		}
	}
}

// testApprovals decides held requests with the command line.
func testApprovals(t *testing.T, d *demo) {
	as := []string{"--url", d.urls.console, "--token", "file:" + d.path("dana.token")}
	approvals := func(args ...string) (int, string, string) {
		return gatehouse(t, append(append([]string{"approvals"}, args...), as...)...)
	}
	h, err := d.hold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// When the client is told that its request waits, it does.
	if code, out, stderr := approvals("list"); code != exitOK || !strings.Contains(out, h.id) || !strings.Contains(out, updateStatement) {
		t.Errorf("list: code %d\n%s%s", code, out, stderr)
	}
	if code, out, stderr := approvals("list", "--json"); code != exitOK || !strings.Contains(out, `"id":"`+h.id+`"`) {
		t.Errorf("list --json: code %d\n%s%s", code, out, stderr)
	}
	code, out, stderr := approvals("deny", h.id, "--comment", "not today")
	if code != exitOK || !strings.Contains(out, updateStatement) || !strings.HasSuffix(out, "Denied.\n") {
		t.Errorf("deny: code %d\n%s%s", code, out, stderr)
	}
	if outcome := <-h.outcome; isCode(outcome, "42501") != nil || !strings.Contains(outcome.Error(), "not today") {
		t.Errorf("denied, it ended with %v", outcome)
	}
	if code, _, stderr := approvals("approve", h.id); code != exitFailed || !strings.Contains(stderr, "gatehouse: ") {
		t.Errorf("approving what was denied: code %d, %s", code, stderr)
	}
	if h, err = d.hold(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The agent itself is no approver.
	as[3] = "file:" + d.path("agent.token")
	if code, _, _ := approvals("approve", h.id); code != exitFailed {
		t.Errorf("the agent approved its own request: code %d", code)
	}
	as[3] = "file:" + d.path("dana.token")
	if code, out, stderr := approvals("approve", h.id); code != exitOK || !strings.HasSuffix(out, "Approved.\n") || !strings.Contains(out, "agent (agent at "+d.urls.issuer+") asks on shop:\n") || !strings.Contains(out, "  context db.transaction = idle\n") {
		t.Errorf("approve: code %d\n%s%s", code, out, stderr)
	}
	if outcome := <-h.outcome; outcome != nil {
		t.Errorf("approved, it ended with %v", outcome)
	}
	if code, out, _ := approvals("list"); code != exitOK || out != "Nothing waits for you.\n" {
		t.Errorf("list: code %d, %s", code, out)
	}
}

// testVerify verifies a copy of the recordings, with the public key alone.
func testVerify(t *testing.T, d *demo) {
	ctx := t.Context()
	a, err := d.connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(a.exec(ctx, "SELECT 1"), a.close(ctx), d.ended(ctx, a.session)); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	store, err := recorder.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := walk(ctx, d.gate.parts.store, "", func(name string, b []byte) error { return store.Put(ctx, name, b) }); err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(t.TempDir(), "kept")
	args := []string{"verify", "--store", dir, "--key", "file:" + d.path("keys/signing.pub")}
	code, out, stderr := gatehouse(t, append(args, "--frames", "--keep", kept)...)
	if code != exitOK || !strings.Contains(out, "Verified: the log demo.example.com/gate with ") {
		t.Fatalf("code %d\n%s%s", code, out, stderr)
	}
	if code, out, stderr := gatehouse(t, append(args, "--kept", kept, a.session)...); code != exitOK {
		t.Errorf("with the kept checkpoint: code %d\n%s%s", code, out, stderr)
	}
	pieces, err := filepath.Glob(filepath.Join(dir, "sessions/*/*/*", a.session, "*.piece"))
	if err != nil || len(pieces) == 0 {
		t.Fatalf("no pieces, %v", err)
	}
	if err := os.Remove(pieces[0]); err != nil {
		t.Fatal(err)
	}
	code, out, stderr = gatehouse(t, append(args, "--json")...)
	if code != exitUnverified || !strings.Contains(out, `"fault":"missing"`) || !strings.Contains(stderr, "gatehouse: ") {
		t.Errorf("with a piece removed: code %d\n%s%s", code, out, stderr)
	}
}

// unpack writes the files of a tar archive below dir.
func unpack(r io.Reader, dir string) error {
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		b, err := io.ReadAll(archive)
		name := filepath.Join(dir, h.Name)
		if err := errors.Join(err, os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, b, 0o644)); err != nil {
			return err
		}
	}
}

// testSessions reads the recordings with the command line, while the gate
// runs.
func testSessions(t *testing.T, d *demo) {
	a, err := d.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.rows(t.Context(), "SELECT name, email FROM customers WHERE id = 1"); err != nil {
		t.Fatal(err)
	}
	if err := a.close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := d.ended(t.Context(), a.session); err != nil {
		t.Fatal(err)
	}
	c := "--config=" + d.path("gatehouse.yaml")
	for _, test := range []struct {
		args []string
		want []string
	}{
		{[]string{"list", c}, []string{a.session, "agent", "shop"}},
		{[]string{"list", c, "--json"}, []string{`"session":"` + a.session + `"`}},
		{[]string{"show", a.session, c}, []string{"Resource", "shop (postgres)"}},
		{[]string{"replay", a.session, c}, []string{"SELECT name, email FROM customers WHERE id = 1", "allow"}},
		{[]string{"export", a.session, c, "--format", "jsonl"}, []string{`SELECT name, email FROM customers WHERE id = 1`}},
		{[]string{"export", a.session, c, "--format", "csv"}, []string{"name,email"}},
	} {
		code, out, stderr := gatehouse(t, append([]string{"sessions"}, test.args...)...)
		if code != exitOK {
			t.Errorf("sessions %q: code %d, %s", test.args, code, stderr)
		}
		for _, want := range test.want {
			if !strings.Contains(out, want) {
				t.Errorf("sessions %q: lacks %q\n%s", test.args, want, out)
			}
		}
	}
	code, out, stderr := gatehouse(t, "verify", c)
	if code != exitOK {
		t.Errorf("verify: code %d\n%s%s", code, out, stderr)
	}
	status, archive := d.ask(t, dana, "/api/sessions/"+a.session+"/recording")
	if status != http.StatusOK {
		t.Fatalf("download: status %d, %s", status, archive)
	}
	unpacked := t.TempDir()
	if err := unpack(bytes.NewReader(archive), unpacked); err != nil {
		t.Fatal(err)
	}
	code, out, stderr = gatehouse(t, "sessions", "replay", a.session, "--store", unpacked)
	if code != exitOK || !strings.Contains(out, "SELECT name, email FROM customers WHERE id = 1") {
		t.Errorf("a recording from the console: code %d\n%s%s", code, out, stderr)
	}
	code, _, stderr = gatehouse(t, "sessions", "show", "01KAQ3V5Z8M4Q2T7W9X1Y3B6CD", c)
	if code != exitFailed || !strings.Contains(stderr, "gatehouse sessions list shows the recordings") {
		t.Errorf("code %d, %s", code, stderr)
	}
}

// testDrain stops the gate while a session is idle in it.
func testDrain(t *testing.T, d *demo) {
	a, err := d.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stop := d.closers[len(d.closers)-1]
	d.closers = d.closers[:len(d.closers)-1]
	if err := stop(); err != nil {
		t.Error(err)
	}
	if err := a.exec(context.WithoutCancel(t.Context()), "SELECT 1"); isCode(err, "57P01") != nil {
		t.Errorf("after the drain: %v, want 57P01", err)
	}
	if _, err := d.connect(t.Context()); err == nil {
		t.Error("a drained gate takes sessions")
	}
}
