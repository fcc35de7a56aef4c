package statement

import (
	"slices"
	"strings"

	tree "github.com/pganalyze/pg_query_go/v6"
)

// Constants says which fields of the result of the i-th top-level statement are
// constants, parameters or facts about the session: for each field whether it
// is. It is nil where the text does not tell all fields.
func (r *Result) Constants(i int) []bool {
	if i < 0 || i >= len(r.spans) {
		return nil
	}
	return r.spans[i].constants
}

// constants finds the constants among the fields of a statement's result.
func constants(n *tree.Node) []bool {
	switch m := message(n).(type) {
	case *tree.SelectStmt:
		if len(m.GetValuesLists()) > 0 {
			return constantRows(m.GetValuesLists())
		}
		if m.GetOp() != tree.SetOperation_SETOP_NONE || m.GetIntoClause() != nil {
			return nil
		}
		return constantTargets(m.GetTargetList())
	case *tree.InsertStmt:
		return constantTargets(m.GetReturningList())
	case *tree.UpdateStmt:
		return constantTargets(m.GetReturningList())
	case *tree.DeleteStmt:
		return constantTargets(m.GetReturningList())
	case *tree.MergeStmt:
		return constantTargets(m.GetReturningList())
	case *tree.VariableShowStmt:
		return []bool{steadySettings[strings.ToLower(m.GetName())]}
	}
	return nil
}

func constantTargets(targets []*tree.Node) []bool {
	is := make([]bool, len(targets))
	for i, n := range targets {
		v := n.GetResTarget().GetVal()
		if fields := v.GetColumnRef().GetFields(); len(fields) > 0 && fields[len(fields)-1].GetAStar() != nil {
			return nil
		}
		is[i] = isConstant(v)
	}
	return is
}

// constantRows is for VALUES: a field is constant if it is in every row.
func constantRows(rows []*tree.Node) []bool {
	is := make([]bool, len(rows[0].GetList().GetItems()))
	for j := range is {
		is[j] = true
		for _, row := range rows {
			values := row.GetList().GetItems()
			is[j] = is[j] && j < len(values) && isConstant(values[j])
		}
	}
	return is
}

// isConstant reports whether a value is in the text, comes with it, or is known
// to be about the session alone. A cast counts where its type is one of
// PostgreSQL's own: casts to others call functions.
func isConstant(n *tree.Node) bool {
	switch m := message(n).(type) {
	case *tree.A_Const, *tree.ParamRef, *tree.SQLValueFunction:
		return true
	case *tree.TypeCast:
		return ownType(m.GetTypeName()) && isConstant(m.GetArg())
	case *tree.FuncCall:
		name := routine(m.GetFuncname())
		return (len(m.GetArgs()) == 0 && sessionFacts[name] || sequenceFacts[name]) && m.GetOver() == nil &&
			!slices.ContainsFunc(m.GetArgs(), func(n *tree.Node) bool { return !isConstant(n) })
	}
	return false
}

// sessionFacts are functions without arguments that read no data.
var sessionFacts = map[string]bool{
	"version": true, "now": true, "clock_timestamp": true, "statement_timestamp": true, "transaction_timestamp": true,
	"current_database": true, "current_schema": true, "pg_backend_pid": true, "pg_is_in_recovery": true,
	"pg_postmaster_start_time": true, "txid_current": true, "pg_current_xact_id": true, "inet_server_addr": true, "inet_server_port": true,
}

// sequenceFacts are functions of sequences, which hold nothing that was computed
// as long as setval is given nothing such.
var sequenceFacts = map[string]bool{"nextval": true, "currval": true, "lastval": true}

// steadySettings are those whose values are the server's own, or of a few that
// there are, so that they hold nothing that was computed.
var steadySettings = map[string]bool{
	"server_version": true, "server_version_num": true, "server_encoding": true, "client_encoding": true,
	"standard_conforming_strings": true, "integer_datetimes": true, "is_superuser": true, "in_hot_standby": true,
	"datestyle": true, "intervalstyle": true, "lc_collate": true, "lc_ctype": true, "block_size": true,
	"max_connections": true, "max_identifier_length": true, "max_index_keys": true, "data_checksums": true, "wal_level": true, "ssl": true,
	"transaction_isolation": true, "transaction_read_only": true, "transaction_deferrable": true,
	"default_transaction_isolation": true, "default_transaction_read_only": true, "default_transaction_deferrable": true,
	"bytea_output": true, "row_security": true, "session_replication_role": true, "synchronous_commit": true,
}

// ownTypes are the names of PostgreSQL's own types that the parser leaves
// without their schema.
var ownTypes = map[string]bool{
	"text": true, "bytea": true, "uuid": true, "json": true, "jsonb": true, "xml": true, "name": true, "date": true, "money": true,
	"int2": true, "int4": true, "int8": true, "float4": true, "float8": true, "bool": true, "oid": true, "timestamptz": true, "timetz": true,
	"inet": true, "cidr": true, "macaddr": true, "regclass": true, "regtype": true, "regproc": true, "regprocedure": true, "regnamespace": true, "regrole": true,
}

func ownType(t *tree.TypeName) bool {
	o := named(t.GetNames())
	return o.Schema == "pg_catalog" || o.Schema == "" && ownTypes[o.Name]
}
