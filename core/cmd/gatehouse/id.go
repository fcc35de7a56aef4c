package main

import (
	"crypto/rand"
	"encoding/binary"
	"time"
)

// newID returns a session's id: a ULID, 26 characters that sort by the
// session's start, of which the last 16 are random.
func newID(start time.Time) string {
	const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	var b [16]byte
	_, _ = rand.Read(b[6:]) // never fails: crypto/rand
	high := uint64(start.UnixMilli())<<16 | uint64(binary.BigEndian.Uint16(b[6:]))
	low := binary.BigEndian.Uint64(b[8:])
	var id [26]byte
	for i := len(id) - 1; i >= 0; i-- {
		id[i] = alphabet[low&31]
		low, high = low>>5|high<<59, high>>5
	}
	return string(id[:])
}
