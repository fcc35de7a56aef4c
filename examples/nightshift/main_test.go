package main

import (
	"os"
	"strings"
	"testing"

	"gatehouse/core/event"
	"gatehouse/plugins/plugintest"
	"gatehouse/sdk"
)

func writing(table string) *sdk.Request {
	return &sdk.Request{Statements: []sdk.Statement{{Kind: "UPDATE", Parent: -1, Runs: true, Writes: []sdk.Object{{Name: table}}}}}
}

func TestHoldsWritesToTheLedger(t *testing.T) {
	if v := (plugin{}).Judge(nil, writing("ledger")); v.Action != sdk.Hold {
		t.Errorf("a write to the ledger: %v", v.Action)
	}
	if v := (plugin{}).Judge(nil, writing("notes")); v.Action != sdk.Allow {
		t.Errorf("a write to another table: %v", v.Action)
	}
}

// The same in the host, compiled to WebAssembly.
func TestInHost(t *testing.T) {
	judge := plugintest.Judge(t, plugintest.Load(t, ""))
	v, err := judge.Judge(t.Context(), &event.Session{}, writing("ledger"))
	if err != nil || v.Action != sdk.Hold || v.Rule != "nightshift/ledger" {
		t.Errorf("a write to the ledger: %+v, %v", v, err)
	}
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
