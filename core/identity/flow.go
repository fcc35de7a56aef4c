package identity

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"gatehouse/core/event"
)

// begin sends the browser to the issuer.
func (s *SignIn) begin(w http.ResponseWriter, r *http.Request) {
	if s.isOtherName(r) {
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

// isOtherName is whether r came to this machine by another of its names than
// the one that the issuer sends the browser back to: the cookies of localhost
// are not those of 127.0.0.1.
func (s *SignIn) isOtherName(r *http.Request) bool {
	own, err := url.Parse(s.config.URL)
	asked := (&url.URL{Host: r.Host}).Hostname()
	return err == nil && asked != own.Hostname() && isLoopback(asked) && isLoopback(own.Hostname())
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

var failurePage = template.Must(template.New("").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Sign-in failed</title>
<h1>Sign-in failed</h1>
<p>{{.}}.</p>
<p><a href="/signin">Sign in again</a></p>
</html>
`))

// fail shows a person why they could not sign in.
func (s *SignIn) fail(w http.ResponseWriter, status int, reason string) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = failurePage.Execute(w, reason) // the browser may be gone
}
