package statement

import tree "github.com/pganalyze/pg_query_go/v6"

// subcommands are those of ALTER TABLE in the grammar's words.
var subcommands = map[tree.AlterTableType][]string{
	tree.AlterTableType_AT_AddColumn:                 {"ADD COLUMN"},
	tree.AlterTableType_AT_ColumnDefault:             {"SET DEFAULT"}, // or DROP DEFAULT
	tree.AlterTableType_AT_DropNotNull:               {"DROP NOT NULL"},
	tree.AlterTableType_AT_SetNotNull:                {"SET NOT NULL"},
	tree.AlterTableType_AT_SetExpression:             {"SET EXPRESSION"},
	tree.AlterTableType_AT_DropExpression:            {"DROP EXPRESSION"},
	tree.AlterTableType_AT_SetStatistics:             {"SET STATISTICS"},
	tree.AlterTableType_AT_SetOptions:                {"SET"},
	tree.AlterTableType_AT_ResetOptions:              {"RESET"},
	tree.AlterTableType_AT_SetStorage:                {"SET STORAGE"},
	tree.AlterTableType_AT_SetCompression:            {"SET COMPRESSION"},
	tree.AlterTableType_AT_DropColumn:                {"DROP COLUMN"},
	tree.AlterTableType_AT_AddIndex:                  {"ADD INDEX"},
	tree.AlterTableType_AT_AddConstraint:             {"ADD CONSTRAINT"},
	tree.AlterTableType_AT_AlterConstraint:           {"ALTER CONSTRAINT"},
	tree.AlterTableType_AT_ValidateConstraint:        {"VALIDATE CONSTRAINT"},
	tree.AlterTableType_AT_AddIndexConstraint:        {"ADD CONSTRAINT"},
	tree.AlterTableType_AT_DropConstraint:            {"DROP CONSTRAINT"},
	tree.AlterTableType_AT_AlterColumnType:           {"ALTER COLUMN TYPE"},
	tree.AlterTableType_AT_AlterColumnGenericOptions: {"OPTIONS"},
	tree.AlterTableType_AT_ChangeOwner:               {"OWNER TO"},
	tree.AlterTableType_AT_ClusterOn:                 {"CLUSTER ON"},
	tree.AlterTableType_AT_DropCluster:               {"SET WITHOUT CLUSTER"},
	tree.AlterTableType_AT_SetLogged:                 {"SET LOGGED"},
	tree.AlterTableType_AT_SetUnLogged:               {"SET UNLOGGED"},
	tree.AlterTableType_AT_DropOids:                  {"DROP OIDS"},
	tree.AlterTableType_AT_SetAccessMethod:           {"SET ACCESS METHOD"},
	tree.AlterTableType_AT_SetTableSpace:             {"SET TABLESPACE"},
	tree.AlterTableType_AT_SetRelOptions:             {"SET"},
	tree.AlterTableType_AT_ResetRelOptions:           {"RESET"},
	tree.AlterTableType_AT_ReplaceRelOptions:         {"SET"},
	tree.AlterTableType_AT_EnableTrig:                {"ENABLE TRIGGER"},
	tree.AlterTableType_AT_EnableAlwaysTrig:          {"ENABLE ALWAYS TRIGGER"},
	tree.AlterTableType_AT_EnableReplicaTrig:         {"ENABLE REPLICA TRIGGER"},
	tree.AlterTableType_AT_DisableTrig:               {"DISABLE TRIGGER"},
	tree.AlterTableType_AT_EnableTrigAll:             {"ENABLE TRIGGER", "ALL"},
	tree.AlterTableType_AT_DisableTrigAll:            {"DISABLE TRIGGER", "ALL"},
	tree.AlterTableType_AT_EnableTrigUser:            {"ENABLE TRIGGER", "USER"},
	tree.AlterTableType_AT_DisableTrigUser:           {"DISABLE TRIGGER", "USER"},
	tree.AlterTableType_AT_EnableRule:                {"ENABLE RULE"},
	tree.AlterTableType_AT_EnableAlwaysRule:          {"ENABLE ALWAYS RULE"},
	tree.AlterTableType_AT_EnableReplicaRule:         {"ENABLE REPLICA RULE"},
	tree.AlterTableType_AT_DisableRule:               {"DISABLE RULE"},
	tree.AlterTableType_AT_AddInherit:                {"INHERIT"},
	tree.AlterTableType_AT_DropInherit:               {"NO INHERIT"},
	tree.AlterTableType_AT_AddOf:                     {"OF"},
	tree.AlterTableType_AT_DropOf:                    {"NOT OF"},
	tree.AlterTableType_AT_ReplicaIdentity:           {"REPLICA IDENTITY"},
	tree.AlterTableType_AT_EnableRowSecurity:         {"ENABLE ROW LEVEL SECURITY"},
	tree.AlterTableType_AT_DisableRowSecurity:        {"DISABLE ROW LEVEL SECURITY"},
	tree.AlterTableType_AT_ForceRowSecurity:          {"FORCE ROW LEVEL SECURITY"},
	tree.AlterTableType_AT_NoForceRowSecurity:        {"NO FORCE ROW LEVEL SECURITY"},
	tree.AlterTableType_AT_GenericOptions:            {"OPTIONS"},
	tree.AlterTableType_AT_AttachPartition:           {"ATTACH PARTITION"},
	tree.AlterTableType_AT_DetachPartition:           {"DETACH PARTITION"},
	tree.AlterTableType_AT_DetachPartitionFinalize:   {"DETACH PARTITION"},
	tree.AlterTableType_AT_AddIdentity:               {"ADD IDENTITY"},
	tree.AlterTableType_AT_SetIdentity:               {"SET IDENTITY"},
	tree.AlterTableType_AT_DropIdentity:              {"DROP IDENTITY"},
}

func (b *builder) alterTable(s *tree.AlterTableStmt) {
	b.kind("ALTER " + objectKind(s.GetObjtype()))
	b.target(s.GetRelation())
	b.optionIf(s.GetMissingOk(), "IF EXISTS")
	for _, n := range s.GetCmds() {
		c := n.GetAlterTableCmd()
		b.subcommand(c)
		b.cascade(c.GetBehavior())
		b.role(c.GetNewowner())
		b.visit(c.GetDef())
	}
}

func (b *builder) subcommand(c *tree.AlterTableCmd) {
	words, known := subcommands[c.GetSubtype()]
	switch {
	case !known:
		b.option(c.GetSubtype().String())
		b.opaque()
		return
	case c.GetSubtype() == tree.AlterTableType_AT_ColumnDefault && c.GetDef() == nil:
		words = []string{"DROP DEFAULT"}
	}
	b.option(words...)
	switch c.GetSubtype() {
	case tree.AlterTableType_AT_AddColumn:
		b.column(c.GetDef().GetColumnDef().GetColname())
	case tree.AlterTableType_AT_AlterColumnType:
		b.column(c.GetName())
		b.optionIf(c.GetDef().GetColumnDef().GetRawDefault() != nil, "USING")
	case tree.AlterTableType_AT_DropColumn, tree.AlterTableType_AT_ColumnDefault, tree.AlterTableType_AT_SetNotNull,
		tree.AlterTableType_AT_DropNotNull, tree.AlterTableType_AT_SetExpression, tree.AlterTableType_AT_DropExpression,
		tree.AlterTableType_AT_AddIdentity, tree.AlterTableType_AT_SetIdentity, tree.AlterTableType_AT_DropIdentity:
		b.column(c.GetName())
	case tree.AlterTableType_AT_AttachPartition, tree.AlterTableType_AT_DetachPartition, tree.AlterTableType_AT_DetachPartitionFinalize:
		b.target(c.GetDef().GetPartitionCmd().GetName())
	}
}
