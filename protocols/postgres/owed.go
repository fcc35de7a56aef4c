package postgres

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/core/protect"
	"gatehouse/protocols/postgres/statement"
)

// An owed is a response that the server owes, in the order asked.
type owed struct {
	kind   byte // type of the message that asked: Q P B D C E S, or F for what only goes wrong
	object byte // for D and C: 'S' statement, 'P' portal
	// described is whether rows may follow, for Q and E, or whether the
	// parameters were described, for D.
	described  bool
	swallow    bool // the gate asked, not the client
	futile     bool // a failed transaction would have refused it, too
	names      bool // may define or drop names of prepared statements and portals by SQL
	kept       bool // a part of a Q was committed by a COMMIT in it
	copied     bool // the data of its COPY has come
	uploads    bool // the server has asked for COPY data
	settles    bool // the Sync that tells which of those in doubt were answered
	redefines  bool // it may change definitions
	renames    bool // it may change what names of relations stand for
	fails      bool // whether one of its statements fails may depend on protected columns
	asksSchema bool // it is a part of the question where temporary relations are
	queued     bool // it is owed; guarded by the queue's mutex

	name      string
	st        *prepared
	portal    *portal
	x         *pipeline.Exchange
	refusal   *refusal // the message was refused; rewrite the server's error
	context   judged   // for what defines cursors: the context that they were judged in
	facts     *statement.Result
	sql       []byte // what facts are of, where names is set
	bytes     int    // that it keeps, for Q
	index     int    // for Q: how many of its statements have ended
	rows      int64
	tag       string
	failed    string // code of the error that ended a Q
	undone    string // what became of the rest of a Q, where that is known before it ends
	columns   int    // how many values its rows have
	head      *head
	probe     *copyProbe       // what columns a COPY TO has; on what asks for it too
	copying   *copying         // its data is coming
	masked    *uploadMask      // what is recorded of its upload, where that is masked
	judged    *uploadJudge     // which plugins judge its upload, where they do
	before    int64            // rows of the statements before it
	guarded   *protect.Columns // what is protected, where something is
	subjects  []*subject       // its statements, where columns are protected strictly
	calls     []string         // protected functions that its result may come from
	estimate  string           // how many rows it would write, where that is known already
	writing   *writing         // what it may write otherwise
	moving    *mover           // what it may store elsewhere of what it reads, where that is tracked
	makes     []*Taint         // of a relation that it makes
	rechecked uint64           // the version of the taints by which its result is still what it was

	unwanted atomic.Pointer[refusal] // why its upload was given up
}

// A queue holds the responses owed. The requests' goroutine pushes, the
// responses' goroutine pops.
type queue struct {
	mu       sync.Mutex
	moved    sync.Cond // broadcast when something was popped, or closed
	items    []*owed
	room     [8]*owed // for items, as long as there are few
	pending  int      // bytes that items keep
	defines  int      // how many of items change a name
	skip     bool     // the server discards until Sync
	resumes  bool     // a Sync in doubt was answered since the last error
	closed   bool
	ddl      int      // statements that change definitions in the transaction that is open
	renamed  bool     // one of them may change what names of relations stand for
	makes    []*Taint // of relations that it makes
	twoPhase bool     // a transaction may be committed elsewhere
	status   byte     // of the last ReadyForQuery
	copyIn   *owed    // what the server reads COPY data for
	// implicit is whether something ran since, outside a transaction block.
	implicit bool

	prepared map[string]*prepared
	portals  map[string]*portal
	kept     int // bytes that prepared and portals keep
}

func newQueue() *queue {
	q := &queue{status: 'I', prepared: map[string]*prepared{}, portals: map[string]*portal{}}
	q.moved.L = &q.mu
	return q
}

// size is how many bytes e keeps that a client chose.
func (e *owed) size() int {
	switch e.kind {
	case 'P':
		return e.st.size()
	case 'B':
		return e.portal.size()
	}
	return e.bytes
}

func (e *owed) defining() bool {
	return e.kind == 'P' || e.kind == 'B' || e.kind == 'C' || e.kind == 'Q' || e.names
}

// push adds e. It reports false when the server is discarding messages, so
// that it owes nothing for this one.
func (q *queue) push(e *owed) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.skip && e.kind != 'S' {
		return false
	}
	q.skip = false
	q.items = append(q.items, e)
	e.queued = true
	q.pending += e.size()
	if e.defining() {
		q.defines++
	}
	if e.redefines {
		q.ddl++
		q.renamed = q.renamed || e.renames
	}
	q.makes = append(q.makes, e.makes...)
	q.twoPhase = q.twoPhase || e.facts != nil && slices.ContainsFunc(e.facts.Statements, func(st event.Statement) bool { return st.Opaque || st.Kind == "PREPARE TRANSACTION" })
	return true
}

// head returns the oldest response owed, or nil.
func (q *queue) head() *owed {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		return nil
	}
	return q.items[0]
}

// pop removes the oldest response owed, which has arrived.
func (q *queue) pop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.remove(1)
}

func (q *queue) remove(n int) {
	for _, e := range q.items[:n] {
		e.queued = false
		e.moved()
		q.pending -= e.size()
		if e.defining() {
			q.defines--
		}
	}
	clear(q.items[:n])
	if q.items = q.items[n:]; len(q.items) == 0 {
		q.items = q.room[:0]
	}
	q.moved.Broadcast()
}

// fail drops and returns what the server will not answer after an error: all
// before the next Sync.
func (q *queue) fail() []*owed {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for n < len(q.items) && q.items[n].kind != 'S' {
		n++
	}
	if n > 0 && q.items[0].kind == 'P' && q.items[0].name == "" {
		q.setPrepared("", nil) // a Parse that fails has already dropped it
	}
	q.skip, q.resumes = n == len(q.items), false
	dropped := append([]*owed(nil), q.items[:n]...)
	q.remove(n)
	return dropped
}

// moved says that e moves nothing any more.
func (e *owed) moved() {
	if e.moving != nil {
		e.moving.session.resource.taints.leave(e.moving)
		e.moving = nil
	}
}

// ready takes the ReadyForQuery into account that answers what is owed next. It
// returns how many statements changed definitions, of which all is settled now, and
// what they have made.
func (q *queue) ready(status byte) (settled int, made []*Taint) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.setStatus(status)
	if e := q.items[0]; e.kind == 'Q' {
		// A simple query takes the place of what has no name.
		q.setPrepared("", nil)
		if e.index > 0 {
			q.setPortal("", nil)
		}
	}
	q.remove(1)
	if status == 'I' && len(q.items) == 0 {
		settled, q.ddl, q.renamed = q.ddl, 0, false
		if made, q.makes = q.makes, nil; q.twoPhase {
			made = nil // it may be made later
		}
	}
	return settled, made
}

// unsettled returns how many statements changed definitions, of which it is not
// settled what became, when the session ends.
func (q *queue) unsettled() (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, q.ddl = q.ddl, 0
	return n
}

// redefines reports whether definitions change in the transaction that is open.
func (q *queue) redefines() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ddl > 0
}

// renames reports whether what names of relations stand for may change in the
// transaction that is open.
func (q *queue) renames() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.renamed
}

// report takes a ReadyForQuery into account that answers nothing which is owed.
func (q *queue) report(status byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.setStatus(status)
	q.skip, q.resumes = false, true
}

// resumed reports whether the server has answered a Sync in doubt since the last
// error.
func (q *queue) resumed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.resumes
}

// setStatus takes a reported status into account. Outside a transaction no portal
// lives on.
func (q *queue) setStatus(status byte) {
	q.status, q.implicit = status, false
	if status == 'I' {
		q.dropPortals(false, nil)
	}
}

// idle reports whether nothing is owed and no transaction is open.
func (q *queue) idle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items) == 0 && q.status == 'I' && !q.skip
}

// load is how many responses are owed, and how many bytes they keep.
func (q *queue) load() (n, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items), q.pending
}

// skipping reports whether the server discards messages until Sync.
func (q *queue) skipping() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.skip
}

// transaction is the server's transaction status as far as it was reported. An
// extended query that was not synchronised yet has its own. Settled is whether
// nothing has run since the report, or may have.
func (q *queue) transaction() (status byte, settled bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	settled = len(q.items) == 0 && !q.implicit
	if q.status == 'I' && q.implicit {
		return 'T', settled
	}
	return q.status, settled
}

// executed says that something ran, which ReadyForQuery will confirm.
func (q *queue) executed() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.implicit = true
	q.remove(1)
}

// rest is what is still owed.
func (q *queue) rest() []*owed {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]*owed(nil), q.items...)
}

// close ends all waits.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.moved.Broadcast()
}

// wait returns when at most n responses are owed, ctx ended or the queue was
// closed.
func (q *queue) wait(ctx context.Context, n int) error {
	return q.until(ctx, func() bool { return len(q.items) <= n })
}

// until returns when done is so, which it calls with the mutex held, ctx ended
// or the queue was closed.
func (q *queue) until(ctx context.Context, done func() bool) error {
	stop := context.AfterFunc(ctx, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.moved.Broadcast()
	})
	defer stop()
	q.mu.Lock()
	defer q.mu.Unlock()
	for !done() && !q.closed && ctx.Err() == nil {
		q.moved.Wait()
	}
	return ctx.Err()
}
