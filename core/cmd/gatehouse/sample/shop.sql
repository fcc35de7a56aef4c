-- The demo's database. The people are made up; the card numbers are the ones
-- that card companies publish for tests.
SET ROLE gatehouse;

CREATE TABLE customers (
    id     int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name   text NOT NULL,
    email  text NOT NULL UNIQUE,
    card   text NOT NULL,
    ssn    text NOT NULL,
    notes  text
);

CREATE TABLE orders (
    id          int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id int NOT NULL REFERENCES customers,
    item        text NOT NULL,
    amount      numeric(10, 2) NOT NULL,
    placed      timestamptz NOT NULL
);

CREATE TABLE accounts (
    id          int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id int NOT NULL REFERENCES customers,
    balance     numeric(12, 2) NOT NULL
);

INSERT INTO customers (name, email, card, ssn, notes)
SELECT first || ' ' || last,
       lower(first || '.' || last || n || '@example.com'),
       (ARRAY['4111111111111111', '5555555555554444', '378282246310005', '6011111111111117',
              '4012888888881881', '5105105105105100', '4242424242424242'])[1 + n % 7],
       format('%s-%s-%s', 100 + n, 10 + n % 89, 1000 + n * 37 % 9000),
       CASE WHEN n % 5 = 0 THEN 'Prefers mail to ' || lower(first || n || '@example.org') || ', never by phone' END
FROM generate_series(1, 200) AS n,
     LATERAL (SELECT (ARRAY['Ada', 'Grace', 'Alan', 'Edsger', 'Barbara', 'Donald', 'Frances', 'Niklaus'])[1 + n % 8] AS first,
                     (ARRAY['Lovelace', 'Hopper', 'Turing', 'Dijkstra', 'Liskov', 'Knuth', 'Allen', 'Wirth', 'Hamilton'])[1 + n % 9] AS last) AS names;

INSERT INTO orders (customer_id, item, amount, placed)
SELECT 1 + n % 200,
       (ARRAY['keyboard', 'monitor', 'cable', 'desk lamp', 'notebook'])[1 + n % 5],
       round((n * 7919 % 50000) / 100.0 + 5, 2),
       timestamptz '2026-01-01 08:00:00+00' + n * interval '3 hours'
FROM generate_series(1, 1000) AS n;

INSERT INTO accounts (customer_id, balance)
SELECT n, round((n * 104729 % 1000000) / 100.0, 2)
FROM generate_series(1, 50) AS n;

ANALYZE;
