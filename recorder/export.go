package recorder

import (
	"bufio"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"gatehouse/core/event"
)

// A line is one entry as JSON. Exactly the fields of its kind are there.
type line struct {
	Time     time.Time `json:"time"`
	Exchange uint64    `json:"exchange,omitempty"`
	Kind     string    `json:"kind"`

	Session    *jsonSession    `json:"session,omitempty"`
	Operation  string          `json:"operation,omitempty"`
	Payload    *text           `json:"payload,omitempty"`
	Params     []*text         `json:"params,omitempty"`
	Cut        []jsonCut       `json:"cut,omitempty"`
	Masked     []string        `json:"masked,omitempty"` // columns
	Param      *int            `json:"param,omitempty"`
	Part       *text           `json:"part,omitempty"`
	Statements []jsonStatement `json:"statements,omitempty"`
	Labels     []jsonAttr      `json:"labels,omitempty"`
	Attrs      []jsonAttr      `json:"attrs,omitempty"`
	Action     string          `json:"action,omitempty"`
	Rule       string          `json:"rule,omitempty"`
	Reason     string          `json:"reason,omitempty"`
	Approved   *bool           `json:"approved,omitempty"`
	By         *Principal      `json:"by,omitempty"`
	Comment    string          `json:"comment,omitempty"`
	Fields     []jsonField     `json:"fields,omitempty"`
	Treatments []jsonTreatment `json:"treatments,omitempty"`
	Row        *[]*text        `json:"row,omitempty"`
	Data       []byte          `json:"data,omitempty"`
	Status     string          `json:"status,omitempty"`
	Tag        string          `json:"tag,omitempty"`
	Code       string          `json:"code,omitempty"`
	Rows       *int64          `json:"rows,omitempty"`
	Text       string          `json:"text,omitempty"`
}

type jsonSession struct {
	ID        string     `json:"id"`
	Gate      string     `json:"gate"`
	Protocol  string     `json:"protocol"`
	Resource  string     `json:"resource"`
	Policy    string     `json:"policy"`
	Principal Principal  `json:"principal"`
	Client    string     `json:"client"`
	Start     time.Time  `json:"start"`
	Attrs     []jsonAttr `json:"attrs,omitempty"`
}

// A jsonCut says how long a parameter is of which there is the beginning only.
type jsonCut struct {
	Param int    `json:"param"` // its index in params
	Bytes uint64 `json:"bytes"`
}

type jsonAttr struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

type jsonStatement struct {
	Kind   string   `json:"kind"`
	Runs   bool     `json:"runs"`
	Writes []string `json:"writes,omitempty"`
	Reads  []string `json:"reads,omitempty"`
}

type jsonField struct {
	Name    string   `json:"name"`
	Type    string   `json:"type,omitempty"`
	Origins []string `json:"origins,omitempty"`
}

type jsonTreatment struct {
	Treatment string `json:"treatment"`
	Rule      string `json:"rule,omitempty"`
}

// A text is a JSON string, or {"base64": …} if it is no UTF-8.
type text []byte

// MarshalJSON implements json.Marshaler.
func (t text) MarshalJSON() ([]byte, error) {
	if utf8.Valid(t) {
		return json.Marshal(string(t))
	}
	return json.Marshal(map[string]string{"base64": base64.StdEncoding.EncodeToString(t)})
}

// WriteJSONL writes a transcript as JSON Lines: one object for each entry, as
// it comes, the data of a response, or of an upload, as a line for its fields
// and one for each row. NULL is null. A text that is no UTF-8 is {"base64": …}.
func WriteJSONL(w io.Writer, entries iter.Seq2[Entry, error]) error {
	b := bufio.NewWriter(w)
	out := json.NewEncoder(b)
	for e, err := range entries {
		if err == nil {
			err = out.Encode(newLine(&e))
		}
		if err != nil {
			return fmt.Errorf("write transcript: %w", firstError(err, b.Flush()))
		}
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write transcript: %w", err)
	}
	return nil
}

func newLine(e *Entry) line {
	l := line{Time: e.Time.UTC(), Exchange: e.Exchange, Kind: e.kind()}
	switch e.Kind {
	case event.KindOpen:
		s := newSummary(e.Session)
		l.Session = &jsonSession{s.ID, s.Gate, s.Protocol, s.Resource, s.Policy, s.Principal, s.Client, s.Start, attrs(e.Session.Attrs)}
	case event.KindRequest:
		l.request(e.Request)
	case event.KindParameter:
		part := text(e.Parameter.Part)
		l.Param, l.Part = &e.Parameter.Param, &part
	case event.KindVerdict:
		v := e.Verdict
		l.Action, l.Rule, l.Reason, l.Labels = v.Action.String(), v.Rule, v.Reason, attrs(v.Labels)
	case event.KindDecision:
		d := e.Decision
		l.Approved, l.Comment = &d.Approved, d.Comment
		if d.By.Subject != "" {
			l.By = &Principal{d.By.Issuer, d.By.Subject, d.By.Name, d.By.Groups}
		}
	case event.KindHead:
		l.Fields, l.Attrs = fields(e.Head.Fields), attrs(e.Head.Attrs)
	case event.KindPlan:
		for _, t := range e.Treatments {
			l.Treatments = append(l.Treatments, jsonTreatment{treatmentNames[t.Kind], t.Rule})
		}
	case event.KindData, event.KindUpload:
		l.data(e)
	case event.KindOutcome:
		o := e.Outcome
		l.Status, l.Tag, l.Code, l.Rows = o.Status, o.Tag, o.Code, &o.Rows
	case event.KindPending, event.KindNotice, event.KindClose:
		l.notice(e.Notice)
	}
	return l
}

func (l *line) request(r *event.Request) {
	payload := text(r.Payload)
	l.Operation, l.Payload, l.Params = r.Operation, &payload, texts(r.Params)
	l.Masked, l.Labels, l.Attrs = r.Masked, attrs(r.Labels), attrs(r.Attrs)
	for _, c := range r.Cut {
		l.Cut = append(l.Cut, jsonCut{c.Param, c.Size})
	}
	for _, s := range r.Statements {
		l.Statements = append(l.Statements, jsonStatement{s.Kind, s.Runs, objects(s.Writes), objects(s.Reads)})
	}
}

func (l *line) data(e *Entry) {
	switch p := e.Part; {
	case p == nil:
		l.Data = e.Raw
	case p.Message != nil:
		l.notice(p.Message)
	case p.Fields != nil:
		l.Fields = fields(p.Fields)
	default:
		row := texts(p.Row)
		if row == nil {
			row = []*text{}
		}
		l.Row = &row
	}
}

func (l *line) notice(n *event.Notice) {
	l.Code, l.Text, l.Attrs = n.Code, n.Text, attrs(n.Attrs)
}

// kind names the entry's kind for exports.
func (e *Entry) kind() string {
	switch e.Kind {
	case event.KindOpen:
		return "open"
	case event.KindRequest:
		return "request"
	case event.KindParameter:
		return "parameter"
	case event.KindVerdict:
		return "verdict"
	case event.KindPending:
		return "pending"
	case event.KindDecision:
		return "decision"
	case event.KindHead:
		return "head"
	case event.KindPlan:
		return "treatments"
	case event.KindOutcome:
		return "outcome"
	case event.KindNotice:
		return "notice"
	case event.KindClose:
		return "close"
	}
	upload := ""
	if e.Kind == event.KindUpload {
		upload = "upload "
	}
	switch p := e.Part; {
	case p == nil:
		return upload + "data"
	case p.Message != nil:
		return upload + "message"
	case p.Fields != nil:
		return upload + "fields"
	}
	return upload + "row"
}

func texts(bs [][]byte) []*text {
	var ts []*text
	for _, b := range bs {
		if b == nil {
			ts = append(ts, nil)
			continue
		}
		t := text(b)
		ts = append(ts, &t)
	}
	return ts
}

func objects(os []event.Object) []string {
	var names []string
	for _, o := range os {
		names = append(names, o.String())
	}
	return names
}

func attrs(as []event.Attr) []jsonAttr {
	var js []jsonAttr
	for _, a := range as {
		js = append(js, jsonAttr(a))
	}
	return js
}

func fields(fs []event.Field) []jsonField {
	js := []jsonField{}
	for _, f := range fs {
		js = append(js, jsonField{f.Name, f.Type, f.Origins})
	}
	return js
}

// csvHead names the columns that every row of WriteCSV has. The values of a
// result follow them.
var csvHead = []string{"session", "time", "exchange", "kind", "what", "which", "text"}

// WriteCSV writes a transcript as one CSV table, a row for each entry. The
// names and values of a result are in columns of their own after the named
// ones; NULL is an empty cell. A cell that a spreadsheet would take for a
// formula has an apostrophe before it.
func WriteCSV(w io.Writer, entries iter.Seq2[Entry, error]) error {
	out := csv.NewWriter(w)
	if err := out.Write(csvHead); err != nil {
		return fmt.Errorf("write transcript: %w", err)
	}
	session := ""
	for e, err := range entries {
		if err == nil {
			if e.Session != nil {
				session = e.Session.ID
			}
			err = out.Write(newRecord(session, &e))
		}
		if err != nil {
			out.Flush()
			return fmt.Errorf("write transcript: %w", err)
		}
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return fmt.Errorf("write transcript: %w", err)
	}
	return nil
}

func newRecord(session string, e *Entry) []string {
	exchange := ""
	if e.Exchange > 0 {
		exchange = strconv.FormatUint(e.Exchange, 10)
	}
	what, which, body, cells := columns(e)
	record := []string{session, e.Time.UTC().Format(time.RFC3339Nano), exchange, e.kind(), what, which, body}
	record = append(record, cells...)
	for i := range record {
		record[i] = guard(record[i])
	}
	return record
}

func columns(e *Entry) (what, which, body string, cells []string) {
	switch e.Kind {
	case event.KindOpen:
		s := e.Session
		return s.Resource, s.Principal.Name, s.Client, nil
	case event.KindRequest:
		for i, p := range e.Request.Params {
			cells = append(cells, string(p)+cutMark(e.Request, i))
		}
		return e.Request.Operation, labels(e.Request.Labels), string(e.Request.Payload), cells
	case event.KindParameter:
		return strconv.Itoa(e.Parameter.Param + 1), "", "", []string{string(e.Parameter.Part)}
	case event.KindVerdict:
		return e.Verdict.Action.String(), e.Verdict.Rule, e.Verdict.Reason, nil
	case event.KindDecision:
		if e.Decision.Approved {
			return "approved", e.Decision.By.Name, e.Decision.Comment, nil
		}
		return "denied", e.Decision.By.Name, e.Decision.Comment, nil
	case event.KindHead:
		return "", "", "", fieldNames(e.Head.Fields)
	case event.KindPlan:
		for _, t := range e.Treatments {
			cells = append(cells, treatmentNames[t.Kind])
		}
		return "", "", "", cells
	case event.KindData, event.KindUpload:
		return dataColumns(e)
	case event.KindOutcome:
		return e.Outcome.Status, e.Outcome.Code, e.Outcome.Tag, nil
	}
	return e.Notice.Code, "", e.Notice.Text, nil
}

func dataColumns(e *Entry) (what, which, body string, cells []string) {
	switch p := e.Part; {
	case p == nil:
		return "", "", base64.StdEncoding.EncodeToString(e.Raw), nil
	case p.Message != nil:
		return p.Message.Code, labels(p.Message.Attrs), p.Message.Text, nil
	case p.Fields != nil:
		return "", "", "", fieldNames(p.Fields)
	default:
		for _, c := range p.Row {
			cells = append(cells, string(c))
		}
		return "", "", "", cells
	}
}

func fieldNames(fs []event.Field) (names []string) {
	for _, f := range fs {
		names = append(names, f.Name)
	}
	return names
}

func labels(as []event.Attr) string {
	var parts []string
	for _, a := range as {
		parts = append(parts, a.Key+"="+a.Value)
	}
	return strings.Join(parts, " ")
}

// guard keeps spreadsheets from running a cell.
func guard(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}
