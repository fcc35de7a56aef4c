package identity

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/core/event"
	"gatehouse/core/identity/issuer"
)

// A desk is a console with nothing but its doors, an issuer and their tests'
// browser.
type desk struct {
	*testing.T
	url     string
	issuer  *issuer.Issuer
	issuers *httptest.Server
	signin  *SignIn
	log     *lockedBuffer
	browser *http.Client
}

var people = []issuer.User{
	{Subject: "u-ada", Email: "ada@example.com", Groups: []string{"approvers"}},
	{Subject: "u-bob", Email: "bob@example.com"},
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func newDesk(t *testing.T, change func(*SignInConfig, *issuer.Config)) *desk {
	t.Helper()
	l, il := listen(t), listen(t)
	d := &desk{T: t, url: "http://" + l.Addr().String(), log: &lockedBuffer{}, browser: newBrowser(t)}
	ic := issuer.Config{
		URL: "http://" + il.Addr().String(), Users: people,
		ClientID: "console", RedirectURIs: []string{d.url + "/callback"},
	}
	sc := SignInConfig{ClientID: "console", URL: d.url, Log: slog.New(slog.NewTextHandler(d.log, nil))}
	if change != nil {
		change(&sc, &ic)
	}
	var err error
	if d.issuer, err = issuer.New(ic); err != nil {
		t.Fatal(err)
	}
	d.issuers = &httptest.Server{Listener: il, Config: &http.Server{Handler: d.issuer}}
	d.issuers.Start()
	t.Cleanup(d.issuers.Close)
	sc.Verifier = open(t, d.issuer, nil)
	if d.signin, err = NewSignIn(sc); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	d.signin.Routes(mux)
	mux.HandleFunc("/me", func(w http.ResponseWriter, r *http.Request) {
		p, err := d.signin.Principal(r)
		if err != nil {
			d.signin.Refuse(w, err)
			return
		}
		fmt.Fprint(w, p.Name, " ", p.Groups)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "at ", r.URL.RequestURI()) })
	srv := &httptest.Server{Listener: l, Config: &http.Server{Handler: mux}}
	srv.Start()
	t.Cleanup(srv.Close)
	if err := d.signin.config.Verifier.keys.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

func newBrowser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}
}

type reply struct {
	status int
	body   string
	url    *url.URL
	header http.Header
}

func (d *desk) do(c *http.Client, method, url string, header map[string]string, form url.Values) reply {
	d.Helper()
	r, err := http.NewRequestWithContext(d.Context(), method, url, strings.NewReader(form.Encode()))
	if err != nil {
		d.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for k, v := range header {
		r.Header.Set(k, v)
	}
	resp, err := c.Do(r)
	if err != nil {
		d.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		d.Fatal(err)
	}
	return reply{resp.StatusCode, string(b), resp.Request.URL, resp.Header}
}

func (d *desk) get(path string) reply {
	d.Helper()
	return d.do(d.browser, http.MethodGet, d.url+path, nil, nil)
}

// signIn walks a browser through the whole flow and returns where it ends.
func (d *desk) signIn(c *http.Client, returnTo, subject string) reply {
	d.Helper()
	page := d.do(c, http.MethodGet, d.url+"/signin?return="+url.QueryEscape(returnTo), nil, nil)
	if page.status != http.StatusOK || !strings.Contains(page.body, "ada@example.com") {
		d.Fatalf("the issuer's page: %+v", page)
	}
	return d.do(c, http.MethodPost, page.url.String(), nil, url.Values{"user": {subject}})
}

// without returns the browser's client that follows no redirections.
func without(c *http.Client) *http.Client {
	still := *c
	still.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &still
}

func (d *desk) own() map[string]string {
	return map[string]string{"Origin": d.url, "Sec-Fetch-Site": "same-origin", RequestHeader: "1"}
}

func TestSignInAndOut(t *testing.T) {
	d := newDesk(t, nil)
	if r := d.get("/me"); r.status != http.StatusUnauthorized || r.header.Get("Content-Type") != "application/problem+json" ||
		!strings.Contains(r.body, "you are not signed in") {
		t.Errorf("before: %+v", r)
	}
	if r := d.signIn(d.browser, "/approvals/7?x=1", "u-ada"); r.body != "at /approvals/7?x=1" {
		t.Errorf("ended at %s: %s", r.url, r.body)
	}
	if r := d.get("/me"); r.body != "ada@example.com [approvers]" {
		t.Errorf("signed in: %+v", r)
	}
	if r := d.do(d.browser, http.MethodPost, d.url+"/signout", d.own(), nil); r.status != http.StatusNoContent {
		t.Errorf("sign out: %+v", r)
	}
	if r := d.get("/me"); r.status != http.StatusUnauthorized {
		t.Errorf("after: %+v", r)
	}
}

func TestSignedOutCookieIsWorthNothing(t *testing.T) {
	d := newDesk(t, nil)
	d.signIn(d.browser, "/", "u-ada")
	u, _ := url.Parse(d.url)
	kept := d.browser.Jar.Cookies(u)
	d.do(d.browser, http.MethodPost, d.url+"/signout", d.own(), nil)
	d.browser.Jar.SetCookies(u, kept)
	if r := d.get("/me"); r.status != http.StatusUnauthorized {
		t.Errorf("%+v", r)
	}
}

// A10.
func TestSessionIDIsNewAtEachSignIn(t *testing.T) {
	d := newDesk(t, nil)
	u, _ := url.Parse(d.url)
	session := func() string {
		for _, c := range d.browser.Jar.Cookies(u) {
			if c.Name == "gatehouse-session" {
				return c.Value
			}
		}
		return ""
	}
	// An attacker plants an id before the victim signs in.
	d.browser.Jar.SetCookies(u, []*http.Cookie{{Name: "gatehouse-session", Value: "planted"}})
	d.signIn(d.browser, "/", "u-ada")
	first := session()
	d.signIn(d.browser, "/", "u-bob")
	second := session()
	if first == "planted" || first == second || len(second) < 26 {
		t.Errorf("sessions %q, %q", first, second)
	}
	for _, old := range []string{"planted", first} {
		d.browser.Jar.SetCookies(u, []*http.Cookie{{Name: "gatehouse-session", Value: old}})
		if r := d.get("/me"); r.status != http.StatusUnauthorized {
			t.Errorf("session %q: %+v", old, r)
		}
	}
}

// A10.
func TestCookiesAreKeptFromScriptsAndOtherHosts(t *testing.T) {
	for _, tt := range []struct {
		cookies cookies
		want    []string
		without []string
	}{
		{cookies{secure: true}, []string{"__Host-gatehouse-session=id", "Path=/", "HttpOnly", "Secure", "SameSite=Lax", "Max-Age=60"}, []string{"Domain"}},
		{cookies{}, []string{"gatehouse-session=id", "HttpOnly", "SameSite=Lax"}, []string{"Secure", "__Host-"}},
	} {
		w := httptest.NewRecorder()
		tt.cookies.setSession(w, "id", time.Minute)
		got := w.Header().Get("Set-Cookie")
		for _, s := range tt.want {
			if !strings.Contains(got, s) {
				t.Errorf("%q has no %q", got, s)
			}
		}
		for _, s := range tt.without {
			if strings.Contains(got, s) {
				t.Errorf("%q has %q", got, s)
			}
		}
	}
	// Two cookies of one name: one was planted, so neither counts.
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Cookie", "gatehouse-session=a; gatehouse-session=b")
	if id, ok := (cookies{}).session(r); ok {
		t.Errorf("chose %q", id)
	}
}

func TestReturnStaysOnTheConsole(t *testing.T) {
	d := newDesk(t, nil)
	for _, to := range []string{
		"https://evil.example/", "//evil.example/", `/\evil.example/`, `\\evil.example`, "/\t/evil.example",
		"javascript:alert(1)", "evil.example", "", "/\n//evil.example", "/%0d%0a\r\nX: y", "/" + strings.Repeat("a", 2000),
		"@evil.example", ".evil.example",
	} {
		r := d.signIn(newBrowser(t), to, "u-ada")
		if r.body != "at /" || r.url.Host != strings.TrimPrefix(d.url, "http://") {
			t.Errorf("%q ended at %s: %s", to, r.url, r.body)
		}
	}
	// The cookie that carries it is not trusted either.
	w := httptest.NewRecorder()
	cookies{}.setFlow(w, flow{secret: "s", returnTo: "//evil.example"})
	r := httptest.NewRequest(http.MethodGet, "/callback", nil)
	r.Header.Set("Cookie", w.Result().Cookies()[0].String())
	if f, ok := (cookies{}).flow(r); !ok || f.returnTo != "/" {
		t.Errorf("from the cookie: %+v %v", f, ok)
	}
}

func TestCallbackTakesOnlyItsOwnFlow(t *testing.T) {
	d := newDesk(t, nil)
	// An attacker stops before the callback and gives the victim the link.
	attacker := newBrowser(t)
	page := d.do(attacker, http.MethodGet, d.url+"/signin", nil, nil)
	sent := d.do(without(attacker), http.MethodPost, page.url.String(), nil, url.Values{"user": {"u-bob"}})
	link := sent.header.Get("Location")
	if !strings.HasPrefix(link, d.url+"/callback?") {
		t.Fatalf("sent to %q", link)
	}
	if r := d.do(d.browser, http.MethodGet, link, nil, nil); r.status != http.StatusBadRequest {
		t.Errorf("a stranger's link: %+v", r)
	}
	// The victim having begun a flow of her own changes nothing.
	d.get("/signin")
	if r := d.do(d.browser, http.MethodGet, link, nil, nil); r.status != http.StatusBadRequest {
		t.Errorf("a stranger's link in her flow: %+v", r)
	}
	if r := d.get("/me"); r.status != http.StatusUnauthorized {
		t.Errorf("signed in as %s", r.body)
	}
	// With her state but his code, the code is not redeemed: his verifier is missing.
	begun := d.do(without(d.browser), http.MethodGet, d.url+"/signin", nil, nil)
	mine, _ := url.Parse(begun.header.Get("Location"))
	his, _ := url.Parse(link)
	q := url.Values{"state": {mine.Query().Get("state")}, "code": {his.Query().Get("code")}}
	if r := d.do(d.browser, http.MethodGet, d.url+"/callback?"+q.Encode(), nil, nil); r.status != http.StatusForbidden {
		t.Errorf("his code in her flow: %+v", r)
	}
}

func TestAnswerOfAnotherIssuerIsNotTaken(t *testing.T) {
	d := newDesk(t, nil)
	page := d.get("/signin")
	sent := d.do(without(d.browser), http.MethodPost, page.url.String(), nil, url.Values{"user": {"u-ada"}})
	link, _ := url.Parse(sent.header.Get("Location"))
	q := link.Query()
	q.Set("iss", "https://other.example")
	if r := d.do(d.browser, http.MethodGet, d.url+"/callback?"+q.Encode(), nil, nil); r.status != http.StatusBadRequest {
		t.Errorf("%+v", r)
	}
}

func TestCallbackIsSingleUse(t *testing.T) {
	d := newDesk(t, nil)
	page := d.get("/signin")
	sent := d.do(without(d.browser), http.MethodPost, page.url.String(), nil, url.Values{"user": {"u-ada"}})
	link := sent.header.Get("Location")
	if r := d.do(d.browser, http.MethodGet, link, nil, nil); r.status != http.StatusOK {
		t.Fatalf("first: %+v", r)
	}
	if r := d.do(d.browser, http.MethodGet, link, nil, nil); r.status != http.StatusBadRequest {
		t.Errorf("again: %+v", r)
	}
}

func TestCallbackShowsNothingOfItsQuery(t *testing.T) {
	d := newDesk(t, nil)
	state := func() string {
		r := d.do(without(d.browser), http.MethodGet, d.url+"/signin", nil, nil)
		u, _ := url.Parse(r.header.Get("Location"))
		return u.Query().Get("state")
	}
	const evil = "<img src=x onerror=alert(1)>"
	for _, q := range []url.Values{
		{"error": {evil}, "error_description": {evil}, "state": {"?"}},
		{"error": {evil}, "error_description": {evil}},
		{"iss": {evil}},
		{"code": {evil}},
		{},
	} {
		if !q.Has("state") {
			q.Set("state", state())
		}
		r := d.do(d.browser, http.MethodGet, d.url+"/callback?"+q.Encode(), nil, nil)
		if r.status < 400 || strings.Contains(r.body, "onerror") {
			t.Errorf("%v: %+v", q, r)
		}
		if !strings.Contains(r.header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%v: no policy: %v", q, r.header)
		}
	}
	if strings.Contains(d.log.String(), "onerror") {
		t.Errorf("logged: %s", d.log)
	}
}

// A02: an ID token of another flow, client or time signs nobody in.
//
// A token endpoint that answers with another flow's token, or one for another
// client, signs nobody in.
func TestTokenMustBelongToTheFlow(t *testing.T) {
	for name, claims := range map[string]issuer.Claims{
		"no nonce":       {"aud": "console"},
		"other nonce":    {"aud": "console", "nonce": "bm9uY2U"},
		"gate's token":   {"aud": "gatehouse"},
		"other azp":      {"aud": "console", "azp": "crm"},
		"other audience": {"aud": "crm"},
		"expired":        {"aud": "console", "exp": 1},
	} {
		d := newDesk(t, nil)
		page := d.get("/signin")
		nonce := page.url.Query().Get("nonce")
		if _, ok := claims["nonce"]; !ok && name != "no nonce" {
			claims["nonce"] = nonce
		}
		token := mint(t, d.issuer, claims)
		sent := d.do(without(d.browser), http.MethodPost, page.url.String(), nil, url.Values{"user": {"u-ada"}})
		d.issuers.Config.Handler.(*issuer.Issuer).SetDown(true)
		swap(d, token)
		r := d.do(d.browser, http.MethodGet, sent.header.Get("Location"), nil, nil)
		if r.status != http.StatusForbidden {
			t.Errorf("%s: %+v", name, r)
		}
		if strings.Contains(d.log.String(), token) || strings.Contains(r.body, token) {
			t.Errorf("%s: the token is shown", name)
		}
	}
}

// swap has the console's token endpoint answer with token.
func swap(d *desk, token string) {
	client := *d.signin.config.Verifier.keys.client
	client.Transport = roundTrip(func(*http.Request) (*http.Response, error) {
		b, _ := json.Marshal(map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": token})
		w := httptest.NewRecorder()
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(b)
		return w.Result(), nil
	})
	d.signin.config.Verifier.keys.client = &client
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestRequestsFromElsewhereAreRefused(t *testing.T) {
	d := newDesk(t, nil)
	d.signIn(d.browser, "/", "u-ada")
	upgrade := func(h map[string]string) map[string]string {
		h["Connection"], h["Upgrade"] = "Upgrade", "websocket"
		return h
	}
	type header = map[string]string
	tests := []struct {
		name, method string
		header       header
		want         int
	}{
		{"link followed from elsewhere", "GET", header{"Sec-Fetch-Site": "cross-site"}, 200},
		{"own page", "POST", d.own(), 200},
		{"own page, old browser", "POST", header{"Origin": d.url, RequestHeader: "1"}, 200},
		{"own WebSocket", "GET", upgrade(header{"Origin": d.url}), 200},
		{"form elsewhere", "POST", header{"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, 403},
		{"form in a sandbox", "POST", header{"Origin": "null", "Sec-Fetch-Site": "cross-site"}, 403},
		{"form on another port", "POST", header{"Origin": "http://127.0.0.1:1", "Sec-Fetch-Site": "same-site", RequestHeader: "1"}, 403},
		{"form here, without the header", "POST", header{"Origin": d.url, "Sec-Fetch-Site": "same-origin"}, 403},
		{"own origin, other site", "POST", header{"Origin": d.url, "Sec-Fetch-Site": "cross-site", RequestHeader: "1"}, 403},
		{"no origin", "POST", header{RequestHeader: "1"}, 403},
		{"origin with a suffix", "POST", header{"Origin": d.url + ".evil.example", RequestHeader: "1"}, 403},
		{"DELETE", "DELETE", header{RequestHeader: "1"}, 403},
		{"unknown method", "APPROVE", header{}, 403},
		{"WebSocket elsewhere", "GET", upgrade(header{"Origin": "https://evil.example"}), 403},
		{"WebSocket without origin", "GET", upgrade(header{}), 403},
		{"method override", "POST", header{"X-HTTP-Method-Override": "GET"}, 403},
	}
	for _, tt := range tests {
		if r := d.do(d.browser, tt.method, d.url+"/me", tt.header, nil); r.status != tt.want {
			t.Errorf("%s: %d %s, want %d", tt.name, r.status, r.body, tt.want)
		}
	}
	if r := d.do(d.browser, "POST", d.url+"/signout", header{"Origin": "https://evil.example"}, nil); r.status != 403 {
		t.Errorf("signed out from elsewhere: %+v", r)
	}
	if r := d.get("/signout"); r.status == http.StatusNoContent {
		t.Error("a link signs out")
	}
	if r := d.get("/me"); r.status != 200 {
		t.Errorf("the session ended: %+v", r)
	}
}

func TestBearerTokens(t *testing.T) {
	d := newDesk(t, nil)
	claims := func(aud string) issuer.Claims {
		c := people[0].Claims()
		c["aud"] = aud
		return c
	}
	tests := []struct {
		name, authorization string
		want                int
	}{
		{"the gate's audience", "Bearer " + mint(t, d.issuer, claims("gatehouse")), 200},
		{"the console's audience", "bearer " + mint(t, d.issuer, claims("console")), 200},
		{"another audience", "Bearer " + mint(t, d.issuer, claims("crm")), 401},
		{"no token", "Bearer ", 401},
		{"another scheme", "Basic YTpi", 401},
		{"nonsense", "x", 401},
	}
	bare := &http.Client{Transport: d.browser.Transport}
	for _, tt := range tests {
		r := d.do(bare, "POST", d.url+"/me", map[string]string{"Authorization": tt.authorization}, nil)
		if r.status != tt.want {
			t.Errorf("%s: %+v", tt.name, r)
		}
		if tt.want == 401 && r.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: no challenge", tt.name)
		}
	}
	// A browser's session does not make up for a bad token.
	d.signIn(d.browser, "/", "u-ada")
	if r := d.do(d.browser, "GET", d.url+"/me", map[string]string{"Authorization": "Bearer x"}, nil); r.status != 401 {
		t.Errorf("bad token beside a session: %+v", r)
	}
}

// A10.
func TestSessionEndsWithItsTokenOrItsLifetime(t *testing.T) {
	for _, tt := range []struct{ token, lifetime, want time.Duration }{
		{time.Minute, time.Hour, time.Minute},
		{time.Hour, time.Minute, time.Minute},
	} {
		d := newDesk(t, func(s *SignInConfig, i *issuer.Config) { s.Lifetime, i.Lifetime = tt.lifetime, tt.token })
		d.signIn(d.browser, "/", "u-ada")
		d.signin.sessions.mu.Lock()
		for _, p := range d.signin.sessions.byID {
			if left := time.Until(p.Expires); left > tt.want || left < tt.want-10*time.Second {
				t.Errorf("%+v: lasts %v", tt, left)
			}
		}
		d.signin.sessions.mu.Unlock()
	}
	synctest.Test(t, func(t *testing.T) {
		var s sessions
		id := s.add(event.Principal{Name: "ada", Expires: time.Now().Add(time.Minute)}, time.Now())
		time.Sleep(time.Minute - time.Nanosecond)
		if p, ok := s.get(id, time.Now()); !ok || p.Name != "ada" {
			t.Error("ended early")
		}
		time.Sleep(time.Nanosecond)
		if _, ok := s.get(id, time.Now()); ok {
			t.Error("lasts on")
		}
	})
}

// A10.
func TestSessionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sessions
		add := func(lasts time.Duration) string {
			return s.add(event.Principal{Expires: time.Now().Add(lasts)}, time.Now())
		}
		first := add(time.Hour)
		short := add(time.Minute)
		for range maxSessions {
			add(2 * time.Hour)
		}
		if len(s.byID) != maxSessions {
			t.Errorf("%d sessions, want %d", len(s.byID), maxSessions)
		}
		for _, id := range []string{first, short} {
			if _, ok := s.get(id, time.Now()); ok {
				t.Error("one that ends sooner was kept")
			}
		}
		time.Sleep(3 * time.Hour)
		add(time.Hour)
		if len(s.byID) != 1 {
			t.Errorf("%d sessions after all others ended", len(s.byID))
		}
	})
}

func TestSignInWhileTheIssuerIsDown(t *testing.T) {
	i := serve(t, issuer.Config{})
	i.SetDown(true)
	s, err := NewSignIn(SignInConfig{Verifier: open(t, i, nil), ClientID: "console", URL: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	s.Routes(mux)
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://127.0.0.1:1/signin", nil))
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "has not been reached") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestSignInByAnotherNameOfThisMachine(t *testing.T) {
	d := newDesk(t, nil)
	other := strings.Replace(d.url, "127.0.0.1", "localhost", 1)
	r := d.do(without(d.browser), http.MethodGet, other+"/signin?return=/x", nil, nil)
	if got := r.header.Get("Location"); got != d.url+"/signin?return=%2Fx" {
		t.Errorf("sent to %q", got)
	}
}

func TestSignInConfigurationIsChecked(t *testing.T) {
	v := open(t, serve(t, issuer.Config{}), nil)
	good := SignInConfig{Verifier: v, ClientID: "console", URL: "HTTPS://Gate.example:443"}
	s, err := NewSignIn(good)
	if err != nil || s.config.URL != "https://gate.example" {
		t.Fatalf("%v, origin %q", err, s.config.URL)
	}
	for field, change := range map[string]func(*SignInConfig){
		"SignIn.Verifier": func(c *SignInConfig) { c.Verifier = nil },
		"SignIn.ClientID": func(c *SignInConfig) { c.ClientID = "" },
		"SignIn.URL":      func(c *SignInConfig) { c.URL = "http://gate.example" },
		"SignIn.Lifetime": func(c *SignInConfig) { c.Lifetime = -1 },
	} {
		c := good
		change(&c)
		if _, err := NewSignIn(c); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}
