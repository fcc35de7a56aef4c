package postgres_test

import (
	"net"
	"testing"
	"time"

	"gatehouse/protocols/postgres"
)

// P10: a client that sends its start-up byte by byte, each in time, has the same
// time for all of it as any other, and the others do not wait for it.
func TestP10SlowStartUp(t *testing.T) {
	packet := startUp("main")
	for name, steps := range map[string][]byte{
		"an SSLRequest": {0, 0, 0, 8, 4, 210, 22, 47},
		"a start-up":    packet,
		"TLS":           {0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc},
		"a password":    append(append([]byte{}, packet...), password...),
		"a length":      {0x00, 0x00, 0x27, 0x10, 0, 3, 0, 0},
	} {
		inBubble(t, func(t *testing.T) {
			g := newStage(t, nil, nil)
			conn := g.connect()
			fast := 0 // what is sent at once
			if name == "a password" {
				fast = len(packet) + 1
			}
			go discard(conn)
			for i := range steps {
				if _, err := conn.Write(steps[i : i+1]); err != nil {
					break
				}
				if i >= fast {
					time.Sleep(9 * time.Second)
				}
			}
			conn.Close()
			g.finish()
			if g.lasted[0] > postgres.DefaultStartupTime+time.Second {
				t.Errorf("%s: it lasted %v", name, g.lasted[0])
			}
		})
	}
}

func discard(conn net.Conn) {
	var b [512]byte
	for {
		if _, err := conn.Read(b[:]); err != nil {
			return
		}
	}
}
