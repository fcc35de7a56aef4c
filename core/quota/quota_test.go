package quota_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/core/event"
	"gatehouse/core/quota"
)

var agent = event.Principal{Issuer: "i", Subject: "agent"}

func open(t *testing.T, l *quota.Ledger, who event.Principal, policy string, limit quota.Limit) *quota.Account {
	t.Helper()
	a, err := l.Open(who, policy, "", limit)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestLimitsHoldOverAllSessionsOfAPrincipal(t *testing.T) {
	l := quota.NewLedger()
	limit := quota.Limit{Rows: 10, Bytes: 1000}
	a, b := open(t, l, agent, "p", limit), open(t, l, agent, "p", limit)
	if err := errors.Join(a.Take(6, 100), b.Take(4, 100)); err != nil {
		t.Fatal(err)
	}
	var exceeded *quota.ExceededError
	if err := a.Take(1, 1); !errors.As(err, &exceeded) || exceeded.What != "rows" || exceeded.Counted != 10 {
		t.Errorf("the eleventh row: %v", err)
	}
	if err := b.Check(); !errors.As(err, &exceeded) {
		t.Errorf("the next request: %v", err)
	}
	// Others, and other policies, have accounts of their own.
	other := event.Principal{Issuer: "i", Subject: "other"}
	if err := errors.Join(open(t, l, other, "p", limit).Take(10, 1000), open(t, l, agent, "q", limit).Take(10, 1000)); err != nil {
		t.Error(err)
	}
	// What was counted stays where the limit changes.
	if err := open(t, l, agent, "p", quota.Limit{Rows: 11}).Take(2, 1); err == nil {
		t.Error("a new limit forgot what was counted")
	}
	if err := open(t, l, agent, "p", quota.Limit{Bytes: 300}).Take(1000, 100); err != nil {
		t.Error(err)
	}
	if err := open(t, l, agent, "p", quota.Limit{Bytes: 300}).Take(0, 1); !errors.As(err, &exceeded) || exceeded.What != "bytes" {
		t.Errorf("the 301st byte: %v", err)
	}
}

// No sixty minutes hold more than the limit, and what a refusal says of when it
// frees is true.
func TestHourSlides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := open(t, quota.NewLedger(), agent, "p", quota.Limit{Rows: 2})
		time.Sleep(59 * time.Second)
		first := time.Now()
		if err := a.Take(1, 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Minute)
		if err := a.Take(1, 1); err != nil {
			t.Fatal(err)
		}
		var exceeded *quota.ExceededError
		if err := a.Take(1, 1); !errors.As(err, &exceeded) {
			t.Fatalf("a third row within the hour: %v", err)
		}
		time.Sleep(time.Until(exceeded.Frees()) - time.Nanosecond)
		if time.Since(first) < time.Hour-time.Nanosecond {
			t.Errorf("frees %s after the first row", time.Since(first))
		}
		if a.Check() == nil {
			t.Error("free before the time")
		}
		time.Sleep(time.Nanosecond)
		if err := a.Take(1, 1); err != nil {
			t.Error(err)
		}
		if a.Take(1, 1) == nil {
			t.Error("the second row is forgotten already")
		}
		time.Sleep(48 * time.Hour)
		if err := a.Take(2, 1); err != nil {
			t.Error(err)
		}
	})
}

// Columns have accounts of their own.
func TestColumnsCountByThemselves(t *testing.T) {
	l := quota.NewLedger()
	column := func(who event.Principal, name string) *quota.Account {
		t.Helper()
		a, err := l.Open(who, "p", name, quota.Limit{Rows: 5, Predicates: 2})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	a := column(agent, "public.t.a")
	if err := errors.Join(a.Probe(), column(agent, "public.t.a").Probe()); err != nil {
		t.Fatal(err)
	}
	var exceeded *quota.ExceededError
	if err := a.Probe(); !errors.As(err, &exceeded) || exceeded.What != "predicates" || exceeded.Column != "public.t.a" || exceeded.Counted != 2 {
		t.Errorf("the third predicate: %v", err)
	}
	other := event.Principal{Issuer: "i", Subject: "other"}
	if err := errors.Join(a.Check(), a.Take(5, 1000), column(agent, "public.t.b").Probe(), column(other, "public.t.a").Probe()); err != nil {
		t.Error(err)
	}
	if err := a.Check(); !errors.As(err, &exceeded) || exceeded.What != "rows" {
		t.Errorf("the sixth row: %v", err)
	}
}
