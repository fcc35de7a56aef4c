package postgres

import (
	"strings"

	"gatehouse/core/lineage"
)

// PostgreSQL's own functions, as pg_proc of versions 15 and 18 has them, by what
// their results depend on. IMMUTABLE ones depend on their arguments, as the server
// itself relies on. The others were read through: those that are not listed here
// may return what the database holds.

// scalars depend on their arguments and on what is no column's: settings of their
// own kind, the names and definitions of objects, sizes.
var scalars = set(`
	age anytextcat array_to_json array_to_string concat concat_ws convert convert_from convert_to
	date date_add date_subtract date_part date_trunc extract
	date_cmp_timestamptz date_eq_timestamptz date_ge_timestamptz date_gt_timestamptz date_le_timestamptz date_lt_timestamptz date_ne_timestamptz
	enum_first enum_last enum_range format in_range interval_pl_timestamptz length make_timestamptz money numeric overlaps
	json_build_array json_build_object json_populate_record json_to_record json_to_tsvector
	jsonb_build_array jsonb_build_object jsonb_populate_record jsonb_populate_record_valid jsonb_to_record jsonb_to_tsvector
	jsonb_path_exists_tz jsonb_path_match_tz jsonb_path_query_array_tz jsonb_path_query_first_tz
	phraseto_tsquery plainto_tsquery websearch_to_tsquery to_tsquery to_tsvector ts_headline ts_match_tq ts_match_tt
	quote_literal quote_nullable row_to_json to_json to_jsonb textanycat textsend textrecv
	array_out record_out date_out time_out timetz_out timestamp_out timestamptz_out interval_out cash_out enum_out range_out multirange_out
	array_send record_send range_send multirange_send enum_send bpcharsend varcharsend namesend xml_send cstring_send
	regclassout regtypeout regprocout regprocedureout regoperout regoperatorout regnamespaceout regroleout regcollationout regconfigout regdictionaryout
	time timestamp timestamptz timetz timezone to_char to_date to_number to_timestamp
	timestamp_cmp_timestamptz timestamp_eq_timestamptz timestamp_ge_timestamptz timestamp_gt_timestamptz timestamp_le_timestamptz timestamp_lt_timestamptz timestamp_ne_timestamptz
	timestamptz_cmp_date timestamptz_eq_date timestamptz_ge_date timestamptz_gt_date timestamptz_le_date timestamptz_lt_date timestamptz_ne_date
	timestamptz_cmp_timestamp timestamptz_eq_timestamp timestamptz_ge_timestamp timestamptz_gt_timestamp timestamptz_le_timestamp timestamptz_lt_timestamp timestamptz_ne_timestamp
	timestamptz_mi_interval timestamptz_pl_interval xml xml_is_well_formed
	pg_collation_for pg_column_compression pg_column_size pg_column_toast_chunk_id pg_input_error_info pg_input_is_valid pg_typeof
	col_description obj_description shobj_description format_type oidvectortypes
	has_any_column_privilege has_column_privilege has_database_privilege has_foreign_data_wrapper_privilege has_function_privilege
	has_language_privilege has_largeobject_privilege has_parameter_privilege has_schema_privilege has_sequence_privilege has_server_privilege
	has_table_privilege has_tablespace_privilege has_type_privilege pg_has_role
	pg_basetype pg_char_to_encoding pg_encoding_to_char pg_get_userbyid pg_settings_get_flags
	pg_collation_is_visible pg_conversion_is_visible pg_function_is_visible pg_opclass_is_visible pg_operator_is_visible pg_opfamily_is_visible
	pg_statistics_obj_is_visible pg_table_is_visible pg_ts_config_is_visible pg_ts_dict_is_visible pg_ts_parser_is_visible pg_ts_template_is_visible pg_type_is_visible
	pg_column_is_updatable pg_relation_is_updatable pg_relation_is_publishable pg_filenode_relation pg_relation_filenode row_security_active
	pg_describe_object pg_get_acl pg_get_constraintdef pg_get_expr pg_get_function_arg_default pg_get_function_arguments
	pg_get_function_identity_arguments pg_get_function_result pg_get_function_sqlbody pg_get_indexdef pg_get_object_address
	pg_get_partition_constraintdef pg_get_partkeydef pg_get_replica_identity_index pg_get_ruledef pg_get_serial_sequence
	pg_get_statisticsobjdef pg_get_statisticsobjdef_columns pg_get_statisticsobjdef_expressions pg_get_triggerdef pg_get_viewdef
	pg_identify_object pg_identify_object_as_address pg_index_column_has_property pg_index_has_property pg_indexam_has_property
	pg_is_other_temp_schema pg_tablespace_location pg_collation_actual_version pg_database_collation_actual_version
	pg_database_size pg_indexes_size pg_relation_size pg_table_size pg_tablespace_size pg_total_relation_size
	to_regclass to_regcollation to_regnamespace to_regoper to_regoperator to_regproc to_regprocedure to_regrole to_regtype to_regtypemod
	mxid_age pg_xact_status txid_status current_setting current_schemas
	pg_stat_get_numscans pg_stat_get_lastscan pg_stat_get_tuples_returned pg_stat_get_tuples_fetched pg_stat_get_tuples_inserted pg_stat_get_tuples_updated
	pg_stat_get_tuples_deleted pg_stat_get_tuples_hot_updated pg_stat_get_tuples_newpage_updated pg_stat_get_live_tuples pg_stat_get_dead_tuples
	pg_stat_get_mod_since_analyze pg_stat_get_ins_since_vacuum pg_stat_get_blocks_fetched pg_stat_get_blocks_hit
	pg_stat_get_last_vacuum_time pg_stat_get_last_autovacuum_time pg_stat_get_last_analyze_time pg_stat_get_last_autoanalyze_time
	pg_stat_get_vacuum_count pg_stat_get_autovacuum_count pg_stat_get_analyze_count pg_stat_get_autoanalyze_count
	pg_stat_get_function_calls pg_stat_get_function_total_time pg_stat_get_function_self_time`)

// populating are those that return rows like the one that they are given first.
var populating = set("json_populate_record json_populate_recordset jsonb_populate_record jsonb_populate_recordset")

// sets depend as scalars do, and return rows.
var sets = set(`
	aclexplode generate_series json_populate_recordset json_to_recordset jsonb_path_query_tz jsonb_populate_recordset jsonb_to_recordset
	pg_options_to_table pg_partition_ancestors pg_partition_tree ts_debug ts_parse ts_token_type`)

// ambients depend on nothing but the session, the clock and the server.
var ambients = set(`
	current_database current_schema current_user session_user system_user getdatabaseencoding getpgusername
	get_current_ts_config inet_client_addr inet_client_port inet_server_addr inet_server_port
	now clock_timestamp statement_timestamp transaction_timestamp timeofday version
	pg_backend_pid pg_client_encoding pg_conf_load_time pg_is_in_recovery pg_jit_available pg_my_temp_schema pg_postmaster_start_time pg_trigger_depth
	pg_current_snapshot pg_current_xact_id pg_current_xact_id_if_assigned txid_current txid_current_if_assigned txid_current_snapshot
	pg_current_wal_lsn pg_last_wal_replay_lsn pg_last_wal_receive_lsn pg_last_xact_replay_timestamp pg_export_snapshot
	pg_available_extensions pg_available_extension_versions pg_get_keywords pg_timezone_names pg_timezone_abbrevs pg_timezone_abbrevs_abbrevs pg_timezone_abbrevs_zone
	random random_normal gen_random_uuid uuidv4 uuidv7 currval lastval`)

// keepers are scalars that keep what they are given, or that they were called, where
// another statement, or a clock, finds it.
var keepers = set(`
	nextval set_config setval setseed array_sample array_shuffle pg_notify pg_sleep pg_sleep_for pg_sleep_until
	lo_from_bytea lo_put lowrite lo_creat lo_create lo_truncate lo_truncate64 lo_lseek lo_lseek64 lo_open lo_close lo_tell lo_tell64 lo_unlink
	pg_advisory_lock pg_advisory_xact_lock pg_try_advisory_lock pg_try_advisory_xact_lock
	pg_advisory_lock_shared pg_advisory_xact_lock_shared pg_try_advisory_lock_shared pg_try_advisory_xact_lock_shared
	pg_advisory_unlock pg_advisory_unlock_shared pg_advisory_unlock_all
	pg_replication_origin_create pg_create_restore_point pg_create_physical_replication_slot
	pg_create_logical_replication_slot pg_cancel_backend pg_terminate_backend`)

// movers are ambients of which a later call, or another function, tells that they
// were called.
var movers = set(`random random_normal pg_current_xact_id txid_current pg_export_snapshot`)

func set(words string) map[string]bool {
	m := make(map[string]bool)
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}

// ownKind returns how a function of pg_catalog makes its result, and whether it
// keeps what it is given. It goes by its name, its kind (pg_proc.prokind), its
// volatility and whether it returns a set.
func ownKind(name string, kind, volatility byte, returnsSet bool) (k lineage.Kind, stores bool) {
	switch {
	case kind == 'a':
		return lineage.Aggregate, false
	case kind == 'w':
		return lineage.Window, false
	case keepers[name]:
		return lineage.Scalar, true
	case ambients[name]:
		return lineage.Ambient, movers[name]
	case returnsSet && (volatility == 'i' || sets[name]):
		return lineage.Set, false
	case !returnsSet && (volatility == 'i' || scalars[name]):
		return lineage.Scalar, false
	}
	return lineage.Opaque, false
}

// knownExtensions are those whose functions in C depend on their arguments alone,
// unless they are VOLATILE and not among extensionFunctions.
var knownExtensions = set(`citext pg_trgm hstore pgcrypto uuid-ossp unaccent fuzzystrmatch intarray ltree btree_gin btree_gist cube earthdistance`)

// extensionFunctions are functions of theirs that are VOLATILE, since they draw
// random numbers.
var extensionFunctions = set(`
	gen_random_bytes gen_random_uuid gen_salt uuid_generate_v1 uuid_generate_v1mc uuid_generate_v4
	pgp_sym_encrypt pgp_sym_encrypt_bytea pgp_pub_encrypt pgp_pub_encrypt_bytea`)

// documents are those that return what is at a place in a document, as a document,
// and fromDocuments those that compute something from it.
var (
	documents = set(`json_object_field jsonb_object_field json_array_element jsonb_array_element json_extract_path jsonb_extract_path
		json_array_elements jsonb_array_elements jsonb_path_query jsonb_path_query_first jsonb_path_query_tz jsonb_path_query_first_tz`)
	fromDocuments = set(`json_object_field_text jsonb_object_field_text json_array_element_text jsonb_array_element_text json_extract_path_text jsonb_extract_path_text
		json_array_elements_text jsonb_array_elements_text jsonb_path_query_array jsonb_path_query_array_tz jsonb_path_exists jsonb_path_exists_tz jsonb_path_exists_opr`)
)

// extracts is whether a function of the server's own, or the operator that it is,
// takes what it returns from places in a document.
func extracts(name string) lineage.Extracts {
	switch {
	case documents[name]:
		return lineage.ExtractsDocument
	case fromDocuments[name]:
		return lineage.ExtractsValue
	}
	return lineage.ExtractsNot
}
