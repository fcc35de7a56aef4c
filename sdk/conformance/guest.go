package main

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"os"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"gatehouse/core/event"
)

const (
	abiVersion = 1 << 16
	minBuffer  = 64 << 10
	allHooks   = 0xff
	factsOnly  = 1 << 16
)

var hooks = []string{"configure", "on_open", "on_request", "on_head", "on_rows", "on_upload", "on_end", "on_close"}

var instanceConfig = wazero.NewModuleConfig().WithName("").WithStartFunctions("_initialize").WithStderr(os.Stderr)

// A module is a compiled conformance guest.
type module struct {
	runtime wazero.Runtime
	code    wazero.CompiledModule
}

func compile(ctx context.Context, wasm []byte) (*module, error) {
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().
		WithCoreFeatures(api.CoreFeaturesV2&^api.CoreFeatureReferenceTypes).
		WithMemoryLimitPages(1024))
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, r); err != nil {
		return nil, errors.Join(fmt.Errorf("start WASI: %w", err), r.Close(ctx))
	}
	code, err := r.CompileModule(ctx, wasm)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("compile: %w", err), r.Close(ctx))
	}
	return &module{r, code}, nil
}

func (m *module) close(ctx context.Context) error { return m.runtime.Close(ctx) }

// A guest is an instance that is configured.
type guest struct {
	api.Module
	buffer, size uint32
}

// start makes a new instance and configures it.
func (m *module) start(ctx context.Context, config []byte) (*guest, error) {
	instance, err := m.runtime.InstantiateModule(ctx, m.code, instanceConfig)
	if err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	g := &guest{Module: instance}
	if err := g.prepare(ctx, config); err != nil {
		return nil, errors.Join(err, g.Close(ctx))
	}
	return g, nil
}

func (g *guest) prepare(ctx context.Context, config []byte) error {
	if v, err := g.number(ctx, "abi_version"); err != nil || v != abiVersion {
		return errors.Join(err, fmt.Errorf("abi_version is %d, not %d", v, abiVersion))
	}
	if g.ExportedFunction("hooks") != nil {
		if v, err := g.number(ctx, "hooks"); err != nil || v&^factsOnly != allHooks {
			return errors.Join(err, fmt.Errorf("hooks is %#x: a conformance guest has every hook", v))
		}
	}
	answer, err := g.configure(ctx, config)
	if err == nil && answer.Section(event.SectionProblem) != nil {
		err = fmt.Errorf("configure: %s", answer.Section(event.SectionProblem))
	}
	return err
}

func (g *guest) configure(ctx context.Context, config []byte) (*event.Message, error) {
	return g.message(ctx, "configure", configInput(config))
}

func configInput(config []byte) []byte {
	in := event.AppendSection(nil, event.SectionConfig, config)
	return event.AppendSection(in, event.SectionHost, event.AppendUint(nil, 1, abiVersion))
}

func (g *guest) number(ctx context.Context, name string, params ...uint64) (uint32, error) {
	f := g.ExportedFunction(name)
	if f == nil {
		return 0, fmt.Errorf("there is no export %s", name)
	}
	v, err := f.Call(ctx, params...)
	if err != nil || len(v) != 1 {
		return 0, fmt.Errorf("%s: %d results, %w", name, len(v), err)
	}
	return uint32(v[0]), nil
}

// call calls a hook as ABI.md says, and returns its answer.
func (g *guest) call(ctx context.Context, hook string, in []byte) ([]byte, error) {
	n := uint32(len(in))
	if n > g.size || g.size == 0 {
		g.size = max(minBuffer, uint32(1)<<bits.Len32(n-1))
		var err error
		if g.buffer, err = g.number(ctx, "buffer", uint64(g.size)); err != nil {
			return nil, err
		}
		if end := uint64(g.buffer) + uint64(g.size); g.buffer%4 != 0 || end > uint64(g.Memory().Size()) {
			return nil, fmt.Errorf("buffer is at %d to %d: that is not a multiple of 4, or beyond the memory", g.buffer, end)
		}
	}
	g.Memory().Write(g.buffer, in)
	f := g.ExportedFunction(hook)
	if f == nil {
		return nil, fmt.Errorf("there is no export %s", hook)
	}
	v, err := f.Call(ctx, uint64(n))
	if err != nil || len(v) != 1 {
		return nil, fmt.Errorf("%s: %d results, %w", hook, len(v), err)
	}
	if int64(v[0]) < 0 {
		return nil, fmt.Errorf("%s: failed with %d", hook, int64(v[0]))
	}
	out, there := g.Memory().Read(uint32(v[0]>>32), uint32(v[0]))
	if !there {
		return nil, fmt.Errorf("%s: the answer, %d bytes at %d, is beyond the memory", hook, uint32(v[0]), v[0]>>32)
	}
	return out, nil
}

func (g *guest) message(ctx context.Context, hook string, in []byte) (*event.Message, error) {
	out, err := g.call(ctx, hook, in)
	if err != nil {
		return nil, err
	}
	m := new(event.Message)
	return m, m.Decode(out)
}

// told returns what a guest tells that it was given.
func (g *guest) told(ctx context.Context, hook string, in []byte) (string, error) {
	m, err := g.message(ctx, hook, in)
	if err != nil {
		return "", err
	}
	switch hook {
	case "configure":
		return string(m.Section(event.SectionProblem)), nil
	case "on_open":
		return string(m.Section(event.SectionState)), nil
	case "on_request", "on_upload":
		var v event.Verdict
		err := v.Decode(m.Section(event.SectionVerdict))
		return v.Reason, err
	case "on_head":
		ts, err := event.DecodeTreatments(m.Section(event.SectionTreatments))
		if err != nil || len(ts) == 0 {
			return "", fmt.Errorf("%d treatments, %w", len(ts), err)
		}
		return ts[0].Rule, nil
	case "on_rows":
		return string(m.Section(event.SectionTexts)), nil
	}
	var n event.Note
	err = n.Decode(m.Section(event.SectionNote))
	return n.Text, err
}
