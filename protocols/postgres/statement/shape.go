package statement

// appendShape appends text to key with each plain number and each plain string
// replaced by a mark of its kind, so that statements that differ in literals
// only have one shape. It returns false when it is not certain where the
// literals are, or when there is more than one statement: the shape then does
// not stand for the text.
//
// What it does not know, it leaves: comments, backslashes, dollar quotes,
// prefixed strings, strings in two parts, numbers with exponents or more than
// nine digits, letters outside ASCII except in literals and quoted names.
func appendShape(key []byte, text string) ([]byte, bool) {
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == '\'':
			end, ok := plainString(text, i)
			if !ok {
				return key, false
			}
			key = append(key, '\'', '\'')
			i = end
		case c == '"':
			end, ok := plainIdentifier(text, i)
			if !ok {
				return key, false
			}
			key = append(key, text[i:end]...)
			i = end
		case isDigit(c):
			end, mark := plainNumber(text, i)
			if mark == 0 {
				return key, false
			}
			key = append(key, mark)
			i = end
		case c == '$':
			end := i + 1
			for end < len(text) && isDigit(text[end]) {
				end++
			}
			if end == i+1 || end < len(text) && (isIdent(text[end]) || text[end] == '.') {
				return key, false
			}
			key = append(key, text[i:end]...)
			i = end
		case isIdentStart(c):
			end := i + 1
			for end < len(text) && isIdent(text[end]) && text[end] < 0x80 {
				end++
			}
			if c >= 0x80 || end < len(text) && (text[end] == '\'' || text[end] >= 0x80 || text[end] == '&') {
				return key, false
			}
			key = append(key, text[i:end]...)
			i = end
		case c == ';':
			for i++; i < len(text); i++ {
				if !isSpace(text[i]) {
					return key, false
				}
			}
			key = append(key, ';')
		case c == '-' && i+1 < len(text) && text[i+1] == '-',
			c == '/' && i+1 < len(text) && text[i+1] == '*',
			c == '\\', c == 0, c >= 0x80,
			c == numberMark, c == decimalMark:
			return key, false
		default:
			key = append(key, c)
			i++
		}
	}
	return key, true
}

// The marks are control characters, which no statement has outside literals.
const (
	numberMark  = 0x01
	decimalMark = 0x02
)

// plainString returns where the constant that opens at i ends. It must have no
// backslash and nothing after it that could belong to it.
func plainString(text string, i int) (int, bool) {
	for i++; i < len(text); i++ {
		switch text[i] {
		case '\\', 0:
			return 0, false
		case '\'':
			if i+1 < len(text) && text[i+1] == '\'' {
				i++
				continue
			}
			return i + 1, stringEnds(text, i+1)
		}
	}
	return 0, false
}

// stringEnds reports whether a string that closed before i is whole.
func stringEnds(text string, i int) bool {
	if i < len(text) && isIdent(text[i]) {
		return false
	}
	for i < len(text) && isSpace(text[i]) {
		i++
	}
	return i == len(text) || text[i] != '\''
}

func plainIdentifier(text string, i int) (int, bool) {
	for i++; i < len(text); i++ {
		switch text[i] {
		case '\\', 0:
			return 0, false
		case '"':
			if i+1 < len(text) && text[i+1] == '"' {
				i++
				continue
			}
			return i + 1, true
		}
	}
	return 0, false
}

// plainNumber returns where the number that begins at i ends and its mark, or
// no mark when it is not of a plain form. The parser takes integers of up to
// nine digits alike, and all decimals alike.
func plainNumber(text string, i int) (int, byte) {
	if i > 0 && (isIdent(text[i-1]) || text[i-1] == '.') {
		return 0, 0
	}
	end := i
	for end < len(text) && isDigit(text[end]) {
		end++
	}
	mark := byte(numberMark)
	if end-i > 9 {
		return 0, 0
	}
	if end+1 < len(text) && text[end] == '.' && isDigit(text[end+1]) {
		mark = decimalMark
		for end++; end < len(text) && isDigit(text[end]); {
			end++
		}
	}
	if end < len(text) && (isIdent(text[end]) || text[end] == '.' || text[end] == '\'' || text[end] == '"') {
		return 0, 0
	}
	return end, mark
}
