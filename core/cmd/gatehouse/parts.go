package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/core/cmd/gatehouse/config"
	"gatehouse/core/identity"
	"gatehouse/protocols/postgres"
	"gatehouse/recorder"
	"gatehouse/recorder/s3"
)

// Parts are what a gate is made of, as far as they can be made without taking
// anything that a running gate has: no listener and no spool. Close them.
type parts struct {
	config *config.Config
	log    *slog.Logger

	seen       sight             // the files that it is made of, before they were read
	secrets    map[string][]byte // by their place in the configuration
	hashKey    []byte
	signer     string
	gateTLS    *tls.Config
	consoleTLS *tls.Config
	verifiers  map[string]*identity.Verifier // by issuer
	rules      *ruleset
	resources  map[string]*postgres.Resource
	store      recorder.Store
	identities recorder.Identities // that open encrypted recordings

	problems config.Problems
	remarks  config.Problems // which are none: see check
}

// build makes the parts of a configuration, of which some are missing where
// there were problems.
func build(ctx context.Context, c *config.Config, log *slog.Logger) (*parts, error) {
	p := &parts{config: c, log: log, seen: look(c.Files())}
	p.readKeys()
	p.gateTLS = p.certificate(c.Listen.Postgres.TLS, "listen", "postgres", "tls")
	p.consoleTLS = p.certificate(c.Console.TLS, "console", "tls")
	p.addVerifiers(context.WithoutCancel(ctx)) // a draining gate still verifies
	p.addResources()
	p.openStore()
	p.readEncryption()
	if err := p.addRules(ctx, nil); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// rebuild makes the parts of a configuration that a running gate can go over
// to, and checks the others as build does. The rules are those of the running
// gate where nothing that decides has changed.
func rebuild(ctx context.Context, c *config.Config, running *ruleset, log *slog.Logger) (*parts, error) {
	p := &parts{config: c, log: log}
	p.readKeys()
	p.certificate(c.Listen.Postgres.TLS, "listen", "postgres", "tls")
	p.certificate(c.Console.TLS, "console", "tls")
	for i, provider := range c.Identity.Providers {
		p.providerProblem(verifierConfig(provider, log).Validate(), i)
	}
	p.addResources()
	if s3 := c.Recording.Store.S3; s3 != nil {
		p.storeSecrets(s3)
	}
	p.readEncryption()
	return p, p.addRules(ctx, running)
}

// Close ends what build began.
func (p *parts) Close() error {
	var errs []error
	for _, v := range p.verifiers {
		errs = append(errs, v.Close())
	}
	if p.rules != nil {
		errs = append(errs, p.rules.close())
	}
	if dir, ok := p.store.(*recorder.Dir); ok {
		errs = append(errs, dir.Close())
	}
	return errors.Join(errs...)
}

func (p *parts) problem(err error, path ...string) {
	if err != nil {
		p.problems = append(p.problems, p.config.Problem(err, path...))
	}
}

// note says what is not wrong and may surprise.
func (p *parts) note(err error, path ...string) {
	p.remarks = append(p.remarks, p.config.Problem(fmt.Errorf("note: %w", err), path...))
}

// secret reads a secret and reports where it cannot.
func (p *parts) secret(s config.Secret, path ...string) []byte {
	b, err := s.Read()
	p.problem(err, path...)
	if p.secrets == nil {
		p.secrets = make(map[string][]byte)
	}
	p.secrets[strings.Join(path, ".")] = b
	return b
}

func (p *parts) readKeys() {
	p.hashKey = p.secret(p.config.Keys.Hash, "keys", "hash")
	if n := len(p.hashKey); n > 0 && n < 32 {
		p.problem(fmt.Errorf("the key has %d bytes, at least 32 are needed; gatehouse keygen makes one", n), "keys", "hash")
	}
	p.signer = string(p.secret(p.config.Keys.Signing, "keys", "signing"))
	if p.signer != "" {
		if _, err := recorder.VerifierKey(p.signer); err != nil {
			p.problem(errors.New("not a signing key; gatehouse keygen makes one"), "keys", "signing")
		}
	}
}

func (p *parts) certificate(t *config.TLS, path ...string) *tls.Config {
	if t == nil {
		return nil
	}
	server, err := serverTLS(*t, p.log)
	p.problem(err, path...)
	return server
}

func (p *parts) addVerifiers(ctx context.Context) {
	p.verifiers = make(map[string]*identity.Verifier)
	for i, c := range p.config.Identity.Providers {
		v, err := identity.New(ctx, verifierConfig(c, p.log))
		if err != nil {
			p.providerProblem(err, i)
			continue
		}
		p.verifiers[c.Issuer] = v
	}
}

// providerKeys are the keys of a provider, by the fields of identity.Config that
// they become.
var providerKeys = map[string][]string{
	"Issuer": {"issuer"}, "Audiences": {"audience"}, "Algorithms": {"algorithms"}, "Skew": {"skew"}, "CAFile": {"ca"},
	"KeysFor": {"keys", "stale"}, "RefreshEvery": {"keys", "refresh"}, "FetchInterval": {"keys", "interval"},
}

// providerProblem reports what is wrong with the i-th provider, each at its key.
func (p *parts) providerProblem(err error, i int) {
	if all, joined := err.(interface{ Unwrap() []error }); joined {
		for _, one := range all.Unwrap() {
			p.providerProblem(one, i)
		}
		return
	}
	place := []string{"identity", "providers", strconv.Itoa(i)}
	if wrong, is := errors.AsType[*identity.ConfigError](err); is && providerKeys[wrong.Field] != nil {
		place, err = append(place, providerKeys[wrong.Field]...), fmt.Errorf("%q: %w", wrong.Value, wrong.Err)
	}
	p.problem(err, place...)
}

func verifierConfig(c *config.Provider, log *slog.Logger) identity.Config {
	return identity.Config{
		Issuer:        c.Issuer,
		Audiences:     []string{c.Audience},
		Algorithms:    c.Algorithms,
		GroupsClaim:   c.Groups,
		GroupPrefix:   c.GroupPrefix,
		NameClaim:     c.Name,
		Skew:          time.Duration(c.Skew),
		KeysFor:       time.Duration(c.Keys.Stale),
		RefreshEvery:  time.Duration(c.Keys.Refresh),
		FetchInterval: time.Duration(c.Keys.Interval),
		CacheFile:     string(c.Keys.File),
		CAFile:        string(c.CA),
		Log:           log,
	}
}

// addResources makes those that have no problem.
func (p *parts) addResources() {
	p.resources = make(map[string]*postgres.Resource)
	for _, name := range slices.Sorted(maps.Keys(p.config.Resources)) {
		c, before := p.config.Resources[name], len(p.problems)
		r := &postgres.Resource{
			Name: name, Host: c.Host, Port: uint16(c.Port),
			User: c.User, Password: string(p.secret(c.Password, "resources", name, "password")),
			Database: c.Database, Databases: c.Databases,
			SSLMode: c.SSLMode, SSLRootCert: string(c.SSLRootCert),
			NoSuperuser:        c.Protect != nil && c.Protect.Account != "any",
			FunctionCalls:      c.FunctionCalls,
			Tracked:            filepath.Join(string(p.config.Recording.Spool.Directory), "tracked", name+".json"),
			TargetSessionAttrs: c.TargetSessionAttrs, ConnectTimeout: time.Duration(c.ConnectTimeout), ChannelBinding: c.ChannelBinding,
		}
		for _, f := range c.Servers() {
			r.Fallbacks = append(r.Fallbacks, postgres.Address(f))
		}
		if p.problem(r.Validate(), "resources", name); len(p.problems) == before {
			p.resources[name] = r
		}
	}
}

func (p *parts) openStore() {
	c := p.config.Recording.Store
	if c.S3 == nil {
		dir, err := recorder.OpenDir(string(c.Directory))
		p.problem(err, "recording", "store", "directory")
		if err == nil {
			p.store = dir
		}
		return
	}
	// They are read again at their use: here it is said at once where they
	// cannot be.
	accessKey, secretKey := p.storeSecrets(c.S3)
	if accessKey == nil || secretKey == nil {
		return
	}
	transport, err := newTransport(string(c.S3.CA))
	if err != nil {
		p.problem(err, "recording", "store", "s3", "ca")
		return
	}
	store, err := s3.Open(s3.Options{
		Endpoint: c.S3.Endpoint, Region: c.S3.Region, Bucket: c.S3.Bucket, Prefix: c.S3.Prefix,
		Credentials: storeKeys(c.S3), Transport: transport, Logger: p.log,
	})
	p.problem(err, "recording", "store", "s3")
	if err == nil {
		p.store = store
	}
}

// storeKeys returns what reads the keys of a bucket.
func storeKeys(c *config.S3) func() (accessKey, secretKey, sessionToken string, err error) {
	return func() (string, string, string, error) {
		accessKey, err := c.AccessKey.Read()
		if err != nil {
			return "", "", "", err
		}
		secretKey, err := c.SecretKey.Read()
		return string(accessKey), string(secretKey), "", err
	}
}

// retention returns the classes of a configuration, nil for the one that there
// is without any.
func retention(c *config.Recording) map[string]recorder.Retention {
	if len(c.Retention) == 0 {
		return nil
	}
	classes := make(map[string]recorder.Retention, len(c.Retention))
	for name, k := range c.Retention {
		classes[name] = recorder.Retention{}
		if k.Mode != "none" {
			classes[name] = recorder.Retention{Mode: recorder.LockMode(k.Mode), For: time.Duration(k.Days) * 24 * time.Hour}
		}
	}
	return classes
}

func (p *parts) storeSecrets(c *config.S3) (accessKey, secretKey []byte) {
	return p.secret(c.AccessKey, "recording", "store", "s3", "access_key"),
		p.secret(c.SecretKey, "recording", "store", "s3", "secret_key")
}
