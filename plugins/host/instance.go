package host

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/sys"

	"gatehouse/core/event"
	"gatehouse/plugins/host/fuel"
)

// An instance is one guest with its memory. One caller uses it at a time.
type instance struct {
	limits  *Options
	module  api.Module
	memory  *memory
	fuel    api.MutableGlobal
	stack   api.MutableGlobal
	globals []api.MutableGlobal // of the guest
	buffer  api.Function
	hooks   [hookCount]api.Function // nil where the guest has none
	world   world
	output  output

	budget int64     // of fuel for one call
	left   int64     // of it that the guest does not have yet
	begin  time.Time // of the call

	factsOnly bool // what the guest says of itself

	// The guest's buffer: where it is and how much was asked for.
	ptr, size uint32

	args [1]uint64 // the parameter and the result of a call

	reply  event.Message    // the answer of the last call
	fields event.Head       // describes the fields that are inspected
	before []byte           // the sections of an input before its batch
	finds  []event.Detector // that the guest declared

	// The session whose inputs the guest has seen since it was clean: nil if
	// none or, where used, several.
	owner *Session
	used  bool
}

// instantiate makes an instance of p's module in which no code has run.
func (p *Plugin) instantiate(ctx context.Context) (*instance, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	options := &p.host.options
	in := &instance{limits: options, budget: options.StartFuel}
	var err error
	if in.memory, err = newMemory(options.MemoryLimit / pageSize * pageSize); err != nil {
		return nil, err
	}
	allocate := experimental.MemoryAllocatorFunc(func(_, _ uint64) experimental.LinearMemory { return in.memory })
	config := wazero.NewModuleConfig().
		WithName("").
		WithStartFunctions().
		WithWalltime(in.world.walltime, sys.ClockResolution(readingTakes)).
		WithNanotime(in.world.nanotime, sys.ClockResolution(readingTakes))
	switch {
	case options.Clock && options.Now != nil:
		config = config.WithWalltime(func() (sec int64, nsec int32) {
			now := options.Now()
			return now.Unix(), int32(now.Nanosecond())
		}, sys.ClockResolution(readingTakes))
	case options.Clock:
		config = config.WithSysWalltime().WithSysNanotime()
	}
	in.module, err = p.host.runtime.InstantiateModule(experimental.WithMemoryAllocator(ctx, allocate), p.code, config)
	if err != nil {
		in.memory.Free()
		return nil, fmt.Errorf("start: %s", brief(err.Error()))
	}
	in.fuel, in.stack = in.counter(fuel.Fuel), in.counter(fuel.Stack)
	in.stack.Set(uint64(options.StackLimit / slot))
	for i := range p.globals {
		in.globals = append(in.globals, in.counter(fuel.Global(i)))
	}
	return in, nil
}

func (in *instance) counter(name string) api.MutableGlobal {
	return in.module.ExportedGlobal(name).(api.MutableGlobal)
}

// start makes an instance of p's module and configures it.
func (p *Plugin) start(ctx context.Context) (*instance, error) {
	in, err := p.instantiate(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{fuel.Start, "_initialize"} {
		if f := in.module.ExportedFunction(name); f != nil {
			if err := in.call(f); err != nil {
				return nil, errors.Join(fmt.Errorf("start: %w", err), in.close())
			}
		}
	}
	if err := in.prepare(p.config); err != nil {
		return nil, errors.Join(err, in.close())
	}
	in.output.discard()
	in.budget = p.host.options.Fuel
	return in, nil
}

// call calls the guest's function f with the parameters in in.args, where it
// leaves its result.
func (in *instance) call(f api.Function) error {
	granted := min(in.budget, quantum)
	in.left = in.budget - granted
	in.fuel.Set(uint64(granted))
	in.begin = time.Now()
	if err := f.CallWithStack((*guest)(in), in.args[:]); err != nil {
		return in.explain(err)
	}
	return nil
}

// tick gives a guest that has used up its fuel more of it. It ends the call if
// there is none.
func (in *instance) tick(fuel int64) int64 {
	in.left += fuel
	if in.left <= 0 {
		panic(errFuel)
	}
	if time.Since(in.begin) > in.limits.Timeout {
		panic(errStuck)
	}
	granted := min(in.left, quantum)
	in.left -= granted
	return granted
}

// spend charges for what the host does for the guest.
func (in *instance) spend(n int64) {
	left := int64(in.fuel.Get()) - n
	if left < 0 {
		left = in.tick(left)
	}
	in.fuel.Set(uint64(left))
}

var (
	errFuel  = errors.New("its instructions are used up")
	errStuck = errors.New("its time is up")
)

// explain turns an error of the runtime into one of ours: the first line, and
// what the guest wrote while it started.
func (in *instance) explain(err error) error {
	switch {
	case errors.Is(err, errFuel), int64(in.fuel.Get()) < -fuel.Overdraft:
		return fmt.Errorf("%w: more than %d instructions", ErrTimeout, in.budget)
	case errors.Is(err, errStuck):
		return fmt.Errorf("%w: more than %v", ErrTimeout, in.limits.Timeout)
	case int64(in.stack.Get()) < 0:
		return fmt.Errorf("%w: its stack takes more than %d bytes", ErrTrap, in.limits.StackLimit)
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	if said := in.output.String(); said != "" {
		line += ": " + said
	}
	return fmt.Errorf("%w: %s", ErrTrap, line)
}

func (in *instance) close() error { return in.module.Close(context.Background()) }

// A guest is the context of all calls of an instance. It never ends.
type guest instance

// inCall is the key of the instance in a guest.
type inCall struct{}

// calling returns the instance that calls the host.
func calling(ctx context.Context) *instance { return ctx.Value(inCall{}).(*instance) }

// Value returns the instance.
func (g *guest) Value(key any) any {
	if key == (inCall{}) {
		return (*instance)(g)
	}
	return nil
}

func (*guest) Deadline() (time.Time, bool) { return time.Time{}, false }
func (*guest) Done() <-chan struct{}       { return nil }
func (*guest) Err() error                  { return nil }

// An output keeps the first bytes that a guest writes, until it is told to
// discard them.
type output struct {
	b         []byte
	discarded bool
}

const maxOutput = 4 << 10

// write drops what is too much.
func (o *output) write(p []byte) {
	if room := maxOutput - len(o.b); !o.discarded && room > 0 {
		o.b = append(o.b, p[:min(len(p), room)]...)
	}
}

func (o *output) discard() { o.b, o.discarded = nil, true }

func (o *output) String() string {
	return strings.TrimSpace(clean(string(o.b)))
}
