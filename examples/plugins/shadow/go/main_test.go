package main

import (
	"testing"

	"gatehouse/sdk"
	"gatehouse/sdk/sdktest"
)

const config = `{"group": "analysts", "rows": 100}`

func TestMembersOnlyRead(t *testing.T) {
	var member sdk.Session
	member.Principal.Groups = []string{"agents", "analysts"}
	sdktest.RunIn(t, new(plugin), config, member, func(t *testing.T, s *sdktest.Session) {
		if v := s.Judge(sdk.Request{Statements: []sdk.Statement{{Kind: "SELECT"}}}); v.Action != sdk.Allow {
			t.Errorf("a SELECT: %v", v)
		}
		if v := s.Judge(sdk.Request{Statements: []sdk.Statement{{Kind: "INSERT", Writes: []sdk.Object{{Name: "orders"}}}}}); v.Rule != "shadow/write" {
			t.Errorf("an INSERT: %v", v)
		}
		if v := s.Upload([]sdk.Field{{Name: "id"}}, []string{"1"}); v.Rule != "shadow/write" {
			t.Errorf("an upload: %v", v)
		}
		if n := s.Close(); n == nil || n.Text != "a reader's session" {
			t.Errorf("the end of the session: %v", n)
		}
	})
}

func TestOthersMayWrite(t *testing.T) {
	sdktest.Run(t, new(plugin), config, func(t *testing.T, s *sdktest.Session) {
		if v := s.Upload([]sdk.Field{{Name: "id"}}, []string{"1"}); v.Action != sdk.Allow {
			t.Errorf("an upload: %v", v)
		}
		if n := s.End(sdk.Outcome{Status: "ok", Rows: 100}); n != nil {
			t.Errorf("a small result is noted: %v", n)
		}
		if n := s.End(sdk.Outcome{Status: "ok", Rows: 101}); n == nil || n.Text != "101 rows" {
			t.Errorf("a large result: %v", n)
		}
	})
}
