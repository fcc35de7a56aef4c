package peers

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// Superuser is the role that owns every Postgres.
const Superuser = "postgres"

// PostgresOptions describes a PostgreSQL server. The zero value is PostgreSQL
// 15 that asks every role for SCRAM-SHA-256 and has no TLS.
type PostgresOptions struct {
	// Version is the major version; 0 means 15.
	Version int
	// HBA are the lines of pg_hba.conf after the superuser's own, which lets
	// it in from the loopback address by SCRAM-SHA-256 (so never give it
	// another line). None means "host all all 127.0.0.1/32 scram-sha-256".
	HBA []string
	// TLS is the certificate to serve. Nil means no TLS.
	TLS *Certificate
	// ClientCA signs the client certificates that HBA lines may ask for.
	ClientCA *Authority
	// Settings are parameters of postgresql.conf. They come after this
	// package's own: no fsync, every statement logged.
	Settings map[string]string
	// Password is the superuser's; a random one if it is empty.
	Password string
	// Standby makes the server one that stays in recovery, as a hot standby
	// does. It has no primary.
	Standby bool
}

// Postgres is a running PostgreSQL server.
type Postgres struct {
	Version  int
	Port     int
	Password string // of the Superuser
	process  *process
}

// StartPostgres initialises a new cluster and starts a server on it, which
// answers when StartPostgres returns.
func StartPostgres(ctx context.Context, o PostgresOptions) (*Postgres, error) {
	if o.Version == 0 {
		o.Version = 15
	}
	return onFreePort(func(port int) (*Postgres, error) {
		p := &Postgres{Version: o.Version, Port: port, Password: cmp.Or(o.Password, rand.Text())}
		dir, err := newDir()
		if err != nil {
			return nil, err
		}
		bin, err := p.initialise(ctx, dir, o)
		if err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
		p.process, err = service{
			dir: dir, program: filepath.Join(bin, "postgres"), args: []string{"-D", filepath.Join(dir, "data")},
			stop: syscall.SIGQUIT, ready: p.ping,
		}.start(ctx)
		if err != nil {
			return nil, err
		}
		return p, nil
	})
}

// Close stops the server without ceremony and removes its files. It may be
// called again.
func (p *Postgres) Close() error { return p.process.close() }

// Addr is the server's host and port.
func (p *Postgres) Addr() string { return address(p.Port) }

// URL is a connection string for the superuser, without TLS.
func (p *Postgres) URL(database string) string {
	return p.UserURL(Superuser, p.Password, database)
}

// UserURL is a connection string for any role, without TLS.
func (p *Postgres) UserURL(user, password, database string) string {
	return PostgresURL(p.Addr(), user, password, database)
}

// PostgresURL is a connection string, without TLS, for what listens at addr
// and speaks PostgreSQL's protocol. psql, pgbench and pgx understand it.
func PostgresURL(addr, user, password, database string) string {
	u := url.URL{
		Scheme: "postgres", Host: addr, Path: "/" + database,
		User: url.UserPassword(user, password), RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Exec runs SQL text as the superuser; several statements run as one
// transaction unless the text says otherwise.
func (p *Postgres) Exec(ctx context.Context, database, sql string) error {
	conn, err := pgx.Connect(ctx, p.URL(database))
	if err != nil {
		return fmt.Errorf("connect as superuser: %w", err)
	}
	_, err = conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		err = fmt.Errorf("execute as superuser: %w", err)
	}
	return errors.Join(err, conn.Close(ctx))
}

// CreateDatabase makes a database and runs the SQL text in it.
func (p *Postgres) CreateDatabase(ctx context.Context, name, sql string) error {
	if err := p.Exec(ctx, Superuser, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()); err != nil {
		return err
	}
	return p.Exec(ctx, name, sql)
}

// DropDatabase removes a database and throws out whoever is in it.
func (p *Postgres) DropDatabase(ctx context.Context, name string) error {
	return p.Exec(ctx, Superuser, "DROP DATABASE "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)")
}

// CreateRole makes a role that can log in. The encryption of the stored
// password is "scram-sha-256" or "md5" and must suit the role's line in HBA;
// a line that says "password" takes either.
func (p *Postgres) CreateRole(ctx context.Context, name, password, encryption string) error {
	return p.Exec(ctx, Superuser, fmt.Sprintf("SET password_encryption = %s; CREATE ROLE %s LOGIN PASSWORD %s",
		quote(encryption), pgx.Identifier{name}.Sanitize(), quote(password)))
}

func (p *Postgres) ping(ctx context.Context) error {
	return p.Exec(ctx, Superuser, "SELECT 1")
}

// initialise makes the cluster in dir/data and returns where its programs are.
func (p *Postgres) initialise(ctx context.Context, dir string, o PostgresOptions) (bin string, err error) {
	bin, err = PostgresBin(o.Version)
	if err != nil {
		return "", err
	}
	if bin, err = within(bin, dir); err != nil {
		return "", err
	}
	password, data := filepath.Join(dir, "password"), filepath.Join(dir, "data")
	if err := writeFile(password, []byte(p.Password)); err != nil {
		return "", err
	}
	initdb, err := command(dir, filepath.Join(bin, "initdb"), "--pgdata="+data, "--no-sync",
		"--username="+Superuser, "--pwfile="+password, "--auth=scram-sha-256",
		"--encoding=UTF8", "--locale=C.UTF-8")
	if err != nil {
		return "", err
	}
	if out, err := initdb.CombinedOutput(); err != nil {
		return "", fmt.Errorf("initdb: %w\n%s", err, out)
	}
	if err := writeFile(filepath.Join(data, "pg_hba.conf"), hba(o.HBA)); err != nil {
		return "", err
	}
	conf, err := p.configuration(data, o)
	if err != nil {
		return "", err
	}
	if o.Standby {
		if err := writeFile(filepath.Join(data, "standby.signal"), nil); err != nil {
			return "", err
		}
	}
	return bin, writeFile(filepath.Join(data, "postgresql.conf"), conf)
}

func hba(lines []string) []byte {
	if len(lines) == 0 {
		lines = []string{"host all all 127.0.0.1/32 scram-sha-256"}
	}
	own := "host all " + Superuser + " 127.0.0.1/32 scram-sha-256\n"
	return []byte(own + strings.Join(lines, "\n") + "\n")
}

func (p *Postgres) configuration(data string, o PostgresOptions) ([]byte, error) {
	var conf strings.Builder
	set := func(name, value string) { fmt.Fprintf(&conf, "%s = %s\n", name, quote(value)) }
	set("listen_addresses", Host)
	set("port", strconv.Itoa(p.Port))
	set("unix_socket_directories", "")
	set("max_connections", "200")
	set("fsync", "off")
	set("synchronous_commit", "off")
	set("full_page_writes", "off")
	set("autovacuum", "off")
	set("log_statement", "all")
	set("log_parameter_max_length", "1kB") // of each value
	set("log_line_prefix", logPrefix)
	set("log_timezone", "UTC")
	if o.TLS != nil {
		if err := o.TLS.write(data, "server"); err != nil {
			return nil, err
		}
		set("ssl", "on")
		set("ssl_cert_file", "server.crt")
		set("ssl_key_file", "server.key")
	}
	if o.ClientCA != nil {
		if err := writeFile(filepath.Join(data, "clients.crt"), o.ClientCA.PEM()); err != nil {
			return nil, err
		}
		set("ssl_ca_file", "clients.crt")
	}
	for name, value := range o.Settings {
		set(name, value)
	}
	return []byte(conf.String()), nil
}

// within returns bin, or, when the servers' account may not search one of its
// parent directories (a private checkout, and the caller is root), a copy of
// the installation in dir.
func within(bin, dir string) (string, error) {
	bin, err := filepath.EvalSymlinks(bin)
	if err != nil {
		return "", fmt.Errorf("find PostgreSQL: %w", err)
	}
	open, err := searchable(bin)
	if err != nil || open {
		return bin, err
	}
	copied := filepath.Join(dir, "installation")
	if err := os.CopyFS(copied, os.DirFS(filepath.Dir(bin))); err != nil {
		return "", fmt.Errorf("copy PostgreSQL: %w", err)
	}
	return filepath.Join(copied, filepath.Base(bin)), nil
}

// quote makes a string literal for SQL and for postgresql.conf.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
