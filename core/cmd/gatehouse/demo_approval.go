package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/gorilla/websocket"

	"gatehouse/console"
	"gatehouse/core/identity/issuer"
)

// approving: what is held runs after a decision, or does not.
func (t *tour) approving(ctx context.Context) error {
	events, err := t.watch(ctx)
	if err != nil {
		return err
	}
	defer events.Close()
	as := func(claims issuer.Claims) (*console.Client, error) {
		token, err := t.issuer.Mint(claims)
		return &console.Client{URL: t.urls.console, Token: token}, err
	}
	approver, err := as(dana.Claims())
	if err != nil {
		return err
	}
	// The agent's own identity, with an approver's groups.
	self, err := as(with(t.agent().Claims(), "groups", []string{"agents", "dba"}))
	if err != nil {
		return err
	}
	before, err := t.number(ctx, balanceQuery)
	if err != nil {
		return err
	}
	h, err := t.hold(ctx)
	if err != nil {
		return err
	}
	t.sessions = append(t.sessions, h.session)
	shown, err := nextApproval(events, h.id)
	t.check("a held UPDATE appears on the console's WebSocket", err)
	if err != nil {
		return err
	}
	t.check("with who, what and why", expect(shown.Principal.Subject == "agent" && shown.Reason != "" && strings.Contains(shown.Statement.Head, updateStatement),
		"got %s, %q, %q", shown.Principal.Subject, shown.Statement.Head, shown.Reason))
	_, err = self.Decide(ctx, *shown, true, "")
	t.check("nobody approves their own", expect(err != nil, "it was approved"))
	_, err = approver.Decide(ctx, *shown, true, "agreed with Robin")
	outcome := <-h.outcome
	after, direct := t.number(ctx, balanceQuery)
	t.check("approved by dana@example.com, it runs", errors.Join(err, direct, expect(outcome == nil, "it failed: %v", outcome),
		expect(after == before-250, "the balance is %v, want %v", after, before-250)))
	return t.denying(ctx, events, approver, after)
}

const balanceQuery = "SELECT balance FROM accounts WHERE id = 7"

func (t *tour) denying(ctx context.Context, events *websocket.Conn, approver *console.Client, before float64) error {
	h, err := t.hold(ctx)
	if err != nil {
		return err
	}
	t.sessions = append(t.sessions, h.session)
	shown, err := nextApproval(events, h.id)
	if err != nil {
		return err
	}
	_, err = approver.Decide(ctx, *shown, false, "not this account")
	outcome := <-h.outcome
	fmt.Fprintf(t.w, "  %v\n", outcome)
	after, direct := t.number(ctx, balanceQuery)
	t.check("denied, it does not run, and the agent learns why", errors.Join(err, direct, isCode(outcome, "42501"),
		expect(outcome != nil && strings.Contains(outcome.Error(), "not this account"), "got %v", outcome),
		expect(after == before, "the balance is %v, want %v", after, before)))
	return nil
}

// watch connects to the console's WebSocket as the approver.
func (t *tour) watch(ctx context.Context) (*websocket.Conn, error) {
	token, err := t.issuer.Mint(dana.Claims())
	if err != nil {
		return nil, err
	}
	c, _, err := websocket.DefaultDialer.DialContext(ctx, "ws"+strings.TrimPrefix(t.urls.console, "http")+"/api/events",
		http.Header{"Authorization": {"Bearer " + token}, "Origin": {t.urls.console}})
	if err != nil {
		return nil, fmt.Errorf("watch the console: %w", err)
	}
	deadline, _ := ctx.Deadline()
	return c, c.SetReadDeadline(deadline)
}

// nextApproval returns the request with that id as soon as the console shows
// it.
func nextApproval(events *websocket.Conn, id string) (*console.Approval, error) {
	for {
		var e console.Event
		if err := events.ReadJSON(&e); err != nil {
			return nil, fmt.Errorf("read from the console: %w", err)
		}
		if e.Approval != nil && e.Approval.ID == id {
			return e.Approval, nil
		}
	}
}
