package peers

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
)

// TB is the part of testing.TB that the functions for tests use.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
}

// sharedServers start once for each key and are never closed: the process's
// end does that.
var sharedServers sync.Map // of func() (S, error), by key

func shared[S any](t TB, key any, start func(context.Context) (S, error)) S {
	t.Helper()
	once, _ := sharedServers.LoadOrStore(key, sync.OnceValues(func() (S, error) {
		return start(context.Background()) // outlives the test that comes first
	}))
	server, err := once.(func() (S, error))()
	if err != nil {
		t.Fatalf("start shared peer: %v", err)
	}
	return server
}

// SharedPostgres is a PostgreSQL server with the default options that all
// tests of the process share. Take a database with NewDatabase.
func SharedPostgres(t TB, version int) *Postgres {
	t.Helper()
	return shared(t, version, func(ctx context.Context) (*Postgres, error) {
		return StartPostgres(ctx, PostgresOptions{Version: version})
	})
}

// NewPostgres starts a PostgreSQL server for one test.
func NewPostgres(t TB, o PostgresOptions) *Postgres {
	t.Helper()
	p, err := StartPostgres(context.Background(), o)
	if err != nil {
		t.Fatalf("%v", err)
	}
	closeAfter(t, p.Close)
	return p
}

// NewDatabase makes a database with a fresh name for one test, runs the SQL
// text in it, and drops it when the test ends.
func (p *Postgres) NewDatabase(t TB, sql string) (name string) {
	t.Helper()
	name = freshName()
	if err := p.CreateDatabase(context.Background(), name, sql); err != nil {
		t.Fatalf("%v", err)
	}
	closeAfter(t, func() error { return p.DropDatabase(context.Background(), name) })
	return name
}

// NewRole makes a role for one test, which logs in by the given password
// encryption ("scram-sha-256" or "md5"). The role stays until the server ends.
func (p *Postgres) NewRole(t TB, encryption string) (name, password string) {
	t.Helper()
	name, password = freshName(), rand.Text()
	if err := p.CreateRole(context.Background(), name, password, encryption); err != nil {
		t.Fatalf("%v", err)
	}
	return name, password
}

// SharedMinIO is a MinIO server that all tests of the process share. Take a
// bucket with NewBucket.
func SharedMinIO(t TB) *MinIO {
	t.Helper()
	return shared(t, "minio", StartMinIO)
}

// NewBucket makes a bucket with a fresh name. It stays until the server ends,
// because what is locked in it cannot be deleted.
func (m *MinIO) NewBucket(t TB, locking bool) (name string) {
	t.Helper()
	name = freshName()
	if err := m.CreateBucket(context.Background(), name, locking); err != nil {
		t.Fatalf("%v", err)
	}
	return name
}

// NewPgBouncer starts a pgbouncer for one test.
func NewPgBouncer(t TB, o PgBouncerOptions) *Proxy {
	t.Helper()
	p, err := StartPgBouncer(context.Background(), o)
	if err != nil {
		t.Fatalf("%v", err)
	}
	closeAfter(t, p.Close)
	return p
}

// NewHAProxy starts an HAProxy for one test.
func NewHAProxy(t TB, upstream string) *Proxy {
	t.Helper()
	p, err := StartHAProxy(context.Background(), upstream)
	if err != nil {
		t.Fatalf("%v", err)
	}
	closeAfter(t, p.Close)
	return p
}

// closeAfter ties a server's life to a test's.
func closeAfter(t TB, close func() error) {
	t.Cleanup(func() {
		t.Helper()
		if err := close(); err != nil {
			t.Fatalf("close peer: %v", err)
		}
	})
}

// freshName suits databases, roles and buckets.
func freshName() string { return "t" + strings.ToLower(rand.Text()[:12]) }
