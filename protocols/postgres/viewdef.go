package postgres

import (
	"strconv"
	"strings"
)

// A viewDef is what a view's rule tells of its columns.
type viewDef struct {
	targets map[uint16]column // where a column comes from as it is, by its number; none for what is computed
	whole   bool              // a row as a whole is used in it, of which no dependencies are recorded
}

// readViewDef reads the query of a view's rule, which pg_rewrite.ev_action has as
// the text of a node tree. Each entry of the query's target list says from which
// column of which relation it comes (resorigtbl, resorigcol), as the server
// itself says of a result's fields. What is not found counts as computed.
func readViewDef(tree string) viewDef {
	d := viewDef{targets: map[uint16]column{}, whole: strings.Contains(tree, ":varattno 0 ")}
	t := nodeTree{text: tree}
	listed := false // within the outer query's target list
	var number, table, from int
	junk := false
	for {
		token, depth := t.next()
		switch {
		case token == "":
			return d
		case depth == 2 && token[0] == ':':
			listed = token == ":targetList"
		case !listed:
		case depth == 4 && token == "{":
			number, table, from, junk = 0, 0, 0, false
		case depth == 4 && token == ":resno":
			number = t.number()
		case depth == 4 && token == ":resname":
			t.next() // which may be any word
		case depth == 4 && token == ":resorigtbl":
			table = t.number()
		case depth == 4 && token == ":resorigcol":
			from = t.number()
		case depth == 4 && token == ":resjunk":
			word, _ := t.next()
			junk = word != "false"
		case depth == 3 && token == "}":
			if !junk && table > 0 && from != 0 && number > 0 && number <= 0xffff {
				d.targets[uint16(number)] = column{uint32(table), uint16(int16(from))}
			}
		}
	}
}

// A nodeTree cuts the text of a node tree (nodeToString) into tokens: brackets,
// and words between blanks, in which a backslash makes the next character a part
// of the word.
type nodeTree struct {
	text  string
	at    int
	depth int
}

// next returns the next token and in how many brackets it stands, an opening
// bracket in itself; "" at the end.
func (t *nodeTree) next() (token string, depth int) {
	for t.at < len(t.text) && strings.IndexByte(" \n\t", t.text[t.at]) >= 0 {
		t.at++
	}
	if t.at == len(t.text) {
		return "", t.depth
	}
	from := t.at
	switch t.text[from] {
	case '(', '{':
		t.at++
		t.depth++
		return t.text[from:t.at], t.depth
	case ')', '}':
		t.at++
		t.depth--
		return t.text[from:t.at], t.depth
	}
	for t.at < len(t.text) && strings.IndexByte(" \n\t(){}", t.text[t.at]) < 0 {
		if t.text[t.at] == '\\' && t.at+1 < len(t.text) {
			t.at++
		}
		t.at++
	}
	return t.text[from:t.at], t.depth
}

// number returns the next token as a number, or 0.
func (t *nodeTree) number() int {
	token, _ := t.next()
	n, err := strconv.ParseInt(token, 10, 64)
	if err != nil || n > 0xffffffff || n < -0x8000 {
		return 0
	}
	return int(n)
}
