package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"sort"
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

// conform returns where a configuration, as JSON, differs from the schema.
func conform(doc *document, text []byte) (Problems, error) {
	schema, err := compiled()
	if err != nil {
		return nil, fmt.Errorf("compile schema: %w", err)
	}
	tree, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("decode configuration: %w", err)
	}
	var found Problems
	if wrong, ok := schema.Validate(tree).(*jsonschema.ValidationError); ok {
		explain(report{doc: doc, found: &found}, wrong)
	}
	return found, nil
}

// explain reports e's innermost causes.
func explain(r report, e *jsonschema.ValidationError) {
	if len(e.Causes) > 0 {
		for _, cause := range e.Causes {
			explain(r, cause)
		}
		return
	}
	r = r.in(e.InstanceLocation...)
	switch k := e.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		sort.Strings(k.Properties)
		for _, name := range k.Properties {
			r.in(name).problem("unknown key")
		}
	case *kind.Required:
		for _, name := range k.Missing {
			r.problem("%s is missing", name)
		}
	case *kind.Type:
		r.problem("is %s, must be %s", article(k.Got), article(k.Want[0]))
	case *kind.Pattern:
		r.problem("%s", patternMessage(k))
	default:
		r.problem("%s", k.LocalizedString(message.NewPrinter(language.English)))
	}
}

func patternMessage(k *kind.Pattern) string {
	switch k.Want {
	case secretPattern:
		// The value may be the secret itself: it is not repeated.
		return "a secret is a reference, env:NAME or file:PATH, never the value itself"
	case durationPattern:
		return fmt.Sprintf("%q is no duration; write it as 30s, 5m or 1h30m", k.Got)
	case treatmentPattern:
		return fmt.Sprintf("%q is no treatment; write null, in quotes, redact, hash, fake or keep_last:N", k.Got)
	case sizePattern:
		return fmt.Sprintf("%q is no size; write it as 64KiB, 16MiB or 1GiB", k.Got)
	}
	return fmt.Sprintf("%q does not match %s", k.Got, k.Want)
}

func article(kind string) string {
	switch kind {
	case "array", "object", "integer":
		return "an " + kind
	case "null":
		return "empty"
	}
	return "a " + kind
}
