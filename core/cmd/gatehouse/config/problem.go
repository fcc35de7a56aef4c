package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// A Problem is what is wrong at one place of a configuration file.
type Problem struct {
	File         string
	Line, Column int    // from 1
	Path         string // "resources.orders.port"
	Message      string // never holds a secret
}

// Error returns "file:line:column: path: message".
func (p Problem) Error() string {
	place := fmt.Sprintf("%s:%d:%d: ", p.File, p.Line, p.Column)
	if p.Path != "" {
		place += p.Path + ": "
	}
	return place + p.Message
}

// Problems are all that is wrong with a configuration, in the order of the
// file.
type Problems []Problem

// Error returns one line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Sorted returns ps, sorted by their places.
func (ps Problems) Sorted() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return ps
}

// Findings are problems with their places. The first of them may be known to have
// others follow from them.
type findings struct {
	problems Problems
	places   [][]string
	known    int
}

// A report collects problems below one place.
type report struct {
	doc   *document
	path  []string
	found *findings
}

// in returns a report for a place below r's.
func (r report) in(path ...string) report {
	r.path = slices.Concat(r.path, path)
	return r
}

func (r report) item(i int) report { return r.in(strconv.Itoa(i)) }

// problem reports what is wrong at r's place, unless that may be so only for a
// known problem there, below it or above it.
func (r report) problem(format string, args ...any) {
	for _, place := range r.found.places[:r.found.known] {
		if n := min(len(place), len(r.path)); slices.Equal(place[:n], r.path[:n]) {
			return
		}
	}
	r.found.problems = append(r.found.problems, r.doc.at(r.path, format, args...))
	r.found.places = append(r.found.places, r.path)
}

// missing reports that a key is not there.
func (r report) missing(name string) {
	r.found.problems = append(r.found.problems, r.doc.at(r.path, "%s is missing", name))
	r.found.places = append(r.found.places, r.in(name).path)
}

// A document is a YAML file that knows where everything stands.
type document struct {
	file string
	body ast.Node
}

func parseDocument(file string, b []byte) (*document, error) {
	d := &document{file: file}
	parsed, err := parser.ParseBytes(b, 0)
	if err != nil {
		return nil, d.syntax(err)
	}
	if len(parsed.Docs) != 1 || parsed.Docs[0].Body == nil {
		return nil, Problems{{File: file, Line: 1, Column: 1, Message: "one YAML document is needed"}}
	}
	d.body = parsed.Docs[0].Body
	return d, nil
}

// syntax explains an error of the YAML parser.
func (d *document) syntax(err error) error {
	p := Problem{File: d.file, Line: 1, Column: 1, Message: err.Error()}
	var at yaml.Error
	if errors.As(err, &at) {
		p.Message = at.GetMessage()
		if t := at.GetToken(); t != nil {
			p.Line, p.Column = t.Position.Line, t.Position.Column
		}
	}
	return Problems{p}
}

// at returns a problem at path, or at the nearest place above it that the file
// has.
func (d *document) at(path []string, format string, args ...any) Problem {
	p := Problem{File: d.file, Line: 1, Column: 1, Path: strings.Join(path, "."), Message: fmt.Sprintf(format, args...)}
	if t := d.locate(path); t != nil {
		p.Line, p.Column = t.Position.Line, t.Position.Column
	}
	return p
}

// locate returns where the value at path begins; for a mapping or a list under
// a key, where the key does.
func (d *document) locate(path []string) *token.Token {
	node, found := d.body, start(d.body)
	for _, step := range path {
		key, value := child(node, step)
		if value == nil {
			break
		}
		node, found = value, start(value)
		if _, nested := unwrap(value).(ast.ScalarNode); key != nil && !nested {
			found = key.GetToken()
		}
	}
	return found
}

// child returns what is at one step below node. Key is nil in a list.
func child(node ast.Node, step string) (key ast.MapKeyNode, value ast.Node) {
	switch n := unwrap(node).(type) {
	case *ast.MappingNode:
		for _, v := range n.Values {
			if keyText(v.Key) == step {
				return v.Key, v.Value
			}
		}
	case *ast.MappingValueNode:
		if keyText(n.Key) == step {
			return n.Key, n.Value
		}
	case *ast.SequenceNode:
		if i, err := strconv.Atoi(step); err == nil && i < len(n.Values) {
			return nil, n.Values[i]
		}
	}
	return nil, nil
}

func keyText(k ast.MapKeyNode) string {
	if t := k.GetToken(); t != nil {
		return t.Value
	}
	return ""
}

// start returns the first token of node.
func start(node ast.Node) *token.Token {
	switch n := unwrap(node).(type) {
	case *ast.MappingNode:
		if len(n.Values) > 0 && !n.IsFlowStyle {
			return n.Values[0].Key.GetToken()
		}
	case *ast.MappingValueNode:
		return n.Key.GetToken()
	case nil:
		return nil
	}
	return node.GetToken()
}

func unwrap(node ast.Node) ast.Node {
	for {
		switch n := node.(type) {
		case *ast.AnchorNode:
			node = n.Value
		case *ast.TagNode:
			node = n.Value
		default:
			return node
		}
	}
}
