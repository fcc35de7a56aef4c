package pipeline_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
)

// A version is a policy that can be retired.
type version struct {
	terms    pipeline.Terms
	retire   context.CancelFunc
	released int
}

func newVersion(name string, next func() (pipeline.Terms, error), plugins ...pipeline.Plugin) *version {
	v := &version{}
	v.terms = pipeline.Terms{
		Session: &event.Session{ID: "s1", Policy: name}, Plugins: plugins, HoldFor: time.Minute,
		Renew:   func(context.Context) (pipeline.Terms, error) { return next() },
		Release: func() { v.released++ },
	}
	v.terms.InForce, v.retire = context.WithCancel(context.Background())
	return v
}

func TestSessionsGoOverToNewTerms(t *testing.T) {
	rec := &memory{}
	masked := masker{treatments: []event.Treatment{{Kind: event.Redact}}}
	second := newVersion("2", nil, judge{Verdict: event.Verdict{Rule: "second"}})
	first := newVersion("1", func() (pipeline.Terms, error) { return second.terms, nil }, masked)
	s, err := pipeline.New(pipeline.Config{Terms: first.terms, Recorder: rec, Key: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	before := s.Begin(t.Context(), &event.Request{})
	first.retire()
	if !s.Outdated() {
		t.Fatal("the session does not notice")
	}
	// What was judged before ends under the old terms.
	if err := before.Head(t.Context(), &event.Head{Fields: []event.Field{{Name: "a"}}}); err != nil {
		t.Fatal(err)
	}
	if columns, _ := before.Treated(); len(columns) != 1 {
		t.Error("the mask of what was judged before is gone")
	}
	if first.released != 0 {
		t.Error("the old terms were released while they were used")
	}
	if err := s.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if first.released != 1 || s.Outdated() || s.Masks() {
		t.Errorf("released %d times, outdated %t, masks %t", first.released, s.Outdated(), s.Masks())
	}
	if x := s.Begin(t.Context(), &event.Request{}); x.Verdict.Rule != "second" {
		t.Errorf("judged by %q", x.Verdict.Rule)
	}
	if err := s.Close(t.Context(), event.Notice{}); err != nil {
		t.Fatal(err)
	}
	if first.released != 1 || second.released != 1 {
		t.Errorf("released %d and %d times", first.released, second.released)
	}
}

func TestSessionsWithoutFurtherTermsAreBarred(t *testing.T) {
	denied := errors.New("denied")
	first := newVersion("1", func() (pipeline.Terms, error) { return pipeline.Terms{}, denied })
	s, err := pipeline.New(pipeline.Config{Terms: first.terms, Recorder: &memory{}, Key: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	first.retire()
	if err := s.Renew(t.Context()); !errors.Is(err, denied) {
		t.Errorf("Renew: %v", err)
	}
	if x := s.Begin(t.Context(), &event.Request{}); x.Verdict.Action != event.Block || x.Verdict.Rule != "gatehouse/policy" {
		t.Errorf("%+v", x.Verdict)
	}
	if err := s.Close(t.Context(), event.Notice{}); err != nil || first.released != 1 {
		t.Errorf("%v, released %d times", err, first.released)
	}
}

// A change of the policy ends the wait, even where an approver agreed in the
// same moment.
func TestPolicyChangeEndsAHold(t *testing.T) {
	hold := judge{Verdict: event.Verdict{Action: event.Hold}}
	for name, agrees := range map[string]bool{"undecided": false, "approved": true} {
		first := newVersion("1", nil, hold)
		s, err := pipeline.New(pipeline.Config{Terms: first.terms, Recorder: &memory{}, Key: make([]byte, 32),
			Approver: approver(func(ctx context.Context, _ *event.Pending) (event.Decision, error) {
				first.retire()
				<-ctx.Done()
				return event.Decision{Approved: agrees}, ctx.Err()
			})})
		if err != nil {
			t.Fatal(err)
		}
		x := s.Begin(t.Context(), &event.Request{})
		x.Await(t.Context())
		if x.Verdict.Action != event.Block || x.Verdict.Reason == "" {
			t.Errorf("%s: %+v", name, x.Verdict)
		}
	}
}
