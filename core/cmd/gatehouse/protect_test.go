package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// testProtected reads a protected column in every way that sends values back, and
// finds it nowhere: not in what came, in the spool, in the recording, in the log
// or in the metrics.
func testProtected(t *testing.T, d *demo) {
	const secret, number = "4417-1234-5678-9113", "4417123456789113"
	ctx := t.Context()
	good, err := os.ReadFile(d.path("gatehouse.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	err = d.postgres.Exec(ctx, "shop", "CREATE TABLE safes (id int, code text, n bigint); INSERT INTO safes VALUES (1, '"+secret+"', "+number+"); GRANT SELECT, UPDATE ON safes TO gatehouse")
	if err != nil {
		t.Fatal(err)
	}
	d.configure(t, func(text string) string {
		return strings.Replace(text, "    sslrootcert: ca.crt\n", "    sslrootcert: ca.crt\n    protect: {account: any, mode: strict, columns: {public.safes.code: redact, public.safes.n: hash}}\n", 1)
	})
	if err := d.gate.reload(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() {
		d.write(t, "gatehouse.yaml", string(good))
		if err := d.gate.reload(ctx); err != nil {
			t.Error(err)
		}
	}()
	a, err := d.connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, rows, err := a.rows(ctx, "SELECT id, code, n, upper(code), 'mine' FROM safes")
	if err != nil || strings.Join(rows[0], " ") != "1 [redacted] 0 [redacted] mine" {
		t.Errorf("the row is %q, %v", rows, err)
	}
	for _, sql := range []string{
		"SELECT s FROM safes s", "SELECT to_json(s) FROM safes s", "COPY safes TO STDOUT", "SELECT code::int FROM safes", "SELECT n::int FROM safes",
		"UPDATE safes SET id = n WHERE id = 1", "SELECT set_config('application_name', code, false) FROM safes", "EXPLAIN SELECT code FROM safes",
		"SELECT pg_notify('x', code) FROM safes", "SELECT query_to_xml('SELECT code FROM safes', true, true, '')",
	} {
		_, rows, err := a.rows(ctx, sql)
		if err != nil && strings.Contains(err.Error(), number[12:]) {
			t.Errorf("%s: %v", sql, err)
		}
		for _, row := range rows {
			if strings.Contains(strings.Join(row, " "), number[12:]) {
				t.Errorf("%s: %q", sql, row)
			}
		}
	}
	if err := a.close(ctx); err != nil {
		t.Fatal(err)
	}
	if err := d.ended(ctx, a.session); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{"log": d.log(t)}
	_, found["metrics"] = d.get(t, "/metrics")
	for name, args := range map[string][]string{"replay": {"replay"}, "export": {"export", "--format", "jsonl"}} {
		code, out, stderr := gatehouse(t, append(append([]string{"sessions"}, args...), a.session, "--config", d.path("gatehouse.yaml"))...)
		if code != exitOK || !strings.Contains(out, "FROM safes") {
			t.Errorf("%s: code %d, %s", name, code, stderr)
		}
		found[name] = out
	}
	err = filepath.WalkDir(d.path("spool"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil // sealed meanwhile
		}
		found[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for where, text := range found {
		for _, form := range []string{secret, number, number[12:]} {
			if strings.Contains(text, form) {
				t.Errorf("%s holds %s", where, form)
			}
		}
	}
}
