package main

import (
	"testing"

	"gatehouse/sdk"
	"gatehouse/sdk/sdktest"
)

func TestBlockFact(t *testing.T) {
	sdktest.Run(t, new(plugin), `{"kinds": ["DROP TABLE"]}`, func(t *testing.T, s *sdktest.Session) {
		if v := s.Judge(sdk.Request{Statements: []sdk.Statement{{Kind: "SELECT"}}}); v.Action != sdk.Allow {
			t.Errorf("a SELECT: %v", v)
		}
		if v := s.Judge(sdk.Request{Statements: []sdk.Statement{{Kind: "SELECT"}, {Kind: "DROP TABLE"}}}); v.Action != sdk.Block || v.Rule != "block-fact/kind" {
			t.Errorf("a DROP TABLE: %v", v)
		}
	})
}
