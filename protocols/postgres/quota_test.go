package postgres_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/pipeline"
	"gatehouse/core/quota"
	"gatehouse/protocols/postgres"
)

// Rows that are relayed in pieces count as others do, before their first piece
// goes out: untreated, or by way of a file.
func TestQuotaOfLongRows(t *testing.T) {
	const long = "SELECT repeat('x', 100000) AS pass_1, 'y' AS %s FROM generate_series(1, 5)"
	for name, plugins := range map[string][]pipeline.Plugin{"plain": nil, "passed": {byName{}}, "treated": {byName{}}} {
		column := "pass_2"
		if name == "treated" {
			column = "hash_2"
		}
		for what, limit := range map[string]quota.Limit{"rows": {Rows: 3}, "bytes": {Bytes: 350_000}} {
			g := startGate(t, gateConfig{plugins: plugins, limits: postgres.Limits{Buffer: 1 << 10}})
			g.policy.quota = account(t, limit)
			r := g.raw(t)
			r.send(sql(fmt.Sprintf(long, column)))
			r.expect("T")
			for range 3 {
				if m := r.next(); len(m) < 100_000 || m[0] != 'D' {
					t.Fatalf("%s, %s: %.40q", name, what, m)
				}
			}
			r.expect("E 53400")
			r.gone()
		}
	}
}

// What functions return by the fast path counts as a row, however long it is.
func TestQuotaOfFunctionResults(t *testing.T) {
	const functions = `CREATE FUNCTION short(int) RETURNS text LANGUAGE sql AS 'SELECT ''v''::text';
		CREATE FUNCTION long(int) RETURNS text LANGUAGE sql AS 'SELECT repeat(''x'', 100000)';`
	for _, function := range []string{"short", "long"} {
		for name, plugins := range map[string][]pipeline.Plugin{"plain": nil, "treated": {fieldMasker(function)}} {
			for what, limit := range map[string]quota.Limit{"rows": {Rows: 2}, "bytes": {Bytes: map[string]int64{"short": 25, "long": 250_000}[function]}} {
				g := startGate(t, gateConfig{sql: functions, plugins: plugins, limits: postgres.Limits{Buffer: 1 << 10}})
				var oid uint32
				if _, err := fmt.Sscan(g.one(t, "SELECT '"+function+"(int)'::regprocedure::oid::text"), &oid); err != nil {
					t.Fatal(err)
				}
				g.server.FunctionCalls = []uint32{oid}
				g.policy.quota = account(t, limit)
				r := g.raw(t)
				call := &pgproto3.FunctionCall{Function: oid, ArgFormatCodes: []uint16{1}, Arguments: [][]byte{binary.BigEndian.AppendUint32(nil, 1)}}
				var got []string
				for range 3 {
					r.send(call)
					ms := r.untilEnd()
					got = append(got, ms...)
					if slices.ContainsFunc(ms, func(m string) bool { return strings.HasPrefix(m, "E") }) {
						break
					}
				}
				if want := []string{"V", "Z I", "V", "Z I", "E 53400"}; !slices.Equal(got, want) {
					t.Errorf("%s, %s, %s: %q", function, name, what, got)
				}
			}
		}
	}
}

// untilEnd returns the messages up to the end of a response, or to an error.
func (r *raw) untilEnd() (ms []string) {
	r.t.Helper()
	for {
		m := r.next()
		if ms = append(ms, m); m[0] == 'Z' || m[0] == 'E' {
			return ms
		}
	}
}
