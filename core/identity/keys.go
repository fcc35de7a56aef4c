package identity

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

// keys are one issuer's public keys, kept fresh by one goroutine and fetched
// out of turn for a token that none of them verifies. There is at most one
// fetch at a time and one in an interval.
type keys struct {
	config Config
	client *http.Client
	algs   []jose.SignatureAlgorithm

	ctx    context.Context // ends fetches
	cancel context.CancelFunc
	tasks  sync.WaitGroup // the refresher and the fetch under way

	mu        sync.Mutex
	set       keySet
	provider  *oidc.Provider // nil until discovered
	attempted time.Time
	failure   error         // of the last attempt
	underway  chan struct{} // closed at the end of the fetch under way, else nil
}

func openKeys(ctx context.Context, c Config, client *http.Client) *keys {
	k := &keys{config: c, client: client}
	for _, a := range c.Algorithms {
		k.algs = append(k.algs, jose.SignatureAlgorithm(a))
	}
	k.ctx, k.cancel = context.WithCancel(ctx)
	if c.CacheFile != "" {
		set, err := readCache(c.CacheFile, c.Issuer)
		if err != nil {
			c.Log.Warn("cached keys not used", "issuer", c.Issuer, "error", err)
		}
		k.set = set
	}
	k.tasks.Go(k.keepFresh)
	return k
}

func (k *keys) close() {
	k.mu.Lock() // so that no fetch begins after the wait did
	k.cancel()
	k.mu.Unlock()
	k.tasks.Wait()
}

// keepFresh fetches the keys now and then, and soon again after a failure.
func (k *keys) keepFresh() {
	for {
		_ = k.refresh(k.ctx) // what came of it is in k
		k.mu.Lock()
		wait := k.config.RefreshEvery
		if k.failure != nil {
			wait = k.config.FetchInterval
		}
		k.mu.Unlock()
		select {
		case <-k.ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// refresh returns when the fetch under way has ended, beginning one if there
// is none, or at once if the last began less than an interval ago. It fails
// only if ctx ends first.
func (k *keys) refresh(ctx context.Context) error {
	k.mu.Lock()
	if k.underway == nil {
		now := time.Now()
		early := !k.attempted.IsZero() && now.Sub(k.attempted) < k.config.FetchInterval
		if early || k.ctx.Err() != nil {
			k.mu.Unlock()
			return nil
		}
		k.attempted = now
		k.underway = make(chan struct{})
		k.tasks.Go(k.fetch)
	}
	done := k.underway
	k.mu.Unlock()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fetch replaces the keys by what the issuer publishes, or keeps them if it
// cannot.
func (k *keys) fetch() {
	ctx, cancel := context.WithTimeout(k.ctx, fetchTime)
	defer cancel()
	provider, set, err := k.download(ctx)
	if err == nil && k.config.CacheFile != "" {
		if err := writeCache(k.config.CacheFile, set); err != nil {
			k.config.Log.Warn("keys not cached", "issuer", k.config.Issuer, "error", err)
		}
	}

	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil && k.failure == nil && k.ctx.Err() == nil {
		k.config.Log.Warn("issuer's keys cannot be fetched", "issuer", k.config.Issuer, "error", err,
			"keys_from", k.set.Fetched, "keys_for", k.config.KeysFor)
	}
	if err == nil && k.failure != nil {
		k.config.Log.Info("issuer's keys fetched again", "issuer", k.config.Issuer)
	}
	k.failure = err
	if err == nil {
		k.provider, k.set = provider, set
	}
	close(k.underway)
	k.underway = nil
}

// download discovers the issuer and gets its keys.
func (k *keys) download(ctx context.Context) (*oidc.Provider, keySet, error) {
	b, err := k.get(ctx, strings.TrimSuffix(k.config.Issuer, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return nil, keySet{}, fmt.Errorf("discover issuer: %w", err)
	}
	var found oidc.ProviderConfig
	if err := json.Unmarshal(b, &found); err != nil {
		return nil, keySet{}, fmt.Errorf("decode discovery document: %w", err)
	}
	if found.IssuerURL != k.config.Issuer {
		return nil, keySet{}, fmt.Errorf("discover issuer: it names itself %.200q", found.IssuerURL)
	}
	for _, u := range []string{found.JWKSURL, found.AuthURL, found.TokenURL} {
		if problem := k.checkEndpoint(u); problem != "" {
			return nil, keySet{}, fmt.Errorf("discover issuer: the endpoint %.200q %s", u, problem)
		}
	}
	if b, err = k.get(ctx, found.JWKSURL); err != nil {
		return nil, keySet{}, fmt.Errorf("fetch keys: %w", err)
	}
	set := keySet{Issuer: k.config.Issuer, Fetched: time.Now().Round(0)}
	if set.Keys, err = decodeKeys(b); err != nil {
		return nil, keySet{}, fmt.Errorf("decode keys: %w", err)
	}
	return found.NewProvider(oidc.ClientContext(ctx, k.client)), set, nil
}

// checkEndpoint returns what is wrong with an endpoint that was discovered, or
// "". Only the keys' must be there: others are used to sign in.
func (k *keys) checkEndpoint(s string) string {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return "is no URL"
	case s == "":
		return ""
	case u.Scheme == "http" && strings.HasPrefix(k.config.Issuer, "http:") && isLoopback(u.Hostname()):
		return ""
	case u.Scheme != "https":
		return "is not https"
	}
	return ""
}

func (k *keys) get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Cache-Control", "no-cache")
	resp, err := k.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("get %s: %s", url, resp.Status)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", url, err)
	}
	if len(b) > maxDocument {
		return nil, fmt.Errorf("get %s: longer than %d bytes", url, maxDocument)
	}
	return b, nil
}

// usable returns the keys that may be used now, or why there are none.
func (k *keys) usable(now time.Time) (keySet, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.set.Keys == nil {
		return keySet{}, &Error{"the token's issuer has not been reached yet", k.failure}
	}
	if now.Sub(k.set.Fetched) > k.config.KeysFor {
		since := k.set.Fetched.UTC().Format(time.RFC3339)
		return keySet{}, &Error{"the token's issuer has not been reached since " + since, k.failure}
	}
	return k.set, nil
}

// endpoints returns the issuer as it was last discovered, or nil.
func (k *keys) endpoints() *oidc.Provider {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.provider
}

// verify returns the payload of a token that one of the keys signed, fetching
// them if none at hand did.
func (k *keys) verify(ctx context.Context, token string) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(token, k.algs)
	if err != nil {
		return nil, refuse("the token is malformed") // the cause could quote it
	}
	set, unusable := k.usable(time.Now())
	if unusable == nil {
		if payload := set.verify(jws); payload != nil {
			return payload, nil
		}
	}
	if err := k.refresh(ctx); err != nil {
		return nil, &Error{"the token's issuer was not reached in time", err}
	}
	fresh, err := k.usable(time.Now())
	if err != nil {
		return nil, err
	}
	if unusable != nil || !fresh.Fetched.Equal(set.Fetched) {
		if payload := fresh.verify(jws); payload != nil {
			return payload, nil
		}
	}
	return nil, refuse("the token's signature could not be verified")
}

// A signature is an oidc.KeySet for one token. It keeps the error, which
// go-oidc would flatten to text.
type signature struct {
	keys *keys
	err  error
}

// VerifySignature implements oidc.KeySet.
func (s *signature) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	var payload []byte
	payload, s.err = s.keys.verify(ctx, token)
	return bytes.Clone(payload), s.err
}
