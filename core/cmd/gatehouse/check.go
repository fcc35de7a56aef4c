package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"gatehouse/core/cmd/gatehouse/config"
	"gatehouse/protocols/postgres/account"
	"gatehouse/recorder"
	"gatehouse/recorder/s3"
)

// checkTime bounds each try of a target.
const checkTime = 10 * time.Second

func newCheck() *cobra.Command {
	var offline bool
	c := &cobra.Command{
		Use:   "check",
		Short: "Check a configuration and try its targets",
		Long: `Check a configuration: the file itself, the secrets and files that it refers to,
the plugins, which are compiled and given their configuration, and the targets:
the log-in at every resource, the identity providers, the store. All that is
wrong is printed at once, each with its place in the file, and so are notes on
what works and may surprise.

It also looks at what the account of every resource may do on its server that
policy does not let agents do. A superuser, or an owner of protected columns, is
wrong unless protect.account of the resource says otherwise; what is less is a
note. gatehouse harden prints the SQL that takes it away. Patterns of
protect.columns that match no column are noted, too.

A running gate does not notice. Where recording.retention asks for object lock,
a small object that is locked for five minutes stays in the bucket, under check/:
that it cannot be removed is what is tried. The next check removes it.`,
		Example: `  gatehouse check --config gatehouse.yaml
  gatehouse check --config gatehouse.yaml --offline`,
		Args: arguments(),
	}
	file := configFlag(c)
	c.Flags().BoolVar(&offline, "offline", false, "do not try the targets")
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg, err := loadConfig(*file)
		if err != nil {
			return err
		}
		remarks, err := check(c.Context(), cfg, offline)
		for _, r := range remarks.Sorted() {
			fmt.Fprintln(c.ErrOrStderr(), r.Error())
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.OutOrStdout(), "%s is good: %s, %s, %s.\n", *file,
			count(len(cfg.Resources), "resource"), count(len(cfg.Plugins), "plugin"), count(len(cfg.Identity.Providers), "identity provider"))
		return err
	}
	return c
}

// check returns all that is wrong with a configuration, and what is not and may
// surprise.
func check(ctx context.Context, c *config.Config, offline bool) (remarks config.Problems, err error) {
	p, err := build(ctx, c, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	p.noteUnverified()
	if !offline {
		p.tryTargets(ctx)
	}
	if err := p.Close(); err != nil {
		return nil, err
	}
	if len(p.problems) > 0 {
		return p.remarks, p.problems.Sorted()
	}
	return p.remarks, nil
}

// noteUnverified notes the servers elsewhere that might be anybody.
func (p *parts) noteUnverified() {
	for _, name := range slices.Sorted(maps.Keys(p.config.Resources)) {
		c := p.config.Resources[name]
		hosts := []string{c.Host}
		for _, s := range c.Servers() {
			hosts = append(hosts, s.Host)
		}
		local := func(host string) bool {
			return strings.HasPrefix(host, "/") || config.Loopback(net.JoinHostPort(host, "0"))
		}
		if i := slices.IndexFunc(hosts, func(h string) bool { return !local(h) }); i >= 0 && !strings.HasPrefix(c.SSLMode, "verify-") {
			p.note(fmt.Errorf("with %s nobody finds out whether %s is the right server; verify-full does", c.SSLMode, hosts[i]), "resources", name, "sslmode")
		}
	}
}

// A try is one target.
type try struct {
	path []string
	do   func(context.Context) error
}

// tryTargets tries all targets at the same time and reports what does not
// answer as it should.
func (p *parts) tryTargets(ctx context.Context) {
	var tries []try
	names := slices.Sorted(maps.Keys(p.resources))
	accounts, idle := make([]*account.Report, len(names)), make([][]string, len(names))
	for i, name := range names {
		tries = append(tries, try{[]string{"resources", name}, func(ctx context.Context) (err error) {
			if err := p.resources[name].Check(ctx); err != nil {
				return err
			}
			accounts[i], idle[i], err = audit(ctx, p.resources[name], p.config, false)
			return err
		}})
	}
	for i, c := range p.config.Identity.Providers {
		if p.verifiers[c.Issuer] != nil {
			tries = append(tries, try{[]string{"identity", "providers", fmt.Sprint(i), "issuer"}, discover(c)})
		}
	}
	if p.store != nil {
		tries = append(tries, try{[]string{"recording", "store"}, p.tryStore})
	}
	errs := make([]error, len(tries))
	var group errgroup.Group
	for i, t := range tries {
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, checkTime)
			defer cancel()
			errs[i] = t.do(ctx)
			return nil
		})
	}
	_ = group.Wait() // every try keeps its own error
	for i, t := range tries {
		p.problem(errs[i], t.path...)
	}
	for i, name := range names {
		if accounts[i] != nil {
			p.judgeAccount(name, accounts[i])
			p.judgePatterns(name, idle[i])
		}
	}
}

// tryStore returns why the store cannot be used.
func (p *parts) tryStore(ctx context.Context) error {
	if bucket, ok := p.store.(*s3.Store); ok {
		if err := bucket.Check(ctx); err != nil {
			return err
		}
		remarks, err := bucket.Remarks(ctx)
		for _, r := range remarks {
			p.note(errors.New(r), "recording", "store")
		}
		if err != nil {
			return err
		}
		return p.tryLocks(ctx, bucket)
	}
	for _, err := range p.store.List(ctx, "") {
		return err
	}
	return nil
}

// tryLocks returns why the bucket does not keep what the classes ask of it.
func (p *parts) tryLocks(ctx context.Context, bucket *s3.Store) error {
	modes := make(map[recorder.LockMode]bool)
	for _, r := range retention(&p.config.Recording) {
		modes[r.Mode] = r.Mode != ""
	}
	var errs []error
	for _, m := range []recorder.LockMode{recorder.Governance, recorder.Compliance} {
		if modes[m] {
			errs = append(errs, bucket.CheckLock(ctx, newID(time.Now()), m))
		}
	}
	return errors.Join(errs...)
}

// discover returns a try of a provider's discovery document.
func discover(c *config.Provider) func(context.Context) error {
	return func(ctx context.Context) error {
		transport, err := newTransport(string(c.CA))
		if err != nil {
			return err
		}
		defer transport.CloseIdleConnections()
		_, err = oidc.NewProvider(oidc.ClientContext(ctx, &http.Client{Transport: transport}), c.Issuer)
		return err
	}
}
