package postgres_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/event"
	"gatehouse/core/peers"
	"gatehouse/core/pipeline"
	"gatehouse/core/protect"
	"gatehouse/core/proxy"
	"gatehouse/plugins"
	"gatehouse/plugins/host"
	"gatehouse/plugins/plugintest"
	"gatehouse/protocols/postgres"
)

// BenchmarkTransaction is what the gate does for one SELECT by primary key, with
// the plugins that ship: all but waiting for sockets and the disk. What the server
// answers was recorded before.
func BenchmarkTransaction(b *testing.B) { benchmarkTransactions(b, nil) }

// BenchmarkColdTransaction is BenchmarkTransaction after something else used the
// processor each time, as client and server do: what most of the time goes to then is
// to fetch code and data into the caches.
func BenchmarkColdTransaction(b *testing.B) {
	memory := make([]byte, 6<<20)
	a, n := analyzer(), 0
	benchmarkTransactions(b, func() {
		for i := 0; i < len(memory); i += 64 {
			memory[i]++
		}
		n++
		_ = regexp.MustCompile(`^(a|b)*c+[d-z]{2,3}$`).MatchString("aabbccxyz")
		if _, err := a.Analyze(context.Background(), fmt.Sprintf("SELECT a%d, count(*) FROM t%d JOIN u USING (x) WHERE y = 1 GROUP BY 1 ORDER BY 2", n, n)); err != nil {
			b.Fatal(err)
		}
	})
}

// benchmarkTransactions measures transactions, before each of which it calls between,
// if that is not nil.
func benchmarkTransactions(b *testing.B, between func()) {
	pg := peers.SharedPostgres(b, 15)
	database := pg.NewDatabase(b, `CREATE TABLE pgbench_accounts (aid int NOT NULL PRIMARY KEY, bid int, abalance int, filler char(84));
		INSERT INTO pgbench_accounts SELECT i, 1, i, '' FROM generate_series(1, 1000) i;
		CREATE TABLE customers (id int PRIMARY KEY, email text)`)
	h := plugintest.Host(b, host.Options{})
	var chain []pipeline.Plugin
	for _, name := range []string{"classify", "guard", "approve"} {
		module, err := plugins.Builtin(name)
		if err != nil {
			b.Fatal(err)
		}
		p, err := h.Load(context.Background(), name, module, nil)
		if err != nil {
			b.Fatal(err)
		}
		chain = append(chain, p)
	}
	strict, err := protect.New(protect.Config{
		Mode: protect.Strict, Columns: map[string]event.Treatment{"public.customers.email": {Kind: event.Redact}}, Implied: postgres.ProtectedCatalog(),
	})
	if err != nil {
		b.Fatal(err)
	}
	for _, protection := range []struct {
		name    string
		columns *protect.Columns
	}{{"", nil}, {"-strict", strict}} {
		for _, mode := range []string{"simple", "extended", "prepared"} {
			b.Run(mode+protection.name, func(b *testing.B) {
				resource := &postgres.Resource{
					Name: "orders", Host: "127.0.0.1", Port: uint16(pg.Port), User: peers.Superuser,
					Password: pg.Password, Database: database, SSLMode: "disable",
				}
				p, err := postgres.New(postgres.Config{Resources: map[string]*postgres.Resource{"orders": resource}, Plaintext: true, Analyzer: analyzer()})
				if err != nil {
					b.Fatal(err)
				}
				defer p.Close()
				w := openByHand(b, p, chain, protection.columns)
				texts := transactions(b, mode)
				if mode == "prepared" {
					w.learn(framesOf(b, &pgproto3.Parse{Name: "P0", Query: selectByKey("$1")}, &pgproto3.Sync{}))
				}
				var answers [][][]byte
				for _, frames := range texts {
					answers = append(answers, w.learn(frames))
				}
				i := 0
				pass := func() {
					if err := w.hands.Pass(texts[i], answers[i]); err != nil {
						b.Fatal(err)
					}
					i = (i + 1) % len(texts)
				}
				if between != nil {
					var took time.Duration
					for b.Loop() {
						between()
						begun := time.Now()
						pass()
						took += time.Since(begun)
					}
					b.ReportMetric(float64(took.Nanoseconds())/float64(b.N), "ns/op")
					return
				}
				b.ReportAllocs()
				before := processorTime(b)
				for b.Loop() {
					pass()
				}
				b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}

// processorTime is what this process has taken of it: on a busy machine that tells
// more than the clock.
func processorTime(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func selectByKey(key string) string {
	return "SELECT abalance FROM pgbench_accounts WHERE aid = " + key + ";"
}

// transactions are what pgbench sends in a mode, for some keys.
func transactions(t testing.TB, mode string) (all [][][]byte) {
	for key := 1; key <= 64; key++ {
		value := fmt.Sprint(key * 11)
		switch bind := (&pgproto3.Bind{Parameters: [][]byte{[]byte(value)}}); mode {
		case "simple":
			all = append(all, framesOf(t, &pgproto3.Query{String: selectByKey(value)}))
		case "extended":
			all = append(all, framesOf(t, &pgproto3.Parse{Query: selectByKey("$1")}, bind, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}, &pgproto3.Sync{}))
		case "prepared":
			bind.PreparedStatement = "P0"
			all = append(all, framesOf(t, bind, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}, &pgproto3.Sync{}))
		}
	}
	return all
}

func framesOf(t testing.TB, ms ...pgproto3.FrontendMessage) (frames [][]byte) {
	for _, m := range ms {
		f, err := m.Encode(nil)
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, f)
	}
	return frames
}

// A handheld is a session of which a benchmark passes the messages.
type handheld struct {
	t      testing.TB
	hands  *postgres.Hands
	server net.Conn
}

func openByHand(t testing.TB, p *postgres.Protocol, chain []pipeline.Plugin, columns *protect.Columns) *handheld {
	gate, client := net.Pipe()
	go func() { // a client that logs in
		var b []byte
		for _, m := range []pgproto3.FrontendMessage{
			&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersionNumber, Parameters: map[string]string{"user": "agent", "database": "orders"}},
			&pgproto3.PasswordMessage{Password: "good"},
		} {
			b, _ = m.Encode(b[:0])
			_, _ = client.Write(b)
			_, _ = client.Read(make([]byte, 64))
		}
		_, _ = io.Copy(io.Discard, client)
	}()
	env := proxy.Env{
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Authenticate: func(context.Context, string) (event.Principal, error) {
			return event.Principal{Issuer: "test", Subject: "agent"}, nil
		},
		Open: func(ctx context.Context, s *event.Session) (*pipeline.Session, error) {
			s.ID, s.Start = "01", time.Now()
			var opened []pipeline.Plugin
			for _, p := range chain {
				o, err := p.(*host.Plugin).Open(ctx, s)
				if err != nil {
					return nil, err
				}
				opened = append(opened, o)
			}
			return pipeline.New(pipeline.Config{
				Terms:    pipeline.Terms{Session: s, Plugins: opened, HoldFor: time.Minute, Protected: columns, AllProtected: columns},
				Recorder: new(encoder), Key: []byte(strings.Repeat("k", 32)),
			})
		},
	}
	hands, server, err := postgres.OpenByHand(context.Background(), p, local{gate}, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hands.Close)
	return &handheld{t, hands, server}
}

// A local connection counts as one of this machine.
type local struct{ net.Conn }

func (local) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// learn passes frames to the server itself and returns what it answers.
func (w *handheld) learn(frames [][]byte) (answers [][]byte) {
	w.t.Helper()
	up, err := w.hands.Ask(frames)
	if err == nil {
		_, err = w.server.Write(up)
	}
	for err == nil {
		var f []byte
		if f, err = readFrame(w.server); err == nil {
			answers = append(answers, f)
			if err = w.hands.Answer(f); f[0] == 'E' {
				w.t.Fatalf("%q", f)
			}
			if f[0] == 'Z' {
				break
			}
		}
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return answers
}

// An encoder encodes frames as a recorder does, and drops them.
type encoder struct{ b []byte }

func (e *encoder) Append(f event.Frame, more ...[]byte) error {
	e.b = f.Append(e.b, more...)
	return nil
}

func (e *encoder) Commit(context.Context) error {
	e.b = e.b[:0]
	return nil
}
