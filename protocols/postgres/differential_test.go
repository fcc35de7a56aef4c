package postgres_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
)

var (
	sequences = flag.Int("sequences", 1000, "how many sequences TestSameRepliesAsTheServer tries")
	seed      = flag.Uint64("seed", 1, "of TestSameRepliesAsTheServer's first sequence")
)

// A talker is a session on which sequences run one after the other.
type talker struct {
	open func() *raw
	r    *raw
	in   *bufio.Reader
}

// marker is an end that no sequence has by itself, and that changes nothing but
// what a Sync does.
var marker = func() []byte {
	var b []byte
	b, _ = (&pgproto3.Sync{}).Encode(b)
	for range markers {
		b, _ = (&pgproto3.Close{ObjectType: 'S', Name: "marker"}).Encode(b)
	}
	b, _ = (&pgproto3.Sync{}).Encode(b)
	return b
}()

const markers = 5

// maxReply is how long a session may take to answer.
const maxReply = time.Minute

// play sends a sequence and returns the replies. They end with "gone" where the
// session did.
func (k *talker) play(s sequence) (replies []string, err error) {
	if k.r == nil {
		k.r = k.open()
		k.in = bufio.NewReader(k.r)
	}
	var wire []byte
	for _, st := range append(s[:len(s):len(s)], step{text: "wait"}) {
		if !st.barrier() {
			wire = append(wire, st.wire...)
			continue
		}
		got, err := k.exchange(append(wire, marker...))
		replies, wire = append(replies, got...), nil
		if err != nil {
			k.r.Close()
			k.r = nil
			if err == io.EOF {
				return append(replies, "gone"), nil
			}
			return replies, err
		}
	}
	return replies, k.restore()
}

// restore puts the session and its database back to where they began.
func (k *talker) restore() error {
	var wire []byte
	for _, sql := range []string{"ROLLBACK", "RESET SESSION AUTHORIZATION", "DISCARD ALL", again} {
		wire, _ = (&pgproto3.Query{String: sql}).Encode(wire)
	}
	got, err := k.exchange(append(wire, marker...))
	for _, m := range got {
		if err == nil && strings.HasPrefix(m, "E") {
			err = fmt.Errorf("restore: %s", m)
		}
	}
	return err
}

// exchange sends wire, which ends with marker, and reads up to the marker's
// reply.
func (k *talker) exchange(wire []byte) (replies []string, err error) {
	if err := k.r.SetDeadline(time.Now().Add(maxReply)); err != nil {
		return nil, err
	}
	sent := make(chan error, 1)
	go func() { _, err := k.r.Write(wire); sent <- err }()
	for closes := 0; ; {
		m, err := readReply(k.in)
		if err != nil {
			k.r.Close()
			<-sent
			if ended(err) {
				err = io.EOF
			}
			return replies, err
		}
		if m == "Z I" || m == "Z T" || m == "Z E" {
			if closes >= markers {
				return replies[:len(replies)-markers], <-sent
			}
		}
		if closes++; m != "3" {
			closes = 0
		}
		replies = append(replies, m)
	}
}

func ended(err error) bool {
	return err == io.EOF || err == io.ErrUnexpectedEOF || strings.Contains(err.Error(), "reset") || strings.Contains(err.Error(), "closed")
}

// readReply returns a message in a form that is the same of every session.
func readReply(in io.Reader) (string, error) {
	var h [5]byte
	if _, err := io.ReadFull(in, h[:]); err != nil {
		return "", err
	}
	body := make([]byte, binary.BigEndian.Uint32(h[1:])-4)
	if _, err := io.ReadFull(in, body); err != nil {
		return "", err
	}
	switch h[0] {
	case 'E', 'N':
		return string(h[0]) + fields(body), nil
	case 'T':
		var m pgproto3.RowDescription
		if err := m.Decode(body); err != nil {
			return "", err
		}
		b := "T"
		for _, f := range m.Fields {
			if f.TableOID >= 16384 {
				f.TableOID = 16384 // differs from database to database
			}
			b += fmt.Sprintf(" %s:%d.%d:%d:%d:%d:%d", f.Name, f.TableOID, f.TableAttributeNumber, f.DataTypeOID, f.DataTypeSize, f.TypeModifier, f.Format)
		}
		return b, nil
	case 'A':
		return fmt.Sprintf("A %q", body[4:]), nil
	case 'Z', 'C':
		return string(h[0]) + " " + strings.TrimRight(string(body), "\x00"), nil
	case '3':
		return "3", nil
	}
	return fmt.Sprintf("%c %q", h[0], body), nil
}

// fields are those of an error that do not tell where in the server's source it
// was found.
func fields(body []byte) string {
	var b strings.Builder
	for f := range strings.SplitSeq(string(body), "\x00") {
		if f != "" && !strings.ContainsRune("FLRW", rune(f[0])) {
			b.WriteString(" " + f)
		}
	}
	return b.String()
}

// documented takes out of a comparison what the gate is documented to do in its
// own way, where odd messages are among those sent too.
func documented(odd bool, server, gate []string) ([]string, []string) {
	if n := len(server) - 1; odd && n >= 0 && len(gate) > n && server[n] == "gone" {
		// On a length that cannot be the server leaves without a word, and
		// without those that it had not sent yet.
		if at := slices.IndexFunc(gate, func(m string) bool { return strings.Contains(m, "Mgatehouse: length 3") }); at >= n {
			gate = append(gate[:n:n], "gone")
		}
	}
	for i := range min(len(server), len(gate)) {
		a, b := server[i], gate[i]
		switch {
		case strings.HasPrefix(a, "E") && strings.Contains(b, "Mgatehouse: function calls by the fast path"):
			server[i], gate[i] = "E function call", "E function call"
		case strings.Contains(b, "C42501 Mgatehouse: how the statement is read may have changed before it"):
			// The server goes on where the gate asks for a Sync.
			return server[:i:i], gate[:i:i]
		case odd && strings.HasPrefix(b, "E SFATAL VFATAL C08P01 Mgatehouse: "):
			// A message that breaks the protocol ends the session, whether
			// or not the server could go on.
			return append(server[:i:i], "gone"), append(gate[:i:i], gate[i+1:]...)
		}
	}
	return server, gate
}

// maxFailures is how many sequences are made small and shown.
const maxFailures = 6

// Whatever a client sends, it gets the same replies as from the server alone.
func TestSameRepliesAsTheServer(t *testing.T) {
	const workers = 2
	seeds := make(chan uint64)
	var failures atomic.Int32
	var wg sync.WaitGroup
	for range workers {
		ts := talkers(t)
		wg.Go(func() {
			for n := range seeds {
				s := player{rand.New(rand.NewPCG(n, 0))}.sequence()
				diff := differs(ts, s)
				if diff == "" || failures.Add(1) > maxFailures {
					continue
				}
				s = shrink(ts, s)
				if again := differs(ts, s); again != "" {
					diff = again
				}
				t.Errorf("seed %d (-server +gate):\n%s\nof the sequence:\n%s", n, diff, s)
			}
		})
	}
	for i := 0; i < *sequences; i += nth {
		if failures.Load() < maxFailures {
			seeds <- *seed + uint64(i)
		}
	}
	close(seeds)
	wg.Wait()
}

// talkers are sessions with databases that are alike: with the server itself,
// through a gate that allows everything, and through one that looks at every
// value as well.
func talkers(t *testing.T) []*talker {
	var ts []*talker
	for _, plugins := range [][]pipeline.Plugin{nil, {rule(allow)}, {rule(allow), passing{}}} {
		g := startGate(t, gateConfig{sql: world + again, plugins: plugins})
		open := func() *raw { return g.raw(t) }
		if plugins == nil {
			open = func() *raw { return g.rawDirect(t) }
		}
		ts = append(ts, &talker{open: open})
	}
	return ts
}

func allow(*event.Request) event.Verdict { return event.Verdict{Action: event.Allow} }

// passing looks at every value and changes none.
type passing struct{}

func (passing) Name() string { return "passing" }

func (passing) Treat(_ context.Context, _ *event.Session, h *event.Head) ([]event.Treatment, error) {
	ts := make([]event.Treatment, len(h.Fields))
	for i := range ts {
		ts[i].Kind = event.Inspect
	}
	return ts, nil
}

func (passing) Inspect(context.Context, *event.Session, *event.Rows, []int) ([]event.Edit, error) {
	return nil, nil
}

// differs plays s to all and returns how the replies differ, or "".
func differs(ts []*talker, s sequence) string {
	var replies [][]string
	var mu sync.Mutex
	errs := ""
	replies = make([][]string, len(ts))
	var wg sync.WaitGroup
	for i, k := range ts {
		wg.Go(func() {
			got, err := k.play(s)
			replies[i] = got
			if err != nil {
				mu.Lock()
				errs += fmt.Sprintf("%s: %v\n", []string{"server", "gate", "gate with masks"}[i], err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	odd := slices.ContainsFunc(s, func(st step) bool { return st.odd })
	for i, name := range []string{"", "the gate", "the gate with masks"} {
		if i > 0 {
			if diff := cmp.Diff(documented(odd, slices.Clone(replies[0]), replies[i])); diff != "" {
				errs += name + ":\n" + diff
			}
		}
	}
	return errs
}

// shrink leaves out of s what is not needed for the replies to differ.
func shrink(ts []*talker, s sequence) sequence {
	for n := max(1, len(s)/2); n >= 1; n /= 2 {
		for at := 0; at+n <= len(s); {
			without := slices.Concat(s[:at], s[at+n:])
			if differs(ts, without) != "" {
				s = without
			} else {
				at += n
			}
		}
	}
	return s
}
