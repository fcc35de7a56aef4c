package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// Gatehouse is a running gate: the program itself, with its files in a
// directory of its own.
type Gatehouse struct {
	Port    int
	process *process
}

// GatehouseOptions say how to run a gate.
type GatehouseOptions struct {
	Program string            // its path
	Files   map[string][]byte // put beside the configuration, by name
	Env     []string          // added to the caller's
	// Configure returns the configuration for a port, and one for the console,
	// of the loopback address.
	Configure func(port, console int) string
}

// StartGatehouse makes a gate's keys in the directory keys and runs the gate.
func StartGatehouse(ctx context.Context, o GatehouseOptions) (*Gatehouse, error) {
	return onFreePort(func(port int) (*Gatehouse, error) {
		console, err := FreePort()
		if err != nil {
			return nil, err
		}
		dir, err := newDir()
		if err != nil {
			return nil, err
		}
		if err := prepareGatehouse(ctx, o.Program, dir, o.Files, o.Configure(port, console)); err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
		process, err := service{
			dir: dir, program: o.Program, args: []string{"serve", "--config", "gatehouse.yaml"}, env: o.Env,
			stop: syscall.SIGTERM, ready: listening(port), asCaller: true,
		}.start(ctx)
		if err != nil {
			return nil, err
		}
		return &Gatehouse{Port: port, process: process}, nil
	})
}

func prepareGatehouse(ctx context.Context, program, dir string, files map[string][]byte, config string) error {
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return fmt.Errorf("write gate's file: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "gatehouse.yaml"), []byte(config), 0o600); err != nil {
		return fmt.Errorf("write gate's configuration: %w", err)
	}
	out, err := exec.CommandContext(ctx, program, "keygen", "--dir", filepath.Join(dir, "keys")).CombinedOutput()
	if err != nil {
		return fmt.Errorf("make gate's keys: %w\n%s", err, out)
	}
	return nil
}

// Addr is the gate's host and port.
func (g *Gatehouse) Addr() string { return address(g.Port) }

// PID is the process of the gate.
func (g *Gatehouse) PID() int { return g.process.cmd.Process.Pid }

// Log returns what the gate has written so far.
func (g *Gatehouse) Log() ([]byte, error) { return g.process.log() }

// Close asks the gate to stop, waits for it, and removes its files, recordings
// included. It may be called again.
func (g *Gatehouse) Close() error { return g.process.close() }
