// Package cases tries a plugin out on cases: what is asked of it or returned
// through it, and what it must make of that. A plugin runs as it does in the gate,
// in the host and in the pipeline that every protocol calls; no gate and no
// database take part.
//
// README.md describes the files.
package cases

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"

	"gatehouse/core/event"
)

// A File is a set of cases for one plugin.
type File struct {
	// Config and Session are those of cases that have none of their own.
	Config  map[string]any `yaml:"config"`
	Session *Session       `yaml:"session"`
	Cases   []Case         `yaml:"cases"`
}

// A Case is one thing that a plugin is asked, with the answer that it must give.
// What a case does not state is not compared.
type Case struct {
	Name    string         `yaml:"name"`
	Config  map[string]any `yaml:"config"`
	Session *Session       `yaml:"session"`

	// Request is judged, and Verdict is what comes of it.
	Request *Request `yaml:"request"`
	Verdict *Verdict `yaml:"verdict"`

	// Fields and Rows are a result. Treatments is what the plugin says of the
	// fields, and Cells are the rows as the client gets them. With Upload they
	// are rows that a client sends, and Verdict is what comes of them.
	Fields     []Field     `yaml:"fields"`
	Rows       [][]*string `yaml:"rows"`
	Treatments []string    `yaml:"treatments"`
	Cells      [][]*string `yaml:"cells"`
	Upload     bool        `yaml:"upload"`

	// Outcome ends a response, and Note is what the plugin notes of it.
	Outcome *Outcome `yaml:"outcome"`
	Note    *Note    `yaml:"note"`

	// State is what the plugin keeps for the session.
	State *string `yaml:"state"`

	// Refuses is a part of the message with which the configuration is
	// refused.
	Refuses string `yaml:"refuses"`
}

// A Session is who asks, and of what.
type Session struct {
	Protocol string            `yaml:"protocol"`
	Resource string            `yaml:"resource"`
	User     string            `yaml:"user"`
	Groups   []string          `yaml:"groups"`
	Attrs    map[string]string `yaml:"attrs"`
}

// A Request is what a client asks for. Its statements are those that the gate
// reads in SQL, or Statements.
type Request struct {
	Operation  string            `yaml:"operation"`
	SQL        string            `yaml:"sql"`
	Text       string            `yaml:"text"`
	Params     []*string         `yaml:"params"`
	Statements []Statement       `yaml:"statements"`
	Labels     map[string]string `yaml:"labels"`
	Attrs      map[string]string `yaml:"attrs"`
}

// A Statement is one thing that a request does.
type Statement struct {
	Kind       string   `yaml:"kind"`
	Parent     *int     `yaml:"parent"`
	Within     string   `yaml:"within"`
	Runs       *bool    `yaml:"runs"`
	Writes     []string `yaml:"writes"`
	Reads      []string `yaml:"reads"`
	Columns    []string `yaml:"columns"`
	Predicates []string `yaml:"predicates"`
	Functions  []string `yaml:"functions"`
	Operators  []string `yaml:"operators"`
	Types      []string `yaml:"types"`
	Settings   []string `yaml:"settings"`
	Names      []string `yaml:"names"`
	Options    []string `yaml:"options"`
	Scope      string   `yaml:"scope"`
	Opaque     bool     `yaml:"opaque"`
}

// A Field is one of a result.
type Field struct {
	Name    string   `yaml:"name"`
	Type    string   `yaml:"type"`
	Origins []string `yaml:"origins"`
	Lineage string   `yaml:"lineage"`
}

// A Verdict is what must become of a request. In a file it may be an action
// alone.
type Verdict struct {
	Action string            `yaml:"action"`
	Rule   *string           `yaml:"rule"`
	Reason *string           `yaml:"reason"`
	Labels map[string]string `yaml:"labels"`
}

// UnmarshalYAML reads an action, or all of a verdict.
func (v *Verdict) UnmarshalYAML(b []byte) error {
	if yaml.Unmarshal(b, &v.Action) == nil {
		return nil
	}
	type verdict Verdict
	return yaml.UnmarshalWithOptions(b, (*verdict)(v), yaml.Strict())
}

// An Outcome is how a response ended.
type Outcome struct {
	Status string `yaml:"status"`
	Tag    string `yaml:"tag"`
	Code   string `yaml:"code"`
	Rows   int64  `yaml:"rows"`
}

// A Note is a plugin's remark. In a file it may be a text alone.
type Note struct {
	Text   *string           `yaml:"text"`
	Labels map[string]string `yaml:"labels"`
}

// UnmarshalYAML reads a text, or all of a note.
func (n *Note) UnmarshalYAML(b []byte) error {
	var text string
	if yaml.Unmarshal(b, &text) == nil {
		n.Text = &text
		return nil
	}
	type note Note
	return yaml.UnmarshalWithOptions(b, (*note)(n), yaml.Strict())
}

// MaxFile is the size of a file, in bytes.
const MaxFile = 64 << 20

// Read reads a file: YAML, or with a name that ends in .jsonl one case a line. The
// error names the place of what is wrong.
func Read(path string) (*File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > MaxFile {
		return nil, fmt.Errorf("%s has %d bytes, more than %d", path, info.Size(), MaxFile)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f := new(File)
	if strings.EqualFold(filepath.Ext(path), ".jsonl") {
		err = f.readLines(b)
	} else {
		err = yaml.UnmarshalWithOptions(b, f, yaml.Strict())
	}
	if err == nil {
		err = f.check()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

func (f *File) readLines(b []byte) error {
	n := 0
	for line := range bytes.Lines(b) {
		n++
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if !json.Valid(line) {
			return fmt.Errorf("line %d is no JSON", n)
		}
		var c Case
		if err := yaml.UnmarshalWithOptions(line, &c, yaml.Strict()); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if c.Name == "" {
			c.Name = fmt.Sprintf("line %d", n)
		}
		f.Cases = append(f.Cases, c)
	}
	return nil
}

func (f *File) check() error {
	if len(f.Cases) == 0 {
		return errors.New("there are no cases")
	}
	var wrong []error
	for i := range f.Cases {
		c := &f.Cases[i]
		if c.Name == "" {
			c.Name = fmt.Sprintf("case %d", i+1)
		}
		if err := c.check(); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", c.Name, err))
		}
	}
	return errors.Join(wrong...)
}

func (c *Case) check() error {
	result := c.Fields != nil && !c.Upload
	switch {
	case c.Request == nil && c.Fields == nil && c.Outcome == nil && c.State == nil && c.Refuses == "":
		return errors.New("it has none of request, fields, outcome, state and refuses")
	case c.Request != nil && c.Fields != nil:
		return errors.New("it has both a request and fields: make two cases of it")
	case c.Request != nil && c.Verdict == nil:
		return errors.New("it has a request and no verdict")
	case c.Upload && c.Verdict == nil:
		return errors.New("it has an upload and no verdict")
	case c.Request == nil && !c.Upload && c.Verdict != nil:
		return errors.New("it has a verdict and no request")
	case result && c.Treatments == nil && c.Cells == nil:
		return errors.New("it has fields, and neither treatments nor cells")
	case !result && (c.Treatments != nil || c.Cells != nil):
		return errors.New("it has treatments or cells, and no fields")
	case c.Outcome != nil && c.Note == nil || c.Outcome == nil && c.Note != nil:
		return errors.New("outcome and note go together")
	}
	for i, row := range c.Rows {
		if len(row) != len(c.Fields) {
			return fmt.Errorf("row %d has %d values for %d fields", i+1, len(row), len(c.Fields))
		}
	}
	_, _, err := c.event()
	return err
}

// event returns the request and the head of c as the pipeline has them.
func (c *Case) event() (*event.Request, *event.Head, error) {
	r, err := c.Request.event()
	if err != nil {
		return nil, nil, err
	}
	h := new(event.Head)
	for _, f := range c.Fields {
		lineage, err := choose("lineage", f.Lineage, "unknown", "exact", "derived", "filtered", "clean")
		if err != nil {
			return nil, nil, err
		}
		if f.Lineage == "" && len(f.Origins) > 0 {
			lineage = int(event.LineageExact)
		}
		if f.Type == "" {
			f.Type = "text"
		}
		h.Fields = append(h.Fields, event.Field{Name: f.Name, Type: f.Type, Origins: f.Origins, Lineage: event.Lineage(lineage)})
	}
	return r, h, nil
}

func (r *Request) event() (*event.Request, error) {
	if r == nil {
		return nil, nil
	}
	if r.SQL != "" && (r.Text != "" || r.Statements != nil) {
		return nil, errors.New("the request has sql, of which the gate reads text and statements itself")
	}
	out := &event.Request{Operation: r.Operation, Payload: []byte(r.SQL + r.Text), Labels: attrs(r.Labels), Attrs: attrs(r.Attrs)}
	if out.Operation == "" {
		out.Operation = "query"
	}
	for _, p := range r.Params {
		out.Params = append(out.Params, value(p))
	}
	for i, s := range r.Statements {
		st := event.Statement{
			Kind: s.Kind, Parent: -1, Within: s.Within, Runs: true, Writes: objects(s.Writes), Reads: objects(s.Reads),
			Columns: s.Columns, Predicates: s.Predicates, Functions: s.Functions, Operators: s.Operators, Types: s.Types,
			Settings: s.Settings, Names: s.Names, Options: s.Options, Opaque: s.Opaque,
		}
		if s.Parent != nil {
			if st.Parent = *s.Parent; st.Parent < 0 || st.Parent >= i {
				return nil, fmt.Errorf("statement %d is in statement %d, which does not come before it", i, st.Parent)
			}
		}
		if s.Runs != nil {
			st.Runs = *s.Runs
		}
		scope, err := choose("scope", s.Scope, "none", "all", "restricted")
		if err != nil {
			return nil, err
		}
		st.Scope = event.Scope(scope)
		out.Statements = append(out.Statements, st)
	}
	return out, nil
}

func (s *Session) event() *event.Session {
	if s == nil {
		s = new(Session)
	}
	out := &event.Session{
		ID: "case", Gate: "case", Protocol: s.Protocol, Resource: s.Resource, Attrs: attrs(s.Attrs),
		Principal: event.Principal{Issuer: "case", Subject: s.User, Name: s.User, Groups: s.Groups},
	}
	if out.Protocol == "" {
		out.Protocol = "postgres"
	}
	return out
}

// choose returns the index of a word, 0 for none.
func choose(what, word string, words ...string) (int, error) {
	for i, w := range words {
		if word == w {
			return i, nil
		}
	}
	if word == "" {
		return 0, nil
	}
	return 0, fmt.Errorf("%s %q is none of %s", what, word, strings.Join(words, ", "))
}

func value(s *string) []byte {
	if s == nil {
		return nil
	}
	return []byte(*s)
}

func objects(names []string) (all []event.Object) {
	for _, n := range names {
		schema, name, has := strings.Cut(n, ".")
		if !has {
			schema, name = "", n
		}
		all = append(all, event.Object{Schema: schema, Name: name})
	}
	return all
}
