package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"gatehouse/core/event"
)

// maxObjects is how many relations and functions of one statement are looked
// up. A statement that names more cannot be approved.
const maxObjects = 2000

// objects says what the relations and functions that statements name stand for,
// by OID. A name without a schema stands for all that have it, in any schema,
// because only the session knows where the server would look; temporary ones
// are left out, since a session that waits cannot change its own, and those of
// others are not its. The answer changes whenever one of the names may mean
// another object.
func (c *catalog) objects(ctx context.Context, statements []event.Statement) (string, error) {
	var schemas, names, functions []string
	add := func(o event.Object) {
		schemas, names = append(schemas, o.Schema), append(names, o.Name)
	}
	for i := range statements {
		st := &statements[i]
		for _, o := range st.Writes {
			add(o)
		}
		for _, o := range st.Reads {
			add(o)
		}
		for _, f := range st.Functions {
			functions = append(functions, f[strings.LastIndexByte(f, '.')+1:])
		}
	}
	slices.Sort(functions)
	functions = slices.Compact(functions)
	if len(names)+len(functions) == 0 {
		return "", nil
	}
	if len(names)+len(functions) > maxObjects {
		return "", fmt.Errorf("the statement names more than %d relations and functions", maxObjects)
	}
	var found []string
	err := c.ask(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, `
			SELECT DISTINCT n.nspname || '.' || r.relname || '=' || r.oid
			FROM unnest($1::pg_catalog.text[], $2::pg_catalog.text[]) AS asked (schema, name)
			JOIN pg_catalog.pg_class r ON r.relname = asked.name
			JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
			WHERE (asked.schema = '' OR n.nspname = asked.schema) AND r.relpersistence <> 't'
			UNION
			SELECT n.nspname || '.' || f.proname || '()=' || f.oid || '.' || f.xmin
			FROM pg_catalog.pg_proc f
			JOIN pg_catalog.pg_namespace n ON n.oid = f.pronamespace
			WHERE f.proname = ANY ($3::pg_catalog.text[]) AND n.nspname <> 'pg_catalog'
			ORDER BY 1`, schemas, names, functions)
		if err != nil {
			return err
		}
		found, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	return strings.Join(found, ", "), err
}

// objectsAttr is the attribute of a held request that says what it names.
const objectsAttr = "postgres.objects"

// swapped refuses an approved request whose names no longer mean what they meant
// when approval p was asked for, or of which that cannot be told any more.
func (s *session) swapped(ctx context.Context, req *event.Request, p *event.Pending) *refusal {
	i := slices.IndexFunc(req.Attrs, func(a event.Attr) bool { return a.Key == objectsAttr })
	now, err := s.catalog.objects(ctx, req.Statements)
	switch {
	case err != nil || i < 0:
		return &refusal{code: codeAccessDenied, message: "gatehouse: what the statement of approval " + p.ID + " names cannot be looked up",
			hint: "Send the statement again."}
	case now != req.Attrs[i].Value:
		return &refusal{code: codeAccessDenied, message: "gatehouse: a name in the statement means another object than when approval " + p.ID + " was asked for",
			hint: "Send the statement again, so that it can be judged as it is now."}
	}
	return nil
}

// addObjects adds to req what it names. Where that cannot be told, nothing is
// added, and an approval counts for nothing.
func (s *session) addObjects(ctx context.Context, req *event.Request) {
	objects, err := s.catalog.objects(ctx, req.Statements)
	if err != nil {
		s.env.Log.Warn("names of a held statement cannot be looked up", append(s.logAttrs(), "error", err)...)
		return
	}
	req.Attrs = append(req.Attrs, event.Attr{Key: objectsAttr, Value: objects})
}
