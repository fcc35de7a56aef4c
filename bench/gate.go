package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"gatehouse/core/identity/issuer"
	"gatehouse/core/peers"
)

// pluginsOf are what the policy of each of the gate's routes names.
var pluginsOf = map[string]string{
	gate:      "classify, guard, approve",
	masking:   "classify, guard, approve, columns",
	detecting: "classify, guard, approve, columns-and-values",

	inspecting: "classify, guard, approve, inspecting",
}

const configuration = `gate: bench
listen: {postgres: {address: "%[1]s:%[2]d", plaintext: loopback}}
console: {address: "%[1]s:%[3]d", url: "http://%[1]s:%[3]d", client_id: bench}
admin: {address: "127.0.0.1:0"}
identity: {providers: [{issuer: "%[4]s", audience: gatehouse, algorithms: [ES256]}]}
resources:
  bench: {protocol: postgres, host: "%[1]s", port: %[5]d, user: bench, password: "file:password", database: bench, sslmode: disable}
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
%[7]spolicies:
  - {name: bench, groups: [bench], resources: [bench], plugins: [%[6]s]}
recording: {spool: {directory: spool}, store: {directory: store}}
keys: {hash: "file:keys/hash.key", signing: "file:keys/signing.key"}
`

// startGate starts a gate of its own for one route, with env added to its
// environment, and the issuer that it trusts. It may use the modules, by the names
// of their files.
func startGate(ctx context.Context, name, program string, l *lab, modules map[string][]byte, env ...string) (_ *route, err error) {
	if program, err = filepath.Abs(program); err != nil {
		return nil, fmt.Errorf("find the gate: %w", err)
	}
	idp, url, token, err := startIssuer()
	if err != nil {
		return nil, err
	}
	files, more := map[string][]byte{"password": []byte(l.password)}, ""
	for file, wasm := range modules {
		files[file] = wasm
		more += pluginModule(file, wasm)
	}
	g, err := peers.StartGatehouse(ctx, peers.GatehouseOptions{
		Program: program, Files: files, Env: env,
		Configure: func(port, console int) string {
			return fmt.Sprintf(configuration, peers.Host, port, console, url, l.postgres.Port, pluginsOf[name], more)
		},
	})
	if err != nil {
		return nil, errors.Join(err, idp.Close())
	}
	r := &route{
		name: name, url: connection(g.Addr()), password: token, pid: g.PID(), gated: true, masked: name == masking || name == detecting,
		close: func() error { return errors.Join(g.Close(), idp.Close()) },
	}
	if err := r.settle(ctx); err != nil { // it goes on to load its parser
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// startIssuer returns an issuer, its URL and a token for the benchmark.
func startIssuer() (s *http.Server, url, token string, err error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(peers.Host, "0"))
	if err != nil {
		return nil, "", "", fmt.Errorf("start issuer: %w", err)
	}
	url = "http://" + listener.Addr().String()
	idp, err := issuer.New(issuer.Config{URL: url, Lifetime: 24 * time.Hour})
	if err == nil {
		token, err = idp.Mint(issuer.Agent{ID: role, Groups: []string{role}}.Claims())
	}
	if err != nil {
		return nil, "", "", errors.Join(err, listener.Close())
	}
	s = &http.Server{Handler: idp, ReadHeaderTimeout: 10 * time.Second}
	go s.Serve(listener) // until it is closed
	return s, url, token, nil
}
