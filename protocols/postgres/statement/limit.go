package statement

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// ErrLimit is what errors wrap whose text is too large, too deep or not text
// at all, so that it never reaches the parser.
var ErrLimit = errors.New("statement is beyond the limits")

// What a level of nesting and each nested routine body weigh in the estimate
// of depth: several nodes of the tree belong to each.
const (
	levelWeight  = 3
	atomicWeight = 8
)

// check refuses text that the parser must not see. The parser's recursion
// follows the depth of the tree that it builds, and running out of stack ruins
// the instance, so depth is bounded here by one pass over the tokens.
func (l Limits) check(text string) error {
	if len(text) > l.Text {
		return fmt.Errorf("%w: %d bytes, %d allowed", ErrLimit, len(text), l.Text)
	}
	if strings.IndexByte(text, 0) >= 0 || !utf8.ValidString(text) {
		return fmt.Errorf("%w: not UTF-8 text", ErrLimit)
	}
	return l.measure(text)
}

// A level is what is known of one pair of brackets, or of one CASE, while it
// is open. Each count bounds how many nodes lie above a leaf: operators of one
// element (run), joins of one element, set operations of one statement, which
// may all lean to the left, so what comes later deepens what came before.
type level struct {
	caseExpr bool
	between  bool // a BETWEEN whose AND has not come yet
	run      int  // words and operators since the last separator
	child    int  // deepest level closed since then
	segment  int  // deepest part since the last comma
	joins    int  // JOINs since the last comma
	element  int  // deepest part since the last semicolon
	sets     int  // set operations since the last semicolon
	whole    int  // deepest part of all
	atomic   int  // BEGIN ATOMIC bodies
}

// part ends what AND, OR, WHEN and the like separate.
func (v *level) part() {
	v.segment = max(v.segment, v.run+v.child)
	v.run, v.child = 0, 0
}

// comma ends an element of a list.
func (v *level) comma() {
	v.part()
	v.element = max(v.element, v.segment+v.joins)
	v.segment, v.joins, v.between = 0, 0, false
}

// semicolon ends a statement.
func (v *level) semicolon() {
	v.comma()
	v.whole = max(v.whole, v.element+v.sets)
	v.element, v.sets = 0, 0
}

// depth bounds the depth of the tree for all that the level holds.
func (v *level) depth() int {
	v.semicolon()
	return v.whole + v.atomic + levelWeight
}

// word counts a key word or an identifier.
func (v *level) word(word string) {
	v.run++
	switch len(word) {
	case 2:
		if strings.EqualFold(word, "or") && !v.between {
			v.part()
		}
	case 3:
		if strings.EqualFold(word, "and") {
			if !v.between {
				v.part()
			}
			v.between = false
		}
	case 4:
		switch {
		case strings.EqualFold(word, "join"):
			v.part()
			v.joins += 2
			v.between = false
		case strings.EqualFold(word, "when"), strings.EqualFold(word, "then"), strings.EqualFold(word, "else"):
			v.part()
			v.between = false
		}
	case 5:
		if strings.EqualFold(word, "union") {
			v.sets += 2
		}
	case 6:
		switch {
		case strings.EqualFold(word, "except"):
			v.sets += 2
		case strings.EqualFold(word, "atomic"):
			v.atomic += atomicWeight
		}
	case 7:
		if strings.EqualFold(word, "between") {
			v.between = true
		}
	case 9:
		if strings.EqualFold(word, "intersect") {
			v.sets += 2
		}
	}
}

// measure bounds the number of tokens and the depth of the tree.
func (l Limits) measure(text string) error {
	lex := lexer{text: text}
	levels := make([]level, 1, 32)
	tokens, label := 0, false // label: the next word names something
	for {
		kind := lex.next()
		if kind == tokenEnd {
			break
		}
		if kind != tokenOther || strings.IndexByte("()[],.;", text[lex.from]) < 0 {
			tokens++
		}
		if tokens > l.Tokens {
			return fmt.Errorf("%w: more than %d words, constants and operators", ErrLimit, l.Tokens)
		}
		top := &levels[len(levels)-1]
		named := label
		label = false
		switch kind {
		case tokenWord:
			word := lex.token()
			switch {
			case !named && strings.EqualFold(word, "case"):
				levels = append(levels, level{caseExpr: true})
			case !named && top.caseExpr && strings.EqualFold(word, "end"):
				levels = closeLevel(levels)
			default:
				label = strings.EqualFold(word, "as")
				top.word(word)
			}
		case tokenOther:
			switch text[lex.from] {
			case '(', '[':
				levels = append(levels, level{})
			case ')', ']':
				levels = closeBracket(levels)
			case ',':
				top.comma()
			case ';':
				top.semicolon()
			case '.':
				label = true
			default:
				top.run++
			}
		}
		if len(levels)*levelWeight > l.Depth {
			return tooDeep(l.Depth)
		}
	}
	for len(levels) > 1 {
		levels = closeLevel(levels)
	}
	if levels[0].depth() > l.Depth {
		return tooDeep(l.Depth)
	}
	return nil
}

func tooDeep(limit int) error {
	return fmt.Errorf("%w: nested deeper than %d", ErrLimit, limit)
}

// closeLevel hands the depth of the last level to the one around it.
func closeLevel(levels []level) []level {
	last := len(levels) - 1
	depth := levels[last].depth()
	levels[last-1].child = max(levels[last-1].child, depth)
	return levels[:last]
}

// closeBracket closes the CASEs that a bracket leaves open, and the bracket.
func closeBracket(levels []level) []level {
	for len(levels) > 1 && levels[len(levels)-1].caseExpr {
		levels = closeLevel(levels)
	}
	if len(levels) > 1 {
		levels = closeLevel(levels)
	}
	return levels
}
