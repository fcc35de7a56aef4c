package postgres_test

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/event"
)

// A redactor redacts every field.
type redactor struct{}

func (redactor) Name() string { return "redactor" }

func (redactor) Treat(_ context.Context, _ *event.Session, h *event.Head) ([]event.Treatment, error) {
	ts := make([]event.Treatment, len(h.Fields))
	for i := range ts {
		ts[i].Kind = event.Redact
	}
	return ts, nil
}

func (redactor) Inspect(context.Context, *event.Session, *event.Rows, []int) ([]event.Edit, error) {
	return nil, nil
}

// FuzzRelay is a session between two sides that say any bytes, so that frames are
// malformed too, each message of the server after so many of the client. It ends,
// no row comes through unmasked, and nothing goes up that is not in the spool.
func FuzzRelay(f *testing.F) {
	fields, row := fieldsOf("secret"), rowOf(secret)
	end := slices.Concat(frame('C', "SELECT 1\x00"), frame('Z', "I"))
	f.Add(query("SELECT 1"), slices.Concat(fields, row, end), []byte{1})
	f.Add(query("SELECT 1; SELECT 2"), slices.Concat(fields, row, frame('C', "SELECT 1\x00"), fields, row, end), []byte{1})
	f.Add(encode(&pgproto3.Parse{Name: "s", Query: "SELECT $1"}, &pgproto3.Describe{ObjectType: 'S', Name: "s"}, &pgproto3.Bind{PreparedStatement: "s", Parameters: [][]byte{nil}},
		&pgproto3.Execute{MaxRows: 1}, &pgproto3.Execute{}, &pgproto3.Sync{}),
		slices.Concat(frame('1', ""), frame('t', "\x00\x01\x00\x00\x00\x19"), fields, frame('2', ""), fields, row, frame('s', ""), row, end), []byte{1, 2, 2, 3, 4, 5, 5, 6, 6, 7})
	f.Add(slices.Concat(query("SELECT 'forbidden'"), query("SELECT 'ask'"), encode(&pgproto3.Close{ObjectType: 'P'}, &pgproto3.Flush{}, &pgproto3.Terminate{})),
		slices.Concat(frame('E', "SERROR\x00C42601\x00Mx\x00\x00"), frame('Z', "I"), fields, row, end, frame('3', "")), []byte{1, 1, 2, 2, 2, 2, 3})
	f.Add(encode(&pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{}), frame('E', "SERROR\x00C42601\x00Mx\x00\x00"), []byte{1})
	analyzer()
	f.Fuzz(func(t *testing.T, client, server, after []byte) {
		if len(client) > 4096 || len(server) > 4096 {
			return
		}
		c := &conversation{steps: [][]byte{client}, redact: true}
		if len(client) == 0 || client[0] == 0 || client[0] == 'p' {
			return // of the start-up
		}
		heard := 0
		for i, f := range frames(server) {
			if i < len(after) {
				heard = max(heard, int(after[i]))
			}
			c.script = append(c.script, said{heard, f})
		}
		inBubble(t, func(t *testing.T) {
			answer, _ := play(t, c, trouble{}, trouble{})
			for _, f := range frames(answer) {
				if f[0] == 'D' && bytes.Contains(f, []byte(secret)) {
					t.Errorf("the secret came through: %q", answer)
				}
			}
		})
	})
}
