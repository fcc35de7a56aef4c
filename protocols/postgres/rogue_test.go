package postgres_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgproto3/v2"

	"gatehouse/protocols/postgres"
)

// rowOf is a DataRow of text values.
func rowOf(values ...string) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(values)))
	for _, v := range values {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
	}
	return frame('D', string(b))
}

// fieldsOf is a RowDescription of text fields without a table.
func fieldsOf(names ...string) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(names)))
	for _, name := range names {
		b = append(append(b, name...), "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x19\xff\xff\xff\xff\xff\xff\x00\x00"...)
	}
	return frame('T', string(b))
}

// P27: a server whose messages contradict what it said, or fit no request,
// loses the session: both sides are closed at once, and the client is told.
// Nothing that it says from there on comes through. This is so with masking and
// without.
func TestP27RogueServers(t *testing.T) {
	fields, row := fieldsOf("n", "secret"), rowOf("1", secret)
	done, ready := frame('C', "SELECT 1\x00"), frame('Z', "I")
	extended := encode(&pgproto3.Parse{Query: secretQuery}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
	parsed, bound := frame('1', ""), frame('2', "")
	for name, c := range map[string]struct {
		step []byte // nil: a simple query
		say  [][]byte
	}{
		"a row before its description":       {nil, [][]byte{row}},
		"a row after its end":                {nil, [][]byte{fields, done, row}},
		"a row of more fields":               {nil, [][]byte{fields, rowOf("1", "2", secret)}},
		"a row of fewer fields":              {nil, [][]byte{fields, rowOf(secret)}},
		"a row without fields":               {nil, [][]byte{fields, rowOf()}},
		"a row that is cut":                  {nil, [][]byte{fields, frame('D', "\x00\x02\x00\x00\x00\x01")}},
		"a row without a count":              {nil, [][]byte{fields, frame('D', "\x00")}},
		"a description twice":                {nil, [][]byte{fields, fieldsOf("n", "open"), row}},
		"a description amid rows":            {nil, [][]byte{fields, rowOf("1", "x"), fieldsOf("n", "open"), row}},
		"a description that is cut":          {nil, [][]byte{frame('T', "\x00\x02n\x00")}},
		"a description with a tail":          {nil, [][]byte{append(frame('T', string(fields[5:])+"tail"), row...)}},
		"copied data without a COPY":         {nil, [][]byte{frame('d', secret)}},
		"the end of a COPY":                  {nil, [][]byte{frame('c', "")}},
		"COPY out":                           {nil, [][]byte{frame('H', "\x00\x00\x00"), frame('d', secret)}},
		"COPY in":                            {nil, [][]byte{frame('G', "\x00\x00\x00")}},
		"COPY both ways":                     {nil, [][]byte{frame('W', "\x00\x00\x00")}},
		"a log-in amid the session":          {nil, [][]byte{frame('R', "\x00\x00\x00\x03")}},
		"another key":                        {nil, [][]byte{frame('K', "\x00\x00\x00\x01\x00\x00\x00\x01")}},
		"another version":                    {nil, [][]byte{frame('v', "\x00\x03\x00\x00\x00\x00\x00\x00")}},
		"a function's result":                {nil, [][]byte{frame('V', "\x00\x00\x00\x01"+"x")}},
		"an unknown message":                 {nil, [][]byte{frame('!', secret)}},
		"an answer to Parse":                 {nil, [][]byte{parsed}},
		"a suspended query":                  {nil, [][]byte{fields, frame('s', "")}},
		"ready twice":                        {nil, [][]byte{fields, done, ready, ready}},
		"an unknown transaction status":      {nil, [][]byte{fields, done, frame('Z', "?")}},
		"a tag without its end":              {nil, [][]byte{fields, frame('C', "SELECT 1")}},
		"an empty query that says something": {nil, [][]byte{frame('I', secret)}},
		"rows after an error":                {nil, [][]byte{frame('E', "SERROR\x00C22012\x00Mx\x00\x00"), fields, row}},
		"an error without its end":           {nil, [][]byte{frame('E', "SERROR\x00C22012\x00Mx\x00")}},
		"a notice with a tail":               {nil, [][]byte{frame('N', "SNOTICE\x00C00000\x00Mx\x00\x00"+secret)}},
		"a notification with a tail":         {nil, [][]byte{frame('A', "\x00\x00\x00\x01c\x00x\x00"+secret)}},
		"a parameter with a tail":            {nil, [][]byte{frame('S', "a\x00b\x00"+secret)}},
		"another encoding":                   {nil, [][]byte{frame('S', "client_encoding\x00SJIS\x00")}},
		"other strings":                      {nil, [][]byte{frame('S', "standard_conforming_strings\x00off\x00")}},
		"a refused query that ran":           {query("SELECT 'forbidden'"), [][]byte{fields, row}},
		"a refused query that ended well":    {query("SELECT 'forbidden'"), [][]byte{done, ready}},
		"a refused query without an error":   {query("SELECT 'forbidden'"), [][]byte{ready}},

		"an Execute that nobody described":      {extended, [][]byte{parsed, bound, row}},
		"an Execute that describes":             {extended, [][]byte{parsed, bound, fields, fieldsOf("n", "open"), row}},
		"an Execute of other fields":            {extended, [][]byte{parsed, bound, fields, rowOf("1", "2", secret)}},
		"a Bind that answers first":             {extended, [][]byte{bound}},
		"a Parse that says something":           {extended, [][]byte{frame('1', secret)}},
		"parameters of a portal":                {extended, [][]byte{parsed, bound, frame('t', "\x00\x00")}},
		"ready before it is due":                {extended, [][]byte{parsed, bound, ready}},
		"rows of different lengths":             {extended, [][]byte{parsed, bound, fields, rowOf("1", "x"), rowOf("1", "2", secret)}},
		"rows where there are none":             {extended, [][]byte{parsed, bound, frame('n', ""), row}},
		"rows where there are none, which says": {extended, [][]byte{parsed, bound, frame('n', secret)}},
	} {
		for _, bare := range []bool{false, true} {
			step := c.step
			if step == nil {
				step = query(secretQuery)
			}
			// Without masking the gate asks for no description and reads no
			// values, and without plugins nothing is refused.
			if bare && (strings.HasPrefix(name, "a refused") || slices.Contains([]string{"an Execute that nobody described", "rows where there are none", "a row that is cut"}, name)) {
				continue
			}
			say := c.say
			if bare && bytes.Equal(step, extended) && name == "rows of different lengths" {
				say = [][]byte{parsed, bound, rowOf("1", "x"), rowOf("1", "2", secret)}
			}
			var script []said
			for _, f := range say {
				script = append(script, said{1, f})
			}
			t.Run(name, func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					got, g := play(t, &conversation{steps: [][]byte{step}, script: script, bare: bare}, trouble{}, trouble{})
					fs := frames(got)
					last := fs[len(fs)-1]
					if last[0] != 'E' || !bytes.Contains(last, []byte("FATAL")) {
						t.Errorf("bare %v: the client was told %q", bare, last)
					}
					if g.lasted[0] > time.Second {
						t.Errorf("bare %v: the session lasted %v", bare, g.lasted[0])
					}
				})
			})
		}
	}
}

// logIn runs one log-in of the gate at a server that greets it so. It returns
// what the server heard after the start-up packet, and what the client and the
// log were told.
func logIn(t *testing.T, r *postgres.Resource, greet []byte) (heard, told []byte, logged error) {
	t.Helper()
	inBubble(t, func(t *testing.T) {
		var mu sync.Mutex
		var all []*server // that the gate dialled
		var servers sync.WaitGroup
		g := newStage(t, nil, func(context.Context, string, string) (net.Conn, error) {
			gate, conn := net.Pipe()
			s := &server{greet: greet}
			s.stage = &stage{t: t}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, s)
			servers.Go(func() { s.serve(conn, trouble{}) })
			return pipeEnd{gate}, nil
		})
		g.resource.Host, g.resource.SSLMode, g.resource.SSLRootCert = r.Host, r.SSLMode, r.SSLRootCert
		told = client{conn: g.connect(), name: "main"}.run(nil)
		g.finish()
		synctest.Wait() // what was given up may be dialled once more, to cancel
		servers.Wait()
		for _, s := range all {
			heard = append(heard, slices.Concat(s.heard...)...)
		}
		logged = g.ends[0]
		if len(g.lasted) != 1 || g.lasted[0] > postgres.DefaultStartupTime+time.Second {
			t.Errorf("the log-in lasted %v", g.lasted)
		}
	})
	return heard, told, logged
}

// A server that asks for what it may not have, or says what does not belong
// there, is given up. The client learns that the resource cannot be opened, and
// no more; the gate's password is in nothing that anybody reads.
func TestRogueServersAtLogIn(t *testing.T) {
	ok, ready := frame('R', "\x00\x00\x00\x00"), frame('Z', "I")
	rest := greeting[len(ok):]
	flood := bytes.Repeat(frame('S', "p\x00"+strings.Repeat("x", 30_000)+"\x00"), 100)
	notices := bytes.Repeat(frame('N', "SNOTICE\x00C00000\x00M"+strings.Repeat("x", 30_000)+"\x00\x00"), 100)
	for name, greet := range map[string][]byte{
		"nothing":                       nil,
		"HTTP":                          []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
		"a length of 0":                 {'R', 0, 0, 0, 0},
		"a length of 2 GiB":             {'R', 0x7f, 0xff, 0xff, 0xff},
		"a length of 4 GiB":             {'R', 0xff, 0xff, 0xff, 0xff},
		"a length of 1 MiB":             {'R', 0, 0x10, 0, 0},
		"a cut request":                 frame('R', "\x00\x00"),
		"Kerberos":                      frame('R', "\x00\x00\x00\x02"),
		"SCM":                           frame('R', "\x00\x00\x00\x06"),
		"GSS":                           frame('R', "\x00\x00\x00\x07"),
		"SSPI":                          frame('R', "\x00\x00\x00\x09"),
		"an unknown method":             frame('R', "\x00\x00\x00\x63"),
		"SASL by an unknown mechanism":  frame('R', "\x00\x00\x00\x0aX-SECRET\x00\x00"),
		"SASL without a mechanism":      frame('R', "\x00\x00\x00\x0a\x00"),
		"SASL's end at once":            frame('R', "\x00\x00\x00\x0cv=AAAA"),
		"SASL that ends unproved":       slices.Concat(frame('R', "\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00"), ok, rest),
		"SASL of one round of hashing":  slices.Concat(frame('R', "\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00"), frame('R', "\x00\x00\x00\x0br=short,s=AAAA,i=1")),
		"ready before the log-in":       slices.Concat(ready, ok, rest),
		"rows before the log-in":        slices.Concat(fieldsOf("n"), rowOf("1"), ready),
		"a parameter of another kind":   slices.Concat(ok, frame('S', "client_encoding\x00SJIS\x00"), frame('K', "\x00\x00\x00\x07\x00\x00\x00\x09"), ready),
		"a transaction that is open":    slices.Concat(ok, rest[:len(rest)-1], []byte{'T'}),
		"parameters without end":        slices.Concat(ok, flood),
		"notices without end":           slices.Concat(ok, notices),
		"an error":                      frame('E', "SFATAL\x00C28P01\x00Mno: upstream\x00\x00"),
		"an error and garbage":          slices.Concat(frame('E', "SFATAL\x00C28P01\x00Mno\x00\x00"), []byte("garbage")),
		"a log-in that is asked for no": slices.Concat(frame('v', "\x00\x02\x00\x00\x00\x00\x00\x00"), ok),
	} {
		t.Run(name, func(t *testing.T) {
			heard, told, logged := logIn(t, &postgres.Resource{Host: "127.0.0.1", SSLMode: "disable"}, greet)
			fs := frames(told)
			if last := fs[len(fs)-1]; last[0] != 'E' || !bytes.Contains(last, []byte("08001")) {
				t.Errorf("the client was told %q", last)
			}
			if bytes.Contains(heard, []byte("upstream")) {
				t.Errorf("the server heard the password: %q", heard)
			}
			if logged == nil || name != "an error" && strings.Contains(logged.Error(), "upstream") {
				t.Errorf("logged: %v", logged)
			}
		})
	}
}

// The password goes in clear text to this machine, or where TLS proves who
// reads it, and to nobody else, however a server asks.
func TestPasswordInClearTextStaysAtHome(t *testing.T) {
	_, ca := newAuthority(t)
	asks := frame('R', "\x00\x00\x00\x03")
	for _, c := range []struct {
		host, mode, ca string
		may            bool
	}{
		{"127.0.0.1", "disable", "", true},
		{"::1", "disable", "", true},
		{"192.0.2.1", "disable", "", false},
		{"192.0.2.1", "allow", "", false},
		{"192.0.2.1", "prefer", "", false},
		{"192.0.2.1", "require", "", false},
		{"192.0.2.1", "verify-full", ca, false}, // the server has no TLS
	} {
		greet := asks
		if c.mode != "disable" && c.mode != "allow" {
			greet = append([]byte{'N'}, asks...) // P06 towards a server: bytes behind its answer
		}
		heard, _, _ := logIn(t, &postgres.Resource{Host: c.host, SSLMode: c.mode, SSLRootCert: c.ca}, greet)
		if got := bytes.Contains(heard, []byte("upstream")); got != c.may {
			t.Errorf("%+v: the server heard %q", c, heard)
		}
	}
}

// P06 towards a server: bytes behind its S are no part of what TLS protects,
// and end the log-in.
func TestP06BytesBehindTheServersS(t *testing.T) {
	for _, mode := range []string{"prefer", "require"} {
		greet := slices.Concat([]byte{'S'}, greeting)
		heard, told, logged := logIn(t, &postgres.Resource{Host: "127.0.0.1", SSLMode: mode}, greet)
		if bytes.Contains(told, []byte("Z\x00\x00\x00\x05I")) || logged == nil {
			t.Errorf("%s: the session was opened: %q, %v", mode, told, logged)
		}
		if bytes.Contains(heard, []byte("upstream")) {
			t.Errorf("%s: the server heard %q", mode, heard)
		}
	}
}

// A start-up by TLS may be cut anywhere, and stall and end anywhere.
func TestTLSStartUpCutAtEveryByte(t *testing.T) {
	a, _ := newAuthority(t)
	pair, err := issue(t, a, "localhost").TLS()
	if err != nil {
		t.Fatal(err)
	}
	ends := &tlsEnds{&tls.Config{Certificates: []tls.Certificate{pair}}, &tls.Config{RootCAs: a.Pool(), ServerName: "localhost"}}
	run := func(c trouble) (answer []byte, g *stage) {
		inBubble(t, func(t *testing.T) {
			ends.client.Time, ends.server.Time = now, now // certificates do not know of the bubble's time
			answer, g = playWith(t, plain, c, trouble{}, greeting, ends)
		})
		return answer, g
	}
	want, _ := run(trouble{})
	if !bytes.HasSuffix(want, frame('Z', "I")) {
		t.Fatalf("answered %q", want)
	}
	const all = 900 // bytes of the client's, at least up to its first query
	for at := 0; at < all; at += nth {
		if got, _ := run(trouble{"split", at}); !bytes.Equal(got, want) {
			t.Fatalf("split at %d: %q", at, got)
		}
	}
	for _, kind := range []string{"stall", "close"} {
		for at := 0; at < all; at += 3 * nth {
			got, g := run(trouble{kind, at})
			if len(got) > len(want) {
				t.Errorf("%s at %d: %q", kind, at, got)
			}
			if !bytes.Contains(got, []byte{'K'}) && slices.Max(g.lasted) > postgres.DefaultStartupTime+time.Second && len(got) < 9 {
				t.Errorf("%s at %d: the start-up lasted %v", kind, at, g.lasted)
			}
		}
	}
}

var now = func() func() time.Time { at := time.Now(); return func() time.Time { return at } }()

// A CancelRequest that comes whole, however it is cut, ends the hold of its
// session. One that does not come whole does nothing, and holds up nobody.
func TestCancelRequestCutAtEveryByte(t *testing.T) {
	for _, kind := range []string{"split", "stall", "close"} {
		for at := range 16 {
			inBubble(t, func(t *testing.T) {
				var g *stage
				var servers sync.WaitGroup
				g = newStage(t, nil, func(context.Context, string, string) (net.Conn, error) {
					gate, conn := net.Pipe()
					s := &server{stage: g, greet: greeting, name: "main", script: []said{
						{1, frame('E', "SERROR\x00C42601\x00Mrejected\x00\x00")}, {1, frame('Z', "I")}}}
					servers.Go(func() { s.serve(conn, trouble{}) })
					return pipeEnd{gate}, nil
				})
				var conn = g.connect()
				keys := make(chan []byte, 1)
				var clients sync.WaitGroup
				var answer []byte
				clients.Go(func() {
					answer = client{conn: &keyed{Conn: conn, keys: keys}, name: "main"}.run([][]byte{query("SELECT 'ask'")})
				})
				key := <-keys
				time.Sleep(time.Second / 2) // half-way through the hold
				other := &faulty{Conn: g.connect(), trouble: trouble{kind, at}}
				_, _ = other.Write(append([]byte{0, 0, 0, 16, 4, 210, 22, 46}, key...))
				_, _ = io.Copy(io.Discard, other)
				other.Close()
				clients.Wait()
				g.finish()
				servers.Wait()
				if got, want := bytes.Contains(answer, []byte("57014")), kind == "split"; got != want {
					t.Errorf("%s at %d: cancelled %v: %q", kind, at, got, answer)
				}
			})
		}
	}
}

// A keyed connection tells the key that passes through it.
type keyed struct {
	net.Conn
	keys chan []byte
	seen []byte
}

func (c *keyed) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.keys != nil {
		c.seen = append(c.seen, b[:n]...)
		for _, f := range frames(c.seen) {
			if f[0] == 'K' {
				c.keys <- bytes.Clone(f[5:])
				c.keys = nil
				break
			}
		}
	}
	return n, err
}
