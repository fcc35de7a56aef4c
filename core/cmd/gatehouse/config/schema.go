package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"

	generate "github.com/invopop/jsonschema"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// Schema returns the configuration's JSON Schema. With source, the directory
// of this package's source, its doc comments are the schema's descriptions.
func Schema(source string) ([]byte, error) {
	r := &generate.Reflector{Anonymous: true, ExpandedStruct: true, RequiredFromJSONSchemaTags: true, Mapper: written}
	if source != "" {
		if err := r.AddGoComments("gatehouse/core/cmd/gatehouse/config", source, generate.WithFullComment()); err != nil {
			return nil, fmt.Errorf("read doc comments: %w", err)
		}
		for name, text := range r.CommentMap {
			r.CommentMap[name] = strings.Join(strings.Fields(text), " ")
		}
	}
	s := r.Reflect(&Config{})
	s.Title = "Gatehouse configuration"
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode schema: %w", err)
	}
	return append(b, '\n'), nil
}

// written describes the types that have a written form of their own.
func written(t reflect.Type) *generate.Schema {
	switch t {
	case reflect.TypeFor[Duration]():
		return &generate.Schema{Type: "string", Pattern: durationPattern}
	case reflect.TypeFor[Size]():
		return &generate.Schema{Type: "string", Pattern: sizePattern}
	case reflect.TypeFor[Treatment]():
		return &generate.Schema{Type: "string", Pattern: treatmentPattern}
	case reflect.TypeFor[Secret]():
		return &generate.Schema{Type: "string", Pattern: secretPattern}
	}
	return nil
}

const schemaName = "gatehouse.schema.json"

var compiled = sync.OnceValues(func() (*jsonschema.Schema, error) {
	text, err := Schema("")
	if err != nil {
		return nil, err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(schemaName, doc); err != nil {
		return nil, err
	}
	return c.Compile(schemaName)
})

// conform reports where a configuration differs from the schema. It returns the
// configuration with a value of the right kind in the place of each that differs,
// or without it, so that the rest can be looked at further.
func conform(r report, tree any) (any, error) {
	schema, err := compiled()
	if err != nil {
		return nil, fmt.Errorf("compile schema: %w", err)
	}
	if wrong, ok := schema.Validate(tree).(*jsonschema.ValidationError); ok {
		tree = explain(r, schema, tree, wrong)
	}
	return tree, nil
}

// explain reports e's innermost causes, and returns tree without what they are
// about.
func explain(r report, root *jsonschema.Schema, tree any, e *jsonschema.ValidationError) any {
	if len(e.Causes) > 0 {
		for _, cause := range e.Causes {
			tree = explain(r, root, tree, cause)
		}
		return tree
	}
	place := e.InstanceLocation
	r = r.in(place...)
	schema := below(root, place)
	switch k := e.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		sort.Strings(k.Properties)
		for _, name := range k.Properties {
			r.in(name).problem("unknown key; known are %s", strings.Join(slices.Sorted(maps.Keys(schema.Properties)), ", "))
		}
		return tree
	case *kind.Required:
		for _, name := range k.Missing {
			r.missing(name)
		}
		return tree
	case *kind.Type:
		if schema.Pattern != nil && writtenAs[schema.Pattern.String()] != "" {
			r.problem("is %s; %s", article(k.Got), writtenAs[schema.Pattern.String()])
		} else {
			r.problem("is %s, must be %s", article(k.Got), article(k.Want[0]))
		}
		return without(tree, place, k.Want[0])
	case *kind.Pattern:
		switch how := writtenAs[k.Want]; {
		case k.Want == secretPattern: // the value may be the secret itself: it is not repeated
			r.problem("%s, never the value itself", how)
		case how != "":
			r.problem("%q is wrong; %s", k.Got, how)
		default:
			r.problem("%q does not match %s", k.Got, k.Want)
		}
	case *kind.Enum:
		r.problem("must be %s", oneOf(k.Want))
	case *kind.Minimum:
		r.problem("must be at least %s", k.Want.RatString())
	case *kind.Maximum:
		r.problem("must be at most %s", k.Want.RatString())
	case *kind.MinItems:
		r.problem("has %d entries, at least %d are needed", k.Got, k.Want)
	case *kind.MinLength:
		r.problem("has %d characters, at least %d are needed", k.Got, k.Want)
	default:
		r.problem("%s", k.LocalizedString(message.NewPrinter(language.English)))
	}
	var want string
	if schema.Types != nil {
		want = schema.Types.ToStrings()[0]
	}
	return without(tree, place, want)
}

// writtenAs says, by patterns of the schema, what their values look like.
var writtenAs = map[string]string{
	gatePattern:      "write 1 to 63 of a-z, 0-9, . and -, a letter or a digit first",
	digestPattern:    "write 64 digits of 0-9 and a-f, as sha256sum prints them",
	secretPattern:    "a secret is a reference, env:NAME or file:PATH",
	durationPattern:  "write a duration as 30s, 5m or 1h30m",
	treatmentPattern: `write a treatment: "null", in quotes, redact, hash, fake or keep_last:N`,
	sizePattern:      "write a size as 64KiB, 16MiB or 1GiB",
}

// below returns the schema of what is at place.
func below(s *jsonschema.Schema, place []string) *jsonschema.Schema {
	for _, step := range append([]string{""}, place...) {
		if step != "" {
			switch next, named := s.Properties[step]; {
			case named:
				s = next
			case s.Items2020 != nil:
				s = s.Items2020
			default:
				s, _ = s.AdditionalProperties.(*jsonschema.Schema)
			}
		}
		for s != nil && s.Ref != nil {
			s = s.Ref
		}
		if s == nil {
			return &jsonschema.Schema{}
		}
	}
	return s
}

// without returns tree without the value at place, which should be of the kind
// that is wanted. In a list an empty one stays, so that others do not move up, and
// so do an empty object and list.
func without(tree any, place []string, want string) any {
	if len(place) == 0 {
		return map[string]any{"object": map[string]any{}, "array": []any{}, "string": "", "integer": 0, "boolean": false}[want]
	}
	step, rest := place[0], place[1:]
	switch parent := tree.(type) {
	case map[string]any:
		if len(rest) == 0 && want != "object" && want != "array" {
			delete(parent, step)
		} else {
			parent[step] = without(parent[step], rest, want)
		}
	case []any:
		if i, err := strconv.Atoi(step); err == nil && i < len(parent) {
			parent[i] = without(parent[i], rest, want)
		}
	}
	return tree
}

// oneOf lists what a value may be.
func oneOf(values []any) string {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = fmt.Sprint(v)
	}
	if n := len(words) - 1; n > 0 {
		return strings.Join(words[:n], ", ") + " or " + words[n]
	}
	return strings.Join(words, "")
}

func article(kind string) string {
	switch kind {
	case "array":
		return "a list"
	case "object":
		return "a mapping"
	case "integer":
		return "an integer"
	case "null":
		return "empty"
	}
	return "a " + kind
}
