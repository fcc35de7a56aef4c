package peers

import (
	"regexp"
	"strings"
)

// logPrefix and logLine belong together: time, process, user@database. Lines
// that do not belong to a session lack the last.
const logPrefix = "%m [%p] %q%u@%d "

var (
	logLine   = regexp.MustCompile(`^\S+ \S+ \S+ \[\d+\] (\S+)@(\S+) ([A-Z0-9]+):  (.*)$`)
	statement = regexp.MustCompile(`(?s)^(?:statement|execute [^:]*): (.*)$`)
)

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
		m := logLine.FindStringSubmatch(line)
		mine = m != nil && m[2] == database
		if mine {
			entries = append(entries, LogEntry{User: m[1], Database: m[2], Severity: m[3], Message: m[4]})
		}
	}
	return entries
}
