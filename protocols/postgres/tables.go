package postgres

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"
)

// changed counts how often what is remembered of the catalogue was dropped.
func (c *catalog) changed() uint64 {
	if st := c.stands(); st != nil {
		return st.changes
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fresh()
	return c.changes
}

// A table is a relation as statements name it.
type table struct {
	schema string
	// stored is whether its columns are its own: it is no view.
	stored  bool
	columns []tableColumn
}

func (t *table) has(column string) bool {
	return slices.ContainsFunc(t.columns, func(c tableColumn) bool { return c.name == column })
}

// A tableColumn is one of a table's columns, in their order.
type tableColumn struct {
	name      string
	generated bool
	from      []string // the protected columns whose values statements stored there
}

// from are the protected columns whose values statements stored in a column of t, or
// in any where that is *.
func (t *table) from(column string) (from []string) {
	for i := range t.columns {
		if c := &t.columns[i]; column == "*" || c.name == column {
			from = append(from, c.from...)
		}
	}
	return from
}

// tablesNamed returns the relations of a name, in all schemas or in one, none
// where that cannot be told. Temporary ones are left out: they are those of
// other sessions, too.
func (c *catalog) tablesNamed(ctx context.Context, schema, name string) []table {
	c.mu.Lock()
	c.fresh()
	all, known := c.tables[name]
	generation := c.changes
	c.mu.Unlock()
	if !known {
		if err := c.ask(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
			all, err = c.readTables(ctx, conn, name)
			return err
		}); err != nil {
			return nil
		}
		c.mu.Lock()
		if c.fresh(); c.changes == generation {
			c.tables[name] = all
		}
		c.mu.Unlock()
	}
	if schema == "" {
		return all
	}
	for i := range all {
		if all[i].schema == schema {
			return all[i : i+1]
		}
	}
	return nil
}

func (c *catalog) readTables(ctx context.Context, conn *pgx.Conn, name string) (all []table, err error) {
	found, made := c.resource.taints.of(c.database)
	rows, err := conn.Query(ctx, `SELECT r.oid, a.attnum, n.nspname, r.relkind IN ('r', 'p'), a.attname, a.attgenerated <> ''
		FROM pg_catalog.pg_class r
		JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
		JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
		WHERE r.relname = $1 AND r.relkind IN ('r', 'p', 'v', 'm', 'f') AND r.relpersistence <> 't'
		ORDER BY r.oid, a.attnum`, name)
	if err != nil {
		return nil, err
	}
	var oid uint32
	var number int16
	var schema string
	var stored bool
	var column tableColumn
	m := relations{}
	var oids []uint32
	_, err = pgx.ForEachRow(rows, []any{&oid, &number, &schema, &stored, &column.name, &column.generated}, func() error {
		if n := len(all); n == 0 || all[n-1].schema != schema {
			all, oids = append(all, table{schema: schema, stored: stored}), append(oids, oid)
			m[oid] = &relation{schema: schema, name: name, columns: map[uint16]attribute{}}
		}
		last := &all[len(all)-1]
		last.columns = append(last.columns, column)
		m[oid].columns[uint16(number)] = attribute{name: column.name}
		return nil
	})
	if err != nil || len(found)+len(made) == 0 {
		return all, err
	}
	err = c.taint(m, found, made)
	for i := range all {
		for _, a := range m[oids[i]].columns {
			for j := range all[i].columns {
				if all[i].columns[j].name == a.name {
					all[i].columns[j].from = a.from
				}
			}
		}
	}
	return all, err
}
