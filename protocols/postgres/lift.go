package postgres

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A State is what became of a tracked column.
type State string

// States.
const (
	StateThere   State = "there"
	StateGone    State = "gone"    // it, or its table, was dropped
	StateMaking  State = "making"  // the transaction that makes its table is open
	StateLeft    State = "left"    // what became of the table is not known, since the gate ended meanwhile
	StateUnknown State = "unknown" // the server does not answer
)

// A Tracked is a column that counts as protected since a statement stored values of
// protected ones there.
type Tracked struct {
	Taint
	// ID stands for all that is said of it here.
	ID string
	// Now is what it is called now, "schema.table.column", or was called last.
	Now   string
	State State
}

// Errors of Lift.
var (
	// ErrNotTracked is returned for what is not tracked, or is not what it was.
	ErrNotTracked = errors.New("the column is not tracked, or not as it was shown")
	// ErrStoring is returned while values are being stored in the column.
	ErrStoring = errors.New("a transaction that may store protected values in the column is open")
	// ErrUnsettled is returned where it is not known what a table's state is.
	ErrUnsettled = errors.New("what became of the column is not known yet")
)

// resource returns a resource that tracks writes, which stays open until leave is called.
func (p *Protocol) resource(name string) (r *Resource, leave func()) {
	r = (*p.resources.Load())[name]
	if r == nil || r.taints == nil {
		return nil, nil
	}
	r.enter()
	return r, r.leave
}

// TrackedResources are the resources that have tracked columns, in order.
func (p *Protocol) TrackedResources() (names []string) {
	resources := *p.resources.Load()
	for _, name := range slices.Sorted(maps.Keys(resources)) {
		if r := resources[name]; r.taints != nil && len(r.taints.all()) > 0 {
			names = append(names, name)
		}
	}
	return names
}

// Tracked returns the tracked columns of a resource, by their names.
func (p *Protocol) Tracked(ctx context.Context, resource string) ([]Tracked, error) {
	r, leave := p.resource(resource)
	if r == nil {
		return nil, nil
	}
	defer leave()
	databases := map[string]bool{}
	for _, t := range r.taints.all() {
		databases[t.Database] = true
	}
	var all []Tracked
	for _, database := range slices.Sorted(maps.Keys(databases)) {
		found, err := r.catalogs.of(r, database, r.addresses()[0]).tracked(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	slices.SortStableFunc(all, func(a, b Tracked) int { return cmp.Compare(a.Now, b.Now) })
	return all, nil
}

// all returns what is known.
func (t *taints) all() []*Taint {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.list
}

// tracked returns the tracked columns of the catalogue's database.
func (c *catalog) tracked(ctx context.Context) ([]Tracked, error) {
	unanswered := c.settleLeft(ctx)
	found, made := c.resource.taints.of(c.database)
	names, err := c.namesNow(ctx, found)
	if err = errors.Join(unanswered, err); err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	said, _ := errors.AsType[*pgconn.PgError](err)
	dropped := said != nil && said.Code == "3D000" // there is no such database
	all := make([]Tracked, 0, len(found)+len(made))
	for _, t := range slices.Concat(found, made) {
		one := Tracked{Taint: *t, Now: names[column{t.Table, t.Number}], State: StateThere}
		switch {
		case dropped:
			one.State = StateGone
		case t.left:
			one.State = StateLeft
		case t.Table == 0:
			one.State = StateMaking
		case err != nil:
			one.State = StateUnknown
		case one.Now == "":
			one.State = StateGone
		}
		one.Now = cmp.Or(one.Now, t.String())
		one.ID = one.identify()
		all = append(all, one)
	}
	return all, nil
}

// identify returns a text that differs wherever anything else is said.
func (t *Tracked) identify() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %+q", t.Now, t.State, fmt.Sprintf("%+v", t.Taint)))
	return hex.EncodeToString(sum[:16])
}

// settleLeft settles what the statements have made that were under way when a gate
// ended, once the server has no transaction of that time any more.
func (c *catalog) settleLeft(ctx context.Context) error {
	_, made := c.resource.taints.of(c.database)
	if made = slices.DeleteFunc(made, func(t *Taint) bool { return !t.left }); len(made) == 0 {
		return nil
	}
	over := false
	err := c.ask(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT NOT EXISTS (SELECT FROM pg_prepared_xacts WHERE database = current_database())
			AND NOT EXISTS (SELECT FROM pg_stat_activity a, pg_stat_activity own
				WHERE own.pid = pg_backend_pid() AND a.datid = own.datid AND a.usesysid = own.usesysid AND a.backend_start < own.backend_start AND a.xact_start IS NOT NULL)`).Scan(&over)
	})
	if err != nil || !over {
		return err
	}
	return c.settleTaints(ctx, made)
}

// A lifting is a column that somebody is about to lift.
type lifting struct{ taint *Taint }

// storing notes that a statement stores values, and takes out of what is being
// lifted where it does.
func (t *taints) storing(more []*Taint, by *mover) {
	t.mu.Lock()
	defer t.mu.Unlock()
	by.stores = append(by.stores, more...)
	for l := range t.lifting {
		if slices.ContainsFunc(more, l.taint.same) {
			delete(t.lifting, l)
		}
	}
}

// begin begins to lift a taint, unless a statement on its way stores values there.
func (t *taints) begin(taint *Taint) (*lifting, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for m := range t.movers {
		if slices.ContainsFunc(m.stores, taint.same) {
			return nil, ErrStoring
		}
	}
	l := &lifting{taint}
	t.lifting[l] = struct{}{}
	return l, nil
}

// end ends lifting, and with lift does it, unless a statement came between.
func (t *taints) end(l *lifting, lift bool) error {
	t.writing.Lock()
	defer t.writing.Unlock()
	t.mu.Lock()
	_, still := t.lifting[l]
	delete(t.lifting, l)
	list := slices.Clone(t.list)
	t.mu.Unlock()
	switch {
	case !lift:
		return nil
	case !still:
		return ErrStoring
	}
	n := len(list)
	if list = slices.DeleteFunc(list, l.taint.same); len(list) == n {
		return ErrNotTracked
	}
	return t.keep(list)
}

// Lift makes a column of a resource, which was shown with an ID, one that is not
// tracked any more: at once, in all sessions, and for good. It calls record before
// that takes effect, and does nothing if that fails.
func (p *Protocol) Lift(ctx context.Context, resource, id string, record func(*Tracked) error) error {
	r, leave := p.resource(resource)
	if r == nil {
		return ErrNotTracked
	}
	defer leave()
	all, err := p.Tracked(ctx, resource)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(t Tracked) bool { return t.ID == id })
	if i < 0 {
		return ErrNotTracked
	}
	one := &all[i]
	if one.State == StateMaking || one.State == StateUnknown || one.State == StateLeft {
		return ErrUnsettled
	}
	l, err := r.taints.begin(&one.Taint)
	if err != nil {
		return err
	}
	defer func() { _ = r.taints.end(l, false) }()
	if one.State == StateThere {
		written, err := r.catalogs.of(r, one.Database, r.addresses()[0]).isWritten(ctx, one.Table)
		if err != nil {
			return err
		}
		if written {
			return ErrStoring
		}
	}
	if err := record(one); err != nil {
		return err
	}
	return r.taints.end(l, true)
}

// isWritten is whether a transaction is open that writes to a table, or may.
func (c *catalog) isWritten(ctx context.Context, table uint32) (is bool, err error) {
	err = c.ask(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
			WHERE d.datname = current_database() AND l.locktype = 'relation' AND l.relation = $1
				AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'))`, table).Scan(&is)
	})
	return is, err
}
