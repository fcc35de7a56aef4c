package statement

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"
)

// hidden stands for a constant that must not be shown.
const hidden = "'[redacted]'"

// Disguises reports whether constants of a text may have values that the text does
// not show as they are: by escapes, in parts, put together.
func Disguises(sql []byte) bool {
	return bytes.IndexByte(sql, '\\') >= 0 || bytes.Contains(sql, []byte("||")) || bytes.Contains(sql, []byte("&'")) ||
		bytes.IndexByte(sql, '\'') >= 0 && (bytes.ContainsAny(sql, "\r\n") || bytes.Contains(bytes.ToLower(sql), []byte("concat")))
}

// Hide appends sql with '[redacted]' in the place of the constants in whose values
// found finds something, where the text does not show those as they are: once their
// escapes are read, and what || and concat put together is put together. It returns
// false, and b as it was, where there are none such.
func Hide(b []byte, sql string, found func(value string) bool) ([]byte, bool) {
	return hide(b, sql, found, 0)
}

func hide(b []byte, sql string, found func(value string) bool, depth int) ([]byte, bool) {
	h := hider{sql: sql, b: b, found: found}
	start := len(b)
	lex := lexer{text: sql}
	for kind := lex.next(); kind != tokenEnd; kind = lex.next() {
		token := lex.token()
		switch kind {
		case tokenString, tokenNumber:
			if !h.joins {
				h.settle()
			}
			value, plain := shownValue(token)
			if kind == tokenString && token[0] == '$' && depth < maxNested {
				if body, is := hide(nil, value, found, depth+1); is {
					tag := token[:strings.IndexByte(token[1:], '$')+2]
					h.settle()
					h.replace(spot{lex.from, lex.pos}, tag+string(body)+tag)
					continue
				}
			}
			h.run = append(h.run, part{spot{lex.from, lex.pos}, value, plain})
			h.joins = false
		case tokenOther:
			h.other(token[0])
		case tokenWord:
			h.word(token)
		default:
			h.settle()
		}
	}
	h.settle()
	if len(h.b) == start && h.at == 0 {
		return b, false
	}
	return append(h.b, sql[h.at:]...), true
}

// A part is a constant that is put together with others.
type part struct {
	spot
	value string
	plain bool // the text shows it as it is
}

// A hider hides constants of one text.
type hider struct {
	sql    string
	b      []byte
	at     int // what stands before it is in b
	found  func(value string) bool
	run    []part
	joins  bool   // what comes next is put together with run
	bar    bool   // there was half a ||
	casts  bool   // a type's name comes next
	called string // the function whose arguments may come next
	within int    // how many brackets are open within concat, or 0
}

// other takes one character of an operator or of punctuation.
func (h *hider) other(c byte) {
	switch {
	case c == '|':
		h.joins, h.bar = h.joins || h.bar, !h.bar
	case c == ':':
		h.casts = true
	case c == '(':
		if h.within > 0 || strings.HasPrefix(h.called, "concat") || h.called == "textcat" {
			h.within++
		}
	case c == ')':
		h.within = max(h.within-1, 0)
	case c == ',' && h.within > 0:
		h.joins = true
	case c == ',' || c == '=' || c == ';':
		h.settle()
	}
	h.bar = h.bar && c == '|'
	h.called = ""
}

// word takes a key word or a name.
func (h *hider) word(token string) {
	h.called = strings.ToLower(token)
	if h.casts {
		h.casts = false
		return
	}
	if h.within == 0 {
		h.settle()
	}
}

// settle hides the run that ends.
func (h *hider) settle() {
	all := make([]string, len(h.run))
	hides := false
	for i, p := range h.run {
		all[i] = p.value
		hides = hides || !p.plain && h.found(p.value)
	}
	if !hides && len(all) > 1 {
		hides = h.found(strings.Join(all, "")) || h.found(strings.Join(all[1:], all[0])) // as concat_ws does
	}
	if hides {
		for _, p := range h.run {
			h.replace(p.spot, hidden)
		}
	}
	h.run, h.joins, h.bar, h.casts = h.run[:0], false, false, false
}

// replace puts text in the place of a constant.
func (h *hider) replace(s spot, text string) {
	h.b = append(append(h.b, h.sql[h.at:s.from]...), text...)
	h.at = s.to
}

// shownValue returns the value of a constant, and whether the text shows it as it
// is.
func shownValue(constant string) (value string, plain bool) {
	if value, certain := ConstantValue(constant); certain {
		return value, true
	}
	var out []byte
	escape := byte(0)
	switch constant[0] | 0x20 {
	case 'e':
		escape = '\\'
	case 'u':
		escape = '\\'
		lex := lexer{text: constant[2:]}
		lex.string(false)
		if rest := strings.TrimSpace(lex.text[lex.pos:]); len(rest) > 3 {
			escape = rest[len(rest)-2] // UESCAPE '!'
			constant = constant[:2+lex.pos]
		}
	}
	quoted := false
	for i := 0; i < len(constant); i++ {
		switch c := constant[i]; {
		case c == '\'' && quoted && i+1 < len(constant) && constant[i+1] == '\'':
			out = append(out, c)
			i++
		case c == '\'':
			quoted = !quoted
		case !quoted: // what stands before it, and between its parts
		case c == escape && i+1 < len(constant):
			var n int
			if out, n = appendEscaped(out, constant[i+1:], constant[0]|0x20 == 'u', escape); n > 0 {
				i += n
			}
		default:
			out = append(out, c)
		}
	}
	return string(out), false
}

// hexDigits begins with the octal ones.
const hexDigits = "0123456789abcdefABCDEF"

// appendEscaped appends what stands behind an escape character, and returns how long
// that is.
func appendEscaped(out []byte, s string, unicode bool, escape byte) ([]byte, int) {
	digits := func(from, most, base int) (uint64, int) {
		n := from
		for n < len(s) && n < from+most && strings.IndexByte(hexDigits[:base+base/16*6], s[n]) >= 0 {
			n++
		}
		v, err := strconv.ParseUint(s[from:n], base, 32)
		if err != nil {
			return 0, 0
		}
		return v, n
	}
	char := func(v uint64, n int) ([]byte, int) {
		if n == 0 {
			return out, 0
		}
		return utf8.AppendRune(out, rune(v)), n
	}
	if unicode {
		switch {
		case s[0] == escape:
			return append(out, escape), 1
		case s[0] == '+':
			return char(digits(1, 6, 16))
		}
		return char(digits(0, 4, 16))
	}
	switch c := s[0]; {
	case c == 'u':
		return char(digits(1, 4, 16))
	case c == 'U':
		return char(digits(1, 8, 16))
	case c == 'x':
		if v, n := digits(1, 2, 16); n > 0 {
			return append(out, byte(v)), n
		}
		return append(out, c), 1
	case c >= '0' && c <= '7':
		v, n := digits(0, 3, 8)
		return append(out, byte(v)), n
	case strings.IndexByte("bfnrt", c) >= 0:
		return append(out, "\b\f\n\r\t"[strings.IndexByte("bfnrt", c)]), 1
	default:
		return append(out, c), 1
	}
}
