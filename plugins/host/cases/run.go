package cases

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/plugins/host"
)

// A Runner runs cases.
type Runner struct {
	// Load loads the plugin with a configuration. It is called once for each
	// configuration that the cases have.
	Load func(ctx context.Context, config []byte) (*host.Plugin, error)
	// Statements reads what SQL does, as the gate does. Nil is not at all:
	// then cases with sql fail.
	Statements func(ctx context.Context, sql string) ([]event.Statement, error)
}

// A Result is what became of a case.
type Result struct {
	Name string
	// Wrong is what was otherwise than the case states; it is empty where the
	// plugin passed.
	Wrong []string
}

// Run runs the cases of f in their order. The error is of the runner, not of a
// case.
func (r *Runner) Run(ctx context.Context, f *File) (results []Result, err error) {
	loaded := map[string]*host.Plugin{}
	defer func() {
		for _, p := range loaded {
			if p != nil {
				err = errors.Join(err, p.Close(ctx))
			}
		}
	}()
	refused := map[string]error{}
	for i := range f.Cases {
		c := &f.Cases[i]
		settings := c.Config
		if settings == nil {
			settings = f.Config
		}
		if settings == nil {
			settings = map[string]any{}
		}
		config, err := json.Marshal(settings)
		if err != nil {
			return results, fmt.Errorf("%s: configuration: %w", c.Name, err)
		}
		key := string(config)
		if loaded[key] == nil && refused[key] == nil {
			loaded[key], refused[key] = r.Load(ctx, config)
		}
		result := Result{Name: c.Name}
		session := c.Session
		if session == nil {
			session = f.Session
		}
		switch refusal := refused[key]; {
		case ctx.Err() != nil:
			return results, ctx.Err()
		case c.Refuses != "" && refusal == nil:
			result.Wrong = []string{"the plugin takes the configuration"}
		case c.Refuses != "" && !strings.Contains(refusal.Error(), c.Refuses):
			result.Wrong = []string{"the configuration is refused with: " + refusal.Error()}
		case c.Refuses != "":
		case refusal != nil:
			result.Wrong = []string{refusal.Error()}
		default:
			result.Wrong = r.try(ctx, loaded[key], c, session.event())
		}
		results = append(results, result)
	}
	return results, nil
}

// A trial collects what is wrong.
type trial []string

func (t *trial) compare(what, got, want string) {
	if got != want {
		*t = append(*t, fmt.Sprintf("%s is %s, not %s", what, got, want))
	}
}

func (t *trial) fail(err error) trial {
	return append(*t, err.Error())
}

// try runs one case and returns what is wrong.
func (r *Runner) try(ctx context.Context, p *host.Plugin, c *Case, session *event.Session) trial {
	var t trial
	request, head, err := c.event()
	if err != nil {
		return t.fail(err)
	}
	open, err := p.Open(ctx, session)
	if err != nil {
		return t.fail(err)
	}
	if c.State != nil {
		t.compare("the state", quote(open.State()), quote([]byte(*c.State)))
	}
	roles := open.Roles()
	if c.Request != nil {
		if c.Request.SQL != "" {
			if r.Statements == nil {
				return t.fail(errors.New("there is nobody here who reads SQL"))
			}
			if request.Statements, err = r.Statements(ctx, c.Request.SQL); err != nil {
				return t.fail(err)
			}
		}
		if roles.Judge == nil {
			return t.fail(errors.New("the plugin judges no requests"))
		}
		v, err := roles.Judge.Judge(ctx, session, request)
		if err != nil {
			return t.fail(err)
		}
		t.verdict(&v, c.Verdict)
	}
	if c.Upload {
		if roles.Uploads == nil {
			return t.fail(errors.New("the plugin judges no uploads"))
		}
		v, err := roles.Uploads.JudgeUpload(ctx, session, head, rowsOf(head.Fields, c.Rows))
		if err != nil {
			return t.fail(err)
		}
		t.verdict(&v, c.Verdict)
	}
	if c.Fields != nil && !c.Upload {
		if err := t.result(ctx, open, session, head, c); err != nil {
			return t.fail(err)
		}
	}
	if c.Outcome != nil {
		if roles.Ender == nil {
			return t.fail(errors.New("the plugin hears of no outcomes"))
		}
		o := event.Outcome(*c.Outcome)
		n, err := roles.Ender.End(ctx, session, &o)
		if err != nil {
			return t.fail(err)
		}
		t.note(n, c.Note)
	}
	return t
}

func (t *trial) verdict(got *event.Verdict, want *Verdict) {
	t.compare("the verdict", got.Action.String(), want.Action)
	if want.Rule != nil {
		t.compare("the rule", strconv.Quote(got.Rule), strconv.Quote(*want.Rule))
	}
	if want.Reason != nil {
		t.compare("the reason", strconv.Quote(got.Reason), strconv.Quote(*want.Reason))
	}
	t.labels(got.Labels, want.Labels)
}

func (t *trial) note(got *event.Note, want *Note) {
	if got == nil {
		got = new(event.Note)
	}
	if want.Text != nil {
		t.compare("the note", strconv.Quote(got.Text), strconv.Quote(*want.Text))
	}
	t.labels(got.Labels, want.Labels)
}

func (t *trial) labels(got []event.Attr, want map[string]string) {
	if want != nil {
		t.compare("the labels", list(got), list(attrs(want)))
	}
}

// result runs a result through the pipeline.
func (t *trial) result(ctx context.Context, p *host.Session, session *event.Session, head *event.Head, c *Case) error {
	if p.Roles().Masker == nil {
		return errors.New("the plugin masks no results")
	}
	ts, err := p.Treat(ctx, session, head)
	if err != nil {
		return err
	}
	if c.Treatments != nil {
		var got []string
		for _, x := range ts {
			got = append(got, x.String())
		}
		t.compare("the treatment", strings.Join(got, ", "), strings.Join(c.Treatments, ", "))
	}
	if c.Cells == nil {
		return nil
	}
	cells, err := Mask(ctx, p, session, head, c.Rows)
	if err != nil {
		return err
	}
	if len(cells) != len(c.Cells) {
		t.compare("the number of rows", strconv.Itoa(len(cells)), strconv.Itoa(len(c.Cells)))
		return nil
	}
	for i, row := range cells {
		if len(c.Cells[i]) != len(row) {
			t.compare(fmt.Sprintf("row %d", i+1), count(len(row)), count(len(c.Cells[i])))
			continue
		}
		for j, cell := range row {
			t.compare(fmt.Sprintf("row %d, %s", i+1, head.Fields[j].Name), quote(cell), quote(value(c.Cells[i][j])))
		}
	}
	return nil
}

// key is that of hashes and fakes, so that they are the same wherever cases run.
var key = bytes.Repeat([]byte("case"), 8)

// Mask returns rows as a client gets them through a plugin alone. Hashes and fakes
// are made with a fixed key.
func Mask(ctx context.Context, p *host.Session, session *event.Session, head *event.Head, rows [][]*string) (masked [][][]byte, err error) {
	s, err := pipeline.New(pipeline.Config{
		Terms:    pipeline.Terms{Session: session, Plugins: []pipeline.Plugin{masker{p}}, HoldFor: time.Second},
		Recorder: nobody{}, Key: key,
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close(ctx, event.Notice{Code: "closed"})) }()
	x := s.Begin(ctx, &event.Request{})
	if err := x.Head(ctx, head); err != nil {
		return nil, err
	}
	columns, fields := x.Treated()
	var treated event.Rows
	treated.Reset(fields)
	for _, row := range rows {
		cells := treated.Grow()
		for k, j := range columns {
			cells[k] = value(row[j])
		}
	}
	if err := x.Rows(ctx, &treated); err != nil {
		return nil, err
	}
	for i, row := range rows {
		out := make([][]byte, len(row))
		for j := range row {
			out[j] = value(row[j])
		}
		cells, _ := treated.Row(i)
		for k, j := range columns {
			out[j] = bytes.Clone(cells[k])
		}
		masked = append(masked, out)
	}
	return masked, x.End(event.Outcome{Status: "ok"})
}

// A masker is a plugin of which only the treatment of results is wanted.
type masker struct{ *host.Session }

// Roles are those that are wanted.
func (m masker) Roles() pipeline.Roles { return pipeline.Roles{Masker: m.Session} }

// nobody records nothing.
type nobody struct{}

func (nobody) Append(event.Frame, ...[]byte) error { return nil }
func (nobody) Commit(context.Context) error        { return nil }

func rowsOf(fields []event.Field, rows [][]*string) *event.Rows {
	r := new(event.Rows)
	r.Reset(fields)
	for _, row := range rows {
		cells := r.Grow()
		for j := range cells {
			cells[j] = value(row[j])
		}
	}
	return r
}

func attrs(m map[string]string) (all []event.Attr) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		all = append(all, event.Attr{Key: k, Value: m[k]})
	}
	return all
}

func list(labels []event.Attr) string {
	var b []string
	for _, l := range labels {
		b = append(b, l.Key+"="+strconv.Quote(l.Value))
	}
	slices.Sort(b)
	return "[" + strings.Join(b, " ") + "]"
}

func quote(v []byte) string {
	if v == nil {
		return "NULL"
	}
	return strconv.Quote(string(v))
}

func count(n int) string { return strconv.Itoa(n) + " values" }
