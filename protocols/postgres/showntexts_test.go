package postgres

import (
	"testing"

	"gatehouse/core/event"
	"gatehouse/protocols/postgres/statement"
)

// The text of a prepared statement is masked once, until the catalogue or the
// policy may say something else.
func TestPreparedTextsAreMaskedOnce(t *testing.T) {
	s := &session{catalog: &catalog{resource: &Resource{}}}
	s.catalog.changed()
	facts, err := statement.NewAnalyzer(statement.Limits{}).Analyze(t.Context(), "SELECT a")
	if err != nil {
		t.Fatal(err)
	}
	bind := func(shown string) string {
		// What is kept wins over what would be made now.
		s.shownTexts.texts[facts] = shownText{[]byte("SELECT a"), []byte(shown), nil}
		m := masking{s: s, facts: facts}
		return string(s.shownTexts.of(&m, &event.Request{Operation: "execute", Payload: []byte("SELECT a")}))
	}
	s.shownTexts = shownTexts{changes: s.catalog.changes, texts: map[*statement.Result]shownText{}}
	if got := bind("kept"); got != "kept" {
		t.Errorf("got %q", got)
	}
	s.renewals++
	if got := bind("old"); got == "old" {
		t.Error("a text is kept that was masked under another policy")
	}
	s.catalog.forget()
	if got := bind("old"); got == "old" {
		t.Error("a text is kept that was masked by another catalogue")
	}
}
