package postgres_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/jackc/pgproto3/v2"
)

// A step is one message of a client. In the place of a message, a barrier has
// all that was sent before answered.
type step struct {
	wire []byte
	text string
	odd  bool // breaks the protocol
}

func (s step) barrier() bool { return s.wire == nil }

// A sequence is what a client sends.
type sequence []step

func (s sequence) String() string {
	var b strings.Builder
	for _, st := range s {
		b.WriteString("\t" + st.text + "\n")
	}
	return b.String()
}

// world is what the sequences' statements are about. Table w has another type
// in each schema, so that a statement means another thing after the search path
// has changed.
const world = `
	CREATE TABLE d (n int PRIMARY KEY, s text);
	CREATE TABLE k (n int, UNIQUE (n) DEFERRABLE INITIALLY DEFERRED);
	CREATE TABLE w (v int);
	CREATE SCHEMA o;
	CREATE TABLE o.w (v text);
	INSERT INTO w VALUES (1); INSERT INTO o.w VALUES ('other');
	CREATE SEQUENCE q;
	CREATE FUNCTION to_other() RETURNS int LANGUAGE sql AS $$ SELECT set_config('search_path', 'o', false); SELECT 1 $$;
	CREATE FUNCTION elsewhere() RETURNS text LANGUAGE sql SET search_path = o AS $$ SELECT current_setting('search_path') $$;
	CREATE FUNCTION opens() RETURNS refcursor LANGUAGE plpgsql AS $$ DECLARE c refcursor := 'c'; BEGIN OPEN c FOR SELECT n, s FROM d ORDER BY n; RETURN c; END $$;
	CREATE PROCEDURE commits() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO d VALUES (9, 'nine'); COMMIT; END $$;
	CREATE PROCEDURE aborts() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO d VALUES (9, 'nine'); ROLLBACK; END $$;`

// again puts the world back.
const again = `DELETE FROM d; INSERT INTO d SELECT i, 'row ' || i FROM generate_series(1, 4) i; DELETE FROM k;
	SELECT lo_unlink(oid) FROM pg_largeobject_metadata; SELECT setval('q', 1, false)`

// queries are statements that answer with rows, or go wrong.
var queries = []string{
	"SELECT 1", "SELECT $1::int", "SELECT $1::text, $2::int", "SELECT n, s FROM d ORDER BY n", "SELECT s FROM d WHERE n <= $1 ORDER BY n",
	"VALUES (1, 'a'), (2, 'b'), (3, NULL)", "SELECT n / (n - 2) FROM d ORDER BY n", "SELECT 1/0", "SELECT * FROM w", "SELECT v FROM missing",
	"INSERT INTO d VALUES ($1, $2) RETURNING n, s", "UPDATE d SET s = s || '!' WHERE n > $1 RETURNING s", "SELECT", "SELECT '\\x00ff'::bytea, 1.5::numeric",
	"SELECT i, repeat('x', 100) FROM generate_series(1, 60) i", "SHOW search_path", "EXPLAIN (COSTS OFF) SELECT n FROM d",
	"FETCH 2 FROM c", "FETCH ALL FROM p", "FETCH FORWARD 1 FROM r", "EXECUTE a(2)", "EXECUTE b", "SELECT nextval('q')", "SELECT currval('q')",
	"SELECT to_other()", "SELECT elsewhere()", "SELECT opens()", "SELECT lo_from_bytea(4711, 'large')", "SELECT lo_get(4711)", "SELECT lo_unlink(4711)",
	"SELECT set_config('search_path', 'o', true)", "SELECT set_config('search_path', 'public', false)", "SELECT name FROM pg_prepared_statements ORDER BY 1",
	"SELECT name, is_holdable FROM pg_cursors WHERE name <> '' ORDER BY 1", "TABLE x", "SELECT 'a' || 1 || $1",
	"WITH i AS (INSERT INTO d VALUES (7, 'seven') RETURNING n) SELECT n FROM i",
}

// copyStatements copy data to the client or from it, or go wrong.
var copyStatements = slices.Concat(copiesOut, copiesIn, copiesIn)

var copiesOut = []string{
	"COPY (SELECT n, s FROM d ORDER BY n) TO STDOUT", "COPY w TO STDOUT (FORMAT csv, HEADER)", "COPY (SELECT * FROM w) TO STDOUT (FORMAT binary)",
	"COPY (SELECT n / (n - 2) FROM d ORDER BY n) TO STDOUT", "COPY missing TO STDOUT", "COPY (SELECT x FROM d) TO STDOUT", "COPY x TO STDOUT", "COPY (SELECT $1::int) TO STDOUT",
	"COPY (INSERT INTO d VALUES (8, 'eight') RETURNING n) TO STDOUT", "COPY (SELECT nextval('q'), to_other()) TO STDOUT", "COPY (SELECT 1) TO STDOUT (FORMAT xml)",
}

var copiesIn = []string{
	"COPY d FROM STDIN", "COPY d FROM STDIN", "COPY d FROM STDIN (FORMAT csv)", "COPY d (n) FROM STDIN (FORMAT binary)", "COPY w FROM STDIN", "COPY k FROM STDIN",
	"COPY missing FROM STDIN", "COPY d FROM STDIN (FORMAT csv, DELIMITER 'ab')", "COPY d FROM STDIN WHERE n > 5", "COPY x FROM STDIN",
}

// pieces are parts of the data that uploads hold, right and wrong.
var pieces = []string{
	"5\tfive\n", "6\tsix\n7\tsev", "en\n", "1\ttwice\n", "x\ty\n", "8\n", "\\.\n", "5,\"fi\nve\"\n", "1\n", "", "\n",
	"PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00", "\x00\x01\x00\x00\x00\x04\x00\x00\x00\x0b", "\xff\xff",
}

// commands are statements that answer with a tag, or go wrong.
var commands = []string{
	"BEGIN", "COMMIT", "ROLLBACK", "START TRANSACTION READ ONLY", "COMMIT AND CHAIN", "ROLLBACK AND CHAIN", "SAVEPOINT a", "ROLLBACK TO a", "RELEASE a",
	"SAVEPOINT b", "ROLLBACK TO b", "SET search_path TO o", "SET LOCAL search_path TO o, public", "RESET search_path", "RESET ALL", "SET TimeZone TO 'Asia/Tokyo'",
	"SET DateStyle TO 'German'", "SET ROLE NONE", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
	"PREPARE a AS SELECT n, s FROM d WHERE n < $1 ORDER BY n", "PREPARE b AS SELECT v FROM w", "DEALLOCATE a", "DEALLOCATE b", "DEALLOCATE ALL",
	"DECLARE c CURSOR FOR SELECT n, s FROM d ORDER BY n", "DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT v FROM w", "DECLARE p BINARY CURSOR FOR SELECT n FROM d ORDER BY n",
	"MOVE 1 FROM c", "MOVE 1 FROM p", "CLOSE c", "CLOSE p", "CLOSE ALL", "DISCARD ALL", "DISCARD PLANS", "DISCARD TEMP", "DISCARD SEQUENCES",
	"INSERT INTO d VALUES (5, 'five')", "INSERT INTO d VALUES (1, 'twice')", "INSERT INTO k VALUES (1), (1)", "INSERT INTO k VALUES (2)", "DELETE FROM d WHERE n = $1",
	"CREATE TEMP TABLE x (a int)", "DROP TABLE x", "LISTEN c", "NOTIFY c, 'hello'", "UNLISTEN *", "LOCK TABLE d", "SET CONSTRAINTS ALL IMMEDIATE",
	"DO $$ BEGIN RAISE NOTICE 'a notice'; END $$", "DO $$ BEGIN RAISE EXCEPTION 'an error'; END $$", "CALL commits()", "CALL aborts()",
	"PREPARE TRANSACTION 'g'", "COMMIT PREPARED 'g'", "SELECT n INTO TEMP x FROM d",
}

// texts are no statements.
var texts = []string{"", ";", "-- nothing", " ; ;", "SELEC 1", "SELECT 'open", "SELECT 1 FROM FROM d", "SELECT 1; SELEC", "\n\nSELECT é ?? 1"}

// A player makes sequences from chance, or from a fuzzer's bytes.
type player struct{ *rand.Rand }

func pick[T any](p player, from ...T) T { return from[p.IntN(len(from))] }

func (p player) one(in int) bool { return p.IntN(in) == 0 }

func (p player) sql() string {
	switch n := p.IntN(100); {
	case n < 40:
		return pick(p, queries...)
	case n < 50:
		return pick(p, copyStatements...)
	case n < 90:
		return pick(p, commands...)
	}
	return pick(p, texts...)
}

// script is what a simple query holds.
func (p player) script() string {
	sql := p.sql()
	for p.one(3) {
		// Where columns are masked, COPY TO stands at the beginning only.
		if next := p.sql(); !strings.HasSuffix(next, "STDOUT") && !strings.Contains(next, "STDOUT (") {
			sql += "; " + next
		}
	}
	return sql
}

func (p player) statement() string { return pick(p, "", "", "", "a", "b", "b", "y") }

func (p player) portal() string { return pick(p, "", "", "p", "r", "c") }

// message is any single message.
func (p player) message() step {
	switch n := p.IntN(200); {
	case n < 40:
		return ask(&pgproto3.Query{String: p.script()})
	case n < 70:
		return p.parse(p.statement())
	case n < 95:
		return p.bind(p.portal(), p.statement())
	case n < 120:
		return p.execute(p.portal())
	case n < 145:
		return p.describe(pick(p, byte('S'), 'P'))
	case n < 155:
		return ask(&pgproto3.Close{ObjectType: pick(p, byte('S'), 'P'), Name: pick(p, "", "a", "b", "c", "p", "r")})
	case n < 170:
		return ask(&pgproto3.Flush{})
	case n < 188:
		return ask(&pgproto3.Sync{})
	case n < 196:
		return pick(p, p.data(), ask(&pgproto3.CopyDone{}), ask(&pgproto3.CopyFail{Message: "no"}))
	case n < 198:
		return ask(&pgproto3.FunctionCall{Function: 999999})
	}
	return pick(p, odd...)
}

// odd are messages that break the protocol.
var odd = []step{
	broken("an unknown type", 'z', nil), broken("a second password", 'p', []byte("x\x00")), broken("a Describe of neither", 'D', []byte("X\x00")),
	broken("a Bind that ends early", 'B', []byte("\x00\x00\x00\x00\x00\x02\x00\x00")), broken("a Sync with a body", 'S', []byte("x")),
	broken("a Parse without an end", 'P', []byte("\x00SELECT 1")), broken("an Execute without a limit", 'E', []byte("\x00")),
	{wire: []byte{'S', 0, 0, 0, 3}, text: "a length of 3", odd: true}, broken("a Query without an end", 'Q', []byte("SELECT 1")),
	broken("a Query with a tail", 'Q', []byte("SELECT 1\x00SELECT 2\x00")), broken("a Flush with a body", 'H', []byte("x")),
}

func broken(text string, kind byte, body []byte) step {
	b := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4))
	return step{append(b, body...), text, true}
}

func (p player) parse(name string) step {
	m := &pgproto3.Parse{Name: name, Query: p.sql()}
	for name != "" && strings.HasPrefix(m.Query, "COPY") { // of which the gate refuses the EXECUTE
		m.Query = p.sql()
	}
	if p.one(6) {
		m.ParameterOIDs = pick(p, []uint32{23}, []uint32{25}, []uint32{23, 25}, []uint32{0, 0, 0}, []uint32{99999})
	}
	return ask(m)
}

func (p player) bind(portal, statement string) step {
	m := &pgproto3.Bind{DestinationPortal: portal, PreparedStatement: statement}
	for range pick(p, 0, 0, 1, 1, 1, 2, 2, 3) {
		m.Parameters = append(m.Parameters, pick(p, []byte("1"), []byte("2"), []byte("5"), []byte("x"), []byte{}, nil, []byte{0, 0, 0, 2}, []byte{0xff}))
	}
	m.ParameterFormatCodes = pick(p, nil, nil, nil, []int16{0}, []int16{1}, []int16{0, 1})
	if len(m.ParameterFormatCodes) > 1 && len(m.ParameterFormatCodes) != len(m.Parameters) {
		m.ParameterFormatCodes = nil // breaks the protocol, see odd
	}
	m.ResultFormatCodes = pick(p, nil, nil, []int16{0}, []int16{1}, []int16{1, 0}, []int16{0, 1, 0}, []int16{7})
	return ask(m)
}

func (p player) execute(portal string) step {
	return ask(&pgproto3.Execute{Portal: portal, MaxRows: pick(p, uint32(0), 0, 1, 2, 50)})
}

func (p player) describe(kind byte) step {
	m := &pgproto3.Describe{ObjectType: kind}
	if kind == 'S' {
		m.Name = p.statement()
	} else {
		m.Name = p.portal()
	}
	return ask(m)
}

// unit is some messages that go together, as drivers send them.
func (p player) unit() (s sequence) {
	statement, portal := p.statement(), p.portal()
	if p.one(3) {
		statement, portal = "", ""
	}
	if !p.one(4) {
		s = append(s, p.parse(statement))
	}
	if p.one(4) {
		s = append(s, ask(&pgproto3.Describe{ObjectType: 'S', Name: statement}))
	}
	if p.one(6) {
		s = append(s, ask(&pgproto3.Sync{}))
	}
	s = append(s, p.bind(portal, statement))
	if p.one(2) {
		s = append(s, ask(&pgproto3.Describe{ObjectType: 'P', Name: portal}))
	}
	for range pick(p, 1, 1, 1, 2, 3) {
		s = append(s, p.execute(portal))
	}
	if !p.one(3) {
		s = append(s, ask(&pgproto3.Sync{}))
	}
	return s
}

func (p player) data() step { return ask(&pgproto3.CopyData{Data: []byte(pick(p, pieces...))}) }

// upload is a COPY, mostly from the client, and what may belong to it.
func (p player) upload() (s sequence) {
	sql := pick(p, copyStatements...)
	if extended := p.one(2); extended {
		portal, statement := p.portal(), pick(p, "", "y")
		s = append(s, ask(&pgproto3.Parse{Name: statement, Query: sql}), ask(&pgproto3.Bind{DestinationPortal: portal, PreparedStatement: statement}), p.execute(portal))
		if p.one(2) {
			s = append(s, ask(&pgproto3.Sync{}))
		}
	} else {
		for p.one(4) {
			sql += "; " + pick(p, copiesIn...)
		}
		s = append(s, ask(&pgproto3.Query{String: sql}))
	}
	for range p.IntN(6) {
		switch p.IntN(16) {
		case 0, 1:
			s = append(s, ask(&pgproto3.Sync{}))
		case 2:
			s = append(s, ask(&pgproto3.Flush{}))
		case 3:
			s = append(s, p.message())
		default:
			s = append(s, p.data())
		}
	}
	if !p.one(6) {
		s = append(s, pick(p, ask(&pgproto3.CopyDone{}), ask(&pgproto3.CopyDone{}), ask(&pgproto3.CopyFail{Message: "no"})))
	}
	if !p.one(3) {
		s = append(s, ask(&pgproto3.Sync{}))
	}
	return s
}

// sequence makes one of some size.
func (p player) sequence() (s sequence) {
	for range 1 + p.IntN(8) {
		switch p.IntN(9) {
		case 0, 1, 2:
			s = append(s, p.unit()...)
		case 8:
			s = append(s, p.upload()...)
		case 3:
			s = append(s, ask(&pgproto3.Query{String: p.script()}))
		case 4:
			s = append(s, step{text: "wait"})
		default:
			s = append(s, p.message())
		}
	}
	return s
}

func ask(m pgproto3.FrontendMessage) step {
	wire, err := m.Encode(nil)
	if err != nil {
		panic(err) // a test's own message
	}
	text := fmt.Sprintf("%T", m)[len("*pgproto3."):]
	switch m := m.(type) {
	case *pgproto3.Query:
		text += fmt.Sprintf(" %q", m.String)
	case *pgproto3.Parse:
		text += fmt.Sprintf(" %q: %q %v", m.Name, m.Query, m.ParameterOIDs)
	case *pgproto3.Bind:
		text += fmt.Sprintf(" %q of %q %q formats %v, results %v", m.DestinationPortal, m.PreparedStatement, m.Parameters, m.ParameterFormatCodes, m.ResultFormatCodes)
	case *pgproto3.Execute:
		text += fmt.Sprintf(" %q %d", m.Portal, m.MaxRows)
	case *pgproto3.Describe:
		text += fmt.Sprintf(" %c %q", m.ObjectType, m.Name)
	case *pgproto3.CopyData:
		text += fmt.Sprintf(" %q", m.Data)
	case *pgproto3.Close:
		text += fmt.Sprintf(" %c %q", m.ObjectType, m.Name)
	}
	return step{wire: wire, text: text}
}
