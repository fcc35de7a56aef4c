package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"gatehouse/core/identity/issuer"
	"gatehouse/core/peers"
)

// pluginsOf are what the policy of each of the gate's routes names.
var pluginsOf = map[string]string{
	gate:      "classify, guard, approve",
	masking:   "classify, guard, approve, columns",
	detecting: "classify, guard, approve, columns-and-values",
}

const configuration = `gate: bench
listen: {postgres: {address: "%[1]s", plaintext: loopback}}
console: {address: "%[6]s", url: "http://%[6]s", client_id: bench}
admin: {address: "127.0.0.1:0"}
identity: {providers: [{issuer: "%[2]s", audience: gatehouse, algorithms: [ES256]}]}
resources:
  bench: {protocol: postgres, host: %[3]s, port: %[4]d, user: bench, password: "file:password", database: bench, sslmode: disable}
plugins:
  classify: {builtin: classify}
  guard: {builtin: guard, config: {rules: {ddl: "off"}}} # which holds COPY FROM STDIN
  approve: {builtin: approve}
  columns:
    builtin: mask
    config: {columns: {public.customers.email: redact}, detect: {email: pass, card: pass, ssn: pass}}
  columns-and-values:
    builtin: mask
    config: {columns: {public.customers.email: redact}}
policies:
  - {name: bench, groups: [bench], resources: [bench], plugins: [%[5]s]}
recording: {spool: {directory: spool}, store: {directory: store}}
keys: {hash: "file:keys/hash.key", signing: "file:keys/signing.key"}
`

// gateway is a running gate with the issuer that it trusts.
type gateway struct {
	dir    string
	issuer *http.Server
	cmd    *exec.Cmd
	output bytes.Buffer // to be read once the command has ended
	exited chan error   // gets how the command ended
}

// startGate starts a gate of its own for one route, with env added to its
// environment.
func startGate(ctx context.Context, name, program string, l *lab, env ...string) (_ *route, err error) {
	g := &gateway{exited: make(chan error, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.close())
		}
	}()
	if g.dir, err = os.MkdirTemp("", "gatehouse-bench-"); err != nil {
		return nil, fmt.Errorf("make the gate's directory: %w", err)
	}
	url, token, err := g.startIssuer()
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	console, err := freeAddr()
	if err != nil {
		return nil, err
	}
	config := fmt.Sprintf(configuration, addr, url, peers.Host, l.postgres.Port, pluginsOf[name], console)
	if err := g.serve(ctx, program, config, l.password, addr, env); err != nil {
		return nil, err
	}
	return &route{
		name: name, url: connection(addr), password: token, pid: g.cmd.Process.Pid,
		gated: true, masked: name != gate, close: g.close,
	}, nil
}

// startIssuer returns the issuer's URL and a token for the benchmark.
func (g *gateway) startIssuer() (url, token string, err error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(peers.Host, "0"))
	if err != nil {
		return "", "", fmt.Errorf("start issuer: %w", err)
	}
	url = "http://" + listener.Addr().String()
	idp, err := issuer.New(issuer.Config{URL: url, Lifetime: 24 * time.Hour})
	if err != nil {
		return "", "", errors.Join(err, listener.Close())
	}
	g.issuer = &http.Server{Handler: idp, ReadHeaderTimeout: 10 * time.Second}
	go g.issuer.Serve(listener) // until close
	token, err = idp.Mint(issuer.Agent{ID: role, Groups: []string{role}}.Claims())
	return url, token, err
}

// serve writes the files of the gate, starts it, and waits until it listens.
func (g *gateway) serve(ctx context.Context, program, config, password, addr string, env []string) error {
	for name, text := range map[string]string{"gatehouse.yaml": config, "password": password} {
		if err := os.WriteFile(filepath.Join(g.dir, name), []byte(text), 0o600); err != nil {
			return fmt.Errorf("configure the gate: %w", err)
		}
	}
	keygen := exec.CommandContext(ctx, program, "keygen", "--dir", filepath.Join(g.dir, "keys"))
	if out, err := keygen.CombinedOutput(); err != nil {
		return fmt.Errorf("make the gate's keys: %w\n%s", err, out)
	}
	cmd := exec.Command(program, "serve", "--config", filepath.Join(g.dir, "gatehouse.yaml"))
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &g.output, &g.output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // close ends it
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the gate: %w", err)
	}
	g.cmd = cmd
	go func() { g.exited <- g.cmd.Wait() }()
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case err := <-g.exited:
			g.cmd = nil // close has nothing to stop
			return fmt.Errorf("the gate ended: %w\n%s", err, strings.TrimSpace(g.output.String()))
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func freeAddr() (string, error) {
	port, err := peers.FreePort()
	return fmt.Sprintf("%s:%d", peers.Host, port), err
}

// close stops the gate and its issuer and removes their files.
func (g *gateway) close() error {
	var errs []error
	if g.cmd != nil {
		_ = g.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		if err := <-g.exited; err != nil {
			errs = append(errs, fmt.Errorf("the gate ended: %w\n%s", err, strings.TrimSpace(g.output.String())))
		}
	}
	if g.issuer != nil {
		errs = append(errs, g.issuer.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(g.dir))...)
}
