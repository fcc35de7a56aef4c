// Package quota counts what principals get, over all sessions of a gate, and
// bounds it for each hour.
//
// The hour slides: it is counted in minutes, and a minute counts until it is
// wholly more than an hour ago. So no sixty minutes, wherever they begin, hold
// more than a limit.
package quota

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"gatehouse/core/event"
)

// MaxAccounts is how many principals may have got something within an hour.
const MaxAccounts = 100_000

// ErrFull is returned where MaxAccounts have.
var ErrFull = errors.New("too many principals have a quota at work")

// A Limit is what a principal may get within an hour. Zero fields are no limit.
type Limit struct {
	Rows       int64
	Bytes      int64
	Predicates int64 // conditions on a column
}

// A Ledger keeps the accounts of principals. It is safe for concurrent use.
type Ledger struct {
	mu       sync.Mutex
	accounts map[key]*tally
}

type key struct{ issuer, subject, policy, column string }

// NewLedger returns an empty ledger.
func NewLedger() *Ledger { return &Ledger{accounts: make(map[key]*tally)} }

// Open returns the account of a principal under the named policy, with a limit:
// of all that it gets, or of one column. What was counted stays where the limit
// changes.
func (l *Ledger) Open(who event.Principal, policy, column string, limit Limit) (*Account, error) {
	k := key{who.Issuer, who.Subject, policy, column}
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.accounts[k]
	if t == nil {
		if len(l.accounts) >= MaxAccounts {
			l.sweep()
		}
		if len(l.accounts) >= MaxAccounts {
			return nil, ErrFull
		}
		t = &tally{}
		l.accounts[k] = t
	}
	t.mu.Lock()
	t.users++
	t.mu.Unlock()
	return &Account{tally: t, column: column, limits: counts{limit.Rows, limit.Bytes, limit.Predicates}}, nil
}

// sweep drops accounts that nobody uses and that have nothing to remember.
func (l *Ledger) sweep() {
	for k, t := range l.accounts {
		t.mu.Lock()
		t.advance(time.Now())
		if t.users == 0 && t.all == (counts{}) {
			delete(l.accounts, k)
		}
		t.mu.Unlock()
	}
}

// Counts are what is counted: rows, bytes and predicates.
type counts [3]int64

const (
	rows = iota
	bytes
	predicates
)

var names = [...]string{rows: "rows", bytes: "bytes", predicates: "predicates"}

// minutes are how many minutes count: an hour of them, and the one under way.
const minutes = 61

// A tally is what one principal got, by the minute.
type tally struct {
	mu    sync.Mutex
	users int
	last  int64  // minute of the latest count
	all   counts // of all slots
	slots [minutes]counts
}

// advance forgets what counts no more.
func (t *tally) advance(now time.Time) {
	minute := now.Unix() / 60
	if minute <= t.last {
		return
	}
	for m := max(t.last+1, minute-minutes+1); m <= minute; m++ {
		s := &t.slots[m%minutes]
		for i := range s {
			t.all[i] -= s[i]
		}
		*s = counts{}
	}
	t.last = minute
}

// An Account bounds what one principal gets. It is safe for concurrent use, and
// several of one principal count together.
type Account struct {
	tally  *tally
	column string
	limits counts
	once   sync.Once
}

// Close ends the use of the account. What it counted stays.
func (a *Account) Close() {
	a.once.Do(func() {
		a.tally.mu.Lock()
		defer a.tally.mu.Unlock()
		a.tally.users--
	})
}

// Check returns an *ExceededError where no row or byte is left.
func (a *Account) Check() error {
	return a.spend(counts{rows: 1, bytes: 1}, counts{})
}

// Take counts rows and bytes. Where they do not fit into what is left, nothing
// is counted and the error is an *ExceededError: they must not be handed out.
func (a *Account) Take(r, b int64) error {
	return a.spend(counts{rows: max(r, 1), bytes: max(b, 1)}, counts{rows: r, bytes: b})
}

// Probe counts a predicate. Where none is left, the error is an *ExceededError:
// it must not be carried out.
func (a *Account) Probe() error {
	return a.spend(counts{predicates: 1}, counts{predicates: 1})
}

// spend counts some where there is room.
func (a *Account) spend(room, some counts) error {
	t := a.tally
	t.mu.Lock()
	defer t.mu.Unlock()
	t.advance(time.Now())
	for i, limit := range a.limits {
		if limit > 0 && room[i] > 0 && t.all[i]+room[i] > limit {
			return a.exceeded(i)
		}
	}
	s := &t.slots[t.last%minutes]
	for i, n := range some {
		s[i], t.all[i] = s[i]+n, t.all[i]+n
	}
	return nil
}

// exceeded says when some of what was counted is forgotten.
func (a *Account) exceeded(i int) error {
	t := a.tally
	free := t.last + 1
	for m := t.last - minutes + 1; m <= t.last; m++ {
		if t.slots[(m%minutes+minutes)%minutes][i] > 0 {
			free = m + minutes
			break
		}
	}
	return &ExceededError{What: names[i], Column: a.column, Limit: a.limits[i], Counted: t.all[i], At: time.Unix(free*60, 0).UTC()}
}

// An ExceededError says that a principal got all that it may within an hour.
type ExceededError struct {
	What    string // rows, bytes or predicates
	Column  string // "" where it is of all
	Limit   int64
	Counted int64
	At      time.Time // when some of it is free again
}

// Error says what was exceeded.
func (e *ExceededError) Error() string {
	of := ""
	if e.Column != "" {
		of = " of column " + e.Column
	}
	return fmt.Sprintf("the quota of %d %s%s an hour is used up", e.Limit, e.What, of)
}

// Frees is when some of the quota is free again.
func (e *ExceededError) Frees() time.Time { return e.At }
