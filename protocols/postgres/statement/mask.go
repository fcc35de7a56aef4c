package statement

import (
	"bytes"
	"strings"
)

// Mask appends sql to b without its comments, and with what shown appends in the
// place of each constant. The text must be the one that the result was given
// for. It returns false, and b as it was, where it is not certain where the
// constants are.
func (r *Result) Mask(b []byte, sql string, shown func(b []byte, constant string, v *Value) []byte) ([]byte, bool) {
	if r.misread {
		return b, false
	}
	start, n, at := len(b), 0, 0
	lex := lexer{text: sql}
	for {
		kind := lex.next()
		b = appendSpace(b, sql[at:lex.from])
		at = lex.pos
		switch kind {
		case tokenEnd:
			if n < len(r.constants) {
				return b[:start], false
			}
			return b, true
		case tokenString, tokenNumber:
			if n == len(r.constants) {
				return b[:start], false
			}
			from := len(b)
			b = shown(b, lex.token(), &r.constants[n])
			if lex.parted && string(b[from:]) == lex.token() && HasComment([]byte(lex.token())) {
				b = append(b[:from], "'[redacted]'"...)
			}
			n++
		default:
			b = append(b, lex.token()...)
		}
	}
}

// HasComment reports whether there may be a comment in a text, or between the parts
// of a constant.
func HasComment(text []byte) bool {
	return bytes.Contains(text, []byte("--")) || bytes.Contains(text, []byte("/*"))
}

// appendSpace appends what stands between two tokens, without comments.
func appendSpace(b []byte, space string) []byte {
	lex := lexer{text: space}
	for lex.pos < len(space) {
		switch c := space[lex.pos]; {
		case c == '-':
			lex.skipLine()
		case c == '/':
			lex.skipBlock()
			b = append(b, ' ')
		default:
			b = append(b, c)
			lex.pos++
		}
	}
	return b
}

// ConstantValue returns the value that a constant of a text stands for. It is
// certain only where the constant has no escapes and is in one part.
func ConstantValue(constant string) (value string, certain bool) {
	switch c := constant[0]; {
	case c == '\'' && len(constant) > 1:
		value = constant[1 : len(constant)-1]
		return strings.ReplaceAll(value, "''", "'"), strings.Count(value, "'") == 2*strings.Count(value, "''")
	case c == '$' && len(constant) > 1 && strings.HasSuffix(constant, "$"):
		tag := constant[:2+strings.IndexByte(constant[1:], '$')]
		value, certain = strings.CutSuffix(constant[len(tag):], tag)
		return value, certain
	}
	return constant, isDigit(constant[0]) || constant[0] == '.'
}

// Names calls yield with each word in a text constant that could be a name,
// until it says no. Where the constant has escapes, and so may hide a name, it
// calls it with "".
func Names(constant string, yield func(name string) bool) bool {
	if strings.IndexByte(constant, '\\') >= 0 && !yield("") {
		return false
	}
	lex := lexer{text: constant}
	for lex.pos < len(constant) {
		if !isIdentStart(constant[lex.pos]) {
			lex.pos++
			continue
		}
		lex.from = lex.pos
		for lex.pos < len(constant) && isIdent(constant[lex.pos]) {
			lex.pos++
		}
		word := lex.token()
		if !yield(word) {
			return false
		}
		if lower := strings.ToLower(word); lower != word && !yield(lower) {
			return false
		}
	}
	return true
}
