package postgres

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"gatehouse/core/event"
)

// A use is what a statement does with something of the database that may run
// code.
type use struct {
	how          how
	schema, name string // functions have all of their name in name, in lower case
	path         string // schemas to look in where there is no other, as an array; "" for all
}

// How something is used.
type how byte

const (
	calls     how = 'f' // a function
	takesRow  how = 'x' // a function, if it takes a row, or else a column
	takesAny  how = 'y' // a function, if it takes one argument, or else a field
	applies   how = 'o' // an operator
	names     how = 't' // a type
	reads     how = 'r' // a relation
	refreshes how = 'm' // a materialized view
	inserts   how = 'I'
	updates   how = 'U'
	deletes   how = 'D'
	truncates how = 'T'
	likens    how = 'L' // a table, which another is made like
	copies    how = 'C' // a relation, of the types of which columns are made
	redefine  how = 'd' // definitions, which event triggers watch
	// It is not used, but asked for its keys: columns with \x01 between.
	identifies how = 'k'
	// It is not used, but asked for its columns that may not be null, alike.
	requires how = 'n'
)

// A code is something of the database that runs when it is used, as a statement
// that the analyzer reads. There is one without a text for each function that
// exists.
type code struct {
	sql   string
	plans bool // it may run when a statement is only planned
	// within is how the statement contains it: a trigger, or a foreign key's
	// cascade. Elsewhere the use tells.
	within string
	// symbol is an operator that the statement has to apply, and columns are
	// some, with \x01 between, of which it has to name one.
	symbol, columns string
}

// Limits of what is looked at for one request, and of what is remembered.
const (
	maxCodeRounds = 10  // of code that uses code
	maxCodes      = 500 // in all of them
	maxUses       = 2000
	maxAnswered   = 20_000
	maxExpanded   = 5000
)

// containment says how a statement contains code.
func (c *code) containment(h how) string {
	switch {
	case c.within != "":
		return c.within
	case c.symbol+c.columns != "":
		return "function"
	}
	switch h {
	case reads, refreshes:
		return "view"
	case inserts, updates, deletes:
		return "rule"
	}
	return "function"
}

// concerns reports whether st, which uses something that may run c, does.
func (c *code) concerns(st *event.Statement) bool {
	if c.symbol != "" && !slices.Contains(st.Symbols, c.symbol) {
		return false
	}
	named := st.Columns
	switch {
	case c.columns == "":
		return true
	case c.within == "cascade":
		if st.Kind == "SELECT" { // of a view through which the table is written
			return true
		}
		named = st.Sets
	case st.Kind == "INSERT", st.Kind == "MERGE", st.Kind == "COPY":
		return true // those may write columns that they do not name
	}
	for name := range strings.SplitSeq(c.columns, "\x01") {
		if slices.ContainsFunc(named, func(n string) bool { return isNamed(n, name) || isNamed(n, "*") }) {
			return true
		}
	}
	return false
}

// code returns what uses run. It asks the server for what it does not remember.
func (c *catalog) code(ctx context.Context, uses []use) (map[use][]code, error) {
	answers := make(map[use][]code, len(uses))
	var asked []use
	c.mu.Lock()
	c.fresh()
	generation := c.changes
	for _, u := range uses {
		if _, twice := answers[u]; twice {
			continue
		}
		found, known := c.codes[u]
		if answers[u] = found; !known {
			asked = append(asked, u)
		}
	}
	c.mu.Unlock()
	if len(asked) == 0 {
		return answers, nil
	}
	if len(asked) > maxUses {
		return nil, errTooManyUses
	}
	err := c.ask(ctx, func(ctx context.Context, conn *pgx.Conn) error { return askCode(ctx, conn, asked, answers) })
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes != generation || len(c.codes) > maxAnswered {
		return answers, nil
	}
	for _, u := range asked {
		c.codes[u] = answers[u]
	}
	return answers, nil
}

func askCode(ctx context.Context, conn *pgx.Conn, asked []use, answers map[use][]code) error {
	hows, schemas, names, paths := make([]string, len(asked)), make([]string, len(asked)), make([]string, len(asked)), make([]string, len(asked))
	for i, u := range asked {
		hows[i], schemas[i], names[i], paths[i] = string(u.how), u.schema, u.name, u.path
		answers[u] = nil
	}
	rows, err := conn.Query(ctx, codeQuery, hows, schemas, names, paths)
	if err != nil {
		return err
	}
	var h string
	var u use
	var found code
	_, err = pgx.ForEachRow(rows, []any{&h, &u.schema, &u.name, &u.path, &found.sql, &found.plans, &found.within, &found.symbol, &found.columns}, func() error {
		u.how = how(h[0])
		answers[u] = append(answers[u], found)
		return nil
	})
	return err
}
