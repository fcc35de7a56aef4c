package main

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"time"
)

// crockford is the alphabet of ULIDs. It sorts as the numbers do.
var crockford = base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding)

// newID returns a unique session id of 26 characters that sorts by its start:
// the milliseconds since 1970 in 48 bits and 80 random bits.
func newID(start time.Time) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(start.UnixMilli())<<16)
	_, _ = rand.Read(b[6:]) // never fails: crypto/rand
	return crockford.EncodeToString(b[:])
}
