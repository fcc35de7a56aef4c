// Package host runs plugins: WebAssembly guests that judge requests and mask
// responses. It checks a module before compiling it, keeps compiled code on
// disk, pools instances, and trusts nothing that comes back. The interface
// between host and guest is specified in sdk/ABI.md.
//
// What a guest may take is limited, by numbers that are Options. Its modules
// are rewritten (package fuel) so that they count instructions and stack
// themselves: a call that takes too much of either is ended, at the same point
// each time, and about every millisecond a guest leaves the processor to the
// host. A clock is the last resort only.
//
// Instances are shared by all sessions, and nothing of one session is there in
// another: an instance goes back to what it was after its start before it serves
// another session. It starts once; a snapshot of its memory and its globals,
// shared until it is written to, is what others begin with and go back to. One
// clean instance is kept at hand. A guest that changes what a snapshot has not,
// its tables or the size of its memory, is replaced by a new one instead.
//
// After a trap, a malformed answer or a call that takes too much the instance is
// thrown away, and the call fails. A plugin whose calls keep failing is not
// called for a while: those that ask for it are refused at once (ErrFailing). If it
// is one principal whose calls fail, only that one is.
//
// A guest may import functions of wasi_snapshot_preview1 only, because the
// runtimes of ordinary languages ask for them at start. What stands behind them
// is empty: no files, no arguments, no environment, a clock that starts at the
// same moment in every instance and moves only when it is read, sleeps that
// return at once, and random bytes that are the same in every instance. What a
// guest writes to its output while it starts is kept for the error message;
// what it writes afterwards could quote values that it was given, and is thrown
// away.
package host

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"gatehouse/plugins/host/fuel"
)

// Defaults of the Options.
const (
	DefaultMemoryLimit = 64 << 20
	DefaultFuel        = 1_000_000_000
	DefaultStartFuel   = 10_000_000_000
	DefaultStackLimit  = 4 << 20
	DefaultTimeout     = time.Minute
	DefaultModule      = 8 << 20
	DefaultBody        = 128 << 10
	DefaultFailures    = 10
	DefaultPause       = 10 * time.Second
)

// MaxTable is the number of elements of a module's table. It is no option.
const MaxTable = 1 << 16

// quantum is how much fuel a guest gets at a time: about a millisecond's. Then
// it is the turn of the host, and of Go's garbage collector.
const quantum = 1_000_000

// slot is what one unit of the stack is for, in bytes.
const slot = 8

const pageSize = 64 << 10

// Options are what a Host is made of. Zero fields mean the default.
type Options struct {
	// CacheDir keeps compiled code between runs; nobody else may write to
	// it. Without one every start compiles anew.
	CacheDir string
	// MemoryLimit is how much memory one instance may have, in bytes.
	MemoryLimit int64
	// Fuel is what one call may take, in instructions, which is the same on
	// any machine, however busy. Bulk operations count by their length.
	Fuel int64
	// StartFuel is what each step of an instance's start may take.
	StartFuel int64
	// StackLimit is how much stack a call may take, in bytes: about what
	// its functions' parameters, locals and values add up to.
	StackLimit int64
	// Timeout is how long one call may take: the last resort, for a gate
	// that does not get on. It is Fuel that decides what is too much.
	Timeout time.Duration
	// Module is the size of a module, and Body that of one function's body,
	// in bytes. Compiling takes time and memory that grow faster than a body
	// does.
	Module, Body int
	// Instances is how many instances a plugin may have, and so how many
	// calls may be in it at a time; further callers wait. The default is
	// one for each processor, since a call never blocks.
	Instances int
	// Clock and Random grant guests the real clock and real randomness. Then
	// no answer is remembered. A plugin that needs one that it has not is not
	// loaded.
	Clock, Random bool
	// Now is the real clock, for tests of plugins. The default is the system's.
	Now func() time.Time
	// Failures is how many calls of a plugin fail in succession before those
	// that ask for it are refused, for a Pause: the principal all of whose calls
	// they are, or everybody if they are of several. Then one call is tried.
	Failures int
	Pause    time.Duration
	Log      *slog.Logger
}

func (o *Options) setDefaults() {
	if o.MemoryLimit == 0 {
		o.MemoryLimit = DefaultMemoryLimit
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Fuel == 0 {
		o.Fuel = DefaultFuel
	}
	if o.StartFuel == 0 {
		o.StartFuel = max(DefaultStartFuel, o.Fuel)
	}
	if o.StackLimit == 0 {
		o.StackLimit = DefaultStackLimit
	}
	if o.Module == 0 {
		o.Module = DefaultModule
	}
	if o.Body == 0 {
		o.Body = DefaultBody
	}
	if o.Instances == 0 {
		o.Instances = runtime.GOMAXPROCS(0)
	}
	if o.Failures == 0 {
		o.Failures = DefaultFailures
	}
	if o.Pause == 0 {
		o.Pause = DefaultPause
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

func (o *Options) validate() error {
	var errs []error
	if o.MemoryLimit < pageSize || o.MemoryLimit > 1<<31 {
		errs = append(errs, fmt.Errorf("memory limit of %d bytes is not between 64 KiB and 2 GiB", o.MemoryLimit))
	}
	if o.Timeout < 0 {
		errs = append(errs, fmt.Errorf("time-out of %v is negative", o.Timeout))
	}
	if o.Fuel < 0 || o.StartFuel < 0 {
		errs = append(errs, fmt.Errorf("fuel of %d instructions is negative", min(o.Fuel, o.StartFuel)))
	}
	if o.StackLimit < 0 || o.StackLimit > 16<<20 {
		errs = append(errs, fmt.Errorf("stack limit of %d bytes is not between 0 and 16 MiB", o.StackLimit))
	}
	if o.Module < 0 || o.Body < 0 {
		errs = append(errs, fmt.Errorf("module of %d bytes or body of %d is negative", o.Module, o.Body))
	}
	if o.Failures < 0 || o.Pause < 0 {
		errs = append(errs, fmt.Errorf("%d failures or a pause of %v is negative", o.Failures, o.Pause))
	}
	if o.Instances < 0 {
		errs = append(errs, fmt.Errorf("number of instances %d is negative", o.Instances))
	}
	return errors.Join(errs...)
}

// A Host loads plugins and runs them. It is safe for concurrent use.
type Host struct {
	options Options
	cache   wazero.CompilationCache
	runtime wazero.Runtime

	mu      sync.Mutex
	plugins map[*Plugin]struct{}
	closed  bool
}

// The proposals that modules may use: WebAssembly 2.0 but for reference types,
// with which a guest could grow a table beyond its memory limit.
const features = api.CoreFeaturesV2 &^ api.CoreFeatureReferenceTypes

// New returns a Host. Close it when it is no longer used.
func New(ctx context.Context, o Options) (*Host, error) {
	o.setDefaults()
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("plugin host: %w", err)
	}
	cache := wazero.NewCompilationCache()
	if o.CacheDir != "" {
		var err error
		if cache, err = wazero.NewCompilationCacheWithDir(o.CacheDir); err != nil {
			return nil, fmt.Errorf("open plugin cache: %w", err)
		}
	}
	config := wazero.NewRuntimeConfigCompiler().
		WithCoreFeatures(features).
		WithMemoryLimitPages(uint32(o.MemoryLimit / pageSize)).
		WithCompilationCache(cache).
		WithDebugInfoEnabled(false)
	h := &Host{
		options: o,
		cache:   cache,
		runtime: wazero.NewRuntimeWithConfig(ctx, config),
		plugins: make(map[*Plugin]struct{}),
	}
	if err := instantiateHost(ctx, h.runtime); err != nil {
		return nil, errors.Join(fmt.Errorf("start WASI: %w", err), h.Close(ctx))
	}
	return h, nil
}

// Load checks and compiles a module, starts an instance of it with its
// configuration, which is JSON or empty, and returns the plugin. Name is what
// errors and verdicts call it. The error names everything that is wrong with
// the module, or is what the plugin says of its configuration.
func (h *Host) Load(ctx context.Context, name string, wasm, config []byte) (*Plugin, error) {
	p, err := h.load(ctx, name, wasm, config)
	if err != nil {
		return nil, fmt.Errorf("load plugin %s: %w", name, err)
	}
	return p, nil
}

func (h *Host) load(ctx context.Context, name string, wasm, config []byte) (*Plugin, error) {
	start := time.Now()
	counted, err := h.rewrite(wasm)
	if err != nil {
		return nil, err
	}
	schema, err := schemaOf(wasm)
	if err != nil {
		return nil, err
	}
	if len(config) == 0 || string(config) == "null" {
		config = []byte("{}")
	}
	if err := CheckConfig(schema, config); err != nil {
		return nil, err
	}
	ctx = experimental.WithCompilationWorkers(ctx, runtime.GOMAXPROCS(0))
	code, err := h.runtime.CompileModule(ctx, counted.Wasm)
	if err != nil {
		return nil, fmt.Errorf("compile: %s", brief(err.Error()))
	}
	p := newPlugin(h, name, code, config)
	p.globals, p.keeps = counted.Globals, counted.Keeps
	p.digest = sha256.Sum256(wasm)
	if err := p.open(ctx); err != nil {
		return nil, errors.Join(err, code.Close(ctx))
	}
	if !h.keep(p) {
		return nil, errors.Join(ErrClosed, p.Close(ctx))
	}
	h.options.Log.Debug("plugin loaded", "plugin", name, "digest", fmt.Sprintf("%x", p.digest), "took", time.Since(start))
	return p, nil
}

// rewrite refuses a module beyond the limits and lets the others count.
func (h *Host) rewrite(wasm []byte) (*fuel.Module, error) {
	return fuel.Rewrite(wasm, fuel.Limits{Module: h.options.Module, Body: h.options.Body, Table: MaxTable})
}

func (h *Host) keep(p *Plugin) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.plugins[p] = struct{}{}
	return true
}

// Close closes the plugins that are still open and frees what h holds. It is
// safe to call twice.
func (h *Host) Close(ctx context.Context) error {
	h.mu.Lock()
	open := h.plugins
	h.plugins = nil
	was := h.closed
	h.closed = true
	h.mu.Unlock()
	if was {
		return nil
	}
	var errs []error
	for p := range open {
		errs = append(errs, p.Close(ctx))
	}
	errs = append(errs, h.runtime.Close(ctx), h.cache.Close(ctx))
	return errors.Join(errs...)
}

func (h *Host) forget(p *Plugin) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.plugins, p)
}
