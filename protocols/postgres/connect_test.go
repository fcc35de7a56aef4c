package postgres_test

import (
	"crypto/tls"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgproto3/v2"
	"github.com/jackc/pgx/v5"

	"gatehouse/core/event"
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

// Direct TLS begins without an SSLRequest, and must name the protocol.
func TestDirectTLS(t *testing.T) {
	a, ca := newAuthority(t)
	pair, err := issue(t, a, "localhost", "127.0.0.1").TLS()
	if err != nil {
		t.Fatal(err)
	}
	g := startGate(t, gateConfig{tls: &tls.Config{Certificates: []tls.Certificate{pair}}})
	c, err := pgx.Connect(t.Context(), "postgres://agent:good@"+g.addr+"/orders?sslmode=verify-full&sslnegotiation=direct&sslrootcert="+ca)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	if err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	for _, protocols := range [][]string{nil, {"http/1.1"}} {
		r := g.dial(t)
		r.Conn = tls.Client(r.Conn, &tls.Config{RootCAs: a.Pool(), ServerName: "localhost", NextProtos: protocols})
		if m, err := r.read(); err == nil && m != "E 08P01" {
			t.Errorf("ALPN %q was answered by %q", protocols, m)
		}
	}
}

func TestClientCertificates(t *testing.T) {
	a, ca := newAuthority(t)
	other, _ := newAuthority(t)
	pair, err := issue(t, a, "localhost", "127.0.0.1").TLS()
	if err != nil {
		t.Fatal(err)
	}
	g := startGate(t, gateConfig{tls: &tls.Config{Certificates: []tls.Certificate{pair},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.Pool()}})
	connect := func(c *peers.Certificate) error {
		url := "postgres://agent:good@" + g.addr + "/orders?sslmode=verify-full&sslrootcert=" + ca
		if c != nil {
			dir := t.TempDir()
			for name, pem := range map[string][]byte{"cert": c.Cert, "key": c.Key} {
				if err := os.WriteFile(filepath.Join(dir, name), pem, 0o600); err != nil {
					t.Fatal(err)
				}
				url += "&ssl" + name + "=" + filepath.Join(dir, name)
			}
		}
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			return err
		}
		return conn.Close(t.Context())
	}
	if err := connect(issue(t, a, "agent-7")); err != nil {
		t.Error(err)
	}
	var opened event.Session
	if err := opened.Decode(g.tapes[0].all()[0].Payload); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(opened.Attrs, event.Attr{Key: "tls.client.subject", Value: "CN=agent-7"}) {
		t.Errorf("the recording says %v", opened.Attrs)
	}
	for name, c := range map[string]*peers.Certificate{"no certificate": nil, "another authority's": issue(t, other, "agent-7")} {
		if connect(c) == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestProtocolVersions(t *testing.T) {
	g := startGate(t, gateConfig{version: 18})
	for _, c := range []struct{ asked, told, secret int }{
		{version3, 0, 4}, {version3 | 1, version3, 4}, {version3 | 2, 0, 32}, {version3 | 9999, version3 | 2, 32},
	} {
		r := g.dial(t)
		params := "user\x00agent\x00database\x00orders\x00\x00"
		r.bytes(8+len(params), c.asked, params)
		if c.told != 0 {
			kind, body := r.message()
			if kind != 'v' || binary.BigEndian.Uint32(body) != uint32(c.told) {
				t.Errorf("%x was answered by %q %x", c.asked, kind, body)
			}
		}
		r.expect("R")
		r.send(&pgproto3.PasswordMessage{Password: "good"})
		var key []byte
		for key == nil {
			if kind, body := r.message(); kind == 'K' {
				key = body
			}
		}
		if len(key) != 4+c.secret {
			t.Errorf("%x got a key of %d bytes", c.asked, len(key))
		}
		r.until("Z")
		r.send(&pgproto3.Query{String: "SELECT pg_sleep(60)"})
		waitFor(t, func() bool {
			return g.one(t, "SELECT count(*)::text FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'") == "1"
		})
		g.dial(t).bytes(12+len(key)-4, 80877102, string(key))
		if got := r.until("Z"); !slices.Contains(got, "E 57014") {
			t.Errorf("%x: the cancelled statement ended with %q", c.asked, got)
		}
		r.Close()
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

// GORM's documented connection string ends up so in the start-up message.
func TestASettingMayBeGivenAgainInAnotherSpelling(t *testing.T) {
	g := startGate(t, gateConfig{})
	r := dialRaw(t, g.addr, map[string]string{"user": "agent", "database": "orders", "TimeZone": "Asia/Tokyo", "timezone": "Asia/Tokyo"}, "good")
	r.until("Z")
	r.send(&pgproto3.Query{String: "SHOW timezone"})
	if got := r.until("Z"); !cmp.Equal(got, []string{"T", "D Asia/Tokyo", "C SHOW", "Z I"}) {
		t.Errorf("got %q", got)
	}
}

// Clients tell their own notifications, and find themselves in
// pg_stat_activity, by the process number of their key.
func TestTheProcessNumberIsTheServers(t *testing.T) {
	g := startGate(t, gateConfig{})
	c := g.connect(t, "")
	var pid uint32
	if err := c.QueryRow(t.Context(), "SELECT pg_backend_pid()").Scan(&pid); err != nil || pid != c.PgConn().PID() {
		t.Errorf("%d in the key, %d at the server, %v", c.PgConn().PID(), pid, err)
	}
	if _, err := c.Exec(t.Context(), "LISTEN own; NOTIFY own"); err != nil {
		t.Fatal(err)
	}
	n, err := c.WaitForNotification(t.Context())
	if err != nil || n.PID != c.PgConn().PID() {
		t.Errorf("notified by %+v, %v", n, err)
	}
}
