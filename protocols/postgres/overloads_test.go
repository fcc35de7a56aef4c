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

	"github.com/jackc/pgx/v5"

	"gatehouse/core/peers"
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
