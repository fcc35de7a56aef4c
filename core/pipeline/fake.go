package pipeline

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// appendFake appends a value of the same form as v: other digits for digits and
// other letters for letters, all else as it is. It depends on v and the key only,
// so that what was equal stays equal. A number keeps its length and a date is
// another date; of types of which it makes no value it is "[redacted]".
func appendFake(b []byte, kind string, v []byte, key []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte("gatehouse fake\x00"))
	m.Write(v)
	r := rand.New(rand.NewChaCha8([32]byte(m.Sum(nil))))
	switch kind {
	case "date":
		return fakeTime(r).AppendFormat(b, time.DateOnly)
	case "timestamp":
		return fakeTime(r).AppendFormat(b, time.DateTime)
	case "timestamptz":
		return fakeTime(r).AppendFormat(b, time.DateTime+"-07")
	case "time":
		return fakeTime(r).AppendFormat(b, time.TimeOnly)
	case "bool":
		return append(b, "tf"[r.IntN(2)])
	case "uuid":
		return fmt.Appendf(b, "%08x-%04x-4%03x-a%03x-%012x", r.Uint32(), r.IntN(1<<16), r.IntN(1<<12), r.IntN(1<<12), r.Uint64N(1<<48))
	case "inet":
		return fmt.Appendf(b, "10.%d.%d.%d", r.IntN(256), r.IntN(256), r.IntN(256))
	case "int2", "int4", "int8", "numeric", "float4", "float8", "money", "oid":
		return fakeNumber(b, r, kind, v)
	case "text", "varchar", "bpchar", "name", "unknown", "xml", "":
		return fakeText(b, r, v)
	}
	if strings.HasPrefix(kind, "_") || strings.HasPrefix(kind, "oid:") {
		return fakeText(b, r, v)
	}
	return append(b, redacted...)
}

// fakeTime is some second from 1950 to 2023.
func fakeTime(r *rand.Rand) time.Time {
	return time.Date(1950, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, r.IntN(27_000)).Add(time.Duration(r.IntN(86_400)) * time.Second)
}

func fakeText(b []byte, r *rand.Rand, v []byte) []byte {
	for len(v) > 0 {
		c, size := utf8.DecodeRune(v)
		switch {
		case unicode.IsDigit(c):
			b = append(b, '0'+byte(r.IntN(10)))
		case unicode.IsUpper(c):
			b = append(b, 'A'+byte(r.IntN(26)))
		case unicode.IsLetter(c):
			b = append(b, 'a'+byte(r.IntN(26)))
		case c == utf8.RuneError && size == 1:
			b = append(b, '?')
		default:
			b = append(b, v[:size]...)
		}
		v = v[size:]
	}
	return b
}

// fakeNumber keeps a number's first digit from becoming zero, and what is as long
// as the largest numbers of a type smaller than these.
func fakeNumber(b []byte, r *rand.Rand, kind string, v []byte) []byte {
	digits := 0
	for _, c := range v {
		if '0' <= c && c <= '9' {
			digits++
		}
	}
	first := true
	for _, c := range v {
		if c < '0' || c > '9' {
			b = append(b, c)
			continue
		}
		d := byte(r.IntN(10))
		if first && c != '0' {
			d = 1 + d%9
			if kind == "int2" && digits == 5 || (kind == "int4" || kind == "oid") && digits == 10 || kind == "int8" && digits == 19 {
				d = 1
			}
		}
		first = false
		b = append(b, '0'+d)
	}
	return b
}
