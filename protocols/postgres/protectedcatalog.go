package postgres

import "gatehouse/core/event"

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
