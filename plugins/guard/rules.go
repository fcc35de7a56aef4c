package main

import (
	"strings"

	"gatehouse/sdk"
)

// A rule says why a statement may not simply run, or "" when it may.
type rule struct {
	name    string
	action  action
	applies func(*sdk.Statement) string
}

const (
	block = action(sdk.Block)
	hold  = action(sdk.Hold)
)

// standard is the standard rules with what they do by default. Of several that
// are equally strict the first gives the reason.
var standard = []rule{
	{"unknown", block, unknown},
	{"destruction", block, destruction},
	{"unqualified-write", block, unqualifiedWrite},
	{"privilege", block, privilege},
	{"outside", block, outside},
	{"administration", block, administration},
	{"settings", block, settings},
	{"opaque", block, opaque},
	{"code", hold, code},
	{"mass-write", hold, massWrite},
	{"unestimated", hold, func(*sdk.Statement) string { return "" }}, // it is about the request
	{"ddl", hold, ddl},
}

func unknown(st *sdk.Statement) string {
	for _, verb := range [...]string{"CREATE ", "ALTER ", "DROP ", "DISCARD "} {
		if strings.HasPrefix(st.Kind, verb) {
			return ""
		}
	}
	if known[st.Kind] {
		return ""
	}
	return sdk.Subject(st) + " is a kind of statement that the guard does not know"
}

func opaque(st *sdk.Statement) string {
	if !st.Opaque {
		return ""
	}
	if st.Kind == "EXECUTE" {
		return "EXECUTE of a prepared statement that the gate has not seen cannot be judged"
	}
	return sdk.Subject(st) + " cannot be judged: it runs code or text that the gate cannot read"
}

func destruction(st *sdk.Statement) string {
	switch {
	case strings.HasPrefix(st.Kind, "DROP "):
		return sdk.Subject(st) + " destroys what it names"
	case st.Kind == "TRUNCATE TABLE":
		return sdk.Subject(st) + " destroys all of its rows"
	case st.Kind == "CREATE TABLE" && has(st.Options, "OR REPLACE"):
		return sdk.Subject(st) + " with OR REPLACE destroys the table that is there"
	}
	if f := sdk.Calls(st, destroyers); f != "" {
		return f + " destroys data"
	}
	if strings.HasPrefix(st.Kind, "ALTER ") {
		if o := first(st.Options, destroyingOptions); o != "" {
			return sdk.Subject(st) + " " + o + " destroys data"
		}
	}
	return ""
}

func unqualifiedWrite(st *sdk.Statement) string {
	switch {
	case st.Scope == sdk.ScopeRestricted:
		return ""
	case st.Kind == "UPDATE", st.Kind == "DELETE":
	case st.Kind == "MERGE" && st.Scope == sdk.ScopeAll:
	default:
		return ""
	}
	return sdk.Subject(st) + " has no condition that restricts its rows"
}

func privilege(st *sdk.Statement) string {
	switch {
	case privilegeKinds[st.Kind]:
		return sdk.Subject(st) + " changes privileges or identities"
	case has(st.Settings, "role", "session_authorization"):
		return sdk.Subject(st) + " changes the role that statements run as"
	case isWrite(st) && anyObject(st.Writes, isPrivilegeCatalogue):
		return sdk.Subject(st) + " changes the catalogue of privileges"
	}
	if isDefinition(st) {
		if st.Kind == "ALTER EVENT TRIGGER" && has(st.Options, switches...) {
			return "ALTER EVENT TRIGGER switches a trigger on or off"
		}
		if o := first(st.Options, privilegeOptions); o != "" {
			return sdk.Subject(st) + " " + o + " changes privileges or what enforces them"
		}
	}
	return ""
}

func outside(st *sdk.Statement) string {
	switch {
	case outsideKinds[st.Kind]:
		return sdk.Subject(st) + " reaches outside of the database"
	case st.Kind == "COPY" && has(st.Options, "FILE", "PROGRAM"):
		return "COPY of a file or program on the server reaches outside of the database"
	case has(st.Options, "INTO OUTFILE", "INTO DUMPFILE"):
		return sdk.Subject(st) + " writes a file on the server"
	}
	if anyObject(st.Reads, isFileView) {
		return sdk.Subject(st) + " reads files of the server"
	}
	if f := sdk.Calls(st, outsiders); f != "" {
		return f + " reaches outside of the database"
	}
	if isDefinition(st) {
		for _, o := range st.Options {
			if l, ok := strings.CutPrefix(o, "LANGUAGE "); ok && untrusted(l) {
				return sdk.Subject(st) + " in language " + l + " can reach outside of the database"
			}
		}
	}
	return ""
}

// untrusted reports whether functions in a language can do what the server's
// operating system lets them.
func untrusted(language string) bool {
	language = strings.ToLower(language)
	return language == "c" || language == "internal" || strings.HasSuffix(language, "u")
}

func administration(st *sdk.Statement) string {
	switch {
	case administrationKinds[st.Kind]:
		return sdk.Subject(st) + " administers the server"
	case st.Kind == "ALTER DATABASE" && has(st.Options, databaseOptions...):
		return sdk.Subject(st) + " changes the database for every session"
	case isWrite(st) && anyObject(st.Writes, isCatalogue):
		return sdk.Subject(st) + " changes the system's catalogue"
	}
	if f := sdk.Calls(st, administrators); f != "" {
		return f + " administers the server"
	}
	return ""
}

func settings(st *sdk.Statement) string {
	if has(st.Options, "READ WRITE") {
		return st.Kind + " READ WRITE may end a read-only session"
	}
	for _, s := range st.Settings {
		switch {
		case isSafe(st, s):
		case enforcing[s]:
			return st.Kind + " of " + s + " changes how statements are read or enforced"
		case readOnly[s]:
			return st.Kind + " of " + s + " may end a read-only session"
		}
	}
	return ""
}

// isSafe reports whether st gives a setting a value that the gate relies on.
// Calls of functions do not count: several may set the same.
func isSafe(st *sdk.Statement, setting string) bool {
	switch st.Kind {
	case "SET", "BEGIN", "START TRANSACTION":
		return has(safeValues[setting], st.Options...)
	}
	return false
}

func code(st *sdk.Statement) string {
	if codeKinds[st.Kind] {
		return sdk.Subject(st) + " runs or defines code"
	}
	return ""
}

func massWrite(st *sdk.Statement) string {
	if st.Kind == "INSERT" && has(st.Options, "SELECT") && has(st.Options, "ON CONFLICT DO UPDATE") {
		return sdk.Subject(st) + " may change many rows that are there"
	}
	return unqualifiedWrite(st) // there is no estimate of those
}

func ddl(st *sdk.Statement) string {
	switch {
	case has(st.Options, "TEMPORARY"):
		return ""
	case strings.HasPrefix(st.Kind, "CREATE "), strings.HasPrefix(st.Kind, "ALTER "), st.Kind == "SELECT INTO", st.Kind == "COMMENT":
		return sdk.Subject(st) + " changes the schema"
	case st.Kind == "COPY" && has(st.Options, "FROM"):
		return sdk.Subject(st) + " loads data in bulk"
	case st.Kind == "REFRESH MATERIALIZED VIEW" && has(st.Options, "WITH NO DATA"):
		return sdk.Subject(st) + " WITH NO DATA empties the view"
	case lockKinds[st.Kind], st.Kind == "VACUUM" && has(st.Options, "FULL"):
		return sdk.Subject(st) + " locks others out"
	case strings.HasSuffix(st.Kind, " PREPARED"), st.Kind == "PREPARE TRANSACTION":
		return st.Kind + " leaves a transaction to others"
	}
	return ""
}
