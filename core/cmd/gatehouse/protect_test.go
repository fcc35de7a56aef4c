package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
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
	err = d.postgres.Exec(ctx, "shop", "CREATE TABLE safes (id int, code text, n bigint); INSERT INTO safes VALUES (1, '"+secret+"', "+number+"); GRANT ALL ON safes TO gatehouse")
	if err != nil {
		t.Fatal(err)
	}
	d.configure(t, func(text string) string {
		text = strings.Replace(text, "    sslrootcert: ca.crt\n", "    sslrootcert: ca.crt\n    protect: {account: any, mode: strict, columns: {public.safes.code: redact, public.safes.n: hash}}\n", 1)
		return strings.Replace(text, "policies:\n", "policies:\n  - {name: who sees safes, groups: [dba], resources: [shop], plugins: [mask], clear: [public.safes.*]}\n", 1)
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
	console := sendProtected(t, d, a)
	if err := a.close(ctx); err != nil {
		t.Fatal(err)
	}
	if err := d.ended(ctx, a.session); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{"log": d.log(t), "console": console}
	_, found["metrics"] = d.get(t, "/metrics")
	for name, args := range map[string][]string{"replay": {"replay"}, "export": {"export", "--format", "jsonl"}} {
		code, out, stderr := gatehouse(t, append(append([]string{"sessions"}, args...), a.session, "--config", d.path("gatehouse.yaml"))...)
		if code != exitOK || !strings.Contains(out, "FROM safes") {
			t.Errorf("%s: code %d, %s", name, code, stderr)
		}
		found[name] = out
	}
	for _, path := range []string{"/api/sessions", "/api/sessions/" + a.session, "/api/sessions/" + a.session + "/recording", "/api/approvals"} {
		_, body := d.ask(t, alex, path)
		found[path] = string(body)
	}
	var frames strings.Builder
	for f, err := range d.gate.recorder.Reader().Frames(ctx, a.session) {
		if err != nil {
			t.Fatal(err)
		}
		frames.Write(f.Payload)
	}
	found["frames"] = frames.String()
	err = walk(ctx, d.gate.parts.store, "", func(name string, b []byte) error {
		found["store/"+name] = string(b)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// All that the gate keeps: the spool, state, logs.
	err = filepath.WalkDir(d.dir, func(path string, e fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil // sealed meanwhile
		}
		if err != nil || e.IsDir() || strings.HasSuffix(path, ".token") || strings.HasSuffix(path, ".password") {
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
	password, err := os.ReadFile(d.path("postgres.password"))
	if err != nil {
		t.Fatal(err)
	}
	for where, text := range found {
		for _, form := range []string{secret, number, number[8:], "*9113", "-9113", sesame, "550000000000", "leak.example", string(password), a.conn.Config().Password} {
			if strings.Contains(text, form) {
				at := strings.Index(text, form)
				t.Errorf("%s holds %s: %q", where, form, text[max(0, at-100):min(len(text), at+100)])
			}
		}
	}
}

// sesame is a protected value that looks like nothing.
const sesame = "open-sesame-7734"

// sendProtected sends protected values in every way that requests have, one of
// which is held, shown, revealed and approved. It returns what the console and the
// command line said meanwhile, but for what was revealed.
func sendProtected(t *testing.T, d *demo, a *agent) string {
	ctx := t.Context()
	var mu sync.Mutex
	var said strings.Builder
	say := func(b []byte) {
		mu.Lock()
		defer mu.Unlock()
		said.Write(b)
	}
	events := d.listenTo(t, dana)
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		for {
			_, b, err := events.ReadMessage()
			if err != nil {
				return
			}
			say(b)
		}
	}()
	const email = "mallory@leak.example"
	for _, sql := range []string{
		"SELECT id FROM safes WHERE code = $1", "SELECT length($1)", "SELECT id FROM customers WHERE name = $2 -- $1",
		"INSERT INTO safes VALUES (2, $1, 5500000000000004)", "INSERT INTO safes (id, code) SELECT 3, $1", "UPDATE safes SET code = $1 WHERE id = 1",
		"DELETE FROM safes WHERE code = $1 AND id = 99", "WITH x AS (SELECT $1::text AS c) SELECT count(*) FROM safes, x WHERE code = x.c",
		"PREPARE s(text) AS SELECT id FROM safes WHERE code = $$1", "EXECUTE s($1)", "EXECUTE s($2)", "PREPARE q AS SELECT id FROM safes WHERE code = $1", "EXECUTE q",
		"DO LANGUAGE plpgsql 'BEGIN PERFORM 1 FROM safes WHERE code = '$1'; END'", "EXPLAIN SELECT * FROM safes WHERE code = $1",
		"BEGIN; DECLARE c CURSOR FOR SELECT id FROM safes WHERE code = $1", "FETCH c", "COMMIT", "/* $1 */ SELECT 1 -- $1 $2", "SELEC $1", "SELECT 'x' $2 $1",
		"SELECT $1 || 'unterminated", "SELECT length($2), 5500000000000004", "SET my.setting = $2", "SELECT id FROM safes WHERE n = '5500000000000004'",
		"INSERT INTO safes VALUES (6, 'x' || $1, 1)", "SELECT ($1)::int", "SELECT * FROM safes WHERE code LIKE $1 || '%'",
	} {
		text := strings.NewReplacer("$$1", "$1", "$1", "'"+sesame+"'", "$2", "'"+email+"'").Replace(sql)
		_, _, _ = a.rows(ctx, text) // some are refused
	}
	_ = a.exec(ctx, "ROLLBACK")
	for _, sql := range []string{"SELECT id FROM safes WHERE code = $1", "SELECT length($1)", "INSERT INTO safes (id, code) VALUES (5, $1)",
		"UPDATE safes SET code = $1 WHERE id = 5", "SELEC $1", "SELECT $1::int"} {
		for _, value := range []string{sesame, email, "5500000000000004"} {
			for _, format := range []int16{0, 1} {
				_ = a.conn.PgConn().ExecParams(ctx, sql, [][]byte{[]byte(value)}, nil, []int16{format}, nil).Read()
			}
		}
	}
	_ = a.conn.PgConn().ExecParams(ctx, "SELECT id FROM customers WHERE email = $1 OR card = $2", [][]byte{[]byte(email), []byte("5500000000000004")}, nil, nil, nil).Read()

	as := []string{"--url", d.urls.console, "--token", "file:" + d.path("dana.token")}
	approvals := func(args ...string) string {
		t.Helper()
		code, out, stderr := gatehouse(t, append(append([]string{"approvals"}, args...), as...)...)
		if code != exitOK {
			t.Errorf("approvals %v: code %d\n%s%s", args, code, out, stderr)
		}
		return out
	}
	uploaded := make(chan error, 1)
	go func() {
		rows := "7\t" + sesame + "\t5500000000000004\n8\t" + email + "\t1\n"
		_, err := a.conn.PgConn().CopyFrom(ctx, strings.NewReader(rows), "COPY safes FROM STDIN -- "+sesame)
		uploaded <- err
	}()
	say([]byte(approvals("show", <-a.held)))
	say([]byte(approvals("list")))
	_, body := d.ask(t, dana, "/api/approvals")
	say(body)
	id := regexp.MustCompile(`"id":"([A-Z2-7]{8})"`).FindSubmatch(body)
	if id == nil {
		t.Fatalf("nothing is held: %s", body)
	}
	say([]byte(approvals("approve", string(id[1]))))
	if err := <-uploaded; err != nil {
		t.Errorf("the upload: %v", err)
	}
	update := make(chan error, 1)
	go func() {
		update <- a.exec(ctx, "UPDATE accounts SET balance = balance WHERE id = 1 AND '"+sesame+"' <> ''")
	}()
	held := <-a.held
	masked := approvals("show", held)
	say([]byte(masked))
	if !strings.Contains(masked, "Masked: ") || strings.Contains(masked, sesame) {
		t.Errorf("show: %s", masked)
	}
	if out := approvals("show", held, "--reveal"); !strings.Contains(out, "'"+sesame+"'") || strings.Contains(out, "Masked: ") {
		t.Errorf("show --reveal: %s", out)
	}
	say([]byte(approvals("deny", held)))
	if err := <-update; isCode(err, "42501") != nil {
		t.Errorf("the update: %v", err)
	}
	events.Close()
	<-listening
	return said.String()
}
