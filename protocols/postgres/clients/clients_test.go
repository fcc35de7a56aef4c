package clients_test

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/protocols/postgres/clients/internal/lab"
)

// A client does its work by one way and returns what it saw, line by line.
type client struct {
	name string
	work func(*testing.T, lab.Way) string
}

var clients = []client{
	{"psycopg3", python("psycopg3_client.py")},
	{"psycopg2", python("psycopg2_client.py")},
	{"sqlalchemy", python("sqlalchemy_orm.py")},
	{"node-postgres", program("node", "node/pg.mjs")},
	{"sequelize", program("node", "node/sequelize.mjs")},
	{"jdbc", program("java", "-cp", "/usr/share/java/postgresql.jar", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "java/Jdbc.java")},
	{"psql", psql},
	{"pgbench", pgbench},
	{"pg_dump", dump},
	{"pgx", inProcess(pgxClient)},
	{"pq", inProcess(pqClient)},
	{"gorm", inProcess(gormClient)},
}

// The gate's policy: vault is closed, and e-mail addresses are masked.
const policy = `
  guard:
    builtin: guard
    config:
      rules: {unknown: "off", opaque: "off", destruction: "off", unqualified-write: "off", privilege: "off", outside: "off",
        administration: "off", settings: "off", code: "off", mass-write: "off", ddl: "off"}
      custom: [{name: vault, action: block, tables: [public.vault], reason: the vault is closed}]
  mask:
    builtin: mask
    config: {columns: {public.customers.email: redact}, detect: {email: pass, card: pass, ssn: pass}}
`

//go:embed schema.sql
var schema string

// What the gate does by its policy, the direct way's database does by itself:
// no right to read the vault, and values as the mask leaves them. So what
// clients print must not differ at all.
const (
	directSQL = `INSERT INTO customers SELECT id, 'customer ' || id, '[redacted]' FROM generate_series(1, 5) id;`
	gateSQL   = `INSERT INTO customers SELECT id, 'customer ' || id, 'c' || id || '@example.com' FROM generate_series(1, 5) id;
		GRANT ALL ON vault TO gatehouse;`
)

func TestClientsNoticeNoGate(t *testing.T) {
	l, err := lab.Start(t.Context(), lab.Config{Resource: "shop", Plugins: policy, Chain: []string{"guard", "mask"},
		Settings: map[string]string{"max_prepared_transactions": "10"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := l.GateLog()
			t.Logf("the gate's log:\n%s", log)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			direct := c.work(t, l.Direct(l.Postgres.NewDatabase(t, schema+directSQL)))
			database := l.Postgres.NewDatabase(t, schema+gateSQL)
			gate := c.work(t, l.Gate(database))
			if diff := cmp.Diff(strings.Split(direct, "\n"), strings.Split(gate, "\n")); diff != "" {
				t.Errorf("what the client printed (-directly +through the gate):\n%s", diff)
			}
			if t.Failed() || testing.Verbose() {
				t.Logf("directly:\n%s", direct)
			}
			// The test is void unless the work met the policy.
			for _, must := range []string{"[redacted]", "42501"} {
				if c.name != "pgbench" && !strings.Contains(direct, must) {
					t.Errorf("nothing of %q was printed", must)
				}
			}
			nothingUnjudged(t, l, database)
		})
	}
}

var onVault = regexp.MustCompile(`(FROM|TABLE|UPDATE|INTO|TRUNCATE)\s+(public\.)?vault\b`)

// nothingUnjudged checks that the server got no statement on the vault: what
// was refused was refused by the gate, not by the server.
func nothingUnjudged(t *testing.T, l *lab.Lab, database string) {
	t.Helper()
	log, err := l.Postgres.Log(database)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range log {
		if e.User == lab.User && onVault.MatchString(e.Message) {
			t.Errorf("the server got %s: %s", e.Severity, e.Message)
		}
	}
}

// program is a client that is a script of another language, run in this
// directory.
func program(name string, args ...string) func(*testing.T, lab.Way) string {
	return func(t *testing.T, w lab.Way) string { return run(t, w, name, args...) }
}

// python is a script for Debian's interpreter, whose packages it needs.
func python(script string) func(*testing.T, lab.Way) string {
	return program("/usr/bin/python3", "python/"+script)
}

// run runs a program with libpq's environment variables and returns its
// output.
func run(t *testing.T, w lab.Way, name string, args ...string) string {
	t.Helper()
	cmd := command(t, w, name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v (if it is not installed: go tool task setup)\n%s\n%s", w.Name, cmd, err, errs.Bytes(), out.Bytes())
	}
	return out.String()
}

func command(t *testing.T, w lab.Way, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(w.Env(), "TZ=UTC", "LC_ALL=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1", "PYTHONWARNINGS=ignore")
	return cmd
}

// inProcess is a client in Go. It prints by show, from one goroutine at a time.
func inProcess(work func(ctx context.Context, w lab.Way, show func(step string, values ...any)) error) func(*testing.T, lab.Way) string {
	return func(t *testing.T, w lab.Way) string {
		t.Helper()
		var out strings.Builder
		var mu sync.Mutex
		show := func(step string, values ...any) {
			mu.Lock()
			defer mu.Unlock()
			line, err := json.Marshal(append([]any{step}, values...))
			if err != nil {
				line = fmt.Append(nil, step, " ", err)
			}
			fmt.Fprintf(&out, "%s\n", line)
		}
		if err := work(t.Context(), w, show); err != nil {
			t.Fatalf("%s: %v\n%s", w.Name, err, &out)
		}
		return out.String()
	}
}
