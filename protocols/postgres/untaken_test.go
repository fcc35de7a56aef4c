package postgres_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgproto3/v2"

	"gatehouse/protocols/postgres"
)

// A server that takes nothing more loses its session, whether the client waits
// or left. One that takes little by little does not, nor one that says something
// meanwhile.
func TestServersThatTakeNothing(t *testing.T) {
	const limit = postgres.DefaultUntaken
	columns := frame('T', "\x00\x01n\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x17\x00\x04\xff\xff\xff\xff\x00\x00")
	row, done := frame('D', "\x00\x01\x00\x00\x00\x011"), append(frame('C', "SELECT 1\x00"), frame('Z', "I")...)
	long := query("SELECT '" + strings.Repeat("x", 300<<10) + "'")
	for name, test := range map[string]struct {
		steps []byte
		serve func(conn net.Conn) // once the gate was let in
		leave bool                // the client does not wait
		want  int                 // answers; 0: the session is cut
	}{
		"nothing":                  {steps: long, serve: func(net.Conn) { time.Sleep(3 * limit) }},
		"nothing, the client left": {steps: long, leave: true, serve: func(net.Conn) { time.Sleep(3 * limit) }},
		"the beginning": {steps: long, serve: func(conn net.Conn) {
			_, _ = io.CopyN(io.Discard, conn, 100<<10)
			time.Sleep(3 * limit)
		}},
		"little by little": {steps: long, want: 1, serve: func(conn net.Conn) {
			for range 4 {
				time.Sleep(limit * 3 / 4)
				_, _ = io.CopyN(io.Discard, conn, 64<<10)
			}
			_, _ = conn.Write(slices.Concat(columns, row, done))
		}},
		"nothing while it speaks": {steps: slices.Concat(query("SELECT 1"), long), want: 2, serve: func(conn net.Conn) {
			_, _ = readFrame(conn)
			_, _ = conn.Write(columns)
			for range 4 {
				time.Sleep(limit * 3 / 4)
				_, _ = conn.Write(row)
			}
			_, _ = conn.Write(slices.Concat(done, columns, row, done))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				var scripts sync.WaitGroup
				g := newStage(t, nil, func(context.Context, string, string) (net.Conn, error) {
					gate, conn := net.Pipe()
					scripts.Go(func() {
						defer conn.Close()
						var packet [256]byte
						n, err := conn.Read(packet[:])
						if err != nil || bytes.Contains(packet[:n], []byte("gatehouse")) {
							return // the gate's own
						}
						if _, err := conn.Write(greeting); err != nil {
							return
						}
						test.serve(conn)
						_, _ = io.Copy(io.Discard, conn)
					})
					return pipeEnd{gate}, nil
				})
				g.bare = true
				conn := g.connect()
				scripts.Go(func() {
					steps := test.steps
					if test.want > 0 {
						steps = append(steps, encode(&pgproto3.Terminate{})...)
					}
					for _, s := range [][]byte{startUp("main"), password, steps} {
						_, _ = conn.Write(s)
					}
					if test.leave {
						conn.Close()
					}
				})
				answer, _ := io.ReadAll(conn) // up to the end of the session
				g.finish()
				conn.Close()
				scripts.Wait()
				if got := bytes.Count(answer, done); got != test.want {
					t.Errorf("%d answers, want %d: %q", got, test.want, answer)
				}
				cut := bytes.Contains(answer, []byte("C08006\x00Mgatehouse: the session ends: the server took nothing of what it was sent for 1h"))
				if cut != (test.want == 0 && !test.leave) {
					t.Errorf("the client was told %q", answer)
				}
				if lasted := slices.Max(g.lasted); test.want == 0 && (lasted < limit || lasted > limit+time.Minute) {
					t.Errorf("the session lasted %v", lasted)
				}
			})
		})
	}
}
