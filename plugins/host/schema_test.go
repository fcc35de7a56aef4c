package host

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

const ruleSchema = `{
	"type": "object", "additionalProperties": false,
	"properties": {"limit": {"type": "integer", "minimum": 1}, "rules": {"type": "array", "items": {"$ref": "#/$defs/rule"}}, "$id": {"type": "string"}},
	"$defs": {"rule": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string", "pattern": "^[a-z]+$"}}}}
}`

// What is wrong with a configuration is told with its place.
func TestCheckConfig(t *testing.T) {
	for config, want := range map[string]string{
		`{}`:                                     "",
		`{"limit": 3, "rules": [{"name": "a"}]}`: "",
		`{"limit": 0}`:                           "limit: ",
		`{"limit": "3"}`:                         "limit: ",
		`{"limits": 3}`:                          "additional properties 'limits'",
		`{"rules": [{"name": "a"}, {}]}`:         "rules.1: ",
		`{"rules": [{"name": "A"}]}`:             "rules.0.name: ",
		`[]`:                                     "must be an object",
		`{"limit": `:                             "EOF",
		`{} {}`:                                  "invalid character",
		`{"limit": 1e99999}`:                     "number is too long",
		strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100): "nested deeper",
		`{"a": "` + strings.Repeat("x", maxConfig) + `"}`:             "larger than",
	} {
		err := CheckConfig([]byte(ruleSchema), []byte(config))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q", config, err, want)
		}
	}
	err := CheckConfig([]byte(ruleSchema), []byte(`{"limit": 0, "rules": [{"name": "A"}]}`))
	if all, ok := errors.AsType[ConfigErrors](err); !ok || len(all) != 2 {
		t.Errorf("%v: not all mistakes are told", err)
	}
	if err := CheckConfig(nil, []byte(`{"anything": true}`)); err != nil {
		t.Errorf("without a schema: %v", err)
	}
}

// A schema comes from a module, which may be hostile: it must not take long, nor
// much memory, nor anything from elsewhere.
func TestSchemaBombs(t *testing.T) {
	var doubling strings.Builder
	for i := range 14 {
		fmt.Fprintf(&doubling, `"d%d": {"allOf": [{"$ref": "#/$defs/d%d"}, {"$ref": "#/$defs/d%d"}]},`, i, i+1, i+1)
	}
	patterns := strings.Repeat(`{"pattern": "x{900}"},`, 300)
	for name, c := range map[string]struct{ schema, want string }{
		"doubling":        {`{"$ref": "#/$defs/d0", "$defs": {` + doubling.String() + `"d14": {}}}`, "more than 10000 subschemas"},
		"a circle":        {`{"$ref": "#/$defs/a", "$defs": {"a": {"not": {"$ref": "#/$defs/a"}}}}`, "round in a circle"},
		"itself":          {`{"properties": {"a": {"$ref": "#"}}}`, "round in a circle"},
		"deep":            {strings.Repeat(`{"not":`, 100) + "{}" + strings.Repeat("}", 100), "nested deeper"},
		"a file":          {`{"$ref": "file:///etc/passwd"}`, "names no place in it"},
		"the network":     {`{"$ref": "https://example.com/schema"}`, "names no place in it"},
		"another dialect": {`{"$schema": "https://example.com/dialect"}`, "not in it"},
		"nowhere":         {`{"$ref": "#/$defs/none"}`, "names no place in it"},
		"an escape":       {`{"$ref": "#/%24defs/a", "$defs": {"a": {}}}`, "names no place in it"},
		"an anchor":       {`{"$anchor": "a"}`, "is not taken"},
		"an identity":     {`{"$id": "https://example.com/a"}`, "is not taken"},
		"dynamic":         {`{"$dynamicRef": "#a"}`, "is not taken"},
		"a long number":   {`{"multipleOf": 1e-100000}`, "number is too long"},
		"a large pattern": {`{"pattern": "(abcdefgh){900}"}`, "more than 4096"},
		"many patterns":   {`{"anyOf": [` + patterns + `true]}`, "more than 256 patterns"},
		"no schema":       {`{"type": 7}`, "type"},
		"no JSON":         {`{"type": `, "EOF"},
		"not RE2":         {`{"pattern": "(?=a)"}`, "pattern"},
	} {
		begin := ProcessorTime(t)
		err := CheckConfig([]byte(c.schema), []byte("{}"))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "section gatehouse.schema: ") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if took := ProcessorTime(t) - begin; took > time.Second {
			t.Errorf("%s took %v", name, took)
		}
	}
}

func FuzzSchema(f *testing.F) {
	f.Add([]byte(ruleSchema), []byte(`{"limit": 3, "rules": [{"name": "a"}]}`))
	f.Add([]byte(`{"$ref": "#/$defs/a", "$defs": {"a": {"pattern": "a"}}}`), []byte(`{}`))
	f.Fuzz(func(t *testing.T, schema, config []byte) {
		begin := ProcessorTime(t)
		_ = CheckConfig(schema, config)
		if took := ProcessorTime(t) - begin; took > 5*time.Second {
			t.Errorf("took %v", took)
		}
	})
}
