package postgres_test

import (
	"bytes"
	"testing"

	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/event"
	"gatehouse/core/protect"
)

// An approver is shown what is masked, can have it revealed, and what was
// approved is what the server gets.
func TestHeldRequestsAreShownMasked(t *testing.T) {
	g := maskedGate(t, protect.Strict, event.Redact, nil)
	for how, messages := range map[string][]pgproto3.FrontendMessage{
		"simple": {&pgproto3.Query{String: "INSERT INTO people (id, ssn) /* ask */ SELECT id AS ask, '" + canary + "' FROM (SELECT 1 AS id) q"}},
		"extended": {
			&pgproto3.Parse{Query: "INSERT INTO people (id, ssn) VALUES (1, $1) RETURNING id AS ask"},
			&pgproto3.Bind{Parameters: [][]byte{[]byte(canary)}}, &pgproto3.Execute{}, &pgproto3.Sync{},
		},
	} {
		r := g.raw(t)
		r.send(messages...)
		p := <-g.desk.pending
		if found := leaks(p.Request.Append(nil)); found != nil {
			t.Errorf("%s: the approver is shown %q", how, p.Request.Append(nil))
		}
		sent, err := p.Reveal(t.Context(), event.Principal{Subject: "boss", Name: "boss"})
		if err != nil || !bytes.Contains(bytes.Join(append(sent.Params, sent.Payload), nil), []byte(canary)) {
			t.Errorf("%s: revealed: %+v, %v", how, sent, err)
		}
		bound := map[string]bool{}
		for _, a := range p.Request.Bound {
			bound[a.Key] = true
		}
		if !bound["postgres.setting.TimeZone"] || how == "extended" && !bound["postgres.parameter_types"] {
			t.Errorf("%s: the digest covers %+v", how, p.Request.Bound)
		}
		g.desk.decide <- event.Decision{Approved: true, By: event.Principal{Name: "boss"}}
		r.until("Z")
		if n := g.one(t, "SELECT count(*)::text FROM hr.people WHERE ssn = '"+canary+"'"); n != "1" {
			t.Errorf("%s: the server has %s rows with the value", how, n)
		}
		if _, err := g.direct(t).Exec(t.Context(), "TRUNCATE hr.people"); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Reveal(t.Context(), event.Principal{Subject: "boss"}); err == nil {
			t.Errorf("%s: the values can be revealed once all is over", how)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, tape := range g.tapes {
		for _, f := range tape.all() {
			if f.Kind == event.KindPending { // of it all but a digest is constant, and that is random
				continue
			}
			if found := leaks(f.Payload); found != nil {
				t.Errorf("frame of kind %d has %q: %q", f.Kind, found, f.Payload)
			}
		}
	}
}
