package main

import (
	"crypto/tls"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/core/cmd/gatehouse/config"
	"gatehouse/core/peers"
)

func TestCertificatesAreRenewedWhileTheGateRuns(t *testing.T) {
	a, err := peers.NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := config.TLS{Certificate: config.Path(filepath.Join(dir, "crt")), Key: config.Path(filepath.Join(dir, "key"))}
	changed := time.Now()
	write := func(cert, key []byte) {
		changed = changed.Add(time.Hour)
		for path, pem := range map[config.Path][]byte{files.Certificate: cert, files.Key: key} {
			if err := os.WriteFile(string(path), pem, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(string(path), changed, changed); err != nil {
				t.Fatal(err)
			}
		}
	}
	issue := func(name string) {
		c, err := a.Issue(name)
		if err != nil {
			t.Fatal(err)
		}
		write(c.Cert, c.Key)
	}
	// What it says it waits for passes at once: the files' times are set.
	synctest.Test(t, func(t *testing.T) {
		issue("first")
		server, err := serverTLS(files, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		name := func() string {
			time.Sleep(2 * recheck)
			c, err := server.GetCertificate(&tls.ClientHelloInfo{})
			if err != nil {
				t.Fatal(err)
			}
			return c.Leaf.Subject.CommonName
		}
		if got := name(); got != "first" {
			t.Errorf("serves %q", got)
		}
		issue("second")
		if got := name(); got != "second" {
			t.Errorf("serves %q after the second was issued", got)
		}
		write([]byte("broken"), nil)
		if got := name(); got != "second" {
			t.Errorf("serves %q after a broken one", got)
		}
		issue("third")
		if got := name(); got != "third" {
			t.Errorf("serves %q after the third was issued", got)
		}
	})
}

// A certificate that is put in the place of the gate's is what new connections
// get. Those that are open go on under the old one.
func testCertificateRenewed(t *testing.T, d *demo) {
	old, err := d.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer old.conn.Close(t.Context())
	issuer := func(a *agent) string {
		c, ok := a.conn.PgConn().Conn().(*tls.Conn)
		if !ok {
			t.Fatal("a connection without TLS")
		}
		return c.ConnectionState().PeerCertificates[0].Issuer.CommonName
	}
	authority, err := peers.NewAuthority("another authority")
	if err != nil {
		t.Fatal(err)
	}
	renewed, err := authority.Issue("localhost", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	trusted, err := os.ReadFile(d.path("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	for name, pem := range map[string][]byte{"ca.crt": append(trusted, authority.PEM()...), "gate.crt": renewed.Cert, "gate.key": renewed.Key} {
		d.write(t, name, string(pem))
	}
	until(t, "new connections get the new certificate", func() bool {
		a, err := d.connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer a.conn.Close(t.Context())
		return issuer(a) == "another authority" && a.conn.Ping(t.Context()) == nil
	})
	if err := old.conn.Ping(t.Context()); err != nil || issuer(old) != "Gatehouse demo" {
		t.Errorf("the old connection, under a certificate of %q: %v", issuer(old), err)
	}
}

func TestCertificatesThatCannotServe(t *testing.T) {
	a, err := peers.NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	c, err := a.Issue("gate")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, pem := range map[string][]byte{"crt": c.Cert, "key": c.Key, "empty": nil} {
		if err := os.WriteFile(filepath.Join(dir, name), pem, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := func(name string) config.Path { return config.Path(filepath.Join(dir, name)) }
	for name, files := range map[string]config.TLS{
		"no files":         {Certificate: path("none"), Key: path("none")},
		"no key":           {Certificate: path("crt"), Key: path("empty")},
		"no authority":     {Certificate: path("crt"), Key: path("key"), ClientCA: path("none")},
		"empty authority":  {Certificate: path("crt"), Key: path("key"), ClientCA: path("empty")},
		"key for the cert": {Certificate: path("key"), Key: path("crt")},
	} {
		if _, err := serverTLS(files, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
