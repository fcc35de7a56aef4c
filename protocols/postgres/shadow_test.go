package postgres_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/protocols/postgres"
)

// What plugins in shadow would do to rows changes no byte of them, in memory, by
// way of a file, and where a value is too long to be inspected.
func TestShadowChangesNothing(t *testing.T) {
	plain := startGate(t, gateConfig{sql: types})
	shadow := []pipeline.Plugin{pipeline.Shadow(byName{})}
	gates := []*raw{
		plain.raw(t),
		startGate(t, gateConfig{server: plain.server, plugins: shadow}).raw(t),
		startGate(t, gateConfig{server: plain.server, plugins: shadow, limits: postgres.Limits{Buffer: 1}}).raw(t),
		startGate(t, gateConfig{server: plain.server, plugins: shadow, limits: postgres.Limits{Buffer: 1, Inspect: 8}}).raw(t),
	}
	random := rand.New(rand.NewPCG(7, 8))
	values := []string{
		"NULL::text", "''::text", "'größer 漢字 17'::text", "repeat('ab1é', 50)", `E'\\N'`, `'1"7,'`, "'4111'::varchar", "'x'::char(9)",
		`'{"a": [1, "7", null]}'::json`, `'{"a": 71, "b": "\u00e9"}'::jsonb`, `'\x0011ff2a2a'::bytea`, "17", "1.17::numeric", "ARRAY[1,7]", "true",
		"'2026-01-17'::date", "'happy12'::mood", "ROW(17,'b')::pair", "'c17'::code", "11::bigint", "1.5::float8", "'127.0.0.1'::inet", "now() - now()",
	}
	hows := []string{"pass", "null", "redact", "hash", "keep", "inspect", "inspect"}
	for round := range 60 {
		var list []string
		var formats []int16
		for i := range 1 + random.IntN(9) {
			list = append(list, fmt.Sprintf("%s AS %s_%d", values[random.IntN(len(values))], hows[random.IntN(len(hows))], i))
			formats = append(formats, int16(random.IntN(2)))
		}
		sql := "SELECT " + strings.Join(list, ", ") + " FROM generate_series(1, 3)"
		ms := []pgproto3.FrontendMessage{&pgproto3.Parse{Query: sql}, &pgproto3.Bind{ResultFormatCodes: formats}, &pgproto3.Execute{}, &pgproto3.Sync{}}
		switch round % 4 {
		case 0:
			ms = []pgproto3.FrontendMessage{&pgproto3.Query{String: sql}}
		case 1:
			ms = []pgproto3.FrontendMessage{&pgproto3.Query{String: "COPY (" + sql + ") TO STDOUT " + copyOptions[round%len(copyOptions)]}}
		}
		for _, r := range gates {
			r.SetDeadline(time.Now().Add(hangs))
			r.send(ms...)
		}
		for kind := byte(0); kind != 'Z'; {
			var want []byte
			kind, want = gates[0].message()
			if kind == 'E' {
				t.Fatalf("%s: %q", sql, want)
			}
			for i, r := range gates[1:] {
				if k, got := r.message(); k != kind || !bytes.Equal(got, want) {
					t.Fatalf("%s\nin formats %v: %q without, %q with shadow %d", sql, formats, string(kind)+string(want), string(k)+string(got), i)
				}
			}
		}
	}
}

// What a plugin in shadow would do is in the recording.
func TestShadowIsRecorded(t *testing.T) {
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{pipeline.Shadow(rule(words)), pipeline.Shadow(byName{})}})
	r := g.raw(t)
	r.send(&pgproto3.Query{String: "SELECT '17' AS inspect_1, 'x' AS inspect_2 FROM generate_series(1, 3) -- forbidden"})
	r.until("Z I")
	var said []string
	for _, f := range g.tapes[0].all() {
		var n event.Notice
		if f.Kind == event.KindNotice && n.Decode(f.Payload) == nil && n.Code == "shadow" {
			said = append(said, n.Text+" "+n.Attrs[len(n.Attrs)-1].Value)
		}
	}
	if len(said) != 3 || !strings.HasPrefix(said[0], "would block") || said[1] != "would treat the result inspect_2: inspect" || said[2] != "would have changed values inspect_1: 3" {
		t.Errorf("recorded %q", said)
	}
}
