package sample

import (
	"fmt"
	"strings"
	"time"

	"gatehouse/console"
	"gatehouse/core/event"
)

// A tape collects the frames of a session, a moment apart.
type tape struct {
	frames []event.Frame
	now    time.Time
}

func (t *tape) add(k event.Kind, exchange uint64, payload []byte) {
	t.now = t.now.Add(37 * time.Millisecond)
	t.frames = append(t.frames, event.Frame{Kind: k, Exchange: exchange, Time: t.now, Payload: payload})
}

func (t *tape) ask(exchange uint64, statement string, params [][]byte, labels ...event.Attr) {
	r := event.Request{Operation: "query", Payload: []byte(statement), Params: params, Labels: labels}
	t.add(event.KindRequest, exchange, r.Append(nil))
}

func (t *tape) judge(exchange uint64, a event.Action, rule, reason string) {
	v := event.Verdict{Action: a, Rule: rule, Reason: reason}
	t.add(event.KindVerdict, exchange, v.Append(nil))
}

func (t *tape) end(exchange uint64, o event.Outcome) {
	t.add(event.KindOutcome, exchange, o.Append(nil))
}

// Recorded returns a session with masked rows, a blocked and a held statement.
func Recorded(id string, start time.Time) Recording {
	t := tape{now: start}
	s := Session(id, start)
	t.add(event.KindOpen, 0, s.Append(nil))
	t.rows(1)

	t.ask(2, "DROP TABLE customers", nil, event.Attr{Key: "risk", Value: "100"}, event.Attr{Key: "kind", Value: "destruction"})
	t.judge(2, event.Block, "guard/destruction", "DROP TABLE destroys public.customers and everything in it")
	t.end(2, event.Outcome{Status: "refused", Code: "42501"})

	t.held(3)

	t.ask(4, "SELECT generate_series AS n FROM generate_series(1, 1200)", nil)
	t.judge(4, event.Allow, "", "")
	h := event.Head{Fields: []event.Field{{Name: "n", Type: "int4", Lineage: event.LineageClean}}}
	t.add(event.KindHead, 4, h.Append(nil))
	var b strings.Builder
	b.WriteString("n")
	for n := 1; n <= 1200; n++ {
		fmt.Fprintf(&b, "\n%d", n)
	}
	t.add(event.KindData, 4, []byte(b.String()))
	t.end(4, event.Outcome{Status: "ok", Tag: "SELECT 1200", Rows: 1200})

	bye := event.Notice{Code: "closed", Text: "the client said good-bye"}
	t.add(event.KindClose, 0, bye.Append(nil))
	return Recording{
		Info:   console.SessionInfo{Session: *s, End: t.now, Why: bye.Text, Bytes: 14512},
		Frames: t.frames,
	}
}

// rows is a query whose answer is masked.
func (t *tape) rows(exchange uint64) {
	t.ask(exchange, "SELECT id, name, email, card, city_of(address) AS city FROM customers ORDER BY id LIMIT 4", nil, event.Attr{Key: "risk", Value: "20"}, event.Attr{Key: "data", Value: "personal"})
	t.judge(exchange, event.Allow, "", "")
	shadow := event.Notice{Code: event.CodeShadow, Text: "would hold: personal data by the thousand", Attrs: []event.Attr{{Key: event.AttrPlugin, Value: "volume"}}}
	t.add(event.KindNotice, exchange, shadow.Append(nil))
	h := event.Head{}
	for _, n := range []string{"id", "name", "email", "card", "city"} {
		h.Fields = append(h.Fields, event.Field{Name: n, Type: "text", Origins: []string{"public.customers." + n}, Lineage: event.LineageExact})
	}
	h.Fields[4] = event.Field{Name: "city", Type: "text", Origins: []string{"public.customers.address"}, Why: "public.city_of(): its code, in plpgsql, is not read"}
	t.add(event.KindHead, exchange, h.Append(nil))
	t.add(event.KindPlan, exchange, event.AppendTreatments(nil, []event.Treatment{
		{Kind: event.Pass},
		{Kind: event.Detect, Rule: "mask/detect", Detect: []event.Detection{{Detector: "email", Kind: event.Redact}}},
		{Kind: event.Hash, Rule: "mask/public.customers.email"},
		{Kind: event.KeepLast, Keep: 4, Rule: "mask/public.customers.card"},
		{Kind: event.Redact, Rule: "protect/unknown"},
	}))
	t.add(event.KindData, exchange, []byte("id\tname\temail\tcard\tcity\n"+
		"1\tMara Lindqvist\th:5f1c9a37d2e84b60\t************4242\t[redacted]\n"+
		"2\tTomás Ferreira\th:b80e61c4f7a2953d\t************1881\t[redacted]\n"+
		"3\tIngrid Bauer\th:09d4e7b26a5f18c3\t************0005\t[redacted]\n"+
		"4\tPriya Natarajan\th:e2a8506bd91f374c\t\\N\t[redacted]"))
	t.end(exchange, event.Outcome{Status: "ok", Tag: "SELECT 4", Rows: 4})
}

// held is an update that Alice approved.
func (t *tape) held(exchange uint64) {
	t.ask(exchange, "UPDATE customers\n   SET city = $1\n WHERE id = $2", [][]byte{[]byte("Göteborg"), []byte("1")},
		event.Attr{Key: "risk", Value: "70"}, event.Attr{Key: "writes", Value: "public.customers"})
	t.judge(exchange, event.Hold, "approve/customers", "writes to customer data need a second pair of eyes")
	n := event.Notice{Code: "pending", Text: "K7QF2MZX"}
	t.add(event.KindPending, exchange, n.Append(nil))
	t.now = t.now.Add(41 * time.Second)
	d := event.Decision{Approved: true, By: People["alice"], Comment: "moved house, ticket 4711", At: t.now}
	t.add(event.KindDecision, exchange, d.Append(nil))
	t.judge(exchange, event.Allow, "approve/customers", "approved by alice@example.com")
	t.end(exchange, event.Outcome{Status: "ok", Tag: "UPDATE 1"})
}

// Hostile is text that would mislead whoever reads it, or run.
const Hostile = "SELECT '<img src=x onerror=\"document.title=1;alert(1)\">', 'javascript:alert(2)' AS \"</pre><script>alert(3)</script>\"\n" +
	"  FROM usеrs WHERE name = 'admin\u202e' --\x00\x1b[2J\u200b zero\u2066 width\r\n" +
	"/* nothing more */" // the e of users is Cyrillic
