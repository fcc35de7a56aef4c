package identity

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

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
	c.URL = origin(u)
	return &SignIn{config: c, cookies: cookies{secure: u.Scheme == "https"}}, nil
}

// origin returns the URL's origin as browsers write it.
func origin(u *url.URL) string {
	port := map[string]string{"https": ":443", "http": ":80"}[u.Scheme]
	return u.Scheme + "://" + strings.TrimSuffix(strings.ToLower(u.Host), port)
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
