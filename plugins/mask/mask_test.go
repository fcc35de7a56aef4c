package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/core/event"
	"gatehouse/plugins/plugintest"
	"gatehouse/sdk"
)

func configured(t testing.TB, config string) *plugin {
	t.Helper()
	p := new(plugin)
	if err := p.Configure([]byte(config)); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestTreat(t *testing.T) {
	p := configured(t, `{"columns": {
		"public.customers.email": "redact",
		"public.customers.*": "hash",
		"*.phone": "keep_last:3",
		"hr.*.salary": null,
		"public.logs.line": "pass"
	}}`)
	head := &sdk.Head{Fields: []sdk.Field{
		{Type: "text", Origins: []string{"public.customers.email"}},
		{Type: "text", Origins: []string{"public.customers.name"}},
		{Type: "int4", Origins: []string{"public.customers.age"}},
		{Type: "varchar", Origins: []string{"crm.people.phone"}},
		{Type: "numeric", Origins: []string{"hr.staff.salary"}},
		{Type: "text", Origins: []string{"public.logs.line"}},
		{Type: "text", Origins: []string{"public.logs.line", "public.customers.email"}},
		{Type: "text", Origins: []string{"public.logs.other"}},
		{Type: "int8"}, {Type: "uuid"},
	}}
	treat := func(kind sdk.TreatmentKind, rule string) sdk.Treatment { return sdk.Treatment{Kind: kind, Rule: rule} }
	search := sdk.Treatment{Kind: sdk.Detect, Rule: "mask/detect", Detect: []sdk.Detection{
		{Detector: "email", Kind: sdk.Redact}, {Detector: "card", Kind: sdk.KeepLast, Keep: 4}, {Detector: "ssn", Kind: sdk.Redact},
	}}
	want := []sdk.Treatment{
		treat(sdk.Redact, "mask/public.customers.email"),
		treat(sdk.Hash, "mask/public.customers.*"),
		treat(sdk.Null, "mask/public.customers.*"),
		{Kind: sdk.KeepLast, Keep: 3, Rule: "mask/*.phone"},
		treat(sdk.Null, "mask/hr.*.salary"),
		treat(sdk.Pass, "mask/public.logs.line"),
		treat(sdk.Redact, "mask/public.customers.email"),
		search, search, search,
	}
	if diff := cmp.Diff(want, p.Treat(nil, head)); diff != "" {
		t.Error(diff)
	}
}

func TestDetectorsCanBeTurnedOff(t *testing.T) {
	head := &sdk.Head{Fields: []sdk.Field{{Type: "text"}}}
	for config, want := range map[string]sdk.Treatment{
		`{"detect": {"email": "pass", "card": "pass", "ssn": "pass"}}`: {Kind: sdk.Pass},
		`{"detect": {"email": "pass", "ssn": "hash"}}`: {Kind: sdk.Detect, Rule: "mask/detect", Detect: []sdk.Detection{
			{Detector: "card", Kind: sdk.KeepLast, Keep: 4}, {Detector: "ssn", Kind: sdk.Hash},
		}},
	} {
		if diff := cmp.Diff(want, configured(t, config).Treat(nil, head)[0]); diff != "" {
			t.Errorf("%s: %s", config, diff)
		}
	}
}

func TestConfigureRefuses(t *testing.T) {
	for config, want := range map[string]string{
		`{"colums": {}}`:                             "colums",
		`{"columns": {"public.a.b": "star"}}`:        "none of",
		`{"columns": {"public.a.b": "keep_last"}}`:   "none of",
		`{"columns": {"public.a.b": "redact:4"}}`:    "none of",
		`{"columns": {"public.a.b": "keep_last:0"}}`: "from 1 to 255",
		`{"columns": {"email": "null"}}`:             "schema.table.column",
		`{"detect": {"iban": "null"}}`:               "iban",
		`{} {}`:                                      "more than one",
		`[]`:                                         "config",
	} {
		err := new(plugin).Configure([]byte(config))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", config, err)
		}
	}
}

// The plugin in the host answers as it does natively, but for types in which
// nothing can be found.
func TestInHost(t *testing.T) {
	config := `{"columns": {"public.customers.email": "redact"}}`
	p := configured(t, config)
	guest := plugintest.Masker(t, plugintest.Load(t, config))
	head := &event.Head{Fields: []sdk.Field{
		{Type: "text", Origins: []string{"public.customers.email"}}, {Type: "text"}, {Type: "int8"}, {Type: "jsonb"}, {Type: "uuid"}, {Type: "_timestamptz"},
	}}
	want := p.Treat(nil, head)
	want[4], want[5] = sdk.Treatment{Kind: sdk.Pass}, sdk.Treatment{Kind: sdk.Pass}
	got, err := guest.Treat(t.Context(), &event.Session{ID: "s"}, head)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("treat: %s", diff)
	}
}
