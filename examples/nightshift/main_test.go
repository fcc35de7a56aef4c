package main

import (
	"os"
	"strings"
	"testing"

	"gatehouse/sdk"
	"gatehouse/sdk/sdktest"
)

func writing(table string) sdk.Request {
	return sdk.Request{Statements: []sdk.Statement{{Kind: "UPDATE", Parent: -1, Runs: true, Writes: []sdk.Object{{Name: table}}}}}
}

// As it is, and compiled to WebAssembly in the gate's host.
func TestHoldsWritesToTheLedger(t *testing.T) {
	sdktest.Run(t, plugin{}, "", func(t *testing.T, s *sdktest.Session) {
		if v := s.Judge(writing("ledger")); v.Action != sdk.Hold || v.Rule != "nightshift/ledger" {
			t.Errorf("a write to the ledger: %v", v)
		}
		if v := s.Judge(writing("notes")); v.Action != sdk.Allow {
			t.Errorf("a write to another table: %v", v)
		}
	})
}

func TestReadmeShowsThisPlugin(t *testing.T) {
	code, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "```go\n"+string(code)+"```") {
		t.Error("the README has other code")
	}
}
