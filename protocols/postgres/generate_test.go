package postgres_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// A generator makes random statements over testdata/property/schema.sql. The
// first field of each is a key of its rows, as far as they have one that does not
// depend on what is protected. What the server leaves open, such as an order, a
// statement says.
type generator struct {
	*rand.Rand
	bias  bias
	named []source // common table expressions
	n     int      // of names that were given
	// keyless is whether the first field is no key: rows that are alike in it
	// may be others.
	keyless bool
	turns   []int            // of pointed statements that come next
	choices map[string][]int // and in each of their places
	points  int              // how many of a hundred statements are pointed
}

// A bias is where a statement prefers protected columns.
type bias int

const (
	anywhere  bias = iota
	nowhere        // not named at all
	filtering      // in conditions, not in results
)

// Types of expressions.
const (
	ofInt   = 'n'
	ofText  = 't'
	ofBool  = 'b'
	ofDate  = 'd'
	ofJSON  = 'j'
	ofArray = 'a'
)

type namedField struct {
	name string
	kind byte
}

// A source is something in FROM, with the key of its rows among its columns.
type source struct {
	alias, key string
	columns    []namedField
}

// A scope is what an expression may name: sources, those of the queries around it
// included.
type scope struct {
	sources []source
	windows bool // window functions may stand here
	secrets bool // protected columns may
	depth   int
}

func newGenerator(seed uint64) *generator {
	return &generator{Rand: rand.New(rand.NewPCG(seed, 1)), choices: map[string][]int{}, points: 45}
}

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

func (g *generator) name(prefix string) string {
	g.n++
	return fmt.Sprint(prefix, g.n)
}

func oneOf[T any](g *generator, of ...T) T { return of[g.IntN(len(of))] }

// relations are tables and views; all have an id, which is a key of theirs but for
// what parts of a table have.
var relations = []source{
	{"people", "id", columnsOf("id n, name t, age n, team n, loud t, secret_code t, secret_n n, secret_on d, secret_flag b, secret_loud t")},
	{"people", "id", columnsOf("id n, name t, age n, team n, loud t, secret_code t, secret_n n, secret_on d, secret_flag b, secret_loud t")},
	{"orders", "id", columnsOf("id n, person_id n, amount n, kind t, note t, placed d, open b")},
	{"orders", "id", columnsOf("id n, person_id n, amount n, kind t, note t, placed d, open b")},
	{"items", "id", columnsOf("id n, order_id n, n n, tag t, doc j, numbers a, secret_n n")},
	{"nodes", "id", columnsOf("id n, parent_id n, label t, secret_label t")},
	{"parts", "id", columnsOf("id n, n n, label t, secret_n n")},
	{"parts_low", "id", columnsOf("id n, n n, label t, secret_n n")},
	{"plain_people", "id", columnsOf("id n, name t, age n, team n")},
	{"all_people", "id", columnsOf("id n, name t, hidden t, age n, pin n")},
	{"some_people", "id", columnsOf("id n, name t, age n")},
	{"teams", "id", columnsOf("id n, n n, label t, secret_n n")},
	{"orders_of", "id", columnsOf("id n, name t, amount n, kind t")},
	{"matched", "id who", columnsOf("id n, who n, kind t, name t")},
}

func columnsOf(list string) (all []namedField) {
	for f := range strings.SplitSeq(list, ", ") {
		name, kind, _ := strings.Cut(f, " ")
		all = append(all, namedField{name, kind[0]})
	}
	return all
}

// isSecret is whether a column says by its name that it is protected.
func isSecret(name string) bool {
	return strings.HasPrefix(name, "secret") || name == "hidden" || name == "pin"
}

// statement returns a statement.
func (g *generator) statement() string {
	g.bias = oneOf(g, anywhere, anywhere, nowhere, filtering)
	g.named, g.n, g.keyless = nil, 0, false
	if g.chance(g.points) {
		return g.pointed()
	}
	var common []string
	for range g.IntN(3) {
		common = append(common, g.common())
	}
	with := ""
	if len(common) > 0 {
		with = "WITH RECURSIVE " + strings.Join(common, ", ") + " "
	}
	switch g.IntN(12) {
	case 0:
		return with + g.write()
	case 1, 2:
		sql, fields := g.combined(2, nil)
		return with + sql + g.sorted(fields)
	default:
		sql, fields := g.query(2, nil)
		return with + sql + g.sorted(fields)
	}
}

// sorted returns a total order, and perhaps a limit, for a query with a key first.
func (g *generator) sorted(fields []namedField) string {
	if g.chance(30) {
		return ""
	}
	var keys []string
	if len(fields) > 1 && g.chance(40) {
		i := 1 + g.IntN(len(fields)-1)
		if f := fields[i]; f.kind != ofJSON {
			keys = append(keys, fmt.Sprint(i+1)+oneOf(g, "", " DESC", " NULLS FIRST"))
		}
	}
	for i, f := range fields {
		if f.kind != ofJSON {
			keys = append(keys, fmt.Sprint(i+1))
		}
	}
	return " ORDER BY " + strings.Join(keys, ", ") + g.limit()
}

func (g *generator) limit() string {
	switch g.IntN(6) {
	case 0:
		return fmt.Sprint(" LIMIT ", 1+g.IntN(5))
	case 1:
		return fmt.Sprint(" OFFSET ", 1+g.IntN(2), " LIMIT ", 1+g.IntN(5))
	case 2:
		if g.bias == anywhere {
			return " LIMIT (SELECT max(secret_n) FROM people)"
		}
	}
	return ""
}

// common returns a common table expression, which later parts of the statement may
// name.
func (g *generator) common() string {
	name := g.name("c")
	var sql string
	var fields []namedField
	switch {
	case g.chance(20):
		// A recursive one, of which not many rows remain for what follows.
		first, rows := g.scope(1, g.table()), name+"_rows"
		kind := oneOf[byte](g, ofInt, ofText)
		fields = []namedField{{"k", ofText}, {"v", kind}, {"depth", ofInt}}
		s := g.scope(1, g.table(), source{rows, "k", fields})
		step := "left(" + g.expression(ofText, s) + ", 20)"
		if kind == ofInt {
			step = "(" + g.expression(ofInt, s) + ") % 100"
		}
		conditions := s
		conditions.secrets = g.bias != nowhere
		sql = fmt.Sprintf("%[1]s (k, v, depth) AS (SELECT %[2]s, %[3]s, 1 FROM %[4]s UNION ALL SELECT %[1]s.k || '/' || %[5]s, %[6]s, %[1]s.depth + 1 FROM %[7]s WHERE %[1]s.depth < 3 AND %[8]s), "+
			"%[9]s AS (SELECT k, min(v) AS v, min(depth) AS depth FROM %[1]s GROUP BY k ORDER BY k LIMIT 12)", rows, g.key(first.sources), g.expression(kind, first), g.from(first),
			g.key(s.sources[:1]), step, g.from(s), g.expression(ofBool, conditions), name)
		g.named = append(g.named, source{name, "k", fields})
		return sql
	case g.chance(10):
		sql = "UPDATE orders SET note = note WHERE id < 4 RETURNING id::text AS k, amount, kind"
		fields = []namedField{{"k", ofText}, {"amount", ofInt}, {"kind", ofText}}
	default:
		sql, fields = g.query(1, nil)
		if sql += g.sorted(fields); !strings.Contains(sql, " LIMIT ") {
			sql = fmt.Sprintf("SELECT * FROM (%s) q ORDER BY k LIMIT 20", sql)
		}
	}
	g.named = append(g.named, source{name, "k", fields})
	return name + oneOf(g, " AS (", " AS MATERIALIZED (") + sql + ")"
}

// table returns a source that is known by a name, with an alias of its own.
func (g *generator) table() source {
	of := relations[g.IntN(len(relations))]
	if len(g.named) > 0 && g.chance(40) {
		of = oneOf(g, g.named...)
	}
	s := source{alias: g.name("s"), key: of.key, columns: of.columns}
	s.alias = of.alias + " " + s.alias
	return s
}

// known is the name by which the columns of a source are known.
func (s source) known() string { return s.alias[strings.LastIndexByte(s.alias, ' ')+1:] }

func (g *generator) scope(depth int, sources ...source) scope {
	return scope{sources: sources, secrets: g.bias == anywhere, depth: depth}
}

func (g *generator) from(s scope) string {
	var all []string
	for _, x := range s.sources {
		all = append(all, x.alias)
	}
	return strings.Join(all, ", ")
}

// key returns a key of the rows of sources. A row that an outer join has nothing for
// has another than one whose own key is empty.
func (g *generator) key(sources []source) string {
	var all []string
	for _, s := range sources {
		for column := range strings.FieldsSeq(s.key) {
			all = append(all, fmt.Sprintf("coalesce(%[1]s.%[2]s::text, 'no %[1]s')", s.known(), column))
		}
	}
	return strings.Join(all, " || '-' || ")
}

// query returns a query of which the first field is a key, named k.
func (g *generator) query(depth int, outer []source) (string, []namedField) {
	from, inner := g.sources(depth, outer)
	s := scope{sources: append(inner[:len(inner):len(inner)], outer...), secrets: g.bias == anywhere, depth: depth}
	conditions := s
	conditions.secrets = g.bias != nowhere
	where := ""
	if g.chance(60) {
		where = " WHERE " + g.expression(ofBool, conditions)
	}
	switch {
	case g.chance(25):
		return g.grouped(inner, s, " FROM "+from+where)
	case g.chance(10):
		// Of rows that are alike in a column, one.
		c, _ := g.column(ofText, s)
		f, list := g.results(s, g.key(inner))
		return fmt.Sprintf("SELECT * FROM (SELECT DISTINCT ON (%[1]s) %[2]s FROM %[3]s%[4]s ORDER BY %[1]s, %[5]s) one", c, list, from, where, g.key(inner)), f
	case g.chance(10):
		c, _ := g.column(ofText, s)
		f, list := g.results(s, c)
		g.keyless = true
		return "SELECT DISTINCT " + list + " FROM " + from + where, f
	}
	s.windows = true
	f, list := g.results(s, g.key(inner))
	return "SELECT " + list + " FROM " + from + where, f
}

// results returns some results with a key before them.
func (g *generator) results(s scope, key string) ([]namedField, string) {
	all := []namedField{{"k", ofText}}
	list := key + " AS k"
	for i := range 1 + g.IntN(3) {
		f := namedField{fmt.Sprint("f", i), oneOf[byte](g, ofInt, ofInt, ofText, ofText, ofBool, ofDate, ofJSON)}
		if f.kind == ofJSON && !s.windows {
			f.kind = ofInt // documents of json are not compared
		}
		all = append(all, f)
		list += fmt.Sprintf(", %s AS %s", g.expression(f.kind, s), f.name)
	}
	return all, list
}

// sources returns FROM, and what it has.
func (g *generator) sources(depth int, outer []source) (string, []source) {
	first, all := g.sourceIn(depth, nil)
	from := first
	for len(all) < 2+depth/2 && g.chance(30+15*depth) {
		s := scope{secrets: g.bias != nowhere, depth: 1}
		if g.chance(15) {
			// One that sees what stands before it.
			sql, fields := g.query(0, append(all[:len(all):len(all)], outer...))
			alias := g.name("l")
			from += oneOf(g, " CROSS JOIN LATERAL (", ", LATERAL (") + sql + " ORDER BY 1 LIMIT 2) " + alias
			all = append(all, source{alias, "k", fields})
			continue
		}
		next, more := g.sourceIn(depth, all)
		s.sources = append(all[:len(all):len(all)], more...)
		switch g.IntN(6) {
		case 0:
			from += ", " + next
			if strings.Contains(from, " JOIN ") {
				from = strings.Replace(from, ", "+next, " CROSS JOIN "+next, 1)
			}
		case 1:
			a, aok := g.column(ofInt, scope{sources: all, secrets: s.secrets})
			b, bok := g.column(ofInt, scope{sources: more, secrets: s.secrets})
			if !aok || !bok {
				from += " CROSS JOIN " + next
				break
			}
			from += " FULL JOIN " + next + " ON " + a + " = " + b
		case 2, 3:
			from += " LEFT JOIN " + next + " ON " + g.expression(ofBool, s)
		case 4:
			from += " RIGHT JOIN " + next + " ON " + g.expression(ofBool, s)
		default:
			from += " JOIN " + next + " ON " + g.expression(ofBool, s)
		}
		all = append(all, more...)
	}
	return from, all
}

func (g *generator) sourceIn(depth int, before []source) (string, []source) {
	switch {
	case depth > 0 && g.chance(20):
		sql, fields := g.query(depth-1, nil)
		if g.chance(30) {
			sql, fields = g.combined(depth-1, nil)
		}
		s := source{g.name("q"), "k", fields}
		return "(" + sql + ") " + s.alias, []source{s}
	case g.chance(8):
		s := source{g.name("v"), "a", columnsOf("a n, b t")}
		return "(VALUES (1, 'x'), (2, 'y'), (3, NULL)) " + s.alias + " (a, b)", []source{s}
	case g.chance(8):
		s := source{g.name("g"), "i", columnsOf("i n")}
		return "generate_series(1, 4) " + s.alias + " (i)", []source{s}
	case g.chance(5):
		s := source{g.name("f"), "id", columnsOf("id n, kind t")}
		return "kinds(5) " + s.alias, []source{s}
	}
	s := g.table()
	return s.alias, []source{s}
}

// combined returns a set operation.
func (g *generator) combined(depth int, outer []source) (string, []namedField) {
	kinds := []byte{oneOf[byte](g, ofInt, ofText), oneOf[byte](g, ofInt, ofText, ofBool)}
	all := columnsOf("k t, f0 " + string(kinds[0]) + ", f1 " + string(kinds[1]))
	side := func(prefix string) string {
		from, inner := g.sources(0, outer)
		s := scope{sources: append(inner[:len(inner):len(inner)], outer...), secrets: g.bias == anywhere, depth: 1}
		conditions := s
		conditions.secrets = g.bias != nowhere
		return fmt.Sprintf("SELECT '%s' || %s AS k, %s AS f0, %s AS f1 FROM %s WHERE %s", prefix, g.key(inner),
			g.expression(kinds[0], s), g.expression(kinds[1], s), from, g.expression(ofBool, conditions))
	}
	operator := oneOf(g, "UNION ALL", "UNION", "EXCEPT", "INTERSECT", "EXCEPT ALL")
	if strings.HasPrefix(operator, "UNION") {
		return side("a") + " " + operator + " " + side("b"), all
	}
	return side("") + " " + operator + " " + side(""), all
}

// grouped returns a query that groups.
func (g *generator) grouped(inner []source, s scope, rest string) (string, []namedField) {
	var by []string
	kinds := []byte{}
	if g.chance(85) {
		for range 1 + g.IntN(2) {
			kind := oneOf[byte](g, ofInt, ofText)
			c, ok := g.column(kind, s)
			if !ok {
				c = g.key(inner)
				kind = ofText
			}
			by, kinds = append(by, c), append(kinds, kind)
		}
	}
	all := []namedField{{"k", ofText}}
	list := "'all' AS k"
	group := ""
	if len(by) > 0 {
		list = "concat_ws('|', " + strings.Join(by, ", ") + ") AS k"
		group = " GROUP BY " + strings.Join(by, ", ")
		if g.chance(20) {
			group = " GROUP BY " + oneOf(g, "ROLLUP (", "CUBE (", "GROUPING SETS ((), ") + strings.Join(by, ", ") + ")"
			list = "concat_ws('|', grouping(" + strings.Join(by, ", ") + "), " + strings.Join(by, ", ") + ") AS k"
		}
		for i, c := range by {
			f := namedField{fmt.Sprint("g", i), kinds[i]}
			all = append(all, f)
			list += ", " + c + " AS " + f.name
		}
	}
	for i := range 1 + g.IntN(3) {
		kind, sql := g.aggregate(inner, s)
		f := namedField{fmt.Sprint("f", i), kind}
		all = append(all, f)
		list += ", " + sql + " AS " + f.name
	}
	if g.chance(20) {
		conditions := s
		conditions.secrets = g.bias != nowhere
		_, sql := g.aggregate(inner, conditions)
		group += " HAVING " + sql + " IS NOT NULL"
		if g.chance(50) {
			group += " AND count(*) > 1"
		}
	}
	return "SELECT " + list + rest + group, all
}

// aggregate returns an aggregate of rows, with its type.
func (g *generator) aggregate(inner []source, s scope) (byte, string) {
	s.sources, s.depth, s.windows = inner, min(s.depth, 1), false
	kind, sql := byte(ofInt), "count(*)::int"
	order := g.key(inner)
	if g.chance(25) {
		order = g.expression(oneOf[byte](g, ofInt, ofText), s) + ", " + order
	}
	switch g.IntN(9) {
	case 0:
		sql = "count(" + g.expression(oneOf[byte](g, ofInt, ofText), s) + ")::int"
	case 1:
		sql = "count(DISTINCT " + g.expression(oneOf[byte](g, ofInt, ofText), s) + ")::int"
	case 2:
		sql = "sum(" + g.expression(ofInt, s) + ")::int"
	case 3:
		kind = oneOf[byte](g, ofInt, ofText, ofDate)
		sql = oneOf(g, "max(", "min(") + g.expression(kind, s) + ")"
	case 4:
		kind, sql = ofText, "string_agg("+g.expression(ofText, s)+", ',' ORDER BY "+order+")"
	case 5:
		kind, sql = ofText, "array_agg("+g.expression(ofInt, s)+" ORDER BY "+order+")"
		if g.chance(50) {
			kind, sql = ofInt, "("+sql+")[1]"
		} else {
			sql += "::text"
		}
	case 6:
		kind, sql = ofBool, oneOf(g, "bool_or(", "bool_and(")+g.expression(ofBool, s)+")"
	case 7:
		kind, sql = ofText, "jsonb_agg("+g.expression(ofText, s)+" ORDER BY "+order+")::text"
	}
	if g.chance(20) && !strings.Contains(sql, ")[1]") && !strings.Contains(sql, ")::") {
		sql += " FILTER (WHERE " + g.expression(ofBool, s) + ")"
	}
	return kind, sql
}

// column returns a column of a type.
func (g *generator) column(kind byte, s scope) (string, bool) {
	for try := range 16 {
		if len(s.sources) == 0 {
			break
		}
		from := s.sources[g.IntN(len(s.sources))]
		f := from.columns[g.IntN(len(from.columns))]
		if f.kind == kind && (isSecret(f.name) && s.secrets || !isSecret(f.name) && (!s.secrets || try > 5)) {
			return from.known() + "." + f.name, true
		}
	}
	switch kind {
	case ofInt:
		return "(1 + length('x'))", false
	default:
		return "lower('K')", false
	}
}

// expression returns an expression of a type.
func (g *generator) expression(kind byte, s scope) string {
	if s.depth <= 0 || g.chance(35) {
		return g.leaf(kind, s)
	}
	s.depth--
	inner := s
	inner.windows = false
	e := func(kind byte) string { return g.expression(kind, inner) }
	if s.windows && g.chance(12) {
		if sql := g.window(kind, inner); sql != "" {
			return sql
		}
	}
	if g.chance(15) {
		return fmt.Sprintf("CASE WHEN %s THEN %s ELSE %s END", e(ofBool), e(kind), e(kind))
	}
	if g.chance(10) && kind != ofJSON {
		return g.scalar(kind, inner)
	}
	switch kind {
	case ofInt:
		switch g.IntN(13) {
		case 0:
			return "(" + e(ofInt) + " + " + e(ofInt) + ")"
		case 1:
			return "(" + e(ofInt) + " - " + e(ofInt) + ")"
		case 2:
			return "coalesce(" + e(ofInt) + ", " + e(ofInt) + ")"
		case 3:
			return "length(" + e(ofText) + ")"
		case 4:
			return "(" + e(ofInt) + oneOf(g, " % ", " / ") + g.leaf(ofInt, inner) + ")"
		case 5:
			return oneOf(g, "greatest(", "least(") + e(ofInt) + ", " + e(ofInt) + ")"
		case 6:
			return "nullif(" + e(ofInt) + ", " + e(ofInt) + ")"
		case 7:
			return "position('1' IN " + e(ofText) + ")"
		case 8:
			return "twice(" + e(ofInt) + ")"
		case 9:
			return "(" + e(ofDate) + " - date '2025-01-03')"
		case 10:
			return "extract(day FROM " + e(ofDate) + ")::int"
		case 11:
			if c, ok := g.column(ofJSON, s); ok {
				return "(" + c + oneOf(g, " ->> 'a')::int", " #>> '{b,0}')::int")
			}
			return "abs(" + e(ofInt) + ")"
		default:
			if c, ok := g.column(ofArray, s); ok {
				return oneOf(g, c+"[1]", "cardinality("+c+")")
			}
			return "abs(" + e(ofInt) + ")"
		}
	case ofText:
		switch g.IntN(13) {
		case 0, 1:
			return "(" + e(ofText) + " || " + e(ofText) + ")"
		case 2:
			return oneOf(g, "upper(", "lower(", "reverse(", "md5(") + e(ofText) + ")"
		case 3:
			return "left(" + e(ofText) + ", " + oneOf(g, "1", "3") + ")"
		case 4:
			return "coalesce(" + e(ofText) + ", " + e(ofText) + ")"
		case 5:
			return "(" + e(ofInt) + ")::text"
		case 6:
			return "concat(" + e(ofText) + ", '-', " + e(ofInt) + ")"
		case 7:
			return "replace(" + e(ofText) + ", '1', " + e(ofText) + ")"
		case 8:
			return "name_of(" + e(ofInt) + ")"
		case 9:
			if s.secrets {
				return "code_of(" + e(ofInt) + ")"
			}
			return "format('%s/%s', " + e(ofText) + ", " + e(ofBool) + ")"
		case 10:
			if c, ok := g.column(ofJSON, s); ok {
				return "(" + c + oneOf(g, " ->> 'b')", " ->> 'a')")
			}
			return "to_char(" + e(ofDate) + ", 'YYYY-MM-DD')"
		case 11:
			return "jsonb_build_object('a', " + e(ofText) + ")::text"
		default:
			return "nullif(" + e(ofText) + ", " + e(ofText) + ")"
		}
	case ofBool:
		switch g.IntN(13) {
		case 0, 1:
			return "(" + e(ofInt) + oneOf(g, " = ", " < ", " >= ", " <> ", " IS DISTINCT FROM ") + e(ofInt) + ")"
		case 2:
			return "(" + e(ofText) + oneOf(g, " = ", " < ", " > ", " IS NOT DISTINCT FROM ") + e(ofText) + ")"
		case 3:
			return "(" + e(ofText) + oneOf(g, " LIKE '%1%'", " LIKE 'n%'", " ~ '[aeiou]'") + ")"
		case 4:
			return "(" + e(oneOf[byte](g, ofInt, ofText, ofDate)) + oneOf(g, " IS NULL", " IS NOT NULL") + ")"
		case 5:
			return "(" + e(ofBool) + oneOf(g, " AND ", " OR ") + e(ofBool) + ")"
		case 6:
			return "NOT " + "(" + e(ofBool) + ")"
		case 7:
			return "(" + e(ofInt) + " IN (" + e(ofInt) + ", 3))"
		case 8:
			return "(" + e(ofInt) + " BETWEEN 2 AND " + e(ofInt) + ")"
		case 9, 10:
			from, sources := g.sources(0, s.sources)
			conditions := scope{sources: append(sources, s.sources...), secrets: s.secrets, depth: s.depth}
			if g.chance(50) {
				return oneOf(g, "EXISTS", "NOT EXISTS") + " (SELECT 1 FROM " + from + " WHERE " + g.expression(ofBool, conditions) + ")"
			}
			kind := oneOf[byte](g, ofInt, ofText)
			return "(" + e(kind) + oneOf(g, " IN", " = ANY", " NOT IN", " > ALL") + " (SELECT " + g.expression(kind, conditions) + " FROM " + from + "))"
		case 11:
			if c, ok := g.column(ofArray, s); ok {
				return "(" + e(ofInt) + " = ANY (" + c + "))"
			}
			return "(" + e(ofDate) + " < " + e(ofDate) + ")"
		default:
			return "(ROW(" + e(ofInt) + ", " + e(ofText) + ") = ROW(" + e(ofInt) + ", " + e(ofText) + "))"
		}
	case ofDate:
		return oneOf(g, "("+e(ofDate)+" + "+g.leaf(ofInt, inner)+")", "coalesce("+e(ofDate)+", date '2025-01-09')", "date_trunc('month', "+e(ofDate)+")::date")
	default:
		switch g.IntN(4) {
		case 0:
			return "json_build_object('a', " + e(ofText) + ", 'b', " + e(ofInt) + ")"
		case 1:
			if len(s.sources) > 0 && s.secrets {
				return "row_to_json(" + s.sources[g.IntN(len(s.sources))].known() + ")"
			}
			return "json_build_array(" + e(ofInt) + ")"
		default:
			return "to_json(" + e(ofText) + ")"
		}
	}
}

func (g *generator) leaf(kind byte, s scope) string {
	if kind != ofJSON && g.chance(75) {
		if c, ok := g.column(kind, s); ok {
			return c
		}
	}
	switch kind {
	case ofInt:
		return fmt.Sprint(1 + g.IntN(9))
	case ofText:
		return oneOf(g, "'a'::text", "'1'::text", "'name 1'::text", "'B'::text")
	case ofBool:
		return oneOf(g, "true", "false", "(1 < 2)")
	case ofDate:
		return "date '2025-01-05'"
	default:
		return "json_build_array(1)"
	}
}

// scalar returns a subquery of one value.
func (g *generator) scalar(kind byte, s scope) string {
	from, sources := g.sources(0, s.sources)
	inner := scope{sources: append(sources[:len(sources):len(sources)], s.sources...), secrets: s.secrets, depth: 1}
	where := ""
	if g.chance(60) {
		where = " WHERE " + g.expression(ofBool, inner)
	}
	if g.chance(50) && kind != ofBool {
		if kind == ofInt && g.chance(40) {
			return "(SELECT count(*)::int FROM " + from + where + ")"
		}
		return "(SELECT " + oneOf(g, "max", "min") + "(x.v) FROM (SELECT " + g.expression(kind, inner) + " AS v FROM " + from + where + ") x)"
	}
	return "(SELECT " + g.expression(kind, inner) + " FROM " + from + where + " ORDER BY " + g.key(sources) + " LIMIT 1)"
}

// window returns a window function's call, or nothing where there is none of a
// type.
func (g *generator) window(kind byte, s scope) string {
	key := g.key(s.sources)
	order := "ORDER BY " + key
	if g.chance(50) {
		order = "ORDER BY " + g.expression(oneOf[byte](g, ofInt, ofText), s) + oneOf(g, "", " DESC") + ", " + key
	}
	over := " OVER (" + order + ")"
	if g.chance(50) {
		over = " OVER (PARTITION BY " + g.expression(oneOf[byte](g, ofInt, ofText), s) + " " + order + ")"
	}
	switch {
	case g.chance(50) && kind != ofJSON:
		return oneOf(g, "lag(", "lead(", "first_value(", "last_value(") + g.expression(kind, s) + ")" + over
	case kind == ofInt:
		return oneOf(g, "row_number()", "rank()", "ntile(3)", "count(*)", "dense_rank()", "sum("+g.expression(ofInt, s)+")") + over + "::int"
	case kind == ofText:
		return "string_agg(" + g.expression(ofText, s) + ", ',')" + over
	}
	return ""
}

// write returns a statement that writes and returns what it wrote.
func (g *generator) write() string {
	returning := func(of ...source) string {
		s := scope{sources: of, secrets: g.bias == anywhere, depth: 2}
		_, list := g.results(s, g.key(of))
		return " RETURNING " + list
	}
	orders := source{"orders", "id", relations[2].columns}
	log := source{"log", "id", columnsOf("id n, note t, n n, made t")}
	switch g.IntN(5) {
	case 0:
		sql, _ := g.query(1, nil)
		return "INSERT INTO log (id, note, n) SELECT row_number() OVER (ORDER BY q.k), q.k, 3 FROM (" + sql + ") q" + returning(log)
	case 1:
		return "INSERT INTO log (id, note) VALUES (50, " + g.expression(ofText, scope{depth: 2, secrets: g.bias == anywhere}) + ")" + returning(log)
	case 2:
		s := g.scope(2, orders)
		s.secrets = s.secrets || g.bias == filtering && g.chance(50)
		return "DELETE FROM orders WHERE " + g.expression(ofBool, s) + returning(orders)
	case 3:
		other := g.table()
		s := g.scope(2, other, orders)
		conditions := s
		conditions.secrets = g.bias != nowhere
		return "UPDATE orders SET note = " + g.expression(ofText, g.scope(1, orders)) + ", amount = " + g.expression(ofInt, g.scope(1, orders)) +
			" FROM " + other.alias + " WHERE " + other.known() + "." + strings.Fields(other.key)[0] + "::text = orders.id::text AND " + g.expression(ofBool, conditions) + returning(orders, other)
	default:
		s := g.scope(2, orders)
		conditions := s
		conditions.secrets = g.bias != nowhere
		return "UPDATE orders SET kind = " + g.expression(ofText, s) + ", open = " + g.expression(ofBool, s) + " WHERE " + g.expression(ofBool, conditions) + returning(orders)
	}
}
