-- Random statements run on two databases of this schema that are equal but for the
-- columns whose names begin with secret, and but for what is in the documents of
-- files by such a key.
CREATE TABLE people (
	id int PRIMARY KEY, name text, age int, team int, secret_code text, secret_n int, secret_on date, secret_flag bool,
	loud text GENERATED ALWAYS AS (upper(name)) STORED, secret_loud text GENERATED ALWAYS AS (lower(secret_code)) STORED
);
CREATE TABLE orders (id int PRIMARY KEY, person_id int, amount int, kind text, note text, placed date, open bool);
CREATE TABLE items (id int PRIMARY KEY, order_id int, n int, tag text, doc jsonb, numbers int[], secret_n int);
CREATE TABLE files (id int PRIMARY KEY, n int, doc jsonb);
CREATE TABLE nodes (id int PRIMARY KEY, parent_id int, label text, secret_label text);
CREATE TABLE parts (id int, n int, label text, secret_n int) PARTITION BY RANGE (id);
CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (5);
CREATE TABLE parts_high PARTITION OF parts FOR VALUES FROM (5) TO (100);
CREATE TABLE log (id int, note text, n int DEFAULT 7, made text GENERATED ALWAYS AS (note || '!') STORED);

CREATE VIEW opened AS SELECT id, n, doc -> 'b' AS doc FROM files;
CREATE VIEW plain_people AS SELECT id, name, age, team FROM people;
CREATE VIEW all_people AS SELECT id, name, secret_code AS hidden, age, secret_n AS pin FROM people;
CREATE VIEW some_people AS SELECT id, name, age FROM people WHERE secret_n % 2 = 0;
CREATE VIEW teams AS SELECT team AS id, count(*)::int AS n, max(name) AS label, max(secret_n) AS secret_n FROM people GROUP BY team;
CREATE VIEW orders_of AS SELECT o.id, p.name, o.amount, o.kind FROM orders o JOIN people p ON p.id = o.person_id;
CREATE VIEW matched AS SELECT o.id, p.id AS who, o.kind, p.name FROM orders o LEFT JOIN people p ON p.secret_n = o.amount;

CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT n * 2';
CREATE FUNCTION name_of(who int) RETURNS text LANGUAGE sql STABLE AS 'SELECT name FROM people WHERE id = who';
CREATE FUNCTION code_of(who int) RETURNS text LANGUAGE sql STABLE AS 'SELECT secret_code FROM people WHERE id = who';
CREATE FUNCTION kinds(above int) RETURNS TABLE (id int, kind text) LANGUAGE sql STABLE AS 'SELECT id, kind FROM orders WHERE amount >= above';

-- Names that stand for several functions, operators and casts with code of their own.
CREATE FUNCTION tell(n int) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT n::text || '!'$$;
CREATE FUNCTION tell(called text) RETURNS text LANGUAGE sql STABLE AS 'SELECT secret_code FROM people WHERE name = called';
CREATE FUNCTION next_to(who int, further int DEFAULT length(code_of(2))) RETURNS int LANGUAGE sql STABLE AS 'SELECT who + further';
CREATE TYPE badge AS (code text);
CREATE FUNCTION badge_of(who int) RETURNS badge LANGUAGE sql STABLE AS 'SELECT ROW(secret_code)::badge FROM people WHERE id = who';
CREATE CAST (int AS badge) WITH FUNCTION badge_of(int);
CREATE OPERATOR ~~~ (RIGHTARG = int, FUNCTION = code_of);
CREATE FUNCTION near(team int, who int) RETURNS bool LANGUAGE sql STABLE AS 'SELECT secret_n % 3 >= $1 FROM people WHERE id = $2';
CREATE OPERATOR <~> (LEFTARG = int, RIGHTARG = int, FUNCTION = near);

-- What inherits holds protected values under a name that is none of the parent's.
CREATE TABLE papers (id int, body text);
CREATE TABLE sealed () INHERITS (papers);
CREATE VIEW paper_view AS SELECT id, body FROM papers;

-- A view of somebody to whom row security applies.
CREATE TABLE guarded (id int PRIMARY KEY, label text, secret_n int);
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY even ON guarded USING (secret_n % 2 = 0);
DO $$ BEGIN CREATE ROLE gatehouse_reader; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
GRANT SELECT ON guarded TO gatehouse_reader;
CREATE VIEW seen AS SELECT id, label FROM guarded;
ALTER VIEW seen OWNER TO gatehouse_reader;
CREATE VIEW seen_again AS SELECT id, label FROM seen WHERE id > 1;

CREATE VIEW deep AS SELECT id, name AS label, secret_n AS n FROM people WHERE age > 0;
CREATE VIEW deeper AS SELECT id, label, age AS n FROM (SELECT d.id, d.label, d.n AS pin, p.age FROM deep d JOIN people p USING (id)) q WHERE q.pin > 6;
CREATE VIEW ranked AS SELECT id, label, (rank() OVER (ORDER BY secret_n))::int AS n FROM parts;
CREATE TABLE slots (n int UNIQUE, secret_n int UNIQUE, what text, note text);
CREATE UNIQUE INDEX ON slots ((secret_n * 2));
CREATE TABLE firm (n int UNIQUE NOT NULL, team int NOT NULL, secret_n int);
CREATE TABLE loose (n int UNIQUE, secret_n int);
CREATE TABLE sparse (n int, secret_n int, what text);
CREATE UNIQUE INDEX ON sparse (n) WHERE secret_n > 4;

-- What functions do with their arguments, and with rows.
CREATE FUNCTION thrice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 3';
CREATE FUNCTION first_of(a int, b int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a';
CREATE FUNCTION second_of(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $2';
CREATE FUNCTION swap(n int, a int, b int) RETURNS int LANGUAGE sql STABLE AS 'SELECT a';
CREATE OR REPLACE FUNCTION swap(n int, a int, b int) RETURNS int LANGUAGE sql STABLE AS 'SELECT CASE WHEN n = 0 THEN a ELSE swap(n - 1, b, a) END';
CREATE FUNCTION hushed(who int) RETURNS text LANGUAGE sql STABLE AS 'SELECT name FROM people WHERE id = who AND secret_n % 2 = 0';
CREATE FUNCTION names_of(n int) RETURNS SETOF text LANGUAGE sql STABLE AS 'SELECT name FROM people WHERE id <= n';
CREATE FUNCTION picked(which bool) RETURNS int LANGUAGE sql STABLE AS 'SELECT max(id) FROM people WHERE which';
CREATE FUNCTION unread(who int) RETURNS int LANGUAGE plpgsql STABLE AS 'BEGIN RETURN (SELECT secret_n FROM people WHERE id = who); END';
CREATE OPERATOR ~!~ (RIGHTARG = int, FUNCTION = unread);
CREATE FUNCTION secret_text(who int) RETURNS text LANGUAGE sql STABLE AS 'SELECT secret_code FROM people WHERE id = who';

-- Of names that stand for several things the first or the last tells.
CREATE FUNCTION whisper(called text) RETURNS text LANGUAGE sql STABLE AS 'SELECT secret_code FROM people WHERE name = called';
CREATE FUNCTION whisper(n int) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT n::text || '!'$$;
CREATE FUNCTION near(a text, b text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT a < b';
CREATE OPERATOR <~> (LEFTARG = text, RIGHTARG = text, FUNCTION = near);
CREATE OPERATOR <~~> (LEFTARG = text, RIGHTARG = text, FUNCTION = near);
CREATE FUNCTION nearer(who int, team int) RETURNS bool LANGUAGE sql STABLE AS 'SELECT secret_n % 3 >= $2 FROM people WHERE id = $1';
CREATE OPERATOR <~~> (LEFTARG = int, RIGHTARG = int, FUNCTION = nearer);
CREATE FUNCTION code(b badge) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT 'none'$$;
CREATE FUNCTION codes(n int) RETURNS TABLE (a int, b text) LANGUAGE sql STABLE AS 'SELECT id, secret_code FROM people WHERE id <= n';
CREATE FUNCTION veiled(secret_code text) RETURNS text LANGUAGE sql STABLE AS 'SELECT secret_code FROM people WHERE id = 2';
CREATE FUNCTION opened_of(b badge) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT b.code';
CREATE FUNCTION shown_of(p people) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT p.secret_code';
CREATE FUNCTION same(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT same.n';
CREATE SCHEMA other;
CREATE VIEW other.kin AS SELECT id, note AS label FROM log;
CREATE VIEW kin AS SELECT id, secret_code AS label FROM people;
CREATE VIEW akin AS SELECT id, secret_code AS label FROM people;
CREATE VIEW other.akin AS SELECT id, note AS label FROM log;
CREATE VIEW other.close_kin AS SELECT id, note AS label FROM log;
CREATE VIEW close_kin AS SELECT id, name AS label FROM people WHERE secret_n % 2 = 0;
CREATE VIEW close_akin AS SELECT id, name AS label FROM people WHERE secret_n % 2 = 0;
CREATE VIEW other.close_akin AS SELECT id, note AS label FROM log;
CREATE VIEW other.odd_kin AS SELECT id, note AS n, note AS label FROM log;
CREATE VIEW odd_kin AS SELECT id, secret_code AS label, name AS n FROM people;
CREATE VIEW told AS SELECT id, name AS label, unread(id) AS n FROM people;

-- An order of the database's own.
CREATE FUNCTION rank_of(who int) RETURNS int LANGUAGE sql STABLE AS 'SELECT coalesce((SELECT secret_n FROM people WHERE id = who), 0) * 100 + who';
CREATE FUNCTION below(a int, b int) RETURNS bool LANGUAGE sql STABLE AS 'SELECT rank_of(a) < rank_of(b)';
CREATE FUNCTION compared(a int, b int) RETURNS int LANGUAGE sql STABLE AS 'SELECT sign(rank_of(a) - rank_of(b))::int';
CREATE OPERATOR <# (LEFTARG = int, RIGHTARG = int, FUNCTION = below);
CREATE OPERATOR CLASS ranks FOR TYPE int USING btree AS OPERATOR 1 <#, OPERATOR 3 =, FUNCTION 1 compared(int, int);

INSERT INTO orders SELECT i, i % 6 + 1, (i * 7) % 20, (ARRAY['a', 'b', 'c'])[i % 3 + 1], CASE WHEN i % 4 > 0 THEN 'note ' || i END, date '2025-01-01' + i, i % 2 = 0 FROM generate_series(1, 9) i;
INSERT INTO nodes (id, parent_id, label) SELECT i, nullif(i / 2, 0), 'node ' || i FROM generate_series(1, 9) i;
INSERT INTO log SELECT i, 'log ' || i, i FROM generate_series(1, 3) i;
