package postgres

import (
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
)

// What takes a value's place is a value of its type, in both formats.
func TestBlanksAreValues(t *testing.T) {
	m := pgtype.NewMap()
	n := 0
	for oid, forms := range blankForms() {
		known, ok := m.TypeForOID(oid)
		if !ok {
			t.Fatalf("type %d is not known", oid)
		}
		n++
		for format, b := range forms {
			if v, err := known.Codec.DecodeValue(m, oid, int16(format), b); err != nil || v == nil && oid != pgtype.ByteaOID {
				t.Errorf("%s in format %d: %q is %v, %v", known.Name, format, b, v, err)
			}
		}
	}
	if n < 60 {
		t.Errorf("only %d types have a blank", n)
	}
	for oid := range blanks {
		if blankForms()[oid][0] == nil {
			t.Errorf("type %d has no blank", oid)
		}
	}
}

func TestTyped(t *testing.T) {
	for _, test := range []struct {
		oid        uint32
		text, want string
	}{
		{pgtype.Int4OID, "[redacted]", "0"},
		{pgtype.Int4OID, "h:0123", "0"},
		{pgtype.Int4OID, "****23", "0"},
		{pgtype.Int4OID, "", "0"},
		{pgtype.Int4OID, "1234", "1234"},
		{pgtype.Int4OID, "12345678901", "0"},
		{pgtype.DateOID, "1990-02-31", "2000-01-01"},
		{pgtype.DateOID, "1990-02-21", "1990-02-21"},
		{pgtype.TextArrayOID, "{a,[redacted]}", "{a,[redacted]}"},
		{pgtype.TextArrayOID, "[redacted]", "{}"},
		{pgtype.RecordOID, "[redacted]", ""},
	} {
		if got := string(typed(test.oid, 0, []byte(test.text))); got != test.want {
			t.Errorf("%d of %q: %q, want %q", test.oid, test.text, got, test.want)
		}
	}
	if got := typed(pgtype.Int4OID, 1, []byte("258")); string(got) != "\x00\x00\x01\x02" {
		t.Errorf("in binary: %q", got)
	}
}
