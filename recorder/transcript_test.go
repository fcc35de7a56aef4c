package recorder_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/core/event"
	"gatehouse/recorder"
)

// A lineDecoder reads a protocol of lines: "?a,b" names fields, "!text" is a
// message, all else is a row, in which "\N" is NULL. Lines may be cut anywhere.
type lineDecoder struct{ rest []byte }

func newLineDecoder() recorder.Decoder { return new(lineDecoder) }

func (d *lineDecoder) Decode(f *event.Frame, emit func(recorder.Part) error) error {
	if f.Kind != event.KindData {
		return nil
	}
	d.rest = append(d.rest, f.Payload...)
	for {
		line, rest, ok := bytes.Cut(d.rest, []byte("\n"))
		if !ok {
			return nil
		}
		d.rest = rest
		if err := emit(part(string(line))); err != nil {
			return err
		}
	}
}

func part(line string) (p recorder.Part) {
	switch {
	case line == "bad":
		return recorder.Part{}
	case strings.HasPrefix(line, "!"):
		p.Message = &event.Notice{Code: "error", Text: line[1:]}
	case strings.HasPrefix(line, "?"):
		for _, n := range strings.Split(line[1:], ",") {
			p.Fields = append(p.Fields, event.Field{Name: n, Type: "text"})
		}
	default:
		p.Row = [][]byte{}
		for _, c := range strings.Split(line, ",") {
			if c == `\N` {
				p.Row = append(p.Row, nil)
				continue
			}
			p.Row = append(p.Row, []byte(c))
		}
	}
	return p
}

var decoders = recorder.Decoders{"lines": newLineDecoder}

func frame(k event.Kind, exchange uint64, payload []byte) event.Frame {
	return event.Frame{Kind: k, Exchange: exchange, Time: start.Add(time.Duration(exchange) * time.Second), Payload: payload}
}

// story is a recording with everything in it, some of it hostile.
func story() []event.Frame {
	req := event.Request{
		Operation: "query", Payload: []byte("SELECT *\nFROM \x1b[31mt -- \u202edrowssap"),
		Params:     [][]byte{[]byte("=1+1"), nil, {}},
		Statements: []event.Statement{{Kind: "SELECT", Parent: -1, Runs: true, Reads: []event.Object{{Schema: "public", Name: "t"}}}},
		Labels:     []event.Attr{{Key: "risk", Value: "3"}},
	}
	held := event.Verdict{Action: event.Hold, Rule: "approve/all", Reason: "all is held"}
	pending := event.Notice{Code: "pending", Text: "ABCD"}
	decision := event.Decision{Approved: true, By: event.Principal{Issuer: "i", Subject: "7", Name: "bob"}, Comment: "fine\r\nhttp://", At: start}
	allowed := event.Verdict{Action: event.Allow, Rule: "approve/all", Reason: "approved by bob"}
	head := event.Head{Fields: []event.Field{{Name: "id"}, {Name: "mail", Origins: []string{"public.t.mail"}}}}
	outcome := event.Outcome{Status: "ok", Tag: "SELECT 2", Rows: 2}
	note := event.Notice{Code: "expired", Text: "the token"}
	shadow := event.Notice{Code: event.CodeShadow, Text: "would block: not here", Attrs: []event.Attr{{Key: event.AttrPlugin, Value: "tellers"}}}
	closed := event.Notice{Code: "closed", Text: "the client hung up"}
	return []event.Frame{
		frame(event.KindOpen, 0, info(1).Append(nil)),
		frame(event.KindRequest, 1, req.Append(nil)),
		frame(event.KindVerdict, 1, held.Append(nil)),
		frame(event.KindPending, 1, pending.Append(nil)),
		frame(event.KindDecision, 1, decision.Append(nil)),
		frame(event.KindVerdict, 1, allowed.Append(nil)),
		frame(event.KindHead, 1, head.Append(nil)),
		frame(event.KindPlan, 1, event.AppendTreatments(nil, []event.Treatment{{Kind: event.Pass}, {Kind: event.Redact, Rule: "mask/mail"}})),
		frame(event.KindData, 1, []byte("?id,mail\n1,=HYPERLINK")),
		frame(event.KindData, 1, []byte("(\"x\")\n\\N,-5\x00\xff\n!slow down\n")),
		frame(event.KindOutcome, 1, outcome.Append(nil)),
		frame(99, 1, []byte("of a later version")),
		frame(event.KindNotice, 0, note.Append(nil)),
		frame(event.KindNotice, 0, shadow.Append(nil)),
		frame(event.KindClose, 0, closed.Append(nil)),
	}
}

func sequence(fs []event.Frame) iter.Seq2[event.Frame, error] {
	return func(yield func(event.Frame, error) bool) {
		for _, f := range fs {
			if !yield(f, nil) {
				return
			}
		}
	}
}

func TestText(t *testing.T) {
	var b bytes.Buffer
	if err := recorder.WriteText(&b, recorder.Transcript(sequence(story()), decoders)); err != nil {
		t.Fatal(err)
	}
	const want = `session s000001 of agent@example.com (https://id.example, 42) at 2026-11-23 10:00:01.000Z
  resource orders (lines), from 127.0.0.1:1234, gate gate-1, policy 1
10:00:01.000 #1    query
    SELECT *
    FROM \x1b[31mt -- \u202edrowssap
    $1 = =1+1
    $2 = ∅
    $3 = 
    label risk = 3
10:00:01.000 #1    hold approve/all: all is held
10:00:01.000 #1    waits approval ABCD
10:00:01.000 #1    approved by bob (i, 7): fine\r\nhttp://
10:00:01.000 #1    allow approve/all: approved by bob
    mail: redacted by mask/mail
    id | mail
    --
    1 | =HYPERLINK("x")
    ∅ | -5\x00\xff
10:00:01.000 #1    error: slow down
10:00:01.000 #1    ok SELECT 2
10:00:00.000       notice expired: the token
10:00:00.000       in shadow tellers: would block: not here
    detail gatehouse.plugin = tellers
10:00:00.000       closed closed: the client hung up
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
}

func TestJSONL(t *testing.T) {
	var b bytes.Buffer
	if err := recorder.WriteJSONL(&b, recorder.Transcript(sequence(story()), decoders)); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(b.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		delete(m, "time")
		delete(m, "session")
		again, _ := json.Marshal(m)
		got = append(got, string(again))
	}
	want := []string{
		`{"kind":"open"}`,
		`{"exchange":1,"kind":"request","labels":[{"key":"risk","value":"3"}],"operation":"query","params":["=1+1",null,""],"payload":"SELECT *\nFROM \u001b[31mt -- ` + "\u202e" + `drowssap","statements":[{"kind":"SELECT","reads":["public.t"],"runs":true}]}`,
		`{"action":"hold","exchange":1,"kind":"verdict","reason":"all is held","rule":"approve/all"}`,
		`{"code":"pending","exchange":1,"kind":"pending","text":"ABCD"}`,
		`{"approved":true,"by":{"issuer":"i","name":"bob","subject":"7"},"comment":"fine\r\nhttp://","exchange":1,"kind":"decision"}`,
		`{"action":"allow","exchange":1,"kind":"verdict","reason":"approved by bob","rule":"approve/all"}`,
		`{"exchange":1,"fields":[{"name":"id"},{"name":"mail","origins":["public.t.mail"]}],"kind":"head"}`,
		`{"exchange":1,"kind":"treatments","treatments":[{"treatment":"as it is"},{"rule":"mask/mail","treatment":"redacted"}]}`,
		`{"exchange":1,"fields":[{"name":"id","type":"text"},{"name":"mail","type":"text"}],"kind":"fields"}`,
		`{"exchange":1,"kind":"row","row":["1","=HYPERLINK(\"x\")"]}`,
		`{"exchange":1,"kind":"row","row":[null,{"base64":"LTUA/w=="}]}`,
		`{"code":"error","exchange":1,"kind":"message","text":"slow down"}`,
		`{"exchange":1,"kind":"outcome","rows":2,"status":"ok","tag":"SELECT 2"}`,
		`{"code":"expired","kind":"notice","text":"the token"}`,
		`{"attrs":[{"key":"gatehouse.plugin","value":"tellers"}],"code":"shadow","kind":"notice","text":"would block: not here"}`,
		`{"code":"closed","kind":"close","text":"the client hung up"}`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestCSV(t *testing.T) {
	var b bytes.Buffer
	if err := recorder.WriteCSV(&b, recorder.Transcript(sequence(story()), decoders)); err != nil {
		t.Fatal(err)
	}
	r := csv.NewReader(&b)
	r.FieldsPerRecord = -1
	records, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]string
	for _, rec := range records {
		for _, c := range rec {
			if c != "" && strings.ContainsAny(c[:1], "=+-@\t\r") {
				t.Errorf("cell %q is a formula", c)
			}
		}
		if rec[3] == "row" || rec[3] == "request" {
			rows = append(rows, append([]string{rec[0], rec[2]}, rec[6:]...))
		}
	}
	want := [][]string{
		{"s000001", "1", "SELECT *\nFROM \x1b[31mt -- \u202edrowssap", "'=1+1", "", ""},
		{"s000001", "1", "", "1", "=HYPERLINK"},
		{"s000001", "1", "", "", "'-5\x00\xff"},
	}
	want[1][4] = `'=HYPERLINK("x")`
	if d := cmp.Diff(want, rows); d != "" {
		t.Error(d)
	}
}

func TestTranscriptWithoutDecoder(t *testing.T) {
	var raw []byte
	for e, err := range recorder.Transcript(sequence(story()), nil) {
		if err != nil {
			t.Fatal(err)
		}
		raw = append(raw, e.Raw...)
	}
	if !bytes.HasPrefix(raw, []byte("?id,mail\n1,=HYPERLINK(")) {
		t.Errorf("raw data: %q", raw)
	}
}

func TestTranscriptStops(t *testing.T) {
	for n := range len(story()) + 2 {
		seen := 0
		for range recorder.Transcript(sequence(story()), decoders) {
			if seen++; seen > n {
				break
			}
		}
	}
	broken := append(story()[:3], frame(event.KindRequest, 1, []byte{1}))
	var last error
	for _, err := range recorder.Transcript(sequence(broken), decoders) {
		last = err
	}
	if !errors.Is(last, event.ErrMalformed) {
		t.Errorf("a malformed frame gives %v", last)
	}
}

type failingWriter struct{ left int }

var errDisk = errors.New("disk full")

func (f *failingWriter) Write(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, errDisk
	}
	return len(b), nil
}

func TestWritersReportErrors(t *testing.T) {
	long := story()
	for range 2000 {
		long = append(long[:len(long)-1], frame(event.KindData, 1, []byte("1,2\n")), long[len(long)-1])
	}
	for name, write := range map[string]func(*failingWriter) error{
		"text": func(f *failingWriter) error {
			return recorder.WriteText(f, recorder.Transcript(sequence(long), decoders))
		},
		"jsonl": func(f *failingWriter) error {
			return recorder.WriteJSONL(f, recorder.Transcript(sequence(long), decoders))
		},
		"csv": func(f *failingWriter) error {
			return recorder.WriteCSV(f, recorder.Transcript(sequence(long), decoders))
		},
	} {
		for _, left := range []int{0, 5000} {
			if err := write(&failingWriter{left}); !errors.Is(err, errDisk) {
				t.Errorf("%s with room for %d bytes: %v", name, left, err)
			}
		}
	}
}
