package postgres

import (
	"cmp"
	"context"
	"encoding/binary"
	"slices"
	"strings"

	"gatehouse/core/event"
	"gatehouse/core/lineage"
	"gatehouse/core/protect"
	"gatehouse/protocols/postgres/statement"
)

// ProtectedCatalog are the columns of PostgreSQL's own catalogues and views that
// hold values of other columns, texts of statements or secrets, and the
// functions, "pg_catalog.name()", that return such: they are protected wherever
// columns are. A field that a statement computes comes from the functions that
// it calls.
func ProtectedCatalog() map[string]event.Treatment {
	m := make(map[string]event.Treatment)
	for _, list := range [][]string{protectedColumns, protectedFunctions} {
		for _, name := range list {
			m["pg_catalog."+name] = event.Treatment{Kind: event.Null}
		}
	}
	// Extensions are where somebody put them.
	for _, view := range []string{"pg_stat_statements", "pg_buffercache", "pg_freespacemap"} {
		m["*."+view+".query"] = event.Treatment{Kind: event.Null}
	}
	return m
}

// protectedColumns are those of PostgreSQL's own relations.
var protectedColumns = []string{
	// Samples of values, by ANALYZE.
	"pg_statistic.sta*", "pg_stats.most_common_*", "pg_stats.histogram_bounds", "pg_stats.range_*", "pg_stats.elem_count_histogram",
	"pg_stats.null_frac", "pg_stats.avg_width", "pg_stats.n_distinct", "pg_stats.correlation",
	"pg_statistic_ext_data.stxd*", "pg_stats_ext.most_common_*", "pg_stats_ext.n_distinct", "pg_stats_ext.dependencies",
	"pg_stats_ext_exprs.most_common_*", "pg_stats_ext_exprs.histogram_bounds", "pg_stats_ext_exprs.elem_count_histogram",
	"pg_stats_ext_exprs.null_frac", "pg_stats_ext_exprs.avg_width", "pg_stats_ext_exprs.n_distinct", "pg_stats_ext_exprs.correlation",
	// What has been read, which what is computed may decide.
	"pg_stat_xact_*",
	// Texts of statements, and what sessions call themselves.
	"pg_stat_activity.query", "pg_stat_activity.application_name", "pg_stat_replication.application_name",
	"pg_prepared_statements.*", "pg_cursors.name", "pg_cursors.statement", "pg_prepared_xacts.gid",
	// Settings, those of roles and functions too.
	"pg_settings.setting", "pg_settings.boot_val", "pg_settings.reset_val", "pg_file_settings.*", "pg_hba_file_rules.*",
	"pg_db_role_setting.setconfig", "pg_roles.rolconfig", "pg_user.useconfig", "pg_shadow.useconfig", "pg_proc.proconfig",
	// Values in another form.
	"pg_largeobject.data", "pg_locks.classid", "pg_locks.objid", "pg_locks.objsubid", "pg_locks.page", "pg_locks.tuple", "pg_sequences.last_value",
	"pg_sequence.seqstart", "pg_replication_origin.roname", "pg_listening_channels",
	// Secrets.
	"pg_authid.rolpassword", "pg_shadow.passwd", "pg_user_mapping.umoptions", "pg_user_mappings.umoptions",
	"pg_foreign_server.srvoptions", "pg_foreign_table.ftoptions", "pg_subscription.subconninfo",
}

// protectedFunctions are those that return what such columns hold.
var protectedFunctions = []string{
	"current_setting()", "set_config()", "pg_show_all_settings()", "lo_get()", "loread()",
	"pg_stat_get_activity()", "pg_stat_get_backend_activity()", "pg_prepared_statement()", "pg_cursor()", "pg_prepared_xact()",
	"pg_lock_status()", "pg_stat_statements()", "pg_listening_channels()", "pg_mcv_list_items()",
	"pg_sequence_last_value()", "pg_sequence_parameters()",
	"explain()", "show()", "redefined()",
}

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
// functions', "f()", may be a protected column of one of objects, or a function that may return such. With
// redefined what views show is not known.
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

// redefinedView is what a view's columns come from while the session's own
// transaction changes definitions, which only it can see.
const redefinedView = "pg_catalog.redefined()"

// A reading is what a statement's text tells of its result beside what the
// server describes.
type reading struct {
	protected *protect.Columns
	redefined bool     // definitions of views change in the transaction
	constants []bool   // the fields that are constants; nil: not known
	calls     []string // protected functions that fields without an origin may come from
	subject   *subject // in mode strict; nil: not known
	told      *told    // of subject
	tainted   uint64   // the version of the taints before any of that was looked up
}

// key appends what tells readings apart.
func (r *reading) key(b []byte) []byte {
	b = append(b, r.protected.Identity()...)
	if r.redefined {
		b = append(b, 4)
	}
	for _, is := range r.constants {
		if is {
			b = append(b, 1)
		} else {
			b = append(b, 2)
		}
	}
	for _, c := range r.calls {
		b = append(append(b, 0), c...)
	}
	if r.told != nil {
		b = binary.BigEndian.AppendUint64(append(b, 5), r.told.number)
	}
	return b
}

// reads returns what the text tells of the result of e's statement at hand, or
// nil.
func (s *session) reads(ctx context.Context, e *owed) *reading {
	if e.guarded == nil {
		return nil
	}
	facts, index := e.facts, e.index
	if e.portal != nil {
		if facts = nil; e.portal.st != nil && !e.portal.st.viaSQL {
			facts, index = e.portal.st.facts, 0
		}
	}
	r := &reading{protected: e.guarded, redefined: s.queue.redefines(), calls: e.calls, subject: e.subject(), tainted: s.resource.taints.more()}
	if facts != nil {
		r.constants = facts.Constants(index)
	}
	s.look(ctx, r)
	return r
}

// subject returns the statement that e is at.
func (e *owed) subject() *subject {
	switch {
	case e.portal != nil:
		return e.portal.subject
	case e.index < len(e.subjects):
		return e.subjects[e.index]
	}
	return nil
}

// look sets what the lineage of r's subject tells. Of what cannot be looked up
// nothing is known.
func (s *session) look(ctx context.Context, r *reading) {
	if !r.protected.Strict() {
		return
	}
	var err error
	if r.told, err = s.tellOf(ctx, r.subject, r.protected); err != nil {
		s.env.Log.Warn("the lineage of a result cannot be determined", append(s.logAttrs(), "error", err)...)
	}
}

// guard notes on e what its result may come from, where columns are protected.
// What statements do that names refer to is of the text of facts, which may be
// nil.
func (s *session) guard(ctx context.Context, e *owed, facts *statement.Result, statements []event.Statement) *owed {
	protected := s.ps.Terms().Protected
	if protected == nil {
		return e
	}
	if protected.Strict() && e.portal == nil {
		e.subjects = s.subjects(ctx, facts)
		s.pin(ctx, e, facts, protected)
	}
	e.guarded = protected
	add := func(function string) {
		name := "pg_catalog." + function + "()"
		if _, is := protected.Column(name); is && !slices.Contains(e.calls, name) {
			e.calls = append(e.calls, name)
		}
	}
	addAll := func(statements []event.Statement) {
		for i := range statements {
			for _, f := range statements[i].Functions {
				add(base(f))
			}
			if kind := statements[i].Kind; kind == "EXPLAIN" || kind == "SHOW" {
				add(strings.ToLower(kind))
			}
		}
	}
	addAll(statements)
	for i := range statements {
		if statements[i].Kind != "FETCH" {
			continue
		}
		p, err := s.findPortal(ctx, named(&statements[i]))
		switch {
		case err != nil:
		case p != nil && p.req != nil:
			addAll(p.req.Statements)
		case p != nil:
			addAll(p.statements)
		}
	}
	return e
}

// bound notes on p what it is bound as, where columns are protected. A refusal says
// why it cannot run: what its names stand for may be other things than when it
// was prepared.
func (s *session) bound(ctx context.Context, p *portal) (*refusal, error) {
	protected := s.ps.Terms().Protected
	if !protected.Strict() && !s.tracks() {
		return nil, nil
	}
	p.subject = s.subjectOf(ctx, p.st.facts, p.st.index, s.path(ctx))
	if p.subject != nil && p.subject.facts == p.st.facts && !p.st.viaSQL {
		p.subject.edition, p.subject.parameters = p.st.edition, p.st.parameters()
	}
	if !protected.Strict() {
		return nil, nil
	}
	if p.subject.isUnknownCall(p.st.facts, p.st.index) {
		return unknownCall, nil
	}
	t, err := s.tellOf(ctx, p.subject, protected)
	p.fails = t == nil || t.fails
	switch {
	case err != nil:
		s.env.Log.Warn("what a statement names cannot be looked up", append(s.logAttrs(), "error", err)...)
		return notLookedUp, ctx.Err()
	case t != nil && t.refusal != "":
		return t.refused(), nil
	}
	return nil, nil
}

// apply adds to h, whose fields the server says come from columns, what r tells of
// it.
func (r *reading) apply(h *head, columns []column) {
	if r.protected.Strict() {
		r.witness(h, columns)
		return
	}
	for i := range h.Fields {
		f := &h.Fields[i]
		var o origin
		if i < len(h.origins) {
			o = h.origins[i]
		}
		for _, name := range o.below {
			if _, is := r.protected.Column(name); is {
				f.Origins = append(f.Origins, name)
			}
		}
		if o.view && r.redefined {
			f.Origins, f.Lineage = append(f.Origins, redefinedView), event.LineageUnknown
		}
		if f.Lineage == event.LineageUnknown && len(f.Origins) == 0 {
			if r.isConstant(h, i) {
				f.Lineage = event.LineageClean
			} else {
				f.Origins = append(f.Origins, r.calls...)
			}
		}
	}
}

// isConstant is whether the text says that field i is the same whatever the
// database holds.
func (r *reading) isConstant(h *head, i int) bool {
	return len(r.constants) == len(h.Fields) && r.constants[i] && h.oids[i] < firstUserOID
}

// witness sets the origins and lineage of h's fields to what the statement's
// lineage tells, where the server's own description agrees: a field that it says
// comes from a column must be one that depends on it. Otherwise nothing is known
// of the field.
func (r *reading) witness(h *head, columns []column) {
	for i := range h.Fields {
		f := &h.Fields[i]
		if r.told == nil || len(r.told.fields) != len(h.Fields) {
			f.Lineage, f.Why = event.LineageUnknown, "the statement is not known"
			if r.told != nil {
				f.Why = cmp.Or(r.told.unknown, "the server describes other fields")
			}
			if len(f.Origins) > 0 {
				continue
			}
			if r.told == nil && r.isConstant(h, i) {
				f.Lineage, f.Why = event.LineageClean, ""
			} else {
				f.Origins = append(f.Origins, r.calls...)
			}
			continue
		}
		told := &r.told.fields[i]
		if columns[i].table != 0 && !slices.Contains(told.shown, columns[i]) {
			f.Origins, f.Lineage = append(f.Origins, told.origins...), event.LineageUnknown
			f.Why = "the server says that it is another column"
			continue
		}
		f.Origins, f.Lineage, f.Why, f.Within = slices.Clip(told.origins), told.lineage, told.reason, told.within
		if r.told.unknown != "" {
			f.Lineage, f.Why = event.LineageUnknown, cmp.Or(f.Why, r.told.unknown)
		}
	}
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
