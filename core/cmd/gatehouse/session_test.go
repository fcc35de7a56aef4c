package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/core/approval"
	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/core/policy"
	"gatehouse/core/quota"
	"gatehouse/recorder"
)

// newOpener returns what opens sessions under one policy without plugins.
func newOpener(t *testing.T, access policy.Access) *sessions {
	t.Helper()
	access.HoldFor, access.Retention = time.Minute, recorder.DefaultRetention
	p, err := policy.New(policy.Config{
		Rules:     []policy.Rule{{Name: "r", Groups: []string{"agents"}, Targets: []string{"orders/shop"}, Access: access}},
		Resources: map[string][]string{"orders": {"shop", "reports"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	signer, _, err := recorder.GenerateKey("test")
	if err != nil {
		t.Fatal(err)
	}
	store, err := recorder.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r, err := recorder.Open(recorder.Options{Spool: t.TempDir(), Store: store, Key: signer})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(context.Background()); err != nil {
			t.Error(err)
		}
		store.Close()
	})
	log := slog.New(slog.DiscardHandler)
	return &sessions{
		gate: "gate-1", key: make([]byte, 32),
		rules:     newRules(newRuleset(p), log),
		quotas:    quota.NewLedger(),
		recorder:  r,
		approvals: approval.New(approval.Limits{}),
	}
}

func agentSession(database string) *event.Session {
	return &event.Session{
		Protocol: "postgres", Resource: "orders",
		Principal: event.Principal{Subject: "a", Groups: []string{"agents"}, Expires: time.Now().Add(time.Hour)},
		Attrs:     []event.Attr{{Key: "db.namespace", Value: database}},
	}
}

func TestOpenSession(t *testing.T) {
	o := newOpener(t, policy.Access{Approvers: []string{"dba"}})
	s, err := o.open(t.Context(), agentSession("shop"))
	if err != nil {
		t.Fatal(err)
	}
	got := s.Terms().Session
	if got.Gate != "gate-1" || got.Policy != o.rules.version() || !recorder.ValidID(got.ID) || time.Since(got.Start) > time.Minute {
		t.Errorf("%+v", got)
	}
	if got.Principal.Expires.IsZero() || len(got.Attrs) != 2 {
		t.Errorf("the proof's end is lost: %+v", got)
	}
	if terms := s.Terms(); terms.HoldFor != time.Minute || !slices.Equal(terms.Approvers, []string{"dba"}) {
		t.Errorf("hold %s, approvers %s", terms.HoldFor, terms.Approvers)
	}
	if err := s.Close(t.Context(), event.Notice{Code: "closed"}); err != nil {
		t.Fatal(err)
	}
	if err := o.recorder.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	sum, err := o.recorder.Reader().Summary(t.Context(), got.ID)
	if err != nil || sum.Open || sum.Code != "closed" {
		t.Errorf("the recording did not end: %+v, %v", sum, err)
	}
}

func TestOpenSessionIsDenied(t *testing.T) {
	o := newOpener(t, policy.Access{})
	_, err := o.open(t.Context(), agentSession("reports"))
	if _, ok := errors.AsType[*policy.Denied](err); !ok {
		t.Errorf("%v is not the policy's", err)
	}
	list, err := o.recorder.Reader().List(t.Context(), recorder.Query{})
	if err != nil || len(list) != 0 {
		t.Errorf("recorded %v, %v", list, err)
	}
}

// A policy that names a plugin that is not there opens nothing.
func TestOpenSessionWithoutItsPlugins(t *testing.T) {
	o := newOpener(t, policy.Access{})
	if _, err := o.rules.current.open(t.Context(), []string{"mask"}, new(event.Session)); err == nil {
		t.Error("a plugin that is not loaded is passed over")
	}
}

// Where sessions outlast tokens, nothing ends them, and the recording still
// says when the token did.
func TestOpenSessionOutlastsToken(t *testing.T) {
	o := newOpener(t, policy.Access{OutlastToken: true})
	want := agentSession("shop")
	expires := want.Principal.Expires.UTC().Format(time.RFC3339)
	s, err := o.open(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	if !s.Terms().Session.Principal.Expires.IsZero() {
		t.Error("the session ends with the token")
	}
	if d := cmp.Diff(expires, attribute(s.Terms().Session.Attrs, "gatehouse.token_expires")); d != "" {
		t.Error(d)
	}
	if err := s.Close(t.Context(), event.Notice{}); err != nil {
		t.Fatal(err)
	}
}

// What a principal does with a column counts over all of its sessions, also those
// that have ended, and for nobody else.
func TestColumnsCountOverSessions(t *testing.T) {
	o := newOpener(t, policy.Access{Quota: policy.Quota{Columns: policy.ColumnQuota{Rows: 2, Predicates: 1, Over: event.Hold}}})
	open := func(subject string) (pipeline.ColumnQuota, func()) {
		t.Helper()
		as := agentSession("shop")
		as.Principal.Subject = subject
		s, err := o.open(t.Context(), as)
		if err != nil {
			t.Fatal(err)
		}
		terms := s.Terms()
		if terms.Quota != nil || terms.Columns.Over != event.Hold {
			t.Errorf("%+v", terms)
		}
		q, err := terms.Columns.Of("public.customers.ssn")
		if err != nil {
			t.Fatal(err)
		}
		return q, func() {
			if err := s.Close(t.Context(), event.Notice{}); err != nil {
				t.Error(err)
			}
		}
	}
	first, end := open("a")
	if err := errors.Join(first.Probe(), first.Take(1, 10)); err != nil {
		t.Error(err)
	}
	end()
	second, end := open("a")
	defer end()
	if second.Probe() == nil {
		t.Error("a second predicate in another session")
	}
	if err := second.Take(1, 10); err != nil {
		t.Error(err)
	}
	if second.Check() == nil {
		t.Error("a third row in another session")
	}
	other, end := open("b")
	defer end()
	if err := errors.Join(other.Check(), other.Probe()); err != nil {
		t.Error(err)
	}
}
