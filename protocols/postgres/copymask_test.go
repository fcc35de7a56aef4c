package postgres_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/plugins"
	"gatehouse/plugins/host"
	"gatehouse/plugins/plugintest"
)

// What the mask plugin that ships finds in values it finds in those of a COPY,
// in every format, and leaves the rest of them as it is: what arrives is what a
// SELECT of the same through the same gate shows.
func TestCopyIsMaskedByTheShippedPlugin(t *testing.T) {
	const made = `CREATE TABLE letters (id int, body text, note varchar, doc jsonb, n int8);
		INSERT INTO letters VALUES
			(1, E'write to\tmara.lindqvist@example.com, "or" call\nme', NULL, '{"mail": "tomas@example.org", "n": 1}', 4111111111111111),
			(2, 'paid by 4242 4242 4242 4242; thanks', 'a,b\c', '["5500-0000-0000-0004"]', 7),
			(3, 'ssn 123-45-6789.', '', '{}', NULL),
			(4, 'nothing here', 'ok', 'null', 0);`
	secrets := []string{"mara.lindqvist", "tomas@", "4242 4242 4242", "5500-0000", "123-45", "411111111111"}
	wasm, err := plugins.Builtin("mask")
	if err != nil {
		t.Fatal(err)
	}
	mask, err := plugintest.Host(t, host.Options{}).Load(t.Context(), "mask", wasm, nil)
	if err != nil {
		t.Fatal(err)
	}
	g := startGate(t, gateConfig{sql: made, plugins: []pipeline.Plugin{mask.Pipeline()}})
	for how, messages := range protocols {
		// What COPY writes of the masked values, written by the server itself.
		shown := g.raw(t)
		shown.send(simply("SELECT * FROM letters ORDER BY id")...)
		want := "CREATE TEMP TABLE shown (LIKE letters); INSERT INTO shown VALUES "
		for i, m := range shown.until("Z")[1:5] {
			cells := strings.Split(strings.TrimPrefix(m, "D "), "|")
			for k, c := range cells {
				if cells[k] = "'" + strings.ReplaceAll(c, "'", "''") + "'"; c == "NULL" {
					cells[k] = c
				}
			}
			want += map[bool]string{true: ", "}[i > 0] + "(" + strings.Join(cells, ", ") + ")"
		}
		direct := g.rawDirect(t)
		direct.send(simply(want)...)
		if ms := direct.until("Z"); len(ms) != 3 {
			t.Fatalf("%s: %q", want, ms)
		}
		for _, options := range []string{"", "(DELIMITER '|', NULL '')", "(FORMAT csv)", "(FORMAT csv, HEADER, FORCE_QUOTE *, QUOTE '''')", "(FORMAT binary)"} {
			r := g.raw(t)
			r.send(messages("COPY (SELECT * FROM letters ORDER BY id) TO STDOUT " + options)...)
			direct.send(messages("COPY (SELECT * FROM shown ORDER BY id) TO STDOUT " + options)...)
			got, expected := r.copied(), direct.copied()
			if !bytes.Equal(got, expected) || len(got) < 100 {
				t.Errorf("%s, %s:\n got %q\nwant %q", how, options, got, expected)
			}
			for _, s := range secrets {
				if bytes.Contains(got, []byte(s)) {
					t.Errorf("%s, %s: %q came through", how, options, s)
				}
			}
		}
	}
	for _, tape := range g.tapes {
		for _, s := range secrets {
			if bytes.Contains(tape.responses(), []byte(s)) {
				t.Errorf("%q is recorded", s)
			}
		}
	}
}

// What it finds in rows that a client loads, and in values that a statement writes
// with escapes or in parts, is masked in what is recorded and shown of it. The server
// gets both as they were sent.
func TestDetectorsSeeUploadsAndDisguisedValues(t *testing.T) {
	const made = `CREATE TABLE sent (id int, body text, note varchar, n int8); CREATE TABLE letters (LIKE sent);
		INSERT INTO sent VALUES (1, E'write to\tmara.lindqvist@example.com, "or" call\nme', NULL, 4111111111111111),
			(2, 'paid by 4242 4242 4242 4242; thanks', 'ssn 123-45-6789', 7), (3, 'nothing here', '', NULL);`
	secrets := []string{"mara.lindqvist", "4242 4242 4242", "123-45", "411111111111"}
	wasm, err := plugins.Builtin("mask")
	if err != nil {
		t.Fatal(err)
	}
	mask, err := plugintest.Host(t, host.Options{}).Load(t.Context(), "mask", wasm, nil)
	if err != nil {
		t.Fatal(err)
	}
	seen := rule(func(r *event.Request) event.Verdict {
		for _, s := range secrets {
			if bytes.Contains(r.Payload, []byte(s)) {
				t.Errorf("a plugin is shown %q", r.Payload)
			}
		}
		return event.Verdict{Action: event.Allow}
	})
	g := startGate(t, gateConfig{sql: made, plugins: []pipeline.Plugin{mask.Pipeline(), seen}})
	direct := g.rawDirect(t)
	for how, messages := range protocols {
		for _, options := range []string{"", "(DELIMITER '|', NULL '~')", "(FORMAT csv, QUOTE '''')", "(FORMAT binary)"} {
			direct.send(messages("COPY sent TO STDOUT " + options)...)
			data := direct.copied()
			if options == "" { // another way to write the same
				data = bytes.ReplaceAll(data, []byte("mara.lind"), []byte(`m\141ra\x2elind`))
			}
			r := g.raw(t)
			r.send(messages("COPY letters FROM STDIN " + options)...)
			r.send(&pgproto3.CopyData{Data: data[:len(data)/2]}, &pgproto3.CopyData{Data: data[len(data)/2:]}, &pgproto3.CopyDone{})
			if how == "extended" { // the first Sync is not heeded before the data's end
				r.send(&pgproto3.Sync{})
			}
			r.until("Z")
			direct.send(simply("SELECT * FROM sent EXCEPT SELECT * FROM letters")...)
			if ms := direct.until("Z"); len(ms) != 3 || ms[1] != "C SELECT 0" {
				t.Errorf("%s, %s: the server did not get %q", how, options, ms)
			}
			direct.send(simply("TRUNCATE letters")...)
			direct.until("Z")
		}
		r := g.raw(t)
		for _, value := range []string{
			`E'mar\141.lindqvist@example.com'`, `U&'mara.lindqvist\0040example.com'`, `U&'mara.lindqvist!0040example.com' UESCAPE '!'`,
			`'mara.' || 'lindqvist@' || 'example.com'`, `concat('mara.', 'lindqvist', '@', 'example.com')`, "'mara.lindq'\n'vist@example.com'",
		} {
			r.send(messages("SELECT length(" + value + ")")...)
			if ms := r.until("Z"); !slices.Contains(ms, "D 26") {
				t.Errorf("%s, %s: %q", how, value, ms)
			}
		}
	}
	uploads, requests := 0, 0
	for _, tape := range g.tapes {
		for _, f := range tape.all() {
			for _, s := range append(secrets, "lindq", "0040example", "vist@") {
				if bytes.Contains(f.Payload, []byte(s)) {
					t.Errorf("%q is recorded: %q", s, f.Payload)
				}
			}
			switch {
			case f.Kind == event.KindUpload && bytes.Contains(f.Payload, []byte("[redacted]")):
				uploads++
			case f.Kind == event.KindRequest && bytes.Contains(f.Payload, []byte("[redacted]")):
				requests++
			}
		}
	}
	if uploads < 4*len(protocols) || requests < 6*len(protocols) {
		t.Errorf("%d uploads and %d requests are recorded masked", uploads, requests)
	}
}

// copied reads a response and returns the data of the COPY in it.
func (r *raw) copied() (data []byte) {
	r.t.Helper()
	for {
		kind, body := r.message()
		switch kind {
		case 'd':
			data = append(data, body...)
		case 'E':
			r.t.Fatal(short(kind, body))
		case 'Z':
			return data
		}
	}
}
