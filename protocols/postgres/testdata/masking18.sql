-- What masking18.txt reads beside masking.sql.
CREATE TABLE virtual (id int, ssn text, hidden text GENERATED ALWAYS AS (lower(ssn)) VIRTUAL);
INSERT INTO virtual VALUES (1, '219-09-9471');
