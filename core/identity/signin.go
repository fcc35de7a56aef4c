package identity

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"gatehouse/core/event"
)

// DefaultLifetime is the longest that a session in the console lasts.
const DefaultLifetime = 12 * time.Hour

// RequestHeader is the header that the console's own pages send, with any
// value, on requests that can change something.
const RequestHeader = "Gatehouse-Request"

// A SignInConfig says how people sign in to the console.
type SignInConfig struct {
	// Verifier verifies the tokens of the issuer that people sign in with.
	Verifier *Verifier
	// ClientID names the console to the issuer. It is the audience of the
	// tokens that people sign in with.
	ClientID string
	// ClientSecret is empty for a public client; PKCE is used in any case.
	ClientSecret string
	// URL is the console's own as browsers see it, "https://gate.example",
	// without a path. The issuer must allow URL + "/callback" as a
	// redirection.
	URL string
	// Scopes are asked for beside "openid"; "profile" and "email" unless set.
	Scopes []string
	// Lifetime is the longest that a session lasts. It never lasts longer
	// than the token that began it.
	Lifetime time.Duration
	Log      *slog.Logger // discards unless set
}

// Validate returns all that is wrong with c, joined: *ConfigError each.
func (c SignInConfig) Validate() error {
	var errs []error
	bad := func(field, value, problem string) {
		errs = append(errs, &ConfigError{Field: "SignIn." + field, Value: value, Err: errors.New(problem)})
	}
	if c.Verifier == nil {
		bad("Verifier", "", "must be set")
	}
	if c.ClientID == "" {
		bad("ClientID", "", "must be set")
	}
	if problem := checkURL(c.URL); problem != "" {
		bad("URL", c.URL, problem)
	} else if u, _ := url.Parse(c.URL); u.Path != "" {
		bad("URL", c.URL, "must have no path")
	}
	if c.Lifetime < 0 {
		bad("Lifetime", c.Lifetime.String(), "must not be negative")
	}
	return errors.Join(errs...)
}

// A SignIn signs people in with a browser, by the authorization code flow with
// PKCE, and keeps their sessions in memory. Its methods are safe for concurrent
// use.
type SignIn struct {
	config   SignInConfig
	host     string
	cookies  cookies
	sessions sessions
}

// NewSignIn returns a SignIn. It does not reach for the issuer.
func NewSignIn(c SignInConfig) (*SignIn, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Scopes == nil {
		c.Scopes = []string{"profile", "email"}
	}
	c.Lifetime = cmp.Or(c.Lifetime, DefaultLifetime)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	u, _ := url.Parse(c.URL) // validated
	return &SignIn{config: c, host: u.Host, cookies: cookies{secure: u.Scheme == "https"}}, nil
}

// Routes adds what a browser needs to sign in and out:
//
//	GET  /signin?return=/path   begins; the path is where the browser ends
//	GET  /callback              is where the issuer sends the browser back to
//	POST /signout               ends the session; 204
func (s *SignIn) Routes(mux *http.ServeMux) {
	mux.HandleFunc("GET /signin", s.begin)
	mux.HandleFunc("GET /callback", s.callback)
	mux.HandleFunc("POST /signout", s.signOut)
}

// Principal returns who sent r: by its session's cookie, or by a token in
// "Authorization: Bearer". Where a cookie speaks, a request that can change
// something or upgrades to a WebSocket must come from the console's own pages:
// its Origin and Sec-Fetch-Site must say so, and unless it is an upgrade it
// must have the header RequestHeader, which other sites cannot set.
//
// A refusal is an *Error; pass it to Refuse. Asked again later with the same
// request, Principal says whether the session still lasts.
func (s *SignIn) Principal(r *http.Request) (event.Principal, error) {
	if authorization := r.Header.Get("Authorization"); authorization != "" {
		token, ok := bearer(authorization)
		if !ok {
			return event.Principal{}, refuse("the Authorization header is not a bearer token")
		}
		return s.authenticate(r.Context(), token)
	}
	id, ok := s.cookies.session(r)
	if !ok {
		return event.Principal{}, refuse("you are not signed in")
	}
	if !s.fromOwnPage(r) {
		return event.Principal{}, errForeign
	}
	p, ok := s.sessions.get(id, time.Now())
	if !ok {
		return event.Principal{}, refuse("your session has ended")
	}
	return p, nil
}

func bearer(authorization string) (string, bool) {
	scheme, token, ok := strings.Cut(authorization, " ")
	return token, ok && strings.EqualFold(scheme, "Bearer")
}

// authenticate accepts the tokens that people sign in with and those that
// clients of the gate use.
func (s *SignIn) authenticate(ctx context.Context, token string) (event.Principal, error) {
	v := s.config.Verifier
	claims, err := v.verify(ctx, token, append([]string{s.config.ClientID}, v.config.Audiences...))
	if err != nil {
		return event.Principal{}, err
	}
	return v.principal(claims)
}

var errForeign = refuse("the request did not come from the console's own pages")

// fromOwnPage is whether r changes nothing or was sent by a page of the
// console.
func (s *SignIn) fromOwnPage(r *http.Request) bool {
	upgrade := r.Header.Get("Upgrade") != "" || r.Method == http.MethodConnect
	if !upgrade && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		return true
	}
	origin, site := r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site")
	if origin != s.config.URL || site != "" && site != "same-origin" {
		return false
	}
	return upgrade || r.Header.Get(RequestHeader) != ""
}

// Refuse answers a request for which Principal failed: with 403 if it came
// from elsewhere, otherwise 401, as application/problem+json.
func (s *SignIn) Refuse(w http.ResponseWriter, err error) {
	status, reason := http.StatusUnauthorized, "you are not signed in"
	var refusal *Error
	if errors.As(err, &refusal) {
		reason = refusal.Reason()
	}
	if errors.Is(err, errForeign) {
		status = http.StatusForbidden
	} else {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	body, err := json.Marshal(map[string]any{
		"title": http.StatusText(status), "status": status, "detail": reason,
	})
	if err != nil {
		panic(err) // two strings and a number
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone
}

// begin sends the browser to the issuer.
func (s *SignIn) begin(w http.ResponseWriter, r *http.Request) {
	if r.Host != s.host {
		// Cookies are set for the host that the issuer sends the browser
		// back to, so begin there.
		http.Redirect(w, r, s.config.URL+"/signin?"+r.URL.Query().Encode(), http.StatusSeeOther)
		return
	}
	oauth := s.oauth()
	if oauth == nil {
		s.fail(w, http.StatusServiceUnavailable, "the issuer has not been reached yet")
		return
	}
	flow := flow{secret: rand.Text(), returnTo: localPath(r.URL.Query().Get("return"))}
	s.cookies.setFlow(w, flow)
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, oauth.AuthCodeURL(flow.derive("state"),
		oauth2.S256ChallengeOption(flow.derive("verifier")),
		oidc.Nonce(flow.derive("nonce"))), http.StatusSeeOther)
}

// callback takes the issuer's code, gets the token for it and begins a session.
func (s *SignIn) callback(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	flow, ok := s.cookies.flow(r)
	s.cookies.clearFlow(w)
	query := r.URL.Query()
	if !ok || !equal(query.Get("state"), flow.derive("state")) {
		s.fail(w, http.StatusBadRequest, "this sign-in was not begun in this browser, or too long ago")
		return
	}
	if iss := query.Get("iss"); iss != "" && iss != s.config.Verifier.Issuer() {
		s.fail(w, http.StatusBadRequest, "another issuer answered")
		return
	}
	if query.Has("error") {
		s.fail(w, http.StatusForbidden, "the issuer declined")
		return
	}
	p, err := s.redeem(r.Context(), query.Get("code"), flow)
	if err != nil {
		s.config.Log.Warn("sign-in failed", "client", r.RemoteAddr, "error", err)
		reason := "the issuer's answer could not be used"
		var refusal *Error
		if errors.As(err, &refusal) {
			reason = refusal.Reason()
		}
		s.fail(w, http.StatusForbidden, reason)
		return
	}
	if old, ok := s.cookies.session(r); ok {
		s.sessions.remove(old)
	}
	now := time.Now()
	expires := now.Add(s.config.Lifetime)
	if p.Expires.Before(expires) {
		expires = p.Expires
	}
	p.Expires = expires
	s.cookies.setSession(w, s.sessions.add(p, now), expires.Sub(now))
	s.config.Log.Info("signed in", "client", r.RemoteAddr, "issuer", p.Issuer, "subject", p.Subject)
	http.Redirect(w, r, s.config.URL+flow.returnTo, http.StatusSeeOther)
}

// redeem exchanges the code for a token and returns whose it is.
func (s *SignIn) redeem(ctx context.Context, code string, flow flow) (event.Principal, error) {
	oauth, v := s.oauth(), s.config.Verifier
	if oauth == nil || code == "" {
		return event.Principal{}, refuse("the issuer gave no code")
	}
	ctx = oidc.ClientContext(ctx, v.keys.client)
	answer, err := oauth.Exchange(ctx, code, oauth2.VerifierOption(flow.derive("verifier")))
	if err != nil {
		return event.Principal{}, &Error{"the issuer did not accept the sign-in", withoutBody(err)}
	}
	token, _ := answer.Extra("id_token").(string)
	claims, err := v.verify(ctx, token, []string{s.config.ClientID})
	if err != nil {
		return event.Principal{}, err
	}
	if nonce, _ := claims["nonce"].(string); !equal(nonce, flow.derive("nonce")) {
		return event.Principal{}, refuse("the token belongs to another sign-in")
	}
	if azp, ok := claims["azp"]; ok && azp != s.config.ClientID {
		return event.Principal{}, refuse("the token was issued to another client")
	}
	return v.principal(claims)
}

// withoutBody returns what is safe to log of an error of the token endpoint,
// whose answers may hold tokens.
func withoutBody(err error) error {
	var answered *oauth2.RetrieveError
	if errors.As(err, &answered) {
		return fmt.Errorf("token endpoint: %s", answered.Response.Status)
	}
	var failed *url.Error
	if errors.As(err, &failed) {
		return fmt.Errorf("token endpoint: %w", failed)
	}
	return errors.New("token endpoint: unusable answer")
}

// oauth returns the client's side of the flow, or nil while the issuer's
// endpoints are not known.
func (s *SignIn) oauth() *oauth2.Config {
	provider := s.config.Verifier.keys.endpoints()
	if provider == nil || provider.Endpoint().AuthURL == "" || provider.Endpoint().TokenURL == "" {
		return nil
	}
	endpoint := provider.Endpoint()
	endpoint.AuthStyle = oauth2.AuthStyleInParams
	if s.config.ClientSecret != "" {
		endpoint.AuthStyle = oauth2.AuthStyleInHeader
	}
	return &oauth2.Config{
		ClientID:     s.config.ClientID,
		ClientSecret: s.config.ClientSecret,
		Endpoint:     endpoint,
		RedirectURL:  s.config.URL + "/callback",
		Scopes:       append([]string{oidc.ScopeOpenID}, s.config.Scopes...),
	}
}

// signOut ends the session of the request.
func (s *SignIn) signOut(w http.ResponseWriter, r *http.Request) {
	if _, err := s.Principal(r); err != nil {
		s.Refuse(w, err)
		return
	}
	if id, ok := s.cookies.session(r); ok {
		s.sessions.remove(id)
	}
	s.cookies.clearSession(w)
	w.WriteHeader(http.StatusNoContent)
}

// A flow is one browser's way from begin to callback. All of it is in a cookie,
// so that beginning costs the gate no memory; what the issuer and others see is
// derived from the secret one way.
type flow struct {
	secret   string
	returnTo string
}

// derive returns the flow's value for a purpose: 43 characters of base64url.
func (f flow) derive(purpose string) string {
	sum := sha256.Sum256([]byte("gatehouse " + purpose + "\x00" + f.secret))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// localPath returns s if it is a path on the console itself that browsers
// cannot take for anything else, and "/" otherwise.
func localPath(s string) string {
	const longest = 1024
	if len(s) > longest || !strings.HasPrefix(s, "/") || strings.HasPrefix(s, "//") {
		return "/"
	}
	for _, b := range []byte(s) {
		if b <= ' ' || b >= 0x7f || b == '\\' {
			return "/"
		}
	}
	return s
}
