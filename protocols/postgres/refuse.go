package postgres

import (
	"errors"

	"github.com/jackc/pgproto3/v2"
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
