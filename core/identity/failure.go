package identity

import (
	"html/template"
	"net/http"
)

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
