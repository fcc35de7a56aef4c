package postgres

import (
	"context"
	"slices"
	"strings"

	"gatehouse/core/event"
	"gatehouse/core/lineage"
	"gatehouse/core/protect"
	"gatehouse/protocols/postgres/statement"
)

// refusedFunctions run SQL in their arguments, or read what the server stores
// and where it stores it, so that what they return is of no known column.
var refusedFunctions = []string{
	"query_to_xml*", "table_to_xml*", "cursor_to_xml*", "schema_to_xml*", "database_to_xml*", "xpath_table", "ts_stat", "ts_rewrite",
	"crosstab*", "connectby", "dblink*",
	"pg_read_file*", "pg_read_binary_file*", "pg_file_*", "pg_logdir_ls", "pg_ls_*", "lo_import*", "lo_export*",
	"pg_logical_slot_*", "pg_logical_emit_message", "pg_get_wal_*", "pg_walfile_*",
	"get_raw_page", "fsm_page_contents", "heap_page_*", "bt_page_*", "bt_multi_page_*", "brin_*_items", "gin_*_items", "gist_page_*", "hash_page_*", "hash_*_items", "tuple_data_split",
}

// strictlyRefused are statements that run or define code which may do anything
// with what it reads.
var strictlyRefused = []string{
	"DO", "CREATE FUNCTION", "CREATE PROCEDURE", "ALTER FUNCTION", "ALTER PROCEDURE", "ALTER ROUTINE", "CREATE TRIGGER", "CREATE EVENT TRIGGER",
	"CREATE RULE", "CREATE AGGREGATE", "CREATE OPERATOR", "CREATE CAST", "CREATE EXTENSION", "CREATE LANGUAGE",
}

// base is a function's name without its schema.
func base(function string) string { return function[strings.LastIndexByte(function, '.')+1:] }

// because ends the message of a refusal.
const because = ", because columns of the resource are protected"

// A screen says which statements may not pass where columns are protected.
type screen struct {
	*vocabulary
	protected *protect.Columns
	redefined bool                                 // definitions change in the session's own transaction
	path      func(ctx context.Context) (s string) // the schemas that are searched, "" where that is not known
}

// refuseProtected returns why statements cannot pass where columns are
// protected: what comes back of them, now or later, could not be told from a
// protected value.
func (s *session) refuseProtected(ctx context.Context, facts *statement.Result) (*refusal, error) {
	protected := s.ps.Terms().Protected
	if protected == nil {
		return nil, nil
	}
	for i := range facts.Statements {
		if r, err := s.runsByName(ctx, &facts.Statements[i]); r != nil || err != nil {
			return r, err
		}
	}
	return s.screen(protected).refuse(ctx, facts)
}

func (s *session) screen(protected *protect.Columns) screen {
	return screen{s.vocabulary(), protected, s.queue.redefines(), s.path}
}

// refuse is refuseProtected for what statements do by themselves, whatever stands
// behind the names that they run.
func (s screen) refuse(ctx context.Context, facts *statement.Result) (*refusal, error) {
	for i := range facts.Statements {
		if r, err := s.refuseKind(ctx, facts, i); r != nil || err != nil {
			return r, err
		}
	}
	if !s.protected.Strict() {
		return nil, nil
	}
	for i := range facts.Len() {
		if found, err := s.defines(ctx, facts, i); found || err != nil {
			return storesProtected, err
		}
	}
	for i := range facts.Statements {
		if st := &facts.Statements[i]; st.Kind == "CREATE VIEW" {
			if shadows, err := s.shadows(ctx, facts, st); shadows || err != nil {
				return guardedRefusal("a view that is, or may be, temporary is refused", "Name its schema, and let it read tables that are committed."), err
			}
		}
	}
	if name, err := s.volatile(ctx, facts); name != "" || err != nil {
		return guardedRefusal("function "+name+", which may write what it reads, is refused", "A policy can clear its principals for "+name+"."), err
	}
	return nil, nil
}

var storesProtected = guardedRefusal("a statement that stores what it reads from protected columns is refused", "")

func guardedRefusal(what, hint string) *refusal {
	return &refusal{code: codeAccessDenied, message: "gatehouse: " + what + because, hint: hint}
}

// refuseKind returns why a statement, of those at the top and within others, cannot
// pass for its kind or the functions that it names.
func (s screen) refuseKind(ctx context.Context, facts *statement.Result, i int) (*refusal, error) {
	st := &facts.Statements[i]
	for _, f := range st.Functions {
		if slices.ContainsFunc(refusedFunctions, func(p string) bool { return event.Match(p, base(f)) }) {
			return guardedRefusal("function "+f+" is refused", ""), nil
		}
	}
	strict := s.protected.Strict()
	switch {
	case st.Kind == "COPY" && (slices.Contains(st.Options, "FILE") || slices.Contains(st.Options, "PROGRAM")):
		return guardedRefusal("COPY from and to files and programs of the server is refused", "Use COPY … TO STDOUT or FROM STDIN."), nil
	case st.Kind == "ALTER SCHEMA" && slices.Contains(st.Options, "RENAME TO"):
		return guardedRefusal("renaming a schema is refused", ""), nil
	case strict && st.Kind == "EXECUTE" && st.Parent >= 0 && facts.Statements[st.Parent].Kind != "EXPLAIN":
		return guardedRefusal("storing what a prepared statement returns is refused", ""), nil
	case strict && slices.Contains(strictlyRefused, st.Kind):
		return guardedRefusal(st.Kind+" is refused", ""), nil
	case strict && st.Kind == "REFRESH MATERIALIZED VIEW":
		// What it stores then stays, whatever views it is made of become.
		found, err := s.protectedAmong(ctx, []string{"*"}, slices.Concat(st.Writes, st.Reads), s.redefined || s.catalog.unsettled())
		if found || err != nil {
			return storesProtected, err
		}
	case strings.HasPrefix(st.Kind, "ALTER ") && (strict || moves(st.Options)):
		found, err := s.protectedAmong(ctx, []string{"*"}, slices.Concat(st.Writes, st.Reads), false)
		if found || err != nil {
			return guardedRefusal("changing the definition of a protected table is refused", ""), err
		}
	}
	return nil, nil
}

// reexamine looks at what was prepared and bound before, when other columns are
// protected than then.
func (s *session) reexamine(ctx context.Context) {
	examine := func(facts *statement.Result) *refusal {
		if !s.guarded() {
			return nil
		}
		again := &refusal{code: codeAccessDenied, message: "gatehouse: what was prepared before the policy changed is refused" + because, hint: "Prepare it again."}
		if facts == nil {
			return again // its text is another statement's
		}
		r, err := s.refuseProtected(ctx, facts)
		if err != nil {
			r = again
		}
		return r
	}
	for _, p := range s.queue.known() {
		switch p := p.(type) {
		case *prepared:
			var facts *statement.Result
			if !p.viaSQL {
				facts = p.facts
			}
			p.refusal = examine(facts)
		case *portal:
			p.refusal = examine(p.text())
		}
	}
}

// runsByName returns why what a statement runs by name is refused, or nil.
func (s *session) runsByName(ctx context.Context, st *event.Statement) (*refusal, error) {
	if s.renewals == 0 {
		return nil, nil
	}
	switch st.Kind {
	case "EXECUTE":
		p, err := s.findStatement(ctx, named(st))
		if p != nil {
			return p.refusal, err
		}
		return nil, err
	case "FETCH", "MOVE":
		p, err := s.findPortal(ctx, named(st))
		if p != nil {
			return p.refusal, err
		}
		return nil, err
	}
	return nil, nil
}

// moves is whether an ALTER may make a column known by another name.
func moves(options []string) bool {
	return slices.ContainsFunc(options, func(o string) bool {
		return strings.HasPrefix(o, "RENAME") || o == "SET SCHEMA" || o == "INHERIT" || o == "NO INHERIT" || o == "ATTACH PARTITION" || o == "DETACH PARTITION" || strings.HasPrefix(o, "ALTER COLUMN")
	})
}

// defines is whether the i-th statement defines something by what may be protected:
// a column's default, an index, a type. A view keeps no values.
func (s screen) defines(ctx context.Context, facts *statement.Result, i int) (bool, error) {
	if other, is := facts.Query(i).(*lineage.Other); !is || !other.Stores {
		return false, nil
	}
	var names []string
	var touched []event.Object
	for _, st := range facts.Statements[facts.Top(i):facts.End(i)] {
		if st.Kind == "CREATE VIEW" {
			return false, nil
		}
		for _, c := range st.Columns {
			names = append(names, base(c))
		}
		for _, f := range st.Functions {
			names = append(names, base(f)+"()")
		}
		touched = append(append(touched, st.Reads...), st.Writes...)
	}
	return s.protectedAmong(ctx, names, touched, s.redefined || redefines(facts))
}

// protectedAmong is whether one of names, which are columns', "*" for all, or
// functions', "f()", may be a protected column of one of objects, or a function
// that may return such. With redefined what views show is not known.
func (s screen) protectedAmong(ctx context.Context, names []string, objects []event.Object, redefined bool) (bool, error) {
	var functions []string
	for _, name := range names {
		if f, is := strings.CutSuffix(name, "()"); is {
			if _, is := s.protected.Column("pg_catalog." + name); is {
				return true, nil
			}
			functions = append(functions, base(f))
		}
	}
	if len(functions) > 0 {
		_, others, err := s.dictionaries(ctx)
		if err != nil {
			return false, err
		}
		for _, f := range functions {
			if slices.ContainsFunc(others.folded[f], func(r *routine) bool { return !r.harmless() && !s.protected.Clears(r.named()) }) {
				return true, nil
			}
		}
	}
	if len(functions) == len(names) || len(objects) == 0 {
		return false, nil
	}
	columns, err := s.catalog.columnsOf(ctx, objects)
	if err != nil {
		return false, err
	}
	for _, c := range columns {
		if c.name != "" && !slices.Contains(names, c.name) && !slices.Contains(names, "*") {
			continue
		}
		if c.name == "" || c.view && redefined { // which only the session can see
			return true, nil
		}
		if slices.ContainsFunc(slices.Concat(c.names, c.below), func(name string) bool { _, is := s.protected.Column(name); return is }) {
			return true, nil
		}
	}
	return false, nil
}

// volatile returns a function that statements call, that is not PostgreSQL's own
// and may write, or "". One that is written in SQL and only reads does not.
func (s screen) volatile(ctx context.Context, facts *statement.Result) (string, error) {
	var names []string
	for i := range facts.Statements {
		for _, f := range facts.Statements[i].Functions {
			names = append(names, base(f))
		}
	}
	if len(names) == 0 {
		return "", nil
	}
	if _, _, err := s.dictionaries(ctx); err != nil {
		return "", err
	}
	return s.mayWrite(ctx, s.protected, names, 0), ctx.Err()
}

// renames is whether facts may make the name of a relation stand for another, or a
// view for another query.
func renames(facts *statement.Result) bool {
	return facts != nil && facts.DDL && slices.ContainsFunc(facts.Statements, func(st event.Statement) bool {
		return st.Opaque || st.Kind == "CREATE VIEW" || strings.HasPrefix(st.Kind, "DROP ") || strings.HasPrefix(st.Kind, "ALTER ") && moves(st.Options)
	})
}

// shadows is whether a CREATE VIEW may make a temporary view, whose name then hides
// others that the gate sees from those that it does not: by its own name, by the
// path, or since it reads what only the session sees.
func (s screen) shadows(ctx context.Context, facts *statement.Result, st *event.Statement) (bool, error) {
	if slices.Contains(st.Options, "TEMPORARY") {
		return true, nil
	}
	for _, o := range st.Writes {
		if o.Schema != "" {
			continue
		}
		path := searchPath(s.path(ctx))
		if len(path) < 2 || strings.HasPrefix(path[1], "pg_temp") || slices.ContainsFunc(facts.Statements, func(st event.Statement) bool { return movesPath(&st) }) {
			return true, nil
		}
	}
	for i := range facts.Statements {
		for _, o := range facts.Statements[i].Reads {
			found, err := s.relationsNamed(ctx, o.Name, temporary{})
			if err != nil || len(found) == 0 || strings.HasPrefix(o.Schema, "pg_temp") {
				return true, err
			}
		}
	}
	return false, nil
}

// redefines is whether facts may change what relations and functions there are,
// and where their columns come from.
func redefines(facts *statement.Result) bool {
	return facts != nil && facts.DDL && slices.ContainsFunc(facts.Statements, func(st event.Statement) bool {
		switch st.Kind {
		case "CREATE INDEX", "GRANT", "REVOKE", "SELECT", "INSERT", "UPDATE", "DELETE":
			return st.Opaque
		}
		return st.Runs && !slices.Contains(st.Options, "TEMPORARY")
	})
}
