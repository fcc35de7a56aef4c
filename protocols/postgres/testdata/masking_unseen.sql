-- What masking.txt reads beside masking.sql: what goes by the names of others, or
-- runs without being named.
CREATE SCHEMA shadow;
CREATE VIEW shadow.notes AS SELECT id, ssn AS body, pin AS n FROM public.people;
CREATE VIEW shadow.digits AS SELECT ssn AS digit, 1 AS n FROM public.people;
CREATE FUNCTION shadow.upper(text) RETURNS text LANGUAGE sql STABLE AS 'SELECT ssn FROM public.people WHERE id = 1';
CREATE FUNCTION shadow.length(text) RETURNS int LANGUAGE sql STABLE AS 'SELECT pin FROM public.people WHERE id = 1';
CREATE FUNCTION shadow.count(text) RETURNS int LANGUAGE sql STABLE AS 'SELECT pin FROM public.people WHERE id = 1';
CREATE FUNCTION shadow.now() RETURNS text LANGUAGE sql STABLE AS 'SELECT ssn FROM public.people WHERE id = 1';
CREATE FUNCTION shadow.version() RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN (SELECT ssn FROM public.people WHERE id = 1); END $$;
CREATE FUNCTION shadow.nextval(text) RETURNS int LANGUAGE sql STABLE AS 'SELECT pin FROM public.people WHERE id = 1';
CREATE FUNCTION shadow.generate_series(int, int) RETURNS SETOF text LANGUAGE sql STABLE AS 'SELECT ssn FROM public.people';
CREATE FUNCTION shadow.plus(int, int) RETURNS int LANGUAGE sql STABLE AS 'SELECT pin FROM public.people WHERE id = 1';
CREATE OPERATOR shadow.+ (LEFTARG = int, RIGHTARG = int, FUNCTION = shadow.plus);
CREATE FUNCTION shadow.join(text, text) RETURNS text LANGUAGE sql STABLE AS 'SELECT ssn FROM public.people WHERE id = 1';
CREATE OPERATOR shadow.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = shadow.join);
CREATE SCHEMA equals;
CREATE FUNCTION equals.equal(int, int) RETURNS bool LANGUAGE plpgsql STABLE AS
	$$ BEGIN RAISE NOTICE '%', (SELECT min(ssn) FROM public.people); RETURN true; END $$;
CREATE OPERATOR equals.= (LEFTARG = int, RIGHTARG = int, FUNCTION = equals.equal);
CREATE FUNCTION lower(int) RETURNS text LANGUAGE sql STABLE AS 'SELECT ssn FROM people WHERE id = $1';
CREATE FUNCTION length(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT pin FROM people WHERE id = $1';
CREATE FUNCTION beside(text, text) RETURNS text LANGUAGE sql STABLE AS 'SELECT ssn FROM people WHERE id = 1';
CREATE OPERATOR + (LEFTARG = text, RIGHTARG = text, FUNCTION = beside);
CREATE FUNCTION echo(t text DEFAULT number_of(1)) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT t';
CREATE FUNCTION echoes(n int DEFAULT 1, t text DEFAULT number_of(1)) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT t';
CREATE FUNCTION last_of(VARIADIC t text[]) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT t[cardinality(t)]';
CREATE FUNCTION same(anyelement) RETURNS anyelement LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE FUNCTION atomic_number() RETURNS text LANGUAGE sql STABLE BEGIN ATOMIC SELECT ssn FROM people WHERE id = 1; END;
CREATE FUNCTION atomic_return(who int) RETURNS text LANGUAGE sql STABLE RETURN (SELECT ssn FROM people WHERE id = who);
CREATE FUNCTION keep(text, text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT coalesce($1, $2)';
CREATE AGGREGATE first_of(text) (SFUNC = keep, STYPE = text);
CREATE FUNCTION sneak(text, text) RETURNS text LANGUAGE sql STABLE AS 'SELECT ssn FROM people WHERE id = 1';
CREATE AGGREGATE sneaks(text) (SFUNC = sneak, STYPE = text);
CREATE TYPE ref AS (i int);
CREATE FUNCTION ref_text(ref) RETURNS text LANGUAGE sql STABLE AS 'SELECT ssn FROM people WHERE id = ($1).i';
CREATE CAST (ref AS text) WITH FUNCTION ref_text(ref);
CREATE FUNCTION ref_int(ref) RETURNS int LANGUAGE sql STABLE AS 'SELECT pin FROM people WHERE id = ($1).i';
CREATE CAST (ref AS int) WITH FUNCTION ref_int(ref) AS IMPLICIT;
CREATE FUNCTION complains(int) RETURNS bool LANGUAGE plpgsql STABLE AS
	$$ BEGIN RAISE EXCEPTION '%', (SELECT ssn FROM people WHERE id = 1); END $$;
CREATE DOMAIN complaint AS int CHECK (complains(value));
CREATE TYPE digit AS ENUM ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9');
CREATE TABLE defaults (id int, v text DEFAULT number_of(1), n int DEFAULT length(1));
CREATE TABLE refers (ssn text REFERENCES people (ssn));
CREATE TABLE filled (id int, v text);
CREATE FUNCTION fills() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN new.v := (SELECT ssn FROM people WHERE id = 1); RETURN new; END $$;
CREATE TRIGGER fill BEFORE INSERT ON filled FOR EACH ROW EXECUTE FUNCTION fills();
CREATE VIEW ruled AS SELECT id, body FROM notes;
CREATE RULE rules AS ON INSERT TO ruled DO INSTEAD INSERT INTO notes (body) VALUES (new.body) RETURNING id, (SELECT ssn FROM people WHERE people.id = 1);
CREATE VIEW instead AS SELECT id, body FROM notes;
CREATE FUNCTION instead() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN new.body := (SELECT ssn FROM people WHERE id = 1); RETURN new; END $$;
CREATE TRIGGER instead INSTEAD OF INSERT OR UPDATE ON instead FOR EACH ROW EXECUTE FUNCTION instead();
CREATE FUNCTION spills() RETURNS trigger LANGUAGE plpgsql AS
	$$ DECLARE v text; BEGIN v := old.ssn; RAISE NOTICE '%', v; INSERT INTO notes (body) VALUES (v); RETURN NULL; END $$;
CREATE TRIGGER spill AFTER UPDATE ON parts FOR EACH ROW EXECUTE FUNCTION spills();
CREATE VIEW through AS SELECT id, ssn FROM parts;
CREATE TABLE emptied (id int);
CREATE FUNCTION empties() RETURNS trigger LANGUAGE plpgsql AS
	$$ DECLARE v text; BEGIN SELECT ssn INTO v FROM people WHERE id = 1; INSERT INTO notes (body) VALUES (v); RETURN NULL; END $$;
CREATE TRIGGER empties AFTER TRUNCATE ON emptied EXECUTE FUNCTION empties();
CREATE VIEW chosen AS SELECT i, d.digit FROM people p, generate_series(1, 11) i, digits d WHERE p.id = 1 AND d.digit = substr(p.ssn, i, 1);
CREATE VIEW swapped (name, ssn) AS SELECT ssn, name FROM people;
CREATE FUNCTION back(n int, t text) RETURNS text LANGUAGE sql STABLE AS 'SELECT t';
CREATE OR REPLACE FUNCTION back(n int, t text) RETURNS text LANGUAGE sql STABLE AS 'SELECT CASE WHEN n = 0 THEN t ELSE back(n - 1, (SELECT ssn FROM people WHERE id = n)) END';
CREATE FUNCTION number(people) RETURNS text LANGUAGE sql STABLE AS 'SELECT $1.ssn';
CREATE FUNCTION told(people) RETURNS text LANGUAGE plpgsql STABLE AS 'BEGIN RETURN $1.ssn; END';
CREATE FUNCTION again(people) RETURNS people LANGUAGE sql STABLE AS 'SELECT $1';
CREATE VIEW rows_told AS SELECT p.to_jsonb AS doc, p.number AS n FROM people p;
