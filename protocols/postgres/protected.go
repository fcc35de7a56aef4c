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

// refuseProtected returns why statements cannot pass where columns are
// protected: what comes back of them, now or later, could not be told from a
// protected value.
func (s *session) refuseProtected(ctx context.Context, facts *statement.Result) (*refusal, error) {
	protected := s.ps.Terms().Protected
	if protected == nil {
		return nil, nil
	}
	refuse := func(what, hint string) (*refusal, error) {
		return &refusal{code: codeAccessDenied, message: "gatehouse: " + what + because, hint: hint}, nil
	}
	for i := range facts.Statements {
		st := &facts.Statements[i]
		if r, err := s.runsByName(ctx, st); r != nil || err != nil {
			return r, err
		}
		for _, f := range st.Functions {
			if slices.ContainsFunc(refusedFunctions, func(p string) bool { return event.Match(p, base(f)) }) {
				return refuse("function "+f+" is refused", "")
			}
		}
		switch {
		case st.Kind == "COPY" && (slices.Contains(st.Options, "FILE") || slices.Contains(st.Options, "PROGRAM")):
			return refuse("COPY from and to files and programs of the server is refused", "Use COPY … TO STDOUT or FROM STDIN.")
		case st.Kind == "ALTER SCHEMA" && slices.Contains(st.Options, "RENAME TO"):
			return refuse("renaming a schema is refused", "")
		case protected.Strict() && st.Kind == "EXECUTE" && st.Parent >= 0 && facts.Statements[st.Parent].Kind != "EXPLAIN":
			return refuse("storing what a prepared statement returns is refused", "")
		case protected.Strict() && slices.Contains(strictlyRefused, st.Kind):
			return refuse(st.Kind+" is refused", "")
		case protected.Strict() && st.Kind == "REFRESH MATERIALIZED VIEW":
			// What it stores then stays, whatever views it is made of become.
			if found, err := s.protectedAmong(ctx, protected, []string{"*"}, slices.Concat(st.Writes, st.Reads), s.queue.redefines() || s.catalog.unsettled()); found || err != nil {
				r, _ := refuse("a statement that stores what it reads from protected columns is refused", "")
				return r, err
			}
		case strings.HasPrefix(st.Kind, "ALTER ") && (protected.Strict() || moves(st.Options)):
			if found, err := s.protectedAmong(ctx, protected, []string{"*"}, slices.Concat(st.Writes, st.Reads), false); found || err != nil {
				r, _ := refuse("changing the definition of a protected table is refused", "")
				return r, err
			}
		}
	}
	if !protected.Strict() {
		return nil, nil
	}
	for i := range facts.Len() {
		if found, err := s.defines(ctx, protected, facts, i); found || err != nil {
			r, _ := refuse("a statement that stores what it reads from protected columns is refused", "")
			return r, err
		}
	}
	for i := range facts.Statements {
		if st := &facts.Statements[i]; st.Kind == "CREATE VIEW" {
			if shadows, err := s.shadows(ctx, facts, st); shadows || err != nil {
				r, _ := refuse("a view that is, or may be, temporary is refused", "Name its schema, and let it read tables that are committed.")
				return r, err
			}
		}
	}
	if name, err := s.volatile(ctx, protected, facts); name != "" || err != nil {
		r, _ := refuse("function "+name+", which may write what it reads, is refused", "A policy can clear its principals for "+name+".")
		return r, err
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
func (s *session) defines(ctx context.Context, protected *protect.Columns, facts *statement.Result, i int) (bool, error) {
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
	return s.protectedAmong(ctx, protected, names, touched, s.queue.redefines() || redefines(facts))
}

// protectedAmong is whether one of names, which are columns', "*" for all, or
// functions', "f()", may be a protected column of one of objects, or a function
// that may return such. With redefined what views show is not known.
func (s *session) protectedAmong(ctx context.Context, protected *protect.Columns, names []string, objects []event.Object, redefined bool) (bool, error) {
	var functions []string
	for _, name := range names {
		if f, is := strings.CutSuffix(name, "()"); is {
			if _, is := protected.Column("pg_catalog." + name); is {
				return true, nil
			}
			functions = append(functions, base(f))
		}
	}
	if len(functions) > 0 {
		_, others, err := s.vocabulary().dictionaries(ctx)
		if err != nil {
			return false, err
		}
		for _, f := range functions {
			if slices.ContainsFunc(others.folded[f], func(r *routine) bool { return !r.harmless() && !protected.Clears(r.named()) }) {
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
		if slices.ContainsFunc(slices.Concat(c.names, c.below), func(name string) bool { _, is := protected.Column(name); return is }) {
			return true, nil
		}
	}
	return false, nil
}

// volatile returns a function that statements call, that is not PostgreSQL's own
// and may write, or "". One that is written in SQL and only reads does not.
func (s *session) volatile(ctx context.Context, protected *protect.Columns, facts *statement.Result) (string, error) {
	var names []string
	for i := range facts.Statements {
		for _, f := range facts.Statements[i].Functions {
			names = append(names, base(f))
		}
	}
	if len(names) == 0 {
		return "", nil
	}
	v := s.vocabulary()
	if _, _, err := v.dictionaries(ctx); err != nil {
		return "", err
	}
	return v.mayWrite(ctx, protected, names, 0), ctx.Err()
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
func (s *session) shadows(ctx context.Context, facts *statement.Result, st *event.Statement) (bool, error) {
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
			found, err := s.vocabulary().relationsNamed(ctx, o.Name, temporary{})
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
