package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Load reads and checks the configuration file. What is wrong with the file's
// content is returned as Problems, all of it at once. Nothing that the file
// refers to is read.
func Load(file string) (*Config, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(file, b)
}

// Parse checks a configuration whose text is b. The name file is for messages
// and for what relative paths start at.
func Parse(file string, b []byte) (*Config, error) {
	doc, err := parseDocument(file, b)
	if err != nil {
		return nil, err
	}
	var tree any
	if err := yaml.Unmarshal(b, &tree); err != nil {
		return nil, doc.syntax(err)
	}
	text, err := json.Marshal(tree)
	if err != nil {
		return nil, Problems{doc.at(nil, "%s", err)}
	}
	if tree, err = jsonschema.UnmarshalJSON(bytes.NewReader(text)); err != nil {
		return nil, fmt.Errorf("decode configuration: %w", err)
	}
	r := report{doc: doc, found: new(findings)}
	if tree, err = conform(r, tree); err != nil {
		return nil, err
	}
	r.found.known = len(r.found.problems)
	if text, err = json.Marshal(tree); err != nil {
		return nil, fmt.Errorf("encode configuration: %w", err)
	}
	c := &Config{doc: doc}
	if err := json.Unmarshal(text, c); err != nil {
		return nil, append(r.found.problems, doc.decoding(err)).Sorted()
	}
	if err := complete(reflect.ValueOf(c).Elem(), filepath.Dir(file)); err != nil {
		return nil, err
	}
	c.validate(r)
	if found := r.found.problems; len(found) > 0 {
		return nil, found.Sorted()
	}
	return c, nil
}

// Problem returns a problem with what stands at path in the file: a key of a
// mapping or a decimal index of a list for each step.
func (c *Config) Problem(err error, path ...string) Problem {
	return c.doc.at(path, "%s", err)
}

// decoding explains an error of encoding/json, of which there are few that the
// schema did not find first: numbers and durations out of range.
func (d *document) decoding(err error) Problem {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return d.at(strings.Split(wrong.Field, "."), "%s is out of range", wrong.Value)
	}
	return d.at(nil, "%s", err)
}

// complete sets the fields that were left out to the defaults in their tags,
// and makes relative paths start at dir.
func complete(v reflect.Value, dir string) error {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return complete(v.Elem(), dir)
	case reflect.Map:
		for i := v.MapRange(); i.Next(); {
			if err := complete(i.Value(), dir); err != nil {
				return err
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			if err := complete(v.Index(i), dir); err != nil {
				return err
			}
		}
	case reflect.Struct:
		return completeFields(v, dir)
	case reflect.String:
		switch s := v.Interface().(type) {
		case Path:
			v.SetString(string(s.within(dir)))
		case Secret:
			v.SetString(string(s.within(dir)))
		}
	}
	return nil
}

func completeFields(v reflect.Value, dir string) error {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() || f.Type == reflect.TypeFor[json.RawMessage]() {
			continue
		}
		if text, ok := defaultOf(f); ok && v.Field(i).IsZero() {
			value := v.Field(i)
			if value.Kind() == reflect.Pointer { // where zero is something else than left out
				value.Set(reflect.New(f.Type.Elem()))
				value = value.Elem()
			}
			if err := yaml.Unmarshal([]byte(text), value.Addr().Interface()); err != nil {
				return fmt.Errorf("default of %s: %w", f.Name, err)
			}
		}
		if err := complete(v.Field(i), dir); err != nil {
			return err
		}
	}
	return nil
}

func defaultOf(f reflect.StructField) (string, bool) {
	for part := range strings.SplitSeq(f.Tag.Get("jsonschema"), ",") {
		if text, ok := strings.CutPrefix(part, "default="); ok {
			return text, true
		}
	}
	return "", false
}
