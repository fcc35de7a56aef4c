package host

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"gatehouse/core/detect"
	"gatehouse/plugins/host/fuel"
	"gatehouse/sdk/module"
)

// Limits of schemas and configurations, which may be hostile and dear.
const (
	maxSchema     = 64 << 10
	maxConfig     = 256 << 10
	maxNesting    = 64
	maxSubschemas = 10_000 // with every $ref replaced by what it names
	maxPatterns   = 256
	maxNumber     = 40 // bytes of a number
	maxMistakes   = 20 // that are told
)

// A ConfigError is what is wrong with a configuration at one place.
type ConfigError struct {
	Path    []string // from the configuration's root
	Message string
}

// Error returns "rules.0.name: message".
func (e ConfigError) Error() string {
	if len(e.Path) == 0 {
		return e.Message
	}
	return strings.Join(e.Path, ".") + ": " + e.Message
}

// ConfigErrors are all that is wrong with a configuration by its schema.
type ConfigErrors []ConfigError

// Error returns one line for each of them.
func (es ConfigErrors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = "configuration: " + e.Error()
	}
	return strings.Join(lines, "\n")
}

// schemaOf returns the schema that a module carries, or nil.
func schemaOf(wasm []byte) ([]byte, error) {
	found, err := module.Custom(wasm, module.SchemaSection)
	switch {
	case err != nil:
		return nil, fuel.ErrMalformed
	case len(found) == 0:
		return nil, nil
	case len(found) > 1:
		return nil, fmt.Errorf("section %s is there twice", module.SchemaSection)
	case len(found[0]) > maxSchema:
		return nil, fmt.Errorf("section %s of %d bytes is larger than %d", module.SchemaSection, len(found[0]), maxSchema)
	}
	return found[0], nil
}

// CheckConfig checks a configuration, an object in JSON, by the schema that a module
// carries; nil where it carries none.
func CheckConfig(schema, config []byte) error {
	if len(config) > maxConfig {
		return fmt.Errorf("configuration of %d bytes is larger than %d", len(config), maxConfig)
	}
	tree, err := parseJSON(config)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if _, is := tree.(map[string]any); !is {
		return errors.New("configuration: it must be an object")
	}
	if schema == nil {
		return nil
	}
	compiled, err := compileSchema(schema)
	if err != nil {
		return fmt.Errorf("section %s: %w", module.SchemaSection, err)
	}
	var wrong *jsonschema.ValidationError
	if err := compiled.Validate(tree); errors.As(err, &wrong) {
		return explain(wrong, nil)
	} else if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	return nil
}

// explain adds the innermost causes of e to es.
func explain(e *jsonschema.ValidationError, es ConfigErrors) ConfigErrors {
	for _, cause := range e.Causes {
		es = explain(cause, es)
	}
	if len(e.Causes) == 0 && len(es) < maxMistakes {
		es = append(es, ConfigError{slices.Clone(e.InstanceLocation), clean(e.ErrorKind.LocalizedString(message.NewPrinter(language.English)))})
	}
	return es
}

func compileSchema(text []byte) (*jsonschema.Schema, error) {
	tree, err := parseJSON(text)
	if err != nil {
		return nil, err
	}
	b := schemaBounds{root: tree, sizes: make(map[string]int)}
	if _, err := b.measure("", tree, 0); err != nil {
		return nil, err
	}
	const name = "gatehouse:schema"
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(noLoader{})
	patterns := 0
	c.UseRegexpEngine(func(pattern string) (jsonschema.Regexp, error) {
		if patterns++; patterns > maxPatterns {
			return nil, fmt.Errorf("more than %d patterns", maxPatterns)
		}
		return detect.Compile(pattern)
	})
	if err := c.AddResource(name, tree); err != nil {
		return nil, err
	}
	return c.Compile(name)
}

// noLoader refuses what a schema names outside of itself.
type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("it refers to %s, which is not in it", clean(url))
}

// parseJSON parses one JSON value that is not nested too deep and whose numbers
// are not too long to calculate with.
func parseJSON(b []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	depth := 0
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		switch t := t.(type) {
		case json.Delim:
			if t == '{' || t == '[' {
				depth++
			} else {
				depth--
			}
			if depth > maxNesting {
				return nil, fmt.Errorf("nested deeper than %d", maxNesting)
			}
		case json.Number:
			_, exponent, _ := strings.Cut(strings.ToLower(t.String()), "e")
			if len(t) > maxNumber || len(exponent) > 4 {
				return nil, errors.New("a number is too long")
			}
		}
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(b))
}

// schemaBounds measures what a schema grows to.
type schemaBounds struct {
	root  any
	sizes map[string]int // of what is at a JSON pointer; -1 while it is measured
}

// measure returns how many objects and lists there are in v, with every $ref
// replaced by what it names.
func (b *schemaBounds) measure(at string, v any, depth int) (n int, err error) {
	if depth > maxNesting {
		return 0, fmt.Errorf("nested deeper than %d", maxNesting)
	}
	n = 1
	add := func(m int, err error) error {
		if n += m; err == nil && n > maxSubschemas {
			err = fmt.Errorf("it has more than %d subschemas", maxSubschemas)
		}
		return err
	}
	switch v := v.(type) {
	case map[string]any:
		for _, word := range []string{"$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor", "$anchor", "$id", "$vocabulary"} {
			if x, there := v[word]; there {
				if _, property := x.(map[string]any); !property || word == "$vocabulary" {
					return 0, fmt.Errorf("%s is not taken", word)
				}
			}
		}
		for key, x := range v {
			if ref, is := x.(string); is && key == "$ref" {
				err = add(b.follow(ref, depth))
			} else {
				err = add(b.measure(at+"/"+key, x, depth+1))
			}
			if err != nil {
				return 0, err
			}
		}
	case []any:
		for i, x := range v {
			if err := add(b.measure(at+"/"+strconv.Itoa(i), x, depth+1)); err != nil {
				return 0, err
			}
		}
	default:
		return 0, nil
	}
	return n, nil
}

// follow measures what ref names.
func (b *schemaBounds) follow(ref string, depth int) (int, error) {
	n, known := b.sizes[ref]
	switch {
	case n < 0:
		return 0, fmt.Errorf("%s goes round in a circle", clean(ref))
	case known:
		return n, nil
	}
	target, err := b.find(ref)
	if err != nil {
		return 0, err
	}
	b.sizes[ref] = -1
	n, err = b.measure(ref, target, depth+1)
	b.sizes[ref] = n
	return n, err
}

// find returns what the JSON pointer after # in ref names.
func (b *schemaBounds) find(ref string) (any, error) {
	at, is := strings.CutPrefix(ref, "#")
	v := b.root
	if is && at != "" {
		if at, is = strings.CutPrefix(at, "/"); is {
			for step := range strings.SplitSeq(at, "/") {
				switch x := v.(type) {
				case map[string]any:
					v = x[strings.NewReplacer("~1", "/", "~0", "~").Replace(step)]
				default:
					v = nil
				}
			}
		}
	}
	if !is || v == nil || strings.Contains(ref, "%") {
		return nil, fmt.Errorf("$ref %q names no place in it", clean(ref))
	}
	return v, nil
}
