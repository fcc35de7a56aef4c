package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"text/template"
	"time"

	"gatehouse/core/cmd/gatehouse/config"
	"gatehouse/core/identity/issuer"
	"gatehouse/core/peers"
	"gatehouse/recorder"
)

var (
	//go:embed sample/shop.sql
	shopSQL string
	//go:embed sample/gatehouse.yaml
	demoConfig     string
	configTemplate = template.Must(template.New("").Parse(demoConfig))
)

const (
	agentSecret   = "demo"
	consoleClient = "gatehouse-console"
)

var newestQuery = recorder.Query{Limit: 1}

// A demo is a gate with all that it needs, on this host alone.
type demo struct {
	w       io.Writer
	options demoOptions
	dir     string
	ports   struct{ gate, console, admin int }
	urls    struct{ console, issuer string }

	postgres *peers.Postgres
	minio    *peers.MinIO // nil where recordings go to a directory
	issuer   *issuer.Issuer
	gate     *gate

	closers []func() error // called in reverse order
}

// start starts everything. Close ends what was started, also after an error.
func (d *demo) start(ctx context.Context) error {
	if err := d.prepare(ctx); err != nil {
		return err
	}
	return d.startGate(ctx)
}

// prepare starts everything but the gate.
func (d *demo) prepare(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		d.makeDirectory, d.startPostgres, d.startStore, d.choosePorts, d.startIssuer, d.writeConfig,
	} {
		if err := step(ctx); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
	}
	return nil
}

// Close stops everything and removes what is not to be kept.
func (d *demo) Close() error {
	var errs []error
	for _, f := range slices.Backward(d.closers) {
		errs = append(errs, f())
	}
	d.closers = nil
	return errors.Join(errs...)
}

func (d *demo) atEnd(f func() error) { d.closers = append(d.closers, f) }

func (d *demo) path(name string) string { return filepath.Join(d.dir, name) }

func (d *demo) title(text string) { fmt.Fprintf(d.w, "\n== %s\n", text) }

func (d *demo) started(what, where string) { fmt.Fprintf(d.w, "%-22s %s\n", what, where) }

func (d *demo) makeDirectory(context.Context) error {
	if d.options.dir == "" {
		dir, err := os.MkdirTemp("", "gatehouse-demo-")
		d.dir = dir
		d.atEnd(func() error { return os.RemoveAll(dir) })
		return err
	}
	dir, err := filepath.Abs(d.options.dir)
	if err != nil {
		return err
	}
	d.dir = dir
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return usage(advise(fmt.Errorf("%s is not empty", dir), "Name a new directory with --dir."))
	}
	return os.MkdirAll(dir, 0o700)
}

// choosePorts finds ports for the gate, which takes them soon after.
func (d *demo) choosePorts(context.Context) error {
	for _, p := range []struct {
		port   *int
		wanted int
	}{{&d.ports.gate, 6432}, {&d.ports.console, 8080}, {&d.ports.admin, 9464}} {
		l, err := d.listen(p.wanted)
		if err != nil {
			return err
		}
		*p.port = l.Addr().(*net.TCPAddr).Port
		defer l.Close() // not before all are found, so that they differ
	}
	d.urls.console = fmt.Sprintf("http://localhost:%d", d.ports.console)
	return nil
}

// listen listens on a port of the loopback address: the wanted one if nobody
// has it.
func (d *demo) listen(wanted int) (net.Listener, error) {
	if !d.options.anyPort {
		if l, err := net.Listen("tcp", net.JoinHostPort(peers.Host, strconv.Itoa(wanted))); err == nil {
			return l, nil
		}
	}
	return peers.Listen()
}

// startPostgres starts the target, with a certificate of the demo's own
// authority, and fills it.
func (d *demo) startPostgres(ctx context.Context) error {
	authority, err := peers.NewAuthority("Gatehouse demo")
	if err != nil {
		return err
	}
	server, err := authority.Issue("localhost", "127.0.0.1")
	if err != nil {
		return err
	}
	for name, pem := range map[string][]byte{"ca.crt": authority.PEM(), "gate.crt": server.Cert, "gate.key": server.Key} {
		if err := os.WriteFile(d.path(name), pem, 0o600); err != nil {
			return err
		}
	}
	if d.postgres, err = peers.StartPostgres(ctx, peers.PostgresOptions{TLS: server}); err != nil {
		return missing(err, "The demo needs PostgreSQL's server programs.")
	}
	d.atEnd(d.postgres.Close)
	const password = "only-the-gate-knows"
	if err := d.postgres.CreateRole(ctx, "gatehouse", password, "scram-sha-256"); err != nil {
		return err
	}
	if err := os.WriteFile(d.path("postgres.password"), []byte(password), 0o600); err != nil {
		return err
	}
	if err := d.postgres.CreateDatabase(ctx, "shop", "GRANT CREATE ON SCHEMA public TO gatehouse;"+shopSQL); err != nil {
		return err
	}
	d.started(fmt.Sprintf("PostgreSQL %d", d.postgres.Version), d.postgres.Addr()+", with customers, orders and accounts")
	return nil
}

// missing says what to do about a program that is not there.
func missing(err error, what string) error {
	if _, ok := errors.AsType[*peers.MissingError](err); ok {
		return advise(err, "%s Debian and Ubuntu have them in the package postgresql.", what)
	}
	return err
}

// startStore starts MinIO where its program is found.
func (d *demo) startStore(ctx context.Context) error {
	if d.options.minio != "" {
		if err := os.Setenv("GATEHOUSE_MINIO", d.options.minio); err != nil {
			return err
		}
	}
	m, err := peers.StartMinIO(ctx)
	if _, ok := errors.AsType[*peers.MissingError](err); ok && d.options.minio == "" {
		d.started("Recordings", d.path("recordings")+", since there is no MinIO")
		return nil
	}
	if err != nil {
		return err
	}
	d.minio = m
	d.atEnd(m.Close)
	if err := m.CreateBucket(ctx, "gatehouse", true); err != nil {
		return err
	}
	for name, text := range map[string]string{"s3.access": m.AccessKey, "s3.secret": m.SecretKey} {
		if err := os.WriteFile(d.path(name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	d.started("MinIO", m.Addr()+", for recordings")
	return nil
}

func (d *demo) agent() issuer.Agent {
	return issuer.Agent{ID: "agent", Secret: agentSecret, Groups: []string{"agents"}}
}

var (
	dana = issuer.User{Subject: "dana", Email: "dana@example.com", Groups: []string{"dba"}}
	alex = issuer.User{Subject: "alex", Email: "alex@example.com", Groups: []string{"auditors"}}
)

func (d *demo) startIssuer(context.Context) error {
	l, err := d.listen(8081)
	if err != nil {
		return err
	}
	d.urls.issuer = fmt.Sprintf("http://localhost:%d", l.Addr().(*net.TCPAddr).Port)
	d.issuer, err = issuer.New(issuer.Config{
		URL: d.urls.issuer, Users: []issuer.User{dana, alex}, Agents: []issuer.Agent{d.agent()},
		ClientID: consoleClient, RedirectURIs: []string{d.urls.console + "/callback"},
		Lifetime: 12 * time.Hour,
	})
	if err != nil {
		return errors.Join(err, l.Close())
	}
	server := newServer(d.issuer)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	d.atEnd(func() error {
		err := server.Close()
		<-done
		return err
	})
	for name, claims := range map[string]issuer.Claims{"agent.token": d.agent().Claims(), "dana.token": dana.Claims()} {
		token, err := d.issuer.Mint(claims)
		if err != nil {
			return err
		}
		if err := os.WriteFile(d.path(name), []byte(token), 0o600); err != nil {
			return err
		}
	}
	d.started("Identity provider", d.urls.issuer)
	return nil
}

func (d *demo) writeConfig(context.Context) error {
	if _, err := writeKeys("demo.example.com/gate", d.path("keys")); err != nil {
		return err
	}
	values := map[string]any{
		"GatePort": d.ports.gate, "ConsolePort": d.ports.console, "AdminPort": d.ports.admin,
		"ConsoleURL": d.urls.console, "IssuerURL": d.urls.issuer, "ClientID": consoleClient,
		"PostgresPort": d.postgres.Port, "S3": "",
	}
	if d.minio != nil {
		values["S3"] = d.minio.Addr()
	}
	var text bytes.Buffer
	if err := configTemplate.Execute(&text, values); err != nil {
		return err
	}
	return os.WriteFile(d.path("gatehouse.yaml"), text.Bytes(), 0o600)
}

// startGate runs the gate as serve does, with its log in a file.
func (d *demo) startGate(ctx context.Context) error {
	f, err := os.OpenFile(d.path("gatehouse.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	d.atEnd(f.Close)
	c, err := config.Load(d.path("gatehouse.yaml"))
	if err != nil {
		return err
	}
	began := time.Now()
	if d.gate, err = openGate(ctx, c, slog.New(slog.NewTextHandler(f, nil))); err != nil {
		return err
	}
	d.atEnd(d.gate.Close)
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- d.gate.run(ctx, nil) }()
	d.atEnd(func() error {
		cancel()
		return <-done
	})
	d.started("Gate", fmt.Sprintf("localhost:%d, after %s to load its plugins", d.ports.gate, time.Since(began).Round(10*time.Millisecond)))
	d.started("Console", d.urls.console)
	return nil
}
