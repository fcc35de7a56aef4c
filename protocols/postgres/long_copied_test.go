package postgres_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"slices"
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

// awkwardText makes long values that formats must take care of.
const awkwardText = `repeat(E'a\\b\t"q"'',;|\r\né', %s)`

// A row of a COPY that is too long to be held arrives as it is, in the same
// messages, and is recorded so, with rows before and behind it.
func TestLongCopiedRowsPassInPieces(t *testing.T) {
	for name, plugins := range map[string][]pipeline.Plugin{
		"nothing masked":       {rule(words)},
		"other columns masked": {columns{"public.people.email": {}}},
		"all seen":             {watcher{}},
	} {
		g := startGate(t, gateConfig{sql: awkward, plugins: plugins, limits: postgres.Limits{Buffer: 1 << 10}})
		direct, through := g.rawDirect(t), g.raw(t)
		for how, messages := range protocols {
			for _, options := range copyOptions {
				sql := fmt.Sprintf("COPY (SELECT n, NULL::text AS z, "+awkwardText+" AS v, 'end' AS e FROM (VALUES (1), (9000), (60), (700), (2)) x (n)) TO STDOUT "+options, "n")
				direct.send(messages(sql)...)
				through.send(messages(sql)...)
				want, got := direct.whole("Z"), through.whole("Z")
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("%s, %s, %s: %.3000s", name, how, options, diff)
				}
				if want[len(want)-2] != "C COPY 5" {
					t.Fatalf("%s: %.300q", sql, want)
				}
			}
		}
		want := (1 + 9000 + 60 + 700 + 2) * len(protocols) * len(copyOptions)
		if n := strings.Count(string(g.tapes[0].responses()), "é"); n != want {
			t.Errorf("%s: %d of %d parts of the values are recorded", name, n, want)
		}
	}
}

// A row of a COPY is the same to its client whether it is treated in memory or
// by way of a file.
func TestCopiedRowsThatAreSpilledAreAsOthersAre(t *testing.T) {
	inMemory := startGate(t, gateConfig{sql: types, plugins: []pipeline.Plugin{byName{}}})
	dir := t.TempDir()
	spilled := startGate(t, gateConfig{plugins: []pipeline.Plugin{byName{}}, limits: postgres.Limits{Buffer: 1}, spillDir: dir, server: inMemory.server})
	a, b := inMemory.raw(t), spilled.raw(t)
	random := rand.New(rand.NewPCG(5, 6))
	values := []string{
		"NULL::text", "''::text", "'größer 漢字 17'::text", "repeat('ab1é', 50)", "'***'::text", `E'\\N'`, `'\.'`, "'nothing'", `'1"7'`, `E'\\'`, "'NULL'",
		fmt.Sprintf(awkwardText, "7"), `'{"a": [1, "7", null]}'::json`, `'{"a": 71, "b": "\u00e9"}'::jsonb`, "NULL::jsonb",
		`'\x0011ff2a2a'::bytea`, "17", "1.17::numeric", "ARRAY['1','b,']", "true", "'happy12'::mood", "ROW(17,'b')::pair", "11::bigint",
	}
	hows := []string{"pass", "null", "redact", "hash", "keep", "inspect", "inspect", "pass"}
	options := append([]string{"(FORMAT csv, HEADER, QUOTE '*', ESCAPE '1', FORCE_QUOTE *)", "(FORMAT csv, DELIMITER '*')", "(DELIMITER '*')"}, copyOptions...)
	for round := range 100 {
		var list []string
		for i := range 1 + random.IntN(8) {
			list = append(list, fmt.Sprintf("%s AS %s_%d", values[random.IntN(len(values))], hows[random.IntN(len(hows))], i))
		}
		sql := "COPY (SELECT " + strings.Join(list, ", ") + " FROM generate_series(1, 3)) TO STDOUT " + options[round%len(options)]
		ms := simply(sql)
		if round%3 == 0 {
			ms = extendedly(sql)
		}
		for _, r := range []*raw{a, b} {
			r.SetDeadline(time.Now().Add(hangs))
			r.send(ms...)
		}
		want, got := a.whole("Z"), b.whole("Z")
		if diff := cmp.Diff(want, got); diff != "" || want[len(want)-2] != "C COPY 3" {
			t.Fatalf("%s (-in memory +spilled): %s\n%q", sql, diff, want)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("files are left: %v, %v", files, err)
	}
	if want, got := decoded(t, inMemory.tapes[0].all()), decoded(t, spilled.tapes[0].all()); len(want) < 100 || strings.Join(want, "\n") != strings.Join(got, "\n") {
		t.Errorf("the recordings differ: %d lines, %d lines", len(want), len(got))
	}
}

// What a long value becomes in parts reads as what it becomes at once. In CSV it
// may have quotes that it does not need.
func TestLongCopiedValuesAreTreatedInParts(t *testing.T) {
	g := startGate(t, gateConfig{plugins: []pipeline.Plugin{byName{}}, limits: postgres.Limits{Inspect: 1000}})
	r := g.raw(t)
	r.SetDeadline(time.Now().Add(hangs))
	const n = 200_000
	stars := strings.Repeat("*", n*13-5)
	for options, want := range map[string]string{
		"":                            `1	` + stars + `',;|\r	[redacted]	\\x`,
		"(FORMAT csv)":                `1,"` + stars + `',;|` + "\r\"" + `,[redacted],\x`,
		"(FORMAT csv, QUOTE '*')":     `1,*` + strings.Repeat("*", 2*len(stars)) + `',;|` + "\r*" + `,[redacted],\x`,
		"(FORMAT csv, DELIMITER ';')": `1;"` + stars + `',;|` + "\r\"" + `;[redacted];\x`,
	} {
		sql := fmt.Sprintf(`COPY (SELECT 1 AS pass_1, repeat(E'a\\b\t"q"é'',;|\r', %d) AS keep_2, repeat('x', 1001) AS inspect_3, decode(repeat('ff', 2000000), 'hex') AS keep_4) TO STDOUT %s`, n, options)
		r.send(simply(sql)...)
		var row string
		for kind, body := byte(0), []byte(nil); kind != 'Z'; {
			if kind, body = r.message(); kind == 'd' {
				row += string(body)
			}
		}
		if row != want+"\n" {
			t.Errorf("%s: a row of %d bytes, %.60q...%.60q, want %d, %.60q", options, len(row), row, row[max(0, len(row)-60):], len(want)+1, want)
		}
	}
}

// A COPY's rows of hundreds of megabytes, masked or not, and uploads of them, do
// not fill the memory.
func TestLongCopiedRowsTakeLittleMemory(t *testing.T) {
	const size = 90_000_000
	for name, plugin := range map[string]pipeline.Plugin{"not masked": columns{}, "masked": byName{}} {
		g := startGate(t, gateConfig{sql: "CREATE TABLE t (v text)", plugins: []pipeline.Plugin{plugin}, record: onDisk(t)})
		r := g.raw(t)
		r.SetDeadline(time.Now().Add(hangs))
		before := inUse()
		grown := int64(0)
		look := func() {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			grown = max(grown, int64(m.HeapInuse)-before)
		}
		got := 0
		r.send(simply(fmt.Sprintf("COPY (SELECT repeat(E'x\\t', %d) AS pass_1, repeat('1', 10000000) AS keep_2) TO STDOUT", size/3))...)
		buf := make([]byte, 1<<20)
		for kind := byte(0); kind != 'Z'; {
			if _, err := io.ReadFull(r, buf[:5]); err != nil {
				t.Fatal(err)
			}
			left := int(binary.BigEndian.Uint32(buf[1:])) - 4
			if kind = buf[0]; kind == 'd' {
				got = left
			}
			for left > 0 {
				n, err := r.Read(buf[:min(left, len(buf))])
				if err != nil {
					t.Fatal(err)
				}
				if left>>25 != (left-n)>>25 {
					look()
				}
				left -= n
			}
		}
		t.Logf("%s: memory grew by %d", name, grown)
		if want := size + 10_000_002; got != want || grown > longBound {
			t.Errorf("%s: %d bytes came, want %d, and memory grew by %d", name, got, want, grown)
		}
		if name == "masked" {
			continue
		}
		r.send(simply("COPY t FROM STDIN")...)
		r.until("G")
		r.bytes("d", size+4)
		part := bytes.Repeat([]byte("x"), 1<<20)
		for left := size - 1; left > 0; left -= min(left, len(part)) {
			if _, err := r.Write(part[:min(left, len(part))]); err != nil {
				t.Fatal(err)
			}
			look()
		}
		r.bytes("\n")
		r.send(&pgproto3.CopyDone{})
		r.until("Z I")
		t.Logf("uploaded: memory grew by %d", grown)
		if n := g.one(t, "SELECT length(v)::text FROM t"); n != fmt.Sprint(size-1) || grown > longBound {
			t.Errorf("%s bytes arrived, want %d, and memory grew by %d", n, size-1, grown)
		}
	}
}

// Uploads in messages of any length arrive, and are recorded.
func TestLongUploadsPassInPieces(t *testing.T) {
	g := startGate(t, gateConfig{sql: "CREATE TABLE t (v text)", plugins: []pipeline.Plugin{rule(words)}, limits: postgres.Limits{MessageSize: 64 << 10}})
	for how, messages := range protocols {
		r := g.raw(t)
		long := strings.Repeat("x", 1_000_000)
		r.send(messages("COPY t FROM STDIN")...)
		r.until("G")
		r.send(data("short\n", long, long+"\n"+long+"\n", "another\n", long+"\n")...)
		r.send(&pgproto3.CopyDone{})
		if how == "extended" {
			r.send(&pgproto3.Sync{})
		}
		if got := r.until("Z"); !cmp.Equal(got, []string{"C COPY 5", "Z I"}) {
			t.Errorf("%s: %q", how, got)
		}
		if got := g.one(t, "SELECT string_agg(length(v)::text, ' ' ORDER BY length(v)) FROM t"); got != "5 7 1000000 1000000 2000000" {
			t.Errorf("%s: arrived %s", how, got)
		}
		g.one(t, "WITH d AS (DELETE FROM t) SELECT ''")
		if n := strings.Count(uploaded(g.tapes[len(g.tapes)-1].all()), "x"); n != 4*len(long) {
			t.Errorf("%s: %d of %d bytes are recorded", how, n, 4*len(long))
		}
		// The server reads a message to its end that it has found wrong.
		for _, script := range [][]pgproto3.FrontendMessage{
			{&pgproto3.CopyData{Data: []byte("a\tb\n" + long + "\n")}, &pgproto3.CopyDone{}},
			{&pgproto3.CopyData{Data: []byte("a\tb\n")}, &pgproto3.CopyData{Data: []byte(long + "\n")}, &pgproto3.CopyDone{}},
			{&pgproto3.CopyData{Data: []byte(long + "\n")}, &pgproto3.CopyFail{Message: "no"}},
		} {
			r.send(messages("COPY t FROM STDIN")...)
			r.until("G")
			r.send(script...)
			if how == "extended" {
				r.send(&pgproto3.Sync{})
			}
			if got := r.until("Z"); got[0][0] != 'E' || len(got) != 2 {
				t.Errorf("%s: %q", how, got)
			}
			r.send(simply("SELECT count(*) FROM t")...)
			if got := r.until("Z"); !cmp.Equal(got, []string{"T", "D 0", "C SELECT 1", "Z I"}) {
				t.Errorf("%s, afterwards: %q", how, got)
			}
		}
		r.send(&pgproto3.Terminate{})
	}
}

// Of recorded rows that are too long to be read whole the beginnings are shown.
func TestLongRecordedCopiesCanBeRead(t *testing.T) {
	g := startGate(t, gateConfig{sql: "CREATE TABLE t (v text, w text)", plugins: []pipeline.Plugin{rule(words)}})
	r := g.raw(t)
	r.SetDeadline(time.Now().Add(hangs))
	const n = 1_000_000
	var want []string
	for options, sizes := range map[string][]int{"": {12 * n, 3 * n}, "(FORMAT csv, NULL 'none')": {11*n + 2, 3*n + 2}, "(FORMAT binary)": {10 * n, 2 * n}} {
		r.send(simply(fmt.Sprintf(`COPY (SELECT 1 AS a, repeat(E'x\t"\\éé12', %d) AS b, NULL::text AS c, '' AS d, repeat(E'"\n', %d) AS e UNION ALL SELECT 2, 'short', 'y', 'z', NULL) TO STDOUT %s`, n, n, options))...)
		r.until("Z I")
		first := "1"
		if options == "(FORMAT binary)" {
			first = `\x00000001`
		}
		want = append(want, fmt.Sprintf("%s %d NULL '' %d", first, sizes[0], sizes[1]), strings.Replace(first, "1", "2", 1)+" short y z NULL")
		r.send(simply("COPY t FROM STDIN " + options)...)
		r.until("G")
		row := strings.Repeat("x", 9_000_000) + map[string]string{"": "\t\\N", "(FORMAT csv, NULL 'none')": ",none"}[options]
		if options == "(FORMAT binary)" {
			row = "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02" + string(rowOf(row)[7:]) + "\xff\xff\xff\xff\xff\xff"
		}
		for part := range slices.Chunk([]byte(row), 700_000) { // without a line break at the end
			r.send(&pgproto3.CopyData{Data: part})
		}
		r.send(&pgproto3.CopyDone{})
		r.until("Z I")
		want = append(want, "9000000 NULL")
	}
	var got []string
	cut := regexp.MustCompile(`(?s)^.*… \((\d+) bytes in all\)$`)
	for _, f := range recordedRows(t, g.tapes[0].all()) {
		for i, v := range f {
			if f[i] = cut.ReplaceAllString(v, "$1"); v == "" {
				f[i] = "''"
			}
		}
		got = append(got, strings.Join(f, " "))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%.3000s", diff)
	}
	if n := g.one(t, "SELECT string_agg(length(v) || coalesce(w, '-'), ' ') FROM t"); n != "9000000- 9000000- 9000000-" {
		t.Errorf("arrived %s", n)
	}
}

// recordedRows returns the values of the rows in a recording.
func recordedRows(t *testing.T, frames []event.Frame) (rows [][]string) {
	t.Helper()
	d := postgres.NewDecoder()
	for i := range frames {
		err := d.Decode(&frames[i], func(p recorder.Part) error {
			if p.Row == nil {
				return nil
			}
			var row []string
			for _, v := range p.Row {
				if v == nil {
					v = []byte("NULL")
				}
				row = append(row, string(v))
			}
			rows = append(rows, row)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return rows
}

// A client that hangs up within a message of an upload leaves nothing of it, and
// the record says so.
func TestHangUpWithinALongUpload(t *testing.T) {
	g := startGate(t, gateConfig{sql: awkward, plugins: []pipeline.Plugin{rule(words)}, limits: postgres.Limits{MessageSize: 64 << 10}})
	r := g.raw(t)
	r.send(simply("COPY t FROM STDIN")...)
	r.until("G")
	r.bytes("d", 1_000_000, strings.Repeat("1\n", 100_000))
	waitFor(t, func() bool { return strings.Count(uploaded(g.tapes[0].all()), "1\n") == 100_000 })
	r.Close()
	waitFor(t, func() bool { return g.ending(0) != "" })
	if n := g.one(t, "SELECT count(*)::text FROM t"); n != "0" {
		t.Errorf("%s rows stayed", n)
	}
	wantUndone(t, g.tapes[0])
}

// A server whose long messages of COPY data are no rows of what it described
// loses the session, and nothing of them comes through.
func TestRogueServersWithinLongCopiedRows(t *testing.T) {
	const text, binary = "COPY (" + secretQuery + ") TO STDOUT", "COPY (" + secretQuery + ") TO STDOUT (FORMAT binary)"
	long := strings.Repeat("x", 2<<20)
	value := func(v string) string { return string(rowOf(v)[7:]) }
	const header = "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	for name, c := range map[string]struct {
		sql  string
		data []string
		ok   bool
	}{
		"a row":                       {text, []string{"1\t" + secret + long + "\n"}, true},
		"two rows":                    {text, []string{"1\t" + secret + long + "\n2\t" + secret + "\n", "3\t" + secret + "\n"}, true},
		"a row of fewer values":       {text, []string{secret + long + "\n"}, false},
		"a row of more values":        {text, []string{"1\t2\t" + secret + long + "\n"}, false},
		"a row that is cut":           {text, []string{"1\t" + secret + long}, false},
		"a row that is cut elsewhere": {text, []string{"1\t", secret + long + "\n"}, false},
		"a row that ends late":        {text, []string{"1\t" + secret + long + "\\\n", "\n"}, false},
		"another header":              {strings.Replace(text, "TO STDOUT", "TO STDOUT (HEADER)", 1), []string{"n\t" + secret + long + "\n"}, false},
		"binary":                      {binary, []string{header + "\x00\x02" + value("1") + value(secret+long), "\xff\xff"}, true},
		"binary, all in one":          {binary, []string{header + "\x00\x02" + value("1") + value(secret+long) + "\xff\xff"}, true},
		"binary without a header":     {binary, []string{"\x00\x02" + value("1") + value(secret+long)}, false},
		"binary with a long header":   {binary, []string{header[:15] + "\x7f\xff\xff\xff" + secret + long}, false},
		"binary of fewer values":      {binary, []string{header + "\x00\x01" + value(secret+long)}, false},
		"binary of a negative length": {binary, []string{header + "\x00\x02\xff\xff\xff\xfe" + secret + long}, false},
		"binary of a wrong length":    {binary, []string{header + "\x00\x02" + value("1") + "\x7f\xff\xff\xff" + secret + long}, false},
		"binary behind its end":       {binary, []string{header + "\xff\xff\x00\x02" + value("1") + value(secret+long)}, false},
		"binary that is cut":          {binary, []string{header + "\x00\x02" + value("1") + value(secret + long)[:1<<20]}, false},
	} {
		copying := frame('H', "\x00\x00\x02\x00\x00\x00\x00")
		if c.sql == binary {
			copying = frame('H', "\x01\x00\x02\x00\x01\x00\x01")
		}
		script := []said{{4, frame('3', "")}, {4, frame('1', "")}, {4, frame('t', "\x00\x00")}, {4, fieldsOf("n", "secret")}, {4, frame('3', "")}, {5, copying}}
		for _, d := range c.data {
			script = append(script, said{5, frame('d', d)})
		}
		script = append(script, said{5, frame('c', "")}, said{5, frame('C', "COPY 1\x00")}, said{5, frame('Z', "I")})
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				got, g := play(t, &conversation{steps: [][]byte{query(c.sql), encode(&pgproto3.Terminate{})}, script: script}, trouble{}, trouble{})
				fs := frames(got)
				last := fs[len(fs)-1]
				if ok := last[0] == 'Z'; ok != c.ok || !ok && !strings.Contains(string(last), "FATAL") {
					t.Errorf("the client was told %.200q", last)
				}
				if g.lasted[0] > time.Second {
					t.Errorf("the session lasted %v", g.lasted[0])
				}
				if c.ok && strings.Count(string(got), "[redacted]") != strings.Count(strings.Join(c.data, ""), secret) {
					t.Errorf("the client got %.200q", got)
				}
			})
		})
	}
}
