// Package issuer is a small OpenID Connect issuer for demonstrations and tests.
// It is made to be thrown away: it keeps everything in memory, and whoever can
// reach it can sign in as any of its users, without a password. Never let a
// gate that guards something trust it.
package issuer

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// A User is a person that can be picked on the sign-in page.
type User struct {
	Subject string
	Email   string
	Groups  []string
}

// An Agent gets tokens by itself, with the client credentials grant.
type Agent struct {
	ID     string
	Secret string
	Groups []string
}

// A Config says what an issuer knows.
type Config struct {
	// URL is where the issuer is reached, without a slash at the end.
	URL    string
	Users  []User
	Agents []Agent
	// ClientID is the one client that people sign in to, a public one, and
	// RedirectURIs is where they may be sent back to.
	ClientID     string
	RedirectURIs []string
	// Audience is whom access tokens are for; "gatehouse" unless set.
	Audience string
	// Lifetime is how long tokens are valid; an hour unless set.
	Lifetime time.Duration
	// Algorithm signs the tokens: ES256 unless set, or RS256 or EdDSA.
	Algorithm jose.SignatureAlgorithm
}

// Claims are the members of a token's payload.
type Claims map[string]any

// An Issuer serves its protocol's endpoints. Its methods are safe for
// concurrent use.
type Issuer struct {
	config Config
	mux    *http.ServeMux

	mu    sync.Mutex
	down  bool
	keys  []jose.JSONWebKey // private; the last one signs
	codes map[string]grant
}

// New returns an issuer with one key.
func New(c Config) (*Issuer, error) {
	if c.URL == "" {
		return nil, errors.New("issuer: the URL is not set")
	}
	c.Audience = cmp.Or(c.Audience, "gatehouse")
	c.Lifetime = cmp.Or(c.Lifetime, time.Hour)
	c.Algorithm = cmp.Or(c.Algorithm, jose.ES256)
	i := &Issuer{config: c, mux: http.NewServeMux(), codes: map[string]grant{}}
	i.mux.HandleFunc("GET /.well-known/openid-configuration", i.discovery)
	i.mux.HandleFunc("GET /keys", i.keySet)
	i.mux.HandleFunc("GET /authorize", i.choose)
	i.mux.HandleFunc("POST /authorize", i.chosen)
	i.mux.HandleFunc("POST /token", i.token)
	return i, i.Rotate()
}

// ServeHTTP implements http.Handler.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	down := i.down
	i.mu.Unlock()
	if down {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	i.mux.ServeHTTP(w, r)
}

// SetDown makes the issuer answer nothing but 503, or serve again.
func (i *Issuer) SetDown(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down = down
}

// Rotate makes a new key that signs from now on. Former keys stay published.
func (i *Issuer) Rotate() error {
	private, err := newKey(i.config.Algorithm)
	if err != nil {
		return fmt.Errorf("issuer: make key: %w", err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = append(i.keys, jose.JSONWebKey{
		Key: private, KeyID: rand.Text(), Algorithm: string(i.config.Algorithm), Use: "sig",
	})
	return nil
}

// Retire publishes no key any more but the one that signs.
func (i *Issuer) Retire() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = i.keys[len(i.keys)-1:]
}

// Key returns the private key that signs, for tests to sign what they like.
func (i *Issuer) Key() jose.JSONWebKey {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keys[len(i.keys)-1]
}

func newKey(a jose.SignatureAlgorithm) (crypto.Signer, error) {
	switch a {
	case jose.ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.RS256:
		return rsa.GenerateKey(rand.Reader, 2048)
	case jose.EdDSA:
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	}
	return nil, fmt.Errorf("algorithm %q", a)
}

// Mint returns a token with these claims, and with "iss", "aud", "iat" and
// "exp" unless they are among them. A claim that is nil is left out.
func (i *Issuer) Mint(c Claims) (string, error) {
	now := time.Now()
	all := Claims{
		"iss": i.config.URL,
		"aud": i.config.Audience,
		"iat": now.Unix(),
		"exp": now.Add(i.config.Lifetime).Unix(),
	}
	maps.Copy(all, c)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	payload, err := json.Marshal(all)
	if err != nil {
		return "", fmt.Errorf("issuer: encode claims: %w", err)
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: i.config.Algorithm, Key: i.Key()},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", fmt.Errorf("issuer: sign: %w", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("issuer: sign: %w", err)
	}
	return signed.CompactSerialize()
}

// Claims returns what a token says of the user.
func (u User) Claims() Claims {
	return Claims{
		"sub":            u.Subject,
		"email":          u.Email,
		"email_verified": true,
		"groups":         u.Groups,
	}
}

// Claims returns what a token says of the agent.
func (a Agent) Claims() Claims {
	return Claims{"sub": a.ID, "preferred_username": a.ID, "groups": a.Groups}
}
