package statement

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"gatehouse/core/lineage"
)

// most is how many bytes an analysis allocates at most, whatever is asked of it:
// what it keeps and what it throws away, so that it bounds its work as well.
const most = 1 << 30

// Statements that are very wide or very deep take a bounded number of steps.
// Where that is not enough nothing is known of the result.
func TestLineageOfHugeStatements(t *testing.T) {
	list := func(n int, separator, item string) string {
		var all []string
		for i := range n {
			all = append(all, strings.ReplaceAll(item, "%d", fmt.Sprint(i)))
		}
		return strings.Join(all, separator)
	}
	var columns []string
	for i := range 1600 {
		columns = append(columns, fmt.Sprint("c", i))
	}
	c := shop(t)
	wide := c.Table("public.widest", columns...)
	wide.Columns[0].Unique, wide.Columns[0].Required, wide.Columns[0].Primary = true, true, true
	for i := range 60 {
		from := "widest"
		if i > 0 {
			from = fmt.Sprint("v", i-1)
		}
		c.View(fmt.Sprint("public.v", i), read(t, fmt.Sprintf("SELECT a.c0, b.c1, a.c2 || b.c2 AS c2 FROM %[1]s a JOIN %[1]s b ON a.c0 = b.c0 WHERE a.c3 > b.c1", from)), "c0", "c1", "c2", "c3")
	}
	tower := "SELECT id FROM people"
	for i := range 20 {
		tower = fmt.Sprintf("WITH RECURSIVE r%[1]d (id) AS (SELECT id FROM tree UNION ALL SELECT r.id FROM r%[1]d r JOIN (%[2]s) x (id) ON x.id = r.id) SELECT id FROM r%[1]d", i, tower)
	}
	for name, sql := range map[string]string{
		"joins":               "SELECT t0.id, t149.ssn FROM people t0 " + strings.ReplaceAll(list(149, " ", "JOIN people t%d1 ON t%d1.id = t0.id"), "t1481", "t149"),
		"joins by name":       "SELECT id FROM people " + list(150, " ", "JOIN people t%d USING (id)"),
		"natural joins":       "SELECT id FROM people " + list(150, " ", "NATURAL JOIN people t%d"),
		"tables side by side": "SELECT * FROM " + list(2000, ", ", "people t%d"),
		"all columns":         "SELECT * FROM widest a, widest b, widest c",
		"rows as a whole":     "SELECT " + list(1600, ", ", "a") + " FROM widest a, widest b",
		"views":               "SELECT c2 FROM v59",
		"towers":              tower,
		"loops side by side":  "WITH RECURSIVE " + list(300, ", ", "r%d (a, b) AS (SELECT id, ssn FROM people UNION ALL SELECT b, a FROM r%d)") + " SELECT " + list(300, ", ", "r%d.a") + " FROM " + list(300, ", ", "r%d"),
		"a loop of loops": "WITH RECURSIVE " + list(30, ", ", "r%d (a) AS (SELECT id FROM people UNION ALL SELECT x.a FROM r%d x, "+list(30, ", ", "r%d")+")") +
			" SELECT r0.a FROM r0",
		"union":          list(150, " UNION ", "SELECT id, ssn FROM people WHERE pin = %d"),
		"groups":         "SELECT c0 FROM widest GROUP BY " + list(1600, ", ", "c%d"),
		"groups of many": "SELECT 1 FROM " + list(500, ", ", "people t%d") + " GROUP BY " + list(500, ", ", "t%d.id") + ", " + list(500, ", ", "t%d.ssn"),
		"distinct":       "SELECT DISTINCT * FROM " + list(300, ", ", "people t%d"),
		"sums": "SELECT " + list(1000, ", ", "sum(t0.pin)") + " FROM people t0 " + list(150, " ", "JOIN people u%d ON u%d.id = t0.pin") +
			" HAVING " + list(1000, " AND ", "count(t0.ssn) > 2"),
		"windows":     "SELECT " + list(1000, ", ", "rank() OVER w%d") + " FROM widest WINDOW " + list(1000, ", ", "w%d AS (PARTITION BY c%d ORDER BY widest)"),
		"subqueries":  "SELECT " + list(1000, ", ", "(SELECT p.ssn FROM people p WHERE p.id = q.id AND EXISTS (SELECT FROM orders o WHERE o.id = p.pin))") + " FROM people q",
		"conditions":  "SELECT id FROM people WHERE " + list(4000, " OR ", "(ssn = '%d' AND pin < %d)"),
		"assignments": "UPDATE widest SET " + list(1600, ", ", "c%d = c0 || c1 || c2") + " FROM people RETURNING *",
		"conflicts":   "INSERT INTO widest SELECT * FROM widest ON CONFLICT (c0) DO UPDATE SET " + list(1600, ", ", "c%d = excluded.c%d || widest.c%d") + " RETURNING widest",
	} {
		t.Run(name, func(t *testing.T) {
			s := read(t, sql)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r, err := lineage.Analyze(context.Background(), s, c)
			runtime.ReadMemStats(&after)
			if err != nil {
				t.Fatal(err)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > most {
				t.Errorf("allocated %d MB", n>>20)
			}
			checkLineage(t, r)
		})
	}
}
