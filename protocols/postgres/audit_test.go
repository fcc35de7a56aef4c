package postgres_test

import (
	"strings"
	"testing"

	"gatehouse/core/peers"
	"gatehouse/protocols/postgres"
)

// Where the account may be no superuser, it is not served as one, whether it is
// one from the start or becomes one.
func TestSuperusersAreNotServed(t *testing.T) {
	pg := peers.SharedPostgres(t, 15)
	user, password := pg.NewRole(t, "scram-sha-256")
	database := pg.NewDatabase(t, `CREATE ROLE chief_of_`+user+` SUPERUSER; GRANT chief_of_`+user+` TO `+user)
	resource := func(user, password string) *postgres.Resource {
		return &postgres.Resource{Name: "orders", Host: peers.Host, Port: uint16(pg.Port), User: user, Password: password,
			Database: database, SSLMode: "disable", NoSuperuser: true}
	}
	g := startGate(t, gateConfig{server: resource(user, password)})
	r := g.raw(t)
	r.send(sql("SELECT 1"))
	r.until("Z")
	r.send(sql("SET ROLE chief_of_" + user))
	ms := r.until("E")
	if got := ms[len(ms)-1]; !strings.HasPrefix(got, "E 42501") {
		t.Errorf("got %q", ms)
	}
	r.gone()

	var log strings.Builder
	g = startGate(t, gateConfig{server: resource(peers.Superuser, pg.Password), log: &log})
	if _, got := g.try(t, "good"); got != "08001" {
		t.Errorf("a superuser: %s", got)
	}
}
