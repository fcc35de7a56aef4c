package main

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// relayCommand makes this program the relay, which copies bytes between each
// client and the server at the address that follows.
const relayCommand = "relay-to"

// startRelay starts the relay: what any proxy costs that is written in Go with
// a goroutine for each direction and does nothing but copy.
func startRelay(l *lab) (*route, error) {
	addr, pid, stop, err := startSelf(relayCommand, l.postgres.Addr())
	if err != nil {
		return nil, err
	}
	return l.viaProxy(relay, addr, pid, stop), nil
}

// runRelay is the relay's process.
func runRelay(ctx context.Context, l net.Listener, args []string) error {
	context.AfterFunc(ctx, func() { l.Close() })
	for {
		client, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("relay: %w", err)
		}
		upstream, err := net.Dial("tcp", args[0])
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
