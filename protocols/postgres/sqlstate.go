package postgres

import (
	_ "embed"
	"strings"
	"sync"
)

// sqlstates.txt is a code and its condition a line, from PostgreSQL's table of
// error codes.
//
//go:embed sqlstates.txt
var sqlstates string

// conditions are the names of the codes that PostgreSQL itself has, in words.
var conditions = sync.OnceValue(func() map[string]string {
	m := make(map[string]string)
	for line := range strings.Lines(sqlstates) {
		code, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		m[code] = strings.ReplaceAll(name, "_", " ")
	}
	return m
})

// codeRaised stands for the codes that users made up.
const codeRaised = "P0001" // raise_exception
