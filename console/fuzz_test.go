package console_test

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"gatehouse/console"
	"gatehouse/console/internal/sample"
)

// Whatever the body of a decision is, the request is decided only by one that
// says so of what was shown, and every answer says what was wrong.
func FuzzDecisionBody(f *testing.F) {
	p := sample.Held("A", "UPDATE t")
	f.Add(decision(p, "approve"))
	f.Add(decision(p, "deny") + decision(p, "approve"))
	f.Add(`{"decision":"approve","digest":"00"}`)
	f.Add(`{"decision":"approve","decision":"deny","comment":"` + strings.Repeat("x", 100) + `"}`)
	f.Add(`[]`)
	f.Add(strings.Repeat(`{"a":`, 1000))
	f.Fuzz(func(t *testing.T, body string) {
		g := newGate(t)
		g.hold(t.Context(), sample.Held("A", "UPDATE t"))
		r := httptest.NewRequest("POST", g.url+"/api/approvals/A", strings.NewReader(body))
		for k, v := range map[string]string{"Cookie": "who=alice", "Origin": g.url, "Content-Type": "application/json", console.RequestHeader: "1"} {
			r.Header.Set(k, v)
		}
		w := httptest.NewRecorder()
		g.console.ServeHTTP(w, r)
		var d console.Decision
		said := json.NewDecoder(strings.NewReader(body)).Decode(&d) == nil && (d.Decision == "approve" || d.Decision == "deny")
		if g.approvals.Len() == 0 && (!said || w.Code/100 != 2) {
			t.Errorf("%q decided the request, with %d", body, w.Code)
		}
		if w.Code/100 == 5 || g.approvals.Len() != 0 && w.Code/100 != 4 {
			t.Errorf("%q was answered with %d", body, w.Code)
		}
	})
}

// Whatever is asked of the lists and the sessions, the answer is JSON that is
// whole.
func FuzzPaths(f *testing.F) {
	for _, path := range []string{"sessions?limit=1&before=01C", "sessions/01A?from=1", "sessions/..%2f", "approvals/%00", "sessions?limit=-1", "sessions/01A?from=99999999999999999999"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		r := httptest.NewRequest("GET", "http://gate/", nil)
		if u, err := r.URL.Parse("/api/" + path); err == nil {
			r.URL = u
		}
		g := newGate(t)
		r.Host = strings.TrimPrefix(g.url, "http://")
		r.Header.Set("Cookie", "who=carol")
		w := httptest.NewRecorder()
		g.console.ServeHTTP(w, r)
		if w.Code/100 == 5 && w.Code != 501 {
			t.Errorf("%q was answered with %d: %s", path, w.Code, w.Body)
		}
		if strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%q was answered with %q", path, w.Body)
		}
	})
}
