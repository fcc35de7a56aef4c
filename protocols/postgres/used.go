package postgres

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"gatehouse/core/event"
)

// A namedColumn is a column of a relation by its name.
type namedColumn struct {
	name string // "" where the relation is not to be seen
	origin
}

// columnsOf returns the columns of objects with what they come from. A name
// without a schema stands for the relations of that name in all schemas.
func (c *catalog) columnsOf(ctx context.Context, objects []event.Object) ([]namedColumn, error) {
	found, err := c.columnsIn(ctx, objects)
	if err != nil {
		return nil, err
	}
	var all []namedColumn
	for _, columns := range found {
		all = append(all, columns...)
	}
	return all, nil
}

// columnsIn is columnsOf by object.
func (c *catalog) columnsIn(ctx context.Context, objects []event.Object) (map[event.Object][]namedColumn, error) {
	all := make(map[event.Object][]namedColumn)
	var missing []event.Object
	c.mu.Lock()
	c.fresh()
	for _, o := range objects {
		if found, known := c.columns[o]; known {
			all[o] = found
		} else if !slices.Contains(missing, o) {
			missing = append(missing, o)
		}
	}
	generation := c.changes
	c.mu.Unlock()
	if len(missing) == 0 {
		return all, nil
	}
	learnt := make(map[event.Object][]namedColumn)
	err := c.ask(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		clear(learnt)
		return c.lookUp(ctx, conn, missing, learnt)
	})
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fresh()
	for o, columns := range learnt {
		all[o] = columns
		if columns[0].name != "" && c.changes == generation {
			c.columns[o] = columns
		}
	}
	return all, nil
}

// lookUp asks for the columns of objects.
func (c *catalog) lookUp(ctx context.Context, conn *pgx.Conn, objects []event.Object, learnt map[event.Object][]namedColumn) error {
	var schemas, names []string
	for _, o := range objects {
		schemas, names = append(schemas, o.Schema), append(names, o.Name)
	}
	rows, err := conn.Query(ctx, `SELECT asked.i::pg_catalog.int4 - 1, r.oid
		FROM unnest($1::pg_catalog.text[], $2::pg_catalog.text[]) WITH ORDINALITY AS asked (schema, name, i)
		JOIN pg_catalog.pg_class r ON r.relname = asked.name
		JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
		WHERE asked.schema = '' OR n.nspname = asked.schema`, schemas, names)
	if err != nil {
		return err
	}
	found := make(map[int32][]uint32)
	var oids []uint32
	var i int32
	var oid uint32
	_, err = pgx.ForEachRow(rows, []any{&i, &oid}, func() error {
		found[i], oids = append(found[i], oid), append(oids, oid)
		return nil
	})
	if err != nil {
		return err
	}
	m, err := c.load(ctx, conn, oids)
	if err != nil {
		return err
	}
	for i, o := range objects {
		var columns []namedColumn
		for _, oid := range found[int32(i)] {
			for number, a := range m[oid].columns {
				columns = append(columns, namedColumn{a.name, m.origin(column{oid, number})})
			}
		}
		if len(columns) == 0 {
			columns = []namedColumn{{}}
		}
		learnt[o] = columns
	}
	return nil
}
