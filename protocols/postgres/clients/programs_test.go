package clients_test

import (
	"regexp"
	"strings"
	"testing"

	"gatehouse/protocols/postgres/clients/internal/lab"
)

// psqlScript is psql's work: its backslash commands, and what scripts do.
const psqlScript = `
\set ON_ERROR_STOP off
\set VERBOSITY sqlstate
\d
\d+ customers
\d kinds
\dt+ public.c*
\di
\dv pg_catalog.pg_views
\ds
\df pg_catalog.pg_sleep*
\dn
\dT pg_catalog.int4
\do pg_catalog.||
\da pg_catalog.max
\dx
\dp items
\drds
\dL
\sf pg_catalog.pg_get_viewdef(text)
\x on
SELECT id, name, email FROM customers WHERE id < 3 ORDER BY id;
\x off
\pset format csv
TABLE customers ORDER BY id;
\pset format aligned
SELECT 1 AS one \gset
\echo :one
SELECT format('SELECT %s AS made', g) FROM generate_series(1, 3) g \gexec
\gdesc
SELECT id, n FROM items \gdesc
SELECT 7 AS a, 'x' AS b \gx
PREPARE two AS SELECT $1::int + 2;
EXECUTE two(3);
DEALLOCATE two;
BEGIN;
INSERT INTO items VALUES (1, 1, 'one');
SAVEPOINT s;
SELECT secret FROM vault;
\echo :SQLSTATE
SELECT 1;
ROLLBACK TO s;
COMMIT;
TABLE items;
SELECT * FROM vault;
SELECT 1/0;
SELECT 'one'; SELECT 'two' \; SELECT 'three';
\set AUTOCOMMIT off
INSERT INTO items VALUES (2, 2, 'two');
ROLLBACK;
\set AUTOCOMMIT on
\set ON_ERROR_ROLLBACK on
BEGIN;
SELECT * FROM vault;
INSERT INTO items VALUES (3, 3, 'after a refusal');
COMMIT;
SELECT count(*) FROM items;
\set FETCH_COUNT 40
SELECT g FROM generate_series(1, 100) g;
SELECT email FROM customers ORDER BY id;
\unset FETCH_COUNT
LISTEN news;
NOTIFY news;
UNLISTEN *;
DO $$ BEGIN RAISE NOTICE 'hello'; END $$;
DECLARE held CURSOR WITH HOLD FOR SELECT generate_series(1, 3);
FETCH 2 FROM held;
CLOSE held;
CREATE TEMP TABLE mine (n int);
\d mine
\timing off
\encoding
\conninfo
`

// varying is what two databases differ in: their names, and the names of
// schemas and cursors that go with a connection.
var varying = regexp.MustCompile(`pg_temp_\d+|channel|Asynchronous notification .*|You are connected .*|SSL connection .*`)

func psql(t *testing.T, w lab.Way) string {
	t.Helper()
	var out strings.Builder
	for _, args := range [][]string{
		{"-X", "-q", "-f", "-"},
		{"-X", "-1", "-c", "INSERT INTO items VALUES (9, 9, 'by -c')", "-c", "SELECT * FROM items"},
		{"-X", "-At", "-c", "SELECT 1; SELECT email FROM customers WHERE id = 1"},
	} {
		cmd := command(t, w, "psql", args...)
		cmd.Stdin = strings.NewReader(psqlScript)
		text, err := cmd.CombinedOutput() // errors stand among the results
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", w.Name, cmd, err, text)
		}
		out.Write(text)
	}
	return varying.ReplaceAllString(out.String(), "…")
}

// pgbench runs its own script by each of its protocols, and reports no errors.
func pgbench(t *testing.T, w lab.Way) string {
	t.Helper()
	var out strings.Builder
	out.WriteString(run(t, w, "pgbench", "-i", "-q", "-I", "dtGpf"))
	for _, args := range [][]string{{"-M", "simple"}, {"-M", "extended"}, {"-M", "prepared"}, {"-M", "prepared", "-S", "-C"}} {
		for line := range strings.Lines(run(t, w, "pgbench", append(args, "-n", "-c", "4", "-t", "20")...)) {
			if strings.Contains(line, "actually processed") || strings.Contains(line, "failed") || strings.Contains(line, "query mode") {
				out.WriteString(line)
			}
		}
	}
	out.WriteString(run(t, w, "psql", "-XAtc", "SELECT count(*), sum(delta) - (SELECT sum(bbalance) FROM pgbench_branches) FROM pgbench_history"))
	return out.String()
}
