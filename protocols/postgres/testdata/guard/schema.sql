-- What the statements of corpus.txt find in their database.

CREATE TABLE customers (
	id int PRIMARY KEY,
	name text NOT NULL,
	email text UNIQUE,
	city text,
	tags text[] NOT NULL DEFAULT '{}',
	doc jsonb NOT NULL DEFAULT '{}',
	active bool NOT NULL DEFAULT true,
	updated timestamptz
);
CREATE TABLE orders (
	id int PRIMARY KEY,
	customer_id int REFERENCES customers ON DELETE CASCADE,
	total numeric NOT NULL DEFAULT 0,
	status text NOT NULL DEFAULT 'open',
	note text,
	placed timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE staging (id int PRIMARY KEY, total numeric, status text);
CREATE VIEW staging_ids AS SELECT id FROM staging;
CREATE TABLE audit (id bigserial PRIMARY KEY, what text);
CREATE TABLE events (id int, at date NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE spare (id int PRIMARY KEY, note text);
CREATE TABLE "drop table" ("delete" int, "truncate" text, "order" int, drop text, grant_all bool DEFAULT false);
CREATE TABLE users (id serial PRIMARY KEY, role text, password text, "grant" text);

INSERT INTO customers (id, name, email, city) SELECT n, 'customer ' || n, 'c' || n || '@example.com', 'Porto' FROM generate_series(1, 50) n;
INSERT INTO orders (id, customer_id, total) SELECT n, 1 + n % 50, n FROM generate_series(1, 500) n;
INSERT INTO staging SELECT id, total, 'open' FROM orders WHERE id <= 20;
INSERT INTO events SELECT n, '2025-06-01' FROM generate_series(1, 10) n;
INSERT INTO "drop table" VALUES (1, 'a', 1, 'x');
INSERT INTO users (role, password, "grant") VALUES ('admin', 'x', 'all');

CREATE VIEW open_orders AS SELECT * FROM orders WHERE status = 'open';
CREATE VIEW order_totals AS SELECT customer_id, sum(total) AS total FROM orders GROUP BY customer_id;
CREATE MATERIALIZED VIEW order_stats AS SELECT status, count(*) FROM orders GROUP BY status;
CREATE UNIQUE INDEX order_stats_status ON order_stats (status);
CREATE INDEX orders_placed ON orders (placed);
CREATE SEQUENCE numbers;
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE DOMAIN zip AS text CHECK (VALUE ~ '^[0-9]+$');
CREATE TYPE pair AS (a int, b text);

-- Functions whose bodies may run.
CREATE FUNCTION order_total(int) RETURNS numeric LANGUAGE sql STABLE AS 'SELECT total FROM orders WHERE id = $1';
CREATE FUNCTION greet(name text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN 'hello ' || upper(name); END $$;
CREATE FUNCTION close_order(which int) RETURNS void LANGUAGE sql AS $$ UPDATE orders SET status = 'closed' WHERE id = which $$;
CREATE FUNCTION sweep() RETURNS void LANGUAGE plpgsql AS $$ DECLARE c CURSOR FOR SELECT id FROM staging FOR UPDATE; BEGIN FOR r IN c LOOP DELETE FROM staging WHERE CURRENT OF c; END LOOP; END $$;
CREATE FUNCTION "DROP TABLE"() RETURNS text LANGUAGE sql AS $$ SELECT 'DROP TABLE orders'::text $$;
CREATE FUNCTION fib(n int) RETURNS int LANGUAGE sql AS $$ SELECT CASE WHEN n < 2 THEN n ELSE fib(n - 1) + fib(n - 2) END $$;
CREATE FUNCTION add_up(numeric, numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT $1 + $2';
CREATE AGGREGATE total_of (numeric) (SFUNC = add_up, STYPE = numeric, INITCOND = '0');
CREATE OPERATOR |+| (LEFTARG = numeric, RIGHTARG = numeric, FUNCTION = add_up);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated := now(); RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION touch();
CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'DDL'; END $$;
CREATE VIEW greetings AS SELECT id, greet(name) FROM customers;

-- Functions whose bodies must not.
CREATE FUNCTION purge() RETURNS int LANGUAGE sql AS $$ DELETE FROM orders; SELECT 1 $$;
CREATE FUNCTION purge_quietly() RETURNS int LANGUAGE plpgsql AS $$ BEGIN DELETE FROM orders; RETURN 1; END $$;
CREATE FUNCTION wipe() RETURNS void LANGUAGE plpgsql AS $$ BEGIN TRUNCATE orders; END $$;
CREATE FUNCTION indirect() RETURNS int LANGUAGE sql AS $$ SELECT purge() $$;
CREATE FUNCTION runs(sql text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE sql; END $$;
CREATE FUNCTION atomic_purge() RETURNS void LANGUAGE sql BEGIN ATOMIC DELETE FROM orders; END;
CREATE FUNCTION escalate() RETURNS void LANGUAGE plpgsql AS $$ BEGIN SET LOCAL ROLE postgres; END $$;
CREATE FUNCTION read_host() RETURNS text LANGUAGE sql AS $$ SELECT pg_read_file('PG_VERSION') $$;
CREATE FUNCTION unpin() RETURNS text LANGUAGE sql AS $$ SELECT set_config('row_security', 'off', false) $$;
CREATE FUNCTION native(text) RETURNS text LANGUAGE internal STRICT AS 'upper';
CREATE FUNCTION "Purge All"() RETURNS int LANGUAGE sql AS $$ DELETE FROM orders; SELECT 1 $$;
CREATE FUNCTION worst(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION worst(text) RETURNS int LANGUAGE sql AS $$ DELETE FROM orders; SELECT 1 $$;
CREATE FUNCTION purging(numeric, numeric) RETURNS numeric LANGUAGE sql AS $$ DELETE FROM orders; SELECT $1 $$;
CREATE AGGREGATE purge_all (numeric) (SFUNC = purging, STYPE = numeric, INITCOND = '0');
CREATE OPERATOR !!! (LEFTARG = numeric, RIGHTARG = numeric, FUNCTION = purging);
CREATE FUNCTION purging_cast(pair) RETURNS int LANGUAGE sql AS $$ DELETE FROM orders; SELECT 1 $$;
CREATE CAST (pair AS int) WITH FUNCTION purging_cast(pair);
CREATE VIEW purged AS SELECT purge() AS n;
CREATE VIEW over_purged AS SELECT n + 1 AS n FROM purged;
CREATE VIEW redirected AS SELECT id FROM staging;
CREATE RULE redirect AS ON INSERT TO redirected DO INSTEAD DELETE FROM orders;
CREATE VIEW trapped AS SELECT id FROM staging;
CREATE FUNCTION trap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM orders; RETURN NULL; END $$;
CREATE TRIGGER trap INSTEAD OF INSERT ON trapped FOR EACH ROW EXECUTE FUNCTION trap();
CREATE TABLE mined (id int, note text DEFAULT 'x');
CREATE TRIGGER mine AFTER INSERT ON mined FOR EACH ROW EXECUTE FUNCTION trap();
CREATE TABLE defaulting (id int, n int DEFAULT purge());
CREATE TABLE checked (id int CHECK (purge() > 0));
CREATE DOMAIN purging_domain AS int CHECK (purge() > 0);
CREATE TYPE weight AS (grams int);
CREATE FUNCTION weigh(weight) RETURNS int LANGUAGE sql AS $$ DELETE FROM orders; SELECT 1 $$;
CREATE CAST (weight AS int) WITH FUNCTION weigh(weight) AS IMPLICIT;
CREATE FUNCTION heavier(weight, weight) RETURNS bool LANGUAGE sql AS $$ DELETE FROM orders; SELECT true $$;
CREATE OPERATOR > (LEFTARG = weight, RIGHTARG = weight, FUNCTION = heavier);
CREATE TABLE parcels (id int, w weight);
INSERT INTO parcels VALUES (1, ROW(5)), (2, ROW(6));
CREATE TYPE size AS (cm int);
CREATE FUNCTION longer(size, size) RETURNS bool LANGUAGE sql AS $$ DELETE FROM orders; SELECT true $$;
CREATE OPERATOR > (LEFTARG = size, RIGHTARG = size, FUNCTION = longer);
CREATE TABLE rods (id int, s size);
INSERT INTO rods VALUES (1, ROW(5));
CREATE FUNCTION rod(int) RETURNS size LANGUAGE sql AS 'SELECT ROW($1)::size';
CREATE TABLE accounts (id int PRIMARY KEY);
CREATE TABLE ledger (id int PRIMARY KEY, account_id int REFERENCES accounts ON DELETE CASCADE ON UPDATE CASCADE);
INSERT INTO accounts VALUES (1), (2);
INSERT INTO ledger VALUES (1, 1), (2, 2);
CREATE FUNCTION purging_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM orders; RETURN OLD; END $$;
CREATE TRIGGER ledger_trap AFTER DELETE OR UPDATE ON ledger FOR EACH ROW EXECUTE FUNCTION purging_trigger();
CREATE TABLE logs (id int, at date NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE logs_2025 PARTITION OF logs FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TRIGGER logs_trap AFTER INSERT ON logs_2025 FOR EACH ROW EXECUTE FUNCTION purging_trigger();
CREATE TABLE conditional (id int, n int);
INSERT INTO conditional VALUES (1, 1);
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER when_trap BEFORE UPDATE ON conditional FOR EACH ROW WHEN (purge() > 0) EXECUTE FUNCTION nothing();
CREATE TABLE guarded (id int);
INSERT INTO guarded VALUES (1);
CREATE POLICY trap ON guarded USING (purge() > 0);
CREATE TABLE tagged (id int, note text, UNIQUE (id));
CREATE VIEW tagged_ids AS SELECT id, CASE WHEN note = 'x' THEN purge() END AS n FROM tagged;
CREATE DOMAIN defaulted AS int DEFAULT purge();
CREATE TABLE of_defaulted (id int, n defaulted);
CREATE SCHEMA app;
CREATE FUNCTION app.lower(text) RETURNS text LANGUAGE sql AS $$ DELETE FROM orders; SELECT $1 $$;
CREATE FUNCTION app.purge_here() RETURNS int LANGUAGE sql AS $$ DELETE FROM orders; SELECT 1 $$;
CREATE PROCEDURE purge_by_call() LANGUAGE sql AS $$ DELETE FROM orders $$;
CREATE PROCEDURE close_by_call(which int) LANGUAGE sql AS $$ UPDATE orders SET status = 'closed' WHERE id = which $$;
CREATE FOREIGN DATA WRAPPER nothing;
CREATE FUNCTION weighed(parcels) RETURNS int LANGUAGE sql AS $$ DELETE FROM orders; SELECT 1 $$;
CREATE FUNCTION "Weighed Too"(parcels) RETURNS int LANGUAGE sql AS $$ DELETE FROM orders; SELECT 1 $$;
CREATE FUNCTION "json_scalar"(numeric) RETURNS int LANGUAGE sql AS $$ DELETE FROM orders; SELECT 1 $$;
CREATE TYPE raw;
CREATE FUNCTION raw_in(cstring) RETURNS raw LANGUAGE internal IMMUTABLE STRICT AS 'textin';
CREATE FUNCTION raw_out(raw) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
CREATE TYPE raw (INPUT = raw_in, OUTPUT = raw_out, LIKE = text);
CREATE TABLE raws (id int, r raw);
CREATE VIEW of_defaulted_too AS SELECT n FROM of_defaulted;
