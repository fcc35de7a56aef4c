package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"gatehouse/console"
	"gatehouse/core/identity/issuer"
	"gatehouse/recorder"
)

// ask asks the console as who, and returns the answer.
func (d *demo) ask(t *testing.T, who issuer.User, path string) (status int, body []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.urls.console+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := d.issuer.Mint(who.Claims())
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err = io.ReadAll(res.Body); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, body
}

// listenTo connects to the console's events as who.
func (d *demo) listenTo(t *testing.T, who issuer.User) *websocket.Conn {
	t.Helper()
	token, err := d.issuer.Mint(who.Claims())
	if err != nil {
		t.Fatal(err)
	}
	conn, _, err := websocket.DefaultDialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(d.urls.console, "http")+"/api/events",
		http.Header{"Authorization": {"Bearer " + token}, "Origin": {d.urls.console}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// nextOutage returns the next event that is one of an outage.
func nextOutage(t *testing.T, conn *websocket.Conn) *console.Outage {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	for {
		var e console.Event
		if err := conn.ReadJSON(&e); err != nil {
			t.Fatal(err)
		}
		if e.Type == "outage" {
			return e.Outage
		}
	}
}

// TestDurableAndEncrypted runs a gate whose spool survives a power failure and
// whose recordings are encrypted to somebody else, and takes its store away.
func TestDurableAndEncrypted(t *testing.T) {
	secret, recipient, err := recorder.GenerateIdentity()
	if err != nil {
		t.Fatal(err)
	}
	d := newTargets(t)
	d.configure(t, func(text string) string {
		text = regexp.MustCompile(`(?m)^  store:\n(  .*\n)+`).ReplaceAllString(text, "  store: {directory: recordings}\n  encryption: {recipients: ["+recipient+"]}\n")
		return strings.Replace(text, "spool: {directory: spool}", "spool: {directory: spool, durability: power}", 1)
	})
	if err := d.startGate(t.Context()); err != nil {
		t.Fatal(err)
	}
	session := d.useOnce(t)
	status, body := d.ask(t, alex, "/api/sessions/"+session)
	var p console.Problem
	if err := json.Unmarshal(body, &p); err != nil || status != http.StatusConflict || !strings.Contains(p.Title, "encrypted") || !strings.Contains(p.Detail, "--identity") {
		t.Errorf("the console shows an encrypted recording: %d %s", status, body)
	}
	if status, body := d.ask(t, alex, "/api/sessions/"+session+"/recording"); status != http.StatusOK || len(body) == 0 {
		t.Errorf("it cannot be downloaded: %d %.200s", status, body)
	}
	d.write(t, "identity.txt", secret+"\n")
	code, out, stderr := gatehouse(t, "sessions", "replay", session, "--store", d.path("recordings"), "--identity", "file:"+d.path("identity.txt"))
	if code != exitOK || !strings.Contains(out, "SELECT name FROM customers WHERE id = 1") {
		t.Errorf("replay: code %d\n%s%s", code, out, stderr)
	}

	// Nothing can be stored where a file is in the place of a folder.
	later := d.begin(t)
	auditor, approver := d.listenTo(t, alex), d.listenTo(t, dana)
	away := d.path("recordings/sessions")
	if err := os.Rename(away, away+"-away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(away, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := later.exec(t.Context(), "SELECT 1"); err != nil {
		t.Errorf("a session during the outage: %v", err)
	}
	for _, conn := range []*websocket.Conn{auditor, approver} {
		if o := nextOutage(t, conn); o == nil || o.Since.IsZero() || o.Why.Head == "" {
			t.Errorf("the console tells of %+v", o)
		}
	}
	if code, body := d.get(t, "/readyz"); code != 200 || !strings.Contains(body, "store: recordings are not stored since") {
		t.Errorf("/readyz: %d\n%s", code, body)
	}
	if err := later.exec(t.Context(), "SELECT 2"); err != nil {
		t.Errorf("a session during the outage: %v", err)
	}
	if err := os.Remove(away); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(away+"-away", away); err != nil {
		t.Fatal(err)
	}
	for _, conn := range []*websocket.Conn{auditor, approver} {
		if o := nextOutage(t, conn); o != nil {
			t.Errorf("the console tells of %+v, want of its end", o)
		}
	}
	if err := later.close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := d.ended(t.Context(), later.session); err != nil {
		t.Fatal(err)
	}
	report, err := d.verify(t.Context(), d.gate.parts.store)
	if err != nil || !report.OK() || report.Sessions < 2 {
		t.Errorf("report %+v, %v", report, err)
	}
}

// begin opens a session, in which one statement has run.
func (d *demo) begin(t *testing.T) *agent {
	t.Helper()
	a, err := d.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.rows(t.Context(), "SELECT name FROM customers WHERE id = 1"); err != nil {
		t.Fatal(err)
	}
	return a
}

// useOnce returns the ID of a session that is over and stored.
func (d *demo) useOnce(t *testing.T) string {
	t.Helper()
	a := d.begin(t)
	if err := a.close(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	if err := d.ended(t.Context(), a.session); err != nil {
		t.Fatal(err)
	}
	return a.session
}
