package postgres_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/protocols/postgres"
)

// A noSecrets blocks uploads with a value that has "secret" in it. It keeps what
// it saw.
type noSecrets struct{ seen *[]string }

func (noSecrets) Name() string { return "no secrets" }

func (p noSecrets) JudgeUpload(_ context.Context, _ *event.Session, h *event.Head, rows *event.Rows) (event.Verdict, error) {
	for i := range rows.Len() {
		row, _ := rows.Row(i)
		for j, v := range row {
			if v == nil {
				v = []byte("NULL")
			}
			*p.seen = append(*p.seen, strings.Join(h.Fields[j].Origins, ",")+"="+string(v))
			if bytes.Contains(v, []byte("secret")) {
				return event.Verdict{Rule: "test/secret", Reason: "no secrets"}, nil
			}
		}
	}
	return event.Verdict{Action: event.Allow}, nil
}

// What plugins do not allow of an upload fails all of it, as an error of the
// server would, and the session goes on in step.
func TestUploadsAreJudged(t *testing.T) {
	const sql = "CREATE TABLE notes (id int, note text)"
	var seen []string
	g := startGate(t, gateConfig{sql: sql, plugins: []pipeline.Plugin{noSecrets{&seen}}})
	long := strings.Repeat("x", 200_000)
	for _, c := range []struct {
		name, options string
		data          []string // of messages
		want          string
		seen          []string
	}{
		{"harmless", "", []string{"1\ta\n2\t\\N\n"}, "C COPY 2", []string{"1", "a", "2", "NULL"}},
		{"cut anywhere", "", []string{"1", "\ta\n2\tb", "\n"}, "C COPY 2", []string{"1", "a", "2", "b"}},
		{"no last line break", "", []string{"1\ta\n2\tb"}, "C COPY 2", []string{"1", "a", "2", "b"}},
		{"nothing", "", nil, "C COPY 0", nil},
		{"csv", "(FORMAT csv)", []string{"1,\"a\nb\"\n2,\n"}, "C COPY 2", []string{"1", "a\nb", "2", "NULL"}},
		{"binary", "(FORMAT binary)", []string{"PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00" + "\x00\x02\x00\x00\x00\x04\x00\x00\x00\x01\x00\x00\x00\x01a" + "\xff\xff"}, "C COPY 1", []string{"\x00\x00\x00\x01", "a"}},
		{"long", "", []string{"1\t" + long + "\n"}, "C COPY 1", []string{"1", long}},
		{"a secret", "", []string{"1\ta\n2\tsecret\n"}, "E 42501", []string{"1", "a", "2", "secret"}},
		{"a secret, later", "", []string{"1\ta\n", "2\tsec", "ret\n", "3\tb\n"}, "E 42501", nil},
		{"a secret, last", "", []string{"1\ta\n2\tsecret"}, "E 42501", []string{"1", "a", "2", "secret"}},
		{"a secret, escaped", "", []string{"1\ts\\145cret\n"}, "E 42501", []string{"1", "secret"}},
		{"a secret in csv", "(FORMAT csv)", []string{"1,sec\n2,\"secret\"\n"}, "E 42501", []string{"1", "sec", "2", "secret"}},
		{"a secret in binary", "(FORMAT binary)", []string{"PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00" + "\x00\x02\x00\x00\x00\x04\x00\x00\x00\x01\x00\x00\x00\x06secret" + "\xff\xff"}, "E 42501", nil},
		{"a secret at the end of much", "", []string{"1\t" + long + "secret\n"}, "E 42501", nil},
		{"not the columns", "", []string{"1\ta\tb\n"}, "E 42501", nil},
		{"an end too early", "(FORMAT binary)", []string{"PGCOPY\n\xff\r\n\x00\x00\x00"}, "E 42501", nil},
	} {
		for how, messages := range protocols {
			r := g.raw(t)
			seen = nil
			r.send(messages("COPY notes FROM STDIN " + c.options)...)
			r.until("G")
			for _, d := range c.data {
				r.send(&pgproto3.CopyData{Data: []byte(d)})
			}
			r.send(&pgproto3.CopyDone{})
			if how == "extended" {
				r.send(&pgproto3.Sync{})
			}
			if got := r.until("Z"); !cmp.Equal(got, []string{c.want, "Z I"}) {
				t.Fatalf("%s, %s: %q", c.name, how, got)
			}
			if c.seen != nil {
				var want []string
				for i, v := range c.seen {
					want = append(want, "public.notes."+[]string{"id", "note"}[i%2]+"="+v)
				}
				if diff := cmp.Diff(want, seen); diff != "" {
					t.Errorf("%s, %s: %s", c.name, how, diff)
				}
			}
			n := g.one(t, "WITH d AS (DELETE FROM notes RETURNING 1) SELECT count(*)::text FROM d")
			if want := strings.TrimPrefix(c.want, "C COPY "); want != n && (n != "0" || c.want[0] != 'E') {
				t.Errorf("%s, %s: %s rows came", c.name, how, n)
			}
			r.send(simply("SELECT 'on'")...)
			r.expect("T")
			if got := r.next(); got != "D on" {
				t.Errorf("%s, %s: afterwards %q", c.name, how, got)
			}
		}
	}
}

// An upload that is refused fails its transaction, and its recording says so.
func TestRefusedUploadsAreRecorded(t *testing.T) {
	for name, limits := range map[string]postgres.Limits{"held": {}, "long messages": {MessageSize: 256 << 10}} {
		var seen []string
		g := startGate(t, gateConfig{sql: "CREATE TABLE notes (id int, note text)", plugins: []pipeline.Plugin{noSecrets{&seen}}, limits: limits})
		r := g.raw(t)
		r.send(simply("BEGIN; INSERT INTO notes VALUES (0, 'before')")...)
		r.until("Z T")
		r.send(simply("COPY notes FROM STDIN")...)
		r.until("G")
		r.send(&pgproto3.CopyData{Data: []byte(strings.Repeat("1\tharmless\n", 50_000) + "2\tsecret\n")}, &pgproto3.CopyData{Data: []byte("3\tb\n")}, &pgproto3.CopyDone{})
		if got := r.until("Z"); !cmp.Equal(got, []string{"E 42501", "Z E"}) {
			t.Fatalf("%s: %q", name, got)
		}
		r.send(simply("COMMIT")...)
		r.until("Z I")
		if n := g.one(t, "SELECT count(*)::text FROM notes"); n != "0" {
			t.Errorf("%s: %s rows are there", name, n)
		}
		var verdict event.Verdict
		var outcome event.Outcome
		for _, f := range g.tapes[0].all() {
			switch f.Kind {
			case event.KindVerdict:
				var v event.Verdict
				if v.Decode(f.Payload) == nil && v.Action == event.Block {
					verdict = v
				}
			case event.KindOutcome:
				var o event.Outcome
				if o.Decode(f.Payload) == nil && o.Code != "" {
					outcome = o
				}
			}
		}
		if verdict.Rule != "test/secret" || outcome.Status != "refused" || outcome.Code != "42501" {
			t.Errorf("%s: recorded %+v, %+v", name, verdict, outcome)
		}
	}
}
