package statement

import "strings"

// A tokenKind is what the lexer tells apart. It knows less than PostgreSQL's
// own scanner and is never used to decide what a statement means, only how
// large and how deep it is and where its literals are.
type tokenKind uint8

const (
	tokenEnd    tokenKind = iota
	tokenWord             // key word or unquoted identifier
	tokenQuoted           // "identifier"
	tokenString           // any kind of string constant
	tokenNumber
	tokenParam // $1
	tokenOther // one character of an operator or of punctuation
)

// A lexer splits SQL text into tokens as PostgreSQL's scanner does with
// standard_conforming_strings on. Comments and white space are left out.
type lexer struct {
	text string
	pos  int // where the next token is looked for
	from int // where the token that was read last begins
	// parted is whether that is a string in several parts.
	parted bool
}

// next reads a token; its text is l.text[l.from:l.pos]. A constant that is not
// closed reaches to the end of the text.
func (l *lexer) next() tokenKind {
	l.skipSpace()
	l.from, l.parted = l.pos, false
	if l.pos >= len(l.text) {
		return tokenEnd
	}
	c := l.text[l.pos]
	switch {
	case c == '\'':
		l.string(false)
		return tokenString
	case c == '"':
		l.quoted()
		return tokenQuoted
	case c == '$':
		return l.dollar()
	case isDigit(c), c == '.' && isDigit(l.peek(1)):
		l.number()
		return tokenNumber
	case isIdentStart(c):
		return l.word()
	}
	l.pos++
	return tokenOther
}

// token is the text of the token that was read last.
func (l *lexer) token() string { return l.text[l.from:l.pos] }

func (l *lexer) peek(n int) byte {
	if l.pos+n < len(l.text) {
		return l.text[l.pos+n]
	}
	return 0
}

// skipSpace moves past white space and comments; block comments nest.
func (l *lexer) skipSpace() {
	for l.pos < len(l.text) {
		switch c := l.text[l.pos]; {
		case isSpace(c):
			l.pos++
		case c == '-' && l.peek(1) == '-':
			l.skipLine()
		case c == '/' && l.peek(1) == '*':
			l.skipBlock()
		default:
			return
		}
	}
}

func (l *lexer) skipLine() {
	for l.pos < len(l.text) && l.text[l.pos] != '\n' && l.text[l.pos] != '\r' {
		l.pos++
	}
}

func (l *lexer) skipBlock() {
	depth := 0
	for l.pos < len(l.text) {
		switch {
		case l.text[l.pos] == '/' && l.peek(1) == '*':
			depth++
			l.pos += 2
		case l.text[l.pos] == '*' && l.peek(1) == '/':
			depth--
			l.pos += 2
			if depth == 0 {
				return
			}
		default:
			l.pos++
		}
	}
}

// string reads a constant from its opening quote, with the parts that follow
// on later lines and belong to it.
func (l *lexer) string(backslash bool) {
	for {
		l.pos++
		for l.pos < len(l.text) {
			c := l.text[l.pos]
			l.pos++
			if c == '\\' && backslash && l.pos < len(l.text) {
				l.pos++
			} else if c == '\'' {
				if l.peek(0) != '\'' {
					break
				}
				l.pos++
			}
		}
		if !l.continued() {
			return
		}
		l.parted = true
	}
}

// continued reports whether another quote follows after white space that has a
// line break, and moves to it: 'a' and 'b' on two lines are one constant.
func (l *lexer) continued() bool {
	at, newline := l.pos, false
	for at < len(l.text) {
		switch c := l.text[at]; {
		case c == '\n' || c == '\r':
			newline = true
			at++
		case isSpace(c):
			at++
		case c == '-' && at+1 < len(l.text) && l.text[at+1] == '-':
			for at < len(l.text) && l.text[at] != '\n' && l.text[at] != '\r' {
				at++
			}
		case c == '\'' && newline:
			l.pos = at
			return true
		default:
			return false
		}
	}
	return false
}

func (l *lexer) quoted() {
	l.pos++
	for l.pos < len(l.text) {
		c := l.text[l.pos]
		l.pos++
		if c == '"' {
			if l.peek(0) != '"' {
				return
			}
			l.pos++
		}
	}
}

// dollar reads a parameter, a dollar-quoted constant or a lone dollar sign.
func (l *lexer) dollar() tokenKind {
	if isDigit(l.peek(1)) {
		for l.pos++; l.pos < len(l.text) && isDigit(l.text[l.pos]); {
			l.pos++
		}
		return tokenParam
	}
	end := l.pos + 1
	if end < len(l.text) && isIdentStart(l.text[end]) {
		for end < len(l.text) && isIdent(l.text[end]) && l.text[end] != '$' {
			end++
		}
	}
	if end >= len(l.text) || l.text[end] != '$' {
		l.pos++
		return tokenOther
	}
	tag := l.text[l.pos : end+1]
	if i := strings.Index(l.text[end+1:], tag); i >= 0 {
		l.pos = end + 1 + i + len(tag)
	} else {
		l.pos = len(l.text)
	}
	return tokenString
}

// escape reads the UESCAPE that may follow U&'…' and belongs to it.
func (l *lexer) escape() {
	const word = "uescape"
	end := l.pos
	l.skipSpace()
	if rest := l.text[l.pos:]; len(rest) > len(word) && strings.EqualFold(rest[:len(word)], word) && !isIdent(rest[len(word)]) {
		l.pos += len(word)
		if l.skipSpace(); l.peek(0) == '\'' {
			l.string(false)
			l.parted = true
			return
		}
	}
	l.pos = end
}

func (l *lexer) number() {
	from := l.pos
	digits := func() {
		for l.pos < len(l.text) && (isIdent(l.text[l.pos]) && l.text[l.pos] != '$') {
			l.pos++
		}
		// The sign of an exponent; 0x1E-5 has none.
		if c := l.peek(0); (c == '-' || c == '+') && isDigit(l.peek(1)) && l.text[l.pos-1]|0x20 == 'e' &&
			strings.Trim(l.text[from:l.pos-1], "0123456789_.") == "" {
			for l.pos++; l.pos < len(l.text) && (isDigit(l.text[l.pos]) || l.text[l.pos] == '_'); {
				l.pos++
			}
		}
	}
	digits()
	if l.peek(0) == '.' && l.peek(1) != '.' {
		l.pos++
		digits()
	}
}

func (l *lexer) word() tokenKind {
	for l.pos < len(l.text) && isIdent(l.text[l.pos]) {
		l.pos++
	}
	word := l.token()
	switch l.peek(0) {
	case '\'':
		if len(word) == 1 {
			switch word[0] | 0x20 {
			case 'e':
				l.string(true)
				return tokenString
			case 'b', 'x', 'n':
				l.string(false)
				return tokenString
			}
		}
	case '&':
		if len(word) == 1 && word[0]|0x20 == 'u' {
			switch l.peek(1) {
			case '\'':
				l.pos++
				l.string(false)
				l.escape()
				return tokenString
			case '"':
				l.pos++
				l.quoted()
				return tokenQuoted
			}
		}
	}
	return tokenWord
}

func isSpace(c byte) bool {
	return c == ' ' || c >= '\t' && c <= '\r'
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isIdentStart(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c >= 0x80
}

func isIdent(c byte) bool {
	return isIdentStart(c) || isDigit(c) || c == '$'
}
