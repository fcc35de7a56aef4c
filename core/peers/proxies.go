package peers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// Proxy is a running TCP proxy in front of one PostgreSQL server.
type Proxy struct {
	Port    int
	process *process
}

// Addr is the proxy's host and port.
func (p *Proxy) Addr() string { return address(p.Port) }

// PID is the proxy's process.
func (p *Proxy) PID() int { return p.process.cmd.Process.Pid }

// Close stops the proxy and removes its files. It may be called again.
func (p *Proxy) Close() error { return p.process.close() }

// PgBouncerOptions describes a pgbouncer that pools whole sessions.
type PgBouncerOptions struct {
	// Upstream is the address of the PostgreSQL server.
	Upstream string
	// User and Password are both what clients must present (SCRAM-SHA-256)
	// and what pgbouncer presents upstream.
	User, Password string
}

// StartPgBouncer starts a pgbouncer that serves every database of the
// upstream, without TLS on either side.
func StartPgBouncer(ctx context.Context, o PgBouncerOptions) (*Proxy, error) {
	host, upstream, err := splitAddr(o.Upstream)
	if err != nil {
		return nil, err
	}
	return startProxy(ctx, "pgbouncer", func(dir string, port int) (map[string]string, []string) {
		ini := fmt.Sprintf(`[databases]
* = host=%s port=%s
[pgbouncer]
listen_addr = %s
listen_port = %d
unix_socket_dir =
auth_type = scram-sha-256
auth_file = %s
pool_mode = session
default_pool_size = 1000
max_client_conn = 2000
server_idle_timeout = 1
ignore_startup_parameters = extra_float_digits
log_connections = 0
log_disconnections = 0
`, host, upstream, Host, port, filepath.Join(dir, "users"))
		users := fmt.Sprintf("%q %q\n", o.User, o.Password)
		return map[string]string{"pgbouncer.ini": ini, "users": users}, []string{filepath.Join(dir, "pgbouncer.ini")}
	})
}

// StartHAProxy starts an HAProxy that copies bytes to the upstream address.
func StartHAProxy(ctx context.Context, upstream string) (*Proxy, error) {
	return startProxy(ctx, "haproxy", func(dir string, port int) (map[string]string, []string) {
		cfg := fmt.Sprintf(`global
    maxconn 4000
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen postgres
    bind %s
    server upstream %s
`, address(port), upstream)
		return map[string]string{"haproxy.cfg": cfg}, []string{"-db", "-f", filepath.Join(dir, "haproxy.cfg")}
	})
}

// startProxy starts a program that needs files in its directory and arguments,
// both of which configure tells.
func startProxy(ctx context.Context, name string, configure func(dir string, port int) (files map[string]string, args []string)) (*Proxy, error) {
	program, err := Program(name)
	if err != nil {
		return nil, err
	}
	return onFreePort(func(port int) (*Proxy, error) {
		dir, err := newDir()
		if err != nil {
			return nil, err
		}
		files, args := configure(dir, port)
		for file, text := range files {
			if err := writeFile(filepath.Join(dir, file), []byte(text)); err != nil {
				return nil, errors.Join(err, os.RemoveAll(dir))
			}
		}
		process, err := service{
			dir: dir, program: program, args: args, stop: syscall.SIGTERM, ready: listening(port),
		}.start(ctx)
		if err != nil {
			return nil, err
		}
		return &Proxy{Port: port, process: process}, nil
	})
}

func splitAddr(addr string) (host, port string, err error) {
	host, port, err = net.SplitHostPort(addr)
	if err != nil {
		return "", "", fmt.Errorf("read upstream address: %w", err)
	}
	return host, port, nil
}
