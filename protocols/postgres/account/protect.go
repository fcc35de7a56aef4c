package account

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"
)

// protect marks the columns that policy protects: those that it names, and those
// that stand for the same values in what inherits from their tables, or what
// their tables inherit from.
func (d *database) protect(p Policy) {
	for _, r := range d.relations {
		for i := range r.columns {
			c := &r.columns[i]
			name := r.schema + "." + r.relname + "." + c.name
			switch {
			case r.system:
				c.taken = true
			case !p.Protected(name):
			default:
				c.kept = p.Keeps(d.name, name)
				c.taken = c.kept == ""
			}
		}
	}
}

func (r *relation) column(number int16) *column {
	for i := range r.columns {
		if r.columns[i].number == number {
			return &r.columns[i]
		}
	}
	return nil
}

func (c *column) closed() bool { return c.taken || c.derived }

// closed are the columns that the account should not read.
func (r *relation) closed() []string {
	var names []string
	for i := range r.columns {
		if r.columns[i].closed() {
			names = append(names, r.columns[i].name)
		}
	}
	return names
}

// holds is whether the relation itself stores, or stands for, what is protected,
// rather than reading it with somebody's rights.
func (r *relation) holds() bool {
	return slices.ContainsFunc(r.columns, func(c column) bool { return c.taken || c.derived && r.relkind != "v" })
}

// A view is a relation that is made of others.
type view struct {
	relation *relation
	origins  []origin // of each column
	reads    []origin // the columns of others; number 0 is all of them
}

type origin struct {
	table  uint32
	number int16
}

// derive finds the columns that may show a closed one: of children and parents
// of a table, those of its name; of views, those that are such a column, or are
// computed in a view that reads one.
func (d *database) derive(ctx context.Context, conn *pgx.Conn) error {
	var pairs [][2]uint32
	var child, parent uint32
	if err := each(ctx, conn, `SELECT inhrelid, inhparent FROM pg_catalog.pg_inherits`, nil, []any{&child, &parent}, func() error {
		pairs = append(pairs, [2]uint32{child, parent})
		return nil
	}); err != nil {
		return err
	}
	views, err := d.views(ctx, conn)
	if err != nil {
		return err
	}
	for changed := true; changed; {
		changed = false
		for _, p := range pairs {
			a, b := d.byOID[p[0]], d.byOID[p[1]]
			if a != nil && b != nil {
				changed = a.inherit(b) || changed
				changed = b.inherit(a) || changed
			}
		}
		for _, v := range views {
			more, err := d.deriveView(ctx, conn, v)
			if err != nil {
				return err
			}
			changed = changed || more
		}
	}
	return nil
}

// inherit closes the columns that are closed in from.
func (r *relation) inherit(from *relation) (changed bool) {
	for i := range r.columns {
		c := &r.columns[i]
		if c.closed() || c.kept != "" {
			continue
		}
		for _, o := range from.columns {
			if o.name == c.name && o.closed() {
				c.derived, changed = true, true
			}
		}
	}
	return changed
}

// views returns the views with what they read.
func (d *database) views(ctx context.Context, conn *pgx.Conn) ([]*view, error) {
	byOID := make(map[uint32]*view)
	var all []*view
	var of uint32
	var reads origin
	var whole bool
	// A dependency does not tell whether a row is used as a whole.
	err := each(ctx, conn, `SELECT w.ev_class, p.refobjid, p.refobjsubid::int2, w.ev_action::text LIKE '%:varattno 0 %'
		FROM pg_catalog.pg_rewrite w JOIN pg_catalog.pg_depend p ON p.classid = 'pg_catalog.pg_rewrite'::regclass AND p.objid = w.oid
			AND p.refclassid = 'pg_catalog.pg_class'::regclass AND p.refobjid <> w.ev_class
		WHERE w.ev_type = '1' ORDER BY 1, 2, 3`, nil, []any{&of, &reads.table, &reads.number, &whole}, func() error {
		r := d.byOID[of]
		if r == nil || r.relkind != "v" && r.relkind != "m" {
			return nil
		}
		if byOID[of] == nil {
			byOID[of] = &view{relation: r}
			all = append(all, byOID[of])
		}
		v := byOID[of]
		if whole {
			v.reads = append(v.reads, origin{table: reads.table})
		}
		if reads.number != 0 {
			v.reads = append(v.reads, reads)
		}
		return nil
	})
	return all, err
}

// isClosed is whether an origin, a column or all of them, is closed.
func (d *database) isClosed(o origin) bool {
	r := d.byOID[o.table]
	if r == nil {
		return false
	}
	if o.number == 0 {
		return len(r.closed()) > 0
	}
	c := r.column(o.number)
	return c != nil && c.closed()
}

// deriveView closes the columns of a view that may show a closed one.
func (d *database) deriveView(ctx context.Context, conn *pgx.Conn, v *view) (changed bool, err error) {
	if !slices.ContainsFunc(v.reads, d.isClosed) {
		return false, nil
	}
	if v.origins == nil {
		v.origins = d.originsOf(ctx, conn, v.relation)
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
	}
	for i := range v.relation.columns {
		c := &v.relation.columns[i]
		if c.closed() || c.kept != "" {
			continue
		}
		if o := v.origins[i]; o.table == 0 || d.isClosed(o) {
			c.derived, changed = true, true
		}
	}
	return changed, nil
}

// originsOf asks the server where the columns of a view come from, by describing
// its definition. What it does not say is computed.
func (d *database) originsOf(ctx context.Context, conn *pgx.Conn, r *relation) []origin {
	origins := make([]origin, len(r.columns))
	var definition string
	if err := conn.QueryRow(ctx, `SELECT pg_catalog.pg_get_viewdef($1::pg_catalog.oid)`, r.oid).Scan(&definition); err != nil {
		return origins
	}
	described, err := conn.Prepare(ctx, "", definition)
	if err != nil || len(described.Fields) != len(r.columns) {
		return origins
	}
	for i, f := range described.Fields {
		origins[i] = origin{f.TableOID, int16(f.TableAttributeNumber)}
	}
	return origins
}
