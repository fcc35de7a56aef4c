package statement

import (
	"slices"
	"strings"

	tree "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"

	"gatehouse/core/event"
)

// definition takes the statements that create objects. It returns false for a
// statement that is none of them.
func (b *builder) definition(m proto.Message) bool {
	switch m := m.(type) {
	case *tree.CreateStmt:
		b.kind("CREATE TABLE")
		b.createTable(m)
	case *tree.CreateForeignTableStmt:
		b.kind("CREATE FOREIGN TABLE")
		b.createTable(m.GetBaseStmt())
		b.name(m.GetServername())
	case *tree.CreateTableAsStmt:
		b.createTableAs(m)
	case *tree.ViewStmt:
		b.createView(m)
	case *tree.IndexStmt:
		b.createIndex(m)
	case *tree.CreateSeqStmt:
		b.kind("CREATE SEQUENCE")
		b.target(m.GetSequence())
		b.optionIf(m.GetIfNotExists(), "IF NOT EXISTS")
	case *tree.CreateSchemaStmt:
		b.createSchema(m)
	case *tree.CreateFunctionStmt:
		b.createFunction(m)
	case *tree.CreateTrigStmt:
		b.createTrigger(m)
	case *tree.RuleStmt:
		b.createRule(m)
	case *tree.CreatePolicyStmt:
		b.kind("CREATE POLICY")
		b.target(m.GetTable())
		b.name(m.GetPolicyName())
		b.visit(m.GetQual())
		b.visit(m.GetWithCheck())
	case *tree.CreateDomainStmt:
		b.kind("CREATE DOMAIN")
		b.writes(named(m.GetDomainname()))
		b.visitAll(m.GetConstraints())
	case *tree.CompositeTypeStmt:
		b.kind("CREATE TYPE")
		b.writes(object(m.GetTypevar()))
	case *tree.CreateEnumStmt:
		b.create("TYPE", named(m.GetTypeName()))
	case *tree.CreateRangeStmt:
		b.create("TYPE", named(m.GetTypeName()))
		b.definitionFunctions(m.GetParams())
	case *tree.DefineStmt:
		b.create(objectKind(m.GetKind()), named(m.GetDefnames()))
		b.optionIf(m.GetReplace(), "OR REPLACE")
		b.optionIf(m.GetIfNotExists(), "IF NOT EXISTS")
		b.definitionFunctions(m.GetDefinition())
	case *tree.CreateStatsStmt:
		b.create("STATISTICS", named(m.GetDefnames()))
		b.visitAll(m.GetRelations(), m.GetExprs())
	case *tree.CreateCastStmt:
		b.create("CAST", named(m.GetTargettype().GetNames()))
		b.function(routine(m.GetFunc().GetObjname()))
	case *tree.CreateConversionStmt:
		b.create("CONVERSION", named(m.GetConversionName()))
		b.function(routine(m.GetFuncName()))
	case *tree.CreateTransformStmt:
		b.create("TRANSFORM", named(m.GetTypeName().GetNames()))
		b.optionIf(m.GetReplace(), "OR REPLACE")
		b.option("LANGUAGE " + m.GetLang())
		b.function(routine(m.GetFromsql().GetObjname()))
		b.function(routine(m.GetTosql().GetObjname()))
	case *tree.CreateOpClassStmt:
		b.create("OPERATOR CLASS", named(m.GetOpclassname()))
		b.operatorItems(m.GetItems())
	case *tree.CreateOpFamilyStmt:
		b.create("OPERATOR FAMILY", named(m.GetOpfamilyname()))
	case *tree.CreatePLangStmt:
		b.create("LANGUAGE", event.Object{Name: m.GetPlname()})
		b.optionIf(m.GetReplace(), "OR REPLACE")
	case *tree.CreateAmStmt:
		b.create("ACCESS METHOD", event.Object{Name: m.GetAmname()})
		b.function(routine(m.GetHandlerName()))
	case *tree.CreateEventTrigStmt:
		b.kind("CREATE EVENT TRIGGER")
		b.name(m.GetTrigname())
		b.function(routine(m.GetFuncname()))
	default:
		return b.installation(m)
	}
	return true
}

// installation takes the statements that create what belongs to the database
// or the cluster rather than to a schema.
func (b *builder) installation(m proto.Message) bool {
	switch m := m.(type) {
	case *tree.CreateExtensionStmt:
		b.create("EXTENSION", event.Object{Name: m.GetExtname()})
		b.optionIf(m.GetIfNotExists(), "IF NOT EXISTS")
	case *tree.CreateFdwStmt:
		b.create("FOREIGN DATA WRAPPER", event.Object{Name: m.GetFdwname()})
	case *tree.CreateForeignServerStmt:
		b.create("SERVER", event.Object{Name: m.GetServername()})
		b.optionIf(m.GetIfNotExists(), "IF NOT EXISTS")
	case *tree.CreateUserMappingStmt:
		b.create("USER MAPPING", event.Object{Name: m.GetServername()})
		b.role(m.GetUser())
	case *tree.CreatePublicationStmt:
		b.create("PUBLICATION", event.Object{Name: m.GetPubname()})
		b.optionIf(m.GetForAllTables(), "FOR ALL TABLES")
		b.visitAll(m.GetPubobjects())
	case *tree.CreateSubscriptionStmt:
		b.create("SUBSCRIPTION", event.Object{Name: m.GetSubname()})
	case *tree.CreatedbStmt:
		b.create("DATABASE", event.Object{Name: m.GetDbname()})
	case *tree.CreateTableSpaceStmt:
		b.create("TABLESPACE", event.Object{Name: m.GetTablespacename()})
		b.role(m.GetOwner())
	case *tree.CreateRoleStmt:
		b.kind("CREATE ROLE")
		b.name(m.GetRole())
		b.roleOptions(m.GetOptions())
	case *tree.ImportForeignSchemaStmt:
		b.kind("IMPORT FOREIGN SCHEMA")
		b.writes(event.Object{Name: m.GetLocalSchema()})
		b.name(m.GetServerName())
	default:
		return false
	}
	return true
}

func (b *builder) create(class string, o event.Object) {
	b.kind("CREATE " + class)
	b.writes(o)
}

// definitionFunctions takes the functions that a definition refers to, as in
// CREATE OPERATOR (FUNCTION = f) and CREATE AGGREGATE (SFUNC = f). What else
// has names, such as types, is taken too: a list cannot tell.
func (b *builder) definitionFunctions(options []*tree.Node) {
	for _, n := range options {
		d := n.GetDefElem()
		if t := d.GetArg().GetTypeName(); t != nil && definesFunction(d.GetDefname()) {
			b.function(routine(t.GetNames()))
		}
	}
}

func definesFunction(option string) bool {
	switch option {
	case "procedure", "function", "restrict", "join", "sfunc", "finalfunc", "combinefunc", "serialfunc",
		"deserialfunc", "msfunc", "minvfunc", "mfinalfunc", "input", "output", "receive", "send",
		"typmod_in", "typmod_out", "analyze", "subscript", "canonical", "subtype_diff",
		"start", "gettoken", "end", "lextypes", "headline", "init", "lexize":
		return true
	}
	return false
}

func (b *builder) operatorItems(items []*tree.Node) {
	const functionItem = 2
	for _, n := range items {
		if i := n.GetCreateOpClassItem(); i.GetItemtype() == functionItem {
			b.function(routine(i.GetName().GetObjname()))
		}
	}
}

func (b *builder) createTable(s *tree.CreateStmt) {
	b.target(s.GetRelation())
	b.optionIf(s.GetIfNotExists(), "IF NOT EXISTS")
	like := func(n *tree.Node) bool { return n.GetTableLikeClause() != nil }
	b.optionIf(len(s.GetInhRelations()) > 0 || slices.ContainsFunc(s.GetTableElts(), like), "LIKE")
	b.visitAll(s.GetInhRelations(), s.GetTableElts(), s.GetConstraints())
	if s.GetPartspec() != nil {
		b.visit(s.GetPartspec())
	}
	if s.GetPartbound() != nil {
		b.visit(s.GetPartbound())
		b.option("PARTITION OF")
	}
}

func (b *builder) createTableAs(s *tree.CreateTableAsStmt) {
	switch {
	case s.GetObjtype() == tree.ObjectType_OBJECT_MATVIEW:
		b.kind("CREATE MATERIALIZED VIEW")
	case s.GetIsSelectInto():
		b.kind("SELECT INTO")
	default:
		b.kind("CREATE TABLE AS")
	}
	b.target(s.GetInto().GetRel())
	b.optionIf(s.GetIfNotExists(), "IF NOT EXISTS")
	b.optionIf(s.GetInto().GetSkipData(), "WITH NO DATA")
	b.contains(s.GetQuery(), "as", !s.GetInto().GetSkipData())
}

func (b *builder) createView(s *tree.ViewStmt) {
	b.kind("CREATE VIEW")
	b.target(s.GetView())
	b.optionIf(s.GetReplace(), "OR REPLACE")
	b.optionIf(s.GetWithCheckOption() > tree.ViewCheckOption_NO_CHECK_OPTION, "WITH CHECK OPTION")
	b.contains(s.GetQuery(), "view", false)
}

func (b *builder) createIndex(s *tree.IndexStmt) {
	b.kind("CREATE INDEX")
	b.target(s.GetRelation())
	b.writes(event.Object{Schema: s.GetRelation().GetSchemaname(), Name: s.GetIdxname()})
	b.optionIf(s.GetConcurrent(), "CONCURRENTLY")
	b.optionIf(s.GetIfNotExists(), "IF NOT EXISTS")
	b.optionIf(s.GetUnique(), "UNIQUE")
	for _, n := range s.GetIndexParams() {
		b.column(n.GetIndexElem().GetName())
	}
	b.visitAll(s.GetIndexParams())
	b.visit(s.GetWhereClause())
}

func (b *builder) createSchema(s *tree.CreateSchemaStmt) {
	b.kind("CREATE SCHEMA")
	b.writes(event.Object{Name: s.GetSchemaname()})
	b.optionIf(s.GetIfNotExists(), "IF NOT EXISTS")
	if s.GetAuthrole() != nil {
		b.option("AUTHORIZATION")
		b.role(s.GetAuthrole())
	}
	for _, n := range s.GetSchemaElts() {
		b.contains(n, "schema", true)
	}
}

func (b *builder) createTrigger(s *tree.CreateTrigStmt) {
	b.kind("CREATE TRIGGER")
	b.target(s.GetRelation())
	b.name(s.GetTrigname())
	b.function(routine(s.GetFuncname()))
	b.optionIf(s.GetReplace(), "OR REPLACE")
	b.optionIf(s.GetIsconstraint(), "CONSTRAINT")
	b.optionIf(s.GetTiming() == triggerInstead, "INSTEAD")
	b.visit(s.GetWhenClause())
}

// triggerInstead is the timing of INSTEAD OF triggers.
const triggerInstead = 1 << 6

func (b *builder) createRule(s *tree.RuleStmt) {
	b.kind("CREATE RULE")
	b.target(s.GetRelation())
	b.name(s.GetRulename())
	b.optionIf(s.GetReplace(), "OR REPLACE")
	b.optionIf(s.GetInstead(), "INSTEAD")
	b.visit(s.GetWhereClause())
	for _, n := range s.GetActions() {
		b.contains(n, "rule", false)
	}
}

// objectKinds are the classes of objects whose name in the grammar is not that
// of the enumeration.
var objectKinds = map[tree.ObjectType]string{
	tree.ObjectType_OBJECT_MATVIEW:         "MATERIALIZED VIEW",
	tree.ObjectType_OBJECT_OPCLASS:         "OPERATOR CLASS",
	tree.ObjectType_OBJECT_OPFAMILY:        "OPERATOR FAMILY",
	tree.ObjectType_OBJECT_FDW:             "FOREIGN DATA WRAPPER",
	tree.ObjectType_OBJECT_FOREIGN_SERVER:  "SERVER",
	tree.ObjectType_OBJECT_LARGEOBJECT:     "LARGE OBJECT",
	tree.ObjectType_OBJECT_STATISTIC_EXT:   "STATISTICS",
	tree.ObjectType_OBJECT_TSCONFIGURATION: "TEXT SEARCH CONFIGURATION",
	tree.ObjectType_OBJECT_TSDICTIONARY:    "TEXT SEARCH DICTIONARY",
	tree.ObjectType_OBJECT_TSPARSER:        "TEXT SEARCH PARSER",
	tree.ObjectType_OBJECT_TSTEMPLATE:      "TEXT SEARCH TEMPLATE",
	tree.ObjectType_OBJECT_TABCONSTRAINT:   "TABLE",
	tree.ObjectType_OBJECT_DOMCONSTRAINT:   "DOMAIN",
	tree.ObjectType_OBJECT_ATTRIBUTE:       "TYPE",
	tree.ObjectType_OBJECT_COLUMN:          "TABLE",
	tree.ObjectType_OBJECT_PARAMETER_ACL:   "PARAMETER",
}

func objectKind(t tree.ObjectType) string {
	if kind, ok := objectKinds[t]; ok {
		return kind
	}
	return strings.ReplaceAll(strings.TrimPrefix(t.String(), "OBJECT_"), "_", " ")
}
