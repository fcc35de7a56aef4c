package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// copyExample copies the example configuration into a directory that has what
// it refers to, and returns its name there.
func copyExample(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	b, err := os.ReadFile("../../../examples/gatehouse.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "gatehouse.yaml")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := gatehouse(t, "keygen", "--dir", filepath.Join(dir, "keys")); code != exitOK {
		t.Fatal(stderr)
	}
	return file
}

// setExampleSecrets sets the variables that the example configuration refers to.
func setExampleSecrets(t *testing.T) {
	t.Helper()
	for _, name := range []string{"ORDERS_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY"} {
		t.Setenv(name, "secret of "+name)
	}
}

// With its secrets in place, all in the example but its targets is good: the
// plugins take their configuration.
func TestExampleChecksOffline(t *testing.T) {
	file := copyExample(t)
	setExampleSecrets(t)
	code, out, stderr := gatehouse(t, "check", "--offline", "--config", file)
	if code != exitOK || !strings.HasSuffix(out, "gatehouse.yaml is good: 1 resource, 4 plugins, 1 identity provider.\n") {
		t.Errorf("code %d\n%s%s", code, out, stderr)
	}
}

// Without them, every one that is missing is named with its place.
func TestExampleChecksOfflineWithoutSecrets(t *testing.T) {
	file := copyExample(t)
	code, _, stderr := gatehouse(t, "check", "--offline", "--config", file)
	for _, want := range []string{
		"resources.orders.password: environment variable ORDERS_PASSWORD is not set",
		"recording.store.s3.access_key: environment variable S3_ACCESS_KEY is not set",
		"recording.store.s3.secret_key: environment variable S3_SECRET_KEY is not set",
		"\n3 problems found. examples/gatehouse.yaml explains every key.\n",
	} {
		if !strings.Contains(stderr, want) {
			t.Errorf("lacks %q:\n%s", want, stderr)
		}
	}
	if code != exitUsage {
		t.Errorf("code %d, want %d", code, exitUsage)
	}
}

// Of a server elsewhere whose certificate is not verified that is noted.
func TestCheckNotesServersThatMightBeAnybody(t *testing.T) {
	file := copyExample(t)
	setExampleSecrets(t)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for change, want := range map[string]string{
		"host: db.example.com\n    sslmode: require":   "resources.orders.sslmode: note: with require nobody finds out whether db.example.com is the right server; verify-full does\n",
		"host: localhost\n    sslmode: disable":        "resources.orders.sslmode: note: with disable nobody finds out whether db2.example.com is the right server; verify-full does\n",
		"host: db.example.com\n    sslmode: verify-ca": "",
	} {
		changed := strings.Replace(string(text), "host: db.example.com", change, 1)
		if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		code, _, stderr := gatehouse(t, "check", "--offline", "--config", file)
		if code != exitOK || !strings.HasSuffix(stderr, want) || (stderr == "") != (want == "") {
			t.Errorf("%q: code %d\n%s", change, code, stderr)
		}
	}
}

// What is wrong with a provider is reported at the key that it is of.
func TestCheckNamesTheKeysOfProviders(t *testing.T) {
	file := copyExample(t)
	setExampleSecrets(t)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for change, want := range map[string]string{
		"audience: gatehouse\n      ca: nowhere.pem":        `identity.providers.0.ca: "` + filepath.Join(filepath.Dir(file), "nowhere.pem") + `": open `,
		"audience: gatehouse\n      keys: {refresh: 9999h}": `identity.providers.0.keys.refresh: "9999h0m0s": must be between`,
	} {
		if err := os.WriteFile(file, []byte(strings.Replace(string(text), "audience: gatehouse", change, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		code, _, stderr := gatehouse(t, "check", "--offline", "--config", file)
		if code != exitUsage || !strings.Contains(stderr, want) || !strings.Contains(stderr, "\n1 problem found.") {
			t.Errorf("%q: code %d\n%s", change, code, stderr)
		}
	}
}
