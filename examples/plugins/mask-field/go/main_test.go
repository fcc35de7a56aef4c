package main

import (
	"testing"

	"gatehouse/sdk"
	"gatehouse/sdk/sdktest"
)

func TestMaskField(t *testing.T) {
	sdktest.Run(t, new(plugin), `{"columns": ["public.customers.email"]}`, func(t *testing.T, s *sdktest.Session) {
		email := sdk.Field{Name: "email", Type: "text", Origins: []string{"public.customers.email"}, Lineage: sdk.LineageExact}
		upper := email
		upper.Lineage = sdk.LineageDerived
		got := s.Rows([]sdk.Field{email, upper}, []string{"ada@example.com", "ADA@EXAMPLE.COM"}, []string{"", sdktest.Null})
		if got[0][0] != "***********.com" || got[0][1] != "[redacted]" || got[1][1] != sdktest.Null {
			t.Errorf("the client gets %q", got)
		}
	})
}

func TestConfigureRefuses(t *testing.T) {
	for _, config := range []string{`{}`, `{"columns": []}`, `{"columns": ["a.b.c"], "keep": 0}`, `{"columns": ["a.b.c"], "kept": 4}`} {
		sdktest.Refuses(t, new(plugin), config)
	}
}
