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
	Rows  int64
	Bytes int64
}

// A Ledger keeps the accounts of principals. It is safe for concurrent use.
type Ledger struct {
	mu       sync.Mutex
	accounts map[key]*tally
}

type key struct{ issuer, subject, policy string }

// NewLedger returns an empty ledger.
func NewLedger() *Ledger { return &Ledger{accounts: make(map[key]*tally)} }

// Open returns the account of a principal under the named policy, with a limit.
// What was counted stays where the limit changes.
func (l *Ledger) Open(who event.Principal, policy string, limit Limit) (*Account, error) {
	k := key{who.Issuer, who.Subject, policy}
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
	return &Account{tally: t, limit: limit}, nil
}

// sweep drops accounts that nobody uses and that have nothing to remember.
func (l *Ledger) sweep() {
	for k, t := range l.accounts {
		t.mu.Lock()
		t.advance(time.Now())
		if t.users == 0 && t.rows == 0 && t.bytes == 0 {
			delete(l.accounts, k)
		}
		t.mu.Unlock()
	}
}

// minutes are how many minutes count: an hour of them, and the one under way.
const minutes = 61

// A tally is what one principal got, by the minute.
type tally struct {
	mu          sync.Mutex
	users       int
	last        int64 // minute of the latest count
	rows, bytes int64 // of all slots
	slots       [minutes]struct{ rows, bytes int64 }
}

// advance forgets what counts no more.
func (t *tally) advance(now time.Time) {
	minute := now.Unix() / 60
	if minute <= t.last {
		return
	}
	for m := max(t.last+1, minute-minutes+1); m <= minute; m++ {
		s := &t.slots[m%minutes]
		t.rows, t.bytes = t.rows-s.rows, t.bytes-s.bytes
		s.rows, s.bytes = 0, 0
	}
	t.last = minute
}

// An Account bounds what one principal gets. It is safe for concurrent use, and
// several of one principal count together.
type Account struct {
	tally *tally
	limit Limit
	once  sync.Once
}

// Close ends the use of the account. What it counted stays.
func (a *Account) Close() {
	a.once.Do(func() {
		a.tally.mu.Lock()
		defer a.tally.mu.Unlock()
		a.tally.users--
	})
}

// Check returns an *ExceededError where nothing is left.
func (a *Account) Check() error {
	return a.spend(0, 0)
}

// Take counts rows and bytes. Where they do not fit into what is left, nothing
// is counted and the error is an *ExceededError: they must not be handed out.
func (a *Account) Take(rows, bytes int64) error {
	return a.spend(rows, bytes)
}

func (a *Account) spend(rows, bytes int64) error {
	t := a.tally
	t.mu.Lock()
	defer t.mu.Unlock()
	t.advance(time.Now())
	// A check asks for room for one more of each.
	if l := a.limit.Rows; l > 0 && t.rows+max(rows, 1) > l {
		return t.exceeded("rows", l, t.rows, func(i int64) int64 { return t.slots[i].rows })
	}
	if l := a.limit.Bytes; l > 0 && t.bytes+max(bytes, 1) > l {
		return t.exceeded("bytes", l, t.bytes, func(i int64) int64 { return t.slots[i].bytes })
	}
	s := &t.slots[t.last%minutes]
	s.rows, s.bytes = s.rows+rows, s.bytes+bytes
	t.rows, t.bytes = t.rows+rows, t.bytes+bytes
	return nil
}

// exceeded says when some of what was counted is forgotten.
func (t *tally) exceeded(what string, limit, counted int64, slot func(int64) int64) error {
	free := t.last + 1
	for m := t.last - minutes + 1; m <= t.last; m++ {
		if slot((m%minutes+minutes)%minutes) > 0 {
			free = m + minutes
			break
		}
	}
	return &ExceededError{What: what, Limit: limit, Counted: counted, At: time.Unix(free*60, 0).UTC()}
}

// An ExceededError says that a principal got all that it may within an hour.
type ExceededError struct {
	What    string // rows or bytes
	Limit   int64
	Counted int64
	At      time.Time // when some of it is free again
}

// Error says what was exceeded.
func (e *ExceededError) Error() string {
	return fmt.Sprintf("the quota of %d %s an hour is used up", e.Limit, e.What)
}

// Frees is when some of the quota is free again.
func (e *ExceededError) Frees() time.Time { return e.At }
