package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"gatehouse/core/event"
)

// A Taint says that a column holds values of protected columns because a statement
// stored them there. It stays until the column is gone or somebody lifts it.
type Taint struct {
	Database string `json:"database"`
	// Table and Number are the server's own numbers of the relation and of the
	// column in it. They are zero as long as a statement makes the relation.
	Table  uint32 `json:"table,omitempty"`
	Number uint16 `json:"number,omitempty"`
	// Schema, Relation and Column are its names when it was written. Schema is
	// empty where the statement did not say it.
	Schema   string `json:"schema,omitempty"`
	Relation string `json:"relation"`
	Column   string `json:"column"`
	// From are the protected columns, "schema.table.column", in order.
	From []string `json:"from"`
	// Computed is whether it holds something else than their values as they are.
	Computed bool `json:"computed,omitempty"`
	// Before are the relations of that name that there were before it was made.
	Before []uint32 `json:"before,omitempty"`
	// Temporary is whether it goes with the session.
	Temporary bool `json:"temporary,omitempty"`
	// Session is the one that stored them first.
	Session string    `json:"session"`
	At      time.Time `json:"at"`
	// Causes are the first statements that stored them, one for each principal.
	Causes []Cause `json:"causes,omitempty"`
	// Others is whether there were more principals than are named.
	Others bool `json:"others,omitempty"`

	left bool // by a gate that has ended, before it knew what became of it
}

// A Cause is the first statement by which a principal stored values in a column.
type Cause struct {
	Session  string    `json:"session"`
	Exchange uint64    `json:"exchange"`
	Issuer   string    `json:"issuer"`
	Subject  string    `json:"subject"`
	Name     string    `json:"name,omitempty"`
	At       time.Time `json:"at"`
	// Statement is the beginning of its text, masked as in recordings.
	Statement string `json:"statement"`
}

// By is whether it was p who stored them.
func (c *Cause) By(p event.Principal) bool { return c.Issuer == p.Issuer && c.Subject == p.Subject }

// What is kept of the causes of one taint is bounded.
const (
	maxCauses    = 100
	maxCauseText = 300
)

// caused adds causes to t, which it changes.
func (t *Taint) caused(causes ...Cause) {
	t.Causes = slices.Clone(t.Causes)
	for _, c := range causes {
		switch {
		case slices.ContainsFunc(t.Causes, func(known Cause) bool { return known.Issuer == c.Issuer && known.Subject == c.Subject }):
		case len(t.Causes) == maxCauses:
			t.Others = true
		default:
			t.Causes = append(t.Causes, c)
		}
	}
}

// String returns "schema.table.column", as far as it is known.
func (t *Taint) String() string {
	if t.Schema == "" {
		return t.Relation + "." + t.Column
	}
	return t.Schema + "." + t.Relation + "." + t.Column
}

// same is whether t and u are of one column.
func (t *Taint) same(u *Taint) bool {
	return t.Database == u.Database && t.Table == u.Table && t.Number == u.Number &&
		(t.Table > 0 || t.Schema == u.Schema && t.Relation == u.Relation && t.Column == u.Column && t.Session == u.Session)
}

// names is whether t, of a relation that was to be made, may mean one that there is.
func (t *Taint) names(database string, oid uint32, r *relation) bool {
	return t.Table == 0 && t.Database == database && t.Relation == r.name && (t.Schema == "" || t.Schema == r.schema) && !slices.Contains(t.Before, oid)
}

// maxTaints is how many columns of a resource may be tainted. Beyond, a statement
// that would taint a further one is refused.
const maxTaints = 10_000

var errTooManyTaints = fmt.Errorf("more than %d columns would hold values of protected ones", maxTaints)

// Taints are those of a resource, in a file that is written before they count. Nil
// are none, and there can be none. They are safe for concurrent use.
type taints struct {
	file string

	// writing is held by who changes list, while the file is written too. It is
	// taken before mu, which nobody waits under.
	writing sync.Mutex

	mu   sync.Mutex
	list []*Taint // never changed, but replaced
	// version counts changes. Who reads it before the taints can tell later
	// whether there are others.
	version atomic.Uint64
	// grown counts those by which more is protected.
	grown  atomic.Uint64
	movers map[*mover]struct{}
	// lifting is what somebody is about to lift; a statement that stores values
	// there meanwhile takes it out.
	lifting map[*lifting]struct{}
}

// ReadTaints reads a file of taints. One that is not there has none.
func ReadTaints(file string) ([]*Taint, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var list []*Taint
	if err == nil {
		err = json.Unmarshal(b, &list)
	}
	if err != nil {
		return nil, fmt.Errorf("read tracked columns: %w", err)
	}
	if slices.Contains(list, nil) {
		return nil, fmt.Errorf("read tracked columns: %s has an empty entry", file)
	}
	return list, nil
}

func openTaints(file string) (*taints, error) {
	list, err := ReadTaints(file)
	if err != nil {
		return nil, err
	}
	// Temporary relations have gone with the sessions of the gate before.
	list = slices.DeleteFunc(list, func(t *Taint) bool { return t.Temporary })
	for _, t := range list {
		t.left = t.Table == 0
	}
	return &taints{file: file, list: list, movers: map[*mover]struct{}{}, lifting: map[*lifting]struct{}{}}, nil
}

// now returns the version of what is known.
func (t *taints) now() uint64 {
	if t == nil {
		return 0
	}
	return t.version.Load()
}

// more returns the version of what was added to it.
func (t *taints) more() uint64 {
	if t == nil {
		return 0
	}
	return t.grown.Load()
}

// add makes taints count, for all sessions, once they are durable. It returns those
// that say more than was known. By is the statement on its way that stores the
// values, or nil.
func (t *taints) add(more []*Taint, by *mover) (added []*Taint, err error) {
	t.writing.Lock()
	defer t.writing.Unlock()
	if by != nil {
		t.storing(more, by)
	}
	list := slices.Clone(t.all())
	changed := false
	for _, m := range more {
		i := slices.IndexFunc(list, m.same)
		if i < 0 {
			list, added = append(list, m), append(added, m)
			continue
		}
		both := *list[i]
		both.Before = slices.DeleteFunc(slices.Clone(both.Before), func(oid uint32) bool { return !slices.Contains(m.Before, oid) })
		both.From = slices.Compact(slices.Sorted(slices.Values(slices.Concat(both.From, m.From))))
		both.Computed = both.Computed || m.Computed
		if both.caused(m.Causes...); len(both.Causes) > len(list[i].Causes) || both.Others != list[i].Others {
			list[i], changed = &both, true
		}
		if len(both.From) > len(list[i].From) || both.Computed != list[i].Computed || len(both.Before) < len(list[i].Before) {
			list[i], added = &both, append(added, m)
		}
	}
	if len(added) == 0 && !changed {
		return nil, nil
	}
	if len(list) > maxTaints {
		return nil, errTooManyTaints
	}
	if err = t.keep(list); err == nil && len(added) > 0 {
		t.grown.Add(1)
	}
	return added, err
}

// drop forgets the taints that are gone.
func (t *taints) drop(gone func(*Taint) bool) error {
	t.writing.Lock()
	defer t.writing.Unlock()
	list := slices.Clone(t.all())
	n := len(list)
	if list = slices.DeleteFunc(list, gone); len(list) == n {
		return nil
	}
	return t.keep(list)
}

// keep makes list durable and puts it in the place of what is known. The caller
// holds writing.
func (t *taints) keep(list []*Taint) error {
	if err := writeDurably(t.file, list); err != nil {
		return fmt.Errorf("keep tracked columns: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list = list
	t.version.Add(1)
	return nil
}

func writeDurably(file string, list []*Taint) (err error) {
	b, err := json.MarshalIndent(list, "", "\t")
	if err != nil {
		return err
	}
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".tracked")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // unless it has its place
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// of returns the taints of a database, and those among them of relations that were
// to be made.
func (t *taints) of(database string) (all, made []*Taint) {
	if t == nil {
		return nil, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, one := range t.list {
		switch {
		case one.Database != database:
		case one.Table == 0:
			made = append(made, one)
		default:
			all = append(all, one)
		}
	}
	return all, made
}

// taint adds to the columns of relations what they are tainted with. A relation that
// a statement was to make is known by its numbers from then on.
func (c *catalog) taint(m relations, found, made []*Taint) error {
	var known []*Taint
	for _, one := range made {
		for oid, r := range m {
			if !one.names(c.database, oid, r) {
				continue
			}
			for number, a := range r.columns {
				if one.Column == a.name || one.Column == "*" {
					as := *one
					as.Table, as.Number, as.Before, as.left = oid, number, nil, false
					as.Schema, as.Column, as.Temporary = r.schema, a.name, strings.HasPrefix(r.schema, "pg_temp_")
					known = append(known, &as)
				}
			}
		}
	}
	if len(known) > 0 {
		if _, err := c.resource.taints.add(known, nil); err != nil {
			return err
		}
	}
	for _, one := range slices.Concat(found, known) {
		if r := m[one.Table]; r != nil {
			if a, is := r.columns[one.Number]; is {
				a.from, a.computed = append(a.from, one.From...), a.computed || one.Computed
				r.columns[one.Number] = a
			}
		}
	}
	return nil
}

// settleTaints looks for the relations that a transaction was to make, which is
// over, and forgets their names: what is made later by those is another.
func (c *catalog) settleTaints(ctx context.Context, made []*Taint) error {
	var names []string
	for _, one := range made {
		names = append(names, one.Relation)
	}
	err := c.ask(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, "SELECT oid FROM pg_class WHERE relname = ANY($1)", names)
		if err != nil {
			return err
		}
		oids, err := pgx.CollectRows(rows, pgx.RowTo[uint32])
		if err != nil {
			return err
		}
		m := relations{}
		if err := m.loadColumns(ctx, conn, oids); err != nil {
			return err
		}
		return c.taint(m, nil, made)
	})
	if err != nil {
		return err
	}
	return c.resource.taints.drop(func(t *Taint) bool { return slices.ContainsFunc(made, t.same) })
}

// dropGone forgets the taints of columns that are gone, and returns them.
func (c *catalog) dropGone(ctx context.Context) ([]*Taint, error) {
	gone, _ := c.resource.taints.of(c.database)
	there, err := c.namesNow(ctx, gone)
	if err != nil {
		return nil, err
	}
	gone = slices.DeleteFunc(gone, func(t *Taint) bool { return there[column{t.Table, t.Number}] != "" })
	return gone, c.resource.taints.drop(func(t *Taint) bool { return slices.Contains(gone, t) })
}

// namesNow returns what the columns of taints are called, "schema.table.column".
// Those that are gone have no name.
func (c *catalog) namesNow(ctx context.Context, list []*Taint) (map[column]string, error) {
	var oids []uint32
	for _, t := range list {
		oids = append(oids, t.Table)
	}
	names := make(map[column]string)
	err := c.ask(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, `SELECT a.attrelid, a.attnum, n.nspname || '.' || r.relname || '.' || a.attname
			FROM pg_attribute a JOIN pg_class r ON r.oid = a.attrelid JOIN pg_namespace n ON n.oid = r.relnamespace
			WHERE a.attrelid = ANY($1) AND NOT a.attisdropped`, oids)
		if err != nil {
			return err
		}
		var table uint32
		var number int16
		var name string
		_, err = pgx.ForEachRow(rows, []any{&table, &number, &name}, func() error {
			names[column{table, uint16(number)}] = name
			return nil
		})
		return err
	})
	return names, err
}

// nameTaints names the columns of taints, for people.
func nameTaints(list []*Taint) string {
	var names []string
	for _, t := range list {
		names = append(names, t.String())
	}
	return strings.Join(names, ", ")
}

// describeTaints says what taints say, for people.
func describeTaints(list []*Taint) string {
	var b strings.Builder
	for i, t := range list {
		if i > 0 {
			b.WriteString("; ")
		}
		verb := "holds values of "
		if t.Computed {
			verb = "holds what was computed from "
		}
		b.WriteString(t.String() + " " + verb + strings.Join(t.From, ", "))
	}
	return b.String()
}
