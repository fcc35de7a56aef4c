// Package cases tests a plugin by a file of cases: what it gets, and what the
// gate makes of its answer. README.md says what such a file has.
package cases

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/plugins/host"
)

// Readme is README.md.
//
//go:embed README.md
var Readme []byte

// A File is a file of cases.
type File struct {
	Config  map[string]any `yaml:"config"`  // of cases that have none
	Session Session        `yaml:"session"` // of cases that have none
	Clock   *time.Time     `yaml:"clock"`   // of cases that have none
	Cases   []Case         `yaml:"cases"`

	// Statements reads what the SQL of requests does, as the gate does. Nil is
	// not at all: then cases with sql fail.
	Statements func(ctx context.Context, sql string) ([]event.Statement, error) `yaml:"-"`

	now time.Time // of the case that runs
}

// Clocked reports whether cases say what the clock tells. Then they are to run in a
// host whose real clock is Now.
func (f *File) Clocked() bool {
	return f.Clock != nil || slices.ContainsFunc(f.Cases, func(c Case) bool { return c.Clock != nil })
}

// Now returns what the clock tells in the case that runs.
func (f *File) Now() time.Time { return f.now }

// A Case is one thing that a plugin gets, and what is expected.
type Case struct {
	Name    string          `yaml:"name"`
	Config  *map[string]any `yaml:"config"`
	Session *Session        `yaml:"session"`
	Clock   *time.Time      `yaml:"clock"` // what it tells

	Request *Request    `yaml:"request"`
	Fields  []Field     `yaml:"fields"` // of rows, or of an upload
	Rows    [][]*string `yaml:"rows"`
	Upload  [][]*string `yaml:"upload"`
	Outcome *Outcome    `yaml:"outcome"`
	Closes  bool        `yaml:"closes"`

	Verdict    *Verdict    `yaml:"verdict"`    // on the request or the upload
	Treatments []string    `yaml:"treatments"` // of the fields
	Cells      [][]*string `yaml:"cells"`      // what becomes of the rows
	Note       *Note       `yaml:"note"`       // on the outcome, or the session that closes
	State      *string     `yaml:"state"`      // that the plugin keeps for the session
	Fails      *string     `yaml:"fails"`      // a part of the error
}

// A Session is one as event has it.
type Session struct {
	ID        string            `yaml:"id"`
	Gate      string            `yaml:"gate"`
	Protocol  string            `yaml:"protocol"`
	Resource  string            `yaml:"resource"`
	Client    string            `yaml:"client"`
	Attrs     map[string]Values `yaml:"attrs"`
	Principal struct {
		Issuer  string   `yaml:"issuer"`
		Subject string   `yaml:"subject"`
		Name    string   `yaml:"name"`
		Groups  []string `yaml:"groups"`
	} `yaml:"principal"`
}

// A Request is one as event has it.
type Request struct {
	Operation  string            `yaml:"operation"`
	SQL        string            `yaml:"sql"` // instead of payload and statements
	Payload    string            `yaml:"payload"`
	Params     []*string         `yaml:"params"`
	Statements []Statement       `yaml:"statements"`
	Labels     map[string]Values `yaml:"labels"`
	Attrs      map[string]Values `yaml:"attrs"`
	Masked     []string          `yaml:"masked"`
}

// A Statement is one as event has it. It runs unless it says that it does not.
type Statement struct {
	Kind       string   `yaml:"kind"`
	Parent     *int     `yaml:"parent"`
	Within     string   `yaml:"within"`
	Runs       *bool    `yaml:"runs"`
	Writes     []string `yaml:"writes"` // "schema.name" or "name"
	Reads      []string `yaml:"reads"`
	Columns    []string `yaml:"columns"`
	Predicates []string `yaml:"predicates"`
	Functions  []string `yaml:"functions"`
	Operators  []string `yaml:"operators"`
	Types      []string `yaml:"types"`
	Settings   []string `yaml:"settings"`
	Names      []string `yaml:"names"`
	Options    []string `yaml:"options"`
	Scope      string   `yaml:"scope"` // "all", "restricted"
	Opaque     bool     `yaml:"opaque"`
}

// A Field is one as event has it.
type Field struct {
	Name    string   `yaml:"name"`
	Type    string   `yaml:"type"`
	Origins []string `yaml:"origins"`
	Lineage string   `yaml:"lineage"` // "exact", "derived", "filtered", "clean"
}

// An Outcome is one as event has it.
type Outcome struct {
	Status string `yaml:"status"`
	Tag    string `yaml:"tag"`
	Code   string `yaml:"code"`
	Rows   int64  `yaml:"rows"`
}

// A Verdict is what is expected of one. What it leaves out may be anything.
type Verdict struct {
	Action string            `yaml:"action"`
	Rule   *string           `yaml:"rule"`
	Reason *string           `yaml:"reason"`
	Labels map[string]Values `yaml:"labels"`
}

// UnmarshalYAML reads an action alone, or all of a verdict.
func (v *Verdict) UnmarshalYAML(decode func(any) error) error {
	if decode(&v.Action) == nil {
		return nil
	}
	type verdict Verdict
	return decode((*verdict)(v))
}

// A Note is what is expected of one. What it leaves out may be anything.
type Note struct {
	Text   *string           `yaml:"text"`
	Labels map[string]Values `yaml:"labels"`
}

// Values are the values of one key: a text, or a list of texts.
type Values []string

// UnmarshalYAML reads either.
func (v *Values) UnmarshalYAML(decode func(any) error) error {
	var one string
	if decode(&one) == nil {
		*v = Values{one}
		return nil
	}
	return decode((*[]string)(v))
}

// Parse reads a file of cases. Unknown keys are errors.
func Parse(b []byte) (*File, error) {
	var f File
	d := yaml.NewDecoder(bytes.NewReader(b), yaml.Strict())
	if err := d.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read cases: %w", err)
	}
	return &f, f.validate()
}

// ParseLines reads cases as JSON, one a line. Each has a configuration and a session
// of its own.
func ParseLines(b []byte) (*File, error) {
	var f File
	n := 0
	for line := range bytes.Lines(b) {
		n++
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		var c Case
		err := yaml.UnmarshalWithOptions(line, &c, yaml.Strict())
		if err == nil && !json.Valid(line) {
			err = errors.New("not JSON")
		}
		if err != nil {
			return nil, fmt.Errorf("read cases: line %d: %w", n, err)
		}
		f.Cases = append(f.Cases, c)
	}
	return &f, f.validate()
}

func (f *File) validate() error {
	var errs []error
	for i := range f.Cases {
		if err := f.Cases[i].validate(); err != nil {
			errs = append(errs, fmt.Errorf("case %d, %q: %w", i+1, f.Cases[i].Name, err))
		}
	}
	if len(f.Cases) == 0 {
		errs = append(errs, errors.New("there are no cases"))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("read cases: %w", err)
	}
	return nil
}

func (c *Case) validate() error {
	kinds := 0
	for _, is := range []bool{c.Request != nil, c.Upload == nil && c.Fields != nil, c.Upload != nil, c.Outcome != nil, c.Closes} {
		if is {
			kinds++
		}
	}
	judged, treated, noted := c.Request != nil || c.Upload != nil, c.Upload == nil && c.Fields != nil, c.Outcome != nil || c.Closes
	switch {
	case kinds > 1 || kinds == 0 && c.Fails == nil && c.State == nil:
		return errors.New("needs one of request, fields, upload, outcome and closes; or state alone, or fails, for a configuration that is refused")
	case c.Fails != nil && (c.Verdict != nil || c.Treatments != nil || c.Cells != nil || c.Note != nil):
		return errors.New("what fails has no other result")
	case c.Fails != nil:
	case judged && c.Verdict == nil:
		return errors.New("needs a verdict")
	case treated && c.Treatments == nil && c.Cells == nil:
		return errors.New("needs treatments or cells")
	case !judged && c.Verdict != nil, !treated && (c.Treatments != nil || c.Cells != nil), !noted && c.Note != nil:
		return errors.New("expects what it cannot have")
	}
	if c.Verdict != nil && !slices.Contains([]string{"block", "hold", "allow"}, c.Verdict.Action) {
		return fmt.Errorf("verdict: action %q is none of block, hold and allow", c.Verdict.Action)
	}
	if c.Request != nil {
		if c.Request.SQL != "" && (c.Request.Payload != "" || c.Request.Statements != nil) {
			return errors.New("a request has sql, or payload and statements")
		}
		for _, st := range c.Request.Statements {
			if _, known := scopes[st.Scope]; !known {
				return fmt.Errorf("scope %q is neither all nor restricted", st.Scope)
			}
		}
	}
	for _, f := range c.Fields {
		if _, known := lineages[f.Lineage]; !known {
			return fmt.Errorf("lineage %q is none of exact, derived, filtered and clean", f.Lineage)
		}
	}
	for _, row := range slices.Concat(c.Rows, c.Upload, c.Cells) {
		if len(row) != len(c.Fields) {
			return fmt.Errorf("a row of %d cells for %d fields", len(row), len(c.Fields))
		}
	}
	return nil
}

// A Result is what became of a case: Err is nil if the plugin passes it.
type Result struct {
	Name string
	Err  error
}

// Run runs all cases with a module, and returns a result for each. The error is
// for what is no case's fault.
func (f *File) Run(ctx context.Context, h *host.Host, wasm []byte) ([]Result, error) {
	plugins := make(map[string]*loaded)
	defer func() {
		for _, l := range plugins {
			if l.plugin != nil {
				_ = l.plugin.Close(ctx)
			}
		}
	}()
	var results []Result
	for i := range f.Cases {
		c := &f.Cases[i]
		settings := f.Config
		if c.Config != nil {
			settings = *c.Config
		}
		config, err := json.Marshal(settings)
		if err != nil {
			return nil, fmt.Errorf("case %d, %q: configuration: %w", i+1, c.Name, err)
		}
		if clock := cmp.Or(c.Clock, f.Clock); clock != nil {
			f.now = *clock
		} else {
			f.now = time.Unix(0, 0)
		}
		l := plugins[string(config)]
		if l == nil {
			l = new(loaded)
			l.plugin, l.err = h.Load(ctx, "plugin", wasm, config)
			plugins[string(config)] = l
		}
		results = append(results, Result{c.Name, c.run(ctx, f, l, cmp.Or(c.Session, &f.Session))})
	}
	return results, nil
}

// A loaded plugin is one with a configuration, or why there is none.
type loaded struct {
	plugin *host.Plugin
	err    error
}

func (c *Case) run(ctx context.Context, f *File, l *loaded, session *Session) error {
	err := l.err
	if err == nil {
		err = c.ask(ctx, f, l.plugin, session.event())
	}
	var unexpected *unexpectedError
	switch {
	case c.Fails == nil || errors.As(err, &unexpected):
		return err
	case err == nil:
		return errors.New("does not fail")
	case !strings.Contains(err.Error(), *c.Fails):
		return fmt.Errorf("fails otherwise: %w", err)
	}
	return nil
}

// An unexpectedError is a result other than the expected one.
type unexpectedError struct{ message string }

func (e *unexpectedError) Error() string { return e.message }

func unexpected(what string, got, want any) error {
	return &unexpectedError{fmt.Sprintf("%s: got %v, want %v", what, got, want)}
}

// errLacks is what a plugin that has not the hook fails with.
var errLacks = errors.New("the plugin has no hook for this")

func (c *Case) ask(ctx context.Context, f *File, p *host.Plugin, s *event.Session) error {
	at, err := p.Open(ctx, s)
	if err != nil {
		return err
	}
	if got := string(at.State()); c.State != nil && got != *c.State {
		return unexpected("state", strconv.Quote(got), strconv.Quote(*c.State))
	}
	roles := at.Roles()
	switch {
	case c.Request != nil:
		if roles.Judge == nil {
			return errLacks
		}
		r := c.Request.event()
		if c.Request.SQL != "" {
			if f.Statements == nil {
				return errors.New("nobody here reads SQL")
			}
			r.Payload = []byte(c.Request.SQL)
			if r.Statements, err = f.Statements(ctx, c.Request.SQL); err != nil {
				return err
			}
		}
		v, err := roles.Judge.Judge(ctx, s, r)
		return errors.Join(err, c.Verdict.compare(v, err))
	case c.Upload != nil:
		if roles.Uploads == nil {
			return errLacks
		}
		head := c.head()
		v, err := roles.Uploads.JudgeUpload(ctx, s, head, rowsOf(head.Fields, c.Upload))
		return errors.Join(err, c.Verdict.compare(v, err))
	case c.Outcome != nil:
		if roles.Ender == nil {
			return errLacks
		}
		n, err := roles.Ender.End(ctx, s, &event.Outcome{Status: c.Outcome.Status, Tag: c.Outcome.Tag, Code: c.Outcome.Code, Rows: c.Outcome.Rows})
		return errors.Join(err, c.Note.compare(n, err))
	case c.Closes:
		n, err := at.Close(ctx)
		return errors.Join(err, c.Note.compare(n, err))
	case c.Fields != nil:
		if roles.Masker == nil {
			return errLacks
		}
		return c.treat(ctx, roles.Masker, at, s)
	}
	return nil // about the configuration only
}

func (c *Case) treat(ctx context.Context, m pipeline.Masker, p pipeline.Plugin, s *event.Session) error {
	head := c.head()
	ts, err := m.Treat(ctx, s, head)
	if err != nil {
		return err
	}
	if c.Treatments != nil {
		var got []string
		for i := range ts {
			got = append(got, ts[i].String())
		}
		if !slices.Equal(got, c.Treatments) {
			return unexpected("treatments", got, c.Treatments)
		}
	}
	if c.Cells == nil && len(c.Rows) == 0 {
		return nil
	}
	rows, err := Mask(ctx, p, s, head, c.Rows)
	if err != nil {
		return err
	}
	if c.Cells == nil {
		return nil
	}
	if got, want := table(rows), table(c.Cells); got != want {
		return unexpected("cells", got, want)
	}
	return nil
}

// Mask returns what the pipeline makes of rows with one plugin, as texts; nil is
// NULL. Hashes and fakes are by a key of zeros.
func Mask(ctx context.Context, p pipeline.Plugin, s *event.Session, head *event.Head, rows [][]*string) ([][]*string, error) {
	terms := pipeline.Terms{Session: s, Plugins: []pipeline.Plugin{p}}
	session, err := pipeline.New(pipeline.Config{Terms: terms, Recorder: unrecorded{}, Key: make([]byte, 32)})
	if err != nil {
		return nil, err
	}
	x := session.Refuse(ctx, &event.Request{}, event.Verdict{})
	if err := x.Head(ctx, head); err != nil {
		return nil, err
	}
	columns, fields := x.Treated()
	var r event.Rows
	r.Reset(fields)
	for _, row := range rows {
		cells := r.Grow()
		for k, j := range columns {
			cells[k] = bytesOf(row[j])
		}
	}
	if err := x.Rows(ctx, &r); err != nil {
		return nil, err
	}
	out := make([][]*string, len(rows))
	for i, row := range rows {
		out[i] = slices.Clone(row)
		for k, j := range columns {
			out[i][j] = nil
			if v := r.Cell(i, k); v != nil {
				text := string(v)
				out[i][j] = &text
			}
		}
	}
	return out, nil
}

// unrecorded records nothing.
type unrecorded struct{}

func (unrecorded) Append(event.Frame, ...[]byte) error { return nil }
func (unrecorded) Commit(context.Context) error        { return nil }

func (v *Verdict) compare(got event.Verdict, err error) error {
	switch {
	case v == nil, err != nil:
	case got.Action.String() != v.Action:
		return unexpected("action", fmt.Sprintf("%s (rule %q: %s)", got.Action, got.Rule, got.Reason), v.Action)
	case v.Rule != nil && got.Rule != *v.Rule:
		return unexpected("rule", got.Rule, *v.Rule)
	case v.Reason != nil && got.Reason != *v.Reason:
		return unexpected("reason", got.Reason, *v.Reason)
	case v.Labels != nil:
		return compareLabels(got.Labels, v.Labels)
	}
	return nil
}

func (n *Note) compare(got *event.Note, err error) error {
	switch {
	case err != nil:
	case n == nil && got != nil:
		return unexpected("note", got.Text, "none")
	case n == nil:
	case got == nil:
		return unexpected("note", "none", "one")
	case n.Text != nil && got.Text != *n.Text:
		return unexpected("note", got.Text, *n.Text)
	case n.Labels != nil:
		return compareLabels(got.Labels, n.Labels)
	}
	return nil
}

func compareLabels(got []event.Attr, want map[string]Values) error {
	byKey := func(a, b event.Attr) int { return cmp.Compare(a.Key, b.Key) }
	sorted := slices.SortedStableFunc(slices.Values(got), byKey)
	if w := attrs(want); !slices.Equal(sorted, w) {
		return unexpected("labels", sorted, w)
	}
	return nil
}

// attrs returns attributes in the order of their keys.
func attrs(m map[string]Values) (as []event.Attr) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		for _, v := range m[k] {
			as = append(as, event.Attr{Key: k, Value: v})
		}
	}
	return as
}

func (s *Session) event() *event.Session {
	p := &s.Principal
	return &event.Session{
		ID: s.ID, Gate: s.Gate, Protocol: cmp.Or(s.Protocol, "postgres"), Resource: s.Resource, Client: s.Client, Attrs: attrs(s.Attrs),
		Principal: event.Principal{Issuer: p.Issuer, Subject: p.Subject, Name: p.Name, Groups: p.Groups},
	}
}

var (
	scopes   = map[string]event.Scope{"": event.ScopeNone, "all": event.ScopeAll, "restricted": event.ScopeRestricted}
	lineages = map[string]event.Lineage{
		"": event.LineageUnknown, "exact": event.LineageExact, "derived": event.LineageDerived, "filtered": event.LineageFiltered, "clean": event.LineageClean,
	}
)

func (r *Request) event() *event.Request {
	e := &event.Request{
		Operation: cmp.Or(r.Operation, "query"), Payload: []byte(r.Payload), Labels: attrs(r.Labels), Attrs: attrs(r.Attrs), Masked: r.Masked,
	}
	for _, v := range r.Params {
		e.Params = append(e.Params, bytesOf(v))
	}
	for _, st := range r.Statements {
		x := event.Statement{
			Kind: st.Kind, Parent: -1, Within: st.Within, Runs: st.Runs == nil || *st.Runs, Writes: objects(st.Writes), Reads: objects(st.Reads),
			Columns: st.Columns, Predicates: st.Predicates, Functions: st.Functions, Operators: st.Operators, Types: st.Types,
			Settings: st.Settings, Names: st.Names, Options: st.Options, Scope: scopes[st.Scope], Opaque: st.Opaque,
		}
		if st.Parent != nil {
			x.Parent = *st.Parent
		}
		e.Statements = append(e.Statements, x)
	}
	return e
}

func objects(names []string) (os []event.Object) {
	for _, n := range names {
		schema, name, qualified := strings.Cut(n, ".")
		if !qualified {
			schema, name = "", n
		}
		os = append(os, event.Object{Schema: schema, Name: name})
	}
	return os
}

func (c *Case) head() *event.Head {
	h := new(event.Head)
	for _, f := range c.Fields {
		h.Fields = append(h.Fields, event.Field{Name: f.Name, Type: cmp.Or(f.Type, "text"), Origins: f.Origins, Lineage: lineages[f.Lineage]})
	}
	return h
}

func rowsOf(fields []event.Field, rows [][]*string) *event.Rows {
	r := new(event.Rows)
	r.Reset(fields)
	for _, row := range rows {
		cells := r.Grow()
		for j, v := range row {
			cells[j] = bytesOf(v)
		}
	}
	return r
}

func bytesOf(v *string) []byte {
	if v == nil {
		return nil
	}
	return append([]byte{}, *v...)
}

func table(rows [][]*string) string {
	b, err := json.Marshal(rows)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
