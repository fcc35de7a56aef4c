// Package identity turns credentials into principals: it verifies OpenID
// Connect tokens, for clients of the gate, and signs people in with a browser,
// for the console.
//
// An issuer's keys are kept in memory and, if asked, on disk, so that the gate
// starts and goes on while the issuer is down. Nothing of a token appears in an
// error or a log.
package identity

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"gatehouse/core/event"
)

// Defaults of a Config.
const (
	DefaultGroupsClaim   = "groups"
	DefaultSkew          = 30 * time.Second
	DefaultKeysFor       = 24 * time.Hour
	DefaultRefreshEvery  = 10 * time.Minute
	DefaultFetchInterval = 10 * time.Second
)

// Limits on what an issuer or a client may send.
const (
	MaxToken    = 16 << 10 // bytes of a token
	maxSubject  = 255      // bytes, as OpenID Connect has it
	maxName     = 256      // bytes of a name or a group
	maxGroups   = 500
	maxDocument = 1 << 20         // bytes of a discovery document or a key set
	maxKeys     = 100             // of one issuer
	fetchTime   = 5 * time.Second // for all of a fetch
)

// algorithms are the signatures that a Config can allow. Symmetric ones and
// "none" are not among them.
var algorithms = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512,
	oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA,
}

// A Config says whose tokens are accepted and how they are read. Zero fields
// mean their defaults, except for Issuer and Audiences, which are required.
type Config struct {
	// Issuer is the issuer's URL, exactly as its tokens name it: https, or
	// http on a loopback address.
	Issuer string
	// Audiences are the names for the gate of which a token must be for one.
	Audiences []string
	// Algorithms are the signatures allowed: RS256, ES256 and EdDSA unless
	// set.
	Algorithms []string

	// GroupsClaim names the claim with the groups: a claim's whole name, or
	// a path into nested claims such as "realm_access.roles".
	GroupsClaim string
	// GroupPrefix is put before each group, to tell the groups of several
	// issuers apart.
	GroupPrefix string
	// NameClaim names the claim that people see. Unless set it is the e-mail
	// address, if the issuer does not say that it is unverified, then the
	// preferred user name; the subject where there is none of these.
	NameClaim string

	// Skew is how far the issuer's clock may be off.
	Skew time.Duration
	// KeysFor is how long after they were last fetched keys are used while
	// the issuer cannot be reached.
	KeysFor time.Duration
	// RefreshEvery is how often keys are fetched anew, and so how long a key
	// that the issuer withdrew can still be used.
	RefreshEvery time.Duration
	// FetchInterval is the shortest time between two fetches, however many
	// tokens name keys that are not known.
	FetchInterval time.Duration
	// CacheFile is where keys are kept for the next start; nowhere if it is
	// empty. Whoever can write it can forge tokens: a file that others than
	// its owner can write is not read.
	CacheFile string

	// CAFile holds the PEM certificates to trust the issuer by; the system's
	// unless set.
	CAFile string
	// HTTPClient reaches the issuer in place of one made from CAFile. Its
	// redirects are not followed.
	HTTPClient *http.Client
	Log        *slog.Logger // discards unless set
}

func (c Config) withDefaults() Config {
	if len(c.Algorithms) == 0 {
		c.Algorithms = []string{oidc.RS256, oidc.ES256, oidc.EdDSA}
	}
	c.GroupsClaim = cmp.Or(c.GroupsClaim, DefaultGroupsClaim)
	c.Skew = cmp.Or(c.Skew, DefaultSkew)
	c.KeysFor = cmp.Or(c.KeysFor, DefaultKeysFor)
	c.RefreshEvery = cmp.Or(c.RefreshEvery, DefaultRefreshEvery)
	c.FetchInterval = cmp.Or(c.FetchInterval, DefaultFetchInterval)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate returns all that is wrong with c, joined: *ConfigError each.
func (c Config) Validate() error {
	var errs []error
	bad := func(field string, value any, problem string) {
		errs = append(errs, &ConfigError{Field: field, Value: fmt.Sprint(value), Err: errors.New(problem)})
	}
	if problem := checkURL(c.Issuer); problem != "" {
		bad("Issuer", c.Issuer, problem)
	}
	if len(c.Audiences) == 0 || slices.Contains(c.Audiences, "") {
		bad("Audiences", c.Audiences, "must name the gate")
	}
	for _, a := range c.Algorithms {
		if !slices.Contains(algorithms, a) {
			bad("Algorithms", a, "must be an asymmetric signature such as RS256, ES256 or EdDSA")
		}
	}
	for _, d := range []struct {
		field string
		value time.Duration
		max   time.Duration
	}{
		{"Skew", c.Skew, 10 * time.Minute},
		{"KeysFor", c.KeysFor, 90 * 24 * time.Hour},
		{"RefreshEvery", c.RefreshEvery, 24 * time.Hour},
		{"FetchInterval", c.FetchInterval, time.Hour},
	} {
		if d.value < 0 || d.value > d.max {
			bad(d.field, d.value, fmt.Sprintf("must be between 0 and %v", d.max))
		}
	}
	return errors.Join(errs...)
}

// checkURL returns what is wrong with the URL of an issuer or a console, or "".
func checkURL(s string) string {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "":
		return "must be a URL with a host"
	case u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return "must have no query, fragment or user"
	case u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()):
		return ""
	}
	return "must be https, or http on a loopback address"
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// A Verifier verifies the tokens of one issuer. Its methods are safe for
// concurrent use.
type Verifier struct {
	config Config
	keys   *keys
}

// New returns a verifier that fetches keys until ctx ends or Close is called.
// It does not wait for the issuer: only a wrong configuration is an error.
func New(ctx context.Context, c Config) (*Verifier, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	client, err := httpClient(c)
	if err != nil {
		return nil, err
	}
	return &Verifier{config: c, keys: openKeys(ctx, c, client)}, nil
}

func httpClient(c Config) (*http.Client, error) {
	client := &http.Client{}
	switch {
	case c.HTTPClient != nil:
		*client = *c.HTTPClient
	case c.CAFile != "":
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, &ConfigError{Field: "CAFile", Value: c.CAFile, Err: err}
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, &ConfigError{Field: "CAFile", Value: c.CAFile, Err: errors.New("holds no PEM certificate")}
		}
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
		client.Transport = transport
	}
	client.Timeout = cmp.Or(client.Timeout, fetchTime)
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return client, nil
}

// Close stops fetching keys and waits for a fetch under way. Tokens can still
// be verified with the keys at hand. Close is safe to call twice.
func (v *Verifier) Close() error {
	v.keys.close()
	return nil
}

// Issuer is the issuer whose tokens v verifies.
func (v *Verifier) Issuer() string { return v.config.Issuer }

// Ready returns nil if v has keys to verify tokens with, and otherwise why not.
func (v *Verifier) Ready() error {
	_, err := v.keys.usable(time.Now())
	return err
}

// Authenticate returns who the token proves its bearer to be. It waits for the
// issuer only if the token names a key that is not known. A refusal is an
// *Error.
func (v *Verifier) Authenticate(ctx context.Context, token string) (event.Principal, error) {
	claims, err := v.verify(ctx, token, v.config.Audiences)
	if err != nil {
		return event.Principal{}, err
	}
	return v.principal(claims)
}
