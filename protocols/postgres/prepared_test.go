package postgres_test

import (
	"testing"

	"github.com/jackc/pgproto3/v2"
)

// What SQL has prepared is judged when the protocol binds it.
func TestBindOfSQLPrepared(t *testing.T) {
	g := guarded(t, gateConfig{sql: "CREATE TABLE t (id int); INSERT INTO t VALUES (1)"})
	r := g.raw(t)
	if a := r.ask(&pgproto3.Query{String: "PREPARE p AS DELETE FROM t"}); a.code != "" {
		t.Fatal(a.said)
	}
	a := r.ask(&pgproto3.Bind{PreparedStatement: "p"}, &pgproto3.Execute{}, &pgproto3.Sync{})
	if a.code != "42501" || g.one(t, "SELECT count(*)::text FROM t") != "1" {
		t.Errorf("got %s %s", a.code, a.said)
	}
}
