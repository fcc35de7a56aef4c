package main

import (
	"strconv"
	"strings"
)

// What clients send and servers answer is hostile to a terminal: escape
// sequences move its cursor and change what stands there.

// oneLine returns s on one line, safe for a terminal: line ends become spaces
// and what a terminal does not print is escaped.
func oneLine(s string) string {
	return printable(strings.NewReplacer("\r\n", " ", "\n", " ", "\t", " ").Replace(s))
}

// indented returns the lines of s, indented and safe for a terminal.
func indented(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = "  " + printable(strings.ReplaceAll(line, "\t", "    "))
	}
	return strings.Join(lines, "\n")
}

func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
	}
	return b.String()
}

// shorten returns at most the given number of characters of s.
func shorten(s string, most int) string {
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return string(r[:most-1]) + "…"
}
