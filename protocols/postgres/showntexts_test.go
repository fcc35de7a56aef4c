package postgres

import (
	"slices"
	"testing"

	"gatehouse/core/event"
	"gatehouse/protocols/postgres/statement"
)

// The text of a prepared statement is masked once, until the catalogue or the
// policy may say something else, or what it runs is another thing.
func TestPreparedTextsAreMaskedOnce(t *testing.T) {
	s := &session{catalog: &catalog{resource: &Resource{}}}
	facts, err := statement.NewAnalyzer(statement.Limits{}).Analyze(t.Context(), "SELECT a")
	if err != nil {
		t.Fatal(err)
	}
	s.catalog.changed() // from now on it ages
	statements := facts.Statements
	operation := "execute"
	bind := func(shown string) string {
		// What is kept wins over what would be made now.
		s.shownTexts.texts[facts] = shownText{sql: []byte("SELECT a"), shown: []byte(shown), statements: &facts.Statements[0]}
		m := masking{s: s, facts: facts}
		return string(s.shownTexts.of(&m, &event.Request{Operation: operation, Payload: []byte("SELECT a"), Statements: statements}))
	}
	s.shownTexts = shownTexts{changes: s.catalog.changes, texts: map[*statement.Result]shownText{}}
	if got := bind("kept"); got != "kept" {
		t.Errorf("got %q", got)
	}
	operation = "prepare"
	if got := bind("kept"); got != "kept" {
		t.Errorf("when it is prepared again: %q", got)
	}
	statements = slices.Clone(statements)
	if got := bind("old"); got == "old" {
		t.Error("a text is kept that was masked for other statements")
	}
	statements = facts.Statements
	s.renewals++
	if got := bind("old"); got == "old" {
		t.Error("a text is kept that was masked under another policy")
	}
	s.catalog.forget()
	if got := bind("old"); got == "old" {
		t.Error("a text is kept that was masked by another catalogue")
	}
}
