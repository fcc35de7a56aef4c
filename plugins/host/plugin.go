package host

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"

	"gatehouse/core/detect"
	"gatehouse/core/event"
)

// What can go wrong in a call. After a trap, a time-out and a malformed answer
// the instance is thrown away.
var (
	ErrTrap     = errors.New("the plugin trapped")
	ErrTimeout  = errors.New("the plugin took too long")
	ErrAnswer   = errors.New("the plugin's answer is malformed")
	ErrTooLarge = errors.New("too large for the plugin")
	ErrClosed   = errors.New("the plugin is closed")
	ErrFailing  = errors.New("the plugin keeps failing")
)

// A Plugin is a loaded module with its configuration. It is safe for
// concurrent use.
type Plugin struct {
	host   *Host
	name   string
	digest [32]byte
	code   wazero.CompiledModule
	config []byte

	globals int  // that change
	keeps   bool // memory and globals are all its state

	// What the first instance said of itself.
	uses      [hookCount]bool
	factsOnly bool
	finds     []event.Detector
	detectors detect.Set
	origin    *snapshot // what instances begin with; nil if each starts

	states     memo[[]byte]
	verdicts   memo[event.Verdict]
	treatments memo[[]event.Treatment]

	pool    pool
	breaker breaker

	closing sync.Once
	closed  chan struct{}

	calls, remembered, traps, timeouts, malformed, batches, cells atomic.Uint64
	gave                                                          [event.Allow + 1]atomic.Uint64
	busy                                                          atomic.Int64
}

// Stats counts what a plugin did since it was loaded.
type Stats struct {
	Calls      uint64                  // of hooks
	Remembered uint64                  // answers that needed no call
	Traps      uint64                  // calls that trapped
	Timeouts   uint64                  // calls that took too long
	Malformed  uint64                  // answers that were refused
	Batches    uint64                  // of values
	Cells      uint64                  // values in them
	Busy       time.Duration           // time spent in calls
	Verdicts   [event.Allow + 1]uint64 // by their action, remembered ones too
	Instances  int                     // that exist now
	Opened     uint64                  // times that it was found to keep failing
	Failing    error                   // why all requests are refused now, or nil
	Since      time.Time               // since when
	Principals int                     // whose requests are refused now, because their calls keep failing
}

func newPlugin(h *Host, name string, code wazero.CompiledModule, config []byte) *Plugin {
	p := &Plugin{
		host: h, name: name, code: code, config: config,
		closed: make(chan struct{}),
	}
	p.pool.turns = make(chan struct{}, h.options.Instances)
	p.pool.dirty = make(chan struct{}, 1)
	p.breaker.limit, p.breaker.pause = h.options.Failures, h.options.Pause
	return p
}

// open checks the module's interface and starts its first instance, from which
// the others are copied.
func (p *Plugin) open(ctx context.Context) error {
	if err := checkInterface(p.code); err != nil {
		return err
	}
	in, err := p.start(ctx)
	if err != nil {
		return err
	}
	if p.detectors, err = detect.New(in.finds); err != nil {
		return errors.Join(fmt.Errorf("configure: %w", err), in.close())
	}
	p.uses, p.factsOnly, p.finds = in.uses(), in.factsOnly, in.finds
	if p.keeps {
		if p.origin, err = in.snapshot(); err == nil {
			err = in.restore(p.origin)
		}
		if err != nil {
			return errors.Join(err, in.close())
		}
	}
	p.pool.count++
	p.pool.put(in)
	p.pool.washer.Go(p.keepClean)
	return nil
}

// Name returns the name that the plugin was loaded with.
func (p *Plugin) Name() string { return p.name }

// Digest returns the SHA-256 digest of the module.
func (p *Plugin) Digest() [32]byte { return p.digest }

// Hooks returns the names of the hooks that the plugin uses.
func (p *Plugin) Hooks() (names []string) {
	for h, used := range p.uses {
		if used {
			names = append(names, hook(h).String())
		}
	}
	return names
}

// Stats returns p's counters.
func (p *Plugin) Stats() Stats {
	var verdicts [event.Allow + 1]uint64
	for a := range verdicts {
		verdicts[a] = p.gave[a].Load()
	}
	opened, since, principals, failing := p.breaker.state()
	return Stats{
		Verdicts:   verdicts,
		Calls:      p.calls.Load(),
		Remembered: p.remembered.Load(),
		Traps:      p.traps.Load(),
		Timeouts:   p.timeouts.Load(),
		Malformed:  p.malformed.Load(),
		Batches:    p.batches.Load(),
		Cells:      p.cells.Load(),
		Busy:       time.Duration(p.busy.Load()),
		Instances:  p.pool.size(),
		Opened:     opened,
		Failing:    failing,
		Since:      since,
		Principals: principals,
	}
}

// Close waits for the calls that are under way and frees what p holds. Later
// calls fail with ErrClosed. It is safe to call twice.
func (p *Plugin) Close(ctx context.Context) (err error) {
	p.closing.Do(func() {
		close(p.closed)
		p.pool.washer.Wait()
		for range cap(p.pool.turns) {
			p.pool.turns <- struct{}{} // none is in use any more
		}
		var errs []error
		for _, in := range p.pool.takeAll() {
			errs = append(errs, in.close())
		}
		if p.origin != nil {
			errs = append(errs, p.origin.image.close())
		}
		p.host.forget(p)
		errs = append(errs, p.code.Close(ctx))
		err = errors.Join(errs...)
	})
	return err
}

func (p *Plugin) isClosed() bool {
	select {
	case <-p.closed:
		return true
	default:
		return false
	}
}

// call runs f with an instance and throws the instance away unless all went
// well. The instance has seen nothing of other sessions than owner's, and nothing
// at all if clean is true. The end of ctx ends the wait for an instance, not a
// call: that has its own limits, which are short.
func (p *Plugin) call(ctx context.Context, owner *Session, who principal, h hook, clean bool, f func(*instance) error) error {
	if err := p.breaker.allow(who); err != nil {
		return fmt.Errorf("plugin %s: %w", p.name, err)
	}
	in, err := p.take(ctx, owner, clean)
	if err != nil {
		p.result(who, err)
		return fmt.Errorf("plugin %s: %w", p.name, err)
	}
	p.calls.Add(1)
	begin := time.Now()
	err = f(in)
	p.busy.Add(int64(time.Since(begin)))
	p.result(who, err)
	if err == nil || errors.Is(err, ErrTooLarge) {
		p.give(in)
	} else {
		p.discard(h, in, err)
	}
	if err != nil {
		return fmt.Errorf("plugin %s: %s: %w", p.name, h, err)
	}
	return nil
}

// result tells the breaker how a call for who went, unless it is not the plugin's.
func (p *Plugin) result(who principal, err error) {
	if errors.Is(err, ErrTooLarge) || errors.Is(err, ErrClosed) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		p.breaker.skip(who)
		return
	}
	own, all := p.breaker.done(who, err)
	log := p.host.options.Log.With("plugin", p.name, "for", p.breaker.pause, "error", err)
	if own {
		log.Error("plugin keeps failing for one principal, whose requests are refused", "subject", who.subject)
	}
	if all {
		log.Error("plugin keeps failing, all requests that need it are refused")
	}
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
	p.pool.lost()
	<-p.pool.turns
}
