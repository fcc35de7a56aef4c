package account_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"gatehouse/core/peers"
	"gatehouse/protocols/postgres"
	"gatehouse/protocols/postgres/account"
)

// secret is what every way of reading the protected columns shows.
const secret = "SSN-4711-secret"

// shop has protected columns, all of whose names begin with ssn, and what may
// show them. The role @owner owns the tables; @role holds privileges for others.
const shop = `
CREATE ROLE @owner; CREATE ROLE @role; CREATE ROLE @chief SUPERUSER;
GRANT CREATE ON SCHEMA public TO @owner;
SET ROLE @owner;
CREATE TABLE public.customers (id int PRIMARY KEY, name text, email text, ssn text);
INSERT INTO public.customers SELECT g, 'name ' || g, 'mail', '` + secret + `' FROM generate_series(1, 20) g;
CREATE TABLE public.orders (id serial PRIMARY KEY, customer int, note text);
INSERT INTO public.orders (customer, note) VALUES (1, 'a note');
CREATE TABLE public.payroll (year int, ssn text) PARTITION BY LIST (year);
CREATE TABLE public.payroll_2024 PARTITION OF public.payroll FOR VALUES IN (2024);
INSERT INTO public.payroll VALUES (2024, '` + secret + `');
CREATE VIEW public.customers_v AS SELECT id, ssn AS tax_id, name FROM public.customers;
CREATE VIEW public.over_v AS SELECT tax_id AS t FROM public.customers_v;
CREATE VIEW public.labels AS SELECT id, name || ssn AS label FROM public.customers;
CREATE VIEW public.whole AS SELECT id, c AS r FROM public.customers c;
CREATE VIEW public.unions AS SELECT name FROM public.customers UNION ALL SELECT ssn FROM public.customers;
CREATE VIEW public.names AS SELECT id, name FROM public.customers;
CREATE VIEW public.invoked WITH (security_invoker = true) AS SELECT ssn AS s FROM public.customers;
CREATE MATERIALIZED VIEW public.kept AS SELECT id, ssn FROM public.customers;
CREATE FUNCTION public.reveal(int) RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT ssn FROM public.customers WHERE id = $1';
CREATE FUNCTION public.twice(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2';
REVOKE EXECUTE ON FUNCTION public.reveal(int) FROM PUBLIC;
RESET ROLE;
CREATE SCHEMA "x""; DROP TABLE public.orders; --" AUTHORIZATION @owner;
CREATE TABLE "x""; DROP TABLE public.orders; --"."t` + "\n" + `\! touch /tmp/no ' :x" (id int, "ssn"", id) TO PUBLIC; --` + "\n" + `x" text);
INSERT INTO "x""; DROP TABLE public.orders; --"."t` + "\n" + `\! touch /tmp/no ' :x" VALUES (1, '` + secret + `');
ALTER TABLE "x""; DROP TABLE public.orders; --"."t` + "\n" + `\! touch /tmp/no ' :x" OWNER TO @owner;
ANALYZE public.customers;
`

// usual is what an account may do that is neither owner nor superuser.
const usual = `
GRANT USAGE ON SCHEMA public TO @account;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.customers, public.orders TO @account;
GRANT SELECT ON public.names, public.customers_v TO @account;
GRANT USAGE ON SEQUENCE public.orders_id_seq TO @account;
`

// A scenario is a way in which an account can read what is protected.
type scenario struct {
	sql  string // after shop
	want string // a finding
	// owner is whether that makes privileges meaningless.
	owner bool
}

var scenarios = map[string]scenario{
	"superuser": {`ALTER ROLE @account SUPERUSER CREATEROLE REPLICATION`, "has the attribute SUPERUSER", true},
	"owner": {`GRANT @owner TO @account; ALTER TABLE public.customers OWNER TO @account; ALTER TABLE public.orders OWNER TO @account; ALTER VIEW public.names OWNER TO @account;
		ALTER MATERIALIZED VIEW public.kept OWNER TO @account; ALTER VIEW public.customers_v OWNER TO @account; REVOKE @owner FROM @account`, "owns public.customers (ssn)", true},
	"member of the owner":       {usual + `GRANT @owner TO @account`, "is a member of @owner, which owns public.customers (ssn)", true},
	"member of a superuser":     {usual + `GRANT @chief TO @role; GRANT @role TO @account`, "is a member of @chief, which has the attribute SUPERUSER", true},
	"privilege":                 {usual, "may SELECT public.customers (ssn)", false},
	"privilege of the column":   {usual + `REVOKE SELECT ON public.customers FROM @account; GRANT SELECT (id, name, ssn), REFERENCES (ssn), TRIGGER ON public.customers TO @account`, "may SELECT public.customers (ssn)", false},
	"privilege of others":       {usual + `GRANT SELECT ON public.customers TO @role WITH GRANT OPTION; SET ROLE @role; GRANT SELECT ON public.customers TO @account; RESET ROLE; REVOKE SELECT ON public.orders FROM @account; GRANT SELECT ON public.orders TO PUBLIC`, "may SELECT public.customers (ssn)", false},
	"PUBLIC":                    {usual + `REVOKE SELECT ON public.customers FROM @account; GRANT SELECT ON ALL TABLES IN SCHEMA public TO PUBLIC; GRANT CREATE ON SCHEMA public TO PUBLIC`, "may, as PUBLIC, SELECT public.payroll_2024 (ssn)", false},
	"role":                      {`GRANT USAGE ON SCHEMA public TO @role; GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO @role; GRANT ALL ON ALL TABLES IN SCHEMA public TO @role; GRANT @role TO @account`, "is a member of @role, which may SELECT public.kept (ssn)", false},
	"role that grants roles":    {usual + `GRANT SELECT ON public.customers TO @role; CREATE ROLE @boss; GRANT @role TO @boss WITH ADMIN OPTION; SET ROLE @boss; GRANT @role TO @account; RESET ROLE`, "is a member of @role, which may SELECT public.customers (ssn)", false},
	"pg_read_all_data":          {usual + `REVOKE SELECT ON ALL TABLES IN SCHEMA public FROM @account; GRANT pg_read_all_data, pg_monitor TO @account`, "is a member of pg_read_all_data, which is predefined", false},
	"view":                      {usual + `GRANT SELECT ON public.labels, public.whole, public.over_v, public.unions, public.invoked TO @account`, "may SELECT public.unions (name), a view that reads protected columns with the rights of @owner", false},
	"security definer function": {usual + `GRANT EXECUTE ON FUNCTION public.reveal(int) TO PUBLIC`, "may, as PUBLIC, EXECUTE public.reveal(integer), which runs with the rights of @owner", false},
	"server files":              {usual + `GRANT EXECUTE ON FUNCTION pg_read_binary_file(text), pg_read_file(text), lo_import(text) TO @account`, "may EXECUTE pg_read_binary_file(text)", false},
	"statistics":                {usual + `GRANT SELECT ON pg_catalog.pg_statistic TO @account`, "may SELECT pg_catalog.pg_statistic", false},
	"trigger":                   {usual + `CREATE FUNCTION public.spy() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER spy BEFORE INSERT ON public.customers FOR EACH ROW EXECUTE FUNCTION public.spy(); ALTER FUNCTION public.spy() OWNER TO @account`, "owns function public.spy(), a trigger of public.customers (ssn)", false},
}

// differ are the scenarios that also run on the newest version: roles and their
// memberships are not what they were, and it has further privileges.
var differ = []string{"superuser", "owner", "member of the owner", "PUBLIC", "role that grants roles", "pg_read_all_data", "view"}

// A lab is a database with an account.
type lab struct {
	server                   *peers.Postgres
	database, user, password string
	id                       string            // that the names of its roles begin with
	names                    *strings.Replacer // of the roles in SQL
}

func newLab(t *testing.T, version int, sql, suffix string) *lab {
	t.Helper()
	l := &lab{server: peers.SharedPostgres(t, version), password: rand.Text()}
	l.id = "r" + strings.ToLower(rand.Text()[:10])
	id := l.id
	l.user = id + "agent" + suffix
	if err := l.server.CreateRole(t.Context(), l.user, l.password, "scram-sha-256"); err != nil {
		t.Fatal(err)
	}
	l.names = strings.NewReplacer("@account", pgx.Identifier{l.user}.Sanitize(), "@owner", id+"owner", "@role", id+"role", "@chief", id+"chief", "@boss", id+"boss")
	l.database = l.server.NewDatabase(t, l.names.Replace(shop))
	l.superuser(t, l.names.Replace(sql))
	l.superuser(t, "CHECKPOINT")
	return l
}

func (l *lab) superuser(t *testing.T, sql string) {
	t.Helper()
	if err := l.server.Exec(t.Context(), l.database, sql); err != nil {
		t.Fatalf("%v\n%s", err, sql)
	}
}

func (l *lab) audit(t *testing.T, keeps string) *account.Report {
	t.Helper()
	r := &postgres.Resource{Name: "orders", Host: peers.Host, Port: uint16(l.server.Port), User: l.user, Password: l.password, Database: l.database, SSLMode: "disable"}
	report, err := r.Audit(t.Context(), account.Policy{
		Protected: func(column string) bool { return strings.Contains(column, ".ssn") },
		Keeps: func(database, column string) string {
			if keeps != "" && column == keeps && database == l.database {
				return "of a test"
			}
			return ""
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// harden runs the script of a report with psql, as an administrator would.
func (l *lab) harden(t *testing.T, report *account.Report) string {
	t.Helper()
	var script bytes.Buffer
	if err := report.Script(&script); err != nil {
		t.Fatal(err)
	}
	psql, err := peers.Program("psql")
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "-", l.server.URL("postgres"))
	c.Stdin = bytes.NewReader(script.Bytes())
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("psql: %v\n%s\n%s", err, out, script.String())
	}
	return script.String()
}

// state is all that says who may do what.
func (l *lab) state(t *testing.T) string {
	t.Helper()
	return speak(t, l.server.URL(l.database)).ask(t, `
		SELECT kind, name, owner::text, (SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(acl) a) FROM (
			SELECT 'r' AS kind, oid::regclass::text AS name, relowner AS owner, relacl AS acl FROM pg_class UNION ALL
			SELECT 'a', attrelid::regclass || '.' || attname, 0, attacl FROM pg_attribute WHERE attacl IS NOT NULL UNION ALL
			SELECT 'n', nspname, nspowner, nspacl FROM pg_namespace UNION ALL
			SELECT 'f', oid::regprocedure::text, proowner, proacl FROM pg_proc UNION ALL
			SELECT 'd', datname, datdba, datacl FROM pg_database WHERE datname = current_database()) o UNION ALL
		SELECT 'u', rolname, '', concat(rolsuper, rolcreaterole, rolreplication, rolbypassrls) FROM pg_roles WHERE rolname LIKE '`+l.id+`%' UNION ALL
		SELECT 'm', roleid::regrole::text, member::regrole::text, grantor::regrole::text FROM pg_auth_members WHERE member::regrole::text LIKE '%`+l.id+`%' ORDER BY 1, 2, 3, 4`)
}

// A voice is a connection on which all is kept that the server says.
type voice struct {
	conn *pgx.Conn
	said strings.Builder
}

func speak(t *testing.T, url string) *voice {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	v := &voice{}
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { fmt.Fprintln(&v.said, n.Message, n.Detail) }
	if v.conn, err = pgx.ConnectConfig(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.conn.Close(context.Background()) })
	return v
}

// ask returns all that the server says to SQL text: values, notices and errors.
// What the text did to the session is undone.
func (v *voice) ask(t *testing.T, sql string) string {
	t.Helper()
	v.said.Reset()
	pg := v.conn.PgConn()
	var err error
	if strings.HasPrefix(sql, "COPY") {
		_, err = pg.CopyTo(t.Context(), &v.said, sql)
	} else {
		results := pg.Exec(t.Context(), sql)
		for results.NextResult() {
			for rows := results.ResultReader(); rows.NextRow(); {
				fmt.Fprintf(&v.said, "%s\n", bytes.Join(rows.Values(), []byte("\t")))
			}
		}
		err = results.Close()
	}
	if err != nil {
		var server *pgconn.PgError
		if !errors.As(err, &server) {
			t.Fatal(err)
		}
		fmt.Fprintln(&v.said, "ERROR", server.Code, server.Message, server.Detail, server.Where)
	}
	said := v.said.String()
	for _, reset := range []string{"ROLLBACK", "RESET SESSION AUTHORIZATION", "DISCARD ALL"} {
		if _, err := pg.Exec(t.Context(), reset).ReadAll(); err != nil {
			t.Fatal(err)
		}
	}
	return said
}

// asAccount returns what answers SQL text as the account would get it.
func (l *lab) asAccount(t *testing.T) func(sql string) string {
	v := speak(t, l.server.UserURL(l.user, l.password, l.database))
	return func(sql string) string { return v.ask(t, l.names.Replace(sql)) }
}

// reads are ways to read what is protected, each of which a superuser has.
var reads = []string{
	"SELECT ssn FROM customers",
	"SELECT * FROM customers",
	"TABLE customers",
	"SELECT c FROM customers c",
	"SELECT (c).ssn FROM (SELECT c FROM customers c) s",
	"SELECT to_jsonb(c) FROM customers c",
	"SELECT row_to_json(customers) FROM customers",
	"SELECT string_agg(ssn, ',') FROM customers",
	"SELECT name FROM customers UNION SELECT ssn FROM customers",
	"SELECT (SELECT ssn FROM customers c WHERE c.id = o.customer) FROM orders o",
	"WITH c AS MATERIALIZED (SELECT * FROM customers) SELECT * FROM c",
	"COPY customers TO STDOUT",
	"COPY customers (ssn) TO STDOUT (FORMAT csv)",
	"COPY (SELECT * FROM customers) TO STDOUT",
	"SELECT * FROM customers_v",
	"SELECT t FROM over_v",
	"SELECT label FROM labels",
	"SELECT r FROM whole",
	"SELECT name FROM unions",
	"SELECT s FROM invoked",
	"SELECT ssn FROM kept",
	"SELECT ssn FROM payroll",
	"SELECT ssn FROM payroll_2024",
	"SELECT reveal(1)",
	"SELECT query_to_xml('SELECT ssn FROM public.customers', true, false, '')",
	"SELECT table_to_xml('public.customers', true, false, '')",
	"SELECT database_to_xml(true, false, '')",
	"BEGIN; DECLARE c CURSOR FOR SELECT ssn FROM customers; SELECT cursor_to_xml('c', 5, true, false, '')",
	"BEGIN; DECLARE c CURSOR FOR SELECT ssn FROM customers; FETCH ALL c",
	"PREPARE p AS SELECT ssn FROM customers; EXECUTE p",
	"BEGIN; UPDATE customers SET name = 'x' RETURNING ssn; ROLLBACK",
	"BEGIN; UPDATE customers SET name = ssn RETURNING name; ROLLBACK",
	"BEGIN; DELETE FROM customers RETURNING *; ROLLBACK",
	"BEGIN; INSERT INTO customers (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = customers.ssn RETURNING name; ROLLBACK",
	"BEGIN; INSERT INTO orders (note) SELECT ssn FROM customers RETURNING note; ROLLBACK",
	"CREATE TEMPORARY TABLE mine AS SELECT * FROM customers; SELECT * FROM mine",
	"CREATE FUNCTION pg_temp.f() RETURNS SETOF text LANGUAGE sql AS 'SELECT ssn FROM public.customers'; SELECT pg_temp.f()",
	"CREATE TEMPORARY VIEW mine AS SELECT ssn FROM customers; SELECT * FROM mine",
	"DO $$ DECLARE v text; BEGIN SELECT ssn INTO v FROM customers LIMIT 1; RAISE NOTICE '%', v; END $$",
	"DO $$ DECLARE v text; BEGIN EXECUTE 'SELECT ssn FROM customers LIMIT 1' INTO v; RAISE EXCEPTION '%', v; END $$",
	"SELECT CAST(ssn AS int) FROM customers",
	"SELECT most_common_vals FROM pg_stats WHERE tablename = 'customers' AND attname = 'ssn'",
	"SELECT stavalues1 FROM pg_statistic WHERE starelid = 'customers'::regclass",
	"SELECT encode(pg_read_binary_file(pg_relation_filepath('customers')), 'escape')",
	"DO $$ DECLARE o oid; BEGIN o := lo_import(pg_relation_filepath('customers')); RAISE NOTICE '%', encode(lo_get(o), 'escape'); END $$",
	"SET ROLE @owner; SELECT ssn FROM customers",
	"SET ROLE @chief; SELECT ssn FROM customers",
	"SET SESSION AUTHORIZATION @chief; SELECT ssn FROM customers",
	"GRANT SELECT ON customers TO @account; SELECT ssn FROM customers",
	"GRANT @owner TO @account; SELECT ssn FROM customers",
	"BEGIN; ALTER TABLE customers RENAME ssn TO other; SELECT other FROM customers; ROLLBACK",
	"BEGIN; CREATE OR REPLACE VIEW names AS SELECT id, ssn AS name FROM customers; SELECT * FROM names; ROLLBACK",
	"BEGIN; CREATE OR REPLACE FUNCTION twice(int) RETURNS int LANGUAGE plpgsql AS $$ DECLARE v text; BEGIN SELECT ssn INTO v FROM customers LIMIT 1; RAISE NOTICE '%', v; RETURN 1; END $$; SELECT twice(1); ROLLBACK",
}

// probes tell something of a value without showing it. The server must refuse
// them.
var probes = []string{
	"SELECT count(*) FROM customers WHERE ssn LIKE 'SSN%'",
	"SELECT id FROM customers ORDER BY ssn",
	"SELECT count(*) FROM customers GROUP BY ssn",
	"SELECT count(DISTINCT ssn) FROM customers",
	"SELECT length(ssn) FROM customers",
	"SELECT id FROM customers c JOIN kept k USING (ssn)",
	"EXPLAIN SELECT id FROM customers WHERE ssn > 'SSN'",
	"UPDATE customers SET name = 'x' WHERE ssn LIKE 'T%'",
	"DELETE FROM customers WHERE ssn LIKE 'T%'",
	"CREATE TEMPORARY TABLE probe (id int REFERENCES customers)",
	"CREATE TRIGGER mine BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
	"LOCK TABLE kept; SELECT ssn FROM kept",
}

// works is what agents go on to do, and what the answer has.
var works = map[string]string{
	"SELECT id, name FROM customers WHERE id = 7":                                      "7\tname 7",
	"SELECT count(*) FROM customers":                                                   "20",
	"SELECT note FROM orders ORDER BY id LIMIT 1":                                      "a note",
	"SELECT * FROM names WHERE id = 3":                                                 "3\tname 3",
	"SELECT id, name FROM customers_v WHERE id = 4":                                    "4\tname 4",
	"SELECT twice(21)":                                                                 "42",
	"BEGIN; INSERT INTO orders (note) VALUES ('new') RETURNING note; ROLLBACK":         "new",
	"BEGIN; UPDATE customers SET name = 'x' WHERE id = 5 RETURNING id, name; ROLLBACK": "5\tx",
	"BEGIN; DELETE FROM orders WHERE customer = 1 RETURNING note; ROLLBACK":            "a note",
	"BEGIN; INSERT INTO customers VALUES (99, 'n', 'e', 's') RETURNING name; ROLLBACK": "n",
}

func TestReadsShowTheSecretToASuperuser(t *testing.T) {
	l := newLab(t, 15, scenarios["superuser"].sql, "")
	ask := l.asAccount(t)
	for _, sql := range reads {
		if got := ask(sql); !strings.Contains(got, secret) {
			t.Errorf("%s: shows nothing that hardening could take: %s", sql, got)
		}
	}
}

func TestHardenedAccounts(t *testing.T) {
	for _, version := range []int{15, 18} {
		for name, sc := range scenarios {
			if version == 18 && !slices.Contains(differ, name) {
				continue
			}
			t.Run(fmt.Sprintf("%d/%s", version, name), func(t *testing.T) {
				t.Parallel()
				testHardened(t, version, sc)
			})
		}
	}
}

// An account that may do no more than agents need has no findings.
func TestPlainAccountIsClean(t *testing.T) {
	for _, version := range []int{15, 18} {
		l := newLab(t, version, `GRANT SELECT (id, name), INSERT ON public.customers TO @account; GRANT SELECT ON public.names, public.invoked TO @account;
			GRANT SELECT (id, name) ON public.customers_v TO @account`, "")
		report := l.audit(t, "")
		if len(report.Findings) > 0 {
			t.Errorf("%d: %q", version, report.Findings)
		}
		if script := l.harden(t, report); !strings.Contains(script, "-- Nothing is to be done.") || strings.Contains(script, ";\n\n") || strings.Contains(script, "\nREVOKE") {
			t.Error(script)
		}
	}
}

func testHardened(t *testing.T, version int, sc scenario) {
	l := newLab(t, version, sc.sql, "")
	ask := l.asAccount(t)
	for sql, want := range works {
		if got := ask(sql); !strings.Contains(got, want) && !strings.Contains(sc.sql, "OWNER TO @account") {
			t.Errorf("before: %s: %s", sql, got)
		}
	}
	before := l.audit(t, "")
	if i := slices.IndexFunc(before.Findings, func(f account.Finding) bool { return strings.HasPrefix(f.Text, l.names.Replace(sc.want)) }); i < 0 {
		t.Errorf("lacks %q in %q", sc.want, before.Findings)
	} else if before.Findings[i].Owner != sc.owner {
		t.Errorf("%s: owner %t", before.Findings[i], before.Findings[i].Owner)
	}
	script := l.harden(t, before)
	first := l.state(t)
	if left := l.audit(t, "").Findings; len(left) > 0 {
		t.Errorf("left: %q\n%s", left, script)
	}
	l.harden(t, before)
	if diff := cmp.Diff(first, l.state(t)); diff != "" {
		t.Errorf("running the script twice changes something:\n%s", diff)
	}
	ask = l.asAccount(t)
	for sql, want := range works {
		if got := ask(sql); !strings.Contains(got, want) {
			t.Errorf("after: %s: %s\n%s", sql, got, script)
		}
	}
	for _, sql := range reads {
		if got := ask(sql); strings.Contains(got, secret) {
			t.Errorf("%s: shows the secret\n%s", sql, script)
		}
	}
	for _, sql := range probes {
		if got := ask(sql); !strings.Contains(got, "ERROR 42") {
			t.Errorf("%s: %s\n%s", sql, got, script)
		}
	}
}

// Names are chosen by whoever may create objects, accounts and databases: none
// of them gets out of its quotes, in SQL, in psql's commands or in comments.
func TestHostileNames(t *testing.T) {
	l := newLab(t, 15, usual, "\"; DROP ROLE postgres; --\n\\! touch /tmp/no 'x :y")
	name := `a=b "c' d\e :f ` + l.id
	quoted := pgx.Identifier{name}.Sanitize()
	l.superuser(t, "CREATE TABLE witness ()")
	if err := l.server.Exec(t.Context(), "postgres", "CREATE DATABASE "+quoted+" TEMPLATE "+l.database); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.server.DropDatabase(context.Background(), name); err != nil {
			t.Error(err)
		}
	})
	l.database = name
	l.superuser(t, l.names.Replace(usual+`GRANT SELECT ON ALL TABLES IN SCHEMA "x""; DROP TABLE public.orders; --" TO @account; GRANT USAGE ON SCHEMA "x""; DROP TABLE public.orders; --" TO @account`))
	script := l.harden(t, l.audit(t, ""))
	if left := l.audit(t, "").Findings; len(left) > 0 {
		t.Errorf("left: %q\n%s", left, script)
	}
	ask := l.asAccount(t)
	hostile := `"x""; DROP TABLE public.orders; --"."t` + "\n" + `\! touch /tmp/no ' :x"`
	if got := ask("SELECT id FROM " + hostile); got != "1\n" {
		t.Errorf("%q\n%s", got, script)
	}
	if got := ask("SELECT * FROM " + hostile); !strings.HasPrefix(got, "ERROR 42501") {
		t.Errorf("%q\n%s", got, script)
	}
	if got := ask("SELECT note FROM orders"); got != "a note\n" {
		t.Errorf("%q\n%s", got, script)
	}
}

// Databases whose names psql cannot be given in a script end it.
func TestDatabaseWithANewline(t *testing.T) {
	l := newLab(t, 15, usual, "")
	name := "a\n\\! touch /tmp/no\n" + l.id
	if err := l.server.Exec(t.Context(), "postgres", "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()+" TEMPLATE "+l.database); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.server.DropDatabase(context.Background(), name); err != nil {
			t.Error(err)
		}
	})
	l.database = name
	l.superuser(t, l.names.Replace(usual))
	before := l.state(t)
	script := l.harden(t, l.audit(t, ""))
	if !strings.Contains(script, "\n\\quit\n") || strings.Contains(script, "\n\\!") {
		t.Error(script)
	}
	if diff := cmp.Diff(before, l.state(t)); diff != "" {
		t.Error(diff)
	}
}

// What a policy clears stays readable, and the script says so.
func TestClearedColumnsStay(t *testing.T) {
	l := newLab(t, 15, usual, "")
	l.superuser(t, l.names.Replace(`GRANT SELECT ON public.payroll TO @account`))
	script := l.harden(t, l.audit(t, "public.customers.ssn"))
	if !strings.Contains(script, "-- * The account keeps, because of a test:\n--     "+l.database+": public.customers.ssn\n") {
		t.Error(script)
	}
	ask := l.asAccount(t)
	if got := ask("SELECT ssn FROM customers"); !strings.Contains(got, secret) {
		t.Errorf("cleared: %s", got)
	}
	if got := ask("SELECT ssn FROM payroll"); !strings.HasPrefix(got, "ERROR 42501") {
		t.Errorf("not cleared: %s", got)
	}
	if left := l.audit(t, "public.customers.ssn").Findings; len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	if left := l.audit(t, "").Findings; len(left) == 0 {
		t.Error("with all columns to be taken, nothing is found")
	}
}
