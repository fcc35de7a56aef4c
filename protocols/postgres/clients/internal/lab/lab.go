// Package lab runs a server and the gate in front of it, as the gate's users
// run it: the program itself, TLS on both sides, tokens of an OpenID Connect
// issuer, recordings in a directory. Clients reach the server by either way.
package lab

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	"gatehouse/core/identity/issuer"
	"gatehouse/core/peers"
)

// A Config describes a lab. With a Resource alone it is a gate that allows and
// passes everything.
type Config struct {
	// Resource is the gate's name for the server, and that of the database
	// that clients get who give no other. Start does not make it.
	Resource string
	// Superuser is whether the gate logs in as the server's superuser, and
	// not as the role User.
	Superuser bool
	// Plugins is the configuration's map of plugins, and Chain the names in
	// it that the policy uses.
	Plugins string
	Chain   []string
	// Settings are the server's.
	Settings map[string]string
	// HBA are lines of the server's pg_hba.conf.
	HBA []string
}

// User is the role that the gate logs in as, which owns nothing.
const User = "gatehouse"

// A Lab is running until Close.
type Lab struct {
	Postgres *peers.Postgres
	// CA is the file with the certificate of the authority that vouches for
	// both the server and the gate, which are both at "localhost".
	CA string

	config   Config
	dir      string
	password string // of the server's role
	issuer   *http.Server
	url      string // of the issuer
	token    string
	gate     *peers.Gatehouse
}

// Start builds the gate and starts everything.
func Start(ctx context.Context, c Config) (_ *Lab, err error) {
	l := &Lab{config: c, password: rand.Text()}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	if l.dir, err = os.MkdirTemp("", "gatehouse-clients-"); err != nil {
		return nil, fmt.Errorf("make the lab's directory: %w", err)
	}
	authority, err := peers.NewAuthority("Gatehouse clients")
	if err != nil {
		return nil, err
	}
	l.CA = filepath.Join(l.dir, "ca.crt")
	if err := os.WriteFile(l.CA, authority.PEM(), 0o644); err != nil {
		return nil, fmt.Errorf("write the authority's certificate: %w", err)
	}
	certificate, err := authority.Issue("localhost", peers.Host)
	if err != nil {
		return nil, err
	}
	l.Postgres, err = peers.StartPostgres(ctx, peers.PostgresOptions{TLS: certificate, Settings: c.Settings, HBA: c.HBA})
	if err != nil {
		return nil, err
	}
	if err := l.Postgres.CreateRole(ctx, User, l.password, "scram-sha-256"); err != nil {
		return nil, err
	}
	if err := l.startIssuer(); err != nil {
		return nil, err
	}
	return l, l.startGate(ctx, certificate, authority.PEM())
}

// Close stops everything and removes its files.
func (l *Lab) Close() error {
	var errs []error
	if l.gate != nil {
		errs = append(errs, l.gate.Close())
	}
	if l.issuer != nil {
		errs = append(errs, l.issuer.Close())
	}
	if l.Postgres != nil {
		errs = append(errs, l.Postgres.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(l.dir))...)
}

func (l *Lab) startIssuer() error {
	listener, err := net.Listen("tcp", net.JoinHostPort(peers.Host, "0"))
	if err != nil {
		return fmt.Errorf("start issuer: %w", err)
	}
	l.url = "http://" + listener.Addr().String()
	idp, err := issuer.New(issuer.Config{URL: l.url, Lifetime: 24 * time.Hour})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	l.issuer = &http.Server{Handler: idp, ReadHeaderTimeout: 10 * time.Second}
	go l.issuer.Serve(listener) // until Close
	l.token, err = idp.Mint(issuer.Agent{ID: "agent", Groups: []string{"agents"}}.Claims())
	return err
}

var configuration = template.Must(template.New("").Parse(`gate: clients
listen: {postgres: {address: "{{.Address}}", plaintext: loopback, tls: {certificate: gate.crt, key: gate.key}}}
console: {address: "{{.Console}}", url: "http://{{.Console}}", client_id: clients}
admin: {address: "127.0.0.1:0"}
identity: {providers: [{issuer: "{{.Issuer}}", audience: gatehouse, algorithms: [ES256]}]}
resources:
  {{.Resource}}: {protocol: postgres, host: localhost, port: {{.Port}}, user: {{.User}}, password: "file:password",
    database: {{.Resource}}, databases: ["*"], sslmode: verify-full, sslrootcert: ca.crt}
{{with .Plugins}}plugins: {{.}}{{end}}
policies: [{name: clients, groups: [agents], resources: [{{.Resource}}], plugins: [{{.Chain}}]}]
recording: {spool: {directory: spool}, store: {directory: store}}
keys: {hash: "file:keys/hash.key", signing: "file:keys/signing.key"}
`))

func (l *Lab) startGate(ctx context.Context, c *peers.Certificate, ca []byte) error {
	program := filepath.Join(l.dir, "gatehouse")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "gatehouse/core/cmd/gatehouse")
	build.Env = append(build.Environ(), "CGO_ENABLED=0") // as it is shipped
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the gate: %w\n%s", err, out)
	}
	user, password := l.login()
	files := map[string][]byte{"password": []byte(password), "ca.crt": ca, "gate.crt": c.Cert, "gate.key": c.Key}
	var err error
	l.gate, err = peers.StartGatehouse(ctx, peers.GatehouseOptions{Program: program, Files: files, Configure: func(port, console int) string {
		var b bytes.Buffer
		_ = configuration.Execute(&b, map[string]any{ // a buffer takes everything
			"Address": fmt.Sprintf("%s:%d", peers.Host, port), "Console": fmt.Sprintf("%s:%d", peers.Host, console),
			"Issuer": l.url, "Resource": l.config.Resource, "Port": l.Postgres.Port, "User": user,
			"Plugins": l.config.Plugins, "Chain": strings.Join(l.config.Chain, ", "),
		})
		return b.String()
	}})
	return err
}

// login is what the gate, and a client that does not pass it, log in with.
func (l *Lab) login() (user, password string) {
	if l.config.Superuser {
		return peers.Superuser, l.Postgres.Password
	}
	return User, l.password
}

// GateLog returns what the gate has logged so far.
func (l *Lab) GateLog() ([]byte, error) { return l.gate.Log() }

// A Way leads a client to a database.
type Way struct {
	Name     string // "direct" or "gate"
	Host     string
	Port     int
	User     string
	Password string
	Database string
	CA       string
}

// Direct is the way to a database of the server itself.
func (l *Lab) Direct(database string) Way {
	user, password := l.login()
	return Way{"direct", "localhost", l.Postgres.Port, user, password, database, l.CA}
}

// Gate is the way through the gate: another port, a token as password, and the
// resource before the database's name unless that is the resource's own.
func (l *Lab) Gate(database string) Way {
	if database != l.config.Resource {
		database = l.config.Resource + "/" + database
	}
	user, _ := l.login()
	return Way{"gate", "localhost", l.gate.Port, user, l.token, database, l.CA}
}

// Env are libpq's environment variables, without what others may have set.
func (w Way) Env() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "PG") })
	return append(env, "PGHOST="+w.Host, fmt.Sprintf("PGPORT=%d", w.Port), "PGUSER="+w.User, "PGPASSWORD="+w.Password,
		"PGDATABASE="+w.Database, "PGSSLMODE=verify-full", "PGSSLROOTCERT="+w.CA)
}

// String is libpq's connection string.
func (w Way) String() string {
	return fmt.Sprintf("host=%s port=%d user=%s password=%s dbname=%s sslmode=verify-full sslrootcert=%s",
		w.Host, w.Port, w.User, w.Password, w.Database, w.CA)
}
