package clients_test

import (
	"path/filepath"
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
COPY items FROM STDIN;
101	1	by COPY
102	2	\N
\.
\copy items FROM STDIN WITH (FORMAT csv)
103,3,"by \copy, in CSV"
\.
COPY (SELECT * FROM items WHERE id > 100 ORDER BY id) TO STDOUT WITH (FORMAT csv, HEADER);
\copy customers TO STDOUT
COPY vault TO STDOUT;
COPY vault FROM STDIN;
sesame
\.
SELECT 'in step';
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
	out.WriteString(run(t, w, "pgbench", "-i", "-q", "-I", "dtgpf"))
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

// dump dumps a database in two formats, restores both into another table space
// of names, and shows what came of it.
func dump(t *testing.T, w lab.Way) string {
	t.Helper()
	run(t, w, "psql", "-XqAtc", `CREATE SCHEMA app;
		CREATE TABLE app.authors (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text UNIQUE, raw bytea, tags text[]);
		CREATE TABLE app.books (id serial PRIMARY KEY, author int REFERENCES app.authors, title text CHECK (title <> ''));
		CREATE INDEX ON app.books (lower(title));
		CREATE VIEW app.titles AS SELECT a.name, b.title FROM app.authors a JOIN app.books b ON b.author = a.id;
		CREATE FUNCTION app.twice(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2';
		INSERT INTO app.authors (name, raw, tags) SELECT 'name ' || g, decode(lpad(to_hex(g), 8, '0'), 'hex'), ARRAY['a,b', NULL, '"'] FROM generate_series(1, 2000) g;
		INSERT INTO app.books (author, title) SELECT id, E'tab\\tline\\n' || id FROM app.authors`)
	plain := run(t, w, "pg_dump", "-n", "app")
	custom, directory := filepath.Join(t.TempDir(), "custom"), filepath.Join(t.TempDir(), "directory")
	run(t, w, "pg_dump", "-n", "app", "-Fc", "-f", custom)
	run(t, w, "pg_dump", "-n", "app", "-Fd", "-j", "2", "-f", directory)
	out := plain + run(t, w, "pg_restore", "-l", directory) + run(t, w, "pg_dump", "-n", "app", "--inserts", "-t", "app.books")
	const sums = `SELECT 'authors', count(*), md5(string_agg(a::text, '|' ORDER BY id)) FROM app.authors a
		UNION ALL SELECT 'books', count(*), md5(string_agg(b::text, '|' ORDER BY id)) FROM app.books b
		UNION ALL SELECT 'titles', count(*), md5(string_agg(title, '|' ORDER BY title)) FROM app.titles`
	for _, restore := range []func(){
		func() {
			cmd := command(t, w, "psql", "-Xq1", "-v", "ON_ERROR_STOP=1")
			cmd.Stdin = strings.NewReader(plain)
			if text, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: restore: %v\n%s", w.Name, err, text)
			}
		},
		func() { run(t, w, "pg_restore", "-d", w.Database, custom) },
		func() { run(t, w, "pg_restore", "-d", w.Database, "-j", "2", directory) },
	} {
		run(t, w, "psql", "-Xqc", "DROP SCHEMA app CASCADE")
		restore()
		out += run(t, w, "psql", "-XAtc", sums)
	}
	// What is masked is masked in a dump too.
	out += run(t, w, "pg_dump", "-t", "customers", "--data-only")
	if text, err := command(t, w, "pg_dump", "-t", "vault").CombinedOutput(); err == nil || !strings.Contains(string(text), "vault") {
		t.Errorf("%s: pg_dump of the vault: %v\n%s", w.Name, err, text)
	}
	return changing.ReplaceAllString(out, "…") + "42501"
}

// changing is what differs from dump to dump: the time, the database's name,
// and OIDs and the server's choice of a word for \restrict.
var changing = regexp.MustCompile(`(?m)^;.*$|^\d+; \d+ \d+|^\\(un)?restrict .*$`)
