package postgres_test

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/peers"
	"gatehouse/protocols/postgres"
)

// deadPort is one that nothing listens on.
func deadPort(t *testing.T) uint16 {
	t.Helper()
	port, err := peers.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return uint16(port)
}

// silentPort is that of a server which accepts and never says anything.
func silentPort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

// Of several servers the first that answers and is of the wanted kind is
// opened.
func TestFailover(t *testing.T) {
	const password = "one for all"
	standby := peers.NewPostgres(t, peers.PostgresOptions{Password: password, Standby: true})
	primary := peers.NewPostgres(t, peers.PostgresOptions{Password: password})
	readOnly := peers.NewPostgres(t, peers.PostgresOptions{Password: password, Settings: map[string]string{"default_transaction_read_only": "on"}})
	names := map[string]string{}
	for name, p := range map[string]*peers.Postgres{"standby": standby, "primary": primary, "read-only": readOnly} {
		names[p.Addr()] = name
	}
	local := func(ports ...uint16) (all []postgres.Address) {
		for _, p := range ports {
			all = append(all, postgres.Address{Host: "127.0.0.1", Port: p})
		}
		return all
	}
	dead, silent := deadPort(t), silentPort(t)
	s, p, r := uint16(standby.Port), uint16(primary.Port), uint16(readOnly.Port)
	for _, c := range []struct {
		attrs   string
		servers []uint16
		want    string // name of the server, or none
		failed  string // why the others did not do
	}{
		{"", []uint16{dead, p}, "primary", "network"},
		{"any", []uint16{silent, dead, s, p}, "standby", "timeout network"},
		{"read-write", []uint16{s, r, p}, "primary", "attributes attributes"},
		{"read-only", []uint16{p, r, s}, "read-only", "attributes"},
		{"primary", []uint16{s, r}, "read-only", "attributes"},
		{"standby", []uint16{p, s}, "standby", "attributes"},
		{"prefer-standby", []uint16{p, s}, "standby", "attributes"},
		{"prefer-standby", []uint16{dead, p}, "primary", "network attributes network"},
		{"standby", []uint16{p, r}, "", "attributes attributes"},
	} {
		patience := hangs
		if slices.Contains(c.servers, silent) {
			patience = 3 * time.Second
		}
		g := startGate(t, gateConfig{server: &postgres.Resource{Name: "orders", Host: "127.0.0.1", Port: c.servers[0],
			User: peers.Superuser, Password: password, Database: "postgres", SSLMode: "disable",
			Fallbacks: local(c.servers[1:]...), TargetSessionAttrs: c.attrs, ConnectTimeout: patience}})
		client := dialRaw(t, g.addr, map[string]string{"user": "agent", "database": "orders"}, "good")
		client.expect("R")
		if c.want == "" {
			client.expect("E 08001")
			client.gone()
		} else {
			client.until("Z")
			client.send(sql("SELECT host(inet_server_addr()) || ':' || inet_server_port()"))
			at, _ := strings.CutPrefix(client.until("Z")[1], "D ")
			if got := names[at]; got != c.want {
				t.Errorf("%s of %v: opened %q at %s, want %q", c.attrs, c.servers, got, at, c.want)
			}
		}
		counts := map[string]uint64{}
		for _, f := range g.protocol.Failures() {
			if f.Resource != "orders" || f.Server.Host != "127.0.0.1" {
				t.Errorf("%+v", f)
			}
			counts[f.Reason] += f.Count
		}
		for _, reason := range strings.Fields(c.failed) {
			counts[reason]--
		}
		for reason, n := range counts {
			if n != 0 {
				t.Errorf("%s of %v: %d too many failures for %s", c.attrs, c.servers, int64(n), reason)
			}
		}
	}
}

// Where no server will let the gate in, the client learns the resource's name,
// and nothing of where it is and who opens it.
func TestClientsLearnNothingOfServersThatAreDown(t *testing.T) {
	pg := peers.SharedPostgres(t, 15)
	for name, r := range map[string]*postgres.Resource{
		"down":           {Host: "127.0.0.1", Port: deadPort(t), User: "gatehouse-user", Password: "secret-password"},
		"not let in":     {Host: "127.0.0.1", Port: uint16(pg.Port), User: "gatehouse-user", Password: "secret-password"},
		"no such server": {Host: "nowhere.invalid", User: "gatehouse-user", Password: "secret-password"},
	} {
		r.Name, r.Database, r.SSLMode, r.ConnectTimeout = "orders", "inner-database", "disable", 2*time.Second
		g := startGate(t, gateConfig{server: r})
		client := dialRaw(t, g.addr, map[string]string{"user": "agent", "database": "orders"}, "good")
		client.expect("R")
		kind, body := client.message()
		var m pgproto3.ErrorResponse
		if err := m.Decode(body); err != nil || kind != 'E' || m.Code != "08001" || m.Severity != "FATAL" || !strings.Contains(m.Message, `"orders"`) {
			t.Errorf("%s: %q %+v, %v", name, kind, m, err)
		}
		for _, hidden := range []string{r.Host + ":", r.Host + `"`, "nowhere", "gatehouse-user", "secret-password", "inner-database"} {
			told := strings.ReplaceAll(string(body), client.LocalAddr().String(), "the client's own")
			if strings.Contains(told, hidden) {
				t.Errorf("%s: the client is told %q: %s", name, hidden, body)
			}
		}
		client.gone()
		if f := g.protocol.Failures(); len(f) != 1 || f[0].Count != 1 {
			t.Errorf("%s: counted %+v", name, f)
		}
	}
}

func TestChannelBinding(t *testing.T) {
	a, ca := newAuthority(t)
	pg := peers.NewPostgres(t, peers.PostgresOptions{TLS: issue(t, a, "localhost"), HBA: []string{
		"host all md5 127.0.0.1/32 md5",
		"host all all 127.0.0.1/32 scram-sha-256",
	}})
	for role, encryption := range map[string]string{"md5": "md5", "scram": "scram-sha-256"} {
		if err := pg.CreateRole(t.Context(), role, "pw", encryption); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		user, mode, binding string
		ok                  bool
	}{
		{"scram", "verify-full", "require", true},
		{"scram", "verify-full", "", true},
		{"scram", "disable", "prefer", true},
		{"scram", "disable", "require", false},
		{"md5", "verify-full", "prefer", true},
		{"md5", "verify-full", "require", false},
		{"md5", "verify-full", "disable", true},
	} {
		r := &postgres.Resource{Name: "orders", Host: "localhost", Port: uint16(pg.Port), User: c.user, Password: "pw",
			Database: "postgres", SSLMode: c.mode, ChannelBinding: c.binding}
		if c.mode != "disable" {
			r.SSLRootCert = ca
		}
		if err := r.Check(t.Context()); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// The authorities for the server are read at each connection.
func TestServerAuthoritiesAreReadAtEachConnection(t *testing.T) {
	a, ca := newAuthority(t)
	other, _ := newAuthority(t)
	pg := peers.NewPostgres(t, peers.PostgresOptions{TLS: issue(t, a, "localhost")})
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, other.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	g := startGate(t, gateConfig{server: &postgres.Resource{Name: "orders", Host: "localhost", Port: uint16(pg.Port),
		User: peers.Superuser, Password: pg.Password, Database: "postgres", SSLMode: "verify-full", SSLRootCert: file}})
	client := dialRaw(t, g.addr, map[string]string{"user": "agent", "database": "orders"}, "good")
	client.expect("R")
	client.expect("E 08001")
	if f := g.protocol.Failures(); len(f) != 1 || f[0].Reason != "tls" {
		t.Errorf("counted %+v", f)
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, pem, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := g.connect(t, "").Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// Sessions that are open keep the server that they have; what is opened
// afterwards goes by the new settings.
func TestSetResources(t *testing.T) {
	pg := peers.SharedPostgres(t, 15)
	first, second := pg.NewDatabase(t, customersSQL), pg.NewDatabase(t, "")
	resource := func(database string) *postgres.Resource {
		return &postgres.Resource{Name: "orders", Host: "127.0.0.1", Port: uint16(pg.Port), User: peers.Superuser,
			Password: pg.Password, Database: database, SSLMode: "disable"}
	}
	g := startGate(t, gateConfig{server: resource(first)})
	g.policy.change(nil, hideEmail)
	old := g.raw(t)
	set := func(want string, rs map[string]*postgres.Resource) {
		t.Helper()
		changed, err := g.protocol.SetResources(rs)
		if err != nil || strings.Join(changed, " ") != want {
			t.Errorf("changed %q, %v; want %q", changed, err, want)
		}
	}
	set("", map[string]*postgres.Resource{"orders": resource(first)})
	set("orders", map[string]*postgres.Resource{"orders": resource(second)})
	next := g.raw(t)
	for client, want := range map[*raw]string{old: first, next: second} {
		client.send(sql("SELECT current_database()"))
		if got := client.until("Z")[1]; got != "D "+want {
			t.Errorf("got %q, want %s", got, want)
		}
	}
	old.send(sql("SELECT email FROM customers WHERE id = 1"))
	if got := old.until("Z")[1]; got != "D [redacted]" {
		t.Errorf("the old session's result is %q", got)
	}
	set("more orders", map[string]*postgres.Resource{"more": resource(first)})
	client := dialRaw(t, g.addr, map[string]string{"user": "agent", "database": "orders"}, "good")
	client.expect("R")
	client.expect("E 28000")
	bad := resource(first)
	bad.User = ""
	if _, err := g.protocol.SetResources(map[string]*postgres.Resource{"more": bad}); err == nil {
		t.Error("a resource without a user was taken")
	}
	// With their last sessions the gate's own connections end.
	old.Close()
	next.Close()
	waitFor(t, func() bool {
		return g.oneOf(t, pg, "SELECT count(*)::text FROM pg_stat_activity WHERE application_name = 'gatehouse' AND datname IN ('"+first+"','"+second+"')") == "0"
	})
}

// oneOf is one on a server that the test names.
func (g *gate) oneOf(t testing.TB, pg *peers.Postgres, sql string) string {
	t.Helper()
	return (&gate{pg: pg, database: "postgres"}).one(t, sql)
}
