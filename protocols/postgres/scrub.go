package postgres

import (
	"encoding/binary"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/event"
)

// What a server says beside rows can hold any value: an error quotes what it
// could not cast, a function raises or notifies what it likes. Where columns are
// protected from a session's principal, none of that passes as it is.

// guarded is whether columns are protected from the session's principal.
func (s *session) guarded() bool { return s.ps.Terms().Protected != nil }

// withheld is the hint of an error or notice whose text does not pass.
const withheld = "The server's own text is withheld, because columns of the resource are protected."

// scrub leaves of an error or a notice what cannot hold a protected value.
func scrub(m *pgproto3.ErrorResponse) {
	if ownText(m) {
		m.Detail = ""
	} else {
		if conditions()[m.Code] == "" {
			m.Code = codeRaised
		}
		m.Message, m.Detail, m.Hint, m.Position = "gatehouse: "+conditions()[m.Code], "", withheld, 0
		if m.Code == "00000" {
			m.Message = "gatehouse: a notice"
		}
	}
	if !slices.Contains(integrity, m.Routine) {
		m.SchemaName, m.TableName, m.ColumnName, m.DataTypeName, m.ConstraintName = "", "", "", "", ""
	}
	switch m.SeverityUnlocalized {
	case "ERROR", "FATAL", "PANIC", "WARNING", "NOTICE", "INFO", "LOG", "DEBUG":
	default:
		m.SeverityUnlocalized = "ERROR"
	}
	m.Severity = m.SeverityUnlocalized
	m.InternalPosition, m.InternalQuery, m.Where = 0, "", ""
	m.File, m.Line, m.Routine, m.UnknownFields = "", 0, "", nil
}

// decided are the classes of errors that values decide about. Those of others tell
// clients what to do: of the connection, transactions, resources, locks.
var decided = []string{"02", "0A", "20", "21", "22", "23", "28", "2F", "34", "38", "39", "3D", "3F", "42", "44", "54", "58", "F0", "HV", "P0", "XX"}

// blur leaves of a scrubbed error of a statement that may fail for a protected value
// that it failed. Which way it failed would tell of the value.
func blur(m *pgproto3.ErrorResponse) {
	if m.Position > 0 || !slices.ContainsFunc(decided, func(class string) bool { return strings.HasPrefix(m.Code, class) }) {
		return
	}
	m.Code, m.Message = codeRaised, "gatehouse: "+conditions()[codeRaised]
	m.SchemaName, m.TableName, m.ColumnName, m.DataTypeName, m.ConstraintName = "", "", "", "", ""
}

// ownText is whether an error is about the client's own text, found before
// anything ran: it has a place there, and none in a text of the server's or of a
// function. Its message names what the text names.
func ownText(m *pgproto3.ErrorResponse) bool {
	return strings.HasPrefix(m.Code, "42") && conditions()[m.Code] != "" &&
		m.Position > 0 && m.InternalPosition == 0 && m.InternalQuery == "" && m.Where == ""
}

// integrity are the functions of the server that report a violated constraint.
// The names in their errors are those of the table and the constraint; in others
// they are whatever a function put there.
var integrity = []string{
	"_bt_check_unique", "check_exclusion_or_unique_constraint", "ri_ReportViolation",
	"ExecConstraints", "ReportNotNullViolationError", "ExecPartitionCheckEmitError",
	"ExecEvalConstraintNotNull", "ExecEvalConstraintCheck", "domain_check_input",
}

// notice passes on a NoticeResponse.
func (s *session) notice(f []byte) error {
	if !s.guarded() {
		return s.send(nil, f)
	}
	var m pgproto3.NoticeResponse
	if err := m.Decode(f[frameHeader:]); err != nil {
		return violated("malformed NoticeResponse")
	}
	scrub((*pgproto3.ErrorResponse)(&m))
	f, err := m.Encode(nil)
	if err != nil {
		return err
	}
	return s.send(nil, f)
}

// Listens are the channels that the client's own statements listen to by name.
// The name of another one may be a value.
type listens struct {
	mu    sync.Mutex
	names map[string]bool
}

// maxListens is how many channels are remembered. Notifications of further ones
// come without their name.
const maxListens = 1000

func (l *listens) note(statements []event.Statement) {
	for i := range statements {
		if statements[i].Kind != "LISTEN" {
			continue
		}
		l.mu.Lock()
		if l.names == nil {
			l.names = map[string]bool{}
		}
		for _, name := range statements[i].Names {
			if len(l.names) < maxListens {
				l.names[name] = true
			}
		}
		l.mu.Unlock()
	}
}

func (l *listens) has(name []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.names[string(name)]
}

// otherChannel takes the place of a channel's name that may be a value.
const otherChannel = "gatehouse"

// notification passes on a NotificationResponse, without its payload where
// columns are protected.
func (s *session) notification(f []byte) error {
	if s.guarded() {
		c := cursor{b: f[frameHeader:]}
		pid, channel := c.uint32(), c.cstring()
		if !s.listens.has(channel) {
			channel = []byte(otherChannel)
		}
		f = appendFrame(nil, 'A', func(b []byte) []byte {
			b = append(binary.BigEndian.AppendUint32(b, pid), channel...)
			return append(b, 0, 0)
		})
	}
	return s.send(nil, f)
}

// fixedParams are the settings that servers report whose values are the server's
// own, or of a few that there are.
var fixedParams = map[string]bool{
	"client_encoding": true, "DateStyle": true, "default_transaction_read_only": true, "in_hot_standby": true,
	"integer_datetimes": true, "IntervalStyle": true, "is_superuser": true, "server_encoding": true,
	"server_version": true, "standard_conforming_strings": true,
}

// Shown are the values of other settings that a session's client may see: those
// that the session began with, and those that came of a SET, which the client
// wrote itself. All others may have been computed. It belongs to the responses'
// goroutine, but for what a session begins with.
type shown struct {
	values   map[string]bool // by name and value
	computed bool            // what ran since the last ReadyForQuery may have computed a setting
}

// maxShown is how many values are remembered.
const maxShown = 1000

func (v *shown) begin(params map[string]string) {
	v.values = make(map[string]bool, len(params))
	for name, value := range params {
		v.values[name+"="+value] = true
	}
}

// report returns whether a value that the server reports may be shown.
func (v *shown) report(name, value string) bool {
	key := name + "=" + value
	if fixedParams[name] || v.values[key] {
		return true
	}
	if v.computed || len(v.values) >= maxShown {
		return false
	}
	v.values[key] = true
	return true
}

// ran takes into account that e ran, or was planned.
func (v *shown) ran(e *owed) {
	facts := e.facts
	if e.kind == 'B' && !e.st.viaSQL {
		facts = e.st.facts
	}
	v.computed = v.computed || facts == nil || !setsOnly(facts.Statements)
}

// setsOnly is whether settings come out of statements only as the text has them,
// or as they were.
func setsOnly(statements []event.Statement) bool {
	for i := range statements {
		st := &statements[i]
		switch st.Kind {
		case "SET", "RESET", "SHOW", "DISCARD ALL", "BEGIN", "START TRANSACTION", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "LISTEN", "UNLISTEN":
		default:
			return false
		}
		if st.Opaque || len(st.Functions) > 0 {
			return false
		}
	}
	return true
}

// knownTag is whether a command tag is as the server's are: words in capitals and
// up to two counts.
func knownTag(tag string) bool {
	words := strings.TrimRight(tag, " 0123456789")
	counts := 0
	for range strings.FieldsSeq(tag[len(words):]) {
		counts++
	}
	for _, c := range words {
		if (c < 'A' || c > 'Z') && c != ' ' {
			return false
		}
	}
	return words != "" && counts <= 2 && (counts == 0 || tag[len(words)] == ' ')
}
