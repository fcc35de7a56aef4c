package postgres_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/protocols/postgres"
)

var sessions = flag.Int("sessions", 8, "how many random inputs FuzzSession begins with")

// FuzzSession lets a fuzzer choose what a client sends and what a server makes
// of it. Whatever they are, the session ends, without a panic; nothing reaches
// the server that was not recorded as allowed first; and what the client gets is
// in step with what it asked, or the end.
func FuzzSession(f *testing.F) {
	for seed := range uint64(*sessions) {
		chance := make([]byte, 200)
		for i, r := 0, rand.New(rand.NewPCG(seed, 0)); i < len(chance); i++ {
			chance[i] = byte(r.Uint32())
		}
		f.Add(chance)
	}
	analyzer() // an input has ten seconds
	f.Fuzz(func(t *testing.T, chance []byte) {
		if len(chance) <= 4096 {
			inBubble(t, func(t *testing.T) { playChance(t, chance) })
		}
	})
}

// chosen is chance that a fuzzer's bytes make. Behind their end it says the same
// for ever.
type chosen struct{ bytes []byte }

func (c *chosen) Uint64() uint64 {
	if len(c.bytes) < 2 {
		return 0xaaaaaaaaaaaaaaaa
	}
	v := binary.BigEndian.Uint16(c.bytes)
	c.bytes = c.bytes[2:]
	return uint64(v)<<48 | uint64(v)<<16
}

func playChance(t *testing.T, chance []byte) {
	p := player{rand.New(&chosen{chance})}
	steps := p.sequence()
	converse(t, steps, p.lies())
}

// TestEndIsToldOnce: both directions of a session may find that it ends.
func TestEndIsToldOnce(t *testing.T) {
	broken := sequence{{wire: []byte{'S', 0, 0, 0, 3}, text: "a length of 3", odd: true}}
	for range 500 {
		inBubble(t, func(t *testing.T) { converse(t, broken, nil) })
	}
}

// converse lets a client send steps, and a server answer but for its lies.
func converse(t *testing.T, steps sequence, lies []string) {
	a := &actor{name: "main", lies: lies}
	var servers sync.WaitGroup
	a.stage = newStage(t, nil, func(context.Context, string, string) (net.Conn, error) {
		gate, conn := net.Pipe()
		servers.Go(func() { a.serve(conn) })
		return pipeEnd{gate}, nil
	})
	conn := a.stage.connect()
	var got [][]byte
	open, read := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(read)
		for {
			f, err := readFrame(conn)
			if err != nil {
				return
			}
			if got = append(got, f); f[0] == 'Z' && len(got) > 0 {
				select {
				case <-open:
				default:
					got = nil
					close(open)
				}
			}
		}
	}()
	for _, b := range [][]byte{startUp("main"), password} {
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	<-open
	var sent []byte // the types of what was sent
	odd := false
	for _, st := range append(steps, broken("good-bye", 'X', nil)) {
		if st.barrier() {
			continue
		}
		if _, err := conn.Write(st.wire); err != nil {
			break
		}
		sent, odd = append(sent, st.wire[0]), odd || st.odd && st.wire[0] != 'X'
	}
	select {
	case <-read:
	case <-time.After(time.Minute): // of the bubble
		if len(a.lies) == 0 {
			t.Errorf("the session did not end\nsent %q\ngot %q\nof the sequence:\n%s", sent, got, steps)
		}
		// A server that does not answer is waited for, as long as the client does.
		_ = conn.Close()
		<-read
	}
	a.stage.finish()
	servers.Wait()
	if reason := inStep(sent, got); reason != "" {
		t.Errorf("%s\nsent %q, lies %q\ngot %q\nof the sequence:\n%s", reason, sent, a.lies, got, steps)
	}
	if fatal := slices.ContainsFunc(got, isFatal); fatal && !odd && len(a.lies) == 0 {
		t.Errorf("the session was ended\nsent %q\ngot %q\nof the sequence:\n%s", sent, got, steps)
	}
}

func isFatal(f []byte) bool { return f[0] == 'E' && bytes.Contains(f, []byte("\x00VFATAL\x00")) }

// inStep reports what is wrong with what a client got that sent messages of some
// types, or "".
func inStep(sent []byte, got [][]byte) string {
	sent = slices.DeleteFunc(slices.Clone(sent), func(k byte) bool { return strings.ContainsRune("HdcfX", rune(k)) })
	rows, copies := false, false
	for i, f := range got {
		kind := f[0]
		if strings.ContainsRune("NAS", rune(kind)) {
			continue
		}
		if isFatal(f) {
			if i < len(got)-1 {
				return "something came behind a FATAL error"
			}
			return ""
		}
		if len(sent) == 0 {
			if kind == 'E' {
				continue
			}
			return "more than was asked: " + string(kind)
		}
		asked := sent[0]
		if copies && !strings.ContainsRune("dcE", rune(kind)) {
			return "COPY data was followed by " + string(kind)
		}
		switch {
		case kind == 'E':
			copies = false
			for asked != 'Q' && asked != 'F' && len(sent) > 0 && sent[0] != 'S' {
				sent = sent[1:]
			}
		case kind == 'Z' && strings.ContainsRune("QSF", rune(asked)),
			kind == '1' && asked == 'P', kind == '2' && asked == 'B', kind == '3' && asked == 'C',
			strings.ContainsRune("CIs", rune(kind)) && asked == 'E',
			kind == 'n' && asked == 'D', kind == 'T' && asked == 'D':
			sent, rows = sent[1:], false
		case kind == 't' && asked == 'D' && !rows:
			rows = true
		case strings.ContainsRune("GH", rune(kind)) && strings.ContainsRune("QE", rune(asked)):
			copies = kind == 'H'
		case strings.ContainsRune("dc", rune(kind)) && copies:
			copies = kind == 'd'
		case strings.ContainsRune("CIT", rune(kind)) && asked == 'Q', kind == 'D' && (asked == 'Q' || asked == 'E'):
		default:
			return string(asked) + " was answered by " + string(kind)
		}
	}
	return ""
}

// lies are what a server says in the place of its answers, by their number: an
// empty one is the answer itself. Mostly there are none.
func (p player) lies() (list []string) {
	if !p.one(2) {
		return nil
	}
	for range 1 + p.IntN(12) {
		list = append(list, pick(p, "", "", "", "", string(serverError), string(rows), string(frame('Z', "I")), string(frame('Z', "T")), string(frame('1', "")),
			string(frame('2', "")), string(frame('3', "")), string(frame('C', "SELECT 1\x00")), string(frame('n', "")), string(frame('s', "")), string(frame('I', "")),
			string(frame('t', "\x00\x01\x00\x00\x00\x17")), string(row), string(frame('T', "\x00\x00")), string(frame('D', "\x00\x02")), string(frame('G', "\x00\x00\x00")),
			string(frame('W', "\x00\x00\x00")), string(frame('S', "search_path\x00x\x00")), string(frame('S', "standard_conforming_strings\x00off\x00")),
			string(frame('A', "\x00\x00\x00\x07c\x00x\x00")), string(frame('N', "SNOTICE\x00\x00")), string(frame('E', "SFATAL\x00VFATAL\x00C57P01\x00Mbye\x00\x00")),
			string(frame('R', "\x00\x00\x00\x00")), "D\xff\xff\xff\xff", "Z\x00\x00\x00\x03", "close"))
	}
	return list
}

var (
	serverError = frame('E', "SERROR\x00VERROR\x00C22012\x00Mdivision by zero\x00\x00")
	syntaxError = frame('E', "SERROR\x00VERROR\x00C42601\x00Msyntax error\x00\x00")
	rows        = frame('T', "\x00\x01n\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x17\x00\x04\xff\xff\xff\xff\x00\x00")
	row         = frame('D', "\x00\x01\x00\x00\x00\x011")
)

// An actor plays a server: it answers each message as a server might, but for
// its lies.
type actor struct {
	stage    *stage
	name     string
	lies     []string
	answered int
	skip     bool
}

func (a *actor) serve(conn net.Conn) {
	defer conn.Close()
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return
	}
	var packet bytes.Buffer
	if _, err := io.CopyN(&packet, conn, int64(binary.BigEndian.Uint32(size[:]))-4); err != nil {
		return
	}
	own := bytes.Contains(packet.Bytes(), []byte("gatehouse")) // the gate's own connection, to the catalogue
	if own {
		a = &actor{stage: a.stage, name: a.name} // which hears no lies, and is beside the session's
	}
	if _, err := conn.Write(greeting); err != nil {
		return
	}
	check := &server{stage: a.stage, name: a.name}
	for {
		f, err := readFrame(conn)
		if err != nil || f[0] == 'X' {
			return
		}
		if !own {
			check.recorded(f)
		}
		for _, reply := range a.answer(f) {
			if n := a.answered; n < len(a.lies) && a.lies[n] != "" {
				reply = []byte(a.lies[n])
			}
			if a.answered++; string(reply) == "close" {
				return
			}
			a.skip = a.skip || bytes.Equal(reply, serverError) && strings.IndexByte("PBDEC", f[0]) >= 0
			if _, err := conn.Write(reply); err != nil {
				return
			}
			if reply[0] == 'E' && f[0] != 'Q' && f[0] != 'F' {
				break
			}
		}
	}
}

// answer is what a server that keeps to the protocol answers.
func (a *actor) answer(f []byte) [][]byte {
	if f[0] == 'S' {
		a.skip = false
	}
	if a.skip {
		return nil
	}
	if slices.ContainsFunc(postgres.Constants(), func(c []byte) bool { return bytes.Equal(c, f) }) {
		if f[0] == 'P' {
			a.skip = true
			return [][]byte{syntaxError}
		}
		return [][]byte{syntaxError, frame('Z', "I")}
	}
	complete := frame('C', "SELECT 1\x00")
	switch f[0] {
	case 'Q':
		return [][]byte{rows, row, complete, frame('Z', "T")}
	case 'P':
		return [][]byte{frame('1', "")}
	case 'B':
		return [][]byte{frame('2', "")}
	case 'D':
		if f[5] == 'S' {
			return [][]byte{frame('t', "\x00\x00"), rows}
		}
		return [][]byte{rows}
	case 'E':
		return [][]byte{row, complete}
	case 'C':
		return [][]byte{frame('3', "")}
	case 'S':
		return [][]byte{frame('Z', "T")}
	}
	return nil
}
