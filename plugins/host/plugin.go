package host

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
)

// What can go wrong in a call. After any of them but ErrClosed and ErrTooLarge
// the instance is thrown away.
var (
	ErrTrap     = errors.New("the plugin trapped")
	ErrTimeout  = errors.New("the plugin took too long")
	ErrAnswer   = errors.New("the plugin's answer is malformed")
	ErrTooLarge = errors.New("too large for the plugin")
	ErrClosed   = errors.New("the plugin is closed")
)

// batchSize is how many bytes of cells go to a guest at a time, unless one row
// is larger.
const batchSize = 64 << 10

// A Plugin is a loaded module with its configuration. It is safe for
// concurrent use.
type Plugin struct {
	host   *Host
	name   string
	digest [32]byte
	code   wazero.CompiledModule
	config []byte

	// What the first instance said of itself.
	uses      [hookCount]bool
	factsOnly bool
	verdicts  memo[event.Verdict]
	answers   memo[[]event.Treatment]

	// A caller needs an instance that is idle, or one of the permits to make
	// one. There are Options.Instances of both together.
	idle   chan *instance
	permit chan struct{}

	closing sync.Once
	closed  chan struct{}

	calls, remembered, traps, timeouts, malformed, cells atomic.Uint64
	busy                                                 atomic.Int64
}

// Stats counts what a plugin did since it was loaded.
type Stats struct {
	Calls      uint64        // of hooks
	Remembered uint64        // answers that needed no call
	Traps      uint64        // calls that trapped
	Timeouts   uint64        // calls that took too long
	Malformed  uint64        // answers that were refused
	Cells      uint64        // values inspected
	Busy       time.Duration // time spent in calls
	Instances  int           // that exist now
}

func newPlugin(h *Host, name string, code wazero.CompiledModule, config []byte) *Plugin {
	n := h.options.Instances
	p := &Plugin{
		host: h, name: name, code: code, config: config,
		idle:   make(chan *instance, n),
		permit: make(chan struct{}, n),
		closed: make(chan struct{}),
	}
	for range n {
		p.permit <- struct{}{}
	}
	return p
}

// open checks the module's interface and starts its first instance.
func (p *Plugin) open(ctx context.Context) error {
	if err := checkInterface(p.code); err != nil {
		return err
	}
	in, err := p.take(ctx)
	if err != nil {
		return err
	}
	for h, f := range in.hooks {
		p.uses[h] = f != nil
	}
	p.factsOnly = in.factsOnly
	p.idle <- in
	return nil
}

// Name returns the name that the plugin was loaded with.
func (p *Plugin) Name() string { return p.name }

// Digest returns the SHA-256 digest of the module.
func (p *Plugin) Digest() [32]byte { return p.digest }

// Pipeline returns p as the pipeline takes it: a Judge if the guest judges, a
// Masker if it treats results, or both.
func (p *Plugin) Pipeline() pipeline.Plugin {
	switch {
	case !p.uses[hookTreat]:
		return judge{p}
	case !p.uses[hookJudge]:
		return masker{p}
	}
	return judgeMasker{judge{p}, masker{p}}
}

// Stats returns p's counters.
func (p *Plugin) Stats() Stats {
	return Stats{
		Calls:      p.calls.Load(),
		Remembered: p.remembered.Load(),
		Traps:      p.traps.Load(),
		Timeouts:   p.timeouts.Load(),
		Malformed:  p.malformed.Load(),
		Cells:      p.cells.Load(),
		Busy:       time.Duration(p.busy.Load()),
		Instances:  cap(p.permit) - len(p.permit),
	}
}

// Close waits for the calls that are under way and frees what p holds. Later
// calls fail with ErrClosed. It is safe to call twice.
func (p *Plugin) Close(ctx context.Context) (err error) {
	p.closing.Do(func() {
		close(p.closed)
		var errs []error
		for range cap(p.permit) {
			select {
			case in := <-p.idle:
				errs = append(errs, in.close())
			case <-p.permit:
			}
		}
		p.host.forget(p)
		errs = append(errs, p.code.Close(ctx))
		err = errors.Join(errs...)
	})
	return err
}

// take returns an instance that is the caller's until give. It waits while all
// of them are in use.
func (p *Plugin) take(ctx context.Context) (*instance, error) {
	select {
	case <-p.closed:
		return nil, ErrClosed
	case in := <-p.idle:
		return in, nil
	default:
	}
	select {
	case in := <-p.idle:
		return in, nil
	case <-p.permit:
		in, err := p.start(ctx)
		if err != nil {
			p.permit <- struct{}{}
		}
		return in, err
	case <-p.closed:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// call runs f with an instance and throws the instance away unless all went
// well. The end of ctx ends the wait for an instance, not a call: that has its
// own limit, which is short.
func (p *Plugin) call(ctx context.Context, h hook, f func(*instance) error) error {
	in, err := p.take(ctx)
	if err != nil {
		return fmt.Errorf("plugin %s: %w", p.name, err)
	}
	p.calls.Add(1)
	begin := time.Now()
	err = f(in)
	p.busy.Add(int64(time.Since(begin)))
	if err == nil || errors.Is(err, ErrTooLarge) {
		p.idle <- in
	} else {
		p.discard(h, in, err)
	}
	if err != nil {
		return fmt.Errorf("plugin %s: %s: %w", p.name, h, err)
	}
	return nil
}

func (p *Plugin) discard(h hook, in *instance, err error) {
	switch {
	case errors.Is(err, ErrTimeout):
		p.timeouts.Add(1)
	case errors.Is(err, ErrTrap):
		p.traps.Add(1)
	default:
		p.malformed.Add(1)
	}
	p.host.options.Log.Warn("plugin instance discarded", "plugin", p.name, "hook", h.String(), "error", err)
	_ = in.close() // it is discarded in any case
	p.permit <- struct{}{}
}

// roomFor is room, but for inputs that no guest should be asked to hold.
func (p *Plugin) roomFor(in *instance, n int) ([]byte, error) {
	if int64(n) > p.host.options.MemoryLimit/4 {
		return nil, fmt.Errorf("%w: input of %d bytes", ErrTooLarge, n)
	}
	return in.room(n)
}

// ask calls h with an input and decodes the answer, unless it remembers one
// from m. What decode reads is valid during the call only.
func ask[V any](ctx context.Context, p *Plugin, h hook, i *input, m *memo[V], decode func([]byte) (V, error)) (v V, err error) {
	if p.factsOnly {
		if v, ok := m.get(i.b); ok {
			p.remembered.Add(1)
			return v, nil
		}
	}
	err = p.call(ctx, h, func(in *instance) error {
		view, err := p.roomFor(in, len(i.b))
		if err != nil {
			return err
		}
		copy(view, i.b)
		in.stack = [2]uint64{uint64(i.split), uint64(len(i.b) - i.split)}
		reply, err := in.invoke(h)
		if err != nil {
			return err
		}
		if v, err = decode(reply); err != nil {
			return fmt.Errorf("%w: %w", ErrAnswer, err)
		}
		return nil
	})
	if err != nil {
		var zero V
		return zero, err
	}
	if p.factsOnly {
		m.put(i.b, v)
	}
	return v, nil
}

type judge struct{ *Plugin }

// Judge asks the plugin for its verdict, whose labels must not be changed.
func (p judge) Judge(ctx context.Context, s *event.Session, r *event.Request) (event.Verdict, error) {
	i := newInput(s, p.factsOnly)
	defer i.free()
	if p.factsOnly {
		facts := *r
		facts.Payload, facts.Params = nil, nil
		r = &facts
	}
	i.b = r.Append(i.b)
	return ask(ctx, p.Plugin, hookJudge, i, &p.verdicts, func(reply []byte) (v event.Verdict, err error) {
		err = v.Decode(reply)
		return v, err
	})
}

type masker struct{ *Plugin }

// Treat asks the plugin how it treats the fields of h. The answer must not be
// changed.
func (p masker) Treat(ctx context.Context, s *event.Session, h *event.Head) ([]event.Treatment, error) {
	i := newInput(s, p.factsOnly)
	defer i.free()
	i.b = h.Append(i.b)
	return ask(ctx, p.Plugin, hookTreat, i, &p.answers, func(reply []byte) ([]event.Treatment, error) {
		ts, err := event.DecodeTreatments(reply)
		if err != nil {
			return nil, err
		}
		return ts, p.checkTreatments(ts, h)
	})
}

func (p masker) checkTreatments(ts []event.Treatment, h *event.Head) error {
	if len(ts) != len(h.Fields) {
		return fmt.Errorf("%d treatments for %d fields", len(ts), len(h.Fields))
	}
	for _, t := range ts {
		if t.Kind == event.Replace || t.Kind == event.Inspect && !p.uses[hookInspect] {
			return fmt.Errorf("treatment %d", t.Kind)
		}
	}
	return nil
}

// Inspect gives the plugin the fields of rows and returns its edits, which are
// valid until the next call with the same rows.
func (p masker) Inspect(ctx context.Context, _ *event.Session, rows *event.Rows, fields []int) (edits []event.Edit, err error) {
	rows.DropEdits()
	if rows.Len() == 0 || len(fields) == 0 {
		return nil, nil
	}
	err = p.call(ctx, hookInspect, func(in *instance) error {
		in.describe(rows.Fields, fields)
		for from := 0; from < rows.Len(); {
			to, err := p.inspect(in, rows, fields, from, &edits)
			if err != nil {
				return err
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

// inspect gives the plugin one batch of the rows from from on, described by
// in.head, and returns where the batch ends.
func (p masker) inspect(in *instance, rows *event.Rows, fields []int, from int, edits *[]event.Edit) (to int, err error) {
	to, size := event.SizeBatch(rows, fields, in.head, from, batchSize)
	view, err := p.roomFor(in, size)
	if err != nil {
		return 0, err
	}
	event.AppendBatch(view[:0:size], rows, fields, in.head, from, to)
	in.stack[0] = uint64(size)
	reply, err := in.invoke(hookInspect)
	if err != nil {
		return 0, err
	}
	if *edits, err = rows.TakeEdits(reply, fields, from, to); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return to, nil
}

type judgeMasker struct {
	judge
	masker
}

// Name returns the name that the plugin was loaded with.
func (p judgeMasker) Name() string { return p.judge.name }

var (
	_ pipeline.Judge  = judge{}
	_ pipeline.Masker = masker{}
	_ interface {
		pipeline.Plugin
		pipeline.Judge
		pipeline.Masker
	} = judgeMasker{}
)
