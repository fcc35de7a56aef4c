package main

import (
	"strings"
	"testing"

	"gatehouse/protocols/postgres/statement"
	"gatehouse/sdk"
)

// What the standard rules say of PostgreSQL's statements, as the gate reads
// them.
const corpus = `
# Harmless.
allow: SELECT 1
allow: -- nothing
allow: SELECT 'DROP TABLE orders'
allow: SELECT "drop table" FROM "truncate" -- DELETE FROM x
allow: SELECT * FROM orders WHERE id = 1 FOR UPDATE
allow: INSERT INTO orders VALUES (1)
allow: INSERT INTO orders SELECT * FROM old_orders
allow: INSERT INTO orders VALUES (1) ON CONFLICT (id) DO UPDATE SET total = 1
allow: UPDATE orders SET total = 1 WHERE id = 1
allow: DELETE FROM orders WHERE id = 1
allow: DELETE FROM orders USING customers c WHERE orders.customer_id = c.id
allow: WITH gone AS (DELETE FROM orders WHERE id = 1 RETURNING *) SELECT * FROM gone
allow: MERGE INTO orders o USING new n ON o.id = n.id WHEN MATCHED THEN UPDATE SET total = n.total
allow: BEGIN; SAVEPOINT a; ROLLBACK TO a; RELEASE a; COMMIT
allow: START TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY
allow: DEALLOCATE ALL
allow: CLOSE ALL
allow: DISCARD ALL
allow: RESET ALL
allow: SET statement_timeout = '5s'
allow: SET search_path = app, public
allow: SET client_encoding = 'UTF8'
allow: SET NAMES 'utf8'
allow: SET standard_conforming_strings = on
allow: SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY
allow: SHOW ALL
allow: CREATE TEMP TABLE t (a int)
allow: CREATE TEMP TABLE t AS SELECT 1
allow: SELECT 1 AS a INTO TEMP t
allow: ANALYZE orders
allow: VACUUM orders
allow: LISTEN x; NOTIFY x; UNLISTEN x
allow: DECLARE c CURSOR FOR SELECT 1; FETCH 1 FROM c; CLOSE c
allow: COPY orders TO STDOUT
allow: COPY (SELECT 1) TO STDOUT
allow: EXPLAIN DELETE FROM orders
allow: EXPLAIN ANALYZE SELECT 1
allow: PREPARE p AS DELETE FROM orders
allow: SELECT count(*) FROM pg_catalog.pg_class
allow: SELECT set_config('statement_timeout', '1s', true)

# R1
block destruction: DROP TABLE orders
block destruction: DROP TABLE IF EXISTS a, b CASCADE
block destruction: DROP VIEW v
block destruction: DROP INDEX CONCURRENTLY i
block destruction: DROP SCHEMA s CASCADE
block destruction: DROP DATABASE d
block destruction: DROP FUNCTION f()
block destruction: DROP ROLE r
block destruction: DROP OWNED BY r
block destruction: TRUNCATE orders
block destruction: TRUNCATE TABLE ONLY orders RESTART IDENTITY CASCADE
block destruction: ALTER TABLE orders DROP COLUMN total
block destruction: ALTER TABLE orders ADD COLUMN a int, DROP COLUMN total
block destruction: ALTER TABLE orders DROP CONSTRAINT c
block destruction: ALTER TABLE orders ALTER COLUMN total TYPE int USING 0
block destruction: SELECT lo_unlink(1)
block destruction: SELECT 1; DROP TABLE orders; SELECT 2
block destruction: /* harmless */ dRoP /* x */ TaBlE "orders"

# R2
block unqualified-write: UPDATE orders SET total = 0
block unqualified-write: DELETE FROM orders
block unqualified-write: DELETE FROM orders WHERE true
block unqualified-write: DELETE FROM orders WHERE 1 = 1
block unqualified-write: DELETE FROM orders WHERE id = id
block unqualified-write: DELETE FROM orders WHERE id IS NULL OR id IS NOT NULL
block unqualified-write: DELETE FROM orders WHERE name LIKE '%'
block unqualified-write: DELETE FROM orders WHERE EXISTS (SELECT 1 FROM customers)
block unqualified-write: DELETE FROM orders USING customers c WHERE c.id = 1
block unqualified-write: DELETE FROM orders -- WHERE id = 1
block unqualified-write: WITH gone AS (DELETE FROM orders RETURNING *) SELECT * FROM gone
block unqualified-write: EXPLAIN ANALYZE DELETE FROM orders
block unqualified-write: PREPARE p AS DELETE FROM orders; EXECUTE p
block unqualified-write: MERGE INTO orders o USING new n ON true WHEN MATCHED THEN DELETE
hold mass-write: INSERT INTO orders SELECT * FROM new ON CONFLICT (id) DO UPDATE SET total = 0

# R3
block privilege: GRANT SELECT ON orders TO bob
block privilege: REVOKE ALL ON orders FROM bob
block privilege: GRANT admin TO bob
block privilege: CREATE SCHEMA s GRANT ALL ON t TO bob CREATE TABLE t (a int)
block privilege: CREATE ROLE bob
block privilege: ALTER USER bob PASSWORD 'x'
block privilege: SET ROLE bob
block privilege: SET LOCAL ROLE bob
block privilege: SET SESSION AUTHORIZATION bob
block privilege: SELECT set_config('role', 'bob', false)
block privilege: RESET ROLE
block privilege: ALTER TABLE orders OWNER TO bob
block privilege: ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO bob
block privilege: REASSIGN OWNED BY a TO b
block privilege: CREATE FUNCTION f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'
block privilege: ALTER FUNCTION f() SECURITY DEFINER
block privilege: ALTER TABLE orders DISABLE ROW LEVEL SECURITY
block privilege: ALTER TABLE orders DISABLE TRIGGER ALL
block privilege: CREATE POLICY p ON orders USING (true)
block privilege: UPDATE pg_authid SET rolsuper = true WHERE rolname = 'bob'
block privilege: INSERT INTO pg_catalog.pg_auth_members VALUES (1)

# R4
block outside: COPY orders TO '/var/tmp/x'
block outside: COPY orders FROM PROGRAM 'id'
block outside: SELECT lo_import('/etc/passwd')
block outside: SELECT pg_catalog.lo_export(1, '/x')
block outside: SELECT pg_read_file('/etc/passwd')
block outside: SELECT * FROM pg_ls_dir('.')
block outside: SELECT pg_read_binary_file('x')
block outside: SELECT * FROM dblink('host=x', 'SELECT 1') AS t(a int)
block outside: CREATE EXTENSION dblink
block outside: CREATE SERVER s FOREIGN DATA WRAPPER w
block outside: CREATE FOREIGN TABLE t (a int) SERVER s
block outside: IMPORT FOREIGN SCHEMA a FROM SERVER s INTO b
block outside: CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p
block outside: CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'lib', 'f'
block outside: LOAD 'lib'
block outside: CREATE VIEW v AS SELECT pg_read_file('x')
block outside: INSERT INTO t SELECT pg_read_file('x')
block outside: SELECT (SELECT max(length(pg_read_file(n))) FROM names)

# R5
block administration: ALTER SYSTEM SET work_mem = '1GB'
block administration: ALTER DATABASE d SET work_mem = '1GB'
block administration: SELECT pg_reload_conf()
block administration: SELECT pg_terminate_backend(pid) FROM pg_stat_activity
block administration: SELECT pg_cancel_backend(1)
block administration: SELECT pg_create_physical_replication_slot('x')
block administration: SELECT * FROM pg_logical_slot_get_changes('x', NULL, NULL)
block administration: SELECT pg_switch_wal()
block administration: CREATE PUBLICATION p FOR ALL TABLES
block administration: CHECKPOINT
block administration: DELETE FROM pg_class WHERE oid = 1

# R6
hold code: DO $$ BEGIN PERFORM 1; END $$
hold code: CALL p()
hold code: CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'
hold code: CREATE TRIGGER t BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION f()
hold code: CREATE RULE r AS ON INSERT TO orders DO ALSO SELECT 1
hold code: CREATE CAST (a AS b) WITHOUT FUNCTION
block destruction: DO $$ BEGIN DROP TABLE orders; END $$
block destruction: CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'DROP TABLE orders'
block unqualified-write: CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN DELETE FROM orders; END $$
block unqualified-write: CREATE RULE r AS ON INSERT TO orders DO ALSO DELETE FROM customers
block opaque: DO $$ BEGIN EXECUTE 'DROP TABLE ' || x; END $$
block opaque: DO LANGUAGE plperl $$ 1 $$
block destruction: DO $$ BEGIN EXECUTE 'DROP TABLE orders'; END $$

# R7
hold ddl: CREATE TABLE t (a int)
hold ddl: CREATE TABLE t AS SELECT 1 AS a
hold ddl: SELECT 1 AS a INTO t
hold ddl: CREATE INDEX i ON t (a)
hold ddl: CREATE VIEW v AS SELECT 1
hold ddl: ALTER TABLE t ADD COLUMN b int
hold ddl: ALTER TABLE t RENAME TO u
hold ddl: COMMENT ON TABLE t IS 'x'
hold ddl: COPY orders FROM STDIN
hold ddl: VACUUM FULL orders
hold ddl: LOCK TABLE orders
hold ddl: REFRESH MATERIALIZED VIEW m WITH NO DATA
hold ddl: PREPARE TRANSACTION 'x'

# R8
block settings: SET standard_conforming_strings = off
block settings: SET backslash_quote = on
block settings: SET client_encoding = 'SJIS'
block settings: SET NAMES 'latin1'
block settings: SET session_replication_role = replica
block settings: SET LOCAL row_security = off
block settings: SELECT set_config('standard_conforming_strings', 'off', false)
block settings: SELECT set_config('row_security', 'on', false), set_config('row_security', 'off', false)
block settings: SET default_transaction_read_only = off
block settings: SET TRANSACTION READ WRITE
allow: BEGIN READ WRITE
allow: START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ WRITE
block settings: SET TRANSACTION READ ONLY, READ WRITE
block settings: SELECT set_config('transaction_read_only', 'off', true)
block settings: SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE
block settings: CREATE FUNCTION f() RETURNS int LANGUAGE sql SET session_replication_role = replica AS 'SELECT 1'

# R12
block opaque: EXECUTE nobody_prepared_this
block opaque: SELECT query_to_xml(current_setting('x'), true, true, '')
block opaque: SELECT set_config(current_setting('x'), 'off', false)
block destruction: SELECT query_to_xml('DROP TABLE orders', true, true, '')
`

func TestSQL(t *testing.T) {
	p := configured(t, "null")
	analyzer := statement.NewAnalyzer(statement.Limits{})
	for line := range strings.Lines(corpus) {
		want, sql, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok {
			continue
		}
		result, err := analyzer.Analyze(t.Context(), sql)
		if err != nil {
			t.Errorf("%s: %v", sql, err)
			continue
		}
		statements := result.Statements
		if result.Executes() {
			statements = result.Resolve(func(string) ([]sdk.Statement, bool) { return nil, false })
		}
		v := p.Judge(nil, &sdk.Request{Statements: statements})
		if got := shown(v); got != want {
			t.Errorf("%s:\n got %s (%s)\nwant %s\nfrom %+v", sql, got, v.Reason, want, statements)
		}
	}
}
