package recorder

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"

	"gatehouse/core/event"
)

// WriteText writes a transcript for a terminal, as it comes. What is in the
// recording cannot control the terminal or disguise itself: characters that do
// not print appear as escapes.
func WriteText(w io.Writer, entries iter.Seq2[Entry, error]) error {
	t := textWriter{w: bufio.NewWriter(w), fields: make(map[uint64][]event.Field)}
	for e, err := range entries {
		if err == nil {
			err = t.entry(&e)
		}
		if err != nil {
			return fmt.Errorf("write transcript: %w", firstError(err, t.w.Flush()))
		}
	}
	if err := t.w.Flush(); err != nil {
		return fmt.Errorf("write transcript: %w", err)
	}
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// A textWriter writes entries. The writer keeps its first error.
type textWriter struct {
	w      *bufio.Writer
	fields map[uint64][]event.Field // of the last head of each exchange that goes on
}

// maxOpen bounds for how many exchanges the fields are remembered.
const maxOpen = 4096

func (t *textWriter) entry(e *Entry) error {
	switch e.Kind {
	case event.KindOpen:
		t.open(e)
	case event.KindRequest:
		t.request(e)
	case event.KindParameter:
		fmt.Fprintf(t.w, "    $%d goes on with %d bytes of its whole value\n", e.Parameter.Param+1, len(e.Parameter.Part))
	case event.KindVerdict:
		t.line(e, e.Verdict.Action.String(), e.Verdict.Rule, e.Verdict.Reason)
		t.attrs("label", e.Verdict.Labels)
	case event.KindPending:
		t.line(e, "waits", "approval "+e.Notice.Text, "")
	case event.KindDecision:
		t.decision(e)
	case event.KindHead:
		if len(t.fields) < maxOpen {
			t.fields[e.Exchange] = e.Head.Fields
		}
	case event.KindPlan:
		t.treatments(e)
	case event.KindData, event.KindUpload:
		t.data(e)
	case event.KindOutcome:
		o := e.Outcome
		delete(t.fields, e.Exchange)
		status := o.Status
		if status == "unknown" {
			status = "outcome unknown"
		}
		t.line(e, status, strings.TrimSpace(o.Tag+" "+o.Code), "")
	case event.KindNotice:
		t.notice(e)
	case event.KindClose:
		t.line(e, "closed", e.Notice.Code, e.Notice.Text)
		t.attrs("detail", e.Notice.Attrs)
	}
	_, err := t.w.Write(nil) // the first error so far
	return err
}

// notice says what a plugin in shadow would have done as what has not been done.
func (t *textWriter) notice(e *Entry) {
	n := e.Notice
	if n.Code == event.CodeShadow {
		t.line(e, "in shadow", n.Plugin(), n.Text)
	} else {
		t.line(e, "notice", n.Code, n.Text)
	}
	t.attrs("detail", n.Attrs)
}

func (t *textWriter) open(e *Entry) {
	s := e.Session
	fmt.Fprintf(t.w, "session %s of %s (%s, %s) at %s\n", clean(s.ID), clean(s.Principal.Name),
		clean(s.Principal.Issuer), clean(s.Principal.Subject), s.Start.UTC().Format("2006-01-02 15:04:05.000Z"))
	fmt.Fprintf(t.w, "  resource %s (%s), from %s, gate %s, policy %s\n", clean(s.Resource), clean(s.Protocol),
		clean(s.Client), clean(s.Gate), clean(s.Policy))
	t.attrs("attribute", s.Attrs)
}

func (t *textWriter) request(e *Entry) {
	r := e.Request
	t.line(e, r.Operation, "", "")
	for l := range strings.SplitSeq(strings.TrimRight(string(r.Payload), "\n"), "\n") {
		fmt.Fprintf(t.w, "    %s\n", clean(l))
	}
	for i, p := range r.Params {
		fmt.Fprintf(t.w, "    $%d = %s%s\n", i+1, cell(p), cutMark(r, i))
	}
	if len(r.Masked) > 0 {
		fmt.Fprintf(t.w, "    masked: values of %s\n", clean(strings.Join(r.Masked, ", ")))
	}
	t.attrs("label", r.Labels)
	t.attrs("context", r.Attrs)
}

// cutMark says how long parameter i of r is, if it is cut.
func cutMark(r *event.Request, i int) string {
	if n := r.CutSize(i); n > 0 {
		return fmt.Sprintf("… (%d bytes in all)", n)
	}
	return ""
}

func (t *textWriter) decision(e *Entry) {
	d := e.Decision
	word := "denied"
	if d.Approved {
		word = "approved"
	}
	by := "by nobody"
	if d.By.Subject != "" {
		by = fmt.Sprintf("by %s (%s, %s)", d.By.Name, d.By.Issuer, d.By.Subject)
	}
	t.line(e, word, by, d.Comment)
}

var treatmentNames = map[event.TreatmentKind]string{
	event.Null: "null", event.Redact: "redacted", event.Hash: "hashed", event.Fake: "faked", event.KeepLast: "all but the last characters hidden",
	event.Inspect: "inspected", event.Detect: "searched", event.Replace: "replaced", event.Pass: "as it is",
}

func (t *textWriter) treatments(e *Entry) {
	fields := t.fields[e.Exchange]
	for i, x := range e.Treatments {
		if x.Kind == event.Pass {
			continue
		}
		name := fmt.Sprintf("field %d", i+1)
		if i < len(fields) {
			name = fields[i].Name
		}
		fmt.Fprintf(t.w, "    %s: %s", clean(name), treatmentNames[x.Kind])
		if x.Rule != "" {
			fmt.Fprintf(t.w, " by %s", clean(x.Rule))
		}
		t.w.WriteByte('\n')
	}
}

func (t *textWriter) data(e *Entry) {
	margin, what := "    ", "data"
	if e.Kind == event.KindUpload {
		margin, what = "  < ", "uploaded data"
	}
	switch p := e.Part; {
	case p == nil:
		fmt.Fprintf(t.w, "%s%d bytes of %s\n", margin, len(e.Raw), what)
	case p.Message != nil:
		t.line(e, p.Message.Code, "", p.Message.Text)
		t.attrs("detail", p.Message.Attrs)
	case p.Fields != nil:
		for i, f := range p.Fields {
			t.cell(margin, i, clean(f.Name))
		}
		t.w.WriteString("\n" + margin + "--\n")
	default:
		for i, c := range p.Row {
			t.cell(margin, i, cell(c))
		}
		t.w.WriteByte('\n')
	}
}

func (t *textWriter) cell(margin string, i int, s string) {
	if i == 0 {
		t.w.WriteString(margin)
	} else {
		t.w.WriteString(" | ")
	}
	t.w.WriteString(s)
}

// line writes the first line of an entry.
func (t *textWriter) line(e *Entry, what, which, text string) {
	at := e.Time.UTC().Format("15:04:05.000")
	if e.Exchange == 0 {
		fmt.Fprintf(t.w, "%s       %s", at, clean(what))
	} else {
		fmt.Fprintf(t.w, "%s %-5s %s", at, fmt.Sprintf("#%d", e.Exchange), clean(what))
	}
	if which != "" {
		fmt.Fprintf(t.w, " %s", clean(which))
	}
	if text != "" {
		fmt.Fprintf(t.w, ": %s", clean(text))
	}
	t.w.WriteByte('\n')
}

func (t *textWriter) attrs(what string, as []event.Attr) {
	for _, a := range as {
		fmt.Fprintf(t.w, "    %s %s = %s\n", what, clean(a.Key), clean(a.Value))
	}
}

// cell is a value for a terminal. NULL differs from every text.
func cell(b []byte) string {
	if b == nil {
		return "∅"
	}
	return clean(string(b))
}

// clean makes what does not print visible: control characters, which include
// those that terminals obey, characters that have no width or turn the
// direction of writing, and bytes that are no UTF-8.
func clean(s string) string {
	if printable(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		s = s[n:]
	}
	return b.String()
}

func printable(s string) bool {
	for i, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
		if r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD") {
			return false
		}
	}
	return true
}
