package main

import (
	"slices"
	"strings"

	"gatehouse/sdk"
)

// Classes of statements.
const (
	session   = "session"
	read      = "read"
	write     = "write"
	ddl       = "ddl"
	code      = "code"
	privilege = "privilege"
	admin     = "admin"
	unknown   = "unknown"
)

// base is the risk of a statement of each class, before what adds to it.
var base = map[string]int{
	session: 0, read: 10, write: 30, ddl: 50, code: 60, privilege: 80, admin: 80, unknown: 100,
}

var kinds = func() map[string]string {
	m := make(map[string]string)
	for class, names := range map[string][]string{
		session: {
			"BEGIN", "START TRANSACTION", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE",
			"PREPARE TRANSACTION", "COMMIT PREPARED", "ROLLBACK PREPARED",
			"SET", "RESET", "SHOW", "SET CONSTRAINTS", "PREPARE", "EXECUTE", "DEALLOCATE", "DEALLOCATE ALL",
			"DECLARE CURSOR", "FETCH", "MOVE", "CLOSE CURSOR", "CLOSE CURSOR ALL",
			"EXPLAIN", "LISTEN", "NOTIFY", "UNLISTEN", "LOCK TABLE",
		},
		read:  {"SELECT", "VALUES", "TABLE"},
		write: {"INSERT", "UPDATE", "DELETE", "MERGE"},
		ddl:   {"TRUNCATE TABLE", "SELECT INTO", "COMMENT", "REFRESH MATERIALIZED VIEW"},
		code:  {"DO", "CALL"},
		privilege: {
			"GRANT", "REVOKE", "GRANT ROLE", "REVOKE ROLE", "REASSIGN OWNED", "DROP OWNED", "SECURITY LABEL",
			"ALTER DEFAULT PRIVILEGES",
		},
		admin: {"VACUUM", "ANALYZE", "CLUSTER", "REINDEX", "CHECKPOINT", "LOAD", "IMPORT FOREIGN SCHEMA", "ALTER SYSTEM"},
	} {
		for _, n := range names {
			m[n] = class
		}
	}
	return m
}()

// things is the classes of CREATE, ALTER and DROP of what is not just ddl.
var things = func() map[string]string {
	m := make(map[string]string)
	for class, names := range map[string][]string{
		code: {
			"FUNCTION", "PROCEDURE", "ROUTINE", "AGGREGATE", "TRIGGER", "EVENT TRIGGER", "RULE",
			"OPERATOR", "OPERATOR CLASS", "OPERATOR FAMILY", "CAST", "CONVERSION", "TRANSFORM",
		},
		privilege: {"ROLE", "POLICY", "USER MAPPING"},
		admin: {
			"DATABASE", "EXTENSION", "SERVER", "FOREIGN TABLE", "FOREIGN DATA WRAPPER", "LANGUAGE", "ACCESS METHOD",
			"TABLESPACE", "PUBLICATION", "SUBSCRIPTION",
		},
	} {
		for _, n := range names {
			m[n] = class
		}
	}
	return m
}()

func classOf(st *sdk.Statement) string {
	if class, ok := kinds[st.Kind]; ok {
		if has(st.Settings, "role", "session_authorization") {
			return privilege
		}
		return class
	}
	if st.Kind == "COPY" {
		switch {
		case has(st.Options, "FILE", "PROGRAM"):
			return admin
		case has(st.Options, "FROM"):
			return write
		}
		return read
	}
	verb, thing, _ := strings.Cut(st.Kind, " ")
	switch verb {
	case "DISCARD":
		return session
	case "CREATE", "ALTER", "DROP":
		if class, ok := things[thing]; ok {
			return class
		}
		if has(st.Options, "OWNER TO") {
			return privilege
		}
		return ddl
	}
	return unknown
}

// What adds to a statement's risk.
const (
	destroying   = 40 // DROP, TRUNCATE and the like
	unrestricted = 50 // UPDATE or DELETE of all rows
	touching     = 20 // sensitive data
	volume       = 10 // many rows at a time
)

// risk returns a score from 0 to 100.
func risk(st *sdk.Statement, class string, sensitive bool) int {
	if st.Opaque {
		return 100
	}
	score := base[class]
	if strings.HasPrefix(st.Kind, "DROP ") || st.Kind == "TRUNCATE TABLE" || has(st.Options, "DROP COLUMN") {
		score += destroying
	}
	if st.Scope == sdk.ScopeAll {
		score += unrestricted
	}
	if sensitive {
		score += touching
	}
	if st.Kind == "COPY" || st.Kind == "INSERT" && has(st.Options, "SELECT", "ON CONFLICT DO UPDATE") {
		score += volume
	}
	return min(score, 100)
}

func has(list []string, names ...string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return slices.Contains(names, s) })
}
