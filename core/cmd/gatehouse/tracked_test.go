package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"gatehouse/console"
	"gatehouse/core/identity/issuer"
)

// connectAs opens a session through the gate that runs.
func (c *crash) connectAs(t *testing.T, who issuer.User) *pgx.Conn {
	t.Helper()
	token, err := c.issuer.Mint(who.Claims())
	if err != nil {
		t.Fatal(err)
	}
	conf, err := pgx.ParseConfig(fmt.Sprintf("host=localhost port=%d dbname=shop user=agent sslmode=verify-full sslrootcert='%s'", c.ports.gate, c.path("ca.crt")))
	if err != nil {
		t.Fatal(err)
	}
	conf.Password, conf.DefaultQueryExecMode = token, pgx.QueryExecModeSimpleProtocol
	conn, err := pgx.ConnectConfig(t.Context(), conf)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// one returns the only value of a query's only row.
func one(t *testing.T, c *pgx.Conn, sql string) (v string) {
	t.Helper()
	if err := c.QueryRow(t.Context(), sql).Scan(&v); err != nil {
		t.Errorf("%s: %v", sql, err)
	}
	return v
}

// What is tracked outlives a gate that is killed; whoever may lifts it, for sessions
// that are open too, which is recorded, and outlives the gate as well.
func TestTracked(t *testing.T) {
	c := newCrash(t, buildProgram(t))
	err := c.postgres.Exec(t.Context(), "shop", `CREATE TABLE people (id int, ssn text); INSERT INTO people VALUES (1, '219-09-9471');
		CREATE TABLE copies (id int, v text, w text); CREATE TABLE kept (n text); CREATE TABLE theirs (n text); CREATE TABLE two (n text);
		GRANT ALL ON people, copies, kept, theirs, two TO gatehouse; ALTER TABLE copies OWNER TO gatehouse; ALTER TABLE kept OWNER TO gatehouse`)
	if err != nil {
		t.Fatal(err)
	}
	c.configure(t, func(text string) string {
		text = strings.Replace(text, "    sslrootcert: ca.crt\n", "    sslrootcert: ca.crt\n    protect: {account: any, mode: strict, writes: tracked, columns: {public.people.ssn: redact, public.two.n: redact}}\n", 1)
		return strings.Replace(text, "policies:\n", "policies:\n  - {name: people on the shop, groups: [dba], resources: [shop], plugins: [mask], lifters: [dba]}\n", 1)
	})
	tokens := map[string]issuer.User{"dana": dana, "alex": alex, "eve": {Subject: "eve", Groups: []string{"agents"}}}
	for name, who := range tokens {
		token, err := c.issuer.Mint(who.Claims())
		if err == nil {
			err = os.WriteFile(c.path(name+".token"), []byte(token), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	tracked := func(as string, args ...string) (int, string, string) {
		return gatehouse(t, append(append([]string{"tracked"}, args...), "--url", c.urls.console, "--token", "file:"+c.path(as+".token"))...)
	}
	var gate *exec.Cmd
	start := func() {
		var open chan struct{}
		gate, open = c.start(t)
		<-open
	}
	kill := func() {
		if err := gate.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = gate.Wait() // it was killed
	}
	agent := issuer.User{Subject: "agent", Groups: []string{"agents"}}

	start()
	writer, reader := c.connectAs(t, agent), c.connectAs(t, agent)
	if got := one(t, reader, "SELECT count(*)::text FROM copies"); got != "0" {
		t.Error(got)
	}
	for _, sql := range []string{"INSERT INTO copies (id, v) SELECT id, ssn FROM people WHERE id = 1", "INSERT INTO kept SELECT lower(ssn) FROM people"} {
		if _, err := writer.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	own := c.connectAs(t, dana)
	if _, err := own.Exec(t.Context(), "INSERT INTO theirs SELECT ssn FROM people"); err != nil {
		t.Fatal(err)
	}
	if _, err := writer.Exec(t.Context(), "INSERT INTO two SELECT ssn FROM people"); err != nil {
		t.Fatal(err)
	}
	if got := one(t, reader, "SELECT v FROM copies"); got != "[redacted]" {
		t.Errorf("in another session it is %q", got)
	}
	kill()

	if err := c.postgres.Exec(t.Context(), "shop", "ALTER TABLE copies RENAME v TO number"); err != nil {
		t.Fatal(err)
	}
	start()
	reader, writer = c.connectAs(t, agent), c.connectAs(t, agent)
	if got := one(t, reader, "SELECT number FROM copies"); got != "[redacted]" {
		t.Errorf("after the gate was killed it is %q", got)
	}
	code, out, stderr := tracked("alex", "list", "--json") // a viewer
	var list []console.Tracked
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		var one console.Tracked
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatalf("code %d, %v: %s%s", code, err, out, stderr)
		}
		list = append(list, one)
	}
	if len(list) != 4 || list[0].Column != "public.copies.number" || list[0].State != "there" || list[0].From[0] != "public.people.ssn" || list[0].MayLift ||
		len(list[0].Causes) != 1 || list[0].Causes[0].Exchange != 1 || list[0].Causes[0].Statement != "INSERT INTO copies (id, v) SELECT id, ssn FROM people WHERE id = 1" || list[0].Causes[0].Principal.Subject != "agent" ||
		list[1].Column != "public.kept.n" || !list[1].Computed || list[2].MayLift ||
		list[3].Column != "public.two.n" || list[3].MayLift {
		t.Errorf("tracked are %+v", list)
	}
	if code, out, _ := tracked("dana", "list", "--resource", "shop"); code != exitOK || !strings.Contains(out, "public.copies.number") || !strings.Contains(out, "computed from public.people.ssn") || !strings.Contains(out, list[0].Causes[0].Session) {
		t.Errorf("listed: %d %s", code, out)
	}
	for _, refused := range []struct {
		as, column, comment, want string
		code                      int
	}{
		{"eve", "public.copies.number", "x", "you are in none of the groups", exitFailed},
		{"alex", "public.copies.number", "x", "you are in none of the groups that may lift", exitFailed},
		{"dana", "public.theirs.n", "x", "a session of your own", exitFailed},
		{"dana", "public.two.n", "x", "the configuration protects the column, too", exitFailed},
		{"dana", "public.copies.v", "x", "is not tracked", exitFailed},
		{"dana", "public.copies.number", " ", "--comment is missing", exitUsage},
		{"dana", "public.copies.number", "\x1b[2J", "plain text", exitFailed},
	} {
		if code, out, stderr := tracked(refused.as, "lift", "shop", refused.column, "--comment", refused.comment); code != refused.code || !strings.Contains(stderr, refused.want) {
			t.Errorf("%v: code %d, %s%s", refused, code, out, stderr)
		}
	}
	if _, err := writer.Exec(t.Context(), "BEGIN; UPDATE copies SET number = ssn FROM people p WHERE p.id = copies.id"); err != nil {
		t.Fatal(err)
	}
	if code, out, stderr := tracked("dana", "lift", "shop", "public.copies.number", "--comment", "x"); code != exitFailed || !strings.Contains(stderr, "a transaction that may store protected values") {
		t.Errorf("while it is being stored: code %d, %s%s", code, out, stderr)
	}
	if _, err := writer.Exec(t.Context(), "ROLLBACK; UPDATE copies SET number = 'clean' WHERE id = 1"); err != nil {
		t.Fatal(err)
	}
	code, out, stderr = tracked("dana", "lift", "shop", "public.copies.number", "--comment", "the number was removed")
	id := strings.TrimSuffix(out[strings.LastIndex(out, " ")+1:], ".\n")
	if code != exitOK || !strings.HasPrefix(out, "Lifted public.copies.number of shop, which held public.people.ssn.") {
		t.Fatalf("lifted: code %d, %s%s", code, out, stderr)
	}
	if got := one(t, reader, "SELECT number FROM copies"); got != "clean" {
		t.Errorf("lifted, it is %q in a session that was open", got)
	}
	kill() // at once
	start()
	if got := one(t, c.connectAs(t, agent), "SELECT number FROM copies"); got != "clean" {
		t.Errorf("lifted before the gate was killed, it is %q", got)
	}
	if err := c.postgres.Exec(t.Context(), "shop", "DROP TABLE kept"); err != nil {
		t.Fatal(err)
	}
	if code, out, stderr := tracked("dana", "prune", "shop", "--comment", "dropped"); code != exitOK || !strings.Contains(out, "Lifted public.kept.n of shop") || strings.Contains(out, "theirs") {
		t.Errorf("pruned: code %d, %s%s", code, out, stderr)
	}
	if _, out, _ := tracked("alex", "list"); strings.Contains(out, "kept") || strings.Contains(out, "copies") || !strings.Contains(out, "public.theirs.n") {
		t.Errorf("left are %s", out)
	}
	if code, out, stderr := gatehouse(t, "check", "--config", c.path("gatehouse.yaml")); code != exitOK {
		t.Errorf("check: %d %s%s", code, out, stderr)
	}

	// The evidence.
	if err := gate.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := gate.Wait(); err != nil {
		t.Error(err)
	}
	code, out, stderr = gatehouse(t, "sessions", "replay", id, "--config", c.path("gatehouse.yaml"))
	for _, want := range []string{"gatehouse tracked lift shop public.copies.number", "the number was removed", "dana@example.com", "public.people.ssn", list[0].Causes[0].Session, "INSERT INTO copies (id, v) SELECT id, ssn", "ok"} {
		if !strings.Contains(out, want) {
			t.Errorf("the recording does not say %q: code %d, %s%s", want, code, out, stderr)
		}
	}
	if code, out, stderr := gatehouse(t, "verify", "--config", c.path("gatehouse.yaml")); code != exitOK {
		t.Errorf("verify: code %d, %s%s", code, out, stderr)
	}
}
