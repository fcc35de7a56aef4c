package identity

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/core/identity/issuer"
)

func sha256Sum(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}

func hmacSum(key, b []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(b)
	return m.Sum(nil)
}

func writeFile(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A line carries requests to an issuer without a network, so that the time of
// a test can be its own.
type line struct {
	mu      sync.Mutex
	handler http.Handler
	delay   time.Duration
	cut     atomic.Bool
	fetches atomic.Int64 // of the key set
}

// change changes who answers, and after what delay.
func (l *line) change(h http.Handler, delay time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.handler, l.delay = h, delay
}

func (l *line) RoundTrip(r *http.Request) (*http.Response, error) {
	if l.cut.Load() {
		if strings.HasSuffix(r.URL.Path, "openid-configuration") {
			l.fetches.Add(1) // an attempt counts
		}
		return nil, fmt.Errorf("the line is cut")
	}
	if strings.HasSuffix(r.URL.Path, "/keys") {
		l.fetches.Add(1)
	}
	l.mu.Lock()
	handler, delay := l.handler, l.delay
	l.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w.Result(), nil
}

// onLine runs f in a bubble of its own time with an issuer at the end of a
// line.
func onLine(t *testing.T, f func(t *testing.T, i *issuer.Issuer, l *line, c Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		i, err := issuer.New(issuer.Config{URL: "https://id.example", Lifetime: 1000 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		l := &line{handler: i}
		f(t, i, l, Config{
			Issuer:     "https://id.example",
			Audiences:  []string{"gatehouse"},
			HTTPClient: &http.Client{Transport: l},
		})
	})
}

func start(t *testing.T, c Config) *Verifier {
	t.Helper()
	v, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

func accepts(t *testing.T, v *Verifier, token string) {
	t.Helper()
	if _, err := v.Authenticate(t.Context(), token); err != nil {
		t.Errorf("refused: %v", err)
	}
}

func refuses(t *testing.T, v *Verifier, token, want string) {
	t.Helper()
	_, err := v.Authenticate(t.Context(), token)
	if err == nil {
		t.Error("accepted")
	} else if got := reason(err); got != want {
		t.Errorf("reason %q, want %q", got, want)
	}
}

const (
	unverified = "the token's signature could not be verified"
	unreached  = "the token's issuer has not been reached yet"
)

func TestIssuerDownAtStart(t *testing.T) {
	onLine(t, func(t *testing.T, i *issuer.Issuer, l *line, c Config) {
		l.cut.Store(true)
		v := start(t, c)
		token := mint(t, i, nil)
		refuses(t, v, token, unreached)
		if v.Ready() == nil {
			t.Error("ready without keys")
		}
		l.cut.Store(false)
		refuses(t, v, token, unreached) // too soon to ask again
		time.Sleep(DefaultFetchInterval)
		synctest.Wait()
		accepts(t, v, token)
		if err := v.Ready(); err != nil {
			t.Errorf("not ready: %v", err)
		}
	})
}

func TestIssuerDownAtStartWithKeysOnDisk(t *testing.T) {
	onLine(t, func(t *testing.T, i *issuer.Issuer, l *line, c Config) {
		c.CacheFile = filepath.Join(t.TempDir(), "keys.json")
		v := start(t, c)
		token := mint(t, i, nil)
		accepts(t, v, token)
		v.Close()

		l.cut.Store(true)
		time.Sleep(DefaultKeysFor - time.Second)
		v = start(t, c)
		accepts(t, v, token)
		time.Sleep(2 * time.Second)
		refuses(t, v, token, "the token's issuer has not been reached since 2000-01-01T00:00:00Z")
	})
}

func TestIssuerDownAfterStart(t *testing.T) {
	onLine(t, func(t *testing.T, i *issuer.Issuer, l *line, c Config) {
		c.KeysFor = 2 * time.Hour
		v := start(t, c)
		token := mint(t, i, nil)
		accepts(t, v, token)
		l.cut.Store(true)
		time.Sleep(119 * time.Minute)
		accepts(t, v, token)
		time.Sleep(2 * time.Hour)
		_, err := v.Authenticate(t.Context(), token)
		if err == nil || !strings.HasPrefix(reason(err), "the token's issuer has not been reached since") {
			t.Errorf("after the keys' time: %v", err)
		}
		l.cut.Store(false)
		time.Sleep(DefaultFetchInterval)
		synctest.Wait()
		accepts(t, v, token)
	})
}

func TestKeysAreFetchedWithoutBeingAskedFor(t *testing.T) {
	onLine(t, func(t *testing.T, i *issuer.Issuer, l *line, c Config) {
		l.cut.Store(true)
		v := start(t, c)
		synctest.Wait()
		l.cut.Store(false)
		time.Sleep(DefaultFetchInterval)
		synctest.Wait()
		if err := v.Ready(); err != nil {
			t.Errorf("not ready an interval after the issuer came back: %v", err)
		}
	})
}

func TestHangingIssuerHoldsUpOnlyUnknownKeys(t *testing.T) {
	onLine(t, func(t *testing.T, i *issuer.Issuer, l *line, c Config) {
		v := start(t, c)
		known := mint(t, i, nil)
		accepts(t, v, known)
		l.change(i, time.Hour)
		time.Sleep(DefaultFetchInterval)
		if err := i.Rotate(); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		refuses(t, v, mint(t, i, nil), unverified)
		if waited := time.Since(begun); waited != fetchTime {
			t.Errorf("waited %v for the issuer, want %v", waited, fetchTime)
		}
		begun = time.Now()
		accepts(t, v, known)
		if waited := time.Since(begun); waited != 0 {
			t.Errorf("a known key waited %v", waited)
		}
	})
}

func TestCallerThatLeavesDoesNotWait(t *testing.T) {
	onLine(t, func(t *testing.T, i *issuer.Issuer, l *line, c Config) {
		l.change(i, time.Hour)
		v := start(t, c)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		_, err := v.Authenticate(ctx, mint(t, i, nil))
		if waited := time.Since(begun); !errors.Is(err, context.DeadlineExceeded) || waited != time.Second {
			t.Errorf("waited %v: %v", waited, err)
		}
	})
}

func TestRotation(t *testing.T) {
	onLine(t, func(t *testing.T, i *issuer.Issuer, l *line, c Config) {
		v := start(t, c)
		old := mint(t, i, nil)
		accepts(t, v, old)
		time.Sleep(DefaultFetchInterval)
		if err := i.Rotate(); err != nil {
			t.Fatal(err)
		}
		accepts(t, v, mint(t, i, nil)) // fetched because its key is unknown
		accepts(t, v, old)             // still published
		i.Retire()
		time.Sleep(DefaultRefreshEvery + time.Second)
		synctest.Wait()
		refuses(t, v, old, unverified)
	})
}

func TestFloodOfUnknownKeysFetchesOncePerInterval(t *testing.T) {
	onLine(t, func(t *testing.T, i *issuer.Issuer, l *line, c Config) {
		l.change(i, 100*time.Millisecond)
		v := start(t, c)
		accepts(t, v, mint(t, i, nil))
		stranger, err := issuer.New(issuer.Config{URL: "https://id.example"})
		if err != nil {
			t.Fatal(err)
		}
		token := mint(t, stranger, nil)
		begun, before := time.Now(), l.fetches.Load()
		var flood sync.WaitGroup
		for range 50 {
			flood.Go(func() {
				for time.Since(begun) < time.Minute {
					refuses(t, v, token, unverified)
					time.Sleep(time.Second / 2)
				}
			})
		}
		flood.Wait()
		if n, most := l.fetches.Load()-before, int64(time.Minute/DefaultFetchInterval); n > most || n == 0 {
			t.Errorf("%d fetches in a minute, want at most %d", n, most)
		}
		accepts(t, v, mint(t, i, nil))
	})
}

func TestFloodWhileTheIssuerIsDown(t *testing.T) {
	onLine(t, func(t *testing.T, i *issuer.Issuer, l *line, c Config) {
		l.cut.Store(true)
		v := start(t, c)
		token := mint(t, i, nil)
		for range 600 {
			refuses(t, v, token, unreached)
			time.Sleep(time.Second / 10)
		}
		if n, most := l.fetches.Load(), int64(time.Minute/DefaultFetchInterval)+1; n > most {
			t.Errorf("%d attempts in a minute, want at most %d", n, most)
		}
	})
}

// record answers r from the issuer.
func record(i *issuer.Issuer, r *http.Request) string {
	w := httptest.NewRecorder()
	i.ServeHTTP(w, r)
	return w.Body.String()
}

// Each answer is right but for one thing.
func TestIssuerThatAnswersNonsenseKeepsItsKeys(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	short, err := json.Marshal(jose.JSONWebKey{Key: private.Public(), KeyID: "short"})
	if err != nil {
		t.Fatal(err)
	}
	replace := func(old, by string) func(string) string {
		return func(s string) string { return strings.Replace(s, old, by, 1) }
	}
	answer := func(s string) func(string) string { return func(string) string { return s } }
	long := func(s string) string { return s + strings.Repeat(" ", maxDocument) }
	same := replace("", "")
	tests := []struct {
		name       string
		status     int
		discovered func(string) string
		keys       func(string) string
	}{
		{"another's name", 200, replace(`"issuer":"https://id.example"`, `"issuer":"https://other.example"`), same},
		{"no address for keys", 200, replace(`jwks_uri`, "x"), same},
		{"keys without TLS", 200, replace("https://id.example/keys", "http://id.example/keys"), same},
		{"tokens without TLS", 200, replace("https://id.example/token", "http://id.example/token"), same},
		{"not JSON", 200, answer("<html>"), same},
		{"an error", 500, same, same},
		{"a redirection", 302, same, same},
		{"too long", 200, long, same},
		{"keys too long", 200, same, long},
		{"keys not JSON", 200, same, answer("nonsense")},
		{"no keys", 200, same, answer(`{"keys":[]}`)},
		{"a symmetric key", 200, same, answer(`{"keys":[{"kty":"oct","kid":"a","k":"c2VjcmV0"}]}`)},
		{"an encryption key", 200, same, replace(`"use":"sig"`, `"use":"enc"`)},
		{"a short key", 200, same, answer(`{"keys":[` + string(short) + `]}`)},
		{"too many keys", 200, same, replace("[", "["+strings.Repeat("{},", maxKeys))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			onLine(t, func(t *testing.T, i *issuer.Issuer, l *line, c Config) {
				v := start(t, c)
				token := mint(t, i, nil)
				accepts(t, v, token)
				l.change(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					path, moved := strings.CutPrefix(r.URL.Path, "/moved")
					w.Header().Set("Location", "https://id.example/moved"+path)
					if r.URL.Path = path; !moved {
						w.WriteHeader(tt.status)
					}
					body, change := record(i, r), tt.discovered
					if path == "/keys" {
						change = tt.keys
					}
					_, _ = w.Write([]byte(change(body)))
				}), 0)
				time.Sleep(DefaultRefreshEvery + time.Second)
				synctest.Wait()
				accepts(t, v, token)
				v.keys.mu.Lock()
				defer v.keys.mu.Unlock()
				if v.keys.failure == nil {
					t.Error("taken for an answer")
				}
			})
		})
	}
}

func TestCacheFileThatCannotBeTrustedIsNotRead(t *testing.T) {
	onLine(t, func(t *testing.T, i *issuer.Issuer, l *line, c Config) {
		c.CacheFile = filepath.Join(t.TempDir(), "keys.json")
		v := start(t, c)
		accepts(t, v, mint(t, i, nil))
		v.Close()
		if info, err := os.Stat(c.CacheFile); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("cache file: %v %v", info, err)
		}
		good, err := os.ReadFile(c.CacheFile)
		if err != nil {
			t.Fatal(err)
		}
		l.cut.Store(true)
		tests := []struct {
			name    string
			content string
			mode    os.FileMode
			ok      bool
		}{
			{"as it was", string(good), 0o600, true},
			{"others can write it", string(good), 0o622, false},
			{"another issuer's", strings.Replace(string(good), "id.example", "other.example", 1), 0o600, false},
			{"from the future", strings.Replace(string(good), `"2000-`, `"2030-`, 1), 0o600, false},
			{"torn", string(good[:len(good)/2]), 0o600, false},
			{"empty", "", 0o600, false},
			{"too long", string(good) + strings.Repeat(" ", maxDocument), 0o600, false},
		}
		for _, tt := range tests {
			writeFile(t, c.CacheFile, []byte(tt.content))
			if err := os.Chmod(c.CacheFile, tt.mode); err != nil {
				t.Fatal(err)
			}
			v := start(t, c)
			if _, err := v.Authenticate(t.Context(), mint(t, i, nil)); (err == nil) != tt.ok {
				t.Errorf("%s: %v", tt.name, err)
			}
			v.Close()
		}
	})
}

func TestCloseEndsAFetch(t *testing.T) {
	onLine(t, func(t *testing.T, i *issuer.Issuer, l *line, c Config) {
		l.change(i, time.Hour)
		v := start(t, c)
		synctest.Wait()
		begun := time.Now()
		v.Close()
		v.Close()
		if waited := time.Since(begun); waited != 0 {
			t.Errorf("Close waited %v for the issuer", waited)
		}
		refuses(t, v, mint(t, i, nil), unreached)
	})
}
