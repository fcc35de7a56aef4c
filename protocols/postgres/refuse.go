package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/protocols/postgres/statement"
)

// SQLSTATEs that the gate itself answers with.
const (
	codeAccessDenied    = "42501" // insufficient_privilege
	codeCanceled        = "57014" // query_canceled
	codeShutdown        = "57P01" // admin_shutdown
	codeUnauthenticated = "28000" // invalid_authorization_specification
	codeBadPassword     = "28P01" // invalid_password
	codeNoStatement     = "26000" // invalid_sql_statement_name
	codeNoPortal        = "34000" // invalid_cursor_name
	codeSyntax          = "42601" // syntax_error
	codeProtocol        = "08P01" // protocol_violation
	codeUnreachable     = "08001" // sqlclient_unable_to_establish_sqlconnection
	codeUnsupported     = "0A000" // feature_not_supported
	codeInternal        = "XX000" // internal_error
	codeLimit           = "53400" // configuration_limit_exceeded
	codeTooLong         = "54000" // program_limit_exceeded
	codeTooComplex      = "54001" // statement_too_complex
	codeNameTooLong     = "42622" // name_too_long
	codeLost            = "08006" // connection_failure
	codeTooMany         = "53300" // too_many_connections
	codeIdle            = "57P05" // idle_session_timeout
	codeIdleInTx        = "25P03" // idle_in_transaction_session_timeout
	codeInFailed        = "25P02" // in_failed_sql_transaction
)

// A refusal is what the client reads instead of a result.
type refusal struct {
	code     string
	message  string
	hint     string
	position int // in the text, in characters from 1; 0 when unknown
}

// append appends an ErrorResponse of the given severity.
func (r *refusal) append(b []byte, severity string) []byte {
	m := pgproto3.ErrorResponse{
		Severity:            severity,
		SeverityUnlocalized: severity,
		Code:                r.code,
		Message:             r.message,
		Hint:                r.hint,
		Position:            int32(r.position),
	}
	out, err := m.Encode(b)
	if err != nil { // a message of a gigabyte
		return b
	}
	return out
}

// An endError ends a session with a FATAL error that the client is told.
type endError struct {
	refusal
	err error // for the log
}

func (e *endError) Error() string {
	if e.err != nil {
		return e.err.Error()
	}
	return e.message
}

func (e *endError) Unwrap() error { return e.err }

// fatal turns err into what the client is told of it.
func fatal(err error) *endError {
	if e, ok := errors.AsType[*endError](err); ok {
		return e
	}
	if v, ok := errors.AsType[*violation](err); ok {
		return &endError{refusal{code: codeProtocol, message: "gatehouse: " + v.reason}, nil}
	}
	return &endError{refusal{code: codeInternal, message: "gatehouse: the session cannot go on"}, err}
}

// reason returns what the client may read of err, or else.
func reason(err error, otherwise string) string {
	if e, ok := errors.AsType[interface {
		error
		Reason() string
	}](err); ok {
		return e.Reason()
	}
	return otherwise
}

// refusedName is the statement name of the Parse that stands for a refused
// message of another kind. The server never stores it: it cannot be parsed.
const refusedName = "gatehouse refused"

// tooMany refuses a name that would be one too many. The unnamed statement and
// portal take the place of those before.
func (s *session) tooMany(ctx context.Context, name string) (*refusal, error) {
	limits := &s.protocol.config.Limits
	if name == "" || !s.queue.full(limits.Prepared, limits.MessageSize) {
		return nil, nil
	}
	// What is owed may close some.
	if err := s.drain(ctx, 0); err != nil || !s.queue.full(limits.Prepared, limits.MessageSize) {
		return nil, err
	}
	return &refusal{code: codeTooComplex, message: "gatehouse: too many prepared statements and portals, or too large ones",
		hint: "Close those that are no longer needed."}, nil
}

// refused marks e as the response to a refused message.
func refused(e *owed, r *refusal) *owed {
	e.futile = (r.code == codeAccessDenied || r.code == codeLimit || r.code == codeCanceled) && e.isFutile()
	e.refusal, e.facts, e.names = r, nil, false
	return e
}

// isFutile reports whether a server refuses to run e's query in a failed
// transaction: it runs there what ends the transaction, and nothing else.
func (e *owed) isFutile() bool {
	facts := e.facts
	if e.st != nil {
		facts = e.st.facts
	}
	if facts == nil || facts.Len() == 0 {
		return false
	}
	switch facts.Statements[facts.Top(0)].Kind {
	case "COMMIT", "ROLLBACK", "PREPARE TRANSACTION":
		return false
	}
	return true
}

// inFailed is what servers say of what is futile.
var inFailed = &refusal{code: codeInFailed, message: "current transaction is aborted, commands ignored until end of transaction block"}

// constantQuery and constantParse take the place of refused messages. The
// server rejects them, which fails its transaction and keeps it in step.
var (
	constantQuery = appendFrame(nil, 'Q', func(b []byte) []byte {
		return append(append(b, statement.Reject...), 0)
	})
	constantParse = parseReject(refusedName)
	// constantUnnamed drops the unnamed statement too, as the message that it
	// stands for would have.
	constantUnnamed = parseReject("")
)

// constantCall takes the place of refused function calls: no function has the
// OID 0.
var constantCall = appendFrame(nil, 'F', func(b []byte) []byte {
	return append(b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
})

// constantMalformed takes the place of a Query that does not hold one string.
// Unlike constantQuery it leaves the unnamed statement.
var constantMalformed = appendFrame(nil, 'Q', func(b []byte) []byte { return b })

func parseReject(name string) []byte {
	return appendFrame(nil, 'P', func(b []byte) []byte {
		b = append(append(b, name...), 0)
		b = append(append(b, statement.Reject...), 0)
		return append(b, 0, 0)
	})
}

// refusedText is how much is recorded of a text that is refused unread.
const refusedText = 1 << 20

// reject records req, whose text facts are of where it was read, as refused by
// the gate itself, not by a plugin.
func (s *session) reject(ctx context.Context, req *event.Request, facts *statement.Result, r *refusal) *pipeline.Exchange {
	s.mask(ctx, req, facts)
	if n := len(req.Payload); n > refusedText {
		req.Payload = wholeRunes(req.Payload[:refusedText])
		req.Attrs = append(req.Attrs, event.Attr{Key: "gatehouse.payload_bytes", Value: strconv.Itoa(n)})
	}
	return s.ps.Refuse(ctx, req, event.Verdict{Rule: "postgres/protocol", Reason: r.message})
}

// refuseQuery refuses a simple query that the gate itself does not let pass.
func (s *session) refuseQuery(ctx context.Context, req *event.Request, facts *statement.Result, r *refusal) error {
	x := s.reject(ctx, req, facts, r)
	return s.forward(constantQuery, &owed{kind: 'Q', x: x, refusal: r})
}

// refuseExtended refuses a message of the extended protocol: nothing up to
// Sync runs.
func (s *session) refuseExtended(e *owed, r *refusal) error {
	s.discarding = true
	constant := constantParse
	if e.kind == 'P' && e.name == "" {
		constant = constantUnnamed
	}
	return s.forward(constant, refused(e, r))
}

func (s *session) unparsable(ctx context.Context, err error) *refusal {
	if e, ok := errors.AsType[*statement.SyntaxError](err); ok {
		if s.ps.Terms().AllProtected != nil { // the message quotes the text
			return &refusal{code: codeSyntax, message: "gatehouse: the statement cannot be parsed", position: e.Position}
		}
		return &refusal{code: codeSyntax, message: s.ps.Hidden(ctx, e.Message), position: e.Position}
	}
	if errors.Is(err, statement.ErrLimit) {
		return &refusal{code: codeTooComplex, message: "gatehouse: the statement cannot be judged: " + err.Error()}
	}
	return &refusal{code: codeAccessDenied, message: "gatehouse: the statement cannot be judged"}
}

// errSkipped is the refusal of a message that the server will discard.
var errSkipped = &refusal{}

func denied(v event.Verdict) *refusal {
	r := &refusal{code: codeAccessDenied, message: "gatehouse: " + v.Reason}
	if v.Rule != "" && !strings.Contains(v.Reason, v.Rule) {
		r.hint = "rule " + v.Rule
	}
	return r
}

func missing(what, name string) string {
	if name == "" {
		return "unnamed " + what + " does not exist"
	}
	return fmt.Sprintf("%s %q does not exist", what, name)
}
