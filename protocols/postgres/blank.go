package postgres

import (
	"context"
	"encoding/binary"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// blanks are what takes the place of a masked value whose type cannot hold the
// masked text: the type's zero, so that a client that expects the type reads it.
// Of types that are not here it is NULL.
var blanks = map[uint32]string{
	pgtype.BoolOID: "f", pgtype.Int2OID: "0", pgtype.Int4OID: "0", pgtype.Int8OID: "0", pgtype.OIDOID: "0", pgtype.XIDOID: "0", pgtype.CIDOID: "0",
	pgtype.Float4OID: "0", pgtype.Float8OID: "0", pgtype.NumericOID: "0", pgtype.ByteaOID: `\x`, pgtype.QCharOID: "*",
	pgtype.DateOID: "2000-01-01", pgtype.TimestampOID: "2000-01-01 00:00:00", pgtype.TimestamptzOID: "2000-01-01 00:00:00+00",
	pgtype.TimeOID: "00:00:00", pgtype.IntervalOID: "00:00:00", pgtype.UUIDOID: "00000000-0000-0000-0000-000000000000",
	pgtype.InetOID: "0.0.0.0", pgtype.CIDROID: "0.0.0.0/0", pgtype.MacaddrOID: "00:00:00:00:00:00",
	pgtype.PointOID: "(0,0)", pgtype.BitOID: "0", pgtype.VarbitOID: "",
}

// blankForms are the blanks in both formats, and those of all arrays and ranges
// of PostgreSQL's own: empty ones.
var blankForms = sync.OnceValue(func() map[uint32][2][]byte {
	forms := make(map[uint32][2][]byte)
	m := pgtype.NewMap()
	for oid := range uint32(firstUserOID) {
		t, known := m.TypeForOID(oid)
		if !known {
			continue
		}
		switch codec := t.Codec.(type) {
		case *pgtype.ArrayCodec:
			// No dimensions, no NULLs, and the type of the elements.
			forms[oid] = [2][]byte{[]byte("{}"), binary.BigEndian.AppendUint32(make([]byte, 8), codec.ElementType.OID)}
		case *pgtype.RangeCodec:
			forms[oid] = [2][]byte{[]byte("empty"), {1}}
		case *pgtype.MultirangeCodec:
			forms[oid] = [2][]byte{[]byte("{}"), {0, 0, 0, 0}}
		}
		if text, is := blanks[oid]; is {
			forms[oid] = [2][]byte{[]byte(text), inBinary(m, oid, []byte(text))}
		}
	}
	return forms
})

// blank returns what takes the place of a masked value; nil is NULL.
func blank(oid uint32, format int16) []byte {
	if format != 0 {
		format = 1
	}
	return blankForms()[oid][format]
}

// inBinary returns a value of one of PostgreSQL's own types in binary format, or
// nil where text is none.
func inBinary(m *pgtype.Map, oid uint32, text []byte) []byte {
	t, known := m.TypeForOID(oid)
	if !known {
		return nil
	}
	v, err := t.Codec.DecodeValue(m, oid, pgtype.TextFormatCode, text)
	if err != nil || v == nil {
		return nil
	}
	b, err := m.Encode(oid, pgtype.BinaryFormatCode, v, []byte{})
	if err != nil {
		return nil
	}
	return b
}

// typeMaps are for reading values; each is used by one at a time.
var typeMaps = sync.Pool{New: func() any { return pgtype.NewMap() }}

// typed returns a masked text as a value of a type that does not hold any text,
// or its blank where the text is none of the type.
func typed(oid uint32, format int16, text []byte) []byte {
	// What masks make of a value does not begin as one does.
	if len(text) == 0 || (text[0] < '0' || text[0] > '9') && text[0] != '-' && text[0] != '{' && text[0] != '(' && text[0] != 't' && text[0] != 'f' && text[0] != '\\' {
		return blank(oid, format)
	}
	m := typeMaps.Get().(*pgtype.Map)
	defer typeMaps.Put(m)
	b := inBinary(m, oid, text)
	switch {
	case b == nil:
		return blank(oid, format)
	case format == 0:
		return text
	}
	return b
}

// standIn returns the type of PostgreSQL's own that is read and masked as a type
// of the database's own is, by the category of that: citext as text, any array
// as one. Of other types it is the type itself.
func standIn(oid uint32, category byte) uint32 {
	switch category {
	case 'S':
		return pgtype.TextOID
	case 'A':
		return pgtype.TextArrayOID
	case 'C', 'E':
		return pgtype.RecordOID
	case 'R':
		return pgtype.Int4rangeOID
	}
	return oid
}

// loadTypes asks for the categories of types.
func loadTypes(ctx context.Context, conn *pgx.Conn, oids []uint32) (map[uint32]byte, error) {
	rows, err := conn.Query(ctx, `SELECT oid, typcategory::pg_catalog.text FROM pg_catalog.pg_type WHERE oid = ANY($1::pg_catalog.oid[])`, oids)
	if err != nil {
		return nil, err
	}
	found := make(map[uint32]byte)
	var oid uint32
	var category string
	_, err = pgx.ForEachRow(rows, []any{&oid, &category}, func() error {
		found[oid] = category[0]
		return nil
	})
	return found, err
}
