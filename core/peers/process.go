package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Host is the address on which every peer listens.
const Host = "127.0.0.1"

const (
	startTimeout = 60 * time.Second // initialise and become ready
	stopTimeout  = 10 * time.Second // before a server is killed
	startTries   = 3                // each with a fresh port
)

// keeperScript waits until the process that started a server ends (its end of
// the pipe closes), then stops the server and removes its directory. It covers
// the ends that run no deferred function: a panic, os.Exit, a kill.
const keeperScript = `cat >/dev/null
kill "-$3" "$1"
n=0
while kill -0 "$1" && [ $n -lt 100 ]; do sleep 0.1; n=$((n+1)); done
rm -rf "$2"`

// service says how to run a server.
type service struct {
	dir     string // the server's own; the output goes to its file "log"
	program string
	args    []string
	env     []string       // added to the caller's
	stop    syscall.Signal // ends it at once
	ready   func(context.Context) error
	// asCaller keeps the caller's account where the server accepts any.
	asCaller bool
}

// process is a running service.
type process struct {
	service
	cmd    *exec.Cmd
	exited chan struct{} // closed once cmd has been waited for
	keeper *exec.Cmd
	pipe   io.Closer
	close  func() error
}

// newDir makes a temporary directory that the servers' account owns.
func newDir() (string, error) {
	dir, err := os.MkdirTemp("", "gatehouse-peer-")
	if err != nil {
		return "", fmt.Errorf("make peer directory: %w", err)
	}
	if err := give(dir); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, nil
}

// start runs a service and waits until it is ready. It owns the service's
// directory from here on, also when it fails.
func (s service) start(ctx context.Context) (*process, error) {
	p := &process{service: s, exited: make(chan struct{})}
	p.close = sync.OnceValue(p.shutdown)
	if err := p.run(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.dir))
	}
	if err := p.await(ctx); err != nil {
		err = fmt.Errorf("start %s: %w\n%s", filepath.Base(s.program), err, p.tail())
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func (p *process) run() error {
	log, err := os.Create(filepath.Join(p.dir, "log"))
	if err != nil {
		return fmt.Errorf("create peer log: %w", err)
	}
	defer log.Close()
	p.cmd, err = command(p.dir, p.program, p.args...)
	if err != nil {
		return err
	}
	if p.asCaller {
		p.cmd.SysProcAttr.Credential = nil
	}
	p.cmd.Env = append(os.Environ(), p.env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start peer: %w", err)
	}
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait() // how a server ended is in its log
	}()
	return p.keep()
}

func (p *process) keep() error {
	p.keeper = exec.Command("sh", "-c", keeperScript, "keeper",
		strconv.Itoa(p.cmd.Process.Pid), p.dir, strconv.Itoa(int(p.stop)))
	p.keeper.Dir = "/"
	p.keeper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // outlives an interrupt at the terminal
	pipe, err := p.keeper.StdinPipe()
	if err != nil {
		return errors.Join(fmt.Errorf("start keeper: %w", err), p.halt())
	}
	p.pipe = pipe
	if err := p.keeper.Start(); err != nil {
		return errors.Join(fmt.Errorf("start keeper: %w", err), p.halt())
	}
	return nil
}

// await polls until the server answers, has exited, or startTimeout has passed.
func (p *process) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := p.ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("exited: %s", p.cmd.ProcessState)
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// shutdown stops the server, then the keeper, and removes the directory.
func (p *process) shutdown() error {
	err := p.halt()
	_ = p.keeper.Process.Kill()
	_ = p.keeper.Wait() // "killed" is what it should say
	_ = p.pipe.Close()
	return errors.Join(err, os.RemoveAll(p.dir))
}

func (p *process) halt() error {
	if err := p.cmd.Process.Signal(p.stop); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop peer: %w", err)
	}
	late := time.AfterFunc(stopTimeout, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	<-p.exited
	return nil
}

// log returns what the server has written so far.
func (p *process) log() ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(p.dir, "log"))
	if err != nil {
		return nil, fmt.Errorf("read peer log: %w", err)
	}
	return text, nil
}

// tail returns the end of the log, for an error's text.
func (p *process) tail() []byte {
	text, err := p.log()
	if err != nil {
		return []byte(err.Error())
	}
	const enough = 2000
	return bytes.TrimSpace(text[max(0, len(text)-enough):])
}

// command prepares a program that runs in dir, in a process group of its own,
// and, since database servers refuse to run as root, as another account if the
// caller is root.
func command(dir, program string, args ...string) (*exec.Cmd, error) {
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	uid, gid, err := account()
	if err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	return cmd, nil
}

// account is the user that servers run as: the caller, or postgres (which
// Debian's package makes), else nobody, when the caller is root.
func account() (uid, gid int, err error) {
	if os.Geteuid() != 0 {
		return os.Geteuid(), os.Getegid(), nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return 0, 0, fmt.Errorf("find an account to run servers as: %w", err)
	}
	uid, err = strconv.Atoi(u.Uid)
	if err != nil {
		return 0, 0, fmt.Errorf("read account %s: %w", u.Username, err)
	}
	gid, err = strconv.Atoi(u.Gid)
	if err != nil {
		return 0, 0, fmt.Errorf("read account %s: %w", u.Username, err)
	}
	return uid, gid, nil
}

// searchable says whether the servers' account can reach what is in dir.
func searchable(dir string) (bool, error) {
	if os.Geteuid() != 0 {
		return true, nil
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return false, fmt.Errorf("check program's directory: %w", err)
		}
		if info.Mode()&0o001 == 0 {
			return false, nil
		}
	}
	return true, nil
}

// give makes the servers' account the owner of path.
func give(path string) error {
	uid, gid, err := account()
	if err != nil {
		return err
	}
	if err := os.Chown(path, uid, gid); err != nil {
		return fmt.Errorf("give file to the servers' account: %w", err)
	}
	return nil
}

// writeFile writes a file that only the servers' account can read.
func writeFile(path string, data []byte) error {
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return fmt.Errorf("write peer file: %w", err)
	}
	return give(path)
}

// Listen listens on a loopback TCP port that is below those which the system
// gives to connections and to who names none, so that a server that is to listen
// there later, or again, will hardly find it taken.
func Listen() (net.Listener, error) {
	const lowest, ephemeral, tries = 10_000, 32_768, 100
	for try := 1; ; try++ {
		l, err := net.Listen("tcp", address(lowest+rand.IntN(ephemeral-lowest)))
		if err == nil || try == tries || !errors.Is(err, syscall.EADDRINUSE) {
			return l, err
		}
	}
}

// FreePort finds a port for Listen that nothing listens on.
func FreePort() (int, error) {
	l, err := Listen()
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// onFreePort calls start with a free port, and again with another one when it
// failed because the port was taken after it was found.
func onFreePort[S any](start func(port int) (S, error)) (S, error) {
	for try := 1; ; try++ {
		port, err := FreePort()
		if err != nil {
			var none S
			return none, err
		}
		server, err := start(port)
		if err == nil || try == startTries || !taken(port) {
			return server, err
		}
	}
}

func taken(port int) bool {
	l, err := net.Listen("tcp", address(port))
	if err != nil {
		return true
	}
	return l.Close() != nil
}

// listening succeeds once something accepts connections on port.
func listening(port int) func(context.Context) error {
	return func(ctx context.Context) error {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", address(port))
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

func address(port int) string {
	return net.JoinHostPort(Host, strconv.Itoa(port))
}
