package identity

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"gatehouse/core/event"
	"gatehouse/core/identity/issuer"
)

// A lockedBuffer is what a logger writes to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// serve starts an issuer over HTTP.
func serve(t *testing.T, c issuer.Config) *issuer.Issuer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.URL = "http://" + l.Addr().String()
	i, err := issuer.New(c)
	if err != nil {
		t.Fatal(err)
	}
	srv := &httptest.Server{Listener: l, Config: &http.Server{Handler: i}}
	srv.Start()
	t.Cleanup(srv.Close)
	return i
}

// open returns a verifier for the issuer that the claims of its tokens name.
func open(t *testing.T, i *issuer.Issuer, change func(*Config)) *Verifier {
	t.Helper()
	token := mint(t, i, nil)
	o, err := inspect(token)
	if err != nil {
		t.Fatal(err)
	}
	c := Config{
		Issuer:     o.issuer,
		Audiences:  []string{"gatehouse", "gatehouse-too"},
		HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	}
	if change != nil {
		change(&c)
	}
	v, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

func mint(t testing.TB, i *issuer.Issuer, c issuer.Claims) string {
	t.Helper()
	all := issuer.Claims{"sub": "agent-7"}
	for k, v := range c {
		all[k] = v
	}
	token, err := i.Mint(all)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// forge signs header and payload, both JSON, by hand.
func forge(header, payload string, sign func(input []byte) []byte) string {
	e := base64.RawURLEncoding
	input := e.EncodeToString([]byte(header)) + "." + e.EncodeToString([]byte(payload))
	return input + "." + e.EncodeToString(sign([]byte(input)))
}

func signES256(t *testing.T, key any) func([]byte) []byte {
	return func(input []byte) []byte {
		sum := sha256Sum(input)
		r, s, err := ecdsa.Sign(rand.Reader, key.(*ecdsa.PrivateKey), sum)
		if err != nil {
			t.Fatal(err)
		}
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	}
}

func reason(err error) string {
	var e *Error
	if !errors.As(err, &e) {
		return fmt.Sprintf("not an *Error: %v", err)
	}
	return e.Reason()
}

func TestAuthenticateReturnsWhoTheTokenIsAbout(t *testing.T) {
	for _, algorithm := range []jose.SignatureAlgorithm{jose.ES256, jose.RS256, jose.EdDSA} {
		i := serve(t, issuer.Config{Algorithm: algorithm})
		v := open(t, i, nil)
		exp := time.Now().Add(5 * time.Minute).Truncate(time.Second).UTC()
		got, err := v.Authenticate(t.Context(), mint(t, i, issuer.Claims{
			"email": "ada@example.com", "groups": []string{"dev", "ops"}, "exp": exp.Unix(),
		}))
		if err != nil {
			t.Fatal(algorithm, err)
		}
		want := event.Principal{
			Issuer: v.Issuer(), Subject: "agent-7", Name: "ada@example.com",
			Groups: []string{"dev", "ops"}, Expires: exp,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", algorithm, diff)
		}
	}
}

// A01, A02.
//
// Every token here is refused, with this reason, and leaves nothing of itself
// in the error or in the log.
func TestHostileTokensAreRefused(t *testing.T) {
	var log lockedBuffer
	i := serve(t, issuer.Config{})
	v := open(t, i, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	key := i.Key()
	kid := key.KeyID
	now := time.Now().Unix()
	good := fmt.Sprintf(`{"iss":%q,"sub":"secret-sub","aud":"gatehouse","exp":%d}`, v.Issuer(), now+600)
	header := fmt.Sprintf(`{"alg":"ES256","kid":%q,"typ":"JWT"}`, kid)
	signed := signES256(t, key.Key)
	if _, err := v.Authenticate(t.Context(), forge(header, good, signed)); err != nil {
		t.Fatalf("the token that the others are made from: %v", err)
	}
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := json.Marshal(jose.JSONWebKey{Key: stranger.Public(), KeyID: "own"})
	if err != nil {
		t.Fatal(err)
	}
	none := func([]byte) []byte { return nil }
	some := func([]byte) []byte { return []byte("signature") }
	// alter returns the good payload with one member replaced or added.
	alter := func(name, value string) string {
		m := map[string]json.RawMessage{}
		if err := json.Unmarshal([]byte(good), &m); err != nil {
			t.Fatal(err)
		}
		if m[name] = json.RawMessage(value); value == "" {
			delete(m, name)
		}
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	with := func(member string) string {
		return strings.TrimSuffix(header, "}") + "," + member + "}"
	}
	const (
		malformed = "the token is malformed"
		algorithm = "the token's signature algorithm is not allowed"
		bad       = "the token's signature could not be verified"
		audience  = "the token is for another audience"
		unknown   = "the token's issuer is not known"
		expiry    = "the token has no valid time of expiry"
		future    = "the token was issued in the future"
		early     = "the token is not valid yet"
		subject   = "the token has no valid subject"
		groups    = "the token's groups are malformed"
		kind      = "the token is of another type"
	)
	tests := []struct{ name, token, want string }{
		{"empty", "", "no token was given"},
		{"a password", "correct horse battery staple", malformed},
		{"1 MB", forge(header, good, func([]byte) []byte { return make([]byte, 1<<20) }), "the token is too long"},
		{"dots", strings.Repeat(".", MaxToken), malformed},
		{"JSON serialization", `{"payload":"e30","signatures":[]}`, malformed},
		{"white space", " " + forge(header, good, signed), malformed},
		{"padding", forge(header, good, signed) + "=", malformed},

		{"alg none", forge(`{"alg":"none"}`, good, some), algorithm},
		{"alg None", forge(`{"alg":"None"}`, good, some), algorithm},
		{"alg none without signature", forge(`{"alg":"none"}`, good, none), malformed},
		{"alg empty", forge(`{"alg":""}`, good, some), algorithm},
		{"alg missing", forge(`{}`, good, some), algorithm},
		{"alg null", forge(`{"alg":null}`, good, some), algorithm},
		{"alg HS256", forge(`{"alg":"HS256","kid":"`+kid+`"}`, good, some), algorithm},
		{"alg ES384 not allowed", forge(`{"alg":"ES384","kid":"`+kid+`"}`, good, signed), algorithm},
		{"alg of another key type", forge(`{"alg":"RS256","kid":"`+kid+`"}`, good, signed), bad},
		{"empty signature", forge(header, good, none), malformed},
		{"zero signature", forge(header, good, func([]byte) []byte { return make([]byte, 64) }), bad},
		{"stranger's signature", forge(header, good, signES256(t, stranger)), bad},
		{"stranger's signature, no kid", forge(`{"alg":"ES256"}`, good, signES256(t, stranger)), bad},
		{"kid a path", forge(`{"alg":"ES256","kid":"../../dev/null"}`, good, signed), bad},
		{"kid SQL", forge(`{"alg":"ES256","kid":"' OR 1=1 --"}`, good, signed), bad},
		{"kid a number", forge(`{"alg":"ES256","kid":7}`, good, signed), malformed},
		{"jwk", forge(with(`"jwk":`+string(jwk)), good, signES256(t, stranger)), "the token's header has the parameter jwk"},
		{"jku", forge(with(`"jku":"http://127.0.0.1:1/"`), good, signed), "the token's header has the parameter jku"},
		{"x5u", forge(with(`"x5u":"http://127.0.0.1:1/"`), good, signed), "the token's header has the parameter x5u"},
		{"x5c", forge(with(`"x5c":[]`), good, signed), "the token's header has the parameter x5c"},
		{"crit unknown", forge(with(`"crit":["exp"],"exp":1`), good, signed), "the token's header has the parameter crit"},
		{"crit b64", forge(with(`"crit":["b64"],"b64":false`), good, signed), "the token's header has the parameter crit"},
		{"duplicate alg", forge(with(`"alg":"none"`), good, signed), malformed},
		{"logout token", forge(`{"alg":"ES256","typ":"logout+jwt"}`, good, signed), kind},
		{"typ a number", forge(`{"alg":"ES256","typ":1}`, good, signed), kind},

		{"payload altered", swapPayload(forge(header, good, signed), alter("sub", `"admin"`)), bad},
		{"duplicate claim", forge(header, strings.Replace(good, "{", `{"sub":"admin",`, 1), signed), malformed},
		{"duplicate nested claim", forge(header, alter("x", `{"a":1,"a":2}`), signed), malformed},
		{"two objects", forge(header, good+good, signed), malformed},
		{"not an object", forge(header, `["iss"]`, signed), malformed},
		{"not UTF-8", forge(header, alter("sub", "\"\xff\""), signed), malformed},
		{"deep", forge(header, alter("x", strings.Repeat("[", 4000)+strings.Repeat("]", 4000)), signed), ""},

		{"exp missing", forge(header, alter("exp", ""), signed), expiry},
		{"exp null", forge(header, alter("exp", "null"), signed), malformed},
		{"exp text", forge(header, alter("exp", `"never"`), signed), malformed},
		{"exp zero", forge(header, alter("exp", "0"), signed), expiry},
		{"exp negative", forge(header, alter("exp", "-1"), signed), expiry},
		{"exp beyond time", forge(header, alter("exp", "99999999999999"), signed), expiry},
		{"exp infinite", forge(header, alter("exp", "1e999"), signed), malformed},
		{"exp past", forge(header, alter("exp", "1700000000"), signed), "the token expired at 2023-11-14T22:13:20Z"},
		{"nbf future", forge(header, alter("nbf", fmt.Sprint(now+300)), signed), early},
		{"nbf text", forge(header, alter("nbf", `"x"`), signed), malformed},
		{"nbf beyond time", forge(header, alter("nbf", "99999999999999"), signed), early},
		{"iat far ahead", forge(header, alter("iat", fmt.Sprint(now+300)), signed), future},
		{"aud of another", forge(header, alter("aud", `"billing"`), signed), audience},
		{"aud prefix", forge(header, alter("aud", `"gatehouse.evil.example"`), signed), audience},
		{"aud case", forge(header, alter("aud", `"Gatehouse"`), signed), audience},
		{"aud others", forge(header, alter("aud", `["billing","crm"]`), signed), audience},
		{"aud empty", forge(header, alter("aud", `[]`), signed), audience},
		{"aud missing", forge(header, alter("aud", ""), signed), audience},
		{"aud nested", forge(header, alter("aud", `[["gatehouse"]]`), signed), malformed},
		{"iss with a slash", forge(header, alter("iss", `"`+v.Issuer()+`/"`), signed), unknown},
		{"iss of another tenant", forge(header, alter("iss", `"`+v.Issuer()+`/other"`), signed), unknown},
		{"iss missing", forge(header, alter("iss", ""), signed), unknown},
		{"iss a list", forge(header, alter("iss", `["`+v.Issuer()+`"]`), signed), unknown},
		{"ISS as well", forge(header, strings.TrimSuffix(good, "}")+`,"ISS":"https://other.example"}`, signed), malformed},
		{"sub missing", forge(header, alter("sub", ""), signed), subject},
		{"sub empty", forge(header, alter("sub", `""`), signed), subject},
		{"sub long", forge(header, alter("sub", `"`+strings.Repeat("x", 256)+`"`), signed), subject},
		{"sub with a line break", forge(header, alter("sub", `"a\nb"`), signed), subject},
		{"sub not decodable", forge(header, alter("sub", `"\ud800"`), signed), subject},
		{"groups a number", forge(header, alter("groups", "1"), signed), groups},
		{"groups an object", forge(header, alter("groups", `{"admin":true}`), signed), groups},
		{"groups of numbers", forge(header, alter("groups", "[1]"), signed), groups},
		{"a group empty", forge(header, alter("groups", `[""]`), signed), groups},
		{"a group turned around", forge(header, alter("groups", `["\u202eadmin"]`), signed), groups},
		{"groups without end", forge(header, alter("groups", `["g"`+strings.Repeat(`,"g"`, maxGroups)+`]`), signed), "the token has too many groups"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := v.Authenticate(t.Context(), tt.token)
			if tt.want == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			if err == nil || !cmp.Equal(p, event.Principal{}) {
				t.Fatalf("accepted as %+v", p)
			}
			if got := reason(err); got != tt.want {
				t.Errorf("reason %q, want %q (%v)", got, tt.want, err)
			}
			for _, part := range append(strings.Split(tt.token, "."), "secret-sub", "other.example", kid) {
				if len(part) > 8 && strings.Contains(err.Error(), part) {
					t.Errorf("the error quotes the token: %v", err)
				}
			}
		})
	}
	if strings.Contains(log.String(), "secret-sub") || strings.Contains(log.String(), kid) {
		t.Errorf("the log quotes a token:\n%s", log.String())
	}
}

func swapPayload(token, payload string) string {
	parts := strings.Split(token, ".")
	return parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + "." + parts[2]
}

// A01.
//
// A public RSA key must not serve as the secret of an HMAC.
func TestPublicKeyIsNoSecret(t *testing.T) {
	i := serve(t, issuer.Config{Algorithm: jose.RS256})
	v := open(t, i, nil)
	public := i.Key().Key.(*rsa.PrivateKey).Public()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	secret := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	payload := fmt.Sprintf(`{"iss":%q,"sub":"x","aud":"gatehouse","exp":%d}`, v.Issuer(), time.Now().Unix()+600)
	for _, alg := range []string{"HS256", "RS256"} {
		token := forge(fmt.Sprintf(`{"alg":%q,"kid":%q}`, alg, i.Key().KeyID), payload,
			func(input []byte) []byte { return hmacSum(secret, input) })
		if p, err := v.Authenticate(t.Context(), token); err == nil {
			t.Errorf("%s: accepted as %+v", alg, p)
		}
	}
}

func TestClockSkewIsAllowedFor(t *testing.T) {
	i := serve(t, issuer.Config{})
	v := open(t, i, func(c *Config) { c.Skew = time.Minute })
	at := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	tests := []struct {
		name   string
		claims issuer.Claims
		ok     bool
	}{
		{"expired within", issuer.Claims{"exp": at(-30 * time.Second)}, true},
		{"expired beyond", issuer.Claims{"exp": at(-90 * time.Second)}, false},
		{"not before within", issuer.Claims{"nbf": at(30 * time.Second)}, true},
		{"not before beyond", issuer.Claims{"nbf": at(90 * time.Second)}, false},
		{"issued within", issuer.Claims{"iat": at(30 * time.Second)}, true},
		{"issued beyond", issuer.Claims{"iat": at(90 * time.Second)}, false},
		{"no time of issue", issuer.Claims{"iat": nil}, true},
		{"fraction of a second", issuer.Claims{"exp": float64(at(time.Minute)) + .5}, true},
	}
	for _, tt := range tests {
		if _, err := v.Authenticate(t.Context(), mint(t, i, tt.claims)); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestClaimsBecomeThePrincipal(t *testing.T) {
	i := serve(t, issuer.Config{})
	type claims = issuer.Claims
	tests := []struct {
		name   string
		config func(*Config)
		claims claims
		want   string // name and groups
	}{
		{"nothing but a subject", nil, nil, "agent-7 []"},
		{"user name", nil, claims{"preferred_username": "ada"}, "ada []"},
		{"address first", nil, claims{"preferred_username": "ada", "email": "a@b.example"}, "a@b.example []"},
		{"unverified address", nil, claims{"preferred_username": "ada", "email": "root@b.example", "email_verified": false}, "ada []"},
		{"unverified address, said as text", nil, claims{"email": "root@b.example", "email_verified": "false"}, "agent-7 []"},
		{"unverified address as user name", nil, claims{"preferred_username": "Root@b.example", "email": "root@b.example", "email_verified": false}, "agent-7 []"},
		{"verified address", nil, claims{"email": "a@b.example", "email_verified": true}, "a@b.example []"},
		{"name turned around", nil, claims{"email": "\u202emoc.elpmaxe@a", "preferred_username": "ada"}, "ada []"},
		{"name with an escape", nil, claims{"email": "\x1b[2Ja"}, "agent-7 []"},
		{"own name claim", func(c *Config) { c.NameClaim = "https://x.example/name" }, claims{"https://x.example/name": "Ada", "email": "a@b.example"}, "Ada []"},
		{"own name claim missing", func(c *Config) { c.NameClaim = "nick" }, claims{"email": "a@b.example"}, "agent-7 []"},
		{"one group as text", nil, claims{"groups": "dev"}, "agent-7 [dev]"},
		{"groups null", nil, claims{"groups": nil}, "agent-7 []"},
		{"path", func(c *Config) { c.GroupsClaim = "realm_access.roles" }, claims{"realm_access": claims{"roles": []string{"a", "b"}}}, "agent-7 [a b]"},
		{"name with dots", func(c *Config) { c.GroupsClaim = "https://x.example/groups" }, claims{"https://x.example/groups": []string{"a"}}, "agent-7 [a]"},
		{"path to nowhere", func(c *Config) { c.GroupsClaim = "a.b.c" }, claims{"a": claims{"b": "text"}}, "agent-7 []"},
		{"prefix", func(c *Config) { c.GroupPrefix = "partner:" }, claims{"groups": []string{"dba"}}, "agent-7 [partner:dba]"},
	}
	for _, tt := range tests {
		v := open(t, i, tt.config)
		p, err := v.Authenticate(t.Context(), mint(t, i, tt.claims))
		if got := fmt.Sprint(p.Name, " ", p.Groups); err != nil || got != tt.want {
			t.Errorf("%s: %s %v, want %s", tt.name, got, err, tt.want)
		}
	}
}

func TestProvidersChooseByIssuer(t *testing.T) {
	one, two, other := serve(t, issuer.Config{}), serve(t, issuer.Config{}), serve(t, issuer.Config{})
	first, second := open(t, one, nil), open(t, two, func(c *Config) { c.GroupPrefix = "two:" })
	p, err := NewProviders(first, second)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	groups := issuer.Claims{"groups": []string{"dba"}}
	for i, want := range map[*issuer.Issuer]string{one: "dba", two: "two:dba"} {
		got, err := p.Authenticate(t.Context(), mint(t, i, groups))
		if err != nil || got.Groups[0] != want {
			t.Errorf("%v %v, want %s", got, err, want)
		}
	}
	if err := p.Ready(); err != nil {
		t.Errorf("not ready: %v", err)
	}
	if _, err := p.Authenticate(t.Context(), mint(t, other, nil)); err == nil {
		t.Error("another issuer's token accepted")
	}
	crossed := mint(t, other, issuer.Claims{"iss": first.Issuer()})
	if _, err := p.Authenticate(t.Context(), crossed); err == nil {
		t.Error("another issuer's token in this one's name accepted")
	}
	if _, err := NewProviders(first, first); err == nil {
		t.Error("one issuer twice")
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	good := Config{Issuer: "https://id.example/realms/a", Audiences: []string{"gatehouse"}}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		field  string
		change func(*Config)
	}{
		{"Issuer", func(c *Config) { c.Issuer = "" }},
		{"Issuer", func(c *Config) { c.Issuer = "http://id.example" }},
		{"Issuer", func(c *Config) { c.Issuer = "https://id.example?tenant=a" }},
		{"Issuer", func(c *Config) { c.Issuer = "https://me@id.example" }},
		{"Audiences", func(c *Config) { c.Audiences = nil }},
		{"Audiences", func(c *Config) { c.Audiences = []string{""} }},
		{"Algorithms", func(c *Config) { c.Algorithms = []string{"RS256", "none"} }},
		{"Algorithms", func(c *Config) { c.Algorithms = []string{"HS256"} }},
		{"Skew", func(c *Config) { c.Skew = time.Hour }},
		{"KeysFor", func(c *Config) { c.KeysFor = -1 }},
		{"RefreshEvery", func(c *Config) { c.RefreshEvery = 48 * time.Hour }},
		{"FetchInterval", func(c *Config) { c.FetchInterval = -time.Second }},
		{"CAFile", func(c *Config) { c.CAFile = "/does/not/exist" }},
	}
	for _, tt := range tests {
		c := good
		tt.change(&c)
		_, err := New(context.Background(), c)
		var wrong *ConfigError
		if !errors.As(err, &wrong) || wrong.Field != tt.field {
			t.Errorf("%s: %v", tt.field, err)
		}
	}
	both := good
	both.Issuer, both.Audiences = "x", nil
	if err := both.Validate(); err == nil || strings.Count(err.Error(), "identity:") != 2 {
		t.Errorf("want both problems, got %v", err)
	}
}

func TestIssuerWithItsOwnCertificate(t *testing.T) {
	var inner http.Handler
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { inner.ServeHTTP(w, r) }))
	defer srv.Close()
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	i, err := issuer.New(issuer.Config{URL: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	inner = i
	ca := t.TempDir() + "/ca.pem"
	writeFile(t, ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	trusting := open(t, i, func(c *Config) { c.HTTPClient, c.CAFile = nil, ca })
	if _, err := trusting.Authenticate(t.Context(), mint(t, i, nil)); err != nil {
		t.Errorf("with its certificate: %v", err)
	}
	wary := open(t, i, func(c *Config) { c.HTTPClient = nil })
	if _, err := wary.Authenticate(t.Context(), mint(t, i, nil)); err == nil {
		t.Error("reached without its certificate")
	}
}
