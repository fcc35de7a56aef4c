package postgres_test

import (
	"os"
	"strconv"
	"testing"

	"github.com/jackc/pgproto3/v2"
)

// A type that Parse gives a parameter runs what the type runs, as a cast to it does.
func TestTypesOfParametersAreJudged(t *testing.T) {
	schema, err := os.ReadFile("testdata/guard/schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	g := guarded(t, gateConfig{sql: string(schema)})
	r := g.raw(t)
	for typ, code := range map[string]string{"purging_domain": "42501", "mood": "", "int4": "", "zip": "", "_purging_domain": "42501"} {
		oid, err := strconv.ParseUint(g.one(t, "SELECT '"+typ+"'::regtype::oid::text"), 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		value := map[string]string{"mood": "good", "_purging_domain": "{1}"}[typ]
		if value == "" {
			value = "1"
		}
		a := r.ask(&pgproto3.Parse{Query: "SELECT $1", ParameterOIDs: []uint32{uint32(oid)}},
			&pgproto3.Bind{Parameters: [][]byte{[]byte(value)}}, &pgproto3.Execute{}, &pgproto3.Sync{})
		if a.code != code || g.one(t, "SELECT count(*)::text FROM orders") != "500" {
			t.Errorf("%s: %s %s", typ, a.code, a.said)
		}
	}
}
