package postgres

import (
	"context"
	"strings"

	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/protocols/postgres/statement"
)

// copyUnwanted is what the gate gives an upload up with that plugins refuse.
const copyUnwanted = "gatehouse: the upload was refused"

// An uploadJudge gives the rows of an upload to the plugins that judge them. Where
// they do not allow some of them, or the upload has what is no row of its columns,
// nothing of it may stay: the server undoes what has gone there.
type uploadJudge struct {
	x      *pipeline.Exchange
	head   event.Head
	reader copyReader
	rows   event.Rows
	text   []byte
	lost   bool // where rows begin is not known

	refused *event.Verdict // on what was before in a long message
}

// judgeUpload returns what judges the upload of c, e's statement at hand, of n
// columns, or nil where nobody does.
func (s *session) judgeUpload(ctx context.Context, e *owed, c *statement.Copy, format *copyFormat, n int) *uploadJudge {
	if !e.x.JudgesUploads() {
		return nil
	}
	m := masking{s: s, ctx: ctx}
	u := &uploadJudge{x: e.x, lost: format.unsound, reader: copyReader{copyFormat: *format, limit: s.protocol.config.Limits.MessageSize}}
	named := copyNamed(c, format, n)
	for j, v := range m.uploaded(e.statement(), c, n) {
		f := event.Field{Name: named.Fields[j].Name, Lineage: event.LineageExact}
		for _, of := range v.Columns {
			f.Origins = append(f.Origins, strings.Join([]string{of.Schema, of.Relation, of.Name}, "."))
		}
		u.head.Fields = append(u.head.Fields, f)
	}
	return u
}

// data takes further data of the upload.
func (u *uploadJudge) data(b []byte) {
	if !u.lost {
		u.lost = u.reader.feed(b) != nil
	}
	for !u.lost {
		kind, from, to, ok, err := u.reader.next()
		if u.lost = err != nil; u.lost || !ok {
			return
		}
		if kind == copyRow {
			u.row(u.reader.buf[from:to])
		}
	}
}

func (u *uploadJudge) row(row []byte) {
	cells, n := u.rows.Grow(), len(u.head.Fields)
	count := u.reader.values(row, func(j int, raw []byte) {
		if j < n {
			cells[j], u.text = u.reader.decode(raw, u.text)
		}
	})
	u.lost = count != n
}

// begin begins a batch of messages.
func (u *uploadJudge) begin() {
	u.reader.reset()
	u.rows.Reset(u.head.Fields)
	u.text = u.text[:0]
}

// end returns what the plugins say of the rows of the batch. Last is whether the
// upload ends with it.
func (u *uploadJudge) end(ctx context.Context, last bool) event.Verdict {
	if last && !u.lost && !u.reader.binary && u.reader.from < len(u.reader.buf) {
		u.data([]byte{'\n'}) // the last line has none
	}
	if u.lost || last && !u.reader.whole() {
		return u.x.RefuseUpload(event.Verdict{Rule: "gatehouse/upload", Reason: "the upload cannot be read as rows of its columns"})
	}
	return u.x.JudgeUpload(ctx, &u.head, &u.rows)
}

// piece judges the rows that a piece of a long message ends.
func (u *uploadJudge) piece(ctx context.Context, p []byte) {
	if u.refused != nil {
		return
	}
	u.begin()
	u.data(p)
	if v := u.end(ctx, false); v.Action != event.Allow {
		u.refused = &v
	}
}

// refuseUpload gives e's upload up in the client's place, for what v says.
func (s *session) refuseUpload(e *owed, v event.Verdict) error {
	e.unwanted.Store(denied(v))
	f := appendFrame(nil, 'f', func(b []byte) []byte { return append(append(b, copyUnwanted...), 0) })
	if u := e.masked; u != nil {
		u.begin()
		if err := u.record(f); err != nil {
			return err
		}
	} else if err := e.x.Upload(f); err != nil {
		return err
	}
	s.up = append(s.up, f...)
	return nil
}

// refusedUpload returns the refusal that m answers to, or nil.
func (e *owed) refusedUpload(m *pgproto3.ErrorResponse) *refusal {
	if e == nil || m.Code != codeCanceled || !strings.Contains(m.Message, copyUnwanted) {
		return nil
	}
	return e.unwanted.Load()
}
