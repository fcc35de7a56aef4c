package postgres_test

import (
	"bytes"
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgproto3/v2"

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

// P10: a client that begins a message and does not end it loses its session
// after a while, however it keeps it going, and is told why. One that is only
// slow, or says nothing between messages, goes on.
func TestP10SlowMessages(t *testing.T) {
	const unsent = postgres.DefaultUnsent
	begun := []byte("Q\x00\x00\x00\x40SELECT ")
	long := append([]byte("Q\x3f\x00\x00\x00"), make([]byte, 100)...)
	copies := frame('G', "\x00\x00\x00")
	big := query("SELECT 1 -- " + strings.Repeat("x", 500_000))
	for name, c := range map[string]struct {
		steps  []byte        // what the client sends
		chunk  int           // how much of it at once
		every  time.Duration // how often
		before []byte        // what it sends at once before that
		says   []byte        // what the server answers to that
		cut    bool
	}{
		"half a message":           {steps: begun, chunk: len(begun), every: time.Hour, cut: true},
		"half a length":            {steps: begun[:3], chunk: 3, every: time.Hour, cut: true},
		"a body byte by byte":      {steps: query("SELECT 1 -- one byte at a time"), chunk: 1, every: 9 * time.Second, cut: true},
		"beyond the limit":         {steps: long, chunk: 1, every: 9 * time.Second, cut: true},
		"the middle of a pipeline": {steps: append(encode(&pgproto3.Parse{Query: "SELECT 1"}, &pgproto3.Bind{}), begun...), chunk: 1, every: 2 * time.Second, cut: true},
		"a COPY":                   {before: query("COPY t FROM STDIN"), says: copies, steps: []byte("d\x00\x00\x00\x20123"), chunk: 1, every: 20 * time.Second, cut: true},
		"a long piece of a COPY":   {before: query("COPY t FROM STDIN"), says: copies, steps: []byte("d\x30\x00\x00\x00123456789"), chunk: 1, every: 20 * time.Second, cut: true},
		"a slow line":              {steps: big, chunk: 64 << 10, every: unsent - time.Second},
		"message by message":       {steps: bytes.Repeat([]byte("H\x00\x00\x00\x04"), 5), chunk: 5, every: time.Hour},
	} {
		inBubble(t, func(t *testing.T) {
			var servers sync.WaitGroup
			var g *stage
			g = newStage(t, nil, func(context.Context, string, string) (net.Conn, error) {
				gate, conn := net.Pipe()
				s := &server{stage: g, greet: greeting, name: "main"}
				if c.says != nil {
					s.script = []said{{1, c.says}}
				}
				servers.Go(func() { s.serve(conn, trouble{}) })
				return pipeEnd{gate}, nil
			})
			conn := g.connect()
			var heard sync.Mutex
			var last []byte // frame of the gate
			told := make(chan struct{})
			go func() {
				defer close(told)
				for {
					f, err := readFrame(conn)
					if err != nil {
						return
					}
					heard.Lock()
					last = f
					heard.Unlock()
				}
			}()
			if _, err := conn.Write(slices.Concat(startUp("main"), password, c.before)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second) // all of it is answered
			began, cut := time.Now(), false
			for b := range slices.Chunk(c.steps, c.chunk) {
				if _, err := conn.Write(b); err != nil {
					cut = true
					break
				}
				time.Sleep(c.every)
			}
			if !cut {
				time.Sleep(2 * unsent)
			}
			heard.Lock()
			defer heard.Unlock()
			if cut = cut || last[0] == 'E'; cut != c.cut {
				t.Errorf("%s: cut off: %t", name, cut)
			}
			if cut && (last[0] != 'E' || !bytes.Contains(last, []byte("FATAL")) || !bytes.Contains(last, []byte("08006"))) {
				t.Errorf("%s: it was told %q", name, last)
			}
			if c.cut && c.every < unsent && time.Since(began) > 5*unsent {
				t.Errorf("%s: it took %v", name, time.Since(began))
			}
			conn.Close()
			<-told
			g.finish()
			servers.Wait()
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
