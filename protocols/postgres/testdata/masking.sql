-- The database that the statements in masking.txt read. Protected are the columns
-- of people but for id and name, what depends on them, and within the documents of
-- files $.owner.ssn and $.cards[*].number in doc, $[*].ssn in list, $..ssn in raw.
CREATE TABLE people (
	id int PRIMARY KEY, name text NOT NULL,
	ssn text UNIQUE, pin int, account bigint, salary numeric(14,2), born date, badge uuid,
	bio jsonb, tags text[], photo bytea,
	CONSTRAINT plausible CHECK (pin > 0)
);
INSERT INTO people VALUES
	(1, 'Ada', '219-09-9471', 82736455, 7391846205518, 918273.64, '1983-07-19', 'c0ffee12-3d4f-4a5b-8c6d-9e8f7a6b5c4d',
		'{"ssn": "219-09-9471", "likes": ["tea"]}', '{219-09-9471,x}', '219-09-9471'),
	(2, 'Bob', '457-55-5462', 64519283, 5628104937746, 736455.28, '1991-02-28', 'deadbea7-1f2e-4d3c-9b4a-8a7b6c5d4e3f',
		'{"ssn": "457-55-5462", "likes": []}', '{457-55-5462}', '457-55-5462'),
	(3, 'Cyd', '536-22-8726', 95172836, 8203756194463, 645192.83, '1976-11-05', 'facade99-5e4d-4c3b-ab2a-7f6e5d4c3b2a',
		'{"ssn": "536-22-8726", "likes": []}', '{536-22-8726}', '536-22-8726');
CREATE TABLE files (id int PRIMARY KEY, doc jsonb, list jsonb, raw json);
INSERT INTO files SELECT id, jsonb_build_object('kind', 'loan', 'owner', jsonb_build_object('name', name, 'ssn', ssn), 'cards', jsonb_build_array(jsonb_build_object('brand', 'x', 'number', ssn))),
	jsonb_build_array(jsonb_build_object('name', name, 'ssn', ssn)), ('{"kind": "loan", "owner": {"name": "x", "s\u0073n": "' || ssn || '"}}')::json FROM people;
CREATE VIEW owners AS SELECT id, doc -> 'owner' AS owner, doc ->> 'kind' AS kind FROM files;
CREATE VIEW wrapped AS SELECT id, jsonb_build_object('kind', doc -> 'owner') AS doc FROM files;
CREATE FUNCTION wrap(jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$SELECT jsonb_build_object('kind', $1 -> 'owner')$$;
CREATE FUNCTION owner_of(jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$SELECT $1 -> 'owner'$$;
CREATE FUNCTION owner_text(jsonb, text) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT $1 #>> '{owner,ssn}'$$;
CREATE OPERATOR ->> (LEFTARG = jsonb, RIGHTARG = text, FUNCTION = owner_text);
CREATE FUNCTION jsonb_extract_path_text(jsonb, text) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT $1 #>> '{owner,ssn}'$$;
ALTER TABLE people ADD COLUMN ssn_copy text GENERATED ALWAYS AS (upper(ssn)) STORED;
CREATE TABLE notes (id serial PRIMARY KEY, body text, n bigint, doc jsonb);
INSERT INTO notes (body, n, doc) VALUES ('first', 10, '{"a": 1}'), ('second', 20, '{}');
CREATE TABLE digits (digit text, n int);
INSERT INTO digits SELECT i::text, i FROM generate_series(0, 9) i;
INSERT INTO digits VALUES ('-', -1);
CREATE TABLE staff () INHERITS (people);
INSERT INTO staff SELECT id + 10, name, ssn || '', pin FROM people;
CREATE TABLE parts (id int, ssn text) PARTITION BY LIST (id);
CREATE TABLE parts_one PARTITION OF parts FOR VALUES IN (1);
INSERT INTO parts VALUES (1, '219-09-9471');
CREATE TABLE above (id int, ssn text) PARTITION BY LIST (id);
CREATE TABLE below (id int, ssn text);
INSERT INTO below VALUES (1, '219-09-9471');

CREATE VIEW plain AS SELECT id, ssn AS number FROM people;
CREATE VIEW twice AS SELECT number AS n, id FROM plain;
CREATE VIEW computed AS SELECT id, 'no ' || ssn AS label, upper(name) AS loud FROM people;
CREATE VIEW whole AS SELECT id, p::text AS line FROM people p;
CREATE VIEW joined AS SELECT n.body, p.ssn FROM notes n JOIN people p ON p.id = n.id;
CREATE VIEW united AS SELECT name AS x FROM people UNION SELECT ssn FROM people;
CREATE VIEW inner_query AS SELECT q.v FROM (SELECT p.ssn AS v FROM people p) q;
CREATE VIEW bodies AS SELECT id, body FROM notes;
CREATE MATERIALIZED VIEW stored AS SELECT ssn AS kept FROM people;

CREATE FUNCTION number_of(who int) RETURNS text LANGUAGE sql STABLE AS 'SELECT ssn FROM people WHERE id = who';
CREATE FUNCTION everybody() RETURNS SETOF people LANGUAGE sql STABLE AS 'SELECT * FROM people';
CREATE FUNCTION listing(OUT id int, OUT secret text) RETURNS SETOF record LANGUAGE plpgsql AS
	$$ BEGIN RETURN QUERY SELECT p.id, p.ssn FROM people p; END $$;
CREATE FUNCTION planned() RETURNS text LANGUAGE plpgsql IMMUTABLE AS
	$$ BEGIN RETURN (SELECT ssn FROM people WHERE people.id = 1); END $$;
CREATE FUNCTION says(t text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE '%', t; END $$;
CREATE FUNCTION warns(t text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'odd' USING DETAIL = t, HINT = reverse(t); END $$;
CREATE FUNCTION fails(t text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '%', t; END $$;
CREATE FUNCTION fails_in_detail(t text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no' USING DETAIL = t; END $$;
CREATE FUNCTION fails_in_hint(t text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no' USING HINT = t; END $$;
CREATE FUNCTION fails_in_names(t text) RETURNS void LANGUAGE plpgsql AS
	$$ BEGIN RAISE EXCEPTION 'no' USING COLUMN = t, CONSTRAINT = t, DATATYPE = t, TABLE = t, SCHEMA = t; END $$;
CREATE FUNCTION fails_in_a_constraint(t text) RETURNS void LANGUAGE plpgsql AS
	$$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'check_violation', CONSTRAINT = t; END $$;
CREATE FUNCTION fails_in_code(a text, b text) RETURNS void LANGUAGE plpgsql AS
	$$ BEGIN BEGIN RAISE EXCEPTION 'no' USING ERRCODE = a; EXCEPTION WHEN OTHERS THEN RAISE NOTICE '-' USING ERRCODE = SQLSTATE; END;
	RAISE EXCEPTION 'no' USING ERRCODE = b; END $$;
CREATE FUNCTION runs(t text) RETURNS text LANGUAGE plpgsql AS $$ DECLARE v text; BEGIN EXECUTE t INTO v; RETURN v; END $$;
CREATE FUNCTION opens(t text) RETURNS refcursor LANGUAGE plpgsql AS
	$$ DECLARE c refcursor := t; BEGIN OPEN c FOR EXECUTE 'SELECT ' || quote_literal(t); RETURN c; END $$;
CREATE FUNCTION asserts(t text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN ASSERT false, t; END $$;
CREATE PROCEDURE proclaims(INOUT t text) LANGUAGE plpgsql AS $$ BEGIN SELECT ssn INTO t FROM people WHERE id = 1; END $$;
CREATE FUNCTION tells() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN RAISE NOTICE 'row %', (SELECT ssn FROM people WHERE id = 1); RETURN new; END $$;
CREATE TRIGGER tell BEFORE UPDATE ON notes FOR EACH ROW WHEN (new.body = 'tell') EXECUTE FUNCTION tells();
CREATE FUNCTION of_any(anyelement) RETURNS text LANGUAGE sql AS 'SELECT ssn FROM people WHERE id = 1';
CREATE OPERATOR @# (RIGHTARG = int, FUNCTION = number_of);
CREATE DOMAIN word AS text CHECK (value !~ '^[0-9-]+$');
CREATE TYPE pair AS (a text, b text);
CREATE SEQUENCE counter;
CREATE EXTENSION IF NOT EXISTS dblink;
CREATE EXTENSION IF NOT EXISTS tablefunc;
CREATE EXTENSION IF NOT EXISTS xml2;
CREATE EXTENSION IF NOT EXISTS pageinspect;
CREATE EXTENSION IF NOT EXISTS postgres_fdw;
SELECT lo_from_bytea(77001, '219-09-9471');
ALTER FUNCTION number_of(int) SET my.note = '219-09-9471';
ANALYZE people;
CREATE STATISTICS both_of (mcv) ON ssn, pin FROM people;
