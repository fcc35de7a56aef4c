package postgres

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"gatehouse/core/event"
	"gatehouse/protocols/postgres/statement"
)

// estimateAttr is the attribute of a request that says how many rows it would
// write, as the server estimates it.
const estimateAttr = "db.estimated_rows"

// Limits of one estimate.
const (
	estimateLocked = 250 * time.Millisecond // waiting for locks
	maxEstimated   = 64 << 10               // of a statement and its parameters, in bytes
	maxCascades    = 50
)

// estimateTimeout bounds the server's time for one estimate. Tests raise it.
var estimateTimeout = 250 * time.Millisecond

// A writing is a request that may write rows which a query finds.
type writing struct {
	facts  *statement.Result
	list   []event.Statement // those of facts, with what they run by name or unseen
	sql    string
	bind   *bind     // its values, or nil
	st     *prepared // what they are of
	portal *portal   // keeps the estimate
}

// writeRows reports whether one of statements may write rows that a query finds.
func writeRows(statements []event.Statement) bool {
	for i := range statements {
		if writesRows(&statements[i]) {
			return true
		}
	}
	return false
}

// findOut returns what judges are told of a request that they let pass, which is
// recorded: how many rows it would write.
func (s *session) findOut(ctx context.Context, e *owed) ([]event.Attr, error) {
	w := e.writing
	if w == nil {
		return nil, nil
	}
	estimate, err := s.estimate(ctx, w)
	if w.portal != nil {
		w.portal.estimate = estimate
	}
	if estimate == "" || err != nil {
		return nil, err
	}
	return []event.Attr{{Key: estimateAttr, Value: estimate}}, nil
}

// estimate returns how many rows w would write. It is empty where nothing is
// written, or one row by each statement at most, and unknown where the server
// cannot say, or cannot be asked: planning runs functions, so that all of them
// must be the server's own.
func (s *session) estimate(ctx context.Context, w *writing) (string, error) {
	x := newEstimation(w)
	asked, known := x.ask(ctx, s)
	if !asked || !known {
		return x.told(known), nil
	}
	_, settled := s.queue.transaction()
	path, known := s.settings.searched(settled)
	if !known {
		path, known = s.anyPath(ctx, w.list)
	}
	if !known || len(w.sql) > maxEstimated || !plansOnly(w.list) {
		return unknown, nil
	}
	// The statement goes to the server here, if only to be planned.
	if err := s.ps.Commit(ctx); err != nil {
		return "", err
	}
	known, err := x.plan(ctx, s, path)
	if known && err == nil {
		known, err = x.cascade(ctx, s)
	}
	if err != nil {
		return "", err
	}
	return x.told(known), nil
}

// An estimation is how many rows the statements of a writing write, as far as that
// is found out. Its slices are by their indexes.
type estimation struct {
	*writing
	roots    []int     // the outermost statement around each
	writes   []bool    // of the outermost: whether they write rows
	asks     []bool    // of the outermost: whether the server is asked
	skips    []bool    // of the outermost: whether it is not asked for one that restricts no rows
	rows     []float64 // of the outermost, and of cascades
	answered bool
}

func newEstimation(w *writing) *estimation {
	n := len(w.list)
	x := &estimation{writing: w, roots: make([]int, n), writes: make([]bool, n), asks: make([]bool, n), skips: make([]bool, n), rows: make([]float64, n)}
	for i := range w.list {
		st := &w.list[i]
		x.roots[i] = i
		if st.Parent >= 0 && st.Parent < i {
			x.roots[i] = x.roots[st.Parent]
		}
		root := x.roots[i]
		x.writes[root] = x.writes[root] || writesRows(st)
		// What restricts no rows needs no estimate, and does not reach the server
		// by one.
		x.skips[root] = x.skips[root] || st.Scope == event.ScopeAll
	}
	return x
}

// told is what judges are told.
func (x *estimation) told(known bool) string {
	if !known {
		return unknown
	}
	if !x.answered {
		return ""
	}
	total := 0.0
	for _, n := range x.rows {
		total += n
	}
	return strconv.FormatFloat(total, 'f', 0, 64)
}

// ask finds out of which statements the server is to be asked, and whether of any.
// That is not known where one of them runs in code that the server does not plan.
func (x *estimation) ask(ctx context.Context, s *session) (asked, known bool) {
	for i := range x.list {
		st := &x.list[i]
		switch {
		case !writesRows(st), st.Scope == event.ScopeAll:
		case st.Within == "cascade":
			asked = true
		case x.runsOnce(i) && s.pinsRow(ctx, st):
		case x.hidden(i):
			return false, false
		default:
			x.asks[x.roots[i]], asked = true, true
		}
	}
	return asked, true
}

// plan asks the server for the plans of the outermost statements.
func (x *estimation) plan(ctx context.Context, s *session, path string) (known bool, err error) {
	for i := range x.units() {
		top, start, end := x.unit(i)
		if x.writes[top] {
			x.rows[top] = 1
		}
		if !x.asks[top] || x.skips[top] || s.writesOwn(ctx, x.writing, x.roots, top) {
			continue
		}
		before, query, known := s.plannable(x.writing, top, x.sql[start:end])
		if !known {
			return false, nil
		}
		plans, err := s.catalog.plan(ctx, path, before, query, x.bind, x.st)
		if ctx.Err() != nil {
			return true, ctx.Err()
		}
		if err != nil {
			// The session's own transaction may have changed the table, which
			// locks it.
			if x.rows[top], known = s.atMost(ctx, x.writing, x.roots, top); !known {
				return false, nil
			}
			x.answered = true
			continue
		}
		x.rows[top], x.answered = 0, true
		for i := range plans {
			x.rows[top] += plans[i].Plan.writes()
		}
		if x.blind(x.roots, top) {
			if n, known := s.atMost(ctx, x.writing, x.roots, top); known {
				x.rows[top] = max(x.rows[top], n)
			}
		}
	}
	return true, nil
}

// cascade asks the server how many rows foreign keys write for each row that is
// written.
func (x *estimation) cascade(ctx context.Context, s *session) (known bool, err error) {
	cascades := 0
	for i := range x.list {
		st := &x.list[i]
		if st.Within != "cascade" || !writesRows(st) || x.skips[x.roots[i]] {
			continue
		}
		from := st.Parent
		if x.list[from].Within != "cascade" {
			from = x.roots[i]
		}
		plans, err := s.catalog.plan(ctx, "", "", perKey(st), nil, nil)
		if ctx.Err() != nil {
			return true, ctx.Err()
		}
		if cascades++; err != nil || len(plans) != 1 || cascades > maxCascades {
			return false, nil
		}
		x.rows[i], x.answered = x.rows[from]*plans[0].Plan.Rows, true
	}
	return true, nil
}

// blind reports whether what an outermost statement writes is chosen by conditions of
// which the server only guesses how many rows they leave.
func (w *writing) blind(roots []int, root int) bool {
	for i := range w.list {
		if roots[i] == root && writesRows(&w.list[i]) && w.list[i].Blind {
			return true
		}
	}
	return false
}

// atMost returns how many rows the tables have that an outermost statement updates or
// deletes from, as the server counts them. It locks nothing.
func (s *session) atMost(ctx context.Context, w *writing, roots []int, root int) (rows float64, known bool) {
	for i := range w.list {
		st := &w.list[i]
		if roots[i] != root || !writesRows(st) || st.Within == "cascade" {
			continue
		}
		if st.Kind != "UPDATE" && st.Kind != "DELETE" || len(st.Writes) != 1 {
			return 0, false
		}
		n, known := s.catalog.rowsOf(ctx, st.Writes[0])
		if !known {
			return 0, false
		}
		rows += n
	}
	return rows, true
}

// rowsOf returns how many rows the tables of a name have, with what inherits from
// them, by the server's statistics.
func (c *catalog) rowsOf(ctx context.Context, o event.Object) (rows float64, known bool) {
	err := c.ask(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `
			WITH RECURSIVE below AS (
				SELECT r.oid FROM pg_catalog.pg_class r JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
				WHERE r.relname = $2 AND ($1 = '' OR n.nspname = $1) AND r.relpersistence <> 't'
				UNION SELECT h.inhrelid FROM pg_catalog.pg_inherits h JOIN below b ON b.oid = h.inhparent
			)
			SELECT coalesce(sum(greatest(x.counted, x.live)) FILTER (WHERE r.relkind = 'r'), 0),
				coalesce(bool_and(r.relkind = 'p' OR r.relkind = 'r' AND (x.counted >= 0 OR x.live > 0)), false)
			FROM below b JOIN pg_catalog.pg_class r ON r.oid = b.oid,
				LATERAL (SELECT r.reltuples::pg_catalog.float8 AS counted, pg_catalog.pg_stat_get_live_tuples(r.oid)::pg_catalog.float8 AS live) x`,
			o.Schema, o.Name).Scan(&rows, &known)
	})
	return rows, known && err == nil
}

// perKey returns a query that finds as many rows as a cascade writes for each row
// that it follows, whatever its key is.
func perKey(cascade *event.Statement) string {
	table := pgx.Identifier{cascade.Writes[0].Schema, cascade.Writes[0].Name}.Sanitize()
	var equal []string
	for _, column := range cascade.Pinned {
		column = pgx.Identifier{column}.Sanitize()
		equal = append(equal, fmt.Sprintf("%s = (SELECT %[1]s FROM %s LIMIT 1)", column, table))
	}
	return "SELECT FROM " + table + " WHERE " + strings.Join(equal, " AND ")
}

// anyPath returns a search path by which relations that statements name without a
// schema are found, where each is in one schema only, so that it does not matter
// which path the session has.
func (s *session) anyPath(ctx context.Context, list []event.Statement) (path string, known bool) {
	var schemas []string
	for i := range list {
		for _, objects := range [][]event.Object{list[i].Reads, list[i].Writes} {
			for _, o := range objects {
				if o.Schema != "" {
					continue
				}
				found := s.catalog.tablesNamed(ctx, "", o.Name)
				if len(found) > 1 {
					return "", false
				}
				for _, t := range found {
					if name := (pgx.Identifier{t.schema}).Sanitize(); !slices.Contains(schemas, name) {
						schemas = append(schemas, name)
					}
				}
			}
		}
	}
	return strings.Join(append(schemas, "pg_catalog"), ", "), true
}

// units is how many outermost statements there are.
func (w *writing) units() int {
	if w.viaSQL() {
		return 1
	}
	return w.facts.Len()
}

// unit returns the index of the i-th outermost statement, and where its text is.
func (w *writing) unit(i int) (index, start, end int) {
	if w.viaSQL() {
		return 0, 0, len(w.sql)
	}
	start, end = w.facts.Span(w.sql, i)
	return w.facts.Top(i), start, end
}

// viaSQL is whether w binds what SQL has prepared, so that facts and sql are of
// another statement.
func (w *writing) viaSQL() bool { return w.st != nil && w.st.viaSQL }

// plannable returns what EXPLAIN takes of the statement at index, whose text is
// query, and what has to be prepared before.
func (s *session) plannable(w *writing, index int, query string) (before, plannable string, known bool) {
	st := &w.list[index]
	if w.viaSQL() {
		return "", statement.Inner(w.st.prepares), w.st.prepares != ""
	}
	switch st.Kind {
	case "INSERT", "UPDATE", "DELETE", "MERGE", "SELECT":
		return "", query, true
	case "COPY":
		return "", statement.Inner(query), true
	case "EXPLAIN":
		query = statement.Inner(query)
		inner := slices.IndexFunc(w.list, func(st event.Statement) bool { return st.Parent == index })
		if inner < 0 {
			return "", "", false
		}
		if st = &w.list[inner]; st.Kind != "EXECUTE" {
			return "", query, true
		}
	case "EXECUTE":
	default:
		return "", "", false
	}
	// The values of an EXECUTE are computed to plan it.
	p := s.queue.lookup(named(st))
	if p == nil || len(st.Functions)+len(st.Operators)+len(st.Types)+len(st.Reads) > 0 {
		return "", "", false
	}
	if p.viaSQL {
		return p.prepares, query, p.prepares != ""
	}
	return "PREPARE " + pgx.Identifier{named(st)}.Sanitize() + " AS " + string(p.sql), query, p.oid(0) == 0
}

// writesRows reports whether a statement changes rows that a query finds. WHERE
// CURRENT OF names one, but within others it may be another for each that they read.
func writesRows(st *event.Statement) bool {
	switch st.Kind {
	case "UPDATE", "DELETE", "MERGE":
		return st.Runs && (st.Within != "" || !slices.Contains(st.Options, "CURRENT OF"))
	case "INSERT":
		return st.Runs && slices.Contains(st.Options, "SELECT")
	}
	return false
}

// hidden reports whether the statement at index runs in code that the server does
// not plan with the statement that calls it.
func (w *writing) hidden(index int) bool {
	for i := index; i >= 0; i = w.list[i].Parent {
		switch w.list[i].Within {
		case "function", "do", "trigger":
			return true
		}
	}
	return false
}

// runsOnce reports whether the statement at index runs once, or as often as a
// statement around it writes a row.
func (w *writing) runsOnce(index int) bool {
	for i := index; i >= 0; i = w.list[i].Parent {
		st := &w.list[i]
		if st.Within != "function" || st.Parent < 0 {
			continue
		}
		if caller := &w.list[st.Parent]; len(caller.Reads)+len(caller.Writes) > 0 || len(caller.Functions) > 1 {
			return false
		}
	}
	return true
}

// plansOnly reports whether the server runs no code but its own when it plans
// statements, which are expanded. It does not plan triggers.
func plansOnly(list []event.Statement) bool {
	inserts := slices.ContainsFunc(list, func(st event.Statement) bool { return st.Kind == "INSERT" || st.Kind == "MERGE" })
	aside := make([]bool, len(list))
	for i := range list {
		st := &list[i]
		aside[i] = st.Parent >= 0 && st.Parent < i && aside[st.Parent] || st.Within == "trigger" || st.Within == "rule" && !inserts
		if !aside[i] && (st.Opaque || st.Within == "function") {
			return false
		}
	}
	return true
}

// pinsRow reports whether columns that a statement compares with values are, or
// contain, a key of its table.
func (s *session) pinsRow(ctx context.Context, st *event.Statement) bool {
	if len(st.Pinned) == 0 || len(st.Writes) != 1 {
		return false
	}
	t := st.Writes[0]
	var columns []string
	for _, pin := range st.Pinned {
		column, variable, may := strings.Cut(pin, "=")
		if may && slices.ContainsFunc(s.catalog.tablesNamed(ctx, t.Schema, t.Name), func(t table) bool { return t.has(variable) }) {
			continue
		}
		columns = append(columns, column)
	}
	u := use{identifies, t.Schema, t.Name, s.path(ctx)}
	answers, err := s.catalog.code(ctx, []use{u})
	return err == nil && slices.ContainsFunc(answers[u], func(key code) bool {
		return !slices.ContainsFunc(strings.Split(key.sql, "\x01"), func(c string) bool { return !slices.Contains(columns, c) })
	})
}

// writesOwn reports whether what an outermost statement writes are tables that
// this session has made and nobody else sees.
func (s *session) writesOwn(ctx context.Context, w *writing, roots []int, root int) bool {
	before := s.made.clone()
	before.note(w.list[:root])
	for i := range w.list {
		st := &w.list[i]
		if roots[i] != root || !writesRows(st) {
			continue
		}
		for _, t := range st.Writes {
			if !before.has(t) || len(s.catalog.tablesNamed(ctx, t.Schema, t.Name)) > 0 {
				return false
			}
		}
	}
	return true
}
