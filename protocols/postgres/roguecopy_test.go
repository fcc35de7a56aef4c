package postgres_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgproto3/v2"
)

// P27: a server whose data of a COPY contradicts what it said loses the session
// as one whose rows do, with masking and without. With masking the gate asks
// first what columns the COPY has.
func TestP27RogueCopies(t *testing.T) {
	out := func(columns string) []byte { return frame('H', "\x00\x00"+columns) }
	two := out("\x02\x00\x00\x00\x00")
	data, end, done, ready := frame('d', "1\t"+secret+"\n"), frame('c', ""), frame('C', "COPY 1\x00"), frame('Z', "I")
	for name, c := range map[string]struct {
		say    [][]byte
		masked bool // only where values are looked at
	}{
		"data before its H":           {say: [][]byte{data}},
		"its end before its H":        {say: [][]byte{end}},
		"H twice":                     {say: [][]byte{two, two}},
		"G for H":                     {say: [][]byte{frame('G', "\x00\x00\x02\x00\x00\x00\x00")}},
		"W for H":                     {say: [][]byte{frame('W', "\x00\x00\x02\x00\x00\x00\x00")}},
		"another format":              {say: [][]byte{frame('H', "\x01\x00\x02\x00\x01\x00\x01")}},
		"H that is cut":               {say: [][]byte{out("\x02\x00\x00")}},
		"H with a tail":               {say: [][]byte{append(two[:4:4], append([]byte{12}, append(two[5:], secret[:1]...)...)...)}},
		"a row amid the data":         {say: [][]byte{two, rowOf("1", secret)}},
		"a description amid the data": {say: [][]byte{two, fieldsOf("n", "open")}},
		"data after its end":          {say: [][]byte{two, end, data}},
		"its end twice":               {say: [][]byte{two, end, end}},
		"an end that says something":  {say: [][]byte{two, frame('c', secret)}},
		"ready before it is due":      {say: [][]byte{two, ready}},
		"data after an error":         {say: [][]byte{two, frame('E', "SERROR\x00C22012\x00Mx\x00\x00"), data}},
		"data after it is done":       {say: [][]byte{two, end, done, data}},
		"a row of more columns":       {say: [][]byte{two, frame('d', "1\tx\t"+secret+"\n"), end, done, ready}, masked: true},
		"a row of fewer columns":      {say: [][]byte{two, frame('d', secret+"\n"), end, done, ready}, masked: true},
		"other columns than it told":  {say: [][]byte{out("\x01\x00\x00"), frame('d', secret+"\n"), end, done, ready}, masked: true},
	} {
		for _, bare := range []bool{false, true} {
			if bare && c.masked {
				continue
			}
			var script []said
			heard := 1
			if !bare { // answers to the gate's question
				heard = 5
				for i, f := range [][]byte{frame('3', ""), frame('1', ""), slices.Concat(frame('t', "\x00\x00"), fieldsOf("n", "secret")), frame('3', "")} {
					script = append(script, said{i + 1, f})
				}
			}
			for _, f := range c.say {
				script = append(script, said{heard, f})
			}
			t.Run(name, func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					got, g := play(t, &conversation{steps: [][]byte{query("COPY (" + secretQuery + ") TO STDOUT")}, script: script, bare: bare}, trouble{}, trouble{})
					fs := frames(got)
					last := fs[len(fs)-1]
					if last[0] != 'E' || !bytes.Contains(last, []byte("FATAL")) {
						t.Errorf("bare %v: the client was told %q", bare, last)
					}
					if g.lasted[0] > time.Second {
						t.Errorf("bare %v: the session lasted %v", bare, g.lasted[0])
					}
				})
			})
		}
	}
}

// P33: data for a COPY that the server refused, or that it does not read any
// more, is dropped as at the server, whatever its bytes look like; what comes
// behind is judged.
func TestP33DataThatNobodyReads(t *testing.T) {
	g := startGate(t, gateConfig{sql: customers, plugins: nil})
	looks := query("DROP TABLE t")
	for name, ms := range map[string][]pgproto3.FrontendMessage{
		"a COPY that fails":           {&pgproto3.Query{String: "COPY nothing FROM STDIN"}},
		"a COPY that cannot parse":    {&pgproto3.Query{String: "COPY t FROM STDIN STDIN"}},
		"no COPY":                     {&pgproto3.Query{String: "SELECT 1"}},
		"a COPY whose data is bad":    {&pgproto3.Query{String: "COPY t FROM STDIN"}, &pgproto3.CopyData{Data: []byte("x\n")}},
		"a COPY that the client ends": {&pgproto3.Query{String: "COPY t FROM STDIN"}, &pgproto3.CopyFail{Message: "no"}},
	} {
		var got [2][]string
		for i, r := range []*raw{g.rawDirect(t), g.raw(t)} {
			r.send(ms...)
			r.send(&pgproto3.CopyData{Data: looks}, &pgproto3.CopyData{Data: looks[:7]}, &pgproto3.CopyDone{}, &pgproto3.CopyFail{}, &pgproto3.Query{String: "SELECT 33"})
			got[i] = append(r.until("Z"), r.until("Z")...)
		}
		if !slices.Equal(got[0], got[1]) {
			t.Errorf("%s: the server alone answers %q, through the gate %q", name, got[0], got[1])
		}
	}
	g.one(t, "SELECT count(*)::text FROM t") // is still there
}
