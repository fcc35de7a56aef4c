package statement

import (
	"strings"

	tree "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"

	"gatehouse/core/event"
)

// change takes the statements that change or drop objects. It returns false
// for a statement that is none of them.
func (b *builder) change(m proto.Message) bool {
	switch m := m.(type) {
	case *tree.DropStmt:
		b.drop(m)
	case *tree.TruncateStmt:
		b.kind("TRUNCATE TABLE")
		for _, n := range m.GetRelations() {
			b.target(n.GetRangeVar())
		}
		b.optionIf(m.GetRestartSeqs(), "RESTART IDENTITY")
		b.cascade(m.GetBehavior())
	case *tree.AlterTableStmt:
		b.alterTable(m)
	case *tree.RenameStmt:
		b.rename(m)
	case *tree.AlterObjectSchemaStmt:
		b.alterObject(m.GetObjectType(), m.GetRelation(), m.GetObject(), "SET SCHEMA")
		b.name(m.GetNewschema())
	case *tree.AlterOwnerStmt:
		b.alterObject(m.GetObjectType(), m.GetRelation(), m.GetObject(), "OWNER TO")
		b.role(m.GetNewowner())
	case *tree.AlterObjectDependsStmt:
		b.alterObject(m.GetObjectType(), m.GetRelation(), m.GetObject(), "DEPENDS ON EXTENSION")
	case *tree.CommentStmt:
		b.kind("COMMENT")
		b.option("ON " + objectKind(m.GetObjtype()))
		b.dropped(m.GetObjtype(), m.GetObject())
	case *tree.SecLabelStmt:
		b.kind("SECURITY LABEL")
		b.dropped(m.GetObjtype(), m.GetObject())
	case *tree.AlterSeqStmt:
		b.alter("SEQUENCE", object(m.GetSequence()))
		b.optionNames(m.GetOptions())
	case *tree.AlterFunctionStmt:
		b.alter(objectKind(m.GetObjtype()), named(m.GetFunc().GetObjname()))
		b.functionOptions(m.GetActions())
	case *tree.AlterDomainStmt:
		b.alterDomain(m)
	case *tree.AlterEnumStmt:
		b.alter("TYPE", named(m.GetTypeName()))
		if m.GetOldVal() != "" {
			b.option("RENAME VALUE")
		} else {
			b.option("ADD VALUE")
		}
	case *tree.AlterTypeStmt:
		b.alter("TYPE", named(m.GetTypeName()))
		b.option("SET")
		b.definitionFunctions(m.GetOptions())
	case *tree.AlterOperatorStmt:
		b.alter("OPERATOR", named(m.GetOpername().GetObjname()))
		b.option("SET")
		b.definitionFunctions(m.GetOptions())
	case *tree.AlterOpFamilyStmt:
		b.alter("OPERATOR FAMILY", named(m.GetOpfamilyname()))
		b.option(map[bool]string{true: "DROP", false: "ADD"}[m.GetIsDrop()])
		b.operatorItems(m.GetItems())
	case *tree.AlterStatsStmt:
		b.alter("STATISTICS", named(m.GetDefnames()))
	case *tree.AlterCollationStmt:
		b.alter("COLLATION", named(m.GetCollname()))
		b.option("REFRESH VERSION")
	case *tree.AlterTSDictionaryStmt:
		b.alter("TEXT SEARCH DICTIONARY", named(m.GetDictname()))
	case *tree.AlterTSConfigurationStmt:
		b.alter("TEXT SEARCH CONFIGURATION", named(m.GetCfgname()))
		b.optionIf(m.GetKind() == tree.AlterTSConfigType_ALTER_TSCONFIG_DROP_MAPPING, "DROP MAPPING")
	case *tree.AlterPolicyStmt:
		b.kind("ALTER POLICY")
		b.target(m.GetTable())
		b.name(m.GetPolicyName())
		b.visit(m.GetQual())
		b.visit(m.GetWithCheck())
	case *tree.AlterEventTrigStmt:
		b.kind("ALTER EVENT TRIGGER")
		b.name(m.GetTrigname())
		b.option(map[string]string{"D": "DISABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}[m.GetTgenabled()])
		b.optionIf(m.GetTgenabled() == "O", "ENABLE")
	default:
		return b.privilege(m) || b.maintain(m) || b.changeInstallation(m)
	}
	return true
}

// maintain takes the statements that look after what is stored.
func (b *builder) maintain(m proto.Message) bool {
	switch m := m.(type) {
	case *tree.VacuumStmt:
		b.kind("VACUUM")
		if !m.GetIsVacuumcmd() {
			b.kind("ANALYZE")
		}
		for _, n := range m.GetRels() {
			b.target(n.GetVacuumRelation().GetRelation())
		}
		b.optionNames(m.GetOptions())
	case *tree.ClusterStmt:
		b.kind("CLUSTER")
		b.target(m.GetRelation())
		b.optionNames(m.GetParams())
	case *tree.ReindexStmt:
		b.kind("REINDEX")
		b.target(m.GetRelation())
		b.writes(event.Object{Name: m.GetName()})
		b.option(strings.TrimPrefix(m.GetKind().String(), "REINDEX_OBJECT_"))
		b.optionNames(m.GetParams())
	case *tree.RefreshMatViewStmt:
		b.kind("REFRESH MATERIALIZED VIEW")
		b.target(m.GetRelation())
		b.optionIf(m.GetConcurrent(), "CONCURRENTLY")
		b.optionIf(m.GetSkipData(), "WITH NO DATA")
	default:
		return false
	}
	return true
}

// changeInstallation takes the statements that change or drop what belongs to
// the database or the cluster rather than to a schema.
func (b *builder) changeInstallation(m proto.Message) bool {
	only := func(name string) event.Object { return event.Object{Name: name} }
	switch m := m.(type) {
	case *tree.AlterSystemStmt:
		b.kind("ALTER SYSTEM")
		b.setVariable(m.GetSetstmt())
	case *tree.AlterDatabaseSetStmt:
		b.alter("DATABASE", only(m.GetDbname()))
		b.setVariable(m.GetSetstmt())
	case *tree.AlterDatabaseStmt:
		b.alter("DATABASE", only(m.GetDbname()))
		for _, n := range m.GetOptions() {
			b.option(optionName(n.GetDefElem())) // on or off
		}
	case *tree.AlterDatabaseRefreshCollStmt:
		b.alter("DATABASE", only(m.GetDbname()))
		b.option("REFRESH COLLATION VERSION")
	case *tree.AlterExtensionStmt:
		b.alter("EXTENSION", only(m.GetExtname()))
		b.option("UPDATE")
	case *tree.AlterExtensionContentsStmt:
		b.alter("EXTENSION", only(m.GetExtname()))
		b.option(map[bool]string{true: "ADD", false: "DROP"}[m.GetAction() > 0])
		b.dropped(m.GetObjtype(), m.GetObject())
	case *tree.AlterFdwStmt:
		b.alter("FOREIGN DATA WRAPPER", only(m.GetFdwname()))
	case *tree.AlterForeignServerStmt:
		b.alter("SERVER", only(m.GetServername()))
	case *tree.AlterUserMappingStmt:
		b.alter("USER MAPPING", only(m.GetServername()))
		b.role(m.GetUser())
	case *tree.AlterPublicationStmt:
		b.alter("PUBLICATION", only(m.GetPubname()))
		b.visitAll(m.GetPubobjects())
	case *tree.AlterSubscriptionStmt:
		b.alter("SUBSCRIPTION", only(m.GetSubname()))
	case *tree.AlterTableSpaceOptionsStmt:
		b.alter("TABLESPACE", only(m.GetTablespacename()))
	case *tree.AlterTableMoveAllStmt:
		b.alter(objectKind(m.GetObjtype()), only(m.GetOrigTablespacename()))
		b.option("SET TABLESPACE", "ALL IN TABLESPACE")
		b.roles(m.GetRoles())
	case *tree.DropdbStmt:
		b.kind("DROP DATABASE")
		b.writes(only(m.GetDbname()))
		b.optionIf(m.GetMissingOk(), "IF EXISTS")
		b.optionNames(m.GetOptions())
	case *tree.DropTableSpaceStmt:
		b.kind("DROP TABLESPACE")
		b.writes(only(m.GetTablespacename()))
	case *tree.DropUserMappingStmt:
		b.kind("DROP USER MAPPING")
		b.writes(only(m.GetServername()))
		b.role(m.GetUser())
	case *tree.DropSubscriptionStmt:
		b.kind("DROP SUBSCRIPTION")
		b.writes(only(m.GetSubname()))
		b.cascade(m.GetBehavior())
	default:
		return false
	}
	return true
}

func (b *builder) alter(class string, o event.Object) {
	b.kind("ALTER " + class)
	b.writes(o)
}

func (b *builder) cascade(d tree.DropBehavior) {
	b.optionIf(d == tree.DropBehavior_DROP_CASCADE, "CASCADE")
}

// optionNames takes the names of options that are on, as key words.
func (b *builder) optionNames(options []*tree.Node) {
	b.literal = true
	for _, n := range options {
		if d := n.GetDefElem(); mayBeTrue(d.GetArg()) {
			b.option(optionName(d))
		}
	}
}

func optionName(d *tree.DefElem) string {
	return strings.ToUpper(strings.ReplaceAll(d.GetDefname(), "_", " "))
}

func (b *builder) drop(s *tree.DropStmt) {
	b.kind("DROP " + objectKind(s.GetRemoveType()))
	b.optionIf(s.GetMissingOk(), "IF EXISTS")
	b.optionIf(s.GetConcurrent(), "CONCURRENTLY")
	b.cascade(s.GetBehavior())
	for _, n := range s.GetObjects() {
		b.dropped(s.GetRemoveType(), n)
	}
}

// dropped takes an object as it is named to be dropped or changed: what belongs
// to a table is named after it.
func (b *builder) dropped(t tree.ObjectType, n *tree.Node) {
	switch m := message(n).(type) {
	case *tree.String:
		if t == tree.ObjectType_OBJECT_EVENT_TRIGGER {
			b.name(m.GetSval())
			return
		}
		b.writes(event.Object{Name: m.GetSval()})
	case *tree.TypeName:
		b.writes(named(m.GetNames()))
	case *tree.ObjectWithArgs:
		b.writes(named(m.GetObjname()))
	case *tree.RoleSpec:
		b.role(m)
	case *tree.List:
		b.droppedParts(t, m.GetItems())
	}
}

func (b *builder) droppedParts(t tree.ObjectType, parts []*tree.Node) {
	if len(parts) == 0 {
		return
	}
	last := len(parts) - 1
	switch t {
	case tree.ObjectType_OBJECT_TRIGGER, tree.ObjectType_OBJECT_RULE, tree.ObjectType_OBJECT_POLICY,
		tree.ObjectType_OBJECT_TABCONSTRAINT:
		b.writes(named(parts[:last]))
		b.name(text(parts[last]))
		return
	case tree.ObjectType_OBJECT_COLUMN:
		b.writes(named(parts[:last]))
		b.column(text(parts[last]))
		return
	case tree.ObjectType_OBJECT_OPCLASS, tree.ObjectType_OBJECT_OPFAMILY:
		b.writes(named(parts[1:])) // the access method comes first
		return
	}
	if parts[0].GetTypeName() != nil { // a cast, a transform, a domain's constraint
		for _, n := range parts {
			b.dropped(t, n)
		}
		return
	}
	o := named(parts)
	b.writes(o)
	b.optionIf(strings.HasPrefix(o.Schema, "pg_temp"), "TEMPORARY")
}

// alterObject takes an ALTER that all classes of objects have in common.
func (b *builder) alterObject(t tree.ObjectType, r *tree.RangeVar, n *tree.Node, option string) {
	b.kind("ALTER " + objectKind(t))
	b.option(option)
	if r != nil {
		b.target(r)
		return
	}
	b.dropped(t, n)
}

func (b *builder) rename(s *tree.RenameStmt) {
	switch t := s.GetRenameType(); t {
	case tree.ObjectType_OBJECT_COLUMN, tree.ObjectType_OBJECT_ATTRIBUTE:
		b.alterObject(s.GetRelationType(), s.GetRelation(), s.GetObject(), "RENAME COLUMN")
		b.column(s.GetSubname())
	case tree.ObjectType_OBJECT_TABCONSTRAINT, tree.ObjectType_OBJECT_DOMCONSTRAINT:
		b.alterObject(t, s.GetRelation(), s.GetObject(), "RENAME CONSTRAINT")
	case tree.ObjectType_OBJECT_TRIGGER, tree.ObjectType_OBJECT_RULE, tree.ObjectType_OBJECT_POLICY:
		b.alterObject(t, s.GetRelation(), s.GetObject(), "RENAME TO")
		b.name(s.GetSubname())
	case tree.ObjectType_OBJECT_ROLE:
		b.kind("ALTER ROLE")
		b.option("RENAME TO")
		b.name(s.GetSubname())
	default:
		b.alterObject(t, s.GetRelation(), s.GetObject(), "RENAME TO")
		b.writes(event.Object{Name: s.GetSubname()}) // schemas and databases
	}
}

// alterDomain takes ALTER DOMAIN, whose subcommands are letters.
func (b *builder) alterDomain(s *tree.AlterDomainStmt) {
	b.alter("DOMAIN", named(s.GetTypeName()))
	switch s.GetSubtype() {
	case "T":
		if s.GetDef() == nil {
			b.option("DROP DEFAULT")
		} else {
			b.option("SET DEFAULT")
		}
	case "N":
		b.option("DROP NOT NULL")
	case "O":
		b.option("SET NOT NULL")
	case "C":
		b.option("ADD CONSTRAINT")
	case "X":
		b.option("DROP CONSTRAINT")
	case "V":
		b.option("VALIDATE CONSTRAINT")
	}
	b.cascade(s.GetBehavior())
	b.visit(s.GetDef())
}
