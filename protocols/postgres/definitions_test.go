package postgres_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/protect"
)

// What a statement stores that waits for a view's new definition is judged by that.
func TestWhatWaitsForDefinitionsStoresNothingProtected(t *testing.T) {
	g := startGate(t, gateConfig{sql: maskingSchema + "CREATE VIEW shown AS SELECT id, name AS x FROM people; CREATE MATERIALIZED VIEW copy AS SELECT x FROM shown", columns: protectedPeople(t, protect.Strict)})
	dial := func() net.Conn { return g.patient(t) }
	for _, sql := range []string{"INSERT INTO notes (body) SELECT x FROM shown", "CREATE TABLE stolen AS SELECT x FROM shown", "REFRESH MATERIALIZED VIEW copy"} {
		a, b := &tap{t: t, dial: dial}, &tap{t: t, dial: dial}
		a.query("SELECT x FROM shown")
		b.query("BEGIN")
		b.query("CREATE OR REPLACE VIEW shown AS SELECT id, ssn AS x FROM people")
		a.stream = nil
		a.send(&pgproto3.Query{String: sql})
		time.Sleep(100 * time.Millisecond) // in which it could begin to wait
		b.query("COMMIT")
		a.until(1)
		b.query("CREATE OR REPLACE VIEW shown AS SELECT id, name AS x FROM people")
		if !strings.Contains(string(a.stream), "42501") {
			t.Errorf("%s: %s", sql, legible(a.stream))
		}
	}
}

// What a cursor shows that outlives its transaction is what its query meant when it
// was declared, whatever the view is since.
func TestHeldCursorsShowWhatTheyWereDeclaredFor(t *testing.T) {
	g := startGate(t, gateConfig{sql: maskingSchema + "CREATE VIEW shown AS SELECT id, ssn AS x FROM people", columns: protectedPeople(t, protect.Strict)})
	dial := func() net.Conn { return g.patient(t) }
	a, b := &tap{t: t, dial: dial}, &tap{t: t, dial: dial}
	a.query("DECLARE kept CURSOR WITH HOLD FOR SELECT x FROM shown")
	b.query("CREATE OR REPLACE VIEW shown AS SELECT id, name AS x FROM people")
	b.query("SELECT x FROM shown")
	if got := legible(b.stream); !strings.Contains(got, "Ada") {
		t.Fatalf("the new definition does not show: %s", got)
	}
	a.stream = nil
	a.query("FETCH ALL FROM kept")
	if got := legible(a.stream); strings.Contains(got, "219-09-9471") || !strings.Contains(got, "[redacted]") {
		t.Errorf("the cursor shows %s", got)
	}
}
