package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// testExplain asks what is masked of statements, and why, without running them.
func testExplain(t *testing.T, d *demo) {
	text, err := os.ReadFile(d.path("gatehouse.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	file := d.path("explained.yaml")
	changed := strings.Replace(string(text), "    sslrootcert: ca.crt\n",
		"    sslrootcert: ca.crt\n    protect: {mode: strict, account: any, columns: {public.customers.ssn: redact}}\n", 1)
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	const sql = "SELECT upper(name) AS who, ssn, length(ssn) AS n, count(*) OVER () AS all_of FROM customers; " +
		"SELECT name FROM customers ORDER BY ssn LIMIT 1; DELETE FROM customers WHERE ssn || '' = 'x'; SELECT nothing FROM customers; " +
		"DO 'BEGIN END'; COPY (SELECT ssn AS copied FROM customers) TO STDOUT; VACUUM customers; SET client_encoding = 'LATIN1'; SELECT pg_listening_channels(); DELETE FROM nowhere WHERE id = 1"
	code, out, stderr := gatehouse(t, "explain", sql, "--resource", "shop", "--as", "agent@example.com", "--group", "agents", "--config", file)
	if code != exitOK {
		t.Fatalf("code %d\n%s%s", code, out, stderr)
	}
	for _, want := range []string{
		`agent@example.com reaches shop by policy "agents on the shop": mode strict`,
		`who +text +derived +public.customers.name +pass +- +-`,
		`ssn +text +exact +public.customers.ssn +redact +protect/public.customers.ssn +-`,
		`n +int4 +derived +public.customers.ssn +null +protect/public.customers.ssn +-`,
		`all_of +int8 +clean +- +pass +- +-`,
		`every field is unknown: which rows there are depends on public.customers.ssn`,
		`refused: DELETE with protected columns in expressions or joins is refused\nWhich rows there are depends on public.customers.ssn.\n`,
		`refused: DELETE of rows that may depend on protected columns is refused\nRelation nowhere is not known.\n`,
		`the server does not describe it: column "nothing" does not exist`,
		`DO 'BEGIN END'\nrefused: DO is refused\n`,
		`copied +text +exact +public.customers.ssn +redact +protect/public.customers.ssn +-`,
		`VACUUM customers\nit has no result\n`,
		`refused: client_encoding may not be changed: it alters how statements are read`,
		`refused: a statement whose number of rows depends on pg_catalog.pg_listening_channels\(\) is refused\nA policy can clear`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if code, _, stderr := gatehouse(t, "explain", "SELECT 1", "--resource", "shop", "--group", "strangers", "--config", file); code != exitFailed || !strings.Contains(stderr, "shop") {
		t.Errorf("strangers: code %d, %s", code, stderr)
	}
	if code, _, stderr := gatehouse(t, "explain", "SELECT 1", "--resource", "nowhere", "--group", "agents", "--config", file); code != exitUsage || !strings.Contains(stderr, `"nowhere" is none of the resources`) {
		t.Errorf("another resource: code %d, %s", code, stderr)
	}
}
