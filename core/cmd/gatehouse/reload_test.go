package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"gatehouse/core/cmd/gatehouse/config"
	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/plugins"
	"gatehouse/sdk/module"
)

// configure puts an edited configuration in the place of the gate's, as editors
// do: another file by the same name.
func (d *demo) configure(t *testing.T, edit func(string) string) {
	t.Helper()
	text, err := os.ReadFile(d.path("gatehouse.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	d.write(t, "gatehouse.yaml", edit(string(text)))
}

func (d *demo) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(d.path("new"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(d.path("new"), d.path(name)); err != nil {
		t.Fatal(err)
	}
}

// log is what the gate logged so far.
func (d *demo) log(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(d.path("gatehouse.log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Minute); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not so: %s", what)
		}
	}
}

func testReload(t *testing.T, d *demo) {
	good, err := os.ReadFile(d.path("gatehouse.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	restore := func(t *testing.T) {
		d.write(t, "gatehouse.yaml", string(good))
		if err := d.gate.reload(t.Context()); err != nil {
			t.Error(err)
		}
	}
	for name, test := range map[string]func(*testing.T, *demo){
		"under load":             testReloadUnderLoad,
		"modules":                testReloadModules,
		"sessions that stay":     testReloadStays,
		"a bad one is refused":   testReloadRefused,
		"what needs a restart":   testReloadRestart,
		"a password":             testReloadPassword,
		"files that are changed": testReloadFiles,
	} {
		t.Run(name, func(t *testing.T) {
			defer restore(t)
			test(t, d)
		})
	}
}

// secretValue is long enough that how much of its end shows tells one policy
// from the next.
const secretValue = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// showing is a configuration under which the last n characters of the secret
// show.
func showing(text string, n int) string {
	return strings.Replace(text, "public.customers.email: hash", fmt.Sprintf("public.customers.email: hash\n        public.vault.secret: keep_last:%d", n), 1)
}

// shown is how many characters at the end of a masked secret show.
func shown(masked string) int {
	return len(masked) - strings.Count(masked, "*")
}

// Many clients run queries while the policy is changed again and again, every
// other time to something that cannot be. No connection drops, no value goes
// out under neither policy, and what a reload brings holds for every request
// that starts after it was reported.
func testReloadUnderLoad(t *testing.T, d *demo) {
	const clients, reloads = 8, 22
	ctx := t.Context()
	if err := d.postgres.Exec(ctx, "shop", "CREATE TABLE vault (secret text); GRANT SELECT ON vault TO gatehouse; INSERT INTO vault VALUES ('"+secretValue+"')"); err != nil {
		t.Fatal(err)
	}
	plain, err := os.ReadFile(d.path("gatehouse.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(plain)
	reload := func(text string) error {
		d.write(t, "gatehouse.yaml", text)
		return d.gate.reload(ctx)
	}
	var attempted, reported atomic.Int64 // characters that show
	attempted.Store(1)
	if err := reload(showing(text, 1)); err != nil {
		t.Fatal(err)
	}
	reported.Store(1)

	// Between queries clients leave the processor to the reloads.
	const pace = 5 * time.Millisecond
	stop := make(chan struct{})
	var queries atomic.Int64
	var running sync.WaitGroup
	for i := range clients {
		a, err := d.connect(ctx)
		if err != nil {
			t.Fatal(err)
		}
		mode := []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeDescribeExec}[i%3]
		running.Go(func() {
			defer a.close(context.WithoutCancel(ctx))
			for {
				select {
				case <-stop:
					return
				case <-time.After(pace):
				}
				least := reported.Load()
				var got string
				if err := a.conn.QueryRow(ctx, "SELECT secret FROM vault", mode).Scan(&got); err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
				if n := int64(shown(got)); n < least || n > attempted.Load() {
					t.Errorf("client %d got %q: %d characters, not %d to %d", i, got, n, least, attempted.Load())
					return
				}
				queries.Add(1)
			}
		})
	}
	broken := []string{
		strings.Replace(text, "plugins:", "plugins: [", 1),
		strings.Replace(text, "builtin: guard", "builtin: guard\n    config: {no_such_key: true}", 1),
		strings.Replace(text, "password: file:postgres.password", "password: file:none.password", 1),
		strings.Replace(text, "groups: [agents]", "groups: []", 1),
	}
	for i := range reloads {
		if i%2 == 1 {
			if reload(broken[i/2%len(broken)]) == nil {
				t.Errorf("broken configuration %d was taken", i/2%len(broken))
			}
			continue
		}
		n := int64(i/2 + 2)
		attempted.Store(n)
		if err := reload(showing(text, int(n))); err != nil {
			t.Error(err)
		}
		reported.Store(n)
		since := queries.Load()
		until(t, "queries run after the reload", func() bool { return queries.Load() > since+clients || t.Failed() })
	}
	close(stop)
	running.Wait()
	if t.Failed() {
		return
	}
	until(t, "the plugins of old policies are closed", func() bool { return d.gate.rules.loaded() == 1 })
	t.Logf("%d queries of %d clients during %d reloads", queries.Load(), clients, reloads)
}

// module puts a module in the guard's place and returns the configuration with it.
func (d *demo) module(t *testing.T, text, name string, wasm []byte) string {
	t.Helper()
	if err := os.WriteFile(d.path(name), wasm, 0o600); err != nil {
		t.Fatal(err)
	}
	return strings.Replace(text, "builtin: guard", fmt.Sprintf("module: %s\n    sha256: %x", name, sha256.Sum256(wasm)), 1)
}

// plugins returns what the recording of a session says of its plugins, at its
// beginning and at each change of the policy.
func (d *demo) plugins(t *testing.T, session string) (all [][]string) {
	t.Helper()
	for f, err := range d.gate.recorder.Reader().Frames(t.Context(), session) {
		if err != nil {
			t.Fatal(err)
		}
		var attrs []event.Attr
		var s event.Session
		var n event.Notice
		switch {
		case f.Kind == event.KindOpen && s.Decode(f.Payload) == nil:
			attrs = s.Attrs
		case f.Kind == event.KindNotice && n.Decode(f.Payload) == nil && n.Code == "policy":
			attrs = n.Attrs
		default:
			continue
		}
		var plugins []string
		for _, a := range attrs {
			if a.Key == pipeline.AttrPlugin {
				plugins = append(plugins, a.Value)
			}
		}
		all = append(all, plugins)
	}
	return all
}

// Modules take the place of others while clients run queries, and bad ones do
// not. No connection drops, what each judges is refused under all of them, and
// the recordings say which was in force.
func testReloadModules(t *testing.T, d *demo) {
	const clients = 4
	ctx := t.Context()
	plain, err := os.ReadFile(d.path("gatehouse.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	guard, err := plugins.Builtin("guard")
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var queries atomic.Int64
	var running sync.WaitGroup
	for i := range clients {
		a, err := d.connect(ctx)
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() {
			defer a.close(context.WithoutCancel(ctx))
			for {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				var n int
				if err := a.conn.QueryRow(ctx, "SELECT 1").Scan(&n); err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
				var refused *pgconn.PgError
				if _, err := a.conn.Exec(ctx, "DROP TABLE customers"); !errors.As(err, &refused) || refused.Code != "42501" {
					t.Errorf("client %d: DROP TABLE: %v", i, err)
					return
				}
				queries.Add(1)
			}
		})
	}
	a, err := d.connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{nil}
	for i := range 4 {
		wasm := module.Append(guard, "version", []byte{byte(i)})
		d.write(t, "gatehouse.yaml", d.module(t, string(plain), fmt.Sprintf("guard-%d.wasm", i), wasm))
		if err := d.gate.reload(ctx); err != nil {
			t.Fatal(err)
		}
		before := d.gate.rules.version()
		bad := [][]byte{[]byte("no module"), guard[:len(guard)/2], module.Append([]byte("\x00asm\x01\x00\x00\x00"), "empty", nil), make([]byte, 9<<20)}[i]
		d.write(t, "gatehouse.yaml", d.module(t, string(plain), "bad.wasm", bad))
		if d.gate.reload(ctx) == nil || d.gate.rules.version() != before {
			t.Errorf("bad module %d was taken", i)
		}
		since := queries.Load()
		until(t, "queries run after the reload", func() bool { return queries.Load() > since+clients || t.Failed() })
		if _, err := a.conn.Exec(ctx, "SELECT 1"); err != nil {
			t.Fatal(err)
		}
		want = append(want, []string{fmt.Sprintf("guard sha256:%x", sha256.Sum256(wasm))})
	}
	close(stop)
	running.Wait()
	if !strings.Contains(d.log(t), "configuration refused") {
		t.Error("the log does not say that bad modules were refused")
	}
	if err := a.close(ctx); err != nil {
		t.Fatal(err)
	}
	if err := d.ended(ctx, a.session); err != nil {
		t.Fatal(err)
	}
	got := d.plugins(t, a.session)
	if len(got) != len(want) {
		t.Fatalf("the recording names plugins %d times, want %d: %q", len(got), len(want), got)
	}
	for i, names := range got {
		if len(names) != 4 || i > 0 && !slices.Contains(names, want[i][0]) {
			t.Errorf("after change %d the recording names %q, want %q", i, names, want[i])
		}
	}
	t.Logf("%d queries of %d clients", queries.Load(), clients)
}

// Where the policy says so, sessions that are open keep to the policy that they
// began with, and new ones get the new one.
func testReloadStays(t *testing.T, d *demo) {
	ctx := t.Context()
	masked := func(a *agent) (v string) {
		if err := a.conn.QueryRow(ctx, "SELECT card FROM customers LIMIT 1", pgx.QueryExecModeSimpleProtocol).Scan(&v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	d.configure(t, func(text string) string { return strings.Replace(text, "hold: 30m", "hold: 30m\n    open: stay", 1) })
	if err := d.gate.reload(ctx); err != nil {
		t.Fatal(err)
	}
	old, err := d.connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	before := masked(old)
	d.configure(t, func(text string) string {
		return strings.Replace(text, "public.customers.card: keep_last:4", "public.customers.card: redact", 1)
	})
	if err := d.gate.reload(ctx); err != nil {
		t.Fatal(err)
	}
	if got := masked(old); got != before || !strings.HasPrefix(got, "*") {
		t.Errorf("the session that was open gets %q, before %q", got, before)
	}
	fresh, err := d.connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got := masked(fresh); got != "[redacted]" {
		t.Errorf("a new session gets %q", got)
	}
	if err := errors.Join(old.close(ctx), fresh.close(ctx)); err != nil {
		t.Error(err)
	}
	until(t, "the plugins of old policies are closed", func() bool { return d.gate.rules.loaded() == 1 })
}

func testReloadRefused(t *testing.T, d *demo) {
	before := d.gate.rules.version()
	d.configure(t, func(text string) string {
		return strings.NewReplacer("builtin: guard", "builtin: guard\n    config: {no_such_key: true}",
			"file:postgres.password", "file:none.password").Replace(text)
	})
	err := d.gate.reload(t.Context())
	if problems, ok := errors.AsType[config.Problems](err); !ok || len(problems) != 2 {
		t.Errorf("the problems are %v, want two", err)
	}
	if got := d.gate.rules.version(); got != before {
		t.Errorf("policy %s is in force, want %s", got, before)
	}
	for _, want := range []string{"setting=resources.shop.password", "setting=plugins.guard", "configuration refused", "problems=2 policy=" + before} {
		if !strings.Contains(d.log(t), want) {
			t.Errorf("the log lacks %s", want)
		}
	}
	if code, body := d.get(t, "/readyz"); code != 200 || !strings.Contains(body, "configuration: the last one was refused") {
		t.Errorf("/readyz: %d\n%s", code, body)
	}
	if _, body := d.get(t, "/metrics"); !strings.Contains(body, "gatehouse_configuration_refused 1") || strings.Contains(body, `gatehouse_reloads_total{result="refused"} 0`) {
		t.Errorf("/metrics\n%s", body)
	}
	a, err := d.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := a.close(t.Context()); err != nil {
		t.Error(err)
	}
}

// Settings that take effect at a start only are named one by one; the others
// take effect.
func testReloadRestart(t *testing.T, d *demo) {
	before := d.gate.rules.version()
	d.configure(t, func(text string) string {
		return strings.NewReplacer("viewers: [auditors, dba]", "viewers: [auditors]", "gate: demo\n", "gate: other\n",
			"public.customers.ssn: redact", `public.customers.ssn: "null"`, "drain: 5s", "drain: 6s").Replace(text)
	})
	key, err := os.ReadFile(d.path("keys/hash.key"))
	if err != nil {
		t.Fatal(err)
	}
	d.write(t, "keys/hash.key", strings.Repeat("k", 40))
	defer d.write(t, "keys/hash.key", string(key))
	if err := d.gate.reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d.gate.rules.version() == before {
		t.Error("the policy did not change")
	}
	for _, want := range []string{"gate", "console.viewers", "limits.drain", "keys.hash"} {
		if !strings.Contains(d.log(t), `msg="setting needs a restart" setting=`+want+" ") {
			t.Errorf("the log does not name %s", want)
		}
	}
	if code, body := d.get(t, "/readyz"); code != 200 || !strings.Contains(body, "configuration: 4 changed settings without effect until a restart") {
		t.Errorf("/readyz: %d\n%s", code, body)
	}
}

// A new password is for new connections; a session that is open goes on.
func testReloadPassword(t *testing.T, d *demo) {
	ctx := t.Context()
	old, err := d.connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer old.close(context.WithoutCancel(ctx))
	set := func(password string) {
		if err := d.postgres.Exec(ctx, "shop", "ALTER ROLE gatehouse PASSWORD '"+password+"'"); err != nil {
			t.Fatal(err)
		}
	}
	before, err := os.ReadFile(d.path("postgres.password"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		set(string(before))
		d.write(t, "postgres.password", string(before))
	}()
	version := d.gate.rules.version()
	set("renewed")
	d.write(t, "postgres.password", "renewed")
	if err := d.gate.reload(ctx); err != nil {
		t.Fatal(err)
	}
	a, err := d.connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close(context.WithoutCancel(ctx))
	for _, a := range []*agent{a, old} {
		if _, _, err := a.rows(ctx, "SELECT email FROM customers LIMIT 1"); err != nil {
			t.Error(err)
		}
	}
	if got := d.gate.rules.version(); got != version {
		t.Errorf("a password changed the policy's version to %s", got)
	}
}

// The gate notices by itself: a file that another took the place of, and links
// that are pointed elsewhere, as Kubernetes does with those of a volume.
func testReloadFiles(t *testing.T, d *demo) {
	before := d.gate.rules.version()
	changed := func() bool { return d.gate.rules.version() != before }
	text, err := os.ReadFile(d.path("gatehouse.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	d.write(t, "gatehouse.yaml", showing(string(text), 30))
	until(t, "a file put in the place of the configuration took effect", changed)

	// gatehouse.yaml -> ..data/gatehouse.yaml, ..data -> a directory.
	for i := range 2 {
		dir := d.path(fmt.Sprintf("..%d", i))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "gatehouse.yaml"), []byte(showing(string(text), 31+i)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := func(target, name string) {
		if err := os.Symlink(target, d.path("link")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(d.path("link"), d.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	before = d.gate.rules.version()
	link("..0", "..data")
	link("..data/gatehouse.yaml", "gatehouse.yaml")
	until(t, "a link put in the place of the configuration took effect", changed)
	before = d.gate.rules.version()
	link("..1", "..data")
	until(t, "a link pointed elsewhere took effect", changed)
}
