package pipeline

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"slices"
	"time"

	"gatehouse/core/event"
)

// An Exchange is one request and its response.
type Exchange struct {
	ID      uint64
	Verdict event.Verdict
	// Held is the pending approval while Await waits, nil otherwise.
	Held *event.Pending
	// Open is whether judges let the request pass, and Settle has still to
	// decide.
	Open bool
	// Exceeded is the quota's error where that is why the request is blocked
	// or held.
	Exceeded error

	s    *Session
	t    *terms // that it was judged under
	req  *event.Request
	plan *plan // of the result at hand; noPlan before there is one
	// secret is what may be revealed of a held request.
	secret *secret
	// affordable is whether the request was approved over a quota.
	affordable bool
	// changed counts what plugins in shadow would have changed in the result.
	changed []int64
}

// Begin judges req and records it with its verdict; req must not change
// afterwards, except that its Attrs may be completed before Pend. Send the request
// upstream only if the verdict is Allow, and only after Commit: every failure in
// here is a Block.
//
// Of the parameters that cut gives whole, req has the beginnings only: that is
// what judges and approvers see, and req.Cut, which Begin sets, tells them what
// they do not. The recording has all of them, and so has, by their digests, what
// an approval binds to. A request that is judged again keeps its req.Cut.
//
// What detectors of the session's maskers find in the request is masked in it, and
// req.Sent holds what the server gets.
//
// Where columns are protected, req must be masked and req.Sent hold what the
// server gets, else it is blocked: judges, approvers and recordings get to know
// the masked one only.
func (s *Session) Begin(ctx context.Context, req *event.Request, cut ...event.Parameter) *Exchange {
	x := s.Propose(ctx, req, cut...)
	x.Settle(ctx)
	return x
}

// Propose is Begin for a request about which more can be found out once it is
// recorded: the verdict Allow stays open, and counts as Block, until Settle.
func (s *Session) Propose(ctx context.Context, req *event.Request, cut ...event.Parameter) *Exchange {
	for _, p := range cut {
		m := hmac.New(sha256.New, s.key)
		m.Write([]byte("gatehouse parameter\x00"))
		m.Write(p.Part)
		c := event.Cut{Param: p.Param, Size: uint64(len(p.Part))}
		m.Sum(c.Digest[:0])
		req.Cut = append(req.Cut, c)
	}
	t := s.current.Load()
	if t.unmasked(req) || !s.hide(ctx, t, req, cut) {
		return s.begin(t, &event.Request{Operation: req.Operation}, unmasked)
	}
	v, exceeded := t.judge(ctx, req)
	x, err := s.recordRequest(t, req, cut...)
	x.Exceeded = exceeded
	switch {
	case err != nil:
	case v.Action == event.Allow:
		x.Open = true
	default:
		x.judged(ctx, v)
	}
	return x
}

// Settle decides an exchange that is open. What was found out about its request,
// attrs, is added to it and recorded, and the request is judged again with that.
func (x *Exchange) Settle(ctx context.Context, attrs ...event.Attr) {
	if !x.Open {
		return
	}
	x.Open = false
	v := event.Verdict{Action: event.Allow}
	if len(attrs) > 0 {
		if x.Note(event.Notice{Code: "found out", Attrs: attrs}) != nil {
			x.Verdict = unrecorded
			return
		}
		x.req.Attrs, x.req.Labels = append(x.req.Attrs, attrs...), nil
		v = x.t.askJudges(ctx, x.req)
	}
	x.judged(ctx, v)
}

// judged decides what the plugins said, and records what those in shadow say.
func (x *Exchange) judged(ctx context.Context, v event.Verdict) {
	x.decide(v)
	if x.judgeInShadow(ctx) != nil {
		x.Verdict = unrecorded
	}
}

// Refuse records req as blocked with v, without asking the plugins: for what
// the protocol itself refuses.
func (s *Session) Refuse(ctx context.Context, req *event.Request, v event.Verdict) *Exchange {
	v.Action = event.Block
	t := s.current.Load()
	if t.unmasked(req) || !s.hide(ctx, t, req, nil) {
		req, v = &event.Request{Operation: req.Operation}, unmasked
	}
	return s.begin(t, req, v)
}

// unmasked reports whether req should have been masked and is not.
func (t *terms) unmasked(req *event.Request) bool {
	return t.AllProtected != nil && req.Sent == nil && len(req.Payload)+len(req.Params) > 0
}

var unmasked = event.Verdict{Rule: "gatehouse/recording", Reason: "the request could not be masked"}

// parameterPart is how much of a parameter is recorded in one frame.
const parameterPart = 1 << 20

// begin records req with the verdict v.
func (s *Session) begin(t *terms, req *event.Request, v event.Verdict) *Exchange {
	x, err := s.recordRequest(t, req)
	if err == nil {
		x.decide(v)
	}
	return x
}

// recordRequest records req. After an error the exchange is blocked.
func (s *Session) recordRequest(t *terms, req *event.Request, cut ...event.Parameter) (*Exchange, error) {
	x := &Exchange{ID: s.last.Add(1), s: s, t: t, req: req, plan: noPlan}
	err := s.record(event.KindRequest, x.ID, req.Append)
	var b []byte
	for _, p := range cut {
		if p.Secret {
			continue
		}
		for part := range slices.Chunk(p.Part, parameterPart) {
			if err == nil {
				b = (&event.Parameter{Param: p.Param, Part: part}).Append(b[:0])
				err = s.append(event.KindParameter, x.ID, b)
			}
		}
	}
	if err != nil {
		x.Verdict = unrecorded
	}
	return x, err
}

var unrecorded = event.Verdict{Rule: "gatehouse/recording", Reason: "the request could not be recorded"}

func (x *Exchange) decide(v event.Verdict) {
	if err := x.s.record(event.KindVerdict, x.ID, v.Append); err != nil {
		v = unrecorded
	}
	x.Verdict = v
}

// Pend prepares a held exchange for Await, so that the client can be told its
// number first. It sets and returns x.Held.
func (x *Exchange) Pend() *event.Pending {
	now := time.Now()
	x.Held = &event.Pending{
		ID:        newID(),
		Session:   x.t.Session,
		Exchange:  x.ID,
		Request:   x.req,
		Verdict:   x.Verdict,
		Digest:    x.digest(),
		Approvers: x.t.Approvers,
		Since:     now,
		Expires:   now.Add(x.t.HoldFor),
	}
	if len(x.req.Masked) > 0 {
		x.secret = &secret{sent: x.req.Sent}
		x.Held.Reveal = x.secret.reveal(x.s, x.ID, x.Held.ID)
	}
	return x.Held
}

func newID() string {
	var b [5]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand
	return base32.StdEncoding.EncodeToString(b[:])
}

// Await blocks until someone decides a held exchange and sets its verdict to
// Allow or Block. The end of ctx blocks it. What was approved is what runs:
// if the request or its context is no longer what was shown, it is blocked, and
// a change of the policy ends the wait.
func (x *Exchange) Await(ctx context.Context) {
	p := x.Held
	if p == nil {
		p = x.Pend()
	}
	defer func() {
		x.Held = nil
		x.secret.drop()
	}()
	pending := event.Notice{Code: "pending", Text: p.ID, Attrs: []event.Attr{{Key: "gatehouse.digest", Value: fmt.Sprintf("%x", p.Digest)}}}
	if x.s.record(event.KindPending, x.ID, pending.Append) != nil || x.s.Commit(ctx) != nil {
		x.Verdict = unrecorded
		return
	}
	waiting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(x.t.InForce, func() { cancel(event.ErrPolicyChanged) })
	defer stop()
	d, err := x.s.approver.Await(waiting, p)
	v := event.Verdict{Rule: x.Verdict.Rule}
	switch {
	case ctx.Err() != nil:
		d.Approved, d.Comment, v.Reason = false, "withdrawn", "the request was withdrawn while it waited for approval"
	case x.t.InForce.Err() != nil:
		d = event.Decision{Comment: event.ErrPolicyChanged.Error(), At: d.At}
		v.Reason = "the policy changed while the request waited for approval " + p.ID
	case err != nil:
		d.Approved, d.Comment, v.Reason = false, err.Error(), "approval "+p.ID+": "+err.Error()
	case !d.Approved:
		v.Reason = denial(p, d)
	case p.Digest != x.digest():
		d.Approved, v.Reason = false, "the request's context changed after it was shown to the approver"
	default:
		v.Action, v.Reason = event.Allow, "approved by "+d.By.Name
		x.affordable, x.Exceeded = x.Exceeded != nil, nil
	}
	if d.At.IsZero() {
		d.At = time.Now()
	}
	if err := x.s.record(event.KindDecision, x.ID, d.Append); err != nil {
		x.Verdict = unrecorded
		return
	}
	x.decide(v)
}

func denial(p *event.Pending, d event.Decision) string {
	reason := "approval " + p.ID + " was denied"
	if d.By.Name != "" {
		reason += " by " + d.By.Name
	}
	if d.Comment != "" {
		reason += ": " + d.Comment
	}
	return reason
}

// Data records bytes that the client is about to get as part of the response.
func (x *Exchange) Data(b []byte) error {
	return x.s.append(event.KindData, x.ID, b)
}

// Accept records how an upload looks that belongs to the request: rows that the
// client sends once the server asks for them, and how its fields are masked in
// what is recorded of it: nil is not at all.
func (x *Exchange) Accept(h *event.Head, ts []event.Treatment) error {
	err := x.s.record(event.KindHead, x.ID, h.Append)
	if err != nil || len(ts) == 0 {
		return err
	}
	return x.s.append(event.KindPlan, x.ID, event.AppendTreatments(nil, ts))
}

// Note records a remark on the exchange.
func (x *Exchange) Note(n event.Notice) error {
	return x.s.record(event.KindNotice, x.ID, n.Append)
}

// JudgesUploads is whether plugins judge rows that are uploaded, so that
// JudgeUpload is to be given them.
func (x *Exchange) JudgesUploads() bool {
	return len(x.t.uploads) > 0 || slices.ContainsFunc(x.t.shadows, func(p named[Roles]) bool { return p.role.Uploads != nil })
}

// JudgeUpload returns what the plugins say of rows of an upload, which are about
// to go to the server, and records what is not Allow. The rows have all fields of
// the upload, which h describes. It may be called while another goroutine calls
// the other methods.
func (x *Exchange) JudgeUpload(ctx context.Context, h *event.Head, rows *event.Rows) event.Verdict {
	strictest := event.Verdict{Action: event.Allow}
	for _, p := range x.t.uploads {
		v, err := p.role.JudgeUpload(ctx, x.t.Session, h, rows)
		if err != nil {
			v = failed(p.plugin, "upload", err)
		}
		if v.Action == event.Hold {
			v.Action = event.Block // which cannot wait in the middle of one
		}
		if v.Action < strictest.Action {
			strictest = v
		}
	}
	for _, p := range x.t.shadows {
		if p.role.Uploads == nil {
			continue
		}
		v, err := p.role.Uploads.JudgeUpload(ctx, x.t.Session, h, rows)
		if x.noteVerdict(p.plugin, "would %s the upload", v, err) != nil {
			return unrecorded
		}
	}
	if strictest.Action == event.Allow {
		return strictest
	}
	return x.RefuseUpload(strictest)
}

// RefuseUpload records that an upload is blocked with v, and returns the verdict.
func (x *Exchange) RefuseUpload(v event.Verdict) event.Verdict {
	if v.Action = event.Block; x.s.record(event.KindVerdict, x.ID, v.Append) != nil {
		return unrecorded
	}
	return v
}

// failed is the verdict where a plugin could not give one.
func failed(plugin, what string, err error) event.Verdict {
	return event.Verdict{
		Rule:   "gatehouse/plugin",
		Reason: fmt.Sprintf("plugin %s could not judge the %s", plugin, what),
		Labels: []event.Attr{{Key: "gatehouse.error", Value: err.Error()}},
	}
}

// Upload records bytes of the upload, which go to the server next: as they are, or
// masked. It may be called while another goroutine calls the other methods.
func (x *Exchange) Upload(b []byte) error {
	return x.s.append(event.KindUpload, x.ID, b)
}

// End records how the response ended. An exchange may end more than once where
// a protocol can continue it.
func (x *Exchange) End(o event.Outcome) error {
	// What is skipped has no result, and is told by who asks, while another
	// goroutine may go on with the response of the same exchange.
	if o.Status != "skipped" {
		if err := x.noteChanges(); err != nil {
			return err
		}
	}
	if err := x.s.record(event.KindOutcome, x.ID, o.Append); err != nil {
		return err
	}
	if len(x.t.enders) == 0 {
		return nil
	}
	told := o // which they may keep
	return x.s.tellEnders(x.t, x.ID, &told)
}
