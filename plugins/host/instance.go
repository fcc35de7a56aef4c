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
	buf      api.Function
	hooks    [hookCount]api.Function // nil where the guest has none
	deadline *deadline
	limit    time.Duration // of one call
	output   *output

	factsOnly bool // what the guest says of itself

	// The guest's buffer: where it is and how much was asked for.
	ptr, size uint32

	stack [2]uint64 // parameters and results of a call

	// Describes the fields that are inspected, and its encoding.
	fields event.Head
	head   []byte
}

// A hook is a function that a guest may have for the host to call.
type hook int

const (
	hookConfigure hook = iota
	hookJudge
	hookTreat
	hookInspect
	hookCount
)

// factsOnly is the bit after those of the hooks: judge and treat see facts
// only.
const factsOnly = 1 << hookCount

var hookNames = [hookCount]string{"configure", "judge", "treat", "inspect"}

func (h hook) String() string { return hookNames[h] }

// Limits of what a guest may answer, in bytes.
var maxReply = [hookCount]uint32{4 << 10, 64 << 10, 1 << 20, 8 << 20}

// minBuffer is the least that is asked of a guest for its buffer, so that most
// calls need not ask.
const minBuffer = 64 << 10

// start makes an instance of p's module and configures it.
func (p *Plugin) start(ctx context.Context) (*instance, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	options := &p.host.options
	in := &instance{deadline: newDeadline(), limit: options.StartTimeout, output: new(output)}
	err := in.run(func() (err error) {
		in.module, err = p.host.runtime.InstantiateModule(in.deadline, p.code, wazero.NewModuleConfig().
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

func (in *instance) prepare(config []byte) error {
	in.buf = in.module.ExportedFunction("buf")
	version, err := in.number("abi_version")
	if err != nil {
		return err
	}
	if version != abiVersion {
		return fmt.Errorf("speaks version %d of the ABI, not %d", version, abiVersion)
	}
	hooks := uint32(1<<hookCount - 1)
	if in.module.ExportedFunction("hooks") != nil {
		if hooks, err = in.number("hooks"); err != nil {
			return err
		}
	}
	if hooks >= 2*factsOnly {
		return fmt.Errorf("hooks: unknown bits in %#x", hooks)
	}
	in.factsOnly = hooks&factsOnly != 0
	for h := range hookCount {
		if hooks&(1<<h) != 0 {
			in.hooks[h] = in.module.ExportedFunction(h.String())
		}
	}
	if in.hooks[hookJudge] == nil && in.hooks[hookTreat] == nil {
		return errors.New("has neither judge nor treat")
	}
	return in.configure(config)
}

const abiVersion = 0

// number calls an exported function without parameters that returns an i32.
func (in *instance) number(name string) (uint32, error) {
	if err := in.call(in.module.ExportedFunction(name)); err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return uint32(in.stack[0]), nil
}

func (in *instance) configure(config []byte) error {
	if len(config) == 0 {
		config = []byte("null")
	}
	if in.hooks[hookConfigure] == nil {
		if string(config) != "null" {
			return errors.New("takes no configuration")
		}
		return nil
	}
	view, err := in.room(len(config))
	if err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	copy(view, config)
	in.stack[0] = uint64(len(config))
	reply, err := in.invoke(hookConfigure)
	if err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	if len(reply) > 0 {
		return errors.New(strings.ToValidUTF8(string(reply), "?"))
	}
	return nil
}

// room returns a view of the guest's buffer of n bytes, to be written before
// the next call of the guest.
func (in *instance) room(n int) ([]byte, error) {
	memory := in.module.Memory()
	if uint64(n) > uint64(in.size) {
		size := uint64(minBuffer)
		for size < uint64(n) {
			size *= 2
		}
		if size > 1<<31 {
			return nil, fmt.Errorf("%w: input of %d bytes", ErrTooLarge, n)
		}
		in.stack[0] = size
		if err := in.call(in.buf); err != nil {
			return nil, fmt.Errorf("buf: %w", err)
		}
		in.ptr, in.size = uint32(in.stack[0]), uint32(size)
		if _, ok := memory.Read(in.ptr, in.size); !ok {
			return nil, fmt.Errorf("%w: buffer of %d bytes at %d is outside the memory", ErrAnswer, size, in.ptr)
		}
	}
	view, ok := memory.Read(in.ptr, uint32(n))
	if !ok {
		return nil, fmt.Errorf("%w: the buffer is outside the memory", ErrAnswer)
	}
	return view, nil
}

// invoke calls h with the parameters in in.stack. The reply is a view of the
// guest's memory, valid until the next call.
func (in *instance) invoke(h hook) ([]byte, error) {
	if err := in.call(in.hooks[h]); err != nil {
		return nil, err
	}
	packed := in.stack[0]
	if int64(packed) < 0 {
		return nil, fmt.Errorf("%w: it reports an error", ErrAnswer)
	}
	ptr, n := uint32(packed>>32), uint32(packed)
	if n > maxReply[h] {
		return nil, fmt.Errorf("%w: %d bytes are more than %d", ErrAnswer, n, maxReply[h])
	}
	reply, ok := in.module.Memory().Read(ptr, n)
	if !ok {
		return nil, fmt.Errorf("%w: %d bytes at %d are outside the memory", ErrAnswer, n, ptr)
	}
	return reply, nil
}

// describe sets in.head to describe those of all that fields lists.
func (in *instance) describe(all []event.Field, fields []int) {
	in.fields.Fields = in.fields.Fields[:0]
	for _, j := range fields {
		in.fields.Fields = append(in.fields.Fields, all[j])
	}
	in.head = in.fields.Append(in.head[:0])
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
