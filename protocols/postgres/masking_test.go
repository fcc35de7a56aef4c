package postgres_test

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgproto3/v2"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"gatehouse/core/event"
	"gatehouse/core/protect"
	"gatehouse/protocols/postgres"
)

//go:embed testdata/masking.sql
var maskingSchema string

//go:embed testdata/masking.txt
var maskingCorpus string

//go:embed testdata/masking_unseen.sql
var maskingUnseen string

//go:embed testdata/masking18.sql
var maskingSchema18 string

//go:embed testdata/masking18.txt
var maskingCorpus18 string

// protectedPeople are the protected columns of masking.sql.
func protectedPeople(t testing.TB, mode protect.Mode) *protect.Columns {
	t.Helper()
	c := protect.Config{Mode: mode, Columns: map[string]event.Treatment{}, Implied: postgres.ProtectedCatalog()}
	for _, name := range []string{"ssn", "pin", "account", "salary", "born", "badge", "bio", "tags", "photo"} {
		c.Columns["public.people."+name] = event.Treatment{Kind: event.Redact}
	}
	c.Columns["public.parts.ssn"] = event.Treatment{Kind: event.Redact}
	c.Columns["public.below.ssn"] = event.Treatment{Kind: event.Redact}
	c.Columns["public.virtual.ssn"] = event.Treatment{Kind: event.Redact}
	for _, path := range []string{"doc$.owner.ssn", "doc$.cards[*].number", "list$[*].ssn", "raw$..ssn"} {
		c.Columns["public.files."+path] = event.Treatment{Kind: event.Redact}
	}
	p, err := protect.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// needles are the forms in which a protected value would be one.
var needles = func() (all [][]byte) {
	add := func(v string) {
		all = append(all, []byte(strings.ToLower(v)), reversed(strings.ToLower(v)))
	}
	text := func(v string) {
		add(v)
		add(digits(v))
		add(hex.EncodeToString([]byte(v)))
		add(hex.EncodeToString(reversed(v)))
		for lead := range 3 {
			// What stands before it shifts it; the characters at the ends
			// hold bits of what stands around it.
			b := base64.StdEncoding.EncodeToString([]byte("\x00\x00\x00"[:lead] + v))
			from := []int{0, 2, 3}[lead]
			all = append(all, []byte(b[from:len(b)-4]))
		}
	}
	number := func(n int64) {
		add(fmt.Sprint(n))
		bits := strconv.FormatInt(n, 2)
		add(bits)
		add(strings.NewReplacer("0", "f", "1", "t").Replace(bits))
		add(strconv.FormatInt(n, 16))
		add(strconv.FormatInt(n, 8))
		all = append(all, binary.BigEndian.AppendUint64(nil, uint64(n)))
		if n < 1<<31 {
			all = append(all, binary.BigEndian.AppendUint32(nil, uint32(n)))
		}
		var groups []byte // of a numeric in binary format
		for rest := n; rest > 0; rest /= 10000 {
			groups = append(binary.BigEndian.AppendUint16(nil, uint16(rest%10000)), groups...)
		}
		all = append(all, groups)
	}
	for _, p := range []struct {
		ssn                 string
		pin, account        int64
		salary, born, badge string
	}{
		{"219-09-9471", 82736455, 7391846205518, "918273.64", "1983-07-19", "c0ffee12-3d4f-4a5b-8c6d-9e8f7a6b5c4d"},
		{"457-55-5462", 64519283, 5628104937746, "736455.28", "1991-02-28", "deadbea7-1f2e-4d3c-9b4a-8a7b6c5d4e3f"},
		{"536-22-8726", 95172836, 8203756194463, "645192.83", "1976-11-05", "facade99-5e4d-4c3b-ab2a-7f6e5d4c3b2a"},
	} {
		text(p.ssn)
		number(p.pin)
		number(p.account)
		ssn, _ := strconv.ParseInt(digits(p.ssn), 10, 64)
		number(ssn)
		text(p.salary)
		text(p.born)
		born, _ := time.Parse(time.DateOnly, p.born)
		days := int32(born.Sub(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)) / (24 * time.Hour))
		all = append(all, binary.BigEndian.AppendUint32(nil, uint32(days)),
			binary.BigEndian.AppendUint64(nil, uint64(int64(days)*86400*1e6)))
		text(p.badge)
		badge, _ := hex.DecodeString(strings.ReplaceAll(p.badge, "-", ""))
		add(string(badge))
		add(hex.EncodeToString(badge))
	}
	// Counts of what one PIN makes many of.
	return append(all, []byte("rows=36455"), []byte(" 36455\x00"))
}()

func digits(v string) string {
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, v)
}

func reversed(v string) []byte {
	b := []byte(v)
	slices.Reverse(b)
	return b
}

// leaked returns a form of a protected value that is in what a server sent, in
// whatever case, with separators, or spread over rows, columns or messages; nil
// where there is none.
func leaked(stream []byte) []byte {
	cells := spread(stream)
	for _, hay := range [][]byte{stream, bytes.ToLower(stream), bare(stream), cells, bare(cells)} {
		for _, n := range needles {
			if len(n) > 0 && bytes.Contains(hay, n) {
				return n
			}
		}
	}
	return nil
}

// bare leaves letters, in lower case, and digits.
func bare(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for _, c := range bytes.ToLower(b) {
		if '0' <= c && c <= '9' || 'a' <= c && c <= 'z' {
			out = append(out, c)
		}
	}
	return out
}

// spread joins the values of the rows in a stream, as text, along the rows and
// along each column, and the codes of its errors and notices.
func spread(stream []byte) []byte {
	var along, codes []byte
	var columns [][]byte
	var described pgproto3.RowDescription
	for len(stream) >= 5 {
		n := int(binary.BigEndian.Uint32(stream[1:])) + 1
		if n > len(stream) {
			break
		}
		kind, body := stream[0], stream[5:n]
		stream = stream[n:]
		switch kind {
		case 'T':
			_ = described.Decode(body)
			described.Fields = slices.Clone(described.Fields)
		case 'E', 'N':
			var m pgproto3.ErrorResponse
			if m.Decode(body) == nil {
				codes = append(codes, m.Code...)
			}
		case 'd':
			along = append(along, body...)
		case 'D':
			var m pgproto3.DataRow
			if m.Decode(body) != nil {
				continue
			}
			for j, v := range m.Values {
				if j < len(described.Fields) && described.Fields[j].Format == 1 {
					switch described.Fields[j].DataTypeOID {
					case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID:
						v = []byte(new(big.Int).SetBytes(v).String())
					case pgtype.BoolOID:
						v = bytes.Map(func(r rune) rune { return rune("ft"[r&1]) }, v)
					}
				}
				along = append(along, v...)
				for len(columns) <= j {
					columns = append(columns, nil)
				}
				columns[j] = append(columns[j], v...)
			}
		}
	}
	return slices.Concat(along, []byte{0}, bytes.Join(columns, []byte{0}), []byte{0}, codes)
}

// A tap is a client that keeps all that it is sent.
type tap struct {
	net.Conn
	t      testing.TB
	dial   func() net.Conn
	stream []byte
}

func (l *tap) send(ms ...pgproto3.FrontendMessage) {
	l.t.Helper()
	if l.Conn == nil {
		l.Conn = l.dial()
	}
	var b []byte
	for _, m := range ms {
		var err error
		if b, err = m.Encode(b); err != nil {
			l.t.Fatal(err)
		}
	}
	if _, err := l.Write(b); err != nil {
		l.hangUp(err)
	}
}

func (l *tap) hangUp(err error) {
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !strings.Contains(err.Error(), "reset") && !strings.Contains(err.Error(), "broken") {
		l.t.Fatal(err)
	}
	l.Close()
	l.Conn = nil
}

// until keeps what comes up to the n-th ReadyForQuery or the connection's end.
func (l *tap) until(n int) {
	l.t.Helper()
	for n > 0 && l.Conn != nil {
		var h [5]byte
		_, err := io.ReadFull(l, h[:])
		var body []byte
		if err == nil {
			body = make([]byte, binary.BigEndian.Uint32(h[1:])-4)
			_, err = io.ReadFull(l, body)
		}
		if err != nil {
			l.hangUp(err)
			return
		}
		l.stream = append(append(l.stream, h[:]...), body...)
		if h[0] == 'Z' {
			n--
		}
		if h[0] == 'G' {
			l.send(&pgproto3.CopyDone{})
		}
	}
}

func (l *tap) query(sql string) {
	l.send(&pgproto3.Query{String: sql})
	l.until(1)
}

// A way is one in which statements are sent.
type way struct {
	name string
	send func(l *tap, whole string, statements []string)
}

var ways = []way{
	{"simple", func(l *tap, whole string, _ []string) { l.query(whole) }},
	{"one by one", func(l *tap, _ string, statements []string) {
		for _, sql := range statements {
			l.query(sql)
		}
	}},
	{"extended", func(l *tap, _ string, statements []string) { extended(l, statements, 0, false) }},
	{"binary", func(l *tap, _ string, statements []string) { extended(l, statements, 1, false) }},
	{"pipelined", func(l *tap, _ string, statements []string) { extended(l, statements, 0, true) }},
	{"copy text", func(l *tap, _ string, statements []string) { copied(l, statements, "text") }},
	{"copy csv", func(l *tap, _ string, statements []string) { copied(l, statements, "csv") }},
	{"copy binary", func(l *tap, _ string, statements []string) { copied(l, statements, "binary") }},
}

func extended(l *tap, statements []string, format int16, pipelined bool) {
	for i, sql := range statements {
		l.send(&pgproto3.Parse{Query: sql}, &pgproto3.Bind{ResultFormatCodes: []int16{format}},
			&pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{})
		if !pipelined || i == len(statements)-1 {
			l.send(&pgproto3.Sync{})
			l.until(1)
		}
	}
}

func copied(l *tap, statements []string, format string) {
	word, _, _ := strings.Cut(statements[0], " ")
	if len(statements) == 1 && slices.Contains([]string{"SELECT", "TABLE", "VALUES", "WITH"}, word) {
		l.query("COPY (" + statements[0] + ") TO STDOUT WITH (FORMAT " + format + ")")
	}
}

// maskingCases are the statements of a corpus.
func maskingCases(corpus string) (cases []string) {
	for line := range strings.Lines(corpus) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			cases = append(cases, line)
		}
	}
	return cases
}

func split(t testing.TB, sql string) (statements []string) {
	t.Helper()
	r, err := analyzer().Analyze(t.Context(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	for i := range r.Len() {
		from, to := r.Span(sql, i)
		statements = append(statements, strings.TrimSpace(sql[from:to]))
	}
	return statements
}

// No statement of the corpus gets a protected value through the gate, however it
// is sent, and each gets one where no gate is.
func TestNothingProtectedComesBack(t *testing.T) {
	cases := maskingCases(maskingCorpus)
	if len(cases) < 700 {
		t.Errorf("the corpus has %d statements", len(cases))
	}
	nothingComesBack(t, 15, maskingSchema+maskingUnseen, cases)
}

func TestNothingProtectedComesBackOfNewStatements(t *testing.T) {
	nothingComesBack(t, 18, maskingSchema+maskingUnseen+maskingSchema18, maskingCases(maskingCorpus18))
}

func nothingComesBack(t *testing.T, version int, schema string, cases []string) {
	var log bytes.Buffer
	g := startGate(t, gateConfig{version: version, sql: schema, columns: protectedPeople(t, protect.Strict), log: &log})
	open := g.pg.NewDatabase(t, schema)
	direct := &tap{t: t, dial: func() net.Conn { return dialServer(t, g, open) }}
	through := &tap{t: t, dial: func() net.Conn { return g.patient(t) }}
	for sql := range some(cases) {
		statements := split(t, sql)
		direct.stream = nil
		for _, w := range ways[:2] {
			w.send(direct, sql, statements)
			direct.query("ROLLBACK")
		}
		if leaked(direct.stream) == nil {
			t.Errorf("without a gate nothing comes of %s\n%q", sql, direct.stream)
		}
		for _, w := range ways {
			through.stream = nil
			w.send(through, sql, statements)
			if n := leaked(through.stream); n != nil {
				t.Errorf("%s: %q comes of %s\n%q", w.name, n, sql, through.stream)
			}
			through.query("ROLLBACK")
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range g.tapes {
		for _, f := range r.all() {
			if n := leaked(f.Payload); n != nil {
				t.Errorf("a frame of kind %d is recorded with %q: %q", f.Kind, n, f.Payload)
			}
		}
	}
	if n := leaked(log.Bytes()); n != nil {
		t.Errorf("the log has %q", n)
	}
}

// What the protocol prepared and SQL executes tells no more than either alone.
func TestNothingProtectedComesBackByOtherNames(t *testing.T) {
	g := startGate(t, gateConfig{sql: maskingSchema, columns: protectedPeople(t, protect.Strict)})
	l := &tap{t: t, dial: func() net.Conn { return g.patient(t) }}
	const digits = "SELECT substr(p.ssn, i, 1) FROM people p, generate_series(1, 11) i WHERE p.id = 1 ORDER BY i"
	l.send(&pgproto3.Parse{Name: "p", Query: digits}, &pgproto3.Sync{})
	l.until(1)
	l.query("EXECUTE p")
	l.query("EXPLAIN EXECUTE p")
	l.send(&pgproto3.Bind{DestinationPortal: "c", PreparedStatement: "p"}, &pgproto3.Execute{Portal: "c", MaxRows: 2}, &pgproto3.Flush{})
	l.send(&pgproto3.Execute{Portal: "c"}, &pgproto3.Sync{})
	l.until(1)
	l.query("BEGIN")
	l.send(&pgproto3.Bind{DestinationPortal: "c", PreparedStatement: "p"}, &pgproto3.Sync{})
	l.until(1)
	l.query("FETCH ALL FROM c")
	l.query("COMMIT")
	if !bytes.Contains(l.stream, []byte("[redacted]")) || !bytes.Contains(l.stream, []byte("FETCH 11")) {
		t.Errorf("nothing came: %q", l.stream)
	}
	if n := leaked(l.stream); n != nil {
		t.Errorf("%q came: %q", n, l.stream)
	}
}

// dialServer opens a session of the superuser at the server itself.
func dialServer(t testing.TB, g *gate, database string) net.Conn {
	t.Helper()
	c, err := pgconn.Connect(t.Context(), g.pg.URL(database))
	if err != nil {
		t.Fatal(err)
	}
	h, err := c.Hijack()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Conn.Close() })
	return h.Conn
}

// patient is a session through the gate that may last.
func (g *gate) patient(t testing.TB) net.Conn {
	t.Helper()
	c := g.raw(t).Conn
	if err := c.SetDeadline(time.Now().Add(hangs)); err != nil {
		t.Fatal(err)
	}
	return c
}
