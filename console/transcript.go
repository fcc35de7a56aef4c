package console

import (
	"iter"
	"strconv"
	"time"

	"gatehouse/core/event"
	"gatehouse/recorder"
)

// What bounds the view of a session.
const (
	shownRows   = 20  // rows of each exchange on a page of many
	moreRows    = 500 // rows of an exchange by itself
	shownItems  = 200 // notices of the session; results, messages and outcomes of an exchange
	exchangeMax = 64 << 10
	cellHead    = 1 << 10
	cellTail    = 256
)

// A SessionView is a page of what happened in a session.
type SessionView struct {
	Session   Session    `json:"session"`
	Totals    Totals     `json:"totals"`
	Exchanges []Exchange `json:"exchanges"`
	// Next, unless zero, is the "after" of the page that follows.
	Next    uint64 `json:"next,omitempty"`
	Notices []Note `json:"notices"`
	// Hidden is how many notices are left out.
	Hidden int `json:"hidden,omitempty"`
	// Broken is whether the recording could not be read to its end.
	Broken bool `json:"broken,omitempty"`
}

// Totals count what is in the whole session.
type Totals struct {
	Exchanges int   `json:"exchanges"`
	Blocked   int   `json:"blocked"`
	Held      int   `json:"held"`
	Rows      int64 `json:"rows"`
}

// An Exchange is one request and what became of it.
type Exchange struct {
	ID        uint64    `json:"id"`
	Time      time.Time `json:"time"`
	Operation string    `json:"operation"`
	Statement Text      `json:"statement"`
	Params    []*Text   `json:"params"`
	// Masked are the columns whose values may be among what is masked.
	Masked []string `json:"masked,omitempty"`
	Labels []Attr   `json:"labels"`
	Attrs  []Attr   `json:"attrs"`
	// Verdicts are what was decided about it, in order: what plugins said
	// first, what became of an approval last.
	Verdicts  []VerdictView  `json:"verdicts"`
	Pending   string         `json:"pending,omitempty"` // the approval's ID
	Decisions []DecisionView `json:"decisions"`
	Results   []Result       `json:"results"`
	Messages  []Note         `json:"messages"`
	Outcomes  []Outcome      `json:"outcomes"`
	// Hidden is how many of all these are left out.
	Hidden int `json:"hidden,omitempty"`

	bytes int // of what is shown of its responses
}

// A VerdictView is one verdict.
type VerdictView struct {
	Action string    `json:"action"`
	Rule   string    `json:"rule"`
	Reason string    `json:"reason"`
	Time   time.Time `json:"time"`
}

// A DecisionView is what somebody, or nobody, decided.
type DecisionView struct {
	Approved bool      `json:"approved"`
	By       string    `json:"by,omitempty"`
	Comment  string    `json:"comment,omitempty"`
	Time     time.Time `json:"time"`
}

// A Result is one table of a response, or of an upload.
type Result struct {
	Upload bool        `json:"upload,omitempty"` // the client sent it
	Fields []FieldView `json:"fields"`
	Rows   [][]*Text   `json:"rows"`
	// From is how many rows come before Rows, Total how many there are.
	From  int `json:"from,omitempty"`
	Total int `json:"total"`
}

// A FieldView is one column.
type FieldView struct {
	Name      string   `json:"name"`
	Type      string   `json:"type,omitempty"`
	Origins   []string `json:"origins,omitempty"`
	Lineage   string   `json:"lineage,omitempty"`   // how the values come from the origins, where the record tells
	Why       string   `json:"why,omitempty"`       // why that is not known, or what a computed value lacks
	Treatment string   `json:"treatment,omitempty"` // unless it passes as it is
	Rule      string   `json:"rule,omitempty"`
}

// A Note is something that was said.
type Note struct {
	Code   string    `json:"code"`
	Plugin string    `json:"plugin,omitempty"` // that said it
	Text   Text      `json:"text"`
	Time   time.Time `json:"time"`
}

// An Outcome is how a response ended.
type Outcome struct {
	Status string    `json:"status"`
	Tag    string    `json:"tag,omitempty"`
	Code   string    `json:"code,omitempty"`
	Rows   int64     `json:"rows"`
	Time   time.Time `json:"time"`
}

// A transcript collects a page of a session.
type transcript struct {
	after uint64 // the exchanges after this one
	limit int    // this many
	skip  int    // rows of each to pass over
	rows  int    // rows of each to show

	view  SessionView
	index map[uint64]int // exchange to its place in view.Exchanges
	plans map[uint64][]event.Treatment
	heads map[uint64]*event.Head
}

// read returns the view of entries. If these end with an error, it returns
// that too, with the view of what came before.
func (t *transcript) read(entries iter.Seq2[recorder.Entry, error]) (SessionView, error) {
	t.index = map[uint64]int{}
	t.plans, t.heads = map[uint64][]event.Treatment{}, map[uint64]*event.Head{}
	t.view = SessionView{Exchanges: []Exchange{}, Notices: []Note{}}
	for e, err := range entries {
		if err != nil {
			return t.view, err
		}
		t.count(&e)
		switch {
		case e.Kind == event.KindOpen:
			t.view.Session = sessionView(e.Session)
		case e.Kind == event.KindRequest:
			t.request(&e)
		case e.Exchange == 0:
			t.session(&e)
		default:
			if i, ok := t.index[e.Exchange]; ok {
				t.exchange(&t.view.Exchanges[i], &e)
			}
		}
	}
	return t.view, nil
}

func (t *transcript) count(e *recorder.Entry) {
	switch e.Kind {
	case event.KindRequest:
		t.view.Totals.Exchanges++
	case event.KindVerdict:
		switch e.Verdict.Action {
		case event.Block:
			t.view.Totals.Blocked++
		case event.Hold:
			t.view.Totals.Held++
		}
	case event.KindOutcome:
		t.view.Totals.Rows += e.Outcome.Rows
	}
}

// session adds what concerns no exchange.
func (t *transcript) session(e *recorder.Entry) {
	n := e.Notice
	if e.Part != nil {
		n = e.Part.Message
	}
	if n == nil {
		return
	}
	if e.Kind == event.KindClose {
		t.view.Session.End, t.view.Session.Why = e.Time, n.Text
	}
	t.view.Notices = add(t.view.Notices, note(n, e.Time), &t.view.Hidden)
}

func note(n *event.Notice, at time.Time) Note {
	return Note{n.Code, n.Plugin(), text([]byte(n.Text), cellHead, cellTail), at}
}

// add appends v to list, or counts it as hidden if list is long enough.
func add[T any](list []T, v T, hidden *int) []T {
	if len(list) >= shownItems {
		*hidden++
		return list
	}
	return append(list, v)
}

func (t *transcript) request(e *recorder.Entry) {
	if e.Exchange <= t.after {
		return
	}
	if len(t.view.Exchanges) == t.limit {
		t.view.Next = t.view.Exchanges[t.limit-1].ID
		return
	}
	x := Exchange{
		ID: e.Exchange, Time: e.Time, Operation: e.Request.Operation,
		Statement: text(e.Request.Payload, listHead, listTail),
		Params:    cells(e.Request.Params[:min(len(e.Request.Params), shownParams)]),
		Masked:    e.Request.Masked,
		Labels:    attrViews(e.Request.Labels), Attrs: attrViews(e.Request.Attrs),
		Verdicts: []VerdictView{}, Decisions: []DecisionView{}, Results: []Result{},
		Messages: []Note{}, Outcomes: []Outcome{},
	}
	for i, p := range x.Params {
		if p != nil {
			p.cut(e.Request.CutSize(i))
		}
	}
	t.index[e.Exchange] = len(t.view.Exchanges)
	t.view.Exchanges = append(t.view.Exchanges, x)
}

// cells returns values as they are shown; NULL is nil.
func cells(values [][]byte) []*Text {
	row := make([]*Text, len(values))
	for i, v := range values {
		if v != nil {
			t := text(v, cellHead, cellTail)
			row[i] = &t
		}
	}
	return row
}

func (t *transcript) exchange(x *Exchange, e *recorder.Entry) {
	switch e.Kind {
	case event.KindVerdict:
		v := VerdictView{e.Verdict.Action.String(), e.Verdict.Rule, e.Verdict.Reason, e.Time}
		x.Verdicts = add(x.Verdicts, v, &x.Hidden)
	case event.KindPending:
		x.Pending = e.Notice.Text
	case event.KindDecision:
		d := e.Decision
		x.Decisions = add(x.Decisions, DecisionView{d.Approved, label(d.By), d.Comment, e.Time}, &x.Hidden)
	case event.KindHead:
		t.heads[x.ID], t.plans[x.ID] = e.Head, nil
	case event.KindPlan:
		t.plans[x.ID] = e.Treatments
	case event.KindOutcome:
		o := e.Outcome
		x.Outcomes = add(x.Outcomes, Outcome{o.Status, o.Tag, o.Code, o.Rows, e.Time}, &x.Hidden)
	case event.KindNotice:
		x.Messages = add(x.Messages, note(e.Notice, e.Time), &x.Hidden)
	case event.KindData, event.KindUpload:
		if e.Part == nil { // of a protocol that nobody here can read
			x.Hidden++
			return
		}
		t.part(x, e)
	}
}

// part adds what a decoder read in a response or an upload.
func (t *transcript) part(x *Exchange, e *recorder.Entry) {
	switch p := e.Part; {
	case p.Message != nil:
		x.Messages = add(x.Messages, note(p.Message, e.Time), &x.Hidden)
	case p.Fields != nil:
		r := Result{Upload: e.Kind == event.KindUpload, Fields: t.fields(x.ID, p.Fields), Rows: [][]*Text{}, From: t.skip}
		x.Results = add(x.Results, r, &x.Hidden)
	case len(x.Results) > 0 && x.Hidden == 0:
		t.row(x, &x.Results[len(x.Results)-1], p.Row)
	}
}

func (t *transcript) row(x *Exchange, r *Result, values [][]byte) {
	r.Total++
	if r.Total <= t.skip || len(r.Rows) >= t.rows || x.bytes >= t.budget() {
		return
	}
	row := cells(values)
	for _, c := range row {
		if c != nil {
			x.bytes += len(c.Head) + len(c.Tail)
		}
	}
	r.Rows = append(r.Rows, row)
}

// budget is how many bytes of rows an exchange shows.
func (t *transcript) budget() int {
	if t.limit == 1 {
		return 16 * exchangeMax
	}
	return exchangeMax
}

// fields describes the columns of a result, with how they were treated where
// the recorded head is of the same columns.
func (t *transcript) fields(exchange uint64, fields []event.Field) []FieldView {
	views := make([]FieldView, len(fields))
	plan, head := t.plans[exchange], t.heads[exchange]
	for i, f := range fields {
		views[i] = FieldView{Name: f.Name, Type: f.Type, Origins: f.Origins}
		if head != nil && len(head.Fields) == len(fields) && head.Fields[i].Name == f.Name {
			views[i].Type, views[i].Origins, views[i].Lineage = head.Fields[i].Type, head.Fields[i].Origins, head.Fields[i].Lineage.String()
			views[i].Why = head.Fields[i].Why
		}
		if len(plan) == len(fields) && plan[i].Kind != event.Pass {
			views[i].Treatment, views[i].Rule = treatmentName(plan[i]), plan[i].Rule
		}
	}
	return views
}

func treatmentName(t event.Treatment) string {
	switch t.Kind {
	case event.KeepLast:
		return "keep last " + strconv.Itoa(int(t.Keep))
	case event.Detect:
		return "search"
	}
	return t.String()
}
