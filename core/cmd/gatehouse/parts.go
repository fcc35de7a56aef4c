package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"gatehouse/core/cmd/gatehouse/config"
	"gatehouse/core/identity"
	"gatehouse/core/pipeline"
	"gatehouse/core/policy"
	"gatehouse/plugins"
	"gatehouse/plugins/host"
	"gatehouse/protocols/postgres"
	"gatehouse/recorder"
	"gatehouse/recorder/s3"
)

// Parts are what a gate is made of, as far as they can be made without taking
// anything that a running gate has: no listener and no spool. Close them.
type parts struct {
	config *config.Config
	log    *slog.Logger

	hashKey    []byte
	signer     string
	gateTLS    *tls.Config
	consoleTLS *tls.Config
	verifiers  map[string]*identity.Verifier // by issuer
	host       *host.Host
	plugins    map[string]*host.Plugin
	policy     *policy.Policy
	resources  map[string]*postgres.Resource
	store      recorder.Store
	identities recorder.Identities // that open encrypted recordings

	problems config.Problems
}

// build makes the parts of a configuration, of which some are missing where
// there were problems.
func build(ctx context.Context, c *config.Config, log *slog.Logger) (*parts, error) {
	p := &parts{config: c, log: log}
	p.readKeys()
	p.gateTLS = p.certificate(c.Listen.Postgres.TLS, "listen", "postgres", "tls")
	p.consoleTLS = p.certificate(c.Console.TLS, "console", "tls")
	p.addVerifiers(context.WithoutCancel(ctx)) // a draining gate still verifies
	p.addResources()
	p.openStore()
	p.readEncryption()
	if err := p.addPlugins(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	p.decidePolicy()
	return p, nil
}

// Close ends what build began.
func (p *parts) Close() error {
	var errs []error
	for _, v := range p.verifiers {
		errs = append(errs, v.Close())
	}
	if p.host != nil {
		errs = append(errs, p.host.Close(context.Background()))
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

// secret reads a secret and reports where it cannot.
func (p *parts) secret(s config.Secret, path ...string) []byte {
	b, err := s.Read()
	p.problem(err, path...)
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
		v, err := identity.New(ctx, identity.Config{
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
			Log:           p.log,
		})
		if err != nil {
			p.problem(err, "identity", "providers", fmt.Sprint(i))
			continue
		}
		p.verifiers[c.Issuer] = v
	}
}

func (p *parts) addResources() {
	p.resources = make(map[string]*postgres.Resource)
	for _, name := range slices.Sorted(maps.Keys(p.config.Resources)) {
		c := p.config.Resources[name]
		r := &postgres.Resource{
			Name: name, Host: c.Host, Port: uint16(c.Port),
			User: c.User, Password: string(p.secret(c.Password, "resources", name, "password")),
			Database: c.Database, Databases: c.Databases,
			SSLMode: c.SSLMode, SSLRootCert: string(c.SSLRootCert),
			FunctionCalls: c.FunctionCalls,
		}
		p.problem(r.Validate(), "resources", name)
		p.resources[name] = r
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
	accessKey := p.secret(c.S3.AccessKey, "recording", "store", "s3", "access_key")
	secretKey := p.secret(c.S3.SecretKey, "recording", "store", "s3", "secret_key")
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
		Credentials: storeKeys(c.S3), Transport: transport,
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

// addPlugins compiles the plugins. The error is one of the host.
func (p *parts) addPlugins(ctx context.Context) error {
	limits := p.config.Limits.Plugin
	cache, err := compileCache()
	if err != nil {
		p.log.Warn("compiled plugins are not cached", "error", err)
	}
	p.host, err = host.New(ctx, host.Options{
		CacheDir: cache, MemoryLimit: int64(limits.Memory), Timeout: time.Duration(limits.Time),
		Instances: limits.Instances, Log: p.log,
	})
	if err != nil {
		return err
	}
	p.plugins = make(map[string]*host.Plugin)
	for _, name := range slices.Sorted(maps.Keys(p.config.Plugins)) {
		c := p.config.Plugins[name]
		wasm, err := readModule(c)
		if err == nil {
			p.plugins[name], err = p.host.Load(ctx, name, wasm, c.Config)
		}
		p.problem(err, "plugins", name)
	}
	return nil
}

// compileCache returns the directory for compiled plugins, the user's own, or
// "" with the reason why there is none.
func compileCache() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(dir, "gatehouse", "plugins")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	return dir, nil
}

func readModule(c *config.Plugin) ([]byte, error) {
	if c.Builtin != "" {
		return plugins.Builtin(c.Builtin)
	}
	f, err := os.Open(string(c.Module))
	if err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	if info.Size() > host.MaxModule {
		return nil, fmt.Errorf("the module has %d bytes, more than %d", info.Size(), host.MaxModule)
	}
	wasm, err := os.ReadFile(string(c.Module))
	if err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	if sum := fmt.Sprintf("%x", sha256.Sum256(wasm)); sum != c.SHA256 {
		return nil, fmt.Errorf("the module's sha256 is %s, not what the configuration says", sum)
	}
	return wasm, nil
}

// decidePolicy makes the policy, whose version covers what plugins do.
func (p *parts) decidePolicy() {
	c := policy.Config{Resources: make(map[string][]string), Plugins: make(map[string]string)}
	for name, r := range p.config.Resources {
		c.Resources[name] = append([]string{r.Database}, r.Databases...)
	}
	for name := range p.config.Plugins {
		c.Plugins[name] = ""
		if loaded := p.plugins[name]; loaded != nil {
			c.Plugins[name] = fmt.Sprintf("%x %x", loaded.Digest(), sha256.Sum256(p.config.Plugins[name].Config))
		}
	}
	for _, r := range p.config.Policies {
		c.Rules = append(c.Rules, policy.Rule{
			Name: r.Name, Groups: r.Groups, Targets: r.Resources,
			Access: policy.Access{
				Plugins: r.Plugins, Approvers: r.Approvers,
				HoldFor: time.Duration(r.Hold), OutlastToken: r.OutlastToken,
				Retention: r.Retention,
			},
		})
	}
	var err error
	p.policy, err = policy.New(c)
	p.problem(err, "policies")
}

// chain returns the plugins of these names, in their order.
func (p *parts) chain(names []string) ([]pipeline.Plugin, error) {
	chain := make([]pipeline.Plugin, len(names))
	for i, name := range names {
		loaded := p.plugins[name]
		if loaded == nil {
			return nil, fmt.Errorf("plugin %q is not loaded", name)
		}
		chain[i] = loaded.Pipeline()
	}
	return chain, nil
}
