package statement

import (
	"strings"
	"testing"
)

// What is sought is found in the values of constants, however they are written.
func TestHide(t *testing.T) {
	for _, c := range []struct{ sql, shown string }{
		{`SELECT E'a\x40b', 1`, `SELECT '[redacted]', 1`},
		{`SELECT e'a\100b'`, `SELECT '[redacted]'`},
		{`SELECT E'a\u0040b', E'a\U00000040b'`, `SELECT '[redacted]', '[redacted]'`},
		{`SELECT E'it\'s \\ a\@b'`, `SELECT '[redacted]'`},
		{`SELECT E'\141@\142'`, `SELECT '[redacted]'`},
		{`SELECT U&'a\0040b'`, `SELECT '[redacted]'`},
		{`SELECT u&'a\+000040b' FROM t`, `SELECT '[redacted]' FROM t`},
		{`SELECT U&'a!0040b' UESCAPE '!' FROM t`, `SELECT '[redacted]' FROM t`},
		{"SELECT 'a@'\n  'b', 2", `SELECT '[redacted]', 2`},
		{`SELECT 'a' || '@' || 'b' FROM t`, `SELECT '[redacted]' || '[redacted]' || '[redacted]' FROM t`},
		{`SELECT 'a'::text||('@'||'b')`, `SELECT '[redacted]'::text||('[redacted]'||'[redacted]')`},
		{`SELECT concat('a', '@', 'b')`, `SELECT concat('[redacted]', '[redacted]', '[redacted]')`},
		{`SELECT pg_catalog.concat_ws('@', 'a', 'b')`, `SELECT pg_catalog.concat_ws('[redacted]', '[redacted]', '[redacted]')`},
		{`DO $x$ BEGIN PERFORM E'a\x40b'; END $x$`, `DO $x$ BEGIN PERFORM '[redacted]'; END $x$`},

		{`SELECT 'a@b'`, ``}, // as it stands
		{`SELECT 'a', '@', 'b'`, ``},
		{`SELECT 'a' | '@' | 'b'`, ``},
		{`SELECT 'a' || x || '@b'`, ``},
		{`SELECT upper('a') || '@', 'b'`, ``},
		{`SELECT concat('a', '@'), 'b'`, ``},
		{`SELECT E'a\nb', U&'\0061b', '\x40'`, ``},
		{`SELECT "a@b" || 'c'`, ``},
	} {
		shown, found := Hide(nil, c.sql, func(v string) bool { return strings.Contains(v, "a@b") })
		if string(shown) != c.shown || found != (c.shown != "") {
			t.Errorf("%s: %q, %v", c.sql, shown, found)
		}
		if found && !Disguises([]byte(c.sql)) {
			t.Errorf("%s: not looked at", c.sql)
		}
	}
}

// Whatever the text, it is shown whole but for its constants.
func FuzzHide(f *testing.F) {
	f.Add(`SELECT E'\x4', U&'\00' UESCAPE '!', 'a' || 'b', concat('a', $x$ E'\' $x$)`)
	f.Add(`SELECT E'\`)
	f.Add(`U&'\`)
	f.Fuzz(func(t *testing.T, sql string) {
		if shown, found := Hide(nil, sql, func(string) bool { return false }); found || len(shown) > 0 {
			t.Errorf("%q became %q", sql, shown)
		}
		Hide(nil, sql, func(string) bool { return true })
	})
}
