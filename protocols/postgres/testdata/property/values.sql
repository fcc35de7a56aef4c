-- The protected values; $x is a number of the database. Those of 3 are those of 1 in
-- another order, and those of 4 few and NULLs.
CREATE FUNCTION pg_temp.hidden(i int, step int, below int) RETURNS int LANGUAGE sql AS $$
	SELECT CASE $x WHEN 3 THEN ((9 - i) * step + 5) % below WHEN 4 THEN nullif(i % 3, 0) + 1 ELSE (i * step + $x * 5) % below END
$$;
CREATE FUNCTION pg_temp.letter(i int, step int) RETURNS text LANGUAGE sql AS 'SELECT chr(97 + pg_temp.hidden(i, step, 26))';
INSERT INTO people SELECT i, 'name ' || i, 20 + (i * 13) % 40, i % 3, CASE WHEN (i + $x) % 5 > 0 THEN pg_temp.letter(i, 5) || pg_temp.hidden(i, 3, 10) END,
	CASE WHEN (i + $x) % 6 > 0 THEN pg_temp.hidden(i, 17, 20) END, date '2025-01-01' + pg_temp.hidden(i, 3, 12), (i + $x) % 2 = 0 FROM generate_series(1, 8) i;
INSERT INTO items SELECT i, i % 9 + 1, i % 4, (ARRAY['x', 'y'])[i % 2 + 1], jsonb_build_object('a', i, 'b', jsonb_build_array(i, 'z')), ARRAY[i, i % 3], (i * (i + $x)) % 6 FROM generate_series(1, 8) i;
UPDATE nodes SET secret_label = coalesce(pg_temp.letter(id, 3), 'a');
INSERT INTO parts SELECT i, i % 4, 'part ' || i, pg_temp.hidden(i, 5, 13) FROM generate_series(1, 8) i;
INSERT INTO papers SELECT i, 'paper ' || i FROM generate_series(1, 3) i;
INSERT INTO sealed SELECT i + 3, 'sealed ' || (i * 5 + $x * 3) % 7 FROM generate_series(1, 4) i;
INSERT INTO guarded SELECT i, 'row ' || i, (i * 5 + $x * i) % 9 FROM generate_series(1, 8) i;
INSERT INTO slots SELECT i * 2, i + $x, 'old', 'of ' || i FROM generate_series(1, 5) i;
INSERT INTO files SELECT i, i % 4, jsonb_build_object('a', 'a' || i, 'b', jsonb_build_object('c', i, 'secret', (i * 5 + $x * 7) % 13), 'list', jsonb_build_array(jsonb_build_object('n', i, 'secret', i + $x), jsonb_build_object('n', i % 3, 'secret', i * $x))) FROM generate_series(1, 6) i;
INSERT INTO firm SELECT 10 - i, i % 3, pg_temp.hidden(i, 17, 20) FROM generate_series(1, 8) i;
INSERT INTO loose SELECT NULL, (i * i * $x) % (3 + $x) FROM generate_series(1, 6) i;
INSERT INTO sparse SELECT i, i * 2 + $x, 'old' FROM generate_series(1, 3) i;
