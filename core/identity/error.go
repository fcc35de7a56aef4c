package identity

import "fmt"

// An Error says why a credential was refused. Neither its text nor its reason
// contains anything of the credential but the times and names that it was
// checked against.
type Error struct {
	reason string
	cause  error
}

// Error returns the reason and its cause, for the gate's own log.
func (e *Error) Error() string {
	if e.cause == nil {
		return "identity: " + e.reason
	}
	return "identity: " + e.reason + ": " + e.cause.Error()
}

// Reason returns what the client may read.
func (e *Error) Reason() string { return e.reason }

// Unwrap returns the cause, or nil.
func (e *Error) Unwrap() error { return e.cause }

func refuse(reason string) *Error { return &Error{reason: reason} }

// A ConfigError names the field of a configuration that is wrong.
type ConfigError struct {
	Field string // "Issuer", "SignIn.URL"
	Value string
	Err   error
}

// Error names the field, its value and what is wrong with it.
func (e *ConfigError) Error() string {
	return fmt.Sprintf("identity: %s %q: %v", e.Field, e.Value, e.Err)
}

// Unwrap returns what is wrong with the value.
func (e *ConfigError) Unwrap() error { return e.Err }
