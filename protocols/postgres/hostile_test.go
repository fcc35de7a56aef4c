package postgres_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/event"
	"gatehouse/core/peers"
	"gatehouse/core/pipeline"
	"gatehouse/protocols/postgres"
)

func (g *gate) dial(t testing.TB) *raw {
	t.Helper()
	c, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(hangs)); err != nil {
		t.Fatal(err)
	}
	return &raw{c, t}
}

func (r *raw) bytes(bs ...any) {
	r.t.Helper()
	var b []byte
	for _, v := range bs {
		switch v := v.(type) {
		case string:
			b = append(b, v...)
		case int:
			b = binary.BigEndian.AppendUint32(b, uint32(v))
		}
	}
	if _, err := r.Write(b); err != nil {
		r.t.Fatal(err)
	}
}

const (
	sslRequest    = 80877103
	gssencRequest = 80877104
	version3      = 3 << 16
)

func TestHostileStartUp(t *testing.T) {
	g := startGate(t, gateConfig{limits: limitsFor(500 * time.Millisecond)})
	long := strings.Repeat("x", 9990)
	for name, bs := range map[string][]any{
		"P09 length 3":                  {3, version3},
		"P09 length 0x7fffffff":         {0x7fffffff, version3},
		"P09 length 10001":              {10001, version3, long},
		"P09 length, then silence":      {9000, version3},
		"P09 no final NUL":              {22, version3, "user\x00agent\x00xxx"},
		"P09 a key twice":               {8 + 22 + 1, version3, "user\x00agent\x00user\x00agent\x00\x00"},
		"P09 a key twice, differing":    {8 + 11 + 13 + 13 + 1, version3, "user\x00agent\x00TimeZone\x00UTC\x00timezone\x00CET\x00\x00"},
		"P09 no user":                   {8 + 16 + 1, version3, "database\x00orders\x00\x00"},
		"P07 SSLRequest twice":          {8, sslRequest},
		"P30 replication":               {8 + 11 + 17 + 1, version3, "user\x00agent\x00replication\x00true\x00\x00"},
		"P31 options":                   {8 + 11 + 16 + 1, version3, "user\x00agent\x00options\x00-c x=y\x00\x00"},
		"P31 role":                      {8 + 11 + 10 + 1, version3, "user\x00agent\x00role\x00admin\x00\x00"},
		"P34 client_encoding":           {8 + 11 + 21 + 1, version3, "user\x00agent\x00client_encoding\x00SJIS\x00\x00"},
		"an unknown request":            {8, 12345},
		"protocol 2":                    {8, 2 << 16},
		"P06 a query behind SSLRequest": {8, sslRequest, "Q", 13, "SELECT 1\x00"},
	} {
		r := g.dial(t)
		r.bytes(bs...)
		if strings.HasPrefix(name, "P07") {
			var answer [1]byte
			if _, err := r.Read(answer[:]); err != nil || answer[0] != 'N' {
				t.Fatalf("SSLRequest was answered by %q, %v", answer, err)
			}
			r.bytes(bs...)
		}
		t.Run(name, func(t *testing.T) { r.t = t; r.gone() })
	}
	if err := g.connect(t, "").Ping(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestStartUpOfOrdinaryClients(t *testing.T) {
	g := startGate(t, gateConfig{})
	r := g.dial(t)
	var answer [1]byte
	r.bytes(8, gssencRequest)
	r.Read(answer[:])
	r.bytes(8, sslRequest)
	r.Read(answer[:])
	if answer[0] != 'N' {
		t.Fatalf("answered %q", answer)
	}
	// Protocol 3.2 with an option: told what it gets, then asked for its token.
	params := "user\x00agent\x00database\x00orders\x00_pq_.x\x00y\x00\x00"
	r.bytes(8+len(params), version3|2, params)
	r.expect("v")
	r.expect("R")
	r.send(&pgproto3.PasswordMessage{Password: "good"})
	r.until("Z I")
}

func TestBadTokensAndUnknownResources(t *testing.T) {
	g := startGate(t, gateConfig{})
	for _, c := range []struct{ database, password, want string }{
		{"orders", "bad", "E 28P01"},
		{"nowhere", "good", "E 28000"},
		{"orders/postgres", "good", "E 28000"},
		{"", "good", "E 28000"},
	} {
		r := dialRaw(t, g.addr, map[string]string{"user": "agent", "database": c.database}, c.password)
		r.expect("R")
		if got := r.next(); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

func TestHostileMessages(t *testing.T) {
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{columns{}}})
	for name, bs := range map[string][]any{
		"P01 length 3":              {"Q", 3, "SELECT 1\x00"},
		"P01 length 0":              {"Q", 0, "SELECT 1\x00"},
		"P02 length 0x40000000":     {"Q", 0x40000000, "SELECT 1\x00"},
		"P02 length 0xffffffff":     {"Q", -1, "SELECT 1\x00"},
		"a second password":         {"p", 9, "good\x00"},
		"an unknown type":           {"z", 4},
		"a Sync with a body":        {"S", 8, "DROP"},
		"a Flush with a body":       {"H", 8, "DROP"},
		"a Bind that lies":          {"B", 16, "\x00\x00\x00\x00\x00\x01", -2, "\x00\x00"},
		"a Bind of 65535 values":    {"B", 12, "\x00\x00\x00\x00\xff\xff\x00\x00"},
		"a Parse with a tail":       {"P", 17, "\x00SELECT 1\x00\x00\x00x"},
		"a Describe of neither":     {"D", 6, "X\x00"},
		"an Execute that is short":  {"E", 6, "\x00\x00"},
		"P03 a Bind ends in itself": {"B", 14, "\x00\x00\x00\x00\x00\x01", 100, "Q", 20, "DROP TABLE t\x00"},
	} {
		r := g.raw(t)
		r.bytes(bs...)
		t.Run(name, func(t *testing.T) {
			r.t = t
			r.expect("E 08P01")
			r.gone()
		})
	}
	// P05: what the server answers is an error, not the end.
	r := g.raw(t)
	r.bytes("Q", 4+9+15, "SELECT 1\x00; DROP TABLE t\x00")
	if got := r.until("Z"); !cmp.Equal(got, []string{"E 08P01", "Z I"}) {
		t.Errorf("P05: %q", got)
	}
	// P33: an idle server drops stray COPY messages, and so does the gate.
	r.send(&pgproto3.CopyData{Data: []byte("Q\x00\x00\x00\x10DROP TABLE t")}, &pgproto3.CopyDone{}, &pgproto3.Query{String: "SELECT 1"})
	if got := r.until("Z"); !cmp.Equal(got, []string{"T", "D 1", "C SELECT 1", "Z I"}) {
		t.Errorf("P33: %q", got)
	}
	g.one(t, "SELECT count(*)::text FROM t") // is still there
}

// Where every database may be asked for, those that do not exist leave nothing
// behind, and odd names are names.
func TestUnknownDatabasesLeaveNothing(t *testing.T) {
	pg := peers.SharedPostgres(t, 15)
	r := &postgres.Resource{Name: "orders", Host: "127.0.0.1", Port: uint16(pg.Port), User: peers.Superuser, Password: pg.Password,
		Database: pg.NewDatabase(t, ""), Databases: []string{"*"}, SSLMode: "disable"}
	g := startGate(t, gateConfig{server: r})
	for _, name := range []string{"nothing", "a' host='evil", `a\' b`, "host=evil port=1", "postgres://evil/x", "a/b", "\x1b[31m", "\xff", strings.Repeat("n", 5000)} {
		c := dialRaw(t, g.addr, map[string]string{"user": "agent", "database": "orders/" + name}, "good")
		c.expect("R")
		c.expect("E 08001")
		c.gone()
	}
	if n := r.Catalogs(); n != 0 {
		t.Errorf("%d catalogues are kept", n)
	}
}

// A plugin or a codec that panics ends its own session only, whichever of its
// goroutines it was.
func TestAPanicEndsOneSession(t *testing.T) {
	g := startGate(t, gateConfig{plugins: []pipeline.Plugin{rule(func(r *event.Request) event.Verdict {
		if strings.Contains(string(r.Payload), "judge panics") {
			panic("as asked")
		}
		return event.Verdict{Action: event.Allow}
	}), panicking{}}})
	other := g.connect(t, "")
	for _, sql := range []string{"SELECT 'judge panics'", "SELECT 1 AS panics"} {
		r := g.raw(t)
		r.send(&pgproto3.Query{String: sql})
		r.gone()
		if err := other.Ping(t.Context()); err != nil {
			t.Errorf("%s: another session: %v", sql, err)
		}
	}
}

// A panicking masker does so where a result has a field of that name.
type panicking struct{ columns }

func (p panicking) Treat(ctx context.Context, s *event.Session, h *event.Head) ([]event.Treatment, error) {
	if h.Fields[0].Name == "panics" {
		panic("as asked")
	}
	return p.columns.Treat(ctx, s, h)
}

func TestUnknownNamesAreRefusedAsTheServerWould(t *testing.T) {
	g := startGate(t, gateConfig{plugins: []pipeline.Plugin{columns{}}})
	for _, ms := range [][]pgproto3.FrontendMessage{
		{&pgproto3.Bind{PreparedStatement: "nothing"}},
		{&pgproto3.Bind{}},
		{&pgproto3.Execute{Portal: "nothing"}},
		{&pgproto3.Describe{ObjectType: 'S', Name: "nothing"}},
		{&pgproto3.Describe{ObjectType: 'P', Name: "nothing"}},
		{&pgproto3.Close{ObjectType: 'S', Name: "nothing"}},
	} {
		var got [2][]string
		for i, r := range []*raw{g.rawDirect(t), g.raw(t)} {
			r.send(append(ms, &pgproto3.Sync{})...)
			got[i] = r.until("Z")
		}
		if diff := cmp.Diff(got[0], got[1]); diff != "" {
			t.Errorf("%T (-server +gate):\n%s", ms[0], diff)
		}
	}
}

func TestWrongCancelKeysDoNothing(t *testing.T) {
	t.Parallel()
	g := startGate(t, gateConfig{})
	c := g.connect(t, "")
	done := make(chan error, 1)
	go func() { _, err := c.Exec(context.Background(), "SELECT pg_sleep(0.5)"); done <- err }()
	for i := range 200 {
		r := g.dial(t)
		r.bytes(16, 80877102, int(c.PgConn().PID()), i)
		r.gone()
	}
	if err := <-done; err != nil {
		t.Errorf("a wrong key cancelled it: %v", err)
	}
}

func TestSessionEndsWhenItsTokenExpires(t *testing.T) {
	t.Parallel()
	analyzer() // or the token expires meanwhile
	g := startGate(t, gateConfig{expires: time.Now().Add(10 * time.Second)})
	idle, busy := g.raw(t), g.raw(t)
	busy.send(&pgproto3.Query{String: "BEGIN"})
	busy.until("Z")
	idle.expect("E 28000")
	idle.gone()
	// An open transaction may end first.
	busy.send(&pgproto3.Query{String: "SELECT 1"}, &pgproto3.Query{String: "COMMIT"})
	busy.until("C COMMIT")
	busy.expect("Z I")
	busy.expect("E 28000")
	busy.gone()
}

func TestManySessionsLeaveNothingBehind(t *testing.T) {
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{rule(words), columns{}}})
	g.connect(t, "").Close(t.Context()) // what is made once is made now
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	const n, at = 400, 20
	var wg sync.WaitGroup
	for i := range at {
		wg.Go(func() {
			for k := range n / at {
				r := g.raw(t)
				r.send(&pgproto3.Query{String: "SELECT 1"})
				r.until("Z")
				switch (i + k) % 3 {
				case 0:
					r.send(&pgproto3.Terminate{})
				case 1:
					r.send(&pgproto3.Parse{Query: "SELECT 1"})
				}
				r.Close()
			}
		})
	}
	wg.Wait()
	waitFor(t, func() bool { return runtime.NumGoroutine() <= goroutines+5 && openFiles(t) <= files+5 })
}

func openFiles(t testing.TB) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

// Evidence before effect: whatever the server logged was on the tape as
// allowed.
func TestWhatRanWasRecorded(t *testing.T) {
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{rule(words), columns{}}})
	c := g.connect(t, "")
	for i := range 20 {
		_, _ = c.Exec(t.Context(), fmt.Sprintf("INSERT INTO t VALUES (%d)", i))
		_, _ = c.Exec(t.Context(), fmt.Sprintf("INSERT INTO t VALUES (%d) RETURNING 'forbidden'", i))
	}
	allowed := map[string]bool{}
	for _, r := range g.tapes {
		requests := map[uint64]string{}
		for _, f := range r.all() {
			switch f.Kind {
			case event.KindRequest:
				var req event.Request
				if err := req.Decode(f.Payload); err != nil {
					t.Fatal(err)
				}
				requests[f.Exchange] = string(req.Payload)
			case event.KindVerdict:
				var v event.Verdict
				if err := v.Decode(f.Payload); err != nil {
					t.Fatal(err)
				}
				allowed[requests[f.Exchange]] = v.Action == event.Allow
			}
		}
	}
	ran, err := g.pg.Statements(g.database)
	if err != nil {
		t.Fatal(err)
	}
	inserts := 0
	for _, sql := range ran {
		if strings.HasPrefix(sql, "INSERT INTO t") {
			inserts++
			if !allowed[sql] {
				t.Errorf("the server ran %q, which is not recorded as allowed", sql)
			}
		}
	}
	if inserts != 20 {
		t.Errorf("the server ran %d inserts", inserts)
	}
}

func TestNamesAreLimited(t *testing.T) {
	g := startGate(t, gateConfig{limits: postgres.Limits{Prepared: 3}})
	r := g.raw(t)
	for i := range 5 {
		want := []string{"1", "Z I"}
		if i >= 3 {
			want = []string{"E 54001", "Z I"}
		}
		r.send(&pgproto3.Parse{Name: fmt.Sprint("s", i), Query: "SELECT 1"}, &pgproto3.Sync{})
		if got := r.until("Z"); !cmp.Equal(got, want) {
			t.Errorf("statement %d: %q", i, got)
		}
	}
	r.send(&pgproto3.Parse{Query: "SELECT 1"}, &pgproto3.Close{ObjectType: 'S', Name: "s0"}, &pgproto3.Close{ObjectType: 'S', Name: "s1"},
		&pgproto3.Sync{}, &pgproto3.Parse{Name: "s9", Query: "SELECT 1"}, &pgproto3.Sync{})
	if got := append(r.until("Z"), r.until("Z")...); !cmp.Equal(got, []string{"1", "3", "3", "Z I", "1", "Z I"}) {
		t.Errorf("after closing: %q", got)
	}
}
