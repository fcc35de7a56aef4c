package postgres_test

import (
	"context"
	_ "embed"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgproto3/v2"
	"github.com/jackc/pgx/v5"

	"gatehouse/core/peers"
	"gatehouse/core/protect"
	"gatehouse/protocols/postgres"
)

//go:embed testdata/overloads/schema.sql
var overloadsSchema string

//go:embed testdata/overloads/expressions.txt
var overloadsExpressions string

// An overloader asks a server which functions and operators it chooses, and the
// engine which it may.
type overloader struct {
	conn     *pgx.Conn
	resource *postgres.Resource
}

func newOverloader(t *testing.T, version int) *overloader {
	pg := peers.SharedPostgres(t, version)
	name := pg.NewDatabase(t, overloadsSchema)
	conn, err := pgx.Connect(t.Context(), pg.URL(name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	r := &postgres.Resource{Name: "overloads", Host: "127.0.0.1", Port: uint16(pg.Port), User: peers.Superuser, Password: pg.Password, Database: name, SSLMode: "disable"}
	t.Cleanup(r.Close)
	return &overloader{conn, r}
}

var chosenOIDs = regexp.MustCompile(`:(?:opno|aggfnoid|winfnoid) (\d+)|:funcid (\d+) :funcresulttype \d+ :funcretset \S+ :funcvariadic \S+ :funcformat (\d)`)

// server returns the functions and operators of an expression as the server stores
// them in a view, without those of casts, and the type of the result. It is false
// where the server does not take the expression.
func (o *overloader) server(t *testing.T, path, expression string) (oids []uint32, of uint32, takes bool) {
	t.Helper()
	results, err := o.conn.PgConn().Exec(t.Context(), "BEGIN; SET LOCAL search_path = "+path+"; CREATE TEMP VIEW seen AS SELECT "+expression+` AS x FROM public.t;
		SELECT r.ev_action, (SELECT a.atttypid FROM pg_catalog.pg_attribute a WHERE a.attrelid = r.ev_class AND a.attnum = 1)
		FROM pg_catalog.pg_rewrite r WHERE r.ev_class OPERATOR(pg_catalog.=) 'pg_temp.seen'::pg_catalog.regclass`).ReadAll()
	if _, end := o.conn.PgConn().Exec(t.Context(), "ROLLBACK").ReadAll(); end != nil {
		t.Fatal(end)
	}
	if err != nil {
		return nil, 0, false
	}
	row := results[len(results)-1].Rows[0]
	number := func(s string) uint32 { n, _ := strconv.ParseUint(s, 10, 32); return uint32(n) }
	for _, m := range chosenOIDs.FindAllStringSubmatch(string(row[0]), -1) {
		switch {
		case m[1] != "":
			oids = append(oids, number(m[1]))
		case m[3] != "1" && m[3] != "2":
			oids = append(oids, number(m[2]))
		}
	}
	return oids, number(string(row[1])), true
}

// compare holds what the engine may choose against what the server does. It returns
// of how many choices, and how many of them are exact.
func (o *overloader) compare(t *testing.T, path, expression string) (all, exact int) {
	t.Helper()
	oids, of, takes := o.server(t, path, expression)
	if !takes {
		return 0, 0
	}
	resolved, err := o.resource.Resolved(t.Context(), analyzer(), "SELECT public.probe("+expression+") FROM public.t", path)
	if err != nil {
		t.Fatal(err)
	}
	for _, oid := range oids {
		all++
		met, only := false, false
		for _, r := range resolved {
			if slices.Contains(r.OIDs, oid) {
				met, only = true, only || len(r.OIDs) == 1
			}
		}
		switch {
		case !met:
			t.Errorf("under %s the server chooses %d in %s, the engine one of %v", path, oid, expression, resolved)
		case only:
			exact++
		}
	}
	for _, r := range resolved {
		if r.Name.Name == "probe" && r.Types[0] != 0 && r.Types[0] != 705 && r.Types[0] != of {
			t.Errorf("under %s the type of %s is %d, not %d", path, expression, of, r.Types[0])
		}
	}
	return all, exact
}

var overloadPaths = []string{"public", "a, b, public", "b, a, public", "public, pg_catalog", "a, pg_catalog, public", `pg_catalog, closed, "$user", b`, "b, pg_catalog, a, nowhere"}

// TestOverloadsAsOnServers has servers choose among overloads: those in
// testdata/overloads/expressions.txt, and random ones. What they choose is among
// what the engine takes to be meant, and mostly all of it.
func TestOverloadsAsOnServers(t *testing.T) {
	for _, version := range []int{15, 18} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			o := newOverloader(t, version)
			all, exact := 0, 0
			for line := range strings.SplitSeq(strings.TrimSpace(overloadsExpressions), "\n") {
				for _, path := range overloadPaths {
					n, e := o.compare(t, path, line)
					all, exact = all+n, exact+e
				}
			}
			t.Logf("%d of %d choices are exact", exact, all)
			if all < 300 || exact < all*9/10 {
				t.Errorf("of %d choices %d are exact", all, exact)
			}
			all, exact = 0, 0
			random := rand.New(rand.NewPCG(1, 2))
			for range 2000 {
				n, e := o.compare(t, overloadPaths[random.IntN(len(overloadPaths))], randomUse(random))
				all, exact = all+n, exact+e
			}
			t.Logf("%d of %d random choices are exact", exact, all)
			if all < 200 || exact < all*9/10 {
				t.Errorf("of %d random choices %d are exact", all, exact)
			}
		})
	}
}

var (
	overloadColumns = strings.Fields(`i2 i4 i8 n f4 f8 tx vc bp nm c1 d tm ts tz iv bo js jb u ba ia i8a ta va na en ena dt di dd da p ow r4 rn rs mr o rc ip ci mo bi vb pt tv tq`)
	overloadValues  = []string{"'1'", "NULL", "5", "-5", "5000000000", "1.5", "1e3", "true", "'x'::text", "'1'::int2", "current_date", "now()", "(SELECT t.i4)", "(SELECT 'a')",
		"CASE WHEN bo THEN i2 ELSE i8 END", "COALESCE(vc, 'x')", "COALESCE(i4, n)", "ARRAY[1, 2]", "ARRAY['a']", "ARRAY[i2, i8]", "GREATEST(d, tz)", "NULLIF(i4, 1)", "(i4 IS NULL)", "i4 + 1", "tx || 'a'", "ia[1]", "p.x", "vc COLLATE \"C\"",
		"'a'::varchar(3)", "'{1}'::int4[]", "max(i4) OVER ()", "'sad'::public.mood", "x'1f'", "b'101'", "i4::text", "ROW(1, 'a')", "(SELECT array_agg(q) FROM unnest(ia) q)", "interval '1 day'", "date '2020-01-01'"}
	overloadFunctions = strings.Fields(`f f f f g g g h h count count length length max concat array_append to_jsonb k upper lower count sum abs length round date_trunc concat text max min array_append array_length unnest substr replace to_char
		date_part age power mod generate_series jsonb_build_object to_jsonb lag coalesce_ float8 int4 date lpad trim_array isempty range_merge numrange int8range array_cat array_position
		avg string_agg array_agg left overlay concat_ws format extract_ width_bucket justify_days ceil sqrt quote_literal md5 encode to_number log`)
	overloadOperators = strings.Fields(`= <> < + - * / || ~~ << @#@ & | -> ->> @> <@ && ~ ^ % <-> - -|- @@ >=`)
)

func randomUse(r *rand.Rand) string {
	value := func() string {
		if r.IntN(3) > 0 {
			return overloadColumns[r.IntN(len(overloadColumns))]
		}
		return overloadValues[r.IntN(len(overloadValues))]
	}
	var use func(depth int) string
	use = func(depth int) string {
		arg := func() string {
			if depth > 0 && r.IntN(5) == 0 {
				return use(depth - 1)
			}
			return value()
		}
		if r.IntN(2) == 0 {
			op := overloadOperators[r.IntN(len(overloadOperators))]
			switch r.IntN(8) {
			case 0:
				return "(" + op + " " + arg() + ")"
			case 1:
				return "(" + arg() + " " + op + " ANY (" + arg() + "))"
			case 2:
				v := arg()
				return "(" + v + " IN (" + arg() + ", " + v + ", " + arg() + "))"
			}
			left, right := arg(), arg()
			if r.IntN(3) > 0 { // of one type, so that there is one
				right = left
			}
			return "(" + left + " " + op + " " + right + ")"
		}
		args := make([]string, 1+r.IntN(3)*r.IntN(2))
		for i := range args {
			args[i] = arg()
		}
		return overloadFunctions[r.IntN(len(overloadFunctions))] + "(" + strings.Join(args, ", ") + ")"
	}
	return use(2)
}

// overloadSchema has functions and operators that tell what is protected, beside
// PostgreSQL's own, and beside harmless ones.
const overloadSchema = lineageSchema + `
	CREATE SCHEMA late;
	CREATE TYPE mood AS ENUM ('sad', 'ok');
	CREATE TABLE moods (id int, nick varchar(20), m mood);
	INSERT INTO moods VALUES (1, 'Lou', 'ok');
	CREATE FUNCTION tells(text) RETURNS text LANGUAGE plpgsql STABLE AS 'BEGIN RETURN (SELECT ssn FROM public.people LIMIT 1); END';
	CREATE FUNCTION upper(mood) RETURNS text LANGUAGE plpgsql STABLE AS 'BEGIN RETURN public.tells(''''); END';
	CREATE FUNCTION count(mood) RETURNS text LANGUAGE plpgsql STABLE AS 'BEGIN RETURN public.tells(''''); END';
	CREATE FUNCTION length(varchar) RETURNS text LANGUAGE plpgsql STABLE AS 'BEGIN RETURN public.tells(''''); END';
	CREATE FUNCTION joined(text, mood) RETURNS text LANGUAGE plpgsql STABLE AS 'BEGIN RETURN public.tells(''''); END';
	CREATE OPERATOR || (leftarg = text, rightarg = mood, function = joined);
	CREATE FUNCTION same(varchar, varchar) RETURNS bool LANGUAGE plpgsql STABLE AS 'BEGIN RETURN public.tells('''') LIKE ''2%''; END';
	CREATE OPERATOR = (leftarg = varchar, rightarg = varchar, function = same);
	CREATE FUNCTION late.upper(text) RETURNS text LANGUAGE plpgsql STABLE AS 'BEGIN RETURN public.tells(''''); END';
	CREATE FUNCTION over(text) RETURNS text LANGUAGE plpgsql STABLE AS 'BEGIN RETURN public.tells(''''); END';
	CREATE VIEW stored AS SELECT id, over(nick) AS x FROM moods`

// A function or an operator of the database makes those fields unknown that the
// server calls it for, and no others of its name.
func TestOverloadsThroughTheGate(t *testing.T) {
	for _, version := range []int{15, 18} {
		g := startGate(t, gateConfig{version: version, sql: overloadSchema, columns: protectedPeople(t, protect.Strict)})
		r := g.raw(t)
		run := func(r *raw, sql string) string {
			r.send(&pgproto3.Query{String: sql})
			return strings.Join(r.until("Z"), "; ")
		}
		for sql, want := range map[string]string{
			"SELECT upper(name) FROM people WHERE id = 1":                              "ADA",
			"SELECT upper('x')":                                                        "X",
			"SELECT upper(m::text) FROM moods":                                         "OK",
			"SELECT upper(m) FROM moods":                                               "[redacted]",
			"SELECT count(*) FROM moods":                                               "1",
			"SELECT count(id) FROM moods":                                              "1",
			"SELECT count(m) FROM moods":                                               "[redacted]",
			"SELECT length(name) FROM people WHERE id = 1":                             "3",
			"SELECT length(nick) FROM moods":                                           "[redacted]",
			"SELECT name || ' x' FROM people WHERE id = 1":                             "Ada x",
			"SELECT name || m FROM people, moods WHERE people.id = 1":                  "[redacted]",
			"SELECT (nick = 'Lou')::text FROM moods":                                   "[redacted]",
			"SELECT (nick = nick)::text FROM moods":                                    "[redacted]",
			"SELECT (nick::text = 'Lou')::text FROM moods":                             "true",
			"SELECT upper(x) FROM (SELECT m::text AS x FROM moods UNION SELECT 'a') q": "A",
			"SELECT upper(CASE WHEN id = 1 THEN 'a' ELSE nick END) FROM moods":         "A",
			"SELECT upper(COALESCE(m, 'sad')) FROM moods":                              "[redacted]",
			"SELECT upper(name) FROM people WHERE id = 2":                              "[redacted]",
			"SELECT pg_catalog.upper(name) FROM people WHERE id = 2":                   "BOB",
		} {
			c := r
			if strings.Contains(sql, "id = 2") {
				c = g.raw(t)
				run(c, "SET search_path = public, late, pg_catalog")
			}
			got := run(c, sql)
			if !strings.Contains(got, "D "+want+";") || leaked([]byte(got)) != nil {
				t.Errorf("%d: %s: %s, not %s", version, sql, got, want)
			}
		}

		// What was prepared, declared or stored goes on with the function that was
		// the best one then.
		r.send(&pgproto3.Parse{Name: "s", Query: "SELECT over(nick) FROM moods"}, &pgproto3.Sync{})
		r.until("Z I")
		run(r, "PREPARE p AS SELECT over(nick) FROM moods")
		run(r, "BEGIN")
		run(r, "DECLARE c CURSOR FOR SELECT over(nick) FROM moods")
		if _, err := g.direct(t).Exec(t.Context(), "CREATE FUNCTION over(varchar) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1'"); err != nil {
			t.Fatal(err)
		}
		other := g.raw(t)
		run(other, "CREATE TABLE made ()") // after which the gate asks for all definitions again
		if got := run(other, "SELECT over(nick) FROM moods"); !strings.Contains(got, "D Lou;") {
			t.Errorf("%d: the new function: %s", version, got)
		}
		for _, sql := range []string{"FETCH c", "EXECUTE p", "SELECT x FROM stored"} {
			if got := run(r, sql); !strings.Contains(got, "D [redacted]") || leaked([]byte(got)) != nil {
				t.Errorf("%d: %s: %s", version, sql, got)
			}
		}
		run(r, "COMMIT")
		r.send(&pgproto3.Bind{PreparedStatement: "s"}, &pgproto3.Execute{}, &pgproto3.Sync{})
		if got := strings.Join(r.until("Z I"), "; "); !strings.Contains(got, "D [redacted]") || leaked([]byte(got)) != nil {
			t.Errorf("%d: what was prepared: %s", version, got)
		}
		r.send(&pgproto3.Parse{Name: "again", Query: "SELECT over(nick) FROM moods WHERE id = $1", ParameterOIDs: []uint32{23}}, &pgproto3.Bind{PreparedStatement: "again", Parameters: [][]byte{[]byte("1")}}, &pgproto3.Execute{}, &pgproto3.Sync{})
		if got := strings.Join(r.until("Z I"), "; "); !strings.Contains(got, "D Lou;") {
			t.Errorf("%d: what is prepared now: %s", version, got)
		}
		// A parameter's type chooses, too.
		for oid, want := range map[uint32]string{25: "D A;", 0: "[redacted]"} {
			r.send(&pgproto3.Parse{Query: "SELECT upper($1) || upper($1)", ParameterOIDs: []uint32{oid}}, &pgproto3.Bind{Parameters: [][]byte{[]byte("a")}}, &pgproto3.Execute{}, &pgproto3.Sync{})
			want = strings.Replace(want, "D A;", "D AA;", 1)
			if got := strings.Join(r.until("Z I"), "; "); !strings.Contains(got, want) {
				t.Errorf("%d: a parameter of type %d: %s", version, oid, got)
			}
		}
	}
}
