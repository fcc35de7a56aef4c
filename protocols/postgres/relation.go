package postgres

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"gatehouse/core/lineage"
)

// A relationNamed is a name as one session may use it.
type relationNamed struct {
	name string
	temporary
}

// relationsNamed returns the relations of a name in all schemas. Temporary ones are
// left out, but for those where they are said to be.
func (v *vocabulary) relationsNamed(ctx context.Context, name string, where temporary) ([]*lineage.Relation, error) {
	key := relationNamed{name, where}
	v.mu.Lock()
	all, known := v.relations[key]
	v.mu.Unlock()
	if known {
		return all, nil
	}
	l := relationLoader{vocabulary: v, found: map[uint32]*lineage.Relation{}}
	err := v.catalog.ask(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		all, err = l.named(ctx, conn, key)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := l.define(ctx); err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.relations) < maxHeads {
		v.relations[key] = all
	}
	return all, nil
}

// A relationLoader reads relations with those that inherit from them.
type relationLoader struct {
	*vocabulary
	found       map[uint32]*lineage.Relation
	definitions []definition
}

// A definition is a text that a relation, or a column of it, is defined by.
type definition struct {
	of     *lineage.Relation
	column int // index in Columns, for what is generated; -1
	guards bool
	sql    string // "" where the server would not tell it
}

func (l *relationLoader) named(ctx context.Context, conn *pgx.Conn, key relationNamed) ([]*lineage.Relation, error) {
	rows, err := conn.Query(ctx, `SELECT oid FROM pg_class
		WHERE relname = $1 AND (relpersistence <> 't' OR relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $2))
			AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 't', 'c')`, key.name, key.schema)
	if err != nil {
		return nil, err
	}
	oids, err := pgx.CollectRows(rows, pgx.RowTo[uint32])
	if err != nil {
		return nil, err
	}
	next := oids
	for range maxRounds {
		if len(next) == 0 || len(l.found) > maxRelations {
			break
		}
		if next, err = l.load(ctx, conn, next); err != nil {
			return nil, err
		}
	}
	var all []*lineage.Relation
	for _, oid := range oids {
		if r := l.found[oid]; r != nil {
			all = append(all, r)
		}
	}
	for _, r := range l.found {
		if len(next) > 0 {
			r.Opaque = "it has too many relations below it"
		}
	}
	return all, nil
}

// load reads relations, and returns those that inherit from them.
func (l *relationLoader) load(ctx context.Context, conn *pgx.Conn, oids []uint32) (heirs []uint32, err error) {
	rows, err := conn.Query(ctx, `SELECT r.oid, n.nspname, r.relname, r.relkind::text, r.relrowsecurity, n.nspname IN ('pg_catalog', 'information_schema'),
			EXISTS (SELECT FROM pg_rewrite w WHERE w.ev_class = r.oid AND w.ev_type <> '1')
				OR EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = r.oid AND NOT g.tgisinternal AND g.tgtype & 64 <> 0),
			a.attnum, a.attname, CASE WHEN t.typtype IN ('d', 'p') THEN '' ELSE t.typname END, CASE WHEN t.typtype IN ('d', 'p') THEN '' ELSE tn.nspname END,
			CASE WHEN d.typtype = 'd' THEN d.typname ELSE '' END, CASE WHEN d.typtype = 'd' THEN dn.nspname ELSE '' END, a.attgenerated <> '', COALESCE(pg_get_expr(f.adbin, f.adrelid), ''),
			w.whole AND EXISTS (SELECT FROM pg_index x JOIN pg_opclass o ON o.oid = x.indclass[0]
				WHERE x.indrelid = r.oid AND x.indisunique AND x.indimmediate AND x.indisvalid AND x.indpred IS NULL AND x.indnkeyatts = 1
					AND x.indkey[0] = a.attnum AND x.indcollation[0] = a.attcollation AND o.opcdefault),
			w.whole AND a.attnotnull AND NOT EXISTS (SELECT FROM pg_constraint n WHERE n.conrelid = r.oid AND n.contype = 'n' AND n.conkey = ARRAY[a.attnum] AND NOT n.convalidated),
			EXISTS (SELECT FROM pg_index x WHERE x.indrelid = r.oid AND x.indisprimary AND x.indnatts = 1 AND x.indkey[0] = a.attnum),
			CASE WHEN t.typtype = 'c' THEN ARRAY(SELECT i.attname::text FROM pg_attribute i WHERE i.attrelid = t.typrelid AND i.attnum > 0 AND NOT i.attisdropped ORDER BY i.attnum) END
		FROM pg_class r
		JOIN pg_namespace n ON n.oid = r.relnamespace
		JOIN pg_attribute a ON a.attrelid = r.oid AND NOT a.attisdropped
		JOIN pg_type d ON d.oid = a.atttypid
		JOIN pg_type t ON t.oid = CASE WHEN d.typtype = 'd' THEN d.typbasetype ELSE d.oid END
		JOIN pg_namespace tn ON tn.oid = t.typnamespace
		JOIN pg_namespace dn ON dn.oid = d.typnamespace
		CROSS JOIN LATERAL (SELECT r.relkind = 'p' OR r.relkind = 'r' AND NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhparent = r.oid)) w (whole)
		LEFT JOIN pg_attrdef f ON f.adrelid = r.oid AND f.adnum = a.attnum AND a.attgenerated <> ''
		WHERE r.oid = ANY($1)
		ORDER BY r.oid, a.attnum < 0, a.attnum`, oids)
	if err != nil {
		return nil, err
	}
	var oid uint32
	var schema, name, kind, column, typeName, typeSchema, domain, domainSchema, expression string
	var secured, system, rewritten, generated, unique, required, primary bool
	var number int16
	var fields []string
	var views, guarded []uint32
	_, err = pgx.ForEachRow(rows, []any{&oid, &schema, &name, &kind, &secured, &system, &rewritten, &number, &column, &typeName, &typeSchema, &domain, &domainSchema, &generated, &expression, &unique, &required, &primary, &fields}, func() error {
		r := l.found[oid]
		if r == nil {
			r = &lineage.Relation{ID: uint64(oid), Schema: schema, Name: name, Home: "pg_catalog"}
			l.found[oid] = r
			switch kind {
			case "v", "m":
				if !system {
					views = append(views, oid)
				}
			case "f":
				r.Opaque = "a foreign table holds what another server says"
			case "S":
				r.Opaque = "a sequence holds what it was set to"
			case "t":
				r.Opaque = "it holds parts of values of other tables"
			}
			if rewritten {
				r.Rewritten = "a rule or a trigger stands in the place of writes to it"
			}
			if secured {
				guarded = append(guarded, oid)
			}
		}
		r.Columns = append(r.Columns, lineage.RelationColumn{
			Column: lineage.Column{ID: uint64(oid), Number: int(number), Relation: schema + "." + name, Name: column},
			Type:   lineage.Name{Schema: typeSchema, Name: typeName}, Domain: lineage.Name{Schema: domainSchema, Name: domain}, Document: domain == "" && typeSchema == "pg_catalog" && (typeName == "json" || typeName == "jsonb"), Fields: fields, Hidden: number < 0, Unique: unique, Required: required, Primary: primary,
		})
		fields = nil
		if generated {
			l.definitions = append(l.definitions, definition{of: r, column: len(r.Columns) - 1, sql: expression})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, oid := range views {
		d := definition{of: l.found[oid], column: -1}
		if err := ifAnswered(conn.QueryRow(ctx, "SELECT pg_get_viewdef($1::oid)", oid).Scan(&d.sql)); err != nil {
			return nil, err
		}
		l.definitions = append(l.definitions, d)
	}
	if err := l.loadPolicies(ctx, conn, guarded); err != nil {
		return nil, err
	}
	return l.loadHeirs(ctx, conn, oids)
}

func (l *relationLoader) loadPolicies(ctx context.Context, conn *pgx.Conn, oids []uint32) error {
	if len(oids) == 0 {
		return nil
	}
	rows, err := conn.Query(ctx, `SELECT polrelid, pg_get_expr(polqual, polrelid) FROM pg_policy
		WHERE polrelid = ANY($1) AND polqual IS NOT NULL`, oids)
	if err != nil {
		return err
	}
	var oid uint32
	var expression string
	_, err = pgx.ForEachRow(rows, []any{&oid, &expression}, func() error {
		l.definitions = append(l.definitions, definition{of: l.found[oid], column: -1, guards: true, sql: expression})
		return nil
	})
	return err
}

func (l *relationLoader) loadHeirs(ctx context.Context, conn *pgx.Conn, oids []uint32) (heirs []uint32, err error) {
	rows, err := conn.Query(ctx, "SELECT inhrelid, inhparent FROM pg_inherits WHERE inhparent = ANY($1)", oids)
	if err != nil {
		return nil, err
	}
	below := map[uint32][]uint32{}
	var heir, parent uint32
	_, err = pgx.ForEachRow(rows, []any{&heir, &parent}, func() error {
		if l.found[heir] == nil && !slices.Contains(heirs, heir) {
			heirs = append(heirs, heir)
		}
		below[parent] = append(below[parent], heir)
		return nil
	})
	if err != nil || len(below) == 0 {
		return nil, err
	}
	// Indexes inherit too, but are no relations to read.
	next, err := l.load(ctx, conn, heirs)
	if err != nil {
		return nil, err
	}
	for parent, all := range below {
		for _, heir := range all {
			if r := l.found[heir]; r != nil && l.found[parent] != nil {
				l.found[parent].Heirs = append(l.found[parent].Heirs, r)
			}
		}
	}
	return next, nil
}

// define reads the definitions that were loaded. What cannot be read makes its
// relation opaque.
func (l *relationLoader) define(ctx context.Context) error {
	for _, d := range l.definitions {
		sql := d.sql
		switch {
		case sql == "":
		case d.guards:
			sql = "SELECT FROM " + relationName(d.of) + " WHERE " + sql
		case d.column >= 0:
			sql = "SELECT " + sql + " FROM " + relationName(d.of)
		}
		var q *lineage.Query
		if sql != "" {
			facts, err := l.analyzer.Analyze(ctx, sql)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err == nil && facts.Len() == 1 {
				q, _ = facts.Query(0).(*lineage.Query)
			}
		}
		if q == nil {
			d.of.Opaque = "its definition cannot be read at the moment"
			continue
		}
		if d.column < 0 && !d.guards {
			d.of.Definition = q
			continue
		}
		body, _ := q.Body.(*lineage.Select)
		switch {
		case body == nil:
			d.of.Opaque = "its definition cannot be read"
		case d.guards:
			d.of.Guarded = append(d.of.Guarded, body.Where)
		default:
			d.of.Columns[d.column].Generated = body.Targets[0].Expr
		}
	}
	return nil
}

func relationName(r *lineage.Relation) string {
	return pgx.Identifier{r.Schema, r.Name}.Sanitize()
}
