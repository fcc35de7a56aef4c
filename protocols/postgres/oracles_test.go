package postgres_test

import (
	_ "embed"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/protect"
)

//go:embed testdata/oracles.txt
var oracles string

//go:embed testdata/oracles18.txt
var oracles18 string

// others are values in the place of the protected ones of testdata/masking.sql, in
// another order and with other digits.
var others = strings.NewReplacer(
	"219-09-9471", "812-33-6650", "457-55-5462", "123-45-6789", "536-22-8726", "398-77-1034",
	"82736455", "31415926", "64519283", "98765432", "95172836", "12345678",
	"7391846205518", "1234567890123", "5628104937746", "9876543210987", "8203756194463", "5555555555555",
	"918273.64", "112233.44", "736455.28", "999888.77", "645192.83", "555444.33",
	"1983-07-19", "1971-01-02", "1991-02-28", "1966-12-31", "1976-11-05", "1999-09-09",
	"c0ffee12", "abcdef12", "deadbea7", "12345678", "facade99", "98765432",
)

// legible is what a server sent, without the numbers of tables, which databases do
// not share.
func legible(stream []byte) string {
	var out strings.Builder
	for len(stream) >= 5 {
		n := int(binary.BigEndian.Uint32(stream[1:])) + 1
		kind, body := stream[0], stream[5:n]
		stream = stream[n:]
		var d pgproto3.RowDescription
		if kind == 'T' && d.Decode(body) == nil {
			fmt.Fprintf(&out, "T")
			for _, f := range d.Fields {
				fmt.Fprintf(&out, " %s", f.Name)
			}
			out.WriteString("\n")
			continue
		}
		fmt.Fprintf(&out, "%c %q\n", kind, body)
	}
	return out.String()
}

// What comes through the gate is the same whatever the protected values are.
func TestNothingTellsOfWhatIsProtected(t *testing.T) {
	for _, version := range []int{15, 18} {
		t.Run(fmt.Sprint("PostgreSQL ", version), func(t *testing.T) { nothingTells(t, version) })
	}
}

func nothingTells(t *testing.T, version int) {
	var through, direct [2]*tap
	for i, schema := range []string{maskingSchema + maskingUnseen, others.Replace(maskingSchema + maskingUnseen)} {
		g := startGate(t, gateConfig{version: version, sql: schema, columns: protectedPeople(t, protect.Strict)})
		open := g.pg.NewDatabase(t, schema)
		through[i] = &tap{t: t, dial: func() net.Conn { return g.patient(t) }}
		direct[i] = &tap{t: t, dial: func() net.Conn { return dialServer(t, g, open) }}
	}
	// sent is what both send back, in a transaction that is rolled back where the
	// statements have none of their own.
	sent := func(taps [2]*tap, w way, sql string, statements []string) (both [2]string) {
		for i, l := range taps {
			l.stream = nil
			w.send(l, sql, statements)
			both[i] = legible(l.stream)
			l.query("ROLLBACK")
		}
		return both
	}
	cases := maskingCases(oracles)
	if version == 18 {
		cases = append(cases, maskingCases(oracles18)...)
	}
	for sql := range some(cases) {
		statements := split(t, sql)
		if both := sent(direct, ways[1], sql, statements); both[0] == both[1] {
			t.Errorf("without a gate nothing tells by %s\n%s", sql, both[0])
		}
		for _, w := range ways {
			if both := sent(through, w, sql, statements); both[0] != both[1] {
				t.Errorf("%s: %s\n%s\nis for other values\n%s", w.name, sql, both[0], both[1])
				break
			}
		}
	}
}
