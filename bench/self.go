package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"

	"gatehouse/core/peers"
)

// Commands make this program one of the servers that it measures, in a process
// of its own: it listens, prints its address, and serves until its input ends.
var commands = map[string]func(ctx context.Context, l net.Listener, args []string) error{
	relayCommand: runRelay,
	gateCommand:  runGate,
}

// runCommand does what args ask for, if that is a command.
func runCommand(args []string) (known bool, err error) {
	if len(args) == 0 || commands[args[0]] == nil {
		return false, nil
	}
	l, err := net.Listen("tcp", net.JoinHostPort(peers.Host, "0"))
	if err != nil {
		return true, fmt.Errorf("listen: %w", err)
	}
	fmt.Println(l.Addr())
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1)) // until whoever started it closes
		cancel()
	}()
	return true, commands[args[0]](ctx, l, args[1:])
}

// startSelf starts this program with a command, and returns where it listens
// and what ends it.
func startSelf(args ...string) (addr string, pid int, stop func() error, err error) {
	program, err := os.Executable()
	if err != nil {
		return "", 0, nil, fmt.Errorf("find this program: %w", err)
	}
	cmd := exec.Command(program, args...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", 0, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", 0, nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", 0, nil, err
	}
	stop = func() error {
		in.Close() // ends it
		return cmd.Wait()
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return "", 0, nil, fmt.Errorf("%w, %w", err, stop())
	}
	return strings.TrimSpace(line), cmd.Process.Pid, stop, nil
}
