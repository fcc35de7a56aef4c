package issuer

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Limits of an issuer.
const (
	maxBody  = 64 << 10
	maxCodes = 1000 // that were not redeemed yet
	codeTime = time.Minute
)

// A grant is what a code stands for until it is redeemed.
type grant struct {
	user      User
	redirect  string
	nonce     string
	challenge string
	expires   time.Time
}

func (i *Issuer) discovery(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]any{
		"issuer":                                         i.config.URL,
		"authorization_endpoint":                         i.config.URL + "/authorize",
		"token_endpoint":                                 i.config.URL + "/token",
		"jwks_uri":                                       i.config.URL + "/keys",
		"response_types_supported":                       []string{"code"},
		"grant_types_supported":                          []string{"authorization_code", "client_credentials"},
		"subject_types_supported":                        []string{"public"},
		"id_token_signing_alg_values_supported":          []string{string(i.config.Algorithm)},
		"code_challenge_methods_supported":               []string{"S256"},
		"scopes_supported":                               []string{"openid", "profile", "email"},
		"token_endpoint_auth_methods_supported":          []string{"client_secret_basic", "client_secret_post", "none"},
		"authorization_response_iss_parameter_supported": true,
	})
}

func (i *Issuer) keySet(w http.ResponseWriter, _ *http.Request) {
	i.mu.Lock()
	var set jose.JSONWebKeySet
	for _, k := range i.keys {
		set.Keys = append(set.Keys, k.Public())
	}
	i.mu.Unlock()
	answer(w, http.StatusOK, set)
}

var page = template.Must(template.New("").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Sign in</title>
<h1>Sign in</h1>
<p>This issuer is for demonstrations: pick who you are.</p>
<form method="post">
{{- range .}}
<p><button name="user" value="{{.Subject}}">{{.Email}}</button> {{range .Groups}}{{.}} {{end}}</p>
{{- end}}
</form>
</html>
`))

// choose shows the users to pick from.
func (i *Issuer) choose(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if problem := i.checkRequest(query); problem != "" {
		http.Error(w, problem, http.StatusBadRequest)
		return
	}
	// The browser holds the redirection that answers the form to the policy
	// of forms too.
	back, _ := url.Parse(query.Get("redirect_uri")) // one of ours
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; "+
		"form-action 'self' "+back.Scheme+"://"+back.Host)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	_ = page.Execute(w, i.config.Users) // the browser may be gone
}

// checkRequest returns what is wrong with a request for authorization, or "".
// What is wrong is shown here and not sent on, which is enough for tests.
func (i *Issuer) checkRequest(q url.Values) string {
	switch {
	case i.config.ClientID == "" || q.Get("client_id") != i.config.ClientID:
		return "the client is not known"
	case !slices.Contains(i.config.RedirectURIs, q.Get("redirect_uri")):
		return "the redirection is not allowed"
	case q.Get("response_type") != "code":
		return "the response type must be code"
	case !slices.Contains(strings.Fields(q.Get("scope")), "openid"):
		return "the scope must contain openid"
	case q.Get("code_challenge") == "" || q.Get("code_challenge_method") != "S256":
		return "a code challenge with S256 is needed"
	}
	return ""
}

// chosen sends the browser back with a code for the user that was picked.
func (i *Issuer) chosen(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "the form cannot be read", http.StatusBadRequest)
		return
	}
	query := r.URL.Query() // the form is sent to where it came from
	if problem := i.checkRequest(query); problem != "" {
		http.Error(w, problem, http.StatusBadRequest)
		return
	}
	n := slices.IndexFunc(i.config.Users, func(u User) bool { return u.Subject == r.PostForm.Get("user") })
	if n < 0 {
		http.Error(w, "the user is not known", http.StatusBadRequest)
		return
	}
	code := i.newCode(grant{
		user:      i.config.Users[n],
		redirect:  query.Get("redirect_uri"),
		nonce:     query.Get("nonce"),
		challenge: query.Get("code_challenge"),
		expires:   time.Now().Add(codeTime),
	})
	back, _ := url.Parse(query.Get("redirect_uri")) // one of ours
	result := back.Query()
	result.Set("code", code)
	result.Set("state", query.Get("state"))
	result.Set("iss", i.config.URL)
	back.RawQuery = result.Encode()
	http.Redirect(w, r, back.String(), http.StatusSeeOther)
}

func (i *Issuer) newCode(g grant) string {
	code := rand.Text()
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.codes) >= maxCodes {
		clear(i.codes)
	}
	i.codes[code] = g
	return code
}

// token redeems a code, or gives an agent its token.
func (i *Issuer) token(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if err := r.ParseForm(); err != nil {
		decline(w, http.StatusBadRequest, "invalid_request")
		return
	}
	client, secret, ok := r.BasicAuth()
	if !ok {
		client, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	switch r.PostForm.Get("grant_type") {
	case "authorization_code":
		g, ok := i.redeem(client, r.PostForm)
		if !ok {
			decline(w, http.StatusBadRequest, "invalid_grant")
			return
		}
		claims := g.user.Claims()
		access, err := i.Mint(claims)
		claims["aud"], claims["nonce"] = client, g.nonce
		id, err2 := i.Mint(claims)
		if err != nil || err2 != nil {
			decline(w, http.StatusInternalServerError, "server_error")
			return
		}
		i.grant(w, map[string]any{"access_token": access, "id_token": id})
	case "client_credentials":
		agent, ok := i.agent(client, secret)
		if !ok {
			decline(w, http.StatusUnauthorized, "invalid_client")
			return
		}
		access, err := i.Mint(agent.Claims())
		if err != nil {
			decline(w, http.StatusInternalServerError, "server_error")
			return
		}
		i.grant(w, map[string]any{"access_token": access})
	default:
		decline(w, http.StatusBadRequest, "unsupported_grant_type")
	}
}

// redeem uses a code up and returns what it stood for, if the form proves that
// it is the one that began with it.
func (i *Issuer) redeem(client string, form url.Values) (grant, bool) {
	code := form.Get("code")
	i.mu.Lock()
	g, ok := i.codes[code]
	delete(i.codes, code)
	i.mu.Unlock()
	sum := sha256.Sum256([]byte(form.Get("code_verifier")))
	return g, ok && client == i.config.ClientID && time.Now().Before(g.expires) &&
		form.Get("redirect_uri") == g.redirect &&
		base64.RawURLEncoding.EncodeToString(sum[:]) == g.challenge
}

func (i *Issuer) agent(id, secret string) (Agent, bool) {
	for _, a := range i.config.Agents {
		if a.ID == id && a.Secret != "" && subtle.ConstantTimeCompare([]byte(a.Secret), []byte(secret)) == 1 {
			return a, true
		}
	}
	return Agent{}, false
}

func (i *Issuer) grant(w http.ResponseWriter, tokens map[string]any) {
	tokens["token_type"] = "Bearer"
	tokens["expires_in"] = int(i.config.Lifetime / time.Second)
	w.Header().Set("Cache-Control", "no-store")
	answer(w, http.StatusOK, tokens)
}

func decline(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Cache-Control", "no-store")
	answer(w, status, map[string]any{"error": code})
}

func answer(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "cannot be encoded", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b) // the client may be gone
}
