package postgres_test

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"gatehouse/core/peers"
	"gatehouse/protocols/postgres"
)

func newAuthority(t *testing.T) (*peers.Authority, string) {
	t.Helper()
	a, err := peers.NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, a.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return a, file
}

func issue(t *testing.T, a *peers.Authority, names ...string) *peers.Certificate {
	t.Helper()
	c, err := a.Issue(names[0], names[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClientTLS(t *testing.T) {
	a, ca := newAuthority(t)
	pair, err := issue(t, a, "localhost", "127.0.0.1").TLS()
	if err != nil {
		t.Fatal(err)
	}
	g := startGate(t, gateConfig{tls: &tls.Config{Certificates: []tls.Certificate{pair}}, limits: limitsFor(2 * time.Second)})

	conn, err := pgx.Connect(t.Context(), "postgres://agent:good@"+g.addr+"/orders?sslmode=verify-full&sslrootcert="+ca)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := conn.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if err := conn.PgConn().CancelRequest(t.Context()); err != nil { // goes over TLS too
		t.Error(err)
	}

	// Without TLS the token is not even asked for.
	r := dialRaw(t, g.addr, map[string]string{"user": "agent", "database": "orders"}, "")
	r.expect("E 28000")
	r.gone()

	// P06: a start-up packet that is sent with the SSLRequest is not parsed.
	r = g.dial(t)
	params := "user\x00agent\x00\x00"
	r.bytes(8, sslRequest, 8+len(params), version3, params)
	r.expect("E 08P01")
	r.gone()

	// P07: no SSLRequest inside TLS.
	inner := g.dial(t)
	inner.bytes(8, sslRequest)
	var answer [1]byte
	if _, err := inner.Read(answer[:]); err != nil || answer[0] != 'S' {
		t.Fatalf("answered %q, %v", answer, err)
	}
	inner.Conn = tls.Client(inner.Conn, &tls.Config{RootCAs: a.Pool(), ServerName: "localhost"})
	inner.bytes(8, sslRequest)
	inner.expect("E 08P01")
	inner.gone()

	// Plaintext where TLS was agreed ends in nothing.
	r = g.dial(t)
	r.bytes(8, sslRequest)
	if _, err := r.Read(answer[:]); err != nil {
		t.Fatal(err)
	}
	r.bytes(8+len(params), version3, params)
	if m, err := r.read(); err == nil && !strings.HasPrefix(m, "\x15") {
		t.Errorf("plaintext inside TLS was answered by %q", m)
	}
}

func TestUpstreamAuthenticationAndTLS(t *testing.T) {
	a, ca := newAuthority(t)
	_, otherCA := newAuthority(t)
	pg := peers.NewPostgres(t, peers.PostgresOptions{
		TLS: issue(t, a, "localhost"),
		HBA: []string{
			"host all clear 127.0.0.1/32 password",
			"host all md5 127.0.0.1/32 md5",
			"hostssl all all 127.0.0.1/32 scram-sha-256",
		},
	})
	ctx := t.Context()
	for role, encryption := range map[string]string{"clear": "scram-sha-256", "md5": "md5", "scram": "scram-sha-256"} {
		if err := pg.CreateRole(ctx, role, "secret '\\ word", encryption); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		user, host, mode, ca string
		want                 string // in the error
	}{
		{"scram", "127.0.0.1", "require", "", ""},
		{"scram", "127.0.0.1", "prefer", "", ""},
		{"scram", "127.0.0.1", "verify-ca", ca, ""},
		{"scram", "localhost", "verify-full", ca, ""},
		{"scram", "127.0.0.1", "verify-full", ca, "certificate"},
		{"scram", "localhost", "verify-full", otherCA, "certificate"},
		{"scram", "127.0.0.1", "disable", "", "pg_hba.conf"},
		{"md5", "127.0.0.1", "disable", "", ""},
		{"clear", "127.0.0.1", "disable", "", ""},
	} {
		r := &postgres.Resource{Name: "orders", Host: c.host, Port: uint16(pg.Port), User: c.user, Password: "secret '\\ word",
			Database: "postgres", SSLMode: c.mode, SSLRootCert: c.ca}
		err := r.Check(ctx)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: the error has the password: %v", c, err)
		}
		if c.want == "" {
			g := startGate(t, gateConfig{server: r})
			if err := g.connect(t, "").Ping(ctx); err != nil {
				t.Errorf("%+v: %v", c, err)
			}
		}
	}
}

func TestSeveralDatabases(t *testing.T) {
	pg := peers.SharedPostgres(t, 15)
	first, second := pg.NewDatabase(t, ""), pg.NewDatabase(t, "")
	g := startGate(t, gateConfig{server: &postgres.Resource{Name: "orders", Host: "127.0.0.1", Port: uint16(pg.Port),
		User: peers.Superuser, Password: pg.Password, Database: first, Databases: []string{second}, SSLMode: "disable"}})
	for path, want := range map[string]string{"orders": first, "orders%2F" + first: first, "orders%2F" + second: second} {
		c, err := pgx.Connect(t.Context(), "postgres://agent:good@"+g.addr+"/"+path+"?sslmode=disable")
		if err != nil {
			t.Fatal(err)
		}
		var got string
		if err := c.QueryRow(t.Context(), "SELECT current_database()").Scan(&got); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", path, got, err, want)
		}
		c.Close(t.Context())
	}
	if c, err := pgx.Connect(t.Context(), "postgres://agent:good@"+g.addr+"/orders%2Fpostgres?sslmode=disable"); err == nil {
		c.Close(t.Context())
		t.Error("a database that is not on the list was opened")
	}
}

func TestServerThatIsDown(t *testing.T) {
	port, err := peers.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	g := startGate(t, gateConfig{server: &postgres.Resource{Name: "orders", Host: "127.0.0.1", Port: uint16(port),
		User: "u", Password: "secret", Database: "d", SSLMode: "disable"}})
	r := dialRaw(t, g.addr, map[string]string{"user": "agent", "database": "orders"}, "good")
	r.expect("R")
	r.expect("E 08001")
	r.gone()
}
