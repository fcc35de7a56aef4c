package postgres_test

import "fmt"

// pointed returns a statement in which a protected column has a part in one place
// only, and in which that shows: where results depend on it, they differ between
// the two databases in most cases. What the rest of the grammar makes seldom is
// among them.
func (g *generator) pointed() string {
	n := func() string { return fmt.Sprint(2 + g.IntN(9)) }
	of := g.hider()
	key, label, secret := of.known()+"."+of.key, of.known()+"."+of.columns[0].name, of.known()+"."+of.columns[1].name
	row := key + "::text AS k, " + label + " AS f0"
	computed := oneOf(g, "("+secret+" + 1)", "("+secret+" % 4)", "coalesce("+secret+", 0)", "abs("+secret+")", "twice("+secret+")")
	holds := oneOf(g, computed+oneOf(g, " > ", " <= ")+n(), secret+oneOf(g, " < ", " >= ")+n(), secret+" % 2 = 0", secret+" IS NULL", "NOT ("+secret+" > "+n()+")")
	clean := oneOf(g, "'x' < 'y'", label+" IS NOT NULL", key+" > 0")
	sorted := secret + oneOf(g, "", " DESC", " NULLS FIRST") + ", " + key
	switch g.IntN(35) {
	case 0, 1: // computed values, compared with constants
		return "SELECT " + row + " FROM " + of.alias + " WHERE " + computed + oneOf(g, " = ", " > ", " <> ", " < ") + n()
	case 2: // a condition before or behind one that tells nothing
		return "SELECT " + row + " FROM " + of.alias + " WHERE " + oneOf(g, holds+" AND "+clean, clean+" AND "+holds, "NOT ("+holds+")", holds+" OR "+label+" IS NULL")
	case 3: // an order with a limit
		return "SELECT " + row + " FROM " + of.alias + " ORDER BY " + sorted + oneOf(g, " LIMIT 3", " OFFSET 4", " FETCH FIRST 2 ROWS ONLY")
	case 4:
		return "SELECT q.k, q.f0 FROM (SELECT " + row + " FROM " + of.alias + " ORDER BY " + sorted + " LIMIT 3) q"
	case 5:
		return "SELECT DISTINCT ON (" + key + " % 3) " + row + " FROM " + of.alias + " ORDER BY " + key + " % 3, " + sorted
	case 6: // rows of groups
		return "SELECT (" + key + " % 4)::text AS k, count(*)::int AS f0 FROM " + of.alias + " GROUP BY " + key + " % 4 HAVING " +
			oneOf(g, "max("+secret+") > "+n(), "min("+computed+") < "+n(), "count("+secret+") > 1", "bool_or("+holds+")", "count(*) FILTER (WHERE "+holds+") > 0")
	case 7:
		g.keyless = true
		return "SELECT count(*)::text AS k, min(" + key + ")::int AS f0 FROM " + of.alias + " GROUP BY " + oneOf(g, computed, secret)
	case 8: // the right side of a set operation
		return "SELECT 'a' || " + key + " AS k, " + key + " AS f0 FROM " + of.alias + oneOf(g, " UNION ALL ", " UNION ") + "SELECT 'b' || " + key + ", " + oneOf(g, secret, computed) + " FROM " + of.alias
	case 9: // what it tells rows apart by
		return "SELECT " + key + "::text AS k, " + key + " AS f0 FROM " + of.alias + oneOf(g, " EXCEPT ", " INTERSECT ", " EXCEPT ALL ") + "SELECT " + secret + "::text, " + secret + " FROM " + of.alias
	case 10:
		other := g.hider()
		return "SELECT count(*)::text AS k, 1 AS f0 FROM (SELECT " + secret + " FROM " + of.alias + oneOf(g, " UNION ", " EXCEPT ", " INTERSECT ") +
			"SELECT " + other.known() + "." + oneOf(g, other.columns[1].name, other.key) + " FROM " + other.alias + ") q"
	case 11:
		return "SELECT count(*)::text AS k, 1 AS f0 FROM (SELECT DISTINCT " + oneOf(g, computed, secret) + " FROM " + of.alias + ") q"
	case 12: // a recursive query of which later rounds bring in what the first has not
		step, first := oneOf(g, "n.secret_label", "n.label || n.secret_label"), oneOf(g, "label", "'x'")
		return "WITH RECURSIVE r (id, a, b) AS (SELECT id, " + first + ", label FROM nodes WHERE parent_id IS NULL UNION ALL SELECT n.id, r.b, " + step +
			" FROM nodes n JOIN r ON n.parent_id = r.id) SELECT id::text AS k, a AS f0 FROM r"
	case 13:
		return "WITH RECURSIVE r (id, a, b, c) AS (SELECT id, 1, 1, 1 FROM nodes WHERE parent_id IS NULL UNION ALL SELECT n.id, r.b, r.c, " +
			"length(n.secret_label) + ascii(n.secret_label) FROM nodes n JOIN r ON n.parent_id = r.id" + oneOf(g, "", " WHERE ascii(n.secret_label) > 103") + ") SELECT id::text AS k, a AS f0 FROM r"
	case 14: // the left side of IN
		return "SELECT " + row + ", (" + oneOf(g, secret, computed) + oneOf(g, " IN ", " NOT IN ", " = ANY ", " > ALL ") + "(SELECT amount FROM orders WHERE amount > " + n() + ")) AS f1 FROM " + of.alias
	case 15: // and what its rows are
		return "SELECT o.id::text AS k, (o.amount" + oneOf(g, " IN ", " NOT IN ", " > ALL ") + "(SELECT " + oneOf(g, secret, computed, key) + " FROM " + of.alias + " WHERE " + holds + ")) AS f0 FROM orders o"
	case 16: // rows of subqueries
		return "SELECT o.id::text AS k, " + oneOf(g, "EXISTS (SELECT 1 FROM "+of.alias+" WHERE "+secret+" = o.amount)",
			"(SELECT count(*) FROM "+of.alias+" WHERE "+secret+" > o.amount)", "(SELECT max("+label+") FROM "+of.alias+" WHERE "+secret+" < o.amount)",
			"ARRAY(SELECT "+key+" FROM "+of.alias+" WHERE "+holds+" ORDER BY "+key+")::text",
			"ARRAY(SELECT "+key+" FROM "+of.alias+" ORDER BY "+sorted+")::text",
			"(SELECT "+label+" FROM "+of.alias+" ORDER BY "+sorted+" LIMIT 1)") + " AS f0 FROM orders o"
	case 17: // windows
		over := oneOf(g, "(ORDER BY "+sorted+")", "(PARTITION BY "+secret+" % 3 ORDER BY "+key+")", "(PARTITION BY "+label+" IS NULL ORDER BY "+sorted+")")
		return "SELECT " + row + ", " + oneOf(g, "rank()", "row_number()", "count(*)", "sum("+key+")", "lag("+key+")", "first_value("+label+")", "last_value("+key+")") + " OVER " + over + " AS f1 FROM " + of.alias
	case 18:
		return "SELECT " + row + ", " + oneOf(g, "row_number()", "min("+key+")", "lead("+label+")") + " OVER w AS f1 FROM " + of.alias +
			" WINDOW " + oneOf(g, "w AS (ORDER BY "+sorted+")", "v AS (PARTITION BY "+secret+" % 3), w AS (v ORDER BY "+key+")", "w AS (PARTITION BY "+holds+" ORDER BY "+key+")")
	case 19:
		return "SELECT " + row + ", count(*) FILTER (WHERE " + holds + ") OVER (ORDER BY " + key + ") AS f1 FROM " + of.alias
	case 20: // aggregates
		return "SELECT 'all' AS k, " + oneOf(g, "count(*) FILTER (WHERE "+holds+")", "string_agg("+key+"::text, ',' ORDER BY "+sorted+")",
			"(array_agg("+key+" ORDER BY "+sorted+"))[1]", "percentile_disc(0.5) WITHIN GROUP (ORDER BY "+secret+")", "mode() WITHIN GROUP (ORDER BY "+computed+")") + " AS f0 FROM " + of.alias
	case 21: // joins
		other := g.hider()
		on := other.known() + "." + other.columns[1].name
		return "SELECT " + key + "::text || '/' || coalesce(" + other.known() + "." + other.key + ", 0) AS k, " + label + " AS f0 FROM " + of.alias + oneOf(g, " JOIN ", " LEFT JOIN ") + other.alias + " ON " + oneOf(g, on+" = "+secret, on+" = "+key, on+" < "+n())
	case 22:
		g.keyless = true
		return "SELECT " + oneOf(g, "i.tag AS k, p.name AS f0 FROM items i JOIN people p USING (secret_n)", "i.tag AS k, p.label AS f0 FROM items i NATURAL JOIN parts p", "p.id::text AS k, q.label AS f0 FROM people p JOIN LATERAL (SELECT label FROM parts WHERE parts.secret_n > p.age % 9) q ON true")
	case 23: // rows of VALUES, and how many there are
		return oneOf(g, "SELECT v.a::text AS k, v.b AS f0 FROM (VALUES (1, 'x'), (2, (SELECT min(secret_code) FROM people)), (3, 'y')) v (a, b)",
			"SELECT id::text AS k, amount AS f0 FROM orders ORDER BY id LIMIT (SELECT count(*) FROM "+of.alias+" WHERE "+holds+")",
			"SELECT "+key+" || '/' || i AS k, i AS f0 FROM "+of.alias+", generate_series(1, "+secret+") i",
			"SELECT "+key+"::text AS k, generate_series(1, "+secret+") AS f0 FROM "+of.alias)
	case 24: // names that stand for several things, and casts that run code
		return "SELECT id::text AS k, " + oneOf(g, "tell(name)", "tell(id)", "tell(age::text)", "(id::badge)::text", "(id::badge).code", "(p).secret_loud", "secret_loud(p)", "~~~ id", "team <~> id", "next_to(id)", "next_to(who => id)", "next_to(id, 0)") + " AS f0 FROM people p"
	case 25: // heirs
		return "SELECT id::text AS k, " + oneOf(g, "body", "upper(body)", "length(body)") + " AS f0 FROM " + oneOf(g, "papers", "papers p", "(SELECT * FROM papers) q", "paper_view")
	case 26: // row security, and views upon views
		return "SELECT id::text AS k, " + oneOf(g, "label", "upper(label)", "count(*) OVER ()") + " AS f0 FROM " + oneOf(g, "seen", "seen s", "seen_again")
	case 27:
		return "SELECT id::text AS k, " + oneOf(g, "label", "n") + " AS f0 FROM " + oneOf(g, "deep", "deeper", "ranked")
	case 29: // choices
		return "SELECT " + row + ", CASE WHEN " + holds + " THEN " + key + " ELSE " + n() + " END AS f1 FROM " + of.alias
	case 30: // how many values there are
		return "SELECT count(*)::text AS k, 1 AS f0 FROM (SELECT DISTINCT " + oneOf(g, "", "ON (i.secret_n) 1, ") + "i.secret_n FROM items i) q"
	case 31, 32, 33: // within documents
		return "SELECT f.id::text AS k, " + g.within() + " AS f0, " + g.within() + " AS f1 FROM " + oneOf(g, "files f", "(SELECT id, n, doc FROM files) f", "opened f") + oneOf(g, "", " WHERE "+g.within()+" IS NOT NULL")
	case 28: // what fails
		return "SELECT " + key + "::text AS k, 10 / (" + secret + " - " + n() + ") AS f0 FROM " + of.alias
	default: // what is written, and returned
		return oneOf(g, "UPDATE orders SET amount = "+secret+" FROM "+of.alias+" WHERE "+key+" = orders.id RETURNING orders.id::text AS k, orders.amount AS f0",
			"DELETE FROM orders USING "+of.alias+" WHERE "+key+" = orders.id AND "+holds+" RETURNING orders.id::text AS k, orders.kind AS f0",
			"INSERT INTO log (id, note) SELECT "+key+", "+secret+"::text FROM "+of.alias+" RETURNING id::text AS k, made AS f0",
			"INSERT INTO slots (n, what) VALUES ("+n()+", 'new'), ("+n()+" + 20, 'far') ON CONFLICT DO NOTHING RETURNING n::text AS k, what AS f0",
			"INSERT INTO slots (n, what) SELECT id, 'new' FROM people ON CONFLICT (n) DO UPDATE SET what = excluded.what || slots.note RETURNING n::text AS k, what AS f0",
			"MERGE INTO orders o USING "+of.alias+" ON o.id = "+key+" WHEN MATCHED AND "+holds+" THEN UPDATE SET note = 'm' RETURNING o.id::text AS k, o.note AS f0")
	}
}

// within returns an expression of the documents f.doc of files, or of the part of
// them that a view shows by that name.
func (g *generator) within() string {
	of := func() string {
		return oneOf(g, "f.doc", "f.doc", "f.doc", "f.doc::jsonb", "(f.doc || '{}')", "coalesce(f.doc -> 'b', f.doc)", "jsonb_build_object('a', f.doc -> 'b', 'c', f.doc -> 'a')",
			"(SELECT u.d FROM (SELECT f.doc AS d, 1 AS n UNION ALL SELECT jsonb_build_object('a', f.doc #> '{b,secret}'), 2) u ORDER BY u.n LIMIT 1 OFFSET "+oneOf(g, "0", "1")+")")
	}
	doc := of()
	return "(" + oneOf(g, doc+" ->> 'a'", doc+" -> 'a'", doc+" -> 'b' ->> 'c'", doc+" #>> '{b,c}'", doc+" ->> 'secret'", doc+" ->> 'c'", doc+" -> 'b' -> 'secret'", doc+" #> '{b,secret}'", doc+" #>> ARRAY['b', 'secret']",
		doc+" ->> 'b'", "("+doc+")['b']['c']", "("+doc+")['b']['secret']", "("+doc+")['list'][0]['n']", doc+" #>> '{list,1,secret}'", doc+" -> 'list' -> 1 ->> 'n'", doc+" -> 'list' -> 0 -> 'secret'",
		"jsonb_path_query_first("+doc+", '$.list.n')", "jsonb_path_query_first("+doc+", '$.list.secret')", "jsonb_path_query_array("+doc+", '$.list[*].n')", "jsonb_path_query_first("+doc+", '$.b[0].secret')",
		doc+" @? '$.b.secret'", doc+" @? '$.b ? (@.secret > 5)'", "jsonb_extract_path_text("+doc+", 'b', 'c')", "jsonb_extract_path("+doc+", 'b')", "length("+doc+" ->> 'a')",
		"(SELECT string_agg(e ->> 'n', ',' ORDER BY e ->> 'n') FROM jsonb_array_elements("+doc+" -> 'list') e)", "(SELECT string_agg(e ->> 'secret', ',' ORDER BY e ->> 'n') FROM jsonb_array_elements("+doc+" -> 'list') e)",
		"JSON_VALUE("+doc+", '$.b.c')", "JSON_VALUE("+doc+", '$.b.secret')", "JSON_QUERY("+doc+", '$.list')") + ")::text"
}

// hider returns a source with a key, a column that is clean and one that is
// protected, a number.
func (g *generator) hider() source {
	of := oneOf(g,
		source{"people", "id", columnsOf("name t, secret_n n")},
		source{"people", "id", columnsOf("age n, secret_n n")},
		source{"items", "id", columnsOf("tag t, secret_n n")},
		source{"parts", "id", columnsOf("label t, secret_n n")},
		source{"all_people", "id", columnsOf("name t, pin n")},
		source{"(SELECT id, name AS word, secret_n AS hid FROM people)", "id", columnsOf("word t, hid n")},
		source{"(SELECT id, tag AS word, secret_n + 1 AS hid FROM items)", "id", columnsOf("word t, hid n")})
	of.alias += " " + g.name("h")
	return of
}
