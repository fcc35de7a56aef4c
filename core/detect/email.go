package detect

import "bytes"

// The characters of e-mail addresses. Bytes beyond ASCII count as letters.
const (
	charLocal  = 1 << iota // may be in the local part
	charDomain             // may be in the domain
	charLetter             // may begin the last label of the domain
)

var chars = func() (t [256]byte) {
	for c := range t {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c >= 0x80:
			t[c] = charLocal | charDomain | charLetter
		case '0' <= c && c <= '9', c == '-', c == '.':
			t[c] = charLocal | charDomain
		case bytes.IndexByte([]byte("_%+'!#$*?^`|~"), byte(c)) >= 0:
			t[c] = charLocal
		}
	}
	return t
}()

// findEmail sets f.mail to the next address and reports whether there is one.
func (f *finder) findEmail() bool {
	for {
		i := bytes.IndexByte(f.v[f.atEmail:], '@')
		if i < 0 {
			return false
		}
		at, begin := f.atEmail+i, f.atEmail
		f.atEmail = at + 1
		from := at
		for from > begin && chars[f.v[from-1]]&charLocal != 0 {
			from--
		}
		to := domain(f.v, at+1)
		if from < at && to > 0 {
			f.mail = span{from, to, f.email}
			f.atEmail = to
			return true
		}
	}
}

// domain returns the end of the domain at v[from:], or 0 if there is none: at
// least two labels, of which the last begins with a letter and is longer than
// that.
func domain(v []byte, from int) int {
	to, dot := from, 0
	for to < len(v) && chars[v[to]]&charDomain != 0 {
		if v[to] == '.' && to > from && to+2 < len(v) && chars[v[to+1]]&charLetter != 0 && chars[v[to+2]]&charDomain != 0 && v[to+2] != '.' {
			dot = to
		}
		to++
	}
	if dot == 0 {
		return 0
	}
	for v[to-1] == '.' || v[to-1] == '-' {
		to--
	}
	return to
}
