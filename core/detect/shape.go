package detect

import "strings"

// A shape says what the text form of a type's values can hold, and what can be
// put in its place.
type shape uint8

const (
	text    shape = iota // any text
	other                // anything, in a form of its own
	number               // digits
	numbers              // an array of numbers
	array                // an array of anything else
	json                 // text in strings, digits outside of them
	bytea                // bytes, in hexadecimal
	plain                // nothing that a detector could find
)

// Types of PostgreSQL whose values can hold nothing that a detector finds.
const plainTypes = " bool int2 int4 oid float4 float8 date time timetz timestamp timestamptz interval uuid inet cidr macaddr macaddr8 money bit varbit point line lseg box path polygon circle xid xid8 cid tid pg_lsn regclass regtype regproc regprocedure regnamespace regrole void "

func shapeOf(name string) shape {
	name, isArray := strings.CutPrefix(name, "_")
	if element, ok := strings.CutSuffix(name, "[]"); ok {
		name, isArray = element, true
	}
	s := other
	switch name {
	case "text", "varchar", "bpchar", "name", "citext", "xml", "unknown", "cstring":
		s = text
	case "int8", "numeric":
		s = number
	case "json", "jsonb":
		s = json
	case "bytea":
		s = bytea
	default:
		if name != "" && strings.Contains(plainTypes, " "+name+" ") {
			s = plain
		}
	}
	switch {
	case isArray && s == number:
		return numbers
	case isArray && s != plain:
		return array
	}
	return s
}
