package recorder_test

import (
	"fmt"
	"slices"
	"testing"

	"gatehouse/core/event"
	"gatehouse/recorder"
)

// outcomes are the outcomes in a recording as "exchange status", and its
// notices as their codes, in order.
func outcomes(t *testing.T, r *recorder.Reader, id string) (all []string) {
	t.Helper()
	for e, err := range recorder.Transcript(r.Frames(t.Context(), id), nil) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Outcome != nil {
			all = append(all, fmt.Sprintf("%d %s", e.Exchange, e.Outcome.Status))
		}
		if e.Notice != nil {
			all = append(all, e.Notice.Code)
		}
	}
	return all
}

func request(t *testing.T, s *recorder.Session, exchange uint64, v event.Action) {
	t.Helper()
	r := event.Request{Operation: "query", Payload: []byte("SELECT 1")}
	appendFrame(t, s, event.KindRequest, exchange, r.Append(nil))
	verdict := event.Verdict{Action: v}
	appendFrame(t, s, event.KindVerdict, exchange, verdict.Append(nil))
}

func outcome(t *testing.T, s *recorder.Session, exchange uint64, status string) {
	t.Helper()
	o := event.Outcome{Status: status}
	appendFrame(t, s, event.KindOutcome, exchange, o.Append(nil))
}

// TestOutcomeUnknown ends a gate while requests are under way: its successor
// says of each that its outcome is not known, however long ago the request was.
func TestOutcomeUnknown(t *testing.T) {
	stored := func(t *testing.T, g *gate, s *recorder.Session) { commit(t, s); g.flush(t) }
	spooled := func(t *testing.T, _ *gate, s *recorder.Session) { commit(t, s) }
	for name, pause := range map[string]func(*testing.T, *gate, *recorder.Session){"stored and gone from the spool": stored, "in the spool": spooled} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, nil)
			s := g.begin(t, 1)
			request(t, s, 1, event.Allow) // answered in the piece after
			request(t, s, 2, event.Allow) // never answered
			request(t, s, 3, event.Hold)  // never decided
			request(t, s, 4, event.Allow) // suspended and not gone on with
			outcome(t, s, 4, "suspended")
			request(t, s, 5, event.Allow) // suspended and gone on with
			outcome(t, s, 5, "suspended")
			pause(t, g, s)
			outcome(t, s, 1, "ok")
			appendFrame(t, s, event.KindData, 5, []byte("row"))
			request(t, s, 6, event.Allow)
			outcome(t, s, 6, "error")
			pause(t, g, s)
			g.reopen(t)
			g.reopen(t) // recovery itself may be cut short
			g.flush(t)
			want := []string{"4 suspended", "5 suspended", "1 ok", "6 error", "2 unknown", "3 unknown", "5 unknown", "restarted"}
			if got := outcomes(t, recorder.NewReader(g.store), "s000001"); !slices.Equal(got, want) {
				t.Errorf("outcomes:\n got %q\nwant %q", got, want)
			}
			wantOK(t, g.verify(t, recorder.VerifyOptions{Frames: true}))
		})
	}
}

// A session that says why it ended is believed about its requests too.
func TestOutcomesOfAClosedSessionAreItsOwn(t *testing.T) {
	g := newGate(t, nil)
	s := g.begin(t, 1)
	request(t, s, 1, event.Allow)
	end(t, s)
	g.flush(t)
	if got := outcomes(t, g.Reader(), "s000001"); !slices.Equal(got, []string{"closed"}) {
		t.Errorf("outcomes: %q", got)
	}
}

func TestUnknownOutcomesAreBounded(t *testing.T) {
	g := newGate(t, nil)
	s := g.begin(t, 1)
	const n = 20_000
	for i := range uint64(n) {
		request(t, s, i+1, event.Allow)
		if i%1000 == 0 {
			commit(t, s)
			g.flush(t)
		}
	}
	commit(t, s)
	g.reopen(t)
	g.flush(t)
	got := outcomes(t, recorder.NewReader(g.store), "s000001")
	if len(got) != 16384+2 || got[0] != "1 unknown" || got[16383] != "16384 unknown" || got[16384] != "untracked" || got[16385] != "restarted" {
		t.Errorf("%d outcomes, the last are %q", len(got), got[max(0, len(got)-3):])
	}
	wantOK(t, g.verify(t, recorder.VerifyOptions{Frames: true}))
}
