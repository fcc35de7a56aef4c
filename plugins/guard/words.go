package main

import (
	"slices"
	"strings"

	"gatehouse/sdk"
)

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

// known is the kinds of statement that the rules understand, besides CREATE,
// ALTER, DROP and DISCARD.
var known = set(
	"SELECT", "SELECT INTO", "VALUES", "TABLE", "INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE TABLE",
	"BEGIN", "START TRANSACTION", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE",
	"PREPARE TRANSACTION", "COMMIT PREPARED", "ROLLBACK PREPARED",
	"SET", "RESET", "SHOW", "SET CONSTRAINTS",
	"PREPARE", "EXECUTE", "DEALLOCATE", "DEALLOCATE ALL",
	"DECLARE CURSOR", "FETCH", "MOVE", "CLOSE CURSOR", "CLOSE CURSOR ALL",
	"EXPLAIN", "COPY", "CALL", "DO", "LOAD", "LISTEN", "NOTIFY", "UNLISTEN", "LOCK TABLE", "CHECKPOINT",
	"VACUUM", "ANALYZE", "CLUSTER", "REINDEX", "REFRESH MATERIALIZED VIEW", "IMPORT FOREIGN SCHEMA",
	"REASSIGN OWNED", "GRANT", "REVOKE", "GRANT ROLE", "REVOKE ROLE", "COMMENT", "SECURITY LABEL",
)

var privilegeKinds = set(
	"GRANT", "REVOKE", "GRANT ROLE", "REVOKE ROLE", "CREATE ROLE", "ALTER ROLE", "ALTER DEFAULT PRIVILEGES",
	"REASSIGN OWNED", "CREATE POLICY", "ALTER POLICY", "SECURITY LABEL",
)

var outsideKinds = set(
	"LOAD", "IMPORT FOREIGN SCHEMA",
	"CREATE EXTENSION", "ALTER EXTENSION", "CREATE SERVER", "ALTER SERVER",
	"CREATE FOREIGN TABLE", "ALTER FOREIGN TABLE", "CREATE FOREIGN DATA WRAPPER", "ALTER FOREIGN DATA WRAPPER",
	"CREATE USER MAPPING", "ALTER USER MAPPING", "CREATE SUBSCRIPTION", "ALTER SUBSCRIPTION",
	"CREATE LANGUAGE", "ALTER LANGUAGE", "CREATE TABLESPACE", "ALTER TABLESPACE", "CREATE ACCESS METHOD",
)

var administrationKinds = set("ALTER SYSTEM", "CHECKPOINT", "CREATE PUBLICATION", "ALTER PUBLICATION")

var codeKinds = func() map[string]bool {
	m := set("DO", "CALL")
	for _, what := range []string{
		"FUNCTION", "PROCEDURE", "ROUTINE", "AGGREGATE", "TRIGGER", "EVENT TRIGGER", "RULE", "EVENT",
		"OPERATOR", "OPERATOR CLASS", "OPERATOR FAMILY", "CAST", "CONVERSION", "TRANSFORM",
	} {
		m["CREATE "+what], m["ALTER "+what] = true, true
	}
	return m
}()

// Options of ALTER EVENT TRIGGER that switch it.
var switches = []string{"DISABLE", "ENABLE", "ENABLE REPLICA", "ENABLE ALWAYS"}

// Options of ALTER DATABASE that change the database for every session.
var databaseOptions = []string{"SET", "RESET", "ALLOW CONNECTIONS", "CONNECTION LIMIT", "IS TEMPLATE", "TABLESPACE"}

var lockKinds = set("LOCK TABLE", "CLUSTER", "REINDEX")

// Options of ALTER that destroy data.
var destroyingOptions = []string{
	"DROP COLUMN", "DROP CONSTRAINT", "DROP INDEX", "DROP PARTITION", "DROP ATTRIBUTE", "DROP MAPPING",
	"ALTER COLUMN TYPE", "ALTER ATTRIBUTE TYPE", "DISCARD TABLESPACE", "TRUNCATE PARTITION",
}

// Options of CREATE and ALTER that change privileges or what enforces them.
var privilegeOptions = []string{
	"OWNER TO", "AUTHORIZATION", "SECURITY DEFINER", "LEAKPROOF",
	"ENABLE ROW LEVEL SECURITY", "DISABLE ROW LEVEL SECURITY", "FORCE ROW LEVEL SECURITY", "NO FORCE ROW LEVEL SECURITY",
	"ENABLE TRIGGER", "ENABLE ALWAYS TRIGGER", "ENABLE REPLICA TRIGGER", "DISABLE TRIGGER",
	"ENABLE RULE", "ENABLE ALWAYS RULE", "ENABLE REPLICA RULE", "DISABLE RULE",
}

// Functions that destroy data, by patterns of their names.
var destroyers = []string{"lo_unlink", "lo_truncate*"}

// Functions that reach outside of the database.
var outsiders = []string{
	"lo_import", "lo_export", "pg_read_file*", "pg_read_binary_file*", "pg_read_server_files", "pg_ls_*", "pg_stat_file*",
	"pg_file_*", "pg_logdir_ls", "load_file", "dblink*", "postgres_fdw_*", "pg_execute_server_program",
	"pg_hba_file_rules", "pg_ident_file_mappings", "pg_show_all_file_settings",
}

// Views of the server's files.
var fileViews = set("pg_hba_file_rules", "pg_ident_file_mappings", "pg_file_settings")

// Functions that administer the server.
var administrators = []string{
	"pg_reload_conf", "pg_rotate_logfile*", "pg_terminate_backend", "pg_cancel_backend", "pg_log_backend_memory_contexts",
	"pg_*replication_slot*", "pg_*logical_slot*", "pg_logical_emit_message", "pg_replication_origin_*", "pg_sync_replication_slots",
	"pg_switch_wal", "pg_switch_xlog", "pg_create_restore_point", "pg_start_backup", "pg_stop_backup",
	"pg_backup_start", "pg_backup_stop", "pg_promote", "pg_wal_replay_*", "pg_xlog_replay_*",
	"pg_stat_reset*", "pg_clear_*_stats", "pg_restore_*_stats", "pg_log_standby_snapshot", "binary_upgrade_*", "pg_import_system_collations", "pg_nextoid", "pg_stop_making_pinned_objects",
}

// enforcing is the settings that change how statements are read, or what is
// enforced on them.
var enforcing = set(
	"standard_conforming_strings", "backslash_quote", "transform_null_equals", "client_encoding",
	"session_replication_role", "row_security", "event_triggers", "createrole_self_grant", "allow_system_table_mods", "lo_compat_privileges",
	"zero_damaged_pages", "ignore_checksum_failure", "ignore_system_indexes",
	"session_preload_libraries", "local_preload_libraries", "dynamic_library_path", "jit_provider",
	"sql_mode", "foreign_key_checks", "unique_checks", "sql_log_bin", "character_set_client",
	"character_set_connection", "character_set_results", "sql_safe_updates",
)

// safeValues is what may be set: it is what the gate relies on.
var safeValues = map[string][]string{
	"standard_conforming_strings": {"TO ON"},
	"row_security":                {"TO ON"},
	"event_triggers":              {"TO ON"},
	"transform_null_equals":       {"TO OFF"},
	"client_encoding":             {"TO UTF8"},
	"foreign_key_checks":          {"TO ON"},
	"unique_checks":               {"TO ON"},

	"transaction_read_only":         {"READ ONLY", "TO ON"},
	"default_transaction_read_only": {"READ ONLY", "TO ON"},
}

// readOnly is the settings that make a session or transaction read-only.
var readOnly = set("transaction_read_only", "default_transaction_read_only")

// isWrite reports whether a statement changes rows.
func isWrite(st *sdk.Statement) bool {
	switch st.Kind {
	case "INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE TABLE":
		return true
	case "COPY":
		return has(st.Options, "FROM")
	}
	return false
}

// isDefinition reports whether a statement defines something, so that its
// options are about that.
func isDefinition(st *sdk.Statement) bool {
	return strings.HasPrefix(st.Kind, "CREATE ") || strings.HasPrefix(st.Kind, "ALTER ")
}

func anyObject(objects []sdk.Object, is func(sdk.Object) bool) bool {
	return slices.ContainsFunc(objects, is)
}

// isCatalogue reports whether o may be a part of the system's catalogue. Without
// a schema, pg_catalog comes first.
func isCatalogue(o sdk.Object) bool {
	switch o.Schema {
	case "pg_catalog", "information_schema", "pg_toast", "mysql", "performance_schema", "sys":
		return true
	case "":
		return strings.HasPrefix(o.Name, "pg_")
	}
	return false
}

func isFileView(o sdk.Object) bool { return isCatalogue(o) && fileViews[o.Name] }

var privilegeCatalogues = set(
	"pg_authid", "pg_auth_members", "pg_roles", "pg_user", "pg_shadow", "pg_group", "pg_user_mapping", "pg_default_acl",
	"pg_init_privs", "pg_policy", "pg_seclabel", "pg_shseclabel", "pg_db_role_setting", "pg_parameter_acl",
	"user", "db", "tables_priv", "columns_priv", "global_priv",
)

func isPrivilegeCatalogue(o sdk.Object) bool {
	return isCatalogue(o) && privilegeCatalogues[o.Name]
}
