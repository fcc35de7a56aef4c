package postgres_test

import (
	_ "embed"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/protect"
)

//go:embed testdata/rounds.txt
var rounds string

// otherNames are relations of the names that masking.sql has, with nothing in them
// that is protected.
const otherNames = `
	CREATE SCHEMA other;
	CREATE TABLE other.people (id int, name text, ssn text);
	INSERT INTO other.people VALUES (1, 'nobody', 'nothing');
	CREATE VIEW other.clean AS SELECT 'nothing'::text AS ssn;
	CREATE FUNCTION public.harmless(int) RETURNS text LANGUAGE sql STABLE AS 'SELECT ''nothing''::text';`

// readRounds are the sequences of testdata/rounds.txt, each with its first line.
func readRounds() (all []sequenceOf) {
	line := 0
	for part := range strings.SplitSeq(rounds, "\n\n") {
		s := sequenceOf{line: line + 1}
		for _, message := range strings.Split(part, "\n") {
			if message != "" && message[0] != '#' {
				s.messages = append(s.messages, message)
			}
		}
		line += strings.Count(part, "\n") + 2
		if len(s.messages) > 0 {
			all = append(all, s)
		}
	}
	return all
}

type sequenceOf struct {
	line     int
	messages []string
}

// send sends a message of testdata/rounds.txt, and waits where it asks to.
func (s sequenceOf) send(l, another *tap, message string, reload func()) {
	kind, rest, _ := strings.Cut(message, " ")
	words := strings.Fields(rest)
	for i, w := range words {
		if w == "-" {
			words[i] = ""
		}
	}
	switch kind {
	case "Q":
		l.query(rest)
	case "P":
		_, sql, _ := strings.Cut(rest, " ")
		l.send(&pgproto3.Parse{Name: words[0], Query: sql})
	case "B":
		b := &pgproto3.Bind{DestinationPortal: words[0], PreparedStatement: words[1]}
		for _, format := range words[2:] {
			b.ResultFormatCodes = append(b.ResultFormatCodes, int16(format[0]-'0'))
		}
		l.send(b)
	case "D":
		l.send(&pgproto3.Describe{ObjectType: strings.ToUpper(words[0])[0], Name: words[1]})
	case "E":
		n, err := strconv.Atoi(words[1])
		if err != nil {
			l.t.Fatalf("rounds.txt:%d: %s", s.line, message)
		}
		l.send(&pgproto3.Execute{Portal: words[0], MaxRows: uint32(n)})
	case "C":
		l.send(&pgproto3.Close{ObjectType: strings.ToUpper(words[0])[0], Name: words[1]})
	case "S":
		l.send(&pgproto3.Sync{})
		l.until(1)
	case "X":
		another.query(rest)
	case "R":
		reload()
	default:
		l.t.Fatalf("rounds.txt:%d: %s", s.line, message)
	}
}

// Whatever changes between the messages that prepare, bind, describe and execute a
// statement, no protected value comes back, nor does anything tell of one, and the
// session goes on.
func TestNothingComesBackWhateverChanges(t *testing.T) {
	all := readRounds()
	if len(all) < 54 {
		t.Errorf("there are %d sequences", len(all))
	}
	for _, version := range []int{15, 18} {
		var through, direct [2]func() *tap
		var reload [2]func()
		for i, schema := range []string{maskingSchema + otherNames, others.Replace(maskingSchema + otherNames)} {
			g := startGate(t, gateConfig{version: version, sql: schema, columns: protectedPeople(t, protect.Strict)})
			open := g.pg.NewDatabase(t, schema)
			through[i] = func() *tap { return &tap{t: t, dial: func() net.Conn { return g.patient(t) }} }
			direct[i] = func() *tap { return &tap{t: t, dial: func() net.Conn { return dialServer(t, g, open) }} }
			reload[i] = func() { g.policy.change(nil) }
		}
		for s := range some(all) {
			place := fmt.Sprintf("rounds.txt:%d: PostgreSQL %d", s.line, version)
			run := func(taps [2]func() *tap) (both [2]string, streams [2][]byte) {
				for i, dial := range taps {
					l, another := dial(), dial()
					for _, message := range s.messages {
						s.send(l, another, message, reload[i])
					}
					streams[i], l.stream = l.stream, nil
					both[i] = legible(streams[i])
					l.query("SELECT 'in step'")
					if got, want := legible(l.stream), "T ?column?\nD \"\\x00\\x01\\x00\\x00\\x00\\ain step\"\nC \"SELECT 1\\x00\"\nZ \"I\"\n"; got != want {
						t.Errorf("%s: the session goes on with %s", place, got)
					}
					for _, l := range []*tap{l, another} {
						if l.Conn != nil {
							l.Close()
						}
					}
				}
				return both, streams
			}
			if both, _ := run(direct); both[0] == both[1] {
				t.Errorf("%s: without a gate nothing tells\n%s", place, both[0])
			}
			both, streams := run(through)
			if both[0] != both[1] {
				t.Errorf("%s: %s\nis for other values\n%s", place, both[0], both[1])
			}
			if found := leaked(streams[0]); found != nil {
				t.Errorf("%s: %q came back:\n%s", place, found, both[0])
			}
		}
	}
}
