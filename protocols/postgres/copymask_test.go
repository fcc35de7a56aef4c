package postgres_test

import (
	"bytes"
	"strings"
	"testing"

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
