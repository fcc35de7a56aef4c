package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgproto3/v2"
	"github.com/jackc/pgx/v5"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/protocols/postgres"
	"gatehouse/recorder"
)

func TestPgxCopies(t *testing.T) {
	mask := columns{"public.people.email": {Kind: event.Redact}}
	g := startGate(t, gateConfig{sql: awkward, plugins: []pipeline.Plugin{mask}})
	c := g.connect(t, "")
	var rows [][]any
	for i := range 20_000 {
		rows = append(rows, []any{i + 10, fmt.Sprintf("more%d@example.com", i), "name\t\\ " + strings.Repeat("x", i%50)})
	}
	n, err := c.CopyFrom(t.Context(), pgx.Identifier{"people"}, []string{"id", "email", "name"}, pgx.CopyFromRows(rows))
	if err != nil || n != 20_000 {
		t.Fatalf("%d rows, %v", n, err)
	}
	if got := g.one(t, "SELECT count(*) || ' ' || sum(length(name)) FROM people WHERE email LIKE 'more%'"); got != "20000 630000" {
		t.Errorf("arrived: %s", got)
	}
	var out bytes.Buffer
	tag, err := c.PgConn().CopyTo(t.Context(), &out, "COPY people TO STDOUT")
	if err != nil || tag.RowsAffected() != 20_003 {
		t.Fatalf("%v, %v", tag, err)
	}
	if n := strings.Count(out.String(), "\t[redacted]\t"); n != 20_003 || strings.Contains(out.String(), "example.com") {
		t.Errorf("%d of 20003 rows are masked", n)
	}
}

func TestPsqlCopies(t *testing.T) {
	g := startGate(t, gateConfig{sql: awkward, plugins: []pipeline.Plugin{columns{"public.people.email": {Kind: event.KeepLast, Keep: 4}}}})
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.csv"), filepath.Join(dir, "out.csv")
	if err := os.WriteFile(in, []byte("id,email,name\n10,\"a,\"\"b@example.com\",\n11,,\"two\nlines\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.run(t, "psql", "-X", "-v", "ON_ERROR_STOP=1", "-c", `\copy people (id, email, name) FROM '`+in+`' CSV HEADER`,
		"-c", `\copy (SELECT id, email, name FROM people WHERE id >= 10 ORDER BY id) TO '`+out+`' CSV HEADER`)
	got, err := os.ReadFile(out)
	if want := "id,email,name\n10,************.com,\n11,,\"two\nlines\"\n"; err != nil || string(got) != want {
		t.Errorf("got %q, %v", got, err)
	}
	if text := g.run(t, "psql", "-X", "-c", "COPY people (name) FROM STDIN", "-c", "SELECT 1"); !strings.Contains(text, "COPY 0") {
		t.Errorf("an empty upload: %s", text)
	}
}

func TestCopyInThatIsHeld(t *testing.T) {
	for how, messages := range protocols {
		g := startGate(t, gateConfig{sql: awkward, plugins: []pipeline.Plugin{rule(words)}})
		for _, approved := range []bool{true, false} {
			r := g.raw(t)
			r.send(messages("COPY t FROM STDIN /* ask */")...)
			p := <-g.desk.pending
			if st := p.Request.Statements[0]; st.Kind != "COPY" || len(st.Writes) != 1 {
				t.Errorf("the approver is shown %+v", st)
			}
			r.send(data("7\n")...) // ahead of what the server says
			r.send(&pgproto3.CopyDone{})
			if how == "extended" {
				r.send(&pgproto3.Sync{})
			}
			g.desk.decide <- event.Decision{Approved: approved, By: event.Principal{Name: "ann"}}
			got := r.until("Z")
			want := []string{"C COPY 1", "Z I"}
			if !approved {
				want = []string{"E 42501", "Z I"}
			}
			if !cmp.Equal(got[len(got)-2:], want) {
				t.Errorf("%s, approved %v: %q", how, approved, got)
			}
			if !approved && how == "extended" {
				continue // its second Sync is answered too
			}
			r.send(simply("SELECT count(*) FROM t")...)
			if got := r.until("Z"); !cmp.Equal(got[1], "D 1") {
				t.Errorf("%s: %q", how, got)
			}
		}
	}
}

func TestCopyIsCancelled(t *testing.T) {
	g := startGate(t, gateConfig{sql: awkward, plugins: []pipeline.Plugin{watcher{}}})
	c := g.connect(t, "")
	for name, run := range map[string]func(stop func()) error{
		"out": func(stop func()) error {
			_, err := c.PgConn().CopyTo(context.Background(), writer(func(b []byte) { stop() }), "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 10000000)) TO STDOUT")
			return err
		},
		"in": func(stop func()) error {
			_, err := c.PgConn().CopyFrom(context.Background(), reader(func(b []byte) int {
				stop()
				return copy(b, "1\n")
			}), "COPY t FROM STDIN")
			return err
		},
	} {
		n := 0
		err := run(func() {
			// More than once, since the server forgets a cancel that comes
			// before the statement.
			if n++; n%500 == 0 {
				if err := c.PgConn().CancelRequest(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
		if err == nil || !strings.Contains(err.Error(), "57014") {
			t.Errorf("%s ended with %v", name, err)
		}
		if err := c.Ping(t.Context()); err != nil {
			t.Fatalf("%s, afterwards: %v", name, err)
		}
	}
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }

type reader func([]byte) int

func (r reader) Read(b []byte) (int, error) { return r(b), nil }

// Evidence before effect: what a client uploaded is recorded as far as the
// server may have it, and that the client left in the middle.
func TestUploadsAreRecorded(t *testing.T) {
	g := startGate(t, gateConfig{sql: awkward, plugins: []pipeline.Plugin{rule(words)}})
	r := g.raw(t)
	r.send(simply("COPY t FROM STDIN")...)
	r.until("G")
	r.send(data("1\n", "2")...)
	waitFor(t, func() bool { return strings.Contains(uploaded(g.tapes[0].all()), "2") })
	r.Close()
	waitFor(t, func() bool {
		all := g.tapes[0].all()
		return all[len(all)-1].Kind == event.KindClose
	})
	if got := uploaded(g.tapes[0].all()); got != "d\x00\x00\x00\x061\nd\x00\x00\x00\x052" {
		t.Errorf("recorded %q", got)
	}
	if n := g.one(t, "SELECT count(*)::text FROM t"); n != "0" {
		t.Errorf("%s rows stayed", n)
	}
	wantUndone(t, g.tapes[0])
}

func uploaded(frames []event.Frame) string {
	var all []byte
	for _, f := range frames {
		if f.Kind == event.KindUpload {
			all = append(all, f.Payload...)
		}
	}
	return string(all)
}

// A hang-up is noticed while a COPY waits for a lock, before it takes data.
func TestHangUpBeforeACopyBegins(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{"COPY t FROM STDIN", "COPY t TO STDOUT"} {
		t.Run(sql, func(t *testing.T) {
			t.Parallel() // the session waits seconds for the server's last words
			g := startGate(t, gateConfig{sql: awkward, plugins: []pipeline.Plugin{columns{}}})
			c := g.direct(t)
			if _, err := c.Exec(t.Context(), "BEGIN; LOCK TABLE t"); err != nil {
				t.Fatal(err)
			}
			r := g.raw(t)
			r.send(simply(sql)...)
			waitFor(t, func() bool {
				var n int
				err := c.QueryRow(t.Context(), "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 't'::regclass").Scan(&n)
				return err == nil && n == 1
			})
			r.Close()
			waitFor(t, func() bool {
				all := g.tapes[0].all()
				return all[len(all)-1].Kind == event.KindClose
			})
		})
	}
}

// Recorded COPY data is shown as rows under the names that are known.
func TestRecordedCopiesCanBeRead(t *testing.T) {
	for name, plugins := range map[string][]pipeline.Plugin{
		"masked":     {columns{"public.people.email": {Kind: event.Redact}}},
		"not masked": {rule(words)},
	} {
		for how, messages := range protocols {
			g := startGate(t, gateConfig{sql: awkward, plugins: plugins})
			r := g.raw(t)
			want := []string{"id|email", "1|[redacted]"}
			if name == "not masked" {
				want[1] = "1|user1@example.com"
			}
			var all []string
			for _, options := range []string{"", "(FORMAT csv, HEADER, DELIMITER ';', FORCE_QUOTE *)", "(FORMAT binary)"} {
				r.send(messages("COPY (SELECT id, email FROM people LIMIT 1) TO STDOUT " + options)...)
				r.until("Z")
				all = append(all, want...)
				if options == "(FORMAT binary)" && name == "not masked" {
					all[len(all)-1] = `\x00000001|user1@example.com` // its types are not known
				}
				r.send(messages("COPY people (id, email) FROM STDIN " + strings.Replace(options, ", FORCE_QUOTE *", "", 1))...)
				r.until("G")
				switch options {
				case "":
					r.send(data("7\ta\\tb\\", "\\\n8\t\\N")...)
					all = append(all, "id|email", "7|a\tb\\", "8|NULL")
				case "(FORMAT binary)":
					r.send(data("PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x04\x00\x00\x00\x09\xff\xff\xff\xff\xff\xff")...)
					all = append(all, "id|email", `\x00000009|NULL`)
				default:
					r.send(data("id;email\r\n7;\"x\"\"", "\ny\"\r\n8;\r\n")...)
					all = append(all, "id|email", "7|x\"\ny", "8|NULL")
				}
				r.send(&pgproto3.CopyDone{}, &pgproto3.Sync{})
				if got := r.until("C"); got[len(got)-1] == "" || got[0][0] == 'E' {
					t.Errorf("%s: %q", options, got)
				}
				r.until("Z")
				if how == "simple" {
					r.until("Z") // of the Sync
				}
			}
			r.send(messages("COPY people (id) FROM STDIN")...)
			r.until("G")
			r.send(&pgproto3.CopyFail{Message: "no more"}, &pgproto3.Sync{})
			r.until("Z")
			all = append(all, "copy failed no more")
			var got []string
			for _, line := range decoded(t, g.tapes[0].all()) {
				line = strings.NewReplacer(" int4", "", " text", "", " ", " ").Replace(strings.TrimSuffix(strings.ReplaceAll(line, " |", "|"), " "))
				if !strings.HasPrefix(line, "error ") {
					got = append(got, line)
				}
			}
			if diff := cmp.Diff(all, got); diff != "" {
				t.Errorf("%s, %s:\n%s", name, how, diff)
			}
		}
	}
}

// A replay tells uploads from responses.
func TestReplayOfUploads(t *testing.T) {
	g := startGate(t, gateConfig{sql: awkward, plugins: []pipeline.Plugin{rule(words)}})
	r := g.raw(t)
	r.send(append(append(simply("COPY t FROM STDIN"), data("5\n6\n")...), &pgproto3.CopyDone{})...)
	r.until("Z")
	frames := func(yield func(event.Frame, error) bool) {
		for _, f := range g.tapes[0].all() {
			if !yield(f, nil) {
				return
			}
		}
	}
	var text, lines bytes.Buffer
	decoders := recorder.Decoders{"postgres": postgres.NewDecoder}
	if err := errors.Join(recorder.WriteText(&text, recorder.Transcript(frames, decoders)),
		recorder.WriteJSONL(&lines, recorder.Transcript(frames, decoders))); err != nil {
		t.Fatal(err)
	}
	if want := "  < column1\n  < --\n  < 5\n  < 6\n"; !strings.Contains(text.String(), want) {
		t.Errorf("replayed as\n%s", text.String())
	}
	if want := `"kind":"upload row","row":["5"]`; !strings.Contains(lines.String(), want) {
		t.Errorf("exported as\n%s", lines.String())
	}
}

// wantUndone checks that the last outcome of a recording does not say that all
// went well.
func wantUndone(t *testing.T, recording *tape) {
	t.Helper()
	var o event.Outcome
	for _, f := range recording.all() {
		if f.Kind == event.KindOutcome {
			if err := o.Decode(f.Payload); err != nil {
				t.Fatal(err)
			}
		}
	}
	if o.Status != "error" && o.Status != "unknown" {
		t.Errorf("its outcome is %+v", o)
	}
}
