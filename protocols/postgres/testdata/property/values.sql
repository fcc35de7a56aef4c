-- The protected values; $x is a number of the database.
INSERT INTO people SELECT i, 'name ' || i, 20 + (i * 13) % 40, i % 3, CASE WHEN (i + $x) % 5 > 0 THEN chr(97 + (i * 5 + $x * 11) % 26) || (i * 3 + $x * 7) % 10 END,
	CASE WHEN (i + $x) % 6 > 0 THEN (i * 17 + $x * 5) % 20 END, date '2025-01-01' + (i * 3 + $x * 4) % 12, (i + $x) % 2 = 0 FROM generate_series(1, 8) i;
INSERT INTO items SELECT i, i % 9 + 1, i % 4, (ARRAY['x', 'y'])[i % 2 + 1], jsonb_build_object('a', i, 'b', jsonb_build_array(i, 'z')), ARRAY[i, i % 3], (i * (i + $x)) % 6 FROM generate_series(1, 8) i;
UPDATE nodes SET secret_label = chr(97 + (id * 3 + $x * 5) % 26);
INSERT INTO parts SELECT i, i % 4, 'part ' || i, (i * 5 + $x * 7) % 13 FROM generate_series(1, 8) i;
INSERT INTO papers SELECT i, 'paper ' || i FROM generate_series(1, 3) i;
INSERT INTO sealed SELECT i + 3, 'sealed ' || (i * 5 + $x * 3) % 7 FROM generate_series(1, 4) i;
INSERT INTO guarded SELECT i, 'row ' || i, (i * 5 + $x * i) % 9 FROM generate_series(1, 8) i;
INSERT INTO slots SELECT i * 2, i + $x, 'old', 'of ' || i FROM generate_series(1, 5) i;
INSERT INTO files SELECT i, i % 4, jsonb_build_object('a', 'a' || i, 'b', jsonb_build_object('c', i, 'secret', (i * 5 + $x * 7) % 13), 'list', jsonb_build_array(jsonb_build_object('n', i, 'secret', i + $x), jsonb_build_object('n', i % 3, 'secret', i * $x))) FROM generate_series(1, 6) i;
