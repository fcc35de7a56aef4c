package account

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// A role of the server, and what it is a member of.
type role struct {
	oid                                                 uint32
	name                                                string
	super, createRole, createDB, replication, bypassRLS bool
	memberOf                                            []membership
}

type membership struct{ role, grantor uint32 }

// bootstrap is the OID of the superuser that initdb made. Nobody can take that
// from it.
const bootstrap = 10

// A grant is an element of an access control list.
type grant struct {
	grantor, grantee uint32 // grantee 0 is PUBLIC
	privilege        string
	column           int16 // 0: of all the object
}

// An object is something with an owner and an access control list.
type object struct {
	kind   string // as GRANT has it: "TABLE", "SEQUENCE", "ROUTINE", "SCHEMA"
	sql    string // its quoted, qualified name
	name   string // the same for people
	owner  uint32
	grants []grant
	moved  bool // gets another owner
}

// A relation is an object with columns.
type relation struct {
	object
	oid     uint32
	schema  string
	relname string
	relkind string // of pg_class
	invoker bool   // a view that reads with the rights of who asks
	system  bool   // of the server's own that hold values
	columns []column
	ownedBy uint32 // of a sequence: the table that it goes with
	shut    bool   // reading its closed columns shows what is protected
}

type column struct {
	number  int16
	name    string
	taken   bool   // protected, and not kept
	derived bool   // may show one that is
	kept    string // protected, but kept: why
}

// A database is what was read of one.
type database struct {
	name      string
	self      object // the database itself
	relations []*relation
	byOID     map[uint32]*relation
	schemas   []*object
	routines  []*routine
	servers   []*object // foreign servers and wrappers
	triggers  []trigger

	before, after *reach // of the account, now and once the script ran
	revokes       []revoke
}

// A revoke takes privileges of an object from the account and from PUBLIC.
type revoke struct {
	object     *object
	relation   *relation // where it is one
	privileges []string
	why        string
}

// A routine is one that the account should perhaps not execute.
type routine struct {
	object
	definer bool // runs as its owner
}

// A trigger of a relation whose function the account owns.
type trigger struct {
	relation uint32
	function object
}

// systemValues are relations of the server's own that hold values or secrets,
// and that nobody but superusers can read unless somebody granted it.
const systemValues = `'pg_statistic', 'pg_statistic_ext_data', 'pg_authid', 'pg_shadow', 'pg_user_mapping', 'pg_largeobject', 'pg_hba_file_rules', 'pg_file_settings'`

// dangerous are functions of the server's own that read or write its files.
const dangerous = `'pg_read_file', 'pg_read_binary_file', 'pg_ls_dir', 'pg_stat_file', 'pg_ls_logdir', 'pg_ls_waldir', 'pg_ls_tmpdir',
	'pg_ls_archive_statusdir', 'pg_ls_logicalsnapdir', 'pg_ls_logicalmapdir', 'pg_ls_replslotdir', 'pg_ls_summariesdir', 'pg_current_logfile',
	'lo_import', 'lo_export', 'pg_file_write', 'pg_file_read', 'pg_file_rename', 'pg_file_unlink', 'pg_file_sync', 'pg_logdir_ls',
	'pg_hba_file_rules', 'pg_show_all_file_settings', 'pg_get_backend_memory_contexts'`

// extensions are those whose functions do so, read the log, or reach other
// servers.
const extensions = `'dblink', 'pg_walinspect', 'adminpack', 'pg_surgery'`

const userSchema = `n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND n.nspname !~ '^pg_(toast_)?temp_'`

// load reads the catalogue, and the server's roles with the first database.
func (d *database) load(ctx context.Context, conn *pgx.Conn, r *Report) error {
	if r.self == nil {
		if err := r.loadRoles(ctx, conn); err != nil {
			return err
		}
	}
	for _, load := range []func(context.Context, *pgx.Conn) error{d.loadDatabase, d.loadRelations, d.loadSchemas, d.loadRoutines, d.loadServers} {
		if err := load(ctx, conn); err != nil {
			return err
		}
	}
	return d.loadTriggers(ctx, conn, r.self.oid)
}

// each scans every row of a query into dest and calls f.
func each(ctx context.Context, conn *pgx.Conn, sql string, args []any, dest []any, f func() error) error {
	rows, err := conn.Query(ctx, sql, args...)
	if err == nil {
		_, err = pgx.ForEachRow(rows, dest, f)
	}
	return err
}

func (r *Report) loadRoles(ctx context.Context, conn *pgx.Conn) error {
	r.roles = make(map[uint32]*role)
	var n role
	err := each(ctx, conn, `SELECT oid, rolname, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_catalog.pg_roles`, nil,
		[]any{&n.oid, &n.name, &n.super, &n.createRole, &n.createDB, &n.replication, &n.bypassRLS}, func() error {
			one := n
			r.roles[n.oid] = &one
			return nil
		})
	if err != nil {
		return err
	}
	var m membership
	var member uint32
	err = each(ctx, conn, `SELECT roleid, member, grantor FROM pg_catalog.pg_auth_members ORDER BY 1, 2, 3`, nil, []any{&m.role, &member, &m.grantor}, func() error {
		if of := r.roles[member]; of != nil {
			of.memberOf = append(of.memberOf, m)
		}
		return nil
	})
	if err != nil {
		return err
	}
	var self uint32
	if err := conn.QueryRow(ctx, `SELECT u.oid, pg_catalog.current_setting('server_version_num')::pg_catalog.int4
		FROM pg_catalog.pg_roles u WHERE u.rolname = session_user`).Scan(&self, &r.version); err != nil {
		return err
	}
	if r.self = r.roles[self]; r.self == nil {
		return fmt.Errorf("there is no role %d", self)
	}
	r.Account = r.self.name
	return nil
}

// aclSQL turns an access control list, or what stands for none, into rows.
func aclSQL(list, kind, owner string) string {
	return "pg_catalog.aclexplode(COALESCE(" + list + ", pg_catalog.acldefault(" + kind + ", " + owner + "))) g"
}

// loadGrants adds the grants of a query, which has a key in the first place, to
// the objects that it stands for.
func loadGrants[K comparable](ctx context.Context, conn *pgx.Conn, sql string, of func(K) *object) error {
	var key K
	var g grant
	return each(ctx, conn, sql, nil, []any{&key, &g.column, &g.grantor, &g.grantee, &g.privilege}, func() error {
		if o := of(key); o != nil {
			o.grants = append(o.grants, g)
		}
		return nil
	})
}

func (d *database) loadDatabase(ctx context.Context, conn *pgx.Conn) error {
	d.self = object{kind: "DATABASE", sql: quoted(d.name), name: printable(d.name)}
	if err := conn.QueryRow(ctx, `SELECT datdba FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()`).Scan(&d.self.owner); err != nil {
		return err
	}
	return loadGrants(ctx, conn, `SELECT d.oid, 0::int2, g.grantor, g.grantee, g.privilege_type
		FROM pg_catalog.pg_database d, `+aclSQL("d.datacl", "'d'", "d.datdba")+` WHERE d.datname = pg_catalog.current_database()`,
		func(uint32) *object { return &d.self })
}

func (d *database) loadRelations(ctx context.Context, conn *pgx.Conn) error {
	d.byOID = make(map[uint32]*relation)
	const from = ` FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND (` + userSchema + ` OR n.nspname = 'pg_catalog' AND c.relname IN (` + systemValues + `))`
	var n relation
	err := each(ctx, conn, `SELECT c.oid, n.nspname, c.relname, c.relkind::text, c.relowner, n.nspname = 'pg_catalog',
			EXISTS (SELECT FROM pg_catalog.unnest(c.reloptions) o WHERE o IN ('security_invoker=true', 'security_invoker=on', 'security_invoker=yes', 'security_invoker=1')),
			COALESCE((SELECT max(s.refobjid) FROM pg_catalog.pg_depend s WHERE c.relkind = 'S' AND s.objid = c.oid
				AND s.classid = 'pg_catalog.pg_class'::regclass AND s.refclassid = 'pg_catalog.pg_class'::regclass AND s.deptype IN ('a', 'i')), 0)`+
		from+` ORDER BY 2, 3`, nil,
		[]any{&n.oid, &n.schema, &n.relname, &n.relkind, &n.owner, &n.system, &n.invoker, &n.ownedBy}, func() error {
			one := n
			one.kind, one.sql, one.name = "TABLE", quoted(n.schema, n.relname), printable(n.schema+"."+n.relname)
			if n.relkind == "S" {
				one.kind = "SEQUENCE"
			}
			d.relations, d.byOID[n.oid] = append(d.relations, &one), &one
			return nil
		})
	if err != nil {
		return err
	}
	var of uint32
	var c column
	err = each(ctx, conn, `SELECT a.attrelid, a.attnum, a.attname FROM pg_catalog.pg_attribute a JOIN (SELECT c.oid`+from+`) c ON c.oid = a.attrelid
		WHERE a.attnum > 0 AND NOT a.attisdropped ORDER BY 1, 2`, nil, []any{&of, &c.number, &c.name}, func() error {
		if r := d.byOID[of]; r != nil && r.relkind != "S" {
			r.columns = append(r.columns, c)
		}
		return nil
	})
	if err != nil {
		return err
	}
	relation := func(oid uint32) *object {
		if r := d.byOID[oid]; r != nil {
			return &r.object
		}
		return nil
	}
	err = loadGrants(ctx, conn, `SELECT c.oid, 0::int2, g.grantor, g.grantee, g.privilege_type FROM pg_catalog.pg_class c, `+
		aclSQL("c.relacl", `CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char"`, "c.relowner"), relation)
	if err != nil {
		return err
	}
	return loadGrants(ctx, conn, `SELECT a.attrelid, a.attnum, g.grantor, g.grantee, g.privilege_type
		FROM pg_catalog.pg_attribute a, pg_catalog.aclexplode(a.attacl) g WHERE a.attacl IS NOT NULL AND a.attnum > 0`, relation)
}

func (d *database) loadSchemas(ctx context.Context, conn *pgx.Conn) error {
	byName := make(map[string]*object)
	var name string
	var owner uint32
	err := each(ctx, conn, `SELECT n.nspname, n.nspowner FROM pg_catalog.pg_namespace n WHERE `+userSchema+` ORDER BY 1`, nil, []any{&name, &owner}, func() error {
		byName[name] = &object{kind: "SCHEMA", sql: quoted(name), name: printable(name), owner: owner}
		d.schemas = append(d.schemas, byName[name])
		return nil
	})
	if err != nil {
		return err
	}
	return loadGrants(ctx, conn, `SELECT n.nspname, 0::int2, g.grantor, g.grantee, g.privilege_type FROM pg_catalog.pg_namespace n, `+
		aclSQL("n.nspacl", "'n'", "n.nspowner"), func(name string) *object { return byName[name] })
}

// loadRoutines reads those that run as somebody else, and those that reach
// files, pages or other servers.
func (d *database) loadRoutines(ctx context.Context, conn *pgx.Conn) error {
	byOID := make(map[uint32]*object)
	var oid uint32
	var n routine
	const where = ` FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
		WHERE p.prosecdef AND ` + userSchema + `
		OR n.nspname = 'pg_catalog' AND p.proname IN (` + dangerous + `)
		OR EXISTS (SELECT FROM pg_catalog.pg_depend e JOIN pg_catalog.pg_extension x ON x.oid = e.refobjid
			WHERE e.classid = 'pg_catalog.pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e'
			AND e.refclassid = 'pg_catalog.pg_extension'::regclass AND x.extname IN (` + extensions + `))`
	err := each(ctx, conn, `SELECT p.oid, p.oid::regprocedure::text, p.proowner, p.prosecdef`+where+` ORDER BY 2`, nil,
		[]any{&oid, &n.sql, &n.owner, &n.definer}, func() error {
			one := n
			one.kind, one.name = "ROUTINE", printable(n.sql)
			d.routines = append(d.routines, &one)
			byOID[oid] = &one.object
			return nil
		})
	if err != nil {
		return err
	}
	return loadGrants(ctx, conn, `SELECT p.oid, 0::int2, g.grantor, g.grantee, g.privilege_type FROM pg_catalog.pg_proc p, `+
		aclSQL("p.proacl", "'f'", "p.proowner"), func(oid uint32) *object { return byOID[oid] })
}

func (d *database) loadServers(ctx context.Context, conn *pgx.Conn) error {
	for _, of := range []struct{ kind, table, prefix, acl string }{
		{"FOREIGN SERVER", "pg_foreign_server", "srv", "'S'"}, {"FOREIGN DATA WRAPPER", "pg_foreign_data_wrapper", "fdw", "'F'"},
	} {
		byName := make(map[string]*object)
		var name string
		var owner uint32
		err := each(ctx, conn, fmt.Sprintf("SELECT s.%[2]sname, s.%[2]sowner FROM pg_catalog.%[1]s s ORDER BY 1", of.table, of.prefix), nil, []any{&name, &owner}, func() error {
			byName[name] = &object{kind: of.kind, sql: quoted(name), name: printable(name), owner: owner}
			d.servers = append(d.servers, byName[name])
			return nil
		})
		if err != nil {
			return err
		}
		err = loadGrants(ctx, conn, fmt.Sprintf("SELECT s.%[2]sname, 0::int2, g.grantor, g.grantee, g.privilege_type FROM pg_catalog.%[1]s s, ", of.table, of.prefix)+
			aclSQL("s."+of.prefix+"acl", of.acl, "s."+of.prefix+"owner"), func(name string) *object { return byName[name] })
		if err != nil {
			return err
		}
	}
	return nil
}

// loadTriggers reads the triggers that run functions of the account: they see
// each row that others write.
func (d *database) loadTriggers(ctx context.Context, conn *pgx.Conn, self uint32) error {
	t := trigger{function: object{kind: "FUNCTION", owner: self}}
	return each(ctx, conn, `SELECT t.tgrelid, p.oid::regprocedure::text FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
		WHERE NOT t.tgisinternal AND p.proowner = $1 ORDER BY 2, 1`, []any{self}, []any{&t.relation, &t.function.sql}, func() error {
		t.function.name = printable(t.function.sql)
		d.triggers = append(d.triggers, t)
		return nil
	})
}
