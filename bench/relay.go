package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"

	"gatehouse/core/peers"
)

// relayCommand makes this program the relay: it listens, prints its address,
// and copies bytes between each client and the server at the address that
// follows, until its input ends.
const relayCommand = "relay-to"

// startRelay starts the relay: what any proxy costs that is written in Go with
// a goroutine for each direction and does nothing but copy.
func startRelay(l *lab) (*route, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	cmd := exec.Command(program, relayCommand, l.postgres.Addr())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start relay: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start relay: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start relay: %w", err)
	}
	stop := func() error {
		in.Close() // ends it
		return cmd.Wait()
	}
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("start relay: %w, %w", err, stop())
	}
	return l.viaProxy(relay, strings.TrimSpace(addr), cmd.Process.Pid, stop), nil
}

// runRelay is the relay's process.
func runRelay(server string) error {
	l, err := net.Listen("tcp", net.JoinHostPort(peers.Host, "0"))
	if err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	fmt.Println(l.Addr())
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1)) // until whoever started it closes
		os.Exit(0)
	}()
	for {
		client, err := l.Accept()
		if err != nil {
			return fmt.Errorf("relay: %w", err)
		}
		upstream, err := net.Dial("tcp", server)
		if err != nil {
			return fmt.Errorf("relay: %w", err)
		}
		go copyBytes(upstream, client)
		go copyBytes(client, upstream)
	}
}

// copyBytes reads and writes as the gate does: not by splice, which io.Copy
// would use.
func copyBytes(to, from net.Conn) {
	defer to.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}
