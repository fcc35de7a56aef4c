package approval_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/core/approval"
	"gatehouse/core/event"
	"gatehouse/core/pipeline"
)

var _ pipeline.Approver = (*approval.Registry)(nil)

var (
	agent = event.Principal{Issuer: "https://idp", Subject: "agent", Name: "agent@example.com", Groups: []string{"agents", "dba"}}
	alice = event.Principal{Issuer: "https://idp", Subject: "alice", Name: "alice@example.com", Groups: []string{"dba"}}
	bob   = event.Principal{Issuer: "https://idp", Subject: "bob", Name: "bob@example.com", Groups: []string{"dba", "ops"}}
	carol = event.Principal{Issuer: "https://idp", Subject: "carol", Name: "carol@example.com", Groups: []string{"sales"}}
)

func pending(id string) *event.Pending {
	now := time.Now()
	return &event.Pending{
		ID:        id,
		Session:   &event.Session{ID: "s1", Resource: "orders", Principal: agent},
		Exchange:  7,
		Request:   &event.Request{Operation: "query", Payload: []byte("UPDATE t SET a = 1"), Params: [][]byte{nil, []byte("x")}},
		Verdict:   event.Verdict{Action: event.Hold, Rule: "approve/risk", Reason: "risk 80"},
		Approvers: []string{"dba", "owners"},
		Since:     now,
		Expires:   now.Add(5 * time.Minute),
	}
}

// A result is what Await returned.
type result struct {
	decision event.Decision
	err      error
}

// await starts Await and returns once the request is held.
func await(ctx context.Context, r *approval.Registry, p *event.Pending) <-chan result {
	c := make(chan result, 1)
	go func() {
		d, err := r.Await(ctx, p)
		c <- result{d, err}
	}()
	synctest.Wait()
	return c
}

func ids(ps []*event.Pending) string {
	var s []string
	for _, p := range ps {
		s = append(s, p.ID)
	}
	return strings.Join(s, " ")
}

func TestDecision(t *testing.T) {
	for _, approved := range []bool{true, false} {
		t.Run(fmt.Sprint(approved), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := approval.New(approval.Limits{})
				c := await(t.Context(), r, pending("A"))
				time.Sleep(time.Minute)
				if err := r.Decide("A", alice, approved, "a reason"); err != nil {
					t.Fatal(err)
				}
				got := <-c
				want := event.Decision{Approved: approved, By: alice, Comment: "a reason", At: time.Now()}
				if diff := cmp.Diff(want, got.decision); diff != "" || got.err != nil {
					t.Errorf("Await: %v\n%s", got.err, diff)
				}
				if r.Len() != 0 {
					t.Errorf("%d requests still wait", r.Len())
				}
			})
		})
	}
}

// A09: nobody decides what they asked for, whatever they are called by then.
func TestWhoMayDecide(t *testing.T) {
	sameSubject := alice
	sameSubject.Issuer, sameSubject.Subject = "https://other", agent.Subject
	renamed := agent
	renamed.Name = "someone else"
	for _, tc := range []struct {
		name string
		by   event.Principal
		sees string
		want error
	}{
		{"a member of an approver group", bob, "A", nil},
		{"the same subject of another issuer", sameSubject, "A", nil},
		{"a member of no approver group", carol, "", approval.ErrUnknown},
		{"nobody", event.Principal{}, "", approval.ErrUnknown},
		{"nobody who claims a group", event.Principal{Groups: []string{"dba"}}, "", approval.ErrUnknown},
		{"who asks", agent, "A", approval.ErrOwn},
		{"who asks, under another name", renamed, "A", approval.ErrOwn},
		{"who asks, without the group", event.Principal{Issuer: agent.Issuer, Subject: agent.Subject}, "A", approval.ErrNotApprover},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				r := approval.New(approval.Limits{})
				c := await(ctx, r, pending("A"))
				if got := ids(r.List(tc.by)); got != tc.sees {
					t.Errorf("sees %q, want %q", got, tc.sees)
				}
				if err := r.Decide("A", tc.by, true, ""); !errors.Is(err, tc.want) {
					t.Errorf("Decide: %v, want %v", err, tc.want)
				}
				cancel()
				if got := <-c; got.decision.Approved != (tc.want == nil) {
					t.Errorf("approved = %v", got.decision.Approved)
				}
			})
		})
	}
}

// A09: one person has one say, and it stands.
func TestOnePersonDecidesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := approval.New(approval.Limits{})
		c := await(t.Context(), r, pending("A"))
		if err := r.Decide("A", alice, false, "no"); err != nil {
			t.Fatal(err)
		}
		renamed := alice
		renamed.Name = "Alice again"
		wantEnded(t, r.Decide("A", alice, true, ""), approval.Denied)
		wantEnded(t, r.Decide("A", renamed, true, ""), approval.Denied)
		if got := <-c; got.decision.Approved || got.decision.Comment != "no" {
			t.Errorf("Await: %+v", got)
		}
	})
}

func TestExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := approval.New(approval.Limits{})
		c := await(t.Context(), r, pending("A"))
		time.Sleep(5*time.Minute - 1)
		synctest.Wait()
		if ids(r.List(alice)) != "A" {
			t.Error("gone before its time")
		}
		got := <-c
		if !errors.Is(got.err, approval.ErrExpired) || got.err.Error() != "nobody decided within 5m0s" || got.decision.Approved {
			t.Errorf("Await: %+v", got)
		}
		wantEnded(t, r.Decide("A", alice, true, ""), approval.Expired)
		if ids(r.List(alice)) != "" {
			t.Error("still listed")
		}
	})
}

// A08.
//
// A decision at the moment of expiry must not count, whichever timer fires
// first.
func TestExpiredBeforeTheTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := approval.New(approval.Limits{})
		p := pending("A")
		decided := make(chan error, 1)
		time.AfterFunc(5*time.Minute, func() { decided <- r.Decide("A", alice, true, "") })
		c := await(t.Context(), r, p)
		wantEnded(t, <-decided, approval.Expired)
		if got := <-c; !errors.Is(got.err, approval.ErrExpired) {
			t.Errorf("Await: %+v", got)
		}
	})
}

func wantEnded(t *testing.T, err error, how approval.How) {
	t.Helper()
	var e *approval.EndedError
	if !errors.As(err, &e) || !errors.Is(err, approval.ErrGone) || e.Ending.How != how {
		t.Errorf("got %v, want an EndedError: %s", err, how)
	}
}

// Who decides too late is told that the policy changed, not that the client went
// away.
func TestOutdated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := approval.New(approval.Limits{})
		ctx, cancel := context.WithCancelCause(t.Context())
		c := await(ctx, r, pending("A"))
		synctest.Wait()
		cancel(event.ErrPolicyChanged)
		if got := <-c; !errors.Is(got.err, event.ErrPolicyChanged) || errors.Is(got.err, approval.ErrWithdrawn) {
			t.Errorf("Await: %+v", got)
		}
		wantEnded(t, r.Decide("A", alice, true, ""), approval.Outdated)
	})
}

func TestWithdrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := approval.New(approval.Limits{})
		changes, stop := r.Watch()
		defer stop()
		ctx, cancel := context.WithCancelCause(t.Context())
		c := await(ctx, r, pending("A"))
		<-changes
		hangUp := errors.New("hang-up")
		cancel(hangUp)
		<-changes
		if ids(r.List(alice)) != "" {
			t.Error("still listed after the client went away")
		}
		if got := <-c; !errors.Is(got.err, approval.ErrWithdrawn) || !errors.Is(got.err, hangUp) {
			t.Errorf("Await: %+v", got)
		}
		wantEnded(t, r.Decide("A", alice, true, ""), approval.Withdrawn)
		if err := r.Decide("A", carol, true, ""); !errors.Is(err, approval.ErrUnknown) {
			t.Errorf("a stranger learns how the request ended: %v", err)
		}
	})
}

// A08.
//
// Many decide at once, and the client may go away meanwhile: one wins, and
// what Await returns is what the winner was told.
func TestOneWins(t *testing.T) {
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			r := approval.New(approval.Limits{})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			c := await(ctx, r, pending("A"))
			var wg sync.WaitGroup
			var mu sync.Mutex
			var winners []event.Decision
			for i := range 8 {
				by, approved := []event.Principal{alice, bob}[i%2], i%3 == 0
				wg.Go(func() {
					if err := r.Decide("A", by, approved, ""); err == nil {
						mu.Lock()
						winners = append(winners, event.Decision{Approved: approved, By: by, At: time.Now()})
						mu.Unlock()
					} else if !errors.Is(err, approval.ErrGone) {
						t.Errorf("Decide: %v", err)
					}
				})
			}
			wg.Go(cancel)
			wg.Wait()
			got := <-c
			if got.err != nil {
				if !errors.Is(got.err, approval.ErrWithdrawn) || len(winners) != 0 {
					t.Errorf("Await: %v, and %d were told that they decided", got.err, len(winners))
				}
				return
			}
			if diff := cmp.Diff(winners, []event.Decision{got.decision}); diff != "" {
				t.Errorf("Await returned what no one was told:\n%s", diff)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := approval.New(approval.Limits{Pending: 2, Bytes: 1000})
		await(ctx, r, pending("A"))
		large := pending("large")
		large.Request.Payload = make([]byte, 1000)
		if _, err := r.Await(ctx, large); !errors.Is(err, approval.ErrFull) {
			t.Errorf("beyond the bytes: %v", err)
		}
		if _, err := r.Await(ctx, pending("A")); err == nil {
			t.Error("one number for two requests")
		}
		c := await(ctx, r, pending("B"))
		if _, err := r.Await(ctx, pending("C")); !errors.Is(err, approval.ErrFull) {
			t.Errorf("beyond the number: %v", err)
		}
		if err := r.Decide("B", alice, false, ""); err != nil {
			t.Fatal(err)
		}
		<-c
		await(ctx, r, pending("D"))
		if got := ids(r.List(alice)); got != "A D" {
			t.Errorf("waiting: %q, want A D", got)
		}
		cancel()
		synctest.Wait()
		if err := r.Decide("A", alice, true, ""); !errors.Is(err, approval.ErrGone) {
			t.Error(err)
		}
		nobody := pending("E")
		nobody.Approvers = nil
		if _, err := r.Await(t.Context(), nobody); !errors.Is(err, approval.ErrNobody) {
			t.Errorf("a request that nobody may decide: %v", err)
		}
	})
}

// The protocol reuses its buffers once Await returned, while a console may
// still be showing the request.
func TestListIsACopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := approval.New(approval.Limits{})
		ctx, cancel := context.WithCancel(t.Context())
		p := pending("A")
		c := await(ctx, r, p)
		shown := r.List(alice)[0]
		if diff := cmp.Diff(p, shown); diff != "" {
			t.Errorf("shown is not what waits:\n%s", diff)
		}
		cancel()
		<-c
		copy(p.Request.Payload, "xxxxxxxxxxxxxxxxxxxxxxxx")
		if string(shown.Request.Payload) != "UPDATE t SET a = 1" {
			t.Errorf("shown request changed to %q", shown.Request.Payload)
		}
	})
}

func TestComment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := approval.New(approval.Limits{})
		c := await(t.Context(), r, pending("A"))
		for _, comment := range []string{
			"a\x00b", "\x1b[31m", "\xff", "\u202e", strings.Repeat("x", approval.MaxComment+1),
		} {
			if err := r.Decide("A", alice, true, comment); !errors.Is(err, approval.ErrComment) {
				t.Errorf("%q: %v", comment, err)
			}
		}
		if err := r.Decide("A", alice, true, "ja, völlig\nrichtig 👍"); err != nil {
			t.Error(err)
		}
		<-c
	})
}

// One principal cannot take all the room there is.
func TestRequestsOfOnePrincipalAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := approval.New(approval.Limits{Principal: 2})
		ctx, cancel := context.WithCancel(t.Context())
		await(ctx, r, pending("1"))
		await(ctx, r, pending("2"))
		if _, err := r.Await(ctx, pending("3")); !errors.Is(err, approval.ErrManyOwn) {
			t.Errorf("a third request: %v", err)
		}
		other := pending("4")
		other.Session = &event.Session{Principal: event.Principal{Issuer: "i", Subject: "another"}}
		await(ctx, r, other)
		if n := r.Len(); n != 3 {
			t.Errorf("%d requests wait, want 3", n)
		}
		cancel()
		synctest.Wait()
	})
}

// A watcher that does not read holds up nobody and still learns that
// something changed.
func TestSlowWatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := approval.New(approval.Limits{Principal: 500})
		changes, stop := r.Watch()
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 500 {
			await(ctx, r, pending(fmt.Sprint(i)))
		}
		<-changes
		if n := len(r.List(alice)); n != 500 {
			t.Errorf("%d listed, want 500", n)
		}
		select {
		case <-changes:
			t.Error("changes were queued")
		default:
		}
		stop()
		cancel()
		synctest.Wait()
		select {
		case <-changes:
			t.Error("a change after stop")
		default:
		}
	})
}
