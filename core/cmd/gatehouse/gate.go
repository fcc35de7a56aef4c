package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"
	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"

	"gatehouse/console"
	"gatehouse/core/approval"
	"gatehouse/core/cmd/gatehouse/config"
	"gatehouse/core/identity"
	"gatehouse/core/proxy"
	"gatehouse/core/quota"
	"gatehouse/protocols/postgres"
	"gatehouse/protocols/postgres/statement"
	"gatehouse/recorder"
)

// closeTime is how long the gate waits, after the last session, for its own web
// servers, and how long for the store to take what the spool holds.
const closeTime = 5 * time.Second

// parserLimits are of the parser of statements: its own defaults, but for gates
// that tests start again and again.
var parserLimits statement.Limits

// A gate is everything that serves. Close it.
type gate struct {
	parts     *parts // of the configuration that it started with
	log       *slog.Logger
	rules     *rules
	reloads   reloads
	recorder  *recorder.Recorder
	approvals *approval.Registry
	providers *identity.Providers
	analyzer  *statement.Analyzer
	postgres  *postgres.Protocol
	proxy     *proxy.Server
	console   *console.Console
	listeners struct{ postgres, console, admin net.Listener }
	serving   atomic.Bool
}

// openGate makes the gate of a configuration and takes its addresses and its
// spool. What is wrong is config.Problems.
func openGate(ctx context.Context, c *config.Config, log *slog.Logger) (*gate, error) {
	// The parser of statements and the plugins both take a while to load. Both
	// are WebAssembly, and what wazero finds out about itself at its first use
	// it keeps unguarded: so that is not theirs.
	if err := wazero.NewRuntime(ctx).Close(ctx); err != nil {
		return nil, fmt.Errorf("start the WebAssembly runtime: %w", err)
	}
	limits := parserLimits
	limits.Text = int(c.Limits.Text)
	analyzer := statement.NewAnalyzer(limits)
	var warming errgroup.Group
	warming.Go(func() error { return analyzer.Warm(ctx) })
	p, err := build(ctx, c, log)
	warmed := warming.Wait()
	if err != nil {
		return nil, err
	}
	g := &gate{parts: p, log: log, analyzer: analyzer, approvals: approval.New(approval.Limits{Pending: c.Approvals.Pending, Principal: c.Approvals.Principal, Bytes: int(c.Approvals.Size)})}
	if err := errors.Join(warmed, g.open()); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	debug.FreeOSMemory() // compiling left much behind
	return g, nil
}

func (g *gate) open() error {
	if len(g.parts.problems) == 0 {
		g.listen()
		g.openRecorder()
	}
	if len(g.parts.problems) > 0 {
		return g.parts.problems
	}
	g.reloads.saw(g.parts.seen)
	g.rules = newRules(g.parts.rules, g.log)
	g.parts.rules = nil // g.rules owns it
	verifiers := make([]*identity.Verifier, 0, len(g.parts.verifiers))
	for _, v := range g.parts.verifiers {
		verifiers = append(verifiers, v)
	}
	var err error
	if g.providers, err = identity.NewProviders(verifiers...); err != nil {
		return err
	}
	if err := g.openConsole(); err != nil {
		return err
	}
	return g.openPostgres()
}

// listen takes the gate's addresses.
func (g *gate) listen() {
	c := g.parts.config
	for _, l := range []struct {
		listener *net.Listener
		address  string
		path     []string
	}{
		{&g.listeners.postgres, c.Listen.Postgres.Address, []string{"listen", "postgres", "address"}},
		{&g.listeners.console, c.Console.Address, []string{"console", "address"}},
		{&g.listeners.admin, c.Admin.Address, []string{"admin", "address"}},
	} {
		var err error
		*l.listener, err = net.Listen("tcp", l.address)
		g.parts.problem(err, l.path...)
	}
}

func (g *gate) openRecorder() {
	c := g.parts.config.Recording
	var err error
	g.recorder, err = recorder.Open(recorder.Options{
		Spool: string(c.Spool.Directory), SpoolLimit: int64(c.Spool.Size), FullWait: time.Duration(c.Spool.Wait),
		Store: g.parts.store, Key: g.parts.signer,
		Retention:  retention(&c),
		Recipients: c.Encryption.Recipients,
		PowerSafe:  c.Spool.Durability == "power",
		PieceSize:  int(c.Seal.Size), SealAfter: time.Duration(c.Seal.Age),
		Logger: g.log,
	})
	g.parts.problem(err, "recording", "spool", "directory")
}

func (g *gate) openConsole() error {
	c := g.parts.config.Console
	issuer := c.Issuer
	if issuer == "" {
		issuer = g.parts.config.Identity.Providers[0].Issuer
	}
	signIn, err := identity.NewSignIn(identity.SignInConfig{
		Verifier: g.parts.verifiers[issuer], ClientID: c.ClientID, URL: c.URL, Log: g.log,
	})
	if err != nil {
		return err
	}
	g.console, err = console.New(console.Config{
		URL: c.URL, SignIn: signIn, Approvals: g.approvals,
		Sessions: &archive{reader: g.recorder.Reader().With(g.parts.identities), store: g.parts.store}, Auditors: c.Viewers,
		Tracking:  &tracking{gate: g, viewers: c.Viewers},
		Approvers: g.rules.approvers, Protected: g.rules.protected, Outage: g.recorder.Outage,
		Failing: g.rules.failingPlugins, Log: g.log,
	})
	return err
}

func (g *gate) openPostgres() error {
	c := g.parts.config
	var err error
	g.postgres, err = postgres.New(postgres.Config{
		Resources: g.parts.resources, TLS: g.parts.gateTLS,
		Plaintext: c.Listen.Postgres.Plaintext == "loopback",
		Limits: postgres.Limits{
			StartupTime: time.Duration(c.Limits.Startup), MessageSize: int(c.Limits.Message),
			Buffer: int(c.Limits.Buffer), Inspect: int(c.Limits.Inspect), Spill: int64(c.Limits.Spill),
			Parameters: int(c.Limits.Parameters), Unread: time.Duration(c.Limits.Unread), Unsent: time.Duration(c.Limits.Unsent),
			Untaken:  time.Duration(c.Limits.Untaken),
			Pipeline: c.Limits.Pipeline, Prepared: c.Limits.Statements,
			Idle: time.Duration(c.Limits.Idle), IdleInTransaction: time.Duration(c.Limits.IdleInTransaction),
			WrongKeys: c.Limits.Cancels,
		},
		SpillDir: string(c.Recording.Spool.Directory),
		Analyzer: g.analyzer,
	})
	if err != nil {
		return err
	}
	opener := &sessions{gate: c.Gate, key: g.parts.hashKey, rules: g.rules, quotas: quota.NewLedger(), recorder: g.recorder, approvals: g.approvals}
	g.proxy = &proxy.Server{
		Listener: g.listeners.postgres, Protocol: g.postgres,
		Env: proxy.Env{Authenticate: g.providers.Authenticate, Open: opener.open, Log: g.log},
		Limits: proxy.Limits{
			Connections: c.Limits.Connections, Address: c.Limits.Address,
			Unauthenticated: c.Limits.Unauthenticated, UnauthenticatedAddress: c.Limits.UnauthenticatedAddress,
			Failures: c.Limits.Failures,
		},
		BusyPoll: time.Duration(*c.Limits.BusyPoll),
	}
	return nil
}

// run serves until ctx ends and then drains: sessions end at their next idle
// point, while approvers can still decide what they hold. It reloads the
// configuration when asked to, and when one of its files changed.
func (g *gate) run(ctx context.Context, asked <-chan os.Signal) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var web errgroup.Group
	web.Go(func() error {
		g.watch(ctx, asked)
		return nil
	})
	stop := make([]func(), 0, 2)
	serve := func(name string, l net.Listener, h http.Handler, t *tls.Config) {
		server := newServer(h)
		l = netutil.LimitListener(l, g.parts.config.Limits.Web)
		if t != nil {
			l = tls.NewListener(l, t)
		}
		stop = append(stop, func() { shutdown(server) })
		web.Go(func() error {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				cancel()
				return fmt.Errorf("serve %s: %w", name, err)
			}
			return nil
		})
	}
	serve("console", g.listeners.console, g.console, g.parts.consoleTLS)
	serve("admin", g.listeners.admin, newAdmin(newMetrics(g.statistics), g.conditions()), nil)

	g.serving.Store(true)
	g.log.Info("gate is open", "gate", g.parts.config.Gate, "policy", g.rules.version(),
		"postgres", g.listeners.postgres.Addr().String(), "console", g.parts.config.Console.URL,
		"admin", g.listeners.admin.Addr().String())
	stopDraining := context.AfterFunc(ctx, func() {
		g.serving.Store(false)
		g.log.Info("gate is draining", "sessions", g.proxy.Active(), "grace", time.Duration(g.parts.config.Limits.Drain))
	})
	defer stopDraining()
	err := g.proxy.Serve(ctx, time.Duration(g.parts.config.Limits.Drain))
	for _, f := range slices.Backward(stop) {
		f()
	}
	return errors.Join(err, web.Wait())
}

func shutdown(s *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	if s.Shutdown(ctx) != nil {
		s.Close()
	}
}

// Close ends what openGate began and stores what the spool holds, if the store
// takes it in time. The rest is stored after the next start.
func (g *gate) Close() error {
	var errs []error
	for _, l := range []net.Listener{g.listeners.postgres, g.listeners.console, g.listeners.admin} {
		if l == nil {
			continue
		}
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if g.console != nil {
		errs = append(errs, g.console.Close())
	}
	if g.postgres != nil {
		g.postgres.Close()
	}
	if g.rules != nil {
		g.rules.Close()
	}
	if g.recorder != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeTime)
		defer cancel()
		if err := g.recorder.Close(ctx); err != nil {
			g.log.Warn("some recordings stay in the spool until the next start", "error", err)
		}
	}
	return errors.Join(append(errs, g.parts.Close())...)
}
