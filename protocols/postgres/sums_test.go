package postgres_test

import (
	"strings"
	"testing"

	"gatehouse/core/event"
	"gatehouse/core/protect"
	"gatehouse/core/quota"
)

const payroll = `
CREATE TABLE units (id int PRIMARY KEY, name text NOT NULL, parent bigint);
INSERT INTO units VALUES (1, 'sea', NULL), (2, 'land', 1), (3, 'air', 1);
CREATE TABLE staff (id int PRIMARY KEY, name text, unit int, boss int, wage int NOT NULL, bonus int, badge int UNIQUE, grade text);
INSERT INTO staff SELECT i, 'n' || i, CASE WHEN i <= 4 THEN 1 WHEN i <= 9 THEN 2 ELSE 3 END, 1 + i % 2, i * 100, CASE WHEN i IN (1, 5, 6, 7) THEN i END, i, 'g' || i % 2 FROM generate_series(1, 10) i;
CREATE TABLE shifts (id int PRIMARY KEY, worker int REFERENCES staff, hours int);
INSERT INTO shifts SELECT i, 1 + i % 10, i FROM generate_series(1, 40) i;
CREATE TABLE codes (unit numeric UNIQUE, label text);
INSERT INTO codes VALUES (1, 'a'), (2, 'b');
CREATE TABLE kin () INHERITS (units);
INSERT INTO kin VALUES (1, 'same', 0), (1, 'once more', 0);
CREATE TABLE plain_units (id int UNIQUE, name text);
INSERT INTO plain_units VALUES (1, 'sea'), (2, 'land'), (3, 'air');
CREATE TABLE parts (id int, unit int, wage int NOT NULL, PRIMARY KEY (id, unit)) PARTITION BY LIST (unit);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2);
INSERT INTO parts SELECT i, 1 + i % 2, i FROM generate_series(1, 8) i;
CREATE VIEW wages AS SELECT unit, avg(wage)::int AS mean FROM staff GROUP BY unit HAVING count(*) >= 4;
CREATE VIEW everyone AS SELECT * FROM staff;
CREATE FUNCTION many(t text) RETURNS SETOF text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN NEXT t; RETURN NEXT t; END';
`

// Sums of a protected column pass where it is certain that they are over so many
// rows of its table, each of them once, and that no row is chosen by what it alone
// has.
func TestSumsOfEnoughRows(t *testing.T) {
	columns, err := protect.New(protect.Config{Uses: protect.Uses{Sums: 4}, Columns: map[string]event.Treatment{
		"public.staff.wage": {Kind: event.Redact}, "public.staff.bonus": {Kind: event.Redact}, "public.parts.wage": {Kind: event.Redact},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if columns = columns.Without([]string{"public.many()"}); columns == nil {
		t.Fatal("nothing is protected")
	}
	passes := []struct{ sql, want string }{
		{"SELECT sum(wage) FROM staff HAVING count(wage) >= 4", "5500"},
		{"SELECT sum(wage), avg(wage)::int FROM staff HAVING count(*) > 3", "5500|550"},
		{"SELECT unit, sum(wage) FROM staff GROUP BY unit HAVING count(*) >= 4 ORDER BY 1", "1|1000 2|3500"},
		{"SELECT s.unit, sum(s.bonus) FROM staff s GROUP BY s.unit HAVING 4 <= count(s.bonus)", ""},
		{"SELECT sum(bonus) FROM staff HAVING 3 < count(bonus) AND max(name) <> ''", "19"},
		{"SELECT sum(bonus) FROM staff HAVING count(DISTINCT bonus) >= 4", "19"},
		{"SELECT grade, avg(wage)::int FROM staff WHERE unit < 3 GROUP BY grade HAVING count(id) >= 4 ORDER BY avg(wage) DESC LIMIT 1", "g1|500"},
		{"SELECT u.name, sum(s.wage) FROM plain_units u JOIN staff s ON s.unit = u.id GROUP BY u.name HAVING count(s.wage) >= 4 ORDER BY 1", "land|3500 sea|1000"},
		{"SELECT u.name, sum(s.wage) FROM staff s, plain_units u WHERE u.id = s.unit AND u.name <> 'sea' GROUP BY u.name HAVING count(s.id) >= 4 ORDER BY 1", "land|3500"},
		{"SELECT u.name, sum(s.wage) FROM plain_units u LEFT JOIN staff s ON s.unit = u.id GROUP BY u.name HAVING count(s.wage) >= 4 ORDER BY 1", "land|3500 sea|1000"},
		{"SELECT sum(s.wage) FROM staff s LEFT JOIN plain_units u ON s.unit = u.id HAVING count(s.wage) >= 4", "5500"},
		{"SELECT unit, sum(wage) FROM staff GROUP BY ROLLUP (unit) HAVING count(*) >= 4 ORDER BY 1", "1|1000 2|3500 NULL|5500"},
		{"SELECT sum(wage) > 100 FROM staff HAVING count(*) >= 4", "t"},
		{"SELECT unit, rank() OVER (ORDER BY sum(wage)) FROM staff GROUP BY unit HAVING count(*) >= 4 ORDER BY 1", "1|1 2|2"},
		{"SELECT unit, mean FROM wages ORDER BY 1", "1|250 2|700"},
		{"SELECT unit, sum(wage) FROM parts GROUP BY unit HAVING count(wage) >= 4 ORDER BY 1", "1|20 2|16"},
		{"SELECT sum(wage) FROM staff WHERE EXISTS (SELECT FROM units u WHERE u.name = staff.grade) HAVING count(*) >= 4", ""},
		{"SELECT count(wage), count(bonus) FROM staff", "10|4"},
	}
	// Each of these tells a value of one row, or might.
	masked := []string{
		"SELECT sum(wage) FROM staff",
		"SELECT sum(wage) FROM staff HAVING count(*) >= 3",
		"SELECT sum(wage) FROM staff HAVING count(*) <= 14",
		"SELECT sum(wage) FROM staff HAVING count(*) > 2 + 1",
		"SELECT sum(wage) FROM staff HAVING count(*) >= 4 OR true",
		"SELECT sum(wage) FROM staff HAVING NOT count(*) >= 4 OR true",
		"SELECT sum(bonus) FROM staff HAVING count(*) >= 4",
		"SELECT sum(bonus) FROM staff HAVING count(wage) >= 4",
		"SELECT sum(wage) FILTER (WHERE name = 'n7') FROM staff HAVING count(*) >= 4",
		"SELECT sum(DISTINCT wage) FROM staff HAVING count(*) >= 4",
		"SELECT sum(wage * (id = 7)::int) FROM staff HAVING count(*) >= 4",
		"SELECT sum(CASE WHEN name = 'n7' THEN wage END) FROM staff HAVING count(*) >= 4",
		"SELECT sum(wage + 0) FROM staff HAVING count(*) >= 4",
		"SELECT max(wage) FROM staff HAVING count(*) >= 4",
		"SELECT array_agg(wage) FROM staff HAVING count(*) >= 4",
		"SELECT sum(wage) OVER (PARTITION BY id) FROM staff LIMIT 1",
		"SELECT sum(wage) FROM staff WHERE id <> 7 HAVING count(*) >= 4",
		"SELECT sum(wage) FROM staff WHERE staff::text NOT LIKE '%n7%' HAVING count(*) >= 4",
		"SELECT sum(wage) FROM staff WHERE badge <> 7 HAVING count(*) >= 4",
		"SELECT sum(wage) FROM staff WHERE ctid <> '(0,7)' HAVING count(*) >= 4",
		"SELECT sum(wage) FROM staff WHERE wage < 900 HAVING count(*) >= 4",
		"SELECT sum(wage) FROM staff WHERE EXISTS (SELECT FROM shifts WHERE worker = staff.id) HAVING count(*) >= 4",
		"SELECT sum(wage) FROM staff GROUP BY id = 7 HAVING count(*) >= 4",
		"SELECT sum(s.wage) FROM staff s JOIN shifts h ON h.worker = s.id HAVING count(s.wage) >= 4",
		"SELECT sum(s.wage) FROM staff s, generate_series(1, CASE WHEN s.name = 'n7' THEN 1000 ELSE 1 END) HAVING count(s.wage) >= 4",
		"SELECT sum(s.wage) FROM staff s CROSS JOIN units HAVING count(s.wage) >= 4",
		"SELECT sum(s.wage) FROM staff s JOIN units u ON u.id = s.unit HAVING count(s.wage) >= 4", // kin have the same keys
		"SELECT sum(s.wage) FROM staff s JOIN codes c ON c.unit = s.unit HAVING count(s.wage) >= 4",
		"SELECT sum(s.wage) FROM staff s LEFT JOIN plain_units u ON s.unit = u.id AND false JOIN plain_units v ON true HAVING count(s.wage) >= 4",
		"SELECT sum(s.wage) FROM staff s CROSS JOIN plain_units u LEFT JOIN plain_units v ON u.id = s.unit AND v.id = s.unit HAVING count(s.wage) >= 4",
		"SELECT sum(s.wage) FROM staff s JOIN plain_units u ON u.id = s.unit OR true HAVING count(s.wage) >= 4",
		"SELECT sum(s.wage) FROM staff s FULL JOIN plain_units u ON u.id = s.unit HAVING count(s.wage) >= 4",
		"SELECT sum(s.wage) FROM plain_units u LEFT JOIN staff s ON s.unit = u.id HAVING count(*) >= 4",
		"SELECT sum(s.wage) FROM staff s JOIN staff t ON t.unit = s.unit HAVING count(s.wage) >= 4",
		"SELECT sum(s.wage) FROM staff s JOIN (SELECT 1 AS unit UNION ALL SELECT 1) u ON u.unit = s.unit HAVING count(s.wage) >= 4",
		"SELECT sum(wage) FROM everyone HAVING count(wage) >= 4",
		"SELECT sum(wage) FROM (SELECT wage FROM staff WHERE name = 'n7') q HAVING count(wage) >= 1",
		"SELECT sum(wage) FROM (SELECT wage FROM staff, generate_series(1, 2)) q HAVING count(wage) >= 4",
		"SELECT (SELECT sum(s.wage) FROM plain_units HAVING count(s.wage) >= 4) FROM staff s WHERE s.name = 'n7'",
		"SELECT sum(s.wage) FROM staff s TABLESAMPLE SYSTEM (100) HAVING count(s.wage) >= 4",
		"SELECT length(many(name)) % 1, sum(wage) FROM staff GROUP BY 1 HAVING count(*) >= 4",
		"SELECT generate_series(1, CASE WHEN name = 'n7' THEN 1000 ELSE 1 END) % 1, sum(wage) FROM staff GROUP BY 1 HAVING count(*) >= 4",
		"WITH staff AS (SELECT 7 AS wage FROM staff WHERE wage > 0) SELECT sum(s.wage) FROM public.staff s HAVING count(*) >= 3",
	}
	for _, version := range []int{15, 18} {
		g := startGate(t, gateConfig{version: version, sql: payroll, columns: columns})
		c, direct := g.connect(t, ""), g.direct(t)
		for _, test := range passes {
			if got := values(c, test.sql); got != test.want || values(direct, test.sql) != test.want {
				t.Errorf("PostgreSQL %d: %s: %q, want %q; directly %q", version, test.sql, got, test.want, values(direct, test.sql))
			}
		}
		for _, sql := range masked {
			got, clear := values(c, sql), values(direct, sql)
			if _, err := direct.Prepare(t.Context(), "", sql); err != nil {
				t.Errorf("PostgreSQL %d: %s: %v", version, sql, err)
			}
			for row := range strings.FieldsSeq(got) {
				if !strings.HasSuffix(row, "NULL") && !strings.HasSuffix(row, "[redacted]") && got != "42501" {
					t.Errorf("PostgreSQL %d: %s: %q; directly %q", version, sql, got, clear)
				}
			}
		}
	}
}

// What a sum lacks is told, and what tells less is not counted as one that passes.
func TestSumsAreExplainedAndCounted(t *testing.T) {
	columns, err := protect.New(protect.Config{Uses: protect.Uses{Sums: 4}, Columns: map[string]event.Treatment{"public.staff.wage": {Kind: event.Redact}}})
	if err != nil {
		t.Fatal(err)
	}
	g := startGate(t, gateConfig{sql: payroll, columns: columns})
	for sql, want := range map[string]string{
		"SELECT sum(wage) FROM staff HAVING count(wage) >= 4":               "",
		"SELECT round(avg(wage)) + 1 FROM staff":                            "HAVING count(wage) >= 4 is missing",
		"SELECT sum(wage / 2) FROM staff HAVING count(*) >= 4":              "what is summed is not a column of a table, as it is",
		"SELECT sum(DISTINCT wage) FROM staff HAVING count(*) >= 4":         "what is summed is not only a column",
		"SELECT sum(wage) FROM staff, units HAVING count(wage) >= 4":        "rows of staff may count more than once",
		"SELECT sum(wage) FROM staff WHERE id <> 3 HAVING count(wage) >= 4": "which rows are summed depends on public.staff.id",
	} {
		all, err := g.server.Explain(t.Context(), g.database, analyzer(), columns, columns, sql)
		if err != nil {
			t.Fatal(err)
		}
		if f := all[0].Fields[0]; f.Why != want || (f.Treatment.Kind == event.Pass) != (want == "") {
			t.Errorf("%s: %s, %q", sql, f.Treatment, f.Why)
		}
	}
	g.policy.all = columns
	g.policy.spend = spending(quota.Limit{Predicates: 2}, event.Block)
	c := g.connect(t, "")
	for _, test := range []struct{ sql, want string }{
		{"SELECT sum(wage) FROM staff", "NULL"},
		{"SELECT sum(wage) FROM staff HAVING count(*) >= 4", "5500"},
		{"SELECT sum(wage) FROM staff WHERE name <> 'n7' HAVING count(wage) >= 4", "4800"},
		{"SELECT sum(wage) FROM staff HAVING count(*) >= 4", "53400"},
		{"SELECT sum(wage) FROM staff", "NULL"},
	} {
		if got := values(c, test.sql); got != test.want {
			t.Errorf("%s: %q, want %q", test.sql, got, test.want)
		}
	}
}
