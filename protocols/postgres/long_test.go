package postgres_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/protocols/postgres"
	"gatehouse/recorder"
)

// recorded returns the bytes of a tape's responses.
func (r *tape) responses() (b []byte) {
	for _, f := range r.all() {
		if f.Kind == event.KindData {
			b = append(b, f.Payload...)
		}
	}
	return b
}

// A row that is too long to be held arrives as it is, and is recorded so, in
// every mode, with rows before and behind it.
func TestLongRowsPassInPieces(t *testing.T) {
	for name, plugins := range map[string][]pipeline.Plugin{
		"nothing masked":       {rule(words)},
		"other columns masked": {columns{"public.customers.email": {}}},
	} {
		g := startGate(t, gateConfig{sql: customers, plugins: plugins, limits: postgres.Limits{Buffer: 1 << 10}})
		for i, mode := range queryModes {
			c := g.connect(t, "&default_query_exec_mode="+mode)
			rows, err := c.Query(t.Context(), "SELECT n, repeat('x', n), 'end' FROM unnest(ARRAY[1, 3000000, 1023, 70000, 2]) n")
			if err != nil {
				t.Fatal(err)
			}
			var sizes []int
			for rows.Next() {
				var n int
				var v, end string
				if err := rows.Scan(&n, &v, &end); err != nil || v != strings.Repeat("x", n) || end != "end" {
					t.Fatalf("%s, %s: a row of %d has %d bytes, %q: %v", name, mode, n, len(v), end, err)
				}
				sizes = append(sizes, n)
			}
			if err := rows.Err(); err != nil || !cmp.Equal(sizes, []int{1, 3000000, 1023, 70000, 2}) {
				t.Errorf("%s, %s: %v, %v", name, mode, sizes, err)
			}
			if err := c.Ping(t.Context()); err != nil {
				t.Errorf("%s, %s: afterwards: %v", name, mode, err)
			}
			c.Close(t.Context())
			if n := strings.Count(string(g.tapes[i].responses()), strings.Repeat("x", 3000000)); n != 1 {
				t.Errorf("%s, %s: the long value is recorded %d times", name, mode, n)
			}
		}
	}
}

// What a client sends beyond the limit is refused in step, and recorded.
func TestMessagesBeyondTheLimitAreRefusedInStep(t *testing.T) {
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{columns{}}, limits: postgres.Limits{MessageSize: 64 << 10}})
	long := strings.Repeat("x", 3<<20)
	r := g.raw(t)
	insert := func(n int) *pgproto3.Query {
		return &pgproto3.Query{String: fmt.Sprintf("INSERT INTO t VALUES (%d)", n)}
	}
	r.send(&pgproto3.Query{String: "BEGIN"}, insert(1), &pgproto3.Query{String: "SELECT '" + long + "'"}, insert(2), &pgproto3.Query{String: "COMMIT"})
	var got []string
	for range 5 {
		got = append(got, r.until("Z")...)
	}
	want := []string{"C BEGIN", "Z T", "C INSERT 0 1", "Z T", "E 54000", "Z E", "E 25P02", "Z E", "C ROLLBACK", "Z I"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, m := range []pgproto3.FrontendMessage{
		&pgproto3.Parse{Query: long}, &pgproto3.Bind{Parameters: [][]byte{[]byte(long)}},
		&pgproto3.Execute{Portal: long}, &pgproto3.Describe{ObjectType: 'S', Name: long}, &pgproto3.Close{ObjectType: 'S', Name: long},
	} {
		parse := &pgproto3.Parse{Query: "INSERT INTO t VALUES (3)"}
		r.send(parse, &pgproto3.Bind{}, &pgproto3.Execute{}, m, parse, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{}, &pgproto3.Query{String: "SELECT count(*) FROM t"})
		got := append(r.until("Z"), r.until("Z")...)
		if want := []string{"1", "2", "C INSERT 0 1", "E 54000", "Z I", "T", "D 0", "C SELECT 1", "Z I"}; !cmp.Equal(got, want) {
			t.Errorf("%T: %q", m, got)
		}
	}
	// Nobody waits for a COPY, so that its data is dropped.
	r.send(&pgproto3.CopyData{Data: []byte(long)}, &pgproto3.FunctionCall{Arguments: [][]byte{[]byte(long)}})
	if got := r.until("Z"); !cmp.Equal(got, []string{"E 54000", "Z I"}) {
		t.Errorf("a function call: %q", got)
	}
	refused := 0
	for _, f := range g.tapes[0].all() {
		var v event.Verdict
		if f.Kind == event.KindVerdict && v.Decode(f.Payload) == nil && strings.Contains(v.Reason, "longer than the limit") {
			refused++
		}
	}
	if refused != 7 {
		t.Errorf("%d refusals are recorded", refused)
	}
	r.send(&pgproto3.Terminate{})
	r = g.raw(t)
	r.bytes("S", 3<<20)
	r.expect("E 08P01")
	r.gone()
}

const endless = "SELECT repeat('x', 100000), generate_series(1, 1000000000)"

// P10: a client that reads nothing stops its own server and nobody else, fills no
// memory, and loses its session in the end.
func TestClientsThatReadNothingStopNothingElse(t *testing.T) {
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{columns{"public.customers.email": {}}},
		limits: postgres.Limits{Unread: time.Second}})
	idle := g.raw(t)
	for i, sql := range []string{endless, endless + ", email FROM customers"} {
		before := inUse()
		g.raw(t).send(&pgproto3.Query{String: sql})
		for range 50 {
			idle.send(&pgproto3.Query{String: "SELECT 1"})
			if got := idle.until("Z"); !cmp.Equal(got, []string{"T", "D 1", "C SELECT 1", "Z I"}) {
				t.Fatalf("the other session: %q", got)
			}
		}
		waitFor(t, func() bool { return g.ending(i+1) == "08006 the client read nothing for 1s" })
		if grown := inUse() - before; grown > 32<<20 {
			t.Errorf("memory grew by %d bytes", grown)
		}
	}
	idle.send(&pgproto3.Query{String: "SELECT 1"})
	idle.until("Z I")
}

// ending returns why a session ended, or "" before it did.
func (g *gate) ending(session int) string {
	for _, f := range g.tapes[session].all() {
		var n event.Notice
		if f.Kind == event.KindClose && n.Decode(f.Payload) == nil {
			return n.Code + " " + n.Text
		}
	}
	return ""
}

// inUse returns how much memory the heap has from the system.
func inUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

// onDisk records as a gate does.
func onDisk(t *testing.T) func(*event.Session) pipeline.Recorder {
	t.Helper()
	dir := t.TempDir()
	key, _, err := recorder.GenerateKey("test")
	if err != nil {
		t.Fatal(err)
	}
	store, err := recorder.OpenDir(filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := recorder.Open(recorder.Options{Spool: filepath.Join(dir, "spool"), Store: store, Key: key, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(r.Close(context.Background()), store.Close()); err != nil {
			t.Error(err)
		}
	})
	return func(s *event.Session) pipeline.Recorder {
		s.Start = time.Now()
		session, err := r.Begin(s)
		if err != nil {
			t.Error(err)
			return &tape{}
		}
		return session
	}
}

// readLong reads the response to sql, whose only row has one value of size
// bytes or more, looking at no more than the value's first and last bytes, and
// returns those and by how much the process's heap grew at most meanwhile.
func readLong(t *testing.T, r *raw, sql string, size int) (first, end byte, grown int64) {
	t.Helper()
	before := inUse()
	r.SetDeadline(time.Now().Add(hangs))
	r.send(&pgproto3.Query{String: sql})
	buf := make([]byte, 1<<20)
	var last byte
	for {
		if _, err := io.ReadFull(r, buf[:5]); err != nil {
			t.Fatal(err)
		}
		kind, left := buf[0], int(binary.BigEndian.Uint32(buf[1:]))-4
		if kind == 'E' || kind == 'D' && left < size {
			t.Fatalf("message %q of %d bytes", kind, left)
		}
		if kind == 'D' {
			if _, err := io.ReadFull(r, buf[:7]); err != nil {
				t.Fatal(err)
			}
			first, left = buf[6], left-7
		}
		for left > 0 {
			n, err := r.Read(buf[:min(left, len(buf))])
			if err != nil {
				t.Fatal(err)
			}
			last = buf[n-1]
			if left>>25 != (left-n)>>25 { // now and then
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				grown = max(grown, int64(m.HeapInuse)-before)
			}
			left -= n
		}
		if kind == 'D' {
			end = last
		}
		if kind == 'Z' {
			return first, end, grown
		}
	}
}

// longBound is by how much a row of a hundred megabytes may make the heap of
// the gate and of what stores its recordings grow.
const longBound = 32 << 20

// P37: a row of one long value, and one of as many columns as there can be.
func TestLongRowsTakeLittleMemory(t *testing.T) {
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{columns{}}, record: onDisk(t)})
	for _, sql := range []string{"SELECT 'a' || repeat('x', 100000000) || 'z'", wide(62_500)} {
		first, last, grown := readLong(t, g.raw(t), sql, 100_000_000)
		t.Logf("%.60s: memory grew by %d bytes", sql, grown)
		if first != 'a' || last != 'z' || grown > longBound {
			t.Errorf("%.60s: the row came as %c...%c, and memory grew by %d bytes", sql, first, last, grown)
		}
	}
}

// wide asks for a row of 1,600 values of so many bytes each, from a to z.
func wide(each int) string {
	middle := strings.Repeat(fmt.Sprintf(", repeat('x', %d)", each), 1598)
	return fmt.Sprintf("SELECT 'a' || repeat('x', %d)%s, repeat('x', %d) || 'z'", each, middle, each)
}
