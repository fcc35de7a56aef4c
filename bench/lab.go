package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"gatehouse/core/peers"
)

// The names of routes. Direct is always measured, because all others are
// compared with it.
const (
	direct    = "direct"
	relay     = "relay" // a Go program that only copies
	haproxy   = "haproxy"
	pgbouncer = "pgbouncer"
	gate      = "gate"      // judges and records
	masking   = "masking"   // the gate also masks a column of the large result
	detecting = "detecting" // and it looks for personal data in the other columns
)

var proxies = []string{relay, haproxy, pgbouncer, gate, masking, detecting}

const (
	role     = "bench"
	database = "bench"
)

// route is a way to the database.
type route struct {
	name     string
	url      string // without the password
	password string
	pid      int  // of the process between client and server; 0 for none
	gated    bool // whether the gate is on the route
	masked   bool // whether it masks e-mail addresses
	close    func() error
}

// lab is all servers of a comparison.
type lab struct {
	postgres *peers.Postgres
	password string   // of role, at the server
	routes   []*route // the direct one first
}

func startLab(ctx context.Context, s settings) (*lab, error) {
	postgres, err := peers.StartPostgres(ctx, peers.PostgresOptions{Settings: map[string]string{
		"log_statement":   "none",
		"max_connections": fmt.Sprint(5*s.sessions + 50),
		"shared_buffers":  "512MB",
	}})
	if err != nil {
		return nil, err
	}
	l := &lab{postgres: postgres, password: rand.Text()}
	if err := l.fill(ctx, s); err != nil {
		return nil, errors.Join(err, l.close())
	}
	for _, name := range append([]string{direct}, s.routes...) {
		r, err := l.startRoute(ctx, name, s)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("start route %s: %w", name, err), l.close())
		}
		l.routes = append(l.routes, r)
	}
	return l, nil
}

func (l *lab) startRoute(ctx context.Context, name string, s settings) (*route, error) {
	switch name {
	case direct:
		return l.viaProxy(name, l.postgres.Addr(), 0, nil), nil
	case relay:
		return startRelay(l)
	case haproxy:
		p, err := peers.StartHAProxy(ctx, l.postgres.Addr())
		if err != nil {
			return nil, err
		}
		return l.viaProxy(name, p.Addr(), p.PID(), p.Close), nil
	case pgbouncer:
		p, err := peers.StartPgBouncer(ctx, peers.PgBouncerOptions{
			Upstream: l.postgres.Addr(), User: role, Password: l.password,
		})
		if err != nil {
			return nil, err
		}
		return l.viaProxy(name, p.Addr(), p.PID(), p.Close), nil
	case gate, masking, detecting:
		return startGate(ctx, name, s.gate, l, nil)
	}
	return nil, fmt.Errorf("there are only %q", proxies)
}

// viaProxy is a route on which clients present the server's own password.
func (l *lab) viaProxy(name, addr string, pid int, close func() error) *route {
	return &route{name: name, url: connection(addr), password: l.password, pid: pid, close: close}
}

func connection(addr string) string {
	return fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable", role, addr, database)
}

// fill makes the role, pgbench's tables and the table of the large result.
func (l *lab) fill(ctx context.Context, s settings) error {
	if err := l.postgres.CreateRole(ctx, role, l.password, "scram-sha-256"); err != nil {
		return err
	}
	err := l.postgres.CreateDatabase(ctx, database, fmt.Sprintf(`
		GRANT CREATE ON SCHEMA public TO %[1]s;
		CREATE TABLE customers AS
			SELECT id, 'Customer ' || id AS name, 'customer' || id || '@example.com' AS email,
				'A note of ordinary length, which says what was last agreed with number ' || id AS note
			FROM generate_series(1, %[2]d) AS id;
		GRANT SELECT ON customers TO %[1]s;
		CREATE UNLOGGED TABLE copied (LIKE customers);
		GRANT INSERT ON copied TO %[1]s;
		CREATE TABLE large (value text);
		ALTER TABLE large ALTER value SET STORAGE EXTERNAL;
		INSERT INTO large SELECT string_agg(md5(n::text), '') FROM generate_series(1, %[3]d) AS n;
		GRANT SELECT ON large TO %[1]s;`, role, s.rows, s.value*1_000_000/32+1))
	if err != nil {
		return err
	}
	_, err = pgbench(ctx, &route{url: connection(l.postgres.Addr()), password: l.password},
		"--initialize", "--quiet", fmt.Sprintf("--scale=%d", s.scale))
	if err != nil {
		return err
	}
	return l.postgres.Exec(ctx, database, "VACUUM ANALYZE")
}

// close stops the servers.
func (l *lab) close() error {
	var errs []error
	for _, r := range slices.Backward(l.routes) {
		if r.close != nil {
			errs = append(errs, r.close())
		}
	}
	return errors.Join(append(errs, l.postgres.Close())...)
}
