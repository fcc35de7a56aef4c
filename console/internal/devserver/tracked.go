package main

import (
	"context"
	"slices"
	"sync"

	"gatehouse/console"
	"gatehouse/console/internal/sample"
	"gatehouse/core/event"
)

// A tracking has a column of each kind, which the group dba may lift.
type tracking struct {
	mu   sync.Mutex
	list []console.Tracked
}

func newTracking() *tracking {
	column := func(id, name, who, statement string) console.Tracked {
		p := sample.People[who]
		return console.Tracked{
			ID: id, Resource: "orders", Database: "orders", Column: name, From: []string{"public.people.ssn"}, State: "there", MayLift: true,
			Causes: []console.Cause{{Session: "01JD900000", Exchange: 4, At: outageBegan, Statement: statement,
				Principal: console.Principal{Issuer: p.Issuer, Subject: p.Subject, Name: p.Name, Groups: []string{}}}},
		}
	}
	own := column("2", "public.notes.text", "alice", "UPDATE notes SET text = lower(ssn) FROM people")
	own.Computed, own.MayLift, own.WhyNot = true, false, "a session of your own stored protected values there"
	hostile := column("3", "public.<img src=x onerror=\"alert(1)\">.a\u202eb", "agent", "<script>alert(4)</script> SELECT \x07")
	hostile.State = "gone"
	return &tracking{list: []console.Tracked{column("1", "public.reports.number", "agent", "CREATE TABLE reports AS SELECT id, ssn AS number FROM people"), own, hostile}}
}

// Sees implements console.Tracking.
func (t *tracking) Sees(by event.Principal) (may, any bool) {
	return slices.Contains(by.Groups, "dba"), true
}

// List implements console.Tracking.
func (t *tracking) List(context.Context, event.Principal, string) ([]console.Tracked, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.list), nil
}

// Lift implements console.Tracking.
func (t *tracking) Lift(_ context.Context, _ event.Principal, _ string, l console.Lift) (console.Lifted, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list = slices.DeleteFunc(t.list, func(one console.Tracked) bool { return one.ID == l.ID })
	return console.Lifted{Resource: l.Resource, Column: l.Column, Session: "01JDLIFTED"}, nil
}
