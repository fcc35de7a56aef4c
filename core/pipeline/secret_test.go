package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/core/protect"
)

var secretColumns = func() *protect.Columns {
	c, err := protect.New(protect.Config{Columns: map[string]event.Treatment{"s.t.a": {Kind: event.Redact}}})
	if err != nil {
		panic(err)
	}
	return c
}()

// A reader is a plugin that reads requests.
type reader func(*event.Request)

func (reader) Name() string { return "reader" }

func (r reader) Judge(_ context.Context, _ *event.Session, req *event.Request) (event.Verdict, error) {
	r(req)
	return event.Verdict{Action: event.Allow}, nil
}

var holds = judge{Verdict: event.Verdict{Action: event.Hold}}

// A held request whose parts tests change.
type heldRequest struct {
	session  event.Session
	request  event.Request
	sent     event.Sent
	key      []byte
	exchange int
}

func newHeldRequest() *heldRequest {
	return &heldRequest{
		session: event.Session{ID: "1", Resource: "orders", Policy: "v1", Principal: event.Principal{Subject: "agent"}, Attrs: []event.Attr{{Key: "db.namespace", Value: "orders"}}},
		request: event.Request{
			Operation: "execute", Payload: []byte("SELECT '[redacted]', $1"), Params: [][]byte{[]byte("[redacted]")}, Masked: []string{"s.t.a"},
			Cut:   []event.Cut{{Param: 0, Size: 100, Digest: [32]byte{1}}},
			Attrs: []event.Attr{{Key: "postgres.search_path", Value: "public"}, {Key: "postgres.role", Value: "app"}, {Key: "postgres.objects", Value: "public.t=1"}},
			Bound: []event.Attr{{Key: "postgres.setting.TimeZone", Value: "UTC"}, {Key: "postgres.parameter_types", Value: "25 "}, {Key: "postgres.parameter_formats", Value: ""}},
		},
		sent: event.Sent{Payload: []byte("SELECT 'secret', $1"), Params: [][]byte{[]byte("secret")}},
		key:  []byte(strings.Repeat("k", 32)),
	}
}

func (h *heldRequest) digest(t *testing.T) [32]byte {
	t.Helper()
	s, err := pipeline.New(pipeline.Config{
		Terms:    pipeline.Terms{Session: &h.session, Plugins: []pipeline.Plugin{holds}, AllProtected: secretColumns},
		Recorder: &memory{}, Key: h.key,
	})
	if err != nil {
		t.Fatal(err)
	}
	h.request.Sent = &h.sent
	for range h.exchange {
		s.Begin(t.Context(), &h.request)
	}
	return s.Begin(t.Context(), &h.request).Pend().Digest
}

func TestAnApprovalBindsToAllThatDecidesWhatRuns(t *testing.T) {
	want := newHeldRequest().digest(t)
	if newHeldRequest().digest(t) != want {
		t.Fatal("the digest of the same request is another one")
	}
	seen := map[[32]byte]string{want: "the request"}
	for what, change := range map[string]func(*heldRequest){
		"the text":                 func(h *heldRequest) { h.sent.Payload = []byte("SELECT 'Secret', $1") },
		"a value":                  func(h *heldRequest) { h.sent.Params = [][]byte{[]byte("secret2")} },
		"a NULL":                   func(h *heldRequest) { h.sent.Params = [][]byte{nil} },
		"an empty value":           func(h *heldRequest) { h.sent.Params = [][]byte{{}} },
		"the split of the values":  func(h *heldRequest) { h.sent.Params = [][]byte{[]byte("sec"), []byte("ret")} },
		"the rest of a long value": func(h *heldRequest) { h.request.Cut[0].Digest[5]++ },
		"a value's type":           func(h *heldRequest) { h.request.Bound[1].Value = "23 " },
		"a value's format":         func(h *heldRequest) { h.request.Bound[2].Value = "\x00\x01" },
		"a setting":                func(h *heldRequest) { h.request.Bound[0].Value = "CET" },
		"the operation":            func(h *heldRequest) { h.request.Operation = "query" },
		"the search path":          func(h *heldRequest) { h.request.Attrs[0].Value = "evil" },
		"the role":                 func(h *heldRequest) { h.request.Attrs[1].Value = "admin" },
		"an object":                func(h *heldRequest) { h.request.Attrs[2].Value = "public.t=2" },
		"an attribute's name":      func(h *heldRequest) { h.request.Attrs[1].Key = "postgres.rolf" },
		"the session":              func(h *heldRequest) { h.session.ID = "2" },
		"the resource":             func(h *heldRequest) { h.session.Resource = "other" },
		"the database":             func(h *heldRequest) { h.session.Attrs[0].Value = "reports" },
		"the policy":               func(h *heldRequest) { h.session.Policy = "v2" },
		"the principal":            func(h *heldRequest) { h.session.Principal.Subject = "other" },
		"the exchange":             func(h *heldRequest) { h.exchange++ },
		"the key":                  func(h *heldRequest) { h.key = []byte(strings.Repeat("l", 32)) },
	} {
		h := newHeldRequest()
		change(h)
		d := h.digest(t)
		if other, same := seen[d]; same {
			t.Errorf("%s has the digest of %s", what, other)
		}
		seen[d] = what
	}
	h := newHeldRequest()
	h.request.Statements, h.request.Labels = []event.Statement{{Kind: "SELECT"}}, []event.Attr{{Key: "x"}}
	if h.digest(t) != want {
		t.Error("what is derived from the request changes its digest")
	}
}

func TestOnlyMaskedRequestsAreJudgedWhereColumnsAreProtected(t *testing.T) {
	var tape memory
	judged := 0
	s, err := pipeline.New(pipeline.Config{
		Terms: pipeline.Terms{Session: &event.Session{}, AllProtected: secretColumns, Plugins: []pipeline.Plugin{reader(func(r *event.Request) {
			judged++
			if strings.Contains(string(r.Payload), "secret") {
				t.Error("a plugin sees the secret")
			}
		})}},
		Recorder: &tape, Key: make([]byte, 32),
	})
	if err != nil {
		t.Fatal(err)
	}
	forgotten := &event.Request{Operation: "query", Payload: []byte("SELECT 'secret'"), Params: [][]byte{[]byte("secret")}}
	if x := s.Begin(t.Context(), forgotten); x.Verdict.Action != event.Block || judged > 0 {
		t.Errorf("a request that was not masked: %+v, judged %d times", x.Verdict, judged)
	}
	s.Refuse(t.Context(), forgotten, event.Verdict{Reason: "no"})
	part := event.Parameter{Param: 0, Part: []byte("secret and more"), Secret: true}
	masked := &event.Request{Payload: []byte("SELECT $1"), Params: [][]byte{[]byte("[redacted]")}, Masked: []string{"*"}, Sent: &event.Sent{Payload: []byte("SELECT $1"), Params: [][]byte{[]byte("secret")}}}
	if x := s.Begin(t.Context(), masked, part); x.Verdict.Action != event.Allow || judged != 1 || masked.CutSize(0) != 15 {
		t.Errorf("a masked request: %+v, judged %d times, cut at %d", x.Verdict, judged, masked.CutSize(0))
	}
	for _, f := range tape.frames {
		if bytes.Contains(f.Payload, []byte("secret")) {
			t.Errorf("recorded: %q", f.Payload)
		}
	}
}

func TestRevealIsRecordedBeforeItIsShown(t *testing.T) {
	var tape memory
	var later func(context.Context, event.Principal) (*event.Sent, error)
	see := func(ctx context.Context, p *event.Pending) (event.Decision, error) {
		later = p.Reveal
		sent, err := p.Reveal(ctx, event.Principal{Issuer: "idp", Subject: "boss", Name: "Boss"})
		if err != nil || string(sent.Payload) != "SELECT 'secret', $1" || string(sent.Params[0]) != "secret" {
			t.Errorf("revealed: %+v, %v", sent, err)
		}
		if last := tape.frames[len(tape.frames)-1]; last.Kind != event.KindNotice || !bytes.Contains(last.Payload, []byte("revealed to Boss")) || !bytes.Contains(last.Payload, []byte(p.ID)) {
			t.Errorf("recorded: %q", last.Payload)
		}
		full := errors.New("disk full")
		tape.fail = full
		if sent, err := p.Reveal(ctx, event.Principal{Subject: "boss"}); !errors.Is(err, full) || sent != nil {
			t.Errorf("what cannot be recorded is revealed: %+v, %v", sent, err)
		}
		tape.fail = nil
		return event.Decision{Approved: true, By: event.Principal{Subject: "boss"}}, nil
	}
	h := newHeldRequest()
	h.request.Sent = &h.sent
	s, err := pipeline.New(pipeline.Config{
		Terms:    pipeline.Terms{Session: &h.session, Plugins: []pipeline.Plugin{holds}, AllProtected: secretColumns, HoldFor: time.Minute},
		Recorder: &tape, Approver: approver(see), Key: h.key,
	})
	if err != nil {
		t.Fatal(err)
	}
	x := s.Begin(t.Context(), &h.request)
	x.Await(t.Context())
	if x.Verdict.Action != event.Allow {
		t.Errorf("approved: %+v", x.Verdict)
	}
	if sent, err := later(t.Context(), event.Principal{}); err == nil {
		t.Errorf("after the decision: %+v", sent)
	}
	if slices.ContainsFunc(tape.frames, func(f event.Frame) bool { return bytes.Contains(f.Payload, []byte("secret")) }) {
		t.Error("the secret is recorded")
	}
}
