package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"gatehouse/core/peers"
)

// testHarden goes from an account that owns what is protected to one that check
// has nothing to say of, and changes the database for the tests after it.
func testHarden(t *testing.T, d *demo) {
	text, err := os.ReadFile(d.path("gatehouse.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	file := d.path("hardened.yaml")
	configure := func(protect string) {
		t.Helper()
		changed := strings.Replace(string(text), "    sslrootcert: ca.crt\n", "    sslrootcert: ca.crt\n    protect: "+protect+"\n", 1)
		if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const columns = "columns: {public.customers.ssn: redact}"
	const of, owns = "resources.shop.user: ", `the account "gatehouse" owns public.customers (ssn) in database "shop"; gatehouse harden shop prints the SQL that takes that away`
	configure("{" + columns + "}")
	if code, _, stderr := gatehouse(t, "check", "--config", file); code != exitUsage || !strings.Contains(stderr, of+owns+"\n") {
		t.Errorf("an owner: code %d\n%s", code, stderr)
	}
	configure("{account: any, columns: {public.customers.ssn: redact, public.customer.ssn: redact, \"*.card\": redact, public.customers.notes$.a: redact}}")
	const misspelt = "resources.shop.protect.columns.public.customer.ssn: note: there is no such column\n"
	code, _, stderr := gatehouse(t, "check", "--config", file)
	if code != exitOK || !strings.Contains(stderr, of+"note: "+strings.Replace(owns, "ssn", "card, ssn, notes", 1)+"\n") ||
		!strings.Contains(stderr, misspelt) || strings.Count(stderr, "no such column") != 1 {
		t.Errorf("an owner, accepted: code %d\n%s", code, stderr)
	}
	configure("{account: any, " + columns + "}")
	code, script, stderr := gatehouse(t, "harden", "shop", "--config", file)
	if code != exitOK {
		t.Fatalf("code %d\n%s", code, stderr)
	}
	psql, err := peers.Program("psql")
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), psql, "-X", "-q", "-f", "-", d.postgres.URL("postgres"))
	c.Stdin = strings.NewReader(script)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, script)
	}
	configure("{account: hardened, " + columns + "}")
	if code, out, stderr := gatehouse(t, "check", "--config", file); code != exitOK || stderr != "" {
		t.Errorf("hardened: code %d\n%s%s\n%s", code, out, stderr, script)
	}
	if code, _, stderr := gatehouse(t, "harden", "nowhere", "--config", file); code != exitUsage || !strings.Contains(stderr, `"nowhere" is none of the resources`) {
		t.Errorf("another resource: code %d\n%s", code, stderr)
	}
}
