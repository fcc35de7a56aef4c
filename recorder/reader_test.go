package recorder_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/core/event"
	"gatehouse/recorder"
)

// day records a session of a day; hour makes its ID.
func (g *gate) day(t *testing.T, id string, at time.Time) {
	t.Helper()
	s := info(0)
	s.ID, s.Start = id, at
	r, err := g.Begin(s)
	if err != nil {
		t.Fatal(err)
	}
	appendFrame(t, r, event.KindOpen, 0, s.Append(nil))
	end(t, r)
}

func ids(list []recorder.Summary) (ids []string) {
	for _, s := range list {
		ids = append(ids, s.ID)
	}
	return ids
}

func TestList(t *testing.T) {
	g := newGate(t, nil)
	for _, s := range []string{"2025-12-31", "2026-01-01", "2026-11-22", "2026-11-23"} {
		at, err := time.Parse(time.DateOnly, s)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []string{"a", "b", "c"} {
			g.day(t, at.Format("20060102")+n, at.Add(time.Hour))
		}
	}
	g.flush(t)
	all := []string{
		"20261123c", "20261123b", "20261123a", "20261122c", "20261122b", "20261122a",
		"20260101c", "20260101b", "20260101a", "20251231c", "20251231b", "20251231a",
	}
	list := func(r *recorder.Reader, q recorder.Query) []recorder.Summary {
		t.Helper()
		l, err := r.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	stored := recorder.NewReader(g.store)
	for _, r := range []*recorder.Reader{stored, g.Reader()} {
		if d := cmp.Diff(all, ids(list(r, recorder.Query{}))); d != "" {
			t.Error(d)
		}
		for day, want := range map[string][]string{
			"2026": all[:9], "2026/11": all[:6], "2026/11/23": all[:3], "2025/12/31": all[9:], "2024": nil, "20": nil,
		} {
			if d := cmp.Diff(want, ids(list(r, recorder.Query{Day: day}))); d != "" {
				t.Errorf("%s: %s", day, d)
			}
		}
		var paged []string
		var q recorder.Query
		for q.Limit = 2; ; {
			page := list(r, q)
			if len(page) == 0 {
				break
			}
			paged = append(paged, ids(page)...)
			q.Before = page[len(page)-1].Key()
		}
		if d := cmp.Diff(all, paged); d != "" {
			t.Errorf("in pages: %s", d)
		}
	}
	running := g.begin(t, 7) // on 2026-11-23
	commit(t, running)
	if got := ids(list(g.Reader(), recorder.Query{Limit: 2})); !slices.Equal(got, []string{"s000007", "20261123c"}) {
		t.Errorf("with a running session: %q", got)
	}
	if got := ids(list(stored, recorder.Query{Limit: 1})); !slices.Equal(got, all[:1]) {
		t.Errorf("stored alone: %q", got)
	}
}

func TestSummary(t *testing.T) {
	g := newGate(t, nil)
	s := g.begin(t, 1)
	request := event.Request{Operation: "query", Payload: []byte("DROP TABLE t")}
	blocked := event.Verdict{Action: event.Block}
	pending := event.Notice{Code: "pending"}
	allowed := event.Verdict{Action: event.Allow}
	appendFrame(t, s, event.KindRequest, 1, request.Append(nil))
	appendFrame(t, s, event.KindVerdict, 1, blocked.Append(nil))
	appendFrame(t, s, event.KindRequest, 2, request.Append(nil))
	appendFrame(t, s, event.KindPending, 2, pending.Append(nil))
	appendFrame(t, s, event.KindVerdict, 2, allowed.Append(nil))
	commit(t, s)
	summary := func(r *recorder.Reader) recorder.Summary {
		t.Helper()
		sum, err := r.Summary(t.Context(), "s000001")
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	if !summary(g.Reader()).Open {
		t.Error("a running session is not open")
	}
	g.flush(t)
	want := recorder.Counts{Requests: 2, Held: 1, Blocked: 1}
	for _, r := range []*recorder.Reader{g.Reader(), recorder.NewReader(g.store)} {
		if sum := summary(r); !sum.Open || sum.Counts != want || sum.Frames != 6 || sum.Principal.Name != "agent@example.com" {
			t.Errorf("while it runs: %+v", sum)
		}
	}
	end(t, s)
	g.flush(t)
	a, b := summary(g.Reader()), summary(recorder.NewReader(g.store))
	if d := cmp.Diff(a, b); d != "" {
		t.Error(d)
	}
	if a.Open || a.Counts != want || a.Frames != 7 || a.Code != "closed" || a.Reason != "the client hung up" || a.Start != info(1).Start || !a.End.After(a.Start) {
		t.Errorf("at its end: %+v", a)
	}
	for _, id := range []string{"s000002", "", "..", "a/b"} {
		if _, err := g.Reader().Summary(t.Context(), id); !errors.Is(err, recorder.ErrNotFound) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// TestLiveReading reads a session again and again while it is recorded, sealed
// and stored: what was committed before is always there.
func TestLiveReading(t *testing.T) {
	g := newGate(t, func(o *recorder.Options) { o.PieceSize, o.SealAfter = 2000, time.Millisecond })
	r := g.Reader()
	s := g.begin(t, 1)
	for i := range 300 {
		appendFrame(t, s, event.KindData, 1, make([]byte, 100))
		commit(t, s)
		if i%3 == 0 {
			if _, data := kinds(t, r, "s000001"); len(data) != (i+1)*100 {
				t.Fatalf("read %d bytes after %d frames", len(data), i+1)
			}
		}
	}
	end(t, s)
	for range 100 {
		if _, data := kinds(t, r, "s000001"); len(data) != 30_000 {
			t.Fatalf("read %d bytes at the end", len(data))
		}
	}
	g.flush(t)
}
