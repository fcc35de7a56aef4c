-- What every client works with. The lines that differ between the two ways are
-- clients_test.go's.
CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, email text NOT NULL);
CREATE TABLE vault (secret text);
INSERT INTO vault VALUES ('sesame');
CREATE TABLE items (id int PRIMARY KEY, n int, note text);
CREATE TABLE kinds (
	id int PRIMARY KEY, i2 int2, i4 int4, i8 int8, f8 float8, num numeric(30, 9), flag bool, txt text, bin bytea,
	doc jsonb, ints int[], texts text[], day date, at timestamp, atz timestamptz, span interval, uid uuid, nothing text
);
GRANT SELECT ON customers TO gatehouse;
GRANT REFERENCES ON vault TO gatehouse; -- so that it is listed
GRANT ALL ON items, kinds TO gatehouse;
GRANT CREATE ON SCHEMA public TO gatehouse;
DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO gatehouse', current_database()); END $$;
