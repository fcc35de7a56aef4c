package statement

import (
	"strings"

	tree "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"
)

// privilege takes the statements on roles and privileges.
func (b *builder) privilege(m proto.Message) bool {
	switch m := m.(type) {
	case *tree.GrantStmt:
		b.kind("GRANT")
		b.grant(m)
	case *tree.GrantRoleStmt:
		b.kind("GRANT ROLE")
		if !m.GetIsGrant() {
			b.kind("REVOKE ROLE")
		}
		for _, n := range m.GetGrantedRoles() {
			b.name(n.GetAccessPriv().GetPrivName())
		}
		b.roles(m.GetGranteeRoles())
		b.cascade(m.GetBehavior())
	case *tree.AlterDefaultPrivilegesStmt:
		b.grant(m.GetAction())
		b.kind("ALTER DEFAULT PRIVILEGES")
	case *tree.AlterRoleStmt:
		b.kind("ALTER ROLE")
		b.role(m.GetRole())
		b.roleOptions(m.GetOptions())
	case *tree.AlterRoleSetStmt:
		b.kind("ALTER ROLE")
		b.role(m.GetRole())
		b.setVariable(m.GetSetstmt())
	case *tree.DropRoleStmt:
		b.kind("DROP ROLE")
		b.roles(m.GetRoles())
		b.optionIf(m.GetMissingOk(), "IF EXISTS")
	case *tree.DropOwnedStmt:
		b.kind("DROP OWNED")
		b.roles(m.GetRoles())
		b.cascade(m.GetBehavior())
	case *tree.ReassignOwnedStmt:
		b.kind("REASSIGN OWNED")
		b.roles(m.GetRoles())
		b.role(m.GetNewrole())
	default:
		return false
	}
	return true
}

// grant takes GRANT and REVOKE of privileges.
func (b *builder) grant(s *tree.GrantStmt) {
	if !s.GetIsGrant() {
		b.kind("REVOKE")
		b.option("REVOKE")
	}
	if len(s.GetPrivileges()) == 0 {
		b.option("ALL")
	}
	for _, n := range s.GetPrivileges() {
		p := n.GetAccessPriv()
		b.option(strings.ToUpper(p.GetPrivName()))
		b.optionIf(p.GetPrivName() == "", "ALL")
		for _, c := range texts(p.GetCols()) {
			b.column(c)
		}
	}
	b.option("ON " + objectKind(s.GetObjtype()))
	b.optionIf(s.GetTargtype() == tree.GrantTargetType_ACL_TARGET_ALL_IN_SCHEMA, "ALL IN SCHEMA")
	b.optionIf(s.GetGrantOption(), "WITH GRANT OPTION")
	b.cascade(s.GetBehavior())
	for _, n := range s.GetObjects() {
		if r := n.GetRangeVar(); r != nil {
			b.target(r)
		} else {
			b.dropped(s.GetObjtype(), n)
		}
	}
	b.roles(s.GetGrantees())
}

// role takes a role that a statement names.
func (b *builder) role(r *tree.RoleSpec) {
	switch r.GetRoletype() {
	case tree.RoleSpecType_ROLESPEC_CSTRING:
		b.name(r.GetRolename())
	case tree.RoleSpecType_ROLESPEC_PUBLIC:
		b.name("public")
	case tree.RoleSpecType_ROLESPEC_CURRENT_ROLE:
		b.name("current_role")
	case tree.RoleSpecType_ROLESPEC_CURRENT_USER:
		b.name("current_user")
	case tree.RoleSpecType_ROLESPEC_SESSION_USER:
		b.name("session_user")
	}
}

func (b *builder) roles(list []*tree.Node) {
	for _, n := range list {
		b.role(n.GetRoleSpec())
	}
}

// roleSwitches are the options of roles that are on or off.
var roleSwitches = map[string]string{
	"superuser": "SUPERUSER", "createrole": "CREATEROLE", "createdb": "CREATEDB", "canlogin": "LOGIN",
	"inherit": "INHERIT", "isreplication": "REPLICATION", "bypassrls": "BYPASSRLS",
}

func (b *builder) roleOptions(options []*tree.Node) {
	for _, n := range options {
		d := n.GetDefElem()
		word, isSwitch := roleSwitches[d.GetDefname()]
		switch {
		case isSwitch && mayBeTrue(d.GetArg()):
			b.option(word)
		case isSwitch:
			b.option("NO" + word)
		case d.GetDefname() == "connectionlimit":
			b.option("CONNECTION LIMIT")
		case d.GetDefname() == "validUntil":
			b.option("VALID UNTIL")
		default:
			b.option(strings.ToUpper(d.GetDefname())) // PASSWORD, ADDROLETO, ROLEMEMBERS, ADMINMEMBERS, SYSID
			for _, r := range d.GetArg().GetList().GetItems() {
				b.role(r.GetRoleSpec())
			}
		}
	}
}
