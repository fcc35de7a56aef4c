package host

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"gatehouse/core/event"
)

// An instance is one guest with its memory. One caller uses it at a time.
type instance struct {
	module   api.Module
	buffer   api.Function
	hooks    [hookCount]api.Function // nil where the guest has none
	deadline *deadline
	limit    time.Duration // of one call
	output   *output

	factsOnly bool // what the guest says of itself

	// The guest's buffer: where it is and how much was asked for.
	ptr, size uint32

	stack [1]uint64 // the parameter and the result of a call

	reply  event.Message    // the answer of the last call
	fields event.Head       // describes the fields that are inspected
	before []byte           // the sections of an input before its batch
	finds  []event.Detector // that the guest declared
}

// start makes an instance of p's module and configures it.
func (p *Plugin) start(ctx context.Context) (*instance, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	options := &p.host.options
	in := &instance{deadline: newDeadline(), limit: options.StartTimeout, output: new(output)}
	err := in.run(func() (err error) {
		in.module, err = p.host.runtime.InstantiateModule(in.deadline, p.code, options.granted(wazero.NewModuleConfig()).
			WithName("").
			WithStartFunctions("_initialize").
			WithStdout(in.output).
			WithStderr(in.output))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	if err := in.prepare(p.config); err != nil {
		return nil, errors.Join(err, in.close())
	}
	in.output.discard()
	in.limit = options.Timeout
	return in, nil
}

// run calls the guest by f within the time that in allows.
func (in *instance) run(f func() error) error {
	in.deadline.begin(in.limit)
	err := f()
	if !in.deadline.end() {
		return ErrTimeout
	}
	if err != nil {
		return in.explain(err)
	}
	return nil
}

// call calls the guest's function f with the parameters in in.stack, where it
// leaves its result.
func (in *instance) call(f api.Function) error {
	return in.run(func() error { return f.CallWithStack(in.deadline, in.stack[:]) })
}

// explain turns an error of the runtime into one of ours: the first line, and
// what the guest wrote while it started.
func (in *instance) explain(err error) error {
	line, _, _ := strings.Cut(err.Error(), "\n")
	if said := in.output.String(); said != "" {
		line += ": " + said
	}
	return fmt.Errorf("%w: %s", ErrTrap, line)
}

func (in *instance) close() error { return in.module.Close(context.Background()) }

// A deadline is the context of all calls of one instance. It ends once, when a
// call takes too long; the instance ends with it. A context for each call would
// have to be allocated.
type deadline struct {
	done  chan struct{}
	timer *time.Timer
}

func newDeadline() *deadline {
	d := &deadline{done: make(chan struct{})}
	d.timer = time.AfterFunc(time.Hour, func() { close(d.done) })
	d.timer.Stop()
	return d
}

// begin starts the time that a call may take.
func (d *deadline) begin(limit time.Duration) { d.timer.Reset(limit) }

// end stops it and reports whether there was time left.
func (d *deadline) end() bool { return d.timer.Stop() }

func (d *deadline) Deadline() (time.Time, bool) { return time.Time{}, false }
func (d *deadline) Done() <-chan struct{}       { return d.done }
func (d *deadline) Value(any) any               { return nil }
func (d *deadline) Err() error {
	select {
	case <-d.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// An output keeps the first bytes that a guest writes, until it is told to
// discard them.
type output struct {
	b         []byte
	discarded bool
}

const maxOutput = 4 << 10

// Write never fails: what is too much is dropped.
func (o *output) Write(p []byte) (int, error) {
	if room := maxOutput - len(o.b); !o.discarded && room > 0 {
		o.b = append(o.b, p[:min(len(p), room)]...)
	}
	return len(p), nil
}

func (o *output) discard() { o.b, o.discarded = nil, true }

func (o *output) String() string {
	return strings.TrimSpace(strings.ToValidUTF8(string(o.b), "?"))
}
