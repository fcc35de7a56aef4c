package postgres

import (
	"fmt"
	"slices"

	"gatehouse/core/event"
	"gatehouse/protocols/postgres/statement"
)

// What becomes of an exchange after its response has ended, as further outcomes
// of it say.
const (
	outcomeUndone   = "rolled back"       // nothing of it stays
	outcomeInPart   = "committed in part" // a COMMIT in it kept a part
	outcomePrepared = "prepared"          // for two-phase commit: it is decided elsewhere
	outcomeUnknown  = "unknown"           // the server may or may not have committed
)

// maxUndone is how many exchanges of a transaction are named one by one when it
// is rolled back. Those after them are named together, in a notice.
const maxUndone = 65536

// A transaction is what the server's replies tell of the one that is open. It
// belongs to the responses' goroutine.
type transaction struct {
	block  bool     // it is a transaction block: BEGIN or a synonym opened it
	failed bool     // an error has aborted the block
	loose  bool     // outside of a block something ran that may commit by itself
	open   []uint64 // exchanges that did something in it
	last   uint64   // the last of those that open has no room for, or zero
	marks  []mark
}

// A mark is a savepoint.
type mark struct {
	name string
	at   int // how many exchanges were open
}

// did takes an exchange into account that did something.
func (t *transaction) did(exchange uint64) {
	switch {
	case len(t.open) > 0 && t.open[len(t.open)-1] == exchange:
	case len(t.open) < maxUndone:
		t.open = append(t.open, exchange)
	default:
		t.last = exchange
	}
}

// end forgets the transaction. A chained one goes on with the next.
func (t *transaction) end(chain bool) {
	open := t.open[:0]
	if cap(open) > 1024 {
		open = nil
	}
	*t = transaction{block: chain, open: open}
}

// completed takes the end of a statement of e into account.
func (s *session) completed(e *owed, tag string) error {
	t := &s.tx
	st := e.statement()
	switch st.Kind {
	case "BEGIN", "START TRANSACTION":
		t.block = true
	case "SAVEPOINT":
		if len(t.marks) == maxUndone {
			t.marks = slices.Delete(t.marks, 0, 1) // a rollback to it undoes too little in the record
		}
		t.marks = append(t.marks, mark{named(st), len(t.open)})
	case "RELEASE":
		if at := t.find(named(st)); at >= 0 {
			t.marks = t.marks[:at]
		}
	case "COMMIT", "PREPARE TRANSACTION", "ROLLBACK":
		return s.ended(e, st, tag)
	default:
		t.loose = t.loose || !t.block && commitsAlone(st)
		t.did(e.x.ID)
	}
	return nil
}

// find returns the index of the newest mark of a name, or -1.
func (t *transaction) find(name string) int {
	for i := len(t.marks) - 1; i >= 0; i-- {
		if t.marks[i].name == name {
			return i
		}
	}
	return -1
}

// ended takes a statement into account that ends the transaction, or a part of
// it.
func (s *session) ended(e *owed, st *event.Statement, tag string) error {
	t := &s.tx
	chain := slices.Contains(st.Options, "AND CHAIN")
	switch {
	case slices.Contains(st.Options, "TO SAVEPOINT"):
		at := t.find(named(st))
		if at < 0 {
			return nil
		}
		t.marks, t.failed = t.marks[:at+1], false
		return s.amend(t.marks[at].at, outcomeUndone, e)
	case tag == "ROLLBACK":
		if err := s.amend(0, outcomeUndone, e); err != nil {
			return err
		}
	case tag == "PREPARE TRANSACTION":
		if err := s.amend(0, outcomePrepared, e); err != nil {
			return err
		}
	case slices.Contains(t.open, e.x.ID):
		e.kept = true
	}
	t.end(chain)
	return nil
}

// amend records a further outcome of the exchanges from the one at index on,
// and forgets them. That of e itself is still to come, if e is a Query.
func (s *session) amend(from int, status string, e *owed) error {
	t := &s.tx
	for _, id := range t.open[from:] {
		if e != nil && e.kind == 'Q' && e.x != nil && e.x.ID == id {
			e.undone = status
			continue
		}
		if err := s.ps.Amend(id, event.Outcome{Status: status}); err != nil {
			return err
		}
	}
	if t.last > 0 {
		n := event.Notice{Code: status, Text: fmt.Sprintf("exchanges %d to %d: %s", t.open[len(t.open)-1]+1, t.last, status)}
		if err := s.ps.Notice(n); err != nil {
			return err
		}
	}
	t.open, t.last = t.open[:from], 0
	return nil
}

// erred takes an error into account. Outside of a block it undoes what has not
// committed.
func (s *session) erred(e *owed) error {
	t := &s.tx
	if t.block {
		t.failed = true
		return nil
	}
	status := outcomeUndone
	if t.loose {
		status = outcomeUnknown
	}
	err := s.amend(0, status, e)
	t.end(false)
	return err
}

// settled takes the status of a ReadyForQuery into account.
func (s *session) settled(status byte) error {
	t := &s.tx
	if status != 'I' {
		t.block, t.failed = true, status == 'E'
		return nil
	}
	var err error
	if t.failed { // its COMMIT has gone wrong
		err = s.amend(0, outcomeUndone, nil)
	}
	t.end(false)
	return err
}

// closing records what becomes of the transaction when the session ends before
// it does, and returns it. The server rolls back what is open when its client
// is gone, unless something that it has got already may commit. The connection
// to the server must be closed.
func (s *session) closing(e *owed) (status string, err error) {
	status = outcomeUndone
	if s.mayCommit() {
		status = outcomeUnknown
	}
	err = s.amend(0, status, e)
	return status, err
}

// mayCommit reports whether what the server has got, and not answered yet, may
// commit the transaction.
func (s *session) mayCommit() bool {
	t := &s.tx
	if t.loose {
		return true
	}
	block := t.block
	for _, e := range s.queue.rest() {
		switch {
		case e.kind == 'S' && !block, e.kind == 'F' && !block, e.kind == 'Q' && !block:
			return true
		case e.facts != nil && commits(e.facts, e.index, block):
			return true
		}
	}
	return false
}

// statement is the one of e that the server answers, or an empty one where the
// gate does not know it.
func (e *owed) statement() *event.Statement {
	if e.facts == nil || e.index >= e.facts.Len() {
		return &event.Statement{}
	}
	return &e.facts.Statements[e.facts.Top(e.index)]
}

// commitsAlone reports whether a statement may commit by itself outside of a
// transaction block: procedures do, and what PostgreSQL runs in transactions of
// its own.
func commitsAlone(st *event.Statement) bool {
	switch st.Kind {
	case "CALL", "DO", "VACUUM", "CLUSTER", "REINDEX", "CREATE INDEX", "DROP INDEX", "CREATE DATABASE", "DROP DATABASE", "ALTER DATABASE",
		"CREATE TABLESPACE", "DROP TABLESPACE", "ALTER SYSTEM", "CREATE SUBSCRIPTION", "ALTER SUBSCRIPTION", "DROP SUBSCRIPTION",
		"COMMIT PREPARED", "ROLLBACK PREPARED", "DISCARD ALL", "ALTER TABLE":
		return true
	}
	return false
}

// commits reports whether the statements from the one at index on may commit.
func commits(facts *statement.Result, index int, block bool) bool {
	for i := index; i < facts.Len(); i++ {
		st := &facts.Statements[facts.Top(i)]
		if st.Kind == "COMMIT" || st.Kind == "PREPARE TRANSACTION" || !block && commitsAlone(st) {
			return true
		}
	}
	return false
}
