package host

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
)

// batchSize is how many bytes of cells go to a guest at a time, unless one row
// is larger.
const batchSize = 64 << 10

// A Session is a plugin at work in one session. It is safe for concurrent use.
type Session struct {
	*Plugin
	session []byte // its section of inputs; nil where each call has its own
	who     principal
	state   []byte // its section of inputs; empty where there is none
	said    said
}

// Open tells the plugin of a session and returns it as it takes part in that:
// with what it answers as the session's state. Close it when the session ends.
func (p *Plugin) Open(ctx context.Context, s *event.Session) (*Session, error) {
	o := &Session{Plugin: p, session: p.appendSession(nil, s), who: principalOf(s)}
	if !p.uses[hookOpen] {
		return o, nil
	}
	i := o.input(s)
	defer i.free()
	state, err := ask(ctx, o, s, hookOpen, i, &p.states, func(reply *event.Message) ([]byte, error) {
		state := reply.Section(event.SectionState)
		if len(state) > maxState {
			return nil, fmt.Errorf("state of %d bytes", len(state))
		}
		return bytes.Clone(state), nil
	})
	if len(state) > 0 {
		o.state = event.AppendSection(nil, event.SectionState, state)
	}
	return o, err
}

// State returns what the plugin answered when the session was opened, or nil.
func (p *Session) State() []byte {
	var m event.Message
	if m.Decode(p.state) != nil {
		return nil
	}
	return m.Section(event.SectionState)
}

// Pipeline returns p as it takes part in any session that has no state of the
// plugin's own: one for which Open is not called.
func (p *Plugin) Pipeline() pipeline.Plugin { return &Session{Plugin: p} }

// Roles are those of p in such a session.
func (p *Plugin) Roles() pipeline.Roles { return (&Session{Plugin: p}).Roles() }

// Roles are those that the guest has hooks for.
func (p *Session) Roles() (r pipeline.Roles) {
	if p.uses[hookRequest] {
		r.Judge = p
	}
	if p.uses[hookHead] {
		r.Masker = p
	}
	if p.uses[hookUpload] {
		r.Uploads = p
	}
	if p.uses[hookEnd] {
		r.Ender = p
	}
	if p.uses[hookClose] {
		r.Closer = p
	}
	return r
}

// owner is who instances belong to that have seen p's inputs: nil where p stands
// for any session.
func (p *Session) owner() *Session {
	if p.session == nil {
		return nil
	}
	return p
}

// whose is for whom p calls in session s.
func (p *Session) whose(s *event.Session) principal {
	if p.session == nil {
		return principalOf(s)
	}
	return p.who
}

// Close tells the plugin that the session has ended, or goes on without it. It
// returns the plugin's note, or nil.
func (p *Session) Close(ctx context.Context) (*event.Note, error) {
	s := new(event.Session)
	i := p.input(s)
	defer i.free()
	return p.note(ctx, s, hookClose, i)
}

func (p *Plugin) appendSession(b []byte, s *event.Session) []byte {
	if p.factsOnly {
		s = &event.Session{
			Gate: s.Gate, Protocol: s.Protocol, Resource: s.Resource, Policy: s.Policy,
			Principal: s.Principal, Attrs: s.Attrs,
		}
		s.Principal.Expires = time.Time{}
	}
	b, at := event.BeginSection(b, event.SectionSession)
	return event.EndSection(s.Append(b), at)
}

// An input is the message that a hook gets.
type input struct{ b []byte }

// inputs keeps the memory of inputs that are no longer used.
var inputs = sync.Pool{New: func() any { return new(input) }}

// maxKept is the largest input whose memory is kept, in bytes.
const maxKept = 256 << 10

// newInput returns an input that begins with b.
func newInput(b []byte) *input {
	i := inputs.Get().(*input)
	i.b = append(i.b[:0], b...)
	return i
}

func (i *input) free() {
	if cap(i.b) <= maxKept {
		inputs.Put(i)
	}
}

// section appends a section whose contents encode appends.
func (i *input) section(s event.Section, encode func([]byte) []byte) {
	b, at := event.BeginSection(i.b, s)
	i.b = event.EndSection(encode(b), at)
}

// input returns an input that begins with the session and its state.
func (p *Session) input(s *event.Session) *input {
	i := newInput(p.session)
	if p.session == nil {
		i.b = p.appendSession(i.b, s)
	}
	i.b = append(i.b, p.state...)
	return i
}

// tooLarge refuses inputs that no guest should be asked to hold.
func (p *Plugin) tooLarge(n int) error {
	if int64(n) > p.host.options.MemoryLimit/4 {
		return fmt.Errorf("%w: input of %d bytes", ErrTooLarge, n)
	}
	return nil
}

// ask calls h in session s with an input and decodes the answer, unless it remembers one
// from m, which may be nil. What decode reads is valid during the call only.
func ask[V any](ctx context.Context, p *Session, s *event.Session, h hook, i *input, m *memo[V], decode func(*event.Message) (V, error)) (v V, err error) {
	who := p.whose(s)
	remembers := m != nil && p.remembers()
	if remembers && p.answers(who) {
		if v, ok := m.get(i.b); ok {
			p.remembered.Add(1)
			return v, nil
		}
	}
	// What is remembered goes to other sessions: it must not depend on what the
	// guest has seen of this one.
	err = p.call(ctx, p.owner(), who, h, remembers, func(in *instance) error {
		if err := p.tooLarge(len(i.b)); err != nil {
			return err
		}
		if err := in.ask(h, i.b); err != nil {
			return err
		}
		if v, err = decode(&in.reply); err != nil {
			return fmt.Errorf("%w: %w", ErrAnswer, err)
		}
		return nil
	})
	if err != nil {
		var zero V
		return zero, err
	}
	if remembers {
		m.put(i.b, v)
	}
	return v, nil
}

// remembers is whether the same input has the same answer.
func (p *Plugin) remembers() bool {
	return p.factsOnly && !p.host.options.Clock && !p.host.options.Random
}

// answers is whether p may answer from memory for who: it would be asked otherwise.
func (p *Plugin) answers(who principal) bool { return !p.isClosed() && !p.breaker.isOpen(who) }

// sharedFacts returns the facts of r if they and its labels are all of it that the
// guest sees, and if its verdict is remembered; else nil.
func (p *Session) sharedFacts(r *event.Request) *event.Facts {
	if p.session == nil || !p.remembers() || len(r.Masked) > 0 {
		return nil
	}
	return r.Facts()
}

func decodeVerdict(reply *event.Message) (v event.Verdict, err error) {
	if err = v.Decode(reply.Section(event.SectionVerdict)); err == nil {
		err = checkVerdict(&v)
	}
	return v, err
}

// Judge asks the plugin for its verdict, whose labels must not be changed.
func (p *Session) Judge(ctx context.Context, s *event.Session, r *event.Request) (event.Verdict, error) {
	shared := p.sharedFacts(r)
	if shared != nil && p.answers(p.who) {
		if v, ok := p.said.get(shared, r.Labels); ok {
			p.remembered.Add(1)
			p.gave[v.Action].Add(1)
			return v, nil
		}
	}
	i := p.input(s)
	defer i.free()
	if p.factsOnly {
		facts := *r
		facts.Payload, facts.Params, facts.Cut = nil, nil, nil
		r = &facts
	}
	i.section(event.SectionRequest, r.Append)
	v, err := ask(ctx, p, s, hookRequest, i, &p.verdicts, decodeVerdict)
	if err == nil {
		p.gave[v.Action].Add(1)
		if shared != nil {
			p.said.put(shared, r.Labels, v)
		}
	}
	return v, err
}

// Treat asks the plugin how it treats the fields of h. The answer must not be
// changed.
func (p *Session) Treat(ctx context.Context, s *event.Session, h *event.Head) ([]event.Treatment, error) {
	i := p.input(s)
	defer i.free()
	i.section(event.SectionHead, h.Append)
	return ask(ctx, p, s, hookHead, i, &p.treatments, func(reply *event.Message) ([]event.Treatment, error) {
		ts, err := event.DecodeTreatments(reply.Section(event.SectionTreatments))
		if err != nil {
			return nil, err
		}
		return ts, p.checkTreatments(ts, h)
	})
}

// Inspect gives the plugin the fields of rows and returns its edits, which are
// valid until the next call with the same rows.
func (p *Session) Inspect(ctx context.Context, s *event.Session, rows *event.Rows, fields []int) (edits []event.Edit, err error) {
	rows.DropEdits()
	if rows.Len() == 0 || len(fields) == 0 {
		return nil, nil
	}
	err = p.call(ctx, p.owner(), p.whose(s), hookRows, false, func(in *instance) error {
		in.describe(p.state, rows.Fields, fields)
		for from := 0; from < rows.Len(); {
			to, err := p.batch(in, hookRows, rows, fields, from)
			if err != nil {
				return err
			}
			if edits, err = rows.TakeEdits(&in.reply, fields, from, to); err != nil {
				return fmt.Errorf("%w: %w", ErrAnswer, err)
			}
			from = to
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	p.cells.Add(uint64(rows.Len() * len(fields)))
	return edits, nil
}

// batch calls h with in.before and one batch of the rows from from on, and
// returns where the batch ends.
func (p *Plugin) batch(in *instance, h hook, rows *event.Rows, fields []int, from int) (to int, err error) {
	to, size := event.SizeBatch(rows, fields, len(in.before), from, batchSize)
	size += len(in.before)
	if err := p.tooLarge(size); err != nil {
		return 0, err
	}
	view, err := in.room(size)
	if err != nil {
		return 0, err
	}
	event.AppendBatch(append(view[:0:size], in.before...), rows, fields, from, to)
	p.batches.Add(1)
	return to, in.invoke(h, size)
}

// Detect returns the edits of what the plugin's detectors find, of which how
// says what is done to it, one for each of fields.
func (p *Session) Detect(edits []event.Edit, rows *event.Rows, fields []int, how [][]event.Detection) []event.Edit {
	return p.detectors.Search(edits, rows, fields, how)
}

// JudgeUpload asks the plugin whether rows that a client sends may go on to the
// server. The head describes all of their fields.
func (p *Session) JudgeUpload(ctx context.Context, s *event.Session, h *event.Head, rows *event.Rows) (v event.Verdict, err error) {
	v.Action = event.Allow
	if rows.Len() == 0 || len(h.Fields) == 0 {
		return v, nil
	}
	i := p.input(s)
	defer i.free()
	i.section(event.SectionHead, h.Append)
	fields := make([]int, len(h.Fields))
	for j := range fields {
		fields[j] = j
	}
	err = p.call(ctx, p.owner(), p.whose(s), hookUpload, false, func(in *instance) error {
		in.before = append(in.before[:0], i.b...)
		for from := 0; from < rows.Len() && v.Action == event.Allow; {
			to, err := p.batch(in, hookUpload, rows, fields, from)
			if err != nil {
				return err
			}
			if v, err = decodeVerdict(&in.reply); err != nil {
				return fmt.Errorf("%w: %w", ErrAnswer, err)
			}
			from = to
		}
		return nil
	})
	if err != nil {
		return event.Verdict{}, err
	}
	p.cells.Add(uint64(rows.Len() * len(fields)))
	p.gave[v.Action].Add(1)
	return v, nil
}

// End tells the plugin how a response ended and returns its note, or nil.
func (p *Session) End(ctx context.Context, s *event.Session, o *event.Outcome) (*event.Note, error) {
	i := p.input(s)
	defer i.free()
	i.section(event.SectionOutcome, o.Append)
	return p.note(ctx, s, hookEnd, i)
}

func (p *Session) note(ctx context.Context, s *event.Session, h hook, i *input) (*event.Note, error) {
	return ask(ctx, p, s, h, i, nil, func(reply *event.Message) (*event.Note, error) {
		b := reply.Section(event.SectionNote)
		if len(b) == 0 {
			return nil, nil
		}
		n := new(event.Note)
		if err := n.Decode(b); err != nil {
			return nil, err
		}
		return n, checkNote(n)
	})
}

var (
	_ pipeline.Judge    = (*Session)(nil)
	_ pipeline.Masker   = (*Session)(nil)
	_ pipeline.Detector = (*Session)(nil)
	_ pipeline.Uploads  = (*Session)(nil)
	_ pipeline.Ender    = (*Session)(nil)
	_ pipeline.Closer   = (*Session)(nil)
)
