package issuer

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const home = "http://127.0.0.1:9/callback"

func serve(t *testing.T) (*Issuer, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	i, err := New(Config{
		URL:      "http://" + l.Addr().String(),
		Users:    []User{{Subject: "u-1", Email: "<b>ada</b>@example.com", Groups: []string{"dev"}}},
		Agents:   []Agent{{ID: "bot", Secret: "s3cret", Groups: []string{"agents"}}, {ID: "open"}},
		ClientID: "console", RedirectURIs: []string{home},
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := &httptest.Server{Listener: l, Config: &http.Server{Handler: i}}
	srv.Start()
	t.Cleanup(srv.Close)
	return i, srv.Listener.Addr().String()
}

// client returns the libraries that others use, pointed at the issuer.
func client(t *testing.T, addr string) (*oidc.Provider, oauth2.Config) {
	t.Helper()
	p, err := oidc.NewProvider(t.Context(), "http://"+addr)
	if err != nil {
		t.Fatal(err)
	}
	return p, oauth2.Config{ClientID: "console", Endpoint: p.Endpoint(), RedirectURL: home, Scopes: []string{"openid"}}
}

// authorize picks the user and returns the code that the browser is sent back
// with.
func authorize(t *testing.T, at string) string {
	t.Helper()
	c := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.PostForm(at, url.Values{"user": {"u-1"}})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	back, err := resp.Location()
	if err != nil || !strings.HasPrefix(back.String(), home) || back.Query().Get("state") != "s" {
		t.Fatalf("%s: %v %v", resp.Status, back, err)
	}
	return back.Query().Get("code")
}

func TestCodeFlow(t *testing.T) {
	_, addr := serve(t)
	p, c := client(t, addr)
	verifier := oauth2.GenerateVerifier()
	begin := c.AuthCodeURL("s", oauth2.S256ChallengeOption(verifier), oidc.Nonce("n"))
	code := authorize(t, begin)
	token, err := c.Exchange(t.Context(), code, oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := p.Verifier(&oidc.Config{ClientID: "console"}).Verify(t.Context(), raw)
	if err != nil || id.Subject != "u-1" || id.Nonce != "n" {
		t.Fatalf("%+v %v", id, err)
	}
	if _, err := p.Verifier(&oidc.Config{ClientID: "gatehouse"}).Verify(t.Context(), token.AccessToken); err != nil {
		t.Errorf("access token: %v", err)
	}
	if _, err := c.Exchange(t.Context(), code, oauth2.VerifierOption(verifier)); err == nil {
		t.Error("a code served twice")
	}
	code = authorize(t, begin)
	if _, err := c.Exchange(t.Context(), code, oauth2.VerifierOption(oauth2.GenerateVerifier())); err == nil {
		t.Error("a code served without its verifier")
	}
	code = authorize(t, begin)
	c.ClientID = "other"
	if _, err := c.Exchange(t.Context(), code, oauth2.VerifierOption(verifier)); err == nil {
		t.Error("a code served another client")
	}
}

func TestPageRefusesWhatIsNotAllowed(t *testing.T) {
	_, addr := serve(t)
	_, c := client(t, addr)
	begin, err := url.Parse(c.AuthCodeURL("s", oauth2.S256ChallengeOption("v")))
	if err != nil {
		t.Fatal(err)
	}
	get := func(q url.Values) (*http.Response, string) {
		at := *begin
		at.RawQuery = q.Encode()
		w := httptest.NewRecorder()
		resp, err := http.Get(at.String())
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		_, _ = w.Body.ReadFrom(resp.Body)
		return resp, w.Body.String()
	}
	resp, page := get(begin.Query())
	if resp.StatusCode != http.StatusOK || strings.Contains(page, "<b>") || !strings.Contains(page, "&lt;b&gt;ada") {
		t.Errorf("%s\n%s", resp.Status, page)
	}
	if csp := resp.Header.Get("Content-Security-Policy"); !strings.HasSuffix(csp, "form-action 'self' http://127.0.0.1:9") {
		t.Errorf("policy %q", csp)
	}
	for name, value := range map[string]string{
		"client_id": "other", "redirect_uri": home + "/../x", "response_type": "token", "scope": "profile",
		"code_challenge": "", "code_challenge_method": "plain",
	} {
		q := begin.Query()
		q.Set(name, value)
		if resp, _ := get(q); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s=%s: %s", name, value, resp.Status)
		}
	}
}

func TestClientCredentials(t *testing.T) {
	_, addr := serve(t)
	p, _ := client(t, addr)
	ask := func(form url.Values) (int, string) {
		resp, err := http.PostForm("http://"+addr+"/token", form)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var answer struct {
			AccessToken string `json:"access_token"`
		}
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, answer.AccessToken
	}
	const grant = "client_credentials"
	status, token := ask(url.Values{"grant_type": {grant}, "client_id": {"bot"}, "client_secret": {"s3cret"}})
	if status != http.StatusOK {
		t.Fatal(status)
	}
	id, err := p.Verifier(&oidc.Config{ClientID: "gatehouse"}).Verify(t.Context(), token)
	if err != nil || id.Subject != "bot" {
		t.Errorf("%+v %v", id, err)
	}
	for name, form := range map[string]url.Values{
		"wrong secret":  {"grant_type": {grant}, "client_id": {"bot"}, "client_secret": {"x"}},
		"unknown agent": {"grant_type": {grant}, "client_id": {"cat"}, "client_secret": {"s3cret"}},
		"no secret set": {"grant_type": {grant}, "client_id": {"open"}},
		"other grant":   {"grant_type": {"password"}, "client_id": {"bot"}, "client_secret": {"s3cret"}},
	} {
		if status, token := ask(form); status < 400 || token != "" {
			t.Errorf("%s: %d", name, status)
		}
	}
}

func TestRotateAndRetire(t *testing.T) {
	i, addr := serve(t)
	accepted := func(token string) bool {
		p, _ := client(t, addr)
		_, err := p.Verifier(&oidc.Config{ClientID: "gatehouse"}).Verify(t.Context(), token)
		return err == nil
	}
	old, err := i.Mint(Claims{"sub": "x"})
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Rotate(); err != nil {
		t.Fatal(err)
	}
	fresh, err := i.Mint(Claims{"sub": "x"})
	if err != nil {
		t.Fatal(err)
	}
	if !accepted(old) || !accepted(fresh) {
		t.Error("refused while both keys are published")
	}
	i.Retire()
	if accepted(old) || !accepted(fresh) {
		t.Error("want the new key alone")
	}
	i.SetDown(true)
	if _, err := oidc.NewProvider(t.Context(), "http://"+addr); err == nil {
		t.Error("reached while down")
	}
}
