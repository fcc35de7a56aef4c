package peers

import (
	"regexp"
	"strings"
)

// logPrefix is what parseLine reads: time, process, user@database. Lines that do
// not belong to a session lack the last.
const logPrefix = "%m [%p] %q%u@%d "

var statement = regexp.MustCompile(`(?s)^(?:statement|execute [^:]*): (.*)$`)

// LogEntry is a message of a PostgreSQL server about one session. A DETAIL,
// HINT or STATEMENT is an entry of its own after the message it belongs to.
type LogEntry struct {
	User     string
	Database string
	Severity string // LOG, ERROR, FATAL, DETAIL, STATEMENT, …
	Message  string // several lines if the server wrote several
}

// Log returns what the server has written about sessions in a database so far,
// in order. A statement is in it before its client has the response.
func (p *Postgres) Log(database string) ([]LogEntry, error) {
	text, err := p.process.log()
	if err != nil {
		return nil, err
	}
	return parseLog(string(text), database), nil
}

// Statements returns the text of the statements that the server began to
// execute in a database, by simple or extended protocol, in order. What it
// could not parse, or parsed and never executed, is not among them.
func (p *Postgres) Statements(database string) ([]string, error) {
	log, err := p.Log(database)
	if err != nil {
		return nil, err
	}
	var ran []string
	for _, e := range log {
		if m := statement.FindStringSubmatch(e.Message); m != nil && e.Severity == "LOG" {
			ran = append(ran, m[1])
		}
	}
	return ran, nil
}

func parseLog(text, database string) []LogEntry {
	var entries []LogEntry
	mine := false // whether a continuation line belongs to the last entry
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "\t"); ok {
			if mine {
				entries[len(entries)-1].Message += "\n" + rest
			}
			continue
		}
		var e LogEntry
		e, mine = parseLine(line)
		if mine = mine && e.Database == database; mine {
			entries = append(entries, e)
		}
	}
	return entries
}

// parseLine reads the first line of a message, if it belongs to a session.
func parseLine(line string) (e LogEntry, ok bool) {
	_, rest, _ := strings.Cut(line, "] ")
	who, rest, _ := strings.Cut(rest, " ")
	if e.User, e.Database, ok = strings.Cut(who, "@"); !ok {
		return e, false
	}
	e.Severity, e.Message, ok = strings.Cut(rest, ":  ")
	return e, ok
}
