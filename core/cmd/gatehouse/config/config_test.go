package config_test

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/core/cmd/gatehouse/config"
)

var update = flag.Bool("update", false, "write the schema instead of comparing it")

const (
	examples = "../../../../examples/"
	schema   = examples + "gatehouse.schema.json"
)

func TestSchemaIsCurrent(t *testing.T) {
	want, err := config.Schema(".")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(schema, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(schema)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not current; run go test ./core/cmd/gatehouse/config -update\n%s", schema, cmp.Diff(string(want), string(got)))
	}
}

func TestExampleIsValid(t *testing.T) {
	c, err := config.Load(examples + "gatehouse.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Resources["orders"].Port, 5432; got != want {
		t.Errorf("port %d, want the default %d", got, want)
	}
	if got, want := time.Duration(c.Policies[0].Hold), 5*time.Minute; got != want {
		t.Errorf("hold %s, want the default %s", got, want)
	}
	if got, want := int64(c.Limits.Message), int64(64<<20); got != want {
		t.Errorf("message %d, want the default %d", got, want)
	}
}

// Whatever is commented out in the example is its default: with the comments
// taken off those lines the configuration is the same.
func TestExampleCommentsAreDefaults(t *testing.T) {
	b, err := os.ReadFile(examples + "gatehouse.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var open []string
	for _, line := range strings.Split(string(b), "\n") {
		bare := strings.TrimLeft(line, " ")
		indent := line[:len(line)-len(bare)]
		text, commented := strings.CutPrefix(bare, "# ")
		word, _, isKey := strings.Cut(strings.TrimLeft(text, " "), ":")
		if commented && isKey && defaulted[word] {
			line = indent + text
		}
		open = append(open, line)
	}
	opened, err := config.Parse(examples+"gatehouse.yaml", []byte(strings.Join(open, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := config.Parse(examples+"gatehouse.yaml", b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(plain, opened, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".doc" }, cmp.Ignore())); d != "" {
		t.Error(d)
	}
	if got := strings.Count(strings.Join(open, "\n"), "#"); got == bytes.Count(b, []byte("#")) {
		t.Error("no comment was taken off")
	}
}

// The keys that the example shows commented out with their default.
var defaulted = map[string]bool{
	"admin": true, "address": true, "groups": true, "skew": true, "keys": true, "interval": true,
	"stale": true, "port": true, "hold": true, "outlast_token": true, "approvals": true,
	"pending": true, "size": true, "seal": true, "age": true, "limits": true,
	"connections": true, "startup": true, "message": true, "statements": true, "pipeline": true,
	"drain": true, "plugin": true, "memory": true, "time": true, "refresh": true, "web": true, "wait": true, "sslmode": true,
	"durability": true,
	"reload":     true, "every": true, "connect_timeout": true, "unauthenticated": true, "unauthenticated_address": true, "failures": true, "cancels": true, "idle": true, "principal": true, "channel_binding": true,
}

const valid = `gate: g
listen:
  postgres: {address: "127.0.0.1:6432", plaintext: loopback}
console:
  url: http://localhost:8080
  client_id: console
identity:
  providers:
    - {issuer: "https://id.example.com", audience: gatehouse}
resources:
  orders:
    protocol: postgres
    host: db
    user: gate
    password: env:PW
    database: shop
plugins:
  guard: {builtin: guard, config: {deny: [drop], big: 12345678901}}
policies:
  - name: agents
    groups: [agents]
    resources: [orders]
    plugins: [guard]
recording:
  spool: {directory: spool}
  store: {directory: store}
keys: {hash: "file:hash.key", signing: "env:SIGNING"}
`

func TestProblems(t *testing.T) {
	for _, test := range []struct {
		name     string
		old, new string // what is replaced in the valid configuration
		want     string
	}{
		{"valid", "", "", ""},
		{"unknown key", "    host: db\n", "    host: db\n    hots: db\n",
			"c.yaml:14:11: resources.orders.hots: unknown key; known are channel_binding, connect_timeout, database, databases, fallbacks, function_calls, host, password, port, protect, protocol, sslmode, sslrootcert, target_session_attrs, user"},
		{"unknown key at the top", "keys:", "kees: {}\nkeys:",
			"c.yaml:27:1: kees: unknown key; known are admin, approvals, console, gate, identity, keys, limits, listen, plugin_signers, plugins, policies, recording, reload, resources"},
		{"missing", "    user: gate\n", "",
			"c.yaml:11:3: resources.orders: user is missing"},
		{"wrong type", "groups: [agents]", "groups: agents",
			"c.yaml:21:13: policies.0.groups: is a string, must be a list"},
		{"secret in place", "env:PW", "hunter2",
			"c.yaml:15:15: resources.orders.password: a secret is a reference, env:NAME or file:PATH, never the value itself"},
		{"duration", "plugins: [guard]\n", "plugins: [guard]\n    hold: 5\n",
			"c.yaml:24:11: policies.0.hold: is a number; write a duration as 30s, 5m or 1h30m"},
		{"duration without a unit", "plugins: [guard]\n", "plugins: [guard]\n    hold: \"5\"\n",
			`c.yaml:24:11: policies.0.hold: "5" is wrong; write a duration as 30s, 5m or 1h30m`},
		{"size", "spool: {directory: spool}", "spool: {directory: spool, size: 1GB}",
			`c.yaml:25:35: recording.spool.size: "1GB" is wrong; write a size as 64KiB, 16MiB or 1GiB`},
		{"tracked on several servers", "    user: gate\n", "    user: gate\n    fallbacks: [other:5432]\n    protect: {mode: strict, columns: {public.t.c: redact}, writes: tracked}\n",
			"c.yaml:16:68: resources.orders.protect.writes: tracked has no use with fallbacks: servers need not number their tables alike"},
		{"enumeration", "protocol: postgres", "protocol: oracle",
			"c.yaml:12:15: resources.orders.protocol: must be postgres"},
		{"plaintext elsewhere", "127.0.0.1:6432", "0.0.0.0:6432",
			`c.yaml:3:23: listen.postgres.address: "0.0.0.0:6432" is not a loopback address; plaintext needs one, others need tls`},
		{"neither TLS nor plaintext", ", plaintext: loopback", "",
			"c.yaml:3:3: listen.postgres: tls is missing; give a certificate, or set plaintext: loopback for a listener that only this host reaches"},
		{"no port", "127.0.0.1:6432", "localhost",
			`c.yaml:3:23: listen.postgres.address: "localhost" is no address; write it as host:port` + "\n" +
				`c.yaml:3:23: listen.postgres.address: "localhost" is not a loopback address; plaintext needs one, others need tls`},
		{"plain http issuer", "https://id.example.com", "http://id.example.com",
			`c.yaml:9:16: identity.providers.0.issuer: "http://id.example.com" is not https, which only a loopback address may be`},
		{"unknown resource and plugin", "resources: [orders]\n    plugins: [guard]", "resources: [orders/x, sales]\n    plugins: [guard, mask]",
			`c.yaml:22:17: policies.0.resources.0: "x" is none of the databases of "orders"` + "\n" +
				`c.yaml:22:27: policies.0.resources.1: "sales" is none of the resources` + "\n" +
				`c.yaml:23:22: policies.0.plugins.1: "mask" is none of the plugins`},
		{"plugin of two kinds", "builtin: guard,", "builtin: guard, module: a.wasm,",
			"c.yaml:18:3: plugins.guard: builtin and module exclude each other"},
		{"module without digest", "builtin: guard,", "module: a.wasm,",
			"c.yaml:18:3: plugins.guard: sha256 is missing; it says which module this is: sha256sum a.wasm"},
		{"two stores", "store: {directory: store}", "store: {directory: store, s3: {endpoint: e, bucket: bbb, access_key: env:A, secret_key: env:B}}",
			"c.yaml:26:3: recording.store: directory and s3 exclude each other"},
		{"retention without an end", "store: {directory: store}", "store: {directory: store}\n  retention: {standard: {mode: governance}}",
			"c.yaml:27:15: recording.retention.standard: days is missing; mode governance needs it"},
		{"retention in a directory", "store: {directory: store}", "store: {directory: store}\n  retention: {standard: {mode: governance, days: 1}}",
			"c.yaml:27:32: recording.retention.standard.mode: governance needs a bucket: a directory locks nothing"},
		{"retention of nothing", "store: {directory: store}", "store: {directory: store}\n  retention: {standard: {days: 1}}",
			"c.yaml:27:32: recording.retention.standard.days: has no use with mode: none; the other modes keep recordings that long"},
		{"unknown retention", "plugins: [guard]\n", "plugins: [guard]\n    retention: audit\n",
			`c.yaml:24:16: policies.0.retention: "audit" is none of the classes of recording.retention`},
		{"two policies of one name", "recording:", "  - {name: agents, groups: [a], resources: [orders], plugins: []}\nrecording:",
			`c.yaml:24:12: policies.1.name: "agents" is the name of an earlier policy`},
		{"duplicate key", "gate: g\n", "gate: g\ngate: h\n",
			`c.yaml:2:1: mapping key "gate" already defined at [1:1]`},
		{"syntax", "groups: [agents]", "groups: [agents",
			"c.yaml:22:5: ',' or ']' must be specified"},
		{"two documents", "keys:", "---\nkeys:", "c.yaml:1:1: one YAML document is needed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := strings.Replace(valid, test.old, test.new, 1)
			if test.old != "" && text == valid {
				t.Fatalf("%q is not in the configuration", test.old)
			}
			_, err := config.Parse("c.yaml", []byte(text))
			got := ""
			if err != nil {
				got = err.Error()
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// A problem of any kind hides none elsewhere, none follows from another, and the
// order is the file's.
func TestProblemsAllAtOnce(t *testing.T) {
	text := strings.NewReplacer("user: gate", "uesr: gate", "gate: g\n", "gate: G\n", "env:PW", "pw",
		"127.0.0.1:6432", "localhost", "    database: shop\n", "    database: shop\n    function_calls: [-1, 2, x]\n  sales:\n",
		"resources: [orders]", "resources: [orders, sales, nowhere]", "plugins: [guard]\n", "plugins: [guard]\n    hold: 5\n    outlast_token: perhaps\n",
		"builtin: guard,", "builtin: gard,").Replace(valid)
	_, err := config.Parse("c.yaml", []byte(text))
	ps, ok := err.(config.Problems)
	if !ok {
		t.Fatalf("error %v, want Problems", err)
	}
	var lines []int
	for _, p := range ps {
		lines = append(lines, p.Line)
	}
	if d := cmp.Diff([]int{1, 3, 3, 11, 14, 15, 17, 17, 18, 20, 24, 26, 27}, lines); d != "" {
		t.Errorf("%s\n%v", d, ps)
	}
	if strings.Contains(err.Error(), "pw") {
		t.Error("the message repeats what may be a secret")
	}
}

func TestPathsStartAtTheFile(t *testing.T) {
	c, err := config.Parse("/etc/gatehouse/c.yaml", []byte(valid))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(c.Recording.Spool.Directory), "/etc/gatehouse/spool"; got != want {
		t.Errorf("spool %q, want %q", got, want)
	}
	if got, want := string(c.Keys.Hash), "file:/etc/gatehouse/hash.key"; got != want {
		t.Errorf("hash key %q, want %q", got, want)
	}
	if got, want := string(c.Plugins["guard"].Config), `{"big":12345678901,"deny":["drop"]}`; got != want {
		t.Errorf("plugin config %s, want %s", got, want)
	}
}

func TestSecret(t *testing.T) {
	file := t.TempDir() + "/secret"
	if err := os.WriteFile(file, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GATE_SECRET", "from env")
	t.Setenv("GATE_EMPTY", "")
	for ref, want := range map[config.Secret]string{
		"file:" + config.Secret(file): "s3cret", "env:GATE_SECRET": "from env", "": "",
	} {
		if got, err := ref.Read(); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v, want %q", ref, got, err, want)
		}
	}
	for _, ref := range []config.Secret{"env:GATE_EMPTY", "env:GATE_UNSET", "file:/does/not/exist", "literal"} {
		if got, err := ref.Read(); err == nil {
			t.Errorf("%s: %q, want an error", ref, got)
		} else if strings.Contains(err.Error(), "literal") {
			t.Errorf("%v repeats what may be a secret", err)
		}
	}
}

// Changes are named at the deepest places that both configurations have.
func TestChanges(t *testing.T) {
	parse := func(text string) *config.Config {
		c, err := config.Parse("c.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	before := parse(valid)
	after := parse(strings.NewReplacer(
		"gate: g\n", "gate: h\n",
		"plaintext: loopback", "plaintext: loopback, tls: {certificate: c, key: k}",
		"audience: gatehouse", "audience: other",
		"big: 12345678901", "big: 1",
		"groups: [agents]", "groups: [agents, people]",
		"    database: shop\n", "    database: shop\n  more: {protocol: postgres, host: h, user: u, database: d}\n",
	).Replace(valid))
	var got []string
	for _, path := range before.Changes(after) {
		got = append(got, strings.Join(path, "."))
	}
	want := []string{"gate", "listen.postgres.tls", "identity.providers.0.audience", "resources.more", "plugins.guard.config", "policies.0.groups"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if same := before.Changes(parse(valid)); len(same) != 0 {
		t.Errorf("the same configuration differs at %v", same)
	}
	if d := cmp.Diff([]string{"c.yaml", "hash.key"}, before.Files()); d != "" {
		t.Error(d)
	}
}

// TestZeroIsNotLeftOut: where zero has a meaning of its own, the default does not take
// its place.
func TestZeroIsNotLeftOut(t *testing.T) {
	example, err := os.ReadFile(examples + "gatehouse.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for given, want := range map[string]time.Duration{
		"": 200 * time.Microsecond, "\nlimits: {busy_poll: 0s}\n": 0, "\nlimits: {busy_poll: 0.05ms}\n": 50 * time.Microsecond,
	} {
		c, err := config.Parse(examples+"gatehouse.yaml", append(bytes.Clone(example), given...))
		if err != nil {
			t.Fatal(err)
		}
		if got := time.Duration(*c.Limits.BusyPoll); got != want {
			t.Errorf("%q: %s, want %s", given, got, want)
		}
	}
}
