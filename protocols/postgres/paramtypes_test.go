package postgres_test

import (
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
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

// What they run is held, too, once the values are known.
func TestTypesOfParametersAreHeld(t *testing.T) {
	schema, err := os.ReadFile("testdata/guard/schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	deletes := func(req *event.Request) event.Verdict {
		if slices.ContainsFunc(req.Statements, func(st event.Statement) bool { return st.Kind == "DELETE" }) {
			return event.Verdict{Action: event.Hold, Reason: "it deletes"}
		}
		return event.Verdict{Action: event.Allow}
	}
	g := startGate(t, gateConfig{sql: string(schema), plugins: []pipeline.Plugin{rule(deletes)}, holdFor: 100 * time.Millisecond})
	oid, err := strconv.ParseUint(g.one(t, "SELECT 'purging_domain'::regtype::oid::text"), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	r := g.raw(t)
	a := r.ask(&pgproto3.Parse{Name: "s", Query: "SELECT $1", ParameterOIDs: []uint32{uint32(oid)}}, &pgproto3.Sync{})
	if a.code != "" {
		t.Fatalf("Parse: %s %s", a.code, a.said)
	}
	a = r.ask(&pgproto3.Bind{PreparedStatement: "s", Parameters: [][]byte{[]byte("1")}}, &pgproto3.Execute{}, &pgproto3.Sync{})
	if a.code != "42501" || g.one(t, "SELECT count(*)::text FROM orders") != "500" {
		t.Errorf("Bind: %s %s", a.code, a.said)
	}
}
