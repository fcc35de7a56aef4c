package main

import (
	"testing"

	"gatehouse/sdk"
	"gatehouse/sdk/sdktest"
)

func TestHoldRisk(t *testing.T) {
	write := sdk.Statement{Kind: "UPDATE", Writes: []sdk.Object{{Name: "orders"}}, Scope: sdk.ScopeRestricted}
	sdktest.Run(t, new(plugin), `{"limit": 40}`, func(t *testing.T, s *sdktest.Session) {
		if v := s.Judge(sdk.Request{Statements: []sdk.Statement{write}}); v.Action != sdk.Allow || v.Labels[0].Value != "20" {
			t.Errorf("a write: %v", v)
		}
		if v := s.Judge(sdk.Request{Statements: []sdk.Statement{write, write}}); v.Action != sdk.Hold || v.Labels[0].Value != "40" {
			t.Errorf("two writes: %v", v)
		}
	})
}
