package pipeline_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
)

// A memory records in memory.
type memory struct {
	mu     sync.Mutex
	frames []event.Frame
	fail   error
}

func (m *memory) Append(f event.Frame, more ...[]byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	f.Payload = append([]byte(nil), f.Payload...)
	for _, b := range more {
		f.Payload = append(f.Payload, b...)
	}
	m.frames = append(m.frames, f)
	return nil
}

func (m *memory) Commit(context.Context) error { return m.fail }

func (m *memory) kinds() (ks []event.Kind) {
	for _, f := range m.frames {
		ks = append(ks, f.Kind)
	}
	return ks
}

type judge struct {
	event.Verdict
	err  error
	seen *[]event.Attr
}

func (judge) Name() string { return "judge" }

func (j judge) Judge(_ context.Context, _ *event.Session, r *event.Request) (event.Verdict, error) {
	if j.seen != nil {
		*j.seen = r.Labels
	}
	return j.Verdict, j.err
}

type masker struct {
	treatments []event.Treatment
	edits      []event.Edit
	calls      *int
}

func (masker) Name() string { return "masker" }

func (m masker) Treat(context.Context, *event.Session, *event.Head) ([]event.Treatment, error) {
	if m.calls != nil {
		*m.calls++
	}
	return m.treatments, nil
}

func (m masker) Inspect(context.Context, *event.Session, *event.Rows, []int) ([]event.Edit, error) {
	return m.edits, nil
}

type approver func(context.Context, *event.Pending) (event.Decision, error)

func (a approver) Await(ctx context.Context, p *event.Pending) (event.Decision, error) {
	return a(ctx, p)
}

func open(t *testing.T, rec *memory, a pipeline.Approver, plugins ...pipeline.Plugin) *pipeline.Session {
	t.Helper()
	s, err := pipeline.New(pipeline.Config{
		Terms:    pipeline.Terms{Session: &event.Session{ID: "s1"}, Plugins: plugins, HoldFor: time.Minute},
		Recorder: rec, Approver: a, Key: []byte(strings.Repeat("k", 32)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStrictestVerdictWins(t *testing.T) {
	allow := judge{Verdict: event.Verdict{Action: event.Allow}}
	hold := judge{Verdict: event.Verdict{Action: event.Hold, Rule: "hold"}}
	block := judge{Verdict: event.Verdict{Rule: "block"}}
	broken := judge{Verdict: event.Verdict{Action: event.Allow}, err: errors.New("trap")}
	for _, c := range []struct {
		name    string
		plugins []pipeline.Plugin
		want    event.Action
		rule    string
	}{
		{"no plugin", nil, event.Allow, ""},
		{"allow and hold", []pipeline.Plugin{allow, hold, allow}, event.Hold, "hold"},
		{"hold and block", []pipeline.Plugin{hold, block}, event.Block, "block"},
		{"a plugin that fails", []pipeline.Plugin{allow, broken}, event.Block, "gatehouse/plugin"},
		{"a forgotten verdict", []pipeline.Plugin{judge{}}, event.Block, ""},
	} {
		rec := &memory{}
		x := open(t, rec, nil, c.plugins...).Begin(t.Context(), &event.Request{})
		if x.Verdict.Action != c.want || x.Verdict.Rule != c.rule {
			t.Errorf("%s: verdict %v by %q, want %v by %q", c.name, x.Verdict.Action, x.Verdict.Rule, c.want, c.rule)
		}
		if want := []event.Kind{event.KindOpen, event.KindRequest, event.KindVerdict}; !cmp.Equal(rec.kinds(), want) {
			t.Errorf("%s: recorded %v, want %v", c.name, rec.kinds(), want)
		}
	}
}

func TestLaterJudgesSeeEarlierLabels(t *testing.T) {
	label := event.Attr{Key: "risk", Value: "70"}
	var seen []event.Attr
	first := judge{Verdict: event.Verdict{Action: event.Allow, Labels: []event.Attr{label}}}
	second := judge{Verdict: event.Verdict{Action: event.Allow}, seen: &seen}
	open(t, &memory{}, nil, first, second).Begin(t.Context(), &event.Request{})
	if !cmp.Equal(seen, []event.Attr{label}) {
		t.Errorf("the second judge saw %v", seen)
	}
}

func TestWhatCannotBeRecordedIsBlocked(t *testing.T) {
	rec := &memory{}
	s := open(t, rec, nil)
	rec.fail = errors.New("disk full")
	if x := s.Begin(t.Context(), &event.Request{}); x.Verdict.Action != event.Block {
		t.Errorf("verdict %v", x.Verdict)
	}
	if err := s.Commit(t.Context()); err == nil {
		t.Error("Commit succeeded")
	}
}

func TestAwait(t *testing.T) {
	hold := judge{Verdict: event.Verdict{Action: event.Hold, Rule: "r", Reason: "why"}}
	decided := func(d event.Decision, err error) approver {
		return func(context.Context, *event.Pending) (event.Decision, error) { return d, err }
	}
	for _, c := range []struct {
		name     string
		approver approver
		want     event.Action
		reason   string
	}{
		{"approved", decided(event.Decision{Approved: true, By: event.Principal{Name: "ann"}}, nil), event.Allow, "approved by ann"},
		{"denied", decided(event.Decision{By: event.Principal{Name: "ann"}, Comment: "no"}, nil), event.Block, "denied by ann: no"},
		{"timed out", decided(event.Decision{}, errors.New("nobody decided")), event.Block, "nobody decided"},
		{"approved with an error", decided(event.Decision{Approved: true}, errors.New("odd")), event.Block, "odd"},
	} {
		rec := &memory{}
		x := open(t, rec, c.approver, hold).Begin(t.Context(), &event.Request{Payload: []byte("x")})
		x.Await(t.Context())
		if x.Verdict.Action != c.want || !strings.Contains(x.Verdict.Reason, c.reason) {
			t.Errorf("%s: %v %q, want %v %q", c.name, x.Verdict.Action, x.Verdict.Reason, c.want, c.reason)
		}
		want := []event.Kind{event.KindOpen, event.KindRequest, event.KindVerdict, event.KindPending, event.KindDecision, event.KindVerdict}
		if !cmp.Equal(rec.kinds(), want) {
			t.Errorf("%s: recorded %v, want %v", c.name, rec.kinds(), want)
		}
	}
}

func TestApprovalBindsToTheRequest(t *testing.T) {
	hold := judge{Verdict: event.Verdict{Action: event.Hold}}
	req := &event.Request{Payload: []byte("DELETE FROM t WHERE id = $1"), Params: [][]byte{[]byte("1")}}
	swap := approver(func(context.Context, *event.Pending) (event.Decision, error) {
		req.Params[0][0] = '2'
		return event.Decision{Approved: true}, nil
	})
	x := open(t, &memory{}, swap, hold).Begin(t.Context(), req)
	x.Await(t.Context())
	if x.Verdict.Action != event.Block {
		t.Error("a request whose value changed after it was shown was allowed")
	}
}

func TestCancelledHoldIsBlocked(t *testing.T) {
	hold := judge{Verdict: event.Verdict{Action: event.Hold}}
	ctx, cancel := context.WithCancel(t.Context())
	late := approver(func(context.Context, *event.Pending) (event.Decision, error) {
		cancel()
		return event.Decision{Approved: true}, nil
	})
	x := open(t, &memory{}, late, hold).Begin(ctx, &event.Request{})
	x.Await(ctx)
	if x.Verdict.Action != event.Block {
		t.Error("an approval that came after the client had gone was carried out")
	}
}

// treated runs one row of text cells through a masker and returns it.
func treated(t *testing.T, m masker, cells ...string) ([]string, error) {
	t.Helper()
	x := open(t, &memory{}, nil, m).Begin(t.Context(), &event.Request{})
	h := &event.Head{}
	for range cells {
		h.Fields = append(h.Fields, event.Field{Type: "text"})
	}
	if err := x.Head(t.Context(), h); err != nil {
		return nil, err
	}
	columns, fields := x.Treated()
	var r event.Rows
	r.Reset(fields)
	row := r.Grow()
	for k, j := range columns {
		row[k] = []byte(cells[j])
	}
	if err := x.Rows(t.Context(), &r); err != nil {
		return nil, err
	}
	for k, j := range columns {
		cells[j] = "NULL"
		if v := r.Cell(0, k); v != nil {
			cells[j] = string(v)
		}
	}
	return cells, nil
}

func TestTreatments(t *testing.T) {
	for _, c := range []struct {
		treatment event.Treatment
		in, want  string
	}{
		{event.Treatment{Kind: event.Pass}, "secret", "secret"},
		{event.Treatment{}, "secret", "NULL"},
		{event.Treatment{Kind: event.Redact}, "secret", "[redacted]"},
		{event.Treatment{Kind: event.KeepLast, Keep: 4}, "4111111111111111", "************1111"},
		{event.Treatment{Kind: event.KeepLast, Keep: 4}, "123", "***"},
		{event.Treatment{Kind: event.KeepLast, Keep: 2}, "größer", "****er"},
		{event.Treatment{Kind: event.KeepLast, Keep: 2}, "\xff\xfe\xfd", "*\xfe\xfd"},
	} {
		got, err := treated(t, masker{treatments: []event.Treatment{c.treatment}}, c.in)
		if err != nil || got[0] != c.want {
			t.Errorf("%v of %q: %q, %v; want %q", c.treatment, c.in, got, err, c.want)
		}
	}
	hash := masker{treatments: []event.Treatment{{Kind: event.Hash}, {Kind: event.Hash}, {Kind: event.Hash}}}
	got, err := treated(t, hash, "a", "a", "b")
	if err != nil || got[0] != got[1] || got[1] == got[2] || len(got[0]) != 34 {
		t.Errorf("hashes %q, %v", got, err)
	}
}

func TestEdits(t *testing.T) {
	inspect := []event.Treatment{{Kind: event.Inspect}}
	star := event.Treatment{Kind: event.KeepLast, Keep: 2}
	for _, c := range []struct {
		name  string
		edits []event.Edit
		want  string
		fails bool
	}{
		{name: "none", want: "call 12345 or 67890"},
		{name: "two spans", edits: []event.Edit{{From: 5, To: 10, Treatment: star}, {From: 14, To: 19, Treatment: star}}, want: "call ***45 or ***90"},
		{name: "own text", edits: []event.Edit{{From: 5, To: 10, Treatment: event.Treatment{Kind: event.Replace}, Text: []byte("N")}}, want: "call N or 67890"},
		{name: "null", edits: []event.Edit{{From: 5, To: 10}}, want: "NULL"},
		{name: "overlap", edits: []event.Edit{{From: 5, To: 10}, {From: 9, To: 12}}, fails: true},
		{name: "past the end", edits: []event.Edit{{From: 5, To: 20}}, fails: true},
		{name: "negative", edits: []event.Edit{{From: -1, To: 2}}, fails: true},
		{name: "another row", edits: []event.Edit{{Row: 1}}, fails: true},
		{name: "another field", edits: []event.Edit{{Field: 1}}, fails: true},
		{name: "a pass", edits: []event.Edit{{Treatment: event.Treatment{Kind: event.Pass}}}, fails: true},
	} {
		got, err := treated(t, masker{treatments: inspect, edits: c.edits}, "call 12345 or 67890")
		if c.fails != (err != nil) || !c.fails && got[0] != c.want {
			t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.want)
		}
	}
}

func TestHeadsAreTreatedOnceAndRecordedEachTime(t *testing.T) {
	calls := 0
	rec := &memory{}
	s := open(t, rec, nil, masker{treatments: []event.Treatment{{}}, calls: &calls})
	h := &event.Head{Fields: []event.Field{{Name: "a"}}}
	for range 3 {
		if err := s.Begin(t.Context(), &event.Request{}).Head(t.Context(), h); err != nil {
			t.Fatal(err)
		}
	}
	heads := 0
	for _, k := range rec.kinds() {
		if k == event.KindHead {
			heads++
		}
	}
	if calls != 1 || heads != 3 {
		t.Errorf("treated %d times, recorded %d times", calls, heads)
	}
}
