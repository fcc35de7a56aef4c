package postgres

import (
	"slices"
	"strings"

	"gatehouse/core/event"
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
	"pg_statistic.stavalues*", "pg_stats.most_common_*", "pg_stats.histogram_bounds", "pg_stats.range_*",
	"pg_statistic_ext_data.stxd*", "pg_stats_ext.most_common_*", "pg_stats_ext_exprs.most_common_*", "pg_stats_ext_exprs.histogram_bounds",
	// Texts of statements, and what sessions call themselves.
	"pg_stat_activity.query", "pg_stat_activity.application_name", "pg_stat_replication.application_name",
	"pg_prepared_statements.*", "pg_cursors.name", "pg_cursors.statement", "pg_prepared_xacts.gid",
	// Settings, those of roles and functions too.
	"pg_settings.setting", "pg_settings.boot_val", "pg_settings.reset_val", "pg_file_settings.*", "pg_hba_file_rules.*",
	"pg_db_role_setting.setconfig", "pg_roles.rolconfig", "pg_user.useconfig", "pg_shadow.useconfig", "pg_proc.proconfig",
	// Values in another form.
	"pg_largeobject.data", "pg_locks.classid", "pg_locks.objid", "pg_locks.objsubid", "pg_sequences.last_value",
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
	"nextval()", "currval()", "lastval()", "pg_sequence_last_value()", "pg_sequence_parameters()",
	"explain()", "show()",
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

// base is a function's name without its schema.
func base(function string) string { return function[strings.LastIndexByte(function, '.')+1:] }

// refuseProtected returns why statements cannot pass where columns are
// protected: what comes back could not be told from a protected value.
func (s *session) refuseProtected(statements []event.Statement) *refusal {
	if !s.guarded() {
		return nil
	}
	for i := range statements {
		st := &statements[i]
		for _, f := range st.Functions {
			name := base(f)
			if slices.ContainsFunc(refusedFunctions, func(p string) bool { return event.Match(p, name) }) {
				return &refusal{code: codeAccessDenied, message: "gatehouse: function " + f + " is refused, because columns of the resource are protected"}
			}
		}
		if st.Kind == "COPY" && (slices.Contains(st.Options, "FILE") || slices.Contains(st.Options, "PROGRAM")) {
			return &refusal{code: codeAccessDenied, message: "gatehouse: COPY from and to files and programs of the server is refused, because columns of the resource are protected",
				hint: "Use COPY … TO STDOUT or FROM STDIN."}
		}
	}
	return nil
}

// A reading is what a statement's text tells of its result beside what the
// server describes.
type reading struct {
	constants []bool   // the fields that are constants; nil: not known
	calls     []string // protected functions that fields without an origin may come from
}

// key tells readings apart. The last byte of it ends what it is appended to.
func (r *reading) key(b []byte) []byte {
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
	return b
}

// reads returns what the text tells of the result of e's statement at hand, or
// nil.
func (e *owed) reads() *reading {
	if !e.guarded {
		return nil
	}
	facts, index := e.facts, e.index
	if e.portal != nil {
		if facts = nil; e.portal.st != nil && !e.portal.st.viaSQL {
			facts, index = e.portal.st.facts, 0
		}
	}
	r := &reading{calls: e.calls}
	if facts != nil {
		r.constants = facts.Constants(index)
	}
	return r
}

// guard notes on e what its result may come from, where columns are protected.
func (s *session) guard(e *owed, statements []event.Statement) *owed {
	protected := s.ps.Terms().Protected
	if protected == nil {
		return e
	}
	e.guarded = true
	add := func(function string) {
		name := "pg_catalog." + function + "()"
		if _, is := protected.Column(name); is && !slices.Contains(e.calls, name) {
			e.calls = append(e.calls, name)
		}
	}
	for i := range statements {
		for _, f := range statements[i].Functions {
			add(base(f))
		}
		switch statements[i].Kind {
		case "EXPLAIN", "SHOW":
			add(strings.ToLower(statements[i].Kind))
		}
	}
	return e
}

// apply adds to h what r tells of it.
func (r *reading) apply(h *head) {
	for i := range h.Fields {
		f := &h.Fields[i]
		switch {
		case f.Lineage != event.LineageUnknown:
		case len(r.constants) == len(h.Fields) && r.constants[i] && h.oids[i] < firstUserOID:
			f.Lineage = event.LineageClean
		default:
			f.Origins = append(f.Origins, r.calls...)
		}
	}
}
